//! The load that one user causes for the others. `cargo bench --bench one_user` takes a minute and
//! a half; `-- quick` does a tenth of everything.
//!
//! * A user who revokes all other sessions at full speed: the entries of the log, and the memory of
//!   four nodes.
//! * Logins of a user with half a million sessions under a cap: strict checks of another user's
//!   token, with and without these logins.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use support::{
    checks::{assert_revocations_reach, checks, report, wait_until_refused},
    keys::SECRET,
    memory::resident,
    redis_server::RedisServer,
    scale::Scale,
};
use tokio::time::interval;
use tower_bearer::{
    Consistency, NewSession, RedisStore, TokenService, TokenType,
    store::{LogQuery, RevocationLog},
};

const BOUNDED: Consistency = Consistency::BoundedStaleness(Duration::from_secs(1));
/// Fills a user's hash: `ARGV` 1 first, 2 last, 3 now.
const FILL: &str = include_str!("../tests/support/crowded_user.lua");
/// The sessions that one call of the script adds.
const AT_ONCE: usize = 50_000;

fn main() {
    let scale = Scale::from_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        revoke_at_full_speed(scale).await;
        log_in_among_many(scale).await;
    });
}

async fn node(url: &str, consistency: Consistency) -> TokenService {
    let store = RedisStore::connect(url).await.unwrap();
    TokenService::builder().secret(SECRET).store(store).consistency(consistency).max_sessions(5).build().unwrap()
}

async fn revoke_at_full_speed(scale: Scale) {
    let time = scale.time(Duration::from_secs(60));
    let server = RedisServer::start();
    let url = server.url();
    let nodes = join_all((0..4).map(|_| node(&url, BOUNDED))).await;
    let store = RedisStore::connect(&url).await.unwrap();
    let other = nodes[0].create_token_pair(NewSession::new("42")).await.unwrap();
    let pair = nodes[0].create_token_pair(NewSession::new("42")).await.unwrap();
    let revoke = async |time: Duration| {
        let (began, mut calls) = (Instant::now(), 0_u64);
        while began.elapsed() < time {
            nodes[0].revoke_all_for_subject_except("42", pair.session_id()).await.unwrap();
            calls += 1;
        }
        calls
    };
    let entries = async || store.read(store.bucket_of(&"42".into()), LogQuery::from_start()).await.unwrap().sequence;
    // Warms up, so that all buffers have reached their sizes.
    revoke(scale.time(Duration::from_secs(1))).await;
    let before = (entries().await, resident());
    let calls = revoke(time).await;
    let after = (entries().await, resident());
    scale.print(format_args!(
        "one user revokes all other sessions, {calls} times in {time:?}: {} entries; four nodes in one process grew by \
         {} KiB",
        after.0 - before.0,
        after.1.saturating_sub(before.1) / 1024,
    ));
    for node in &nodes {
        node.validate_token(pair.access().as_str(), TokenType::Access).await.unwrap();
        wait_until_refused(node, other.access().as_str()).await;
    }
}

async fn log_in_among_many(scale: Scale) {
    let sessions = scale.count(10 * AT_ONCE, 1_000);
    let time = scale.time(Duration::from_secs(5));
    let server = RedisServer::start();
    let tokens = node(&server.url(), Consistency::Strong).await;
    let pair = tokens.create_token_pair(NewSession::new("bob")).await.unwrap();
    tokens.create_token_pair(NewSession::new("alice")).await.unwrap();
    let mut admin = server.admin().await;
    admin.set_response_timeout(Duration::from_secs(60));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let mut find = redis::cmd("KEYS");
    let found: Vec<String> = find.arg("tb:*:u:alice").query_async(&mut admin).await.unwrap();
    for first in (1..=sessions).step_by(AT_ONCE) {
        let mut fill = redis::cmd("EVAL");
        fill.arg(FILL).arg(1).arg(&found[0]).arg(first).arg(sessions.min(first + AT_ONCE - 1)).arg(now.to_string());
        fill.exec_async(&mut admin).await.unwrap();
    }
    let idle = checks(&tokens, pair.access().as_str(), time).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let logins = tokio::spawn({
        let (other, is_over) = (node(&server.url(), Consistency::Strong).await, Arc::clone(&is_over));
        async move {
            let (mut tick, mut logins) = (interval(Duration::from_millis(100)), 0_u32);
            while !is_over.load(Ordering::Relaxed) {
                tick.tick().await;
                other.create_token_pair(NewSession::new("alice")).await.unwrap();
                logins += 1;
            }
            logins
        }
    });
    let busy = checks(&tokens, pair.access().as_str(), time).await;
    is_over.store(true, Ordering::Relaxed);
    let logins = logins.await.unwrap();
    report(scale, "strict checks of another user, nobody logs in", idle);
    let name = format!("strict checks of another user, {logins} logins of one with {sessions} sessions");
    report(scale, &name, busy);
    assert_revocations_reach(&[tokens]).await;
}

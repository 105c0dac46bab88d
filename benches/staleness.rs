//! The cost of bounded staleness. `cargo bench --bench staleness` takes some five minutes;
//! `-- quick` does a tenth of everything, `-- requests` only the first part.
//!
//! * Requests compared with the bare service, and requests while the node learns of revocations.
//! * Requests with 10 million sessions in the store and with a million revocations in the replica:
//!   with tokens that the node has seen before, and with new ones.
//! * The memory of a million revocations.
//! * The time from a revocation to its rejection by another node.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

mod support;

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use support::{
    checks::{report, wait_until_refused},
    keys::key,
    memory::resident,
    redis_server::RedisServer,
    requests::{bearer, hello},
    scale::{Scale, has_argument},
    turns::{Contender, Turns},
};
use tokio::{runtime::Runtime, task::JoinSet, time::sleep};
use tower::{Layer, service_fn};
use tower_bearer::{
    AuthLayer, Consistency, KeySet, NewSession, RedisStore, SessionStore, TokenService, TokenType, tokens::ReplicaState,
};
use uuid::Uuid;

const BOUNDED: Consistency = Consistency::BoundedStaleness(Duration::from_secs(1));
const ROUNDS: usize = 1000;
const BATCH: usize = 200;

fn main() {
    let scale = Scale::from_arguments();
    let turns = Turns::new(scale, ROUNDS, BATCH);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let few = RedisServer::start();
    let many = RedisServer::start();
    let plain = runtime.block_on(node(&few, "HS256"));
    let signed = runtime.block_on(node(&few, "ES256"));

    let bare = Contender::new("bare service", service_fn(hello), vec![bearer("x")], StatusCode::OK);
    let mut all = vec![bare];
    all.extend([warm("HS256, seen before", &runtime, &plain), warm("ES256, seen before", &runtime, &signed)]);
    turns.compare("bounded:1000, a request", &runtime, &mut all);
    while_others_are_revoked(&runtime, turns);
    if has_argument("requests") {
        return;
    }

    let (began, sessions) = (Instant::now(), scale.count(10_000_000, 1_000));
    runtime.block_on(fill(&many, sessions));
    let full = runtime.block_on(node(&many, "HS256"));
    scale.print(format_args!("\n{sessions} sessions in {:?}", began.elapsed()));
    let (began, memory) = (Instant::now(), resident());
    let revoked = RedisServer::start();
    let revoking = runtime.block_on(node(&revoked, "HS256"));
    runtime.block_on(revoke_many(&revoked, &revoking, scale.count(1_000_000, 1_000)));
    let replica = runtime.block_on(revoking.status()).replica.unwrap();
    scale.print(format_args!(
        "{} revocations in {:?}: {:.1} MB by the replica's own count, {:.1} MB more resident memory (the bench's own included)",
        replica.revocations,
        began.elapsed(),
        megabytes(replica.bytes),
        megabytes(resident().saturating_sub(memory)),
    ));
    let mut all = vec![
        warm("nothing else, seen before", &runtime, &plain),
        warm("many sessions, seen before", &runtime, &full),
        warm("many revocations, seen before", &runtime, &revoking),
    ];
    turns.compare("bounded:1000, HS256", &runtime, &mut all);
    // Each request has another token, so that the node sees none twice.
    let turns = Turns::new(scale, ROUNDS / 30, BATCH);
    let first = |name, tokens| contender(name, &runtime, tokens, turns.requests());
    let mut all = vec![
        first("nothing else, first use", &plain),
        first("many sessions, first use", &full),
        first("many revocations, first use", &revoking),
    ];
    turns.compare("bounded:1000, HS256", &runtime, &mut all);
    let after = runtime.block_on(rejections(&few, scale.count(10_000, 10)));
    report(scale, "\nrevocations, refused on another node after", after);
}

/// Compares requests whose bucket gets a revocation every 5 ms with requests whose bucket gets
/// none. Each revocation makes the next request read the deny set again.
fn while_others_are_revoked(runtime: &Runtime, turns: Turns) {
    let (calm, busy) = (RedisServer::start(), RedisServer::start());
    let one_bucket = async |server: &RedisServer| {
        let store = RedisStore::builder(server.url()).buckets(1).connect().await.unwrap();
        node_on(store, "HS256").await
    };
    let (calm, revoking) = runtime.block_on(async { (one_bucket(&calm).await, one_bucket(&busy).await) });
    let bare = Contender::new("bare service", service_fn(hello), vec![bearer("x")], StatusCode::OK);
    let mut all =
        vec![bare, warm("nothing is learnt", runtime, &calm), warm("200 revocations a second", runtime, &revoking)];
    let revoker = runtime.spawn(async move {
        let store = RedisStore::builder(busy.url()).buckets(1).connect().await.unwrap();
        for number in 0_u64.. {
            store.revoke_session(&format!("another-{number}").into(), &"session".into()).await.unwrap();
            sleep(Duration::from_millis(5)).await;
        }
    });
    turns.compare("bounded:1000, one bucket", runtime, &mut all);
    assert!(!revoker.is_finished(), "the revocations have failed");
    revoker.abort();
}

async fn node(server: &RedisServer, algorithm: &str) -> TokenService {
    node_on(RedisStore::connect(server.url()).await.unwrap(), algorithm).await
}

async fn node_on(store: RedisStore, algorithm: &str) -> TokenService {
    let tokens = TokenService::builder()
        .keys(KeySet::signing(key(algorithm)))
        .issuer("https://issuer.example")
        .audience("api")
        .store(store)
        .consistency(BOUNDED)
        .build()
        .unwrap();
    while tokens.status().await.replica.unwrap().state != ReplicaState::Leased {
        sleep(Duration::from_millis(5)).await;
    }
    tokens
}

fn warm(name: &str, runtime: &Runtime, tokens: &TokenService) -> Contender {
    contender(name, runtime, tokens, 1)
}

fn contender(name: &str, runtime: &Runtime, tokens: &TokenService, count: usize) -> Contender {
    let issue = async {
        let mut requests = Vec::with_capacity(count);
        for number in 0..count {
            let token = tokens.create_access_token(NewSession::new(format!("bench-{number}"))).await.unwrap();
            requests.push(bearer(token.as_str()));
        }
        requests
    };
    let requests = runtime.block_on(issue);
    Contender::new(name, AuthLayer::new(tokens.clone()).layer(service_fn(hello)), requests, StatusCode::OK)
}

/// Writes sessions of other users. The records have the size of the store's; no request reads them.
async fn fill(server: &RedisServer, count: usize) {
    const PIPELINE: usize = 5_000;
    let mut fillers = JoinSet::new();
    for filler in 0..4 {
        let mut admin = server.admin().await;
        fillers.spawn(async move {
            for first in (filler * PIPELINE..count).step_by(4 * PIPELINE) {
                let mut pipeline = redis::pipe();
                for number in first..count.min(first + PIPELINE) {
                    let key = format!("tb:{{{}}}:u:user-{number}", number % 16);
                    pipeline.cmd("HSET").arg(key).arg(format!("{number:022}")).arg(&[7_u8; 53][..]).ignore();
                }
                pipeline.query_async::<()>(&mut admin).await.unwrap();
            }
        });
    }
    fillers.join_all().await;
}

async fn revoke_many(server: &RedisServer, tokens: &TokenService, count: usize) {
    let store = RedisStore::builder(server.url()).timeout(Duration::from_secs(10)).connect().await.unwrap();
    stream::iter(0..count as u128)
        .for_each_concurrent(256, |number| {
            let store = &store;
            async move {
                // Ids as this crate makes them, and users as most applications do.
                let (user, session) = (Uuid::from_u128(number), URL_SAFE_NO_PAD.encode(number.to_be_bytes()));
                store.revoke_session(&user.to_string().into(), &session.into()).await.unwrap();
            }
        })
        .await;
    loop {
        let replica = tokens.status().await.replica.unwrap();
        if replica.revocations >= count && replica.state == ReplicaState::Leased {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the times from the acknowledgement of a revocation to the first check on another node
/// that refuses.
async fn rejections(server: &RedisServer, count: usize) -> Vec<Duration> {
    let (here, there) = (node(server, "HS256").await, node(server, "HS256").await);
    let mut after = Vec::with_capacity(count);
    for number in 0..count {
        let pair = here.create_token_pair(NewSession::new(format!("user-{number}"))).await.unwrap();
        let token = pair.access().as_str();
        there.validate_token(token, TokenType::Access).await.unwrap();
        here.revoke_session(format!("user-{number}"), pair.session_id()).await.unwrap();
        let acknowledged = Instant::now();
        after.push(wait_until_refused(&there, token).await - acknowledged);
    }
    after
}

#[allow(clippy::cast_precision_loss, reason = "for reading")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

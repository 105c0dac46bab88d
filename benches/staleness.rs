//! Bounded staleness, measured: `cargo bench --bench staleness`, some five minutes; `-- quick` with a tenth of everything, `-- requests` only the first part.
//!
//! * what a request costs over the bare service, with a token that was seen before and with one that was not;
//! * the same with 10 million sessions in the store, and with a million revocations in the replica;
//! * the memory of a million revocations;
//! * how long after a revocation another node refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

#[path = "../tests/support/redis_server.rs"]
#[allow(dead_code, unreachable_pub, reason = "it takes a part of this")]
mod redis_server;
mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use redis_server::RedisServer;
use support::{Contender, bearer, compare, hello, key};
use tokio::{runtime::Runtime, task::JoinSet, time::sleep};
use tower::{Layer, service_fn};
use tower_bearer::{
    AuthLayer, Consistency, KeySet, NewSession, RedisStore, TokenService, TokenStore, TokenType, tokens::ReplicaState,
};
use uuid::Uuid;

const D: Duration = Duration::from_secs(1);
const ROUNDS: usize = 1000;
const BATCH: usize = 200;

fn main() {
    let part = if std::env::args().any(|argument| argument == "quick") { 10 } else { 1 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let few = RedisServer::start();
    let many = RedisServer::start();
    let plain = runtime.block_on(node(&few, "HS256"));
    let signed = runtime.block_on(node(&few, "ES256"));

    let bare = Contender::new("bare service", service_fn(hello), vec![bearer("x")], StatusCode::OK);
    let mut all = vec![bare];
    all.extend([warm("HS256, seen before", &runtime, &plain), warm("ES256, seen before", &runtime, &signed)]);
    compare("bounded:1000, a request", &runtime, ROUNDS, BATCH, &mut all);
    while_others_are_revoked(&runtime);
    if std::env::args().any(|argument| argument == "requests") {
        return;
    }

    let began = Instant::now();
    runtime.block_on(fill(&many, 10_000_000 / part));
    let full = runtime.block_on(node(&many, "HS256"));
    println!("\n{} sessions in {:?}", 10_000_000 / part, began.elapsed());
    let (began, memory) = (Instant::now(), resident());
    let revoked = RedisServer::start();
    let revoking = runtime.block_on(node(&revoked, "HS256"));
    runtime.block_on(revoke_many(&revoked, &revoking, 1_000_000 / part));
    let replica = runtime.block_on(revoking.status()).replica.unwrap();
    println!(
        "{} revocations in {:?}: {:.1} MB by the replica's own count, {:.1} MB more resident memory (the bench's own included)",
        replica.revocations,
        began.elapsed(),
        megabytes(replica.bytes),
        megabytes(resident().saturating_sub(memory)),
    );
    let mut all = vec![
        warm("nothing else, seen before", &runtime, &plain),
        warm("many sessions, seen before", &runtime, &full),
        warm("many revocations, seen before", &runtime, &revoking),
    ];
    compare("bounded:1000, HS256", &runtime, ROUNDS, BATCH, &mut all);
    let mut all = vec![
        first("nothing else, first use", &runtime, &plain),
        first("many sessions, first use", &runtime, &full),
        first("many revocations, first use", &runtime, &revoking),
    ];
    // As many tokens as are asked about, so that none is seen twice.
    compare("bounded:1000, HS256", &runtime, ROUNDS / 30, BATCH, &mut all);
    runtime.block_on(refusals(&few, 10_000 / part));
}

/// What is learnt makes requests look again: the same once more with a token whose bucket learns of a revocation every 5 ms, beside one whose bucket learns of none.
fn while_others_are_revoked(runtime: &Runtime) {
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
            store.revoke_session(&format!("another-{number}"), "session").await.unwrap();
            sleep(Duration::from_millis(5)).await;
        }
    });
    compare("bounded:1000, one bucket", runtime, ROUNDS, BATCH, &mut all);
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
        .consistency(Consistency::BoundedStaleness(D))
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

fn first(name: &str, runtime: &Runtime, tokens: &TokenService) -> Contender {
    contender(name, runtime, tokens, (ROUNDS / 30 + ROUNDS / 300) * BATCH)
}

fn contender(name: &str, runtime: &Runtime, tokens: &TokenService, count: usize) -> Contender {
    let issue = async {
        let mut requests = Vec::with_capacity(count);
        for number in 0..count {
            let token = tokens.create_access_token(NewSession::of(format!("bench-{number}"))).await.unwrap();
            requests.push(bearer(token.as_str()));
        }
        requests
    };
    let requests = runtime.block_on(issue);
    Contender::new(name, AuthLayer::new(tokens.clone()).layer(service_fn(hello)), requests, StatusCode::OK)
}

/// Sessions of users, as the store writes them, but for what no request here reads.
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
                store.revoke_session(&user.to_string(), &session).await.unwrap();
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

/// From the acknowledgement of a revocation to the first check on another node that refuses.
async fn refusals(server: &RedisServer, count: usize) {
    let (here, there) = (node(server, "HS256").await, node(server, "HS256").await);
    let mut after = Vec::with_capacity(count);
    for number in 0..count {
        let pair = here.create_token_pair(NewSession::of(format!("user-{number}"))).await.unwrap();
        let token = pair.access().as_str();
        there.validate_token(token, TokenType::Access).await.unwrap();
        here.revoke_session(format!("user-{number}"), pair.session_id()).await.unwrap();
        let acknowledged = Instant::now();
        loop {
            let started = acknowledged.elapsed();
            if there.validate_token(token, TokenType::Access).await.is_err() {
                after.push(started);
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    after.sort_unstable();
    let at = |part: usize| after[(after.len() - 1) * part / 1000];
    println!(
        "\n{count} revocations, refused on another node after: p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        at(500),
        at(990),
        at(999),
        at(1000)
    );
}

/// This process's resident memory, in bytes; zero where there is no `/proc`.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok()).unwrap_or_default() * 4096
}

#[allow(clippy::cast_precision_loss, reason = "for reading")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

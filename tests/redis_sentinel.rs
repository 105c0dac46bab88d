//! The store behind a real sentinel that replaces a dead primary.
#![cfg(all(feature = "redis", feature = "sentinel"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use support::{
    RedisServer,
    redis_fixture::{GRACE, open, rotation, successor},
    redis_server::free_port,
    sentinel::{Replicated, Sentinel},
};
use tower_bearer::store::{SessionState, TokenStore};

#[tokio::test]
async fn after_a_failover_the_store_goes_on_with_the_new_primary() {
    let mut servers = Replicated::start().await;
    let store = servers.sentinel.store().await;
    open(&store, "alice", "s1").await;
    open(&store, "alice", "s2").await;
    store.revoke_session("alice", "s2").await.unwrap();
    assert!(matches!(store.check("alice", "s1", "j").await.unwrap().state, SessionState::Active { .. }));
    servers.is_replicated().await;
    servers.primary.kill();
    let begun = Instant::now();
    let next = loop {
        match store.rotate(rotation("alice", "s1", 0, GRACE)).await {
            Ok(rotated) => break successor(rotated),
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(40), "no new primary: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(next.counter, 1);
    assert!(matches!(store.check("alice", "s2", "j").await.unwrap().state, SessionState::Revoked { .. }));
}

#[tokio::test]
async fn a_demoted_primary_answers_no_check() {
    let server = RedisServer::start();
    let sentinel = Sentinel::start(server.port());
    let store = sentinel.store().await;
    open(&store, "alice", "s1").await;
    let mut admin = server.admin().await;
    let nobody = free_port().to_string();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(nobody).exec_async(&mut admin).await.unwrap();
    store.check("alice", "s1", "j").await.unwrap_err();
}

//! The store behind a real sentinel that replaces a dead primary.

use std::time::{Duration, Instant};

use tower_bearer::store::{RedisStore, SessionState};

use crate::support::{
    RedisServer, TextStore, eventually,
    redis_fixture::{GRACE, open, rotation, successor},
    redis_server::free_port,
    sentinel::{MASTER, Replicated, Sentinel},
};

#[tokio::test]
async fn after_a_failover_the_store_goes_on_with_the_new_primary() {
    let mut servers = Replicated::start().await;
    let store = servers.sentinel.store().await;
    open(&store, "alice", "s1").await;
    open(&store, "alice", "s2").await;
    store.revoke_session("alice", "s2").await.unwrap();
    assert!(matches!(store.check("alice", "s1", "j").await.unwrap().state, SessionState::Active { .. }));
    servers.wait_until_replicated().await;
    servers.primary.kill();
    let begun = Instant::now();
    let next = loop {
        match store.rotate(rotation("alice", "s1", 0, GRACE)).await {
            Ok(rotated) => break successor(rotated),
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(40), "no new primary: {error:?}"),
        }
        // The sentinel decides by its own clock.
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

#[tokio::test]
async fn sentinels_and_servers_have_passwords_of_their_own() {
    let server = RedisServer::start();
    let sentinel = Sentinel::start(server.port());
    let mut asked = eventually("the sentinel answers", async || {
        let client = redis::Client::open(sentinel.url()).unwrap();
        client.get_multiplexed_async_connection().await.ok()
    })
    .await;
    let set = ["SET", MASTER, "auth-pass", "TEST-of-servers"];
    redis::cmd("SENTINEL").arg(&set).exec_async(&mut asked).await.unwrap();
    let set = ["SETUSER", "default", "resetpass", ">TEST-of-sentinels"];
    redis::cmd("ACL").arg(&set).exec_async(&mut asked).await.unwrap();
    let mut admin = server.admin().await;
    let set = ["SET", "requirepass", "TEST-of-servers"];
    redis::cmd("CONFIG").arg(&set).exec_async(&mut admin).await.unwrap();

    let url = |servers: &str, sentinels: &str| {
        let host = sentinel.url().trim_start_matches("redis://").trim_end_matches('/').to_owned();
        format!("redis-sentinel://{servers}{host}/0{sentinels}#{MASTER}")
    };
    let (servers, sentinels) = (":TEST-of-servers@", "?sentinel_password=TEST-of-sentinels");
    let store =
        eventually("the store connects", async || RedisStore::connect(url(servers, sentinels)).await.ok()).await;
    open(&store, "alice", "s1").await;
    for wrong in [url("", sentinels), url(servers, ""), url(":TEST-wrong@", sentinels)] {
        let error = RedisStore::connect(wrong).await.unwrap_err();
        assert!(!format!("{error:?}").contains("TEST"), "{error:?}");
    }
}

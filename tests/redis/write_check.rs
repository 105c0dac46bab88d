//! The write check at the end of every strict read. A server that cannot write is not believed.

use std::{fs, time::Duration};

use tower_bearer::{
    Consistency, Error, NewSession, TokenType,
    error::StoreErrorKind,
    store::{
        LogQuery, RedisStore, SessionState,
        redis::{ConnectError, Failover},
    },
    tokens::ReplicaState,
};

use crate::support::{
    HANG, RedisServer, TextStore, eventually,
    redis_fixture::{Fixture, node, open, query},
};

async fn wait_until_served(f: &Fixture) {
    eventually("the session is served", async || {
        let checked = f.store.check("alice", "s1", "j").await.ok()?;
        matches!(checked.state, SessionState::Active { .. }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_primary_that_has_lost_its_replicas_answers_no_strict_read() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    wait_until_served(&f).await;
    f.redis::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let error = f.store.check("alice", "s1", "j").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    let query = query("other", "j", "", "");
    let error = f.store.denied(query).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    f.redis::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    wait_until_served(&f).await;
}

#[tokio::test]
async fn a_primary_that_has_lost_its_replicas_grants_no_lease() {
    let server = RedisServer::start();
    let tokens =
        node(&server.url(), |builder| builder.consistency(Consistency::BoundedStaleness(Duration::from_millis(500))))
            .await;
    let is_leased = async || tokens.status().await.replica.unwrap().state == ReplicaState::Leased;
    eventually("a lease", async || is_leased().await.then_some(())).await;
    let pair = tokens.create_token_pair(NewSession::new("alice")).await.unwrap();
    let validate = async || tokens.validate_token(pair.access().as_str(), TokenType::Access).await;
    validate().await.unwrap();
    let mut admin = server.admin().await;
    let mut demand = async |replicas: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg(&["SET", "min-replicas-to-write", replicas]).query_async::<()>(&mut admin).await.unwrap();
    };
    demand("1").await;
    eventually("nothing is decided any more", async || matches!(validate().await, Err(Error::Store(_))).then_some(()))
        .await;
    assert!(!is_leased().await);
    demand("0").await;
    eventually("it is served again", async || validate().await.ok()).await;
    eventually("a lease", async || is_leased().await.then_some(())).await;
}

#[tokio::test]
async fn the_write_check_changes_nothing() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let state = async || {
        let info: String = f.redis(&["INFO", "persistence"]).await;
        let changes = info.lines().find(|line| line.starts_with("rdb_changes_since_last_save")).unwrap().to_owned();
        (changes, f.redis::<i64>(&["PTTL", "tb:{0}:m"]).await)
    };
    let before = state().await;
    for _ in 0..10 {
        wait_until_served(&f).await;
    }
    assert_eq!(state().await, before);
}

#[tokio::test]
async fn out_of_memory_the_write_check_passes() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.redis::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for _ in 0..10 {
        f.store.check("alice", "s1", "j").await.unwrap();
    }
}

#[tokio::test]
async fn without_the_right_to_persist_nothing_connects() {
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    let rights = ["SETUSER", "app", "on", ">test-password", "~tb:*", "&tb:*", "+@all", "-persist"];
    redis::cmd("ACL").arg(&rights).exec_async(&mut admin).await.unwrap();
    let url = format!("redis://app:test-password@127.0.0.1:{}/", server.port());
    let error = RedisStore::builder(url).connect().await.unwrap_err();
    assert!(matches!(&error, ConnectError::Config(error) if error.to_string().contains("persist")), "{error:?}");
}

/// Removes the folder into which the server saves, so that every save fails, even for root.
async fn fill_disk(f: &Fixture) {
    f.redis::<()>(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "yes"]).await;
    // The server refuses writes after a failed save only if save points are configured.
    f.redis::<()>(&["CONFIG", "SET", "save", "3600 1"]).await;
    let folder: Vec<String> = f.redis(&["CONFIG", "GET", "dir"]).await;
    fs::remove_dir_all(&folder[1]).unwrap();
    let _: String = f.redis(&["BGSAVE"]).await;
    eventually("saving has failed", async || {
        let info: String = f.redis(&["INFO", "persistence"]).await;
        info.contains("rdb_last_bgsave_status:err").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_costs_no_reads_where_nothing_can_replace_the_server() {
    for failover in [Some(Failover::Single), None] {
        let mut f = Fixture::new().await;
        let mut builder = RedisStore::builder(f.server.url()).buckets(1);
        if let Some(failover) = failover {
            builder = builder.failover(failover);
        }
        f.store = builder.connect().await.unwrap();
        f.open("alice", "s1").await;
        fill_disk(&f).await;
        assert!(f.store.revoke_session("alice", "s1").await.is_err(), "a write is refused");
        for _ in 0..10 {
            f.store.check("alice", "s1", "j").await.unwrap();
        }
        let warnings = f.store.warnings();
        assert!(warnings.iter().any(|warning| warning.contains("MISCONF")), "{warnings:?}");
        f.redis::<()>(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]).await;
        wait_until_served(&f).await;
        assert_eq!(f.store.warnings(), [""; 0]);
    }
}

#[tokio::test]
async fn each_process_is_another_server_and_all_connections_to_one_name_the_same() {
    let mut f = Fixture::new().await;
    let server = async |f: &Fixture| f.store.check("alice", "s1", "j").await.unwrap().server.unwrap();
    let first = server(&f).await;
    for _ in 0..4 {
        assert_eq!(server(&f).await, first);
    }
    f.server.restart();
    eventually("the store answers", async || f.store.ping().await.ok()).await;
    let second = eventually("it is read", async || f.store.check("alice", "s1", "j").await.ok()).await.server;
    assert!(second.is_some_and(|second| second != first));
    let query = query("other", "j", "", "");
    assert_eq!(f.store.denied(query).await.unwrap().server, second);
}

#[tokio::test]
async fn a_server_that_does_not_tell_who_it_is_serves_all_the_same() {
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    let rights = ["SETUSER", "app", "on", ">test-password", "~tb:*", "&tb:*", "+@all", "-info"];
    redis::cmd("ACL").arg(&rights).exec_async(&mut admin).await.unwrap();
    let url = format!("redis://app:test-password@127.0.0.1:{}/", server.port());
    let store = RedisStore::builder(url).timeout(Duration::from_secs(2)).connect().await.unwrap();
    assert_eq!(store.check("alice", "s1", "j").await.unwrap().server, None);
}

/// The rights that the store's documentation lists for its Redis user.
const RIGHTS: &str = "~tb:* &tb:* +@read +@write +@connection +@scripting +@pubsub -@dangerous +role +info +time";

async fn user_with(server: &RedisServer, rights: &str) -> String {
    let mut admin = server.admin().await;
    let mut command = redis::cmd("ACL");
    command.arg(&["SETUSER", "app", "reset", "on", ">test-password"]).arg(rights.split(' ').collect::<Vec<_>>());
    command.exec_async(&mut admin).await.unwrap();
    format!("redis://app:test-password@127.0.0.1:{}/", server.port())
}

#[tokio::test]
async fn the_rights_in_the_documentation_are_enough() {
    let server = RedisServer::start();
    let url = user_with(&server, RIGHTS).await;
    let store = RedisStore::builder(url).failover(Failover::Single).connect().await.unwrap();
    open(&store, "alice", "s1").await;
    let checked = store.check("alice", "s1", "j").await.unwrap();
    assert!(checked.server.is_some() && matches!(checked.state, SessionState::Active { .. }));
    store.revoke_session("alice", "s1").await.unwrap();
    store.read(store.bucket_of("alice"), LogQuery::from_start()).await.unwrap();
    for feed in store.feeds(Duration::from_secs(1)) {
        let nudged = tokio::time::timeout(HANG, feed.nudged()).await;
        assert!(nudged.is_ok(), "the subscription was refused");
    }
    assert_eq!(store.warnings(), [""; 0]);
}

#[tokio::test]
async fn a_right_to_persist_that_is_taken_away_costs_no_reads_and_stands_in_the_warnings() {
    let server = RedisServer::start();
    let url = user_with(&server, RIGHTS).await;
    let store = RedisStore::builder(url).failover(Failover::Single).connect().await.unwrap();
    user_with(&server, &format!("{RIGHTS} -persist")).await;
    eventually("the store goes on", async || store.check("alice", "s1", "j").await.ok()).await;
    let warnings = store.warnings();
    assert!(warnings.iter().any(|warning| warning.contains("PERSIST")), "{warnings:?}");
}

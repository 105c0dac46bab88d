//! A store that starts before its server: it tries again, or serves nothing until the server has
//! passed the checks.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::net::TcpListener;
use tower_bearer::{
    Consistency, NewSession, TokenType,
    error::{StoreError, StoreErrorKind},
    store::{
        LogQuery, RedisStore,
        redis::{ConnectErrorKind, Credentials, Failover, RedisStoreBuilder},
    },
};

use crate::support::{
    HANG, Log, RedisServer, TextStore, eventually,
    redis_fixture::{node_on, open, query, rotation, session},
    redis_server::free_port,
};

/// Returns a server that is not running yet.
fn absent() -> RedisServer {
    let mut server = RedisServer::start();
    server.kill();
    server
}

fn on(server: &RedisServer) -> RedisStoreBuilder {
    RedisStore::builder(server.url()).buckets(1)
}

/// Returns the texts of an error and its sources.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Returns the number of the log's lines at a level that contain a text.
fn lines(log: &Log, level: &str, part: &str) -> usize {
    log.text().lines().filter(|line| line.contains(level) && line.contains(part)).count()
}

#[tokio::test]
async fn a_node_that_tries_again_connects_once_its_server_runs() {
    let log = Log::capture();
    let mut server = absent();
    let connecting = tokio::spawn(on(&server).connect_retrying(HANG));
    eventually("the failure is in the log", async || {
        (lines(&log, "WARN", "cannot use the Redis server yet") > 0).then_some(())
    })
    .await;
    assert!(!connecting.is_finished());
    server.restart();
    let store = connecting.await.unwrap().unwrap();
    open(&store, "alice", "s").await;
    assert_eq!(lines(&log, "INFO", "the store uses the Redis server"), 1);
}

#[tokio::test]
async fn a_server_that_hangs_is_tried_again_too() {
    let log = Log::capture();
    let server = RedisServer::start();
    server.pause();
    let connecting = tokio::spawn(on(&server).timeout(Duration::from_millis(100)).connect_retrying(Duration::MAX));
    eventually("the failure is in the log", async || {
        (lines(&log, "WARN", "cannot use the Redis server yet") > 0).then_some(())
    })
    .await;
    server.resume();
    open(&connecting.await.unwrap().unwrap(), "alice", "s").await;
}

#[tokio::test]
async fn the_last_error_is_returned_when_the_time_is_over() {
    let log = Log::capture();
    let server = absent();
    let error = on(&server).connect_retrying(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Unreachable);
    assert!(error.is_transient());
    assert_eq!(lines(&log, "WARN", "cannot use the Redis server yet"), 1, "{}", log.text());
}

#[tokio::test]
async fn an_error_that_does_not_pass_is_returned_immediately() {
    let evicting = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    redis::cmd("CONFIG").arg(&["SET", "requirepass", "TEST-right"]).exec_async(&mut admin).await.unwrap();
    let wrong = RedisStore::builder(server.url().replace("//", "//:TEST-wrong@"));
    let rows = [
        (ConnectErrorKind::Eviction, on(&evicting)),
        (ConnectErrorKind::Unauthenticated, wrong),
        (ConnectErrorKind::Configuration, on(&server).connections(0)),
    ];
    for (kind, builder) in rows {
        let error = tokio::time::timeout(HANG, builder.connect_retrying(Duration::MAX)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn the_next_credentials_of_a_provider_may_be_right() {
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    redis::cmd("CONFIG").arg(&["SET", "requirepass", "TEST-2"]).exec_async(&mut admin).await.unwrap();
    let asked = AtomicUsize::new(0);
    let provider = move || {
        let password = format!("TEST-{}", asked.fetch_add(1, Ordering::SeqCst));
        async move { if password == "TEST-0" { Err("TEST: not yet".into()) } else { Ok(Credentials::password(password)) } }
    };
    let builder = on(&server).connections(1).credentials_provider(provider);
    tokio::time::timeout(HANG, builder.connect_retrying(Duration::MAX)).await.unwrap().unwrap();
}

/// Asserts that each method of a store that needs the server fails.
async fn assert_fails_closed(store: &RedisStore) {
    let until = tower_bearer::clock::Timestamp::END_OF_TIME;
    let errors = [
        store.open(session("alice", "s")).await.err(),
        store.check("alice", "s", "j").await.err(),
        store.rotate(rotation("alice", "s", 0, HANG)).await.err(),
        store.revoke_session("alice", "s").await.err(),
        store.revoke_token("alice", "j", until).await.err(),
        store.revoke_all("alice", None).await.err(),
        store.sessions("alice", tower_bearer::store::Page::default()).await.err(),
        store.ping().await.err(),
        store.read(0, LogQuery::newest()).await.err(),
        store.denied(query("i", "j", "s", "alice")).await.err(),
        store.feeds(HANG)[0].read(vec![(0, LogQuery::newest())]).await.err(),
    ];
    for (number, error) in errors.into_iter().enumerate() {
        let error = error.unwrap_or_else(|| panic!("call {number} succeeded"));
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "call {number}: {error:?}");
        assert!(chain(&error).contains("has not passed the checks of the store yet"), "call {number}: {error:?}");
    }
}

#[tokio::test]
async fn a_lazy_store_fails_closed_until_its_server_runs() {
    let log = Log::capture();
    let mut server = absent();
    let store = on(&server).connect_lazy().unwrap();
    assert_fails_closed(&store).await;
    assert_eq!(store.warnings(), [""; 0], "no setting is wrong");
    server.restart();
    eventually("the store serves", async || store.ping().await.ok()).await;
    open(&store, "alice", "s").await;
    assert_eq!(lines(&log, "WARN", "cannot use the Redis server yet"), 1, "{}", log.text());
    assert_eq!(lines(&log, "INFO", "the store uses the Redis server"), 1);
}

#[tokio::test]
async fn the_first_call_of_a_lazy_store_waits_for_the_first_attempt() {
    let server = RedisServer::start();
    let store = on(&server).timeout(HANG).failover(Failover::Single).connect_lazy().unwrap();
    open(&store, "alice", "s").await;
    assert_eq!(store.failover_bound(), Ok(Duration::ZERO));
}

#[tokio::test]
async fn a_wrong_setting_that_is_found_late_warns_and_its_correction_needs_no_restart() {
    let log = Log::capture();
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let store = on(&server).connect_lazy().unwrap();
    assert_fails_closed(&store).await;
    let warnings = store.warnings();
    assert!(warnings.iter().any(|warning| warning.contains("maxmemory-policy allkeys-lru")), "{warnings:?}");
    let mut admin = server.admin().await;
    redis::cmd("CONFIG").arg(&["SET", "maxmemory-policy", "noeviction"]).exec_async(&mut admin).await.unwrap();
    eventually("the store serves", async || store.ping().await.ok()).await;
    assert_eq!(store.warnings(), [""; 0]);
    assert_eq!(lines(&log, "ERROR", "until a setting changes"), 1, "{}", log.text());
}

#[tokio::test]
async fn under_replicas_a_lazy_store_serves_only_after_the_first_proof() {
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    redis::cmd("CONFIG").arg(&["SET", "min-replicas-to-write", "1"]).exec_async(&mut admin).await.unwrap();
    let failover = Failover::Replicas { max_lag: Duration::from_secs(1) };
    let store = on(&server).failover(failover).timeout(Duration::from_millis(200)).connect_lazy().unwrap();
    // Wait for the end of the first attempt, which is longer than a call.
    eventually("the attempt has failed", async || {
        chain(&store.ping().await.unwrap_err()).contains("replica").then_some(())
    })
    .await;
    assert_fails_closed(&store).await;
    let replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {}", server.port())]);
    eventually("the store serves", async || store.check("alice", "s", "j").await.ok()).await;
    drop(replica);
}

#[tokio::test]
async fn the_task_of_a_lazy_store_ends_with_it() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("redis://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let accepted = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&accepted);
    tokio::spawn(async move {
        // It closes each connection.
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let store = RedisStore::builder(url).connect_lazy().unwrap();
    eventually("it tries again", async || (accepted.load(Ordering::SeqCst) > 2).then_some(())).await;
    drop(store.clone());
    let before = accepted.load(Ordering::SeqCst);
    eventually("it tries again", async || (accepted.load(Ordering::SeqCst) > before).then_some(())).await;
    drop(store);
    // Real time: a task that goes on would try again within a second.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = accepted.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(accepted.load(Ordering::SeqCst), before);
}

#[test]
fn a_lazy_store_needs_a_runtime_and_valid_settings() {
    let builder = || RedisStore::builder(format!("redis://127.0.0.1:{}/", free_port()));
    assert_eq!(builder().connect_lazy().unwrap_err().setting(), "connect_lazy");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    assert_eq!(builder().buckets(0).connect_lazy().unwrap_err().setting(), "buckets");
    assert_eq!(RedisStore::builder("http://127.0.0.1/").connect_lazy().unwrap_err().setting(), "url");
    builder().connect_lazy().unwrap();
}

#[tokio::test]
async fn a_service_on_a_lazy_store_accepts_no_token_before_and_all_is_well_after() {
    let mut server = absent();
    let store = on(&server).connect_lazy().unwrap();
    let staleness = Consistency::BoundedStaleness(Duration::from_millis(200));
    let tokens = node_on(store, |builder| builder.consistency(staleness));
    tokens.create_token_pair(NewSession::new("alice")).await.unwrap_err();
    server.restart();
    let pair =
        eventually("a login succeeds", async || tokens.create_token_pair(NewSession::new("alice")).await.ok()).await;
    let access = pair.access().as_str();
    eventually("the token is accepted", async || tokens.validate_token(access, TokenType::Access).await.ok().map(drop))
        .await;
    eventually("the revocation is everywhere", async || tokens.revoke_token(access).everywhere().await.ok()).await;
    tokens.validate_token(access, TokenType::Access).await.unwrap_err();
    // A lazy node that starts now must not accept the token before its checks.
    server.pause();
    let late = on(&server).timeout(Duration::from_millis(200)).connect_lazy().unwrap();
    let late = node_on(late, |builder| builder.consistency(staleness));
    late.validate_token(access, TokenType::Access).await.unwrap_err();
    server.resume();
    eventually("the token is refused as revoked", async || {
        let error = late.validate_token(access, TokenType::Access).await.unwrap_err();
        matches!(error, tower_bearer::Error::Token(_)).then_some(())
    })
    .await;
}

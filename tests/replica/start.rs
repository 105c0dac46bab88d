//! The start of a node, and its return after an interruption.
//!
//! One small read gives a node a lease, independently of the length of the log. Until the node has
//! read the log, it asks the store about tokens that unread entries may concern.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use redis::aio::MultiplexedConnection;
use tower_bearer::{
    Consistency, Error, NewSession, RedisStore, TokenPair, TokenService, TokenType,
    error::{StoreErrorKind, TokenError},
    tokens::{ReplicaStatus, TokenServiceBuilder},
};

use crate::{
    support::{
        HANG, Proxy, RedisServer, TextStore, eventually,
        redis_fixture::{node, node_on, user_of},
    },
    wait_until_leased,
};

/// The bytes per second of a link of 80 Mbit/s.
const LINK: u64 = 10_000_000;
const BUCKETS: usize = 16;
const BOUNDED: Consistency = Consistency::BoundedStaleness(Duration::from_secs(1));

fn bounded(builder: TokenServiceBuilder) -> TokenServiceBuilder {
    builder.consistency(BOUNDED)
}

async fn replica(tokens: &TokenService) -> ReplicaStatus {
    tokens.status().await.replica.unwrap()
}

async fn validate(tokens: &TokenService, pair: &TokenPair) -> Result<(), Error> {
    tokens.validate_token(pair.access().as_str(), TokenType::Access).await.map(drop)
}

async fn is_refused(tokens: &TokenService, pair: &TokenPair) -> bool {
    matches!(validate(tokens, pair).await, Err(Error::Token(_)))
}

async fn pair(tokens: &TokenService, subject: &str) -> TokenPair {
    tokens.create_token_pair(NewSession::new(subject)).await.unwrap()
}

/// Writes this many entries for users of all buckets.
async fn fill(store: &RedisStore, entries: usize) {
    let revoke = |number: usize| async move {
        store.revoke_session(&format!("user-{number}"), &format!("session-{number}")).await.unwrap();
    };
    stream::iter(0..entries).map(revoke).buffer_unordered(64).collect::<Vec<_>>().await;
}

async fn run<T: redis::FromRedisValue>(admin: &MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut admin.clone()).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

async fn store(url: &str) -> RedisStore {
    RedisStore::builder(url).timeout(HANG).connect().await.unwrap()
}

#[tokio::test]
async fn a_node_is_leased_after_one_small_read_whatever_the_log_holds() {
    let server = RedisServer::start();
    let writer = node(&server.url(), |builder| builder).await;
    let revoked = pair(&writer, "before").await;
    writer.revoke_session("before", revoked.session_id()).await.unwrap();
    let entries = BUCKETS * 900;
    fill(&store(&server.url()).await, entries).await;
    let old = pair(&writer, "old").await;
    let proxy = Proxy::start(server.port()).await;
    let store = store(&proxy.url()).await;
    proxy.slow_replies(LINK);
    let (before, began) = (proxy.reply_bytes(), Instant::now());
    let tokens = node_on(store, bounded);
    wait_until_leased(&tokens).await;
    let bytes = proxy.reply_bytes() - before;
    println!("leased after {:?} and {bytes} bytes", began.elapsed());
    assert!(bytes < 1_000_000, "{bytes} bytes were read for the lease; the log has 5 MB");
    // The node asks the store about entries that it has not read yet.
    assert!(is_refused(&tokens, &revoked).await);
    validate(&tokens, &old).await.unwrap();
    eventually("all is read", async || (replica(&tokens).await.revocations > entries).then_some(())).await;
    wait_until_leased(&tokens).await;
}

#[tokio::test]
async fn a_node_that_has_fallen_behind_goes_on_from_the_head_and_misses_nothing() {
    let server = RedisServer::start();
    let writer = store(&server.url()).await;
    let proxy = Proxy::start(server.port()).await;
    let tokens = node(&proxy.url(), bounded).await;
    wait_until_leased(&tokens).await;
    let user = user_of(&writer, |bucket| bucket == 3);
    let pairs = [pair(&tokens, &user).await, pair(&tokens, &user).await];
    proxy.freeze();
    writer.revoke_session(&user, pairs[0].session_id().as_str()).await.unwrap();
    for number in 0..5000 {
        writer.revoke_session(&user, &format!("session-{number}")).await.unwrap();
    }
    proxy.resume();
    eventually("all is read", async || (replica(&tokens).await.revocations > 5000).then_some(())).await;
    wait_until_leased(&tokens).await;
    assert!(is_refused(&tokens, &pairs[0]).await);
    validate(&tokens, &pairs[1]).await.unwrap();
    // The store no longer answers, so the node decides by the entries that it has read.
    proxy.freeze();
    assert!(is_refused(&tokens, &pairs[0]).await);
}

#[tokio::test]
async fn a_store_that_is_empty_for_a_moment_ends_no_session() {
    let server = RedisServer::start();
    let admin = server.admin().await;
    for consistency in [BOUNDED, Consistency::Strong] {
        let tokens = node(&server.url(), |builder| builder.consistency(consistency)).await;
        let live = pair(&tokens, "42").await;
        validate(&tokens, &live).await.unwrap();
        // This acts like another server at the same address.
        run::<()>(&admin, &["SWAPDB", "0", "1"]).await;
        let unknown = async || {
            matches!(validate(&tokens, &live).await, Err(Error::Token(TokenError::UnknownSession))).then_some(())
        };
        eventually("the session is unknown", unknown).await;
        // Only the store refuses the refresh, and the node does not remember that.
        assert!(tokens.refresh(live.refresh().as_str()).await.is_err());
        run::<()>(&admin, &["SWAPDB", "0", "1"]).await;
        tokens.refresh(live.refresh().as_str()).await.unwrap();
        eventually("it is known again", async || validate(&tokens, &live).await.ok()).await;
        run::<()>(&admin, &["FLUSHALL"]).await;
    }
}

#[tokio::test]
async fn sessions_that_a_restored_snapshot_has_lost_are_refused_on_all_nodes() {
    let mut server = RedisServer::start();
    let nodes = [node(&server.url(), bounded).await, node(&server.url(), bounded).await];
    let user = user_of(&store(&server.url()).await, |bucket| bucket == 3);
    let another = user_of(&store(&server.url()).await, |bucket| bucket == 3);
    let old = pair(&nodes[0], &user).await;
    run::<()>(&server.admin().await, &["SAVE"]).await;
    let lost = pair(&nodes[0], &user).await;
    let revoked = nodes[0].revoke_session(&another, &"x".into()).await.unwrap();
    for node in &nodes {
        wait_until_leased(node).await;
        eventually("it is read", async || node.has_applied(revoked.position().unwrap()).then_some(())).await;
        validate(node, &lost).await.unwrap();
    }
    server.restart();
    for node in &nodes {
        eventually("the lost session is refused", async || is_refused(node, &lost).await.then_some(())).await;
        wait_until_leased(node).await;
        assert!(is_refused(node, &lost).await);
        validate(node, &old).await.unwrap();
    }
}

#[tokio::test]
async fn entries_that_nobody_can_read_take_no_lease_away() {
    let server = RedisServer::start();
    let admin = server.admin().await;
    let nodes = [node(&server.url(), bounded).await, node(&server.url(), bounded).await];
    let user = user_of(&store(&server.url()).await, |bucket| bucket == 3);
    for node in &nodes {
        wait_until_leased(node).await;
    }
    let long = "x".repeat(40_000);
    run::<String>(&admin, &["XADD", "tb:{3}:log", "*", "seq", "1", "sub", &long]).await;
    let revoked = pair(&nodes[0], &user).await;
    let revocation = nodes[0].revoke_session(&user, revoked.session_id()).await.unwrap();
    for node in &nodes {
        eventually("the entry behind it is read", async || {
            node.has_applied(revocation.position().unwrap()).then_some(())
        })
        .await;
        wait_until_leased(node).await;
        assert!(is_refused(node, &revoked).await);
    }
    // A node that starts with this entry at the head of the log.
    run::<String>(&admin, &["XADD", "tb:{3}:log", "*", "seq", "1", "sub", &long]).await;
    let late = node(&server.url(), bounded).await;
    wait_until_leased(&late).await;
    assert!(is_refused(&late, &revoked).await);
}

#[tokio::test]
async fn no_more_tokens_than_allowed_are_asked_about_because_they_are_older_than_the_log_that_was_read() {
    let server = RedisServer::start();
    let writer = node(&server.url(), |builder| builder).await;
    let user = user_of(&store(&server.url()).await, |bucket| bucket == 3);
    let mut old = Vec::new();
    for _ in 0..8 {
        old.push(pair(&writer, &user).await);
    }
    // The time of this entry becomes the horizon of a new node, because older entries are gone.
    writer.revoke_session(&user, &"x".into()).await.unwrap();
    run::<u64>(&server.admin().await, &["XTRIM", "tb:{3}:log", "MAXLEN", "0"]).await;
    let few = std::num::NonZeroU32::new(4).unwrap();
    let tokens = node(&server.url(), |builder| bounded(builder).max_questions(few)).await;
    wait_until_leased(&tokens).await;
    let mut over = 0;
    for pair in &old {
        match validate(&tokens, pair).await {
            Ok(()) => {}
            Err(Error::Store(error)) if error.kind() == StoreErrorKind::Overloaded => over += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(over > 0, "eight at once are more than four a second and one second's worth");
    // The node asks once per token, and then knows all.
    for pair in &old {
        eventually("it is accepted", async || validate(&tokens, pair).await.ok()).await;
    }
    for pair in &old {
        validate(&tokens, pair).await.unwrap();
    }
}

#[tokio::test]
async fn a_nudge_about_one_bucket_makes_nobody_read_the_others() {
    let server = RedisServer::start();
    let admin = server.admin().await;
    // Polls are so rare that only nudges matter.
    let slow = |builder: TokenServiceBuilder| {
        let staleness = Consistency::BoundedStaleness(Duration::from_secs(3600));
        builder.consistency(staleness).poll_interval(Duration::from_secs(1800))
    };
    let tokens = node(&server.url(), slow).await;
    let writer = store(&server.url()).await;
    let user = user_of(&writer, |bucket| bucket == 3);
    wait_until_leased(&tokens).await;
    // A new subscription nudges once for all buckets.
    let first = writer.revoke_session(&user, "first").await.unwrap();
    eventually("it is read", async || tokens.has_applied(first.position().unwrap()).then_some(())).await;
    let reads = async || {
        let stats: String = run(&admin, &["INFO", "commandstats"]).await;
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xrange:calls=")?.split(',').next());
        calls.map_or(0, |calls| calls.parse::<usize>().unwrap())
    };
    let before = reads().await;
    let mut last = first;
    for number in 0..300 {
        last = writer.revoke_session(&user, &number.to_string()).await.unwrap();
    }
    eventually("all are read", async || tokens.has_applied(last.position().unwrap()).then_some(())).await;
    let reads = reads().await - before;
    assert!((1..=150).contains(&reads), "{reads} reads for 300 nudges about one bucket");
}

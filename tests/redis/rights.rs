//! The rights that `docs/operations/redis.md` lists for the Redis user.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tower_bearer::{
    Consistency, Error, NewSession, TokenType,
    store::{DenyRequest, ExternalId, LogQuery, RedisStore, redis::RedisStoreBuilder},
};

use crate::support::{
    HANG, RedisServer, TextStore, eventually,
    redis_fixture::{node_on, query},
};

const PAGE: &str = include_str!("../../docs/operations/redis.md");

/// Returns the words of the page's example with this number that sets up a user.
fn setuser(number: usize) -> Vec<&'static str> {
    let blocks = PAGE.split("```text\n").skip(1).filter(|block| block.starts_with("ACL SETUSER"));
    let block = blocks.into_iter().nth(number).expect("the example").split("```").next().expect("its text");
    block.split_whitespace().collect()
}

async fn run<T: redis::FromRedisValue>(mut admin: MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut admin).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn on(server: &RedisServer) -> RedisStoreBuilder {
    RedisStore::builder(server.url().replace("//", "//app:password@")).buckets(1).timeout(HANG)
}

/// Returns the commands and channels that the server has denied.
async fn denied(server: &RedisServer) -> Vec<String> {
    let entries: Vec<std::collections::HashMap<String, redis::Value>> =
        run(server.admin().await, &["ACL", "LOG"]).await;
    let object = |entry: &std::collections::HashMap<String, redis::Value>| {
        redis::from_redis_value::<String>(entry["object"].clone()).expect("a text")
    };
    // From 7.2 on, redis-rs names itself.
    entries.iter().map(object).filter(|object| object != "client|setinfo").collect()
}

/// Logs in, requests, refreshes, revokes in each way, and denies.
async fn use_everything(store: RedisStore) {
    let staleness = Consistency::BoundedStaleness(Duration::from_secs(1));
    let tokens = node_on(store.clone(), |builder| builder.consistency(staleness));
    let log_in = async || tokens.create_token_pair(NewSession::new("alice")).await.unwrap();
    let pair = log_in().await;
    tokens.validate_token(pair.access().as_str(), TokenType::Access).await.unwrap();
    let pair = tokens.refresh(pair.refresh().as_str()).await.unwrap();
    assert_eq!(store.sessions("alice", tower_bearer::store::Page::default()).await.unwrap().sessions.len(), 1);
    tokens.revoke_token(pair.access().as_str()).everywhere().await.unwrap();
    let other = log_in().await;
    tokens.revoke_session("alice", other.session_id()).everywhere().await.unwrap();
    let third = log_in().await;
    tokens.revoke_all_for_subject("alice").everywhere().await.unwrap();
    for pair in [pair, other, third] {
        let outcome = tokens.validate_token(pair.access().as_str(), TokenType::Access).await;
        assert!(matches!(outcome, Err(Error::Token(_))), "{outcome:?}");
    }
    store.deny(DenyRequest::new("i", ExternalId::Token("j".into()), HANG)).await.unwrap();
    assert!(store.denied(query("i", "j", "", "")).await.unwrap().token);
}

#[tokio::test]
async fn the_fewest_rights_serve_everything_but_nudges() {
    let server = RedisServer::start();
    run::<()>(server.admin().await, &setuser(0)).await;
    let store = on(&server).connect().await.unwrap();
    use_everything(store.clone()).await;
    assert_eq!(store.feeds(HANG)[0].read(vec![(0, LogQuery::newest())]).await.unwrap().len(), 1);
    let optional = ["info", "config|get", "spublish", "ssubscribe"];
    let denied = denied(&server).await;
    assert!(denied.iter().all(|object| optional.contains(&object.as_str())), "{denied:?}");
}

#[tokio::test]
async fn each_of_the_fewest_rights_is_missed_when_connecting() {
    let server = RedisServer::start();
    run::<()>(server.admin().await, &setuser(0)).await;
    on(&server).connect().await.unwrap();
    let rights: Vec<_> = setuser(0).into_iter().filter_map(|word| word.strip_prefix('+')).collect();
    assert!(rights.len() > 20, "{rights:?}");
    for right in rights {
        run::<()>(server.admin().await, &["SCRIPT", "FLUSH"]).await;
        run::<()>(server.admin().await, &["ACL", "SETUSER", "app", &format!("-{right}")]).await;
        let error = on(&server).connect().await.expect_err(right);
        // The check of the rights is itself a script that reads the time.
        let is_named = error.to_string().contains(right) || ["eval", "evalsha", "time"].contains(&right);
        assert!(is_named, "{right}: {error}");
        let text = error.to_string();
        let names = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| *word == right).count();
        assert!(names <= 1, "{right}: {error}");
        run::<()>(server.admin().await, &["ACL", "SETUSER", "app", &format!("+{right}")]).await;
    }
    on(&server).connect().await.unwrap();
}

#[tokio::test]
async fn with_the_optional_rights_nodes_get_nudges_and_nothing_is_denied() {
    let server = RedisServer::start();
    for number in [0, 1] {
        run::<()>(server.admin().await, &setuser(number)).await;
    }
    let store = on(&server).connect().await.unwrap();
    let feeds = store.feeds(HANG);
    // A new subscription rings once.
    assert_eq!(tokio::time::timeout(HANG, feeds[0].nudged()).await.unwrap(), [0]);
    store.revoke_session("alice", "s").await.unwrap();
    assert_eq!(tokio::time::timeout(HANG, feeds[0].nudged()).await.unwrap(), [0]);
    use_everything(store).await;
    let denied = denied(&server).await;
    assert!(denied.is_empty(), "{denied:?}");
}

#[tokio::test]
async fn under_replicas_the_user_needs_two_rights_more() {
    use tower_bearer::store::redis::Failover;

    let server = RedisServer::start();
    let replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {}", server.port())]);
    for number in [0, 1] {
        run::<()>(server.admin().await, &setuser(number)).await;
    }
    let connect = async || {
        let failover = Failover::Replicas { max_lag: Duration::from_secs(1) };
        on(&server).timeout(Duration::from_secs(1)).failover(failover).connect().await
    };
    for right in ["pexpire", "wait"] {
        let error = eventually("the replica follows", async || {
            let error = connect().await.unwrap_err();
            error.to_string().contains("right").then(|| error.to_string())
        })
        .await;
        assert!(error.contains(&right.to_uppercase()), "{error}");
        run::<()>(server.admin().await, &["ACL", "SETUSER", "app", &format!("+{right}")]).await;
    }
    let store = eventually("the store connects", async || connect().await.ok()).await;
    store.revoke_session("alice", "s").await.unwrap();
    let denied = denied(&server).await;
    assert!(denied.iter().all(|object| object == "pexpire" || object == "wait"), "{denied:?}");
    drop(replica);
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn in_a_cluster_the_user_needs_one_right_more() {
    // A confirmed revocation waits for the time for which a node may use a replaced primary.
    let server = RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "200"]);
    run::<()>(server.admin().await, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    for number in [0, 1] {
        run::<()>(server.admin().await, &setuser(number)).await;
    }
    let url = server.url().replace("//", "//app:password@");
    let connect = async || RedisStore::cluster([url.clone()]).buckets(1).connect().await;
    eventually("the cluster is formed", async || {
        let info: String = run(server.admin().await, &["CLUSTER", "INFO"]).await;
        info.contains("cluster_state:ok").then_some(())
    })
    .await;
    connect().await.unwrap_err();
    run::<()>(server.admin().await, &["ACL", "SETUSER", "app", "+cluster|slots"]).await;
    let store = connect().await.unwrap();
    use_everything(store).await;
    let denied = denied(&server).await;
    assert!(denied.iter().all(|object| object == "cluster|slots"), "{denied:?}");
}

#[cfg(feature = "sentinel")]
#[tokio::test]
async fn the_documented_rights_at_a_sentinel_are_enough() {
    use crate::support::sentinel::{MASTER, Sentinel};

    let rights = PAGE.split("They need `").nth(1).unwrap().split('`').next().unwrap();
    let server = RedisServer::start();
    let sentinel = Sentinel::start(server.port());
    let admin = eventually("the sentinel answers", async || {
        let client = redis::Client::open(sentinel.url()).unwrap();
        client.get_multiplexed_async_connection().await.ok()
    })
    .await;
    let words: Vec<_> =
        ["ACL", "SETUSER", "app", "on", ">password"].into_iter().chain(rights.split_whitespace()).collect();
    run::<()>(admin.clone(), &words).await;
    let url = sentinel.url().replace("//", "//app:password@");
    let store =
        eventually("the store connects", async || RedisStore::sentinel([url.clone()], MASTER).connect().await.ok())
            .await;
    store.revoke_session("alice", "s").await.unwrap();
    eventually("the sentinel's changes are heard", async || {
        let clients: String = run(admin.clone(), &["CLIENT", "LIST"]).await;
        clients.lines().any(|line| line.contains("user=app") && line.contains("sub=1")).then_some(())
    })
    .await;
    let entries: Vec<redis::Value> = run(admin, &["ACL", "LOG"]).await;
    assert!(entries.iter().all(|entry| format!("{entry:?}").contains("setinfo")), "{entries:?}");
}

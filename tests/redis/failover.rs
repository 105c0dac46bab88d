//! Declared failovers, and the bound that the store derives from them.

use std::time::{Duration, Instant};

use tower_bearer::{
    Consistency, MemoryStore, TokenService,
    issuers::IssuerPolicy,
    store::{
        LogQuery, RedisStore,
        redis::{ConnectError, Failover, RedisStoreBuilder},
    },
};

use crate::support::{
    RedisServer, TextStore, eventually,
    fixture::issuer,
    redis_fixture::{self, open},
    redis_server::free_port,
};

const LAG: Duration = Duration::from_secs(1);

/// Starts a primary that requires one replica for writes, and that replica.
async fn primary_with_replica() -> (RedisServer, RedisServer) {
    let primary = primary_that_demands("1");
    let replica = replica_of(&primary).await;
    let mut admin = primary.admin().await;
    // The primary counts its replicas once a second.
    eventually("the primary takes writes", async || {
        redis::cmd("PERSIST").arg("nothing").query_async::<i64>(&mut admin).await.ok()
    })
    .await;
    (primary, replica)
}

/// Starts a primary that requires this many replicas for writes.
fn primary_that_demands(replicas: &str) -> RedisServer {
    // By default the first synchronization of a replica is delayed by five seconds.
    RedisServer::start_with(&["--min-replicas-to-write", replicas, "--repl-diskless-sync-delay", "0"])
}

async fn replica_of(primary: &RedisServer) -> RedisServer {
    let replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    // The replica notices the link before the primary, which refuses writes until then.
    let (mut follower, mut leader) = (replica.admin().await, primary.admin().await);
    eventually("the replica follows", async || {
        let told: String = redis::cmd("INFO").arg("replication").query_async(&mut follower).await.ok()?;
        let counted: u64 = redis::cmd("WAIT").arg(&[1, 100]).query_async(&mut leader).await.ok()?;
        (told.contains("master_link_status:up") && counted >= 1).then_some(())
    })
    .await;
    replica
}

async fn refused(builder: RedisStoreBuilder) -> String {
    match builder.connect().await {
        Err(ConnectError::Config(error)) => error.setting().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_declaration_that_does_not_fit_is_a_mistake() {
    let url = format!("redis://127.0.0.1:{}/", free_port());
    for max_lag in [Duration::ZERO, Duration::from_secs(3600)] {
        assert_eq!(refused(RedisStore::builder(&url).failover(Failover::Replicas { max_lag })).await, "failover");
    }
    #[cfg(feature = "sentinel")]
    {
        let sentinels = || RedisStore::sentinel([url.clone()], "main");
        assert_eq!(refused(sentinels().failover(Failover::Single)).await, "failover");
        for patience in [Duration::from_millis(999), Duration::from_secs(61)] {
            assert_eq!(refused(sentinels().sentinel_patience(patience)).await, "sentinel_patience");
        }
        assert_eq!(refused(RedisStore::builder(&url).sentinel_patience(LAG)).await, "sentinel_patience");
        assert_eq!(refused(RedisStore::sentinel(["unix:///s"], "main")).await, "urls");
    }
    #[cfg(feature = "cluster")]
    {
        let cluster = || RedisStore::cluster([url.clone()]);
        assert_eq!(refused(cluster().failover(Failover::Single)).await, "failover");
        assert_eq!(refused(cluster().cluster_node_timeout(Duration::ZERO)).await, "cluster_node_timeout");
        assert_eq!(refused(RedisStore::builder(&url).cluster_node_timeout(LAG)).await, "cluster_node_timeout");
    }
}

#[tokio::test]
async fn the_bound_is_that_of_the_staleness_and_the_failover() {
    let server = RedisServer::start();
    let bounded = Consistency::BoundedStaleness(Duration::from_millis(250));
    let single = RedisStore::builder(server.url()).failover(Failover::Single).connect().await.unwrap();
    for (consistency, bound) in [(Consistency::Strong, 0), (bounded, 250)] {
        let tokens = redis_fixture::node_on(single.clone(), |builder| builder.consistency(consistency));
        let status = tokens.status().await;
        assert_eq!((status.bound_ms, status.bound_reason), (Some(bound), None));
        assert!(status.warnings.is_empty(), "{:?}", status.warnings);
    }
    let undeclared = RedisStore::connect(server.url()).await.unwrap();
    let status = redis_fixture::node_on(undeclared, |builder| builder).status().await;
    assert_eq!(status.bound_ms, None);
    assert!(status.bound_reason.unwrap().contains("Failover::Single"));
}

#[tokio::test]
async fn the_memory_store_has_a_bound_and_a_service_without_a_store_has_none() {
    let secret = "a TEST secret that is long enough for HS256";
    let memory = TokenService::builder().secret(secret).store(MemoryStore::default()).build().unwrap();
    assert_eq!(memory.status().await.bound_ms, Some(0));
    let stateless = TokenService::builder().accept(issuer(IssuerPolicy::Stateless)).build().unwrap();
    let status = stateless.status().await;
    assert_eq!(status.bound_ms, None);
    assert!(status.bound_reason.unwrap().contains("checks no revocations"));
}

#[tokio::test]
async fn the_longest_bound_of_any_node_stands_in_m_and_everywhere_waits_for_it() {
    let (primary, _replica) = primary_with_replica().await;
    let single = RedisStore::builder(primary.url()).failover(Failover::Single).connect().await.unwrap();
    let revoked = single.revoke_session("alice", "s1").await.unwrap();
    assert_eq!(revoked.logged.unwrap().max_failover, Duration::ZERO);
    let replicas = Failover::Replicas { max_lag: LAG };
    let began = Instant::now();
    let moved = RedisStore::builder(primary.url()).failover(replicas).connect().await.unwrap();
    println!("connected after {:?}", began.elapsed());
    assert_eq!(moved.failover_bound(), Ok(LAG));
    let revoked = single.revoke_session("alice", "s1").await.unwrap();
    assert_eq!(revoked.logged.unwrap().max_failover, LAG);
    let mut admin = primary.admin().await;
    for bucket in 0..16 {
        let told: Vec<u64> = redis::cmd("HMGET")
            .arg(format!("tb:{{{bucket}}}:m"))
            .arg(&["dmax", "fmax"])
            .query_async(&mut admin)
            .await
            .unwrap();
        assert_eq!(told, [0, 1000], "{bucket}");
    }
    let tokens = redis_fixture::node_on(single, |builder| builder);
    let began = Instant::now();
    tokens.revoke_session("alice", &"s1".into()).everywhere().await.unwrap();
    assert!(began.elapsed() >= LAG, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_node_that_only_reads_tells_its_bound_again_to_a_store_that_has_forgotten_it() {
    let (primary, _replica) = primary_with_replica().await;
    let replicas = Failover::Replicas { max_lag: LAG };
    let moved = RedisStore::builder(primary.url()).failover(replicas).connect().await.unwrap();
    let bound = moved.failover_bound().unwrap();
    let mut admin = primary.admin().await;
    redis::cmd("HSET").arg("tb:{0}:m").arg("fmax").arg(0).exec_async(&mut admin).await.unwrap();
    assert_eq!(moved.read(0, LogQuery::newest()).await.unwrap().max_failover, bound);
}

#[tokio::test]
async fn a_bucket_of_an_earlier_version_has_no_fmax_and_gets_one() {
    let (server, _replica) = primary_with_replica().await;
    let store = RedisStore::builder(server.url()).buckets(1).connect().await.unwrap();
    let mut admin = server.admin().await;
    redis::cmd("HDEL").arg("tb:{0}:m").arg("fmax").exec_async(&mut admin).await.unwrap();
    assert_eq!(store.revoke_session("alice", "s1").await.unwrap().logged.unwrap().max_failover, Duration::ZERO);
    // A revoked session that the store did not know leaves a record, so another one is opened.
    open(&store, "alice", "s2").await;
    let replicas = Failover::Replicas { max_lag: LAG };
    let moved = RedisStore::builder(server.url()).buckets(1).failover(replicas).connect().await.unwrap();
    assert_eq!(store.revoke_session("alice", "s2").await.unwrap().logged.unwrap().max_failover, LAG);
    drop(moved);
}

#[tokio::test]
async fn one_replica_more_than_is_covered_voids_the_bound() {
    let (primary, _replica) = primary_with_replica().await;
    let replicas = Failover::Replicas { max_lag: LAG };
    let store = RedisStore::builder(primary.url()).failover(replicas).connect().await.unwrap();
    assert!(store.failover_bound().is_ok() && store.warnings().is_empty());
    let _other = replica_of(&primary).await;
    let reason = eventually("the bound is void", async || store.failover_bound().err()).await;
    assert!(reason.contains("2 replicas"), "{reason}");
    assert_eq!(store.warnings(), [reason]);
    // A connected store keeps working.
    open(&store, "alice", "s1").await;
}

/// Returns the cause of the store error of a failed `connect`.
async fn cause(builder: RedisStoreBuilder) -> String {
    match builder.connect().await {
        Err(ConnectError::Store(error)) => std::error::Error::source(&error).unwrap().to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_its_replicas_a_server_is_not_connected_to_and_the_error_counts_them() {
    let replicas = Failover::Replicas { max_lag: LAG };
    let server = primary_that_demands("0");
    let mut admin = server.admin().await;
    redis::cmd("ACL").arg(&["SETUSER", "default", "-config"]).exec_async(&mut admin).await.unwrap();
    let began = Instant::now();
    let error = cause(RedisStore::builder(server.url()).failover(replicas)).await;
    println!("given up after {:?}", began.elapsed());
    assert!(error.contains("0 of 1 replicas"), "{error}");
    let server = primary_that_demands("2");
    let _replica = replica_of(&server).await;
    let error = cause(RedisStore::builder(server.url()).failover(replicas)).await;
    assert!(error.contains("0 of 2 replicas") && error.contains("NOREPLICAS"), "{error}");
}

#[tokio::test]
async fn a_server_that_demands_fewer_replicas_than_it_has_voids_the_bound() {
    let server = primary_that_demands("0");
    let _replica = replica_of(&server).await;
    let replicas = Failover::Replicas { max_lag: LAG };
    let store = RedisStore::builder(server.url()).failover(replicas).connect().await.unwrap();
    let reason = store.failover_bound().unwrap_err();
    assert!(reason.contains("min-replicas-to-write is 0"), "{reason}");
}

#[tokio::test]
async fn a_server_that_demands_no_replica_serves_alone_until_it_does() {
    let server = primary_that_demands("0");
    let replicas = Failover::Replicas { max_lag: LAG };
    let store = RedisStore::builder(server.url()).failover(replicas).connect().await.unwrap();
    open(&store, "alice", "s1").await;
    // Real time, because the server must answer. Afterwards no proof counts.
    tokio::time::sleep(LAG * 2).await;
    store.revoke_session("alice", "s1").await.unwrap();
    let reason = store.failover_bound().unwrap_err();
    assert!(reason.contains("0 replicas"), "{reason}");
    assert_eq!(store.warnings(), [reason]);
    let mut admin = server.admin().await;
    redis::cmd("CONFIG").arg(&["SET", "min-replicas-to-write", "1"]).exec_async(&mut admin).await.unwrap();
    eventually("it is not believed any more", async || store.check("alice", "s1", "j").await.err()).await;
    let _replica = replica_of(&server).await;
    eventually("the replica is counted", async || store.check("alice", "s1", "j").await.ok()).await;
    eventually("the bound holds", async || store.failover_bound().ok()).await;
}

#[tokio::test]
async fn a_user_without_the_right_to_a_proof_is_a_mistake_that_names_the_right() {
    let (server, _replica) = primary_with_replica().await;
    let mut admin = server.admin().await;
    let replicas = Failover::Replicas { max_lag: LAG };
    for command in ["info", "pexpire", "wait"] {
        let rights = ["SETUSER", "node", "reset", "on", ">secret", "~tb:*", "&tb:*", "+@all", &format!("-{command}")];
        redis::cmd("ACL").arg(&rights).exec_async(&mut admin).await.unwrap();
        let url = server.url().replace("redis://", "redis://node:secret@");
        let error = RedisStore::builder(url).failover(replicas).connect().await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ConnectError::Config(_)), "{text}");
        assert!(text.contains(&command.to_uppercase()), "{text}");
    }
}

#[tokio::test]
async fn the_rights_that_the_security_notes_name_are_enough_for_proofs() {
    let (server, _replica) = primary_with_replica().await;
    let notes = include_str!("../../SECURITY.md").replace("\n  ", " ");
    let rights = notes.split('`').find(|text| text.starts_with("~tb:*")).unwrap();
    let mut set = redis::cmd("ACL");
    set.arg(&["SETUSER", "node", "reset", "on", ">secret"]).arg(rights.split(' ').collect::<Vec<_>>());
    set.exec_async(&mut server.admin().await).await.unwrap();
    let url = server.url().replace("redis://", "redis://node:secret@");
    let store = RedisStore::builder(url).failover(Failover::Replicas { max_lag: LAG }).connect().await.unwrap();
    open(&store, "alice", "s1").await;
}

#[tokio::test]
async fn the_replicas_are_asked_when_the_server_is_out_of_memory_too() {
    let (server, _replica) = primary_with_replica().await;
    let replicas = Failover::Replicas { max_lag: LAG };
    let store = RedisStore::builder(server.url()).failover(replicas).connect().await.unwrap();
    open(&store, "alice", "s1").await;
    let mut admin = server.admin().await;
    redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).exec_async(&mut admin).await.unwrap();
    // Real time, because the server and its replica must answer. Afterwards no earlier proof
    // counts.
    tokio::time::sleep(LAG * 3).await;
    store.check("alice", "s1", "j").await.unwrap();
    store.revoke_session("alice", "s1").await.unwrap();
    assert_eq!(store.warnings(), [""; 0]);
    // The store recreates its lost metadata as soon as the server has memory.
    redis::cmd("CONFIG").arg(&["SET", "maxmemory", "0"]).exec_async(&mut admin).await.unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut admin).await.unwrap();
    // Afterwards no earlier proof counts.
    tokio::time::sleep(LAG * 2).await;
    open(&store, "alice", "s2").await;
}

#[test]
fn a_store_goes_on_to_be_proved_on_another_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let ((_server, _replica), store) = first.block_on(async {
        let servers = primary_with_replica().await;
        let replicas = Failover::Replicas { max_lag: LAG };
        let store = RedisStore::builder(servers.0.url()).failover(replicas).connect().await.unwrap();
        (servers, store)
    });
    drop(first);
    // Real time without a running runtime. Afterwards no earlier proof counts.
    std::thread::sleep(LAG * 2);
    runtime().block_on(async {
        eventually("the store serves", async || store.check("alice", "s1", "j").await.ok()).await;
        // Waits again, so that a new proof is needed.
        tokio::time::sleep(LAG * 2).await;
        store.check("alice", "s1", "j").await.unwrap();
    });
}

#[tokio::test]
async fn a_server_that_may_drop_revocations_stands_in_the_warnings() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let store = RedisStore::builder(server.url()).allow_eviction(true).connect().await.unwrap();
    let warnings = store.warnings();
    assert!(warnings.iter().any(|warning| warning.contains("allkeys-lru")), "{warnings:?}");
}

//! An address that moves from a primary to its replica, while a node is kept on the old primary.

use std::time::{Duration, Instant};

use tower_bearer::{
    Consistency, NewSession, TokenPair, TokenService,
    store::{
        RedisStore,
        redis::{Failover, RedisStoreBuilder},
    },
};

use crate::{
    bound, holds_the_bound, lets_in, serves_again,
    support::{Proxy, RedisServer, eventually, redis_fixture::node_on},
    trio::REPLICA,
};

const LAG: Duration = Duration::from_secs(1);
const D: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(12);

/// A primary that takes writes as long as its replica is there, and the addresses that lead to it.
struct Pair {
    old: RedisServer,
    new: RedisServer,
    /// By which nodes meet the primary.
    address: Proxy,
    /// By which the replica does.
    replication: Proxy,
}

impl Pair {
    async fn start() -> Self {
        let conditions = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"];
        let old = RedisServer::start_with(&[&conditions[..], &["--repl-diskless-sync-delay", "0"]].concat());
        let (address, replication) = (Proxy::start(old.port()).await, Proxy::start(old.port()).await);
        let primary = format!("127.0.0.1 {}", replication.port());
        let of_it = ["--replicaof", &primary, "--bind-source-addr", REPLICA];
        let new = RedisServer::start_with(&of_it);
        let pair = Self { old, new, address, replication };
        let mut admin = pair.old.admin().await;
        eventually("the primary takes writes", async || {
            let persisted: i64 = redis::cmd("PERSIST").arg("nothing").query_async(&mut admin).await.ok()?;
            Some(persisted)
        })
        .await;
        pair
    }

    fn store(&self) -> RedisStoreBuilder {
        RedisStore::builder(self.address.url()).failover(Failover::Replicas { max_lag: LAG })
    }

    /// Makes the replica the primary, and revokes a session there. Returns when that was confirmed.
    async fn promote_and_revoke(&self, session_id: &str) -> Instant {
        let mut admin = self.new.admin().await;
        redis::cmd("REPLICAOF").arg(&["NO", "ONE"]).exec_async(&mut admin).await.unwrap();
        let store = RedisStore::builder(self.new.url()).failover(Failover::Single).connect().await.unwrap();
        node_on(store, |builder| builder).revoke_session("42", session_id).await.unwrap();
        Instant::now()
    }

    async fn is_replicated(&self) {
        let mut admin = self.old.admin().await;
        eventually("all is replicated", async || {
            let replicas: u64 = redis::cmd("WAIT").arg(&[1, 1000]).query_async(&mut admin).await.ok()?;
            (replicas == 1).then_some(())
        })
        .await;
    }
}

async fn kept(servers: &Pair, consistency: Consistency) -> TokenService {
    let began = Instant::now();
    // A replica acknowledges once a second: under a lag of one, a busy machine is enough for a
    // refusal.
    let store = eventually("the node connects", async || servers.store().connect().await.ok()).await;
    println!("connected after {:?}", began.elapsed());
    node_on(store, |builder| builder.consistency(consistency))
}

/// A token that is let in.
async fn opened(tokens: &TokenService, user: &str) -> TokenPair {
    let open = async || tokens.create_token_pair(NewSession::of(user)).await.ok();
    let pair = eventually("a session is opened", open).await;
    serves_again(tokens, &pair).await;
    pair
}

async fn an_old_primary_without_replicas_is_believed_no_longer_than_the_bound(consistency: Consistency) {
    let servers = Pair::start().await;
    let kept = kept(&servers, consistency).await;
    let bound = bound(&kept).await;
    assert!(bound <= D + LAG + Duration::from_secs(4), "{bound:?}");
    let (revoked, live) = (opened(&kept, "42").await, opened(&kept, "43").await);
    // What was written last must have been acknowledged, or the next one is lost with the link.
    servers.is_replicated().await;
    servers.replication.block(&[REPLICA]);
    let confirmed = servers.promote_and_revoke(revoked.session_id()).await;
    let last = holds_the_bound(&kept, &revoked, confirmed, bound, WATCHED).await;
    println!("last let in {last:?} after the revocation; the bound is {bound:?}");
    assert_eq!(lets_in(&kept, &live).await, None, "the old primary is still there, and serves nothing");

    servers.address.move_to(servers.new.port());
    println!("served again {:?} after the address moved", serves_again(&kept, &live).await);
    assert_eq!(lets_in(&kept, &revoked).await, Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_without_its_replica_is_not_believed_beyond_the_bound_if_each_request_asks() {
    an_old_primary_without_replicas_is_believed_no_longer_than_the_bound(Consistency::Strong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_without_its_replica_is_not_believed_beyond_the_bound_if_the_node_decides_itself() {
    an_old_primary_without_replicas_is_believed_no_longer_than_the_bound(Consistency::BoundedStaleness(D)).await;
}

async fn a_primary_that_was_stopped_is_not_believed_when_it_goes_on(consistency: Consistency) {
    let servers = Pair::start().await;
    let kept = kept(&servers, consistency).await;
    let bound = bound(&kept).await;
    let (revoked, live) = (opened(&kept, "42").await, opened(&kept, "43").await);
    servers.is_replicated().await;
    servers.old.pause();
    // The replica's acknowledgement of each second waits in the socket of the primary, which dates
    // it when it reads it.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    servers.replication.block(&[REPLICA]);
    let confirmed = servers.promote_and_revoke(revoked.session_id()).await;
    while confirmed.elapsed() < bound + Duration::from_secs(2) {
        assert_ne!(lets_in(&kept, &revoked).await, Some(true), "the primary is stopped");
    }
    servers.old.resume();
    let last = holds_the_bound(&kept, &revoked, confirmed, bound, confirmed.elapsed() + WATCHED).await;
    assert_eq!(last, Duration::ZERO);
    assert_eq!(lets_in(&kept, &live).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_stopped_and_replaced_is_not_believed_if_each_request_asks() {
    a_primary_that_was_stopped_is_not_believed_when_it_goes_on(Consistency::Strong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_stopped_and_replaced_is_not_believed_if_the_node_decides_itself() {
    a_primary_that_was_stopped_is_not_believed_when_it_goes_on(Consistency::BoundedStaleness(D)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_the_primary_costs_a_moment_of_service_and_no_more() {
    let servers = Pair::start().await;
    let kept = kept(&servers, Consistency::Strong).await;
    let live = opened(&kept, "42").await;
    servers.old.pause();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    servers.old.resume();
    assert_eq!(lets_in(&kept, &live).await, None, "after a gap nothing counts");
    println!("served again {:?} after a pause", serves_again(&kept, &live).await);
}

//! An address moves from a primary to its replica, while one node stays on the old primary.

use std::time::{Duration, Instant};

use tower_bearer::{
    Consistency, NewSession, SessionId, TokenPair, TokenService, TokenType,
    store::{
        RedisStore,
        redis::{Failover, RedisStoreBuilder},
    },
};

use super::{assert_bound_holds, bound, lets_in, trio::REPLICA, wait_until_served};
use crate::support::{Proxy, RedisServer, eventually, redis_fixture::node_on};

/// The greatest bound that a user may expect here, with some room above the staleness plus a
/// second.
const MOST: Duration = Duration::from_secs(3);

const LAG: Duration = Duration::from_secs(1);
const D: Duration = Duration::from_secs(1);
/// The staleness of streams.
const S: Duration = Duration::from_secs(2);
const WATCHED: Duration = Duration::from_secs(30);

/// A primary that requires one replica for writes, and the proxies in front of it.
struct Pair {
    old: RedisServer,
    new: RedisServer,
    /// The address of the primary for nodes.
    address: Proxy,
    /// The address of the primary for the replica.
    replication: Proxy,
}

impl Pair {
    async fn start() -> Self {
        // Without its replica the primary accepts writes for ten more seconds, so the bound depends
        // on the proof.
        let old = RedisServer::start_with(&["--min-replicas-to-write", "1", "--repl-diskless-sync-delay", "0"]);
        let (address, replication) = (Proxy::start(old.port()).await, Proxy::start(old.port()).await);
        let primary = format!("127.0.0.1 {}", replication.port());
        let of_it = ["--replicaof", &primary, "--bind-source-addr", REPLICA, "--repl-diskless-sync-delay", "0"];
        let new = RedisServer::start_with(&of_it);
        Self { old, new, address, replication }
    }

    fn store(&self) -> RedisStoreBuilder {
        RedisStore::builder(self.address.url()).failover(Failover::Replicas { max_lag: LAG })
    }

    /// Promotes the replica, which requires no replica itself, and revokes a session there. Returns
    /// the time of the confirmation.
    async fn promote_and_revoke(&self, session_id: &SessionId) -> Instant {
        let mut admin = self.new.admin().await;
        redis::cmd("REPLICAOF").arg(&["NO", "ONE"]).exec_async(&mut admin).await.unwrap();
        let store =
            RedisStore::builder(self.new.url()).failover(Failover::Replicas { max_lag: LAG }).connect().await.unwrap();
        node_on(store, |builder| builder).revoke_session("42", session_id).await.unwrap();
        Instant::now()
    }

    /// Moves the address to the new primary and returns the new primary's replica. The old primary
    /// stays as it is.
    fn move_address(&self) -> RedisServer {
        let primary = format!("127.0.0.1 {}", self.new.port());
        let replica = RedisServer::start_with(&["--replicaof", &primary]);
        self.address.move_to(self.new.port());
        replica
    }

    async fn wait_until_replicated(&self) {
        let mut admin = self.old.admin().await;
        eventually("all is replicated", async || {
            let replicas: u64 = redis::cmd("WAIT").arg(&[1, 1000]).query_async(&mut admin).await.ok()?;
            (replicas == 1).then_some(())
        })
        .await;
    }
}

async fn node_on_old_primary(servers: &Pair, consistency: Consistency) -> TokenService {
    // The replica must load its first copy.
    let store = eventually("the node connects", async || servers.store().connect().await.ok()).await;
    node_on(store, |builder| builder.consistency(consistency).stream_staleness(S))
}

fn staleness(consistency: Consistency) -> Duration {
    match consistency {
        Consistency::BoundedStaleness(staleness) => staleness,
        _ => Duration::ZERO,
    }
}

/// Opens a session and returns its tokens, which the node has accepted.
async fn open_accepted(tokens: &TokenService, user: &str) -> TokenPair {
    let open = async || tokens.create_token_pair(NewSession::new(user)).await.ok();
    let pair = eventually("a session is opened", open).await;
    wait_until_served(tokens, &pair).await;
    pair
}

async fn an_old_primary_without_replicas_is_believed_no_longer_than_the_bound(consistency: Consistency) {
    let servers = Pair::start().await;
    let kept = node_on_old_primary(&servers, consistency).await;
    let bound = bound(&kept).await;
    assert_eq!(bound, staleness(consistency) + LAG);
    assert!(bound <= staleness(consistency) + MOST, "{bound:?}");
    let (revoked, live) = (open_accepted(&kept, "42").await, open_accepted(&kept, "43").await);
    // The replica must have acknowledged the last write, or the next write is lost with the link.
    servers.wait_until_replicated().await;
    let claims = kept.validate_token(revoked.access().as_str(), TokenType::Access).await.unwrap();
    let cutoff = kept.ended(&claims);
    let cut = tokio::spawn(async move { (cutoff.await, Instant::now()) });
    servers.replication.block(&[REPLICA]);
    let confirmed = servers.promote_and_revoke(revoked.session_id()).await;
    let last = assert_bound_holds(&kept, &revoked, confirmed, bound, WATCHED).await;
    let (cause, cut) = cut.await.unwrap();
    let cut = cut.saturating_duration_since(confirmed);
    println!("an open stream was cut {cut:?} after the revocation: {cause}");
    assert!(cut <= S + LAG, "cut {cut:?} after the revocation, which is later than {S:?} and {LAG:?}");
    println!("last let in {last:?} after the revocation; the bound is {bound:?}");
    assert_eq!(lets_in(&kept, &live).await, None, "the old primary is still there, and serves nothing");

    let _replica = servers.move_address();
    println!("served again {:?} after the address moved", wait_until_served(&kept, &live).await);
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
    let kept = node_on_old_primary(&servers, consistency).await;
    let bound = bound(&kept).await;
    let (revoked, live) = (open_accepted(&kept, "42").await, open_accepted(&kept, "43").await);
    servers.wait_until_replicated().await;
    servers.old.pause();
    // The replica acknowledges once a second. The acknowledgements wait in the socket, and the
    // primary dates them when it reads them. Real time, because the replica uses its own clock.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    servers.replication.block(&[REPLICA]);
    let confirmed = servers.promote_and_revoke(revoked.session_id()).await;
    while confirmed.elapsed() < bound + Duration::from_secs(2) {
        assert_ne!(lets_in(&kept, &revoked).await, Some(true), "the primary is stopped");
    }
    servers.old.resume();
    let last = assert_bound_holds(&kept, &revoked, confirmed, bound, confirmed.elapsed() + WATCHED).await;
    assert_eq!(last, Duration::ZERO);
    assert_eq!(lets_in(&kept, &live).await, None);
    let _replica = servers.move_address();
    println!("served again {:?} after the address moved", wait_until_served(&kept, &live).await);
    assert_eq!(lets_in(&kept, &revoked).await, Some(false));
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
    let kept = node_on_old_primary(&servers, Consistency::Strong).await;
    let live = open_accepted(&kept, "42").await;
    servers.old.pause();
    // Real time, because the replica's clock runs. Afterwards no earlier proof counts.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(lets_in(&kept, &live).await, None);
    servers.old.resume();
    println!("served again {:?} after a pause", wait_until_served(&kept, &live).await);
}

async fn a_replica_that_is_away_stops_the_service_until_it_is_back(consistency: Consistency) {
    let servers = Pair::start().await;
    let kept = node_on_old_primary(&servers, consistency).await;
    let (live, other) = (open_accepted(&kept, "42").await, open_accepted(&kept, "43").await);
    let bound = bound(&kept).await;
    servers.new.pause();
    let away = Instant::now();
    // The acknowledgement before the pause is the last proof.
    let last = assert_bound_holds(&kept, &live, away, bound, bound + Duration::from_millis(500)).await;
    println!("last let in {last:?} after the replica was gone; the bound is {bound:?}");
    assert_eq!(lets_in(&kept, &live).await, None);
    kept.revoke_session("43", other.session_id()).await.unwrap_err();
    let status = kept.status().await;
    assert!(status.warnings.iter().any(|warning| warning.contains("of 1 replicas")), "{:?}", status.warnings);
    servers.new.resume();
    println!("served again {:?} after it was back", wait_until_served(&kept, &live).await);
    kept.revoke_session("42", live.session_id()).await.unwrap();
    assert_eq!(kept.status().await.warnings, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_away_stops_the_service_if_each_request_asks() {
    a_replica_that_is_away_stops_the_service_until_it_is_back(Consistency::Strong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_away_stops_the_service_if_the_node_decides_itself() {
    a_replica_that_is_away_stops_the_service_until_it_is_back(Consistency::BoundedStaleness(D)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_server_that_demands_no_replica_serves_alone_and_tells_that_the_bound_is_void() {
    let servers = Pair::start().await;
    let kept = node_on_old_primary(&servers, Consistency::Strong).await;
    let (revoked, live) = (open_accepted(&kept, "42").await, open_accepted(&kept, "43").await);
    servers.wait_until_replicated().await;
    servers.replication.block(&[REPLICA]);
    servers.promote_and_revoke(revoked.session_id()).await;
    servers.address.move_to(servers.new.port());
    // Open connections still lead to the old primary.
    let is_refused = async || (lets_in(&kept, &revoked).await == Some(false)).then_some(());
    eventually("the new primary serves", is_refused).await;
    assert_eq!(lets_in(&kept, &live).await, Some(true));
    let status = kept.status().await;
    assert_eq!(status.bound_ms, None);
    assert!(status.bound_reason.is_some_and(|reason| reason.contains("min-replicas-to-write is 0")));
    kept.revoke_session("43", live.session_id()).await.unwrap();
}

/// The old primary accepts writes without its replica, and the node has connections to both.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_the_new_primary_does_not_make_the_old_one_count() {
    let servers = Pair::start().await;
    let kept = node_on_old_primary(&servers, Consistency::Strong).await;
    let (revoked, live) = (open_accepted(&kept, "42").await, open_accepted(&kept, "43").await);
    servers.wait_until_replicated().await;
    let mut admin = servers.old.admin().await;
    redis::cmd("CONFIG").arg(&["SET", "min-replicas-to-write", "0"]).exec_async(&mut admin).await.unwrap();
    // Hides the setting from the node, which believes a server without required replicas without a
    // proof.
    redis::cmd("ACL").arg(&["SETUSER", "default", "-config"]).exec_async(&mut admin).await.unwrap();
    servers.replication.block(&[REPLICA]);
    servers.promote_and_revoke(revoked.session_id()).await;
    let proves = async || {
        let warnings = kept.status().await.warnings;
        !warnings.iter().any(|warning| warning.contains("replicas have acknowledged"))
    };
    eventually("the old primary proves nothing", async || (!proves().await).then_some(())).await;
    // Open connections still lead to the old primary.
    let _replica = servers.move_address();
    eventually("the new primary is proved", async || proves().await.then_some(())).await;
    assert_eq!(lets_in(&kept, &revoked).await, Some(false));
    assert_eq!(lets_in(&kept, &live).await, Some(true));
}

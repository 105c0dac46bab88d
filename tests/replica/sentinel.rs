//! Bounded staleness behind a real sentinel, through a failover.

use std::time::{Duration, Instant};

use tower_bearer::{Consistency, TokenPair, TokenService, tokens::SecurityEvent};

use crate::{
    is_leased,
    support::{
        Events, eventually,
        fixture::{lets_in, pair},
        redis_fixture::node_on,
        sentinel::Replicated,
    },
    wait_until_leased,
};

/// The staleness bound.
const D: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// The greatest time from the death of a primary until the new one serves.
const FAILOVER: Duration = Duration::from_secs(40);

async fn node(servers: &Replicated, consistency: Consistency) -> TokenService {
    node_on(servers.sentinel.store().await, |builder| builder.consistency(consistency))
}

/// Returns a node that polls only every half hour, so it depends on nudges.
async fn node_that_seldom_polls(servers: &Replicated) -> TokenService {
    let bounded = Consistency::BoundedStaleness(HOUR);
    node_on(servers.sentinel.store().await, |builder| builder.consistency(bounded).poll_interval(HOUR / 2))
}

async fn wait_until_refused(tokens: &TokenService, pair: &TokenPair) {
    eventually("the token is refused", async || (lets_in(tokens, pair).await == Some(false)).then_some(())).await;
}

#[tokio::test]
async fn after_a_failover_nodes_are_leased_and_nudged_again_and_the_bound_holds_all_along() {
    let mut servers = Replicated::start().await;
    let revoker = node(&servers, Consistency::Strong).await;
    let watcher = node(&servers, Consistency::BoundedStaleness(D)).await;
    let listener = node_that_seldom_polls(&servers).await;
    wait_until_leased(&watcher).await;
    wait_until_leased(&listener).await;
    let [before, after, alive] = [pair(&revoker, "42").await, pair(&revoker, "42").await, pair(&revoker, "42").await];
    for pair in [&before, &after, &alive] {
        assert_eq!(lets_in(&watcher, pair).await, Some(true));
        assert_eq!(lets_in(&listener, pair).await, Some(true));
    }
    revoker.revoke_session("42", before.session_id()).await.unwrap();
    let acknowledged = Instant::now();
    loop {
        let started = acknowledged.elapsed();
        assert!(started < FAILOVER, "{:?}", watcher.status().await.replica);
        match lets_in(&watcher, &before).await {
            Some(true) => assert!(started < D, "let in {started:?} after the revocation"),
            Some(false) => break,
            None => {}
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    wait_until_refused(&listener, &before).await;
    servers.wait_until_replicated().await;

    servers.primary.kill();
    let killed = Instant::now();
    while revoker.revoke_session("42", after.session_id()).await.is_err() {
        assert!(killed.elapsed() < FAILOVER, "no new primary");
        assert_ne!(lets_in(&watcher, &before).await, Some(true), "revoked before the failover");
        assert_ne!(lets_in(&watcher, &alive).await, Some(false), "never revoked");
    }
    let (acknowledged, mut was_refused) = (Instant::now(), false);
    while !(was_refused && acknowledged.elapsed() > D * 2 && is_leased(&watcher).await) {
        let started = acknowledged.elapsed();
        assert!(started < FAILOVER, "refused: {was_refused}; {:?}", watcher.status().await.replica);
        match lets_in(&watcher, &after).await {
            Some(true) => assert!(!was_refused && started < D, "let in {started:?} after; refused {was_refused}"),
            Some(false) => was_refused = true,
            None => {}
        }
        assert_ne!(lets_in(&watcher, &before).await, Some(true), "revoked before the failover");
        assert_ne!(lets_in(&watcher, &alive).await, Some(false), "never revoked");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    eventually("who lives is let in", async || (lets_in(&watcher, &alive).await == Some(true)).then_some(())).await;

    // The nudge comes from the new primary.
    wait_until_refused(&listener, &after).await;
    let later = pair(&revoker, "43").await;
    eventually("it is let in", async || (lets_in(&listener, &later).await == Some(true)).then_some(())).await;
    revoker.revoke_session("43", later.session_id()).await.unwrap();
    wait_until_refused(&listener, &later).await;
}

#[tokio::test]
async fn what_a_failover_has_lost_stays_refused_and_is_told_to_the_new_primary() {
    let mut servers = Replicated::start().await;
    let revoker = node(&servers, Consistency::Strong).await;
    let events = Events::default();
    let bounded =
        |builder: tower_bearer::tokens::TokenServiceBuilder| builder.consistency(Consistency::BoundedStaleness(D));
    let watcher = node_on(servers.sentinel.store().await, |builder| bounded(builder).on_event(events.hook()));
    wait_until_leased(&watcher).await;
    let lost = pair(&revoker, "42").await;
    assert_eq!(lets_in(&watcher, &lost).await, Some(true));
    servers.wait_until_replicated().await;
    stop_replication(&servers).await;
    let revoked = revoker.revoke_session("42", lost.session_id()).await.unwrap();
    eventually("the node has read it", async || watcher.has_applied(revoked.position().unwrap()).then_some(())).await;
    // Otherwise the node that revoked would republish the revocation to the new primary.
    drop(revoker);
    servers.primary.kill();
    servers.replica.resume();

    let (killed, mut told) = (Instant::now(), Vec::new());
    while told.is_empty() {
        told.extend(events.take());
        assert!(killed.elapsed() < FAILOVER, "no loss was found: {:?}", watcher.status().await.replica);
        assert_ne!(lets_in(&watcher, &lost).await, Some(true));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let newcomer = node(&servers, Consistency::Strong).await;
    wait_until_refused(&newcomer, &lost).await;
    wait_until_leased(&watcher).await;
    assert_eq!(lets_in(&watcher, &lost).await, Some(false));
    eventually("what was told again is counted", async || {
        told.extend(events.take());
        (told.len() >= 2).then_some(())
    })
    .await;
    assert_eq!(told, [SecurityEvent::RevocationsLost { count: 1 }, SecurityEvent::RevocationsRepublished { count: 1 }]);
}

#[tokio::test]
async fn what_a_node_has_revoked_just_before_a_failover_is_told_to_the_new_primary() {
    let mut servers = Replicated::start().await;
    let events = Events::default();
    let revoker = node_on(servers.sentinel.store().await, |builder| builder.on_event(events.hook()));
    let (kept, lost) = (pair(&revoker, "42").await, pair(&revoker, "42").await);
    servers.wait_until_replicated().await;
    stop_replication(&servers).await;
    // The primary may be killed before the node reads the log again.
    revoker.revoke_session("42", lost.session_id()).await.unwrap();
    servers.primary.kill();
    servers.replica.resume();
    let expected = [SecurityEvent::RevocationsLost { count: 1 }, SecurityEvent::RevocationsRepublished { count: 1 }];
    let (killed, mut told) = (Instant::now(), Vec::new());
    while told.len() < expected.len() {
        told.extend(events.take());
        assert!(killed.elapsed() < FAILOVER, "{told:?}; {:?}", revoker.status().await.replica);
        assert_ne!(lets_in(&revoker, &kept).await, Some(false));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(told, expected);
    let newcomer = node(&servers, Consistency::Strong).await;
    assert_eq!(lets_in(&newcomer, &lost).await, Some(false));
    assert_eq!(lets_in(&newcomer, &kept).await, Some(true));
}

/// Stops the primary from sending any further write to the replica, even into its socket.
async fn stop_replication(servers: &Replicated) {
    servers.replica.pause();
    let mut admin = servers.primary.admin().await;
    let cut: u32 = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "replica"]).query_async(&mut admin).await.unwrap();
    assert_eq!(cut, 1);
}

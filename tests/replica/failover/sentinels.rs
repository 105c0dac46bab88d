//! Sentinels promote the replica while a node stays on the old primary, cut off from them.

use std::time::{Duration, Instant};

use tower_bearer::Consistency;

use super::{assert_bound_holds, bound, lets_in, pair, trio::Trio, wait_until_served};
use crate::support::{TextStore, eventually, redis_fixture::node_on};

/// The time for which the node is observed after the revocation.
const WATCHED: Duration = Duration::from_secs(30);
const D: Duration = Duration::from_secs(1);

async fn an_old_primary_is_believed_no_longer_than_the_bound(consistency: Consistency) {
    let trio = Trio::start().await;
    let kept =
        node_on(trio.store_on_old_primary().connect().await.unwrap(), |builder| builder.consistency(consistency));
    let store = trio.store_with_sentinels().connect().await.unwrap();
    let other = node_on(store.clone(), |builder| builder);
    let bound = bound(&kept).await;
    assert!(bound <= D + Duration::from_secs(8), "{bound:?}");
    let (revoked, live) = (pair(&kept, "42").await, pair(&kept, "43").await);
    for pair in [&revoked, &live] {
        assert_eq!(lets_in(&kept, pair).await, Some(true));
        assert_eq!(lets_in(&other, pair).await, Some(true));
    }
    trio.wait_until_replicated().await;

    let server = async || store.check("43", live.session_id().as_str(), "j").await.ok()?.server;
    let old = server().await.unwrap();
    trio.partition();
    let parted = Instant::now();
    // A revocation on the old primary would also reach its node.
    eventually("the other node asks the new primary", async || server().await.filter(|server| *server != old)).await;
    other.revoke_session("42", revoked.session_id()).await.unwrap();
    let confirmed = Instant::now();
    let after = confirmed - parted;
    let last = assert_bound_holds(&kept, &revoked, confirmed, bound, WATCHED).await;
    println!("confirmed {after:?} after the split; last let in {last:?} after that; the bound is {bound:?}");
    assert_eq!(role(&trio.old).await.as_deref(), Some("master"), "the old primary still calls itself one");
    assert_eq!(lets_in(&kept, &live).await, None, "nothing is decided on the wrong side");
    let warnings = kept.status().await.warnings;
    assert!(warnings.iter().any(|warning| warning.contains("sentinels")), "{warnings:?}");
    assert_eq!(lets_in(&other, &live).await, Some(true), "the other side goes on");

    trio.heal();
    println!("served again {:?} after the network was joined", wait_until_served(&kept, &live).await);
    assert_eq!(lets_in(&kept, &revoked).await, Some(false));
}

async fn role(server: &crate::support::RedisServer) -> Option<String> {
    let answer: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut server.admin().await).await.ok()?;
    redis::from_redis_value(answer.into_iter().next()?).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_kept_on_the_old_primary_accepts_nothing_beyond_the_bound_if_each_request_asks() {
    an_old_primary_is_believed_no_longer_than_the_bound(Consistency::Strong).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_kept_on_the_old_primary_accepts_nothing_beyond_the_bound_if_it_decides_itself() {
    an_old_primary_is_believed_no_longer_than_the_bound(Consistency::BoundedStaleness(D)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_old_primary_nothing_is_confirmed_once_the_sentinels_are_out_of_reach() {
    let trio = Trio::start().await;
    let store = trio.store_on_old_primary().sentinel_patience(Duration::from_secs(1)).connect().await.unwrap();
    let kept = node_on(store.clone(), |builder| builder);
    let before = pair(&kept, "42").await;
    assert_eq!(store.failover_bound(), Ok(Duration::from_secs(1)));
    trio.partition();
    eventually("patience is over", async || (!store.warnings().is_empty()).then_some(())).await;
    kept.revoke_session("42", before.session_id()).await.unwrap_err();
    kept.create_token_pair(tower_bearer::NewSession::new("42")).await.unwrap_err();
    kept.refresh_access_token(before.refresh().as_str()).await.unwrap_err();
    // A connection attempt under way may fail first for another reason.
    eventually("the error names its cause", async || {
        let error = store.check("42", before.session_id().as_str(), "j").await.unwrap_err();
        let cause = std::error::Error::source(&error)?.to_string();
        cause.contains("of 3 known, 0 answered within 1s, and 2 must agree").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sentinel_of_three_is_enough_to_find_the_others_and_not_enough_to_be_believed() {
    let trio = Trio::start().await;
    let store = trio.store_with_one_sentinel().connect().await;
    let store = store.unwrap();
    let kept = node_on(store.clone(), |builder| builder);
    let live = pair(&kept, "42").await;
    assert_eq!(lets_in(&kept, &live).await, Some(true));
    trio.block_all_but_one_sentinel();
    eventually("one alone is not believed", async || (lets_in(&kept, &live).await.is_none()).then_some(())).await;
    let warning = store.warnings().join("; ");
    assert!(warning.contains("1 answered") && warning.contains("2 must agree"), "{warning}");
    trio.heal();
    wait_until_served(&kept, &live).await;
}

//! A node on the wrong side of a failover stops believing the old primary.
//!
//! The bound is `bound_ms` of the status, from the confirmation of a revocation on the other side.
//! Requests that start later must be refused. Each test keeps the node on the old primary, which
//! still serves and claims to be a primary.

mod replicas;
mod sentinels;
mod trio;

use std::time::{Duration, Instant};

use tower_bearer::{TokenPair, TokenService};

use crate::support::{
    self,
    fixture::{lets_in, pair},
};

async fn bound(tokens: &TokenService) -> Duration {
    let status = tokens.status().await;
    Duration::from_millis(status.bound_ms.unwrap_or_else(|| panic!("no bound: {:?}", status.bound_reason)))
}

/// Checks a revoked token on a node for a while, and asserts that it is refused from `bound` after
/// the confirmation on. Returns the time from the confirmation to the start of the last accepted
/// check.
async fn assert_bound_holds(
    tokens: &TokenService,
    revoked: &TokenPair,
    confirmed: Instant,
    bound: Duration,
    watched: Duration,
) -> Duration {
    let mut last = Duration::ZERO;
    while confirmed.elapsed() < watched {
        let started = confirmed.elapsed();
        if lets_in(tokens, revoked).await == Some(true) {
            last = started;
            assert!(started < bound, "let in {started:?} after the revocation, and the bound is {bound:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    last
}

/// Waits until the node accepts a live token, and returns the time that it took.
async fn wait_until_served(tokens: &TokenService, live: &TokenPair) -> Duration {
    let began = Instant::now();
    support::eventually("the live token is let in", async || (lets_in(tokens, live).await == Some(true)).then_some(()))
        .await;
    began.elapsed()
}

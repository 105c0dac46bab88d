//! A node on the wrong side of a failover does not believe the old primary.
//!
//! `bound_ms` of the status is the bound: so long after the other side confirmed a revocation, no
//! request may be accepted that starts then. Each test keeps the node on the old primary, which
//! goes on to serve and to call itself a primary.

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

/// Asks a node about a revoked token for so long, and demands that it is refused from `bound` after
/// the confirmation on. Returns how long after the confirmation the last request started that was
/// let in.
async fn holds_the_bound(
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

/// Waits until a live token is let in, and returns how long that took. The limit is generous: a
/// machine may be busy.
async fn serves_again(tokens: &TokenService, live: &TokenPair) -> Duration {
    let began = Instant::now();
    support::eventually("the live token is let in", async || (lets_in(tokens, live).await == Some(true)).then_some(()))
        .await;
    began.elapsed()
}

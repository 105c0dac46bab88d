//! Bounded staleness on real servers, with faults.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod bounded_staleness;
mod causal;
#[cfg(feature = "tracing")]
mod events;
#[cfg(feature = "sentinel")]
mod failover;
#[cfg(feature = "sentinel")]
mod sentinel;
mod start;

use tower_bearer::{TokenService, tokens::ReplicaState};

async fn is_leased(tokens: &TokenService) -> bool {
    tokens.status().await.replica.is_some_and(|replica| replica.state == ReplicaState::Leased)
}

/// Waits until a node has a lease.
async fn wait_until_leased(tokens: &TokenService) {
    support::eventually("a lease", async || is_leased(tokens).await.then_some(())).await;
}

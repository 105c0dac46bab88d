//! Bounded staleness on real servers: what a node accepts while everything may fail.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod bounded_staleness;
#[cfg(feature = "tracing")]
mod events;
#[cfg(feature = "sentinel")]
mod failover;
#[cfg(feature = "sentinel")]
mod sentinel;
mod start;

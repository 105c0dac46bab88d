//! The Redis store on real servers: one server, a cluster, and a primary behind sentinels.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod causes;
#[cfg(feature = "cluster")]
mod cluster;
mod credentials;
mod failover;
mod faults;
mod feed;
mod harness;
mod rights;
mod rules;
#[cfg(feature = "sentinel")]
mod sentinel;
mod start;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
mod write_check;

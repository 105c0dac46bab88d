//! Both stores against the conformance suite and a model, and the store protocol itself as a model.
//!
//! These tests take much time of a processor or of a server. None of them is about time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod conformance;
mod protocol_model;
mod random_operations;
#[cfg(feature = "redis")]
mod script_bounds;
mod sqlite;

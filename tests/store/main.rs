//! Tests of all stores, the example's `SQLite` store included, by the conformance suite. A model
//! checks two of them, and another model checks the store protocol itself.
//!
//! These tests need much processor or server time. None of them measures time.
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

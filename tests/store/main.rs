//! Tests of all stores by the conformance suite, including the `SQLite` store of the example. A
//! model checks two stores, and other models check the store protocol.
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

//! The rows of the conformance catalogue, `docs/conformance.md`.
//!
//! The name of each test begins with the id of its row (`aut_01_...` for AUT-01). Each group of
//! rows is a file. `scripts/conformance.sh` compares the ids of passed tests with the rows. A row
//! without a test fails CI.
#![cfg(any(feature = "aws-lc-rs", feature = "rust-crypto"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod application;
mod subject;

mod added_rules;
mod any_bytes;
mod authorization;
mod challenges;
mod claims;
mod cookies;
mod grpc;
mod header;
mod indistinguishable;
#[cfg(feature = "redis")]
mod injection;
mod issuance;
mod json;
mod jwks;
mod keys;
#[cfg(feature = "redis")]
mod leakage;
mod limits;
mod locations;
#[cfg(feature = "bcrypt")]
mod passwords;
mod refresh;
mod routing;
mod serialization;
mod signatures;
#[cfg(feature = "redis")]
mod store;
mod times;
mod token_types;
mod tower;
mod vectors;

//! The layer, its extractors and the endpoints, as Tower services and over real connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod axum;
mod browser;
mod cutoff;
mod endpoints;
mod endpoints_guard;
mod grpc;
mod observe;
mod requests;
mod resource;
mod scopes;
#[cfg(feature = "bcrypt")]
mod spa;
mod tower_contract;
mod upgrades;

//! Other issuers: their tokens, their keys, and the fetch of these from a fake identity provider.
#![cfg(feature = "aws-lc-rs")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

#[cfg(feature = "jwks")]
mod http;
mod keys;
#[cfg(feature = "jwks")]
mod provider;
mod tokens;

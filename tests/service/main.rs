//! The token service, with a clock and a store that the test controls.
//!
//! Tests of the crate as a whole are here too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod bounded_staleness;
mod cache;
mod causal;
mod changed_claims;
mod configuration;
mod dependencies;
mod events_log;
mod fastcore_parity;
#[cfg(feature = "bcrypt")]
mod fastcore_passwords;
mod faults;
mod issue;
mod issuers;
mod lifetimes;
#[cfg(all(feature = "redis", feature = "bcrypt", feature = "aws-lc-rs"))]
mod no_secrets;
mod observe;
mod refresh;
mod refresh_hook;
mod repeated_revocations;
mod replaced_keys;
mod revocation;
mod secrecy;
mod store_time_at_login;
mod streams;
mod unlogged_revocations;

use support::Events;
use tower_bearer::{Claims, Error, NewSession, TokenService, TokenType, error::TokenError, tokens::TokenPair};

async fn log_in<C: serde::Serialize + Send + Sync + 'static>(tokens: &TokenService<C>, custom: C) -> TokenPair {
    tokens.create_token_pair(NewSession::new("42").scope("read write").claims(custom)).await.unwrap()
}

async fn pair(tokens: &TokenService) -> TokenPair {
    log_in(tokens, tower_bearer::NoClaims {}).await
}

async fn access<C: Send + Sync + 'static>(tokens: &TokenService<C>, token: &str) -> Result<Claims<C>, Error> {
    tokens.validate_token(token, TokenType::Access).await
}

async fn refresh<C: Send + Sync + 'static>(tokens: &TokenService<C>, token: &str) -> Result<Claims<C>, Error> {
    tokens.validate_token(token, TokenType::Refresh).await
}

fn token_error<T: std::fmt::Debug>(result: Result<T, Error>) -> TokenError {
    match result {
        Err(Error::Token(error)) => error,
        other => panic!("not refused for the token's own fault: {other:?}"),
    }
}

fn assert_revoked<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = token_error(result);
    assert!(matches!(error, TokenError::Revoked { .. }), "{error:?}");
}

/// Asserts that both tokens of a pair are refused as revoked.
async fn assert_dead(tokens: &TokenService, pair: &TokenPair) {
    assert_revoked(access(tokens, pair.access().as_str()).await);
    assert_revoked(refresh(tokens, pair.refresh().as_str()).await);
}

/// Asserts that both tokens of a pair are accepted.
async fn assert_alive(tokens: &TokenService, pair: &TokenPair) {
    access(tokens, pair.access().as_str()).await.unwrap();
    refresh(tokens, pair.refresh().as_str()).await.unwrap();
}

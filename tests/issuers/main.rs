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

use tower_bearer::{Error, TokenService, TokenType, error::TokenError};

/// Returns the answer to a request, as its status.
async fn status(tokens: &TokenService, token: &str) -> u16 {
    match tokens.validate_token(token, TokenType::Access).await {
        Ok(_) => 200,
        Err(Error::Token(TokenError::UnknownKey)) => 401,
        Err(Error::IssuerKeys(_)) => 503,
        Err(error) => panic!("{error:?}"),
    }
}

//! The party that issued a verified token, or the reason why a token is not verified.

use std::sync::Arc;

use crate::{
    error::{Error, TokenError},
    jwt::{JwtClaims, RawClaims},
};

/// The party that has issued a verified token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// This service, or one with the same keys.
    Own,
    /// Another issuer. `index` is its place in the list of accepted issuers. `version` is the
    /// version of the keys that verified the token.
    External { index: usize, version: u64 },
}

/// The reason why a token is not verified.
pub(super) enum Unverified {
    Refused(Error),
    /// The keys of the issuer with this index, in this version, do not contain the token's key. A
    /// later version may contain the key.
    UnknownKey {
        index: usize,
        version: u64,
    },
}

impl From<TokenError> for Unverified {
    fn from(error: TokenError) -> Self {
        Self::Refused(error.into())
    }
}

/// A function that converts the custom claims of another issuer's token to the application's type.
pub(super) type Convert<C> = Arc<dyn Fn(JwtClaims<RawClaims>) -> Result<JwtClaims<C>, TokenError> + Send + Sync>;

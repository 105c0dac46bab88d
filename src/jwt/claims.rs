//! The claims of a verified token, as requests carry them.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, atomic::AtomicU64},
};

use serde::{Serialize, Serializer, de::DeserializeOwned};

use super::{
    claims_set::JwtClaims,
    custom::{NoClaims, RawClaims},
};
use crate::error::TokenError;

/// The claims of a token that was verified: its signature, times, issuer, audience and type. With
/// [`TokenService`](crate::TokenService), it was also found not to be revoked.
///
/// A cheap handle. Only verification makes one, so a handler can rely on those in a request's
/// extensions. The registered claims are the methods of [`JwtClaims`]; the application's own are
/// behind [`custom`](JwtClaims::custom):
///
/// ```
/// # use tower_bearer::jwt::Claims;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct MyClaims {
///     role: String,
/// }
///
/// fn may_delete(claims: &Claims<MyClaims>) -> bool {
///     claims.custom().role == "owner" && claims.scope().contains("write")
/// }
/// ```
pub struct Claims<C = NoClaims>(Arc<Shared<C>>);

/// The part that all clones share.
struct Shared<C> {
    claims: JwtClaims<C>,
    memo: AtomicU64,
}

impl<C> Claims<C> {
    /// The bytes of a handle's claims, except those of their texts.
    pub(crate) const BYTES: usize = size_of::<Shared<C>>() + 2 * size_of::<usize>();

    pub(super) fn verified(claims: JwtClaims<C>) -> Self {
        Self(Arc::new(Shared { claims, memo: AtomicU64::new(0) }))
    }

    /// Returns a word of memory for the code that checks these claims at every use. This module
    /// never reads it. It is 0 at first, and all clones share it.
    ///
    /// It is part of the claims' allocation, because a check reads these bytes anyway. At any other
    /// place that all clones reach, it would cost an allocation and a pointer to follow.
    pub(crate) fn memo(&self) -> &AtomicU64 {
        &self.0.memo
    }
}

impl Claims<RawClaims> {
    /// Returns the same verified claims with the application's as type `C`.
    ///
    /// # Errors
    ///
    /// [`TokenError::CustomClaims`] if they do not fit.
    pub fn parse_custom<C: DeserializeOwned>(&self) -> Result<Claims<C>, TokenError> {
        JwtClaims::clone(self).parse_custom().map(Claims::verified)
    }
}

impl<C> Clone for Claims<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Deref for Claims<C> {
    type Target = JwtClaims<C>;

    /// The application's claims are not reached this way. A field or method of theirs could then
    /// hide a registered claim of a later version, or be hidden by one.
    ///
    /// ```compile_fail,E0609
    /// struct MyClaims {
    ///     role: String,
    /// }
    ///
    /// fn role(claims: &tower_bearer::Claims<MyClaims>) -> &str {
    ///     &claims.role
    /// }
    /// ```
    fn deref(&self) -> &JwtClaims<C> {
        &self.0.claims
    }
}

impl<C> fmt::Debug for Claims<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.claims.fmt(f)
    }
}

impl<C: Serialize> Serialize for Claims<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.claims.serialize(serializer)
    }
}

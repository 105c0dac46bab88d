//! The revocation of other issuers' tokens.

use std::fmt;

use super::revoke::{Revoke, Revoker};
use crate::{
    ids::{SessionId, Subject, TokenId},
    observe::SessionEnd,
    store::ExternalId,
};

/// The methods that revoke the tokens of one other issuer. Made by
/// [`TokenService::external`](super::TokenService::external).
///
/// A revocation applies to the tokens that the issuer has signed up to now, on all nodes that share
/// this store. The issuer does not learn of it, and may give the user new tokens.
///
/// # Errors
///
/// Each revocation returns an error when awaited:
///
/// * [`Error::Store`](crate::Error::Store) if the store did not confirm it. Repeat the call until
///   it succeeds.
/// * [`Error::InvalidId`](crate::Error::InvalidId) if the id is malformed.
/// * [`Error::Issue`](crate::Error::Issue) unless the service accepts the issuer with
///   [`IssuerPolicy::Denylist`](crate::issuers::IssuerPolicy::Denylist).
pub struct ExternalTokens<'a> {
    pub(super) revoker: &'a Revoker,
    pub(super) issuer: String,
}

impl ExternalTokens<'_> {
    /// Revokes the token with this id: its `jti`, or the claim that
    /// [`token_id_from`](crate::issuers::Issuer::token_id_from) names. Idempotent.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_token_id(&self, id: &TokenId) -> Revoke {
        self.revoker.deny(&self.issuer, ExternalId::Token(id.clone()), None)
    }

    /// Revokes the tokens of a session that were issued up to now, or later by at most the leeway.
    /// Idempotent.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_session(&self, id: &SessionId) -> Revoke {
        self.revoker.deny(&self.issuer, ExternalId::Session(id.clone()), Some(SessionEnd::Revoked))
    }

    /// Revokes the tokens of a subject that were issued up to now, or later by at most the leeway.
    /// Idempotent.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_subject(&self, subject: impl Into<Subject>) -> Revoke {
        self.revoker.deny(&self.issuer, ExternalId::Subject(subject.into()), Some(SessionEnd::RevokedAll))
    }
}

impl fmt::Debug for ExternalTokens<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalTokens").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

//! The store and the denylist that decide about the revocation of tokens.

use std::sync::Arc;

use crate::{
    error::TokenError,
    store::{Denylist, SessionStore},
};

/// The store and the denylist that decide about the revocations of a service's tokens.
#[derive(Clone, Default)]
pub(super) struct Authority {
    store: Option<Arc<dyn SessionStore>>,
    /// True if the store has the sessions of own tokens.
    has_sessions: bool,
    /// The denylist of other issuers' tokens in the same store.
    denylist: Option<Arc<dyn Denylist>>,
}

/// The source that decides about the revocation of one token.
#[derive(Clone, Copy)]
pub(super) enum TokenAuthority<'a> {
    /// The store of sessions, for an own token. If the token's session has ended or is not in the
    /// store, the service refuses the token.
    Sessions(&'a Arc<dyn SessionStore>),
    /// The denylist, for a token under [`IssuerPolicy::Denylist`](crate::issuers::IssuerPolicy).
    Denylist(&'a Arc<dyn Denylist>),
    /// No source, for a token under [`IssuerPolicy::Stateless`](crate::issuers::IssuerPolicy).
    Nothing,
}

impl Authority {
    pub(super) fn new(
        store: Option<Arc<dyn SessionStore>>,
        has_sessions: bool,
        denylist: Option<Arc<dyn Denylist>>,
    ) -> Self {
        Self { store, has_sessions, denylist }
    }

    pub(super) fn store(&self) -> Option<&Arc<dyn SessionStore>> {
        self.store.as_ref()
    }

    /// Returns the store if it has the sessions of own tokens.
    pub(super) fn sessions(&self) -> Option<&Arc<dyn SessionStore>> {
        self.store.as_ref().filter(|_| self.has_sessions)
    }

    pub(super) fn denylist(&self) -> Option<&Arc<dyn Denylist>> {
        self.denylist.as_ref()
    }

    /// Returns the source that decides about own tokens.
    pub(super) fn of_own(&self) -> Result<TokenAuthority<'_>, TokenError> {
        self.sessions().map(TokenAuthority::Sessions).ok_or(TokenError::UnknownIssuer)
    }

    /// Returns the source that decides about the tokens of another issuer.
    pub(super) fn of_external(&self, is_revocable: bool) -> Result<TokenAuthority<'_>, TokenError> {
        match (is_revocable, &self.denylist) {
            (false, _) => Ok(TokenAuthority::Nothing),
            (true, Some(denylist)) => Ok(TokenAuthority::Denylist(denylist)),
            // `build` returns an error if an issuer is revocable and the store has no denylist.
            (true, None) => Err(TokenError::UnknownIssuer),
        }
    }
}

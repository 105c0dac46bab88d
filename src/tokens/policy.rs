//! The policy of acceptance, and the store that it needs.

use std::sync::Arc;

use crate::store::{Denylist, SessionStore};

/// The condition under which the service accepts a token with a valid signature and claims.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TokenPolicy {
    /// The service's own tokens: the store must know the token's session, and the session must be
    /// alive. The service refuses a signed token of an unknown session.
    #[default]
    Tracked,
    /// Another issuer's tokens, whose sessions the store does not know. The service accepts a token
    /// unless the token, its session or its subject was revoked here. It issues no tokens.
    ///
    /// The service refuses tokens from before the store's incarnation: an earlier incarnation may
    /// have held their revocations.
    Denylist,
    /// Signature and claims alone decide. There is no store, and nothing can be revoked.
    Stateless,
}

/// A policy with the store that it needs.
#[derive(Clone)]
pub(super) enum Authority {
    /// [`TokenPolicy::Tracked`].
    Sessions(Arc<dyn SessionStore>),
    /// [`TokenPolicy::Denylist`]: the store, and its denylist.
    Denylist(Arc<dyn SessionStore>, Arc<dyn Denylist>),
    /// [`TokenPolicy::Stateless`].
    Nothing,
}

impl Authority {
    pub(super) fn policy(&self) -> TokenPolicy {
        match self {
            Self::Sessions(_) => TokenPolicy::Tracked,
            Self::Denylist(..) => TokenPolicy::Denylist,
            Self::Nothing => TokenPolicy::Stateless,
        }
    }

    pub(super) fn store(&self) -> Option<&Arc<dyn SessionStore>> {
        match self {
            Self::Sessions(store) | Self::Denylist(store, _) => Some(store),
            Self::Nothing => None,
        }
    }
}

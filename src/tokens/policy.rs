//! The policy by which the service accepts tokens, and the store that the policy needs.

use std::sync::Arc;

use crate::store::{Denylist, SessionStore};

/// The condition under which the service accepts a token with a valid signature and claims.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TokenPolicy {
    /// The tokens are the service's own. The service accepts a token while the token's session is
    /// alive. If the store does not contain the session, the service refuses the token. Under
    /// [`Consistency::BoundedStaleness`](super::Consistency::BoundedStaleness), the service does
    /// not always ask the store.
    #[default]
    Tracked,
    /// The tokens are those of another issuer, so the store has no records of their sessions. The
    /// service refuses a token if the token, its session or its subject was revoked in this store.
    /// It issues no tokens.
    ///
    /// The service also refuses tokens from before the creation of the store's data set. An
    /// earlier, lost data set may have contained their revocations.
    Denylist,
    /// The service checks only signature and claims. It has no store, issues no tokens, and cannot
    /// revoke anything.
    Stateless,
}

/// A policy with the store that the policy needs.
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

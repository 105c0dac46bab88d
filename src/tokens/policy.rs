//! The tokens that are accepted, and the store that is asked about them.

use std::sync::Arc;

use crate::store::{Denylist, SessionStore};

/// The condition of acceptance beside a valid signature.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TokenPolicy {
    /// Our own tokens: the store must know the token's session, and know it as alive. A token that
    /// we signed but whose session the store does not know is refused.
    #[default]
    Tracked,
    /// Another issuer's tokens, whose sessions the store does not know. They are accepted unless
    /// the token, its session or its subject was revoked here. No tokens are issued.
    ///
    /// Tokens issued before the store began to remember are refused: they may have been revoked in
    /// an earlier incarnation of it.
    Denylist,
    /// Signature and claims alone decide. Nothing can be revoked, and the store is never asked.
    Stateless,
}

/// A policy with the store that it needs.
#[derive(Clone)]
pub(super) enum Authority {
    /// [`TokenPolicy::Tracked`].
    Sessions(Arc<dyn SessionStore>),
    /// [`TokenPolicy::Denylist`]: the store, and its list.
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

//! Events that an application may want to report to its users or its security team.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::ids::{SessionId, Subject};

/// An event in the life of a user's sessions. See
/// [`TokenServiceBuilder::on_event`](super::TokenServiceBuilder::on_event).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SecurityEvent {
    /// A refresh token was used after its successor, outside the grace: one of its two holders is a
    /// thief. The session has been revoked.
    ReuseDetected {
        /// The user of the session.
        subject: Subject,
        /// The session's id.
        session_id: SessionId,
    },
    /// A session was ended because its user opened another and may not have so many.
    SessionEvicted {
        /// The user of the session.
        subject: Subject,
        /// The session's id.
        session_id: SessionId,
    },
    /// The application refused new tokens for a user whose refresh token was good: the user is
    /// deleted or disabled.
    RefreshRefused {
        /// The user of the session.
        subject: Subject,
        /// The session's id.
        session_id: SessionId,
    },
    /// A correct login that revocations of all sessions overtook twice. It was refused: the user,
    /// or a thief with a session of the user, revokes all sessions again and again.
    LoginOvertaken {
        /// The user who logged in.
        subject: Subject,
    },
    /// The store has lost revocations that this node knows: it came back from older data, or
    /// another server took its place. They stay in force on this node, which republishes them. A
    /// revocation that no node has known is lost.
    RevocationsLost {
        /// The count that was found missing at first, of a part of the users.
        count: usize,
    },
    /// This node has republished revocations that the store had lost.
    RevocationsRepublished {
        /// Their count.
        count: usize,
    },
}

/// The application's hook for security events, if it has one.
#[derive(Clone, Default)]
pub(super) struct Events(Option<Arc<Hook>>);

type Hook = dyn Fn(&SecurityEvent) + Send + Sync;

impl Events {
    pub(super) fn new(hook: impl Fn(&SecurityEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// Calls the hook. A panic in it ends here: it must not affect work that is done.
    pub(super) fn emit(&self, event: &SecurityEvent) {
        let Some(hook) = &self.0 else { return };
        if catch_unwind(AssertUnwindSafe(|| hook(event))).is_err() {
            #[cfg(feature = "tracing")]
            tracing::error!("the application's `on_event` hook panicked");
        }
    }
}

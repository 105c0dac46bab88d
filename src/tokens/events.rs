//! Events that an application can report to its users or its security team.

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
    /// A client sent a used refresh token again, after the reuse grace or after the use of its
    /// successor. A thief may have a copy of the token. The store has revoked the session.
    ReuseDetected {
        /// The user of the session.
        subject: Subject,
        /// The session's id.
        session_id: SessionId,
    },
    /// A login ended an older session of the user, because the user had reached `max_sessions`.
    SessionEvicted {
        /// The user of the session.
        subject: Subject,
        /// The id of the older session.
        session_id: SessionId,
    },
    /// The application refused new tokens for a valid refresh token, for example because the user
    /// is deleted or disabled.
    RefreshRefused {
        /// The user of the session.
        subject: Subject,
        /// The session's id.
        session_id: SessionId,
    },
    /// A login with valid credentials failed, because all sessions of the user were revoked during
    /// the login. The login endpoint tries each login twice, so two such revocations occurred. A
    /// thief with a session of the user can cause this.
    LoginSuperseded {
        /// The user who logged in.
        subject: Subject,
    },
    /// The store has lost revocations that this node has in its copy of the log. For example, the
    /// store restarted from older data. This node still enforces the revocations, and republishes
    /// them. A revocation that no node has stays lost.
    RevocationsLost {
        /// The number of lost revocations that the node found first. There may be more.
        count: usize,
    },
    /// This node has republished revocations that the store had lost.
    RevocationsRepublished {
        /// The number of republished revocations.
        count: usize,
    },
}

/// The application's hook for security events, if set.
#[derive(Clone, Default)]
pub(super) struct Events(Option<Arc<Hook>>);

type Hook = dyn Fn(&SecurityEvent) + Send + Sync;

impl Events {
    pub(super) fn new(hook: impl Fn(&SecurityEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// Calls the hook. Catches its panic, so that the operation with the event still succeeds.
    pub(super) fn emit(&self, event: &SecurityEvent) {
        let Some(hook) = &self.0 else { return };
        if catch_unwind(AssertUnwindSafe(|| hook(event))).is_err() {
            #[cfg(feature = "tracing")]
            tracing::error!("the application's `on_event` hook panicked; see the panic message and fix the hook");
        }
    }
}

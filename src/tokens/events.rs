//! What an application may want to tell its users or its security team.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Something that happened to a user's sessions. See [`Builder::on_event`](super::Builder::on_event).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SecurityEvent {
    /// A refresh token was used after its successor, outside the grace: one of the two who hold it is a thief. The session
    /// has been revoked.
    ReuseDetected {
        /// Whose session.
        subject: String,
        /// Which session.
        session_id: String,
    },
    /// A session was ended because its user opened another and may not have so many.
    SessionEvicted {
        /// Whose session.
        subject: String,
        /// Which session.
        session_id: String,
    },
    /// The application refused new tokens for a user whose refresh token was good: the user is deleted or disabled.
    RefreshRefused {
        /// Whose session.
        subject: String,
        /// Which session.
        session_id: String,
    },
    /// A correct login that revocations of all sessions overtook twice. It was refused: the user,
    /// or a thief with a session of the user, revokes all sessions again and again.
    LoginOvertaken {
        /// The user who logged in.
        subject: String,
    },
    /// The store has lost revocations that this node knows: it came back from older data, or another server took its place. They stay in force on
    /// this node, and the store is told them again. What no node has known is lost.
    RevocationsLost {
        /// How many were found missing at first, of a part of the users.
        count: usize,
    },
    /// So many of them the store knows again.
    RevocationsRestored {
        /// How many.
        count: usize,
    },
}

/// Is called with security events.
pub(super) type OnEvent = Arc<dyn Fn(&SecurityEvent) + Send + Sync>;

/// Tells the application. A panic of its code ends here: it must not take anything down whose work is done.
pub(super) fn tell(hook: Option<&OnEvent>, event: &SecurityEvent) {
    let Some(hook) = hook else { return };
    if catch_unwind(AssertUnwindSafe(|| hook(event))).is_err() {
        #[cfg(feature = "tracing")]
        tracing::error!("the application's `on_event` hook panicked");
    }
}

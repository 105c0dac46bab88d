//! What an application may want to tell its users or its security team.

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
}

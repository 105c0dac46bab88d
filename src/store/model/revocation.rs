//! A revocation, and the store's answer to a call that revokes.

use std::time::Duration;

use super::LogPosition;
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
};

/// The store's answer to a call that revokes. The revocation is done.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Revoked {
    /// The store's time of the answer. If the call wrote a log entry, the entry's time is the same
    /// or later.
    pub now: Timestamp,
    /// True if the call revoked anything alive; false for a repetition. If the store would have to
    /// read very many sessions to be exact, it may return `true` without certainty.
    pub found: bool,
    /// The log entry of the revocation; `None` only if the store has no log.
    pub logged: Option<Logged>,
}

impl Revoked {
    /// Creates the answer of a store without a log.
    #[must_use]
    pub fn new(now: Timestamp, found: bool) -> Self {
        Self { now, found, logged: None }
    }

    /// Returns the position of the revocation's log entry, if the store has a log.
    #[must_use]
    pub fn position(&self) -> Option<&LogPosition> {
        self.logged.as_ref().map(|logged| &logged.position)
    }
}

/// The log entry of a revocation.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Logged {
    /// The revocation in the entry. It may end more than the call revoked, such as all sessions of
    /// the user.
    pub revocation: Revocation,
    /// The time until which nodes need the entry. See
    /// [`LogEntry::until`](super::LogEntry::until).
    pub until: Timestamp,
    /// The position of the entry. A node that has read the log up to this position enforces the
    /// revocation.
    pub position: LogPosition,
    /// The largest age of the log data by which any node decides. If it is zero, all nodes ask the
    /// store about each token.
    pub max_staleness: Duration,
    /// The longest time for which any node may use a server that was replaced. Nodes with an
    /// unknown time do not count. The time comes in addition to `max_staleness`. See
    /// [`SessionStore::failover_bound`](crate::SessionStore::failover_bound).
    pub max_failover: Duration,
}

impl Logged {
    /// Creates the entry for a store that all nodes ask about each token: both times are zero.
    #[must_use]
    pub fn new(revocation: Revocation, until: Timestamp, position: LogPosition) -> Self {
        Self { revocation, until, position, max_staleness: Duration::ZERO, max_failover: Duration::ZERO }
    }
}

/// The revocation in a log entry.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Revocation {
    /// A session.
    Session {
        /// The user whose session it is.
        subject: Subject,
        /// The session's id.
        sid: SessionId,
    },
    /// One access token.
    Token {
        /// The user whose token it is.
        subject: Subject,
        /// The token's id.
        jti: TokenId,
    },
    /// All sessions of a user with a lower generation.
    Subject {
        /// The user.
        subject: Subject,
        /// The lowest generation that is not revoked. It is above the time of the revocation in
        /// milliseconds.
        generation: u64,
        /// A session that stays alive. It is `None` too if the excepted session was not alive.
        except: Option<SessionId>,
    },
    /// A token, session or subject of another issuer.
    External {
        /// The name that [`Denylist::log_name`](crate::store::Denylist::log_name) returns.
        id: String,
        /// For a subject or session: its tokens that were issued at or before this moment are
        /// revoked. `None` for a token.
        before: Option<Timestamp>,
    },
}

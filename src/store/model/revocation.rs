//! A revocation, and the store's confirmation of one.

use std::time::Duration;

use super::LogPosition;
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
};

/// A revocation that the store has confirmed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Revoked {
    /// The store's time of the answer. A new entry in the log has this time or a later one.
    pub now: Timestamp,
    /// True if the call revoked anything alive, false at a repetition. Where an exact answer would
    /// need a look at very many sessions, a store may answer `true` without certainty.
    pub found: bool,
    /// The entry in the log; `None` only if the store has no log.
    pub logged: Option<Logged>,
}

impl Revoked {
    /// Creates the answer of a store without a log.
    #[must_use]
    pub fn new(now: Timestamp, found: bool) -> Self {
        Self { now, found, logged: None }
    }

    /// Returns the position of its entry in the log, if the store has a log.
    #[must_use]
    pub fn position(&self) -> Option<&LogPosition> {
        self.logged.as_ref().map(|logged| &logged.position)
    }
}

/// The entry of the log that records a revocation.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Logged {
    /// The revocation, as its log entry has it.
    pub revocation: Revocation,
    /// The end of the time for which the entry matters:
    /// [`LogEntry::until`](super::LogEntry::until).
    pub until: Timestamp,
    /// The position of the entry. A node that has read the log up to here enforces the revocation.
    pub position: LogPosition,
    /// The largest age of the log data by which any node decides. Zero: all nodes ask the store.
    pub max_staleness: Duration,
    /// In addition, the longest time for which any node may believe a server that was replaced, as
    /// far as the nodes know it. See
    /// [`SessionStore::failover_bound`](crate::SessionStore::failover_bound).
    pub max_failover: Duration,
}

impl Logged {
    /// Creates the entry of a store that all nodes ask about each token.
    #[must_use]
    pub fn new(revocation: Revocation, until: Timestamp, position: LogPosition) -> Self {
        Self { revocation, until, position, max_staleness: Duration::ZERO, max_failover: Duration::ZERO }
    }
}

/// The revocation that an entry of the log records.
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
        /// The lowest generation that stays alive, above the time of the revocation in
        /// milliseconds.
        generation: u64,
        /// A session that stays alive; `None` also if it was dead.
        except: Option<SessionId>,
    },
    /// A token, session or subject of another issuer.
    External {
        /// The name that [`Denylist::log_name`](crate::store::Denylist::log_name) returns.
        id: String,
        /// For a subject or session: tokens issued at or before this moment are revoked.
        before: Option<Timestamp>,
    },
}

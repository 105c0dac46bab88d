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
    /// The store's time when it was revoked. The log's entry has this time or a later one.
    pub now: Timestamp,
    /// True if there was anything alive to revoke: false at a repetition. If an exact answer would
    /// take a look at very many sessions, a store may answer `true` if there may have been.
    pub found: bool,
    /// The entry of the log; `None` only if the store has no log.
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
    /// The end of the time for which it matters, as [`LogEntry::until`](super::LogEntry::until).
    pub until: Timestamp,
    /// The position of its entry in the log: before the newest entry if it was revoked before. A
    /// node that has read the log up to here enforces it.
    pub position: LogPosition,
    /// The longest time for which any node may still decide by older data. Zero: none does.
    pub max_staleness: Duration,
    /// The longest time for which any node may in addition believe a server that was replaced, as
    /// far as the nodes know it. See
    /// [`SessionStore::failover_bound`](crate::SessionStore::failover_bound).
    pub max_failover: Duration,
}

impl Logged {
    /// Creates the answer of a store all of whose nodes ask it about each token.
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
    /// All sessions of a user opened in an earlier generation.
    Subject {
        /// The user.
        subject: Subject,
        /// The first generation that is alive: above the time of the revocation in milliseconds.
        generation: u64,
        /// A session that stays alive: named only if it was alive then.
        except: Option<SessionId>,
    },
    /// A thing of another issuer, by the hash under which it is stored.
    External {
        /// The hash.
        id: String,
        /// For a subject or session: tokens issued at or before this moment are dead.
        before: Option<Timestamp>,
    },
}

//! Revocations, and the store's answers to calls that revoke.

use std::time::Duration;

use super::LogPosition;
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
};

/// The store's answer to a successful call that revokes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Revoked {
    /// The store's time of the answer. If the call wrote a log entry, the entry has the same time
    /// or a later one.
    pub now: Timestamp,
    /// True if the call ended something that was alive; false for a repetition. If the user has
    /// very many sessions, the store may return `true` without reading all of them.
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

/// The log entry of a revocation, and the times after which every node enforces it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Logged {
    /// The revocation in the entry. It may end more than the call asked for, for example all
    /// sessions of the user.
    pub revocation: Revocation,
    /// The time until which nodes need the entry: see [`LogEntry::until`](super::LogEntry::until).
    pub until: Timestamp,
    /// The position of the entry. A node that has read the log up to this position enforces the
    /// revocation.
    pub position: LogPosition,
    /// The maximum age of the log data by which any node decides. Zero means that every node asks
    /// the store about each token.
    pub max_staleness: Duration,
    /// The longest time for which a node may still use a server that was replaced. Every node
    /// enforces the revocation after the sum of `max_staleness` and this time. A node that does not
    /// know its time is not included: see
    /// [`SessionStore::failover_bound`](crate::SessionStore::failover_bound).
    pub max_failover: Duration,
}

impl Logged {
    /// Creates the entry with a `max_staleness` and a `max_failover` of zero. These values are
    /// correct if all nodes ask the store about each token, and no server is ever replaced.
    #[must_use]
    pub fn new(revocation: Revocation, until: Timestamp, position: LogPosition) -> Self {
        Self { revocation, until, position, max_staleness: Duration::ZERO, max_failover: Duration::ZERO }
    }
}

/// A revocation, as a log entry contains it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Revocation {
    /// The revocation of one session.
    Session {
        /// The user whose session it is.
        subject: Subject,
        /// The session's id.
        sid: SessionId,
    },
    /// The revocation of one access token.
    Token {
        /// The user whose token it is.
        subject: Subject,
        /// The token's id.
        jti: TokenId,
    },
    /// The revocation of those sessions of a user whose generation is lower than `generation`.
    Subject {
        /// The user.
        subject: Subject,
        /// The lowest generation that is not revoked. It is higher than the time of the revocation
        /// in milliseconds.
        generation: u64,
        /// The session that stays alive. `None` if the call excepted no session, or a session that
        /// was not alive.
        except: Option<SessionId>,
    },
    /// The revocation of a token, session or subject of another issuer.
    External {
        /// The name of the id, from [`Denylist::log_name`](crate::store::Denylist::log_name).
        id: String,
        /// Tokens that were issued at or before this time are revoked. `None` if the revocation
        /// concerns a single token.
        before: Option<Timestamp>,
    },
}

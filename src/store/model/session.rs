//! A session: opening, check, rotation and listing.

use std::{num::NonZeroU32, time::Duration};

use super::LogStamp;
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject},
};

/// A session to be opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenSession {
    /// The user whose session it is.
    pub subject: Subject,
    /// The session's id: unique, never used before.
    pub sid: SessionId,
    /// The time for which an unused session lives, at most until its absolute end.
    pub idle: Duration,
    /// The longest life of the session, however often it is used.
    pub absolute: Duration,
    /// The time at which the authentication that leads to this session began, by
    /// [`SessionStore::now`](crate::SessionStore::now). The session is refused if all sessions of
    /// the user were revoked at or after that moment. Otherwise a login that had checked the old
    /// password would outlive a password change. The revocation of one session refuses no login.
    pub auth_time: Option<Timestamp>,
    /// The highest count of live sessions of the user, this one included. The store evicts those
    /// used longest ago, which is a revocation. A session is used when it is opened or rotated.
    /// Revoked and expired sessions do not count.
    ///
    /// A store may bound the work of one call. The stores of this crate look at 200 to 1000
    /// sessions and evict 100 at most. Each further call then reduces the excess until none is
    /// left; the suite allows 100 calls for an excess of 300. Under a cap of more than 900,
    /// sessions that expired shortly before may count as live.
    pub max_sessions: Option<NonZeroU32>,
    /// The caller's text for the listing: a device, an address. Up to 1 KiB of any text, returned
    /// as it is.
    pub label: String,
}

impl OpenSession {
    /// Creates the request for a session without label, cap or `auth_time`.
    #[must_use]
    pub fn new(subject: impl Into<Subject>, sid: SessionId, idle: Duration, absolute: Duration) -> Self {
        Self { subject: subject.into(), sid, idle, absolute, auth_time: None, max_sessions: None, label: String::new() }
    }
}

/// The result of opening a session.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Opened {
    /// The session is open.
    Opened {
        /// The store's time.
        now: Timestamp,
        /// The session's generation: a later [`revoke_all`](crate::SessionStore::revoke_all) has a
        /// higher one.
        generation: u64,
        /// The end of the session if it is not used.
        refresh_end: Timestamp,
        /// The sessions that were evicted for it, those used longest ago first.
        evicted: Vec<SessionId>,
        /// The stamp of the user's last revocation, evictions for this session included, as
        /// [`Successor::last_revocation`] has it.
        last_revocation: Option<LogStamp>,
    },
    /// All of the user's sessions were revoked when the authentication began, or later. Nothing was
    /// opened.
    Superseded {
        /// The store's time.
        now: Timestamp,
    },
    /// The subject has or had a session with this id, or the id was revoked. Nothing was opened.
    Exists {
        /// The store's time.
        now: Timestamp,
    },
}

/// The answer to a check.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Checked {
    /// The store's time: the state is the one of this moment or later.
    pub now: Timestamp,
    /// The state of the session and the token.
    pub state: SessionState,
    /// The server that answered; `None` if its identity is not known.
    pub server: Option<ServerId>,
}

impl Checked {
    /// Creates an answer of a server whose identity is not known.
    #[must_use]
    pub fn new(now: Timestamp, state: SessionState) -> Self {
        Self { now, state, server: None }
    }
}

/// Identity of the server behind an answer. Another process at the same address has another
/// identity, and so has the same process after a failover.
///
/// A node combines answers of two connections only if both name the same server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ServerId(u64);

impl ServerId {
    /// Creates an identity. The store chooses the number: equal numbers mean one server.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The state of a session, or of one access token of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SessionState {
    /// Alive.
    Active {
        /// The generation of the session.
        generation: u64,
        /// The counter of its newest refresh token.
        counter: u32,
        /// The end of the session if it is not used again.
        refresh_end: Timestamp,
    },
    /// The session, the token or all of the user's sessions were revoked.
    Revoked {
        /// The time of the revocation, if the store still knows it.
        at: Option<Timestamp>,
    },
    /// The store has no such session.
    Unknown,
    /// The session's own time is over.
    Expired,
}

/// A refresh token's counter, to be exchanged for the next one.
///
/// Only a live session rotates. With `n` the counter of its record and `k` the one presented:
///
/// * `k = n`: the record moves to `n + 1`.
/// * `k = n - 1`, and the record moved to `n` less than `grace` ago: the same successor again. So
///   two tabs, or a client that lost the answer, get one token. The window does not slide. `idle`
///   has no effect, and the store writes nothing.
/// * `k > n`: the record was rolled back (a restored snapshot, a failover). The token is newer: its
///   signature was verified. The record moves to `k + 1`.
/// * anything else is reuse: the session ends, as by a revocation. Its other tokens end with it,
///   and further rotations are answered with [`Rotated::Revoked`].
///
/// A counter never wraps: `u32::MAX` has no successor. A session that reaches it ends, because the
/// store could no longer detect reuse.
///
/// A rotation extends the session to `now + idle`, at most until its absolute end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RotateRefresh {
    /// The user whose session it is.
    pub subject: Subject,
    /// The session.
    pub sid: SessionId,
    /// The counter of the refresh token that was presented.
    pub counter: u32,
    /// The time for which the session then lives unused.
    pub idle: Duration,
    /// The time for which the predecessor gets the same successor again. Zero: never.
    pub grace: Duration,
}

impl RotateRefresh {
    /// Creates the request.
    #[must_use]
    pub fn new(subject: impl Into<Subject>, sid: SessionId, counter: u32, idle: Duration, grace: Duration) -> Self {
        Self { subject: subject.into(), sid, counter, idle, grace }
    }
}

/// The result of a rotation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Rotated {
    /// The record moved to the next counter.
    Rotated(Successor),
    /// The record had moved before, within the grace. The successor is the same.
    Replayed(Successor),
    /// The counter was used before, or is the last one. The session is now revoked.
    Reused {
        /// The store's time.
        now: Timestamp,
    },
    /// The session was revoked before.
    Revoked {
        /// The store's time.
        now: Timestamp,
        /// The time of the revocation, if the store still knows it.
        at: Option<Timestamp>,
    },
    /// The store has no such session.
    Unknown {
        /// The store's time.
        now: Timestamp,
    },
    /// The session's own time is over.
    Expired {
        /// The store's time.
        now: Timestamp,
    },
}

/// The identity of the tokens that follow a rotation. All of it comes from the record, so a
/// repeated request gets it again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Successor {
    /// The counter of the new refresh token.
    pub counter: u32,
    /// The generation of the session.
    pub generation: u64,
    /// The time at which the record moved to this counter: the new tokens' `iat`.
    pub issued_at: Timestamp,
    /// The end of the session if it is not used again: the new refresh token's `exp`.
    pub refresh_end: Timestamp,
    /// The store's time. Later than `issued_at` if this is a replay.
    pub now: Timestamp,
    /// The stamp of the last log entry of this user: a revocation of all sessions, of a session or
    /// of a token, an eviction or reuse.
    ///
    /// The new tokens carry it, and another node then applies that entry before it decides about
    /// the user. The answer is optional: with `None` other nodes apply the entry within their
    /// staleness. Once every node must have applied it, the stamp has no use. That is the case
    /// after the sum of [`LogPage::max_staleness`](super::LogPage::max_staleness) and
    /// [`LogPage::max_failover`](super::LogPage::max_failover).
    pub last_revocation: Option<LogStamp>,
}

impl Successor {
    /// Creates the successor of a rotation that happens `now`, without a stamp. For a replay, set
    /// `issued_at` to the time of the rotation that it repeats.
    #[must_use]
    pub fn new(counter: u32, generation: u64, now: Timestamp, refresh_end: Timestamp) -> Self {
        Self { counter, generation, issued_at: now, refresh_end, now, last_revocation: None }
    }
}

/// The part of a listing that a caller asks for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// The [`SessionPage::next`] of the page before; `None` for the first page. Any other text
    /// starts at the first page and is no error, because it may come from a client. No cursor leads
    /// to another user's sessions.
    pub cursor: Option<String>,
    /// The approximate count of records to look at; 0 means 100. Any number is valid, and a store
    /// may look at fewer. A page may hold fewer, even none, and still have a next one.
    pub limit: u32,
}

impl Page {
    /// Asks for the page at a cursor; without one, for the first page.
    #[must_use]
    pub fn at(cursor: Option<String>) -> Self {
        Self { cursor, limit: 0 }
    }

    /// Sets the approximate count of records to look at.
    #[must_use]
    pub fn limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }
}

/// Part of a listing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionPage {
    /// The live sessions of this part.
    pub sessions: Vec<SessionRecord>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

impl SessionPage {
    /// Creates a page.
    #[must_use]
    pub fn new(sessions: Vec<SessionRecord>, next: Option<String>) -> Self {
        Self { sessions, next }
    }
}

/// One live session, as listed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionRecord {
    /// The session's id.
    pub sid: SessionId,
    /// The time at which it was opened.
    pub opened_at: Timestamp,
    /// The time at which its refresh token was last rotated; the time of its opening, if never.
    pub last_rotated_at: Timestamp,
    /// The end of the session if it is not used again.
    pub expires_at: Timestamp,
    /// The end of the session in any case.
    pub absolute_end: Timestamp,
    /// The caller's label of the session.
    pub label: String,
}

impl SessionRecord {
    /// Creates the record of a session that was never rotated and has no label.
    #[must_use]
    pub fn new(sid: SessionId, opened_at: Timestamp, expires_at: Timestamp, absolute_end: Timestamp) -> Self {
        Self { sid, opened_at, last_rotated_at: opened_at, expires_at, absolute_end, label: String::new() }
    }
}

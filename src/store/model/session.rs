//! The arguments and answers of calls about sessions: open, check, rotate and list.

use std::{num::NonZeroU32, time::Duration};

use super::LogStamp;
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject},
};

/// A request to open a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenSession {
    /// The user whose session it is.
    pub subject: Subject,
    /// The session's id. It must be new: no session may have had it before.
    pub sid: SessionId,
    /// The time after which the session ends if it is not refreshed.
    pub idle: Duration,
    /// The maximum life of the session, even if it is refreshed.
    pub absolute: Duration,
    /// The time at which the login began, from [`SessionStore::now`](crate::SessionStore::now). If
    /// a `revoke_all` of this user happened at that time or later, the store opens no session.
    /// Otherwise a login with the old password could still open a session after a password change.
    /// `None` disables this check.
    pub auth_time: Option<Timestamp>,
    /// The maximum number of live sessions of the user, including the new session. If there are
    /// more, the store evicts (revokes) the least recently used ones. A session is used when it is
    /// opened or rotated.
    ///
    /// One call may evict only some of the excess sessions. The next calls evict the rest:
    ///
    /// * The stores of this crate read 200 to 1000 sessions in one call, and evict at most 100.
    /// * If the maximum is above 900, a store may also count sessions that have just expired.
    /// * The suite of the `conformance` module allows 100 calls to evict 300 excess sessions.
    pub max_sessions: Option<NonZeroU32>,
    /// A text for the list of sessions, such as the name of a device: up to 1 KiB. The store
    /// returns the text unchanged.
    pub label: String,
}

impl OpenSession {
    /// Creates the request for a session without `label`, `max_sessions` and `auth_time`.
    #[must_use]
    pub fn new(subject: impl Into<Subject>, sid: SessionId, idle: Duration, absolute: Duration) -> Self {
        Self { subject: subject.into(), sid, idle, absolute, auth_time: None, max_sessions: None, label: String::new() }
    }
}

/// The answer to a request to open a session.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Opened {
    /// The session is open.
    Opened {
        /// The store's time.
        now: Timestamp,
        /// The generation of the session. A session is revoked if the user's generation is higher:
        /// see [`revoke_all`](crate::SessionStore::revoke_all).
        generation: u64,
        /// The time at which the session ends if it is not refreshed.
        refresh_end: Timestamp,
        /// The sessions that the store evicted, the least recently used first. Also empty if the
        /// answer of the server was lost and the store repeated the call.
        evicted: Vec<SessionId>,
        /// The stamp of the user's last revocation, such as an eviction for this session. See
        /// [`Successor::last_revocation`].
        last_revocation: Option<LogStamp>,
    },
    /// A `revoke_all` of this user happened at `auth_time` or later. The store opened no session,
    /// or the `revoke_all` has ended the new session.
    Superseded {
        /// The store's time.
        now: Timestamp,
    },
    /// The subject has or had a session with this id, or the id was revoked before. The store
    /// opened no session.
    Exists {
        /// The store's time.
        now: Timestamp,
    },
}

/// The store's answer to [`SessionStore::check`](crate::SessionStore::check).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Checked {
    /// The store's time before it read the session. The answer is the state at this time or later.
    pub now: Timestamp,
    /// The state of the session and the token.
    pub state: SessionState,
    /// The server that answered; `None` if its identity is unknown.
    pub server: Option<ServerId>,
}

impl Checked {
    /// Creates the answer of a server whose identity is unknown.
    #[must_use]
    pub fn new(now: Timestamp, state: SessionState) -> Self {
        Self { now, state, server: None }
    }
}

/// The identity of the server that answered. Another process at the same address has another
/// identity. A server also gets a new identity at a failover.
///
/// A node combines answers of two connections only if both come from the same server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ServerId(u64);

impl ServerId {
    /// Creates an identity. Equal numbers mean the same server, and the store chooses the numbers.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The state of a session and of one of its access tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SessionState {
    /// The session is alive. Neither the session nor the token is revoked.
    Active {
        /// The generation of the session.
        generation: u64,
        /// The counter of the session's newest refresh token.
        counter: u32,
        /// The time at which the session ends if it is not refreshed.
        refresh_end: Timestamp,
    },
    /// The session or the token was revoked, or all sessions of the user were revoked.
    Revoked {
        /// The time of the revocation; `None` if the store did not save the time.
        at: Option<Timestamp>,
    },
    /// The store has no such session.
    Unknown,
    /// The session has reached its end.
    Expired,
}

/// A request to exchange a refresh token for the next one (a rotation).
///
/// The session's record contains `n`, the counter of its newest refresh token. The refresh token of
/// the client contains the counter `k`. If the session is alive, the store compares the two:
///
/// * `k = n`: the token is the newest one. The store sets the record's counter to `n + 1`.
/// * `k = n - 1`, and the record got the counter `n` less than `grace` ago: a replay, by a second
///   browser tab or after a lost answer. The store returns the same successor again, and writes
///   nothing.
/// * `k > n`: the store has lost a newer record, for example at a failover. The token is genuine,
///   because the service has verified its signature. So the store sets the record's counter to
///   `k + 1`.
/// * Every other counter is reuse. The store revokes the session with all its tokens. Later
///   rotations return [`Rotated::Revoked`].
///
/// The counter `u32::MAX` has no successor. If `k` is `u32::MAX`, the store revokes the session,
/// because it could no longer detect reuse.
///
/// A rotation prolongs the session to `now + idle`, at most until its absolute end. A replay
/// prolongs neither the session nor the grace.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RotateRefresh {
    /// The user whose session it is.
    pub subject: Subject,
    /// The session's id.
    pub sid: SessionId,
    /// The counter in the client's refresh token.
    pub counter: u32,
    /// The time after which the session ends if it is not refreshed again.
    pub idle: Duration,
    /// The time after a rotation in which the old counter gets the same successor again. Zero
    /// disables such replays.
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
    /// The store has raised the counter.
    Rotated(Successor),
    /// An earlier call has raised the counter, less than `grace` ago. The answer contains the same
    /// successor as the answer to that call.
    Replayed(Successor),
    /// The counter was used before, or it is `u32::MAX`. The store has revoked the session.
    Reused {
        /// The store's time.
        now: Timestamp,
    },
    /// The session was revoked before this call.
    Revoked {
        /// The store's time.
        now: Timestamp,
        /// The time of the revocation; `None` if the store did not save the time.
        at: Option<Timestamp>,
    },
    /// The store has no such session.
    Unknown {
        /// The store's time.
        now: Timestamp,
    },
    /// The session has reached its end.
    Expired {
        /// The store's time.
        now: Timestamp,
    },
}

/// The data of the access token and the refresh token that a service creates after a rotation. A
/// replay gets the same data, except `now` and `last_revocation`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Successor {
    /// The counter of the new refresh token.
    pub counter: u32,
    /// The generation of the session.
    pub generation: u64,
    /// The time at which the store raised the counter. It is the `iat` of the new tokens.
    pub issued_at: Timestamp,
    /// The time at which the session ends if it is not refreshed again. It is the `exp` of the new
    /// refresh token.
    pub refresh_end: Timestamp,
    /// The store's time of this answer. For a replay it is later than `issued_at`.
    pub now: Timestamp,
    /// The stamp of the last log entry that revokes a session or token of this user. The store may
    /// always return `None`.
    ///
    /// The new access token contains the stamp. If a node gets this token before it has read the
    /// entry, the node asks the store about the user. Without the stamp, the node could decide by
    /// older data until it has read the entry.
    ///
    /// A store can leave out the stamp of an old entry that every node has applied. An entry is old
    /// after the sum of [`LogPage::max_staleness`](super::LogPage::max_staleness) and
    /// [`LogPage::max_failover`](super::LogPage::max_failover).
    pub last_revocation: Option<LogStamp>,
}

impl Successor {
    /// Creates the successor of a rotation at `now`, without a stamp. For a replay, set `issued_at`
    /// to the time of the rotation.
    #[must_use]
    pub fn new(counter: u32, generation: u64, now: Timestamp, refresh_end: Timestamp) -> Self {
        Self { counter, generation, issued_at: now, refresh_end, now, last_revocation: None }
    }
}

/// A query for a page of the user's sessions.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// The [`SessionPage::next`] of the previous page; `None` for the first page. If the cursor is
    /// invalid, the store returns the first page, because the text may come from a client. No
    /// cursor gives access to another user's sessions.
    pub cursor: Option<String>,
    /// The approximate number of records that the store reads; 0 means 100. Any number is valid,
    /// and a store may read fewer records. A page may have no session, and still have a next page.
    pub limit: u32,
}

impl Page {
    /// Asks for the page at `cursor`. Without a cursor, asks for the first page.
    #[must_use]
    pub fn at(cursor: Option<String>) -> Self {
        Self { cursor, limit: 0 }
    }

    /// Sets the approximate number of records that the store reads.
    #[must_use]
    pub fn limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }
}

/// A page of a user's sessions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionPage {
    /// The live sessions of this page.
    pub sessions: Vec<SessionRecord>,
    /// The cursor of the next page; `None` for the last page.
    pub next: Option<String>,
}

impl SessionPage {
    /// Creates a page.
    #[must_use]
    pub fn new(sessions: Vec<SessionRecord>, next: Option<String>) -> Self {
        Self { sessions, next }
    }
}

/// One live session in a page.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SessionRecord {
    /// The session's id.
    pub sid: SessionId,
    /// The time at which the session was opened.
    pub opened_at: Timestamp,
    /// The time of the session's last rotation. If it was never rotated: the same as `opened_at`.
    pub last_rotated_at: Timestamp,
    /// The time at which the session ends if it is not refreshed.
    pub expires_at: Timestamp,
    /// The latest end of the session, even if it is refreshed.
    pub absolute_end: Timestamp,
    /// The label that the caller passed in [`OpenSession::label`].
    pub label: String,
}

impl SessionRecord {
    /// Creates the record of a session that was never rotated and has no label.
    #[must_use]
    pub fn new(sid: SessionId, opened_at: Timestamp, expires_at: Timestamp, absolute_end: Timestamp) -> Self {
        Self { sid, opened_at, last_rotated_at: opened_at, expires_at, absolute_end, label: String::new() }
    }
}

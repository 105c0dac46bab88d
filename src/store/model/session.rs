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
    /// The session's id. No other session may have had it.
    pub sid: SessionId,
    /// The time for which the session stays alive without a refresh, at most until its absolute
    /// end.
    pub idle: Duration,
    /// The longest life of the session, however often its refresh tokens are used.
    pub absolute: Duration,
    /// The time at which the login began, from [`SessionStore::now`](crate::SessionStore::now). If
    /// a `revoke_all` of this user happened at that time or later, the store refuses the session.
    /// Otherwise a login that has checked the old password could open a session after a password
    /// change. The revocation of one session refuses no login.
    pub auth_time: Option<Timestamp>,
    /// The highest count of live sessions of the user, including the new session. The store evicts
    /// (revokes) the excess sessions whose last use is longest ago. The opening and each rotation
    /// are uses.
    ///
    /// A store may limit the work of one call. The stores of this crate read 200 to 1000 sessions
    /// and evict at most 100. Later calls then evict the remaining excess. The suite allows 100
    /// calls for an excess of 300. If the cap is above 900, the store may count sessions that have
    /// just expired.
    pub max_sessions: Option<NonZeroU32>,
    /// A text for the list of sessions, such as a device or an address: up to 1 KiB. The store
    /// returns it unchanged.
    pub label: String,
}

impl OpenSession {
    /// Creates the request for a session without label, cap or `auth_time`.
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
        /// The session's generation. A later [`revoke_all`](crate::SessionStore::revoke_all) sets a
        /// higher generation.
        generation: u64,
        /// The end of the session without a refresh.
        refresh_end: Timestamp,
        /// The sessions that the store evicted for the new session. The session whose last use is
        /// longest ago comes first. Empty if the store repeated the call, because it lost the
        /// answer with these ids.
        evicted: Vec<SessionId>,
        /// The stamp of the user's last revocation, including evictions for this session. See
        /// [`Successor::last_revocation`].
        last_revocation: Option<LogStamp>,
    },
    /// All of the user's sessions were revoked when the login began, or later. The store opened no
    /// session, or the revocation ended the new one.
    Superseded {
        /// The store's time.
        now: Timestamp,
    },
    /// The subject has or had a session with this id, or the id was revoked. The store opened no
    /// session.
    Exists {
        /// The store's time.
        now: Timestamp,
    },
}

/// The answer to a check.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Checked {
    /// The store's time before it read the session. The state is that at this time or later.
    pub now: Timestamp,
    /// The state of the session and the token.
    pub state: SessionState,
    /// The server that answered; `None` if its identity is unknown.
    pub server: Option<ServerId>,
}

impl Checked {
    /// Creates an answer of a server with an unknown identity.
    #[must_use]
    pub fn new(now: Timestamp, state: SessionState) -> Self {
        Self { now, state, server: None }
    }
}

/// Identity of the server behind an answer. Another process at the same address has another
/// identity. After a failover, the same process has another identity too.
///
/// A node combines answers of two connections only if both name the same server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ServerId(u64);

impl ServerId {
    /// Creates an identity. The store chooses the number. Equal numbers mean the same server.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// The state of a session and of one of its access tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SessionState {
    /// The session is alive, and neither it nor the token is revoked.
    Active {
        /// The generation of the session.
        generation: u64,
        /// The counter of the session's newest refresh token.
        counter: u32,
        /// The end of the session without another refresh.
        refresh_end: Timestamp,
    },
    /// The session, the token or all of the user's sessions were revoked.
    Revoked {
        /// The time of the revocation; `None` if the store does not have it.
        at: Option<Timestamp>,
    },
    /// The store has no such session.
    Unknown,
    /// The session has reached its end.
    Expired,
}

/// A request to exchange a refresh token's counter for the next one.
///
/// Only a live session rotates. The session's record contains the counter `n` of the newest refresh
/// token. The client's refresh token contains the counter `k`. The cases:
///
/// * `k = n`: the store sets the record's counter to `n + 1`.
/// * `k = n - 1`, and the record got `n` less than `grace` ago: the store returns the same
///   successor again, and writes nothing. So two browser tabs, or a client that lost the answer,
///   get the same tokens. A replay does not prolong the grace, and `idle` has no effect.
/// * `k > n`: the store has lost a newer record (a restored snapshot, a failover). The service has
///   verified the token's signature, so the token is newer than the record. The store sets the
///   record's counter to `k + 1`.
/// * Every other counter is reuse. The store revokes the session and so all its tokens. The answer
///   to later rotations is [`Rotated::Revoked`].
///
/// The counter `u32::MAX` has no successor. A session that reaches it ends, because the store could
/// no longer detect reuse.
///
/// A rotation prolongs the session to `now + idle`, at most until its absolute end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RotateRefresh {
    /// The user whose session it is.
    pub subject: Subject,
    /// The session's id.
    pub sid: SessionId,
    /// The counter in the client's refresh token.
    pub counter: u32,
    /// The time for which the session stays alive without another refresh.
    pub idle: Duration,
    /// The time after a rotation during which the store returns the same successor again for the
    /// earlier counter. Zero disables replays.
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
    /// The store has advanced the counter.
    Rotated(Successor),
    /// An earlier call has advanced the counter, within the grace. The answer contains the same
    /// successor.
    Replayed(Successor),
    /// The counter was used before, or it is `u32::MAX`. The store has revoked the session.
    Reused {
        /// The store's time.
        now: Timestamp,
    },
    /// The session was revoked before.
    Revoked {
        /// The store's time.
        now: Timestamp,
        /// The time of the revocation; `None` if the store does not have it.
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

/// The data of the tokens that a service mints after a rotation. All data except `now` and the
/// stamp come from the session's record, so a replay gets the same data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Successor {
    /// The counter of the new refresh token.
    pub counter: u32,
    /// The generation of the session.
    pub generation: u64,
    /// The time at which the store advanced the counter. It is the `iat` of the new tokens.
    pub issued_at: Timestamp,
    /// The end of the session without another refresh. It is the `exp` of the new refresh token.
    pub refresh_end: Timestamp,
    /// The store's time. For a replay it is later than `issued_at`.
    pub now: Timestamp,
    /// The stamp of the last log entry about this user. The entry is from a revocation (of all
    /// sessions, a session or a token), an eviction or reuse.
    ///
    /// The new access token contains the stamp. So another node applies that entry before it
    /// decides locally about the user. A store may always return `None`. Other nodes then apply the
    /// entry within their staleness.
    ///
    /// A store can omit the stamp of an entry that every node has applied. An entry is that old
    /// after the sum of [`LogPage::max_staleness`](super::LogPage::max_staleness) and
    /// [`LogPage::max_failover`](super::LogPage::max_failover).
    pub last_revocation: Option<LogStamp>,
}

impl Successor {
    /// Creates the successor of a rotation at `now`, without a stamp. For a replay, set `issued_at`
    /// to the time of the original rotation.
    #[must_use]
    pub fn new(counter: u32, generation: u64, now: Timestamp, refresh_end: Timestamp) -> Self {
        Self { counter, generation, issued_at: now, refresh_end, now, last_revocation: None }
    }
}

/// A query for a page of the user's sessions.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Page {
    /// The [`SessionPage::next`] of the page before; `None` for the first page. The text may come
    /// from a client, so an invalid cursor is no error: the store returns the first page. No cursor
    /// leads to another user's sessions.
    pub cursor: Option<String>,
    /// The approximate count of records that the store reads; 0 means 100. Any number is valid, and
    /// a store may read fewer records. A page may have fewer sessions or none, and still have a
    /// next page.
    pub limit: u32,
}

impl Page {
    /// Asks for the page at a cursor; without a cursor, for the first page.
    #[must_use]
    pub fn at(cursor: Option<String>) -> Self {
        Self { cursor, limit: 0 }
    }

    /// Sets the approximate count of records that the store reads.
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
    /// The time of the session's last rotation; before the first rotation, `opened_at`.
    pub last_rotated_at: Timestamp,
    /// The end of the session without another refresh.
    pub expires_at: Timestamp,
    /// The latest end of the session, however often its refresh tokens are used.
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

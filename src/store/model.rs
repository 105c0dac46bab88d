//! The arguments and answers of stores.

use std::{num::NonZeroU32, time::Duration};

use crate::clock::Timestamp;

/// A session to be opened.
#[derive(Clone, Debug)]
pub struct Open {
    /// The user whose session it is.
    pub subject: String,
    /// The session's id: unique, never used before.
    pub sid: String,
    /// The time for which the session lives without being used.
    pub idle: Duration,
    /// The longest life of the session.
    pub absolute: Duration,
    /// The time at which the authentication that leads to this session began, by
    /// [`TokenStore::now`](super::TokenStore::now). The session is refused if all sessions of the
    /// user were revoked at or after that moment. Otherwise a login that had checked the old
    /// password would outlive a password change.
    pub authentication_began: Option<Timestamp>,
    /// The highest count of live sessions of the user, this one included. Those that were used
    /// longest ago are evicted.
    ///
    /// The work of one call is bounded, and the cap is exact up to that bound. One call looks at
    /// some hundred sessions and evicts 100 at most. If there are more, because there was no cap
    /// before, each further call reduces the excess until none is left. Under a cap of more than
    /// 900, sessions that have expired a short while ago may count as live.
    pub max_sessions: Option<NonZeroU32>,
    /// The caller's text for the listing: a device, an address. Up to 1 KiB.
    pub label: String,
}

/// The result of opening a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Opened {
    /// The session is open.
    Opened {
        /// The store's time.
        now: Timestamp,
        /// The user's generation: a later [`revoke_all`](super::TokenStore::revoke_all) has a
        /// higher one.
        generation: u64,
        /// The end of the session if it is not used.
        refresh_end: Timestamp,
        /// The sessions that were evicted for it.
        evicted: Vec<String>,
    },
    /// All of the user's sessions were revoked since the authentication began. Nothing was opened.
    Superseded {
        /// The store's time.
        now: Timestamp,
    },
    /// A session with this id exists already. Nothing was opened.
    Exists {
        /// The store's time.
        now: Timestamp,
    },
}

/// The answer to a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checked {
    /// The store's time: the state is the one of this moment or later.
    pub now: Timestamp,
    /// The state of the session and the token.
    pub state: SessionState,
    /// The server that answered; `None` if its identity is not known.
    pub server: Option<ServerId>,
}

/// Identity of the server behind an answer. Another process at the same address has another one,
/// and so has the same process after a failover.
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
/// With `n` the counter of the record and `k` the one presented:
///
/// * `k = n`: the record moves to `n + 1`.
/// * `k = n - 1`, and the record moved to `n` less than `grace` ago: the same successor again. Two
///   tabs, or a client that lost the answer, get one token; the window does not slide.
/// * `k > n`: the record was rolled back (a restored snapshot, a failover). The token, whose
///   signature is good, is newer. The record moves to `k + 1`.
/// * anything else is reuse: the session ends.
#[derive(Clone, Debug)]
pub struct Rotate {
    /// The user whose session it is.
    pub subject: String,
    /// The session.
    pub sid: String,
    /// The counter of the refresh token that was presented.
    pub counter: u32,
    /// The time for which the session lives on without being used.
    pub idle: Duration,
    /// The time for which the predecessor gets the same successor again. Zero: never.
    pub grace: Duration,
}

/// The result of a rotation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rotated {
    /// The record has moved on.
    Rotated(Successor),
    /// The record had moved on already, within the grace: the same successor.
    Replayed(Successor),
    /// The counter was used before. The session is now revoked, if it was not already.
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
}

/// A revocation that the store has confirmed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revoked {
    /// The store's time.
    pub now: Timestamp,
    /// True if there was anything alive to revoke. If an exact answer would take a look at very
    /// many sessions, a store may answer `true` if there may have been.
    pub found: bool,
    /// The revocation, as its log entry has it.
    pub revocation: Revocation,
    /// The end of the time for which it matters, as [`LogEntry::until`].
    pub until: Timestamp,
    /// The position of its entry in the log: before the newest entry if it was revoked before. A
    /// node that has read the log up to here enforces it.
    pub position: LogPosition,
    /// The longest time for which any node may still decide by older data. Zero: none does.
    pub max_staleness: Duration,
    /// The longest time for which any node may in addition believe a server that was replaced, as
    /// far as the nodes know it. See
    /// [`TokenStore::failover_bound`](super::TokenStore::failover_bound).
    pub max_failover: Duration,
}

/// A position in the revocation log.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct LogPosition {
    /// The bucket whose log it is.
    pub bucket: u32,
    /// Identity of the store's data set: a store that lost its data starts a new one.
    pub incarnation: String,
    /// The entry's number: dense, from 1.
    pub sequence: u64,
}

/// The part of a listing that a caller asks for.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The position at which to go on: the [`SessionPage::next`] of the page before; `None` for the
    /// first. A text that is no such cursor begins anew: it may come from a client, and is no fault
    /// of the store.
    pub cursor: Option<String>,
    /// The approximate count of records to look at; 0 means 100. A page may hold fewer, even none,
    /// and still have a next one.
    pub limit: u32,
}

/// Part of a listing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionPage {
    /// The live sessions of this part.
    pub sessions: Vec<SessionRecord>,
    /// The cursor of the next page; `None` at the end.
    pub next: Option<String>,
}

/// One live session, as listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionRecord {
    /// The session's id.
    pub sid: String,
    /// The time at which it was opened.
    pub opened_at: Timestamp,
    /// The time at which its refresh token was last rotated; the time of its opening, if never.
    pub last_rotated_at: Timestamp,
    /// The end of the session if it is not used again.
    pub expires_at: Timestamp,
    /// The end of the session in any case.
    pub absolute_end: Timestamp,
    /// The caller's own text for it.
    pub label: String,
}

/// A thing of another issuer that can be revoked.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ForeignId {
    /// One token, by its `jti`.
    Token(String),
    /// A session, by its `sid`: its tokens issued until the end of the current half second.
    Session(String),
    /// A subject: its tokens issued until the end of the current half second.
    Subject(String),
}

/// The name of another issuer's thing in the log.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ForeignName {
    /// The bucket whose log has its revocations.
    pub bucket: u32,
    /// The `id` of its [`Revocation::Foreign`].
    pub id: String,
}

impl ForeignId {
    /// Returns its text.
    pub(super) fn as_str(&self) -> &str {
        let (Self::Token(id) | Self::Session(id) | Self::Subject(id)) = self;
        id
    }
}

/// A token, session or subject of another issuer, to be revoked.
#[derive(Clone, Debug)]
pub struct Deny {
    /// The issuer (`iss`), so that its subject "1" is not our user 1.
    pub issuer: String,
    /// The thing to be revoked.
    pub id: ForeignId,
    /// The shortest time for which to remember it: the longest life of a token that it concerns,
    /// plus leeway and margin. Zero if its time is over: then nothing is written.
    pub keep: Duration,
}

/// A token of another issuer.
#[derive(Clone, Debug)]
pub struct DenyQuery {
    /// The token's `iss`.
    pub issuer: String,
    /// Its `jti`.
    pub jti: Option<String>,
    /// Its `sid`.
    pub sid: Option<String>,
    /// Its `sub`.
    pub subject: Option<String>,
}

/// The revocations that concern a token of another issuer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Denial {
    /// The store's time: the answer is the state of this moment or later.
    pub now: Timestamp,
    /// True if the token itself was revoked.
    pub token: bool,
    /// The time at which its subject or session was revoked: tokens issued at or before it are
    /// dead.
    pub revoked_before: Option<Timestamp>,
    /// The time since which the store remembers. A token issued before may have been revoked in an
    /// earlier incarnation of the store.
    pub born: Timestamp,
    /// The time at which the store was last asked to remember revocations for longer; `None` if it
    /// always did for as long as now.
    pub kept_longer: Option<KeptLonger>,
    /// The server that answered; `None` if its identity is not known, or if several servers
    /// answered.
    pub server: Option<ServerId>,
}

/// A time from which revocations are remembered for longer than before.
///
/// A token of a long life that was issued before may have been revoked, and its revocation
/// forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeptLonger {
    /// The time.
    pub since: Timestamp,
    /// The shortest time for which earlier revocations are remembered.
    pub before: Duration,
}

impl KeptLonger {
    /// Joins two changes into one that promises no more than either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { since: self.since.max(other.since), before: self.before.min(other.before) }
    }
}

/// The position at which a reader of the log goes on. Opaque: take it from [`LogPage::next`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogCursor(pub(crate) String);

impl LogCursor {
    /// Creates a cursor, for a store of your own.
    #[must_use]
    pub fn new(cursor: impl Into<String>) -> Self {
        Self(cursor.into())
    }

    /// Returns the cursor's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part of a bucket's log that a reader asks for.
///
/// ```
/// use tower_bearer::store::LogQuery;
///
/// let all = LogQuery::from_start();
/// let small = LogQuery::newest();
/// # drop((all, small));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogQuery {
    pub(crate) part: LogPart,
    pub(crate) limit: u32,
}

/// The position at which a page of the log begins, and its direction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LogPart {
    /// The newest entry alone.
    Newest,
    /// The oldest entries after a cursor.
    After(Option<LogCursor>),
    /// The newest entries before a cursor.
    Before(LogCursor),
}

impl LogQuery {
    /// The most entries that a page has.
    pub const LARGEST: u32 = 1000;

    /// Asks for the newest entry alone. A reader begins with it, however long the log is.
    #[must_use]
    pub const fn newest() -> Self {
        Self { part: LogPart::Newest, limit: 1 }
    }

    /// Asks for the oldest entries that the log still holds.
    #[must_use]
    pub const fn from_start() -> Self {
        Self { part: LogPart::After(None), limit: Self::LARGEST }
    }

    /// Asks for the entries after a cursor; without one, for the oldest of the log.
    #[must_use]
    pub fn after(cursor: impl Into<Option<LogCursor>>) -> Self {
        Self { part: LogPart::After(cursor.into()), limit: Self::LARGEST }
    }

    /// Asks for the entries before a cursor, and of these for the newest. The page has them oldest
    /// first.
    #[must_use]
    pub const fn before(cursor: LogCursor) -> Self {
        Self { part: LogPart::Before(cursor), limit: Self::LARGEST }
    }

    /// Limits the page to `entries`, 1 to [`LARGEST`](Self::LARGEST). Default:
    /// [`LARGEST`](Self::LARGEST).
    #[must_use]
    pub fn limit(mut self, entries: u32) -> Self {
        self.limit = entries.clamp(1, Self::LARGEST);
        self
    }

    /// Returns the cursor of the query, for a store of your own.
    #[must_use]
    pub fn cursor(&self) -> Option<&LogCursor> {
        match &self.part {
            LogPart::Newest => None,
            LogPart::After(cursor) => cursor.as_ref(),
            LogPart::Before(cursor) => Some(cursor),
        }
    }

    /// Returns true if the page is to hold the newest entries before the cursor, or before the end
    /// of the log.
    #[must_use]
    pub fn is_backwards(&self) -> bool {
        !matches!(self.part, LogPart::After(_))
    }

    /// Returns the most entries that the page may hold.
    #[must_use]
    pub fn max_entries(&self) -> u32 {
        self.limit
    }
}

/// Part of a bucket's log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogPage {
    /// The store's time **after** everything else on the page was read. An entry that is not on the
    /// page, and not counted by [`sequence`](Self::sequence), was written later.
    pub now: Timestamp,
    /// The server that answered; `None` if its identity is not known.
    pub server: Option<ServerId>,
    /// The connection over which it answered, by a number that no other one has. Between two
    /// connections to one server, another may have taken its place for a while. Zero for a store
    /// without connections.
    pub connection: u64,
    /// Identity of the store's data set. Another one than before means that data was lost.
    pub incarnation: String,
    /// The time at which this incarnation began.
    pub born: Timestamp,
    /// The number of the last entry ever written.
    pub sequence: u64,
    /// The nonce of the last entry ever written; the incarnation's name before the first.
    pub head: String,
    /// The time at which the last entry was written; `born` before the first.
    pub at: Timestamp,
    /// The time for which entries are kept: the longest that any node ever asked for. The log is
    /// not complete for tokens that live longer.
    pub keep: Duration,
    /// The longest time for which any node may decide by older data of the log. Zero: all ask the
    /// store.
    pub max_staleness: Duration,
    /// The longest time for which a node may believe a server of this deployment after another one
    /// took its place. Zero: no server is ever replaced, or no node has declared how long.
    pub max_failover: Duration,
    /// The entries that were asked for, oldest first.
    pub entries: Vec<LogEntry>,
    /// The count of entries that were skipped because they are not this crate's, or cannot be read.
    /// The chain of the others shows whether one of the log was among them.
    pub skipped: u32,
    /// True if the page was cut at its limit: there is more in its direction.
    pub more: bool,
    /// The position at which to go on in the direction of the query: after the last entry found, or
    /// before the first. For [`LogQuery::newest`]: the newest entry itself, for both directions.
    pub next: Option<LogCursor>,
}

/// One entry of the revocation log.
///
/// Entries form a chain: each names the one before it. So a reader sees a hole even if its numbers
/// were given out again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogEntry {
    /// The entry's number: dense, from 1.
    pub sequence: u64,
    /// The entry's own random name.
    pub nonce: String,
    /// The name of the entry before; of the incarnation, for the first.
    pub previous: String,
    /// The time at which the entry before was written.
    pub previous_at: Timestamp,
    /// The time at which this entry was written.
    pub at: Timestamp,
    /// The revocation.
    pub revocation: Revocation,
    /// The end of the time for which the entry matters: no token that it concerns lives longer.
    pub until: Timestamp,
}

/// The revocation that an entry of the log records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Revocation {
    /// A session.
    Session {
        /// The user whose session it is.
        subject: String,
        /// The session's id.
        sid: String,
    },
    /// One access token.
    Token {
        /// The user whose token it is.
        subject: String,
        /// The token's id.
        jti: String,
    },
    /// All sessions of a user opened in an earlier generation.
    Subject {
        /// The user.
        subject: String,
        /// The first generation that is alive.
        generation: u64,
        /// A session that stays alive: named only if it was alive then.
        except: Option<String>,
    },
    /// A thing of another issuer, by the hash under which it is stored.
    Foreign {
        /// The hash.
        id: String,
        /// For a subject or session: tokens issued at or before this moment are dead.
        before: Option<Timestamp>,
    },
}

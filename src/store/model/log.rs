//! The revocation log: queries, pages and entries.

use std::time::Duration;

use super::{LogStamp, Revocation, ServerId};
use crate::clock::Timestamp;

/// A cursor, from which a reader of the log goes on. Opaque: take it from [`LogPage::next`].
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

/// The part of the log that a page covers, and its direction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LogPart {
    /// The newest entry alone.
    Newest,
    /// The oldest entries after a cursor, or of the whole log.
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

    /// Asks for the newest entries before a cursor. The page has them oldest first.
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
#[non_exhaustive]
pub struct LogPage {
    /// The store's time **after** everything else on the page was read. An entry that is not on the
    /// page, and not counted by [`sequence`](Self::sequence), was written later.
    pub now: Timestamp,
    /// The server that answered; `None` if its identity is not known.
    pub server: Option<ServerId>,
    /// The unique number of the connection that carried the answer; zero for a store without
    /// connections. Between two connections to one server, another server may have replaced it.
    pub connection: u64,
    /// Identity of the store's data set. A change means that data were lost.
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
    /// The largest age of the log data by which any node decides. Zero: all nodes ask the store.
    pub max_staleness: Duration,
    /// The longest time for which any node may believe a server that was replaced. Zero: no server
    /// is ever replaced, or no node knows the time.
    pub max_failover: Duration,
    /// The entries that were asked for, oldest first.
    pub entries: Vec<LogEntry>,
    /// The count of entries that the store skipped because it could not read them. If one of them
    /// belonged to the log, the chain of the others shows a hole.
    pub skipped: u32,
    /// True if the page reached its limit: there may be more entries in its direction.
    pub more: bool,
    /// The cursor from which to go on in the direction of the query: the last entry found, or the
    /// first. For [`LogQuery::newest`] it is the newest entry, for both directions.
    pub next: Option<LogCursor>,
}

impl LogPage {
    /// Creates the page of an empty log of an incarnation that began at `born`.
    #[must_use]
    pub fn new(now: Timestamp, incarnation: impl Into<String>, born: Timestamp) -> Self {
        let incarnation = incarnation.into();
        Self {
            now,
            server: None,
            connection: 0,
            head: incarnation.clone(),
            incarnation,
            born,
            sequence: 0,
            at: born,
            keep: Duration::ZERO,
            max_staleness: Duration::ZERO,
            max_failover: Duration::ZERO,
            entries: Vec::new(),
            skipped: 0,
            more: false,
            next: None,
        }
    }
}

/// One entry of the revocation log.
///
/// Entries form a chain: each names the one before it. So a reader sees lost entries even if the
/// store used their numbers again. Times do not go back along the chain.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LogEntry {
    /// The entry's number: dense, from 1.
    pub sequence: u64,
    /// The entry's random name, which no other entry has.
    pub nonce: String,
    /// The nonce of the entry before; for the first entry, the name of the incarnation.
    pub previous: String,
    /// The time at which the entry before was written.
    pub previous_at: Timestamp,
    /// The time at which this entry was written.
    pub at: Timestamp,
    /// The revocation.
    pub revocation: Revocation,
    /// The end of the time for which the entry matters, later than `at`. No token that the entry
    /// concerns lives longer.
    pub until: Timestamp,
}

impl LogEntry {
    /// Creates an entry without a predecessor. A reader takes it for a hole until
    /// [`following`](Self::following) links it to the chain.
    #[must_use]
    pub fn new(
        sequence: u64,
        nonce: impl Into<String>,
        at: Timestamp,
        revocation: Revocation,
        until: Timestamp,
    ) -> Self {
        let (previous, previous_at) = (String::new(), at);
        Self { sequence, nonce: nonce.into(), previous, previous_at, at, revocation, until }
    }

    /// Sets the nonce and the time of the entry before. For the first entry these are the
    /// incarnation's name and [`born`](LogPage::born).
    #[must_use]
    pub fn following(self, previous: impl Into<String>, previous_at: Timestamp) -> Self {
        Self { previous: previous.into(), previous_at, ..self }
    }
}

impl From<&LogEntry> for LogStamp {
    fn from(entry: &LogEntry) -> Self {
        Self::new(entry.at, &entry.nonce)
    }
}

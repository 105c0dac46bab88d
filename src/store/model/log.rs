//! The revocation log: queries, pages and entries.

use std::time::Duration;

use super::{LogStamp, Revocation, ServerId};
use crate::clock::Timestamp;

/// A cursor, at which a reader of the log continues. Its text has a meaning only for the store. A
/// reader takes it from [`LogPage::next`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogCursor(pub(crate) String);

impl LogCursor {
    /// Creates a cursor. Only implementations of a store need this function.
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

/// A query for a part of a bucket's log.
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
    /// Only the newest entry.
    Newest,
    /// The oldest entries after a cursor; without a cursor, the oldest entries of the log.
    After(Option<LogCursor>),
    /// The newest entries before a cursor.
    Before(LogCursor),
}

impl LogQuery {
    /// The largest number of entries in a page.
    pub const LARGEST: u32 = 1000;

    /// Asks only for the newest entry. A reader of a log starts with this query.
    #[must_use]
    pub const fn newest() -> Self {
        Self { part: LogPart::Newest, limit: 1 }
    }

    /// Asks for the oldest entries that the log still has.
    #[must_use]
    pub const fn from_start() -> Self {
        Self { part: LogPart::After(None), limit: Self::LARGEST }
    }

    /// Asks for the oldest entries after a cursor; without a cursor, for the oldest of the log.
    #[must_use]
    pub fn after(cursor: impl Into<Option<LogCursor>>) -> Self {
        Self { part: LogPart::After(cursor.into()), limit: Self::LARGEST }
    }

    /// Asks for the newest entries before a cursor. Their order in the page is still oldest first.
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

    /// Returns the cursor of the query. Only implementations of a store need this method.
    #[must_use]
    pub fn cursor(&self) -> Option<&LogCursor> {
        match &self.part {
            LogPart::Newest => None,
            LogPart::After(cursor) => cursor.as_ref(),
            LogPart::Before(cursor) => Some(cursor),
        }
    }

    /// Returns true if the query asks for the newest entries before the cursor, or before the end
    /// of the log.
    #[must_use]
    pub fn is_backwards(&self) -> bool {
        !matches!(self.part, LogPart::After(_))
    }

    /// Returns the largest number of entries that the page may have.
    #[must_use]
    pub fn max_entries(&self) -> u32 {
        self.limit
    }
}

/// The answer to one read of a bucket's log: entries, and the state of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LogPage {
    /// The store's time **after** it read all other data of the page. An entry above
    /// [`sequence`](Self::sequence) that the page lacks was written later.
    pub now: Timestamp,
    /// The server that answered; `None` if its identity is unknown.
    pub server: Option<ServerId>,
    /// The unique number of the connection on which the answer came; zero for a store without
    /// connections. A reader compares it, because a new connection may lead to another server.
    pub connection: u64,
    /// Identity of the store's data set. It changes when the store loses its data.
    pub incarnation: String,
    /// The time at which this incarnation began.
    pub born: Timestamp,
    /// The sequence of the newest entry that was ever written; zero before the first.
    pub sequence: u64,
    /// The nonce of the newest entry that was ever written; the incarnation before the first.
    pub head: String,
    /// The time at which the newest entry was written; `born` before the first.
    pub at: Timestamp,
    /// The time for which the store keeps entries: the longest time that any node ever set. For a
    /// token with a longer life, the log may lack the revocation.
    pub keep: Duration,
    /// The largest age of the log data by which any node decides. If it is zero, all nodes ask the
    /// store about each token.
    pub max_staleness: Duration,
    /// The longest time for which any node may use a server that was replaced. It is zero if no
    /// server is ever replaced, or if every node's time is unknown.
    pub max_failover: Duration,
    /// The entries in answer to the query, oldest first.
    pub entries: Vec<LogEntry>,
    /// The count of entries that the store skipped because it could not read them. If the log lost
    /// one of its entries in this way, the reader detects that by [`LogEntry::previous`].
    pub skipped: u32,
    /// True if the page has as many entries as the query allows, so that the log may have more.
    pub more: bool,
    /// The cursor at which the next query in the same direction continues: the newest entry of the
    /// page, or the oldest for [`LogQuery::before`]. That of [`LogQuery::newest`] is valid for both
    /// directions.
    pub next: Option<LogCursor>,
}

impl LogPage {
    /// Creates the page of an empty log. Its incarnation began at `born`.
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
/// Entries form a chain: each entry contains the nonce of the entry before it. So a reader detects
/// lost entries even if the store used their sequences again. Times never decrease along the chain.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LogEntry {
    /// The entry's number in the log. The first entry has 1, and each next entry has one more.
    pub sequence: u64,
    /// The entry's random name. No other entry has the same name.
    pub nonce: String,
    /// The nonce of the entry before this one; for the first entry, the name of the incarnation.
    pub previous: String,
    /// The time at which the entry before this one was written.
    pub previous_at: Timestamp,
    /// The time at which this entry was written.
    pub at: Timestamp,
    /// The revocation.
    pub revocation: Revocation,
    /// The time until which nodes need the entry, later than `at`. All tokens that the entry
    /// revokes have expired then.
    pub until: Timestamp,
}

impl LogEntry {
    /// Creates an entry without a predecessor. A reader takes its predecessor for lost. Call
    /// [`following`](Self::following) to add the predecessor.
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

    /// Sets the nonce and the time of the entry before this one. For the first entry, pass the
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

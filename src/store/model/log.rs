//! The revocation log: queries, pages and entries.

use std::time::Duration;

use super::{LogStamp, Revocation, ServerId};
use crate::clock::Timestamp;

/// A place in the log, from which a reader continues to read. A reader gets the cursor from
/// [`LogPage::next`]. Only the store can interpret the text of a cursor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogCursor(pub(crate) String);

impl LogCursor {
    /// Creates a cursor. Only the code of a store needs this function.
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

/// The part of the log that a query asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LogPart {
    /// Only the newest entry.
    Newest,
    /// The oldest entries after a cursor. Without a cursor: the oldest entries of the log.
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

    /// Asks for the oldest entries after `cursor`. Without a cursor, asks for the oldest entries of
    /// the log.
    #[must_use]
    pub fn after(cursor: impl Into<Option<LogCursor>>) -> Self {
        Self { part: LogPart::After(cursor.into()), limit: Self::LARGEST }
    }

    /// Asks for the newest entries before `cursor`. The page still contains the oldest entry first.
    #[must_use]
    pub const fn before(cursor: LogCursor) -> Self {
        Self { part: LogPart::Before(cursor), limit: Self::LARGEST }
    }

    /// Sets the maximum number of entries in the page. Values below 1 mean 1, and values above
    /// [`LARGEST`](Self::LARGEST) mean `LARGEST`, which is the default.
    #[must_use]
    pub fn limit(mut self, entries: u32) -> Self {
        self.limit = entries.clamp(1, Self::LARGEST);
        self
    }

    /// Returns the query's cursor, if it has one. Only the code of a store needs this method.
    #[must_use]
    pub fn cursor(&self) -> Option<&LogCursor> {
        match &self.part {
            LogPart::Newest => None,
            LogPart::After(cursor) => cursor.as_ref(),
            LogPart::Before(cursor) => Some(cursor),
        }
    }

    /// Returns true if the query was made by [`newest`](Self::newest) or [`before`](Self::before).
    #[must_use]
    pub fn is_backwards(&self) -> bool {
        !matches!(self.part, LogPart::After(_))
    }

    /// Returns the maximum number of entries in the page.
    #[must_use]
    pub fn max_entries(&self) -> u32 {
        self.limit
    }
}

/// One page of a bucket's log: some entries, and the state of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LogPage {
    /// The store's time **after** it read the rest of the page. If an entry has a higher number
    /// than [`sequence`](Self::sequence) and is not in the page, it was written after that read.
    pub now: Timestamp,
    /// The server that answered; `None` if its identity is unknown.
    pub server: Option<ServerId>,
    /// The number of the connection that returned the page; zero for a store without connections.
    /// Each connection has a different number. A new connection may lead to another server.
    pub connection: u64,
    /// The identity of the store's data set. It changes when the store loses its data.
    pub incarnation: String,
    /// The time at which the store's data set began.
    pub born: Timestamp,
    /// The number of the newest entry that was ever written; zero if there was none.
    pub sequence: u64,
    /// The [`nonce`](LogEntry::nonce) of the newest entry that was ever written. If there was none:
    /// the same as `incarnation`.
    pub head: String,
    /// The time at which the newest entry was written. If there was none: the same as `born`.
    pub at: Timestamp,
    /// The time for which the store keeps entries. It is the longest time that any node has set. If
    /// a token lives longer, the log may lack its revocation.
    pub keep: Duration,
    /// The maximum age of the log data by which any node decides. Zero means that every node asks
    /// the store about each token.
    pub max_staleness: Duration,
    /// The longest time for which a node may still use a server that was replaced. Zero if no
    /// server is ever replaced, or if no node knows the time.
    pub max_failover: Duration,
    /// The entries that the query asked for, oldest first.
    pub entries: Vec<LogEntry>,
    /// The number of entries that the store left out of the page because it could not read them. A
    /// reader detects a missing entry by [`LogEntry::previous`].
    pub skipped: u32,
    /// True if the log may have more entries in the direction of the query.
    pub more: bool,
    /// The cursor at which the next query in the same direction continues. The cursor in the answer
    /// to [`LogQuery::newest`] is valid for both directions.
    pub next: Option<LogCursor>,
}

impl LogPage {
    /// Creates the page of an empty log, whose data set began at `born`.
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
/// Each entry contains the random name ([`nonce`](Self::nonce)) of the entry before it. So a reader
/// detects lost entries, even if the store has used their numbers again. The times of the entries
/// never decrease.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LogEntry {
    /// The number of the entry in the log. The first entry has the number 1, and each next entry
    /// has the next number.
    pub sequence: u64,
    /// The random name of the entry. No other entry has the same name.
    pub nonce: String,
    /// The nonce of the entry before this one. For the first entry: the name of the incarnation,
    /// [`LogPage::incarnation`].
    pub previous: String,
    /// The time at which the entry before this one was written.
    pub previous_at: Timestamp,
    /// The time at which this entry was written.
    pub at: Timestamp,
    /// The revocation.
    pub revocation: Revocation,
    /// The time until which nodes need the entry. It is later than `at`. After this time, all
    /// tokens that the entry revokes have expired.
    pub until: Timestamp,
}

impl LogEntry {
    /// Creates an entry. Call [`following`](Self::following) to name the entry before it, because
    /// otherwise a reader assumes that entries are missing.
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

    /// Sets the nonce and the time of the entry before this one. For the first entry, pass
    /// [`LogPage::incarnation`] and [`LogPage::born`].
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

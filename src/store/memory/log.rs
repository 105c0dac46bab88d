//! The revocation log of the memory store. It has one bucket, and its entries are in a ring buffer.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    clock::{Clock, Timestamp, saturating_millis},
    error::{StoreError, StoreErrorKind},
    store::{
        LogCursor, LogEntry, LogPage, LogPart, LogPosition, LogQuery, LogStamp, Logged, Revocation, Revoked, ServerId,
    },
};

/// The number of the only bucket.
const BUCKET: u32 = 0;
/// The default time for which the log keeps entries. [`Log::keep_for`] sets a longer time.
const DEFAULT_KEEP: Duration = Duration::from_secs(3600);
/// The maximum number of entries, about 20 MB. If there are more, the log drops the oldest. Readers
/// detect dropped entries by the sequence numbers (`docs/protocol.md`, section 4).
const MAX_ENTRIES: usize = 65_536;
/// The maximum number of expired entries that one change drops, so that it locks the log only
/// briefly.
const DROPPED_PER_CHANGE: usize = 256;
/// The length of a nonce, in bytes.
const NONCE: usize = 16;

/// The log of the memory store. A change locks the user's records first and the log second. So the
/// entries have the same order as the changes, and no caller sees a change without its entry.
pub(super) struct Log {
    incarnation: String,
    server: ServerId,
    born: Timestamp,
    keep_millis: AtomicU64,
    /// The maximum age, in ms, of the log data by which any node decides locally.
    staleness_millis: AtomicU64,
    ring: Mutex<Ring>,
}

/// The position and the stamp of a new entry.
pub(super) struct Appended {
    pub(super) position: LogPosition,
    pub(super) stamp: LogStamp,
}

struct Ring {
    entries: VecDeque<LogEntry>,
    sequence: u64,
    head: String,
    at: Timestamp,
}

impl Log {
    pub(super) fn new(born: Timestamp) -> Self {
        let incarnation = incarnation();
        let ring = Ring { entries: VecDeque::new(), sequence: 0, head: incarnation.clone(), at: born };
        Self {
            incarnation,
            server: ServerId::new(RandomState::new().hash_one(0u8)),
            born,
            keep_millis: AtomicU64::new(saturating_millis(DEFAULT_KEEP)),
            staleness_millis: AtomicU64::new(0),
            ring: Mutex::new(ring),
        }
    }

    /// Returns the random identity of this store. Each store has a different one.
    pub(super) fn server(&self) -> ServerId {
        self.server
    }

    pub(super) fn born(&self) -> Timestamp {
        self.born
    }

    pub(super) fn keep(&self) -> Duration {
        Duration::from_millis(self.keep_millis.load(Ordering::Relaxed))
    }

    pub(super) fn keep_for(&self, keep: Duration) {
        self.keep_millis.fetch_max(saturating_millis(keep), Ordering::Relaxed);
    }

    pub(super) fn max_staleness(&self) -> Duration {
        Duration::from_millis(self.staleness_millis.load(Ordering::SeqCst))
    }

    pub(super) fn allow_staleness(&self, staleness: Duration) {
        self.staleness_millis.fetch_max(saturating_millis(staleness), Ordering::SeqCst);
    }

    /// Appends one entry. The caller must already have locked the data that it will change. If this
    /// call fails, the log is unchanged, and the caller must not make the change.
    pub(super) fn append(
        &self,
        now: Timestamp,
        revocation: Revocation,
        until: Timestamp,
    ) -> Result<Appended, StoreError> {
        self.append_all(now, vec![(revocation, until)])
    }

    /// Appends all of these entries, or none. Returns the position and the stamp of the last entry.
    pub(super) fn append_all(
        &self,
        now: Timestamp,
        revocations: Vec<(Revocation, Timestamp)>,
    ) -> Result<Appended, StoreError> {
        let nonces = random_names(revocations.len())?;
        let mut ring = self.lock();
        // Times in the log must never decrease. If another change has read the clock later, but
        // appended its entry earlier, this entry gets the time of that entry.
        let at = now.max(ring.at);
        for ((revocation, until), nonce) in revocations.into_iter().zip(nonces) {
            ring.sequence = ring.sequence.saturating_add(1);
            let previous = std::mem::replace(&mut ring.head, nonce.clone());
            let previous_at = std::mem::replace(&mut ring.at, at);
            let sequence = ring.sequence;
            ring.entries.push_back(LogEntry { sequence, nonce, previous, previous_at, at, revocation, until });
        }
        let oldest = at.saturating_sub(self.keep());
        let mut most_dropped = DROPPED_PER_CHANGE;
        while ring.entries.len() > MAX_ENTRIES
            || (most_dropped > 0 && ring.entries.front().is_some_and(|entry| entry.at < oldest))
        {
            ring.entries.pop_front();
            most_dropped = most_dropped.saturating_sub(1);
        }
        let position = LogPosition { bucket: BUCKET, incarnation: self.incarnation.clone(), sequence: ring.sequence };
        Ok(Appended { position, stamp: LogStamp::new(ring.at, &ring.head) })
    }

    /// Returns the stamp `last` of a user's last revocation, or `None` if no node needs it. A node
    /// needs the stamp if it decides by its replica, and may not have read the entry yet.
    pub(super) fn news(&self, last: Option<LogStamp>, now: Timestamp) -> Option<LogStamp> {
        let staleness = self.max_staleness();
        // A node's clock may run up to 0.1 % slower than the store's clock.
        let end = |stamp: LogStamp| stamp.at().saturating_add(staleness.saturating_add(staleness / 1000));
        last.filter(|stamp| !staleness.is_zero() && now <= end(*stamp))
    }

    /// Builds the answer to a revocation at `now`. `position` is the position of its log entry.
    pub(super) fn revoked(
        &self,
        now: Timestamp,
        found: bool,
        revocation: Revocation,
        until: Timestamp,
        position: LogPosition,
    ) -> Revoked {
        let max_staleness = self.max_staleness();
        Revoked { now, found, logged: Some(Logged { max_staleness, ..Logged::new(revocation, until, position) }) }
    }

    /// Returns the position of the entry with this sequence number. For `None`, returns the
    /// position of the newest entry.
    pub(super) fn position(&self, sequence: Option<u64>) -> LogPosition {
        let sequence = sequence.unwrap_or_else(|| self.lock().sequence);
        LogPosition { bucket: BUCKET, incarnation: self.incarnation.clone(), sequence }
    }

    pub(super) fn page(&self, query: &LogQuery, clock: &dyn Clock) -> LogPage {
        let ring = self.lock();
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let sequence_of = |cursor: &LogCursor| self.sequence_of(cursor);
        let range = match &query.part {
            LogPart::Newest => ring.entries.len().saturating_sub(1)..ring.entries.len(),
            LogPart::After(cursor) => {
                let after = cursor.as_ref().and_then(sequence_of).unwrap_or(0);
                let first = ring.entries.partition_point(|entry| entry.sequence <= after);
                first..ring.entries.len().min(first.saturating_add(limit))
            }
            LogPart::Before(cursor) => {
                let end = sequence_of(cursor)
                    .map_or(0, |before| ring.entries.partition_point(|entry| entry.sequence < before));
                end.saturating_sub(limit)..end
            }
        };
        let entries: Vec<_> = ring.entries.range(range.clone()).cloned().collect();
        let (more, reached) = match &query.part {
            LogPart::Newest => (range.start > 0, Some(ring.sequence)),
            LogPart::After(_) => {
                (range.end < ring.entries.len(), Some(entries.last().map_or(ring.sequence, |entry| entry.sequence)))
            }
            LogPart::Before(_) => (range.start > 0, entries.first().map(|entry| entry.sequence)),
        };
        LogPage {
            server: Some(self.server),
            connection: 0,
            incarnation: self.incarnation.clone(),
            born: self.born,
            sequence: ring.sequence,
            head: ring.head.clone(),
            at: ring.at,
            keep: self.keep(),
            max_staleness: self.max_staleness(),
            max_failover: Duration::ZERO,
            entries,
            skipped: 0,
            more,
            next: reached.map(|reached| LogCursor::new(format!("{}.{reached}", self.incarnation))),
            now: clock.now(),
        }
    }

    /// Returns the sequence number in a cursor, or `None` if the cursor is invalid or from another
    /// store.
    fn sequence_of(&self, cursor: &LogCursor) -> Option<u64> {
        let sequence = cursor.as_str().strip_prefix(&self.incarnation)?.strip_prefix('.')?;
        sequence.parse().ok()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a unique name for the data of this store. If the operating system gives no random
/// numbers, the name comes from the random seeds of the standard library's hash maps.
fn incarnation() -> String {
    random_names(1).ok().and_then(|mut names| names.pop()).unwrap_or_else(|| {
        let (first, second) = (RandomState::new(), RandomState::new());
        let mut name = [0; NONCE];
        let halves = first.hash_one(0u8).to_be_bytes().into_iter().chain(second.hash_one(1u8).to_be_bytes());
        name.iter_mut().zip(halves).for_each(|(byte, random)| *byte = random);
        URL_SAFE_NO_PAD.encode(name)
    })
}

fn random_names(count: usize) -> Result<Vec<String>, StoreError> {
    let mut bytes = vec![0; count.saturating_mul(NONCE)];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::new(StoreErrorKind::Unavailable).with_source(error.to_string()))?;
    Ok(bytes.chunks(NONCE).map(|name| URL_SAFE_NO_PAD.encode(name)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn entry(n: u64) -> Revocation {
        Revocation::Session { subject: "alice".into(), sid: n.to_string().into() }
    }

    #[test]
    fn entries_leave_after_the_time_they_are_kept_for() {
        let start = Timestamp::from_secs(1_767_225_660);
        let log = Log::new(start);
        log.keep_for(Duration::from_secs(7200));
        log.keep_for(Duration::from_secs(1)); // A shorter time has no effect.
        log.append(start, entry(1), start).unwrap();
        let kept = start.saturating_add(Duration::from_secs(7200));
        log.append(kept, entry(2), kept).unwrap();
        let clock = ManualClock::at(kept);
        assert_eq!(log.page(&LogQuery::from_start(), &clock).entries.len(), 2);
        let later = kept.saturating_add(Duration::from_millis(1));
        log.append(later, entry(3), later).unwrap();
        let page = log.page(&LogQuery::from_start(), &clock);
        assert_eq!(page.entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(page.entries[0].previous_at, start, "the hole's bound is told");
    }

    #[test]
    fn the_ring_has_an_end_and_the_reader_sees_the_hole() {
        let start = Timestamp::from_secs(1_767_225_660);
        let log = Log::new(start);
        for n in 0..=MAX_ENTRIES as u64 {
            log.append(start, entry(n), start).unwrap();
        }
        let page = log.page(&LogQuery::from_start(), &ManualClock::at(start));
        assert_eq!(page.entries[0].sequence, 2);
        assert_eq!(log.lock().entries.len(), MAX_ENTRIES);
    }

    #[test]
    fn a_change_that_read_the_clock_earlier_but_came_later_does_not_turn_the_log_back() {
        let start = Timestamp::from_secs(1_767_225_660);
        let log = Log::new(start);
        let later = start.saturating_add(Duration::from_secs(1));
        log.append(later, entry(1), later).unwrap();
        log.append(start, entry(2), later).unwrap();
        let page = log.page(&LogQuery::from_start(), &ManualClock::at(later));
        assert_eq!((page.entries[1].at, page.entries[1].previous_at, page.at), (later, later, later));
    }

    #[test]
    fn a_cursor_of_another_life_starts_from_the_beginning() {
        let start = Timestamp::from_secs(1_767_225_660);
        let (one, other) = (Log::new(start), Log::new(start));
        one.append(start, entry(1), start).unwrap();
        let clock = ManualClock::at(start);
        for cursor in [
            other.page(&LogQuery::from_start(), &clock).next.unwrap(),
            LogCursor::new(""),
            LogCursor::new("…18446744073709551616"),
        ] {
            assert_eq!(one.page(&LogQuery::after(cursor), &clock).entries.len(), 1);
        }
        assert_eq!(one.page(&LogQuery::after(one.page(&LogQuery::from_start(), &clock).next), &clock).entries, []);
    }
}

//! The pace of a feed's task: when the task reads which buckets, and at which rate it reads older
//! entries back. This module does no I/O.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use tokio::time::Instant;

use crate::store::{LogEntry, Revocation};

/// Minimum time between two reads of a bucket that nudges cause. *Without this minimum, 500
/// revocations a second made each node read all buckets 300 times a second.*
const SHORTEST_NUDGED: Duration = Duration::from_millis(25);

/// The next reads of the buckets of one feed.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    turns: BTreeMap<u32, Turn>,
    /// The earliest moment of the next read; `None` unless a read has failed.
    not_before: Option<Instant>,
    /// The time of the last call of [`stood_still`](Self::stood_still), by the leases' clock.
    last_tick: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    /// The time of the next poll.
    poll: Instant,
    /// The time of a nudge after which the node has not read the bucket yet.
    nudge: Option<Instant>,
    /// True if the next read does not wait for the pause between two nudged reads.
    is_hurried: bool,
    /// The time of the last read that a nudge caused.
    nudged_read: Option<Instant>,
}

impl Turn {
    /// Returns the earliest time of the read that a nudge has caused; `None` without a nudge.
    fn nudged(&self, pause: Duration) -> Option<Instant> {
        let nudge = self.nudge?;
        let allowed = self.nudged_read.filter(|_| !self.is_hurried).map(|read| read + pause);
        Some(allowed.map_or(nudge, |allowed| allowed.max(nudge)))
    }
}

impl Schedule {
    pub(super) fn new(buckets: &[u32], interval: Duration) -> Self {
        let now = Instant::now();
        let turn = Turn { poll: now, nudge: None, is_hurried: false, nudged_read: None };
        Self {
            interval,
            turns: buckets.iter().map(|bucket| (*bucket, turn)).collect(),
            not_before: None,
            last_tick: None,
        }
    }

    /// Schedules a read of buckets whose log may have grown.
    pub(super) fn nudge(&mut self, buckets: &[u32], now: Instant) {
        for bucket in buckets {
            if let Some(turn) = self.turns.get_mut(bucket) {
                turn.nudge.get_or_insert(now);
            }
        }
    }

    /// Schedules an immediate read of buckets. Either a request waits for the read, or the log has
    /// another page.
    pub(super) fn hurry(&mut self, buckets: &[u32], now: Instant) {
        for bucket in buckets {
            if let Some(turn) = self.turns.get_mut(bucket) {
                turn.nudge = Some(now);
                turn.is_hurried = true;
            }
        }
    }

    /// Postpones all reads until this moment.
    pub(super) fn delay(&mut self, until: Instant) {
        self.not_before = Some(until);
    }

    /// Returns the buckets that are due, and schedules their next poll. If `is_urgent` is false,
    /// reads after nudges are at least a poll interval apart.
    pub(super) fn due(&mut self, now: Instant, is_urgent: bool) -> Vec<u32> {
        if self.not_before.is_some_and(|moment| now < moment) {
            return Vec::new();
        }
        let pause = self.pause(is_urgent);
        let was_put_off = self.not_before.take().is_some();
        // The round trip of a poll also reads the buckets whose polls are nearly due.
        let soon = now + self.interval / 8;
        let is_poll = was_put_off || self.turns.values().any(|turn| turn.poll <= now);
        let mut due = Vec::new();
        for (bucket, turn) in &mut self.turns {
            let is_nudged = turn.nudged(pause).is_some_and(|at| at <= now);
            if is_nudged || was_put_off || (is_poll && turn.poll <= soon) {
                due.push(*bucket);
                if is_nudged {
                    turn.nudged_read = Some(now);
                }
                (turn.nudge, turn.is_hurried) = (None, false);
                turn.poll = now + self.interval;
            }
        }
        due
    }

    /// Returns the minimum time between two reads of a bucket that nudges cause. Without
    /// `is_urgent`, it is at least the poll interval.
    fn pause(&self, is_urgent: bool) -> Duration {
        if is_urgent { SHORTEST_NUDGED } else { self.interval.max(SHORTEST_NUDGED) }
    }

    /// Returns the time at which the next read is due.
    pub(super) fn next(&self, is_urgent: bool) -> Instant {
        let pause = self.pause(is_urgent);
        let next = self.turns.values().flat_map(|turn| turn.nudged(pause).into_iter().chain([turn.poll])).min();
        let next = next.unwrap_or_else(|| Instant::now() + self.interval);
        self.not_before.map_or(next, |moment| next.max(moment))
    }

    /// Returns true if the time since the last call is more than twice the sum of the poll interval
    /// and `longest`. The process was then suspended.
    pub(super) fn stood_still(&mut self, now: Duration, longest: Duration) -> bool {
        let last_tick = self.last_tick.replace(now);
        let most = self.interval.saturating_add(longest).saturating_mul(2);
        last_tick.is_some_and(|tick| now.saturating_sub(tick) > most)
    }
}

/// Maximum age of the entries that a node reads back at the higher rate, [`FIRST_RATE`].
const RECENT: Duration = Duration::from_secs(600);
/// Maximum count of bytes that a node reads back at [`FIRST_RATE`]. *Without this limit, nodes that
/// start at the same time on a full log delay each other's requests.*
const FIRST: u64 = 2 << 20;
/// The rate at which a node reads recent entries back, in bytes a second.
const FIRST_RATE: u64 = 4_000_000;
/// The rate at which a node reads all other entries back, in bytes a second.
const RATE: u64 = 1_000_000;
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// The estimated size of an entry without its ids, in bytes.
const OVERHEAD: u64 = 250;

/// The pace at which one feed reads older entries back.
#[derive(Debug)]
pub(super) struct BackPace {
    /// The count of this node's feeds, which share the rates.
    feeds: u64,
    /// The bytes that the feed may still read at [`FIRST_RATE`].
    first_left: u64,
    /// The time of the next page at [`RATE`].
    next_at_rate: Instant,
    /// The time of the next page at [`FIRST_RATE`].
    next_at_first_rate: Instant,
    /// The earliest moment of the next page, after a page has failed.
    failed_until: Instant,
    turn: usize,
}

impl BackPace {
    pub(super) fn new(feeds: NonZeroU32) -> Self {
        let feeds = u64::from(feeds.get());
        let now = Instant::now();
        Self {
            feeds,
            first_left: FIRST.checked_div(feeds).unwrap_or(FIRST),
            next_at_rate: now,
            next_at_first_rate: now,
            failed_until: now,
            turn: 0,
        }
    }

    /// Returns the earliest time of the next page, whose entries have this age. After a break the
    /// page `is_urgent`, and no rate delays it: until reading back ends, the node asks the store
    /// about older tokens.
    pub(super) fn next(&self, age: Duration, is_urgent: bool) -> Instant {
        let is_first = age <= RECENT && self.first_left > 0;
        let paced = if is_first { self.next_at_first_rate } else { self.next_at_rate };
        if is_urgent { self.failed_until } else { paced.max(self.failed_until) }
    }

    /// Returns the index of the bucket whose page is next. The buckets take turns.
    pub(super) fn take_turn(&mut self, buckets: usize) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.turn.checked_rem(buckets).unwrap_or(0)
    }

    /// Delays the next page in proportion to the bytes of this page, with an estimate for skipped
    /// entries. *Without the estimate, a node read pages of skipped entries without a pause.*
    pub(super) fn count_page(&mut self, entries: &[LogEntry], skipped: u32, now: Instant) {
        let bytes = entries.iter().map(size_of_entry).sum::<u64>();
        let bytes = bytes.saturating_add(OVERHEAD.saturating_mul(skipped.into())).max(OVERHEAD);
        self.first_left = self.first_left.saturating_sub(bytes);
        let time = |rate| Duration::from_nanos(bytes.saturating_mul(self.feeds).saturating_mul(1_000_000_000 / rate));
        self.next_at_rate = self.next_at_rate.max(now) + time(RATE);
        self.next_at_first_rate = now + time(FIRST_RATE);
    }

    /// Postpones the next page after a failure.
    pub(super) fn pause_after_failure(&mut self, now: Instant) {
        self.failed_until = now + AFTER_FAILURE;
    }
}

fn size_of_entry(entry: &LogEntry) -> u64 {
    let ids = match &entry.revocation {
        Revocation::Session { subject, sid } => subject.as_str().len() + sid.as_str().len(),
        Revocation::Token { subject, jti } => subject.as_str().len() + jti.as_str().len(),
        Revocation::Subject { subject, except, .. } => {
            subject.as_str().len() + except.as_ref().map_or(0, |sid| sid.as_str().len())
        }
        Revocation::External { id, .. } => id.len(),
    };
    OVERHEAD.saturating_add(u64::try_from(ids).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_nudge_is_read_at_once_and_not_again_before_its_time() {
        let mut schedule = Schedule::new(&[0, 1, 2], 25 * MS);
        let start = Instant::now();
        assert_eq!(schedule.due(start, true), [0, 1, 2]);
        assert_eq!(schedule.due(start + MS, true).len(), 0);
        schedule.nudge(&[1], start + MS);
        assert_eq!(schedule.next(true), start + MS);
        assert_eq!(schedule.due(start + MS, true), [1]);
        schedule.nudge(&[1, 7], start + 2 * MS);
        assert_eq!(schedule.due(start + 20 * MS, true).len(), 0);
        assert_eq!(schedule.due(start + 25 * MS, true), [0, 1, 2], "a poll reads it as well");
        schedule.hurry(&[1], start + 27 * MS);
        assert_eq!(schedule.due(start + 27 * MS, true), [1], "a request waits for it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_of_nudges_costs_as_many_reads_as_the_documentation_says() {
        for (interval, decides, reads) in [(25, true, 80), (1000, true, 42), (250, false, 8)] {
            let mut schedule = Schedule::new(&[0, 1, 2], interval * MS);
            let (start, mut count) = (Instant::now(), 0);
            for tick in 0..1000 {
                let now = start + tick * MS;
                schedule.nudge(&[0, 1, 2], now);
                count += usize::from(!schedule.due(now, decides).is_empty());
            }
            assert!(count <= reads, "{count} reads in a second at {interval} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_nudge_after_the_first_stream_does_not_wait_for_the_long_pause() {
        let mut schedule = Schedule::new(&[0], 250 * MS);
        let start = Instant::now();
        schedule.due(start, false);
        schedule.nudge(&[0], start + MS);
        assert_eq!(schedule.due(start + MS, false), [0]);
        schedule.nudge(&[0], start + 30 * MS);
        assert_eq!(schedule.due(start + 30 * MS, false).len(), 0);
        assert_eq!(schedule.next(false), start + 251 * MS);
        assert_eq!(schedule.next(true), start + 30 * MS);
        assert_eq!(schedule.due(start + 30 * MS, true), [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_nothing_is_read_before_its_time_and_then_all_is() {
        let mut schedule = Schedule::new(&[0, 1], 25 * MS);
        let start = Instant::now();
        schedule.due(start, true);
        schedule.delay(start + 100 * MS);
        schedule.hurry(&[0], start + MS);
        assert_eq!(schedule.due(start + 99 * MS, true).len(), 0);
        assert_eq!(schedule.next(true), start + 100 * MS);
        assert_eq!(schedule.due(start + 100 * MS, true), [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn pages_of_entries_that_nobody_can_read_are_paced_as_others_are() {
        let mut pace = BackPace::new(NonZeroU32::MIN);
        let start = Instant::now();
        pace.count_page(&[], 64, start);
        assert_eq!(pace.next(Duration::ZERO, false), start + 4 * MS);
        assert_eq!(pace.next(2 * RECENT, false), start + 16 * MS);
        pace.count_page(&[], 0, start);
        assert!(pace.next(2 * RECENT, false) > start + 16 * MS, "nor is an empty page free");
    }

    #[test]
    fn a_process_that_stood_still_is_noticed() {
        let mut schedule = Schedule::new(&[0], 25 * MS);
        assert!(!schedule.stood_still(MS, 1000 * MS));
        assert!(!schedule.stood_still(1000 * MS, 1000 * MS));
        assert!(schedule.stood_still(4000 * MS, 1000 * MS));
    }
}

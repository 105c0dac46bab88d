//! The times of questions and cutoffs, in nanoseconds.
//!
//! Let `S` be the staleness of streams. All times in the table start at the last proof.
//!
//! | stream | the node asks the store | the node cuts the stream |
//! |--|--|--|
//! | proved by the log | after `0.4 S` to `0.5 S` without a log read | after `S / 2` to `S` |
//! | proved by the store | after `0.4 S` to `0.5 S`, then at each tick | after `3 S / 4` to `S` |
//!
//! Each stream has a random number, its share. The share determines the times of the stream within
//! these spans, so that many clients do not reconnect simultaneously. The watcher cuts a stream up
//! to one tick before its time.

use std::time::Duration;

/// The shortest and the longest tick: 20 ms and 2 s.
const TICKS: (u64, u64) = (20_000_000, 2_000_000_000);

/// The pace of one service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    staleness: u64,
    /// The time between two ticks of the watcher.
    pub(super) tick: u64,
}

impl Pace {
    pub(super) fn new(staleness: Duration) -> Self {
        let staleness = u64::try_from(staleness.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
        Self { staleness, tick: (staleness / 16).clamp(TICKS.0, TICKS.1) }
    }

    /// Returns the time after a proof at which the node asks the store.
    pub(super) fn due(&self, share: u8) -> u64 {
        let half = self.staleness / 2;
        half / 5 * 4 + part(half / 5, share)
    }

    /// Returns the time after a proof at which the node cuts a stream.
    pub(super) fn limit(&self, share: u8, is_by_log: bool) -> u64 {
        let shortest = if is_by_log {
            // When the node sets the proof, the proof is up to a tick old. The watcher cuts up to
            // a tick early.
            (self.staleness / 2).saturating_add(self.tick.saturating_mul(2))
        } else {
            self.staleness / 4 * 3
        };
        let shortest = shortest.min(self.staleness);
        shortest + part(self.staleness - shortest, share)
    }

    /// Returns the age of the log above which the watcher compares the proof of each stream with
    /// the time.
    pub(super) fn suspicious(&self) -> u64 {
        self.due(0).saturating_sub(self.tick)
    }

    /// Returns the maximum age of a stream's first proof. Under a lease it may be older.
    pub(super) fn longest_wait(&self) -> u64 {
        self.staleness / 2
    }

    /// Returns the longest wait for one answer of the store.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_nanos((self.staleness / 8).clamp(TICKS.0, 5_000_000_000))
    }
}

/// Returns the part of a span that `share` determines. The part is at most the whole span.
fn part(span: u64, share: u8) -> u64 {
    span / 256 * (u64::from(share) + 1)
}

//! The times at which the node asks the store about a stream, or cuts the stream.
//!
//! A proof is a time at which the token of a stream was not revoked. The times depend on the age of
//! the latest proof, and on `S`, the setting `stream_staleness`:
//!
//! | proof | the node asks the store | the node cuts the stream |
//! |--|--|--|
//! | by the log | at `0.4 S` to `0.5 S` | at `S / 2` to `S` |
//! | by the store | at `0.4 S` to `0.5 S`, then at each tick | at `3 S / 4` to `S` |
//!
//! Each stream has a random number, its **share**, which selects the stream's times within these
//! ranges. Otherwise all clients would reconnect simultaneously. The watcher cuts a stream up to
//! one tick early. All times are in nanoseconds.

use std::time::Duration;

/// The shortest and the longest tick of the watcher: 20 ms and 2 s.
const TICKS: (u64, u64) = (20_000_000, 2_000_000_000);

/// The times of one service. All of them are parts of its `stream_staleness`.
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

    /// Returns the age of a proof at which the node asks the store.
    pub(super) fn due(&self, share: u8) -> u64 {
        let half = self.staleness / 2;
        half / 5 * 4 + part(half / 5, share)
    }

    /// Returns the age of a proof at which the node cuts the stream.
    pub(super) fn limit(&self, share: u8, is_by_log: bool) -> u64 {
        let shortest = if is_by_log {
            // Adds two ticks, because a new proof by the log may be one tick old already, and the
            // watcher may cut a stream one tick early.
            (self.staleness / 2).saturating_add(self.tick.saturating_mul(2))
        } else {
            self.staleness / 4 * 3
        };
        let shortest = shortest.min(self.staleness);
        shortest + part(self.staleness - shortest, share)
    }

    /// Returns a limit for the age of the proofs by the log. If such a proof is older at a tick,
    /// the watcher checks for each stream if it must ask the store or cut the stream.
    pub(super) fn suspicious(&self) -> u64 {
        self.due(0).saturating_sub(self.tick)
    }

    /// Returns the maximum age of a new stream's first proof, unless the node accepted the token
    /// under a lease.
    pub(super) fn longest_wait(&self) -> u64 {
        self.staleness / 2
    }

    /// Returns the longest wait for one answer of the store.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_nanos((self.staleness / 8).clamp(TICKS.0, 5_000_000_000))
    }
}

/// Returns the part of a span that `share` selects: from 1/256 of the span to the whole span.
fn part(span: u64, share: u8) -> u64 {
    span / 256 * (u64::from(share) + 1)
}

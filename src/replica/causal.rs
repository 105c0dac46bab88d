//! The stamps in tokens that the log reader has settled, and the subjects that the node holds until
//! then (`docs/protocol.md`, section 5.6). No clock, no I/O.

use std::{collections::VecDeque, time::Duration};

use crate::{clock::Timestamp, store::LogStamp};

/// Maximum count of stamps that a bucket remembers. A stamp that it forgot is settled once more,
/// unless its time settles it.
const REMEMBERED: usize = 64;
/// Maximum count of held subjects in a bucket. For a further one the node ends the bucket's lease.
const MOST_HELD: usize = 64;
/// The least age at which its time alone settles a stamp. A store may date an entry by the start of
/// a transaction that ends later.
const SLACK: Duration = Duration::from_secs(2);

/// The settled stamps. For each, the node has applied every entry up to the stamp's, or asks the
/// store about the stamp's subject until then.
#[derive(Debug, Default)]
pub(super) struct SettledStamps {
    /// The stamps of the newest applied entries, and the stamps of tokens that arrived before the
    /// node had read their entries.
    recent: VecDeque<LogStamp>,
    /// The store's time on the newest page.
    newest: Timestamp,
    /// The store's time on the newest page before the last complete read began.
    complete_up_to: Timestamp,
}

impl SettledStamps {
    /// Returns the store's time on the newest page. A read that begins now contains every entry
    /// that the store wrote before that time.
    pub(super) fn newest(&self) -> Timestamp {
        self.newest
    }

    /// Notes the store's time on a page.
    pub(super) fn note_page(&mut self, now: Timestamp) {
        self.newest = now;
    }

    /// Notes that a read reached the end of the log. [`newest`](Self::newest) was `before` when it
    /// began.
    pub(super) fn note_complete(&mut self, before: Timestamp) {
        self.complete_up_to = before;
    }

    /// Adds a stamp, unless the bucket remembers it already.
    pub(super) fn add(&mut self, stamp: LogStamp) {
        if self.recent.contains(&stamp) {
            return;
        }
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(stamp);
    }

    /// Returns true if the stamp is settled. `margin` is the largest difference between the clocks
    /// of two servers of the store.
    pub(super) fn contain(&self, stamp: LogStamp, margin: Duration) -> bool {
        stamp.at().saturating_add(margin.max(SLACK)) < self.complete_up_to
            || self.recent.iter().rev().any(|settled| *settled == stamp)
    }
}

/// The subjects about which the node asks the store, whatever its lease, until a later read.
#[derive(Debug, Default)]
pub(super) struct HeldSubjects {
    /// The hash of a subject's name, and the number of the last read that does not suffice.
    held: Vec<(u32, u64)>,
}

impl HeldSubjects {
    /// Holds a subject until the end of a read with a number above `read`. Returns false if there
    /// is no room.
    pub(super) fn hold(&mut self, subject: u32, read: u64) -> bool {
        if let Some(held) = self.held.iter_mut().find(|(held, _)| *held == subject) {
            held.1 = held.1.max(read);
            return true;
        }
        let has_room = self.held.len() < MOST_HELD;
        if has_room {
            self.held.push((subject, read));
        }
        has_room
    }

    /// Releases the subjects for which this read suffices.
    pub(super) fn release(&mut self, read: u64) {
        self.held.retain(|(_, held)| *held >= read);
    }

    /// Returns true if the subject is held. Two subjects may have one hash: then the node asks the
    /// store about the other one as well.
    pub(super) fn contain(&self, subject: u32) -> bool {
        self.held.iter().any(|(held, _)| *held == subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(at: u64, nonce: &str) -> LogStamp {
        LogStamp::new(Timestamp::from_millis(at), nonce)
    }

    #[test]
    fn a_stamp_of_the_same_moment_is_another_one() {
        let mut settled = SettledStamps::default();
        settled.add(stamp(5000, "a"));
        assert!(settled.contain(stamp(5000, "a"), Duration::ZERO));
        assert!(!settled.contain(stamp(5000, "b"), Duration::ZERO));
        assert!(!settled.contain(stamp(4999, "a"), Duration::ZERO));
    }

    #[test]
    fn a_time_settles_what_is_older_than_a_page_before_the_last_read() {
        let mut settled = SettledStamps::default();
        settled.note_page(Timestamp::from_millis(10_000));
        assert!(!settled.contain(stamp(1, "a"), Duration::ZERO), "the entry may be later than that page");
        settled.note_complete(settled.newest());
        assert!(settled.contain(stamp(7999, "a"), Duration::ZERO));
        assert!(!settled.contain(stamp(8000, "a"), Duration::ZERO));
        assert!(!settled.contain(stamp(7999, "a"), Duration::from_secs(3)), "the clocks of two servers differ");
        assert!(!settled.contain(LogStamp::of_text("no stamp"), Duration::ZERO));
    }

    #[test]
    fn memory_is_bounded() {
        let mut settled = SettledStamps::default();
        let mut held = HeldSubjects::default();
        for n in 0..=64 {
            settled.add(stamp(n, "a"));
            assert_eq!(held.hold(u32::try_from(n).unwrap_or(0), 1), n < 64);
        }
        assert!(!settled.contain(stamp(0, "a"), Duration::ZERO) && settled.contain(stamp(1, "a"), Duration::ZERO));
        assert!(held.hold(7, 2), "one that is held already needs no room");
        held.release(2);
        assert!(held.contain(7) && !held.contain(8) && !held.contain(64));
        held.release(3);
        assert!(!held.contain(7));
    }
}

//! The settled stamps and the held subjects of a bucket (`docs/protocol.md`, section 5.6).
//!
//! The **stamp** in a token names the newest revocation of the token's subject. If a token has a
//! new stamp, this node may not have read that revocation. So the node **holds** the subject: it
//! asks the store about the subject's tokens, even under a lease. The stamp is then **settled**.
//!
//! The hold ends when a read that began later reaches the end of the log.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{clock::Timestamp, store::LogStamp};

/// Maximum count of stamps that a bucket remembers. If the bucket has forgotten a stamp, the node
/// settles the stamp again, unless the stamp is old enough (see [`SLACK`]).
const REMEMBERED: usize = 1024;
/// Maximum count of held subjects in a bucket. If there is no room for another subject, the node
/// ends the bucket's lease.
const MOST_HELD: usize = 4096;
/// A stamp is settled if it is older than the last complete read by more than this time. Some
/// stores date an entry by the start of a transaction, but readers see the entry only after the end
/// of the transaction.
const SLACK: Duration = Duration::from_secs(2);

/// The settled stamps of a bucket. The node has read the entry of such a stamp, or has begun to
/// hold the stamp's subject.
#[derive(Debug, Default)]
pub(super) struct SettledStamps {
    /// The last stamps that the node found in log entries, or received in tokens, oldest first.
    recent: VecDeque<LogStamp>,
    /// The store's time in the newest page of the log.
    newest: Timestamp,
    /// The last complete read contains every entry that the store wrote before this time. A read is
    /// complete if it reached the end of the log.
    complete_up_to: Timestamp,
}

impl SettledStamps {
    /// Returns the store's time in the newest page. A read that begins now contains every entry
    /// that the store wrote before that time.
    pub(super) fn newest(&self) -> Timestamp {
        self.newest
    }

    /// Notes the store's time in the newest page.
    pub(super) fn note_page(&mut self, now: Timestamp) {
        self.newest = now;
    }

    /// Notes that a read reached the end of the log. `before` is the value of
    /// [`newest`](Self::newest) when the read began.
    pub(super) fn note_complete(&mut self, before: Timestamp) {
        self.complete_up_to = before;
    }

    /// Adds a settled stamp, unless the bucket remembers the stamp already. If there is no room,
    /// forgets the oldest stamp.
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

/// The held subjects of a bucket. The node asks the store about their tokens even under a lease.
#[derive(Debug, Default)]
pub(super) struct HeldSubjects {
    /// The key is the hash of the subject's name. The value is the number of the last read that
    /// began before the hold. Only a read with a higher number ends the hold.
    held: HashMap<u32, u64>,
}

impl HeldSubjects {
    /// Holds a subject until a read with a number above `read` reaches the end of the log. Returns
    /// false if there is no room.
    pub(super) fn hold(&mut self, subject: u32, read: u64) -> bool {
        if self.held.len() >= MOST_HELD && !self.held.contains_key(&subject) {
            return false;
        }
        let held = self.held.entry(subject).or_default();
        *held = read.max(*held);
        true
    }

    /// Ends the holds that began before the read with this number.
    pub(super) fn release(&mut self, read: u64) {
        self.held.retain(|_, held| *held >= read);
    }

    /// Returns true if the node holds the subject, or another subject with the same hash.
    pub(super) fn contain(&self, subject: u32) -> bool {
        // Mostly no subject is held. The first condition then saves the lookup.
        !self.held.is_empty() && self.held.contains_key(&subject)
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
        for n in 0..=1024 {
            settled.add(stamp(n, "a"));
            settled.add(stamp(n, "a"));
        }
        for n in 0..=4096 {
            assert_eq!(held.hold(n, 1), n < 4096);
        }
        assert!(!settled.contain(stamp(0, "a"), Duration::ZERO) && settled.contain(stamp(1, "a"), Duration::ZERO));
        assert!(held.hold(7, 2), "one that is held already needs no room");
        held.release(2);
        assert!(held.contain(7) && !held.contain(8) && !held.contain(4096));
        held.release(3);
        assert!(!held.contain(7));
    }
}

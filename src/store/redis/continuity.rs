//! The time for which a server has answered without a gap.
//!
//! Under [`Failover::Replicas`](super::Failover) a primary that was stopped for some seconds accepts writes for up to a
//! second after it goes on: it counts its replicas once a second (measured on Redis 7.0). So the write check of a server
//! counts only once that server has answered for [`SETTLING`] without a gap.

use std::time::Duration;

use crate::store::redis::moment::Moment;

/// The longest pause between two answers that is no gap.
pub(super) const LONGEST_GAP: Duration = Duration::from_secs(1);

/// For how long a server must have answered before its write check counts.
pub(super) const SETTLING: Duration = Duration::from_secs(2);

/// The answers of one connection, as far as they show that its server was not stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Continuity {
    unbroken_since: Moment,
    last_answer: Moment,
}

impl Continuity {
    /// Starts with a connection whose server has just answered for the first time.
    pub(super) fn new(made: Moment) -> Self {
        Self { unbroken_since: made, last_answer: made }
    }

    /// Notes the answer to a question. A late answer, and the first one after a gap, start anew.
    pub(super) fn answered(&mut self, asked: Moment, now: Moment) {
        if now.since(self.last_answer) > LONGEST_GAP || now.since(asked) > LONGEST_GAP {
            self.unbroken_since = now;
        }
        self.last_answer = self.last_answer.max(now);
    }

    /// Returns whether the write check of a question counts that was asked at this moment.
    ///
    /// To be called after the answer to that question was noted.
    pub(super) fn counts(&self, asked: Moment) -> bool {
        asked >= self.settled_at()
    }

    /// Returns the moment from which on questions count, if no gap comes in between.
    pub(super) fn settled_at(&self) -> Moment {
        self.unbroken_since + SETTLING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that has answered each 300 ms up to this moment.
    fn warm(until: u64) -> Continuity {
        let mut continuity = Continuity::new(Moment::at(0));
        for millis in (300..=until).step_by(300) {
            continuity.answered(Moment::at(millis - 1), Moment::at(millis));
        }
        continuity
    }

    #[test]
    fn a_new_connection_counts_after_two_seconds() {
        let continuity = warm(3000);
        assert!(!continuity.counts(Moment::at(1999)));
        assert!(continuity.counts(Moment::at(2000)));
    }

    #[test]
    fn after_a_gap_it_takes_two_seconds_again() {
        let mut continuity = warm(3000);
        continuity.answered(Moment::at(3900), Moment::at(4001));
        assert!(!continuity.counts(Moment::at(3900)), "the answer that ends the gap");
        continuity.answered(Moment::at(5000), Moment::at(5001));
        continuity.answered(Moment::at(6000), Moment::at(6001));
        assert!(!continuity.counts(Moment::at(6000)));
        assert!(continuity.counts(Moment::at(6001)));
    }

    #[test]
    fn a_pause_of_a_second_is_no_gap() {
        let mut continuity = warm(3000);
        continuity.answered(Moment::at(3000), Moment::at(4000));
        assert!(continuity.counts(Moment::at(3000)));
    }

    #[test]
    fn a_late_answer_is_a_gap_although_others_came_in_between() {
        let mut continuity = warm(3000);
        continuity.answered(Moment::at(2700), Moment::at(3500));
        assert!(continuity.counts(Moment::at(2700)));
        continuity.answered(Moment::at(2700), Moment::at(3701));
        assert!(!continuity.counts(Moment::at(2700)));
        assert!(!continuity.counts(Moment::at(5700)));
    }

    #[test]
    fn answers_that_are_noted_out_of_order_hide_no_gap() {
        let mut continuity = warm(3000);
        continuity.answered(Moment::at(3200), Moment::at(3300));
        continuity.answered(Moment::at(3100), Moment::at(3200));
        continuity.answered(Moment::at(4200), Moment::at(4301));
        assert!(!continuity.counts(Moment::at(4200)));
    }
}

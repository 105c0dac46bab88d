//! The time for which a server has answered without a gap.
//!
//! Under [`Failover::Replicas`](super::Failover) a primary that was stopped may accept writes for a
//! while after it goes on, though another one has replaced it. Acknowledgements of its replica may
//! have arrived during the stop. The primary dates them when it reads them, so they count for
//! `min-replicas-max-lag` and up to a second more (measured on Redis 7.0). So the write check of a
//! server counts only once that server has answered without a gap for longer than that.
//!
//! With `g` the [`LONGEST_GAP`], a model search over all states gives `max_lag` + 2 s + 2 `g` as
//! the least wait. The bound that follows is `max_lag` + 2 s + 4 `g`. A stop of up to 2 `g` stays
//! unseen: `g` between two questions, and `g` before an answer. It rests on acknowledgements that
//! the network does not delay.
//!
//! The wait ends early when all replicas have acknowledged a write of this node (`WAIT`). They
//! still follow this server, so none of them has replaced it.

use std::time::Duration;

use crate::store::redis::moment::Moment;

/// The longest pause between two questions, and before an answer, that is no gap.
pub(super) const LONGEST_GAP: Duration = Duration::from_millis(500);

/// A server counts its replicas once a second, and may do so up to a second late.
const COUNTED: Duration = Duration::from_secs(2);

/// Returns for how long a server must have answered before its write check counts.
pub(super) fn settling(max_lag: Duration) -> Duration {
    max_lag + COUNTED + 2 * LONGEST_GAP
}

/// Returns for how long a server that was replaced may be believed.
pub(super) fn bound(max_lag: Duration) -> Duration {
    max_lag + COUNTED + 4 * LONGEST_GAP
}

/// The questions that one connection has answered, as far as they show that its server was not
/// stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Continuity {
    settling: Duration,
    /// The first answer of the connection, or the latest one after a gap.
    unbroken_since: Moment,
    last_asked: Moment,
    /// When a write was asked for that all replicas have acknowledged, with no gap since.
    proved: Option<Moment>,
}

impl Continuity {
    /// Starts with a connection whose server has just answered for the first time. The connection
    /// itself shows nothing: the kernel of a stopped server accepts it.
    pub(super) fn new(first_answer: Moment, settling: Duration) -> Self {
        Self { settling, unbroken_since: first_answer, last_asked: first_answer, proved: None }
    }

    /// Notes the answer to a question. A late answer, and the first one after a gap, start the wait
    /// anew.
    ///
    /// A gap is measured from question to question: from an answer to the next question, a slow
    /// answer would hide part of a stop.
    pub(super) fn answered(&mut self, asked: Moment, now: Moment) {
        if asked.since(self.last_asked) > LONGEST_GAP || now.since(asked) > LONGEST_GAP {
            self.unbroken_since = now;
            self.proved = None;
        }
        self.last_asked = self.last_asked.max(asked);
    }

    /// Notes that all replicas have acknowledged a write that was asked for at this moment.
    ///
    /// To be called after its answer was noted: a late one proves nothing.
    pub(super) fn proved(&mut self, asked: Moment) {
        if asked >= self.unbroken_since && self.proved.is_none() {
            self.proved = Some(asked);
        }
    }

    /// Returns whether the write check of a question counts that was asked at this moment.
    ///
    /// To be called after the answer to that question was noted.
    pub(super) fn counts(&self, asked: Moment) -> bool {
        asked >= self.settled_at()
    }

    /// Returns the moment from which on questions count, if no gap comes in between.
    pub(super) fn settled_at(&self) -> Moment {
        let settled = self.unbroken_since + self.settling;
        self.proved.map_or(settled, |proved| proved.min(settled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_LAG: Duration = Duration::from_secs(1);
    const SETTLING: u64 = 4000;

    /// A connection that was asked each 200 ms up to this moment, and answered at once.
    fn warm(until: u64) -> Continuity {
        let mut continuity = Continuity::new(Moment::at(0), settling(MAX_LAG));
        for millis in (200..=until).step_by(200) {
            continuity.answered(Moment::at(millis), Moment::at(millis));
        }
        continuity
    }

    #[test]
    fn the_wait_and_the_bound_are_those_of_the_model() {
        assert_eq!(settling(MAX_LAG), Duration::from_millis(SETTLING));
        assert_eq!(bound(MAX_LAG), Duration::from_secs(5));
    }

    #[test]
    fn a_new_connection_counts_after_the_wait() {
        let continuity = warm(6000);
        assert!(!continuity.counts(Moment::at(SETTLING - 1)));
        assert!(continuity.counts(Moment::at(SETTLING)));
    }

    #[test]
    fn after_a_gap_between_questions_the_wait_begins_with_the_next_answer() {
        let mut continuity = warm(6000);
        continuity.answered(Moment::at(6501), Moment::at(6502));
        assert!(!continuity.counts(Moment::at(6501)), "the answer that ends the gap");
        assert!(!continuity.counts(Moment::at(6502 + SETTLING - 1)));
        assert!(continuity.counts(Moment::at(6502 + SETTLING)));
    }

    #[test]
    fn a_pause_as_long_as_is_allowed_is_no_gap() {
        let mut continuity = warm(6000);
        continuity.answered(Moment::at(6500), Moment::at(7000));
        assert!(continuity.counts(Moment::at(6500)));
    }

    #[test]
    fn a_slow_answer_makes_the_next_pause_no_shorter() {
        let mut continuity = warm(6000);
        continuity.answered(Moment::at(6000), Moment::at(6500));
        continuity.answered(Moment::at(6501), Moment::at(6501));
        assert!(!continuity.counts(Moment::at(6501)));
    }

    #[test]
    fn a_late_answer_is_a_gap_although_others_came_in_between() {
        let mut continuity = warm(6000);
        continuity.answered(Moment::at(6100), Moment::at(6601));
        assert!(!continuity.counts(Moment::at(6100)));
        assert!(!continuity.counts(Moment::at(6601 + SETTLING - 1)));
    }

    #[test]
    fn answers_that_are_noted_out_of_order_hide_no_gap() {
        let mut continuity = warm(6000);
        continuity.answered(Moment::at(6400), Moment::at(6450));
        continuity.answered(Moment::at(6300), Moment::at(6450));
        assert!(continuity.counts(Moment::at(6400)));
        continuity.answered(Moment::at(6901), Moment::at(6902));
        assert!(!continuity.counts(Moment::at(6901)));
    }

    #[test]
    fn a_write_that_all_replicas_have_acknowledged_ends_the_wait() {
        let mut continuity = warm(600);
        continuity.answered(Moment::at(700), Moment::at(710));
        continuity.proved(Moment::at(700));
        assert!(!continuity.counts(Moment::at(699)));
        assert!(continuity.counts(Moment::at(700)));
    }

    #[test]
    fn after_a_gap_it_takes_another_proof_and_a_late_answer_is_none() {
        let mut continuity = warm(600);
        continuity.answered(Moment::at(700), Moment::at(710));
        continuity.proved(Moment::at(700));
        continuity.answered(Moment::at(800), Moment::at(1301));
        continuity.proved(Moment::at(800));
        assert!(!continuity.counts(Moment::at(1301)));
        continuity.answered(Moment::at(1200), Moment::at(1302));
        continuity.proved(Moment::at(1200));
        assert!(!continuity.counts(Moment::at(1302)), "asked before the answer that ended the gap");
        continuity.answered(Moment::at(1310), Moment::at(1311));
        continuity.proved(Moment::at(1310));
        assert!(continuity.counts(Moment::at(1310)));
    }

    #[test]
    fn a_question_of_the_wait_does_not_count_though_its_answer_comes_after_it() {
        let mut continuity = warm(SETTLING - 200);
        continuity.answered(Moment::at(SETTLING - 1), Moment::at(SETTLING + 100));
        assert!(!continuity.counts(Moment::at(SETTLING - 1)));
        assert!(continuity.counts(Moment::at(SETTLING)));
    }
}

//! An estimate of the server's time, from the times in its answers.
//!
//! The estimate is *the time in an answer, plus the time since that answer arrived*. The server
//! read its clock before the answer arrived. So if both clocks run at the same rate, the estimate
//! is never ahead of the server's clock. The fastest answer gives the best estimate. Real clocks
//! differ a little (quartz: under 100 ppm), so the node subtracts 1/4096 of the time since the
//! arrival.
//!
//! An answer may take up to the time `oldest_answer`. If its time is behind the estimate by more
//! than that, an operator has set the server's clock back. The estimate then follows the answer.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::{Clock, SystemClock, Timestamp};

/// An estimate of the server's time that is never ahead of the server's clock.
#[derive(Debug)]
pub(crate) struct ServerTime {
    /// The time in the best answer, and the moment of its arrival; `None` before the first answer.
    /// The clock of this moment also runs while the machine is suspended.
    best: Mutex<Option<(Timestamp, Duration)>>,
    /// The longest time that an answer may take.
    oldest_answer: Duration,
}

impl ServerTime {
    /// Creates an estimate before the first answer. `oldest_answer` is the longest time that an
    /// answer may take, which is the timeout of calls.
    pub(crate) fn new(oldest_answer: Duration) -> Self {
        Self { best: Mutex::new(None), oldest_answer }
    }

    /// Returns the estimate of the server's time now, or the Unix epoch before the first answer.
    pub(crate) fn now(&self) -> Timestamp {
        self.at(SystemClock.elapsed())
    }

    /// Updates the estimate from an answer that has just arrived.
    pub(crate) fn learn(&self, answered: Timestamp) {
        self.learn_at(answered, SystemClock.elapsed());
    }

    /// Returns the estimate of the server's time at `moment`, a time of this node's clock.
    fn at(&self, moment: Duration) -> Timestamp {
        let best = *self.best.lock().unwrap_or_else(PoisonError::into_inner);
        best.map(|best| estimate(best, moment)).unwrap_or_default()
    }

    /// Updates the estimate from an answer that arrived at `moment`.
    fn learn_at(&self, answered: Timestamp, moment: Duration) {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        let known = best.map(|best| estimate(best, moment));
        let put_back = |known: Timestamp| known.saturating_since(answered) > self.oldest_answer;
        if known.is_none_or(|known| answered > known || put_back(known)) {
            *best = Some((answered, moment));
        }
    }
}

/// Estimates the server's time at `moment` from one answer and the moment of its arrival.
fn estimate((answered, came): (Timestamp, Duration), moment: Duration) -> Timestamp {
    let passed = moment.saturating_sub(came);
    answered.saturating_add(passed.saturating_sub(passed / 4096))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + milliseconds)
    }

    #[test]
    fn the_fastest_answer_tells_most_and_the_estimate_is_never_ahead() {
        let (time, start) = (ServerTime::new(500 * MS), SystemClock.elapsed());
        time.learn_at(at(0), start + 40 * MS);
        assert_eq!(time.at(start + 40 * MS), at(0));
        time.learn_at(at(50), start + 51 * MS);
        assert_eq!(time.at(start + 51 * MS), at(50));
        time.learn_at(at(60), start + 90 * MS);
        assert_eq!(time.at(start + 90 * MS), at(50 + 39 - 1));
        let hour = 3_600_000;
        let drifted = hour - hour / 10_000;
        assert!(time.at(start + 3_600_000 * MS) < at(drifted));
    }

    #[test]
    fn what_passes_between_answers_of_the_same_millisecond_counts() {
        let (time, start) = (ServerTime::new(500 * MS), SystemClock.elapsed());
        time.learn_at(at(0), start);
        time.learn_at(at(0), start + MS * 9 / 10);
        assert_eq!(time.at(start + MS * 9 / 10), at(0));
        assert_eq!(time.at(start + MS * 11 / 10), at(1));
    }

    #[test]
    fn a_server_clock_that_is_put_back_is_followed() {
        let (time, start) = (ServerTime::new(500 * MS), SystemClock.elapsed());
        time.learn_at(at(10_000), start);
        time.learn_at(at(1_000), start + MS);
        assert_eq!(time.at(start + MS), at(1_000));
    }
}

//! The server's time, estimated from its answers.
//!
//! The server took the time in an answer before the answer arrived. The estimate is *that time plus
//! the time that has passed on this node since the arrival*. If both clocks run at the same rate,
//! the estimate is never ahead of the server's clock. The fastest answer gives the best estimate.
//! Rates differ a little (quartz: under 100 ppm), so the node reduces the passed time by 1/4096.
//! The next fast answer corrects the resulting error.
//!
//! The estimate also follows a server's clock that was set back by more than `oldest_answer`.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::{Clock, SystemClock, Timestamp};

/// An estimate of the server's time that is never ahead of the server's clock.
#[derive(Debug)]
pub(crate) struct ServerTime {
    /// The server's time in the best answer, and the moment at which that answer arrived, by a
    /// clock that also counts the time of a suspended machine; `None` before the first answer.
    best: Mutex<Option<(Timestamp, Duration)>>,
    /// The longest time that an answer takes.
    oldest_answer: Duration,
}

impl ServerTime {
    /// Creates an estimate before the first answer. No answer takes longer than `oldest_answer`.
    pub(crate) fn new(oldest_answer: Duration) -> Self {
        Self { best: Mutex::new(None), oldest_answer }
    }

    /// Returns the estimated server time now; before the first answer, the Unix epoch.
    pub(crate) fn now(&self) -> Timestamp {
        self.at(SystemClock.elapsed())
    }

    /// Updates the estimate from an answer that has just arrived.
    pub(crate) fn learn(&self, answered: Timestamp) {
        self.learn_at(answered, SystemClock.elapsed());
    }

    /// Returns the estimated server time at `moment`.
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

/// Returns the server's time at a moment, estimated from an answer and the time of its arrival.
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

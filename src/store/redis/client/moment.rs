//! Moments by which this node measures how old an answer is.

use std::{ops::Add, time::Duration};

use crate::clock::{Clock, SystemClock};

/// A moment of this node's own clock, which nobody sets and which counts the time of a suspended
/// machine.
///
/// `Instant` stops with the machine on Linux: an answer of before would still look fresh after
/// hours.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// Returns the present moment.
    pub(crate) fn now() -> Self {
        Self(SystemClock.elapsed())
    }

    /// Returns the time from `earlier` to this moment; zero if `earlier` is the later one.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

#[cfg(test)]
impl Moment {
    /// Returns a moment of a test, `millis` after its start.
    pub(crate) fn at(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

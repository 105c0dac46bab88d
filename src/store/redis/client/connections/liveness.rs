//! The record of commands and answers that shows if the server of a connection still answers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::clock::saturating_millis;

/// The times of a connection's commands and answers, in ms since it was made, plus one.
pub(crate) struct Liveness {
    made: Instant,
    /// The time of the first command after its last answer; 0 if there was none.
    asked: AtomicU64,
    /// The time of its last answer; 0 if there was none.
    answered: AtomicU64,
}

impl Liveness {
    /// Starts with a connection that was made now.
    pub(crate) fn new() -> Self {
        Self { made: Instant::now(), asked: AtomicU64::new(0), answered: AtomicU64::new(0) }
    }

    /// Returns the time at which the connection was made.
    pub(crate) fn made(&self) -> Instant {
        self.made
    }

    /// Notes that a command is about to be sent. Its caller may be gone when the answer is due.
    pub(crate) fn asks(&self) {
        let _ = self.asked.compare_exchange(0, self.age(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that the server has answered now.
    pub(crate) fn answered(&self) {
        self.asked.store(0, Ordering::Relaxed);
        self.answered.store(self.age(), Ordering::Relaxed);
    }

    /// Returns whether the server has owed an answer for longer than `patience`.
    pub(crate) fn is_silent(&self, patience: Duration) -> bool {
        let earliest = self.age().saturating_sub(saturating_millis(patience));
        let asked = self.asked.load(Ordering::Relaxed);
        asked != 0 && asked < earliest
    }

    /// Returns whether nothing has come over the connection for longer than `rest`.
    pub(crate) fn has_rested(&self, rest: Duration) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        self.age().saturating_sub(answered) > saturating_millis(rest)
    }

    /// Returns the age of the connection in ms, plus one.
    fn age(&self) -> u64 {
        saturating_millis(self.made.elapsed()).saturating_add(1)
    }
}

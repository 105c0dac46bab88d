//! Whether the server at the other end of a connection still answers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::clock::saturating_millis;

/// When a connection was asked and answered, in ms since it was made, and one more.
pub(crate) struct Liveness {
    made: Instant,
    /// When it was first asked after its last answer; 0 if it was not.
    asked: AtomicU64,
    /// When it last answered; 0 if it never did.
    answered: AtomicU64,
}

impl Liveness {
    /// Starts with a connection that was made now.
    pub(crate) fn new() -> Self {
        Self { made: Instant::now(), asked: AtomicU64::new(0), answered: AtomicU64::new(0) }
    }

    pub(crate) fn made(&self) -> Instant {
        self.made
    }

    /// Written down before anything is sent: whoever sent it may be gone when it should have been answered.
    pub(crate) fn asks(&self) {
        let _ = self.asked.compare_exchange(0, self.age(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that the server has answered now.
    pub(crate) fn answered(&self) {
        self.asked.store(0, Ordering::Relaxed);
        self.answered.store(self.age(), Ordering::Relaxed);
    }

    /// Whether the server has owed an answer for longer than `patience`.
    pub(crate) fn is_silent(&self, patience: Duration) -> bool {
        let earliest = self.age().saturating_sub(saturating_millis(patience));
        let asked = self.asked.load(Ordering::Relaxed);
        asked != 0 && asked < earliest
    }

    /// Whether nothing has come over the connection for longer than `rest`.
    pub(crate) fn has_rested(&self, rest: Duration) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        self.age().saturating_sub(answered) > saturating_millis(rest)
    }

    fn age(&self) -> u64 {
        saturating_millis(self.made.elapsed()).saturating_add(1)
    }
}

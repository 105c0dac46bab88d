//! Whether the server at the other end of a connection still answers.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    clock::saturating_millis,
    store::redis::{continuity::Continuity, moment::Moment},
};

/// When a connection was asked and answered, in ms since it was made, and one more.
pub(super) struct Liveness {
    made: Instant,
    /// When it was first asked after its last answer; 0 if it was not.
    asked: AtomicU64,
    /// When it last answered; 0 if it never did.
    answered: AtomicU64,
    /// For how long it has answered without a gap, where that matters.
    continuity: Option<Mutex<Continuity>>,
}

impl Liveness {
    /// Starts with a connection that was made now.
    pub(super) fn new(settling: Option<Duration>) -> Self {
        Self {
            made: Instant::now(),
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            continuity: settling.map(|settling| Mutex::new(Continuity::new(Moment::now(), settling))),
        }
    }

    pub(super) fn made(&self) -> Instant {
        self.made
    }

    /// Written down before anything is sent: whoever sent it may be gone when it should have been answered.
    pub(super) fn asks(&self) {
        let _ = self.asked.compare_exchange(0, self.age(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that what was asked at this moment has been answered now.
    pub(super) fn answered(&self, asked: Moment) {
        self.asked.store(0, Ordering::Relaxed);
        self.answered.store(self.age(), Ordering::Relaxed);
        if let Some(continuity) = &self.continuity {
            continuity.lock().unwrap_or_else(PoisonError::into_inner).answered(asked, Moment::now());
        }
    }

    /// Notes that all replicas have acknowledged a write that was asked for at this moment and
    /// answered in time.
    pub(super) fn proved(&self, asked: Moment) {
        if let Some(continuity) = &self.continuity {
            continuity.lock().unwrap_or_else(PoisonError::into_inner).proved(asked);
        }
    }

    /// Returns whether the server had answered without a gap for long enough when it was asked, and
    /// has since.
    pub(super) fn counts(&self, asked: Moment) -> bool {
        self.continuity().is_none_or(|continuity| continuity.counts(asked))
    }

    /// Returns how much longer the server must answer without a gap until its answers count.
    pub(super) fn settles_in(&self) -> Duration {
        self.continuity().map_or(Duration::ZERO, |continuity| continuity.settled_at().since(Moment::now()))
    }

    fn continuity(&self) -> Option<Continuity> {
        self.continuity.as_ref().map(|continuity| *continuity.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the server has owed an answer for longer than `patience`.
    pub(super) fn is_silent(&self, patience: Duration) -> bool {
        let earliest = self.age().saturating_sub(saturating_millis(patience));
        let asked = self.asked.load(Ordering::Relaxed);
        asked != 0 && asked < earliest
    }

    /// Whether nothing has come over the connection for longer than `rest`.
    pub(super) fn has_rested(&self, rest: Duration) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        self.age().saturating_sub(answered) > saturating_millis(rest)
    }

    fn age(&self) -> u64 {
        saturating_millis(self.made.elapsed()).saturating_add(1)
    }
}

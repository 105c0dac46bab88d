//! A clock that goes with Tokio's timers, which a test can pause.

use std::time::Duration;

use tokio::time::Instant;
use tower_bearer::clock::{Clock, Timestamp};

use super::fixture::START;

/// The clock. Clones show the same time.
#[derive(Clone)]
pub struct TokioClock(Instant);

impl TokioClock {
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        START.saturating_add(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

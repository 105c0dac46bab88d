//! The log messages about rejected requests.
//!
//! Most rejections are the client's fault, so their level is `debug`. The kinds `Unavailable` and
//! `Internal` are the server's fault. A process logs each of these two kinds at most once a minute,
//! with the number of rejections. If the process logged each rejection, an outage would fill the
//! disk.

use std::{
    error::Error as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::rejection::{Rejection, RejectionKind};

/// The interval of the messages about one kind of rejection.
const INTERVAL: Duration = Duration::from_secs(60);

static UNAVAILABLE: Limit = Limit::new();
static INTERNAL: Limit = Limit::new();

/// A rate limit for the messages about one kind of rejection.
struct Limit(Mutex<Counted>);

struct Counted {
    last: Option<Instant>,
    /// The number of rejections since the last message.
    rejections: u64,
}

impl Limit {
    const fn new() -> Self {
        Self(Mutex::new(Counted { last: None, rejections: 0 }))
    }

    /// Counts a rejection. If a message is due, returns the number of rejections since the last
    /// message.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.rejections = counted.rejections.saturating_add(1);
        let is_due = counted.last.is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL);
        is_due.then(|| {
            counted.last = Some(now);
            std::mem::take(&mut counted.rejections)
        })
    }
}

/// Logs a rejection, or counts it for the next message.
pub(super) fn log(rejection: &Rejection) {
    let cause = rejection.cause().map(tracing::field::display);
    let source = rejection.cause().and_then(|cause| cause.source()).map(tracing::field::display);
    match rejection.kind() {
        RejectionKind::Unavailable => {
            if let Some(rejections) = UNAVAILABLE.count(Instant::now()) {
                tracing::warn!(cause, source, rejections, "requests rejected: temporarily unavailable");
            }
        }
        RejectionKind::Internal => {
            if let Some(rejections) = INTERNAL.count(Instant::now()) {
                tracing::error!(cause, source, rejections, "requests rejected: internal error");
            }
        }
        kind => tracing::debug!(?kind, cause, "request rejected"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rejection_is_logged_and_then_one_sum_a_minute() {
        let (limit, start) = (Limit::new(), Instant::now());
        assert_eq!(limit.count(start), Some(1));
        for second in 1..60 {
            assert_eq!(limit.count(start + Duration::from_secs(second)), None);
        }
        assert_eq!(limit.count(start + INTERVAL), Some(60));
        assert_eq!(limit.count(start + INTERVAL), None);
    }
}

//! The counts of open and cut streams in the status of a service.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::cause::CutoffCause;

/// The counts of a service's open and cut streams. A stream is an open response, connection or
/// task.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StreamStatus {
    /// Count of open streams.
    pub open: usize,
    /// Count of streams that were cut because of a revocation.
    pub revoked: u64,
    /// Count of streams that were cut because their token or session expired.
    pub expired: u64,
    /// Count of streams that were cut because the node could not confirm their token in time.
    pub unconfirmed: u64,
}

impl StreamStatus {
    /// Returns the sums of these counts and the counts of `other`.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            open: self.open.saturating_add(other.open),
            revoked: self.revoked.saturating_add(other.revoked),
            expired: self.expired.saturating_add(other.expired),
            unconfirmed: self.unconfirmed.saturating_add(other.unconfirmed),
        }
    }
}

/// The counts of cutoffs by cause: revoked, expired, unconfirmed.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; 3]);

impl Counts {
    pub(super) fn count(&self, cause: CutoffCause) {
        let [revoked, expired, unconfirmed] = &self.0;
        let count = match cause {
            CutoffCause::Revoked => revoked,
            CutoffCause::Expired => expired,
            CutoffCause::Unconfirmed => unconfirmed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn status(&self, open: usize) -> StreamStatus {
        let [revoked, expired, unconfirmed] = self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        StreamStatus { open, revoked, expired, unconfirmed }
    }
}

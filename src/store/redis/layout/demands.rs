//! The values that this node demands of every bucket.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    clock::saturating_millis,
    store::{LogPage, redis::layout::encoding::whole_millis},
};

/// The values that this node demands of every bucket. They only grow. Each script call carries
/// them, and a bucket's `m` keeps the highest of all nodes.
#[derive(Debug)]
pub(crate) struct Demands {
    /// The time for which log entries and denials are kept, in ms.
    keep: AtomicU64,
    /// The largest age of the data by which this node decides locally, in ms.
    staleness: AtomicU64,
}

impl Demands {
    /// Demands that entries are kept for this long.
    pub(crate) fn new(keep: Duration) -> Self {
        Self { keep: AtomicU64::new(saturating_millis(keep)), staleness: AtomicU64::new(0) }
    }

    /// Raises the time for which entries are kept.
    pub(crate) fn keep_for(&self, keep: Duration) {
        self.keep.fetch_max(whole_millis(keep), Ordering::Relaxed);
    }

    /// Raises the age of the data by which this node decides locally.
    pub(crate) fn allow_staleness(&self, staleness: Duration) {
        self.staleness.fetch_max(whole_millis(staleness), Ordering::Relaxed);
    }

    /// Returns the time for which entries are kept, in ms.
    pub(crate) fn keep_millis(&self) -> u64 {
        self.keep.load(Ordering::Relaxed)
    }

    /// Returns the largest age of the data by which this node decides locally, in ms.
    pub(crate) fn staleness_millis(&self) -> u64 {
        self.staleness.load(Ordering::Relaxed)
    }

    /// Returns true if the bucket of a page has these values, and this bound of a failover. A node
    /// that only reads would never write them otherwise.
    pub(crate) fn are_met_by(&self, page: &LogPage, failover_millis: u64) -> bool {
        saturating_millis(page.keep) >= self.keep_millis()
            && saturating_millis(page.max_staleness) >= self.staleness_millis()
            && saturating_millis(page.max_failover) >= failover_millis
    }
}

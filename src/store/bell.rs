//! A bell that wakes the reader of a log, and names the buckets that it is to read.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// A bell for the reader of some buckets. A ring that no task awaits is kept for the next one that
/// does.
#[derive(Debug)]
pub(crate) struct Bell {
    buckets: Vec<u32>,
    rung: Mutex<BTreeSet<u32>>,
    wake: Notify,
}

impl Bell {
    pub(crate) fn of(buckets: &[u32]) -> Arc<Self> {
        Arc::new(Self { buckets: buckets.to_vec(), rung: Mutex::default(), wake: Notify::new() })
    }

    pub(crate) fn buckets(&self) -> &[u32] {
        &self.buckets
    }

    /// Rings for one bucket, which is one of [`buckets`](Self::buckets).
    pub(crate) fn ring(&self, bucket: u32) {
        self.rung().insert(bucket);
        self.wake.notify_one();
    }

    /// Rings for all buckets.
    #[cfg(feature = "redis")]
    pub(crate) fn ring_for_all(&self) {
        self.rung().extend(&self.buckets);
        self.wake.notify_one();
    }

    /// Resolves with the buckets for which it rang.
    pub(crate) async fn heard(&self) -> Vec<u32> {
        loop {
            let rung = std::mem::take(&mut *self.rung());
            if !rung.is_empty() {
                return rung.into_iter().collect();
            }
            self.wake.notified().await;
        }
    }

    fn rung(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! A bell that wakes the reader of a log, and passes it the numbers of the buckets to read.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// A bell for the reader of some buckets. If the reader does not wait, the bell saves the ring for
/// the next wait.
#[derive(Debug)]
pub(crate) struct Bell {
    buckets: Vec<u32>,
    pending: Mutex<BTreeSet<u32>>,
    wake: Notify,
}

impl Bell {
    pub(crate) fn new(buckets: &[u32]) -> Arc<Self> {
        Arc::new(Self { buckets: buckets.to_vec(), pending: Mutex::default(), wake: Notify::new() })
    }

    pub(crate) fn buckets(&self) -> &[u32] {
        &self.buckets
    }

    /// Rings for one bucket. The bucket must be in [`buckets`](Self::buckets).
    pub(crate) fn ring(&self, bucket: u32) {
        self.pending().insert(bucket);
        self.wake.notify_one();
    }

    /// Rings for all buckets.
    #[cfg(feature = "redis")]
    pub(crate) fn ring_for_all(&self) {
        self.pending().extend(&self.buckets);
        self.wake.notify_one();
    }

    /// Waits for a ring. Returns the buckets for which the bell has rung.
    pub(crate) async fn rung(&self) -> Vec<u32> {
        loop {
            let rung = std::mem::take(&mut *self.pending());
            if !rung.is_empty() {
                return rung.into_iter().collect();
            }
            self.wake.notified().await;
        }
    }

    fn pending(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! All buckets of a replica, by number.

use std::sync::Arc;

use super::bucket::Bucket;
use crate::store::bell::Bell;

/// The buckets, and for each the bell that wakes the task that reads it.
pub(super) struct Buckets {
    buckets: Box<[Bucket]>,
    bells: Box<[Arc<Bell>]>,
}

impl Buckets {
    pub(super) fn new(buckets: Box<[Bucket]>, bells: Box<[Arc<Bell>]>) -> Self {
        Self { buckets, bells }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&Bucket> {
        self.buckets.get(usize::try_from(number).ok()?)
    }

    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.iter()
    }

    /// Has a bucket's log read at once.
    pub(super) fn wake_reader_of(&self, number: u32) {
        if let Some(bell) = usize::try_from(number).ok().and_then(|number| self.bells.get(number)) {
            bell.ring(number);
        }
    }
}

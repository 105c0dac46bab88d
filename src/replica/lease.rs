//! A value that requests read under a lease, and the order in which the node reads and writes both:
//!
//! * The task writes the value, **then** the lease (Release).
//! * A request loads the lease (Acquire), **then** reads the value, **then** the clock.
//!
//! So a request that decides by a lease has read the value that belongs to this lease, or a newer
//! value. If the request read the value first, the task could write a revocation and the next lease
//! between the two reads. The request would then decide by the old value under the new lease.
//!
//! The value has a **version**. If the value changes, the version changes before the task grants
//! the next lease. While the version is the same, a request can repeat an earlier verdict without
//! reading the value: [`is_current`](Leased::is_current). Such a request takes no lock, and writes
//! to no shared memory.
//!
//! The Loom test `tests/replica_order.rs` compiles this file. So the file imports nothing from the
//! crate except the primitives in `super::sync`.

use std::time::Duration;

use super::sync::{AtomicU64, Ordering, PoisonError, RwLock};

/// A value by which requests may decide until a lease ends.
#[derive(Debug)]
pub(super) struct Leased<T> {
    /// The end of the lease, in nanoseconds of a clock that never goes back; 0 without a lease.
    lease: AtomicU64,
    /// The version of the value, starting at 1. It changes only under the write lock.
    version: AtomicU64,
    value: RwLock<T>,
}

impl<T> Leased<T> {
    pub(super) fn new(value: T) -> Self {
        Self { lease: AtomicU64::new(0), version: AtomicU64::new(1), value: RwLock::new(value) }
    }

    /// Calls `look` with the value and its version. Returns the result, and true if a request may
    /// decide by that value.
    pub(super) fn read<R>(&self, look: impl FnOnce(&T, u64) -> R, now: impl FnOnce() -> u64) -> (R, bool) {
        let lease = self.lease.load(Ordering::Acquire);
        let value = self.value.read().unwrap_or_else(PoisonError::into_inner);
        let found = look(&value, self.version.load(Ordering::Relaxed));
        drop(value);
        // Reads the clock last: if the thread slept and the lease has ended meanwhile, the request
        // does not decide.
        (found, lease != 0 && now() < lease)
    }

    /// Returns true if the value still has this version, and the lease has not ended. No value has
    /// version 0.
    pub(super) fn is_current(&self, version: u64, now: impl FnOnce() -> u64) -> bool {
        let lease = self.lease.load(Ordering::Acquire);
        lease != 0 && self.version.load(Ordering::Acquire) == version && now() < lease
    }

    /// Returns the version of the value and the end of the lease, or `None` without a lease. Reads
    /// the lease before the version. The caller must read the clock last, as
    /// [`is_current`](Self::is_current) does.
    pub(super) fn version_and_lease(&self) -> Option<(u64, u64)> {
        let lease = self.lease.load(Ordering::Acquire);
        (lease != 0).then(|| (self.version.load(Ordering::Acquire), lease))
    }

    /// Changes the value and its version. Does not end the lease, so requests decide by the new
    /// value at once.
    pub(super) fn mutate<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        // The version changes first: if `change` panics halfway, no request relies on the old
        // version. Readers wait for the lock.
        self.version.fetch_add(1, Ordering::Release);
        change(&mut value)
    }

    /// Changes the value. `change` returns its result, and true if earlier verdicts are now
    /// invalid. If so, the version changes too, before the node grants the next lease.
    pub(super) fn mutate_if_changed<R>(&self, change: impl FnOnce(&mut T) -> (R, bool)) -> R {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        let (result, is_changed) = change(&mut value);
        if is_changed {
            self.version.fetch_add(1, Ordering::Release);
        }
        result
    }

    /// Applies a page of the log, in this order:
    ///
    /// 1. If `breaks` is true (the log does not continue), ends the lease.
    /// 2. Calls `write`, which writes the new data. If `write` fails, ends the lease.
    /// 3. Otherwise grants the new lease, if there is one.
    pub(super) fn apply_page<E>(
        &self,
        breaks: bool,
        write: impl FnOnce(&Self) -> Result<(), E>,
        lease: Option<u64>,
    ) -> Result<(), E> {
        if breaks {
            self.end_lease();
        }
        write(self).inspect_err(|_| self.end_lease())?;
        if let Some(end) = lease {
            self.grant(end);
        }
        Ok(())
    }

    /// Grants a lease until `end`. The caller has written the page's data before.
    fn grant(&self, end: u64) {
        self.lease.store(end, Ordering::Release);
    }

    /// Ends the lease. A request that loads the lease from now on does not decide locally.
    pub(super) fn end_lease(&self) {
        self.lease.store(0, Ordering::Release);
    }

    /// Returns the end of the lease in nanoseconds, or 0 if there is no lease.
    pub(super) fn lease_end(&self) -> u64 {
        self.lease.load(Ordering::Acquire)
    }
}

/// Converts a time of the leases' clock to nanoseconds, at most `u64::MAX`.
pub(super) fn nanos(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

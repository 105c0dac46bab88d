//! A value that requests read under a lease. This file defines the order in which value and lease
//! are read and written.
//!
//! The applier writes the value **and then** the lease (Release). A request loads the lease
//! (Acquire), **then** looks at the value, then at the time. So every request that decides by a
//! lease sees the value that was there when the lease was granted. In the other order, a request
//! could look at the map and be overtaken by a revocation and the lease that follows it. The fresh
//! lease would then approve the old map.
//!
//! Each change of the value has a **version**, counted before the lease is written. A request that
//! has found nothing in one version need not look at it again ([`still`](Leased::still)). So a
//! token that is used again and again takes no lock, and cores that read one bucket write nothing
//! that they share.
//!
//! The file depends on nothing else and takes its primitives from `super::sync`, so that loom runs
//! this very code (`tests/replica_order.rs`).

use super::sync::{AtomicU64, Ordering, PoisonError, RwLock};

/// A value that requests may decide by while a lease lives. Times are nanoseconds of one clock that
/// never goes back; 0 is no lease.
#[derive(Debug)]
pub(super) struct Leased<T> {
    lease: AtomicU64,
    /// The version of the value: counted from 1, while the value is locked.
    version: AtomicU64,
    value: RwLock<T>,
}

impl<T> Leased<T> {
    pub(super) fn new(value: T) -> Self {
        Self { lease: AtomicU64::new(0), version: AtomicU64::new(1), value: RwLock::new(value) }
    }

    /// Returns the result of `look` at the value and its version, and true if a request may decide
    /// by it.
    pub(super) fn read<R>(&self, look: impl FnOnce(&T, u64) -> R, now: impl FnOnce() -> u64) -> (R, bool) {
        let lease = self.lease.load(Ordering::Acquire);
        let value = self.value.read().unwrap_or_else(PoisonError::into_inner);
        let found = look(&value, self.version.load(Ordering::Relaxed));
        drop(value);
        // The clock is read last, and not at all without a lease: a request that slept in between
        // does not decide.
        (found, lease != 0 && now() < lease)
    }

    /// Returns true if the value still has this version, and a request may decide by it. No value
    /// has version 0.
    pub(super) fn still(&self, version: u64, now: impl FnOnce() -> u64) -> bool {
        let lease = self.lease.load(Ordering::Acquire);
        lease != 0 && self.version.load(Ordering::Acquire) == version && now() < lease
    }

    /// Changes the value. After the change, a lease that lives must still be justified.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        // Counted first, in case `change` panics. The lock keeps readers away meanwhile.
        self.version.fetch_add(1, Ordering::Release);
        change(&mut value)
    }

    /// Changes the value. `change` also returns true if it invalidates earlier looks at the value.
    /// The version is counted after the change, which decides that, but before any lease that rests
    /// on it.
    pub(super) fn tend<R>(&self, change: impl FnOnce(&mut T) -> (R, bool)) -> R {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        let (result, look_again) = change(&mut value);
        if look_again {
            self.version.fetch_add(1, Ordering::Release);
        }
        result
    }

    /// Applies an answer about the log. Ends the lease if the answer `breaks` with the value. Then
    /// `learn` writes the new data. If that succeeds, grants the new lease, under which requests
    /// may decide by all of that.
    pub(super) fn update<E>(
        &self,
        breaks: bool,
        learn: impl FnOnce(&Self) -> Result<(), E>,
        lease: Option<u64>,
    ) -> Result<(), E> {
        if breaks {
            self.end_lease();
        }
        learn(self).inspect_err(|_| self.end_lease())?;
        if let Some(end) = lease {
            self.grant(end);
        }
        Ok(())
    }

    /// Grants a lease. To be called after the change on which it rests.
    fn grant(&self, end: u64) {
        self.lease.store(end, Ordering::Release);
    }

    /// Ends the lease. A request that loads the lease after this does not decide.
    pub(super) fn end_lease(&self) {
        self.lease.store(0, Ordering::Release);
    }

    /// Returns the end of the lease; 0 without one.
    pub(super) fn lease_end(&self) -> u64 {
        self.lease.load(Ordering::Acquire)
    }
}

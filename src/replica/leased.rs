//! What requests read: a lease, and what is known under it. The order in which both are read and written is the subject of this file.
//!
//! The applier writes what it has learnt **and then** the lease (Release). A request loads the lease (Acquire), **then** looks at what is known,
//! then at the time. So whatever was known when the lease was granted is seen by every request that the lease lets decide. In the other order a request could
//! look at the map, be overtaken by a revocation and the lease that followed it, and bless the old map by the fresh lease.
//!
//! The file stands alone and takes its primitives from `super::sync`, so that loom runs this very code (`tests/replica_order.rs`).

use super::sync::{AtomicU64, Ordering, PoisonError, RwLock};

/// A value that may be decided by while a lease lives. Times are nanoseconds of one clock that never goes back; 0 is no lease.
#[derive(Debug)]
pub(super) struct Leased<T> {
    lease: AtomicU64,
    value: RwLock<T>,
}

impl<T> Leased<T> {
    pub(super) fn new(value: T) -> Self {
        Self { lease: AtomicU64::new(0), value: RwLock::new(value) }
    }

    /// What `look` finds, and whether it may be decided by.
    pub(super) fn read<R>(&self, look: impl FnOnce(&T) -> R, now: impl FnOnce() -> u64) -> (R, bool) {
        let lease = self.lease.load(Ordering::Acquire);
        let found = look(&self.value.read().unwrap_or_else(PoisonError::into_inner));
        // The clock is read last, and not at all without a lease: a request that slept in between does not decide.
        (found, lease != 0 && now() < lease)
    }

    /// Changes the value. What a lease that lives says of it must stay true.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.value.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// What an answer about the log brings: the lease ends if it `breaks` with what was known; then `learn` writes what was learnt; then, if that
    /// succeeded, the new lease is granted, under which all of that may be decided by until its end.
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

    /// To be called after the change that makes it true.
    fn grant(&self, end: u64) {
        self.lease.store(end, Ordering::Release);
    }

    /// A request that loads the lease after this does not decide.
    pub(super) fn end_lease(&self) {
        self.lease.store(0, Ordering::Release);
    }

    /// When the lease ends; 0 without one.
    pub(super) fn lease_end(&self) -> u64 {
        self.lease.load(Ordering::Acquire)
    }
}

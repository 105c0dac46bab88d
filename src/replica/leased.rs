//! What requests read: a lease, and what is known under it. The order in which both are read and written is the subject of this file.
//!
//! The applier writes what it has learnt **and then** the lease (Release). A request loads the lease (Acquire), **then** looks at what is known,
//! then at the time. So whatever was known when the lease was granted is seen by every request that the lease lets decide. In the other order a request could
//! look at the map, be overtaken by a revocation and the lease that followed it, and bless the old map by the fresh lease.
//!
//! Each change of what is known has a **version**, counted before the lease is written. Whoever has looked at one version and found nothing need not look
//! at it again ([`still`](Leased::still)): so a token that is used again and again takes no lock, and cores that read one bucket write nothing that they share.
//!
//! The file stands alone and takes its primitives from `super::sync`, so that loom runs this very code (`tests/replica_order.rs`).

use super::sync::{AtomicU64, Ordering, PoisonError, RwLock};

/// A value that may be decided by while a lease lives. Times are nanoseconds of one clock that never goes back; 0 is no lease.
#[derive(Debug)]
pub(super) struct Leased<T> {
    lease: AtomicU64,
    /// Of the value: counted from 1, while the value is locked.
    version: AtomicU64,
    value: RwLock<T>,
}

impl<T> Leased<T> {
    pub(super) fn new(value: T) -> Self {
        Self { lease: AtomicU64::new(0), version: AtomicU64::new(1), value: RwLock::new(value) }
    }

    /// What `look` finds in the value of a version, and whether it may be decided by.
    pub(super) fn read<R>(&self, look: impl FnOnce(&T, u64) -> R, now: impl FnOnce() -> u64) -> (R, bool) {
        let lease = self.lease.load(Ordering::Acquire);
        let value = self.value.read().unwrap_or_else(PoisonError::into_inner);
        let found = look(&value, self.version.load(Ordering::Relaxed));
        drop(value);
        // The clock is read last, and not at all without a lease: a request that slept in between does not decide.
        (found, lease != 0 && now() < lease)
    }

    /// Whether the value is still that of a version, and may be decided by. No value has version 0.
    pub(super) fn still(&self, version: u64, now: impl FnOnce() -> u64) -> bool {
        let lease = self.lease.load(Ordering::Acquire);
        lease != 0 && self.version.load(Ordering::Acquire) == version && now() < lease
    }

    /// Changes the value. What a lease that lives says of it must stay true.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        // First, should `change` not come to its end. Nobody looks meanwhile.
        self.version.fetch_add(1, Ordering::Release);
        change(&mut value)
    }

    /// Changes the value, and tells whether who has found nothing in it has to look again. Counted after the change, which tells; but before any lease that
    /// rests on it.
    pub(super) fn tend<R>(&self, change: impl FnOnce(&mut T) -> (R, bool)) -> R {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        let (result, look_again) = change(&mut value);
        if look_again {
            self.version.fetch_add(1, Ordering::Release);
        }
        result
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

//! The state of one open stream.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::Waker,
};

use super::{
    cause::CutoffCause,
    ids::Ids,
    registry::{Indexed, Place},
};

/// An open stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) ids: Ids,
    place: Place,
    /// The other places of another issuer's token. Boxed twice, so that our own tokens, which have
    /// none, pay for one pointer.
    others: Option<Box<Others>>,
    /// Each waits for its owner's task alone.
    waker: Mutex<Option<Waker>>,
    /// The moment as of which the token was not revoked, by the clock of the leases.
    proved: AtomicU64,
    /// 0 while the stream is open.
    cause: AtomicU8,
    /// A number that spreads questions and cutoffs over time.
    pub(super) share: u8,
    /// It ends when its token expires.
    pub(super) expires: AtomicBool,
    /// The log proves it: as of the moment up to which its buckets are known. Written by the watcher
    /// alone.
    pub(super) is_covered: AtomicBool,
    /// The watcher asks the store about it, or is about to.
    pub(super) is_asked: AtomicBool,
    /// A question that has begun earlier proves nothing.
    pub(super) is_urgent: AtomicBool,
}

#[derive(Debug)]
struct Others(Box<[Place]>);

impl Stream {
    pub(super) fn new(ids: Ids, place: Place, others: Vec<Place>, now: u64, share: u8, expires: bool) -> Self {
        Self {
            ids,
            place,
            others: (!others.is_empty()).then(|| Box::new(Others(others.into_boxed_slice()))),
            waker: Mutex::new(None),
            proved: AtomicU64::new(now),
            cause: AtomicU8::new(0),
            share,
            expires: AtomicBool::new(expires),
            is_covered: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
            is_urgent: AtomicBool::new(false),
        }
    }

    /// Returns the cause, if the stream was cut.
    pub(super) fn cause(&self) -> Option<CutoffCause> {
        match self.cause.load(Ordering::Acquire) {
            0 => None,
            1 => Some(CutoffCause::Revoked),
            2 => Some(CutoffCause::Expired),
            _ => Some(CutoffCause::Unconfirmed),
        }
    }

    /// Notes the cause. Returns true if the stream was open.
    pub(super) fn set_cause(&self, cause: CutoffCause) -> bool {
        let number = match cause {
            CutoffCause::Revoked => 1,
            CutoffCause::Expired => 2,
            CutoffCause::Unconfirmed => 3,
        };
        self.cause.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Notes a waker in place of the one before.
    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut held = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|held| held.will_wake(waker)) {
            return;
        }
        let before = held.replace(waker.clone());
        drop(held);
        // Without the lock: dropping a waker can drop a task, and with it this stream.
        drop(before);
    }

    /// Wakes the owner. The caller holds no lock.
    pub(super) fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns the moment as of which the token was not revoked, unless the log knows better.
    pub(super) fn proved(&self) -> u64 {
        self.proved.load(Ordering::Acquire)
    }

    pub(super) fn prove(&self, at: u64) {
        self.proved.fetch_max(at, Ordering::AcqRel);
    }

    /// Returns the buckets whose logs have its revocations.
    pub(super) fn buckets(&self) -> impl Iterator<Item = u32> {
        let others = self.others.iter().flat_map(|others| others.0.iter());
        std::iter::once(&self.place).chain(others).map(|place| place.bucket)
    }
}

impl Indexed for Stream {
    fn place(&self, number: usize) -> Option<&Place> {
        match number.checked_sub(1) {
            None => Some(&self.place),
            Some(number) => self.others.as_ref()?.0.get(number),
        }
    }
}

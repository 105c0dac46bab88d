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
    token: Token,
    place: Place,
    /// The waker of the task that owns the stream.
    waker: Mutex<Option<Waker>>,
    /// The stored proof: a time at which the token was not revoked, in nanoseconds of
    /// `Clock::elapsed`. The log may give a later proof: see `Core::proof`.
    proved: AtomicU64,
    /// 0 while the stream is open. After the cutoff, the number of its cause.
    cause: AtomicU8,
    /// A random number. It selects the times of questions and of the cutoff: see `pace`.
    pub(super) share: u8,
    /// True if the node also cuts the stream when its token expires.
    pub(super) expires: AtomicBool,
    /// True if the log covers the token: the node has applied every revocation of the token. Only
    /// the watcher writes this field.
    pub(super) is_covered: AtomicBool,
    /// True if the watcher has queued a question about the stream, or waits for the answer.
    pub(super) is_asked: AtomicBool,
    /// True if the watcher must ask the store immediately, because of a revocation. The answer to
    /// an earlier question does not suffice.
    pub(super) is_urgent: AtomicBool,
}

/// The ids of a stream's token. For another issuer's token, also the further places of the stream
/// in the registry: one for each further key.
#[derive(Debug)]
enum Token {
    Own(Ids),
    Foreign(Box<(Ids, Vec<Place>)>),
}

impl Stream {
    pub(super) fn new(ids: Ids, place: Place, others: Vec<Place>, now: u64, share: u8, expires: bool) -> Self {
        Self {
            token: if others.is_empty() { Token::Own(ids) } else { Token::Foreign(Box::new((ids, others))) },
            place,
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

    pub(super) fn ids(&self) -> &Ids {
        match &self.token {
            Token::Own(ids) => ids,
            Token::Foreign(foreign) => &foreign.0,
        }
    }

    fn others(&self) -> &[Place] {
        match &self.token {
            Token::Own(_) => &[],
            Token::Foreign(foreign) => &foreign.1,
        }
    }

    /// Returns the cause if the stream was cut.
    pub(super) fn cause(&self) -> Option<CutoffCause> {
        match self.cause.load(Ordering::Acquire) {
            0 => None,
            1 => Some(CutoffCause::Revoked),
            2 => Some(CutoffCause::Expired),
            _ => Some(CutoffCause::Unconfirmed),
        }
    }

    /// Stores the cause of a cutoff, and returns true. Returns false if the stream was cut before.
    pub(super) fn set_cause(&self, cause: CutoffCause) -> bool {
        let number = match cause {
            CutoffCause::Revoked => 1,
            CutoffCause::Expired => 2,
            CutoffCause::Unconfirmed => 3,
        };
        self.cause.compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Replaces the waker, unless it wakes the same task already.
    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut held = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|held| held.will_wake(waker)) {
            return;
        }
        let before = held.replace(waker.clone());
        drop(held);
        // Drops the old waker after the release of the lock, because the drop may also drop the
        // task that owns this stream.
        drop(before);
    }

    /// Wakes the owner. The caller must hold no lock.
    pub(super) fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Returns the stored proof: a time at which the token was not revoked.
    pub(super) fn proved(&self) -> u64 {
        self.proved.load(Ordering::Acquire)
    }

    /// Lowers the stored proof of a new stream to `at`, if `at` is earlier.
    pub(super) fn prove_no_later(&self, at: u64) {
        self.proved.fetch_min(at, Ordering::AcqRel);
    }

    /// Raises the stored proof to `at`, if `at` is later.
    pub(super) fn prove(&self, at: u64) {
        self.proved.fetch_max(at, Ordering::AcqRel);
    }

    /// Returns the buckets whose logs contain revocations of the token.
    pub(super) fn buckets(&self) -> impl Iterator<Item = u32> {
        std::iter::once(&self.place).chain(self.others()).map(|place| place.bucket)
    }
}

impl Indexed for Stream {
    fn place(&self, number: usize) -> Option<&Place> {
        match number.checked_sub(1) {
            None => Some(&self.place),
            Some(number) => self.others().get(number),
        }
    }
}

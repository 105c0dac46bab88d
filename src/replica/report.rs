//! In which state a replica is, and why: for `status` and for the log.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::Notify;

use super::{Replica, nanos};
use crate::{clock::saturating_millis, error::StoreErrorKind};

/// How requests are decided now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReplicaState {
    /// By what this node knows, without asking the store.
    Leased,
    /// By the store, at every request: for all users, or for those of some buckets.
    Strict,
    /// The revocation log, or that of some buckets, cannot be read. Requests ask the store, and are refused (503) if that does not answer either.
    Unavailable,
}

/// The local copy of the revocation log.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// How requests are decided now.
    pub state: ReplicaState,
    /// Why not by what this node knows.
    pub reason: Option<&'static str>,
    /// How old what this node knows may be when it decides by it, in milliseconds.
    pub staleness_bound_ms: u64,
    /// How many buckets are decided here.
    pub leased_buckets: usize,
    /// How many there are.
    pub buckets: usize,
    /// How many revocations are known.
    pub revocations: usize,
    /// How much memory they take, in bytes.
    pub bytes: usize,
    /// How long ago the log was last read, in milliseconds; of several servers, where that is longest. Absent if it never was.
    pub last_read_ms: Option<u64>,
}

/// How a task that reads fares.
#[derive(Debug)]
pub(super) struct Health {
    buckets: Box<[u32]>,
    wake: Arc<Notify>,
    fares: Mutex<Fares>,
}

#[derive(Clone, Copy, Debug)]
struct Fares {
    last_read: Option<Duration>,
    trouble: Option<Trouble>,
    /// What was last told to the log.
    told: Option<(ReplicaState, Option<Trouble>)>,
}

/// What keeps a lease away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    NotRead,
    Store(StoreErrorKind),
    Resync,
    Stopped,
}

impl Health {
    pub(super) fn of(buckets: &[u32]) -> Self {
        let fares = Fares { last_read: None, trouble: Some(Trouble::NotRead), told: None };
        Self { buckets: buckets.into(), wake: Arc::default(), fares: Mutex::new(fares) }
    }

    pub(super) fn buckets(&self) -> &[u32] {
        &self.buckets
    }

    pub(super) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    pub(super) fn was_read(&self, now: Duration, trouble: Option<Trouble>) {
        let mut fares = self.fares();
        (fares.last_read, fares.trouble) = (Some(now), trouble);
    }

    pub(super) fn is_in(&self, trouble: Trouble) {
        self.fares().trouble = Some(trouble);
    }

    fn fares(&self) -> MutexGuard<'_, Fares> {
        self.fares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    fn reason(self) -> &'static str {
        match self {
            Self::NotRead => "the revocation log has not been read yet",
            Self::Resync => {
                "the revocation log is being read from its beginning: the store has lost or replaced what was known of it"
            }
            Self::Stopped => {
                "the task that reads the revocation log has ended: the runtime in which the service was built is gone, or the task failed"
            }
            Self::Store(StoreErrorKind::Timeout) => "the store does not answer in time",
            Self::Store(StoreErrorKind::Layout) => "the store was set up with another layout",
            Self::Store(StoreErrorKind::Untrusted) => "the store's log cannot be understood",
            Self::Store(StoreErrorKind::Rejected) => "the store refuses to be read: check the rights of its user",
            Self::Store(_) => "the store is unavailable",
        }
    }
}

impl Replica {
    /// How the replica fares.
    pub(crate) fn status(&self) -> ReplicaStatus {
        let now = self.clock.elapsed();
        let (mut revocations, mut bytes) = (0, 0);
        for bucket in &self.buckets {
            let size = bucket.size();
            (revocations, bytes) = (revocations + size.0, bytes + size.1);
        }
        let all = self.feeds.iter().map(|feed| (self.state(feed, now), *feed.fares()));
        let (mut state, mut trouble, mut last_read) = (ReplicaState::Leased, None, Some(Duration::MAX));
        for (its_state, fares) in all {
            last_read = last_read.min(fares.last_read);
            if its_state as u8 > state as u8 {
                (state, trouble) = (its_state, fares.trouble);
            }
        }
        ReplicaStatus {
            state,
            reason: trouble.map(Trouble::reason).or((state != ReplicaState::Leased).then_some(CATCHING_UP)),
            staleness_bound_ms: saturating_millis(self.staleness),
            leased_buckets: self.buckets.iter().filter(|bucket| bucket.lease_end() > nanos(now)).count(),
            buckets: self.buckets.len(),
            revocations,
            bytes,
            last_read_ms: last_read.map(|at| saturating_millis(now.saturating_sub(at))),
        }
    }

    /// Tells the log if the state of a feed's buckets has changed.
    pub(super) fn tell(&self, feed: &Health) {
        let state = self.state(feed, self.clock.elapsed());
        let mut fares = feed.fares();
        let trouble = fares.trouble.filter(|_| state != ReplicaState::Leased);
        // A moment without lease, for a revocation made here, is nothing to tell.
        if fares.told == Some((state, trouble)) || (state == ReplicaState::Strict && trouble.is_none()) {
            return;
        }
        fares.told = Some((state, trouble));
        drop(fares);
        #[cfg(feature = "tracing")]
        self.log(feed, state, trouble);
    }

    #[cfg(feature = "tracing")]
    fn log(&self, feed: &Health, state: ReplicaState, trouble: Option<Trouble>) {
        let (now, is_leased) = (self.clock.elapsed(), state == ReplicaState::Leased);
        let mut concerned = feed.buckets.iter().filter(|bucket| is_leased || !self.is_leased(**bucket, now)).peekable();
        let first_bucket = concerned.peek().copied();
        let (buckets, reason) = (concerned.count(), trouble.map_or("", Trouble::reason));
        match state {
            ReplicaState::Leased => {
                let text = "requests are decided by the replica of the revocation log";
                tracing::info!(?state, buckets, first_bucket, "{text}");
            }
            _ if self.staleness.is_zero() => {
                tracing::debug!(?state, reason, buckets, first_bucket, "the revocation log is followed");
            }
            _ => {
                let text = "the replica of the revocation log does not decide for these buckets; their users' requests ask the store";
                tracing::warn!(?state, reason, buckets, first_bucket, "{text}");
            }
        }
    }

    fn state(&self, feed: &Health, now: Duration) -> ReplicaState {
        if feed.buckets.iter().all(|bucket| self.is_leased(*bucket, now)) {
            return ReplicaState::Leased;
        }
        match feed.fares().trouble {
            Some(Trouble::Store(_) | Trouble::Stopped) => ReplicaState::Unavailable,
            _ => ReplicaState::Strict,
        }
    }

    fn is_leased(&self, bucket: u32, now: Duration) -> bool {
        self.bucket(bucket).is_some_and(|bucket| bucket.lease_end() > nanos(now))
    }
}

const CATCHING_UP: &str =
    "a revocation has just been made here, or the lease has just ended; the next read of the log gives it back";

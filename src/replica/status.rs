//! The state of a replica and its reason, for `status` and for the log.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use super::{Replica, lease::nanos, task::bell_of};
use crate::{
    clock::saturating_millis,
    error::StoreErrorKind,
    store::{LogFeed, bell::Bell},
};

/// The way in which requests are decided now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReplicaState {
    /// The replica decides, without asking the store.
    Leased,
    /// The store decides, at every request: for all users, or for those of some buckets.
    Strict,
    /// The revocation log, or that of some buckets, cannot be read. Requests ask the store, and are
    /// refused (503) if that does not answer either.
    Unavailable,
}

/// The state of the local copy of the revocation log.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// The way in which requests are decided now.
    pub state: ReplicaState,
    /// The reason why the replica does not decide.
    pub reason: Option<&'static str>,
    /// Maximum age of the data that a local decision may use, in milliseconds.
    pub staleness_bound_ms: u64,
    /// Count of the buckets whose requests are decided here.
    pub leased_buckets: usize,
    /// Count of all buckets.
    pub buckets: usize,
    /// Count of the revocations in the deny set.
    pub revocations: usize,
    /// The memory that they take, in bytes.
    pub bytes: usize,
    /// Time since the log was last read, in milliseconds; of several servers, the longest. Absent
    /// if it never was.
    pub last_read_ms: Option<u64>,
}

/// The health of a task that reads the log.
#[derive(Debug)]
pub(super) struct Health {
    wake: Arc<Bell>,
    state: Mutex<FeedHealth>,
}

#[derive(Clone, Debug)]
struct FeedHealth {
    /// The time of the last read of each bucket.
    last_read: Vec<Option<Duration>>,
    trouble: Option<Trouble>,
    /// The state that was last reported.
    reported: Option<(ReplicaState, Option<Trouble>)>,
}

/// The cause of a missing lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    NotRead,
    Store(StoreErrorKind),
    Resync,
    Stopped,
}

impl Health {
    pub(super) fn of(feed: &dyn LogFeed) -> Self {
        let wake = bell_of(feed);
        let last_read = vec![None; wake.buckets().len()];
        let state = FeedHealth { last_read, trouble: Some(Trouble::NotRead), reported: None };
        Self { wake, state: Mutex::new(state) }
    }

    pub(super) fn buckets(&self) -> &[u32] {
        self.wake.buckets()
    }

    pub(super) fn wake(&self) -> Arc<Bell> {
        Arc::clone(&self.wake)
    }

    /// Notes that these buckets were read. Trouble of others stays.
    pub(super) fn was_read(&self, now: Duration, buckets: &[u32], trouble: Option<Trouble>) {
        let mut state = self.state();
        for (bucket, last) in self.buckets().iter().zip(&mut state.last_read) {
            if buckets.contains(bucket) {
                *last = Some(now);
            }
        }
        if trouble.is_some() || buckets.len() == self.buckets().len() {
            state.trouble = trouble;
        }
    }

    pub(super) fn is_in(&self, trouble: Trouble) {
        self.state().trouble = Some(trouble);
    }

    fn state(&self) -> MutexGuard<'_, FeedHealth> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trouble {
    fn reason(self) -> &'static str {
        match self {
            Self::NotRead => "the revocation log has not been read yet",
            Self::Resync => "the store has lost or replaced its revocation log; the node reads it anew",
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
    /// Returns the state of the replica.
    pub(crate) fn status(&self) -> ReplicaStatus {
        let now = self.clock.elapsed();
        let (mut revocations, mut bytes) = (0, 0);
        for bucket in &self.buckets {
            let size = bucket.size();
            (revocations, bytes) = (revocations + size.0, bytes + size.1);
        }
        let (mut state, mut trouble, mut last_read) = (ReplicaState::Leased, None, Some(Duration::MAX));
        for feed in &self.feeds {
            let its_state = self.state(feed, now);
            let health = feed.state();
            last_read = last_read.min(health.last_read.iter().copied().min().flatten());
            if its_state as u8 > state as u8 {
                (state, trouble) = (its_state, health.trouble);
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

    /// Logs the state of a feed's buckets if it has changed.
    pub(super) fn report(&self, feed: &Health) {
        let state = self.state(feed, self.clock.elapsed());
        let mut health = feed.state();
        let trouble = health.trouble.filter(|_| state != ReplicaState::Leased);
        // A moment without lease, because of a revocation made here, is not reported.
        if health.reported == Some((state, trouble)) || (state == ReplicaState::Strict && trouble.is_none()) {
            return;
        }
        health.reported = Some((state, trouble));
        drop(health);
        #[cfg(feature = "tracing")]
        self.log(feed, state, trouble);
    }

    #[cfg(feature = "tracing")]
    fn log(&self, feed: &Health, state: ReplicaState, trouble: Option<Trouble>) {
        let (now, is_leased) = (self.clock.elapsed(), state == ReplicaState::Leased);
        let mut concerned =
            feed.buckets().iter().filter(|bucket| is_leased || !self.is_leased(**bucket, now)).peekable();
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
        if feed.buckets().iter().all(|bucket| self.is_leased(*bucket, now)) {
            return ReplicaState::Leased;
        }
        match feed.state().trouble {
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

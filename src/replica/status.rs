//! The state of a replica and the reason for it, for `TokenService::status` and for log messages.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use super::{bucket::Bucket, lease::nanos};
use crate::{
    clock::saturating_millis,
    error::StoreErrorKind,
    observe::LeaseLoss,
    store::{LogFeed, bell::Bell},
};

const CATCHING_UP: &str =
    "this node has just made a revocation, or the lease has just ended; the next read of the log grants a new lease";

/// The way in which a node presently decides about tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReplicaState {
    /// The node has a lease for all users, so it decides by its copy of the revocation log. It asks
    /// the store only about some tokens, such as those that are older than the copy.
    Leased,
    /// The node lacks a lease for some or all users. It asks the store about the tokens of these
    /// users.
    Strict,
    /// The node lacks a lease for some or all users, because it cannot read their revocation log.
    /// It asks the store about their tokens. If the store does not answer either, the response to a
    /// request is 503.
    Unavailable,
}

/// The state of a node's copy of the revocation log.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// The way in which the node presently decides about tokens.
    pub state: ReplicaState,
    /// The reason for a missing lease; `None` if the state is [`ReplicaState::Leased`].
    pub reason: Option<&'static str>,
    /// Maximum age of the data that a local decision may use, in milliseconds.
    pub staleness_bound_ms: u64,
    /// Count of the buckets (partitions of the users) with a lease.
    pub leased_buckets: usize,
    /// Count of all buckets.
    pub buckets: usize,
    /// Count of the revocations that the node has in memory.
    pub revocations: usize,
    /// The memory of these revocations, in bytes.
    pub bytes: usize,
    /// The longest time since the last read of any bucket, in milliseconds. `None` until the node
    /// has read every bucket.
    pub last_read_ms: Option<u64>,
}

/// The health of all feeds of a replica.
pub(super) struct Monitor {
    /// One monitor for each feed, in the order of the feeds.
    pub(super) feeds: Box<[Arc<FeedMonitor>]>,
    staleness: Duration,
}

/// The health of one feed, and the bell that wakes its task.
#[derive(Debug)]
pub(super) struct FeedMonitor {
    pub(super) bell: Arc<Bell>,
    health: Mutex<FeedHealth>,
}

#[derive(Clone, Debug)]
struct FeedHealth {
    /// The time of the last read of each bucket.
    last_read: Vec<Option<Duration>>,
    cause: Option<Cause>,
    /// The last state and cause that the task reported.
    reported: Option<(ReplicaState, Option<Cause>)>,
}

/// The cause of a missing lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    NotRead,
    Store(StoreErrorKind),
    Resync,
    Stopped,
}

impl FeedMonitor {
    fn new(feed: &dyn LogFeed) -> Self {
        let bell = Bell::new(feed.buckets());
        let last_read = vec![None; bell.buckets().len()];
        let health = FeedHealth { last_read, cause: Some(Cause::NotRead), reported: None };
        Self { bell, health: Mutex::new(health) }
    }

    pub(super) fn buckets(&self) -> &[u32] {
        self.bell.buckets()
    }

    /// Notes a read of these buckets, and the cause of a missing lease. If `cause` is `None`, an
    /// earlier cause stays unless the read covered all buckets of the feed.
    pub(super) fn set_read(&self, now: Duration, buckets: &[u32], cause: Option<Cause>) {
        let mut health = self.health();
        for (bucket, last) in self.buckets().iter().zip(&mut health.last_read) {
            if buckets.contains(bucket) {
                *last = Some(now);
            }
        }
        if cause.is_some() || buckets.len() == self.buckets().len() {
            health.cause = cause;
        }
    }

    pub(super) fn set_cause(&self, cause: Cause) {
        self.health().cause = Some(cause);
    }

    fn health(&self) -> MutexGuard<'_, FeedHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, buckets: &[Bucket], now: Duration) -> ReplicaState {
        if self.buckets().iter().all(|bucket| is_leased(buckets, *bucket, now)) {
            return ReplicaState::Leased;
        }
        match self.health().cause {
            Some(Cause::Store(_) | Cause::Stopped) => ReplicaState::Unavailable,
            _ => ReplicaState::Strict,
        }
    }
}

impl Cause {
    /// Converts the cause to a reason for the observer. Returns `None` if the node has not read the
    /// log yet.
    fn loss(self) -> Option<LeaseLoss> {
        match self {
            Self::NotRead => None,
            Self::Store(kind) => Some(LeaseLoss::Store(kind)),
            Self::Resync => Some(LeaseLoss::Resync),
            Self::Stopped => Some(LeaseLoss::Stopped),
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::NotRead => "the revocation log has not been read yet",
            Self::Resync => "the store has lost or replaced its revocation log; the node reads it anew",
            Self::Stopped => {
                "the task that reads the revocation log has ended: \
                 the runtime in which the service was built is gone, or the task failed"
            }
            Self::Store(StoreErrorKind::Timeout) => "the store does not answer in time",
            Self::Store(StoreErrorKind::Layout) => "the store was set up with another layout",
            Self::Store(StoreErrorKind::Untrusted) => "the store's log cannot be understood",
            Self::Store(StoreErrorKind::Rejected) => "the store refuses to be read: check the rights of its user",
            Self::Store(_) => "the store is unavailable",
        }
    }
}

impl Monitor {
    pub(super) fn new(feeds: &[Box<dyn LogFeed>], staleness: Duration) -> Self {
        Self { feeds: feeds.iter().map(|feed| Arc::new(FeedMonitor::new(&**feed))).collect(), staleness }
    }

    /// Returns the bell of the feed that reads this bucket.
    pub(super) fn bell_of(&self, bucket: u32) -> Option<Arc<Bell>> {
        let feed = self.feeds.iter().find(|feed| feed.buckets().contains(&bucket))?;
        Some(Arc::clone(&feed.bell))
    }

    pub(super) fn status(&self, all: &[Bucket], now: Duration) -> ReplicaStatus {
        let (mut revocations, mut bytes) = (0, 0);
        for bucket in all {
            let size = bucket.size();
            (revocations, bytes) = (revocations + size.0, bytes + size.1);
        }
        let (mut state, mut cause, mut last_read) = (ReplicaState::Leased, None, Some(Duration::MAX));
        for feed in &self.feeds {
            let feed_state = feed.state(all, now);
            let health = feed.health();
            last_read = last_read.min(health.last_read.iter().copied().min().flatten());
            if feed_state as u8 > state as u8 {
                (state, cause) = (feed_state, health.cause);
            }
        }
        ReplicaStatus {
            state,
            reason: cause.map(Cause::reason).or((state != ReplicaState::Leased).then_some(CATCHING_UP)),
            staleness_bound_ms: saturating_millis(self.staleness),
            leased_buckets: all.iter().filter(|bucket| bucket.lease_end() > nanos(now)).count(),
            buckets: all.len(),
            revocations,
            bytes,
            last_read_ms: last_read.map(|at| saturating_millis(now.saturating_sub(at))),
        }
    }

    /// Logs the state of a feed's buckets if the state or its cause has changed. Returns the reason
    /// if the node has lost a lease.
    #[cfg_attr(not(feature = "tracing"), allow(clippy::unused_self, reason = "only for log messages"))]
    pub(super) fn report(&self, feed: &FeedMonitor, all: &[Bucket], now: Duration) -> Option<LeaseLoss> {
        let state = feed.state(all, now);
        let mut health = feed.health();
        let cause = health.cause.filter(|_| state != ReplicaState::Leased);
        // A revocation by this node may end the lease for a moment: no reason for a report.
        if health.reported == Some((state, cause)) || (state == ReplicaState::Strict && cause.is_none()) {
            return None;
        }
        let before = health.reported.replace((state, cause));
        drop(health);
        #[cfg(feature = "tracing")]
        self.log(feed, all, now, state, cause);
        before.filter(|(before, _)| *before == ReplicaState::Leased).and(cause)?.loss()
    }

    #[cfg(feature = "tracing")]
    fn log(&self, feed: &FeedMonitor, all: &[Bucket], now: Duration, state: ReplicaState, cause: Option<Cause>) {
        let concerns = |bucket: &&u32| state == ReplicaState::Leased || !is_leased(all, **bucket, now);
        let mut concerned = feed.buckets().iter().filter(concerns).peekable();
        let first_bucket = concerned.peek().copied();
        let (buckets, reason) = (concerned.count(), cause.map_or("", Cause::reason));
        match state {
            ReplicaState::Leased => {
                let text = "the replica of the revocation log decides requests";
                tracing::info!(?state, buckets, first_bucket, "{text}");
            }
            _ if self.staleness.is_zero() => {
                tracing::debug!(?state, reason, buckets, first_bucket, "the node reads the log to republish losses");
            }
            _ => {
                let text = "the replica of the revocation log has no lease on these buckets; \
                            the node asks the store about their users' requests";
                tracing::warn!(?state, reason, buckets, first_bucket, "{text}");
            }
        }
    }
}

fn is_leased(buckets: &[Bucket], bucket: u32, now: Duration) -> bool {
    let bucket = usize::try_from(bucket).ok().and_then(|number| buckets.get(number));
    bucket.is_some_and(|bucket| bucket.lease_end() > nanos(now))
}

//! The local copy of the revocation log, and the lease under which it decides: no request asks the store while the lease lives.
//!
//! | file | subject |
//! |--|--|
//! | `leased` | the order in which requests read the lease and what is known, and in which both are written |
//! | `denied` | the revocations known: exact, bounded, in little memory; the bytes of each are `denied/stored`'s, those of an id `denied/id`'s |
//! | `reader` | the log as it is read: chain, horizon, lease; no I/O and no clock |
//! | `bucket` | these three together, for one bucket |
//! | `follow` | the task that feeds the buckets of one server |
//! | `restore` | the task that tells the store what it has lost |
//!
//! # Why the bound holds
//!
//! A lease is granted to `T0 + d`, where `T0` is a moment before the question was sent to whose answer all is applied. A request decides only while
//! the lease lives, by what was known when it was granted, or later. So whoever is accepted at a moment `t` was not revoked by `T0 > t - d`: whatever was
//! confirmed before `T0` is in the answer. Nothing that may fail between node and store lengthens that: it can only keep the next lease from being
//! granted, and then requests ask the store. The clock is this node's own, counts the time for which the machine is suspended, and is never set
//! ([`Clock::elapsed`]).
//!
//! What this node itself revokes it knows before it tells that it is done: so what one request revoked, the next one on this node refuses. And it is not
//! lost with a store that fails before anybody has read its log.
//!
//! # What it does not know
//!
//! A session of which the log does not speak is taken as alive. Every way in which a session ends before its own expiry is logged, and no access
//! token outlives its session; but a session that was never opened, for which somebody with the signing key has made a token, is found by the
//! store alone.

mod bucket;
mod denied;
mod follow;
mod leased;
mod reader;
mod report;
mod restore;
mod sync {
    pub(super) use std::sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    };
}

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

pub use self::report::{ReplicaState, ReplicaStatus};
pub(crate) use self::{bucket::Verdict, follow::Followers};
use self::{
    bucket::{Bucket, Facts, SessionNames},
    denied::{Kind, Name, Names},
    report::Health,
};
use crate::{
    clock::{Clock, Timestamp, saturating_millis},
    store::{ForeignId, ForeignName, LogFeed, LogPosition, Revocation, Revoked, TokenStore},
};

/// The most memory that the ids of revocations take, of all buckets: some 4 to 8 million sessions. (Their index comes on top, some 20 bytes for
/// each.) Beyond it the oldest are forgotten, and tokens of their time are asked about in the store.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// More than any store has.
const MOST_BUCKETS: u32 = 1 << 16;

/// The local copy of a store's revocations.
pub(crate) struct Replica {
    store: Arc<dyn TokenStore>,
    clock: Arc<dyn Clock>,
    names: Names,
    buckets: Box<[Bucket]>,
    staleness: Duration,
    /// The longest staleness that the store has ever told of, in ms: a store that loses its data has forgotten it, and nodes go by it until they
    /// notice.
    longest_staleness: AtomicU64,
    leeway: Duration,
    /// One for each task that reads.
    feeds: Box<[Health]>,
    /// For each bucket what wakes the task that reads it.
    wakes: Box<[Arc<Notify>]>,
    /// Wakes the task that restores.
    lost: Notify,
    on_notice: OnNotice,
}

/// Is told what an operator should know.
pub(crate) type OnNotice = Box<dyn Fn(Notice) + Send + Sync>;

/// What has happened to the store's memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    /// Revocations that this node knows are missing in the store's log.
    Lost(usize),
    /// The store has been told so many of them again.
    Restored(usize),
}

/// How a replica works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// How old what is known may be when it is decided by; zero: everything is asked of the store, and the log is followed only to tell the store what it
    /// has lost.
    pub(crate) staleness: Duration,
    /// How often the log is read if nothing happens.
    pub(crate) interval: Duration,
    /// How long a read may take.
    pub(crate) deadline: Duration,
    /// How far the clocks of issuers and this node may differ.
    pub(crate) leeway: Duration,
}

/// What a token says of itself, as far as its revocation goes by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bearer<'a> {
    pub(crate) subject: &'a str,
    pub(crate) session_id: &'a str,
    pub(crate) token_id: &'a str,
    pub(crate) generation: u64,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Where a token's revocation stands, found once for a token: its names' buckets and hashes.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// One of our own.
    Session(SessionRoute),
    /// Another issuer's: by each name under which it may be denied.
    Foreign(Arc<[(ForeignName, u32)]>),
}

/// The bucket of a subject, and the hashes of its name, its session's and its token's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionRoute {
    bucket: u32,
    subject: u32,
    session: u32,
    token: u32,
}

impl Replica {
    fn new(
        store: Arc<dyn TokenStore>,
        clock: Arc<dyn Clock>,
        feeds: &[Box<dyn LogFeed>],
        settings: &Settings,
        on_notice: OnNotice,
    ) -> Self {
        let names = Names::default();
        let count = store.buckets().clamp(1, MOST_BUCKETS);
        let share = MAX_BYTES / usize::try_from(count).unwrap_or(1);
        let buckets: Box<[_]> = (0..count).map(|_| Bucket::new(names.clone(), settings.staleness, share)).collect();
        let feeds: Box<[_]> = feeds.iter().map(|feed| Health::of(feed.buckets())).collect();
        let wake_of = |bucket| feeds.iter().find(|health| health.buckets().contains(&bucket)).map(Health::wake);
        let wakes = (0..count).map(|bucket| wake_of(bucket).unwrap_or_default()).collect();
        let Settings { staleness, leeway, .. } = *settings;
        let longest_staleness = AtomicU64::new(saturating_millis(staleness));
        let lost = Notify::new();
        Self { store, clock, names, buckets, staleness, longest_staleness, leeway, feeds, wakes, lost, on_notice }
    }

    /// The longest time for which any node of which this one has heard may decide by what it knew.
    pub(crate) fn longest_staleness(&self) -> Duration {
        Duration::from_millis(self.longest_staleness.load(Ordering::Relaxed))
    }

    /// Whether it may ever decide.
    pub(crate) fn decides(&self) -> bool {
        !self.staleness.is_zero()
    }

    /// Where the revocation of one of our own tokens would stand.
    pub(crate) fn route(&self, bearer: &Bearer<'_>) -> Route {
        let Bearer { subject, session_id, token_id, .. } = *bearer;
        Route::Session(SessionRoute {
            bucket: self.store.bucket_of(subject),
            subject: self.names.hash(Kind::Subject, subject, ""),
            session: self.names.hash(Kind::Session, subject, session_id),
            token: self.names.hash(Kind::Token, subject, token_id),
        })
    }

    /// Where the revocation of another issuer's token would stand.
    pub(crate) fn foreign_route(&self, issuer: &str, ids: impl IntoIterator<Item = ForeignId>) -> Route {
        let names = ids.into_iter().map(|id| {
            let name = self.store.foreign_name(issuer, &id);
            let hash = self.names.hash(Kind::Foreign, &name.id, "");
            (name, hash)
        });
        Route::Foreign(names.collect())
    }

    /// Whether a token may go on that was accepted here before: nothing has been learnt since that might concern it. No I/O, no lock, no allocation.
    ///
    /// `note` is where [`verdict`](Self::verdict) has noted that it was, of this token and by this replica.
    #[inline]
    pub(crate) fn still_accepts(&self, route: &Route, note: &AtomicU64) -> bool {
        match route {
            Route::Session(route) => {
                let bucket = self.bucket(route.bucket);
                bucket.is_some_and(|bucket| bucket.still_accepts(note, || nanos(self.clock.elapsed())))
            }
            // By several buckets at once.
            Route::Foreign(_) => false,
        }
    }

    /// What is known of a token. No I/O, no allocation.
    ///
    /// `alive_at` is when the store last said that it is not revoked, the epoch if it was never asked. Whatever was revoked before the horizon, a token that was
    /// alive after it was not: so one question is enough for each token of before.
    pub(crate) fn verdict(&self, route: &Route, bearer: &Bearer<'_>, alive_at: Timestamp, note: &AtomicU64) -> Verdict {
        let now = || nanos(self.clock.elapsed());
        let life = bearer.expires_at.saturating_since(bearer.issued_at).saturating_add(self.leeway);
        match route {
            Route::Session(route) => {
                let Some(bucket) = self.bucket(route.bucket) else { return Verdict::Unknown };
                let names = SessionNames {
                    subject: Name::hashed(route.subject, Kind::Subject, bearer.subject, ""),
                    session: Name::hashed(route.session, Kind::Session, bearer.subject, bearer.session_id),
                    token: Name::hashed(route.token, Kind::Token, bearer.subject, bearer.token_id),
                };
                let facts = Facts { alive_at: bearer.issued_at.max(alive_at), life };
                bucket.session_verdict(facts, names, bearer.generation, note, now)
            }
            Route::Foreign(names) => {
                // Another issuer's clock may be ahead of the store's.
                let issued_at = bearer.issued_at.saturating_sub(self.leeway);
                let facts = Facts { alive_at: issued_at.max(alive_at), life };
                let verdicts = names.iter().map(|(name, hash)| match self.bucket(name.bucket) {
                    Some(bucket) => {
                        bucket.foreign_verdict(facts, Name::hashed(*hash, Kind::Foreign, &name.id, ""), issued_at, now)
                    }
                    None => Verdict::Unknown,
                });
                verdicts.max().unwrap_or(Verdict::Unknown)
            }
        }
    }

    /// The store has told that one of our own tokens is revoked, or its session unknown. From here on it is refused without being asked about: once refused, a token stays so on
    /// this node, though an answer about the log that was late may grant a lease under which its revocation is not known yet; and whoever repeats
    /// a revoked token does not load the store.
    ///
    /// What is unknown is the session, whatever token of it was shown; what is revoked may be the token alone.
    pub(crate) fn learn_refusal(&self, route: &Route, bearer: &Bearer<'_>, is_unknown: bool) {
        if let Route::Session(SessionRoute { bucket, .. }) = route
            && let Some(bucket) = self.bucket(*bucket)
        {
            let subject = bearer.subject.to_owned();
            let refused = if is_unknown {
                Revocation::Session { subject, sid: bearer.session_id.to_owned() }
            } else {
                Revocation::Token { subject, jti: bearer.token_id.to_owned() }
            };
            bucket.learn_refusal(&refused, bearer.expires_at.saturating_add(self.leeway));
        }
    }

    /// The store has confirmed what this node has revoked. Every request that starts from now on is refused what it concerns.
    pub(crate) fn has_revoked(&self, Revoked { now, revocation, until, position, .. }: &Revoked) {
        let bucket = self.bucket(position.bucket);
        if bucket.is_some_and(|bucket| bucket.has_revoked(revocation, *now, *until)) {
            self.wake(position.bucket);
        }
    }

    /// The store has ended a session in something else that this node has asked for.
    pub(crate) fn has_ended(&self, subject: &str, session_id: &str, at: Timestamp, until: Timestamp) {
        let number = self.store.bucket_of(subject);
        let ended = Revocation::Session { subject: subject.to_owned(), sid: session_id.to_owned() };
        if self.bucket(number).is_some_and(|bucket| bucket.has_revoked(&ended, at, until)) {
            self.wake(number);
        }
    }

    /// No request that starts from now on is decided without what stands at this place of the log.
    pub(crate) fn must_see(&self, position: &LogPosition) {
        if let Some(bucket) = self.bucket(position.bucket) {
            bucket.must_see_position(position);
        }
        self.wake(position.bucket);
    }

    /// Whether what stands at this place of the log has been applied.
    pub(crate) fn has_seen(&self, position: &LogPosition) -> bool {
        self.bucket(position.bucket).is_some_and(|bucket| bucket.has_applied(position))
    }

    fn wake(&self, bucket: u32) {
        if let Some(wake) = usize::try_from(bucket).ok().and_then(|bucket| self.wakes.get(bucket)) {
            wake.notify_one();
        }
    }

    #[inline]
    fn bucket(&self, number: u32) -> Option<&Bucket> {
        self.buckets.get(usize::try_from(number).ok()?)
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("staleness", &self.staleness).finish_non_exhaustive()
    }
}

fn nanos(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

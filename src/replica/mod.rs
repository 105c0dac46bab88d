//! The local copy of the revocation log, and the lease under which the node decides: while the
//! lease lives, no request asks the store.
//!
//! | file | subject |
//! |--|--|
//! | `lease` | the order in which lease and data are read and written |
//! | `deny_set` | the deny set: exact, bounded, in little memory |
//! | `log_reader` | the log as it is read: chain and lease; no I/O and no clock |
//! | `history` | the span that was read without a hole, its horizon, the way back after a break |
//! | `bucket` | these together, for one bucket |
//! | `pace` | when which bucket is read, and how fast older entries are read back |
//! | `task` | the task that feeds the buckets of one server |
//! | `horizon_checks` | the questions to the store that a raised horizon causes |
//! | `republish` | the task that republishes what the store has lost |
//!
//! # Why the bound holds
//!
//! A lease is granted to `T0 + d`. `T0` is a moment before the node sent the question whose answer
//! it applies. A request decides only while the lease lives, by data of the time of the grant or
//! later. So a token that is accepted at a moment `t` was not revoked by `T0 > t - d`. Every
//! revocation that was confirmed before `T0` is in the answer. No fault between node and store
//! lengthens that: it can only prevent the next lease, and then requests ask the store. The clock
//! is this node's own, counts the time for which the machine is suspended, and is never set
//! ([`Clock::elapsed`](crate::clock::Clock::elapsed)).
//!
//! A node learns its own revocations before it reports that they are done. The next request on this
//! node refuses what the last one has revoked. And they are not lost with a store that fails before
//! any node has read its log.
//!
//! # Limits
//!
//! A session that the log does not name counts as alive. Every way in which a session ends before
//! its own expiry is logged, and no access token outlives its session. But a token for a session
//! that was never opened, made by somebody with the signing key, is found by the store alone.

mod bucket;
mod deny_set;
mod epoch;
mod history;
mod horizon_checks;
mod lease;
mod log_reader;
mod pace;
mod republish;
mod status;
mod sync;
mod task;
mod verdict;

use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

pub use self::status::{ReplicaState, ReplicaStatus};
use self::{
    bucket::{Bucket, BucketConfig, SessionNames},
    deny_set::{EntryKind, EntryName, NameHasher},
    horizon_checks::Questions,
    lease::nanos,
    status::Health,
    verdict::TokenTimes,
};
pub(crate) use self::{
    task::Followers,
    verdict::{Alive, Bearer, Verdict},
};
use crate::{
    clock::{Clock, Timestamp, saturating_millis},
    ids::{SessionId, Subject},
    store::{
        Denylist, ExternalId, ExternalName, LogFeed, LogPosition, Logged, Revocation, RevocationLog, ServerId,
        SessionStore, bell::Bell,
    },
};

/// Upper bound of the memory that the ids of revocations take, in all buckets: some 4 to 8 million
/// sessions. (Their index adds some 20 bytes for each.) Beyond it the oldest are forgotten, and the
/// node asks the store about tokens of their time.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// More than any store has.
const MOST_BUCKETS: u32 = 1 << 16;

/// The local copy of a store's revocations.
pub(crate) struct Replica {
    source: Source,
    clock: Arc<dyn Clock>,
    hasher: NameHasher,
    buckets: Box<[Bucket]>,
    staleness: Duration,
    /// The longest staleness that the store has ever reported, in ms. A store that loses its data
    /// has forgotten it, and nodes keep using it until they notice.
    longest_staleness: AtomicU64,
    /// The longest failover bound that the store has ever reported, in ms.
    longest_failover: AtomicU64,
    leeway: Duration,
    /// Counts the eras of all buckets.
    eras: Arc<AtomicU64>,
    questions: Questions,
    /// One for each task that reads.
    feeds: Box<[Health]>,
    /// The bell of each bucket, which wakes the task that reads that bucket.
    wakes: Box<[Arc<Bell>]>,
    /// Wakes the task that republishes.
    lost: Notify,
    /// True once the node has logged that entries of the log were skipped.
    has_skipped: AtomicBool,
    on_notice: OnNotice,
}

/// The store whose revocations a replica follows.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) log: Arc<dyn RevocationLog>,
    /// Present if other issuers' tokens are checked.
    pub(crate) denylist: Option<Arc<dyn Denylist>>,
}

/// A callback for events that an operator should know.
pub(crate) type OnNotice = Box<dyn Fn(Notice) + Send + Sync>;

/// A change of the store's memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    /// The count of revocations that this node holds and the store's log lacks.
    Lost(usize),
    /// The count of those that this node has republished.
    Restored(usize),
}

/// Configuration of a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Maximum age of the data that a local decision may use. Zero: every request asks the store,
    /// and the node follows the log only to republish what the store loses.
    pub(crate) staleness: Duration,
    /// The interval of reads if nothing happens.
    pub(crate) interval: Duration,
    /// The deadline of one read.
    pub(crate) deadline: Duration,
    /// The largest difference between the clocks of issuers and of this node.
    pub(crate) leeway: Duration,
    /// The highest rate, in tokens a second, of questions about tokens that were issued before the
    /// horizon.
    pub(crate) questions: NonZeroU32,
}

/// The buckets and hashes of a token's names, computed once for a token.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// A token of our own.
    Session(SessionRoute),
    /// Another issuer's token: each name under which it may be denied.
    Foreign(Arc<[(ExternalName, u32)]>),
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
        source: Source,
        clock: Arc<dyn Clock>,
        feeds: &[Box<dyn LogFeed>],
        settings: &Settings,
        on_notice: OnNotice,
    ) -> Self {
        let hasher = NameHasher::default();
        let count = source.log.buckets().clamp(1, MOST_BUCKETS);
        let share = MAX_BYTES / usize::try_from(count).unwrap_or(1);
        let Settings { staleness, leeway, questions, .. } = *settings;
        let eras = Arc::new(AtomicU64::new(0));
        let config = BucketConfig { staleness, margin: source.log.clock_margin(), leeway, eras: Arc::clone(&eras) };
        let buckets: Box<[_]> = (0..count).map(|_| Bucket::new(hasher.clone(), config.clone(), share)).collect();
        let feeds: Box<[_]> = feeds.iter().map(|feed| Health::of(&**feed)).collect();
        let bell_of = |bucket| feeds.iter().find(|health| health.buckets().contains(&bucket)).map(Health::wake);
        let wakes = (0..count).map(|bucket| bell_of(bucket).unwrap_or_else(|| Bell::of(&[]))).collect();
        Self {
            source,
            clock,
            hasher,
            buckets,
            staleness,
            longest_staleness: AtomicU64::new(saturating_millis(staleness)),
            longest_failover: AtomicU64::new(0),
            leeway,
            eras,
            questions: Questions::new(questions),
            feeds,
            wakes,
            lost: Notify::new(),
            has_skipped: AtomicBool::new(false),
            on_notice,
        }
    }

    /// Returns the longest time for which any node known to this one may decide by old data.
    pub(crate) fn longest_staleness(&self) -> Duration {
        Duration::from_millis(self.longest_staleness.load(Ordering::Relaxed))
    }

    /// Returns true if the replica may ever decide.
    pub(crate) fn decides(&self) -> bool {
        !self.staleness.is_zero()
    }

    /// Returns the route of one of our own tokens.
    pub(crate) fn route(&self, bearer: &Bearer<'_>) -> Route {
        let Bearer { subject, session_id, token_id, .. } = *bearer;
        Route::Session(SessionRoute {
            bucket: self.source.log.bucket_of(subject),
            subject: self.hasher.hash(EntryKind::Subject, subject.as_str(), ""),
            session: self.hasher.hash(EntryKind::Session, subject.as_str(), session_id),
            token: self.hasher.hash(EntryKind::Token, subject.as_str(), token_id),
        })
    }

    /// Returns the route of another issuer's token.
    pub(crate) fn foreign_route(&self, issuer: &str, ids: impl IntoIterator<Item = ExternalId>) -> Route {
        let names = ids.into_iter().filter_map(|id| {
            let name = self.source.denylist.as_ref()?.log_name(issuer, &id);
            let hash = self.hasher.hash(EntryKind::External, &name.id, "");
            Some((name, hash))
        });
        Route::Foreign(names.collect())
    }

    /// Returns true if the token was accepted here before, and the bucket has since learnt nothing
    /// that might concern it. No I/O, no lock, no allocation.
    ///
    /// `note` is the cell into which [`verdict`](Self::verdict) of this replica wrote when it
    /// accepted this token.
    #[inline]
    pub(crate) fn still_accepts(&self, route: &Route, note: &AtomicU64) -> bool {
        match route {
            Route::Session(route) => {
                let bucket = self.bucket(route.bucket);
                bucket.is_some_and(|bucket| bucket.still_accepts(note, || nanos(self.clock.elapsed())))
            }
            // Its names lie in several buckets at once.
            Route::Foreign(_) => false,
        }
    }

    /// Returns the verdict of the deny set on a token. No I/O.
    ///
    /// `alive` is the store's last confirmation that it is not revoked. A token that was alive
    /// after the horizon was not revoked before it: so one question is enough for each older token.
    pub(crate) fn verdict(&self, route: &Route, bearer: &Bearer<'_>, alive: Alive, note: &AtomicU64) -> Verdict {
        match self.verdict_given(route, bearer, alive, note) {
            Verdict::BeforeHorizon => match self.questions.confirmed(bearer) {
                Some(alive) => self.verdict_given(route, bearer, alive, note),
                None => Verdict::BeforeHorizon,
            },
            verdict => verdict,
        }
    }

    fn verdict_given(&self, route: &Route, bearer: &Bearer<'_>, alive: Alive, note: &AtomicU64) -> Verdict {
        let now = || nanos(self.clock.elapsed());
        let lifetime = bearer.expires_at.saturating_since(bearer.issued_at).saturating_add(self.leeway);
        let times = TokenTimes { issued_at: bearer.issued_at, alive, lifetime };
        match route {
            Route::Session(route) => {
                let Some(bucket) = self.bucket(route.bucket) else { return Verdict::Unknown };
                let names = SessionNames {
                    subject: EntryName::hashed(route.subject, EntryKind::Subject, bearer.subject.as_str(), ""),
                    session: EntryName::hashed(
                        route.session,
                        EntryKind::Session,
                        bearer.subject.as_str(),
                        bearer.session_id,
                    ),
                    token: EntryName::hashed(route.token, EntryKind::Token, bearer.subject.as_str(), bearer.token_id),
                };
                bucket.session_verdict(times, names, bearer.generation, note, now)
            }
            Route::Foreign(names) => {
                let verdicts = names.iter().map(|(name, hash)| match self.bucket(name.bucket) {
                    Some(bucket) => {
                        bucket.external_verdict(times, EntryName::hashed(*hash, EntryKind::External, &name.id, ""), now)
                    }
                    None => Verdict::Unknown,
                });
                verdicts.max().unwrap_or(Verdict::Unknown)
            }
        }
    }

    /// Returns true if the store may be asked about one more token from before the horizon.
    pub(crate) fn admits_question(&self) -> bool {
        self.questions.admit(nanos(self.clock.elapsed()))
    }

    /// Records the store's confirmation, at its time `at`, that a token is not revoked. It counts
    /// only if it came from the server whose log this node reads. *A node follows the log of one
    /// server, while a strict read still reaches the one that was replaced. The token would be
    /// accepted for good.*
    pub(crate) fn confirm(&self, route: &Route, bearer: &Bearer<'_>, at: Timestamp, server: Option<ServerId>) -> Alive {
        // Loaded before the servers are compared: an era that begins in between voids the
        // confirmation.
        let eras = self.eras.load(Ordering::Acquire);
        let follows = |bucket: u32, server| self.bucket(bucket).is_some_and(|bucket| bucket.follows(server));
        let counts = server.is_some_and(|server| match route {
            Route::Session(route) => follows(route.bucket, server),
            Route::Foreign(names) => names.iter().all(|(name, _)| follows(name.bucket, server)),
        });
        if !counts {
            return Alive::default();
        }
        let alive = Alive { at, eras };
        self.questions.confirm(bearer, alive);
        alive
    }

    /// Notes that the store has refused one of our own tokens. From here on it is refused without a
    /// question. A late answer about the log may grant a lease before the node knows the
    /// revocation. And a client that repeats a revoked token does not load the store.
    pub(crate) fn record_refusal(&self, route: &Route, bearer: &Bearer<'_>) {
        if let Route::Session(SessionRoute { bucket, .. }) = route
            && let Some(bucket) = self.bucket(*bucket)
        {
            let (subject, jti) = (bearer.subject.into(), bearer.token_id.into());
            let until = bearer.expires_at.saturating_add(self.leeway);
            bucket.record_refusal(&Revocation::Token { subject, jti }, until);
        }
    }

    /// Notes that the store does not know the session. The note is brief, because the store may
    /// know it again. Its data may be on their way back, or an empty server may have answered for a
    /// moment.
    pub(crate) fn note_unknown(&self, bearer: &Bearer<'_>) {
        self.questions.note_unknown(bearer, self.clock.elapsed());
    }

    /// Returns true if the store did not know the session a moment ago.
    pub(crate) fn is_unknown(&self, bearer: &Bearer<'_>) -> bool {
        self.questions.is_unknown(bearer, self.clock.elapsed())
    }

    /// Adds a revocation of this node that the store has confirmed. It holds for every request that
    /// starts from now on.
    ///
    /// The entry of a repeated revocation may be in a part of the log that was read long ago. The
    /// replica would await it in the log, and take it for lost.
    pub(crate) fn has_revoked(&self, now: Timestamp, logged: &Logged) {
        let Logged { revocation, until, position, .. } = logged;
        let bucket = self.bucket(position.bucket).filter(|bucket| !bucket.has_applied_own(revocation, position));
        if bucket.is_some_and(|bucket| bucket.record_revocation(revocation, now, *until, position)) {
            self.wake(position.bucket);
        }
    }

    /// Adds the end of a session that the store has ended in another operation of this node.
    pub(crate) fn has_ended(&self, subject: &Subject, session_id: &SessionId, at: Timestamp, until: Timestamp) {
        let number = self.source.log.bucket_of(subject);
        let ended = Revocation::Session { subject: subject.into(), sid: session_id.into() };
        // The position of its entry is not known: it is judged once the whole log is read.
        let position = LogPosition { bucket: number, incarnation: String::new(), sequence: 0 };
        if self.bucket(number).is_some_and(|bucket| bucket.record_revocation(&ended, at, until, &position)) {
            self.wake(number);
        }
    }

    /// Ends the lease until the entry at this position of the log is read.
    pub(crate) fn must_see(&self, position: &LogPosition) {
        if let Some(bucket) = self.bucket(position.bucket) {
            bucket.require_position(position);
        }
        self.wake(position.bucket);
    }

    /// Returns true if the entry at this position of the log has been applied.
    pub(crate) fn has_seen(&self, position: &LogPosition) -> bool {
        self.bucket(position.bucket).is_some_and(|bucket| bucket.has_applied(position))
    }

    fn wake(&self, bucket: u32) {
        if let Some(wake) = usize::try_from(bucket).ok().and_then(|bucket| self.wakes.get(bucket)) {
            wake.ring(bucket);
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

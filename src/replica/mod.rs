//! The local copy of the revocation log, and the lease under which it decides: no request asks the store while the lease
//! lives.
//!
//! | file | subject |
//! |--|--|
//! | `leased` | the order in which requests read the lease and the data, and in which both are written |
//! | `denied` | the revocations that are known: exact, bounded, in little memory |
//! | `reader` | the log as it is read: chain and lease; no I/O and no clock |
//! | `history` | the span that was read without a hole, its horizon, and the way back to it after a break |
//! | `bucket` | these together, for one bucket |
//! | `pace` | when which bucket is read, and how fast older entries are read back |
//! | `follow` | the task that feeds the buckets of one server |
//! | `questions` | the questions to the store that a raised horizon causes |
//! | `restore` | the task that republishes what the store has lost |
//!
//! # Why the bound holds
//!
//! A lease is granted to `T0 + d`, where `T0` is a moment before the question was sent whose answer is applied. A request
//! decides only while the lease lives, by data of the time of the grant or later. So a token that is accepted at a
//! moment `t` was not revoked by `T0 > t - d`: whatever was confirmed before `T0` is in the answer. No fault between node
//! and store lengthens that: it can only prevent the next lease, and then requests ask the store. The clock is this
//! node's own, counts the time for which the machine is suspended, and is never set
//! ([`Clock::elapsed`](crate::clock::Clock::elapsed)).
//!
//! A node knows its own revocations before it reports that they are done: what one request has revoked, the next one on
//! this node refuses. And they are not lost with a store that fails before anybody has read its log.
//!
//! # What it does not know
//!
//! A session that the log does not name counts as alive. Every way in which a session ends before its own expiry is
//! logged, and no access token outlives its session. But a session that was never opened, for which somebody with the
//! signing key has made a token, is found by the store alone.

mod bucket;
mod denied;
mod follow;
mod history;
mod leased;
mod pace;
mod questions;
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
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

pub use self::report::{ReplicaState, ReplicaStatus};
pub(crate) use self::{
    bucket::{Alive, Verdict},
    follow::Followers,
};
use self::{
    bucket::{Bucket, Facts, Rules, SessionNames},
    denied::{Kind, Name, Names},
    questions::Questions,
    report::Health,
};
use crate::{
    clock::{Clock, Timestamp, saturating_millis},
    store::{ForeignId, ForeignName, LogFeed, LogPosition, Revocation, Revoked, ServerId, TokenStore, bell::Bell},
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
    /// The longest bound of a failover that the store has ever told, in ms.
    longest_failover: AtomicU64,
    leeway: Duration,
    /// Counts the eras of all buckets.
    eras: Arc<AtomicU64>,
    questions: Questions,
    /// One for each task that reads.
    feeds: Box<[Health]>,
    /// For each bucket the bell that wakes the task that reads it.
    wakes: Box<[Arc<Bell>]>,
    /// Wakes the task that restores.
    lost: Notify,
    /// Entries of the log were left out, and that was logged.
    has_skipped: AtomicBool,
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
    /// How many tokens a second may be asked of the store because they were issued before the log was followed.
    pub(crate) questions: NonZeroU32,
}

/// What a token says of itself, as far as its revocation goes by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bearer<'a> {
    pub(crate) issuer: &'a str,
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
        let Settings { staleness, leeway, questions, .. } = *settings;
        let eras = Arc::new(AtomicU64::new(0));
        let rules = Rules { staleness, margin: store.clock_margin(), leeway, eras: Arc::clone(&eras) };
        let buckets: Box<[_]> = (0..count).map(|_| Bucket::new(names.clone(), rules.clone(), share)).collect();
        let feeds: Box<[_]> = feeds.iter().map(|feed| Health::of(&**feed)).collect();
        let bell_of = |bucket| feeds.iter().find(|health| health.buckets().contains(&bucket)).map(Health::wake);
        let wakes = (0..count).map(|bucket| bell_of(bucket).unwrap_or_else(|| Bell::of(&[]))).collect();
        Self {
            store,
            clock,
            names,
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

    /// Returns the longest time for which any node known to this one may decide by what it knew.
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

    /// Judges a token by what this node knows. No I/O.
    ///
    /// `alive` is the store's last confirmation that it is not revoked. Whatever was revoked before the horizon, a token
    /// that was alive after it was not: so one question is enough for each token from before.
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
        let life = bearer.expires_at.saturating_since(bearer.issued_at).saturating_add(self.leeway);
        let facts = Facts { issued_at: bearer.issued_at, alive, life };
        match route {
            Route::Session(route) => {
                let Some(bucket) = self.bucket(route.bucket) else { return Verdict::Unknown };
                let names = SessionNames {
                    subject: Name::hashed(route.subject, Kind::Subject, bearer.subject, ""),
                    session: Name::hashed(route.session, Kind::Session, bearer.subject, bearer.session_id),
                    token: Name::hashed(route.token, Kind::Token, bearer.subject, bearer.token_id),
                };
                bucket.session_verdict(facts, names, bearer.generation, note, now)
            }
            Route::Foreign(names) => {
                let verdicts = names.iter().map(|(name, hash)| match self.bucket(name.bucket) {
                    Some(bucket) => {
                        bucket.foreign_verdict(facts, Name::hashed(*hash, Kind::Foreign, &name.id, ""), now)
                    }
                    None => Verdict::Unknown,
                });
                verdicts.max().unwrap_or(Verdict::Unknown)
            }
        }
    }

    /// Returns true if one more token from before the horizon may be asked of the store.
    pub(crate) fn admits_question(&self) -> bool {
        self.questions.admit(nanos(self.clock.elapsed()))
    }

    /// Takes the store's confirmation, at its time `at`, that a token is not revoked. It counts only if it came from
    /// the server whose log this node reads. *A node follows the log of one server, while a strict read still reaches
    /// the one that was replaced: the token would be accepted for good.*
    pub(crate) fn confirm(&self, route: &Route, bearer: &Bearer<'_>, at: Timestamp, server: Option<ServerId>) -> Alive {
        // Before the servers are compared: an era that begins in between does not count it.
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

    /// Notes that the store has refused one of our own tokens. From here on it is refused without a question: once
    /// refused, a token stays so on this node, even if a late answer about the log grants a lease under which its
    /// revocation is not known yet. And a client that repeats a revoked token does not load the store.
    pub(crate) fn record_refusal(&self, route: &Route, bearer: &Bearer<'_>) {
        if let Route::Session(SessionRoute { bucket, .. }) = route
            && let Some(bucket) = self.bucket(*bucket)
        {
            let (subject, jti) = (bearer.subject.to_owned(), bearer.token_id.to_owned());
            let until = bearer.expires_at.saturating_add(self.leeway);
            bucket.record_refusal(&Revocation::Token { subject, jti }, until);
        }
    }

    /// Notes that the store does not know the session. Briefly, because it may know it again: its data are being put
    /// back, or an empty server stood at its address for a moment.
    pub(crate) fn note_unknown(&self, bearer: &Bearer<'_>) {
        self.questions.note_unknown(bearer, self.clock.elapsed());
    }

    /// Returns true if the store has just not known the session.
    pub(crate) fn is_unknown(&self, bearer: &Bearer<'_>) -> bool {
        self.questions.is_unknown(bearer, self.clock.elapsed())
    }

    /// Learns a revocation of this node that the store has confirmed. Every request that starts from now on is refused
    /// what it concerns.
    ///
    /// What was revoked before may stand in a part of the log that was read long ago. The replica would wait for the log
    /// to tell it again, and take it for lost.
    pub(crate) fn has_revoked(&self, Revoked { now, revocation, until, position, .. }: &Revoked) {
        let bucket = self.bucket(position.bucket).filter(|bucket| !bucket.has_applied_own(revocation, position));
        if bucket.is_some_and(|bucket| bucket.has_revoked(revocation, *now, *until, position)) {
            self.wake(position.bucket);
        }
    }

    /// Learns of a session that the store has ended in another operation of this node.
    pub(crate) fn has_ended(&self, subject: &str, session_id: &str, at: Timestamp, until: Timestamp) {
        let number = self.store.bucket_of(subject);
        let ended = Revocation::Session { subject: subject.to_owned(), sid: session_id.to_owned() };
        // The position of its entry is not known: it is judged when all is read.
        let position = LogPosition { bucket: number, incarnation: String::new(), sequence: 0 };
        if self.bucket(number).is_some_and(|bucket| bucket.has_revoked(&ended, at, until, &position)) {
            self.wake(number);
        }
    }

    /// Decides nothing from now on without the entry at this position of the log.
    pub(crate) fn must_see(&self, position: &LogPosition) {
        if let Some(bucket) = self.bucket(position.bucket) {
            bucket.must_see_position(position);
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

fn nanos(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

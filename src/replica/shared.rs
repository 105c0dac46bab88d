//! The replica, as requests and tasks share it.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    bucket::{Bucket, BucketConfig, SessionNames},
    deny_set::{EntryKind, EntryName, NameHasher},
    horizon_checks::HorizonChecks,
    lease::nanos,
    notices::{Notices, OnNotice, OnRevoked},
    status::{Monitor, ReplicaStatus},
    verdict::{Alive, Bearer, Look, TokenTimes, Verdict},
};
use crate::{
    clock::{Clock, Timestamp, saturating_millis},
    ids::{SessionId, Subject},
    store::{
        Denylist, ExternalId, ExternalName, LogEntry, LogFeed, LogPage, LogPosition, Logged, Revocation, RevocationLog,
        ServerId, SessionStore, bell::Bell,
    },
};

/// Upper bound of the memory that the ids of revocations take, in all buckets: some 4 to 8 million
/// sessions. (Their index adds some 20 bytes for each.) Beyond it the node forgets the oldest, and
/// asks the store about tokens of their time.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// The look at a token whose bucket does not exist: only the store knows it.
const UNKNOWN: Look = Look { is_refused: false, is_covered: false };

/// More than any store has.
const MAX_BUCKETS: u32 = 1 << 16;

/// The local copy of a store's revocations.
pub(crate) struct Replica {
    pub(super) source: Source,
    pub(super) clock: Arc<dyn Clock>,
    /// By number.
    pub(super) buckets: Box<[Bucket]>,
    /// For each bucket the bell that wakes the task that reads it.
    bells: Box<[Arc<Bell>]>,
    pub(super) monitor: Monitor,
    pub(super) notices: Notices,
    on_revoked: OnRevoked,
    /// Wakes the task that republishes.
    pub(super) has_lost: Notify,
    hasher: NameHasher,
    staleness: Duration,
    /// The longest staleness that the store has ever reported, in ms. A store that loses its data
    /// has forgotten it, and nodes keep using it until they notice.
    longest_staleness: AtomicU64,
    leeway: Duration,
    /// Counts the eras of all buckets.
    eras: Arc<AtomicU64>,
    checks: HorizonChecks,
}

/// The route from a token to its revocations: buckets and hashes of its names, computed once.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// A token of our own.
    Session(SessionRoute),
    /// Another issuer's token: each name under which it may be revoked.
    External(Arc<[ExternalRoute]>),
}

/// The bucket of a subject, and the hashes of the names of subject, session and token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionRoute {
    bucket: u32,
    subject: u32,
    session: u32,
    token: u32,
}

/// One name of another issuer's token, and its hash.
#[derive(Clone, Debug)]
pub(crate) struct ExternalRoute {
    name: ExternalName,
    hash: u32,
}

/// The store whose revocations a replica follows.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) log: Arc<dyn RevocationLog>,
    /// Present if other issuers' tokens are checked.
    pub(crate) denylist: Option<Arc<dyn Denylist>>,
}

/// Configuration of a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplicaSettings {
    /// Maximum age of the data that a local decision may use. Zero: every request asks the store,
    /// and the node follows the log only to republish what the store loses.
    pub(crate) staleness: Duration,
    /// The interval of reads if nothing happens.
    pub(crate) interval: Duration,
    /// The deadline of one read.
    pub(crate) deadline: Duration,
    /// The largest difference between the clocks of issuers and of this node.
    pub(crate) leeway: Duration,
    /// The highest rate, in tokens a second, of checks at the store of tokens that were issued
    /// before the horizon.
    pub(crate) check_rate: NonZeroU32,
}

impl Replica {
    pub(super) fn new(
        source: Source,
        clock: Arc<dyn Clock>,
        feeds: &[Box<dyn LogFeed>],
        settings: &ReplicaSettings,
        on_notice: OnNotice,
        on_revoked: OnRevoked,
    ) -> Self {
        let ReplicaSettings { staleness, leeway, check_rate, .. } = *settings;
        let hasher = NameHasher::default();
        let count = source.log.buckets().clamp(1, MAX_BUCKETS);
        let share = MAX_BYTES / usize::try_from(count).unwrap_or(1);
        let eras = Arc::new(AtomicU64::new(0));
        let config = BucketConfig { staleness, margin: source.log.clock_margin(), leeway, eras: Arc::clone(&eras) };
        let buckets = (0..count).map(|_| Bucket::new(hasher.clone(), config.clone(), share)).collect();
        let monitor = Monitor::new(feeds, staleness);
        let bell_of = |bucket: u32| monitor.bell_of(bucket).unwrap_or_else(|| Bell::new(&[]));
        let bells = (0..count).map(bell_of).collect();
        Self {
            source,
            clock,
            buckets,
            bells,
            hasher,
            monitor,
            notices: Notices::new(on_notice),
            on_revoked,
            has_lost: Notify::new(),
            staleness,
            longest_staleness: AtomicU64::new(saturating_millis(staleness)),
            leeway,
            eras,
            checks: HorizonChecks::new(check_rate),
        }
    }

    /// Returns true if the replica may ever decide.
    pub(crate) fn decides(&self) -> bool {
        !self.staleness.is_zero()
    }

    /// Returns the longest time for which any node known to this one may decide by old data.
    pub(crate) fn longest_staleness(&self) -> Duration {
        Duration::from_millis(self.longest_staleness.load(Ordering::Relaxed))
    }

    /// Notes the staleness of other nodes, which the store reports with each page.
    pub(super) fn note_staleness(&self, page: &LogPage) {
        self.longest_staleness.fetch_max(saturating_millis(page.max_staleness), Ordering::Relaxed);
    }

    /// Returns the state of the replica.
    pub(crate) fn status(&self) -> ReplicaStatus {
        self.monitor.status(&self.buckets, self.clock.elapsed())
    }

    /// Returns the route of one of our own tokens.
    pub(crate) fn route(&self, bearer: &Bearer<'_>) -> Route {
        Route::Session(self.session_route(self.bucket_of(bearer.subject), bearer))
    }

    fn session_route(&self, bucket: u32, bearer: &Bearer<'_>) -> SessionRoute {
        let Bearer { subject, session_id, token_id, .. } = *bearer;
        SessionRoute {
            bucket,
            subject: self.hasher.hash(EntryKind::Subject, subject.as_str(), ""),
            session: self.hasher.hash(EntryKind::Session, subject.as_str(), session_id),
            token: self.hasher.hash(EntryKind::Token, subject.as_str(), token_id),
        }
    }

    /// Returns the route of another issuer's token.
    pub(crate) fn external_route(&self, issuer: &str, ids: impl IntoIterator<Item = ExternalId>) -> Route {
        let routes = ids.into_iter().filter_map(|id| {
            let name = self.source.denylist.as_ref()?.log_name(issuer, &id);
            let hash = self.hasher.hash(EntryKind::External, &name.id, "");
            Some(ExternalRoute { name, hash })
        });
        Route::External(routes.collect())
    }

    #[inline]
    pub(super) fn bucket(&self, number: u32) -> Option<&Bucket> {
        self.buckets.get(usize::try_from(number).ok()?)
    }

    /// Has a bucket's log read at once.
    fn wake_reader_of(&self, number: u32) {
        if let Some(bell) = usize::try_from(number).ok().and_then(|number| self.bells.get(number)) {
            bell.ring(number);
        }
    }

    /// Returns true if the token was accepted here before, and the bucket has since learned nothing
    /// that might concern it. No I/O, no lock, no allocation.
    ///
    /// `note` is the cell into which [`verdict`](Self::verdict) of this replica wrote when it
    /// accepted this token.
    #[inline]
    pub(crate) fn still_accepts(&self, route: &Route, note: &AtomicU64) -> bool {
        match route {
            Route::Session(route) => self.bucket(route.bucket).is_some_and(|bucket| {
                bucket.data.is_current(note.load(Ordering::Relaxed), || nanos(self.clock.elapsed()))
            }),
            // Its names lie in several buckets at once.
            Route::External(_) => false,
        }
    }

    /// Returns the verdict of the deny set on a token. No I/O.
    ///
    /// `alive` is the store's last confirmation that it is not revoked. A token that was alive
    /// after the horizon was not revoked before it: so one check is enough for each older token.
    pub(crate) fn verdict(&self, route: &Route, bearer: &Bearer<'_>, alive: Alive, note: &AtomicU64) -> Verdict {
        match self.verdict_given(route, bearer, alive, note) {
            Verdict::BeforeHorizon => match self.checks.confirmed(bearer) {
                Some(alive) => self.verdict_given(route, bearer, alive, note),
                None => Verdict::BeforeHorizon,
            },
            verdict => verdict,
        }
    }

    fn verdict_given(&self, route: &Route, bearer: &Bearer<'_>, alive: Alive, note: &AtomicU64) -> Verdict {
        let now = || nanos(self.clock.elapsed());
        let times = self.times(bearer, alive);
        match route {
            Route::Session(route) => self.bucket(route.bucket).map_or(Verdict::Unknown, |bucket| {
                bucket.session_verdict(times, route.names(bearer), bearer.generation, note, now)
            }),
            Route::External(routes) => {
                let verdicts = routes.iter().map(|route| {
                    let bucket = self.bucket(route.name.bucket);
                    bucket.map_or(Verdict::Unknown, |bucket| {
                        bucket.external_verdict(
                            times,
                            EntryName::hashed(route.hash, EntryKind::External, &route.name.id, ""),
                            now,
                        )
                    })
                });
                verdicts.max().unwrap_or(Verdict::Unknown)
            }
        }
    }

    /// Returns the bucket in whose log the revocations of a subject stand.
    pub(crate) fn bucket_of(&self, subject: &Subject) -> u32 {
        self.source.log.bucket_of(subject)
    }

    /// Returns the count of buckets.
    pub(crate) fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    /// Returns the time, by the clock of the leases in nanoseconds, as of which every revocation of
    /// a bucket is applied, and then the version of what its deny set covers.
    pub(crate) fn known(&self, bucket: u32) -> (u64, u64) {
        self.bucket(bucket).map_or((0, 0), Bucket::known)
    }

    /// Looks at the token of an open stream, whose subject has its revocations in this bucket.
    pub(crate) fn look_at_session(&self, bucket: u32, bearer: &Bearer<'_>) -> Look {
        let route = self.session_route(bucket, bearer);
        let look = |alive| {
            let times = self.times(bearer, alive);
            self.bucket(bucket).map(|bucket| bucket.session_look(times, route.names(bearer), bearer.generation))
        };
        self.look_with_confirmation(bearer, look)
    }

    /// Looks at the token of an open stream that another issuer has issued.
    pub(crate) fn look_at_external(&self, bearer: &Bearer<'_>, ids: &[ExternalId]) -> Look {
        let Route::External(routes) = self.external_route(bearer.issuer, ids.iter().cloned()) else { return UNKNOWN };
        let look = |alive| {
            let times = self.times(bearer, alive);
            let looks = routes.iter().map(|route| {
                let name = EntryName::hashed(route.hash, EntryKind::External, &route.name.id, "");
                self.bucket(route.name.bucket).map_or(UNKNOWN, |bucket| bucket.external_look(times, name))
            });
            looks.reduce(|one, other| Look {
                is_refused: one.is_refused || other.is_refused,
                is_covered: one.is_covered && other.is_covered,
            })
        };
        self.look_with_confirmation(bearer, look)
    }

    fn look_with_confirmation(&self, bearer: &Bearer<'_>, look: impl Fn(Alive) -> Option<Look>) -> Look {
        let first = look(Alive::default()).unwrap_or(UNKNOWN);
        if first.is_covered || first.is_refused {
            return first;
        }
        self.checks.confirmed(bearer).and_then(look).unwrap_or(first)
    }

    fn times(&self, bearer: &Bearer<'_>, alive: Alive) -> TokenTimes {
        let lifetime = bearer.expires_at.saturating_since(bearer.issued_at).saturating_add(self.leeway);
        TokenTimes { issued_at: bearer.issued_at, alive, lifetime }
    }

    /// Announces entries that were applied.
    pub(super) fn announce_entries(&self, entries: &[LogEntry]) {
        if !entries.is_empty() {
            (self.on_revoked)(&mut entries.iter().map(|entry| &entry.revocation));
        }
    }

    fn announce(&self, revocation: &Revocation) {
        (self.on_revoked)(&mut std::iter::once(revocation));
    }

    /// Returns true if the store may check one more token from before the horizon.
    pub(crate) fn admits_check(&self) -> bool {
        self.checks.admit(nanos(self.clock.elapsed()))
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
            Route::External(routes) => routes.iter().all(|route| follows(route.name.bucket, server)),
        });
        if !counts {
            return Alive::default();
        }
        let alive = Alive { at, eras };
        self.checks.confirm(bearer, alive);
        alive
    }

    /// Records that the store has refused one of our own tokens. From here on this node refuses it
    /// without asking the store. A late page of the log may grant a lease before the node knows the
    /// revocation. And a client that repeats a revoked token does not load the store.
    pub(crate) fn record_refusal(&self, route: &Route, bearer: &Bearer<'_>) {
        if let Route::Session(route) = route
            && let Some(bucket) = self.bucket(route.bucket)
        {
            let (subject, jti) = (bearer.subject.into(), bearer.token_id.into());
            let until = bearer.expires_at.saturating_add(self.leeway);
            let refused = Revocation::Token { subject, jti };
            bucket.record_refusal(&refused, until);
            self.announce(&refused);
        }
    }

    /// Notes that the store does not know the session. The note is brief, because the store may
    /// know it again. Its data may be on their way back, or an empty server may have answered for a
    /// moment.
    pub(crate) fn note_unknown(&self, bearer: &Bearer<'_>) {
        self.checks.note_unknown(bearer, self.clock.elapsed());
    }

    /// Returns true if the store did not know the session a moment ago.
    pub(crate) fn is_unknown(&self, bearer: &Bearer<'_>) -> bool {
        self.checks.is_unknown(bearer, self.clock.elapsed())
    }

    /// Adds a revocation of this node that the store has confirmed. It holds for every request that
    /// starts from now on.
    ///
    /// The entry of a repeated revocation may be in a part of the log that was read long ago. The
    /// replica would expect it in a later part, and take it for lost.
    pub(crate) fn record_revocation(&self, now: Timestamp, logged: &Logged) {
        let Logged { revocation, until, position, .. } = logged;
        let bucket = self.bucket(position.bucket).filter(|bucket| !bucket.has_applied_own(revocation, position));
        if bucket.is_some_and(|bucket| bucket.record_revocation(revocation, now, *until, position)) {
            self.wake_reader_of(position.bucket);
        }
        self.announce(revocation);
    }

    /// Adds the end of a session that the store has ended in another operation of this node.
    pub(crate) fn record_session_end(
        &self,
        subject: &Subject,
        session_id: &SessionId,
        at: Timestamp,
        until: Timestamp,
    ) {
        let number = self.source.log.bucket_of(subject);
        let ended = Revocation::Session { subject: subject.into(), sid: session_id.into() };
        // The position of its entry is not known, so the reader expects it once the whole log is
        // read.
        let position = LogPosition { bucket: number, incarnation: String::new(), sequence: 0 };
        let bucket = self.bucket(number);
        if bucket.is_some_and(|bucket| bucket.record_revocation(&ended, at, until, &position)) {
            self.wake_reader_of(number);
        }
        self.announce(&ended);
    }

    /// Ends the lease until the entry at this position of the log is read.
    pub(crate) fn require_position(&self, position: &LogPosition) {
        if let Some(bucket) = self.bucket(position.bucket) {
            bucket.require_position(position);
        }
        self.wake_reader_of(position.bucket);
    }

    /// Returns true if the entry at this position of the log has been applied.
    pub(crate) fn has_applied(&self, position: &LogPosition) -> bool {
        self.bucket(position.bucket).is_some_and(|bucket| bucket.has_applied(position))
    }
}

impl SessionRoute {
    /// Returns the names of this token, with their hashes.
    fn names<'a>(&self, bearer: &Bearer<'a>) -> SessionNames<'a> {
        let Bearer { subject, session_id, token_id, .. } = *bearer;
        let subject = subject.as_str();
        SessionNames {
            subject: EntryName::hashed(self.subject, EntryKind::Subject, subject, ""),
            session: EntryName::hashed(self.session, EntryKind::Session, subject, session_id),
            token: EntryName::hashed(self.token, EntryKind::Token, subject, token_id),
        }
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("staleness", &self.staleness).finish_non_exhaustive()
    }
}

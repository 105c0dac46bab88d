//! The replica that requests and tasks share, and the routes from tokens to their revocations.

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
    notices::{Notices, ReplicaHooks, RevocationListener},
    status::{Monitor, ReplicaStatus},
    verdict::{Alive, Bearer, Look, TokenTimes, Verdict},
};
use crate::{
    clock::{Clock, Timestamp, saturating_millis},
    ids::{SessionId, Subject},
    observe::SharedObserver,
    store::{
        Denylist, ExternalId, ExternalName, LogEntry, LogFeed, LogPage, LogPosition, LogStamp, Logged, Revocation,
        RevocationLog, ServerId, SessionStore, bell::Bell,
    },
};

/// Maximum bytes of the revocations of all buckets, enough for 4 to 8 million sessions. The index
/// takes about 20 more bytes for each revocation. At the maximum, the node drops the oldest
/// revocations. It then asks the store about tokens that are older than the dropped revocations.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// The answer about a token whose bucket does not exist: only the store can decide.
const UNKNOWN: Look = Look { is_refused: false, is_covered: false };

/// Maximum count of buckets. Bounds the memory if a store reports far too many buckets.
const MAX_BUCKETS: u32 = 1 << 16;

/// This node's copy of the revocation log, and its leases.
pub(crate) struct Replica {
    pub(super) source: Source,
    pub(super) clock: Arc<dyn Clock>,
    /// The index is the bucket's number.
    pub(super) buckets: Box<[Bucket]>,
    /// For each bucket, the bell that wakes the task of the bucket's feed.
    bells: Box<[Arc<Bell>]>,
    pub(super) monitor: Monitor,
    pub(super) notices: Notices,
    listener: Box<dyn RevocationListener>,
    pub(super) observer: SharedObserver,
    /// Wakes the task that republishes.
    pub(super) has_lost: Notify,
    hasher: NameHasher,
    staleness: Duration,
    /// The longest staleness setting of any node, in ms, as far as the store has reported it. The
    /// value never falls: a store that lost its data reports less, while other nodes keep their
    /// staleness.
    longest_staleness: AtomicU64,
    leeway: Duration,
    /// Total count of the eras ([`Era`](super::log_reader::Era)) that have begun, over all buckets.
    eras: Arc<AtomicU64>,
    checks: HorizonChecks,
}

/// The buckets and hashes of the names under which a token may be revoked. The node computes a
/// route once per token, not once per request.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// A token of this crate.
    Session(SessionRoute),
    /// Another issuer's token, with each name under which it may be revoked.
    External(Arc<[ExternalRoute]>),
}

/// The bucket of a token's subject, and the hashes of the names of subject, session and token.
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

/// The store whose revocation log a replica reads.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) log: Arc<dyn RevocationLog>,
    /// The denylist of other issuers' tokens; `None` if the node uses none.
    pub(crate) denylist: Option<Arc<dyn Denylist>>,
}

/// Configuration of a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplicaSettings {
    /// Maximum age of the data that a local decision may use. If zero, the node asks the store
    /// about each token. The node still reads the log, to republish lost revocations.
    pub(crate) staleness: Duration,
    /// The poll interval: the time between two reads without nudges.
    pub(crate) interval: Duration,
    /// The deadline of one read.
    pub(crate) deadline: Duration,
    /// The largest difference between the clocks of issuers and of this node.
    pub(crate) leeway: Duration,
    /// Maximum count of store checks per second for tokens that were issued before the horizon.
    pub(crate) check_rate: NonZeroU32,
}

impl Replica {
    pub(super) fn new(
        source: Source,
        clock: Arc<dyn Clock>,
        feeds: &[Box<dyn LogFeed>],
        settings: &ReplicaSettings,
        hooks: ReplicaHooks,
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
            notices: Notices::new(hooks.on_notice),
            listener: hooks.listener,
            observer: hooks.observer,
            has_lost: Notify::new(),
            staleness,
            longest_staleness: AtomicU64::new(saturating_millis(staleness)),
            leeway,
            eras,
            checks: HorizonChecks::new(check_rate),
        }
    }

    /// Returns true if requests or open streams of this node need new log entries soon.
    pub(super) fn needs_news(&self) -> bool {
        self.decides() || self.listener.is_urgent()
    }

    /// Returns true if the replica may accept tokens: the staleness is not zero.
    pub(crate) fn decides(&self) -> bool {
        !self.staleness.is_zero()
    }

    /// Returns the staleness that this node allows.
    pub(super) fn staleness(&self) -> Duration {
        self.staleness
    }

    /// Returns the longest staleness setting of any node, as far as the store has reported it.
    pub(crate) fn longest_staleness(&self) -> Duration {
        Duration::from_millis(self.longest_staleness.load(Ordering::Relaxed))
    }

    /// Notes the longest staleness of all nodes, which the store reports with each page.
    pub(super) fn note_staleness(&self, page: &LogPage) {
        self.longest_staleness.fetch_max(saturating_millis(page.max_staleness), Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> ReplicaStatus {
        self.monitor.status(&self.buckets, self.clock.elapsed())
    }

    /// Returns the route of a token of this crate.
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

    /// Wakes the task that reads a bucket's log.
    fn wake_reader_of(&self, number: u32) {
        if let Some(bell) = usize::try_from(number).ok().and_then(|number| self.bells.get(number)) {
            bell.ring(number);
        }
    }

    /// Returns true if an earlier accepting verdict on the token is still valid: the bucket's data
    /// have not changed since, and the lease has not ended. Does no I/O, takes no lock and
    /// allocates no memory.
    ///
    /// `note` is the cell to which [`verdict`](Self::verdict) wrote when it accepted this token.
    #[inline]
    pub(crate) fn still_accepts(&self, route: &Route, note: &AtomicU64) -> bool {
        match route {
            Route::Session(route) => self.bucket(route.bucket).is_some_and(|bucket| {
                bucket.data.is_current(note.load(Ordering::Relaxed), || nanos(self.clock.elapsed()))
            }),
            // The note contains the sum of the buckets' versions. A version only grows, so an equal
            // sum means that no version has changed.
            Route::External(routes) => {
                let (mut versions, mut end) = (0_u64, u64::MAX);
                for route in routes.iter() {
                    let bucket = self.bucket(route.name.bucket);
                    let Some((version, lease)) = bucket.and_then(|bucket| bucket.data.version_and_lease()) else {
                        return false;
                    };
                    (versions, end) = (versions.wrapping_add(version), end.min(lease));
                }
                versions != 0 && versions == note.load(Ordering::Relaxed) && nanos(self.clock.elapsed()) < end
            }
        }
    }

    /// Calls `look`. Returns its result, and true if the replica's data about the token were at
    /// most `age` old. If `age` is zero, returns false.
    ///
    /// Loads the time of the data before the call, and reads the clock after the call.
    pub(crate) fn look_within<T>(&self, age: Duration, route: &Route, look: impl FnOnce() -> T) -> (T, bool) {
        let known_of = |number: u32| self.bucket(number).map_or(0, Bucket::known_as_of);
        let known = match route {
            Route::Session(route) => known_of(route.bucket),
            Route::External(routes) => routes.iter().map(|route| known_of(route.name.bucket)).min().unwrap_or(0),
        };
        let found = look();
        let is_fresh = !age.is_zero() && nanos(self.clock.elapsed()).saturating_sub(known) <= nanos(age);
        (found, is_fresh)
    }

    /// Returns the verdict on a token. Does no I/O. If the node accepts the token, writes the
    /// version of the data to `note`.
    ///
    /// `alive` is the store's last confirmation that the token is not revoked. If it is later than
    /// the horizon, the node has every revocation since then. So under a lease the node accepts the
    /// token without asking the store again.
    pub(crate) fn verdict(&self, route: &Route, bearer: &Bearer<'_>, alive: Alive, note: &AtomicU64) -> Verdict {
        match self.verdict_with(route, bearer, alive, note) {
            Verdict::BeforeHorizon => match self.checks.confirmed(bearer) {
                Some(alive) => self.verdict_with(route, bearer, alive, note),
                None => Verdict::BeforeHorizon,
            },
            verdict => verdict,
        }
    }

    fn verdict_with(&self, route: &Route, bearer: &Bearer<'_>, alive: Alive, note: &AtomicU64) -> Verdict {
        let now = || nanos(self.clock.elapsed());
        let times = self.times(bearer, alive);
        match route {
            Route::Session(route) => self.bucket(route.bucket).map_or(Verdict::Unknown, |bucket| {
                bucket.session_verdict(times, route.names(bearer), bearer.generation, note, now)
            }),
            Route::External(routes) => {
                let verdicts = routes.iter().map(|route| {
                    let bucket = self.bucket(route.name.bucket);
                    bucket.map_or((Verdict::Unknown, 0), |bucket| {
                        bucket.external_verdict(
                            times,
                            EntryName::hashed(route.hash, EntryKind::External, &route.name.id, ""),
                            now,
                        )
                    })
                });
                let all = verdicts.reduce(|(one, version), (other, next)| (one.max(other), version.wrapping_add(next)));
                let (verdict, versions) = all.unwrap_or((Verdict::Unknown, 0));
                if verdict == Verdict::Accepted {
                    note.store(versions, Ordering::Relaxed);
                }
                verdict
            }
        }
    }

    /// Returns the bucket whose log contains the revocations of a subject.
    pub(crate) fn bucket_of(&self, subject: &Subject) -> u32 {
        self.source.log.bucket_of(subject)
    }

    /// Returns the count of buckets.
    pub(crate) fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    /// Returns the time up to which the node has applied a bucket's log, and the coverage version:
    /// see [`Bucket::known`].
    pub(crate) fn known(&self, bucket: u32) -> (u64, u64) {
        self.bucket(bucket).map_or((0, 0), Bucket::known)
    }

    /// Returns true if this node has a lease on the bucket.
    pub(crate) fn is_leased(&self, bucket: u32) -> bool {
        self.bucket(bucket).is_some_and(|bucket| nanos(self.clock.elapsed()) < bucket.lease_end())
    }

    /// Looks up the token of an open stream in the deny set. `bucket` is the bucket of the token's
    /// subject.
    pub(crate) fn look_at_session(&self, bucket: u32, bearer: &Bearer<'_>) -> Look {
        let route = self.session_route(bucket, bearer);
        let look = |alive| {
            let times = self.times(bearer, alive);
            self.bucket(bucket).map(|bucket| bucket.session_look(times, route.names(bearer), bearer.generation))
        };
        self.look_with_confirmation(bearer, look)
    }

    /// Looks up another issuer's token of an open stream in the deny set.
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

    /// Passes the revocations of applied entries to the listener.
    pub(super) fn announce_entries(&self, entries: &[LogEntry]) {
        if !entries.is_empty() {
            self.listener.revoked(&mut entries.iter().map(|entry| &entry.revocation));
        }
    }

    fn announce(&self, revocation: &Revocation) {
        self.listener.revoked(&mut std::iter::once(revocation));
    }

    /// Returns true if the rate limit allows one more store check of a token from before the
    /// horizon.
    pub(crate) fn admits_check(&self) -> bool {
        self.checks.admit(nanos(self.clock.elapsed()))
    }

    /// Records the store's confirmation, at the store's time `at`, that a token is not revoked. If
    /// the answer did not come from the server whose log this node reads, returns an empty
    /// confirmation. *After a failover, a check may still reach the replaced server, which lacks
    /// the revocation.*
    pub(crate) fn confirm(&self, route: &Route, bearer: &Bearer<'_>, at: Timestamp, server: Option<ServerId>) -> Alive {
        // Loads the count of eras before it compares the servers. If an era begins in between, this
        // older count makes the confirmation void.
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

    /// Records that the store has refused a token of this crate. From now on the node refuses the
    /// token without asking the store. *Otherwise, a client that repeats the token would load the
    /// store. The next page of the log may also lack the revocation. With a lease from that page,
    /// the node would accept the token.*
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

    /// Notes for 2 s that the store does not know the session. The time is short, because the store
    /// may soon know the session again, for example after an operator has restored its data.
    pub(crate) fn note_unknown(&self, bearer: &Bearer<'_>) {
        self.checks.note_unknown(bearer, self.clock.elapsed());
    }

    /// Returns true if [`note_unknown`](Self::note_unknown) was called for this session in the last
    /// two seconds.
    pub(crate) fn is_unknown(&self, bearer: &Bearer<'_>) -> bool {
        self.checks.is_unknown(bearer, self.clock.elapsed())
    }

    /// Notes for 2 s that the store has refused another issuer's token. *Otherwise a client that
    /// repeats the token uses up the rate of store checks, which all clients share.*
    pub(crate) fn note_refused(&self, bearer: &Bearer<'_>, is_revoked: bool) {
        self.checks.note_refused(bearer, is_revoked, self.clock.elapsed());
    }

    /// Returns the value of `is_revoked` if [`note_refused`](Self::note_refused) was called for
    /// this token in the last two seconds, otherwise `None`.
    pub(crate) fn was_refused(&self, bearer: &Bearer<'_>) -> Option<bool> {
        self.checks.was_refused(bearer, self.clock.elapsed())
    }

    /// Adds a revocation that this node has made and the store has confirmed. From the next request
    /// on, this node refuses the revoked tokens.
    ///
    /// If the node has already applied the log entry of this revocation, leaves the deny set as it
    /// is. If this method added the revocation again, the reader would wait for an entry that no
    /// later page contains, and take the revocation for lost.
    pub(crate) fn record_revocation(&self, now: Timestamp, logged: &Logged) {
        let Logged { revocation, until, position, .. } = logged;
        let bucket = self.bucket(position.bucket).filter(|bucket| !bucket.has_applied_own(revocation, position));
        if bucket.is_some_and(|bucket| bucket.record_revocation(revocation, now, *until, position)) {
            self.wake_reader_of(position.bucket);
        }
        self.announce(revocation);
    }

    /// Adds the revocation of a session that the store has ended in another operation, such as a
    /// refresh.
    pub(crate) fn record_session_end(
        &self,
        subject: &Subject,
        session_id: &SessionId,
        at: Timestamp,
        until: Timestamp,
    ) {
        let number = self.source.log.bucket_of(subject);
        let ended = Revocation::Session { subject: subject.into(), sid: session_id.into() };
        // The position of the entry is unknown. With sequence 0, the reader takes the entry for
        // lost only after it has read back all older entries without finding it.
        let position = LogPosition { bucket: number, incarnation: String::new(), sequence: 0 };
        let bucket = self.bucket(number);
        if bucket.is_some_and(|bucket| bucket.record_revocation(&ended, at, until, &position)) {
            self.wake_reader_of(number);
        }
        self.announce(&ended);
    }

    /// Ends the lease of a bucket if the node has not read the log up to this position. In any
    /// case, wakes the task that reads the log.
    pub(crate) fn require_position(&self, position: &LogPosition) {
        if let Some(bucket) = self.bucket(position.bucket) {
            bucket.require_position(position);
        }
        self.wake_reader_of(position.bucket);
    }

    /// Settles the stamp of a token that the node verifies for the first time: see
    /// [`Bucket::settle`]. If the stamp is new, wakes the task that reads the log.
    pub(crate) fn settle(&self, route: &Route, stamp: LogStamp) {
        if let Route::Session(route) = route
            && self.decides()
            && self.bucket(route.bucket).is_some_and(|bucket| bucket.settle(stamp, route.subject))
        {
            self.wake_reader_of(route.bucket);
        }
    }

    /// Returns true if the node has applied the entry at this position of the log.
    pub(crate) fn has_applied(&self, position: &LogPosition) -> bool {
        self.bucket(position.bucket).is_some_and(|bucket| bucket.has_applied(position))
    }
}

impl SessionRoute {
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

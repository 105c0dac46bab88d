//! The streams of one service: their keys, their proofs, and the questions to the store.

use std::{
    borrow::Cow,
    fmt,
    hash::{BuildHasher, RandomState},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify, task::AbortHandle, time::timeout};

use super::{
    cause::CutoffCause,
    ids::{Ids, OwnedIds},
    judge::{DenialRules, Verdict, judge_denial, judge_session},
    pace::Pace,
    registry::{Place, Registry},
    state::Stream,
    status::{Counts, StreamStatus},
};
use crate::{
    clock::{Clock, Timestamp},
    ids::Subject,
    jwt::{TokenNames, Verifier},
    observe::{Observation, SharedObserver},
    replica::{OnNotice, Replica, ReplicaHooks, ReplicaSettings, ReplicaTasks, RevocationListener, Source},
    store::{BoxFuture, Denylist, ExternalId, Revocation, RevocationLog, SessionStore},
};

/// The maximum number of keys in the queue of urgent questions. If the queue has more keys, the
/// watcher asks the store about all streams.
const MOST_URGENT: usize = 4096;

/// The open streams whose tokens one service verified. Clones share the streams.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Core>);

/// Configuration of the streams of a service.
pub(crate) struct StreamSettings {
    /// The longest time for which a stream stays open without a newer proof: a time at which its
    /// token was not revoked.
    pub(crate) staleness: Duration,
    pub(crate) denial_rules: DenialRules,
    pub(crate) clock: Arc<dyn Clock>,
    /// The issuer of this service's tokens, or an empty text if the tokens have no issuer.
    pub(crate) issuer: String,
    pub(crate) authority: StreamAuthority,
    /// The log of the store, if the store has one.
    pub(crate) log: Option<Arc<dyn RevocationLog>>,
    /// The replica that the first stream starts, if the store has a log and the service has no
    /// replica for its requests.
    pub(crate) lazy: Option<LazyReplica>,
    pub(crate) observer: SharedObserver,
}

/// The store that the watcher asks about the tokens of streams.
pub(crate) enum StreamAuthority {
    /// The store of this service's sessions, for its own tokens.
    Sessions(Arc<dyn SessionStore>),
    /// The denylist, for other issuers' tokens.
    Denylist(Arc<dyn Denylist>),
    /// No store, because nothing revokes the tokens.
    Nothing,
}

/// The parts of a replica that the first stream starts.
///
/// For example, requests over a memory store under strong consistency need no replica. Streams need
/// a replica, because another service may revoke their tokens in the same store.
pub(crate) struct LazyReplica {
    pub(crate) source: Source,
    pub(crate) settings: ReplicaSettings,
    pub(crate) on_notice: OnNotice,
}

/// The state that a service shares with its claims and its open streams.
pub(super) struct Core {
    pub(super) registry: Arc<Registry<Stream>>,
    pub(super) pace: Pace,
    pub(super) clock: Arc<dyn Clock>,
    denial_rules: DenialRules,
    issuer: Arc<str>,
    authority: StreamAuthority,
    log: Option<Arc<dyn RevocationLog>>,
    lazy: Mutex<Option<LazyReplica>>,
    followed: OnceLock<Followed>,
    hasher: RandomState,
    /// Count of all streams since the start. The hash of this count gives a new stream its random
    /// share: see `pace`.
    opened: AtomicU64,
    counts: Counts,
    pub(super) observer: SharedObserver,
    /// Wakes the watcher.
    pub(super) bell: Arc<Notify>,
    pub(super) watcher: Mutex<Option<AbortHandle>>,
    pub(super) is_watched: AtomicBool,
    /// True if an owner has registered a stream since the last tick.
    pub(super) has_new: AtomicBool,
    /// The queue of urgent questions. The watcher asks the store immediately about the streams with
    /// these keys.
    urgent: Mutex<Vec<u64>>,
}

/// The replica that the streams of a service use, and the proofs by its log.
pub(super) struct Followed {
    pub(super) replica: Arc<Replica>,
    /// The tasks of the replica. They end when the last `Arc` is dropped.
    _tasks: Arc<ReplicaTasks>,
    /// For each bucket, a time up to which the node has applied the log. This time is a proof for
    /// all streams whose tokens the log covers. So the watcher updates the coverage of all streams
    /// before it sets this time.
    pub(super) proven: Box<[AtomicU64]>,
}

impl Streams {
    pub(crate) fn new(settings: StreamSettings) -> Self {
        let StreamSettings { staleness, denial_rules, clock, issuer, authority, log, lazy, observer } = settings;
        Self(Arc::new(Core {
            registry: Arc::new(Registry::new()),
            pace: Pace::new(staleness),
            clock,
            denial_rules,
            issuer: issuer.into(),
            authority,
            log,
            lazy: Mutex::new(lazy),
            followed: OnceLock::new(),
            hasher: RandomState::new(),
            opened: AtomicU64::new(0),
            counts: Counts::default(),
            observer,
            bell: Arc::new(Notify::new()),
            watcher: Mutex::new(None),
            is_watched: AtomicBool::new(false),
            has_new: AtomicBool::new(false),
            urgent: Mutex::default(),
        }))
    }

    /// Returns the listener that the replica calls for each revocation. While no stream is open,
    /// each call costs only one atomic load.
    pub(crate) fn listener(&self) -> Box<dyn RevocationListener> {
        self.0.listener()
    }

    /// Sets the replica that the streams use, and keeps the tasks of the replica running.
    pub(crate) fn follow(&self, replica: Arc<Replica>, tasks: Arc<ReplicaTasks>) {
        _ = self.0.followed.set(Followed::new(replica, tasks));
    }

    /// Returns this handle as the type that verified claims store. The module of the claims must
    /// not import `Streams`.
    pub(crate) fn verifier(&self) -> Verifier {
        Arc::clone(&self.0) as Verifier
    }

    /// Returns the streams of the service that verified a token.
    pub(super) fn of(verifier: &Verifier) -> Option<Self> {
        Arc::clone(verifier).downcast().ok().map(Self)
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.0
    }

    /// Returns true if this node's deny set refuses the token. Does no I/O.
    pub(crate) fn refuses(&self, names: &TokenNames<'_>) -> bool {
        let Some(ids) = self.0.pack(names) else { return true };
        self.0.look_at(&ids, None, None).is_some_and(|(is_refused, _)| is_refused)
    }

    /// Makes the watcher ask the store immediately about the streams of a subject. The service
    /// calls this method after a revocation that it cannot add to a replica.
    pub(crate) fn revoked_subject(&self, subject: &Subject) {
        if self.0.registry.open() > 0 {
            self.0.ask_at_once(self.0.subject_key(subject.as_str()));
        }
    }

    /// Makes the watcher ask the store immediately about the streams of another issuer's token,
    /// session or subject.
    pub(crate) fn revoked_external(&self, issuer: &str, id: &ExternalId) {
        if self.0.registry.open() > 0 {
            self.0.ask_at_once(self.0.external_place(issuer, id).0);
        }
    }

    /// Returns the observer of the service.
    pub(crate) fn observer(&self) -> &SharedObserver {
        &self.0.observer
    }

    pub(crate) fn status(&self) -> StreamStatus {
        self.0.counts.status(self.0.registry.open())
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Core {
    /// Returns [`Clock::elapsed`] in nanoseconds.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn listener(self: &Arc<Self>) -> Box<dyn RevocationListener> {
        Box::new(Listener { registry: Arc::clone(&self.registry), core: Arc::downgrade(self) })
    }

    /// Cuts the streams whose tokens a revocation ends. The deny set must already contain the
    /// revocation.
    fn announce(&self, revocation: &Revocation) {
        let (key, subject) = match revocation {
            Revocation::Session { subject, .. }
            | Revocation::Token { subject, .. }
            | Revocation::Subject { subject, .. } => (self.subject_key(subject.as_str()), Some(subject)),
            Revocation::External { id, .. } => (self.hasher.hash_one(("external", id)), None),
        };
        let mut refused: Option<Arc<Stream>> = None;
        self.registry.announce(key, |stream| {
            // One token may have many streams. A revocation is final, so one look at the deny set
            // suffices for all of them.
            if refused.as_ref().is_some_and(|refused| refused.ids() == stream.ids()) {
                return self.cut(stream, CutoffCause::Revoked);
            }
            // Compares the subjects, because two subjects may have the same key.
            self.look_with(stream, subject.filter(|subject| subject.as_str() == stream.ids().read().subject()));
            if stream.cause() == Some(CutoffCause::Revoked) {
                refused = Some(Arc::clone(stream));
            }
        });
    }

    /// Searches the deny set for the token of a stream, and cuts the stream if the token is
    /// revoked. Returns true if the token is not revoked and the log covers the token.
    pub(super) fn look(&self, stream: &Stream) -> bool {
        self.look_with(stream, None)
    }

    /// Does the same as [`look`](Self::look) for a new stream, and may lower its first proof.
    ///
    /// * With a lease, the node may have accepted the token without asking the store. So the first
    ///   proof is at most the time up to which the node has applied the log.
    /// * Without a lease, the node has asked the store. So the first proof is at most
    ///   [`Pace::longest_wait`] old.
    pub(super) fn look_at_new(&self, stream: &Stream) {
        let replica = self.followed.get().map(|followed| &followed.replica).filter(|replica| replica.decides());
        // Reads the time before it searches the deny set. So the deny set contains every revocation
        // up to that time.
        let known = replica.and_then(|replica| stream.buckets().map(|bucket| replica.known(bucket).0).min());
        let is_leased = replica.is_some_and(|replica| stream.buckets().all(|bucket| replica.is_leased(bucket)));
        if let (true, Some(known)) = (self.look(stream), known) {
            let oldest = self.now().saturating_sub(self.pace.longest_wait());
            stream.prove_no_later(if is_leased { known } else { known.max(oldest) });
        }
    }

    /// Does the same as [`look`](Self::look). If the caller passes the subject of the stream, this
    /// method does not copy the subject.
    fn look_with(&self, stream: &Stream, subject: Option<&Subject>) -> bool {
        match self.look_at(stream.ids(), stream.buckets().next(), subject) {
            Some((true, _)) => {
                self.cut(stream, CutoffCause::Revoked);
                false
            }
            Some((false, is_covered)) => is_covered,
            None => false,
        }
    }

    /// Returns two flags: the deny set refuses the token, and the log covers the token. Returns
    /// `None` without a replica.
    fn look_at(&self, ids: &Ids, bucket: Option<u32>, subject: Option<&Subject>) -> Option<(bool, bool)> {
        let Followed { replica, .. } = self.followed.get()?;
        let look = if let StreamAuthority::Denylist(_) = self.authority {
            let ids = ids.read().to_owned(&self.issuer);
            replica.look_at_external(&ids.bearer(), &ids.external())
        } else {
            // Borrows the caller's subject. A copy would cost one allocation for each stream.
            let ids = ids.read();
            let subject = subject.map_or_else(|| Cow::Owned(ids.subject().into()), Cow::Borrowed);
            let bucket = bucket.unwrap_or_else(|| replica.bucket_of(&subject));
            replica.look_at_session(bucket, &ids.bearer(&self.issuer, &subject))
        };
        Some((look.is_refused, look.is_covered))
    }

    /// Cuts a stream, if it is open, and wakes its owner. The caller must hold no lock.
    pub(super) fn cut(&self, stream: &Stream, cause: CutoffCause) {
        if stream.set_cause(cause) {
            self.counts.count(cause);
            self.observer.observe(|| Observation::StreamCut { cause: cause.into() });
            #[cfg(feature = "tracing")]
            tracing::info!(session = stream.ids().read().session(), cause = cause.as_str(), "an open stream was cut");
            stream.wake();
        }
    }

    /// Returns the latest proof of a stream, and true if this proof comes from the log.
    pub(super) fn proof(&self, stream: &Stream) -> (u64, bool) {
        let proved = stream.proved();
        match self.proof_by_log(stream) {
            Some(known) if known > proved => (known, true),
            _ => (proved, false),
        }
    }

    /// Returns the time up to which the node has applied the log, if the log covers the token of
    /// the stream.
    pub(super) fn proof_by_log(&self, stream: &Stream) -> Option<u64> {
        let Followed { proven, .. } = self.followed.get().filter(|_| stream.is_covered.load(Ordering::Acquire))?;
        let proven_of = |bucket| Some(proven.get(usize::try_from(bucket).ok()?)?.load(Ordering::Acquire));
        stream.buckets().map(proven_of).min().flatten()
    }

    /// Returns the time at which the node cuts the stream if there is no newer proof by then.
    pub(super) fn limit(&self, stream: &Stream) -> u64 {
        let (proof, is_by_log) = self.proof(stream);
        if self.asks() { proof.saturating_add(self.pace.limit(stream.share, is_by_log)) } else { u64::MAX }
    }

    /// Returns true if there is a store to ask.
    pub(super) fn asks(&self) -> bool {
        !matches!(self.authority, StreamAuthority::Nothing)
    }

    /// Returns the time of the wall clock at which a stream's token expires, plus the leeway.
    pub(super) fn end_of(&self, stream: &Stream) -> Timestamp {
        stream.ids().read().expires_at().saturating_add(self.denial_rules.leeway)
    }

    pub(super) fn followed(&self) -> Option<&Followed> {
        self.followed.get()
    }

    /// Starts the replica that only streams need, unless it was started before. Does nothing
    /// outside of a Tokio runtime.
    pub(super) fn follow_if_lazy(self: &Arc<Self>) {
        if self.followed.get().is_some() {
            return;
        }
        let mut lazy = lock(&self.lazy);
        let Some(runtime) = Handle::try_current().ok().filter(|_| lazy.is_some()) else { return };
        if let Some(LazyReplica { source, settings, on_notice }) = lazy.take() {
            let clock = Arc::clone(&self.clock);
            let hooks = ReplicaHooks { on_notice, listener: self.listener(), observer: self.observer.clone() };
            let (replica, tasks) = ReplicaTasks::start(&runtime, source, Vec::new(), clock, settings, hooks);
            _ = self.followed.set(Followed::new(replica, Arc::new(tasks)));
        }
    }

    fn pack(&self, names: &TokenNames<'_>) -> Option<Ids> {
        Ids::new(names, matches!(self.authority, StreamAuthority::Denylist(_)))
    }

    /// Creates the state of a stream whose first proof is `since`, or now.
    ///
    /// A response may have opened long before its registration. If `since` is too long ago, the
    /// first proof is [`Pace::longest_wait`] old instead. *With an older proof, the node could cut
    /// the stream before the store can answer a question about it.*
    pub(super) fn stream(&self, names: &TokenNames<'_>, expires: bool, since: Option<u64>) -> Option<Arc<Stream>> {
        let ids = self.pack(names)?;
        let mut places = Vec::new();
        if let StreamAuthority::Denylist(_) = self.authority {
            for id in ids.read().to_owned(&self.issuer).external() {
                let (key, bucket) = self.external_place(names.issuer, &id);
                // With two places of one key, the same list would contain the stream twice.
                if places.iter().all(|(earlier, _)| *earlier != key) {
                    places.push((key, bucket));
                }
            }
        } else {
            let bucket = self.log.as_ref().map_or(0, |log| log.bucket_of(names.subject));
            places.push((self.subject_key(names.subject.as_str()), bucket));
        }
        let mut places = places.into_iter().map(|(key, bucket)| Place::new(key, bucket));
        let (place, others) = (places.next()?, places.collect());
        let now = self.now();
        let proved = since.unwrap_or(now).clamp(now.saturating_sub(self.pace.longest_wait()), now);
        let [share, ..] = self.hasher.hash_one(self.opened.fetch_add(1, Ordering::Relaxed)).to_le_bytes();
        Some(Arc::new(Stream::new(ids, place, others, proved, share, expires)))
    }

    fn subject_key(&self, subject: &str) -> u64 {
        self.hasher.hash_one(("subject", subject))
    }

    /// Returns the key of another issuer's token, session or subject, and the bucket whose log
    /// contains its revocations.
    fn external_place(&self, issuer: &str, id: &ExternalId) -> (u64, u32) {
        match &self.authority {
            StreamAuthority::Denylist(denylist) if self.log.is_some() => {
                let name = denylist.log_name(issuer, id);
                (self.hasher.hash_one(("external", &name.id)), name.bucket)
            }
            _ => (self.hasher.hash_one((issuer, id)), 0),
        }
    }

    fn ask_at_once(&self, key: u64) {
        let mut urgent = lock(&self.urgent);
        // If the queue is longer, the watcher asks about all streams. A further key has no effect.
        if urgent.len() <= MOST_URGENT && !urgent.contains(&key) {
            urgent.push(key);
        }
        drop(urgent);
        self.bell.notify_one();
    }

    /// Empties the queue of urgent keys, and calls `mark` for each stream with one of these keys.
    /// If the queue was too long, calls `mark` for all streams.
    pub(super) fn take_urgent(&self, mut mark: impl FnMut(&Arc<Stream>)) {
        let keys = mem::take(&mut *lock(&self.urgent));
        if keys.len() > MOST_URGENT {
            return self.registry.for_each(mark);
        }
        for key in keys {
            self.registry.announce(key, &mut mark);
        }
    }

    /// Asks the store about the token of a stream. Resolves to `None` if the store fails or does
    /// not answer in time.
    pub(super) fn question(&self, stream: &Stream) -> BoxFuture<Option<Verdict>> {
        let ids = stream.ids().read().to_owned(&self.issuer);
        let patience = self.pace.patience();
        match &self.authority {
            StreamAuthority::Nothing => Box::pin(async { None }),
            StreamAuthority::Sessions(store) => {
                let OwnedIds { subject, session: Some(session), token, .. } = ids else {
                    return Box::pin(async { Some(Verdict::Ended(CutoffCause::Revoked)) });
                };
                let answer = store.check(&subject, &session, &token);
                Box::pin(async move {
                    let checked = timeout(patience, answer.into_future()).await.ok()?.ok()?;
                    Some(judge_session(&checked))
                })
            }
            StreamAuthority::Denylist(denylist) => {
                let (issued_at, rules) = (stream.ids().read().issued_at(), self.denial_rules);
                let answer = denylist.denied(ids.deny_query());
                Box::pin(async move {
                    let denial = timeout(patience, answer.into_future()).await.ok()?.ok()?;
                    Some(judge_denial(issued_at, &denial, rules))
                })
            }
        }
    }

    /// Reports to the replica that the store has confirmed a stream's token. Returns true if the
    /// log covers the token from now on.
    pub(super) fn confirm(&self, stream: &Stream, at: Timestamp, server: Option<crate::store::ServerId>) -> bool {
        let Some(Followed { replica, .. }) = self.followed.get() else { return false };
        let ids = stream.ids().read().to_owned(&self.issuer);
        let bearer = ids.bearer();
        let route = match self.authority {
            StreamAuthority::Denylist(_) => replica.external_route(bearer.issuer, ids.external()),
            _ => replica.route(&bearer),
        };
        replica.confirm(&route, &bearer, at, server);
        self.look(stream)
    }
}

/// The listener that the replica calls for each revocation. `core` is weak, because the core may
/// own the tasks of the replica.
struct Listener {
    registry: Arc<Registry<Stream>>,
    core: Weak<Core>,
}

impl RevocationListener for Listener {
    fn is_urgent(&self) -> bool {
        self.registry.open() > 0
    }

    fn revoked(&self, revocations: &mut dyn Iterator<Item = &Revocation>) {
        if self.registry.open() > 0
            && let Some(core) = self.core.upgrade()
        {
            revocations.for_each(|revocation| core.announce(revocation));
        }
    }
}

impl Followed {
    fn new(replica: Arc<Replica>, tasks: Arc<ReplicaTasks>) -> Self {
        let proven = (0..replica.bucket_count()).map(|_| AtomicU64::new(0)).collect();
        Self { replica, _tasks: tasks, proven }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(watcher) = lock(&self.watcher).take() {
            watcher.abort();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

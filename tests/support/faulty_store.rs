//! A memory store that answers late, fails or hangs on command.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tower_bearer::{
    SessionId, Subject, TokenId,
    clock::{Clock, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{
        Answer, Checked, Denial, DenyQuery, DenyRequest, Denylist, ExternalId, ExternalName, LogPage, LogQuery,
        MemoryStore, OpenSession, Opened, Page, Revocation, RevocationLog, Revoked, RotateRefresh, Rotated,
        SessionPage, SessionStore, StoreAnswer,
    },
};

/// Every kind of store error.
pub const STORE_ERRORS: [StoreErrorKind; 7] = [
    StoreErrorKind::Unavailable,
    StoreErrorKind::Timeout,
    StoreErrorKind::OutOfMemory,
    StoreErrorKind::Untrusted,
    StoreErrorKind::Layout,
    StoreErrorKind::Rejected,
    StoreErrorKind::Overloaded,
];

/// The way in which the store answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Behaviour {
    /// Answers at once, as the memory store does.
    AtOnce,
    /// Answers at the second poll.
    Late,
    /// Does the work and answers when [`FaultyStore::release`] is called.
    Held,
    /// Does the work at once and answers when [`FaultyStore::release`] is called, as if the node
    /// stalled before it read the answer.
    DoneThenHeld,
    /// Fails with this error and does nothing.
    Fails(StoreErrorKind),
    /// Never answers.
    Hangs,
}

/// A handle of a store. Clones share the store.
#[derive(Clone)]
pub struct FaultyStore(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    memory: Mutex<Arc<MemoryStore>>,
    /// The arguments of `keep_log_for` and `allow_staleness`.
    log_settings: Mutex<(Duration, Duration)>,
    behaviour: Mutex<Behaviour>,
    /// The method that has the behaviour; `None` for all.
    only: Mutex<Option<&'static str>>,
    released: watch::Sender<u64>,
    calls: AtomicUsize,
    writes: AtomicUsize,
    checks: AtomicUsize,
    waiting: Arc<AtomicUsize>,
}

impl FaultyStore {
    pub fn new(clock: impl Clock) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        Self(Arc::new(Inner {
            memory: Mutex::new(Arc::new(MemoryStore::with_clock(Shared(Arc::clone(&clock))))),
            clock,
            log_settings: Mutex::default(),
            behaviour: Mutex::new(Behaviour::AtOnce),
            only: Mutex::new(None),
            released: watch::Sender::new(0),
            calls: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            checks: AtomicUsize::new(0),
            waiting: Arc::default(),
        }))
    }

    /// Sets the behaviour of every method.
    pub fn answer(&self, behaviour: Behaviour) {
        *self.0.only.lock().unwrap() = None;
        *self.0.behaviour.lock().unwrap() = behaviour;
    }

    /// Sets the behaviour of one method. The others answer at once.
    pub fn answer_only(&self, method: &'static str, behaviour: Behaviour) {
        *self.0.only.lock().unwrap() = Some(method);
        *self.0.behaviour.lock().unwrap() = behaviour;
    }

    /// Releases all held calls.
    pub fn release(&self) {
        self.0.released.send_modify(|count| *count += 1);
    }

    /// Returns the number of calls.
    pub fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    /// Returns the number of calls that write.
    pub fn writes(&self) -> usize {
        self.0.writes.load(Ordering::SeqCst)
    }

    /// Returns the number of calls that check a token.
    pub fn checks(&self) -> usize {
        self.0.checks.load(Ordering::SeqCst)
    }

    /// Replaces the store by an empty one with the same log settings, as nodes would set them
    /// again.
    pub fn lose_everything(&self) {
        let (keep, staleness) = *self.0.log_settings.lock().unwrap();
        let empty = MemoryStore::with_clock(Shared(Arc::clone(&self.0.clock)));
        empty.keep_log_for(keep);
        empty.allow_staleness(staleness);
        *self.0.memory.lock().unwrap() = Arc::new(empty);
    }

    fn memory(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.0.memory.lock().unwrap())
    }

    /// Returns the number of pending answers.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst)
    }

    fn call<T: Send + 'static>(
        &self,
        method: &'static str,
        work: impl FnOnce(&MemoryStore) -> StoreAnswer<T> + Send + 'static,
    ) -> StoreAnswer<T> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        if !matches!(method, "check" | "sessions" | "denied" | "log" | "ping") {
            self.0.writes.fetch_add(1, Ordering::SeqCst);
        }
        if matches!(method, "check" | "denied") {
            self.0.checks.fetch_add(1, Ordering::SeqCst);
        }
        let only = *self.0.only.lock().unwrap();
        let behaviour = *self.0.behaviour.lock().unwrap();
        let behaviour = if only.is_none_or(|only| only == method) { behaviour } else { Behaviour::AtOnce };
        if behaviour == Behaviour::AtOnce {
            return work(&self.memory());
        }
        let memory = self.memory();
        let mut released = self.0.released.subscribe();
        let waits = Waits::begin(&self.0.waiting);
        Answer::pending(async move {
            let _waits = waits;
            tokio::task::yield_now().await;
            match behaviour {
                Behaviour::Held => released.changed().await.unwrap(),
                Behaviour::Fails(kind) => return Err(StoreError::new(kind)),
                Behaviour::Hangs => std::future::pending().await,
                Behaviour::DoneThenHeld => {
                    let done = work(&memory).await;
                    released.changed().await.unwrap();
                    return done;
                }
                Behaviour::AtOnce | Behaviour::Late => {}
            }
            work(&memory).await
        })
    }
}

/// The clock that a store shares with its replacement.
struct Shared(Arc<dyn Clock>);

impl Clock for Shared {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

struct Waits(Arc<AtomicUsize>);

impl Waits {
    fn begin(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(waiting))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl SessionStore for FaultyStore {
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
        self.call("open", move |store| store.open(open))
    }

    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked> {
        let (subject, sid, jti) = (subject.clone(), sid.clone(), jti.clone());
        self.call("check", move |store| store.check(&subject, &sid, &jti))
    }

    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
        self.call("rotate", move |store| store.rotate(rotate))
    }

    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked> {
        let (subject, sid) = (subject.clone(), sid.clone());
        self.call("revoke_session", move |store| store.revoke_session(&subject, &sid))
    }

    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked> {
        let (subject, jti) = (subject.clone(), jti.clone());
        self.call("revoke_token", move |store| store.revoke_token(&subject, &jti, until))
    }

    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked> {
        let (subject, except) = (subject.clone(), except.cloned());
        self.call("revoke_all", move |store| store.revoke_all(&subject, except.as_ref()))
    }

    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage> {
        let subject = subject.clone();
        self.call("sessions", move |store| store.sessions(&subject, page))
    }

    fn ping(&self) -> StoreAnswer<Timestamp> {
        self.call("ping", SessionStore::ping)
    }

    fn probe(&self) -> StoreAnswer<()> {
        self.call("probe", SessionStore::probe)
    }

    fn now(&self) -> Timestamp {
        self.memory().now()
    }

    fn name(&self) -> &'static str {
        "faulty"
    }

    fn revocation_log(self: Arc<Self>) -> Option<Arc<dyn RevocationLog>> {
        Some(self)
    }

    fn denylist(self: Arc<Self>) -> Option<Arc<dyn Denylist>> {
        Some(self)
    }
}

impl RevocationLog for FaultyStore {
    fn buckets(&self) -> u32 {
        self.memory().buckets()
    }

    fn bucket_of(&self, subject: &Subject) -> u32 {
        self.memory().bucket_of(subject)
    }

    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage> {
        self.call("log", move |store| RevocationLog::read(store, bucket, query))
    }

    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()> {
        self.call("republish", move |store| store.republish(bucket, revocation, until))
    }

    fn keep_log_for(&self, keep: Duration) {
        let mut log_settings = self.0.log_settings.lock().unwrap();
        log_settings.0 = log_settings.0.max(keep);
        self.memory().keep_log_for(keep);
    }

    fn allow_staleness(&self, staleness: Duration) {
        let mut log_settings = self.0.log_settings.lock().unwrap();
        log_settings.1 = log_settings.1.max(staleness);
        self.memory().allow_staleness(staleness);
    }

    fn clock_margin(&self) -> Duration {
        self.memory().clock_margin()
    }
}

impl Denylist for FaultyStore {
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked> {
        self.call("deny", move |store| store.deny(deny))
    }

    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial> {
        self.call("denied", move |store| store.denied(query))
    }

    /// A memory store keeps denials as long as the log.
    fn keep_denials_for(&self, keep: Duration) {
        self.keep_log_for(keep);
    }

    fn log_name(&self, issuer: &str, id: &ExternalId) -> ExternalName {
        self.memory().log_name(issuer, id)
    }
}

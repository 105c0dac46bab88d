//! The keys of one issuer, and the task that fetches them.
//!
//! The issuer states how long caches may use its keys: the *fresh time*. The keys are *fresh* until
//! that time has passed. `cool_down` and `max_stale` are settings of the issuer.
//!
//! | event | effect |
//! |--|--|
//! | the task starts, or 85 to 90 % of the fresh time has passed | the task fetches the keys |
//! | a token has an unknown key | the task fetches once per `cool_down`; the request waits |
//! | a fetch returns other keys | they replace the old keys, also for tokens in the cache |
//! | a fetched JWK Set has no usable key, or has a secret | the node drops all keys |
//! | a fetch fails | the old keys stay, and the task tries again |
//! | no fetch succeeds for `max_stale` | the node drops all keys: requests get 503 |
//!
//! Only the task calls the key source. A request waits for a fetch only if its key is unknown. So a
//! slow key server delays only requests with an unknown key of its own issuer.
//!
//! If the machine is suspended, Tokio's timers stop. [`Clock::elapsed`] continues, so the module
//! measures times with it. The task reads this clock at least once per [`STEP`].

use std::{
    error::Error as _,
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};
use futures_util::FutureExt;
use serde::Serialize;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::key_source::{FETCH_DEADLINE, KeySource, PublishedKeys};
use crate::{
    clock::{Clock, jittered},
    error::{ConfigError, Error, KeySourceError, KeySourceErrorKind, TokenError, chain},
    jwt::{Algorithm, KeySet, NoKeys},
    observe::{KeyFetchResult, Observation, SharedObserver},
    store::BoxFuture,
};

/// The time for which fetched keys are fresh if the issuer sets no time for caches. While fetches
/// succeed, a withdrawn key of such an issuer verifies tokens for at most this time.
const INTERVAL: Duration = Duration::from_secs(15 * 60);
/// The limits of the time for which fetched keys are fresh. *Without these limits, the task would
/// fetch a set with `no-cache` continuously, and a set with a cache time of a year only once.*
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5 * 60);
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// The longest pause between two readings of the clock.
const STEP: Duration = Duration::from_secs(60);
/// The longest time for which a request waits for a fetch.
const PATIENCE: Duration = Duration::from_secs(1);
/// The maximum number of requests that wait for a fetch of one issuer. Further requests get their
/// answer at once. Otherwise waiting requests could fill the memory.
const MOST_WAITING: usize = 1024;
/// The shortest time between two log messages about an issuer whose fetches fail.
#[cfg(feature = "tracing")]
const LOG_INTERVAL: Duration = Duration::from_secs(3600);

/// The settings for the times of fetches.
#[derive(Clone, Copy, Debug)]
pub(super) struct FetchTimes {
    pub(super) cool_down: Duration,
    pub(super) max_stale: Duration,
}

impl Default for FetchTimes {
    fn default() -> Self {
        Self { cool_down: Duration::from_secs(60), max_stale: Duration::from_secs(24 * 3600) }
    }
}

impl FetchTimes {
    pub(super) fn check(self) -> Result<(), ConfigError> {
        let (second, hour, year) = (Duration::from_secs(1), Duration::from_secs(3600), Duration::from_secs(31_622_400));
        if !(second..=hour).contains(&self.cool_down) {
            return Err(ConfigError::out_of_range(
                "cool_down",
                format!("is {:?}, which is out of range", self.cool_down),
                "give one second to an hour, such as `Duration::from_secs(60)`",
            ));
        }
        if !(self.cool_down..=year).contains(&self.max_stale) {
            return Err(ConfigError::out_of_range(
                "max_stale",
                format!("is {:?}, which is out of range", self.max_stale),
                "give at least the value of `cool_down`, and at most 366 days",
            ));
        }
        Ok(())
    }
}

/// The keys of one issuer.
pub(crate) struct IssuerKeys {
    identifier: String,
    current: ArcSwapOption<VersionedKeys>,
    /// The version of the present keys. If a cached token was verified with another version, the
    /// node verifies it again.
    version: AtomicU64,
    /// `None` if the keys are fixed.
    fetching: Option<Fetching>,
}

/// A key set and its version. Each replacement of the keys raises the version by one.
pub(crate) struct VersionedKeys {
    pub(crate) keys: KeySet,
    pub(crate) version: u64,
}

struct Fetching {
    clock: Arc<dyn Clock>,
    source: Arc<dyn KeySource>,
    algorithms: Vec<Algorithm>,
    times: FetchTimes,
    state: Mutex<FetchState>,
    /// The number of finished fetches.
    finished: watch::Sender<u64>,
    /// Wakes the task if a token has an unknown key.
    wanted: Notify,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct FetchState {
    /// The JWK Set of the present keys, as text.
    jwks: Option<String>,
    /// True from the request for a fetch until the fetch has ended.
    is_under_way: bool,
    /// True if the task has ended. No fetch follows then.
    has_ended: bool,
    /// The earliest time at which a token with an unknown key may cause a fetch.
    allowed_at: Option<Duration>,
    /// The end of the last fetch that returned a JWK Set.
    fetched_at: Option<Duration>,
    /// The time at which the present keys stop being fresh.
    fresh_until: Option<Duration>,
    /// The number of failed fetches since the last successful one.
    failures: u32,
    /// The failure of the last fetch. `None` if the last fetch succeeded.
    failure: Option<Failure>,
    /// The time of the last log message about failures.
    #[cfg(feature = "tracing")]
    logged_at: Option<Duration>,
}

/// The content of a [`KeySourceError`], which cannot be cloned. Each refused request gets an error
/// of its own.
#[derive(Clone)]
struct Failure {
    kind: KeySourceErrorKind,
    cause: Option<String>,
}

impl Failure {
    fn of(error: &KeySourceError) -> Self {
        Self { kind: error.kind(), cause: error.source().map(chain) }
    }

    fn error(&self) -> KeySourceError {
        let error = KeySourceError::new(self.kind);
        match &self.cause {
            Some(cause) => error.with_source(cause.clone()),
            None => error,
        }
    }
}

/// The state of an issuer's keys, in [`Status::issuers`](crate::tokens::Status::issuers).
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct IssuerStatus {
    /// The issuer's identifier.
    pub issuer: String,
    /// The number of keys that can verify tokens.
    pub keys: usize,
    /// The number of finished fetches. Zero for fixed keys.
    pub fetches: u64,
    /// The time in seconds since the last fetch that returned a JWK Set. `None` for fixed keys, and
    /// before the first such fetch.
    pub age_seconds: Option<u64>,
    /// True if the keys are fixed, or if the issuer still lets caches use them.
    pub is_fresh: bool,
    /// The reason why the last fetch failed. `None` if it succeeded.
    pub last_error: Option<String>,
}

impl IssuerKeys {
    pub(super) fn fixed(identifier: String, keys: KeySet) -> Self {
        let current = ArcSwapOption::from_pointee(VersionedKeys { keys, version: 0 });
        Self { identifier, current, version: AtomicU64::new(0), fetching: None }
    }

    pub(super) fn fetched(
        identifier: String,
        clock: Arc<dyn Clock>,
        source: Arc<dyn KeySource>,
        algorithms: Vec<Algorithm>,
        times: FetchTimes,
    ) -> Self {
        let fetching = Fetching {
            clock,
            source,
            algorithms,
            times,
            state: Mutex::default(),
            finished: watch::Sender::new(0),
            wanted: Notify::new(),
            waiting: AtomicUsize::new(0),
        };
        Self { identifier, current: ArcSwapOption::empty(), version: AtomicU64::new(0), fetching: Some(fetching) }
    }

    /// Returns the present keys. Returns `None` before the first fetch that gets keys, if the keys
    /// are too old, and if the task has ended.
    pub(crate) fn load(&self) -> Guard<Option<Arc<VersionedKeys>>> {
        self.current.load()
    }

    /// Returns the version of the present keys.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Asks the task for a fetch, because the key of a token is unknown. Returns a future that
    /// waits for the fetch.
    ///
    /// Returns `None` if the last fetch is too recent, if too many requests wait, or if no task can
    /// fetch the keys.
    pub(crate) fn demand(self: &Arc<Self>) -> Option<BoxFuture<()>> {
        let fetching = self.fetching.as_ref()?;
        // The timer of the future needs a runtime.
        Handle::try_current().ok()?;
        let mut state = fetching.lock();
        if state.has_ended {
            return None;
        }
        if !state.is_under_way {
            if state.allowed_at.is_some_and(|allowed_at| fetching.clock.elapsed() < allowed_at) {
                return None;
            }
            state.is_under_way = true;
            fetching.wanted.notify_one();
        }
        let mut finished = fetching.finished.subscribe();
        drop(state);
        let place = WaitingPlace::take(self)?;
        Some(Box::pin(async move {
            // Ignores the result, because the caller looks for the key again in any case. An error
            // means that the service is gone or the fetch takes longer than [`PATIENCE`].
            let _ = timeout(PATIENCE, finished.changed()).await;
            drop(place);
        }))
    }

    /// Returns the error for a token whose key is still unknown after the wait.
    ///
    /// | first case that applies | error |
    /// |--|--|
    /// | the keys are fixed | [`TokenError::UnknownKey`] |
    /// | the keys are fresh, and no fetch is under way | [`TokenError::UnknownKey`] |
    /// | the last finished fetch failed, so the key may exist | the error of this fetch |
    /// | the last fetch succeeded, and no fetch is under way | [`TokenError::UnknownKey`] |
    /// | no fetch has finished, or a fetch is under way | [`KeySourceErrorKind::Timeout`] |
    pub(crate) fn unknown_key(&self) -> Error {
        let Some(fetching) = &self.fetching else { return TokenError::UnknownKey.into() };
        let state = fetching.lock();
        if state.is_fresh(&*fetching.clock) && !state.is_under_way {
            return TokenError::UnknownKey.into();
        }
        match &state.failure {
            Some(failure) => failure.error().into(),
            None if state.fetched_at.is_some() && !state.is_under_way => TokenError::UnknownKey.into(),
            None => KeySourceError::new(KeySourceErrorKind::Timeout).into(),
        }
    }

    /// Waits until the first fetch has ended. Returns its error if it failed.
    pub(crate) async fn first_fetch(&self) -> Result<(), KeySourceError> {
        let Some(fetching) = &self.fetching else { return Ok(()) };
        let mut finished = fetching.finished.subscribe();
        // This can fail only if the sender is gone, but `self` owns the sender.
        let _ = finished.wait_for(|count| *count > 0).await;
        match &fetching.lock().failure {
            Some(failure) => Err(failure.error()),
            None => Ok(()),
        }
    }

    pub(crate) fn identifier(&self) -> &str {
        &self.identifier
    }

    pub(crate) fn status(&self) -> IssuerStatus {
        let keys = self.load().as_ref().map_or(0, |current| current.keys.verifying_keys().len());
        let mut status = IssuerStatus {
            issuer: self.identifier.clone(),
            keys,
            fetches: 0,
            age_seconds: None,
            is_fresh: true,
            last_error: None,
        };
        if let Some(fetching) = &self.fetching {
            let state = fetching.lock();
            status.fetches = *fetching.finished.borrow();
            status.age_seconds = state.fetched_at.map(|at| fetching.clock.elapsed().saturating_sub(at).as_secs());
            status.is_fresh = state.is_fresh(&*fetching.clock);
            status.last_error = state.failure.as_ref().map(|failure| chain(&failure.error()));
        }
        status
    }

    /// Fetches the keys once, and reports the fetch to the observer. Returns the time at which the
    /// next fetch is due. A token with an unknown key may cause an earlier fetch.
    async fn fetch(&self, fetching: &Fetching, observer: &SharedObserver) -> Duration {
        let began = fetching.clock.elapsed();
        let present = {
            let mut state = fetching.lock();
            state.is_under_way = true;
            state.allowed_at = Some(began.saturating_add(fetching.times.cool_down));
            state.jwks.clone()
        };
        // The set is parsed without the lock, because a large set takes some milliseconds.
        let outcome = fetching.ask_source().await.and_then(|published| fetching.read(published, present.as_deref()));
        let mut state = fetching.lock();
        state.is_under_way = false;
        let now = fetching.clock.elapsed();
        let failure = match outcome {
            Err(error) => Some(error),
            Ok(Fetched { interval, change }) => {
                state.fetched_at = Some(now);
                state.fresh_until = Some(now.saturating_add(interval));
                match change {
                    Change::None => None,
                    Change::Keys(keys, jwks) => {
                        self.replace(Some(keys));
                        state.jwks = Some(jwks);
                        None
                    }
                    Change::Withdrawn(error) => {
                        self.replace(Some(KeySet::none()));
                        state.jwks = None;
                        Some(error)
                    }
                }
            }
        };
        let result = failure.as_ref().map_or(KeyFetchResult::Ok, |error| KeyFetchResult::Failed(error.kind()));
        let next = if let Some(error) = failure {
            state.failures = state.failures.saturating_add(1);
            #[cfg(feature = "tracing")]
            self.log_failure(&mut state, &error, now);
            state.failure = Some(Failure::of(&error));
            let longest = SHORTEST_INTERVAL.max(fetching.times.cool_down);
            let doubled = fetching.times.cool_down.saturating_mul(1 << (state.failures - 1).min(8));
            began.saturating_add(doubled.min(longest))
        } else {
            #[cfg(feature = "tracing")]
            self.log_recovery(&mut state);
            (state.failures, state.failure) = (0, None);
            // The next fetch must come before the keys are out of date or too old. Without the
            // random part, all nodes would fetch at the same moment.
            let lifetime = state.fresh_until.unwrap_or(now).saturating_sub(now).min(fetching.times.max_stale);
            now.saturating_add(lifetime.mul_f64(0.8)).saturating_add(jittered(lifetime.mul_f64(0.1)))
        };
        drop(state);
        // Not under the lock, because the observer may read the status.
        observer.observe(|| Observation::KeysFetched { result, duration: now.saturating_sub(began) });
        fetching.finished.send_modify(|count| *count += 1);
        next
    }

    /// Replaces the keys. Stores the keys before the version. Otherwise a token that was verified
    /// with the old keys could get the new version.
    fn replace(&self, keys: Option<KeySet>) {
        let version = self.version.load(Ordering::Relaxed).wrapping_add(1);
        self.current.store(keys.map(|keys| Arc::new(VersionedKeys { keys, version })));
        self.version.store(version, Ordering::Release);
    }

    /// Drops the keys, because no fetch has succeeded for `max_stale`.
    fn drop_stale(&self, fetching: &Fetching) {
        let mut state = fetching.lock();
        (state.jwks, state.fresh_until) = (None, None);
        self.replace(None);
        drop(state);
        #[cfg(feature = "tracing")]
        tracing::error!(
            issuer = self.identifier,
            "the keys of an issuer are too old; its tokens get 503 until a fetch succeeds"
        );
    }

    #[cfg(feature = "tracing")]
    fn log_failure(&self, state: &mut FetchState, error: &KeySourceError, now: Duration) {
        if state.logged_at.is_none_or(|at| now.saturating_sub(at) >= LOG_INTERVAL) {
            state.logged_at = Some(now);
            let (issuer, failures, error) = (&self.identifier, state.failures, chain(error));
            tracing::warn!(issuer, failures, "the keys of an issuer cannot be fetched: {error}");
        }
    }

    #[cfg(feature = "tracing")]
    fn log_recovery(&self, state: &mut FetchState) {
        if state.failures > 0 {
            // If fetches fail again later, the first failure is logged at once, even within
            // `LOG_INTERVAL`.
            state.logged_at = None;
            tracing::info!(issuer = self.identifier, failures = state.failures, "the keys of an issuer were fetched");
        }
    }
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerKeys").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl FetchState {
    /// Returns true if the issuer still lets caches use the present keys.
    fn is_fresh(&self, clock: &dyn Clock) -> bool {
        self.fresh_until.is_some_and(|until| clock.elapsed() < until)
    }
}

/// A JWK Set that was just fetched.
struct Fetched {
    /// The time for which the keys are fresh.
    interval: Duration,
    change: Change,
}

/// The change of the present keys that a fetched set causes.
enum Change {
    None,
    Keys(KeySet, String),
    /// The set has no usable key, or has a secret. The node drops the present keys. *Otherwise an
    /// issuer could not withdraw its only key after a leak.*
    Withdrawn(KeySourceError),
}

impl Fetching {
    fn read(&self, published: PublishedKeys, present: Option<&str>) -> Result<Fetched, KeySourceError> {
        let interval = published.max_age.unwrap_or(INTERVAL).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        let unreadable = |error| KeySourceError::new(KeySourceErrorKind::Unreadable).with_source(error);
        if present == Some(published.jwks.as_str()) {
            return Ok(Fetched { interval, change: Change::None });
        }
        let change = match KeySet::read_published(&self.algorithms, &published.jwks) {
            Ok(keys) => Change::Keys(keys, published.jwks),
            Err(NoKeys::Withdrawn(error)) => Change::Withdrawn(unreadable(error)),
            Err(NoKeys::Unreadable(error)) => return Err(unreadable(error)),
        };
        Ok(Fetched { interval, change })
    }

    fn lock(&self) -> MutexGuard<'_, FetchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the set from the source within [`FETCH_DEADLINE`]. If the source panics, the fetch
    /// has failed.
    async fn ask_source(&self) -> Result<PublishedKeys, KeySourceError> {
        let answer = AssertUnwindSafe(async { self.source.fetch().await }).catch_unwind();
        match timeout(FETCH_DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(KeySourceError::new(KeySourceErrorKind::Unreadable)
                .with_source("the key source panicked; see the panic message and correct it")),
            Err(_) => Err(KeySourceError::new(KeySourceErrorKind::Timeout)),
        }
    }

    /// Returns the time at which the present keys become too old. Returns `None` if there are no
    /// keys.
    fn stale_at(&self) -> Option<Duration> {
        let state = self.lock();
        state.jwks.as_ref()?;
        Some(state.fetched_at?.saturating_add(self.times.max_stale))
    }

    /// Waits until `next`, or until a token with an unknown key causes an earlier fetch. Drops the
    /// keys when they become too old.
    async fn wait(&self, keys: &IssuerKeys, next: Duration) {
        loop {
            let stale_at = self.stale_at();
            let until = stale_at.map_or(next, |stale_at| stale_at.min(next));
            let left = until.saturating_sub(self.clock.elapsed()).min(STEP);
            tokio::select! {
                // The notification may be old: its request has already got the result of the last
                // fetch. A request that still waits has set `is_under_way`.
                () = self.wanted.notified() => if self.lock().is_under_way { return },
                () = sleep(left) => {}
            }
            let now = self.clock.elapsed();
            if stale_at.is_some_and(|stale_at| stale_at <= now) {
                keys.drop_stale(self);
            }
            if next <= now {
                return;
            }
        }
    }
}

/// The place of one request among those that wait for a fetch. Dropping it frees the place.
struct WaitingPlace(Arc<IssuerKeys>);

impl WaitingPlace {
    fn take(keys: &Arc<IssuerKeys>) -> Option<Self> {
        let waiting = &keys.fetching.as_ref()?.waiting;
        if waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(Arc::clone(keys)))
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        if let Some(fetching) = &self.0.fetching {
            fetching.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The task that fetches the keys of one issuer. Dropping this value ends the task.
pub(super) struct FetchTask(AbortHandle);

impl FetchTask {
    /// Starts the task, which reports each fetch to the observer. Returns `None` if the keys are
    /// fixed.
    ///
    /// # Errors
    ///
    /// There is no Tokio runtime.
    pub(super) fn start(keys: &Arc<IssuerKeys>, observer: &SharedObserver) -> Result<Option<Self>, ConfigError> {
        let Some(fetching) = &keys.fetching else { return Ok(None) };
        let runtime = Handle::try_current().map_err(|error| {
            let problem = "is called for an issuer whose keys a task must fetch, but there is no Tokio runtime";
            ConfigError::new("accept", problem, "call `build` or `connect` in a Tokio runtime").with_source(error)
        })?;
        // The task fetches at once. Without this flag, an early request would ask for a second
        // fetch.
        fetching.lock().is_under_way = true;
        let guard = EndGuard(Arc::clone(keys));
        let observer = observer.clone();
        let task = runtime.spawn(async move {
            let keys = &guard.0;
            let Some(fetching) = &keys.fetching else { return };
            loop {
                let next = keys.fetch(fetching, &observer).await;
                fetching.wait(keys, next).await;
            }
        });
        Ok(Some(Self(task.abort_handle())))
    }
}

impl Drop for FetchTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A guard that drops the keys when the task ends, for example by a panic or with its runtime.
/// *Otherwise a withdrawn key would verify tokens for ever.*
struct EndGuard(Arc<IssuerKeys>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        if let Some(fetching) = &self.0.fetching {
            let mut state = fetching.lock();
            let text = "the task that fetches the keys has ended with its runtime; build the service in a runtime \
                        that lives as long";
            state.failure = Some(Failure { kind: KeySourceErrorKind::Unreachable, cause: Some(text.to_owned()) });
            (state.jwks, state.fresh_until, state.is_under_way, state.has_ended) = (None, None, false, true);
            self.0.replace(None);
            drop(state);
            fetching.finished.send_modify(|count| *count += 1);
        }
    }
}

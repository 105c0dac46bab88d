//! Password hashing with bcrypt, on blocking threads and with bounded concurrency.
//!
//! bcrypt is slow on purpose: one hash takes some tenths of a second at the default cost. So
//! [`PasswordHasher`] limits the computations:
//!
//! * It computes on Tokio's blocking threads. On an async thread, a computation would block other
//!   requests.
//! * By default it computes one hash per processor at a time. Without a limit, logins could occupy
//!   all processors.
//! * A limited number of further calls wait for a limited time. All other calls fail immediately
//!   with [`PasswordError::Overloaded`].
//!
//! | `fastcore.security` | this module |
//! |--|--|
//! | `get_password_hash` | [`PasswordHasher::hash`] |
//! | `verify_password` | [`PasswordHasher::verify`] |
//!
//! This module verifies the hashes of `fastcore.security` (`$2b$`, cost 12). It also verifies
//! hashes with Spring's prefix, `{bcrypt}$2b$…`, but writes no prefix.
//!
//! Unlike `fastcore.security`, this module refuses an empty password. It also refuses a password
//! that bcrypt would hash only in part: over 71 bytes (CVE-2025-22228), or with a NUL byte.
//!
//! # The same password from every keyboard
//!
//! Some systems send `ä` as one code point, others as `a` and a combining diaeresis. The hasher
//! converts each password to the Unicode form NFKC, in which both are equal. NIST SP 800-63B
//! advises NFKC or NFKD (section 3.1.1.2, in the third edition 5.1.1.2). NFKC has two advantages:
//!
//! * It is shorter than NFKD, and bcrypt has room for only 71 bytes.
//! * Most keyboards already send it, so most old hashes match at the first attempt.
//!
//! NFKC also makes similar characters equal: `２` and `²` become `2`.
//!
//! Another library may have hashed the password as typed, without NFKC. Such a hash stays valid: if
//! the typed text differs from its NFKC form, the check hashes both texts, and one match is enough.
//! A password in ASCII equals its NFKC form, and costs one computation.
//!
//! # The same cost for every user
//!
//! If the response for an unknown user came sooner, an attacker could find out which users exist
//! (CVE-2016-6210). Therefore:
//!
//! * For an unknown user, call [`verify_or_dummy`](PasswordHasher::verify_or_dummy) with `None`.
//! * A check against an unusable stored hash takes as long as a check against a usable one.
//! * If a stored hash has a lower cost than the configured one, the check adds the missing rounds.
//!   If it has a higher cost, the check takes longer. So replace each hash for which
//!   [`needs_rehash`](PasswordHasher::needs_rehash) returns true.
//! * If bcrypt cannot hash a password, the hasher refuses it without a computation. So an attacker
//!   cannot slow the login down with long passwords (row PWD-05 of `docs/conformance.md`). The
//!   quick refusal reveals nothing about users, because no account can have such a password.
//! * A password that is not in NFKC costs two computations, for every account. So the time depends
//!   only on the text that the client sent.
//!
//! Without optimization, bcrypt takes five times as long. These lines in your `Cargo.toml` optimize
//! bcrypt in debug builds:
//!
//! ```toml
//! [profile.dev.package.blowfish]
//! opt-level = 3
//! ```

use std::{
    fmt,
    hint::black_box,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bcrypt::HashParts;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task, time,
};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::{
    error::{ConfigError, PasswordError},
    observe::{Observation, Observer, SharedObserver},
};

/// A bcrypt hasher and verifier of passwords. Clones share one limit and one queue.
///
/// The async methods need a Tokio runtime with time enabled. If the caller drops a future, a
/// running computation continues to its end.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use tower_bearer::password::PasswordHasher;
///
/// let hasher = PasswordHasher::new(4)?; // for tests; `PasswordHasher::default()` has cost 12
/// let stored = hasher.hash("correct horse battery staple").await?;
///
/// assert!(hasher.verify("correct horse battery staple", &stored).await?);
/// assert!(!hasher.verify("incorrect donkey", &stored).await?);
/// // For an unknown user: false, at the same cost.
/// assert!(!hasher.verify_or_dummy("whatever", None).await?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct PasswordHasher(Arc<Shared>, SharedObserver);

struct Shared {
    cost: u32,
    /// One permit for each computation that may run at the same time.
    workers: Arc<Semaphore>,
    /// One permit for each call that may wait for a worker.
    queue: Semaphore,
    max_wait: Duration,
    rounds: AtomicU64,
}

impl PasswordHasher {
    /// The default cost: 2^12 rounds, as in `fastcore.security`.
    pub const DEFAULT_COST: u32 = 12;
    /// The lowest cost of bcrypt.
    pub const MIN_COST: u32 = 4;
    /// The highest cost that this crate computes: about 20 seconds per hash. bcrypt allows up to
    /// 31, but one such hash would occupy a worker for more than a day.
    pub const MAX_COST: u32 = 18;

    /// The maximum number of waiting calls per worker. At the default cost, the last of them waits
    /// for about 5 seconds.
    const QUEUE_PER_WORKER: usize = 16;
    /// The longest time for which a call waits for a worker. Few users wait longer for a page.
    const MAX_WAIT: Duration = Duration::from_secs(5);

    /// Returns a hasher that computes 2^`cost` rounds for a hash. Use [12](Self::DEFAULT_COST), or
    /// the cost for which your machine needs 0.2 to 0.5 seconds. Use less than 10 only in tests.
    ///
    /// # Errors
    ///
    /// Returns an error if the cost is below [`MIN_COST`](Self::MIN_COST) or above
    /// [`MAX_COST`](Self::MAX_COST).
    pub fn new(cost: u32) -> Result<Self, ConfigError> {
        if cost < Self::MIN_COST {
            return Err(ConfigError::out_of_range(
                "cost",
                format!("is {cost}, below the minimum of 4"),
                "use 12, or 4 in tests",
            ));
        }
        if cost > Self::MAX_COST {
            return Err(ConfigError::out_of_range(
                "cost",
                format!("is {cost}, above the maximum of 18, so one login would take half a minute or more"),
                "use 12 (each step above 12 doubles the time)",
            ));
        }
        Ok(Self::with(cost, thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)))
    }

    /// Sets the maximum number of concurrent computations. Default: the number of processors. For
    /// each computation, 16 more calls may wait for up to 5 seconds.
    ///
    /// Call this method before you clone the hasher. It does not change the limit of earlier
    /// clones.
    #[must_use]
    pub fn max_concurrent(self, computations: NonZeroUsize) -> Self {
        Self(Self::with(self.0.cost, computations).0, self.1)
    }

    /// Sets an observer, which gets the duration of each computation. Pass the observer of the
    /// [token service](crate::tokens::TokenServiceBuilder::observer). Default: none.
    #[must_use]
    pub fn observer(self, observer: impl Observer) -> Self {
        Self(self.0, SharedObserver::new(observer))
    }

    fn with(cost: u32, workers: NonZeroUsize) -> Self {
        let permits = |count: usize| Semaphore::new(count.min(Semaphore::MAX_PERMITS));
        let shared = Arc::new(Shared {
            cost,
            workers: Arc::new(permits(workers.get())),
            queue: permits(workers.get().saturating_mul(Self::QUEUE_PER_WORKER)),
            max_wait: Self::MAX_WAIT,
            rounds: AtomicU64::new(0),
        });
        Self(shared, SharedObserver::default())
    }

    /// Hashes the NFKC form of a password with a new random salt. The hash has 60 characters:
    /// `$2b$12$…`.
    ///
    /// # Errors
    ///
    /// * [`Empty`](PasswordError::Empty), [`TooLong`](PasswordError::TooLong),
    ///   [`ContainsNul`](PasswordError::ContainsNul): bcrypt cannot hash all of this password. The
    ///   call computed nothing. Ask the user for another password.
    /// * [`Overloaded`](PasswordError::Overloaded): too many calls are waiting, or this call has
    ///   waited for 5 seconds.
    /// * [`Failed`](PasswordError::Failed): the system gave no random numbers, or the runtime is
    ///   shutting down.
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let password = normalised(password)?;
        let began = self.1.is_set().then(Instant::now);
        let hash = self
            .compute(move |shared| {
                shared.count(shared.cost);
                bcrypt::non_truncating_hash(password.as_bytes(), shared.cost).map_err(|_| PasswordError::Failed)
            })
            .await?;
        self.observe(began, |duration| Observation::PasswordHashed { duration });
        hash
    }

    /// Returns true if `hash` is a hash of this password, as typed or in NFKC. The hash may begin
    /// with Spring's prefix `{bcrypt}`.
    ///
    /// Returns false if bcrypt cannot hash all of the password. If the stored hash is not bcrypt's
    /// or its cost is out of range, the call logs a warning and returns false.
    ///
    /// # Errors
    ///
    /// * [`Overloaded`](PasswordError::Overloaded): too many calls are waiting, or this call has
    ///   waited for 5 seconds.
    /// * [`Failed`](PasswordError::Failed): the runtime is shutting down.
    pub async fn verify(&self, password: &str, hash: &str) -> Result<bool, PasswordError> {
        self.verify_or_dummy(password, Some(hash)).await
    }

    /// Checks a password as [`verify`](Self::verify) does. Pass `None` if the user does not exist,
    /// has no password or may not log in. The call then also computes a hash, and returns false.
    ///
    /// # Errors
    ///
    /// The same as those of [`verify`](Self::verify).
    pub async fn verify_or_dummy(&self, password: &str, hash: Option<&str>) -> Result<bool, PasswordError> {
        let texts = texts(password);
        if texts.iter().all(Option::is_none) {
            return Ok(false);
        }
        let stored = hash.and_then(usable);
        #[cfg(feature = "tracing")]
        if hash.is_some() && stored.is_none() {
            tracing::warn!("a stored password hash is not bcrypt's or has an unusable cost; reset the user's password");
        }
        let began = self.1.is_set().then(Instant::now);
        let matches = self
            .compute(move |shared| {
                let stored = stored.as_ref();
                // Checks the second text even if the first one matches. Otherwise a quick answer
                // would reveal a correct password, even if the application refuses the login.
                texts.iter().flatten().try_fold(false, |found, text| Ok(shared.check(text, stored)? || found))
            })
            .await?;
        self.observe(began, |duration| Observation::PasswordVerified { duration });
        matches
    }

    /// Returns true if a stored hash has another cost or version than the hashes of
    /// [`hash`](Self::hash). Call this method after a successful login. If it returns true, hash
    /// the password again and store the new hash.
    ///
    /// If a hash was made of a text that is not in NFKC, this method cannot detect it. To replace
    /// such hashes too, store a new hash after each login whose password is not ASCII.
    ///
    /// This method ignores Spring's prefix `{bcrypt}`. It returns true for `$2a$`, the version that
    /// Spring writes. If Spring still reads the same table, put the prefix before the new hash.
    /// Spring refuses a hash without the prefix.
    #[must_use]
    pub fn needs_rehash(&self, hash: &str) -> bool {
        let hash = without_prefix(hash);
        !(hash.starts_with("$2b$") && hash.parse().is_ok_and(|parts: HashParts| parts.get_cost() == self.0.cost))
    }

    /// Returns the number of bcrypt rounds that this hasher and its clones have begun: 2^cost for
    /// each hash.
    ///
    /// Use the number for metrics, and to test that your login costs the same for known and unknown
    /// users.
    #[must_use]
    pub fn rounds_computed(&self) -> u64 {
        self.0.rounds.load(Ordering::Relaxed)
    }

    /// Reports the duration of a computation to the observer, if there is one.
    fn observe(&self, began: Option<Instant>, observation: fn(Duration) -> Observation) {
        if let Some(began) = began {
            self.1.observe(|| observation(began.elapsed()));
        }
    }

    /// Runs `work` on a blocking thread. The closure owns the permit. If the caller drops this
    /// future, the permit stays in use until the computation ends.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let permit = self.worker().await?;
        let shared = Arc::clone(&self.0);
        task::spawn_blocking(move || {
            let _permit = permit;
            work(&shared)
        })
        .await
        .map_err(|_| PasswordError::Failed)
    }

    async fn worker(&self) -> Result<OwnedSemaphorePermit, PasswordError> {
        let Shared { workers, queue, max_wait, .. } = &*self.0;
        // This call cannot overtake waiting calls, because Tokio gives each free permit to the call
        // that has waited longest.
        if let Ok(permit) = Arc::clone(workers).try_acquire_owned() {
            return Ok(permit);
        }
        let _queued = queue.try_acquire().map_err(|_| PasswordError::Overloaded)?;
        match time::timeout(*max_wait, Arc::clone(workers).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(PasswordError::Failed),
            Err(_elapsed) => Err(PasswordError::Overloaded),
        }
    }
}

impl Default for PasswordHasher {
    /// Returns a hasher of cost 12 that computes one hash per processor at a time.
    fn default() -> Self {
        Self::with(Self::DEFAULT_COST, thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }
}

impl fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHasher").field("cost", &self.0.cost).finish_non_exhaustive()
    }
}

impl Shared {
    /// Checks one text against the stored hash. Without a stored hash, computes one of the
    /// configured cost and returns false.
    fn check(&self, text: &str, stored: Option<&(Zeroizing<String>, u32)>) -> Result<bool, PasswordError> {
        let Some((hash, cost)) = stored else {
            self.dummy(text, self.cost);
            return Ok(false);
        };
        self.count(*cost);
        let matches = bcrypt::non_truncating_verify(text.as_bytes(), hash);
        // The rounds add up to 2^c, for stored cost s and configured cost c: 2^s + 2^s + 2^(s+1) +
        // ... + 2^(c-1) = 2^c.
        for missing in *cost..self.cost {
            self.dummy(text, missing);
        }
        matches.map_err(|_| PasswordError::Failed)
    }

    /// Computes a hash of this cost and discards it. bcrypt does the same work for every salt, so
    /// the salt is fixed.
    fn dummy(&self, password: &str, cost: u32) {
        self.count(cost);
        let _ = black_box(bcrypt::hash_with_salt(black_box(password.as_bytes()), cost, [0x5a; 16]));
    }

    fn count(&self, cost: u32) {
        self.rounds.fetch_add(1 << cost.min(PasswordHasher::MAX_COST), Ordering::Relaxed);
    }
}

/// The longest password in bytes that bcrypt hashes as a whole. bcrypt reads 72 bytes, and the last
/// one is the end mark.
const MAX_BYTES: usize = 71;
/// The longest typed password in bytes that the hasher normalises. The limit bounds the work for a
/// flood of long passwords. A test proves that the NFKC form of any longer text exceeds
/// [`MAX_BYTES`].
const MAX_TYPED_BYTES: usize = 1024;

/// Returns the texts from which the stored hash may have been made: the password in NFKC, and the
/// password as typed if it differs. Omits each text that bcrypt cannot hash as a whole.
fn texts(password: &str) -> [Option<Zeroizing<String>>; 2] {
    let normalised = normalised(password).ok();
    let is_typed = normalised.as_ref().is_some_and(|normalised| normalised.as_str() == password);
    let typed = if is_typed { None } else { representable(password).ok() };
    [normalised, typed]
}

/// Returns the password in NFKC, or an error if bcrypt cannot hash all of it. Dropping the text
/// overwrites it in memory.
fn normalised(password: &str) -> Result<Zeroizing<String>, PasswordError> {
    if password.is_ascii() {
        return representable(password);
    }
    if password.len() > MAX_TYPED_BYTES {
        return Err(PasswordError::TooLong);
    }
    // The text must not grow beyond this capacity. Growing would leave a copy of the password in
    // memory.
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
    for c in password.nfkc() {
        if text.len() + c.len_utf8() > MAX_BYTES {
            return Err(PasswordError::TooLong);
        }
        text.push(c);
    }
    if text.contains('\0') { Err(PasswordError::ContainsNul) } else { Ok(text) }
}

/// Returns a copy of the password, or an error if bcrypt cannot hash all of it. Dropping the copy
/// overwrites it in memory.
fn representable(password: &str) -> Result<Zeroizing<String>, PasswordError> {
    match password.as_bytes() {
        [] => Err(PasswordError::Empty),
        bytes if bytes.len() > MAX_BYTES => Err(PasswordError::TooLong),
        bytes if bytes.contains(&0) => Err(PasswordError::ContainsNul),
        _ => Ok(Zeroizing::new(password.to_owned())),
    }
}

/// Returns a copy of the stored hash, and its cost. Returns `None` if the hash is not bcrypt's or
/// its cost is out of range.
fn usable(hash: &str) -> Option<(Zeroizing<String>, u32)> {
    let hash = without_prefix(hash);
    let cost = hash.parse::<HashParts>().ok()?.get_cost();
    (PasswordHasher::MIN_COST..=PasswordHasher::MAX_COST)
        .contains(&cost)
        .then(|| (Zeroizing::new(hash.to_owned()), cost))
}

/// Returns a stored hash without the prefix `{bcrypt}`. Spring's `DelegatingPasswordEncoder` writes
/// this prefix to name the kind of the hash.
fn without_prefix(hash: &str) -> &str {
    hash.strip_prefix("{bcrypt}").unwrap_or(hash)
}

#[cfg(test)]
mod tests;

//! Password hashing with bcrypt, on blocking threads and with bounded concurrency.
//!
//! A bcrypt hash is slow on purpose: some tenths of a second at the default cost. On an async
//! thread, the computation would block other requests. Without a limit, logins could occupy all
//! processors. So [`PasswordHasher`] computes on Tokio's blocking threads, by default one hash per
//! processor at a time. A limited number of further calls wait for a limited time. All other calls
//! fail immediately with [`PasswordError::Overloaded`].
//!
//! | `fastcore.security` | this module |
//! |--|--|
//! | `get_password_hash` | [`PasswordHasher::hash`] |
//! | `verify_password` | [`PasswordHasher::verify`] |
//!
//! The hashes of `fastcore.security` (`$2b$`, cost 12) verify here. Unlike `fastcore.security`,
//! this module refuses an empty password. It also refuses a password that bcrypt would hash only in
//! part: over 71 bytes (CVE-2025-22228), or with a NUL byte. Hashes with Spring's prefix,
//! `{bcrypt}$2b$…`, verify too. The hasher writes no prefix.
//!
//! # The same password from every keyboard
//!
//! One system sends `ä` as one code point, another as `a` and a combining diaeresis. The hasher
//! converts a password to NFKC before it hashes or verifies the password. NIST SP 800-63B advises
//! NFKC or NFKD (section 3.1.1.2, in the third edition 5.1.1.2). NFKC is the better choice here:
//!
//! * It is shorter. bcrypt has room for 71 bytes of the normalised text.
//! * Most keyboards already send it, so most old hashes match at the first attempt.
//!
//! NFKC also makes compatible characters equal: `２` and `²` are the same as `2`.
//!
//! A hash of the password as typed, from another library or an earlier version, stays valid. If the
//! typed text differs from its NFKC form, the check hashes both, and one match is enough. A
//! password in ASCII is its own NFKC form and costs one computation.
//!
//! # The same cost for every user
//!
//! If the response for an unknown user comes sooner, an attacker can find out which users exist
//! (CVE-2016-6210). Therefore:
//!
//! * For an unknown user, call [`verify_or_dummy`](PasswordHasher::verify_or_dummy) with `None`.
//! * A check against an unusable stored hash costs as much as a check against a usable hash.
//! * If a stored hash has a lower cost, the check adds rounds up to the configured cost. If the
//!   hash has a higher cost, the check takes longer. So replace a hash for which
//!   [`needs_rehash`](PasswordHasher::needs_rehash) returns true.
//! * The hasher refuses a password that no account can have, without hashing. The refusal reveals
//!   nothing about the account, and an attacker cannot flood the login with long passwords
//!   (conformance PWD-05).
//! * A password that is not in NFKC costs two computations for every account, right or wrong. So
//!   the time depends on the text that the client sent, and not on the account.
//!
//! Without optimisation, bcrypt takes five times as long. These lines in your `Cargo.toml` optimise
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
/// running computation continues to its end, and occupies its worker until then.
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
    /// One permit per computation.
    workers: Arc<Semaphore>,
    /// One permit per call that waits for a worker.
    queue: Semaphore,
    max_wait: Duration,
    rounds: AtomicU64,
}

impl PasswordHasher {
    /// The default cost: 2^12 rounds, as in `fastcore.security`.
    pub const DEFAULT_COST: u32 = 12;
    /// The lowest cost of bcrypt.
    pub const MIN_COST: u32 = 4;
    /// The highest cost that this crate computes: about 20 seconds. bcrypt allows 31, which takes
    /// more than a day. A stored hash of cost 31 would occupy a worker for that time.
    pub const MAX_COST: u32 = 18;

    /// The maximum number of waiting calls per worker. At the default cost, the last of these calls
    /// waits for about five seconds.
    const QUEUE_PER_WORKER: usize = 16;
    /// The longest time for which a call waits for a worker. A user waits about as long for a page.
    const MAX_WAIT: Duration = Duration::from_secs(5);

    /// Returns a hasher of this cost: a hash takes 2^`cost` rounds. Use [12](Self::DEFAULT_COST),
    /// or the cost for which your machine needs 0.2 to 0.5 seconds. Use less than 10 only in tests.
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
                format!("is {cost}, above the maximum of 18: one login would take half a minute or more"),
                "use 12; each step above it doubles the time",
            ));
        }
        Ok(Self::with(cost, thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)))
    }

    /// Sets the maximum number of concurrent computations. Default: the number of processors. For
    /// each computation, 16 more calls may wait for up to 5 seconds.
    ///
    /// Call this before you clone the hasher: earlier clones keep their own limit and queue.
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
    /// * [`Overloaded`](PasswordError::Overloaded): too many calls are waiting, or this one has
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

    /// Returns true if `hash` is a hash of this password, in NFKC or as typed. The hash may have
    /// Spring's prefix `{bcrypt}`.
    ///
    /// Returns false if bcrypt cannot hash all of the password. If the stored hash is not bcrypt's
    /// or its cost is out of range, returns false and logs a warning without the hash.
    ///
    /// # Errors
    ///
    /// * [`Overloaded`](PasswordError::Overloaded): too many calls are waiting, or this one has
    ///   waited for 5 seconds.
    /// * [`Failed`](PasswordError::Failed): the runtime is shutting down.
    pub async fn verify(&self, password: &str, hash: &str) -> Result<bool, PasswordError> {
        self.verify_or_dummy(password, Some(hash)).await
    }

    /// Checks a password as [`verify`](Self::verify) does. Pass `None` for a user who does not
    /// exist, has no password or may not log in. The call then returns false, at the same cost.
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
                // Checks the second text also after a match. So the time does not tell which text
                // matched, and an application may still refuse the login afterwards.
                texts.iter().flatten().try_fold(false, |found, text| Ok(shared.check(text, stored)? || found))
            })
            .await?;
        self.observe(began, |duration| Observation::PasswordVerified { duration });
        matches
    }

    /// Returns true if a stored hash has another cost or version than [`hash`](Self::hash) writes.
    /// Call this after a successful login, while you have the password, and store a new hash.
    ///
    /// A hash of a text that is not in NFKC is not noticed. To replace such hashes too, store a new
    /// hash after each login whose password is not ASCII.
    ///
    /// Spring's prefix `{bcrypt}` alone is no reason for a new hash. The version `$2a$`, which
    /// Spring writes, is one. While Spring still reads the same table, put the prefix before the
    /// new hash. Spring refuses a hash without it.
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

    /// Runs `work` on a blocking thread. The closure owns the permit, so that dropping this future
    /// does not release the permit early.
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
        // This call cannot overtake waiting calls, because Tokio gives a free permit to the first
        // of them.
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
    /// Checks one text against the stored hash, or does the same work without one.
    fn check(&self, text: &str, stored: Option<&(Zeroizing<String>, u32)>) -> Result<bool, PasswordError> {
        let Some((hash, cost)) = stored else {
            self.dummy(text, self.cost);
            return Ok(false);
        };
        self.count(*cost);
        let matches = bcrypt::non_truncating_verify(text.as_bytes(), hash);
        // For stored cost s and configured cost c: 2^s + 2^s + 2^(s+1) + ... + 2^(c-1) = 2^c.
        for missing in *cost..self.cost {
            self.dummy(text, missing);
        }
        matches.map_err(|_| PasswordError::Failed)
    }

    /// Computes a hash of this cost, and drops the result. The salt is fixed, because bcrypt does
    /// the same work for every salt.
    fn dummy(&self, password: &str, cost: u32) {
        self.count(cost);
        let _ = black_box(bcrypt::hash_with_salt(black_box(password.as_bytes()), cost, [0x5a; 16]));
    }

    fn count(&self, cost: u32) {
        self.rounds.fetch_add(1 << cost.min(PasswordHasher::MAX_COST), Ordering::Relaxed);
    }
}

/// The longest password that bcrypt hashes as a whole, in bytes. Its 72nd byte is the end mark.
const MAX_BYTES: usize = 71;
/// The longest typed password that is normalised, in bytes. This limits the work for a flood of
/// long passwords. A test computes that no longer text shrinks to [`MAX_BYTES`] in NFKC.
const MAX_TYPED_BYTES: usize = 1024;

/// Returns the texts that the stored hash may be made of: the password in NFKC, and the password as
/// typed if it differs. Leaves out each text that bcrypt cannot hash as a whole.
fn texts(password: &str) -> [Option<Zeroizing<String>>; 2] {
    let normalised = normalised(password).ok();
    let is_typed = normalised.as_ref().is_some_and(|normalised| normalised.as_str() == password);
    let typed = if is_typed { None } else { representable(password).ok() };
    [normalised, typed]
}

/// Returns the password in NFKC, wiped on drop, or an error if bcrypt cannot hash all of it.
fn normalised(password: &str) -> Result<Zeroizing<String>, PasswordError> {
    if password.is_ascii() {
        return representable(password);
    }
    if password.len() > MAX_TYPED_BYTES {
        return Err(PasswordError::TooLong);
    }
    // The capacity is final. A growing text would leave copies in memory that nothing wipes.
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
    for c in password.nfkc() {
        if text.len() + c.len_utf8() > MAX_BYTES {
            return Err(PasswordError::TooLong);
        }
        text.push(c);
    }
    if text.contains('\0') { Err(PasswordError::ContainsNul) } else { Ok(text) }
}

/// Returns a copy of the password, wiped on drop, or an error if bcrypt cannot hash all of it.
fn representable(password: &str) -> Result<Zeroizing<String>, PasswordError> {
    match password.as_bytes() {
        [] => Err(PasswordError::Empty),
        bytes if bytes.len() > MAX_BYTES => Err(PasswordError::TooLong),
        bytes if bytes.contains(&0) => Err(PasswordError::ContainsNul),
        _ => Ok(Zeroizing::new(password.to_owned())),
    }
}

/// Returns a copy of the stored hash, wiped on drop, and its cost. `None` if the hash is not
/// bcrypt's or its cost is out of range.
fn usable(hash: &str) -> Option<(Zeroizing<String>, u32)> {
    let hash = without_prefix(hash);
    let cost = hash.parse::<HashParts>().ok()?.get_cost();
    (PasswordHasher::MIN_COST..=PasswordHasher::MAX_COST)
        .contains(&cost)
        .then(|| (Zeroizing::new(hash.to_owned()), cost))
}

/// Returns a stored hash without the prefix by which Spring's `DelegatingPasswordEncoder` names the
/// kind of hash.
fn without_prefix(hash: &str) -> &str {
    hash.strip_prefix("{bcrypt}").unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::time::Instant;

    use super::*;

    const CHEAP: u64 = 1 << 4;

    fn cheap() -> PasswordHasher {
        PasswordHasher::new(4).unwrap()
    }

    /// Returns a hasher with one worker, for which calls wait up to `max_wait`.
    fn single(max_wait: Duration) -> PasswordHasher {
        let mut hasher = cheap().max_concurrent(NonZeroUsize::MIN);
        Arc::get_mut(&mut hasher.0).unwrap().max_wait = max_wait;
        hasher
    }

    async fn until(what: &str, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(10), "in vain: {what}");
            time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_only() {
        let hasher = cheap();
        let hash = hasher.hash("pässwörd").await.unwrap();
        assert!(hash.starts_with("$2b$04$") && hash.len() == 60);
        assert_ne!(hash, hasher.hash("pässwörd").await.unwrap(), "every hash has its own salt");
        assert!(hasher.verify("pässwörd", &hash).await.unwrap());
        for wrong in ["Pässwörd", "pässwör", "pässwörd ", "passwrd"] {
            assert!(!hasher.verify(wrong, &hash).await.unwrap(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_bcrypt_cannot_hold_is_neither_hashed_nor_verified() {
        let hasher = cheap();
        let longest = "a".repeat(71);
        let hash = hasher.hash(&longest).await.unwrap();
        assert!(hasher.verify(&longest, &hash).await.unwrap());

        let pass = hasher.hash("pass").await.unwrap();
        let before = hasher.rounds_computed();
        let mebibyte = "a".repeat(1 << 20);
        for (password, error) in [
            ("", PasswordError::Empty),
            (&"a".repeat(72), PasswordError::TooLong),
            (&mebibyte, PasswordError::TooLong),
            ("pass\0junk", PasswordError::ContainsNul),
            ("pass\0", PasswordError::ContainsNul),
        ] {
            assert_eq!(hasher.hash(password).await, Err(error));
            for stored in [Some(hash.as_str()), Some(&pass), Some("no hash"), None] {
                assert_eq!(hasher.verify_or_dummy(password, stored).await, Ok(false));
            }
        }
        assert_eq!(hasher.rounds_computed(), before, "nothing is computed for them, whatever the account");
    }

    #[tokio::test]
    async fn every_state_of_an_account_costs_the_same() {
        let hasher = PasswordHasher::new(6).unwrap();
        let right = hasher.hash("right").await.unwrap();
        let old = cheap().hash("right").await.unwrap();
        let absurd = right.replacen("$06$", "$31$", 1);
        let below = right.replacen("$06$", "$03$", 1);
        for (password, stored, expected) in [
            ("right", Some(right.as_str()), true),
            ("wrong", Some(&right), false),
            ("right", None, false),
            ("right", Some(&old), true),
            ("wrong", Some(&old), false),
            ("right", Some(&absurd), false),
            ("right", Some(&below), false),
            ("right", Some(""), false),
            ("right", Some("$2b$04$short"), false),
            ("right", Some("$argon2id$bad"), false),
            ("right", Some("ü".repeat(30).as_str()), false),
        ] {
            let before = hasher.rounds_computed();
            assert_eq!(hasher.verify_or_dummy(password, stored).await, Ok(expected), "{password} {stored:?}");
            assert_eq!(hasher.rounds_computed() - before, 1 << 6, "{password} {stored:?}");
        }
    }

    /// Texts that differ from their NFKC form, and that form.
    const LOOK_ALIKES: [(&str, &str); 5] = [
        ("pa\u{308}sswo\u{308}rd", "p\u{e4}ssw\u{f6}rd"),
        ("\u{1112}\u{1161}\u{11ab}", "\u{d55c}"),
        ("\u{ff12}\u{b2}", "22"),
        ("\u{fb01}sh", "fish"),
        ("\u{212b}ngstr\u{f6}m", "\u{c5}ngstr\u{f6}m"),
    ];

    #[tokio::test]
    async fn a_password_verifies_however_its_characters_are_composed() {
        let hasher = cheap();
        for (typed, form) in LOOK_ALIKES {
            assert_ne!(typed, form);
            for stored in [typed, form] {
                let hash = hasher.hash(stored).await.unwrap();
                assert!(bcrypt::verify(form, &hash).unwrap(), "the hash is that of the form: {stored:?}");
                for password in [typed, form] {
                    assert!(hasher.verify(password, &hash).await.unwrap(), "{password:?} for {stored:?}");
                }
                let other = format!("{typed}.");
                assert!(!hasher.verify(&other, &hash).await.unwrap(), "{other:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_hash_of_the_text_as_typed_stays_valid() {
        let hasher = cheap();
        for (typed, form) in LOOK_ALIKES {
            let old = bcrypt::hash(typed, 4).unwrap();
            assert!(hasher.verify(typed, &old).await.unwrap(), "{typed:?}");
            assert!(!hasher.verify(form, &old).await.unwrap(), "nobody typed {form:?}");
        }
        // In NFKC it has 18 characters of 33 bytes each: too long, and never hashed as such.
        let expanding = "\u{fdfa}".repeat(3);
        assert_eq!(hasher.hash(&expanding).await, Err(PasswordError::TooLong));
        let old = bcrypt::hash(&expanding, 4).unwrap();
        assert!(hasher.verify(&expanding, &old).await.unwrap());
    }

    #[tokio::test]
    async fn the_limit_of_bcrypt_applies_to_the_normalised_text() {
        let hasher = cheap();
        // 213 typed bytes, 71 in NFKC.
        let wide = "\u{ff41}".repeat(71);
        let hash = hasher.hash(&wide).await.unwrap();
        assert!(hasher.verify(&wide, &hash).await.unwrap());
        assert!(hasher.verify(&"a".repeat(71), &hash).await.unwrap());
        for too_long in ["\u{ff41}".repeat(72), "\u{ff41}".repeat(1 << 18)] {
            let before = hasher.rounds_computed();
            assert_eq!(hasher.hash(&too_long).await, Err(PasswordError::TooLong));
            assert_eq!(hasher.verify(&too_long, &hash).await, Ok(false));
            assert_eq!(hasher.rounds_computed(), before);
        }
        for nul in ["pa\u{308}ss\0", "\0\u{308}"] {
            assert_eq!(hasher.hash(nul).await, Err(PasswordError::ContainsNul), "{nul:?}");
            assert_eq!(hasher.verify(nul, &hash).await, Ok(false), "{nul:?}");
        }
    }

    #[test]
    fn no_longer_text_than_the_limit_of_typed_ones_fits_into_bcrypt_in_nfkc() {
        // The most typed bytes for one byte in NFKC: each character fully decomposed, each part in
        // the longest spelling that becomes it.
        let all = || '\u{1}'..=char::MAX;
        let mut longest = std::collections::HashMap::new();
        for c in all() {
            let form: Vec<_> = c.to_string().nfkd().collect();
            if let [part] = form[..] {
                let bytes = longest.entry(part).or_insert(0);
                *bytes = c.len_utf8().max(*bytes);
            }
        }
        let typed = |c: char| c.to_string().nfkd().map(|part| longest.get(&part).copied().unwrap_or(4)).sum::<usize>();
        let stable = all().filter(|c| c.to_string().nfkc().eq([*c]));
        let worst = stable.map(|c| typed(c).div_ceil(c.len_utf8())).max().unwrap();
        assert!(worst * MAX_BYTES < MAX_TYPED_BYTES, "{worst} bytes for one");
    }

    #[tokio::test]
    async fn the_cost_depends_on_the_text_and_not_on_the_account() {
        let hasher = PasswordHasher::new(6).unwrap();
        let (typed, form) = LOOK_ALIKES[0];
        let [normalised, as_typed] = [form, typed].map(|text| bcrypt::hash(text, 6).unwrap());
        let old = bcrypt::hash(typed, 4).unwrap();
        let right = [Some(normalised.as_str()), Some(&as_typed), Some(&old)];
        let other = hasher.hash("wrong").await.unwrap();
        let wrong = [Some(other.as_str()), Some("no hash"), None];
        for (stored, expected) in right.map(|stored| (stored, true)).into_iter().chain(wrong.map(|none| (none, false)))
        {
            let before = hasher.rounds_computed();
            assert_eq!(hasher.verify_or_dummy(typed, stored).await, Ok(expected), "{stored:?}");
            assert_eq!(hasher.rounds_computed() - before, 2 << 6, "{stored:?}");
        }
        for password in ["right", form] {
            let before = hasher.rounds_computed();
            hasher.verify_or_dummy(password, Some(&other)).await.unwrap();
            assert_eq!(hasher.rounds_computed() - before, 1 << 6, "{password:?} is its own form");
        }
    }

    #[tokio::test]
    async fn a_hash_with_the_prefix_of_spring_is_read_and_none_is_written() {
        let hasher = cheap();
        let hash = hasher.hash("right").await.unwrap();
        let stored = format!("{{bcrypt}}{hash}");
        assert!(hasher.verify("right", &stored).await.unwrap());
        assert!(!hasher.verify("wrong", &stored).await.unwrap());
        assert!(!hasher.needs_rehash(&stored));
        assert!(hasher.needs_rehash(&stored.replacen("$2b$", "$2a$", 1)));
        for prefix in ["{noop}", "{BCRYPT}", "{bcrypt}{bcrypt}", "{bcrypt} ", " {bcrypt}", "bcrypt", "{argon2}", "{}"] {
            let stored = format!("{prefix}{hash}");
            let before = hasher.rounds_computed();
            assert_eq!(hasher.verify("right", &stored).await, Ok(false), "{prefix}");
            assert_eq!(hasher.rounds_computed() - before, CHEAP, "{prefix}");
            assert!(hasher.needs_rehash(&stored), "{prefix}");
        }
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_or_version_needs_a_rehash() {
        let hasher = cheap();
        let hash = hasher.hash("right").await.unwrap();
        assert!(!hasher.needs_rehash(&hash));
        assert!(PasswordHasher::new(5).unwrap().needs_rehash(&hash));
        assert!(hasher.needs_rehash(&hash.replacen("$2b$", "$2y$", 1)));
        assert!(hasher.needs_rehash("$2b$04$short"));
    }

    #[test]
    fn a_cost_that_cannot_work_is_a_configuration_error() {
        for cost in [0, 3, 19, 31, u32::MAX] {
            let error = PasswordHasher::new(cost).unwrap_err();
            assert_eq!(error.setting(), "cost");
            assert!(error.to_string().contains(&cost.to_string()));
        }
        assert!(PasswordHasher::new(18).is_ok());
        assert_eq!(PasswordHasher::default().0.cost, 12);
    }

    #[tokio::test]
    async fn a_call_that_finds_no_worker_in_time_is_told_overloaded() {
        let hasher = single(Duration::from_millis(20));
        let _busy = Arc::clone(&hasher.0.workers).acquire_owned().await.unwrap();
        assert_eq!(hasher.verify_or_dummy("right", None).await, Err(PasswordError::Overloaded));
        assert_eq!(hasher.hash("right").await, Err(PasswordError::Overloaded));
        assert_eq!(hasher.rounds_computed(), 0);
        assert_eq!(hasher.0.queue.available_permits(), PasswordHasher::QUEUE_PER_WORKER, "the places are free again");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_those_who_wait_are_served() {
        let hasher = single(Duration::from_secs(60));
        let busy = Arc::clone(&hasher.0.workers).acquire_owned().await.unwrap();
        let waiting: Vec<_> = (0..PasswordHasher::QUEUE_PER_WORKER)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.verify_or_dummy("right", None).await })
            })
            .collect();
        until("all places taken", || hasher.0.queue.available_permits() == 0).await;
        assert_eq!(hasher.verify_or_dummy("right", None).await, Err(PasswordError::Overloaded));

        drop(busy);
        for call in waiting {
            assert_eq!(call.await.unwrap(), Ok(false));
        }
        assert_eq!(hasher.rounds_computed(), PasswordHasher::QUEUE_PER_WORKER as u64 * CHEAP);
    }

    #[tokio::test]
    async fn a_dropped_call_keeps_its_worker_until_its_computation_ends() {
        let hasher = single(Duration::from_secs(60));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let call = hasher.compute(move |_| held.recv());
        assert!(time::timeout(Duration::from_millis(20), call).await.is_err(), "the call was dropped half way");

        assert_eq!(hasher.0.workers.available_permits(), 0);
        drop(release);
        until("the worker free again", || hasher.0.workers.available_permits() == 1).await;
    }

    #[tokio::test]
    async fn a_computation_that_panics_is_an_error_and_frees_its_worker() {
        let hasher = single(Duration::from_secs(60));
        assert_eq!(hasher.compute(|_| panic!("a test's own panic")).await, Err::<(), _>(PasswordError::Failed));
        assert_eq!(hasher.verify_or_dummy("right", None).await, Ok(false));
    }
}

//! The verified-token cache: the texts of access tokens, and the claims that were verified in them.
//!
//! A signature costs more than all the rest of a check, and a client shows the same token again and
//! again. So the cache remembers the **immutable** result of a check: a good signature under the
//! keys in force, and claims that the rules allow. The parts that may change are checked at every
//! use: the token's times, its revocation, and the application's validator. An entry also has the
//! time at which the store was last asked.
//!
//! * **Only good tokens enter**, and only after their revocation was checked too. So neither a
//!   client without a key nor one with a token of an ended session can push out a single entry.
//! * **A token is cached under the version of the keys that verified it**, and looked up under the
//!   version in force ([`replace_keys`](super::TokenService::replace_keys) counts them). So the
//!   entries of other keys are never found, and the cache is cleared.
//! * **A keyed hash finds the entry, the full text confirms it.** The hash has 64 bits (foldhash,
//!   keyed at random). `quick_cache` 0.7 then compares keys by [`Equivalent`]
//!   (`CacheShard::search_resident`), which here is the hash first and then the whole text. So a
//!   text that differs is compared byte by byte with a token only once in 2^64. The time of a guess
//!   reveals nothing of the cached tokens.
//! * **Bounded by entries and by bytes** at once: an entry weighs its bytes, and at least its share
//!   of the bytes, which is the bound in bytes divided by that in entries.
//! * **Scan-resistant**: `quick_cache` evicts by Clock-PRO, where an entry that was used again
//!   outlives any number that were used once.
//! * Texts are wiped when they leave (`zeroize`).
//!
//! Expired and revoked tokens are not searched for to be removed: they are refused at every use,
//! and go when their place is needed.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    num::NonZeroUsize,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use quick_cache::{
    DefaultHashBuilder, Equivalent, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use zeroize::Zeroizing;

use crate::{
    error::ConfigError,
    jwt::Claims,
    replica::{Alive, Route},
};

/// The shortest length of a token (see [`Validation::check`](crate::jwt::Validation::check)).
const SHORTEST: usize = 64;
/// The count of longest tokens for which a shard has room, if the bound of bytes allows it. A shard
/// keeps nothing that is larger than itself.
const LONGEST_IN_A_SHARD: u64 = 8;
/// The fewest entries in a shard: with fewer in each, `quick_cache` takes fewer shards.
const ENTRIES_IN_A_SHARD: u64 = 32;

/// Bounds of the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheBounds {
    /// Zero: nothing is kept.
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl CacheBounds {
    pub(super) const DEFAULT: Self = Self { entries: 65_536, bytes: 64 * 1024 * 1024 };

    /// Returns an error if a cache of tokens with these claims can keep nothing.
    pub(super) fn check<C>(self) -> Result<(), ConfigError> {
        if self.entries > 0 && (self.bytes as u64) < 2 * entry_bytes::<C>(SHORTEST) {
            return Err(ConfigError::out_of_range(
                "verified_cache",
                "has so few bytes that no token is ever kept",
                "give some MiB, or no entries to switch the cache off",
            ));
        }
        Ok(())
    }
}

/// The tokens that were verified under the keys in force.
pub(super) struct TokenCache<C> {
    /// `None`: switched off.
    cache: Option<Cache<TokenKey, VerifiedToken<C>, Weigh>>,
    hasher: DefaultHashBuilder,
    /// The version of the keys in force.
    version: AtomicU64,
    max_token_len: usize,
}

/// A verified token.
pub(super) struct VerifiedToken<C> {
    pub(super) claims: Claims<C>,
    /// The route by which the replica finds its revocation: computed once, since it never changes.
    pub(super) route: Option<Route>,
    /// The store's last confirmation that it is not revoked.
    pub(super) alive: Alive,
}

impl<C> Clone for VerifiedToken<C> {
    fn clone(&self) -> Self {
        Self { claims: self.claims.clone(), route: self.route.clone(), alive: self.alive }
    }
}

/// The key of a lookup.
pub(super) struct LookupKey<'t> {
    hash: u64,
    version: u64,
    bytes: &'t [u8],
}

/// The key of an entry: the text of a token, with its hash. Neither a lookup nor an eviction reads
/// a text to hash it once more.
pub(super) struct TokenKey {
    hash: u64,
    version: u64,
    bytes: Zeroizing<Box<[u8]>>,
}

impl<C> TokenCache<C> {
    pub(super) fn new(bounds: CacheBounds, max_token_len: usize) -> Self {
        let cache = NonZeroUsize::new(bounds.entries).and_then(|entries| cache(entries, bounds.bytes, max_token_len));
        Self { cache, hasher: DefaultHashBuilder::default(), version: AtomicU64::new(0), max_token_len }
    }

    /// Returns the key of a lookup, unless the cache is switched off. A text that is too long to be
    /// a token is not hashed.
    pub(super) fn lookup_key<'t>(&self, token: &'t [u8]) -> Option<LookupKey<'t>> {
        let can_be_here = self.cache.is_some() && token.len() <= self.max_token_len;
        let version = self.version.load(Ordering::Acquire);
        can_be_here.then(|| LookupKey { hash: self.hasher.hash_one(token), version, bytes: token })
    }

    /// Returns the entry of this text. It does not show that the token is still good.
    pub(super) fn get(&self, key: &LookupKey<'_>) -> Option<VerifiedToken<C>> {
        self.cache.as_ref()?.get(key)
    }

    /// Caches a token, if it has room. Its text was looked up here, and found good in all respects
    /// under the keys of the lookup's version.
    pub(super) fn insert(&self, key: TokenKey, token: VerifiedToken<C>) {
        // If the keys are replaced between these two lines, the entry takes up room but is never
        // found.
        if let Some(cache) = self.cache.as_ref().filter(|_| key.version == self.version.load(Ordering::Acquire)) {
            cache.insert(key, token);
        }
    }

    /// Clears the cache and switches to key version `version`, which is new. Keys of this version
    /// must be in force **already**. Earlier lookups find nothing from now on.
    pub(super) fn reset(&self, version: u64) {
        self.version.store(version, Ordering::Release);
        if let Some(cache) = &self.cache {
            cache.clear();
        }
    }

    /// Returns the count of cached tokens.
    pub(super) fn entries(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::len)
    }

    /// Returns the part of the bound in bytes that they take.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::weight)
    }
}

impl LookupKey<'_> {
    /// Returns the version of the keys in force at the lookup, which may just have been replaced.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the key under which the token is cached.
    pub(super) fn to_token_key(&self) -> TokenKey {
        TokenKey { hash: self.hash, version: self.version, bytes: Zeroizing::new(self.bytes.into()) }
    }
}

impl Equivalent<TokenKey> for LookupKey<'_> {
    fn equivalent(&self, key: &TokenKey) -> bool {
        self.hash == key.hash && self.version == key.version && *self.bytes == **key.bytes
    }
}

impl PartialEq for TokenKey {
    fn eq(&self, other: &Self) -> bool {
        LookupKey { hash: other.hash, version: other.version, bytes: &other.bytes }.equivalent(self)
    }
}

impl Eq for TokenKey {}

impl Hash for LookupKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for TokenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The weight of entries.
#[derive(Clone)]
struct Weigh {
    /// The least weight: the bound in bytes divided by that in entries.
    least: u64,
}

impl<C> Weighter<TokenKey, VerifiedToken<C>> for Weigh {
    fn weight(&self, key: &TokenKey, _: &VerifiedToken<C>) -> u64 {
        entry_bytes::<C>(key.bytes.len()).max(self.least)
    }
}

/// Returns the bytes of an entry: its text, and once more as much for the parts of it in the
/// claims; the entry itself, and the claims.
///
/// Not counted are the table's own bytes, about 40 for each entry, and as much for half as many
/// evicted ones. Nor are the bytes of custom claims beyond their text.
const fn entry_bytes<C>(text: usize) -> u64 {
    let fixed = size_of::<TokenKey>() + size_of::<VerifiedToken<C>>() + Claims::<C>::BYTES;
    (fixed as u64).saturating_add((text as u64).saturating_mul(2))
}

fn cache<C>(
    entries: NonZeroUsize,
    bytes: usize,
    max_token_len: usize,
) -> Option<Cache<TokenKey, VerifiedToken<C>, Weigh>> {
    let (entries, bytes) = (entries.get() as u64, bytes as u64);
    let wanted = thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64 * 4;
    let shards = wanted
        .min(bytes / entry_bytes::<C>(max_token_len).saturating_mul(LONGEST_IN_A_SHARD))
        .min(entries / ENTRIES_IN_A_SHARD);
    // `quick_cache` takes a power of two, and rounds each shard's capacity up: so both are made to
    // be exact.
    let shards = 1 << shards.checked_ilog2().unwrap_or_default();
    let share = (bytes / entries).max(1);
    let capacity = share.saturating_mul(entries).min(bytes);
    let capacity = capacity - capacity % shards;
    // A single entry has to leave a little room: `quick_cache` admits none that takes more than 97
    // % of a shard.
    let least = share.min(capacity - capacity / 10);
    // `quick_cache` remembers evicted entries by their hash, half as many as there may be entries:
    // no more than the bytes allow.
    let estimated = entries.min(bytes / entry_bytes::<C>(SHORTEST));

    let mut options = OptionsBuilder::new();
    options
        .shards(usize::try_from(shards).unwrap_or(1))
        .weight_capacity(capacity)
        .estimated_items_capacity(usize::try_from(estimated).unwrap_or(usize::MAX));
    // It fails if a capacity is not set.
    let options = options.build().ok()?;
    Some(Cache::with_options(options, Weigh { least }, DefaultHashBuilder::default(), DefaultLifecycle::default()))
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod tests;

//! The verified-token cache: the texts of verified access tokens, with their claims.
//!
//! A signature check costs more than all other checks, and clients send the same token repeatedly.
//! So the cache stores the results that do not change: the signature is valid under the current
//! keys, and the rules allow the claims. Every use still checks the times and the revocation, and
//! calls the validator. An entry also contains the time of the store's last answer about the token.
//!
//! * **Only valid tokens enter**, and only after the check of their revocation. So forged tokens
//!   and tokens of ended sessions cannot evict entries.
//! * **The key version is part of the cache key.**
//!   [`replace_keys`](super::TokenService::replace_keys) raises the version and clears the cache.
//!   So a lookup never finds a token that was verified with old keys, even if a slow check inserts
//!   the token late.
//! * **A keyed hash finds the entry, and the full text confirms it.** The hash has 64 bits
//!   (foldhash, with a random key). `quick_cache` 0.7 compares keys by [`Equivalent`]
//!   (`CacheShard::search_resident`): here first the hash, then the whole text. Only one wrong text
//!   in 2^64 reaches the comparison of bytes. So the duration of a lookup reveals nothing about the
//!   cached tokens.
//! * **Two bounds limit the cache**, in entries and in bytes. The weight of an entry is its bytes,
//!   but at least the bound in bytes divided by the bound in entries.
//! * **It resists scans**: `quick_cache` evicts by Clock-PRO. An entry used twice outlives any
//!   number of entries used once.
//! * The cache wipes the texts that it drops (`zeroize`).
//!
//! The cache does not search for expired and revoked tokens. Every use refuses them, and the cache
//! evicts them when it needs room.

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

use super::origin::Origin;
use crate::{
    error::ConfigError,
    jwt::Claims,
    replica::{Alive, Route},
};

/// The shortest length of a token (see [`Validation::check`](crate::jwt::Validation::check)).
const SHORTEST: usize = 64;
/// The number of tokens of maximum length that fit into a shard, if the byte bound allows. A shard
/// cannot store an entry that is larger than the shard.
const LONGEST_IN_A_SHARD: u64 = 8;
/// The minimum number of entries per shard. With fewer, `quick_cache` itself reduces the number of
/// shards.
const ENTRIES_IN_A_SHARD: u64 = 32;

#[derive(Clone, Copy, Debug)]
pub(super) struct CacheBounds {
    /// Zero switches the cache off.
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl CacheBounds {
    pub(super) const DEFAULT: Self = Self { entries: 65_536, bytes: 64 * 1024 * 1024 };

    /// Returns an error if the bounds leave no room for any token with these claims.
    pub(super) fn check<C>(self) -> Result<(), ConfigError> {
        if self.entries > 0 && (self.bytes as u64) < 2 * entry_bytes::<C>(SHORTEST) {
            return Err(ConfigError::out_of_range(
                "verified_cache",
                "has too few bytes for a single token",
                "raise them to some MiB, or set zero entries to switch the cache off",
            ));
        }
        Ok(())
    }
}

/// The tokens that were verified with the current keys.
pub(super) struct TokenCache<C> {
    /// `None` if the cache is switched off.
    cache: Option<Cache<TokenKey, VerifiedToken<C>, Weigh>>,
    hasher: DefaultHashBuilder,
    /// The version of the current keys.
    version: AtomicU64,
    max_token_len: usize,
}

pub(super) struct VerifiedToken<C> {
    pub(super) claims: Claims<C>,
    pub(super) origin: Origin,
    /// The route: the hashes by which the replica finds a revocation of the token. Never changes,
    /// so the checker computes it once.
    pub(super) route: Option<Route>,
    /// The store's last confirmation that the token is not revoked.
    pub(super) alive: Alive,
    /// True if another service has verified the claims. The memo in the claims then belongs to
    /// another replica.
    pub(super) is_foreign: bool,
}

impl<C> Clone for VerifiedToken<C> {
    fn clone(&self) -> Self {
        let Self { claims, origin, route, alive, is_foreign } = self;
        Self { claims: claims.clone(), origin: *origin, route: route.clone(), alive: *alive, is_foreign: *is_foreign }
    }
}

pub(super) struct LookupKey<'t> {
    hash: u64,
    version: u64,
    bytes: &'t [u8],
}

/// The key of an entry: the text of a token and its hash. The stored hash saves lookups and
/// evictions from hashing the text again.
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

    /// Returns the key of a lookup. Returns `None` if the cache is switched off or the text is too
    /// long for a token, because hashing an unbounded text is expensive.
    pub(super) fn lookup_key<'t>(&self, token: &'t [u8]) -> Option<LookupKey<'t>> {
        let can_be_here = self.cache.is_some() && token.len() <= self.max_token_len;
        let version = self.version.load(Ordering::Acquire);
        can_be_here.then(|| LookupKey { hash: self.hasher.hash_one(token), version, bytes: token })
    }

    /// Returns the entry of this text. The token may have expired or been revoked since.
    pub(super) fn get(&self, key: &LookupKey<'_>) -> Option<VerifiedToken<C>> {
        self.cache.as_ref()?.get(key)
    }

    /// Caches a token if the cache has room. The caller has checked the token completely, with the
    /// keys of the version in `key`.
    pub(super) fn insert(&self, key: TokenKey, token: VerifiedToken<C>) {
        // If another thread replaces the keys between these two lines, no lookup finds the entry.
        // It only takes up room.
        if let Some(cache) = self.cache.as_ref().filter(|_| key.version == self.version.load(Ordering::Acquire)) {
            cache.insert(key, token);
        }
    }

    /// Clears the cache and switches to the new key version `version`. The caller has **already**
    /// replaced the keys. From now on, a [`LookupKey`] of an earlier version finds nothing.
    pub(super) fn reset(&self, version: u64) {
        self.version.store(version, Ordering::Release);
        if let Some(cache) = &self.cache {
            cache.clear();
        }
    }

    pub(super) fn entries(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::len)
    }

    /// Returns the weight of the cached tokens, which the byte bound limits.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::weight)
    }
}

impl LookupKey<'_> {
    /// Returns the key version at the time of the lookup. Newer keys may be in use by now.
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

#[derive(Clone)]
struct Weigh {
    /// The minimum weight: the bound in bytes divided by the bound in entries.
    least: u64,
}

impl<C> Weighter<TokenKey, VerifiedToken<C>> for Weigh {
    fn weight(&self, key: &TokenKey, _: &VerifiedToken<C>) -> u64 {
        entry_bytes::<C>(key.bytes.len()).max(self.least)
    }
}

/// Returns the bytes of an entry: the key, the value, the claims, and twice the text, because the
/// claims contain parts of it again.
///
/// The sum leaves out the table's own bytes: about 40 for each entry, and as many for each evicted
/// entry that `quick_cache` remembers. It also leaves out the memory of custom claims that exceeds
/// their text.
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
    // `quick_cache` needs a power of two, and rounds the capacity of each shard up. The bound stays
    // exact, because the capacity here is a multiple of the number of shards.
    let shards = 1 << shards.checked_ilog2().unwrap_or_default();
    let share = (bytes / entries).max(1);
    let capacity = share.saturating_mul(entries).min(bytes);
    let capacity = capacity - capacity % shards;
    // `quick_cache` rejects an entry above 97 % of a shard. In a cache for one entry, the minimum
    // weight must therefore be lower.
    let least = share.min(capacity - capacity / 10);
    // `quick_cache` remembers hashes of evicted entries, half as many as this estimate. The byte
    // bound limits the estimate.
    let estimated = entries.min(bytes / entry_bytes::<C>(SHORTEST));

    let mut options = OptionsBuilder::new();
    options
        .shards(usize::try_from(shards).unwrap_or(1))
        .weight_capacity(capacity)
        .estimated_items_capacity(usize::try_from(estimated).unwrap_or(usize::MAX));
    // `build` fails only if a capacity is not set.
    let options = options.build().ok()?;
    Some(Cache::with_options(options, Weigh { least }, DefaultHashBuilder::default(), DefaultLifecycle::default()))
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod tests;

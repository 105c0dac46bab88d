//! The verified-token cache: the texts of verified access tokens, with their claims.
//!
//! Clients send the same token repeatedly, and its signature is the most expensive check. So the
//! cache stores each token whose signature and claims are valid. The checker still checks the times
//! and the revocation at each use, and calls the validator. An entry also has the time at which the
//! store last confirmed the token.
//!
//! * **The checker inserts only valid tokens**, after the check of their revocation. So forged
//!   tokens and tokens of ended sessions cannot evict entries.
//! * **Each entry belongs to one version of the service's keys.**
//!   [`replace_keys`](super::TokenService::replace_keys) raises the version and clears the cache.
//!   If a slow check then inserts a token that the old keys verified, no lookup finds this token.
//! * **The duration of a lookup reveals nothing about the cached tokens.** A lookup searches for a
//!   hash of 64 bits with a random key (foldhash), and compares the texts only if the hashes are
//!   equal. The hash of a wrong text is equal with a probability of 2^-64.
//! * **Two bounds limit the cache**: a number of entries, and a number of bytes. `quick_cache` has
//!   only one bound: the sum of the weights of the entries. The weight of an entry is its size in
//!   bytes, but at least the byte bound divided by the entry bound. So the sum enforces both
//!   bounds.
//! * **Tokens that are used once do not evict a token that is used twice** (Clock-PRO).
//! * The cache wipes the texts that it drops (`zeroize`).
//!
//! The cache does not search for expired and revoked tokens. It evicts them when it needs room.

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
/// The number of tokens of maximum length that a shard must have room for. `quick_cache` cannot
/// store an entry that is larger than a shard.
const LONGEST_IN_A_SHARD: u64 = 8;
/// The minimum number of entries in a shard. Below it, `quick_cache` itself uses fewer shards.
const ENTRIES_IN_A_SHARD: u64 = 32;

#[derive(Clone, Copy, Debug)]
pub(super) struct CacheBounds {
    /// Zero switches the cache off.
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl CacheBounds {
    pub(super) const DEFAULT: Self = Self { entries: 65_536, bytes: 64 * 1024 * 1024 };

    /// Returns an error if the byte bound is too small for even one short token.
    pub(super) fn check<C>(self) -> Result<(), ConfigError> {
        if self.entries > 0 && (self.bytes as u64) < 2 * entry_bytes::<C>(SHORTEST) {
            return Err(ConfigError::out_of_range(
                "verified_cache",
                "has too few bytes for a single token",
                "give a few MiB, or give zero entries to switch the cache off",
            ));
        }
        Ok(())
    }
}

/// The verified-token cache of a service. Its tokens were verified with the current keys.
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
    /// The bucket and the hashes with which the replica finds a revocation of the token.
    pub(super) route: Option<Route>,
    /// The time and the server of the store's last confirmation that the token is not revoked.
    pub(super) alive: Alive,
    /// True if another service has verified the claims. This service must then not use the memo of
    /// the claims: the version of the deny set with which the other service accepted the token.
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

/// The key of an entry. It stores the hash, so that lookups do not hash the text again.
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

    /// Returns the key for a lookup of this text. Returns `None` if the cache is off. Also returns
    /// `None` if the text is longer than a token may be, because hashing such a text is expensive.
    pub(super) fn lookup_key<'t>(&self, token: &'t [u8]) -> Option<LookupKey<'t>> {
        let can_be_here = self.cache.is_some() && token.len() <= self.max_token_len;
        let version = self.version.load(Ordering::Acquire);
        can_be_here.then(|| LookupKey { hash: self.hasher.hash_one(token), version, bytes: token })
    }

    /// Returns the entry of this text. The token may have expired, or may have been revoked.
    pub(super) fn get(&self, key: &LookupKey<'_>) -> Option<VerifiedToken<C>> {
        self.cache.as_ref()?.get(key)
    }

    /// Inserts a token that the caller has checked completely, with the keys of `key.version`.
    pub(super) fn insert(&self, key: TokenKey, token: VerifiedToken<C>) {
        // If another thread replaces the keys between these two lines, the entry only takes up
        // room, because no lookup finds it.
        if let Some(cache) = self.cache.as_ref().filter(|_| key.version == self.version.load(Ordering::Acquire)) {
            cache.insert(key, token);
        }
    }

    /// Clears the cache and switches to the key version `version`. The caller has **already**
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

    /// Returns the sum of the weights of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::weight)
    }
}

impl LookupKey<'_> {
    /// Returns the version of the keys at the time of the lookup. Newer keys may be in use by now.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Returns the key under which the cache stores the token.
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

/// Returns the estimated size of an entry in bytes. The text counts twice, because the claims
/// contain most of it again.
///
/// The estimate omits the table of `quick_cache`, which has about 40 bytes for each entry. It also
/// omits custom claims that take more memory than their text.
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
    // `quick_cache` needs a power of two, and rounds the capacity of each shard up. A multiple of
    // the number of shards needs no rounding, so the bound stays exact.
    let shards = 1 << shards.checked_ilog2().unwrap_or_default();
    let share = (bytes / entries).max(1);
    let capacity = share.saturating_mul(entries).min(bytes);
    let capacity = capacity - capacity % shards;
    // `quick_cache` rejects an entry that takes more than 97 % of a shard. So in a cache for one
    // entry, the minimum weight must be less than the capacity.
    let least = share.min(capacity - capacity / 10);
    // `quick_cache` remembers the hashes of up to `estimated / 2` evicted entries. The byte bound
    // limits `estimated` too, because these hashes take memory.
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

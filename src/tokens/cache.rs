//! The verified-token cache: the text of an access token, and the claims that were verified in it.
//!
//! A signature costs more than all the rest of a check, and a client shows the same token again and again. So what has been found to be
//! **immutable** about a token is remembered: that this text has a good signature under the keys in force and claims that the rules allow. What may change
//! is asked at every use: its times, its revocation, and the application's validator. Beside it stands when the store was last asked.
//!
//! * **Only good tokens enter**, and only when they were found to be not revoked too: whoever has no key cannot push out a single entry, and whoever
//!   has a token of an ended session cannot either.
//! * **A token is remembered under the version of the keys that verified it**, and sought under the version in force
//!   ([`replace_keys`](super::TokenService::replace_keys) counts them): other keys find nothing that these have left, and all of it is let go of.
//! * **Looked up by a keyed hash, compared in full.** The hash (of 64 bits, foldhash keyed at random) finds the entry; `quick_cache` 0.7 then compares keys by
//!   [`Equivalent`] (`CacheShard::search_resident`), which here is the hash first and then the whole text. So a text that differs is not compared byte by
//!   byte with a token but once in 2^64, and the time that a guess takes tells nothing of the tokens that are here.
//! * **Bounded by entries and by bytes** at once: an entry weighs its bytes, and at least the share of the bytes that one of so many entries has.
//! * **Scan-resistant**: `quick_cache` evicts by Clock-PRO, where an entry that was used again outlives any number that were used once.
//! * Texts are wiped when they leave (`zeroize`).
//!
//! An expired or revoked token is not looked for to be removed: it is refused at every use, and goes when its place is needed.

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

/// No token is shorter (see [`Validation::check`](crate::jwt::Validation::check)).
const SHORTEST: usize = 64;
/// So many of the longest tokens have room in a shard, if the bound of bytes allows it: a shard keeps nothing that is larger than itself.
const LONGEST_IN_A_SHARD: u64 = 8;
/// With fewer entries in each, `quick_cache` takes fewer shards.
const ENTRIES_IN_A_SHARD: u64 = 32;

/// How much is kept at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheBounds {
    /// Zero: nothing is kept.
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl CacheBounds {
    pub(super) const DEFAULT: Self = Self { entries: 65_536, bytes: 64 * 1024 * 1024 };

    /// Whether a cache of tokens with these claims can keep anything.
    pub(super) fn check<C>(self) -> Result<(), ConfigError> {
        if self.entries > 0 && (self.bytes as u64) < 2 * entry_bytes::<C>(SHORTEST) {
            return Err(ConfigError::new(
                "verified_cache",
                "has so few bytes that no token is ever kept",
                "give some MiB, or no entries to switch the cache off",
            ));
        }
        Ok(())
    }
}

/// The tokens that were verified under the keys in force.
pub(super) struct VerifiedTokens<C> {
    /// `None`: switched off.
    cache: Option<Cache<Text, Verified<C>, Weigh>>,
    hasher: DefaultHashBuilder,
    /// Of the keys in force.
    version: AtomicU64,
    max_token_len: usize,
}

/// What is remembered of a token.
pub(super) struct Verified<C> {
    pub(super) claims: Claims<C>,
    /// Where the replica of the revocation log speaks of it: found once, since it never changes.
    pub(super) route: Option<Route>,
    /// The store's last confirmation that it is not revoked.
    pub(super) alive: Alive,
}

impl<C> Clone for Verified<C> {
    fn clone(&self) -> Self {
        Self { claims: self.claims.clone(), route: self.route.clone(), alive: self.alive }
    }
}

/// A token that is looked for.
pub(super) struct Sought<'t> {
    hash: u64,
    version: u64,
    bytes: &'t [u8],
}

/// The text of a token, with its hash: neither a lookup nor an eviction reads a text to hash it once more.
pub(super) struct Text {
    hash: u64,
    version: u64,
    bytes: Zeroizing<Box<[u8]>>,
}

impl<C> VerifiedTokens<C> {
    pub(super) fn new(bounds: CacheBounds, max_token_len: usize) -> Self {
        let cache = NonZeroUsize::new(bounds.entries).and_then(|entries| cache(entries, bounds.bytes, max_token_len));
        Self { cache, hasher: DefaultHashBuilder::default(), version: AtomicU64::new(0), max_token_len }
    }

    /// What to look for, unless the cache is switched off. A text that is too long to be a token is not read to be hashed.
    pub(super) fn seek<'t>(&self, token: &'t [u8]) -> Option<Sought<'t>> {
        let can_be_here = self.cache.is_some() && token.len() <= self.max_token_len;
        let version = self.version.load(Ordering::Acquire);
        can_be_here.then(|| Sought { hash: self.hasher.hash_one(token), version, bytes: token })
    }

    /// What is known of this text. Whether the token is still good has to be asked.
    pub(super) fn find(&self, sought: &Sought<'_>) -> Option<Verified<C>> {
        self.cache.as_ref()?.get(sought)
    }

    /// Keeps a token, if it has room. Its text was sought here, and found good in all respects under the keys of the version in which it was sought.
    pub(super) fn keep(&self, text: Text, verified: Verified<C>) {
        // Should the keys be replaced between these two lines, it takes up room where nobody finds it.
        if let Some(cache) = self.cache.as_ref().filter(|_| text.version == self.version.load(Ordering::Acquire)) {
            cache.insert(text, verified);
        }
    }

    /// Lets go of all, and finds nothing from now on that was sought before: keys of this version, which is none of the earlier, are in force **already**.
    pub(super) fn begin_anew(&self, version: u64) {
        self.version.store(version, Ordering::Release);
        if let Some(cache) = &self.cache {
            cache.clear();
        }
    }

    /// How many tokens are kept.
    pub(super) fn entries(&self) -> usize {
        self.cache.as_ref().map_or(0, Cache::len)
    }

    /// How much of the bound in bytes they take.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::weight)
    }
}

impl Sought<'_> {
    /// The version of the keys that were in force, or were just being replaced by the next.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The text, to be kept.
    pub(super) fn to_text(&self) -> Text {
        Text { hash: self.hash, version: self.version, bytes: Zeroizing::new(self.bytes.into()) }
    }
}

impl Equivalent<Text> for Sought<'_> {
    fn equivalent(&self, text: &Text) -> bool {
        self.hash == text.hash && self.version == text.version && *self.bytes == **text.bytes
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        Sought { hash: other.hash, version: other.version, bytes: &other.bytes }.equivalent(self)
    }
}

impl Eq for Text {}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// What an entry weighs.
#[derive(Clone)]
struct Weigh {
    /// The share of one of as many entries as are allowed.
    least: u64,
}

impl<C> Weighter<Text, Verified<C>> for Weigh {
    fn weight(&self, text: &Text, _: &Verified<C>) -> u64 {
        entry_bytes::<C>(text.bytes.len()).max(self.least)
    }
}

/// The bytes of an entry: its text, and once more as much for what the claims hold of it; the entry itself, and the claims. Not counted is what the table has beside its entries (about 40 bytes for each, and as much for half as many that were evicted), and what custom claims
/// take beyond their text.
const fn entry_bytes<C>(text: usize) -> u64 {
    let fixed = size_of::<Text>() + size_of::<Verified<C>>() + Claims::<C>::BYTES;
    (fixed as u64).saturating_add((text as u64).saturating_mul(2))
}

fn cache<C>(entries: NonZeroUsize, bytes: usize, max_token_len: usize) -> Option<Cache<Text, Verified<C>, Weigh>> {
    let (entries, bytes) = (entries.get() as u64, bytes as u64);
    let wanted = thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64 * 4;
    let shards = wanted
        .min(bytes / entry_bytes::<C>(max_token_len).saturating_mul(LONGEST_IN_A_SHARD))
        .min(entries / ENTRIES_IN_A_SHARD);
    // `quick_cache` takes a power of two, and rounds each shard's capacity up: so both are made to be exact.
    let shards = 1 << shards.checked_ilog2().unwrap_or_default();
    let share = (bytes / entries).max(1);
    let capacity = share.saturating_mul(entries).min(bytes);
    let capacity = capacity - capacity % shards;
    // A single entry has to leave a little room: `quick_cache` admits none that takes more than 97 % of a shard.
    let least = share.min(capacity - capacity / 10);
    // What was evicted is remembered by its hash for half as many entries as there may be: no more than the bytes allow.
    let estimated = entries.min(bytes / entry_bytes::<C>(SHORTEST));

    let mut options = OptionsBuilder::new();
    options
        .shards(usize::try_from(shards).unwrap_or(1))
        .weight_capacity(capacity)
        .estimated_items_capacity(usize::try_from(estimated).unwrap_or(usize::MAX));
    // It fails where a capacity is not set.
    let options = options.build().ok()?;
    Some(Cache::with_options(options, Weigh { least }, DefaultHashBuilder::default(), DefaultLifecycle::default()))
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod tests;

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use super::{super::origin::Origin, *};
use crate::{
    clock::Timestamp,
    jwt::{
        Algorithm, JwtClaims, KeySet, NoClaims, SigningKey, TokenType, Validation, encode_jwt, validate_jwt_stateless,
    },
};

const LONGEST: usize = 8192;

/// Returns verified claims. The cache does not depend on their content.
fn claims() -> Claims {
    let now = Timestamp::from_secs(1_767_225_660);
    let keys =
        KeySet::signing(SigningKey::from_secret(Algorithm::HS256, b"a TEST key that is long enough for it").unwrap());
    let claims =
        JwtClaims::new("42", crate::TokenId::new("jti"), TokenType::Access, now, Duration::from_secs(60), NoClaims {});
    let token = encode_jwt(&keys, &claims).unwrap();
    validate_jwt_stateless(&token, &keys, &Validation::new(), TokenType::Access, now).unwrap()
}

fn cache_of(entries: usize, bytes: usize) -> TokenCache<NoClaims> {
    TokenCache::new(CacheBounds { entries, bytes }, LONGEST)
}

/// Returns a text of this length, different for each number.
fn text(number: usize, len: usize) -> String {
    format!("{number:0len$}")
}

fn verified(claims: &Claims) -> VerifiedToken<NoClaims> {
    VerifiedToken {
        claims: claims.clone(),
        origin: Origin::Own,
        route: None,
        alive: Alive::default(),
        is_foreign: false,
    }
}

fn keep(cache: &TokenCache<NoClaims>, text: &str, claims: &Claims) {
    cache.insert(cache.lookup_key(text.as_bytes()).unwrap().to_token_key(), verified(claims));
}

fn has(cache: &TokenCache<NoClaims>, text: &str) -> bool {
    cache.get(&cache.lookup_key(text.as_bytes()).unwrap()).is_some()
}

#[test]
fn a_flood_of_valid_tokens_stays_within_the_bound_of_entries() {
    let claims = claims();
    for entries in [1, 2, 3, 31, 32, 33, 100, 1000, 5000] {
        let cache = cache_of(entries, 64 * 1024 * 1024);
        for number in 0..3 * entries {
            keep(&cache, &text(number, 300), &claims);
            assert!(cache.entries() <= entries, "{} of {entries}", cache.entries());
        }
        // Shards do not fill up evenly, so a little room stays unused.
        assert!(cache.entries() >= entries - entries / 8, "{} of {entries}", cache.entries());
    }
}

#[test]
fn a_flood_of_valid_tokens_stays_within_the_bound_of_bytes() {
    let claims = claims();
    for (len, bytes) in [(300, 100_003), (300, 1_000_003), (8000, 1_000_003), (8000, 50_000)] {
        let cache = cache_of(2_000_000, bytes);
        for number in 0..3000 {
            keep(&cache, &text(number, len), &claims);
            // Checks the bound without the weights: each entry takes at least two texts.
            assert!(cache.entries() * 2 * len <= bytes, "{} of {len}", cache.entries());
            assert!(cache.bytes() <= bytes as u64);
        }
        assert!(cache.cache.as_ref().unwrap().capacity() <= bytes as u64);
        let weight = usize::try_from(entry_bytes::<NoClaims>(len)).unwrap();
        assert!(cache.entries() >= bytes / weight / 2, "{} of {len} in {bytes}", cache.entries());
    }
}

#[test]
fn a_token_that_is_longer_than_the_room_is_not_kept_and_pushes_nothing_out() {
    let claims = claims();
    let cache = cache_of(1000, 10_000);
    keep(&cache, &text(1, 300), &claims);
    keep(&cache, &text(2, 8000), &claims);
    assert!(has(&cache, &text(1, 300)));
    assert!(!has(&cache, &text(2, 8000)));
}

#[test]
fn tokens_that_come_again_survive_a_scan_of_those_that_come_once() {
    let claims = claims();
    let cache = cache_of(1000, 64 * 1024 * 1024);
    // Looks up and inserts as the service does. Returns 1 on a miss.
    let misses = |token: &str| {
        let missed = !has(&cache, token);
        if missed {
            keep(&cache, token, &claims);
        }
        usize::from(missed)
    };
    for number in 0..2000 {
        misses(&text(number, 300));
    }
    let again: Vec<_> = (10_000..10_100).map(|number| text(number, 300)).collect();
    let mut once = (20_000..).map(|number| text(number, 300));
    for token in &again {
        assert_eq!((misses(token), misses(token)), (1, 0));
    }
    // These tokens entered a full cache and were used twice. Each scan has twice as many tokens as
    // the cache has entries, and must not evict them.
    for _ in 0..10 {
        for token in once.by_ref().take(2000) {
            assert_eq!(misses(&token), 1);
        }
        assert_eq!(again.iter().map(|token| misses(token)).sum::<usize>(), 0);
    }
}

#[test]
fn a_text_is_found_by_all_of_it() {
    let claims = claims();
    let cache = cache_of(1000, 1_000_000);
    let token = text(1, 300);
    keep(&cache, &token, &claims);
    assert!(has(&cache, &token));
    for at in 0..token.len() {
        let mut other = token.clone().into_bytes();
        other[at] ^= 1;
        assert!(!has(&cache, str::from_utf8(&other).unwrap()), "{at}");
    }
    // Two texts with the same hash are still two tokens.
    let hash = cache.lookup_key(token.as_bytes()).unwrap().hash;
    let other = text(2, 300);
    let version = 0;
    assert!(cache.get(&LookupKey { hash, version, bytes: token.as_bytes() }).is_some());
    assert!(cache.get(&LookupKey { hash, version, bytes: other.as_bytes() }).is_none());
    cache.insert(LookupKey { hash, version, bytes: other.as_bytes() }.to_token_key(), verified(&claims));
    assert!(cache.get(&LookupKey { hash, version, bytes: other.as_bytes() }).is_some());
    assert!(has(&cache, &token));
    assert_eq!(cache.entries(), 2);
}

#[test]
fn what_was_verified_under_other_keys_is_not_found_also_if_it_is_kept_too_late() {
    let claims = claims();
    let cache = cache_of(1000, 1_000_000);
    let token = text(1, 300);
    let verified = || VerifiedToken {
        claims: claims.clone(),
        origin: Origin::Own,
        route: None,
        alive: Alive::default(),
        is_foreign: false,
    };
    keep(&cache, &token, &claims);
    let before = cache.lookup_key(token.as_bytes()).unwrap();
    cache.reset(1);
    assert_eq!(cache.entries(), 0);
    cache.insert(before.to_token_key(), verified());
    assert_eq!(cache.entries(), 0);
    // Simulates an insertion that was in progress during the reset.
    cache.cache.as_ref().unwrap().insert(before.to_token_key(), verified());
    assert!(!has(&cache, &token));
    keep(&cache, &token, &claims);
    assert!(has(&cache, &token));
}

#[test]
fn without_entries_nothing_is_kept_and_what_is_too_long_is_not_even_hashed() {
    assert!(cache_of(0, 1_000_000).lookup_key(text(1, 300).as_bytes()).is_none());
    let cache = cache_of(1000, 1_000_000);
    assert!(cache.lookup_key(text(1, LONGEST).as_bytes()).is_some());
    assert!(cache.lookup_key(text(1, LONGEST + 1).as_bytes()).is_none());
}

#[test]
fn bounds_in_which_no_token_has_room_are_refused() {
    let check = |entries, bytes| CacheBounds { entries, bytes }.check::<NoClaims>();
    for (entries, bytes) in [(1, 0), (1, 500), (65_536, 500)] {
        assert!(check(entries, bytes).unwrap_err().to_string().contains("verified_cache"));
    }
    for (entries, bytes) in [(0, 0), (0, 1_000_000), (1, 2000), (usize::MAX, usize::MAX)] {
        check(entries, bytes).unwrap();
        keep_one_if_any(entries, bytes);
    }
}

/// Checks that a cache with accepted bounds keeps an entry.
fn keep_one_if_any(entries: usize, bytes: usize) {
    let cache = cache_of(entries, bytes);
    let token = text(1, SHORTEST);
    if let Some(key) = cache.lookup_key(token.as_bytes()) {
        cache.insert(
            key.to_token_key(),
            VerifiedToken {
                claims: claims(),
                origin: Origin::Own,
                route: None,
                alive: Alive::default(),
                is_foreign: false,
            },
        );
    }
    assert_eq!(cache.entries(), entries.min(1));
}

//! Reads any text as a JWK or a JWK Set. An accepted published set must contain no secret and no
//! name twice for one algorithm, and must survive writing and reading.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tower_bearer::jwt::{Algorithm, KeySet, SigningKey, VerifyingKey};

const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA, Algorithm::Ed25519];

fuzz_target!(|text: &str| {
    let _ = VerifyingKey::from_jwk(text);
    for algorithm in ALGORITHMS {
        if let Ok(key) = VerifyingKey::from_jwk_with(algorithm, text) {
            assert_eq!(key.algorithm(), algorithm);
        }
        let _ = SigningKey::from_jwk_with(algorithm, text);
        if let Ok(keys) = KeySet::from_published_jwks_with([algorithm], text) {
            assert!(keys.verifying_keys().iter().all(|key| key.algorithm() == algorithm));
            check_published(&keys, text);
        }
    }
    if let Ok(keys) = KeySet::from_published_jwks_with(ALGORITHMS.into_iter().skip(1), text) {
        check_published(&keys, text);
    }
    if let Ok(keys) = KeySet::from_jwks(text) {
        assert!(keys.verifying_keys().len() <= 16);
        check(&keys);
    }
    if let Ok(keys) = KeySet::from_published_jwks(text) {
        check_published(&keys, text);
    }
});

fn check(keys: &KeySet) {
    assert!(!keys.verifying_keys().is_empty() && keys.signing_key().is_none());
    let mut names = HashSet::new();
    let mut named = keys.verifying_keys().iter().filter(|key| key.kid().is_some());
    assert!(named.all(|key| names.insert((key.kid(), key.algorithm()))));
    let written: Value = serde_json::from_str(&keys.to_jwks()).expect("JSON");
    let written = written["keys"].as_array().expect("keys");
    for jwk in written {
        assert!(
            jwk["kty"] != "oct"
                && ["k", "d", "p", "q", "dp", "dq", "qi", "oth"].iter().all(|name| jwk.get(name).is_none())
        );
    }
    // Written keys have more members, so a set of the greatest length can become too long.
    if !written.is_empty() && keys.to_jwks().len() <= 256 * 1024 {
        let read = KeySet::from_published_jwks(&keys.to_jwks()).expect("what was written");
        assert_eq!(read.to_jwks(), keys.to_jwks());
    }
}

fn check_published(keys: &KeySet, text: &str) {
    check(keys);
    assert!(keys.verifying_keys().iter().all(|key| key.thumbprint().is_some()));
    // A `Value` cannot have all that the reader skips: a lone surrogate, or a number beyond `f64`.
    let Ok(set) = serde_json::from_str::<Value>(text) else { return };
    for jwk in set["keys"].as_array().expect("keys") {
        assert!(jwk["kty"] != "oct" && is_absent(&jwk["d"]) && is_absent(&jwk["k"]));
    }
}

fn is_absent(value: &Value) -> bool {
    *value == Value::Null || *value == "" || value.as_array().is_some_and(Vec::is_empty)
}

//! Keys: any text as a JWK is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_bearer::jwt::{Algorithm, SigningKey, VerifyingKey};

fuzz_target!(|text: &str| {
    let _ = VerifyingKey::from_jwk(text);
    for algorithm in [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let _ = VerifyingKey::from_jwk_with(algorithm, text);
        let _ = SigningKey::from_jwk_with(algorithm, text);
    }
});

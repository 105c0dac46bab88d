//! The TEST keys, as keys of a service and as keys for a test's own signatures.

use std::{fs, path::Path};

use jsonwebtoken::EncodingKey;
use tower_bearer::jwt::{Algorithm, SigningKey};

use super::fixture::SECRET;

/// Returns the text of a file in `tests/keys`.
pub fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)).expect(name)
}

/// Returns the service's key for this algorithm.
pub fn signing(algorithm: Algorithm) -> SigningKey {
    match file(algorithm) {
        None => SigningKey::from_secret(algorithm, SECRET),
        Some(name) => SigningKey::from_pem(algorithm, text(name)),
    }
    .expect("a TEST key")
}

/// Returns the same key for `jsonwebtoken`, to sign tokens that the service would not sign.
pub fn encoding(algorithm: Algorithm) -> EncodingKey {
    let pem = file(algorithm).map(text);
    let pem = |of: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>| of(pem.clone().unwrap().as_bytes()).unwrap();
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => pem(EncodingKey::from_ec_pem),
        Algorithm::EdDSA | Algorithm::Ed25519 => pem(EncodingKey::from_ed_pem),
        _ if file(algorithm).is_some() => pem(EncodingKey::from_rsa_pem),
        _ => EncodingKey::from_secret(SECRET.as_bytes()),
    }
}

fn file(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => None,
        Algorithm::ES256 => Some("TEST-ec-p256-pkcs8.pem"),
        Algorithm::ES384 => Some("TEST-ec-p384-pkcs8.pem"),
        Algorithm::EdDSA | Algorithm::Ed25519 => Some("TEST-ed25519-pkcs8.pem"),
        _ => Some("TEST-rsa-2048-pkcs8.pem"),
    }
}

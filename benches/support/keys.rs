//! The TEST keys.

use std::fs;

use tower_bearer::jwt::{Algorithm, SigningKey};

/// TEST secret.
pub const SECRET: &str = "TEST-secret-of-the-benchmark-0123456789abcdef";

/// Returns the public TEST key for ES256 or RS256 as PEM.
pub fn public_pem(algorithm: &str) -> String {
    let name = if algorithm == "RS256" { "TEST-rsa-2048-public.pem" } else { "TEST-ec-p256-public.pem" };
    fs::read_to_string(format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Returns the TEST key for an algorithm.
pub fn key(algorithm: &str) -> SigningKey {
    let file = match algorithm {
        "EdDSA" => "TEST-ed25519-pkcs8.pem",
        "ES256" => "TEST-ec-p256-pkcs8.pem",
        "RS256" => "TEST-rsa-2048-pkcs8.pem",
        _ => return SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap(),
    };
    let pem = fs::read(format!("{}/tests/keys/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    SigningKey::from_pem(algorithm.parse().unwrap(), pem).unwrap()
}

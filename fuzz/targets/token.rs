//! Validates any text, which must be refused, and signed headers and claims, which may pass only if
//! they follow the rules.
//!
//! The input is a token. After a first byte of 1, it is a header and a payload, separated by a line
//! feed, which the target signs.
#![no_main]

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, crypto::rust_crypto::DEFAULT_PROVIDER};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tower_bearer::{
    KeySet, TokenType,
    clock::Timestamp,
    jwt::{Algorithm, SigningKey, Validation, decode_token, validate_jwt_stateless, verify_compact},
};

/// TEST secret.
const SECRET: &[u8] = b"TEST secret of the fuzz targets, long enough for HS256";
const NOW: Timestamp = Timestamp::from_secs(1_767_225_660);

static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::signing(SigningKey::from_secret(Algorithm::HS256, SECRET).expect("a key")));
static RULES: LazyLock<Validation> =
    LazyLock::new(|| Validation::new().issuer("https://issuer.example").audience("api"));

fuzz_target!(|data: &[u8]| {
    let Some(rest) = data.strip_prefix(&[1]) else {
        // A random input cannot contain a valid HMAC.
        assert!(verify_compact(&KEYS, data).is_err());
        if let Ok(text) = std::str::from_utf8(data) {
            for kind in [TokenType::Access, TokenType::Refresh] {
                assert!(validate_jwt_stateless::<Value>(text, &KEYS, &RULES, kind, NOW).is_err());
            }
        }
        return;
    };
    let newline = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    let (header, payload) = (&rest[..newline], rest.get(newline + 1..).unwrap_or_default());
    let token = sign(header, payload);
    if let Ok(verified) = verify_compact(&KEYS, token.as_bytes()) {
        assert_eq!(verified, payload);
        check_header(header);
    }
    let _ = decode_token::<Value>(&token, &KEYS, &RULES);
    for kind in [TokenType::Access, TokenType::Refresh] {
        if validate_jwt_stateless::<Value>(&token, &KEYS, &RULES, kind, NOW).is_ok() {
            check_header(header);
            check_claims(payload, kind);
        }
    }
});

fn sign(header: &[u8], payload: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(SECRET);
    let signer = (DEFAULT_PROVIDER.signer_factory)(&jsonwebtoken::Algorithm::HS256, &key).expect("a signer");
    let signature = signer.try_sign(message.as_bytes()).expect("a signature");
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Checks the rules for a header that passed, by an independent parser.
fn check_header(header: &[u8]) {
    let header: Value = serde_json::from_slice(header).expect("JSON");
    let members = header.as_object().expect("an object");
    assert_eq!(members["alg"], "HS256");
    for name in ["crit", "b64", "zip", "enc", "cty"] {
        assert!(!members.contains_key(name), "{name}");
    }
    for name in ["typ", "kid"] {
        assert!(members.get(name).is_none_or(Value::is_string), "{name}");
    }
}

/// Checks the rules for a claims set that passed.
fn check_claims(payload: &[u8], kind: TokenType) {
    let claims: Value = serde_json::from_slice(payload).expect("JSON");
    let members = claims.as_object().expect("an object");
    assert_eq!(members["iss"], "https://issuer.example");
    let audience = &members["aud"];
    assert!(audience == "api" || audience.as_array().is_some_and(|several| several.contains(&"api".into())));
    assert_eq!(members["type"], kind.as_str());
    for name in ["sub", "jti"] {
        let text = members[name].as_str().expect(name);
        assert!((1..=255).contains(&text.len()) && !text.chars().any(char::is_control), "{name}");
    }
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    let now = NOW.as_secs() as f64;
    let time = |name: &str| members[name].as_f64().expect(name);
    assert!(now < time("exp") + 5.0 && time("iat") < time("exp") && time("iat") <= now + 5.001);
    assert!(!members.contains_key("nbf") || (time("nbf") <= now + 5.001 && time("nbf") < time("exp")));
    assert!(!members.contains_key("cnf"));
}

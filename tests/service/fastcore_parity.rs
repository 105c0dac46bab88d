//! Tokens that the predecessor (`fastcore.security`) issued get the outcome that it gave them, or a
//! stricter one where it was wrong.
//!
//! The tokens stand in `fastcore/parity.json` of the folder of `tests/support/vectors.rs`.

use serde::Deserialize;
use serde_json::{Map, Value};
use tower_bearer::{
    Claims, Error, MemoryStore, TokenService, TokenType,
    clock::{ManualClock, Timestamp},
    compat::Settings,
    error::TokenError,
};

use crate::support;

#[derive(Deserialize)]
struct Parity {
    now: u64,
    settings: PredecessorSettings,
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct PredecessorSettings {
    #[serde(rename = "JWT_SECRET_KEY")]
    secret: String,
    #[serde(rename = "JWT_ALGORITHM")]
    algorithm: String,
    #[serde(rename = "JWT_AUDIENCE")]
    audience: String,
    #[serde(rename = "JWT_ISSUER")]
    issuer: String,
    #[serde(rename = "JWT_ALLOWED_AUDIENCES")]
    allowed_audiences: Vec<String>,
}

#[derive(Deserialize)]
struct Token {
    name: String,
    #[serde(rename = "token")]
    text: String,
    #[serde(rename = "validate_jwt_stateless")]
    outcome: String,
    claims: Option<Value>,
}

fn parity() -> Parity {
    serde_json::from_slice(&support::vectors::read("fastcore/parity.json")).unwrap()
}

/// The service as the predecessor's settings configure it, at the moment of the vectors.
fn service(parity: &Parity) -> TokenService<Map<String, Value>> {
    let settings = &parity.settings;
    let allowed = serde_json::to_string(&settings.allowed_audiences).unwrap();
    let settings = Settings::from_vars([
        ("JWT_SECRET_KEY", settings.secret.as_str()),
        ("JWT_ALGORITHM", &settings.algorithm),
        ("JWT_AUDIENCE", &settings.audience),
        ("JWT_ISSUER", &settings.issuer),
        ("JWT_ALLOWED_AUDIENCES", &allowed),
    ]);
    TokenService::builder()
        .settings(&settings.unwrap())
        .clock(ManualClock::at(Timestamp::from_secs(parity.now)))
        .store(MemoryStore::default())
        .claims()
        .build()
        .unwrap()
}

fn assert_outcome(name: &str, expected: &str, result: &Result<Claims<Map<String, Value>>, Error>) {
    match expected {
        "ok" => assert!(result.is_ok(), "{name}: {result:?}"),
        "expired" => assert!(matches!(result, Err(Error::Token(TokenError::Expired { .. }))), "{name}: {result:?}"),
        "invalid" => {
            assert_eq!(result.as_ref().map(drop).unwrap_err().fastcore_code(), "INVALID_TOKEN", "{name}: {result:?}");
        }
        other => panic!("an outcome that this test does not know: {other}"),
    }
}

#[test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
fn the_predecessors_tokens_get_the_outcome_that_it_gave_them() {
    let parity = parity();
    let tokens = service(&parity);
    assert!(!parity.tokens.is_empty());
    for Token { name, text: token, outcome, claims } in &parity.tokens {
        let as_access = tokens.validate_jwt_stateless(token, TokenType::Access);
        let as_refresh = tokens.validate_jwt_stateless(token, TokenType::Refresh);
        // The refresh token is the one whose outcome depends on what is expected; all the others
        // are access tokens.
        if name == "refresh" {
            assert!(outcome.contains("ok when a refresh token is"), "{outcome}");
            assert_outcome(name, "invalid", &as_access);
            assert_outcome(name, "ok", &as_refresh);
        } else {
            assert_outcome(name, outcome, &as_access);
            assert!(as_refresh.is_err(), "{name} passes for a refresh token");
        }
        if let (Some(expected), Ok(claims)) = (claims, as_access.or(as_refresh)) {
            assert_eq!(&serde_json::to_value(&claims).unwrap(), expected, "{name}");
        }
    }
}

#[test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
fn custom_claims_are_the_members_that_are_not_registered() {
    let parity = parity();
    let tokens = service(&parity);
    let custom = |name: &str| {
        let token = parity.tokens.iter().find(|token| token.name == name).expect(name);
        tokens.validate_jwt_stateless(&token.text, TokenType::Access).unwrap().custom().clone()
    };
    assert!(custom("access").is_empty());
    let survived = custom("custom_claims");
    assert!(!survived.is_empty());
    let token = parity.tokens.iter().find(|token| token.name == "custom_claims").unwrap();
    let text = support::fixture::read_part(&token.text, 1);
    let registered = ["sub", "jti", "type", "aud", "iss", "iat", "exp"];
    for (name, value) in text.as_object().unwrap() {
        assert_eq!(survived.get(name), (!registered.contains(&name.as_str())).then_some(value), "{name}");
    }
}

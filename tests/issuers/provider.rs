//! A service that accepts the tokens of a fake identity provider over HTTPS.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tower_bearer::{
    TokenService,
    clock::{Clock, SystemClock},
    error::ConfigErrorKind,
    issuers::{HttpKeys, Issuer, IssuerPolicy, KeySourceError, KeySourceErrorKind},
    jwt::Algorithm,
    tokens::ConditionKind,
};

use crate::{
    status,
    support::{
        eventually,
        fake_provider::{Conduct, DISCOVERY, FakeProvider, JWKS, public_jwk},
        fixture::sign_with,
        test_keys,
    },
};

/// The shortest cool-down that the crate allows.
const COOL_DOWN: Duration = Duration::from_secs(1);

fn issuer(provider: &FakeProvider) -> Issuer {
    let source = HttpKeys::discovery(provider.url()).root_certificates(FakeProvider::ca()).build().unwrap();
    Issuer::new(provider.url()).audience("api").policy(IssuerPolicy::Stateless).cool_down(COOL_DOWN).key_source(source)
}

async fn connected(provider: &FakeProvider) -> TokenService {
    TokenService::builder().accept(issuer(provider)).connect().await.unwrap()
}

fn token(provider: &FakeProvider, kid: &str) -> String {
    let now = SystemClock.now().as_secs();
    let header = json!({ "alg": "ES256", "kid": kid }).to_string();
    let claims = json!({ "iss": provider.url(), "aud": "api", "sub": "42", "iat": now, "exp": now + 3600 });
    let key = test_keys::encoding(Algorithm::ES256);
    sign_with(jsonwebtoken::Algorithm::ES256, &key, header.as_bytes(), claims.to_string().as_bytes())
}

/// Makes the service fetch the keys again, and waits for the end of the fetch.
async fn fetch_again(tokens: &TokenService, unknown: &str) {
    let fetches = async || tokens.status().await.issuers[0].fetches;
    let before = fetches().await;
    eventually("another fetch ends", async || {
        let _ = status(tokens, unknown).await;
        (fetches().await > before).then_some(())
    })
    .await;
}

fn provider() -> FakeProvider {
    let provider = FakeProvider::start();
    provider.add_key(&public_jwk(Algorithm::ES256, "k1"));
    provider
}

#[tokio::test]
async fn keys_that_the_provider_rotates_and_withdraws_count_from_the_next_fetch() {
    let provider = provider();
    let tokens = connected(&provider).await;
    let [first, second, unknown] = ["k1", "k2", "k3"].map(|kid| token(&provider, kid));
    for _ in 0..2 {
        assert_eq!(status(&tokens, &first).await, 200);
    }
    assert_eq!(provider.fetches(JWKS), 1);
    provider.add_key(&public_jwk(Algorithm::ES256, "k2"));
    eventually("the new key is fetched for the request", async || {
        (status(&tokens, &second).await == 200).then_some(())
    })
    .await;
    provider.withdraw("k1");
    assert_eq!(status(&tokens, &first).await, 200, "nothing was fetched since");
    fetch_again(&tokens, &unknown).await;
    assert_eq!((status(&tokens, &first).await, status(&tokens, &second).await), (401, 200), "a warm token too");
}

#[tokio::test]
async fn jwk_16_a_provider_in_trouble_costs_no_request_with_a_known_key_anything() {
    let provider = provider();
    let tokens = connected(&provider).await;
    let (known, unknown) = (token(&provider, "k1"), token(&provider, "k2"));
    let other = format!("{}/another", provider.url());
    for (path, conduct) in [
        (JWKS, Conduct::Status(500)),
        (JWKS, Conduct::Hang),
        (JWKS, Conduct::Huge { declared: false }),
        (JWKS, Conduct::Redirect("https://localhost:9/jwks".to_owned())),
        (JWKS, Conduct::Close),
        (JWKS, Conduct::Body("text/html", Bytes::from_static(b"<html>"))),
        (DISCOVERY, Conduct::Status(503)),
    ] {
        provider.set(path, conduct.clone());
        fetch_again(&tokens, &unknown).await;
        assert_eq!(status(&tokens, &known).await, 200, "{conduct:?}");
        let of_issuer = tokens.status().await.issuers.remove(0);
        assert!(of_issuer.last_error.is_some() && of_issuer.is_fresh, "{conduct:?}: {of_issuer:?}");
        provider.set(path, Conduct::Serve);
    }
    provider.set_issuer(&other);
    fetch_again(&tokens, &unknown).await;
    let text = tokens.status().await.issuers.remove(0).last_error.unwrap();
    assert!(text.contains(&other), "both issuers are named: {text}");
    assert_eq!(status(&tokens, &known).await, 200);
    provider.set_issuer(provider.url());
    fetch_again(&tokens, &unknown).await;
    assert_eq!(tokens.status().await.issuers[0].last_error, None);
}

#[tokio::test]
async fn connect_fails_for_a_provider_that_cannot_be_used() {
    type Change = fn(&FakeProvider);
    let cases: [(Change, KeySourceErrorKind); 4] = [
        (|provider| provider.set_issuer("https://another.example"), KeySourceErrorKind::WrongIssuer),
        (|provider| provider.set(JWKS, Conduct::Status(404)), KeySourceErrorKind::Status),
        (|provider| provider.set(JWKS, Conduct::Huge { declared: true }), KeySourceErrorKind::TooLarge),
        (|provider| provider.withdraw("k1"), KeySourceErrorKind::Unreadable),
    ];
    for (change, kind) in cases {
        let provider = provider();
        change(&provider);
        let error = TokenService::builder().accept(issuer(&provider)).connect().await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Unreachable);
        let source = std::error::Error::source(&error).unwrap().downcast_ref::<KeySourceError>().unwrap();
        assert_eq!(source.kind(), kind, "{source:?}");
    }
}

#[tokio::test]
async fn jwk_02_ten_thousand_unknown_keys_cause_one_fetch_in_a_cool_down() {
    let provider = provider();
    let tokens = connected(&provider).await;
    let (known, began) = (token(&provider, "k1"), Instant::now());
    // On a fast machine, 10 000 tokens take less than the cool-down after the first fetch.
    let mut number = 0;
    while number < 10_000 || provider.fetches(JWKS) == 1 {
        assert!(began.elapsed() < Duration::from_secs(120), "no fetch because of an unknown key");
        number += 1;
        let refused = status(&tokens, &token(&provider, &format!("unknown-{number}"))).await;
        // While a fetch is under way for longer than a request waits, the key may still come.
        assert!(refused == 401 || refused == 503, "{refused}");
    }
    let cool_downs = usize::try_from(began.elapsed().as_secs() / COOL_DOWN.as_secs()).unwrap();
    assert_eq!(status(&tokens, &known).await, 200);
    let fetches = provider.fetches(JWKS);
    assert!(fetches <= 2 + cool_downs, "{fetches} fetches in {:?}", began.elapsed());
}

#[tokio::test]
async fn a_service_that_starts_with_the_wrong_issuer_says_so_in_its_status() {
    let provider = provider();
    let other = format!("{}/another", provider.url());
    provider.set_issuer(&other);
    let tokens = TokenService::builder().accept(issuer(&provider)).build().unwrap();
    assert_eq!(status(&tokens, &token(&provider, "k1")).await, 503);
    let condition = eventually("the condition begins", async || tokens.readiness().await.conditions.pop()).await;
    assert_eq!(condition.kind, ConditionKind::IssuerKeys);
    assert!(condition.text.contains(&other) && condition.text.contains("get 503"), "{}", condition.text);
}

//! Rules that an application adds to the crate's own: TIM-23, CLM-22, CLM-30.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tower_bearer::{
    BoxError, Claims, NewSession, TokenType,
    error::{StoreError, StoreErrorKind},
    jwt::Validation,
    tokens::Verdict,
};

use crate::{
    subject::{Outcome, Subject},
    support::{
        Behaviour, Fixture,
        fixture::{read_part, sign},
    },
};

const HEADER: &str = r#"{"alg":"HS256","typ":"at+jwt"}"#;

#[tokio::test]
async fn tim_23_an_access_token_older_than_allowed_is_refused_however_long_it_lives() {
    const MAX_AGE: u64 = 600;
    let subject = Subject::with(|builder| builder.max_token_age(Duration::from_secs(MAX_AGE)));
    let long_lived = async |subject: &Subject| {
        let pair = subject.fixture.tokens.create_token_pair(NewSession::of("42")).await.unwrap();
        let mut claims = read_part(pair.access().as_str(), 1);
        claims["exp"] = json!(claims["iat"].as_u64().unwrap() + 86_400);
        (pair, sign(HEADER, &claims.to_string()))
    };
    let (pair, token) = long_lived(&subject).await;
    subject.expect_token("new", &token, Outcome::Ok).await;
    subject.fixture.advance(MAX_AGE);
    subject.expect_token("as old as allowed", &token, Outcome::Ok).await;
    subject.fixture.advance(1);
    subject.expect_token("a second older", &token, Outcome::InvalidToken).await;
    // A session is not ended by it.
    subject.fixture.tokens.refresh(pair.refresh().as_str()).await.unwrap();

    let unbounded = Subject::new();
    let (_, token) = long_lived(&unbounded).await;
    unbounded.fixture.advance(86_000);
    unbounded.expect_token("without the bound", &token, Outcome::Ok).await;

    assert_eq!(Validation::new().max_token_age(Duration::ZERO).check().unwrap_err().setting(), "max_token_age");
}

#[tokio::test]
async fn clm_22_every_claim_that_is_required_has_to_be_there() {
    let all = [
        "exp",
        "jti",
        "iat",
        "client_id",
        "nbf",
        "sid",
        "gen",
        "scope",
        "sub",
        "iss",
        "aud",
        "type",
        "tenant",
        "roles",
    ];
    let subject = Subject::with(|builder| builder.require_claims(all).client_id("web"));
    let mut claims = subject.claims().await;
    claims["nbf"] = claims["iat"].clone();
    claims["tenant"] = json!("acme");
    claims["roles"] = json!([]);
    subject.expect_token("all of them", &sign(HEADER, &claims.to_string()), Outcome::Ok).await;
    for name in all {
        let mut without = claims.clone();
        without.as_object_mut().unwrap().remove(name);
        subject.expect_token(name, &sign(HEADER, &without.to_string()), Outcome::InvalidToken).await;
        // A custom claim may be null: it is there, and its type is the application's business. A registered one may not.
        without[name] = Value::Null;
        let outcome = if ["tenant", "roles"].contains(&name) { Outcome::Ok } else { Outcome::InvalidToken };
        subject.expect_token(&format!("{name}: null"), &sign(HEADER, &without.to_string()), outcome).await;
    }
    // Names are compared whole and in their case.
    let mut other = claims.clone();
    other.as_object_mut().unwrap().remove("tenant");
    other["Tenant"] = json!("acme");
    other["tenant "] = json!("acme");
    subject.expect_token("Tenant", &sign(HEADER, &other.to_string()), Outcome::InvalidToken).await;

    for name in ["", "cnf"] {
        let error = Validation::new().require_claims([name]).check().unwrap_err();
        assert_eq!(error.setting(), "require_claims", "{name}");
    }
}

#[tokio::test]
async fn clm_30_a_validator_that_refuses_is_401_and_one_that_fails_or_panics_500_and_the_next_request_is_served() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let subject = Subject::with(|builder| {
        builder.validator(move |claims: &Claims| {
            count.fetch_add(1, Ordering::SeqCst);
            match claims.subject() {
                "refused" => Ok(Verdict::Refuse),
                "failed" => Err::<_, BoxError>("a database is down".into()),
                "panics" => panic!("a test's panic, which is caught"),
                "store" => Err(StoreError::new(StoreErrorKind::Timeout).into()),
                _ => Ok(Verdict::Accept),
            }
        })
    });
    let good = subject.valid().await;
    let of = async |user: &str| {
        let session = NewSession::of(user);
        subject.fixture.tokens.create_token_pair(session).await.unwrap()
    };
    // The answer is the same whether the store answers at once or later.
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        for (user, outcome) in [
            ("refused", Outcome::InvalidToken),
            ("failed", Outcome::Internal),
            ("panics", Outcome::Internal),
            // An error of the application's own store is a store's: 503.
            ("store", Outcome::Unavailable),
            ("accepted", Outcome::Ok),
        ] {
            subject.fixture.store.answer(Behaviour::AtOnce);
            let pair = of(user).await;
            subject.fixture.store.answer(behaviour);
            subject.expect_token(user, pair.access().as_str(), outcome).await;
            subject.expect_token("the next request", &good, Outcome::Ok).await;
            // Of refresh tokens `on_refresh` decides.
            let before = asked.load(Ordering::SeqCst);
            subject.fixture.tokens.validate_token(pair.refresh().as_str(), TokenType::Refresh).await.unwrap();
            assert_eq!(asked.load(Ordering::SeqCst), before);
        }
        // It is asked about good tokens only, whatever they are refused for.
        subject.fixture.store.answer(Behaviour::AtOnce);
        let revoked = of("accepted").await;
        subject.fixture.tokens.revoke_session("accepted", revoked.session_id()).await.unwrap();
        subject.fixture.store.answer(behaviour);
        let before = asked.load(Ordering::SeqCst);
        subject.expect_token("revoked", revoked.access().as_str(), Outcome::InvalidToken).await;
        subject.expect_token("no token", "abc", Outcome::InvalidToken).await;
        assert_eq!(asked.load(Ordering::SeqCst), before);
    }
}

#[test]
fn clm_30_a_validator_for_claims_of_another_type_is_a_configuration_error() {
    let clock = tower_bearer::clock::ManualClock::at(crate::support::fixture::START);
    let accept = |_: &Claims| Ok::<_, BoxError>(Verdict::Accept);
    let builder = crate::support::fixture::builder(&clock).store(tower_bearer::MemoryStore::default());
    assert_eq!(builder.validator(accept).claims::<Value>().build().unwrap_err().setting(), "validator");
    drop(Fixture::with(|builder| builder.validator(accept)));
}

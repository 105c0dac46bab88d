//! Rules that an application adds: TIM-23, CLM-22, CLM-30.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tower_bearer::{
    BoxError, Claims, Error, NewSession, TokenType,
    error::{StoreError, StoreErrorKind},
    jwt::{Algorithm, Validation},
    tokens::Validity,
};

use crate::{
    subject::{Outcome, Subject},
    support::{
        Behaviour, Fixture,
        fixture::{START, builder, read_part, sign},
        test_keys,
        token_parts::HEADER,
    },
};

#[tokio::test]
async fn tim_23_an_access_token_older_than_allowed_is_refused_however_long_it_lives() {
    const MAX_AGE: u64 = 600;
    let subject = Subject::with(|builder| {
        let age = Duration::from_secs(MAX_AGE);
        builder.access_lifetime(age).max_access_lifetime(Duration::from_secs(86_400)).max_token_age(age)
    });
    let long_lived = async |subject: &Subject| {
        let pair = subject.fixture.tokens.create_token_pair(NewSession::new("42")).await.unwrap();
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
    // The rejection does not end the session.
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
    // An issuing service must write the claims that it requires, so this service only verifies
    // tokens of others.
    let subject = Subject::with(|settings| settings.verify_only().require_claims(all));
    let Fixture { clock, store, .. } = &subject.fixture;
    let issuer = builder(clock).store(store.clone()).client_id("web").build().unwrap();
    let issued = issuer.create_access_token(NewSession::new("42").scope("read")).await.unwrap();
    let mut claims = read_part(issued.as_str(), 1);
    claims["nbf"] = claims["iat"].clone();
    claims["tenant"] = json!("acme");
    claims["roles"] = json!([]);
    subject.expect_token("all of them", &sign(HEADER, &claims.to_string()), Outcome::Ok).await;
    for name in all {
        let mut without = claims.clone();
        without.as_object_mut().unwrap().remove(name);
        subject.expect_token(name, &sign(HEADER, &without.to_string()), Outcome::InvalidToken).await;
        // A required custom claim may be null, because its type is up to the application. A
        // registered one may not.
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
}

#[tokio::test]
async fn clm_22_a_claim_that_tokens_cannot_have_is_no_requirement() {
    for name in ["", "cnf", "iss", "aud"] {
        let error = Validation::new().require_claims([name]).check().unwrap_err();
        assert_eq!(error.setting(), "require_claims", "{name}");
    }
    assert!(Validation::new().issuer("i").audience("a").require_claims(["iss", "aud"]).check().is_ok());

    let clock = tower_bearer::clock::ManualClock::at(START);
    let requires = |names: &'static [&'static str]| {
        builder(&clock).store(tower_bearer::MemoryStore::default()).require_claims(names.iter().copied())
    };
    for names in [&["nbf"][..], &["client_id"], &["sub", "nbf"]] {
        assert_eq!(requires(names).build().unwrap_err().setting(), "require_claims", "{names:?}");
        assert!(requires(names).verify_only().build().is_ok(), "others may write it");
    }
    assert!(requires(&["client_id"]).client_id("web").build().is_ok());
    let short = builder(&clock).store(tower_bearer::MemoryStore::default()).max_token_age(Duration::from_secs(1799));
    assert_eq!(short.build().unwrap_err().setting(), "max_token_age");

    // A missing claim that depends on the session is an error of the login, which stores nothing.
    let subject = Subject::with(|builder| builder.require_claims(["scope"]));
    let tokens = &subject.fixture.tokens;
    let writes = subject.fixture.store.writes();
    let refused = tokens.create_token_pair(NewSession::new("42")).await.unwrap_err();
    assert!(matches!(refused, Error::Issue(_)), "{refused:?}");
    assert_eq!(subject.fixture.store.writes(), writes);
    subject.expect_token("with a scope", &subject.valid().await, Outcome::Ok).await;
}

#[test]
fn a_header_of_our_own_that_is_over_its_share_is_a_configuration_error() {
    let name = "k".repeat(255);
    let key = test_keys::signing(Algorithm::HS256).with_kid(name).unwrap();
    let clock = tower_bearer::clock::ManualClock::at(START);
    let with = |max_token_len: usize| {
        let keys = tower_bearer::KeySet::signing(key.clone());
        let builder = tower_bearer::TokenService::builder().keys(keys).clock(clock.clone());
        builder.store(tower_bearer::MemoryStore::default()).max_token_len(max_token_len).build()
    };
    assert_eq!(with(900).unwrap_err().setting(), "max_token_len");
    assert!(with(2000).is_ok());
}

#[tokio::test]
async fn clm_30_a_validator_that_refuses_is_401_and_one_that_fails_or_panics_500_and_the_next_request_is_served() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let subject = Subject::with(|builder| {
        builder.validator(move |claims: &Claims| {
            count.fetch_add(1, Ordering::SeqCst);
            match claims.subject().as_str() {
                "refused" => Ok(Validity::Invalid),
                "failed" => Err::<_, BoxError>("a database is down".into()),
                "panics" => panic!("a test's panic, which is caught"),
                "store" => Err(StoreError::new(StoreErrorKind::Timeout).into()),
                _ => Ok(Validity::Valid),
            }
        })
    });
    let good = subject.valid().await;
    let of = async |user: &str| {
        let session = NewSession::new(user);
        subject.fixture.tokens.create_token_pair(session).await.unwrap()
    };
    // The answer is the same whether the store answers at once or later.
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        for (user, outcome) in [
            ("refused", Outcome::InvalidToken),
            ("failed", Outcome::Internal),
            ("panics", Outcome::Internal),
            // A store error in the application's validator gives 503, like one of the service.
            ("store", Outcome::Unavailable),
            ("accepted", Outcome::Ok),
        ] {
            subject.fixture.store.answer(Behaviour::AtOnce);
            let pair = of(user).await;
            subject.fixture.store.answer(behaviour);
            subject.expect_token(user, pair.access().as_str(), outcome).await;
            subject.expect_token("the next request", &good, Outcome::Ok).await;
            // For refresh tokens `on_refresh` decides instead.
            let before = asked.load(Ordering::SeqCst);
            subject.fixture.tokens.validate_token(pair.refresh().as_str(), TokenType::Refresh).await.unwrap();
            assert_eq!(asked.load(Ordering::SeqCst), before);
        }
        // The validator is called only for valid tokens.
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
    let clock = tower_bearer::clock::ManualClock::at(START);
    let accept = |_: &Claims| Ok::<_, BoxError>(Validity::Valid);
    let unfinished = builder(&clock).store(tower_bearer::MemoryStore::default());
    assert_eq!(unfinished.validator(accept).claims::<Value>().build().unwrap_err().setting(), "validator");
    drop(Fixture::with(|builder| builder.validator(accept)));
}

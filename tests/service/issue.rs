//! Opening sessions, and their first tokens.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tower_bearer::{
    Error, NewSession, TokenService, TokenType,
    clock::{Clock, ManualClock},
    error::{StoreErrorKind, TokenError},
    store::Page,
    tokens::{SecurityEvent, TokenPair},
};

use crate::{
    Events, access, assert_alive, assert_revoked, pair, refresh,
    support::{
        self, Behaviour, FaultyStore, Fixture, RESERVED,
        fixture::{AUDIENCE, ISSUER, START, builder, read_part},
    },
    token_error,
};

const DAY: u64 = 86_400;

#[tokio::test]
async fn a_pair_says_who_for_whom_until_when_and_of_which_session() {
    let fixture = Fixture::with(|builder| builder.client_id("app"));
    let pair = pair(&fixture.tokens).await;
    let sid = pair.session_id();
    let now = START.as_secs();
    for (token, kind, typ, lifetime) in
        [(pair.access(), "access", "at+jwt", 1800), (pair.refresh(), "refresh", "rt+jwt", 7 * DAY)]
    {
        let header = read_part(token.as_str(), 0);
        assert_eq!((&header["alg"], &header["typ"]), (&json!("HS256"), &json!(typ)));
        let mut claims = read_part(token.as_str(), 1);
        let generation = claims.as_object_mut().unwrap().remove("gen").unwrap();
        assert!(generation.is_u64());
        let access_lifetime = claims.as_object_mut().unwrap().remove("atl");
        assert_eq!(access_lifetime, (kind == "refresh").then(|| json!(1800)), "{kind}");
        let expected = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "42", "type": kind, "sid": sid, "jti": format!("{sid}.0.{}", &kind[..1]),
            "iat": now, "exp": now + lifetime, "scope": "read write", "client_id": "app",
        });
        assert_eq!(claims, expected);
        assert_eq!((token.expires_at().as_secs(), token.expires_in()), (now + lifetime, lifetime));
    }
    let claims = access(&fixture.tokens, pair.access().as_str()).await.unwrap();
    assert_eq!((claims.subject().as_str(), claims.session_id(), claims.client_id()), ("42", Some(sid), Some("app")));
    assert!(claims.scope().contains("read") && claims.scope().contains("write") && !claims.scope().contains("admin"));
    assert_eq!(claims.token_type(), Some(TokenType::Access));
    refresh(&fixture.tokens, pair.refresh().as_str()).await.unwrap();
    // Neither token passes as the other type.
    assert_eq!(token_error(access(&fixture.tokens, pair.refresh().as_str()).await), TokenError::WrongType);
    assert_eq!(token_error(refresh(&fixture.tokens, pair.access().as_str()).await), TokenError::WrongType);
}

#[tokio::test]
async fn a_pair_serializes_to_the_token_response() {
    let fixture = Fixture::new();
    let pair = pair(&fixture.tokens).await;
    let response = serde_json::to_value(&pair).unwrap();
    let expected = json!({
        "access_token": pair.access().as_str(), "refresh_token": pair.refresh().as_str(), "token_type": "bearer",
        "expires_in": 1800, "access_expires_in": 1800, "refresh_expires_in": 7 * DAY, "scope": "read write",
    });
    assert_eq!(response, expected);
    let without = fixture.tokens.create_token_pair(NewSession::new("42")).await.unwrap();
    assert!(serde_json::to_value(&without).unwrap().get("scope").is_none());
}

#[tokio::test]
async fn every_session_has_ids_of_its_own() {
    let fixture = Fixture::new();
    let (one, other) = (pair(&fixture.tokens).await, pair(&fixture.tokens).await);
    assert_ne!(one.session_id(), other.session_id());
    assert_ne!(one.access().as_str(), other.access().as_str());
}

fn with_any_claims(fixture: &Fixture) -> TokenService<Value> {
    builder(&fixture.clock).store(fixture.store.clone()).claims::<Value>().build().unwrap()
}

#[tokio::test]
async fn custom_claims_stand_beside_the_registered_ones_and_survive_every_refresh() {
    let fixture = Fixture::new();
    let tokens = with_any_claims(&fixture);
    let custom = json!({"role": "owner", "nested": {"sub": [1, null, "x"]}, "é": 1.5});
    let mut pair = crate::log_in(&tokens, custom.clone()).await;
    for _ in 0..3 {
        for token in [pair.access(), pair.refresh()] {
            let claims = read_part(token.as_str(), 1);
            for (name, value) in custom.as_object().unwrap() {
                assert_eq!(&claims[name], value);
            }
        }
        let claims = access(&tokens, pair.access().as_str()).await.unwrap();
        assert_eq!(claims.custom(), &custom);
        pair = tokens.refresh(pair.refresh().as_str()).await.unwrap();
    }
}

#[tokio::test]
async fn a_custom_claim_with_a_reserved_name_is_an_error_and_opens_nothing() {
    let fixture = Fixture::new();
    let tokens = with_any_claims(&fixture);
    for name in RESERVED {
        let custom = Value::Object(Map::from_iter([(name.to_owned(), json!("x"))]));
        match tokens.create_token_pair(NewSession::new("42").claims(custom)).await {
            Err(Error::Issue(why)) => assert!(why.contains(name), "{why}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    for custom in [json!([1]), json!("text"), json!(null)] {
        assert!(matches!(tokens.create_token_pair(NewSession::new("42").claims(custom)).await, Err(Error::Issue(_))));
    }
    assert_eq!(fixture.store.calls(), 0);
}

#[tokio::test]
async fn a_session_that_no_token_could_express_is_not_opened() {
    let fixture = Fixture::with(|builder| builder.max_token_len(1000));
    let seconds = Duration::from_secs;
    let of = || NewSession::new("42");
    let too_long = "s".repeat(256);
    for (what, session) in [
        ("empty subject", NewSession::new("")),
        ("long subject", NewSession::new(&too_long)),
        ("control character", NewSession::new("4\n2")),
        ("two spaces", of().scope("read  write")),
        ("quote", of().scope("re\"ad")),
        ("label", of().label("l".repeat(1025))),
        ("no lifetime", of().access_lifetime(Duration::ZERO)),
        ("half a second", of().access_lifetime(Duration::from_millis(1500))),
        ("longer than accepted", of().access_lifetime(seconds(DAY + 1))),
        ("no session", of().session_lifetime(Duration::ZERO)),
        ("too long for a token", of().scope("x".repeat(900))),
    ] {
        let result = fixture.tokens.create_token_pair(session.clone()).await;
        assert!(matches!(result, Err(Error::Issue(_))), "{what}: {result:?}");
        if what != "no session" {
            let result = fixture.tokens.create_access_token(session).await;
            assert!(matches!(result, Err(Error::Issue(_))), "{what}: {result:?}");
        }
    }
    assert_eq!(fixture.store.calls(), 0);
    // The greatest allowed values are accepted.
    let session = NewSession::new("s".repeat(255)).label("l".repeat(1024)).access_lifetime(seconds(DAY));
    let pair = fixture.tokens.create_token_pair(session).await.unwrap();
    assert_eq!(pair.access().expires_in(), DAY);
}

#[tokio::test]
async fn a_session_lives_as_long_as_it_is_used_and_no_longer_than_allowed() {
    let fixture = Fixture::new();
    let login = START.as_secs();
    let mut pair = pair(&fixture.tokens).await;
    for _ in 0..4 {
        fixture.advance(6 * DAY);
        pair = fixture.tokens.refresh(pair.refresh().as_str()).await.unwrap();
        let expected = (fixture.clock.now().as_secs() + 7 * DAY).min(login + 30 * DAY);
        assert_eq!(pair.refresh().expires_at().as_secs(), expected);
    }
    assert_eq!(pair.refresh().expires_at().as_secs(), login + 30 * DAY, "the absolute end never moves");

    fixture.advance(6 * DAY - 60);
    pair = fixture.tokens.refresh(pair.refresh().as_str()).await.unwrap();
    assert_eq!(pair.access().expires_at().as_secs(), login + 30 * DAY, "an access token ends with its session");
    assert_eq!((pair.access().expires_in(), pair.refresh().expires_in()), (60, 60));
    // Within the leeway the token is accepted. The store applies no leeway.
    fixture.advance(61);
    assert_eq!(token_error(fixture.tokens.refresh(pair.refresh().as_str()).await), TokenError::SessionExpired);
    fixture.advance(10);
    assert!(matches!(token_error(fixture.tokens.refresh(pair.refresh().as_str()).await), TokenError::Expired { .. }));
}

#[tokio::test]
async fn a_session_that_is_not_used_ends() {
    let fixture = Fixture::with(|builder| builder.refresh_lifetime(Duration::from_secs(3600)));
    let pair = pair(&fixture.tokens).await;
    fixture.advance(3599);
    assert_alive_refresh(&fixture, pair.refresh().as_str()).await;
    fixture.advance(2);
    assert_eq!(token_error(fixture.tokens.refresh(pair.refresh().as_str()).await), TokenError::SessionExpired);
    assert!(fixture.tokens.sessions("42", Page::default()).await.unwrap().sessions.is_empty());
}

async fn assert_alive_refresh(fixture: &Fixture, token: &str) {
    refresh(&fixture.tokens, token).await.unwrap();
}

#[tokio::test]
async fn a_token_is_good_until_the_last_moment_of_the_leeway() {
    let fixture = Fixture::new();
    let token = fixture.access("").await;
    fixture.clock.advance(Duration::from_millis(1_804_999));
    access(&fixture.tokens, &token).await.unwrap();
    fixture.clock.advance(Duration::from_millis(1));
    assert!(matches!(token_error(access(&fixture.tokens, &token).await), TokenError::Expired { .. }));
}

#[tokio::test]
async fn lifetimes_of_one_session_only_shorten_what_is_configured() {
    let fixture = Fixture::new();
    let session = NewSession::new("42").access_lifetime(Duration::from_secs(60));
    let short = fixture.tokens.create_token_pair(session.session_lifetime(Duration::from_secs(600))).await.unwrap();
    assert_eq!((short.access().expires_in(), short.refresh().expires_in()), (60, 600));
    let long = NewSession::new("42").session_lifetime(Duration::from_secs(400 * DAY));
    let long = fixture.tokens.create_token_pair(long).await.unwrap();
    assert_eq!(long.refresh().expires_in(), 7 * DAY);
}

#[tokio::test]
async fn one_session_more_than_allowed_ends_the_one_used_longest_ago() {
    let events = Events::default();
    let fixture = Fixture::with(|builder| builder.max_sessions(2).on_event(events.hook()));
    let first = pair(&fixture.tokens).await;
    fixture.advance(10);
    let second = pair(&fixture.tokens).await;
    fixture.advance(10);
    let first = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
    fixture.advance(10);
    let third = pair(&fixture.tokens).await;
    assert_revoked(access(&fixture.tokens, second.access().as_str()).await);
    assert_alive(&fixture.tokens, &first).await;
    assert_alive(&fixture.tokens, &third).await;
    let session_id = second.session_id().to_owned();
    assert_eq!(events.take(), [SecurityEvent::SessionEvicted { subject: "42".into(), session_id }]);
    // Sessions of another user do not count.
    fixture.tokens.create_token_pair(NewSession::new("43")).await.unwrap();
    assert!(events.take().is_empty());
}

#[tokio::test]
async fn a_login_that_began_before_all_was_revoked_is_superseded() {
    let fixture = Fixture::new();
    let began = fixture.tokens.auth_time();
    fixture.clock.advance(Duration::from_millis(1));
    fixture.tokens.revoke_all_for_subject("42").await.unwrap();
    let late = fixture.tokens.create_token_pair(NewSession::new("42").auth_time(began)).await;
    assert!(matches!(late, Err(Error::LoginSuperseded)), "{late:?}");
    let other = NewSession::new("43").auth_time(began);
    fixture.tokens.create_token_pair(other).await.expect("another user's revocation does not matter");
    fixture.clock.advance(Duration::from_millis(1));
    let began = fixture.tokens.auth_time();
    fixture.tokens.create_token_pair(NewSession::new("42").auth_time(began)).await.unwrap();
}

#[tokio::test]
async fn the_listing_shows_the_live_sessions_and_their_labels() {
    let fixture = Fixture::new();
    let phone = fixture.tokens.create_token_pair(NewSession::new("42").label("phone")).await.unwrap();
    fixture.advance(60);
    let desk = fixture.tokens.create_token_pair(NewSession::new("42").label("desk")).await.unwrap();
    let gone = pair(&fixture.tokens).await;
    fixture.tokens.revoke_session("42", gone.session_id()).await.unwrap();
    fixture.tokens.create_token_pair(NewSession::new("43")).await.unwrap();
    fixture.tokens.refresh(phone.refresh().as_str()).await.unwrap();

    let mut sessions = fixture.tokens.sessions("42", Page::default()).await.unwrap().sessions;
    sessions.sort_by(|a, b| b.label.cmp(&a.label));
    let listed: Vec<_> = sessions.iter().map(|session| (session.sid.as_str(), session.label.as_str())).collect();
    assert_eq!(listed, [(phone.session_id().as_str(), "phone"), (desk.session_id().as_str(), "desk")]);
    assert_eq!(sessions[0].opened_at, START);
    assert_eq!(sessions[0].last_rotated_at.as_secs(), START.as_secs() + 60);
    assert_eq!(sessions[1].expires_at, desk.refresh().expires_at());
}

#[tokio::test]
async fn the_status_tells_store_keys_and_consistency() {
    let fixture = Fixture::new();
    let status = fixture.tokens.status().await;
    assert!(status.is_ok());
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(
        (&json["status"], &json["store"], &json["consistency"]),
        (&json!("ok"), &json!("faulty"), &json!("strong"))
    );
    assert_eq!(json["signing_key"]["alg"], "HS256");
    assert!(json["store_latency_us"].is_u64());

    fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    let status = fixture.tokens.status().await;
    assert_eq!(
        (status.status, status.store_error_kind()),
        (tower_bearer::tokens::ServiceHealth::Unavailable, Some(StoreErrorKind::Timeout))
    );
    assert!(!status.is_ok() && status.store_latency_us.is_none());
}

#[tokio::test]
async fn a_session_of_one_access_token_is_not_longer_than_a_session_may_be() {
    let fixture = Fixture::new();
    let session = NewSession::new("42").session_lifetime(Duration::from_secs(60));
    let token = fixture.tokens.create_access_token(session).await.unwrap();
    assert_eq!(token.expires_in(), 60);
}

#[tokio::test]
async fn a_node_whose_clock_is_fast_issues_at_the_stores_time() {
    // Such a login could create tokens that outlive the record of their revocation
    // (`docs/protocol.md` section 3).
    let stores = ManualClock::at(START);
    let nodes = ManualClock::at(START.saturating_add(Duration::from_secs(4)));
    let tokens = builder(&nodes).store(FaultyStore::new(stores)).build().unwrap();
    let pair = pair(&tokens).await;
    let claims = access(&tokens, pair.access().as_str()).await.unwrap();
    assert_eq!(claims.issued_at(), START);
    let again = tokens.refresh(pair.refresh().as_str()).await.unwrap();
    assert_eq!(access(&tokens, again.access().as_str()).await.unwrap().issued_at(), START);
    let alone = tokens.refresh_access_token(again.refresh().as_str()).await.unwrap();
    assert_eq!(access(&tokens, alone.as_str()).await.unwrap().issued_at(), START);
}

#[tokio::test]
async fn a_node_that_stalls_before_it_signs_issues_at_the_moment_of_the_stores_answer() {
    let fixture = Fixture::new();
    let stalled = async |fixture: &Fixture, method, minted: tokio::task::JoinHandle<_>| {
        support::eventually(method, async || (fixture.store.waiting() == 1).then_some(())).await;
        tokio::task::yield_now().await;
        fixture.advance(10);
        fixture.store.release();
        fixture.store.answer(Behaviour::AtOnce);
        let pair: TokenPair = minted.await.unwrap();
        access(&fixture.tokens, pair.access().as_str()).await.unwrap().issued_at()
    };
    fixture.store.answer_only("open", Behaviour::DoneThenHeld);
    let tokens = fixture.tokens.clone();
    let login = tokio::spawn(async move { pair(&tokens).await });
    assert_eq!(stalled(&fixture, "open", login).await, START);

    let first = pair(&fixture.tokens).await;
    fixture.store.answer_only("rotate", Behaviour::DoneThenHeld);
    let tokens = fixture.tokens.clone();
    let refresh = tokio::spawn(async move { tokens.refresh(first.refresh().as_str()).await.unwrap() });
    assert_eq!(stalled(&fixture, "rotate", refresh).await, START.saturating_add(Duration::from_secs(10)));
}

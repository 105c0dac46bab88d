//! REF: rotation of refresh tokens.
//!
//! TE stands for the token endpoint and its errors (RFC 6749 section 5.2).

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::Value;
use tower_bearer::{
    Error, KeySet, NewSession, TokenType,
    clock::Clock,
    error::TokenError,
    jwt::{Algorithm, SigningKey},
    users::renew_from,
};

use crate::{
    application::{Application, Tokens, assert_invalid_grant, assert_unavailable, form},
    subject::{Answer, Outcome, expect_on, send},
    support::{
        Behaviour, Fixture, STORE_ERRORS,
        fixture::{START, builder, read_part, sign},
    },
};

const DAY: u64 = 86_400;

fn claim(token: &str, name: &str) -> Value {
    read_part(token, 1)[name].clone()
}

/// Asserts that no cache may store a token response (RFC 6749 section 5.1).
#[track_caller]
fn assert_token_response(what: &str, answer: &Answer) {
    let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(
        (answer.status.as_u16(), header("cache-control"), header("pragma"), header("content-type")),
        (200, Some("no-store"), Some("no-cache"), Some("application/json")),
        "{what}"
    );
}

async fn refresh_without_rotation(app: &Application, refresh: &str) -> Answer {
    send(app.endpoints.refresh_without_rotation(), form(&[("refresh_token", refresh)])).await
}

#[tokio::test]
async fn ref_01_a_refresh_gives_a_new_pair_with_ids_of_its_own() {
    let pem = include_bytes!("../keys/TEST-ec-p256-pkcs8.pem");
    let randomised = KeySet::signing(SigningKey::from_pem(Algorithm::ES256, pem).unwrap());
    for (what, fixture) in [("HS256", Fixture::new()), ("ES256", Fixture::with_keys(randomised, |builder| builder))] {
        let app = Application::of(&fixture.tokens);
        let mut last = app.log_in("alice").await;
        let mut seen: HashSet<String> =
            [&last.access, &last.refresh].map(|token| claim(token, "jti").to_string()).into();
        for round in 0..5 {
            fixture.advance(60);
            let answer = app.try_refresh(&last.refresh).await;
            assert_token_response(what, &answer);
            let next = Tokens::of(&answer, what);
            assert_ne!(next.refresh, last.refresh, "{what}: round {round}");
            for token in [&next.access, &next.refresh] {
                assert!(seen.insert(claim(token, "jti").to_string()), "{what}: round {round}: a jti again");
                assert_eq!(claim(token, "iat"), fixture.clock.now().as_secs(), "{what}: round {round}");
                for kept in ["sid", "sub", "iss", "aud", "scope"] {
                    assert_eq!(claim(token, kept), claim(&last.access, kept), "{what}: round {round}: {kept}");
                }
            }
            app.accepts(what, &next).await;
            last = next;
        }
    }
}

#[tokio::test]
async fn ref_02_a_refresh_token_that_was_used_is_refused_outside_the_grace() {
    // Every reuse of a used token that no longer gets its successor.
    for (what, grace, wait, rotations) in [
        ("at once, without a grace", 0, 0, 1),
        ("at the end of the grace", 30, 30, 1),
        ("long after it", 30, 1700, 1),
        ("two behind, within the grace", 30, 0, 2),
        ("three behind", 30, 10, 3),
        ("after the longest grace", 300, 300, 1),
    ] {
        let fixture = Fixture::with(|builder| builder.reuse_grace(Duration::from_secs(grace)));
        let app = Application::of(&fixture.tokens);
        let first = app.log_in("alice").await;
        let mut last = first.clone();
        for _ in 0..rotations {
            last = app.renew(&last).await;
        }
        fixture.advance(wait);
        // Other uses of the used token fail too. They are no rotations, so they do not count as
        // theft.
        let spent = fixture.tokens.validate_token(&first.refresh, TokenType::Refresh).await;
        assert!(matches!(spent, Err(Error::Token(TokenError::Revoked { .. }))), "{what}: {spent:?}");
        assert_invalid_grant(what, &refresh_without_rotation(&app, &first.refresh).await);
        app.accepts(what, &last).await;
        app.refuses_refresh(what, &first.refresh).await;
        // And again, and again.
        app.refuses_refresh(what, &first.refresh).await;
    }
    // Within the grace too once the session has ended otherwise.
    let fixture = Fixture::new();
    let app = Application::of(&fixture.tokens);
    let first = app.log_in("alice").await;
    let second = app.renew(&first).await;
    assert_eq!(app.log_out(&second.access).await.status, 200);
    app.refuses("logged out", &first).await;
    app.refuses("logged out", &second).await;
}

#[tokio::test]
async fn ref_11_a_store_that_fails_during_a_rotation_uses_no_token_up() {
    let fixture = Fixture::new();
    let app = Application::of(&fixture.tokens);
    let first = app.log_in("alice").await;
    for kind in STORE_ERRORS {
        let what = format!("{kind:?}");
        fixture.store.answer_only("rotate", Behaviour::Fails(kind));
        assert_unavailable(&what, &app.try_refresh(&first.refresh).await);
        let status = tonic::Status::from(fixture.tokens.refresh(&first.refresh).await.unwrap_err());
        assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "temporarily_unavailable"), "{what}");
    }
    fixture.store.answer(Behaviour::AtOnce);
    // Longer than any grace: it is no replay that is answered then.
    fixture.advance(3600);
    let second = app.renew(&first).await;
    assert_eq!(claim(&second.refresh, "iat"), fixture.clock.now().as_secs());
    app.accepts("after the recovery", &second).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn ref_11_a_redis_that_is_stopped_during_a_rotation_uses_no_token_up() {
    use crate::support::{RedisServer, eventually, redis_fixture::node};

    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let tokens = node(&server.url(), |builder| builder.reuse_grace(Duration::ZERO)).await;
    let app = Application::of(&tokens);
    let first = app.log_in("alice").await;
    server.kill();
    assert_unavailable("stopped", &app.try_refresh(&first.refresh).await);
    let status = tonic::Status::from(tokens.refresh(&first.refresh).await.unwrap_err());
    assert_eq!(status.code(), tonic::Code::Unavailable);
    server.restart();
    eventually("it answers again", async || tokens.validate_token(&first.access, TokenType::Access).await.ok()).await;
    // Without a grace a token that had been used up would now be theft.
    let second = app.renew(&first).await;
    // Out of memory is no loss either.
    let mut admin = server.admin().await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec_async(&mut admin).await.unwrap();
    assert_unavailable("out of memory", &app.try_refresh(&second.refresh).await);
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").exec_async(&mut admin).await.unwrap();
    app.accepts("all is well", &app.renew(&second).await).await;
}

#[tokio::test]
async fn ref_12_an_expired_refresh_token_is_refused() {
    let fixture = Fixture::with(|builder| builder.refresh_lifetime(Duration::from_secs(3600)));
    let app = Application::of(&fixture.tokens);
    let [first, second, third] = [app.log_in("alice").await, app.log_in("alice").await, app.log_in("alice").await];
    // In its last second it is good; from `exp` on it is not. The leeway is for the text; the
    // record's end is the store's own clock.
    fixture.advance(3599);
    let renewed = app.renew(&first).await;
    fixture.clock.advance(Duration::from_millis(999));
    app.renew(&second).await;
    for (what, wait) in
        [("at exp", 1), ("within the leeway", 3000), ("after the leeway", 2000), ("a year later", 365 * DAY)]
    {
        fixture.clock.advance(Duration::from_millis(if what == "a year later" { wait * 1000 } else { wait }));
        assert_invalid_grant(what, &refresh_without_rotation(&app, &third.refresh).await);
        app.refuses_refresh(what, &third.refresh).await;
    }
    app.refuses_refresh("unused as well", &renewed.refresh).await;

    // The text's own `exp` counts though the session lives.
    let living = app.log_in("alice").await;
    let mut claims = read_part(&living.refresh, 1);
    let now = fixture.clock.now().as_secs();
    for (exp, good) in [(now - 5, false), (now - 6, false), (now - 3600, false), (now + 1, true)] {
        claims["iat"] = (now - 7200).into();
        claims["exp"] = exp.into();
        let token = sign(r#"{"alg":"HS256","typ":"rt+jwt"}"#, &claims.to_string());
        if good {
            Tokens::of(&app.try_refresh(&token).await, "not expired");
        } else {
            app.refuses_refresh(&format!("exp {exp} at {now}"), &token).await;
        }
    }
}

#[tokio::test]
async fn ref_13_rotation_never_moves_the_absolute_end() {
    for (what, absolute, step) in [
        ("daily, 30 days", 30 * DAY, DAY),
        ("every six days, 30 days", 30 * DAY, 6 * DAY),
        ("hourly, three days", 3 * DAY, 3600),
        ("no multiple", 100_000, 7000),
    ] {
        let fixture = Fixture::with(|builder| builder.session_lifetime(Duration::from_secs(absolute)));
        let app = Application::of(&fixture.tokens);
        let end = START.as_secs() + absolute;
        let mut last = app.log_in("alice").await;
        loop {
            for token in [&last.access, &last.refresh] {
                assert!(claim(token, "exp").as_u64().unwrap() <= end, "{what}: beyond the end");
            }
            fixture.advance(step);
            if fixture.clock.now().as_secs() >= end {
                break;
            }
            let next = app.renew(&last).await;
            // A replay moves nothing either.
            let again = app.renew(&last).await;
            assert_eq!(claim(&again.refresh, "exp"), claim(&next.refresh, "exp"), "{what}");
            last = next;
        }
        app.refuses_refresh(what, &last.refresh).await;
        assert_invalid_grant(what, &refresh_without_rotation(&app, &last.refresh).await);
    }
    // A session that was opened for a shorter time keeps its own end.
    let fixture = Fixture::new();
    let session = NewSession::new("alice").session_lifetime(Duration::from_secs(7200));
    let mut last = fixture.tokens.create_token_pair(session).await.unwrap();
    for _ in 0..7 {
        fixture.advance(1000);
        last = fixture.tokens.refresh(last.refresh().as_str()).await.unwrap();
        assert_eq!(last.refresh().expires_at().as_secs(), START.as_secs() + 7200);
    }
    fixture.advance(200);
    Application::of(&fixture.tokens).refuses_refresh("its own end", last.refresh().as_str()).await;
}

#[tokio::test]
async fn ref_18_a_disabled_or_deleted_user_gets_no_new_tokens() {
    let fixture = Fixture::new();
    let app = Application::of(&fixture.tokens);
    // As an application's own gRPC service would have it: the same question, asked by the service
    // itself.
    let hooked =
        builder(&fixture.clock).store(fixture.store.clone()).on_refresh(renew_from(Arc::clone(&app.users))).build();
    let hooked = Application::sharing(&hooked.unwrap(), &app.users);
    for (what, deleted) in [("disabled", false), ("deleted", true)] {
        let (first, bob) = (app.log_in("alice").await, app.log_in("bob").await);
        let second = app.renew(&first).await;
        if deleted {
            app.users.delete("alice");
        } else {
            app.users.disable("alice");
        }
        assert_invalid_grant(what, &app.try_refresh(&second.refresh).await);
        assert_invalid_grant(what, &refresh_without_rotation(&app, &second.refresh).await);
        // Nor the answer that was lost: the successor would be a new token for that user.
        assert_invalid_grant(what, &app.try_refresh(&first.refresh).await);
        hooked.refuses_refresh(what, &second.refresh).await;
        hooked.refuses_refresh(what, &first.refresh).await;
        app.accepts(what, &app.renew(&bob).await).await;

        // A restored user continues with the same token: it was not used up, and did not count as
        // theft.
        fixture.advance(600);
        app.users.set_password("alice", &crate::application::password_of("alice"));
        app.accepts(what, &app.renew(&second).await).await;
    }
}

#[tokio::test]
async fn ref_21_reuse_ends_its_own_family_only() {
    let fixture = Fixture::with(|builder| builder.reuse_grace(Duration::ZERO));
    let app = Application::of(&fixture.tokens);
    let (stolen, other, bob) = (app.log_in("alice").await, app.log_in("alice").await, app.log_in("bob").await);
    let other_next = app.renew(&other).await;
    let stolen_next = app.renew(&stolen).await;
    app.refuses_refresh("reuse", &stolen.refresh).await;
    for dead in [&stolen, &stolen_next] {
        app.refuses("the stolen family", dead).await;
    }
    for (what, living) in [("the same user's other family", &other_next), ("another user's", &bob)] {
        app.accepts(what, living).await;
        let next = app.renew(living).await;
        app.accepts(what, &next).await;
        // Its own reuse is still found.
        expect_on(&fixture.tokens, what, &next.access, Outcome::Ok).await;
        app.refuses_refresh(what, &living.refresh).await;
        app.refuses(what, &next).await;
    }
}

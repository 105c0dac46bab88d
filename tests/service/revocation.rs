//! Revocation of tokens and sessions: immediate and final, also beside concurrent calls.

use std::time::Duration;

use tower_bearer::{
    Consistency, Error, MemoryStore, NewSession, NoClaims, TokenId, TokenService, TokenType,
    error::TokenError,
    issuers::IssuerPolicy,
    jwt::JwtClaims,
    store::{Checked, Page, SessionState},
    tokens::SecurityEvent,
};

use crate::{
    access, assert_alive, assert_dead, assert_revoked, pair, refresh,
    support::{
        AlteredStore, Behaviour, Events, Fixture, eventually,
        fixture::{ISSUER, SECRET, START, accepting},
    },
};

#[tokio::test]
async fn an_access_token_is_revoked_alone() {
    let fixture = Fixture::new();
    let first = pair(&fixture.tokens).await;
    let sibling = fixture.tokens.refresh_access_token(first.refresh().as_str()).await.unwrap();
    let revoked = fixture.tokens.revoke_token(first.access().as_str()).await.unwrap();
    assert!(revoked.found);
    assert_revoked(access(&fixture.tokens, first.access().as_str()).await);
    access(&fixture.tokens, sibling.as_str()).await.unwrap();
    refresh(&fixture.tokens, first.refresh().as_str()).await.unwrap();
}

#[tokio::test]
async fn a_refresh_token_is_revoked_with_its_session() {
    let fixture = Fixture::new();
    let (gone, other) = (pair(&fixture.tokens).await, pair(&fixture.tokens).await);
    fixture.tokens.revoke_token(gone.refresh().as_str()).await.unwrap();
    assert_dead(&fixture.tokens, &gone).await;
    assert_revoked(fixture.tokens.refresh(gone.refresh().as_str()).await);
    assert_alive(&fixture.tokens, &other).await;
}

#[tokio::test]
async fn a_session_is_revoked_alone_and_only_its_owners() {
    let fixture = Fixture::new();
    let (gone, other) = (pair(&fixture.tokens).await, pair(&fixture.tokens).await);
    let foreign = fixture.tokens.revoke_session("43", other.session_id()).await.unwrap();
    assert!(!foreign.found, "user 43 has no such session");
    assert!(fixture.tokens.revoke_session("42", gone.session_id()).await.unwrap().found);
    assert_dead(&fixture.tokens, &gone).await;
    assert_alive(&fixture.tokens, &other).await;
}

#[tokio::test]
async fn all_sessions_of_a_user_are_revoked_and_nobody_elses() {
    let fixture = Fixture::new();
    let (one, two) = (pair(&fixture.tokens).await, pair(&fixture.tokens).await);
    let other = fixture.tokens.create_token_pair(NewSession::new("43")).await.unwrap();
    fixture.tokens.revoke_all_for_subject(42).await.unwrap();
    assert_dead(&fixture.tokens, &one).await;
    assert_dead(&fixture.tokens, &two).await;
    assert_alive(&fixture.tokens, &other).await;
    assert!(fixture.tokens.sessions("42", Page::default()).await.unwrap().sessions.is_empty());
    // A login in the same millisecond stays valid.
    assert_alive(&fixture.tokens, &pair(&fixture.tokens).await).await;
}

#[tokio::test]
async fn all_but_one_spares_that_one_with_its_own_revocations() {
    let fixture = Fixture::new();
    let (kept, gone) = (pair(&fixture.tokens).await, pair(&fixture.tokens).await);
    let logged_out = fixture.tokens.refresh_access_token(kept.refresh().as_str()).await.unwrap();
    fixture.tokens.revoke_token(logged_out.as_str()).await.unwrap();
    fixture.tokens.revoke_all_for_subject_except("42", kept.session_id()).await.unwrap();
    assert_dead(&fixture.tokens, &gone).await;
    assert_alive(&fixture.tokens, &kept).await;
    assert_revoked(access(&fixture.tokens, logged_out.as_str()).await);
    let next = fixture.tokens.refresh(kept.refresh().as_str()).await.unwrap();
    assert_alive(&fixture.tokens, &next).await;
}

#[tokio::test]
async fn a_dead_session_is_not_spared() {
    let fixture = Fixture::new();
    let thief = pair(&fixture.tokens).await;
    fixture.tokens.revoke_all_for_subject("42").await.unwrap();
    fixture.tokens.revoke_all_for_subject_except("42", thief.session_id()).await.unwrap();
    assert_dead(&fixture.tokens, &thief).await;
    let thief = pair(&fixture.tokens).await;
    fixture.tokens.revoke_session("42", thief.session_id()).await.unwrap();
    fixture.tokens.revoke_all_for_subject_except("42", thief.session_id()).await.unwrap();
    assert_dead(&fixture.tokens, &thief).await;
}

#[tokio::test]
async fn sto_27_a_revocation_can_be_repeated_and_what_nobody_knows_can_be_revoked() {
    let fixture = Fixture::new();
    let one = pair(&fixture.tokens).await;
    for _ in 0..3 {
        fixture.tokens.revoke_token(one.access().as_str()).await.unwrap();
    }
    for found in [true, false, false] {
        assert_eq!(fixture.tokens.revoke_session("42", one.session_id()).await.unwrap().found, found);
        fixture.tokens.revoke_token(one.refresh().as_str()).await.unwrap();
    }
    for _ in 0..3 {
        fixture.tokens.revoke_all_for_subject("42").await.unwrap();
    }
    fixture.tokens.revoke_session("42", &"never-opened".into()).await.unwrap();
    fixture.tokens.revoke_all_for_subject("nobody").await.unwrap();
    // The service's key signed these tokens, but the store does not know their session.
    let stranger = pair(&Fixture::new().tokens).await;
    for token in [stranger.access(), stranger.refresh()] {
        for _ in 0..2 {
            fixture.tokens.revoke_token(token.as_str()).await.unwrap();
        }
    }
    assert_dead(&fixture.tokens, &one).await;
}

#[tokio::test]
async fn an_expired_token_can_be_revoked() {
    let fixture = Fixture::with(|builder| builder.refresh_lifetime(Duration::from_secs(3600)));
    let first = pair(&fixture.tokens).await;
    fixture.advance(3000);
    let second = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
    // Both tokens of the first pair have expired, but the session lives.
    fixture.advance(700);
    let expired = fixture.tokens.validate_jwt_stateless(first.refresh().as_str(), TokenType::Refresh);
    assert!(matches!(expired, Err(Error::Token(TokenError::Expired { .. }))), "{expired:?}");
    fixture.tokens.revoke_token(first.access().as_str()).await.unwrap();
    assert_alive(&fixture.tokens, &second).await;
    fixture.tokens.revoke_token(first.refresh().as_str()).await.unwrap();
    assert_dead(&fixture.tokens, &second).await;
}

#[tokio::test]
async fn a_revoked_token_stays_dead_as_long_as_its_text_is_good() {
    let fixture = Fixture::new();
    let one = pair(&fixture.tokens).await;
    fixture.tokens.revoke_token(one.access().as_str()).await.unwrap();
    for step in [1000, 799, 4] {
        fixture.advance(step);
        // Every write prunes expired records.
        pair(&fixture.tokens).await;
        assert_revoked(access(&fixture.tokens, one.access().as_str()).await);
    }
}

#[tokio::test]
async fn what_is_no_token_of_this_service_revokes_nothing() {
    let fixture = Fixture::new();
    let calls = fixture.store.calls();
    for text in ["", "junk", "a.b.c"] {
        assert!(matches!(fixture.tokens.revoke_token(text).await, Err(Error::Token(_))), "{text}");
    }
    let one = pair(&fixture.tokens).await;
    let mut forged = one.refresh().as_str().to_owned();
    forged.replace_range(forged.len() - 8.., "AAAAAAAA");
    assert!(matches!(fixture.tokens.revoke_token(&forged).await, Err(Error::Token(TokenError::Signature))));
    assert_eq!(fixture.store.calls(), calls + 1);
    assert_alive(&fixture.tokens, &one).await;
}

/// Returns a pseudo-random number for this seed and step (`SplitMix64`).
fn random(seed: u64, step: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(step.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

async fn pause(seed: u64, step: u64) {
    for _ in 0..random(seed, step) % 6 {
        tokio::task::yield_now().await;
    }
}

/// Rotates until the refresh fails, and returns every token that it got.
async fn rotate_until_refused(
    tokens: TokenService,
    mut refresh_token: String,
    seed: u64,
    task: u64,
) -> Vec<(TokenType, String)> {
    let mut got = Vec::new();
    for step in 0..6 {
        pause(seed, task * 100 + step).await;
        let Ok(pair) = tokens.refresh(&refresh_token).await else { break };
        got.push((TokenType::Access, pair.access().as_str().to_owned()));
        got.push((TokenType::Refresh, pair.refresh().as_str().to_owned()));
        if let Ok(alone) = tokens.refresh_access_token(pair.refresh().as_str()).await {
            got.push((TokenType::Access, alone.as_str().to_owned()));
        }
        refresh_token = pair.refresh().as_str().to_owned();
    }
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn logout_rotation_and_revoke_all_racing_leave_no_live_token() {
    let mut rotated = 0;
    for seed in 0..300 {
        let fixture = Fixture::new();
        let tokens = &fixture.tokens;
        let began = tokens.auth_time();
        let first = pair(tokens).await;
        if seed % 2 == 1 {
            fixture.store.answer(Behaviour::Late);
        }
        let mut rotations = tokio::task::JoinSet::new();
        for task in 0..3 {
            rotations.spawn(rotate_until_refused(tokens.clone(), first.refresh().as_str().to_owned(), seed, task));
        }
        // A login after its password check.
        let login = tokio::spawn({
            let tokens = tokens.clone();
            async move {
                pause(seed, 900).await;
                tokens.create_token_pair(NewSession::new("42").auth_time(began)).await
            }
        });
        let end = tokio::spawn({
            let (tokens, sid) = (tokens.clone(), first.session_id().to_owned());
            async move {
                pause(seed, 901).await;
                if seed % 3 == 0 {
                    tokens.revoke_session("42", &sid).await.unwrap();
                    pause(seed, 902).await;
                }
                tokens.revoke_all_for_subject("42").await.unwrap();
            }
        });
        end.await.unwrap();
        let mut all: Vec<_> = rotations.join_all().await.into_iter().flatten().collect();
        rotated += all.len();
        match login.await.unwrap() {
            Ok(pair) => {
                all.push((TokenType::Access, pair.access().as_str().to_owned()));
                all.push((TokenType::Refresh, pair.refresh().as_str().to_owned()));
            }
            Err(error) => assert!(matches!(error, Error::LoginSuperseded), "seed {seed}: {error}"),
        }
        all.push((TokenType::Access, first.access().as_str().to_owned()));
        for (kind, token) in all {
            let result = tokens.validate_token(&token, kind).await;
            assert!(matches!(result, Err(Error::Token(TokenError::Revoked { .. }))), "seed {seed}: {kind} {result:?}");
            if kind == TokenType::Refresh {
                assert!(tokens.refresh(&token).await.is_err(), "seed {seed}");
            }
        }
    }
    assert!(rotated > 0, "nothing ever raced");
}

#[tokio::test]
async fn ids_that_no_token_can_have_are_refused_before_the_store_is_asked() {
    let fixture = Fixture::new();
    let tokens = &fixture.tokens;
    let long = "x".repeat(256);
    let longest = "x".repeat(40_000);
    let before = fixture.store.calls();
    for bad in ["", long.as_str(), &longest, "a\nb", "a\0", "\u{85}"] {
        let made = |subject: &str, jti: &str, sid: &str| {
            let lifetime = Duration::from_secs(60);
            let claims = JwtClaims::new(subject, TokenId::new(jti), TokenType::Access, START, lifetime, NoClaims {});
            claims.with_session(tower_bearer::SessionId::new(sid), 0)
        };
        let outcomes = [
            ("subject", tokens.revoke_session(bad, &"s".into()).await.err()),
            ("session id", tokens.revoke_session("42", &bad.into()).await.err()),
            ("subject", tokens.revoke_all_for_subject(bad).await.err()),
            ("subject", tokens.revoke_all_for_subject_except(bad, &"s".into()).await.err()),
            ("session id", tokens.revoke_all_for_subject_except("42", &bad.into()).await.err()),
            ("subject", tokens.revoke_claims(&made(bad, "j", "s")).await.err()),
            ("token id", tokens.revoke_claims(&made("42", bad, "s")).await.err()),
            ("session id", tokens.revoke_claims(&made("42", "j", bad)).await.err()),
            ("subject", tokens.sessions(bad, Page::default()).await.err()),
            ("subject", tokens.has_session(bad, &"s".into()).await.err()),
            ("session id", tokens.has_session("42", &bad.into()).await.err()),
        ];
        for (expected, error) in outcomes {
            assert!(
                matches!(&error, Some(Error::InvalidId { id }) if *id == expected),
                "{expected} {bad:.9?}: {error:?}"
            );
        }
        assert!(matches!(tokens.create_token_pair(NewSession::new(bad)).await, Err(Error::Issue(_))));
        assert!(matches!(tokens.create_access_token(NewSession::new(bad)).await, Err(Error::Issue(_))));
        assert!(matches!(tokens.create_refresh_token(NewSession::new(bad)).await, Err(Error::Issue(_))));
        let denylist = accepting(&fixture.clock, IssuerPolicy::Denylist).store(fixture.store.clone()).build().unwrap();
        let denylist = denylist.external(ISSUER);
        let ids = [denylist.revoke_session(&bad.into()), denylist.revoke_token_id(&bad.into())];
        for revoke in ids.into_iter().chain([denylist.revoke_subject(bad)]) {
            assert!(matches!(revoke.await, Err(Error::InvalidId { .. })));
        }
    }
    assert_eq!(fixture.store.calls(), before);
    let text = Error::InvalidId { id: "session id" }.to_string();
    assert!(text.starts_with("the session id must be 1 to 255 bytes without control characters; "), "{text}");
    tokens.revoke_session("42", &"x".repeat(255).into()).await.unwrap();
}

#[tokio::test]
async fn a_repeated_revocation_is_not_taken_for_lost() {
    let events = Events::default();
    let fixture = Fixture::with(|builder| {
        builder.on_event(events.hook()).consistency(Consistency::BoundedStaleness(Duration::from_millis(50)))
    });
    let tokens = &fixture.tokens;
    let (session, token) = (pair(tokens).await, pair(tokens).await);
    fixture.advance(10);
    // The node reads each revocation before the repetition, and the log afterwards.
    for round in 0..4 {
        let revoked = [
            tokens.revoke_session("42", session.session_id()).await.unwrap(),
            tokens.revoke_token(token.access().as_str()).await.unwrap(),
            tokens.revoke_all_for_subject_except("42", token.session_id()).await.unwrap(),
            tokens.revoke_session("42", &"unknown".into()).await.unwrap(),
            tokens.revoke_session("43", &round.to_string().into()).await.unwrap(),
        ];
        for revoked in revoked {
            eventually("the log is read", async || tokens.has_applied(revoked.position().unwrap()).then_some(())).await;
        }
        assert_revoked(access(tokens, token.access().as_str()).await);
    }
    // Expired revocations are forgotten.
    fixture.advance(24 * 3600);
    tokens.revoke_token(session.access().as_str()).await.unwrap();
    // One of the next reads would report a missing revocation a moment later. No condition shows
    // the absence of a report, so the test waits for that moment after each read.
    for n in 0..10 {
        let last = tokens.revoke_session("43", &format!("last {n}").into()).await.unwrap();
        eventually("the log is read", async || tokens.has_applied(last.position().unwrap()).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = events.take();
    assert!(!told.iter().any(|event| matches!(event, SecurityEvent::RevocationsLost { .. })), "{told:?}");
    // Proves that the hook works: it reports a real loss.
    fixture.store.lose_everything();
    let lost = eventually("the loss is told", async || {
        events.take().into_iter().find(|event| matches!(event, SecurityEvent::RevocationsLost { .. }))
    });
    assert_eq!(lost.await, SecurityEvent::RevocationsLost { count: 10 });
}

#[tokio::test]
async fn the_store_is_never_asked_about_a_token_without_an_id() {
    let checked = |jti: &TokenId, mut checked: Checked| {
        if jti.as_str().is_empty() {
            checked.state = SessionState::Unknown;
        }
        checked
    };
    let store = AlteredStore { checked, ..AlteredStore::new(MemoryStore::default()) };
    let tokens = TokenService::builder().secret(SECRET).store(store).build().unwrap();
    let pair = pair(&tokens).await;
    assert!(tokens.has_session("42", pair.session_id()).await.unwrap());
    tokens.revoke_session("42", pair.session_id()).await.unwrap();
    assert!(!tokens.has_session("42", pair.session_id()).await.unwrap());
}

//! The cache of verified tokens, and the checks that each use of a token still makes.
//!
//! `src/tokens/cache/tests.rs` tests its size and eviction.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use tower_bearer::{
    BoxError, Claims, Error, NoClaims, TokenType,
    clock::{COARSE_LAG, Clock, ManualClock, Timestamp},
    error::{StoreErrorKind, TokenError},
    issuers::IssuerPolicy,
    jwt::{Algorithm, JwtClaims, KeySet, SigningKey, encode_jwt},
    tokens::Validity,
};

use crate::{
    access, assert_revoked, pair, refresh,
    support::{
        Behaviour, FaultyStore, Fixture, bad_tokens,
        fixture::{AUDIENCE, ISSUER, SECRET, START, accepting, builder},
    },
    token_error,
};

async fn remembered<C: Send + Sync + 'static>(tokens: &tower_bearer::TokenService<C>) -> usize {
    tokens.status().await.verified_tokens
}

// ---- What enters --------------------------------------------------------------------------------

#[tokio::test]
async fn a_token_that_was_accepted_is_remembered_once_in_every_way_in_which_a_store_answers() {
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        let fixture = Fixture::new();
        let token = fixture.access("read").await;
        assert_eq!(remembered(&fixture.tokens).await, 0);
        fixture.store.answer_only("check", behaviour);
        for _ in 0..3 {
            let claims = access(&fixture.tokens, &token).await.unwrap();
            assert_eq!((claims.subject().as_str(), claims.scope().as_str()), ("42", "read"));
            assert_eq!(remembered(&fixture.tokens).await, 1, "{behaviour:?}");
        }
    }
}

#[tokio::test]
async fn no_bad_token_is_remembered_whatever_is_wrong_with_it() {
    let fixture = Fixture::new();
    let bad = bad_tokens(&fixture).await;
    let before = remembered(&fixture.tokens).await;
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        fixture.store.answer_only("check", behaviour);
        for (fault, token) in &bad {
            token_error(access(&fixture.tokens, token).await);
            assert_eq!(remembered(&fixture.tokens).await, before, "{fault}");
        }
    }
}

#[tokio::test]
async fn a_token_of_which_the_store_said_nothing_is_not_remembered() {
    let fixture = Fixture::new();
    let token = fixture.access("read").await;
    fixture.store.answer_only("check", Behaviour::Fails(StoreErrorKind::Timeout));
    assert!(matches!(access(&fixture.tokens, &token).await, Err(Error::Store(_))));
    fixture.store.answer_only("check", Behaviour::Held);
    let mut given_up = Box::pin(access(&fixture.tokens, &token));
    assert!(given_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(remembered(&fixture.tokens).await, 0);
    drop(given_up);
    fixture.store.release();
    assert_eq!(remembered(&fixture.tokens).await, 0);
}

#[tokio::test]
async fn a_refresh_token_is_not_remembered_and_neither_kind_passes_for_the_other() {
    let fixture = Fixture::new();
    let pair = pair(&fixture.tokens).await;
    refresh(&fixture.tokens, pair.refresh().as_str()).await.unwrap();
    assert_eq!(remembered(&fixture.tokens).await, 0);
    access(&fixture.tokens, pair.access().as_str()).await.unwrap();
    assert_eq!(token_error(refresh(&fixture.tokens, pair.access().as_str()).await), TokenError::WrongType);
    assert_eq!(token_error(access(&fixture.tokens, pair.refresh().as_str()).await), TokenError::WrongType);
    assert_eq!(token_error(fixture.tokens.refresh(pair.access().as_str()).await), TokenError::WrongType);
}

#[tokio::test]
async fn a_token_is_remembered_whoever_issued_it_and_without_entries_none_is() {
    for policy in [None, Some(IssuerPolicy::Denylist), Some(IssuerPolicy::Stateless)] {
        for (entries, expected) in [(65_536, 1), (0, 0)] {
            let issuer = Fixture::new();
            let token = issuer.access("read").await;
            let settings = match policy {
                None => builder(&issuer.clock).verify_only().store(issuer.store.clone()),
                Some(IssuerPolicy::Denylist) => {
                    let before = START.saturating_sub(Duration::from_secs(60));
                    let store = FaultyStore::new(ManualClock::at(before));
                    accepting(&issuer.clock, IssuerPolicy::Denylist).store(store)
                }
                Some(policy) => accepting(&issuer.clock, policy),
            };
            let tokens = settings.verified_cache(entries, 1_000_000).build().unwrap();
            for _ in 0..2 {
                access(&tokens, &token).await.unwrap();
            }
            assert_eq!(remembered(&tokens).await, expected, "{policy:?}");
        }
    }
}

#[tokio::test]
async fn what_is_remembered_stays_within_both_bounds_however_many_valid_tokens_there_are() {
    for (entries, bytes) in [(10, 10_000_000), (10_000, 10_000)] {
        let fixture = Fixture::with(|builder| builder.verified_cache(entries, bytes));
        let mut most = 0;
        for _ in 0..50 {
            let token = fixture.access("read").await;
            access(&fixture.tokens, &token).await.unwrap();
            let status = fixture.tokens.status().await;
            assert!(status.verified_tokens <= entries && status.verified_tokens_bytes <= bytes as u64);
            assert!(status.verified_tokens * 2 * token.len() <= bytes);
            most = most.max(status.verified_tokens);
        }
        assert!((5..=entries.min(30)).contains(&most), "{most}");
    }
}

// ---- What is asked at every use -----------------------------------------------------------------

/// Returns a token of a live session that is not valid before `nbf`.
async fn not_before(fixture: &Fixture, nbf: Timestamp) -> String {
    let session = pair(&fixture.tokens).await.session_id().to_owned();
    let id = format!("{session}.0.a");
    let claims = JwtClaims::new(
        "42",
        tower_bearer::TokenId::new(id),
        TokenType::Access,
        START,
        Duration::from_secs(600),
        NoClaims {},
    )
    .with_issuer(ISSUER)
    .with_audience([AUDIENCE])
    .with_session(tower_bearer::SessionId::new(session), 0)
    .with_not_before(nbf);
    encode_jwt(&KeySet::signing(SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap()), &claims).unwrap()
}

#[tokio::test]
async fn exp_nbf_iat_and_the_age_are_checked_at_every_use() {
    let at = |millis: u64| Timestamp::from_millis(START.as_millis() + millis);
    // The leeway is 5 s. The age has none.
    for max_age in [None, Some(Duration::from_secs(300))] {
        let fixture = Fixture::with(|builder| match max_age {
            Some(max) => builder.access_lifetime(max).max_token_age(max),
            None => builder,
        });
        let token = not_before(&fixture, at(60_000)).await;
        fixture.clock.set(at(60_000));
        access(&fixture.tokens, &token).await.unwrap();
        assert_eq!(remembered(&fixture.tokens).await, 1);

        fixture.clock.set(at(54_999));
        assert_eq!(token_error(access(&fixture.tokens, &token).await), TokenError::NotYetValid { at: at(60_000) });
        fixture.clock.set(at(55_000));
        access(&fixture.tokens, &token).await.unwrap();
        let last = if max_age.is_some() { 300_000 } else { 604_999 };
        fixture.clock.set(at(last));
        access(&fixture.tokens, &token).await.unwrap();
        fixture.clock.set(at(last + 1));
        let refused = token_error(access(&fixture.tokens, &token).await);
        match max_age {
            None => assert_eq!(refused, TokenError::Expired { at: at(600_000) }),
            Some(_) => assert!(matches!(refused, TokenError::Claims(_)), "{refused:?}"),
        }
        // A clock that was set back does not cause another verification.
        fixture.clock.set(at(60_000));
        access(&fixture.tokens, &token).await.unwrap();
        assert_eq!(remembered(&fixture.tokens).await, 1);
    }

    let fixture = Fixture::new();
    fixture.advance(60);
    let token = fixture.access("read").await;
    access(&fixture.tokens, &token).await.unwrap();
    fixture.clock.set(at(54_999));
    assert_eq!(token_error(access(&fixture.tokens, &token).await), TokenError::NotYetValid { at: at(60_000) });
}

/// A clock whose coarse time lags as much as allowed.
struct Lagging(ManualClock);

impl Clock for Lagging {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn now_coarse(&self) -> Timestamp {
        self.0.now().saturating_sub(COARSE_LAG)
    }
}

#[tokio::test]
async fn where_it_makes_a_difference_a_remembered_token_is_judged_by_the_exact_time() {
    let lifetime = Duration::from_secs(60);
    let fixture = Fixture::of(|clock| {
        builder(clock).clock(Lagging(clock.clone())).leeway(Duration::ZERO).access_lifetime(lifetime)
    });
    let token = fixture.access("read").await;
    access(&fixture.tokens, &token).await.unwrap();
    assert_eq!(remembered(&fixture.tokens).await, 1);
    // By the coarse clock the token is not issued yet. A moment later it has expired, but not by
    // the coarse clock.
    access(&fixture.tokens, &token).await.unwrap();
    fixture.clock.advance(lifetime.saturating_sub(Duration::from_millis(1)));
    access(&fixture.tokens, &token).await.unwrap();
    fixture.clock.advance(Duration::from_millis(1));
    assert!(matches!(token_error(access(&fixture.tokens, &token).await), TokenError::Expired { .. }));
}

#[tokio::test]
async fn revocation_is_asked_at_every_use() {
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        let fixture = Fixture::new();
        fixture.store.answer_only("check", behaviour);
        let tokens = &fixture.tokens;
        let (by_token, by_session, by_user) = (pair(tokens).await, pair(tokens).await, pair(tokens).await);
        for pair in [&by_token, &by_session, &by_user] {
            access(tokens, pair.access().as_str()).await.unwrap();
        }
        let calls = fixture.store.calls();
        access(tokens, by_token.access().as_str()).await.unwrap();
        assert_eq!(fixture.store.calls(), calls + 1);

        tokens.revoke_token(by_token.access().as_str()).await.unwrap();
        assert_revoked(access(tokens, by_token.access().as_str()).await);
        tokens.revoke_session("42", by_session.session_id()).await.unwrap();
        assert_revoked(access(tokens, by_session.access().as_str()).await);
        access(tokens, by_user.access().as_str()).await.unwrap();
        tokens.revoke_all_for_subject("42").await.unwrap();
        assert_revoked(access(tokens, by_user.access().as_str()).await);

        fixture.store.answer(Behaviour::Fails(StoreErrorKind::Unavailable));
        assert!(matches!(access(tokens, by_user.access().as_str()).await, Err(Error::Store(_))));
    }
}

#[tokio::test]
async fn the_validator_is_asked_at_every_use() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let fixture = Fixture::with(move |builder| {
        builder.validator(move |_: &Claims| {
            let verdict = if counts.fetch_add(1, Ordering::SeqCst) < 2 { Validity::Valid } else { Validity::Invalid };
            Ok::<_, BoxError>(verdict)
        })
    });
    let token = fixture.access("read").await;
    for _ in 0..2 {
        access(&fixture.tokens, &token).await.unwrap();
    }
    assert_eq!(token_error(access(&fixture.tokens, &token).await), TokenError::Refused);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

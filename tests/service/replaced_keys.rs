//! Replacement of keys while the service runs.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tower_bearer::{
    Error, NewSession, TokenService,
    error::TokenError,
    jwt::{Algorithm, KeySet, SigningKey},
};

use crate::{
    access, pair,
    support::{Behaviour, Fixture, fixture::SECRET},
    token_error,
};

/// Returns a TEST key that depends on the name.
fn key(name: &str) -> SigningKey {
    SigningKey::from_secret(Algorithm::HS256, format!("{name} {SECRET}")).unwrap().with_kid(name).unwrap()
}

/// Returns a set that signs with the first key and verifies with both.
fn both(signs: &str, verifies: &str) -> KeySet {
    KeySet::signing(key(signs)).and_verifying(key(verifies).verifying_key().clone()).unwrap()
}

fn only(signs: &str) -> KeySet {
    KeySet::signing(key(signs))
}

fn service_with(keys: KeySet) -> Fixture {
    Fixture::with_keys(keys, |builder| builder)
}

async fn remembered(tokens: &TokenService) -> usize {
    tokens.status().await.verified_tokens
}

#[tokio::test]
async fn a_token_of_a_key_that_was_taken_away_is_refused_at_once_though_it_was_remembered() {
    let fixture = service_with(only("a"));
    let clone = fixture.tokens.clone();
    let token = fixture.access("read").await;
    access(&clone, &token).await.unwrap();
    assert_eq!(remembered(&clone).await, 1);

    fixture.tokens.replace_keys(only("b")).unwrap();
    assert_eq!(remembered(&clone).await, 0);
    assert_eq!(token_error(access(&clone, &token).await), TokenError::UnknownKey);
    let stateless = clone.validate_jwt_stateless(&token, tower_bearer::TokenType::Access);
    assert_eq!(token_error(stateless), TokenError::UnknownKey);
    assert!(clone.decode_token(&token).is_err());
    assert!(matches!(clone.revoke_token(&token).await, Err(Error::Token(_))));

    fixture.tokens.replace_keys(both("b", "a")).unwrap();
    assert_eq!(access(&clone, &token).await.unwrap().subject(), "42");
    assert_eq!(remembered(&clone).await, 1);
}

#[tokio::test]
async fn another_key_of_the_same_name_has_the_tokens_of_the_former_refused() {
    let named = |secret: &str| {
        KeySet::signing(
            SigningKey::from_secret(Algorithm::HS256, format!("{secret} {SECRET}")).unwrap().with_kid("k").unwrap(),
        )
    };
    let fixture = service_with(named("leaked"));
    let token = fixture.access("read").await;
    access(&fixture.tokens, &token).await.unwrap();
    fixture.tokens.replace_keys(named("new")).unwrap();
    assert_eq!(token_error(access(&fixture.tokens, &token).await), TokenError::Signature);
}

#[tokio::test]
async fn sessions_outlive_a_rotation_and_new_tokens_are_signed_with_the_new_key() {
    let fixture = service_with(only("a"));
    let first = pair(&fixture.tokens).await;
    fixture.tokens.replace_keys(both("b", "a")).unwrap();
    let second = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
    fixture.tokens.replace_keys(only("b")).unwrap();
    for token in [second.access(), &fixture.tokens.create_access_token(NewSession::new("42")).await.unwrap()] {
        access(&fixture.tokens, token.as_str()).await.unwrap();
    }
    assert!(access(&fixture.tokens, first.access().as_str()).await.is_err());
    let status = fixture.tokens.status().await;
    assert_eq!(status.signing_key.unwrap().kid.as_deref(), Some("b"));
    assert_eq!(status.verifying_keys.len(), 1);
}

#[tokio::test]
async fn a_check_under_way_ends_with_its_keys_and_leaves_nothing_among_the_new() {
    for new in [only("b"), both("b", "a")] {
        let fixture = service_with(only("a"));
        let token = fixture.access("read").await;
        fixture.store.answer_only("check", Behaviour::Held);
        let mut check = Box::pin(access(&fixture.tokens, &token));
        assert!(check.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        fixture.tokens.replace_keys(new).unwrap();
        // The held call waits for its release only from its second poll on.
        while fixture.store.waiting() == 1 {
            fixture.store.release();
            if let Some(result) = check.as_mut().now_or_never() {
                result.unwrap();
            }
        }
        assert_eq!(remembered(&fixture.tokens).await, 0);
    }
}

#[tokio::test]
async fn a_login_or_refresh_under_way_ends_with_its_keys() {
    let fixture = service_with(only("a"));
    let old = pair(&fixture.tokens).await;
    fixture.store.answer(Behaviour::Late);
    let mut login = Box::pin(fixture.tokens.create_token_pair(NewSession::new("42")));
    let mut refresh = Box::pin(fixture.tokens.refresh(old.refresh().as_str()));
    for polled in [&mut login as &mut (dyn Future<Output = _> + Unpin), &mut refresh] {
        assert!(polled.poll_unpin(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    fixture.tokens.replace_keys(both("b", "a")).unwrap();
    for pair in [login.await.unwrap(), refresh.await.unwrap()] {
        // One key signed both tokens, so both are valid while that key verifies.
        for token in [pair.access(), pair.refresh()] {
            assert_eq!(crate::support::fixture::read_part(token.as_str(), 0)["kid"], "a");
        }
        access(&fixture.tokens, pair.access().as_str()).await.unwrap();
    }
}

#[tokio::test]
async fn keys_that_build_would_refuse_are_refused_and_the_old_ones_stay() {
    let fixture = service_with(only("a"));
    let token = fixture.access("read").await;
    access(&fixture.tokens, &token).await.unwrap();
    let cannot_sign = KeySet::verifying(key("b").verifying_key().clone());
    assert_eq!(fixture.tokens.replace_keys(cannot_sign.clone()).unwrap_err().setting(), "keys");
    let short = Fixture::with_keys(only("a"), |builder| builder.max_token_len(500));
    let long_name = KeySet::signing(key("a").with_kid("k".repeat(255)).unwrap());
    assert_eq!(short.tokens.replace_keys(long_name).unwrap_err().setting(), "max_token_len");

    access(&fixture.tokens, &token).await.unwrap();
    assert_eq!(remembered(&fixture.tokens).await, 1);
    assert_eq!(fixture.tokens.status().await.signing_key.unwrap().kid.as_deref(), Some("a"));

    let verifier = Fixture::with_keys(only("a"), tower_bearer::tokens::TokenServiceBuilder::verify_only).tokens;
    verifier.replace_keys(cannot_sign).unwrap();
    assert!(verifier.status().await.signing_key.is_none());
}

/// Removes and adds key `a` repeatedly while threads check one of its tokens.
#[test]
fn under_load_no_token_of_a_key_that_was_taken_away_is_accepted_once_the_call_has_returned() {
    const THREADS: usize = 3;
    let rounds = 100;

    let fixture = service_with(both("a", "b"));
    let sign = || fixture.access("read").now_or_never().unwrap();
    let of_a = sign();
    fixture.tokens.replace_keys(both("b", "a")).unwrap();
    let of_b = sign();

    // The epoch modulo 4 is the state. 0: `a` verifies. 2: it does not. 1 and 3: a call is under
    // way, and both answers are right.
    let epoch = Arc::new(AtomicUsize::new(0));
    let checks = Arc::new([const { AtomicUsize::new(0) }; THREADS]);
    let done = Arc::new(AtomicBool::new(false));
    let start = Arc::new(Barrier::new(THREADS + 1));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (tokens, of_a, of_b) = (fixture.tokens.clone(), of_a.clone(), of_b.clone());
            let (epoch, checks, done, start) =
                (Arc::clone(&epoch), Arc::clone(&checks), Arc::clone(&done), Arc::clone(&start));
            thread::spawn(move || {
                let (mut accepted, mut refused) = (0, 0);
                start.wait();
                while !done.load(Ordering::SeqCst) {
                    let before = epoch.load(Ordering::SeqCst);
                    let result = access(&tokens, &of_a).now_or_never().unwrap();
                    let after = epoch.load(Ordering::SeqCst);
                    if before == after && before % 2 == 0 {
                        assert_eq!(result.is_ok(), before % 4 == 0, "in epoch {before}: {result:?}");
                    }
                    if result.is_ok() {
                        accepted += 1;
                    } else {
                        refused += 1;
                    }
                    access(&tokens, &of_b).now_or_never().unwrap().unwrap();
                    checks[thread].fetch_add(1, Ordering::SeqCst);
                }
                assert!(accepted > rounds / 4 && refused > rounds / 4, "{accepted} and {refused}");
            })
        })
        .collect();

    start.wait();
    for _ in 0..rounds {
        // Waits until every thread has made a check in this epoch.
        let everyone = || {
            let before: Vec<_> = checks.iter().map(|count| count.load(Ordering::SeqCst)).collect();
            let deadline = Instant::now() + Duration::from_secs(30);
            while checks.iter().zip(&before).any(|(count, before)| count.load(Ordering::SeqCst) < before + 2) {
                assert!(Instant::now() < deadline && !threads.iter().any(thread::JoinHandle::is_finished));
                thread::yield_now();
            }
        };
        for keys in [only("b"), both("b", "a")] {
            everyone();
            epoch.fetch_add(1, Ordering::SeqCst);
            fixture.tokens.replace_keys(keys).unwrap();
            epoch.fetch_add(1, Ordering::SeqCst);
        }
    }
    done.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
}

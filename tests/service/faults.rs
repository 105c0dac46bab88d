//! A store that fails or hangs gives typed errors, no token, and no half-done operation.

use std::{
    future::Future,
    task::{Context, Waker},
    time::Duration,
};

use tower_bearer::{Error, NewSession, TokenService, store::Page};

use crate::{
    access, assert_alive, assert_dead, pair, refresh,
    support::{Behaviour, Fixture, STORE_ERRORS},
};

/// Runs the service operation that needs this store method.
async fn operate(
    method: &str,
    tokens: &TokenService,
    access_token: &str,
    refresh_token: &str,
) -> Vec<Result<(), Error>> {
    match method {
        "open" => vec![
            tokens.create_token_pair(NewSession::new("42")).await.map(drop),
            tokens.create_access_token(NewSession::new("42")).await.map(drop),
            tokens.create_refresh_token(NewSession::new("42")).await.map(drop),
        ],
        "check" => vec![
            access(tokens, access_token).await.map(drop),
            refresh(tokens, refresh_token).await.map(drop),
            tokens.refresh_access_token(refresh_token).await.map(drop),
        ],
        "rotate" => vec![tokens.refresh(refresh_token).await.map(drop)],
        "revoke_token" => vec![tokens.revoke_token(access_token).await.map(drop)],
        "revoke_session" => vec![
            tokens.revoke_token(refresh_token).await.map(drop),
            tokens.revoke_session("42", &"some-session".into()).await.map(drop),
        ],
        "revoke_all" => vec![
            tokens.revoke_all_for_subject("42").await.map(drop),
            tokens.revoke_all_for_subject_except("42", &"some-session".into()).await.map(drop),
        ],
        "sessions" => vec![tokens.sessions("42", Page::default()).await.map(drop)],
        other => panic!("{other}"),
    }
}

const METHODS: [&str; 7] = ["open", "check", "rotate", "revoke_token", "revoke_session", "revoke_all", "sessions"];

#[tokio::test]
async fn a_failing_store_is_a_typed_error_and_changes_nothing() {
    let fixture = Fixture::new();
    let first = pair(&fixture.tokens).await;
    for method in METHODS {
        for kind in STORE_ERRORS {
            fixture.store.answer_only(method, Behaviour::Fails(kind));
            let tokens = (first.access().as_str(), first.refresh().as_str());
            for result in operate(method, &fixture.tokens, tokens.0, tokens.1).await {
                match result {
                    Err(Error::Store(error)) => assert_eq!(error.kind(), kind, "{method}"),
                    other => panic!("{method} {kind:?}: {other:?}"),
                }
            }
        }
    }
    fixture.store.answer(Behaviour::AtOnce);
    assert_alive(&fixture.tokens, &first).await;
    let sessions = fixture.tokens.sessions("42", Page::default()).await.unwrap().sessions;
    assert_eq!(sessions.len(), 1, "a login that failed has left a session");
    // Even long after the grace the refresh token is still usable.
    fixture.advance(3600);
    fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_given_up_while_the_store_hangs_leaves_nothing_behind() {
    let fixture = Fixture::new();
    let first = pair(&fixture.tokens).await;
    for method in METHODS {
        fixture.store.answer_only(method, Behaviour::Hangs);
        let operation = operate(method, &fixture.tokens, first.access().as_str(), first.refresh().as_str());
        let given_up = tokio::time::timeout(Duration::from_secs(10), operation).await;
        assert!(given_up.is_err(), "{method}: {given_up:?}");
        assert_eq!(fixture.store.waiting(), 0, "{method}");
    }
    fixture.store.answer(Behaviour::AtOnce);
    assert_alive(&fixture.tokens, &first).await;
}

#[tokio::test]
async fn a_refresh_whose_answer_was_lost_can_be_repeated() {
    let fixture = Fixture::new();
    let first = pair(&fixture.tokens).await;
    fixture.store.answer_only("rotate", Behaviour::Late);
    // Dropped after 0 to 3 polls, which is before, during and after the work of the store.
    for polls in 0..4 {
        let mut lost = Box::pin(fixture.tokens.refresh(first.refresh().as_str()));
        for _ in 0..polls {
            if lost.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
        }
        drop(lost);
    }
    let second = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
    assert_alive(&fixture.tokens, &second).await;
    fixture.tokens.revoke_session("42", first.session_id()).await.unwrap();
    assert_dead(&fixture.tokens, &second).await;
}

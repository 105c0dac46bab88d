//! Refresh tokens are usable once. A replay gets the same successor within the grace, and counts as
//! theft after it.

use std::time::Duration;

use tower_bearer::{
    NewSession,
    clock::Clock,
    error::TokenError,
    tokens::{SecurityEvent, TokenPair},
};

use crate::{
    Events, access, assert_alive, assert_dead, assert_revoked, pair, refresh,
    support::{Behaviour, Fixture, fixture::read_part},
    token_error,
};

/// Returns the claims of both tokens. Signatures may differ between equal tokens.
fn identity(pair: &TokenPair) -> [serde_json::Value; 2] {
    [read_part(pair.access().as_str(), 1), read_part(pair.refresh().as_str(), 1)]
}

#[tokio::test]
async fn a_refresh_gives_the_next_pair_of_the_same_session() {
    let fixture = Fixture::new();
    let first = pair(&fixture.tokens).await;
    let mut last = first.clone();
    for counter in 1..=3 {
        fixture.advance(60);
        let next = fixture.tokens.refresh(last.refresh().as_str()).await.unwrap();
        assert_eq!(next.session_id(), first.session_id());
        let [access_claims, refresh_claims] = identity(&next);
        assert_eq!(access_claims["jti"], format!("{}.{counter}.a", first.session_id()));
        assert_eq!(refresh_claims["jti"], format!("{}.{counter}.r", first.session_id()));
        assert_eq!(access_claims["iat"], fixture.clock.now().as_secs());
        assert_eq!(access_claims["scope"], "read write");
        assert_alive(&fixture.tokens, &next).await;
        assert_revoked(refresh(&fixture.tokens, last.refresh().as_str()).await);
        last = next;
    }
    access(&fixture.tokens, first.access().as_str()).await.expect("access tokens of the session live on");
    assert_eq!(token_error(fixture.tokens.refresh(last.access().as_str()).await), TokenError::WrongType);
    assert_alive(&fixture.tokens, &last).await;
}

#[tokio::test]
async fn a_replay_within_the_grace_gets_the_same_successor() {
    let events = Events::default();
    let fixture = Fixture::with(|builder| builder.on_event(events.hook()));
    let first = pair(&fixture.tokens).await;
    fixture.advance(60);
    let successor = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
    for wait in [0, 10, 19] {
        fixture.advance(wait);
        let again = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
        assert_eq!(identity(&again), identity(&successor));
        let left = successor.access().expires_at().saturating_since(fixture.clock.now()).as_secs();
        assert_eq!(again.access().expires_in(), left, "it says how long it lives from now on");
    }
    assert_alive(&fixture.tokens, &successor).await;
    assert!(events.take().is_empty());
}

#[tokio::test]
async fn the_window_of_the_grace_does_not_slide_and_after_it_the_session_dies() {
    let events = Events::default();
    let fixture = Fixture::with(|builder| builder.on_event(events.hook()));
    let first = pair(&fixture.tokens).await;
    let successor = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
    fixture.advance(29);
    fixture.tokens.refresh(first.refresh().as_str()).await.expect("within the grace");
    fixture.advance(1);
    assert_eq!(token_error(fixture.tokens.refresh(first.refresh().as_str()).await), TokenError::Reused);

    let session_id = first.session_id().to_owned();
    assert_eq!(events.take(), [SecurityEvent::ReuseDetected { subject: "42".into(), session_id }]);
    assert_dead(&fixture.tokens, &first).await;
    assert_dead(&fixture.tokens, &successor).await;
    assert_revoked(fixture.tokens.refresh(successor.refresh().as_str()).await);
}

#[tokio::test]
async fn a_token_two_steps_behind_is_theft_even_within_the_grace() {
    let fixture = Fixture::new();
    let first = pair(&fixture.tokens).await;
    let second = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
    let third = fixture.tokens.refresh(second.refresh().as_str()).await.unwrap();
    assert_eq!(token_error(fixture.tokens.refresh(first.refresh().as_str()).await), TokenError::Reused);
    assert_dead(&fixture.tokens, &third).await;
}

#[tokio::test]
async fn theft_ends_one_session_and_not_the_users_others() {
    let fixture = Fixture::with(|builder| builder.reuse_grace(Duration::ZERO));
    let (stolen, other) = (pair(&fixture.tokens).await, pair(&fixture.tokens).await);
    let successor = fixture.tokens.refresh(stolen.refresh().as_str()).await.unwrap();
    assert_eq!(token_error(fixture.tokens.refresh(stolen.refresh().as_str()).await), TokenError::Reused);
    assert_dead(&fixture.tokens, &successor).await;
    assert_alive(&fixture.tokens, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_refreshes_of_one_token_at_once_yield_one_successor() {
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        let fixture = Fixture::new();
        let first = pair(&fixture.tokens).await;
        fixture.store.answer(behaviour);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (tokens, token) = (fixture.tokens.clone(), first.refresh().as_str().to_owned());
            tasks.spawn(async move { tokens.refresh(&token).await.unwrap() });
        }
        let pairs = tasks.join_all().await;
        assert_eq!(pairs.len(), 50);
        assert!(pairs.iter().all(|pair| identity(pair) == identity(&pairs[0])), "siblings: {behaviour:?}");
        assert_alive(&fixture.tokens, &pairs[0]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_grace_fifty_at_once_leave_no_live_token() {
    let events = Events::default();
    let fixture = Fixture::with(|builder| builder.reuse_grace(Duration::ZERO).on_event(events.hook()));
    let first = pair(&fixture.tokens).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (tokens, token) = (fixture.tokens.clone(), first.refresh().as_str().to_owned());
        tasks.spawn(async move { tokens.refresh(&token).await });
    }
    let won: Vec<_> = tasks.join_all().await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(won.len(), 1);
    assert_dead(&fixture.tokens, &won[0]).await;
    assert!(!events.take().is_empty());
}

#[tokio::test]
async fn a_new_access_token_alone_leaves_the_refresh_token_as_it_is() {
    let fixture = Fixture::new();
    let first = pair(&fixture.tokens).await;
    fixture.advance(60);
    let one = fixture.tokens.refresh_access_token(first.refresh().as_str()).await.unwrap();
    let other = fixture.tokens.refresh_access_token(first.refresh().as_str()).await.unwrap();
    let (one_claims, other_claims) = (read_part(one.as_str(), 1), read_part(other.as_str(), 1));
    assert_ne!(one_claims["jti"], other_claims["jti"]);
    assert_eq!(
        (&one_claims["sid"], one_claims["iat"].as_u64()),
        (&first.session_id().as_str().into(), Some(fixture.clock.now().as_secs()))
    );
    assert_eq!(one.expires_in(), 1800);

    // Each token can be revoked separately.
    fixture.tokens.revoke_token(one.as_str()).await.unwrap();
    assert_revoked(access(&fixture.tokens, one.as_str()).await);
    access(&fixture.tokens, other.as_str()).await.unwrap();

    let successor = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
    assert_revoked(fixture.tokens.refresh_access_token(first.refresh().as_str()).await);
    assert_alive(&fixture.tokens, &successor).await;
    assert_eq!(token_error(fixture.tokens.refresh_access_token(one.as_str()).await), TokenError::WrongType);

    fixture.tokens.revoke_session("42", first.session_id()).await.unwrap();
    assert_revoked(access(&fixture.tokens, other.as_str()).await);
    assert_revoked(fixture.tokens.refresh_access_token(successor.refresh().as_str()).await);
}

#[tokio::test]
async fn a_refresh_token_of_a_session_that_the_store_never_knew_is_refused() {
    let (fixture, elsewhere) = (Fixture::new(), Fixture::new());
    let stranger = elsewhere.tokens.create_token_pair(NewSession::new("42")).await.unwrap();
    assert_eq!(token_error(fixture.tokens.refresh(stranger.refresh().as_str()).await), TokenError::UnknownSession);
    assert_eq!(token_error(access(&fixture.tokens, stranger.access().as_str()).await), TokenError::UnknownSession);
}

#[tokio::test]
async fn in_the_last_second_of_a_session_no_token_without_a_life_is_made() {
    let fixture = Fixture::with(|builder| builder.session_lifetime(Duration::from_secs(600)));
    let first = pair(&fixture.tokens).await;
    fixture.clock.advance(Duration::from_secs(599));
    let second = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
    assert_eq!(second.access().expires_in(), 1);
    assert_alive(&fixture.tokens, &second).await;
    // The session ends in the store at a fraction of a second, the tokens end at whole seconds.
    let fixture = Fixture::with(|builder| builder.session_lifetime(Duration::from_secs(600)));
    fixture.clock.advance(Duration::from_millis(500));
    let first = pair(&fixture.tokens).await;
    fixture.clock.advance(Duration::from_millis(599_700));
    let alone = fixture.tokens.refresh_access_token(first.refresh().as_str()).await;
    assert_eq!(token_error(alone), TokenError::SessionExpired);
    assert_eq!(token_error(fixture.tokens.refresh(first.refresh().as_str()).await), TokenError::SessionExpired);
}

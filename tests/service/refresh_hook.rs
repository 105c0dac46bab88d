//! The application's hook for refreshes. Its failures end no session.

use std::{
    future::Future,
    task::{Context, Waker},
};

use serde::{Deserialize, Serialize};
use tower_bearer::{
    BoxError, Error, Renewal, TokenService,
    error::TokenError,
    tokens::{OnRefresh, Refreshing, SecurityEvent},
};

use crate::{
    Events, access,
    support::{Fixture, fixture::builder},
    token_error,
};

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Role {
    role: String,
}

fn role(role: &str) -> Role {
    Role { role: role.to_owned() }
}

fn with_hook(fixture: &Fixture, events: &Events, hook: impl OnRefresh<Role>) -> TokenService<Role> {
    let builder = builder(&fixture.clock).store(fixture.store.clone()).on_event(events.hook());
    builder.claims::<Role>().on_refresh(hook).build().unwrap()
}

/// Logs in to a service without the hook.
async fn log_in(fixture: &Fixture) -> String {
    let tokens = builder(&fixture.clock).store(fixture.store.clone()).claims::<Role>().build().unwrap();
    crate::log_in(&tokens, role("owner")).await.refresh().as_str().to_owned()
}

/// Asserts that the failed refresh rotated nothing: the token is still usable and no replay.
async fn assert_not_used_up(fixture: &Fixture, token: &str) {
    fixture.advance(3600);
    let tokens = with_hook(fixture, &Events::default(), |_| async { Ok::<_, BoxError>(Renewal::Keep) });
    tokens.refresh(token).await.expect("the token was not used up");
}

#[tokio::test]
async fn keep_copies_claims_and_scope() {
    let fixture = Fixture::new();
    let tokens = with_hook(&fixture, &Events::default(), |session: Refreshing<Role>| async move {
        let role = session.custom().map(|claims| claims.role.as_str());
        assert_eq!((session.claims().subject().as_str(), role), ("42", Some("owner")));
        Ok::<_, BoxError>(Renewal::Keep)
    });
    let pair = tokens.refresh(&log_in(&fixture).await).await.unwrap();
    let claims = access(&tokens, pair.access().as_str()).await.unwrap();
    assert_eq!((claims.custom(), claims.scope().as_str()), (&role("owner"), "read write"));
}

#[tokio::test]
async fn replace_gives_all_new_tokens_the_new_claims_and_scope() {
    let fixture = Fixture::new();
    let tokens = with_hook(&fixture, &Events::default(), |_| async {
        Ok::<_, BoxError>(Renewal::Replace { claims: role("guest"), scope: "read".to_owned() })
    });
    let token = log_in(&fixture).await;
    let pair = tokens.refresh(&token).await.unwrap();
    assert_eq!(pair.scope().as_str(), "read");
    for claims in [
        access(&tokens, pair.access().as_str()).await.unwrap(),
        crate::refresh(&tokens, pair.refresh().as_str()).await.unwrap(),
    ] {
        assert_eq!((claims.custom(), claims.scope().as_str()), (&role("guest"), "read"));
    }
    let alone = tokens.refresh_access_token(pair.refresh().as_str()).await.unwrap();
    assert_eq!(access(&tokens, alone.as_str()).await.unwrap().custom().role, "guest");
}

#[tokio::test]
async fn refuse_gives_nothing_and_tells() {
    let (fixture, events) = (Fixture::new(), Events::default());
    let tokens = with_hook(&fixture, &events, |_| async { Ok::<_, BoxError>(Renewal::Refuse) });
    let token = log_in(&fixture).await;
    assert_eq!(token_error(tokens.refresh(&token).await), TokenError::UserRefused);
    assert_eq!(token_error(tokens.refresh_access_token(&token).await), TokenError::UserRefused);
    let told = events.take();
    assert_eq!(told.len(), 2);
    assert!(matches!(&told[0], SecurityEvent::RefreshRefused { subject, .. } if subject == "42"));
    assert_not_used_up(&fixture, &token).await;
}

#[tokio::test]
async fn a_hook_that_fails_or_panics_does_not_use_the_token_up() {
    let fixture = Fixture::new();
    let token = log_in(&fixture).await;
    let events = Events::default();
    let fails = with_hook(&fixture, &events, |_| async { Err::<Renewal<Role>, BoxError>("database".into()) });
    let panics = with_hook(&fixture, &events, |_| async { panic!("a test's panic, which is caught") });
    let panics_at_once = with_hook(&fixture, &events, |_| -> std::future::Ready<Result<Renewal<Role>, BoxError>> {
        panic!("a test's panic, which is caught")
    });
    for tokens in [fails, panics, panics_at_once] {
        for result in [tokens.refresh(&token).await.map(drop), tokens.refresh_access_token(&token).await.map(drop)] {
            assert!(matches!(result, Err(Error::Application(_))), "{result:?}");
        }
    }
    assert!(events.take().is_empty());
    assert_not_used_up(&fixture, &token).await;
}

#[tokio::test]
async fn claims_of_the_hook_that_no_token_can_hold_do_not_use_the_token_up() {
    let fixture = Fixture::new();
    let token = log_in(&fixture).await;
    for (claims, scope) in [(role("guest"), "two  spaces".to_owned()), (role(&"x".repeat(9000)), String::new())] {
        let tokens = with_hook(&fixture, &Events::default(), move |_| {
            let renewal = Renewal::Replace { claims: claims.clone(), scope: scope.clone() };
            async { Ok::<_, BoxError>(renewal) }
        });
        assert!(matches!(tokens.refresh(&token).await, Err(Error::Issue(_))));
    }
    assert_not_used_up(&fixture, &token).await;
}

#[tokio::test]
async fn a_hook_that_is_dropped_does_not_use_the_token_up() {
    let fixture = Fixture::new();
    let token = log_in(&fixture).await;
    let tokens = with_hook(&fixture, &Events::default(), |_| std::future::pending());
    let mut refresh = Box::pin(tokens.refresh(&token));
    assert!(refresh.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(refresh);
    assert_not_used_up(&fixture, &token).await;
}

//! A deploy changes the application's claims type while clients hold tokens with the old claims.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tower_bearer::{
    BoxError, Error, NewSession, Renewal, TokenService,
    error::TokenError,
    tokens::{OnRefresh, Refreshing, TokenPair, TokenServiceBuilder},
};

use crate::{
    access, assert_dead, assert_revoked,
    support::{Fixture, fixture::builder},
    token_error,
};

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Old {
    role: String,
}

/// Claims with a required field that old tokens lack.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct New {
    role: String,
    tenant: String,
}

fn deployed<C>(fixture: &Fixture) -> TokenServiceBuilder<C> {
    builder(&fixture.clock).store(fixture.store.clone()).claims::<C>()
}

fn before(fixture: &Fixture) -> TokenService<Old> {
    deployed(fixture).build().unwrap()
}

fn after(fixture: &Fixture) -> TokenService<New> {
    deployed(fixture).build().unwrap()
}

fn after_with(fixture: &Fixture, hook: impl OnRefresh<New>) -> TokenService<New> {
    deployed(fixture).on_refresh(hook).build().unwrap()
}

async fn old_pair(fixture: &Fixture) -> TokenPair {
    crate::log_in(&before(fixture), Old { role: "owner".to_owned() }).await
}

fn assert_misfit<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = token_error(result);
    assert!(matches!(error, TokenError::CustomClaims { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("owner"), "the cause shows a value");
}

#[tokio::test]
async fn an_old_token_is_refused_with_a_clear_cause() {
    let fixture = Fixture::new();
    let pair = old_pair(&fixture).await;
    let tokens = after(&fixture);
    assert_misfit(access(&tokens, pair.access().as_str()).await);
    assert_misfit(crate::refresh(&tokens, pair.refresh().as_str()).await);
}

#[tokio::test]
async fn without_a_hook_an_old_refresh_token_is_refused_and_not_used_up() {
    let fixture = Fixture::new();
    let pair = old_pair(&fixture).await;
    let tokens = after(&fixture);
    assert_misfit(tokens.refresh(pair.refresh().as_str()).await);
    assert_misfit(tokens.refresh_access_token(pair.refresh().as_str()).await);
    let keeps = after_with(&fixture, |_| async { Ok::<_, BoxError>(Renewal::Keep) });
    assert_misfit(keeps.refresh(pair.refresh().as_str()).await);
    // After a roll-back of the deploy the token is still valid, and no replay.
    fixture.advance(3600);
    before(&fixture).refresh(pair.refresh().as_str()).await.unwrap();
}

#[tokio::test]
async fn a_hook_renews_an_old_refresh_token_by_what_it_had() {
    let fixture = Fixture::new();
    let pair = old_pair(&fixture).await;
    let tokens = after_with(&fixture, |session: Refreshing<New>| async move {
        assert_eq!(session.custom(), None);
        assert_eq!(session.raw_custom(), json!({ "role": "owner" }).as_object().unwrap());
        let claims = session.claims();
        assert_eq!((claims.subject().as_str(), claims.scope().as_str()), ("42", "read write"));
        let role = session.raw_custom()["role"].as_str().unwrap().to_owned();
        let (claims, scope) = (New { role, tenant: "acme".to_owned() }, claims.scope().to_string());
        Ok::<_, BoxError>(Renewal::Replace { claims, scope })
    });
    let new = New { role: "owner".to_owned(), tenant: "acme".to_owned() };
    let alone = tokens.refresh_access_token(pair.refresh().as_str()).await.unwrap();
    let renewed = tokens.refresh(pair.refresh().as_str()).await.unwrap();
    assert_eq!(renewed.session_id(), pair.session_id());
    for token in [&alone, renewed.access()] {
        let claims = access(&tokens, token.as_str()).await.unwrap();
        assert_eq!((claims.custom(), claims.scope().as_str()), (&new, "read write"));
    }
}

#[tokio::test]
async fn a_hook_gets_the_claims_of_a_token_that_has_them() {
    let fixture = Fixture::new();
    let tokens = after_with(&fixture, |session: Refreshing<New>| async move {
        assert_eq!(session.custom().map(|claims| claims.tenant.as_str()), Some("acme"));
        Ok::<_, BoxError>(Renewal::Keep)
    });
    let new = New { role: "owner".to_owned(), tenant: "acme".to_owned() };
    let pair = crate::log_in(&tokens, new.clone()).await;
    let renewed = tokens.refresh(pair.refresh().as_str()).await.unwrap();
    assert_eq!(access(&tokens, renewed.access().as_str()).await.unwrap().custom(), &new);
}

#[tokio::test]
async fn a_claim_that_is_required_from_now_on_can_be_renewed_too() {
    let fixture = Fixture::new();
    let pair = old_pair(&fixture).await;
    let required = || deployed::<serde_json::Value>(&fixture).require_claims(["tenant"]);
    let without_hook = required().build().unwrap();
    let lacks = TokenError::Claims("a claim that `require_claims` demands is missing");
    assert_eq!(token_error(access(&without_hook, pair.access().as_str()).await), lacks);
    assert_eq!(token_error(without_hook.refresh(pair.refresh().as_str()).await), lacks);
    let renews = required().on_refresh(|session: Refreshing<serde_json::Value>| async move {
        assert!(session.custom().is_none());
        let claims = json!({ "role": "owner", "tenant": "acme" });
        Ok::<_, BoxError>(Renewal::Replace { claims, scope: String::new() })
    });
    let renewed = renews.build().unwrap().refresh(pair.refresh().as_str()).await.unwrap();
    access(&without_hook, renewed.access().as_str()).await.unwrap();
}

#[tokio::test]
async fn an_old_token_is_revoked_by_its_text() {
    let fixture = Fixture::new();
    let required = deployed::<New>(&fixture).require_claims(["tenant"]).build().unwrap();
    for tokens in [after(&fixture), required] {
        let pair = old_pair(&fixture).await;
        tokens.revoke_token(pair.access().as_str()).await.unwrap();
        assert_revoked(access(&fixture.tokens, pair.access().as_str()).await);
        crate::refresh(&fixture.tokens, pair.refresh().as_str()).await.unwrap();

        tokens.revoke_token(pair.refresh().as_str()).await.unwrap();
        assert_dead(&fixture.tokens, &pair).await;
    }
}

#[tokio::test]
async fn claims_of_any_type_can_be_revoked() {
    let fixture = Fixture::new();
    let pair = old_pair(&fixture).await;
    let claims = before(&fixture).decode_token(pair.refresh().as_str()).unwrap();
    after(&fixture).revoke_claims(&claims).await.unwrap();
    assert_dead(&fixture.tokens, &pair).await;
}

#[tokio::test]
async fn a_field_with_a_default_needs_no_hook() {
    #[derive(Debug, Deserialize, Serialize)]
    struct Defaulted {
        role: String,
        #[serde(default)]
        tenant: Option<String>,
    }

    let fixture = Fixture::new();
    let pair = old_pair(&fixture).await;
    let tokens = deployed::<Defaulted>(&fixture).build().unwrap();
    let claims = access(&tokens, pair.access().as_str()).await.unwrap();
    assert_eq!((claims.custom().role.as_str(), &claims.custom().tenant), ("owner", &None));
    tokens.refresh(pair.refresh().as_str()).await.unwrap();
    tokens.create_token_pair(NewSession::new("7").claims(Defaulted { role: "x".into(), tenant: None })).await.unwrap();
}

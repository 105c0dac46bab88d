//! A single-page app: both tokens in `HttpOnly` cookies, CSRF check, silent refresh.
use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    routing::{get, post_service},
};
use serde_json::{Value, json};
use tower_bearer::{
    AuthLayer, BoxError, Claims, MemoryStore, NoClaims, Subject, TokenService,
    endpoints::{BrowserSessions, Endpoints, SameSite},
    password::PasswordHasher,
    users::{Credentials, Grant, UserAuthentication},
};

struct Users(PasswordHasher, String);
impl UserAuthentication for Users {
    type User = u64;
    type Claims = NoClaims;
    async fn authenticate(&self, login: Credentials) -> Result<Option<u64>, BoxError> {
        let hash = (login.username() == "alice").then_some(&*self.1);
        Ok(self.0.verify_or_dummy(login.password(), hash).await?.then_some(1))
    }
    async fn user_by_id(&self, id: &Subject) -> Result<Option<u64>, BoxError> {
        Ok((*id == "1").then_some(1))
    }
    fn user_id(&self, user: &u64) -> Subject {
        (*user).into()
    }
    fn grant(&self, _: &u64) -> Grant<NoClaims> {
        Grant::default().scope("read")
    }
}
async fn me(claims: Claims) -> Json<Value> {
    Json(json!({ "subject": claims.subject() }))
}
async fn greet(claims: Option<Claims>) -> String {
    claims.map_or("stranger".into(), |claims| claims.subject().to_string())
}
pub(super) async fn app(access: Duration) -> Result<Router, BoxError> {
    let tokens = TokenService::builder().secret("a TEST secret that is long enough for HS256");
    let tokens = tokens.access_lifetime(access).leeway(Duration::ZERO).store(MemoryStore::default()).build()?;
    let sessions = BrowserSessions::builder().same_site(SameSite::Lax).refresh_path("/auth").build()?;
    let auth = AuthLayer::builder(tokens).browser_sessions(&sessions).build()?;
    let hasher = PasswordHasher::new(4)?;
    let alice = hasher.hash("alice-password").await?;
    let browser = Endpoints::new(&auth, Arc::new(Users(hasher, alice))).browser()?;
    Ok(Router::new()
        .route("/api/me", get(me).post(me))
        .route_layer(auth.clone())
        .route("/greet", get(greet).layer(auth.optional()))
        .route("/auth/login", post_service(browser.login()))
        .route("/auth/refresh", post_service(browser.refresh()))
        .route("/auth/logout", post_service(browser.logout())))
}

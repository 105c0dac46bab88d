//! A complete service on Axum: login, protected routes, refresh, logout, sessions, metrics.
//!
//! `cargo run --example server` listens on 127.0.0.1:3000 and prints `curl` commands to try. The
//! sessions are in memory, or with `REDIS_URL=redis://127.0.0.1/` in Redis. `common/mod.rs` lists
//! the environment variables.
//!
//! `GET /metrics` returns the metrics in the text format of Prometheus. In a deployment, serve this
//! page on an address that only Prometheus can reach.

mod common;
mod metrics;
mod streams;
mod users;

use std::{
    future::{IntoFuture, ready},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::Request,
    routing::{get, post_service},
};
use common::{Drain, Failure, bind_address, cut_at_expiry, log_to_stderr, tokens_from_env};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_bearer::{
    AuthLayer, Claims,
    endpoints::{BrowserSessions, Endpoints, TokenCookie},
    middleware::CurrentUserLayer,
    observe::MetricsObserver,
    users::CurrentUser,
};
use tower_http::trace::TraceLayer;
use users::{User, Users};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    log_to_stderr()?;
    // Installs the recorder before the observer, because the observer registers its series in the
    // recorder.
    let recorded = metrics::install()?;
    let observer = MetricsObserver::new();
    let users = Arc::new(Users::observed_by(observer.clone()));
    let (builder, store) = tokens_from_env().await?;
    let tokens = builder.observer(observer).build()?;
    let auth = AuthLayer::new(tokens.clone()).cut_at_expiry(cut_at_expiry()?);
    // A page in a browser cannot set the header `Authorization` for a WebSocket. So this layer also
    // accepts a token in the query or as a subprotocol.
    let socket_auth = AuthLayer::builder(tokens.clone())
        .cut_at_expiry(cut_at_expiry()?)
        .allow_query("access_token")
        .allow_websocket_protocol("bearer")
        .build()?;
    let (drain, mut drained) = Drain::on_signal()?;
    // A client may keep its refresh token in this cookie. The logout endpoint reads the token, and
    // removes the cookie.
    let refresh_cookie = TokenCookie::builder().name("refresh_token").build()?;
    let endpoints = Endpoints::new(&auth, Arc::clone(&users)).refresh_cookie(refresh_cookie).show_details();
    // A browser keeps both tokens in cookies that no script can read.
    let browser_auth = AuthLayer::builder(tokens).browser_sessions(&BrowserSessions::builder().build()?).build()?;
    let browser = Endpoints::new(&browser_auth, Arc::clone(&users)).browser()?;
    let browser_user = CurrentUserLayer::new(&browser_auth, Arc::clone(&users));
    let app = Router::new()
        .route("/claims", get(claims))
        .route("/me", get(me).layer(CurrentUserLayer::new(&auth, users)))
        .route("/events", get(streams::events))
        .route("/admin", get(admin).layer(auth.require_scope("admin")?))
        // `route_layer` protects only the routes above. With `layer`, the response to an unknown
        // path would be 401 instead of 404.
        .route_layer(auth.clone())
        .route("/ws", get(streams::ws).route_layer(socket_auth))
        .route("/optional", get(optional).layer(auth.clone().optional()))
        .route("/browser/login", post_service(browser.login()))
        .route("/browser/refresh", post_service(browser.refresh()))
        .route("/browser/logout", post_service(browser.logout()))
        .route("/browser/me", get(me).route_layer(browser_user).route_layer(browser_auth))
        .route("/", get("tower-bearer example\n"))
        .route("/login", post_service(endpoints.login()))
        .route("/refresh", post_service(endpoints.refresh()))
        .route("/logout", post_service(endpoints.logout()))
        .route("/logout-all", post_service(endpoints.logout_all()))
        .route_service("/sessions", endpoints.sessions())
        .route_service("/sessions/{sid}", endpoints.revoke_session())
        .route_service("/health", endpoints.health())
        .route_service("/ready", endpoints.ready())
        .route_service("/live", endpoints.live())
        .route("/metrics", get(move || ready(metrics::page(&recorded))))
        // Logs the path without the query, because a query can contain a token. Logs no failures,
        // because in an outage a message for each request would fill the disk.
        .layer(TraceLayer::new_for_http().on_failure(()).make_span_with(
            |request: &Request| tracing::info_span!("request", method = %request.method(), path = request.uri().path()),
        ))
        .with_state(drain.clone());

    let listener = TcpListener::bind(bind_address("127.0.0.1:3000")?).await?;
    print_welcome(&format!("http://{}", listener.local_addr()?), store);
    let server = axum::serve(listener, app).with_graceful_shutdown(drain.begun());
    tokio::select! {
        ended = server.into_future() => ended?,
        // Some requests did not end before the deadline.
        ended = &mut drained => return Ok(ended?),
    }
    // Waits for the open WebSockets, because Axum does not wait for them.
    Ok(drained.await?)
}

async fn claims(claims: Claims) -> Json<Value> {
    Json(json!(claims))
}

async fn me(user: CurrentUser<User>) -> Json<Value> {
    Json(json!({ "user_id": user.id, "username": user.name }))
}

async fn admin(claims: Claims) -> Json<Value> {
    Json(json!({ "message": "welcome", "user_id": claims.subject() }))
}

async fn optional(claims: Option<Claims>) -> Json<Value> {
    Json(json!({ "subject": claims.as_ref().map(|claims| claims.subject()) }))
}

fn print_welcome(url: &str, store: &str) {
    println!(
        r#"tower-bearer example on {url}
store: {store}
users: alice (password alice-password, scopes read write admin), bob (password bob-password, scope read)

Log in and keep the tokens:
  curl -s {url}/login -d username=alice -d password=alice-password | tee tokens.json
  ACCESS=$(sed 's/.*"access_token":"\([^"]*\)".*/\1/' tokens.json)
  REFRESH=$(sed 's/.*"refresh_token":"\([^"]*\)".*/\1/' tokens.json)
Use them:
  curl -s {url}/me -H "Authorization: Bearer $ACCESS"
  curl -s {url}/sessions -H "Authorization: Bearer $ACCESS"
  curl -s {url}/refresh -d "refresh_token=$REFRESH"
Read a stream in another terminal. Logout cuts it:
  curl -sN {url}/events -H "Authorization: Bearer $ACCESS"
Log out, and see that the token is refused:
  curl -s -X POST {url}/logout -H "Authorization: Bearer $ACCESS"
  curl -si {url}/me -H "Authorization: Bearer $ACCESS""#
    );
}

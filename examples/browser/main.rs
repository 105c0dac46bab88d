//! A single-page app with browser sessions: this server, and its client, the script `app.js`.
//!
//! Run `cargo run --example browser`, and open <http://127.0.0.1:3002> in Chromium, Chrome, Edge or
//! Firefox. These browsers accept `Secure` cookies from a loopback address without TLS.
//! `common/mod.rs` lists the environment variables.
//!
//! The browser keeps both tokens in cookies that no script can read. To see a revocation, log in
//! with two browsers. In the page of one browser, log out the other device: its stream ends.

#[path = "../common/mod.rs"]
mod common;
#[path = "../users/mod.rs"]
#[allow(dead_code, reason = "the metrics of the example `server` use all of it")]
mod users;

use std::{convert::Infallible, future::IntoFuture, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{
        HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::{delete_service, get, post_service},
};
use common::{Drain, Failure, bind_address, log_to_stderr, tokens_from_env};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};
use tower::ServiceBuilder;
use tower_bearer::{
    AuthLayer, Claims, TokenService,
    endpoints::{BrowserSessions, Endpoints},
    middleware::CurrentUserLayer,
    store::Page,
    users::CurrentUser,
};
use tower_http::set_header::SetResponseHeaderLayer;
use users::{User, Users};

/// The time between two queries of a user's sessions.
const PERIOD: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    log_to_stderr()?;
    let users = Arc::new(Users::default());
    let tokens = tokens_from_env().await?.0.build()?;
    // The layer reads the access token from its cookie, and rejects requests that another site
    // causes.
    let sessions = BrowserSessions::builder().build()?;
    let auth = AuthLayer::builder(tokens.clone()).browser_sessions(&sessions).build()?;
    let endpoints = Endpoints::new(&auth, Arc::clone(&users));
    let browser = endpoints.browser()?;
    let (drain, mut drained) = Drain::on_signal()?;
    let app = Router::new()
        .route("/api/me", get(me).layer(CurrentUserLayer::new(&auth, users)))
        .route("/api/events", get(events))
        .route_layer(auth)
        .route("/api/sessions/{sid}", delete_service(endpoints.revoke_session()))
        .route("/auth/login", post_service(browser.login()))
        .route("/auth/refresh", post_service(browser.refresh()))
        .route("/auth/logout", post_service(browser.logout()))
        .route("/auth/logout-all", post_service(browser.logout_all()))
        .merge(pages())
        .with_state((tokens, drain.clone()));

    let listener = TcpListener::bind(bind_address("127.0.0.1:3002")?).await?;
    println!("open http://{} and log in as alice (alice-password) or bob (bob-password)", listener.local_addr()?);
    let server = axum::serve(listener, app).with_graceful_shutdown(drain.begun());
    tokio::select! {
        ended = server.into_future() => ended?,
        ended = &mut drained => return Ok(ended?),
    }
    Ok(drained.await?)
}

/// Returns the routes of the page, its script and its style. These files contain no user data, so
/// the routes need no token.
fn pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let file = |content_type, text: &'static str| get(([(CONTENT_TYPE, HeaderValue::from_static(content_type))], text));
    let header = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("index.html")))
        .route("/app.js", file("text/javascript; charset=utf-8", include_str!("app.js")))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("style.css")))
        .layer(
            ServiceBuilder::new()
                // Prevents injected scripts: they could not read the tokens, but could send
                // requests.
                .layer(header(
                    CONTENT_SECURITY_POLICY,
                    "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
                ))
                // Otherwise the button "back" could show the page with the user's data after a
                // logout.
                .layer(header(CACHE_CONTROL, "no-store")),
        )
}

/// Returns the user. The browser must not store the answer, because it could show the answer after
/// a logout.
async fn me(user: CurrentUser<User>) -> ([(HeaderName, HeaderValue); 1], Json<Value>) {
    let header = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ([header], Json(json!({ "user_id": user.id, "username": user.name })))
}

/// Sends the list of the user's sessions after each change. The layer cuts this stream when its
/// session is revoked.
async fn events(
    claims: Claims,
    State((tokens, drain)): State<(TokenService, Drain)>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let lists = stream::unfold(None, move |last| {
        let (tokens, claims) = (tokens.clone(), claims.clone());
        async move {
            loop {
                // If the store fails, the stream ends, and the browser connects again.
                let list = sessions(&tokens, &claims).await?;
                if last.as_ref() != Some(&list) {
                    return Some((Ok(Event::default().data(list.to_string())), Some(list)));
                }
                sleep(PERIOD).await;
            }
        }
    });
    Sse::new(lists.take_until(drain.begun())).keep_alive(KeepAlive::default())
}

async fn sessions(tokens: &TokenService, claims: &Claims) -> Option<Value> {
    let page = tokens.sessions(claims.subject(), Page::default()).await.ok()?;
    let listed = page.sessions.into_iter().map(|session| {
        json!({
            "sid": session.sid.as_str(),
            "device": session.label,
            "opened_at": session.opened_at.as_secs(),
            "current": claims.session_id() == Some(&session.sid),
        })
    });
    Some(listed.collect())
}

//! A server for load generators, and for `benches/wire.rs`.
//!
//! `/open` and `/protected` run the same handler, but only `/protected` is behind the layer. So a
//! comparison of their times in one run shows the cost of the layer. `/token` mints a token for a
//! new session.
//!
//! Start the server with `cargo run --release --example bench_server`. `common/mod.rs` lists the
//! environment variables.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};

use axum::{Router, http::StatusCode, routing::get};
use common::{Failure, bind_address, log_to_stderr, tokens_from_env};
use tokio::net::TcpListener;
use tower_bearer::{AuthLayer, NewSession, TokenService};

#[tokio::main]
pub(crate) async fn main() -> Result<(), Failure> {
    log_to_stderr()?;
    let (builder, store) = tokens_from_env().await?;
    let tokens = builder.build()?;

    let minted = tokens.clone();
    let app = Router::new()
        .route("/protected", get("hi"))
        .route_layer(AuthLayer::new(tokens))
        .route("/open", get("hi"))
        .route("/token", get(move || mint(minted.clone())));

    let listener = TcpListener::bind(bind_address("127.0.0.1:3000")?).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("bench_server on {url}\nstore: {store}\n");
    println!("  TOKEN=$(curl -s {url}/token)");
    println!("  wrk -t2 -c64 -d10s {url}/open");
    println!("  wrk -t2 -c64 -d10s -H \"Authorization: Bearer $TOKEN\" {url}/protected");
    axum::serve(listener, app).await?;
    Ok(())
}

/// Mints an access token for a new user, so that no user has many sessions.
async fn mint(tokens: TokenService) -> Result<String, StatusCode> {
    static USERS: AtomicU64 = AtomicU64::new(0);
    let user = format!("bench-{}", USERS.fetch_add(1, Ordering::Relaxed));
    match tokens.create_access_token(NewSession::new(user)).await {
        Ok(token) => Ok(token.as_str().to_owned()),
        Err(_) => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

//! A login endpoint with a guard against password guessing. After too many attempts, the endpoint
//! answers 429 without hashing the password.
//!
//! `cargo run --example login_limits` listens on 127.0.0.1:3000. The module `limits` is a starting
//! point for your own guard.

mod limits;
#[path = "../users/mod.rs"]
#[allow(dead_code, reason = "this example measures nothing")]
mod users;

use std::{net::SocketAddr, sync::Arc};

use axum::Router;
use governor::clock::DefaultClock;
use tokio::net::TcpListener;
use tower_bearer::{AuthLayer, BoxError, MemoryStore, TokenService, endpoints::Endpoints};

use self::{limits::Limits, users::Users};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut secret = [0; 64];
    getrandom::fill(&mut secret).map_err(|error| format!("the system has no random numbers: {error}"))?;
    let tokens = TokenService::builder().secret(secret).store(MemoryStore::default()).build()?;

    let endpoints = Endpoints::new(&AuthLayer::new(tokens), Arc::new(Users::default()))
        .guard_login(Limits::new(&DefaultClock::default()));
    let app = Router::new().route_service("/login", endpoints.login());

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://127.0.0.1:3000; repeat this until the status is 429:");
    println!("  curl -i http://127.0.0.1:3000/login -d username=alice -d password=wrong");
    // Gives the client's address to the guard. Without an address, each login fails.
    Ok(axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?)
}

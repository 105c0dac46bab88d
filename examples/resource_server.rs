//! A resource server on Axum: it accepts the tokens of another issuer and has no sessions itself.
//!
//! | variable | meaning |
//! |--|--|
//! | `BIND`, `CONSISTENCY`, `RUST_LOG` | see `common/mod.rs`; default `127.0.0.1:3001` |
//! | `ISSUER`, `AUDIENCE` | as in the tokens; without `AUDIENCE` it is not checked |
//! | `JWKS_URL`, `JWKS_FILE` or `DISCOVER=1` | the source of the keys; `ALLOW_HTTP=1` for tests |
//! | `PRESET` | the habits of the issuer: a name of [`Preset`], by default `plain` |
//! | `SCOPE_CLAIMS`, `SESSION_CLAIM` | names of claims, with commas between them |
//! | `POLICY` | `stateless` (default), or `denylist` with the store of `REDIS_URL`, or in memory |
//! | `MAX_ACCESS_SECONDS`, `MAX_TOKEN_BYTES`, `LEEWAY_SECONDS` | limits of tokens |
//! | `JWKS_COOLDOWN_SECONDS`, `JWKS_MAX_STALE_SECONDS` | times of fetches |
//! | `RESOURCE` | the URL of this server, for its metadata (RFC 9728) |

#[path = "common/env.rs"]
mod env;

use std::time::Duration;

use axum::{
    Form, Json, Router,
    extract::State,
    routing::{get, post},
};
use env::{Failure, bind_address, consistency, log_to_stderr, parsed, variable};
use serde_json::{Value, json};
use tokio::{fs::read_to_string, net::TcpListener};
use tower_bearer::{
    AuthLayer, BoxError, Claims, Issuer, MemoryStore, RedisStore, SessionId, TokenId, TokenService,
    issuers::{HttpKeys, IssuerPolicy, KeySourceError, KeySourceErrorKind, Preset, PublishedKeys},
    jwt::RawClaims,
    middleware::ResourceMetadata,
};

type Tokens = TokenService<RawClaims>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    log_to_stderr()?;
    let name = variable("ISSUER")?.ok_or("ISSUER is unset; give the `iss` of the tokens")?;
    let tokens = tokens(&name).await?;
    let mut auth = AuthLayer::new(tokens.clone());
    let mut app = Router::new();
    if let Some(url) = variable("RESOURCE")? {
        let metadata = ResourceMetadata::builder(url).authorization_servers([&name]).allow_http(true).build()?;
        app = app.route_service(metadata.path(), metadata.service());
        auth = auth.resource(metadata);
    }
    let app = app
        .route("/claims", get(async |claims: Claims<RawClaims>| Json(json!(claims))))
        .route("/scopes", get(scopes))
        .route("/read", get("you may read\n").layer(auth.require_scope("read")?))
        .route_layer(auth)
        .route("/deny", post(deny))
        .route("/health", get(async |State(tokens): State<Tokens>| Json(json!(tokens.status().await))))
        .with_state((tokens, name));
    let listener = TcpListener::bind(bind_address("127.0.0.1:3001")?).await?;
    println!("resource server on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

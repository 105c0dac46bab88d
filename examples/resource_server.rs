//! A resource server on Axum. It accepts the tokens of another issuer, and issues none.
//!
//! | variable | meaning |
//! |--|--|
//! | `BIND`, `RUST_LOG` | address (default `127.0.0.1:3001`), and log filter |
//! | `ISSUER`, `AUDIENCE` | `iss` and `aud` of the tokens; without `AUDIENCE`, any `aud` passes |
//! | `JWKS_URL`, `JWKS_FILE` or `DISCOVER=1` | the source of the keys; `DISCOVER` asks the issuer |
//! | `ALLOW_HTTP=1` | lets the server fetch keys over `http:`, for tests |
//! | `PRESET` | the name of a [`Preset`], by default `plain` |
//! | `SCOPE_CLAIMS` | the names of the claims with scopes, separated by commas |
//! | `SESSION_CLAIM` | the name of the claim with the session id |
//! | `POLICY` | `stateless` (default) or `denylist`, in the Redis of `REDIS_URL` or in memory |
//! | `CONSISTENCY` | for `denylist`: `strong` (default) or `bounded:<milliseconds>` |
//! | `MAX_ACCESS_SECONDS`, `MAX_TOKEN_BYTES` | the maximum lifetime and size of a token |
//! | `LEEWAY_SECONDS` | the largest difference between the clocks |
//! | `JWKS_COOLDOWN_SECONDS` | the shortest time between two fetches of the keys |
//! | `JWKS_MAX_STALE_SECONDS` | the longest use of keys after a fetch |
//! | `RESOURCE` | the URL of this server, for its metadata (RFC 9728) |

use std::{collections::BTreeSet, env, str::FromStr, time::Duration};

use axum::{
    Form, Json, Router,
    extract::State,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{fs::read_to_string, net::TcpListener};
use tower_bearer::{
    AuthLayer, BoxError, Claims, Consistency, Error, Issuer, MemoryStore, RedisStore, TokenService,
    issuers::{HttpKeys, IssuerPolicy, KeySourceError, KeySourceErrorKind, Preset, PublishedKeys},
    jwt::RawClaims,
    middleware::ResourceMetadata,
    tokens::TokenServiceBuilder,
};
use tracing_subscriber::EnvFilter;

type Tokens = TokenService<RawClaims>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let filter = EnvFilter::try_new(variable("RUST_LOG").as_deref().unwrap_or("info"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let name = variable("ISSUER").ok_or("ISSUER is unset; give the `iss` of the tokens")?;
    let tokens = tokens(&name).await?;
    let (mut auth, status) = (AuthLayer::new(tokens.clone()), tokens.clone());
    let mut app = Router::new();
    if let Some(url) = variable("RESOURCE") {
        let metadata = ResourceMetadata::builder(url).authorization_servers([&name]).allow_http(true).build()?;
        for path in BTreeSet::from([metadata.path(), "/.well-known/oauth-protected-resource"]) {
            app = app.route_service(path, metadata.service());
        }
        auth = auth.resource(metadata);
    }
    let protected = Router::new()
        .route("/claims", get(async |claims: Claims<RawClaims>| Json(json!(claims))))
        .route("/scopes", get(scopes))
        .route("/read", get("you may read\n").layer(auth.require_scope("read")?))
        .route_layer(auth);
    let listener = TcpListener::bind(variable("BIND").as_deref().unwrap_or("127.0.0.1:3001")).await?;
    let mut app = app.merge(protected).route("/health", get(async move || Json(json!(status.status().await))));
    if listener.local_addr()?.ip().is_loopback() {
        app = app.route("/deny", post(deny));
    }
    println!("resource server on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app.with_state((tokens, name))).await?)
}

/// Returns a service that accepts the tokens of the issuer in the environment.
async fn tokens(name: &str) -> Result<Tokens, BoxError> {
    let mut issuer = Issuer::new(name).preset(parsed("PRESET")?.unwrap_or(Preset::Plain));
    issuer = match variable("AUDIENCE") {
        Some(audience) => issuer.audience(audience),
        None => issuer.any_audience(),
    };
    let scopes_from = |issuer: Issuer, names: String| issuer.scopes_from(names.split(',').map(str::trim));
    issuer = variable("SCOPE_CLAIMS").into_iter().fold(issuer, scopes_from);
    issuer = variable("SESSION_CLAIM").into_iter().fold(issuer, Issuer::session_from);
    issuer = seconds("MAX_ACCESS_SECONDS")?.into_iter().fold(issuer, Issuer::max_access_lifetime);
    issuer = seconds("JWKS_COOLDOWN_SECONDS")?.into_iter().fold(issuer, Issuer::cool_down);
    issuer = seconds("JWKS_MAX_STALE_SECONDS")?.into_iter().fold(issuer, Issuer::max_stale);
    issuer = match (variable("JWKS_URL"), variable("JWKS_FILE"), variable("DISCOVER")) {
        (None, Some(file), None) => issuer.key_source(move || {
            let read = read_to_string(file.clone());
            let failed = |error| KeySourceError::new(KeySourceErrorKind::Unreachable).with_source(error);
            async move { read.await.map(PublishedKeys::new).map_err(failed) }
        }),
        (url, None, discover) if url.is_some() != discover.is_some() => {
            let keys = url.map_or_else(|| HttpKeys::discovery(name), HttpKeys::jwks_url);
            let keys = if variable("ALLOW_HTTP").as_deref() == Some("1") { keys.allow_http() } else { keys };
            issuer.key_source(keys.build()?)
        }
        _ => return Err("give the keys by one of JWKS_URL, JWKS_FILE and DISCOVER=1".into()),
    };
    let mut builder = TokenService::builder().claims();
    builder = parsed("MAX_TOKEN_BYTES")?.into_iter().fold(builder, TokenServiceBuilder::max_token_len);
    builder = seconds("LEEWAY_SECONDS")?.into_iter().fold(builder, TokenServiceBuilder::leeway);
    match variable("POLICY").as_deref() {
        None | Some("stateless") => {
            return Ok(builder.accept(issuer.policy(IssuerPolicy::Stateless)).connect().await?);
        }
        Some("denylist") => {}
        Some(_) => return Err("POLICY must be `stateless` or `denylist`".into()),
    }
    if let Some(text) = variable("CONSISTENCY").filter(|text| text != "strong") {
        let millis = text.strip_prefix("bounded:").ok_or("CONSISTENCY must be `strong` or `bounded:<ms>`")?;
        builder = builder.consistency(Consistency::BoundedStaleness(Duration::from_millis(millis.parse()?)));
    }
    builder = match variable("REDIS_URL") {
        Some(url) => builder.store(RedisStore::connect(&url).await?),
        None => builder.store(MemoryStore::default()),
    };
    // Without `accept_older_than_store`, the server would refuse tokens that are older than the
    // data of its store.
    Ok(builder.accept(issuer).accept_older_than_store(true).connect().await?)
}

async fn scopes(claims: Claims<RawClaims>) -> Json<Value> {
    Json(json!({ "scopes": claims.scope().iter().collect::<Vec<_>>() }))
}

/// Revokes by `jti`, `sid` or `sub`. This route needs no token, so the server has it only on a
/// loopback address.
async fn deny(
    State((tokens, issuer)): State<(Tokens, String)>,
    Form(ids): Form<Vec<(String, String)>>,
) -> Result<(), Error> {
    let external = tokens.external(issuer);
    for (name, id) in ids {
        match &*name {
            "jti" => external.revoke_token_id(&id.into()).await?,
            "sid" => external.revoke_session(&id.into()).await?,
            _ => external.revoke_subject(id).await?,
        };
    }
    Ok(())
}

/// Returns the value of an environment variable. An empty value means unset.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn seconds(name: &str) -> Result<Option<Duration>, BoxError> {
    Ok(parsed(name)?.map(Duration::from_secs))
}

fn parsed<T: FromStr<Err: Into<BoxError>>>(name: &str) -> Result<Option<T>, BoxError> {
    let parse = |text: String| text.parse().map_err(|error: T::Err| format!("{name} is invalid: {}", error.into()));
    Ok(variable(name).map(parse).transpose()?)
}

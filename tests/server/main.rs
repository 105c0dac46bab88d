//! The answers of `examples/server.rs` over the wire, on the memory store and on a real Redis.
//!
//! The client uses nothing of the crate. `cargo test` builds the example first. `cargo test --test
//! server` runs the example as last built by `cargo build --examples`.
#![cfg(all(feature = "redis", feature = "bcrypt", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod browser;
mod demo;
#[cfg(feature = "sentinel")]
mod failover;
mod grpc;
mod input;
mod keys;
mod lifecycle;
mod metrics;
mod misconfiguration;
mod outages;
mod redis_failures;
#[cfg(feature = "jwks")]
mod resource_server;
mod routes;
mod streams;
mod times;
mod tls;
mod websockets;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use support::{Answer, Example, HttpClient, MetricsPage, RedisServer};

/// TEST secret for servers that share their tokens.
const SECRET: &str = "TEST-secret-of-the-example-server-0123456789abcdef";

/// Generates four tests from each `async fn rule(store: Store)`: on each store, with strong
/// consistency and with bounded staleness.
macro_rules! on_each_store {
    ($($rule:ident),+ $(,)?) => {
        mod on_memory {
            $(#[tokio::test] async fn $rule() { super::$rule($crate::Store::memory()).await; })+
        }
        mod on_redis {
            $(#[tokio::test] async fn $rule() { super::$rule($crate::Store::redis()).await; })+
        }
        mod bounded_on_memory {
            $(#[tokio::test] async fn $rule() { super::$rule($crate::Store::memory().bounded()).await; })+
        }
        mod bounded_on_redis {
            $(#[tokio::test] async fn $rule() { super::$rule($crate::Store::redis().bounded()).await; })+
        }
    };
}
use on_each_store;

/// The store of the server under test, and its consistency.
struct Store {
    redis: Option<RedisServer>,
    consistency: &'static str,
}

impl Store {
    fn memory() -> Self {
        Self { redis: None, consistency: "strong" }
    }

    fn redis() -> Self {
        Self { redis: Some(RedisServer::start()), consistency: "strong" }
    }

    fn bounded(self) -> Self {
        Self { consistency: "bounded:1000", ..self }
    }

    /// Starts a server on this store.
    fn server(&self, variables: &[(&str, &str)]) -> Server {
        let url = self.redis.as_ref().map(RedisServer::url);
        let mut own = vec![("CONSISTENCY", self.consistency)];
        own.extend(url.as_deref().map(|url| ("REDIS_URL", url)));
        Server::start(&[&own, variables].concat())
    }
}

/// A server under test, with a client.
struct Server {
    client: HttpClient,
    example: Example,
}

impl std::ops::Deref for Server {
    type Target = HttpClient;

    fn deref(&self) -> &HttpClient {
        &self.client
    }
}

impl Server {
    /// Starts a server with these variables. An empty value removes a variable, such as
    /// `JWT_SECRET_KEY` if the key comes from a file.
    fn start(variables: &[(&str, &str)]) -> Self {
        let mut all = [&[("RUST_LOG", "warn"), ("JWT_SECRET_KEY", SECRET)], variables].concat();
        all.retain(|(name, _)| !variables.contains(&(*name, "")));
        let example = Example::start("server", &all);
        Self { client: HttpClient::of(example.url()), example }
    }

    async fn log_in(&self, user: &str) -> Tokens {
        let password = format!("{user}-password");
        let answer = self.post_form("/login", &[("username", user), ("password", &password)]).await;
        Tokens::of(&answer.expect(200))
    }

    /// Returns the answer of `/refresh`.
    async fn refresh(&self, refresh_token: &str) -> Answer {
        self.post_form("/refresh", &[("refresh_token", refresh_token)]).await
    }

    async fn renew(&self, tokens: &Tokens) -> Tokens {
        Tokens::of(&self.refresh(&tokens.refresh).await.expect(200))
    }

    /// Asserts that the access token is accepted.
    #[track_caller]
    fn accepts(&self, tokens: &Tokens) -> impl Future<Output = ()> {
        let (client, access) = (self.client.clone(), tokens.access.clone());
        let caller = std::panic::Location::caller();
        async move {
            let answer = client.get("/me", &access).await;
            assert_eq!(answer.status, 200, "at {caller}: {answer:?}");
        }
    }

    /// Asserts that both tokens are refused.
    #[track_caller]
    fn refuses(&self, tokens: &Tokens) -> impl Future<Output = ()> {
        let (client, tokens) = (self.client.clone(), tokens.clone());
        let caller = std::panic::Location::caller();
        async move {
            let me = client.get("/me", &tokens.access).await;
            assert!(is_invalid_token(&me), "at {caller}: {me:?}");
            let refresh = client.post_form("/refresh", &[("refresh_token", &tokens.refresh)]).await;
            assert!(is_invalid_grant(&refresh), "at {caller}: {refresh:?}");
        }
    }
}

/// A token response.
#[derive(Clone)]
struct Tokens {
    access: String,
    refresh: String,
}

impl Tokens {
    #[track_caller]
    fn of(answer: &Answer) -> Self {
        let json = answer.json();
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }

    fn session_id(&self) -> String {
        claims_in(&self.access)["sid"].as_str().unwrap().to_owned()
    }
}

/// Returns true for the 401 that every bad token gets (RFC 6750 section 3.1).
fn is_invalid_token(answer: &Answer) -> bool {
    answer.status == 401
        && answer.header("www-authenticate") == Some(r#"Bearer realm="api", error="invalid_token""#)
        && &answer.body[..] == br#"{"error":"invalid_token"}"#
}

/// Returns true for the 401 of a request without a credential: a challenge without `error`.
fn is_unauthorized(answer: &Answer) -> bool {
    answer.status == 401
        && answer.header("www-authenticate") == Some(r#"Bearer realm="api""#)
        && &answer.body[..] == br#"{"error":"unauthorized"}"#
}

/// Returns true for the 400 that every bad refresh token gets (RFC 6749 section 5.2).
fn is_invalid_grant(answer: &Answer) -> bool {
    answer.status == 400
        && answer.header("cache-control") == Some("no-store")
        && answer.header("pragma") == Some("no-cache")
        && answer.header("www-authenticate").is_none()
        && &answer.body[..] == br#"{"error":"invalid_grant"}"#
}

fn part_of(token: &str, part: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(part).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn header_in(token: &str) -> Value {
    part_of(token, 0)
}

fn claims_in(token: &str) -> Value {
    part_of(token, 1)
}

/// Returns the token with another signature of the same length.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    signature[0] ^= 1;
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

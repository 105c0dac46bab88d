//! Stateful bearer tokens for any Tower stack: every request is checked against revocation.
//!
//! * [`TokenService`] issues access and refresh JWTs, validates, rotates and revokes them.
//! * [`AuthLayer`] lets only requests with a valid token through, and puts typed [`Claims`] into
//!   their extensions: in Axum, Hyper, Tonic, or any other Tower stack.
//! * [`MemoryStore`] or `RedisStore` keeps the sessions; or a [`SessionStore`] of your own.
//! * [`endpoints`] has login, refresh, logout, sessions and health, ready to mount.
//! * [`users`] connects your user database, and `password` hashes its passwords.
//!
//! ```
//! use axum::{Router, routing::get};
//! use serde::{Deserialize, Serialize};
//! use tower_bearer::{AuthLayer, Claims, MemoryStore, NewSession, TokenService};
//!
//! #[derive(Serialize, Deserialize)]
//! struct MyClaims {
//!     role: String,
//! }
//!
//! async fn me(claims: Claims<MyClaims>) -> String {
//!     format!("hello {}, {}", claims.subject(), claims.custom().role)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_bearer::BoxError> {
//! let tokens = TokenService::builder()
//!     .secret("a test secret that is long enough for HS256")
//!     .issuer("https://api.example.com")
//!     .audience("api")
//!     // or RedisStore::connect("redis://127.0.0.1/").await?
//!     .store(MemoryStore::default())
//!     .claims::<MyClaims>()
//!     .build()?; // every misconfiguration is found here, none per request
//!
//! let app: Router =
//!     Router::new().route("/me", get(me)).route_layer(AuthLayer::new(tokens.clone()));
//!
//! let session = NewSession::new("42")
//!     .claims(MyClaims { role: "admin".into() })
//!     .scope("read")
//!     .label("Firefox");
//! let pair = tokens.create_token_pair(session).await?;
//! tokens.revoke_all_for_subject("42").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What holds, whatever fails
//!
//! * A request that starts after a revocation has returned is refused, on every node. Under
//!   [`Consistency::BoundedStaleness`] that holds a bounded time later, whatever fails in between.
//! * A store that fails, is late or cannot be understood means 503: never 401, never 200.
//! * A refresh token is good once. Repeated soon, it gives the same successor. Repeated otherwise, it
//!   ends its session.
//! * Bad configuration is an error of `build()` or `connect()`; no input makes this crate panic.
//! * No key, token, password or hash appears in `Debug`, errors or logs.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |--|--|--|
//! | `redis` | yes | `RedisStore` |
//! | `bcrypt` | yes | `password` |
//! | `aws-lc-rs` | yes | signatures by AWS-LC |
//! | `rust-crypto` | | signatures in pure Rust; with both, AWS-LC is used |
//! | `tracing` | yes | why requests are refused, and what fails |
//! | `axum` | | extractors |
//! | `tonic` | | claims in tonic requests |
//! | `cluster`, `sentinel`, `tls` | | Redis Cluster, Redis Sentinel, `rediss://` |
//! | `conformance` | | the suite that a store of your own must pass |
//!
//! # Coming from `fastcore.security`
//!
//! See [`compat`].

#[cfg(feature = "axum")]
pub mod axum;
pub mod clock;
pub mod compat;
pub mod endpoints;
pub mod error;
mod ids;
pub mod jwt;
pub mod middleware;
#[cfg(feature = "bcrypt")]
pub mod password;
mod replica;
pub mod store;
pub mod tokens;
#[cfg(feature = "tonic")]
pub mod tonic;
pub mod users;

#[cfg(feature = "redis")]
pub use self::store::RedisStore;
pub use self::{
    error::{BoxError, Error},
    ids::{SessionId, Subject, TokenId},
    jwt::{Claims, KeySet, NoClaims, TokenType},
    middleware::{AuthLayer, AuthService},
    store::{Denylist, MemoryStore, RevocationLog, SessionStore},
    tokens::{Consistency, NewSession, Renewal, TokenPair, TokenPolicy, TokenService},
};

/// The README's examples compile.
#[cfg(all(doctest, feature = "axum", feature = "tonic", feature = "redis"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The guide's examples compile.
#[cfg(all(doctest, feature = "axum", feature = "bcrypt", feature = "redis"))]
#[doc = include_str!("../docs/guide.md")]
struct Guide;

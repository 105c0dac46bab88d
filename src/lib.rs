//! Stateful bearer tokens for any Tower stack: a layer checks each request's token for revocation.
//!
//! * [`TokenService`] issues access and refresh JWTs, validates, rotates and revokes them.
//! * [`AuthLayer`] rejects requests without a valid token. It puts typed [`Claims`] into the
//!   extensions of all other requests. It wraps services of Axum, Hyper, Tonic and any other Tower
//!   stack.
//! * [`MemoryStore`] and `RedisStore` store the sessions. For another database, implement
//!   [`SessionStore`].
//! * [`issuers`] accepts the tokens of other issuers, such as Entra ID or Keycloak. It verifies
//!   them with the keys that the issuers publish (JWKS).
//! * [`endpoints`] serves login, refresh, logout, sessions and health.
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
//!     .build()?; // reports every misconfiguration
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
//! # Guarantees
//!
//! * **Revocation.** After a revocation call has returned, every node refuses the revoked tokens at
//!   the next request. Under [`Consistency::BoundedStaleness`], other nodes refuse them within a
//!   bound that you choose, and most requests need no I/O. [`Consistency`] describes the costs, and
//!   the limits during a failover of Redis.
//! * **Store faults.** If a decision needs the store, and the store fails or answers too late, the
//!   response is 503, never 401 or 200. The same applies to an unreadable answer.
//! * **Refresh.** A refresh token is valid for one use. A repetition within the grace period
//!   returns the same new tokens. Any other repetition ends the session.
//! * **Configuration.** `build()` and `connect()` return an error for wrong settings. No input
//!   makes this crate panic.
//! * **Secrets.** No key, token, password or hash appears in `Debug` output, errors or logs.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |--|--|--|
//! | `redis` | yes | `RedisStore` |
//! | `bcrypt` | yes | `password` |
//! | `aws-lc-rs` | yes | signatures by AWS-LC |
//! | `rust-crypto` | | signatures in pure Rust; AWS-LC takes precedence over it |
//! | `tracing` | yes | log messages about rejections and failures |
//! | `metrics` | | metrics about checks, sessions, the replica and the store: [`observe`] |
//! | `axum` | | extractors |
//! | `tonic` | | claims in gRPC handlers |
//! | `jwks` | | the keys (JWKS) of other issuers over HTTPS: [`issuers`] |
//! | `cluster`, `sentinel`, `tls` | | Redis Cluster, Redis Sentinel, `rediss://` |
//! | `conformance` | | the test suite for your own store |
//!
//! # Migrating from `fastcore.security`
//!
//! See [`compat`].

// docs.rs builds with nightly Rust and sets `docsrs`. The docs of an item then show the Cargo
// feature that the item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
pub mod axum;
pub mod clock;
pub mod compat;
mod cookies;
mod cutoff;
pub mod endpoints;
pub mod error;
mod ids;
pub mod issuers;
pub mod jwt;
pub mod middleware;
pub mod observe;
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
    cutoff::{Cutoff, CutoffCause, CutoffIo},
    error::{BoxError, Error},
    ids::{SessionId, Subject, TokenId},
    issuers::Issuer,
    jwt::{Claims, KeySet, NoClaims, TokenType},
    middleware::{AuthLayer, AuthService},
    observe::Observer,
    store::{Denylist, MemoryStore, RevocationLog, SessionStore},
    tokens::{Consistency, NewSession, Renewal, TokenPair, TokenService},
};

/// The README. Its examples compile as doctests.
#[cfg(all(doctest, feature = "axum", feature = "tonic", feature = "redis", feature = "jwks"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The security notes. Their examples compile as doctests.
#[cfg(all(doctest, feature = "redis"))]
#[doc = include_str!("../SECURITY.md")]
struct Security;

/// The guide. Its examples compile as doctests.
#[cfg(all(doctest, feature = "axum", feature = "bcrypt", feature = "redis", feature = "jwks"))]
#[doc = include_str!("../docs/guide.md")]
struct Guide;

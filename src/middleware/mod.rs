//! The layer that passes only requests with a valid bearer token on: [`AuthLayer`] and
//! [`AuthService`], for any Tower stack.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_bearer::{AuthLayer, Claims, MemoryStore, NewSession, TokenService};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_bearer::BoxError> {
//! let tokens = TokenService::builder()
//!     .secret("a test secret that is long enough for HS256")
//!     .store(MemoryStore::default())
//!     .build()?;
//!
//! let hello = service_fn(async |request: Request<Full<Bytes>>| {
//!     let claims = request.extensions().get::<Claims>();
//!     let subject = claims.map_or_else(String::new, |claims| claims.subject().to_string());
//!     Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(subject)))
//! });
//! let mut service = ServiceBuilder::new().layer(AuthLayer::new(tokens.clone())).service(hello);
//!
//! let token = tokens.create_access_token(NewSession::new("42")).await?;
//! let bearer = format!("Bearer {}", token.as_str());
//! let request = Request::get("/").header("authorization", bearer).body(Full::default())?;
//! let response = service.ready().await?.call(request).await?;
//! assert_eq!(response.status(), 200);
//!
//! let request = Request::get("/").body(Full::default())?;
//! let response = service.ready().await?.call(request).await?;
//! assert_eq!(response.status(), 401);
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a request
//!
//! 1. Claims that it brings along in its extensions are removed. Header values that may hold a
//!    credential are marked sensitive.
//! 2. A request that is exempt ([`AuthLayerBuilder::exempt`], [`AuthLayerBuilder::exempt_if`])
//!    passes without claims.
//! 3. Its one credential is read. None is 401, a malformed or second one 400.
//! 4. The token is verified and the store is asked
//!    ([`TokenService::validate_token`](crate::TokenService::validate_token)).
//! 5. [`Claims`](crate::Claims) are put into its extensions, and the inner service is called.
//! 6. A response that holds a [`Rejection`] is answered as one of the layer's own.
//!
//! # The locations of a token
//!
//! The layer always reads the `Authorization` field. The application can allow more locations:
//!
//! * a query parameter: [`AuthLayerBuilder::allow_query`],
//! * a cookie: [`AuthLayerBuilder::allow_cookie`],
//! * another header: [`AuthLayerBuilder::allow_header`].
//!
//! A request presents one credential. A second one is 400, whatever its location. After a bad
//! credential the layer tries no other.
//!
//! # Rejections
//!
//! The client of a rejected request gets a status, a challenge and `{"error":"<code>"}`, by the one
//! table of [`RejectionKind`]. Over gRPC it gets a status and its message. An application replaces
//! the response with [`AuthLayerBuilder::on_rejection`]. Problem details (RFC 9457), for example,
//! are three lines:
//!
//! ```
//! # use http::{HeaderValue, header::CONTENT_TYPE};
//! # use tower_bearer::{AuthLayer, TokenService, middleware::Rejection};
//! # fn layer(tokens: TokenService) -> Result<AuthLayer, tower_bearer::error::ConfigError> {
//! let auth = AuthLayer::builder(tokens)
//!     .on_rejection(|rejection: &Rejection, mut response| {
//!         let problem = HeaderValue::from_static("application/problem+json");
//!         response.headers_mut().insert(CONTENT_TYPE, problem);
//!         response.map(|_| format!(r#"{{"title":"{}"}}"#, rejection.kind().code()).into())
//!     })
//!     .build()?;
//! # Ok(auth)
//! # }
//! ```
//!
//! A handler rejects a request in the same way: it returns a [`Rejection`], and the layer answers
//! it. In Axum:
//!
//! ```
//! # use serde::{Deserialize, Serialize};
//! # #[cfg(feature = "axum")]
//! # mod handlers {
//! # use super::MyClaims;
//! use tower_bearer::{Claims, middleware::Rejection};
//!
//! pub async fn admin(claims: Claims<MyClaims>) -> Result<String, Rejection> {
//!     if claims.custom().role != "admin" {
//!         return Err(Rejection::forbidden()); // 403, to the byte as `AuthLayer::require`
//!     }
//!     Ok(format!("welcome, {}", claims.subject()))
//! }
//! # }
//! # #[derive(Serialize, Deserialize)]
//! # pub struct MyClaims { role: String }
//! # fn main() {}
//! ```
//!
//! Without a framework the handler's response is [`Rejection::into_response`]. A whole route is
//! guarded by [`AuthLayer::require`] or [`AuthLayer::require_scope`].
//!
//! The layers never clone or call the inner service for a rejection of their own, and never read
//! the body. `OPTIONS` is checked like any method: put a CORS layer outside of this one. There it
//! answers preflight requests, and adds its headers to rejections. In Axum use `route_layer`, so
//! that unknown paths stay 404.
//!
//! # Beside other layers
//!
//! Put `TraceLayer` outside: `SetSensitiveRequestHeadersLayer` marks the credential sensitive
//! there. A `ConcurrencyLimit` *inside* holds its permit while the store is asked: put limits
//! outside if that matters. A layer inside that replaces a handler's response, and drops its
//! extensions, also drops the handler's [`Rejection`]: the client then gets the default response.
//!
//! # Long responses
//!
//! A request is checked **once, when it arrives**. A gRPC stream, server-sent events or a WebSocket
//! go on when the token expires or is revoked. Such a handler ends by itself at
//! [`expires_at`](crate::jwt::JwtClaims::expires_at). It calls
//! [`TokenService::validate_token`](crate::TokenService::validate_token) now and then if a
//! revocation must end it sooner.

mod accessors;
mod builder;
mod config;
mod credentials;
mod current_user;
mod layer;
mod rejection;
mod require;
mod responder;
mod scope;
mod service;
mod unauthenticated;

pub use self::{
    builder::AuthLayerBuilder,
    current_user::{CurrentUserFuture, CurrentUserLayer, CurrentUserService},
    layer::AuthLayer,
    rejection::{Rejection, RejectionKind},
    require::{Require, RequireFuture, RequireLayer},
    responder::ResponseBody,
    service::{AuthFuture, AuthService},
    unauthenticated::Unauthenticated,
};
pub(crate) use self::{
    credentials::is_cookie_name,
    responder::{Form, RETRY_AFTER_SECONDS, Responder, no_store},
    unauthenticated::missing_claims,
};

//! The layer that passes on only requests with a valid bearer token: [`AuthLayer`] and
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
//!     let subject = claims.map(|claims| claims.subject().to_string());
//!     Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(subject.unwrap_or_default())))
//! });
//! let auth = AuthLayer::new(tokens.clone());
//! let mut service = ServiceBuilder::new().layer(auth).service(hello);
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
//! # The path of a request
//!
//! 1. The layer removes claims from the request's extensions. It marks header values as sensitive
//!    if they may contain a credential.
//! 2. If the request is exempt, the layer passes it on, without claims
//!    ([`AuthLayerBuilder::exempt`], [`AuthLayerBuilder::exempt_if`]).
//! 3. It reads the request's one credential. It answers 401 if the request has none, and 400 if the
//!    credential is malformed or the request has several. If the credential is in a cookie, it
//!    first answers 403 to a request that another site may have caused
//!    ([`AuthLayerBuilder::allow_cookie`]).
//! 4. It checks the token, as [`TokenService::validate_token`](crate::TokenService::validate_token)
//!    does.
//! 5. It adds [`Claims`](crate::Claims) to the extensions, and calls the inner service.
//! 6. If the response contains a [`Rejection`], the layer makes a new response from the rejection.
//! 7. It watches the token for as long as the response is [open](#long-lived-responses).
//!
//! # The locations of a token
//!
//! The layer always reads the `Authorization` field. The application can allow more locations:
//!
//! * a query parameter: [`AuthLayerBuilder::allow_query`],
//! * a cookie: [`AuthLayerBuilder::allow_cookie`],
//! * another header: [`AuthLayerBuilder::allow_header`],
//! * the protocols of a WebSocket: [`AuthLayerBuilder::allow_websocket_protocol`].
//!
//! A request must contain exactly one credential. The layer rejects a request with two credentials
//! with 400, whatever their locations. So it never tries a second credential after a bad one.
//!
//! # Rejections
//!
//! The response to a rejected request has a status, a challenge and `{"error":"<code>"}`, as in the
//! table of [`RejectionKind`]. A gRPC response has a status and a message. An application can
//! replace the HTTP response with [`AuthLayerBuilder::on_rejection`]. This hook sends problem
//! details (RFC 9457):
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
//! A handler can return a [`Rejection`], and the layer makes the response. In Axum:
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
//!         return Err(Rejection::forbidden()); // the same 403 as `AuthLayer::require`
//!     }
//!     Ok(format!("welcome, {}", claims.subject()))
//! }
//! # }
//! # #[derive(Serialize, Deserialize)]
//! # pub struct MyClaims { role: String }
//! # fn main() {}
//! ```
//!
//! Without a framework, the handler returns [`Rejection::into_response`]. To guard a whole route,
//! use [`AuthLayer::require`] or [`AuthLayer::require_scope`]. [`RequireLayer::and`] combines
//! several such layers. [`AuthLayer::resource`] tells clients in the challenge where to get a token
//! (RFC 9728).
//!
//! The layers never call the inner service for a request that they reject, and never read its body.
//! They also check `OPTIONS` requests. So put a CORS layer outside: it answers preflight requests,
//! and adds its headers to rejections. In Axum use `route_layer`, so that Axum answers unknown
//! paths with 404 and not with 401.
//!
//! # Other layers
//!
//! * Put `TraceLayer` outside of this layer. Put `SetSensitiveRequestHeadersLayer` outside of
//!   `TraceLayer`, so that the trace does not show the credential.
//! * A request holds its permit of a `ConcurrencyLimit` while the store checks the token, also if
//!   the limit is *inside* this layer.
//! * An inner layer that drops the extensions of a handler's response also drops its [`Rejection`].
//!   The client then gets the response of that inner layer.
//!
//! # Long-lived responses
//!
//! The layer checks a token when the request arrives. If the token, its session or its subject is
//! revoked later, the layer **cuts** the responses that are still open:
//!
//! * An HTTP body ends with an error. The client sees an incomplete body: HTTP/1.1 closes the
//!   connection, and HTTP/2 resets the stream.
//! * A gRPC stream ends with status 16. If a message is incomplete, HTTP/2 resets the stream.
//! * A `GET`, `HEAD` or `OPTIONS` request whose handler took at least 100 ms gets a 401.
//!
//! The cutoff comes within milliseconds while this node follows the store's log, and otherwise
//! within [`stream_staleness`]. The expiry of a token cuts a response only with
//! [`AuthLayer::cut_at_expiry`]. [`AuthLayer::cutoff`] switches the cutoff off.
//!
//! The layer cannot cut an upgraded connection or a task. Their handlers take a
//! [`Cutoff`](crate::Cutoff), as an extractor in Axum or from
//! [`TokenService::ended`](crate::TokenService::ended). For a WebSocket, a page in a browser sends
//! the token as [`AuthLayerBuilder::allow_websocket_protocol`] describes.
//!
//! A cutoff does not end:
//!
//! * request bodies that a handler reads,
//! * bytes that the HTTP server, an outer compression layer or the kernel has already taken,
//! * complete bodies: the layer never watches a unary response.
//!
//! If an HTTP/1.0 response has no `Content-Length`, its client takes a cut body for complete.
//!
//! `docs/long-lived-responses.md` in the repository has a table of all cases.
//!
//! [`stream_staleness`]: crate::tokens::TokenServiceBuilder::stream_staleness

mod accessors;
mod body;
mod builder;
mod cleared;
mod config;
mod credentials;
mod csrf;
mod current_user;
mod expired;
mod finish;
mod layer;
mod messages;
mod rejection;
#[cfg(feature = "tracing")]
mod rejection_log;
mod require;
mod resource;
mod responder;
mod scope;
mod service;
mod unauthenticated;
mod upgrade;
mod watch;

pub use self::{
    body::ResponseBody,
    builder::AuthLayerBuilder,
    current_user::{CurrentUserFuture, CurrentUserLayer, CurrentUserService},
    layer::AuthLayer,
    rejection::{Rejection, RejectionKind},
    require::{Require, RequireFuture, RequireLayer},
    resource::{ResourceMetadata, ResourceMetadataBuilder},
    service::{AuthFuture, AuthService},
    unauthenticated::Unauthenticated,
};
pub(crate) use self::{
    credentials::token_in_cookie,
    csrf::CrossSiteCheck,
    expired::ExpiredClaims,
    responder::{Form, RETRY_AFTER_SECONDS, Responder, no_store},
    unauthenticated::{is_unauthenticated, missing_claims},
};

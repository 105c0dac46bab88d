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
//! 1. The layer removes any earlier claims from the request's extensions. It marks the headers that
//!    may contain a credential as sensitive, so that `Debug` hides them.
//! 2. If the request is exempt, the layer passes it on without claims
//!    ([`AuthLayerBuilder::exempt`], [`AuthLayerBuilder::exempt_if`]).
//! 3. The layer reads the credential, and rejects the request with:
//!    * 403 if the credential is in a cookie and another site may have caused the request
//!      ([`AuthLayerBuilder::allow_cookie`]),
//!    * 401 if the request has no credential,
//!    * 400 if the credential is malformed or the request has several.
//! 4. The layer checks the token, as
//!    [`TokenService::validate_token`](crate::TokenService::validate_token) does.
//! 5. The layer adds [`Claims`](crate::Claims) to the extensions, and calls the inner service.
//! 6. If the response contains a [`Rejection`], the layer sends its own response instead.
//! 7. While the response is [open](#long-lived-responses), the layer watches for a revocation.
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
//! A request must contain exactly one credential. If it contains two, in any locations, the layer
//! answers 400 and checks neither.
//!
//! # Rejections
//!
//! The table of [`RejectionKind`] lists the responses to rejected requests. Over HTTP, the body is
//! `{"error":"<code>"}`. A gRPC response has a status and a message. An application can replace the
//! HTTP response with [`AuthLayerBuilder::on_rejection`]. This hook sends problem details (RFC
//! 9457):
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
//! A handler can return a [`Rejection`], from which the layer makes the response. In Axum:
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
//! several such layers. With [`AuthLayer::resource`], the challenge names a document that says
//! where to get a token (RFC 9728).
//!
//! The layers do not call the inner service for a rejected request, and never read a request's
//! body. They also check `OPTIONS` requests. So put a CORS layer outside of them: it answers
//! preflight requests, and adds its headers to rejections. In Axum use `route_layer`. Otherwise
//! unknown paths would get 401 instead of 404.
//!
//! # Other layers
//!
//! * Put `TraceLayer` outside of this layer. Put `SetSensitiveRequestHeadersLayer` outside of
//!   `TraceLayer`, so that the trace does not show the credential.
//! * While the store checks a token, the request occupies a permit of a `ConcurrencyLimit`, even if
//!   the limit is *inside* this layer.
//! * If an inner layer drops the extensions of a handler's response, the [`Rejection`] is lost. The
//!   client then gets the response of the inner layer.
//!
//! # Long-lived responses
//!
//! The layer checks a token when the request arrives. A revocation of the token, its session or its
//! subject may follow while the response is still open. Then the layer **cuts** the response:
//!
//! * An HTTP body ends with an error. The client sees an incomplete body: HTTP/1.1 closes the
//!   connection, and HTTP/2 resets the stream.
//! * A gRPC stream ends with status 16. If a message is incomplete, HTTP/2 resets the stream.
//! * If the handler of a `GET`, `HEAD` or `OPTIONS` request takes 100 ms or longer to respond, the
//!   client gets a 401 instead of the response.
//!
//! If this node follows the store's log, the cutoff comes within milliseconds, and otherwise within
//! [`stream_staleness`]. The expiry of a token cuts a response only with
//! [`AuthLayer::cut_at_expiry`]. [`AuthLayer::cutoff`] switches the cutoff off.
//!
//! The layer cannot cut an upgraded connection or a spawned task. Their handler must watch a
//! [`Cutoff`](crate::Cutoff): an extractor in Axum, or the result of
//! [`TokenService::ended`](crate::TokenService::ended).
//! [`AuthLayerBuilder::allow_websocket_protocol`] describes how a web page sends the token.
//!
//! A cutoff does not end:
//!
//! * request bodies that a handler reads,
//! * the sending of bytes that the HTTP server, an outer compression layer or the kernel has
//!   already taken,
//! * complete bodies, such as that of a unary response.
//!
//! If a response to an HTTP/1.0 client has no `Content-Length`, the client takes a cut body for
//! complete.
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

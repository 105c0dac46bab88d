//! The layer that lets only valid bearer tokens through: [`AuthLayer`] and [`AuthService`], for any Tower stack.
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
//! let mut service = ServiceBuilder::new().layer(AuthLayer::new(tokens.clone())).service(service_fn(
//!     async |request: Request<Full<Bytes>>| {
//!         let subject = request.extensions().get::<Claims>().map(|claims| claims.subject().to_owned());
//!         Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(subject.unwrap_or_default())))
//!     },
//! ));
//!
//! let token = tokens.create_access_token(NewSession::new("42")).await?;
//! let request = Request::get("/").header("authorization", format!("Bearer {}", token.as_str()));
//! let response = service.ready().await?.call(request.body(Full::default())?).await?;
//! assert_eq!(response.status(), 200);
//!
//! let response = service.ready().await?.call(Request::get("/").body(Full::default())?).await?;
//! assert_eq!(response.status(), 401);
//! # Ok(())
//! # }
//! ```
//!
//! # What a request goes through
//!
//! 1. Claims that already stand in its extensions are removed, and header values that may hold a credential are marked sensitive.
//! 2. Its one credential is read; none is 401, a malformed or second one 400.
//! 3. The token is verified and the store is asked ([`TokenService::validate_token`](crate::TokenService::validate_token)).
//! 4. [`Claims`](crate::Claims) are put into its extensions, and the inner service is called.
//!
//! # Where a token is read
//!
//! The `Authorization` field, always. By choice also a query parameter ([`AuthLayer::allow_query`]), a cookie ([`AuthLayer::allow_cookie`]) and a header of the
//! application's own ([`AuthLayer::allow_header`]). A request presents one credential: a second one, wherever it stands, is 400, and
//! from a bad one nothing falls through to another.
//!
//! # What to know
//!
//! A refusal never clones or calls the inner service and never reads the body. `OPTIONS` is checked like any method: put a CORS layer
//! outside of this one, so that it answers preflight requests and adds its headers to refusals. In Axum use `route_layer`, so that unknown
//! paths stay 404. Put `TraceLayer` outside too: the credential is marked sensitive by
//! `SetSensitiveRequestHeadersLayer` there.
//!
//! A request is checked **once, when it arrives**. What goes on for long after that (a gRPC stream, server-sent events, a WebSocket) goes on when its
//! token expires or is revoked: such a handler ends by itself at [`expires_at`](crate::jwt::JwtClaims::expires_at), and asks
//! [`TokenService::validate_token`](crate::TokenService::validate_token) now and then if a revocation must end it sooner.
//!
//! A `ConcurrencyLimit` *inside* holds its permit while the store is asked: put limits outside if that matters.

mod body;
mod credentials;
mod current_user;
mod future;
mod layer;
mod rejection;
mod scope;
mod service;

pub(crate) use self::credentials::is_cookie_name;
pub(crate) use self::rejection::{RETRY_AFTER_SECONDS, Refusals};
#[cfg(feature = "tonic")]
pub(crate) use self::service::missing_claims;
pub(crate) use self::service::refuse_missing_claims;
pub use self::{
    body::ResponseBody,
    current_user::{CurrentUserFuture, CurrentUserLayer, LoadCurrentUser},
    future::ResponseFuture,
    layer::AuthLayer,
    rejection::{Refusal, RefusalBody, RefusalKind},
    scope::{RequireScope, RequireScopeFuture, RequireScopeLayer},
    service::{AuthService, Unauthenticated},
};

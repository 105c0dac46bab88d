//! Extractors for Axum: [`Claims`] and [`CurrentUser`] as arguments of handlers.
//!
//! | argument | the layer found a good token | the layer passed the request on without claims | no layer |
//! |--|--|--|--|
//! | `Claims<C>` | the claims | 401 | 500 |
//! | `Option<Claims<C>>` | `Some` | `None` | 500 |
//!
//! The last column is a fault of the application: the route is not behind an [`AuthLayer`](crate::AuthLayer) of the same claims type. It is
//! logged, and never taken for an anonymous client. [`CurrentUser<U>`](CurrentUser) is the same with a
//! [`CurrentUserLayer`](crate::middleware::CurrentUserLayer).
//!
//! ```
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use tower::ServiceExt;
//! use tower_bearer::{AuthLayer, Claims, MemoryStore, NewSession, TokenService};
//!
//! async fn me(claims: Claims) -> String {
//!     format!("hello {}", claims.subject())
//! }
//!
//! async fn greet(claims: Option<Claims>) -> String {
//!     claims.map_or_else(|| "hello stranger".to_owned(), |claims| format!("hello {}", claims.subject()))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_bearer::BoxError> {
//! let tokens = TokenService::builder()
//!     .secret("a test secret that is long enough for HS256")
//!     .store(MemoryStore::default())
//!     .build()?;
//! let auth = AuthLayer::new(tokens.clone());
//! let app: Router = Router::new()
//!     .route("/me", get(me).route_layer(auth.clone()))
//!     .route("/greet", get(greet).route_layer(auth.optional()));
//!
//! let token = tokens.create_access_token(NewSession::new("42")).await?;
//! let bearer = format!("Bearer {}", token.as_str());
//! let request = Request::get("/me").header("authorization", bearer).body(Body::empty())?;
//! assert_eq!(app.clone().oneshot(request).await?.status(), 200);
//! assert_eq!(app.clone().oneshot(Request::get("/me").body(Body::empty())?).await?.status(), 401);
//! assert_eq!(app.oneshot(Request::get("/greet").body(Body::empty())?).await?.status(), 200);
//! # Ok(())
//! # }
//! ```

use std::fmt;

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::request::Parts;

use crate::{
    jwt::Claims,
    middleware::{Refusal, Unauthenticated, refuse_missing_claims},
    users::CurrentUser,
};

/// What a request gets whose handler needs claims or a user that are not there.
///
/// Over HTTP and gRPC it is to the byte what the layer would have answered, its realm and
/// [`refusal_body`](crate::AuthLayer::refusal_body) included. The [`Refusal`] stands in the response's extensions.
pub struct MissingClaims {
    refusal: Refusal,
    response: Box<http::Response<Bytes>>,
}

impl MissingClaims {
    fn of(parts: &Parts) -> Self {
        let (refusal, response) = refuse_missing_claims(parts);
        Self { refusal, response: Box::new(response) }
    }

    /// Why: [`NoCredentials`](crate::middleware::RefusalKind::NoCredentials), or [`Internal`](crate::middleware::RefusalKind::Internal) where
    /// the layer is missing.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }
}

impl fmt::Debug for MissingClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MissingClaims").field("refusal", &self.refusal).finish_non_exhaustive()
    }
}

impl fmt::Display for MissingClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request has no claims: {}", self.refusal.kind().code())
    }
}

impl std::error::Error for MissingClaims {}

impl IntoResponse for MissingClaims {
    fn into_response(self) -> Response {
        self.response.map(Body::from)
    }
}

/// The claims of the request's token. Without them 401, or 500 under no layer.
impl<S, C> FromRequestParts<S> for Claims<C>
where
    S: Send + Sync,
    C: Send + Sync + 'static,
{
    type Rejection = MissingClaims;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingClaims> {
        required(parts)
    }
}

/// `None` if the layer passed the request on without claims. Under no layer 500.
impl<S, C> OptionalFromRequestParts<S> for Claims<C>
where
    S: Send + Sync,
    C: Send + Sync + 'static,
{
    type Rejection = MissingClaims;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, MissingClaims> {
        optional(parts)
    }
}

/// The user of the request's token. Without one 401, or 500 under no layer.
///
/// ```
/// use std::sync::Arc;
///
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use tower::ServiceExt;
/// use tower_bearer::{
///     AuthLayer, BoxError, MemoryStore, NewSession, NoClaims, TokenService,
///     middleware::CurrentUserLayer,
///     users::{Credentials, CurrentUser, Grant, UserAuthentication},
/// };
///
/// struct User {
///     name: String,
/// }
///
/// struct Users; // your user database
///
/// impl UserAuthentication for Users {
///     type User = User;
///     type Claims = NoClaims;
///     async fn authenticate(&self, _: Credentials) -> Result<Option<User>, BoxError> {
///         Ok(None)
///     }
///     async fn user_by_id(&self, id: &str) -> Result<Option<User>, BoxError> {
///         Ok((id == "1").then(|| User { name: "alice".to_owned() }))
///     }
///     fn user_id(&self, _: &User) -> String {
///         "1".to_owned()
///     }
///     fn grant(&self, _: &User) -> Grant<NoClaims> {
///         Grant::default()
///     }
/// }
///
/// async fn me(user: CurrentUser<User>) -> String {
///     format!("hello {}", user.name)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let tokens = TokenService::builder()
///     .secret("a test secret that is long enough for HS256")
///     .store(MemoryStore::default())
///     .build()?;
/// let auth = AuthLayer::new(tokens.clone());
/// let users = CurrentUserLayer::new(&auth, Arc::new(Users));
/// // Of two layers the one added last is the outer one.
/// let app: Router = Router::new().route("/me", get(me).route_layer(users).route_layer(auth));
///
/// let token = tokens.create_access_token(NewSession::new("1")).await?;
/// let bearer = format!("Bearer {}", token.as_str());
/// let request = Request::get("/me").header("authorization", bearer).body(Body::empty())?;
/// assert_eq!(app.oneshot(request).await?.status(), 200);
/// # Ok(())
/// # }
/// ```
impl<S, U> FromRequestParts<S> for CurrentUser<U>
where
    S: Send + Sync,
    U: Send + Sync + 'static,
{
    type Rejection = MissingClaims;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingClaims> {
        required(parts)
    }
}

/// `None` if the layers passed the request on without claims ([`CurrentUserLayer::optional`](crate::middleware::CurrentUserLayer::optional)).
/// Under no layer 500.
impl<S, U> OptionalFromRequestParts<S> for CurrentUser<U>
where
    S: Send + Sync,
    U: Send + Sync + 'static,
{
    type Rejection = MissingClaims;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, MissingClaims> {
        optional(parts)
    }
}

fn required<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, MissingClaims> {
    parts.extensions.get::<T>().cloned().ok_or_else(|| MissingClaims::of(parts))
}

fn optional<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<Option<T>, MissingClaims> {
    match parts.extensions.get::<T>() {
        Some(found) => Ok(Some(found.clone())),
        None if parts.extensions.get::<Unauthenticated>().is_some() => Ok(None),
        None => Err(MissingClaims::of(parts)),
    }
}

//! Axum support: [`Claims`], [`Cutoff`] and [`CurrentUser`] as extractors, [`Rejection`] and
//! [`Error`] as responses.
//!
//! | extractor | valid token | request without claims | no layer |
//! |--|--|--|--|
//! | `Claims<C>` | the claims | 401 | 500 |
//! | `Option<Claims<C>>` | `Some` | `None` | 500 |
//!
//! * Request without claims: the layer is [optional](crate::AuthLayer::optional), and passed on a
//!   request without a token.
//! * No layer: the route has no [`AuthLayer`](crate::AuthLayer) with the same claims type. This is
//!   a bug of the application: the client gets a 500, and the log an error.
//!
//! The table also applies to [`Cutoff<C>`](Cutoff). Inside a
//! [`CurrentUserLayer`](crate::middleware::CurrentUserLayer), it applies to
//! [`CurrentUser<U>`](CurrentUser) too.
//!
//! A handler may return a [`Rejection`]. The layer around the handler then makes the response with
//! its own realm and [`on_rejection`](crate::middleware::AuthLayerBuilder::on_rejection) hook.
//!
//! ```
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use tower::ServiceExt;
//! use tower_bearer::{
//!     AuthLayer, Claims, MemoryStore, NewSession, TokenService, middleware::Rejection,
//! };
//!
//! async fn me(claims: Claims) -> String {
//!     format!("hello {}", claims.subject())
//! }
//!
//! async fn greet(claims: Option<Claims>) -> String {
//!     let name = claims.as_ref().map_or("stranger", |claims| claims.subject().as_str());
//!     format!("hello {name}")
//! }
//!
//! async fn close(claims: Claims, tokens: TokenService) -> Result<(), Rejection> {
//!     if claims.subject() != "42" {
//!         return Err(Rejection::forbidden()); // 403
//!     }
//!     tokens.revoke_all_for_subject(claims.subject()).await?; // 503 if the store fails
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_bearer::BoxError> {
//! let tokens = TokenService::builder()
//!     .secret("a test secret that is long enough for HS256")
//!     .store(MemoryStore::default())
//!     .build()?;
//! let auth = AuthLayer::new(tokens.clone());
//! let service = tokens.clone();
//! let app: Router = Router::new()
//!     .route("/me", get(me).route_layer(auth.clone()))
//!     .route("/close", get(|claims| close(claims, service)).route_layer(auth.clone()))
//!     .route("/greet", get(greet).route_layer(auth.optional()));
//!
//! let token = tokens.create_access_token(NewSession::new("42")).await?;
//! let bearer = format!("Bearer {}", token.as_str());
//! let request = Request::get("/me").header("authorization", bearer).body(Body::empty())?;
//! assert_eq!(app.clone().oneshot(request).await?.status(), 200);
//!
//! let request = Request::get("/me").body(Body::empty())?;
//! assert_eq!(app.clone().oneshot(request).await?.status(), 401);
//! let request = Request::get("/greet").body(Body::empty())?;
//! assert_eq!(app.oneshot(request).await?.status(), 200);
//! # Ok(())
//! # }
//! ```

use axum_core::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;

use crate::{
    cutoff::Cutoff,
    error::Error,
    jwt::Claims,
    middleware::{Rejection, Unauthenticated, missing_claims},
    users::CurrentUser,
};

/// Converts the rejection to a response with [`Rejection::into_response`]. The layer around the
/// handler replaces this response by one with the layer's realm and hook.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        Rejection::into_response(self)
    }
}

/// Converts the error to a [`Rejection`], and the rejection to its response.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Rejection::from(self).into_response()
    }
}

/// Extracts the claims of the request's token. Rejects with 401 if the layer passed the request on
/// without claims, and with 500 if the route has no layer.
impl<S, C> FromRequestParts<S> for Claims<C>
where
    S: Send + Sync,
    C: Send + Sync + 'static,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        required(parts)
    }
}

/// Extracts the claims, or `None` if the layer passed the request on without claims. Rejects with
/// 500 if the route has no layer.
impl<S, C> OptionalFromRequestParts<S> for Claims<C>
where
    S: Send + Sync,
    C: Send + Sync + 'static,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        optional(parts)
    }
}

/// Extracts a [`Cutoff`] of the request's token, for a socket or a task that outlives the request.
/// Rejects with 401 if the layer passed the request on without claims, and with 500 if the route
/// has no layer.
impl<S, C> FromRequestParts<S> for Cutoff<C>
where
    S: Send + Sync,
    C: Send + Sync + 'static,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        let claims: Claims<C> = required(parts)?;
        Cutoff::of(&claims).ok_or_else(|| missing_claims(&parts.extensions))
    }
}

/// Extracts a [`Cutoff`] of the request's token, or `None` if the layer passed the request on
/// without claims. Rejects with 500 if the route has no layer.
impl<S, C> OptionalFromRequestParts<S> for Cutoff<C>
where
    S: Send + Sync,
    C: Send + Sync + 'static,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        let claims: Option<Claims<C>> = optional(parts)?;
        Ok(claims.as_ref().and_then(Cutoff::of))
    }
}

/// Extracts the user of the request's token. Rejects with 401 if the layers passed the request on
/// without a user. Rejects with 500 if the route has no [`AuthLayer`](crate::AuthLayer) or no
/// [`CurrentUserLayer`](crate::middleware::CurrentUserLayer).
///
/// ```
/// use std::sync::Arc;
///
/// use axum::{Router, body::Body, http::Request, routing::get};
/// use tower::ServiceExt;
/// use tower_bearer::{
///     AuthLayer, BoxError, MemoryStore, NewSession, NoClaims, Subject, TokenService,
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
///     async fn user_by_id(&self, id: &Subject) -> Result<Option<User>, BoxError> {
///         Ok((*id == "1").then(|| User { name: "alice".to_owned() }))
///     }
///     fn user_id(&self, _: &User) -> Subject {
///         "1".into()
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
/// // The layer that is added last runs first.
/// let app: Router =
///     Router::new().route("/me", get(me).route_layer(users).route_layer(auth));
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
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        required(parts)
    }
}

/// Extracts the user, or `None` if the layers passed the request on without claims
/// ([`CurrentUserLayer::optional`](crate::middleware::CurrentUserLayer::optional)). Rejects with
/// 500 if the route has no [`AuthLayer`](crate::AuthLayer) or no
/// [`CurrentUserLayer`](crate::middleware::CurrentUserLayer).
impl<S, U> OptionalFromRequestParts<S> for CurrentUser<U>
where
    S: Send + Sync,
    U: Send + Sync + 'static,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        optional(parts)
    }
}

fn required<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, Rejection> {
    parts.extensions.get::<T>().cloned().ok_or_else(|| missing_claims(&parts.extensions))
}

fn optional<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<Option<T>, Rejection> {
    match parts.extensions.get::<T>() {
        Some(found) => Ok(Some(found.clone())),
        None if parts.extensions.get::<Unauthenticated>().is_some() => Ok(None),
        None => Err(missing_claims(&parts.extensions)),
    }
}

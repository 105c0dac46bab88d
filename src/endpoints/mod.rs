//! Login, refresh, logout, the listing of sessions and health, as Tower services for any router.
//!
//! | service | request | answer |
//! |--|--|--|
//! | [`login`] | `POST`, form or JSON: `username`, `password` | 200 token response; 401 |
//! | [`refresh`] | `POST`, form or JSON: `refresh_token` | 200 token response, rotated; 400 |
//! | [`logout`] | `POST`, bearer | 200; the session is dead, its configured cookies are cleared |
//! | [`logout_all`] | `POST`, bearer | 200; every session of the user is dead |
//! | [`sessions`] | `GET`, bearer | 200, an array of the user's live sessions |
//! | [`revoke_session`] | `DELETE .../{sid}`, bearer | 204; 404 where it is not the user's |
//! | [`health`] | `GET` | 200, or 503 while the store does not answer |
//!
//! Login and refresh answer `invalid_grant` to credentials that are no good.
//! `logout_all?keep_current=true` spares the caller's own session.
//!
//! A token response has the members of [`TokenPair`](crate::TokenPair). Logout answers
//! `{"message": ".."}`.
//!
//! Those that need a bearer token stand behind the [`AuthLayer`] already. It rejects a request
//! before the endpoint sees it: also one of another method.
//!
//! Responses of the endpoints are JSON with `Cache-Control: no-store`. Each failure is a
//! [`Rejection`](crate::middleware::Rejection), and the layer's
//! [`on_rejection`](crate::middleware::AuthLayerBuilder::on_rejection) may replace its response.
//! ([`health`] is the exception: its 503 has the same report as its 200.)
//!
//! | failure | answer |
//! |--|--|
//! | a field is missing, repeated or of another type | 400 `invalid_request` |
//! | another media type | 415 |
//! | a body over 16 KiB | 413 |
//! | a body that does not arrive within 10 s | 408 |
//! | another method | 405 |
//! | the store fails | 503 |
//!
//! They need a Tokio runtime with its timer.
//!
//! A request that is dropped leaves nothing half done. A login may leave a session of which nobody
//! has tokens, and a refresh is repeated with the same token.
//!
//! In Axum, with the users of [`UserAuthentication`]'s example:
//!
//! ```
//! # use std::sync::Arc;
//! # use axum::Router;
//! # use tower_bearer::{AuthLayer, BoxError, MemoryStore, NoClaims, Subject, TokenService};
//! # use tower_bearer::endpoints::Endpoints;
//! # use tower_bearer::users::{Credentials, Grant, UserAuthentication};
//! # struct Users;
//! # impl UserAuthentication for Users {
//! #     type User = String;
//! #     type Claims = NoClaims;
//! #     async fn authenticate(&self, _: Credentials) -> Result<Option<String>, BoxError> {
//! #         Ok(None)
//! #     }
//! #     async fn user_by_id(&self, _: &Subject) -> Result<Option<String>, BoxError> {
//! #         Ok(None)
//! #     }
//! #     fn user_id(&self, user: &String) -> Subject { user.into() }
//! #     fn grant(&self, _: &String) -> Grant<NoClaims> { Grant::default() }
//! # }
//! # let tokens = TokenService::builder()
//! #     .secret("a test secret that is long enough for HS256")
//! #     .store(MemoryStore::default())
//! #     .build()?;
//! let auth = AuthLayer::new(tokens);
//! let endpoints = Endpoints::new(&auth, Arc::new(Users));
//! let app: Router = Router::new()
//!     .route_service("/login", endpoints.login())
//!     .route_service("/refresh", endpoints.refresh())
//!     .route_service("/logout", endpoints.logout())
//!     .route_service("/logout-all", endpoints.logout_all())
//!     .route_service("/health", endpoints.health())
//!     .route_service("/sessions", endpoints.sessions())
//!     .route_service("/sessions/{sid}", endpoints.revoke_session());
//! # Ok::<(), tower_bearer::error::ConfigError>(())
//! ```
//!
//! [`login`]: Endpoints::login
//! [`refresh`]: Endpoints::refresh
//! [`logout`]: Endpoints::logout
//! [`logout_all`]: Endpoints::logout_all
//! [`sessions`]: Endpoints::sessions
//! [`revoke_session`]: Endpoints::revoke_session
//! [`health`]: Endpoints::health

mod answer;
mod cookie;
mod endpoint;
mod fields;
mod health;
mod login;
mod logout;
mod refresh;
mod sessions;

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use tower::Layer;

pub(crate) use self::{
    answer::{json, of_grant},
    cookie::with_cookie,
    endpoint::Handle,
    fields::Fields,
};
pub use self::{
    cookie::{SameSite, TokenCookie, TokenCookieBuilder},
    endpoint::Endpoint,
    health::Health,
    login::Login,
    logout::{Logout, LogoutAll},
    refresh::Refresh,
    sessions::{RevokeSession, Sessions},
};
use crate::{
    error::ConfigError,
    middleware::{AuthLayer, AuthService},
    users::{UserAuthentication, renew_from},
};

/// Makes the endpoints of one application. See the [module docs](self).
pub struct Endpoints<A: UserAuthentication> {
    auth: AuthLayer<A::Claims>,
    users: Arc<A>,
    access_cookie: Option<Arc<TokenCookie>>,
    /// Cookies that logout clears, beside the access token's.
    other_cookies: Vec<Arc<TokenCookie>>,
}

impl<A> Endpoints<A>
where
    A: UserAuthentication,
    A::Claims: Serialize + DeserializeOwned,
{
    /// Creates endpoints that issue and check the tokens of `auth`'s
    /// [`TokenService`](crate::TokenService) for these users.
    ///
    /// At every refresh the endpoint looks the user up again ([`renew_from`]), unless the service has
    /// an [`on_refresh`](crate::tokens::TokenServiceBuilder::on_refresh) hook of its own.
    #[must_use]
    pub fn new(auth: &AuthLayer<A::Claims>, users: Arc<A>) -> Self {
        Self { auth: auth.clone(), users, access_cookie: None, other_cookies: Vec::new() }
    }

    /// Keeps a browser's access token in this cookie too: login and refresh set it, logout clears
    /// it. The bodies stay as they are. Without it, no endpoint touches a cookie.
    ///
    /// Read [`AuthLayerBuilder::allow_cookie`](crate::middleware::AuthLayerBuilder::allow_cookie)
    /// on requests that other sites cause.
    ///
    /// # Errors
    ///
    /// The layer does not take tokens from a cookie of this name. This is checked here because the
    /// layer is known and final, and no `build` follows.
    pub fn access_cookie(mut self, cookie: TokenCookie) -> Result<Self, ConfigError> {
        if !self.auth.allows_cookie(cookie.name()) {
            return Err(ConfigError::conflict(
                "access_cookie",
                "has a name under which the layer looks for no token",
                "give the name to `AuthLayerBuilder::allow_cookie` too",
            ));
        }
        self.access_cookie = Some(Arc::new(cookie));
        Ok(self)
    }

    /// Clears this cookie at logout too: one that the application sets itself, for example around
    /// the refresh token. It may be called again for another one.
    #[must_use]
    pub fn clear_at_logout(mut self, cookie: TokenCookie) -> Self {
        self.other_cookies.push(Arc::new(cookie));
        self
    }

    /// Exchanges a user name and a password for tokens.
    #[must_use]
    pub fn login(&self) -> Endpoint<Login<A>> {
        self.endpoint(Login {
            tokens: self.auth.tokens().clone(),
            users: Arc::clone(&self.users),
            access_cookie: self.access_cookie.clone(),
        })
    }

    /// Exchanges a refresh token for new tokens, and uses it up.
    #[must_use]
    pub fn refresh(&self) -> Endpoint<Refresh<A::Claims>> {
        self.endpoint(self.refresh_handler())
    }

    pub(crate) fn refresh_handler(&self) -> Refresh<A::Claims> {
        Refresh {
            tokens: self.auth.tokens().clone(),
            renewal: Arc::new(renew_from(Arc::clone(&self.users))),
            access_cookie: self.access_cookie.clone(),
        }
    }

    /// Ends the session of the bearer token.
    #[must_use]
    pub fn logout(&self) -> AuthService<Endpoint<Logout<A::Claims>>, A::Claims> {
        self.protected(Logout { tokens: self.auth.tokens().clone(), cookies: self.cookies() })
    }

    /// Ends all sessions of the bearer token's user.
    #[must_use]
    pub fn logout_all(&self) -> AuthService<Endpoint<LogoutAll<A::Claims>>, A::Claims> {
        self.protected(LogoutAll { tokens: self.auth.tokens().clone(), cookies: self.cookies() })
    }

    /// Lists the sessions of the bearer token's user.
    #[must_use]
    pub fn sessions(&self) -> AuthService<Endpoint<Sessions<A::Claims>>, A::Claims> {
        self.protected(Sessions { tokens: self.auth.tokens().clone() })
    }

    /// Ends one session of the bearer token's user: the one whose id is the last segment of the
    /// path.
    #[must_use]
    pub fn revoke_session(&self) -> AuthService<Endpoint<RevokeSession<A::Claims>>, A::Claims> {
        self.protected(RevokeSession { tokens: self.auth.tokens().clone() })
    }

    /// Reports the state of the store, the keys and the consistency: see
    /// [`Status`](crate::tokens::Status).
    #[must_use]
    pub fn health(&self) -> Endpoint<Health<A::Claims>> {
        self.endpoint(Health { tokens: self.auth.tokens().clone() })
    }

    pub(crate) fn endpoint<H>(&self, handler: H) -> Endpoint<H> {
        Endpoint::new(handler, self.auth.responder())
    }

    fn protected<H>(&self, handler: H) -> AuthService<Endpoint<H>, A::Claims> {
        self.auth.layer(self.endpoint(handler))
    }

    /// Returns the cookies that a logout clears.
    fn cookies(&self) -> Vec<Arc<TokenCookie>> {
        self.access_cookie.iter().chain(&self.other_cookies).cloned().collect()
    }
}

impl<A: UserAuthentication> Clone for Endpoints<A> {
    fn clone(&self) -> Self {
        Self {
            auth: self.auth.clone(),
            users: Arc::clone(&self.users),
            access_cookie: self.access_cookie.clone(),
            other_cookies: self.other_cookies.clone(),
        }
    }
}

impl<A: UserAuthentication> fmt::Debug for Endpoints<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").field("auth", &self.auth).finish_non_exhaustive()
    }
}

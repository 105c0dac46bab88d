//! Endpoints for login, refresh, logout, sessions and health, as Tower services for any router.
//!
//! | service | request | response |
//! |--|--|--|
//! | [`login`] | `POST`, form or JSON: `username`, `password` | 200 token response; 401 |
//! | [`refresh`] | `POST`, form or JSON: `refresh_token` | 200 new token response; 400 |
//! | [`logout`] | `POST`, bearer or `refresh_token` | 200; ends the session, clears the cookies |
//! | [`logout_all`] | `POST`, bearer | 200; ends every session of the user and clears the cookies |
//! | [`sessions`] | `GET`, bearer | 200, an array of the user's live sessions |
//! | [`revoke_session`] | `DELETE .../{sid}`, bearer | 204; 404 if the session is not the user's |
//! | [`health`] | `GET` | 200; 503 while the store does not answer |
//! | [`ready`] | `GET` | 200; 503 while this node should get no requests |
//! | [`live`] | `GET` | 200 while the process runs |
//! | [`ResourceMetadata::service`] | `GET` | 200, the metadata of RFC 9728 |
//!
//! Login rejects wrong credentials with `invalid_grant`. Refresh rejects a bad refresh token with
//! the same code. `logout_all?keep_current=true` keeps the session and the cookies of the caller.
//!
//! A token response has the members of [`TokenPair`](crate::TokenPair). Logout responds with
//! `{"message": ".."}`.
//!
//! The endpoints that take a bearer token contain the [`AuthLayer`]. The layer rejects a request
//! without a valid token before the endpoint checks the method. [`logout`] also takes an expired
//! access token, or a refresh token.
//!
//! Responses are JSON. All except the metadata have `Cache-Control: no-store`. Each failure is a
//! [`Rejection`](crate::middleware::Rejection), and the layer's
//! [`on_rejection`](crate::middleware::AuthLayerBuilder::on_rejection) hook may replace its
//! response. A 503 from [`health`] or [`ready`] is not a rejection: its body is the normal report.
//!
//! | failure | response |
//! |--|--|
//! | a field is missing, repeated or not a string | 400 `invalid_request` |
//! | the media type is neither a form nor JSON | 415; [`logout`] ignores such a body |
//! | the body is larger than 16 KiB | 413 |
//! | the body does not arrive within 10 s | 408 |
//! | the method is not in the table above (`GET` includes `HEAD`) | 405 |
//! | another site causes a request whose response would set or remove cookies | 403 |
//! | the [guard](LoginGuard) refuses the login | 429 with `Retry-After` |
//! | the store fails | 503 |
//!
//! The endpoints need a Tokio runtime with timers.
//!
//! The server may drop a request at any time. A dropped login may leave a session that no client
//! uses. That session expires. After a dropped refresh, the client can repeat the refresh with the
//! same token ([`reuse_grace`](crate::tokens::TokenServiceBuilder::reuse_grace)).
//!
//! In Axum, with `Users` from the example of [`UserAuthentication`]:
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
//!     .route_service("/ready", endpoints.ready())
//!     .route_service("/live", endpoints.live())
//!     .route_service("/sessions", endpoints.sessions())
//!     .route_service("/sessions/{sid}", endpoints.revoke_session());
//! # Ok::<(), tower_bearer::error::ConfigError>(())
//! ```
//!
//! [`ResourceMetadata::service`]: crate::middleware::ResourceMetadata::service
//!
//! # Browser sessions
//!
//! [`Endpoints::browser`] returns endpoints for pages in browsers. These endpoints put both tokens
//! into cookies that no script can read ([`BrowserSessions`]), and never into a response body:
//!
//! * [`login`](BrowserEndpoints::login) takes `POST` with `username` and `password` in a form or
//!   JSON. It answers 200 with `{"user_id":"..","expires_in":..}` and sets both cookies, or answers
//!   401.
//! * [`refresh`](BrowserEndpoints::refresh) takes `POST` with the refresh cookie. It answers 200
//!   with `{"expires_in":..}` and sets both cookies anew, or answers 401 and removes them.
//! * [`logout`](BrowserEndpoints::logout) takes `POST` with one of the cookies. It ends the session
//!   and answers 200, or answers 401. It removes both cookies in either case.
//! * [`logout_all`](BrowserEndpoints::logout_all) takes `POST` with the access cookie. It answers
//!   200 and removes both cookies.
//!
//! Each endpoint answers 403 to a request that another site causes
//! ([`AuthLayerBuilder::allow_cookie`](crate::middleware::AuthLayerBuilder::allow_cookie)).
//!
//! ```
//! # use std::sync::Arc;
//! # use axum::Router;
//! use axum::routing::{get, post_service};
//! use tower_bearer::{
//!     AuthLayer, BoxError, TokenService,
//!     endpoints::{BrowserSessions, Endpoints},
//!     users::UserAuthentication,
//! };
//!
//! fn app<U>(tokens: TokenService, users: Arc<U>) -> Result<Router, BoxError>
//! where
//!     U: UserAuthentication<Claims = tower_bearer::NoClaims>,
//! {
//!     let sessions = BrowserSessions::builder().build()?;
//!     let auth = AuthLayer::builder(tokens).browser_sessions(&sessions).build()?;
//!     let browser = Endpoints::new(&auth, users).browser()?;
//!     Ok(Router::new()
//!         .route("/api/me", get("hello"))
//!         .route_layer(auth)
//!         .route("/auth/login", post_service(browser.login()))
//!         .route("/auth/refresh", post_service(browser.refresh()))
//!         .route("/auth/logout", post_service(browser.logout())))
//! }
//! ```
//!
//! [`login`]: Endpoints::login
//! [`refresh`]: Endpoints::refresh
//! [`logout`]: Endpoints::logout
//! [`logout_all`]: Endpoints::logout_all
//! [`sessions`]: Endpoints::sessions
//! [`revoke_session`]: Endpoints::revoke_session
//! [`health`]: Endpoints::health
//! [`ready`]: Endpoints::ready
//! [`live`]: Endpoints::live

mod answer;
mod browser;
mod endpoint;
mod fields;
mod guard;
mod health;
mod login;
mod logout;
mod metadata;
mod refresh;
mod sessions;

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use tower::Layer;

use self::guard::Guard;
pub(crate) use self::{
    answer::{json, of_grant, with_cookie},
    endpoint::Handle,
    fields::Fields,
};
pub use self::{
    browser::{BrowserEndpoints, BrowserLogin, BrowserLogout, BrowserRefresh},
    endpoint::Endpoint,
    guard::{Admission, LoginAttempt, LoginGuard},
    health::{Health, Live, Ready},
    login::Login,
    logout::{Logout, LogoutAll},
    metadata::MetadataDocument,
    refresh::Refresh,
    sessions::{RevokeSession, Sessions},
};
pub use crate::cookies::{BrowserSessions, BrowserSessionsBuilder, SameSite, TokenCookie, TokenCookieBuilder};
use crate::{
    error::ConfigError,
    middleware::{AuthLayer, AuthService},
    users::{UserAuthentication, renew_from},
};

/// A factory of the endpoints of an application. See the [module docs](self).
pub struct Endpoints<A: UserAuthentication> {
    auth: AuthLayer<A::Claims>,
    users: Arc<A>,
    access_cookie: Option<Arc<TokenCookie>>,
    /// The cookie from which logout reads a refresh token.
    refresh_cookie: Option<Arc<TokenCookie>>,
    /// Cookies that logout clears in addition to `access_cookie`.
    other_cookies: Vec<Arc<TokenCookie>>,
    guard: Guard,
    shows_details: bool,
}

impl<A> Endpoints<A>
where
    A: UserAuthentication,
    A::Claims: Serialize + DeserializeOwned,
{
    /// Creates a factory of endpoints for these users. The endpoints use the layer `auth` and its
    /// [`TokenService`](crate::TokenService).
    ///
    /// At each refresh, the endpoint looks the user up again ([`renew_from`]), unless the service
    /// has an [`on_refresh`](crate::tokens::TokenServiceBuilder::on_refresh) hook.
    #[must_use]
    pub fn new(auth: &AuthLayer<A::Claims>, users: Arc<A>) -> Self {
        Self {
            auth: auth.clone(),
            users,
            access_cookie: None,
            refresh_cookie: None,
            other_cookies: Vec::new(),
            guard: Guard::default(),
            shows_details: false,
        }
    }

    /// Puts the access token into this cookie, in addition to the response body. Login and refresh
    /// set the cookie, and logout clears it. Default: no endpoint sets a cookie.
    ///
    /// Login and refresh then refuse a request whose headers name another site. Logout does the
    /// same if the request has no access token. See
    /// [`AuthLayerBuilder::allow_cookie`](crate::middleware::AuthLayerBuilder::allow_cookie).
    ///
    /// # Errors
    ///
    /// Returns an error if the layer does not read tokens from a cookie with this name.
    pub fn access_cookie(mut self, cookie: TokenCookie) -> Result<Self, ConfigError> {
        if !self.auth.allows_cookie(cookie.name()) {
            return Err(ConfigError::conflict(
                "access_cookie",
                "names a cookie from which the layer reads no tokens",
                "also pass the name of the cookie to `AuthLayerBuilder::allow_cookie`",
            ));
        }
        self.access_cookie = Some(Arc::new(cookie));
        Ok(self)
    }

    /// Sets the cookie from which [`logout`](Self::logout) reads a refresh token. If a request has
    /// no other credential, logout ends the session of this token. Logout always clears the cookie.
    ///
    /// The application sets this cookie itself. To let endpoints set both cookies, use
    /// [`browser`](Self::browser).
    ///
    /// If another site may have caused the request, logout refuses the cookie, as
    /// [`AuthLayerBuilder::allow_cookie`](crate::middleware::AuthLayerBuilder::allow_cookie)
    /// describes.
    #[must_use]
    pub fn refresh_cookie(mut self, cookie: TokenCookie) -> Self {
        self.refresh_cookie = Some(Arc::new(cookie));
        self
    }

    /// Clears this cookie too at logout, for example a hint that a user is logged in. Each call
    /// adds a cookie.
    #[must_use]
    pub fn clear_at_logout(mut self, cookie: TokenCookie) -> Self {
        self.other_cookies.push(Arc::new(cookie));
        self
    }

    /// Sets a guard against guessed passwords. The guard may refuse a login with 429 before the
    /// endpoint hashes the password. Default: no guard, so each attempt costs a hash. See
    /// [`LoginGuard`].
    ///
    /// Call this before [`browser`](Self::browser), which copies the guard.
    #[must_use]
    pub fn guard_login(mut self, guard: impl LoginGuard) -> Self {
        self.guard = Guard::new(guard);
        self
    }

    /// Returns the endpoint that exchanges a user name and a password for tokens.
    #[must_use]
    pub fn login(&self) -> Endpoint<Login<A>> {
        self.endpoint(self.login_handler(self.access_cookie.clone()))
    }

    fn login_handler(&self, access_cookie: Option<Arc<TokenCookie>>) -> Login<A> {
        let (tokens, users) = (self.auth.tokens().clone(), Arc::clone(&self.users));
        Login { tokens, users, access_cookie, cross_site: self.auth.cross_site(), guard: self.guard.clone() }
    }

    /// Returns the endpoint that exchanges a refresh token for new tokens, with rotation.
    #[must_use]
    pub fn refresh(&self) -> Endpoint<Refresh<A::Claims>> {
        self.endpoint(self.refresh_handler())
    }

    pub(crate) fn refresh_handler(&self) -> Refresh<A::Claims> {
        Refresh {
            tokens: self.auth.tokens().clone(),
            renewal: Arc::new(renew_from(Arc::clone(&self.users))),
            access_cookie: self.access_cookie.clone(),
            cross_site: self.auth.cross_site(),
        }
    }

    /// Returns the endpoint that ends the session of the bearer token.
    ///
    /// The endpoint accepts one of these credentials:
    ///
    /// * a valid access token,
    /// * an expired access token that this service has signed,
    /// * a refresh token, valid or expired, in the field `refresh_token` of a form or of JSON, or
    ///   in the [`refresh_cookie`](Self::refresh_cookie). The endpoint ignores the refresh token if
    ///   the request has an access token.
    ///
    /// The endpoint answers 401 to any other token.
    ///
    /// # Tokens of other issuers
    ///
    /// The endpoint writes a revocation to the store. The issuer may still give the user new
    /// tokens. If the issuer has the policy
    /// [`Stateless`](crate::issuers::IssuerPolicy::Stateless), the endpoint answers 403.
    /// [`logout_all`](Self::logout_all) and [`revoke_session`](Self::revoke_session) treat these
    /// tokens in the same way.
    #[must_use]
    pub fn logout(&self) -> AuthService<Endpoint<Logout<A::Claims>>, A::Claims> {
        let logout = Logout {
            tokens: self.auth.tokens().clone(),
            cookies: self.cookies(),
            refresh_cookie: self.refresh_cookie.clone(),
            cross_site: self.auth.cross_site(),
        };
        self.auth.for_logout().layer(self.endpoint(logout))
    }

    /// Returns the endpoint that ends all sessions of the bearer token's user.
    #[must_use]
    pub fn logout_all(&self) -> AuthService<Endpoint<LogoutAll<A::Claims>>, A::Claims> {
        self.protected(LogoutAll { tokens: self.auth.tokens().clone(), cookies: self.cookies() })
    }

    /// Returns the endpoint that lists the sessions of the bearer token's user. It answers 403 for
    /// another issuer's token, because only that issuer knows its sessions.
    #[must_use]
    pub fn sessions(&self) -> AuthService<Endpoint<Sessions<A::Claims>>, A::Claims> {
        self.protected(Sessions { tokens: self.auth.tokens().clone() })
    }

    /// Returns the endpoint that ends one session of the bearer token's user. The last segment of
    /// the path is the session's id.
    #[must_use]
    pub fn revoke_session(&self) -> AuthService<Endpoint<RevokeSession<A::Claims>>, A::Claims> {
        self.protected(RevokeSession { tokens: self.auth.tokens().clone() })
    }

    /// Shows the details of [`health`](Self::health) and [`ready`](Self::ready) to every client.
    /// Default: no. The details contain the name of the store, its errors with host and port, and
    /// the ids of keys. Make these endpoints accessible only to operators before you call this
    /// method.
    #[must_use]
    pub fn show_details(mut self) -> Self {
        self.shows_details = true;
        self
    }

    /// Returns the endpoint that reports the state of the service: 200 or 503, and
    /// `{"status":"ok"}` or `{"status":"unavailable"}`. With [`show_details`](Self::show_details)
    /// the body is the whole [`Status`](crate::tokens::Status).
    #[must_use]
    pub fn health(&self) -> Endpoint<Health<A::Claims>> {
        self.endpoint(Health { tokens: self.auth.tokens().clone(), shows_details: self.shows_details })
    }

    /// Returns the endpoint that reports if this node should get requests: 200 or 503. The member
    /// `reasons` of the body lists the node's present problems, as
    /// [`ConditionKind`](crate::tokens::ConditionKind)s. See
    /// [`TokenService::readiness`](crate::TokenService::readiness).
    #[must_use]
    pub fn ready(&self) -> Endpoint<Ready<A::Claims>> {
        self.endpoint(Ready { tokens: self.auth.tokens().clone(), shows_details: self.shows_details })
    }

    /// Returns the endpoint that answers 200 while the process runs. The endpoint does not ask the
    /// store, because a restart of the process would not repair the store.
    #[must_use]
    pub fn live(&self) -> Endpoint<Live> {
        self.endpoint(Live)
    }

    pub(crate) fn endpoint<H>(&self, handler: H) -> Endpoint<H> {
        Endpoint::new(handler, self.auth.responder())
    }

    fn protected<H>(&self, handler: H) -> AuthService<Endpoint<H>, A::Claims> {
        self.auth.layer(self.endpoint(handler))
    }

    /// Returns the cookies that a logout clears.
    fn cookies(&self) -> Vec<Arc<TokenCookie>> {
        self.access_cookie.iter().chain(&self.refresh_cookie).chain(&self.other_cookies).cloned().collect()
    }
}

impl<A: UserAuthentication> Clone for Endpoints<A> {
    fn clone(&self) -> Self {
        Self {
            auth: self.auth.clone(),
            users: Arc::clone(&self.users),
            access_cookie: self.access_cookie.clone(),
            refresh_cookie: self.refresh_cookie.clone(),
            other_cookies: self.other_cookies.clone(),
            guard: self.guard.clone(),
            shows_details: self.shows_details,
        }
    }
}

impl<A: UserAuthentication> fmt::Debug for Endpoints<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").field("auth", &self.auth).finish_non_exhaustive()
    }
}

//! The layer: what is configured once.

use std::{collections::HashSet, fmt, sync::Arc};

use http::HeaderName;
use tower::Layer;

use super::{
    credentials::Locations,
    rejection::{RejectionBody, Rejections},
    scope::RequireScopeLayer,
    service::AuthService,
};
use crate::{
    error::ConfigError,
    jwt::NoClaims,
    tokens::{Freshness, TokenService},
};

/// Lets only requests with a valid bearer token through, and puts its [`Claims`](crate::Claims) into their extensions.
///
/// See the [module docs](super) for examples.
#[must_use = "a layer does nothing until it wraps a service"]
pub struct AuthLayer<C = NoClaims> {
    config: Arc<Config<C>>,
}

/// What every service made by a layer shares.
pub(super) struct Config<C> {
    pub(super) tokens: TokenService<C>,
    pub(super) rejections: Arc<Rejections>,
    pub(super) locations: Locations,
    pub(super) strip_credentials: bool,
    pub(super) exempt: HashSet<String>,
    pub(super) required: bool,
    pub(super) freshness: Freshness,
    pub(super) enabled: bool,
}

impl<C> Clone for Config<C> {
    fn clone(&self) -> Self {
        Self {
            tokens: self.tokens.clone(),
            rejections: Arc::clone(&self.rejections),
            locations: self.locations.clone(),
            strip_credentials: self.strip_credentials,
            exempt: self.exempt.clone(),
            required: self.required,
            freshness: self.freshness,
            enabled: self.enabled,
        }
    }
}

impl<C> AuthLayer<C> {
    /// Every request needs a valid access token.
    pub fn new(tokens: TokenService<C>) -> Self {
        Self {
            config: Arc::new(Config {
                tokens,
                rejections: Arc::new(Rejections::new()),
                locations: Locations::default(),
                strip_credentials: false,
                exempt: HashSet::new(),
                required: true,
                freshness: Freshness::AsConfigured,
                enabled: true,
            }),
        }
    }

    /// A request without a credential passes, without claims. One with a bad credential is still refused: it meant to
    /// be someone.
    pub fn optional(mut self) -> Self {
        self.config_mut().required = false;
        self
    }

    /// Every request asks the store, also where the service works under
    /// [`Consistency::BoundedStaleness`](crate::Consistency::BoundedStaleness): for routes on which somebody who was logged out a moment ago must not do
    /// anything more, or that need to know that the session was really opened. Otherwise it changes nothing.
    ///
    /// ```
    /// # use tower_bearer::{AuthLayer, TokenService};
    /// # fn router(tokens: TokenService) -> axum::Router {
    /// # use axum::routing::{get, post};
    /// axum::Router::new()
    ///     .route("/transfer", post("done"))
    ///     .route_layer(AuthLayer::new(tokens.clone()).strong())
    ///     .merge(axum::Router::new().route("/me", get("hello")).route_layer(AuthLayer::new(tokens)))
    /// # }
    /// ```
    pub fn strong(mut self) -> Self {
        self.config_mut().freshness = Freshness::Strong;
        self
    }

    /// Requests for this path pass without being looked at, and without claims.
    ///
    /// Compared byte for byte with the path of the request as this layer sees it: `/public` exempts neither `/public/`, `/PUBLIC`,
    /// `//public`, `/public/../admin` nor `/%70ublic`. (Axum's `nest` takes its prefix away before inner layers see the path.)
    pub fn exempt(mut self, path: impl Into<String>) -> Self {
        self.config_mut().exempt.insert(path.into());
        self
    }

    /// A token is also taken from this query parameter (RFC 6750 section 2.3), `access_token` by custom. Off by default: addresses stand in
    /// logs, in histories and in `Referer` (RFC 9700 section 4.3.2), so it is for clients that can set no header, as a browser's `EventSource`
    /// and `WebSocket`. What the inner service answers is marked `Cache-Control: private`.
    ///
    /// A request that presents more than one credential, here or elsewhere, is refused with 400; so is one whose query is over 8 KiB longer than a
    /// token may be, or has over 256 parameters. It may be called again for another name.
    ///
    /// # Errors
    ///
    /// A name that is empty, or has other characters than letters, digits, `-`, `.`, `_` and `~`.
    pub fn allow_query(mut self, name: impl Into<String>) -> Result<Self, ConfigError> {
        self.config_mut().locations.allow_query(name.into())?;
        Ok(self)
    }

    /// A token is also taken from this cookie, its value with or without quotes. Off by default.
    ///
    /// Browsers send cookies along with requests that other sites cause. This layer does not tell those apart: set the cookie with `HttpOnly`,
    /// `Secure` and `SameSite=Strict` (or `Lax`, if no `GET` changes anything), name it `__Host-..`, and put a CSRF layer outside. Shared caches do not
    /// know that the answer is one user's: it is marked `Cache-Control: private`.
    ///
    /// A request that presents more than one credential is refused with 400; so is one whose cookies are together over 8 KiB longer than a
    /// token may be, or over 256. It may be called again for another name.
    ///
    /// # Errors
    ///
    /// A name that no cookie can have.
    pub fn allow_cookie(mut self, name: impl Into<String>) -> Result<Self, ConfigError> {
        self.config_mut().locations.allow_cookie(name.into())?;
        Ok(self)
    }

    /// A token is also taken from this header, which holds it alone, without a scheme: for clients whose `Authorization` another party
    /// needs. Off by default. What the inner service answers is marked `Cache-Control: private`.
    ///
    /// A request that presents more than one credential is refused with 400. It may be called again for another name.
    ///
    /// # Errors
    ///
    /// `Authorization` and `Cookie`, which hold more than a token.
    pub fn allow_header(mut self, name: HeaderName) -> Result<Self, ConfigError> {
        self.config_mut().locations.allow_header(name)?;
        Ok(self)
    }

    /// With `true`, the inner service does not see what the client was authenticated with, so that it cannot pass it on or log it: of each
    /// request that passes, anonymous and exempt ones too, the whole `Authorization` field is taken away, and of query, cookies and
    /// headers what this layer is allowed to read. Default `false`.
    ///
    /// What layers outside have copied from the request before stays where they put it, as Axum's `OriginalUri` with its query.
    pub fn strip_credentials(mut self, strip: bool) -> Self {
        self.config_mut().strip_credentials = strip;
        self
    }

    /// With `false`, all requests pass without claims: for development. (`tower`'s `option_layer` cannot be used: it needs the response
    /// type to stay the same.)
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.config_mut().enabled = enabled;
        self
    }

    /// The realm in challenges. Default `api`.
    ///
    /// # Errors
    ///
    /// A realm that is empty, over 255 bytes, or not printable ASCII without `"` and `\`.
    pub fn realm(mut self, realm: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.rejections_mut().set_realm(realm.as_ref())?;
        Ok(self)
    }

    /// The body of rejections over HTTP. Default `{"error":"<code>"}`.
    pub fn rejection_body(mut self, body: impl RejectionBody) -> Self {
        self.rejections_mut().set_body(body);
        self
    }

    /// A layer that lets only tokens through that have this scope token. It refuses as this layer does, and belongs inside it.
    ///
    /// # Errors
    ///
    /// A scope token that breaks RFC 6749 section 3.3.
    pub fn require_scope(&self, scope: impl AsRef<str>) -> Result<RequireScopeLayer<C>, ConfigError> {
        RequireScopeLayer::all(Arc::clone(&self.config.rejections), [scope])
    }

    /// A layer that lets only tokens through that have all these scope tokens.
    ///
    /// # Errors
    ///
    /// As [`require_scope`](Self::require_scope); and none at all.
    pub fn require_all_scopes(
        &self,
        scopes: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<RequireScopeLayer<C>, ConfigError> {
        RequireScopeLayer::all(Arc::clone(&self.config.rejections), scopes)
    }

    /// A layer that lets only tokens through that have one of these scope tokens.
    ///
    /// # Errors
    ///
    /// As [`require_scope`](Self::require_scope); and none at all.
    pub fn require_any_scope(
        &self,
        scopes: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<RequireScopeLayer<C>, ConfigError> {
        RequireScopeLayer::any(Arc::clone(&self.config.rejections), scopes)
    }

    pub(crate) fn tokens(&self) -> &TokenService<C> {
        &self.config.tokens
    }

    pub(crate) fn allows_cookie(&self, name: &str) -> bool {
        self.config.locations.allows_cookie(name)
    }

    pub(crate) fn rejections(&self) -> &Arc<Rejections> {
        &self.config.rejections
    }

    /// The configuration, unshared: services made before keep theirs.
    fn config_mut(&mut self) -> &mut Config<C> {
        Arc::make_mut(&mut self.config)
    }

    fn rejections_mut(&mut self) -> &mut Rejections {
        Arc::make_mut(&mut self.config_mut().rejections)
    }
}

impl<C> Clone for AuthLayer<C> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config) }
    }
}

impl<S, C> Layer<S> for AuthLayer<C> {
    type Service = AuthService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthService::new(inner, Arc::clone(&self.config))
    }
}

impl<C> fmt::Debug for AuthLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer")
            .field("tokens", &self.config.tokens)
            .field("required", &self.config.required)
            .field("enabled", &self.config.enabled)
            .field("locations", &self.config.locations)
            .field("exempt", &self.config.exempt)
            .finish_non_exhaustive()
    }
}

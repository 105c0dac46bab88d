//! [`AuthLayer`], and its methods that create further layers, such as `require_scope`.

use std::{fmt, sync::Arc, time::Duration};

use tower::Layer;

use super::{
    config::{Config, Demand},
    csrf::CrossSiteCheck,
    require::{Require, RequireLayer},
    resource::ResourceMetadata,
    responder::Responder,
    scope::RequiredScopes,
    service::AuthService,
};
use crate::{
    cookies::BrowserSessions,
    error::ConfigError,
    jwt::{Claims, NoClaims},
    observe::SharedObserver,
    tokens::{Freshness, TokenService},
};

/// A layer that passes on only requests with a valid bearer token, and adds the token's
/// [`Claims`] to their extensions.
///
/// See the [module docs](super) for examples.
#[must_use = "a layer does nothing until it wraps a service"]
pub struct AuthLayer<C = NoClaims> {
    config: Arc<Config<C>>,
}

impl<C> AuthLayer<C> {
    /// Creates a layer with the defaults: each request needs a valid access token in
    /// `Authorization`. See [`builder`](Self::builder) for more.
    pub fn new(tokens: TokenService<C>) -> Self {
        Self::with(Config::new(tokens))
    }

    pub(super) fn with(config: Config<C>) -> Self {
        Self { config: Arc::new(config) }
    }

    /// Also passes on requests that have no credential, and adds no claims to them: see
    /// [`AuthLayerBuilder::optional`](super::AuthLayerBuilder::optional).
    pub fn optional(mut self) -> Self {
        Arc::make_mut(&mut self.config).demand = Demand::Optional;
        self
    }

    /// Asks the store on every request, also under
    /// [`Consistency::BoundedStaleness`](crate::Consistency::BoundedStaleness).
    ///
    /// Use it for routes on which a revocation must take effect immediately. The store also refuses
    /// a token of a session that does not exist. The setting changes nothing under
    /// `Consistency::Strong`.
    ///
    /// ```
    /// # use tower_bearer::{AuthLayer, TokenService};
    /// # fn router(tokens: TokenService) -> axum::Router {
    /// # use axum::routing::{get, post};
    /// let auth = AuthLayer::new(tokens);
    /// let transfer = axum::Router::new()
    ///     .route("/transfer", post("done"))
    ///     .route_layer(auth.clone().strong());
    /// axum::Router::new().route("/me", get("hello")).route_layer(auth).merge(transfer)
    /// # }
    /// ```
    pub fn strong(self) -> Self {
        self.fresher_than(Duration::ZERO)
    }

    /// Asks the store unless this node has read the whole revocation log within the last `age`. The
    /// last of several calls applies.
    ///
    /// Use it to tighten [`Consistency::BoundedStaleness`](crate::Consistency::BoundedStaleness)
    /// for some routes, for example a change of the password. An `age` of zero is the same as
    /// [`strong`](Self::strong). If `age` is shorter than the
    /// [`poll_interval`](crate::tokens::TokenServiceBuilder::poll_interval), most requests ask the
    /// store.
    ///
    /// The setting has no effect under `Consistency::Strong`, or if `age` is not shorter than the
    /// bound of `BoundedStaleness`. It does not apply to tokens of issuers with
    /// [`IssuerPolicy::Stateless`](crate::issuers::IssuerPolicy::Stateless).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_bearer::{AuthLayer, TokenService};
    /// # fn router(tokens: TokenService) -> axum::Router {
    /// # use axum::routing::{get, post};
    /// let auth = AuthLayer::new(tokens);
    /// let account = axum::Router::new()
    ///     .route("/account", post("done"))
    ///     .route_layer(auth.clone().fresher_than(Duration::from_millis(200)));
    /// axum::Router::new().route("/me", get("hello")).route_layer(auth).merge(account)
    /// # }
    /// ```
    pub fn fresher_than(mut self, age: Duration) -> Self {
        Arc::make_mut(&mut self.config).freshness = Freshness::Within(age);
        self
    }

    /// Cuts responses that are still open when their token is revoked, if `cutoff` is `true`.
    /// Default: `true`.
    ///
    /// If this node follows the store's log, the layer ends the body within milliseconds, and
    /// otherwise within [`stream_staleness`]. See the [module docs](super#long-lived-responses).
    /// The cutoff allocates no memory for complete responses.
    ///
    /// With `false`, only the handler ends a body. Use `false` if the handlers of a route watch the
    /// token themselves. A [`Cutoff`](crate::Cutoff) works with both values.
    ///
    /// [`stream_staleness`]: crate::tokens::TokenServiceBuilder::stream_staleness
    pub fn cutoff(mut self, cutoff: bool) -> Self {
        Arc::make_mut(&mut self.config).cutoff.is_enabled = cutoff;
        self
    }

    /// Cuts responses that are still open when their token expires, if `cut` is `true`. Default:
    /// `false`, because a download may outlive its token.
    ///
    /// The layer ends the body at `exp` plus the leeway, unless [`cutoff`](Self::cutoff) is
    /// `false`. At the same time, each [`Cutoff`](crate::Cutoff) that a handler made from the
    /// layer's claims resolves.
    ///
    /// ```
    /// # use tower_bearer::{AuthLayer, TokenService};
    /// # fn router(tokens: TokenService) -> axum::Router {
    /// # use axum::routing::get;
    /// let auth = AuthLayer::new(tokens);
    /// let feed = axum::Router::new()
    ///     .route("/events", get("..."))
    ///     .route_layer(auth.clone().cut_at_expiry(true));
    /// axum::Router::new().route("/download", get("...")).route_layer(auth).merge(feed)
    /// # }
    /// ```
    pub fn cut_at_expiry(mut self, cut: bool) -> Self {
        Arc::make_mut(&mut self.config).cutoff.at_expiry = cut;
        self
    }

    /// Adds the URL of the protected resource metadata (RFC 9728) to challenges, as the parameter
    /// `resource_metadata`. If the metadata has
    /// [`challenge_scopes`](super::ResourceMetadataBuilder::challenge_scopes), the challenge of a
    /// 401 also gets `scope`.
    ///
    /// Call this method before [`require_scope`](Self::require_scope) and
    /// [`Endpoints::new`](crate::endpoints::Endpoints::new): it does not change existing layers and
    /// endpoints. The challenge of a failed login does not get the parameter, because a token would
    /// not help the client. gRPC responses have no challenge.
    ///
    /// See [`ResourceMetadata`] for an example.
    pub fn resource(mut self, metadata: ResourceMetadata) -> Self {
        Arc::make_mut(&mut self.config).responder.set_resource(metadata);
        self
    }

    /// Returns a layer that rejects a request with 403 unless its token has the scope `scope`. The
    /// new layer has the realm and the hook of `self`. Put the new layer inside `self`.
    ///
    /// A scope that [implies](super::AuthLayerBuilder::scope_implies) `scope` suffices too. Combine
    /// several layers with [`RequireLayer::and`], so that one 403 names all their scopes.
    ///
    /// # Errors
    ///
    /// `scope` is not a scope token of RFC 6749 section 3.3.
    pub fn require_scope(&self, scope: impl AsRef<str>) -> Result<RequireLayer<C>, ConfigError> {
        self.scopes([scope], false)
    }

    /// Returns a layer that rejects a request with 403 unless its token has all of these scopes.
    ///
    /// # Errors
    ///
    /// The errors of [`require_scope`](Self::require_scope), and an error for an empty list.
    pub fn require_all_scopes(
        &self,
        scopes: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<RequireLayer<C>, ConfigError> {
        self.scopes(scopes, false)
    }

    /// Returns a layer that rejects a request with 403 unless its token has at least one of these
    /// scopes.
    ///
    /// # Errors
    ///
    /// The errors of [`require_scope`](Self::require_scope), and an error for an empty list.
    pub fn require_any_scope(
        &self,
        scopes: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<RequireLayer<C>, ConfigError> {
        self.scopes(scopes, true)
    }

    /// Returns a layer that rejects a request with 403 if `rule` returns `false` for its claims.
    /// Put the new layer inside `self`.
    ///
    /// The response is that of [`Rejection::forbidden`](super::Rejection::forbidden). If `rule`
    /// panics, the layer answers 500.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tower_bearer::{AuthLayer, TokenService};
    /// #[derive(Serialize, Deserialize)]
    /// struct MyClaims {
    ///     role: String,
    /// }
    ///
    /// # fn router(tokens: TokenService<MyClaims>) -> axum::Router {
    /// # use axum::routing::get;
    /// let auth = AuthLayer::new(tokens);
    /// let admins = auth.require(|claims| claims.custom().role == "admin");
    /// // The layer added last is the outer one.
    /// axum::Router::new().route("/admin", get("hello")).route_layer(admins).route_layer(auth)
    /// # }
    /// ```
    pub fn require(&self, rule: impl Fn(&Claims<C>) -> bool + Send + Sync + 'static) -> RequireLayer<C> {
        RequireLayer::rule(self.responder(), self.observer(), rule)
    }

    fn scopes(
        &self,
        scopes: impl IntoIterator<Item = impl AsRef<str>>,
        any: bool,
    ) -> Result<RequireLayer<C>, ConfigError> {
        let scopes = RequiredScopes::new(scopes, any, &self.config.implications)?;
        Ok(RequireLayer::scopes(self.responder(), self.observer(), scopes))
    }

    pub(crate) fn tokens(&self) -> &TokenService<C> {
        &self.config.tokens
    }

    /// Returns the layer around a logout endpoint. The layer also passes on requests without a
    /// token, and requests with an expired token.
    pub(crate) fn for_logout(&self) -> Self {
        let mut layer = self.clone();
        Arc::make_mut(&mut layer.config).demand = Demand::Logout;
        layer
    }

    pub(crate) fn browser_sessions(&self) -> Option<&BrowserSessions> {
        self.config.cookies.sessions.as_ref()
    }

    /// Returns the check against requests of other sites (CSRF).
    pub(crate) fn cross_site(&self) -> CrossSiteCheck {
        self.config.cookies.cross_site.clone()
    }

    pub(crate) fn allows_cookie(&self, name: &str) -> bool {
        self.config.locations.as_ref().is_some_and(|locations| locations.allows_cookie(name))
    }

    pub(super) fn observer(&self) -> SharedObserver {
        self.config.tokens.checker.observer.clone()
    }

    pub(crate) fn responder(&self) -> Responder {
        self.config.responder.clone()
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
        AuthService::with(inner, Arc::clone(&self.config))
    }
}

impl<C> fmt::Debug for AuthLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer").field("config", &self.config).finish()
    }
}

// These functions are in this file, because the files of the services must not import the layers.

impl<C> AuthService<(), C> {
    /// Returns the layer that makes such services: [`AuthLayer::new`].
    pub fn layer(tokens: TokenService<C>) -> AuthLayer<C> {
        AuthLayer::new(tokens)
    }
}

impl<C> Require<(), C> {
    /// Returns the layer that makes such services: [`AuthLayer::require`].
    pub fn layer(auth: &AuthLayer<C>, rule: impl Fn(&Claims<C>) -> bool + Send + Sync + 'static) -> RequireLayer<C> {
        auth.require(rule)
    }
}

//! The layer: what is configured once.

use std::{collections::HashSet, fmt, sync::Arc};

use tower::Layer;

use super::{
    rejection::{RefusalBody, Refusals},
    scope::RequireScopeLayer,
    service::AuthService,
};
use crate::{error::ConfigError, jwt::NoClaims, tokens::TokenService};

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
    pub(super) refusals: Arc<Refusals>,
    pub(super) exempt: HashSet<String>,
    pub(super) required: bool,
    pub(super) enabled: bool,
}

impl<C> Clone for Config<C> {
    fn clone(&self) -> Self {
        Self {
            tokens: self.tokens.clone(),
            refusals: Arc::clone(&self.refusals),
            exempt: self.exempt.clone(),
            required: self.required,
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
                refusals: Arc::new(Refusals::new()),
                exempt: HashSet::new(),
                required: true,
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

    /// Requests for this path pass without being looked at, and without claims.
    ///
    /// Compared byte for byte with the path of the request as this layer sees it: `/public` exempts neither `/public/`, `/PUBLIC`,
    /// `//public`, `/public/../admin` nor `/%70ublic`. (Axum's `nest` takes its prefix away before inner layers see the path.)
    pub fn exempt(mut self, path: impl Into<String>) -> Self {
        self.config_mut().exempt.insert(path.into());
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
        self.refusals_mut().set_realm(realm.as_ref())?;
        Ok(self)
    }

    /// The body of refusals over HTTP. Default `{"error":"<code>"}`.
    pub fn refusal_body(mut self, body: impl RefusalBody) -> Self {
        self.refusals_mut().set_body(body);
        self
    }

    /// A layer that lets only tokens through that have this scope token. It refuses as this layer does, and belongs inside it.
    ///
    /// # Errors
    ///
    /// A scope token that breaks RFC 6749 section 3.3.
    pub fn require_scope(&self, scope: impl AsRef<str>) -> Result<RequireScopeLayer<C>, ConfigError> {
        RequireScopeLayer::all(Arc::clone(&self.config.refusals), [scope])
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
        RequireScopeLayer::all(Arc::clone(&self.config.refusals), scopes)
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
        RequireScopeLayer::any(Arc::clone(&self.config.refusals), scopes)
    }

    pub(crate) fn tokens(&self) -> &TokenService<C> {
        &self.config.tokens
    }

    pub(crate) fn refusals(&self) -> &Arc<Refusals> {
        &self.config.refusals
    }

    /// The configuration, unshared: services made before keep theirs.
    fn config_mut(&mut self) -> &mut Config<C> {
        Arc::make_mut(&mut self.config)
    }

    fn refusals_mut(&mut self) -> &mut Refusals {
        Arc::make_mut(&mut self.config_mut().refusals)
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
            .field("exempt", &self.config.exempt)
            .finish_non_exhaustive()
    }
}

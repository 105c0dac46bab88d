//! The settings of a layer.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, Response, request::Parts};

use super::{config::Config, layer::AuthLayer, rejection::Rejection};
use crate::{
    error::ConfigError,
    jwt::NoClaims,
    tokens::{Freshness, TokenService},
};

/// Configures an [`AuthLayer`]. Made by [`AuthLayer::builder`].
///
/// ```
/// use http::Method;
/// use tower_bearer::{AuthLayer, TokenService};
///
/// # fn layer(tokens: TokenService) -> Result<AuthLayer, tower_bearer::error::ConfigError> {
/// let auth = AuthLayer::builder(tokens)
///     .realm("my app")
///     .allow_cookie("__Host-access_token")
///     .exempt("/health")
///     .exempt_if(|request| request.method == Method::OPTIONS) // CORS preflights
///     .build()?; // reports the first setting that cannot work
/// # Ok(auth)
/// # }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct AuthLayerBuilder<C = NoClaims> {
    config: Config<C>,
    /// The first setting that cannot work.
    outcome: Result<(), ConfigError>,
}

impl<C> AuthLayer<C> {
    /// Begins with the defaults of [`AuthLayer::new`].
    pub fn builder(tokens: TokenService<C>) -> AuthLayerBuilder<C> {
        AuthLayerBuilder { config: Config::new(tokens), outcome: Ok(()) }
    }
}

impl<C> AuthLayerBuilder<C> {
    /// Passes requests without a credential on, without claims. A request with a bad credential is
    /// still rejected: its client tried to authenticate.
    pub fn optional(mut self) -> Self {
        self.config.required = false;
        self
    }

    /// Asks the store at every request: see [`AuthLayer::strong`].
    pub fn strong(mut self) -> Self {
        self.config.freshness = Freshness::Strong;
        self
    }

    /// Exempts this path: its requests pass unchecked, without claims.
    ///
    /// It is compared byte for byte with the path that this layer sees: `/public` exempts neither
    /// `/public/`, `/PUBLIC`, `//public`, `/public/../admin` nor `/%70ublic`. (Axum's `nest` takes
    /// its prefix away before inner layers see the path.)
    pub fn exempt(mut self, path: impl Into<String>) -> Self {
        self.config.exemptions.get_or_insert_default().add_path(path.into());
        self
    }

    /// Exempts the requests for which `predicate` returns `true`: they pass unchecked, without
    /// claims. It may be called again for another predicate.
    ///
    /// A panic in it is caught, and exempts nothing. It reads the request as the client sent it:
    /// mind that a router may take `//public` or `/%70ublic` for another path than it does. Never
    /// compare the beginning of a path: an inner service that normalizes `/public/../admin` then
    /// answers `/admin` unchecked.
    pub fn exempt_if(mut self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.config.exemptions.get_or_insert_default().add_predicate(predicate);
        self
    }

    /// Takes tokens from this query parameter too (RFC 6750 section 2.3), `access_token` by custom.
    /// Off by default. It may be called again for another name.
    ///
    /// URLs leak into logs, histories and `Referer` (RFC 9700 section 4.3.2). So use this only for
    /// clients that cannot set a header, such as a browser's `EventSource` and `WebSocket`. The
    /// layer marks the inner service's responses `Cache-Control: private`.
    ///
    /// A request that presents more than one credential, here or elsewhere, is rejected with 400.
    /// So is one whose query is over 8 KiB longer than a token may be, or has over 256 parameters.
    ///
    /// [`build`](Self::build) reports a name that is empty, or has other characters than letters,
    /// digits, `-`, `.`, `_` and `~`.
    pub fn allow_query(mut self, name: impl Into<String>) -> Self {
        let outcome = self.config.locations.get_or_insert_default().allow_query(name.into());
        self.note(outcome)
    }

    /// Takes tokens from this cookie too, its value with or without quotes. Off by default. It may
    /// be called again for another name.
    ///
    /// Browsers also send cookies with requests that other sites cause (CSRF), and this layer does
    /// not detect those:
    ///
    /// * Set the cookie with `HttpOnly`, `Secure` and `SameSite=Strict`, or with `Lax` if no `GET`
    ///   changes anything.
    /// * Name it `__Host-..`.
    /// * Put a CSRF layer outside of this one.
    ///
    /// The layer marks the inner service's responses `Cache-Control: private`, because shared
    /// caches do not know that they are one user's.
    ///
    /// A request that presents more than one credential is rejected with 400. So is one whose
    /// cookies are together over 8 KiB longer than a token may be, or over 256.
    ///
    /// [`build`](Self::build) reports a name that no cookie can have.
    pub fn allow_cookie(mut self, name: impl Into<String>) -> Self {
        let outcome = self.config.locations.get_or_insert_default().allow_cookie(name.into());
        self.note(outcome)
    }

    /// Takes tokens from this header too, which holds the token alone, without a scheme. Off by
    /// default. It may be called again for another name.
    ///
    /// It is for clients whose `Authorization` another party needs. The inner service's responses
    /// are marked `Cache-Control: private`. A request that presents more than one credential is
    /// rejected with 400.
    ///
    /// [`build`](Self::build) reports `Authorization` and `Cookie`, which hold more than a token.
    pub fn allow_header(mut self, name: HeaderName) -> Self {
        let outcome = self.config.locations.get_or_insert_default().allow_header(name);
        self.note(outcome)
    }

    /// Hides the credentials from the inner service if `strip` is `true`, so that it cannot pass
    /// them on or log them. Default `false`.
    ///
    /// Every request that passes loses the whole `Authorization` field, anonymous and exempt ones
    /// too. It also loses what this layer may read of query, cookies and headers. Copies made by
    /// layers outside stay where they are, as Axum's `OriginalUri` with its query.
    pub fn strip_credentials(mut self, strip: bool) -> Self {
        self.config.strip_credentials = strip;
        self
    }

    /// Lets all requests pass without claims if `enabled` is `false`: for development. (`tower`'s
    /// `option_layer` cannot be used: it needs the response type to stay the same.)
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.config.enabled = enabled;
        self
    }

    /// Sets the realm in challenges. Default `api`.
    ///
    /// [`build`](Self::build) reports a realm that is empty, over 255 bytes, or not printable ASCII
    /// without `"` and `\`.
    pub fn realm(mut self, realm: impl AsRef<str>) -> Self {
        let outcome = self.config.responder.set_realm(realm.as_ref());
        self.note(outcome)
    }

    /// Replaces the responses to rejected requests.
    ///
    /// `hook` gets the default response, and returns the one that is sent. Headers and body are
    /// its own: it may keep, add, change or remove them. The status stays that of
    /// [`RejectionKind::status`](super::RejectionKind::status), and the body's length is set
    /// afterwards. A panic in it is caught, and the default response sent. Responses over gRPC have
    /// no body and stay as they are.
    ///
    /// The same hook serves all that this layer makes: its scope and rule layers, a
    /// [`CurrentUserLayer`](super::CurrentUserLayer), the [`endpoints`](crate::endpoints),
    /// extractors, and each [`Rejection`] that a handler returns.
    ///
    /// Do not tell a client more than [`Rejection::kind`]: the cause helps attackers. Keep
    /// `WWW-Authenticate` in a 401 (RFC 9110 section 15.5.2).
    ///
    /// ```
    /// use http::{HeaderValue, Response, header::CONTENT_TYPE};
    /// use tower_bearer::{AuthLayer, TokenService, middleware::Rejection};
    ///
    /// # fn layer(tokens: TokenService) -> Result<AuthLayer, tower_bearer::error::ConfigError> {
    /// // Problem details (RFC 9457) for every rejection:
    /// AuthLayer::builder(tokens)
    ///     .on_rejection(|rejection: &Rejection, mut response| {
    ///         let problem = HeaderValue::from_static("application/problem+json");
    ///         response.headers_mut().insert(CONTENT_TYPE, problem);
    ///         response.map(|_| format!(r#"{{"title":"{}"}}"#, rejection.kind().code()).into())
    ///     })
    ///     .build()
    /// # }
    /// ```
    pub fn on_rejection(
        mut self,
        hook: impl Fn(&Rejection, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.config.responder.set_hook(hook);
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// The first setting that cannot work.
    pub fn build(self) -> Result<AuthLayer<C>, ConfigError> {
        self.outcome?;
        Ok(AuthLayer::with(self.config))
    }

    fn note(mut self, outcome: Result<(), ConfigError>) -> Self {
        self.outcome = self.outcome.and(outcome);
        self
    }
}

impl<C> fmt::Debug for AuthLayerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayerBuilder").field("config", &self.config).field("outcome", &self.outcome).finish()
    }
}

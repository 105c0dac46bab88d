//! The builder of a layer.

use std::{fmt, time::Duration};

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
    /// Returns a builder with the defaults of [`AuthLayer::new`].
    pub fn builder(tokens: TokenService<C>) -> AuthLayerBuilder<C> {
        AuthLayerBuilder { config: Config::new(tokens), outcome: Ok(()) }
    }
}

impl<C> AuthLayerBuilder<C> {
    /// Passes on requests without a credential, without claims. The layer still rejects a request
    /// with a bad credential, because its client tried to authenticate.
    pub fn optional(mut self) -> Self {
        self.config.required = false;
        self
    }

    /// Asks the store on every request: see [`AuthLayer::strong`].
    pub fn strong(self) -> Self {
        self.fresher_than(Duration::ZERO)
    }

    /// Lets this node decide only by a revocation log that it knew at most `age` ago: see
    /// [`AuthLayer::fresher_than`].
    pub fn fresher_than(mut self, age: Duration) -> Self {
        self.config.freshness = Freshness::Within(age);
        self
    }

    /// Exempts this path: its requests pass unchecked, without claims.
    ///
    /// The layer compares it byte for byte with the request's path. `/public` exempts none of
    /// `/public/`, `/PUBLIC`, `//public`, `/public/../admin` and `/%70ublic`. (Axum's `nest` strips
    /// its prefix before inner layers see the path.)
    pub fn exempt(mut self, path: impl Into<String>) -> Self {
        self.config.exemptions.get_or_insert_default().add_path(path.into());
        self
    }

    /// Exempts the requests for which `predicate` returns `true`: they pass unchecked, without
    /// claims. Further calls add further predicates.
    ///
    /// A panic in a predicate is caught and exempts nothing. The predicate sees the request as the
    /// client sent it, but a router may normalize `//public` or `/%70ublic`. Never compare only the
    /// start of a path: an inner service that normalizes `/public/../admin` would serve `/admin`
    /// unchecked.
    pub fn exempt_if(mut self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.config.exemptions.get_or_insert_default().add_predicate(predicate);
        self
    }

    /// Also reads tokens from this query parameter (RFC 6750 section 2.3), usually `access_token`.
    /// Off by default. Further calls add further names.
    ///
    /// URLs leak into logs, histories and `Referer` (RFC 9700 section 4.3.2). So use this only for
    /// clients that cannot set a header, such as a browser's `EventSource` and `WebSocket`. The
    /// layer marks the inner service's responses `Cache-Control: private`.
    ///
    /// The layer rejects with 400:
    ///
    /// * a request with more than one credential, in whatever location,
    /// * a query that exceeds the maximum length of a token by over 8 KiB,
    /// * a query with more than 256 parameters.
    ///
    /// [`build`](Self::build) rejects an empty name, and characters other than letters, digits,
    /// `-`, `.`, `_` and `~`.
    pub fn allow_query(mut self, name: impl Into<String>) -> Self {
        let outcome = self.config.locations.get_or_insert_default().allow_query(name.into());
        self.note(outcome)
    }

    /// Also reads tokens from this cookie, with or without quotes around the value. Off by default.
    /// Further calls add further names.
    ///
    /// Browsers also send cookies with requests that other sites cause (CSRF), and this layer does
    /// not detect such requests:
    ///
    /// * Set the cookie with `HttpOnly`, `Secure` and `SameSite=Strict`, or with `Lax` if no `GET`
    ///   changes anything.
    /// * Name it `__Host-..`.
    /// * Put a CSRF layer outside of this one.
    ///
    /// The layer marks the inner service's responses `Cache-Control: private`, because shared
    /// caches do not recognize a credential in a cookie.
    ///
    /// The layer rejects with 400 as for [`allow_query`](Self::allow_query), with the same limits
    /// for the cookies of a request.
    ///
    /// [`build`](Self::build) rejects a name that no cookie can have.
    pub fn allow_cookie(mut self, name: impl Into<String>) -> Self {
        let outcome = self.config.locations.get_or_insert_default().allow_cookie(name.into());
        self.note(outcome)
    }

    /// Also reads tokens from this header, which contains only the token, without a scheme. Off by
    /// default. Further calls add further names.
    ///
    /// Use it if a proxy needs the `Authorization` field for itself. The layer marks the inner
    /// service's responses `Cache-Control: private`. It rejects a request with more than one
    /// credential with 400.
    ///
    /// [`build`](Self::build) rejects `Authorization` and `Cookie`, which contain more than a
    /// token.
    pub fn allow_header(mut self, name: HeaderName) -> Self {
        let outcome = self.config.locations.get_or_insert_default().allow_header(name);
        self.note(outcome)
    }

    /// Also reads tokens from `Sec-WebSocket-Protocol`, as the protocol after the one with this
    /// name, usually `bearer`. Off by default. A further call replaces the name.
    ///
    /// A page in a browser can set no other field of a WebSocket's request:
    ///
    /// ```js
    /// new WebSocket("wss://api.example/ws", ["bearer", token])
    /// ```
    ///
    /// Browsers fail the connection unless the response names one of the offered protocols. If the
    /// handler names none, the layer adds this one to a successful response. The layer rejects with
    /// 400 as for [`allow_query`](Self::allow_query), with the same limits for the field.
    ///
    /// Browsers let any site open a WebSocket, but another site does not know the token. So this
    /// location needs no protection from CSRF.
    ///
    /// [`build`](Self::build) rejects a name that no protocol can have.
    pub fn allow_websocket_protocol(mut self, name: impl Into<String>) -> Self {
        let outcome = self.config.locations.get_or_insert_default().allow_websocket_protocol(name.into());
        self.note(outcome)
    }

    /// Removes the credentials from requests if `strip` is `true`, so that the inner service cannot
    /// forward or log them. Default: `false`.
    ///
    /// The layer removes the `Authorization` field and all allowed parameters, cookies and headers,
    /// also from anonymous and exempt requests. Copies that outer layers made stay, such as the
    /// query in Axum's `OriginalUri`.
    pub fn strip_credentials(mut self, strip: bool) -> Self {
        self.config.strip_credentials = strip;
        self
    }

    /// Switches all checks off if `enabled` is `false`: the layer passes every request on, and adds
    /// no claims. For development only. (`tower`'s `option_layer` does not fit, because this layer
    /// changes the response type.)
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.config.enabled = enabled;
        self
    }

    /// Cuts responses that are still open when their token is revoked, if `cutoff` is `true`.
    /// Default: `true`. See [`AuthLayer::cutoff`].
    pub fn cutoff(mut self, cutoff: bool) -> Self {
        self.config.cutoff.is_enabled = cutoff;
        self
    }

    /// Cuts responses that are still open when their token expires, if `cut` is `true`. Default:
    /// `false`. See [`AuthLayer::cut_at_expiry`].
    pub fn cut_at_expiry(mut self, cut: bool) -> Self {
        self.config.cutoff.at_expiry = cut;
        self
    }

    /// Sets the realm in challenges. Default: `api`.
    ///
    /// [`build`](Self::build) rejects a realm that is empty, over 255 bytes, or contains anything
    /// but printable ASCII without `"` and `\`.
    pub fn realm(mut self, realm: impl AsRef<str>) -> Self {
        let outcome = self.config.responder.set_realm(realm.as_ref());
        self.note(outcome)
    }

    /// Replaces the responses to rejected requests.
    ///
    /// `hook` gets the default response and returns the response to send. It may change headers and
    /// body. The layer then sets the status
    /// ([`RejectionKind::status`](super::RejectionKind::status)) and the length. If the hook
    /// panics, the layer sends the default response. gRPC responses have no body, and the layer
    /// does not call the hook for them.
    ///
    /// The hook also applies to the layers made from this one, a
    /// [`CurrentUserLayer`](super::CurrentUserLayer), the [`endpoints`](crate::endpoints), the
    /// extractors, and each [`Rejection`] that a handler returns.
    ///
    /// Do not send a client more than [`Rejection::kind`]: the cause helps attackers. Keep
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

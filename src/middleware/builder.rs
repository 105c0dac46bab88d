//! The builder of a layer.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, Response, request::Parts};

use super::{
    cleared::ClearedCookies,
    config::{Config, Demand},
    layer::AuthLayer,
    rejection::Rejection,
    resource::ResourceMetadata,
};
use crate::{
    cookies::BrowserSessions,
    error::ConfigError,
    jwt::NoClaims,
    tokens::{Freshness, TokenService},
};

/// A builder of an [`AuthLayer`], returned by [`AuthLayer::builder`].
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
    /// The error of the first invalid setting, if any.
    outcome: Result<(), ConfigError>,
}

impl<C> AuthLayer<C> {
    /// Returns a builder with the defaults of [`AuthLayer::new`].
    pub fn builder(tokens: TokenService<C>) -> AuthLayerBuilder<C> {
        AuthLayerBuilder { config: Config::new(tokens), outcome: Ok(()) }
    }
}

impl<C> AuthLayerBuilder<C> {
    /// Also passes on requests that have no credential, and adds no claims to them. The layer still
    /// rejects a request with a bad credential, because its client tried to authenticate.
    pub fn optional(mut self) -> Self {
        self.config.demand = Demand::Optional;
        self
    }

    /// Asks the store on every request: see [`AuthLayer::strong`].
    pub fn strong(self) -> Self {
        self.fresher_than(Duration::ZERO)
    }

    /// Asks the store unless this node has read the revocation log within the last `age`: see
    /// [`AuthLayer::fresher_than`].
    pub fn fresher_than(mut self, age: Duration) -> Self {
        self.config.freshness = Freshness::Within(age);
        self
    }

    /// Exempts this path: the layer passes on its requests without a check, and adds no claims.
    ///
    /// The layer compares the path with the request's path byte for byte. `/public` exempts none of
    /// `/public/`, `/PUBLIC`, `//public`, `/public/../admin` and `/%70ublic`. Axum's `nest` removes
    /// its prefix from the path, so a layer inside it compares only the rest.
    pub fn exempt(mut self, path: impl Into<String>) -> Self {
        self.config.exemptions.get_or_insert_default().add_path(path.into());
        self
    }

    /// Exempts the requests for which `predicate` returns `true`: the layer passes them on without
    /// a check, and adds no claims. Further calls add further predicates.
    ///
    /// The layer treats a panic in a predicate as `false`. Never compare only the start of a path:
    /// an inner service that takes `/public/../admin` for `/admin` would serve `/admin` without a
    /// check.
    pub fn exempt_if(mut self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.config.exemptions.get_or_insert_default().add_predicate(predicate);
        self
    }

    /// Also reads tokens from this query parameter (RFC 6750 section 2.3), usually `access_token`.
    /// Off by default. Further calls add further names.
    ///
    /// URLs leak into logs, histories and `Referer` (RFC 9700 section 4.3.2). So use this location
    /// only for clients that cannot set a header, such as a browser's `EventSource` and
    /// `WebSocket`. The layer marks the inner service's responses `Cache-Control: private`.
    ///
    /// The layer rejects with 400:
    ///
    /// * a request with more than one credential, whatever their locations,
    /// * a query whose length exceeds the maximum length of a token by more than 8 KiB,
    /// * a query with more than 256 parameters.
    ///
    /// [`build`](Self::build) rejects an empty name, and characters other than letters, digits,
    /// `-`, `.`, `_` and `~`.
    pub fn allow_query(mut self, name: impl Into<String>) -> Self {
        let outcome = self.config.locations.get_or_insert_default().allow_query(name.into());
        self.note(outcome)
    }

    /// Also reads tokens from this cookie. Off by default. Further calls add further names. For a
    /// single-page app, call [`browser_sessions`](Self::browser_sessions) instead.
    ///
    /// The layer removes quotes around the value, and ignores a cookie with an empty value.
    ///
    /// Browsers also send cookies with requests that other sites cause (CSRF). So the layer checks
    /// each request whose credential is in a cookie, before it checks the token. A request passes
    /// if one of these conditions is met:
    ///
    /// * The method is GET, HEAD or OPTIONS, and the request does not ask for a WebSocket or
    ///   another upgrade.
    /// * `Sec-Fetch-Site` is `same-origin` or `none`.
    /// * `Sec-Fetch-Site` is absent, and `Origin` has the host and port of the request.
    /// * `Origin` is a [trusted](Self::trust_origin) origin.
    ///
    /// The layer rejects all other requests with 403 ([`RejectionKind::CrossSite`]). A client that
    /// is not a browser often sends neither `Sec-Fetch-Site` nor `Origin`: it should send its token
    /// in `Authorization`. If a proxy replaces the client's `Host`, trust your own origin too.
    ///
    /// Set the cookie with `HttpOnly`, `Secure` and `SameSite=Strict`, and begin its name with
    /// `__Host-`. `SameSite=Lax` is enough if no `GET` changes data. If another layer overrides the
    /// method of requests, put it outside of this layer, so that the check sees the new method.
    ///
    /// The layer marks the inner service's responses `Cache-Control: private`, because shared
    /// caches do not recognize a credential in a cookie.
    ///
    /// The limits of [`allow_query`](Self::allow_query), and its rejections with 400, also apply to
    /// the cookies of a request.
    ///
    /// [`build`](Self::build) rejects a name that no cookie can have.
    ///
    /// [`RejectionKind::CrossSite`]: super::RejectionKind::CrossSite
    pub fn allow_cookie(mut self, name: impl Into<String>) -> Self {
        let outcome = self.config.locations.get_or_insert_default().allow_cookie(name.into());
        self.note(outcome)
    }

    /// Reads tokens from the access cookie of these sessions, as
    /// [`allow_cookie`](Self::allow_cookie) does.
    /// [`Endpoints::browser`](crate::endpoints::Endpoints::browser) sets the cookies.
    ///
    /// If the layer rejects the token in the cookie, its response removes useless cookies:
    ///
    /// * both cookies if the token was revoked or its session is over,
    /// * the access cookie if the token has expired, or is bad in another way.
    ///
    /// It removes no cookie if:
    ///
    /// * the store fails,
    /// * another site may have caused the request,
    /// * the token is not valid yet, or the application's validator refuses it,
    /// * two cookies have the same name.
    pub fn browser_sessions(mut self, sessions: &BrowserSessions) -> Self {
        self.config.cookies.sessions = Some(sessions.clone());
        self.config.cookies.cleared = Some(ClearedCookies::of(sessions));
        self.allow_cookie(sessions.access_cookie().name())
    }

    /// Also accepts a token in a cookie if the request comes from a page of this origin, such as
    /// `https://app.example.com`. Further calls add further origins.
    ///
    /// Use it for a front end on another origin than this service. The front end calls
    /// `fetch(url, { credentials: "include" })`, and a CORS layer outside of this layer allows it:
    ///
    /// ```
    /// use http::{HeaderValue, Method, header::CONTENT_TYPE};
    /// use tower_bearer::{AuthLayer, TokenService};
    /// use tower_http::cors::CorsLayer;
    ///
    /// # fn layers(tokens: TokenService) -> Result<(), tower_bearer::error::ConfigError> {
    /// const FRONT_END: &str = "https://app.example.com";
    ///
    /// let cors = CorsLayer::new()
    ///     .allow_origin(HeaderValue::from_static(FRONT_END)) // never `Any` or `mirror_request`
    ///     .allow_methods([Method::GET, Method::POST])
    ///     .allow_headers([CONTENT_TYPE])
    ///     .allow_credentials(true);
    /// let auth = AuthLayer::builder(tokens)
    ///     .allow_cookie("__Host-access")
    ///     .trust_origin(FRONT_END)
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Browsers treat `app.example.com` and `api.example.com` as one site, and so send
    /// `SameSite=Strict` cookies. A front end on another site needs `SameSite=None`, and browsers
    /// may still block its cookies.
    ///
    /// [`build`](Self::build) rejects an origin that is not a scheme, a host and an optional port.
    pub fn trust_origin(mut self, origin: impl AsRef<str>) -> Self {
        let outcome = self.config.cookies.cross_site.trust(origin.as_ref());
        self.note(outcome)
    }

    /// Also demands a double submit: a request with a token in a cookie must repeat the value of
    /// `cookie` in `header`. Off by default, because the check of `Sec-Fetch-Site` and `Origin`
    /// suffices. Requests with a safe method need no double submit. Neither do WebSocket requests.
    ///
    /// [`Endpoints::browser`](crate::endpoints::Endpoints::browser) sets the cookie at login and
    /// refresh, with a random value that scripts can read. Without these endpoints, the application
    /// must set the cookie. Begin its name with `__Host-`, because otherwise another host of the
    /// domain can set it. Users who logged in before this setting lack the cookie, and must log in
    /// again.
    ///
    /// [`build`](Self::build) rejects:
    ///
    /// * a name that no cookie can have,
    /// * the name of a cookie of [`browser_sessions`](Self::browser_sessions),
    /// * a name that begins with `__Host-` or `__Secure-` if the cookies of the browser sessions
    ///   have no `Secure`.
    pub fn double_submit(mut self, cookie: impl Into<String>, header: HeaderName) -> Self {
        let outcome = self.config.cookies.cross_site.set_double_submit(cookie.into(), header);
        self.note(outcome)
    }

    /// Switches off the check against requests of other sites (CSRF) if `check` is `false`.
    /// Default: `true`. Use `false` only if an outer layer makes the same check.
    pub fn csrf(mut self, check: bool) -> Self {
        self.config.cookies.cross_site.enable(check);
        self
    }

    /// Sets how an [`optional`](Self::optional) layer treats a request with a bad token in a
    /// cookie:
    ///
    /// * `false` (default): the layer rejects the request. So a public page answers 401 to a user
    ///   with a revoked session, until the browser's cookie expires.
    /// * `true`: the layer passes the request on without claims, and its response removes the
    ///   cookie. The response keeps the cookie if the token is not valid yet, or if the validator
    ///   refused it.
    ///
    /// The setting does not apply to tokens in other locations, to a failure of the store (503),
    /// and to requests that another site causes (403). It has no effect on a layer that is not
    /// optional.
    ///
    /// With [`browser_sessions`](Self::browser_sessions), the layer removes only the cookies of
    /// these sessions. Otherwise it removes the allowed cookies, and assumes that they have the
    /// path `/` and no domain.
    pub fn forgive_cookies(mut self, forgive: bool) -> Self {
        self.config.cookies.are_forgiven = forgive;
        self
    }

    /// Also reads tokens from this header, which contains only the token, without a scheme. Off by
    /// default. Further calls add further names.
    ///
    /// Use this location if a proxy needs the `Authorization` field for itself. The layer marks the
    /// inner service's responses `Cache-Control: private`. If a request has more than one
    /// credential, the layer rejects it with 400.
    ///
    /// [`build`](Self::build) rejects `Authorization`, `Cookie` and `Sec-WebSocket-Protocol`,
    /// because these fields contain more than a token.
    pub fn allow_header(mut self, name: HeaderName) -> Self {
        let outcome = self.config.locations.get_or_insert_default().allow_header(name);
        self.note(outcome)
    }

    /// Also reads tokens from `Sec-WebSocket-Protocol`. The client lists the token directly after
    /// the protocol `name`, usually `bearer`. Off by default. A further call replaces the name.
    ///
    /// A web page can set only this field of a WebSocket's request:
    ///
    /// ```js
    /// new WebSocket("wss://api.example/ws", ["bearer", token])
    /// ```
    ///
    /// Browsers fail the connection if the response names none of the offered protocols. If the
    /// handler names none, the layer adds `name` to a successful response. The limits of
    /// [`allow_query`](Self::allow_query), and its rejections with 400, also apply to the field.
    ///
    /// This location needs no protection from CSRF: any site may open a WebSocket, but another site
    /// does not have the token.
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
    /// also from anonymous and exempt requests. It removes all cookies of
    /// [`browser_sessions`](Self::browser_sessions). It does not remove copies that outer layers
    /// made, such as the query in Axum's `OriginalUri`.
    pub fn strip_credentials(mut self, strip: bool) -> Self {
        self.config.strip_credentials = strip;
        self
    }

    /// Switches all checks off if `enabled` is `false`: the layer passes every request on, and adds
    /// no claims. Use `false` only for development. (`tower`'s `option_layer` cannot replace this
    /// setting, because this layer changes the response type.)
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
    /// [`build`](Self::build) rejects a realm that is empty or over 255 bytes long. It also rejects
    /// `"`, `\` and characters that are not printable ASCII.
    pub fn realm(mut self, realm: impl AsRef<str>) -> Self {
        let outcome = self.config.responder.set_realm(realm.as_ref());
        self.note(outcome)
    }

    /// Adds the URL of the protected resource metadata to challenges: see [`AuthLayer::resource`].
    pub fn resource(mut self, metadata: ResourceMetadata) -> Self {
        self.config.responder.set_resource(metadata);
        self
    }

    /// Makes the scope `scope` imply the scopes `implied`. If a route requires one of the implied
    /// scopes, a token with `scope` suffices. Implications are transitive. Further calls add
    /// further implications.
    ///
    /// The implications apply to the layers of [`require_scope`](AuthLayer::require_scope),
    /// [`require_all_scopes`](AuthLayer::require_all_scopes) and
    /// [`require_any_scope`](AuthLayer::require_any_scope). They do not change the claims,
    /// [`Scope::contains`](crate::jwt::Scope::contains) or the scopes in a challenge.
    ///
    /// ```
    /// # use tower_bearer::{AuthLayer, TokenService, error::ConfigError};
    /// # fn layer(tokens: TokenService) -> Result<(), ConfigError> {
    /// let auth = AuthLayer::builder(tokens)
    ///     .scope_implies("admin", ["write"])
    ///     .scope_implies("write", ["read"])
    ///     .build()?;
    /// // Passes on requests whose token has the scope `read`, `write` or `admin`.
    /// let readers = auth.require_scope("read")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`build`](Self::build) rejects texts that are not scope tokens (RFC 6749 section 3.3), an
    /// empty list, and a scope that implies itself, directly or through others.
    pub fn scope_implies(mut self, scope: impl AsRef<str>, implied: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let outcome = self.config.implications.add(scope.as_ref(), implied);
        self.note(outcome)
    }

    /// Replaces the responses to rejected requests.
    ///
    /// `hook` gets the default response and returns the response to send. It may change headers and
    /// body. The layer then sets the status
    /// ([`RejectionKind::status`](super::RejectionKind::status)) and the length. If the hook
    /// panics, the layer sends the default response. The layer does not call the hook for gRPC
    /// responses, because they have no body.
    ///
    /// The hook also gets the rejections of:
    ///
    /// * extractors and handlers inside this layer,
    /// * each [`RequireLayer`](super::RequireLayer) that was made from this layer,
    /// * each [`CurrentUserLayer`](super::CurrentUserLayer) that was made from this layer,
    /// * the [`endpoints`](crate::endpoints) that were made from this layer.
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
    /// The error of the first invalid setting.
    pub fn build(mut self) -> Result<AuthLayer<C>, ConfigError> {
        self.outcome?;
        if let (Some(sessions), Some(locations)) = (&self.config.cookies.sessions, &mut self.config.locations) {
            self.config.cookies.cross_site.check_double_submit(sessions)?;
            let proof = self.config.cookies.cross_site.double_submit_cookie();
            for name in proof.into_iter().chain([sessions.refresh_cookie().name()]) {
                locations.strip_cookie_too(name);
            }
        }
        if let (true, None, Some(locations)) =
            (self.config.cookies.are_forgiven, &self.config.cookies.cleared, &self.config.locations)
        {
            self.config.cookies.forgotten = Some(ClearedCookies::of_names(locations.cookies())?);
        }
        self.config.implications.close()?;
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

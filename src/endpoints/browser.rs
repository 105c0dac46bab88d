//! The endpoints of browser sessions. Both tokens are in cookies, and no response body contains a
//! token.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header::SET_COOKIE, request::Parts};
use http_body_util::Full;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{
    Endpoints,
    answer::{json, of_grant, of_operation},
    endpoint::{Endpoint, Handle},
    fields::Fields,
    login::Login,
    logout::{LogoutAll, logged_out},
    refresh::Refresh,
};
use crate::{
    cookies::{BrowserSessions, TokenCookie},
    error::ConfigError,
    jwt::TokenType,
    middleware::{AuthService, CrossSiteCheck, Rejection, RejectionKind, token_in_cookie},
    tokens::{TokenPair, TokenService, random_id},
    users::UserAuthentication,
};

/// A factory of the endpoints for browser sessions. [`Endpoints::browser`] creates it.
pub struct BrowserEndpoints<A: UserAuthentication> {
    endpoints: Endpoints<A>,
    cookies: SessionCookies,
}

/// The cookies of browser sessions, and the check for requests that another site causes (CSRF).
#[derive(Clone, Debug)]
struct SessionCookies {
    sessions: BrowserSessions,
    cross_site: CrossSiteCheck,
    max_token_len: usize,
}

impl<A> Endpoints<A>
where
    A: UserAuthentication,
    A::Claims: Serialize + DeserializeOwned,
{
    /// Returns the endpoints for browser sessions. Login and refresh put both tokens into cookies,
    /// never into a response body. See the [module docs](super#browser-sessions).
    ///
    /// # Errors
    ///
    /// Returns an error if the layer was built without
    /// [`browser_sessions`](crate::middleware::AuthLayerBuilder::browser_sessions).
    pub fn browser(&self) -> Result<BrowserEndpoints<A>, ConfigError> {
        let sessions = self.auth.browser_sessions().ok_or_else(|| {
            ConfigError::missing(
                "browser",
                "is called for a layer without browser sessions",
                "call `browser_sessions` on the `AuthLayerBuilder` of this layer",
            )
        })?;
        Ok(BrowserEndpoints::new(self.clone(), sessions.clone()))
    }
}

impl<A> BrowserEndpoints<A>
where
    A: UserAuthentication,
    A::Claims: Serialize + DeserializeOwned,
{
    fn new(endpoints: Endpoints<A>, sessions: BrowserSessions) -> Self {
        let (cross_site, max_token_len) = (endpoints.auth.cross_site(), endpoints.auth.tokens().max_token_len());
        Self { endpoints, cookies: SessionCookies { sessions, cross_site, max_token_len } }
    }

    /// Returns the endpoint that exchanges a user name and a password for the cookies of a new
    /// session. The response body is `{"user_id":"..","expires_in":..}`.
    #[must_use]
    pub fn login(&self) -> Endpoint<BrowserLogin<A>> {
        let login = self.endpoints.login_handler(None);
        self.endpoints.endpoint(BrowserLogin { login, cookies: self.cookies.clone() })
    }

    /// Returns the endpoint that exchanges the refresh token in the cookie for new tokens, and sets
    /// both cookies anew. The response body is `{"expires_in":..}`.
    ///
    /// If the refresh token is missing or refused, the endpoint answers 401 and removes both
    /// cookies. If two tabs refresh at once, both get the same new tokens
    /// ([`reuse_grace`](crate::tokens::TokenServiceBuilder::reuse_grace)).
    #[must_use]
    pub fn refresh(&self) -> Endpoint<BrowserRefresh<A::Claims>> {
        let refresh = self.endpoints.refresh_handler();
        self.endpoints.endpoint(BrowserRefresh { refresh, cookies: self.cookies.clone() })
    }

    /// Returns the endpoint that ends the session and removes its cookies.
    ///
    /// One of the two cookies suffices, even if its token has expired or is revoked. So a repeated
    /// call with the same cookies succeeds.
    ///
    /// If neither cookie has a token that this service has signed, the endpoint removes both
    /// cookies and answers 401. If a cookie is malformed or repeated, the status can be 400.
    #[must_use]
    pub fn logout(&self) -> Endpoint<BrowserLogout<A::Claims>> {
        let tokens = self.endpoints.auth.tokens().clone();
        self.endpoints.endpoint(BrowserLogout { tokens, cookies: self.cookies.clone() })
    }

    /// Returns the endpoint that ends all sessions of the user and removes the cookies. The request
    /// needs a valid access token. With `?keep_current=true`, the endpoint keeps the current
    /// session and its cookies.
    #[must_use]
    pub fn logout_all(&self) -> AuthService<Endpoint<LogoutAll<A::Claims>>, A::Claims> {
        let sessions = &self.cookies.sessions;
        let proof = self.cookies.cross_site.double_submit_cookie();
        // The builder of the layer has validated the name.
        let proof = proof.and_then(|name| TokenCookie::builder().name(name).secure(sessions.is_secure()).build().ok());
        let cookies = [sessions.access_cookie(), sessions.refresh_cookie()].into_iter().cloned().chain(proof);
        let cookies = cookies.map(Arc::new).collect();
        self.endpoints.protected(LogoutAll { tokens: self.endpoints.auth.tokens().clone(), cookies })
    }
}

impl SessionCookies {
    /// Refuses a request with session cookies unless its headers show that no other site caused it.
    /// Refuses a request without session cookies only if its headers name another site.
    fn check(&self, parts: &Parts) -> Result<(), Rejection> {
        let Parts { method, uri, headers, .. } = parts;
        if !self.are_in(headers) {
            return self.cross_site.check_without_cookie(parts);
        }
        let is_admitted = self.cross_site.admits(method, uri, headers, self.max_token_len);
        if is_admitted { Ok(()) } else { Err(Rejection::new(RejectionKind::CrossSite)) }
    }

    /// Returns true if a request has one of the session cookies, even with a malformed value.
    fn are_in(&self, headers: &HeaderMap) -> bool {
        let cookies = [self.sessions.access_cookie(), self.sessions.refresh_cookie()];
        cookies.iter().any(|cookie| !matches!(self.token_in(cookie, headers), Ok(None)))
    }

    fn token_in(&self, cookie: &TokenCookie, headers: &HeaderMap) -> Result<Option<Zeroizing<String>>, Rejection> {
        token_in_cookie(headers, cookie.name(), self.max_token_len)
    }

    /// Adds the session cookies to a response. `proof` is the current value of the double-submit
    /// cookie. The new cookie keeps that value, because another value would break requests that
    /// other tabs have already begun.
    fn set(
        &self,
        mut response: Response<Full<Bytes>>,
        pair: &TokenPair,
        proof: Option<Zeroizing<String>>,
    ) -> Result<Response<Full<Bytes>>, Rejection> {
        let headers = response.headers_mut();
        headers.append(SET_COOKIE, self.sessions.access_cookie().set(pair.access()));
        headers.append(SET_COOKIE, self.sessions.refresh_cookie().set(pair.refresh()));
        if let Some(name) = self.cross_site.double_submit_cookie() {
            let value = match proof {
                Some(value) => value,
                None => random_id().map(Zeroizing::new).map_err(of_operation)?,
            };
            headers.append(SET_COOKIE, self.sessions.set_readable(name, &value, pair.refresh().expires_in()));
        }
        Ok(response)
    }

    fn clear(&self, headers: &mut HeaderMap) {
        headers.append(SET_COOKIE, self.sessions.access_cookie().clear());
        headers.append(SET_COOKIE, self.sessions.refresh_cookie().clear());
        if let Some(name) = self.cross_site.double_submit_cookie() {
            headers.append(SET_COOKIE, self.sessions.set_readable(name, "", 0));
        }
    }

    /// Removes the cookies if the response is a 401, because the tokens in the cookies are useless.
    fn clear_after(&self, kind: RejectionKind, headers: &mut HeaderMap) {
        if kind.status() == StatusCode::UNAUTHORIZED {
            self.clear(headers);
        }
    }
}

/// The handler of [`BrowserEndpoints::login`].
pub struct BrowserLogin<A: UserAuthentication> {
    login: Login<A>,
    cookies: SessionCookies,
}

impl<A> Handle for BrowserLogin<A>
where
    A: UserAuthentication,
    A::Claims: Serialize,
{
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = true;

    /// Refuses a request only if its headers name another site, because a login needs no cookie.
    fn check(&self, parts: &Parts) -> Result<(), Rejection> {
        self.cookies.cross_site.check_without_cookie(parts)
    }

    async fn handle(&self, parts: Parts, fields: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let (id, pair) = self.login.answer(parts, &fields).await?;
        let body = serde_json::json!({ "user_id": id.as_str(), "expires_in": pair.access().expires_in() });
        self.cookies.set(json(StatusCode::OK, &body), &pair, None)
    }
}

/// The handler of [`BrowserEndpoints::refresh`].
pub struct BrowserRefresh<C> {
    refresh: Refresh<C>,
    cookies: SessionCookies,
}

impl<C: Serialize + Send + Sync + 'static> Handle for BrowserRefresh<C> {
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = false;

    fn check(&self, parts: &Parts) -> Result<(), Rejection> {
        self.cookies.check(parts)
    }

    fn has_cookies(&self, headers: &HeaderMap) -> bool {
        self.cookies.are_in(headers)
    }

    fn add_to_rejection(&self, kind: RejectionKind, headers: &mut HeaderMap) {
        self.cookies.clear_after(kind, headers);
    }

    async fn handle(&self, parts: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let presented = self.cookies.token_in(self.cookies.sessions.refresh_cookie(), &parts.headers)?;
        let presented = presented.ok_or(Rejection::new(RejectionKind::NoCredentials))?;
        let Refresh { tokens, renewal, .. } = &self.refresh;
        let refreshed = tokens.refresh_or_ask(&presented, Some(&**renewal)).await;
        let pair = refreshed.map_err(|error| of_grant(error, RejectionKind::InvalidToken))?;
        let body = serde_json::json!({ "expires_in": pair.access().expires_in() });
        let name = self.cookies.cross_site.double_submit_cookie();
        let proof = name.and_then(|name| token_in_cookie(&parts.headers, name, self.cookies.max_token_len).ok());
        self.cookies.set(json(StatusCode::OK, &body), &pair, proof.flatten())
    }
}

/// The handler of [`BrowserEndpoints::logout`].
pub struct BrowserLogout<C> {
    tokens: TokenService<C>,
    cookies: SessionCookies,
}

impl<C: Send + Sync + 'static> Handle for BrowserLogout<C> {
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = false;

    fn check(&self, parts: &Parts) -> Result<(), Rejection> {
        self.cookies.check(parts)
    }

    fn has_cookies(&self, headers: &HeaderMap) -> bool {
        self.cookies.are_in(headers)
    }

    /// Removes the cookies in a 401, and also in a 400 (`InvalidRequest`), because the user wants
    /// to log out.
    fn add_to_rejection(&self, kind: RejectionKind, headers: &mut HeaderMap) {
        if kind == RejectionKind::InvalidRequest {
            self.cookies.clear(headers);
        }
        self.cookies.clear_after(kind, headers);
    }

    async fn handle(&self, parts: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let sessions = &self.cookies.sessions;
        let mut refused = Rejection::new(RejectionKind::NoCredentials);
        let mut ended = Vec::new();
        for (cookie, token_type) in
            [(sessions.refresh_cookie(), TokenType::Refresh), (sessions.access_cookie(), TokenType::Access)]
        {
            let presented = match self.cookies.token_in(cookie, &parts.headers) {
                Ok(Some(presented)) => presented,
                Ok(None) => continue,
                // Another host of the domain may have set a second cookie with this name. Such a
                // cookie must not prevent the logout.
                Err(rejection) => {
                    refused = rejection;
                    continue;
                }
            };
            match self.tokens.claims_at_logout(&presented, token_type) {
                // Both cookies usually belong to one session, which needs only one logout.
                Ok(claims) if ended.contains(&claims.session_id().cloned()) => {}
                Ok(claims) => {
                    self.tokens.log_out(&claims).await.map_err(of_operation)?;
                    ended.push(claims.session_id().cloned());
                }
                Err(error) => refused = of_grant(error, RejectionKind::InvalidToken),
            }
        }
        if ended.is_empty() {
            return Err(refused);
        }
        let mut response = logged_out();
        self.cookies.clear(response.headers_mut());
        Ok(response)
    }
}

impl<A: UserAuthentication> Clone for BrowserEndpoints<A> {
    fn clone(&self) -> Self {
        Self { endpoints: self.endpoints.clone(), cookies: self.cookies.clone() }
    }
}

impl<A: UserAuthentication> fmt::Debug for BrowserEndpoints<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserEndpoints").field("sessions", &self.cookies.sessions).finish_non_exhaustive()
    }
}

impl<A: UserAuthentication> fmt::Debug for BrowserLogin<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserLogin").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for BrowserRefresh<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserRefresh").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for BrowserLogout<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserLogout").finish_non_exhaustive()
    }
}

//! The two cookies of a browser session.

use std::sync::Arc;

use http::HeaderValue;

use super::token_cookie::{SameSite, TokenCookie};
use crate::error::ConfigError;

/// The cookies of a browser session: one for the access token and one for the refresh token.
///
/// Pass this value to
/// [`AuthLayerBuilder::browser_sessions`](crate::middleware::AuthLayerBuilder::browser_sessions).
/// [`Endpoints::browser`](crate::endpoints::Endpoints::browser) has an example.
///
/// | cookie | name | path | alternatives |
/// |--|--|--|--|
/// | access | `__Host-access` | `/` | |
/// | refresh | `__Host-refresh` | `/` | [`refresh_path`](BrowserSessionsBuilder::refresh_path) |
///
/// Both cookies are `HttpOnly`, `Secure` and `SameSite=Strict`. Each cookie lasts as long as its
/// token.
///
/// The prefix `__Host-` prevents other hosts of the domain from setting the cookie. It requires the
/// path `/`, so browsers send the refresh token with each request to the host. If browsers should
/// send it only to the endpoints that need it, set a `refresh_path`.
///
/// Browsers drop a cookie of more than 4096 bytes, so keep the claims small.
#[derive(Clone, Debug)]
pub struct BrowserSessions(Arc<Cookies>);

#[derive(Debug)]
struct Cookies {
    access: TokenCookie,
    refresh: TokenCookie,
    is_secure: bool,
}

/// A builder of [`BrowserSessions`]. [`BrowserSessions::builder`] creates it.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct BrowserSessionsBuilder {
    same_site: SameSite,
    secure: bool,
    refresh_path: Option<String>,
}

impl BrowserSessions {
    /// Returns a builder with the defaults.
    pub fn builder() -> BrowserSessionsBuilder {
        BrowserSessionsBuilder { same_site: SameSite::Strict, secure: true, refresh_path: None }
    }

    /// Returns the cookie of the access token.
    #[must_use]
    pub fn access_cookie(&self) -> &TokenCookie {
        &self.0.access
    }

    /// Returns a `Set-Cookie` value for the double-submit cookie, which scripts can read.
    pub(crate) fn set_readable(&self, name: &str, value: &str, max_age: u64) -> HeaderValue {
        self.0.access.set_readable(name, value, max_age)
    }

    /// Returns true if the cookies have the attribute `Secure`.
    pub(crate) fn is_secure(&self) -> bool {
        self.0.is_secure
    }

    /// Returns the cookie of the refresh token.
    #[must_use]
    pub fn refresh_cookie(&self) -> &TokenCookie {
        &self.0.refresh
    }
}

impl BrowserSessionsBuilder {
    /// Sets the attribute `SameSite`. Browsers use it to decide if a request from another site gets
    /// the cookies. Default: `Strict`.
    ///
    /// * `Strict`: no request from another site gets the cookies. A user who follows a link from
    ///   another site seems logged out until the page itself makes a request.
    /// * `Lax`: for a server that renders pages for users who are logged in. The refresh cookie
    ///   stays `Strict`, because only the page itself refreshes.
    /// * `None`: only for a front end on another site. Name its origin with
    ///   [`trust_origin`](crate::middleware::AuthLayerBuilder::trust_origin).
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Makes browsers send the refresh token only to paths under `path`, such as `/auth`. Put the
    /// refresh and logout endpoints under this path.
    ///
    /// The refresh cookie then has the name `__Secure-refresh`, because `__Host-` requires the path
    /// `/`. Another host of the domain can set a cookie of that name.
    pub fn refresh_path(mut self, path: impl Into<String>) -> Self {
        self.refresh_path = Some(path.into());
        self
    }

    /// Omits `Secure` and the prefixes of the names if `secure` is `false`. Use `false` only for
    /// development without TLS, on a host other than `localhost`. Default: `true`.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Builds the cookies.
    ///
    /// # Errors
    ///
    /// * The path does not start with `/`, or contains a forbidden character.
    /// * `SameSite=None` is set without `Secure`.
    pub fn build(self) -> Result<BrowserSessions, ConfigError> {
        let (access, refresh) = match (self.secure, &self.refresh_path) {
            (false, _) => ("access", "refresh"),
            (true, None) => ("__Host-access", "__Host-refresh"),
            (true, Some(_)) => ("__Host-access", "__Secure-refresh"),
        };
        let cookie = |name, same_site| TokenCookie::builder().name(name).same_site(same_site).secure(self.secure);
        let of_refresh = if self.same_site == SameSite::None { SameSite::None } else { SameSite::Strict };
        let refresh_path = self.refresh_path.as_deref().unwrap_or("/");
        let cookies = Cookies {
            access: cookie(access, self.same_site).build()?,
            refresh: cookie(refresh, of_refresh).path(refresh_path).build()?,
            is_secure: self.secure,
        };
        Ok(BrowserSessions(Arc::new(cookies)))
    }
}

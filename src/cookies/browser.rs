//! The two cookies of a browser session.

use std::sync::Arc;

use http::HeaderValue;

use super::token_cookie::{SameSite, TokenCookie};
use crate::error::ConfigError;

/// The cookies of a browser session: one for the access token and one for the refresh token.
///
/// Pass the value to
/// [`AuthLayerBuilder::browser_sessions`](crate::middleware::AuthLayerBuilder::browser_sessions).
/// [`Endpoints::browser`](crate::endpoints::Endpoints::browser) has an example.
///
/// | cookie | name | path | alternatives |
/// |--|--|--|--|
/// | access | `__Host-access` | `/` | |
/// | refresh | `__Host-refresh` | `/` | [`refresh_path`](BrowserSessionsBuilder::refresh_path) |
///
/// Both cookies are `HttpOnly`, `Secure` and `SameSite=Strict`, and last as long as their token.
///
/// The prefix `__Host-` lets no other host of the domain set the cookie. It demands the path `/`,
/// so browsers send the refresh token with each request to the host. Each service behind the host
/// gets the token, and each log of request headers may contain it. If that is too much, set a
/// `refresh_path`.
///
/// Browsers drop a cookie of more than 4096 bytes: keep the claims small.
#[derive(Clone, Debug)]
pub struct BrowserSessions(Arc<Cookies>);

#[derive(Debug)]
struct Cookies {
    access: TokenCookie,
    refresh: TokenCookie,
    is_secure: bool,
}

/// A builder of [`BrowserSessions`]. Made by [`BrowserSessions::builder`].
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

    /// Returns the value of a `Set-Cookie` field for the cookie of the double submit, which scripts
    /// can read.
    pub(crate) fn set_readable(&self, name: &str, value: &str, max_age: u64) -> HeaderValue {
        self.0.access.set_readable(name, value, max_age)
    }

    /// Returns true if the cookies have `Secure`.
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
    /// Sets the attribute `SameSite`: the requests from other sites to which browsers add the
    /// cookies. Default: `Strict`.
    ///
    /// With `Strict`, a user who follows a link from another site seems logged out until the page
    /// itself makes a request. Use `Lax` if the server renders pages for users who are logged in.
    /// The cookie of the refresh token then stays `Strict`, because only the page itself refreshes.
    /// Use `None` only for a front end on another site, and name its origin with
    /// [`trust_origin`](crate::middleware::AuthLayerBuilder::trust_origin).
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Makes browsers send the refresh token only to paths under `path`, such as `/auth`. The
    /// refresh and logout endpoints must be under it. The name of the cookie is then
    /// `__Secure-refresh`, because `__Host-` allows no path but `/`. Another host of the domain can
    /// set a cookie of that name.
    pub fn refresh_path(mut self, path: impl Into<String>) -> Self {
        self.refresh_path = Some(path.into());
        self
    }

    /// Omits `Secure` and the prefixes of the names if `secure` is `false`: for development without
    /// TLS on another host than `localhost`. Default: `true`.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Builds the cookies.
    ///
    /// # Errors
    ///
    /// * The path breaks the grammar.
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

//! The cookie in which a browser keeps the access token.
//!
//! The field is written by hand. Name, attributes and value have no character that would have to be
//! quoted: all is checked when it is configured, and a token is base64url with dots. The field's
//! library would bring a calendar along for `Expires`, which is not sent.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, header::SET_COOKIE};
use http_body_util::Full;

use crate::{error::ConfigError, middleware::is_cookie_name, tokens::IssuedToken};

/// A cookie that holds a token (RFC 6265bis), for
/// [`Endpoints::access_cookie`](super::Endpoints::access_cookie),
/// [`Endpoints::clear_at_logout`](super::Endpoints::clear_at_logout), or for responses of the
/// application's own.
///
/// | attribute | default |
/// |--|--|
/// | name | `__Host-access_token`: no other host can set it, and it goes over TLS only |
/// | `HttpOnly` | always: no script reads it |
/// | `Secure` | yes |
/// | `SameSite` | `Strict`: it is not sent with requests that other sites cause |
/// | `Path`, `Domain` | `/`, none |
/// | `Max-Age` | the token's life |
///
/// Browsers drop a cookie of more than 4096 bytes without a word (RFC 6265bis section 5.6): keep
/// the claims small.
///
/// ```
/// use tower_bearer::endpoints::{SameSite, TokenCookie};
///
/// let cookie = TokenCookie::builder().same_site(SameSite::Lax).build()?;
/// let cleared = "__Host-access_token=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax";
/// assert_eq!(cookie.clear(), cleared);
/// # Ok::<(), tower_bearer::error::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenCookie {
    name: String,
    /// All but `Max-Age`, as they are written.
    attributes: String,
}

/// Configures a [`TokenCookie`]. Made by [`TokenCookie::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct TokenCookieBuilder {
    name: String,
    path: String,
    domain: Option<String>,
    secure: bool,
    same_site: SameSite,
}

/// The requests of other sites that carry a cookie (RFC 6265bis section 4.1.2.7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SameSite {
    /// None of them.
    Strict,
    /// Those that navigate to the site: top-level `GET`.
    Lax,
    /// All of them. The application then needs another protection from forged requests.
    None,
}

impl TokenCookie {
    /// Begins with the defaults.
    pub fn builder() -> TokenCookieBuilder {
        TokenCookieBuilder {
            name: "__Host-access_token".to_owned(),
            path: "/".to_owned(),
            domain: None,
            secure: true,
            same_site: SameSite::Strict,
        }
    }

    /// Returns the name, which
    /// [`AuthLayerBuilder::allow_cookie`](crate::middleware::AuthLayerBuilder::allow_cookie) is
    /// given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value of a `Set-Cookie` field that keeps this token for the rest of its life. It
    /// is marked sensitive.
    #[must_use]
    pub fn set(&self, token: &IssuedToken) -> HeaderValue {
        let mut value = self.value(token.as_str(), token.expires_in());
        value.set_sensitive(true);
        value
    }

    /// Returns the value of a `Set-Cookie` field that removes the cookie. It has the attributes
    /// with which the cookie was set, else browsers keep it.
    #[must_use]
    pub fn clear(&self) -> HeaderValue {
        self.value("", 0)
    }

    fn value(&self, value: &str, max_age: u64) -> HeaderValue {
        let text = format!("{}={value}; Max-Age={max_age}{}", self.name, self.attributes);
        // `build` has checked all characters.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl TokenCookieBuilder {
    /// Sets the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the path below which it is sent.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets the domain whose hosts all get it. Without a domain, only the host that has set it gets
    /// it.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Sets the requests of other sites that carry it.
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Sends it without TLS too if `secure` is `false`: for development on another name than
    /// `localhost`.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Builds the cookie, if browsers would take it.
    ///
    /// # Errors
    ///
    /// * A name, path or domain that breaks the grammar.
    /// * `SameSite=None` without `Secure`.
    /// * A name that begins with `__Secure-`, without `Secure`.
    /// * A name that begins with `__Host-`, without `Secure`, with another path than `/` or with a
    ///   domain.
    pub fn build(self) -> Result<TokenCookie, ConfigError> {
        let refuse = |problem: &'static str, remedy: &'static str| Err(ConfigError::new("cookie", problem, remedy));
        let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b';' && byte != b',');
        if !is_cookie_name(&self.name) {
            return refuse("has a name that no cookie can have", "give a token, as `__Host-access_token`");
        }
        if !self.path.starts_with('/') || !plain(&self.path) {
            return refuse(
                "has a path that does not start with `/`, or a character that no path has",
                "give `/` or the like",
            );
        }
        if self.domain.as_deref().is_some_and(|domain| domain.is_empty() || !plain(domain)) {
            return refuse(
                "has a domain that is empty, or a character that no domain has",
                "give the host's name, or none",
            );
        }
        if self.same_site == SameSite::None && !self.secure {
            return refuse("has `SameSite=None` without `Secure`, which browsers refuse", "leave `secure` on");
        }
        // Browsers compare the prefixes without case.
        let begins = |prefix: &str| self.name.get(..prefix.len()).is_some_and(|own| own.eq_ignore_ascii_case(prefix));
        if (begins("__Secure-") || begins("__Host-")) && !self.secure {
            return refuse(
                "has a name that promises `Secure`, and has it not",
                "leave `secure` on, or give another name",
            );
        }
        if begins("__Host-") && (self.path != "/" || self.domain.is_some()) {
            return refuse(
                "has a name that promises one host and the path `/`",
                "leave `path` and `domain` out, or give another name",
            );
        }
        let domain = self.domain.map(|domain| format!("; Domain={domain}")).unwrap_or_default();
        let secure = if self.secure { "; Secure" } else { "" };
        let same_site = match self.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        let attributes = format!("; Path={}{domain}; HttpOnly{secure}; SameSite={same_site}", self.path);
        Ok(TokenCookie { name: self.name, attributes })
    }
}

/// Adds the cookie that keeps the token.
pub(crate) fn with_cookie(
    mut answer: Response<Full<Bytes>>,
    cookie: Option<&TokenCookie>,
    token: &IssuedToken,
) -> Response<Full<Bytes>> {
    answer.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie.set(token))));
    answer
}

/// Clears these cookies, and no other.
pub(super) fn clear_cookies(answer: &mut Response<Full<Bytes>>, cookies: &[Arc<TokenCookie>]) {
    for cookie in cookies {
        answer.headers_mut().append(SET_COOKIE, cookie.clear());
    }
}

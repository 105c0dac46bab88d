//! The cookie in which a browser stores a token.
//!
//! This module formats the `Set-Cookie` field itself. The crate `cookie` would add the dependency
//! `time` for `Expires`. No value needs quotes: `build` validates name and attributes, and a token
//! is base64url with dots.

use http::HeaderValue;

use super::name::check_cookie_name;
use crate::{error::ConfigError, tokens::IssuedToken};

/// A cookie with a token (RFC 6265bis). Pass it to
/// [`Endpoints::access_cookie`](crate::endpoints::Endpoints::access_cookie) or
/// [`Endpoints::refresh_cookie`](crate::endpoints::Endpoints::refresh_cookie), or add it to your
/// own responses.
///
/// | attribute | default |
/// |--|--|
/// | name | `__Host-access_token`: no other host can set it, and it needs TLS |
/// | `HttpOnly` | always: scripts cannot read it |
/// | `Secure` | yes |
/// | `SameSite` | `Strict`: browsers do not send it with requests from other sites |
/// | `Path`, `Domain` | `/`, none |
/// | `Max-Age` | the token's remaining lifetime |
///
/// Browsers silently drop a cookie of more than 4096 bytes (RFC 6265bis section 5.6), so keep the
/// claims small.
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
    /// The formatted attributes, except `Max-Age`.
    attributes: String,
}

/// A builder of a [`TokenCookie`]. [`TokenCookie::builder`] creates it.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct TokenCookieBuilder {
    name: String,
    path: String,
    domain: Option<String>,
    secure: bool,
    same_site: SameSite,
}

/// The attribute `SameSite`. Browsers use it to decide if a request from another site gets the
/// cookie (RFC 6265bis section 4.1.2.7).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SameSite {
    /// No request from another site gets the cookie.
    Strict,
    /// A request from another site gets the cookie only if the user follows a link (a top-level
    /// navigation with a safe method).
    Lax,
    /// Every request from another site gets the cookie. The application then needs another
    /// protection against CSRF.
    None,
}

impl TokenCookie {
    /// Returns a builder with the defaults.
    pub fn builder() -> TokenCookieBuilder {
        TokenCookieBuilder {
            name: "__Host-access_token".to_owned(),
            path: "/".to_owned(),
            domain: None,
            secure: true,
            same_site: SameSite::Strict,
        }
    }

    /// Returns the name of the cookie. Pass the name to
    /// [`AuthLayerBuilder::allow_cookie`](crate::middleware::AuthLayerBuilder::allow_cookie).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value of a `Set-Cookie` field that stores this token for its remaining lifetime.
    /// The value is marked sensitive.
    #[must_use]
    pub fn set(&self, token: &IssuedToken) -> HeaderValue {
        let mut value = self.value(token.as_str(), token.expires_in());
        value.set_sensitive(true);
        value
    }

    /// Returns the value of a `Set-Cookie` field that removes the cookie. The value repeats the
    /// attributes, because browsers otherwise keep the cookie.
    #[must_use]
    pub fn clear(&self) -> HeaderValue {
        self.value("", 0)
    }

    /// Returns a `Set-Cookie` value for another cookie, which scripts can read. That cookie has the
    /// attributes of this cookie, except `HttpOnly`.
    pub(super) fn set_readable(&self, name: &str, value: &str, max_age: u64) -> HeaderValue {
        let attributes = self.attributes.replace("; HttpOnly", "");
        let text = format!("{name}={value}; Max-Age={max_age}{attributes}");
        // The callers have validated all characters, so the conversion cannot fail.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn value(&self, value: &str, max_age: u64) -> HeaderValue {
        let text = format!("{}={value}; Max-Age={max_age}{}", self.name, self.attributes);
        // `build` has validated all characters, so the conversion cannot fail.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl TokenCookieBuilder {
    /// Sets the name. Default: `__Host-access_token`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the path. Browsers send the cookie only with requests to this path and to paths under
    /// it. Default: `/`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets the domain. Browsers then send the cookie to all hosts of the domain. By default,
    /// browsers send the cookie only to the host that set it.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Sets the attribute `SameSite`. Browsers use it to decide if a request from another site gets
    /// the cookie. Default: `Strict`.
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Omits `Secure` if `secure` is `false`. Use `false` only for development without TLS, on a
    /// host other than `localhost`. Default: `true`.
    pub fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Builds the cookie.
    ///
    /// # Errors
    ///
    /// * The name is not a valid cookie name.
    /// * The path does not start with `/`, or contains a forbidden character.
    /// * The domain is empty, or contains a forbidden character.
    /// * `SameSite=None` is set without `Secure`.
    /// * The name starts with `__Secure-`, and `Secure` is off.
    /// * The name starts with `__Host-`, and `Secure` is off, the path is not `/`, or a domain is
    ///   set.
    pub fn build(self) -> Result<TokenCookie, ConfigError> {
        let refuse = |problem: &'static str, remedy: &'static str| Err(ConfigError::new("cookie", problem, remedy));
        let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b';' && byte != b',');
        check_cookie_name("cookie", &self.name)?;
        if !self.path.starts_with('/') || !plain(&self.path) {
            return refuse(
                "has a path that does not start with `/`, or that contains a forbidden character",
                "use printable ASCII without spaces, `;` and `,`, as in `/auth`",
            );
        }
        if self.domain.as_deref().is_some_and(|domain| domain.is_empty() || !plain(domain)) {
            return refuse(
                "has a domain that is empty, or that contains a forbidden character",
                "give a host name such as `example.com`, or remove `domain`",
            );
        }
        if self.same_site == SameSite::None && !self.secure {
            return refuse("has `SameSite=None` without `Secure`, which browsers refuse", "remove `secure(false)`");
        }
        // Browsers ignore the case of the prefixes, so this check ignores it too.
        let begins = |prefix: &str| self.name.get(..prefix.len()).is_some_and(|own| own.eq_ignore_ascii_case(prefix));
        if (begins("__Secure-") || begins("__Host-")) && !self.secure {
            return refuse(
                "has a name that requires `Secure`, but `secure` is `false`",
                "remove `secure(false)`, or give another name",
            );
        }
        if begins("__Host-") && (self.path != "/" || self.domain.is_some()) {
            return refuse(
                "has a name that allows no domain and only the path `/`",
                "remove `path` and `domain`, or give another name",
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

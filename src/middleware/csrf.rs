//! The check for requests that another site causes (CSRF), for credentials in cookies.
//!
//! Browsers add cookies even to requests that another site causes. But a browser also names the
//! source of a request in `Sec-Fetch-Site` (Fetch Metadata) and in `Origin`. No script can change
//! these fields.
//!
//! A request with a safe method passes, unless it asks for an upgrade. Any other request with a
//! credential in a cookie needs one of the two fields: without both, the check refuses it.
//! (`tower-http`'s `CsrfLayer` passes such a request on.) A client that is not a browser can send
//! `Authorization` instead.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{HOST, ORIGIN, UPGRADE},
    request::Parts,
    uri::Authority,
};

use super::{
    credentials::{self, Credential},
    rejection::{Rejection, RejectionKind},
};
use crate::{
    cookies::{BrowserSessions, check_cookie_name},
    error::ConfigError,
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The settings of the check.
#[derive(Clone, Debug)]
pub(crate) struct CrossSiteCheck {
    is_enabled: bool,
    /// The origins of `trust_origin`, whose requests pass too.
    trusted: Vec<WebOrigin>,
    double_submit: Option<DoubleSubmit>,
}

/// The settings of the double submit: a request must repeat the cookie's value in the header.
#[derive(Clone, Debug)]
struct DoubleSubmit {
    cookie: String,
    header: HeaderName,
}

/// The source of a request, according to its headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    /// The service's own origin, a trusted origin, or the user.
    Trusted,
    Foreign,
    Unknown,
}

impl Default for CrossSiteCheck {
    fn default() -> Self {
        Self { is_enabled: true, trusted: Vec::new(), double_submit: None }
    }
}

impl CrossSiteCheck {
    pub(super) fn enable(&mut self, is_enabled: bool) {
        self.is_enabled = is_enabled;
    }

    pub(super) fn trust(&mut self, origin: &str) -> Result<(), ConfigError> {
        let origin = WebOrigin::parse(origin).ok_or_else(|| {
            ConfigError::new(
                "trust_origin",
                "is called with a text that is not an origin",
                "give scheme, host and, if needed, port, without a path, as in `https://app.example.com`",
            )
        })?;
        self.trusted.push(origin);
        Ok(())
    }

    pub(super) fn set_double_submit(&mut self, cookie: String, header: HeaderName) -> Result<(), ConfigError> {
        check_cookie_name("double_submit", &cookie)?;
        self.double_submit = Some(DoubleSubmit { cookie, header });
        Ok(())
    }

    /// Checks the name of the double-submit cookie against the cookies of the sessions.
    pub(super) fn check_double_submit(&self, sessions: &BrowserSessions) -> Result<(), ConfigError> {
        let Some(name) = self.double_submit_cookie() else { return Ok(()) };
        if [sessions.access_cookie(), sessions.refresh_cookie()].iter().any(|cookie| cookie.name() == name) {
            // Scripts must be able to read the double-submit cookie, but never a token.
            return Err(ConfigError::conflict(
                "double_submit",
                format!("names the cookie `{name}`, which contains a token of the browser sessions"),
                "give the cookie another name, such as `__Host-csrf`",
            ));
        }
        if !sessions.is_secure() && (name.starts_with("__Host-") || name.starts_with("__Secure-")) {
            return Err(ConfigError::conflict(
                "double_submit",
                format!("names the cookie `{name}`, but `BrowserSessionsBuilder::secure` is `false`"),
                "give a name without `__Host-` or `__Secure-`, which browsers accept only with `Secure`",
            ));
        }
        Ok(())
    }

    /// Returns the name of the cookie of the double submit.
    pub(crate) fn double_submit_cookie(&self) -> Option<&str> {
        self.double_submit.as_ref().map(|proof| proof.cookie.as_str())
    }

    /// Returns true if a request whose credential is in a cookie may pass.
    pub(crate) fn admits(&self, method: &Method, uri: &Uri, headers: &HeaderMap, max_token_len: usize) -> bool {
        let is_safe = is_safe(method);
        if !self.is_enabled || (is_safe && !headers.contains_key(UPGRADE)) {
            return true;
        }
        // Exempts WebSockets (GET or CONNECT): a page cannot add a header to their requests.
        let has_proof = is_safe
            || *method == Method::CONNECT
            || self.double_submit.as_ref().is_none_or(|proof| proof.is_in(headers, max_token_len));
        has_proof && self.source(uri, headers) == Source::Trusted
    }

    /// Checks a request whose response sets or removes cookies, such as a login. Refuses the
    /// request if its headers name another site, which could log the user in as somebody else.
    pub(crate) fn check_without_cookie(&self, parts: &Parts) -> Result<(), Rejection> {
        let is_foreign = || self.source(&parts.uri, &parts.headers) == Source::Foreign;
        if self.is_enabled && !is_safe(&parts.method) && is_foreign() {
            return Err(Rejection::new(RejectionKind::CrossSite));
        }
        Ok(())
    }

    fn source(&self, uri: &Uri, headers: &HeaderMap) -> Source {
        let origin = match one(headers, &ORIGIN) {
            Ok(origin) => origin.map(|text| text.to_str().ok().and_then(WebOrigin::parse)),
            Err(Several) => Some(None),
        };
        let is_trusted = |origin: &WebOrigin| self.trusted.contains(origin);
        let passes = match (one(headers, &SEC_FETCH_SITE), &origin) {
            (Ok(None), None) => return Source::Unknown,
            (Ok(Some(site)), _) if site == "same-origin" || site == "none" => true,
            (Ok(None), Some(Some(origin))) => is_trusted(origin) || origin.is_of(uri, headers),
            // `Sec-Fetch-Site` is `same-site`, `cross-site` or not a known value.
            (_, Some(Some(origin))) => is_trusted(origin),
            (_, None | Some(None)) => false,
        };
        if passes { Source::Trusted } else { Source::Foreign }
    }
}

impl DoubleSubmit {
    /// Returns true if the request has the cookie and the header once, with the same value.
    fn is_in(&self, headers: &HeaderMap, max_token_len: usize) -> bool {
        let cookie = credentials::in_cookie(headers, &self.cookie, max_token_len);
        match (cookie, one(headers, &self.header)) {
            (Credential::Token(cookie), Ok(Some(header))) if header.len() <= max_token_len => {
                is_equal(cookie.as_bytes(), header.as_bytes())
            }
            _ => false,
        }
    }
}

/// Compares two texts in a time that depends only on their lengths.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |different, (one, other)| different | (one ^ other)) == 0
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The error of a header field with several lines.
struct Several;

/// Returns the line of a header field that must not have several lines.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Several> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (line, None) => Ok(line),
        (_, Some(_)) => Err(Several),
    }
}

/// The origin of a page (RFC 6454), in lower case. `port` defaults to the port of the scheme.
#[derive(Clone, Debug, Eq, PartialEq)]
struct WebOrigin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl WebOrigin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            || !scheme.bytes().all(is_scheme)
            || authority.contains(['@', '*'])
        {
            return None;
        }
        let (host, port) = host_and_port(&Authority::try_from(authority).ok()?)?;
        let port = port.or(default_port(&scheme));
        Some(Self { scheme, host, port })
    }

    /// Returns true if the request is for the host and port of this origin. Ignores the scheme,
    /// because a proxy in front of the server may have ended the TLS connection.
    fn is_of(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(default) = default_port(&self.scheme) else { return false };
        let in_field = || Authority::try_from(one(headers, &HOST).ok()??.as_bytes()).ok();
        let authority = uri.authority().cloned().or_else(in_field);
        let own = authority.as_ref().and_then(host_and_port);
        own.is_some_and(|(host, port)| host == self.host && Some(port.unwrap_or(default)) == self.port)
    }
}

/// Returns host and port, or `None` if the host is empty or the port is not a number.
fn host_and_port(authority: &Authority) -> Option<(String, Option<u16>)> {
    let host = authority.host();
    let text = authority.as_str().rsplit('@').next().unwrap_or_default();
    let port = match text.strip_prefix(host)? {
        "" => None,
        rest => Some(rest.strip_prefix(':')?.parse().ok()?),
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn source_at(uri: &str, fields: &[(&'static str, &'static str)]) -> Source {
        let mut check = CrossSiteCheck::default();
        for origin in ["https://app.example.com", "HTTPS://Other.example:8443", "capacitor://localhost"] {
            check.trust(origin).unwrap();
        }
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check.source(&uri.parse().unwrap(), &headers)
    }

    fn source(fields: &[(&'static str, &'static str)]) -> Source {
        let host = [("host", "api.example.com")];
        source_at("/", &[&host[..], fields].concat())
    }

    #[test]
    fn sec_fetch_site_decides_where_it_is_there() {
        for site in ["same-origin", "none"] {
            assert_eq!(source(&[("sec-fetch-site", site)]), Source::Trusted);
            // A page with `Referrer-Policy: no-referrer` sends this for its own forms.
            assert_eq!(source(&[("sec-fetch-site", site), ("origin", "null")]), Source::Trusted);
        }
        for site in ["same-site", "cross-site", "", "Same-Origin", "same-origin, none"] {
            assert_eq!(source(&[("sec-fetch-site", site)]), Source::Foreign, "{site}");
            let own = [("sec-fetch-site", site), ("origin", "https://api.example.com")];
            assert_eq!(source(&own), Source::Foreign, "{site}");
            let trusted = [("sec-fetch-site", site), ("origin", "https://app.example.com")];
            assert_eq!(source(&trusted), Source::Trusted, "{site}");
        }
        assert_eq!(source(&[("sec-fetch-site", "none"), ("sec-fetch-site", "none")]), Source::Foreign);
    }

    #[test]
    fn without_it_the_origin_must_be_trusted_or_that_of_the_host() {
        assert_eq!(source(&[]), Source::Unknown);
        assert_eq!(source(&[("referer", "https://api.example.com/")]), Source::Unknown);
        for own in [
            "https://api.example.com",
            "http://api.example.com",
            "https://API.example.com:443",
            "https://app.example.com",
            "https://other.example:8443",
            "capacitor://localhost",
        ] {
            assert_eq!(source(&[("origin", own)]), Source::Trusted, "{own}");
        }
        for foreign in [
            "null",
            "",
            "https://evil.example",
            "https://api.example.com.evil.example",
            "https://evil-api.example.com",
            "https://api.example.com:8443",
            "http://api.example.com:443",
            "https://api.example.com:99999",
            "https://api.example.com:",
            "https://u@api.example.com",
            "https://api.example.com/",
            "ftp://api.example.com",
            "http://app.example.com",
            "https://other.example",
            "api.example.com",
        ] {
            assert_eq!(source(&[("origin", foreign)]), Source::Foreign, "{foreign}");
        }
        let own = ("origin", "https://api.example.com");
        assert_eq!(source(&[own, own]), Source::Foreign, "two fields");
        assert_eq!(source(&[("host", "api.example.com"), own]), Source::Foreign, "two hosts");
    }

    #[test]
    fn the_host_is_that_of_the_target_or_of_the_field() {
        let ipv6 = [("host", "[::1]:3000"), ("origin", "http://[::1]:3000")];
        assert_eq!(source_at("/", &ipv6), Source::Trusted);
        assert_eq!(source_at("/", &[("host", "[::1]:3000"), ("origin", "http://[::1]")]), Source::Foreign);
        assert_eq!(source_at("/", &[("host", "a:443"), ("origin", "https://a")]), Source::Trusted);
        assert_eq!(source_at("/", &[("host", "a:80"), ("origin", "https://a")]), Source::Foreign);
        assert_eq!(source_at("https://a/x", &[("origin", "https://a")]), Source::Trusted, "HTTP/2");
        let other_target = [("host", "b"), ("origin", "https://b")];
        assert_eq!(source_at("https://a/x", &other_target), Source::Foreign);
        assert_eq!(source_at("/", &[("origin", "https://a")]), Source::Foreign, "no host");
    }

    #[test]
    fn a_trusted_origin_is_scheme_host_and_port() {
        let mut check = CrossSiteCheck::default();
        for bad in
            ["", "null", "app.example.com", "https://", "https://a/", "https://a/b", "https://*.a", "*", "ht tp://a"]
        {
            assert_eq!(check.trust(bad).unwrap_err().setting(), "trust_origin", "{bad}");
        }
    }
}

//! Where a request's bearer token is read: the `Authorization` field, and where an application has allowed it also a query parameter, a
//! cookie or a header of its own.
//!
//! A request presents exactly one credential, or none (RFC 6750 section 2). All allowed places are looked at, and whatever is more than
//! one is malformed, be it the same token twice: never guess which is meant, and never fall through from a bad one to another.

mod authorization;
mod cookie;
mod query;

use std::{borrow::Cow, slice};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{AUTHORIZATION, COOKIE, Entry},
};

use crate::error::ConfigError;

/// What a request presents.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Credential<'a> {
    /// No bearer credential: nothing, or another scheme's.
    Absent,
    /// A bearer credential that breaks the grammar, or more than one.
    Malformed,
    /// A token. It has the characters of a `b64token`, or is longer than any token that is looked at.
    Token(Cow<'a, str>),
}

/// A credential, and whether it stands in the query, where caches see it.
pub(super) struct Presented<'a> {
    pub(super) credential: Credential<'a>,
    pub(super) in_query: bool,
}

/// The places beside `Authorization` at which a layer looks. Each may be named more than once.
#[derive(Clone, Debug, Default)]
pub(super) struct Locations {
    queries: Vec<String>,
    cookies: Vec<String>,
    headers: Vec<HeaderName>,
}

/// The query and the cookies of a request may be longer than a token by this, and are refused beyond: whoever has no key must not be able to
/// make the search for a token dearer than a token (measured: `cargo bench -- hostile`). Servers commonly take 8 KiB of each.
const BESIDE_THE_TOKEN: usize = 8 * 1024;

/// More parameters, or cookies, than a request has in which a token is looked for there: browsers keep at most 180 cookies for a site.
const MAX_PAIRS: usize = 256;

/// What is looked at of a field's line: scheme, spaces and a token fit in, and one byte more.
struct Beginning<'a> {
    text: &'a [u8],
    is_cut: bool,
}

impl<'a> Beginning<'a> {
    fn of(line: &'a [u8], max_token_len: usize) -> Self {
        match line.get(..max_token_len.saturating_add(256)) {
            Some(text) if text.len() < line.len() => Self { text: text.trim_ascii_start(), is_cut: true },
            _ => Self { text: line.trim_ascii(), is_cut: false },
        }
    }
}

impl<'a> Credential<'a> {
    /// The token in a place that holds a token and nothing else.
    fn of_bytes(text: &'a [u8], max_token_len: usize) -> Self {
        // A text that is too long is refused for its length: reading a megabyte to find a better reason would cost more than a valid
        // token. One byte more than allowed tells that it is.
        let acceptable = text.len() > max_token_len || is_b64token(text);
        match str::from_utf8(text.get(..text.len().min(max_token_len.saturating_add(1))).unwrap_or_default()) {
            Ok(token) if acceptable => Self::Token(Cow::Borrowed(token)),
            _ => Self::Malformed,
        }
    }

    /// The same, where decoding may have made a text anew.
    fn of_text(text: Cow<'a, str>, max_token_len: usize) -> Self {
        match text {
            Cow::Borrowed(text) => Self::of_bytes(text.as_bytes(), max_token_len),
            Cow::Owned(text) => match Credential::of_bytes(text.as_bytes(), max_token_len) {
                Credential::Token(token) => Self::Token(Cow::Owned(token.into_owned())),
                _ => Self::Malformed,
            },
        }
    }

    /// What two places present together.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Absent, other) => other,
            (found, Self::Absent) => found,
            _ => Self::Malformed,
        }
    }
}

impl Locations {
    /// Adds a query parameter: its name as it reads when decoded.
    pub(super) fn allow_query(&mut self, name: String) -> Result<(), ConfigError> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if name.is_empty() || !name.bytes().all(unreserved) {
            return Err(ConfigError::new(
                "allow_query",
                "is given a name that is empty or has characters that a query has to escape",
                "give `access_token` or the like: letters, digits, `-`, `.`, `_` and `~` (RFC 3986 section 2.3)",
            ));
        }
        self.queries.push(name);
        Ok(())
    }

    /// Adds a cookie: its name to the byte.
    pub(super) fn allow_cookie(&mut self, name: String) -> Result<(), ConfigError> {
        if !is_cookie_name(&name) {
            return Err(ConfigError::new(
                "allow_cookie",
                "is given a name that no cookie can have",
                "give a token of RFC 9110 section 5.6.2, as `__Host-access_token`",
            ));
        }
        self.cookies.push(name);
        Ok(())
    }

    pub(super) fn allows_cookie(&self, name: &str) -> bool {
        self.cookies.iter().any(|own| own == name)
    }

    /// Adds a header that holds the token alone, without a scheme.
    pub(super) fn allow_header(&mut self, name: HeaderName) -> Result<(), ConfigError> {
        if name == AUTHORIZATION || name == COOKIE {
            return Err(ConfigError::new(
                "allow_header",
                "is given a field that does not hold a token alone",
                "`Authorization` is read always; use `allow_cookie` for cookies",
            ));
        }
        self.headers.push(name);
        Ok(())
    }

    /// The one credential of a request.
    pub(super) fn find<'a, B>(&self, request: &'a Request<B>, max_token_len: usize) -> Presented<'a> {
        let mut credential = authorization::read(request.headers(), max_token_len);
        for name in &self.headers {
            credential = credential.and(header(request.headers(), name, max_token_len));
        }
        if !self.cookies.is_empty() {
            credential = credential.and(cookie::read(request.headers(), &self.cookies, max_token_len));
        }
        let query = request.uri().query().filter(|_| !self.queries.is_empty());
        let Some(query) = query else { return Presented { credential, in_query: false } };
        let parameter = query::read(query, &self.queries, max_token_len);
        Presented { in_query: parameter != Credential::Absent, credential: credential.and(parameter) }
    }

    /// Keeps whatever may hold a credential out of the `Debug` text of the request's headers.
    pub(super) fn mark_sensitive(&self, headers: &mut HeaderMap) {
        let cookie = if self.cookies.is_empty() { &[][..] } else { slice::from_ref(&COOKIE) };
        for name in [AUTHORIZATION].iter().chain(cookie).chain(&self.headers) {
            if let Entry::Occupied(mut lines) = headers.entry(name) {
                lines.iter_mut().for_each(|line| line.set_sensitive(true));
            }
        }
    }

    /// Takes whatever may hold a credential out of the request: the whole `Authorization` field, and of query and cookies what bears
    /// an allowed name.
    pub(super) fn strip<B>(&self, request: &mut Request<B>) {
        request.headers_mut().remove(AUTHORIZATION);
        for name in &self.headers {
            request.headers_mut().remove(name);
        }
        if !self.cookies.is_empty() {
            cookie::strip(request.headers_mut(), &self.cookies);
        }
        if !self.queries.is_empty() {
            query::strip(request.uri_mut(), &self.queries);
        }
    }
}

/// A field of the application's own: the token alone. An empty one is as if absent, as an empty `Authorization` is.
fn header<'a>(headers: &'a HeaderMap, name: &HeaderName, max_token_len: usize) -> Credential<'a> {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Credential::Absent,
        (Some(line), None) => line,
        (Some(_), Some(_)) => return Credential::Malformed,
    };
    match Beginning::of(line, max_token_len) {
        Beginning { text: [], .. } => Credential::Absent,
        Beginning { text, is_cut: true } if text.len() <= max_token_len => Credential::Malformed,
        Beginning { text, .. } => Credential::of_bytes(text, max_token_len),
    }
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750 section 2.1), where padding may also stand before a dot: a token
/// whose segments are padded is a bad token (RFC 7515 section 2), not a request that cannot be read.
#[allow(clippy::needless_bitwise_bool, reason = "branches would keep the loop from taking many bytes at a time")]
fn is_b64token(text: &[u8]) -> bool {
    let is_legal = |byte: u8| {
        ((byte | 0x20).wrapping_sub(b'a') < 26)
            | (byte.wrapping_sub(b'-') < 13) // - . / 0-9
            | (byte == b'_')
            | (byte == b'~')
            | (byte == b'+')
            | (byte == b'=')
    };
    let is_padding = |pair: &[u8]| !matches!(pair, [b'=', next] if !matches!(next, b'=' | b'.'));
    text.first().is_some_and(|first| *first != b'=')
        && text.iter().fold(true, |legal, &byte| legal & is_legal(byte))
        && (!text.contains(&b'=') || text.windows(2).all(is_padding))
}

/// A token of RFC 9110 section 5.6.2, which RFC 6265 section 4.1.1 wants of a name.
pub(crate) fn is_cookie_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_b64token_has_the_characters_of_the_rfc_and_padding_only_behind_what_it_pads() {
        for byte in 0..=u8::MAX {
            let legal = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(is_b64token(&[b'a', byte, b'a']), legal, "{byte}");
            assert_eq!(is_b64token(&[byte]), legal, "{byte}");
            assert_eq!(is_b64token(&[b'a', byte]), legal || byte == b'=', "{byte}");
        }
        for good in ["a=", "a==", "a=.b==.c=", "a.=", "a=."] {
            assert!(is_b64token(good.as_bytes()), "{good}");
        }
        for bad in ["", "=", "==", "=.a", "a=a", "a==a.b", "a=.b=c"] {
            assert!(!is_b64token(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn of_a_line_without_end_only_the_beginning_is_looked_at() {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("x-token");
        for (line, expected) in [
            (format!("{}abc", " ".repeat(2000)), Credential::Absent),
            (format!("a{}b", " ".repeat(2000)), Credential::Token(Cow::Owned(format!("a{}", " ".repeat(64))))),
            ("a".repeat(2000), Credential::Token(Cow::Owned("a".repeat(65)))),
        ] {
            headers.insert(&name, HeaderValue::try_from(&line).unwrap_or(HeaderValue::from_static("?")));
            assert_eq!(header(&headers, &name, 64), expected);
            headers.insert(
                AUTHORIZATION,
                HeaderValue::try_from(format!("Bearer {line}")).unwrap_or(HeaderValue::from_static("?")),
            );
            let expected = if expected == Credential::Absent { Credential::Malformed } else { expected };
            assert_eq!(authorization::read(&headers, 64), expected);
        }
    }
}

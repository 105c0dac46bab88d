//! The credential of a request, and its main location, the `Authorization` field (RFC 6750 section
//! 2.1, RFC 9110 section 11.6.2).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

const SCHEME: &[u8] = b"bearer";

/// The number of bytes by which a query, or all cookies together, may exceed the maximum length of
/// a token. With this limit, the search for a token costs less than its check (`cargo bench --bench
/// hostile`).
pub(super) const MAX_EXTRA_BYTES: usize = 8 * 1024;

/// The maximum number of query parameters, cookies or WebSocket protocols in a request. Browsers
/// store at most 180 cookies for a site.
pub(super) const MAX_PAIRS: usize = 256;

/// The credential that a request presents.
#[derive(Eq, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::middleware) enum Credential<'a> {
    /// The request has no credential, or only a credential of another scheme.
    Absent,
    /// The bearer credential breaks the grammar, or the request has several credentials.
    Malformed,
    /// One location contains a text, which may be a token.
    Token(TokenText<'a>),
}

/// The text of a credential. Only [`token`](Self::token) checks the grammar, because a token in the
/// cache needs no such check.
#[derive(Clone, Eq, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::middleware) struct TokenText<'a> {
    /// The text, truncated to 1 byte more than the maximum length of a token.
    bytes: Cow<'a, [u8]>,
    max_token_len: usize,
}

impl<'a> Credential<'a> {
    /// Creates a credential from the text in a location.
    #[inline]
    pub(super) fn of(text: impl Into<Cow<'a, [u8]>>, max_token_len: usize) -> Self {
        let longest = max_token_len.saturating_add(1);
        let bytes = match text.into() {
            Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(..longest).unwrap_or(bytes)),
            Cow::Owned(mut bytes) => {
                bytes.truncate(longest);
                Cow::Owned(bytes)
            }
        };
        Self::Token(TokenText { bytes, max_token_len })
    }

    /// Combines the credentials of two locations. Returns `Malformed` if both have one.
    pub(in crate::middleware) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Absent, other) => other,
            (found, Self::Absent) => found,
            _ => Self::Malformed,
        }
    }
}

impl TokenText<'_> {
    pub(in crate::middleware) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the text if it has the grammar of a `b64token`, otherwise `None`.
    ///
    /// If the text is longer than `max_token_len`, does not check its grammar, because the check of
    /// the token refuses it anyway.
    pub(in crate::middleware) fn token(&self) -> Option<&str> {
        let is_acceptable = self.bytes.len() > self.max_token_len || is_b64token(&self.bytes);
        str::from_utf8(&self.bytes).ok().filter(|_| is_acceptable)
    }
}

/// Marks the `Authorization` fields sensitive, so that `Debug` does not show them.
pub(in crate::middleware) fn mark_sensitive(headers: &mut HeaderMap) {
    for (_, value) in headers.iter_mut().filter(|(name, _)| *name == AUTHORIZATION) {
        value.set_sensitive(true);
    }
}

/// Reads the `Authorization` field. Returns `Absent` for another scheme, and `Malformed` for two
/// fields.
#[inline]
pub(in crate::middleware) fn in_authorization(headers: &HeaderMap, max_token_len: usize) -> Credential<'_> {
    let line = match line(headers, &AUTHORIZATION, max_token_len) {
        Line::Absent => return Credential::Absent,
        Line::One(line) => line,
        Line::Several => return Credential::Malformed,
    };
    let rest = match line.text.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => rest,
        _ => return Credential::Absent,
    };
    // RFC 6750 section 2.1 allows only spaces after the scheme. With a tab, the field is malformed.
    match rest.first() {
        None | Some(b'\t') => return Credential::Malformed,
        Some(b' ') => {}
        Some(_) => return Credential::Absent,
    }
    let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
    line.token(rest.get(spaces..).unwrap_or_default(), max_token_len)
}

/// The lines of one header field in a request.
enum Line<'a> {
    Absent,
    One(LineStart<'a>),
    /// Two or more lines, even if they are equal.
    Several,
}

/// The start of a line: at most `max_token_len` + 256 bytes, without surrounding spaces. The 256
/// bytes are for the scheme and the spaces before the token.
struct LineStart<'a> {
    text: &'a [u8],
    /// True if the line is longer than its start.
    is_cut: bool,
}

/// Returns the start of the field's line if the request has exactly one line.
#[inline]
fn line<'a>(headers: &'a HeaderMap, name: &HeaderName, max_token_len: usize) -> Line<'a> {
    let mut lines = headers.get_all(name).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Line::Absent,
        (Some(line), None) => line.as_bytes(),
        (Some(_), Some(_)) => return Line::Several,
    };
    Line::One(match line.get(..max_token_len.saturating_add(256)) {
        Some(text) if text.len() < line.len() => LineStart { text: text.trim_ascii_start(), is_cut: true },
        _ => LineStart { text: line.trim_ascii(), is_cut: false },
    })
}

impl<'a> LineStart<'a> {
    /// Returns `part` of the line as a token. Returns `Malformed` if the line has so many spaces
    /// that the cut may have removed a part of the token.
    #[inline]
    fn token(&self, part: &'a [u8], max_token_len: usize) -> Credential<'a> {
        if self.is_cut && part.len() <= max_token_len {
            return Credential::Malformed;
        }
        Credential::of(part, max_token_len)
    }
}

/// Reads a header that contains only the token. Returns `Absent` for an empty header, as for an
/// empty `Authorization`.
pub(super) fn in_header<'a>(headers: &'a HeaderMap, name: &HeaderName, max_token_len: usize) -> Credential<'a> {
    match line(headers, name, max_token_len) {
        Line::Absent | Line::One(LineStart { text: [], .. }) => Credential::Absent,
        Line::One(line) => line.token(line.text, max_token_len),
        Line::Several => Credential::Malformed,
    }
}

/// Checks the grammar `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750
/// section 2.1). Also accepts padding before a dot, so that a token with padded segments gets 401
/// (invalid token) and not 400 (RFC 7515 section 2).
#[allow(clippy::needless_bitwise_bool, reason = "branches would prevent vectorization of the loop")]
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

#[cfg(test)]
impl Credential<'_> {
    /// Returns the token, or the name of the variant.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Absent => "Absent".to_owned(),
            Self::Malformed => "Malformed".to_owned(),
            Self::Token(text) => text.token().unwrap_or("Malformed").to_owned(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn token_in(lines: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(line).expect("a value that HTTP can carry"));
        }
        in_authorization(&headers, 64).describe()
    }

    #[test]
    fn the_scheme_has_no_case_and_spaces_may_be_several() {
        for line in ["Bearer abc", "bearer abc", "BEARER abc", "bEaReR    abc", " \tBearer abc\t "] {
            assert_eq!(token_in(&[line.as_bytes()]), "abc", "{line:?}");
        }
    }

    #[test]
    fn another_scheme_or_nothing_is_no_credential() {
        assert_eq!(token_in(&[]), "Absent");
        for line in ["", "  ", "Basic dXNlcjpwdw==", "Bearerabc", "Bearer: abc", "abc"] {
            assert_eq!(token_in(&[line.as_bytes()]), "Absent", "{line:?}");
        }
    }

    #[test]
    fn anything_but_one_b64token_after_the_scheme_is_malformed() {
        let bad: [&[u8]; 10] = [
            b"Bearer",
            b"Bearer ",
            b"Bearer\tabc",
            b"Bearer \tabc",
            b"Bearer abc def",
            b"Bearer abc,",
            b"Bearer =",
            b"Bearer \"abc\"",
            b"Bearer \xff\xfe",
            "Bearer ey\u{fc}".as_bytes(),
        ];
        for line in bad {
            assert_eq!(token_in(&[line]), "Malformed", "{line:?}");
        }
    }

    #[test]
    fn a_second_field_line_is_malformed_even_if_it_is_the_same() {
        assert_eq!(token_in(&[b"Bearer abc", b"Bearer abc"]), "Malformed");
        assert_eq!(token_in(&[b"Basic abc", b"Bearer abc"]), "Malformed");
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_to_one_byte_more_than_allowed() {
        assert_eq!(token_in(&[format!("Bearer {}", "a".repeat(1000)).as_bytes()]), "a".repeat(65));
    }

    #[test]
    fn of_a_line_without_end_only_the_beginning_is_looked_at() {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("x-token");
        for (line, expected) in [
            (format!("{}abc", " ".repeat(2000)), "Absent".to_owned()),
            (format!("a{}b", " ".repeat(2000)), format!("a{}", " ".repeat(64))),
            ("a".repeat(2000), "a".repeat(65)),
        ] {
            headers.insert(&name, HeaderValue::try_from(&line).unwrap_or(HeaderValue::from_static("?")));
            assert_eq!(in_header(&headers, &name, 64).describe(), expected);
            headers.insert(
                AUTHORIZATION,
                HeaderValue::try_from(format!("Bearer {line}")).unwrap_or(HeaderValue::from_static("?")),
            );
            let expected = if expected == "Absent" { "Malformed".to_owned() } else { expected };
            assert_eq!(in_authorization(&headers, 64).describe(), expected);
        }
    }

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
}

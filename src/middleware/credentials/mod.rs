//! The places of a request's bearer token: the `Authorization` field, and where an application has
//! allowed it also a query parameter, a cookie or a header of its own.
//!
//! A request presents exactly one credential, or none (RFC 6750 section 2). All allowed places are
//! looked at. More than one credential is malformed, be it the same token twice: never guess which
//! is meant, and never fall through from a bad one to another.

mod authorization;
mod cookie;
mod field;
mod locations;
mod query;

use std::borrow::Cow;

pub(crate) use self::cookie::is_cookie_name;
pub(super) use self::locations::{Locations, Presented};

/// The credential that a request presents.
#[derive(Eq, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Credential<'a> {
    /// No bearer credential: nothing, or another scheme's.
    Absent,
    /// A bearer credential that breaks the grammar, or more than one.
    Malformed,
    /// One text in the place of a token.
    Token(Text<'a>),
}

/// A text in the place of a token. Its grammar is not checked yet, since a text that is known as a
/// good token does not need that.
#[derive(Clone, Eq, PartialEq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Text<'a> {
    /// At most one byte more than a token may have.
    bytes: Cow<'a, [u8]>,
    max_token_len: usize,
}

/// The bytes by which the query and the cookies of a request may be longer than a token. A client
/// without a key must not be able to make the search for a token dearer than a token (measured:
/// `cargo bench --bench hostile`). Servers commonly take 8 KiB of each.
const BESIDE_THE_TOKEN: usize = 8 * 1024;

/// The most parameters, or cookies, of a request in which a token is looked for. Browsers keep at
/// most 180 cookies for a site.
const MAX_PAIRS: usize = 256;

impl<'a> Credential<'a> {
    /// Returns the token in a place that holds a token and nothing else.
    #[inline]
    fn of(text: impl Into<Cow<'a, [u8]>>, max_token_len: usize) -> Self {
        let longest = max_token_len.saturating_add(1);
        let bytes = match text.into() {
            Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(..longest).unwrap_or(bytes)),
            Cow::Owned(mut bytes) => {
                bytes.truncate(longest);
                Cow::Owned(bytes)
            }
        };
        Self::Token(Text { bytes, max_token_len })
    }

    /// Joins the credentials of two places.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Absent, other) => other,
            (found, Self::Absent) => found,
            _ => Self::Malformed,
        }
    }
}

impl Text<'_> {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the text if it has the characters of a `b64token`, or `None` if it is malformed. A
    /// text longer than any token is returned as it is: its length will be the reason to refuse it,
    /// since reading a megabyte for a better one would cost more than a valid token.
    pub(super) fn token(&self) -> Option<&str> {
        let is_acceptable = self.bytes.len() > self.max_token_len || is_b64token(&self.bytes);
        str::from_utf8(&self.bytes).ok().filter(|_| is_acceptable)
    }
}

/// Checks the grammar `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="` (RFC 6750
/// section 2.1). Padding may also stand before a dot: a token whose segments are padded is a bad
/// token (RFC 7515 section 2), not a request that cannot be read.
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

#[cfg(test)]
impl Credential<'_> {
    /// Returns the token, or the name of the variant.
    fn told(&self) -> String {
        match self {
            Self::Absent => "Absent".to_owned(),
            Self::Malformed => "Malformed".to_owned(),
            Self::Token(text) => text.token().unwrap_or("Malformed").to_owned(),
        }
    }
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
}

//! The rights of a token.

use std::fmt;

/// The rights of a token: a set of scope tokens (RFC 6749 section 3.3), compared exactly.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct Scope(String);

impl Scope {
    /// Reads a space-delimited list. Returns `None` if it breaks the grammar: tokens of printable
    /// ASCII without `"` and `\`, one space between two of them. The empty text is the empty scope.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_token =
            |token: &str| !token.is_empty() && token.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        (text.is_empty() || text.split(' ').all(is_token)).then(|| Self(text.to_owned()))
    }

    /// Returns true if `token` is one of its scope tokens. The comparison is of whole tokens and
    /// case-sensitive.
    #[must_use]
    pub fn contains(&self, token: &str) -> bool {
        self.iter().any(|own| own == token)
    }

    /// Returns the scope tokens in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|token| !token.is_empty())
    }

    /// Returns true if it has no scope token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the space-delimited text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

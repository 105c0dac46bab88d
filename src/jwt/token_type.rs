//! The two purposes of a token.

use std::fmt;

use serde::{
    Deserialize, Serialize, Serializer,
    de::{self, Deserializer},
};

use super::json::Name;

/// The purpose of a token. An access token never passes for a refresh token, nor the other way
/// round.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TokenType {
    /// Opens protected routes.
    Access,
    /// Is exchanged for new tokens, and opens nothing else.
    Refresh,
}

impl TokenType {
    /// Returns its text in the `type` claim: `access` or `refresh`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

impl Serialize for TokenType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TokenType {
    /// Reads a string only: a derived implementation would accept `{"refresh":null}` too.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*Name::deserialize(deserializer)?.0 {
            "access" => Ok(Self::Access),
            "refresh" => Ok(Self::Refresh),
            _ => Err(de::Error::custom("neither access nor refresh")),
        }
    }
}

impl fmt::Display for TokenType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

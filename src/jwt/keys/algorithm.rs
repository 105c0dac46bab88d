//! The signature algorithms, by their JOSE names.

use std::{fmt, str::FromStr};

use crate::error::ConfigError;

/// A signature algorithm of JSON Web Tokens (RFC 7518 section 3.1, RFC 8037 section 3.1).
///
/// There is no `none`. `ES512` and `Ed448` have no backend. A key is made for exactly one algorithm
/// (RFC 8725 section 3.1), so a token's header can never choose another one for it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// `EdDSA` on the curve Ed25519.
    EdDSA,
}

/// The kind of key that an algorithm needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyType {
    /// A shared secret of at least this many bytes: the size of the hash (RFC 7518 section 3.2).
    Secret {
        /// The hash's size in bytes.
        minimum: usize,
    },
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Algorithm {
    const ALL: [Self; 12] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// Returns its name in a header's `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Returns the algorithm of this exact name: JOSE names are case-sensitive (RFC 7515 section
    /// 4.1.1).
    pub(crate) fn from_jose(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    pub(crate) const fn key_type(self) -> KeyType {
        match self {
            Self::HS256 => KeyType::Secret { minimum: 32 },
            Self::HS384 => KeyType::Secret { minimum: 48 },
            Self::HS512 => KeyType::Secret { minimum: 64 },
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => KeyType::Rsa,
            Self::ES256 => KeyType::P256,
            Self::ES384 => KeyType::P384,
            Self::EdDSA => KeyType::Ed25519,
        }
    }

    pub(crate) const fn to_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::HS256 => jsonwebtoken::Algorithm::HS256,
            Self::HS384 => jsonwebtoken::Algorithm::HS384,
            Self::HS512 => jsonwebtoken::Algorithm::HS512,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::RS384 => jsonwebtoken::Algorithm::RS384,
            Self::RS512 => jsonwebtoken::Algorithm::RS512,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::PS384 => jsonwebtoken::Algorithm::PS384,
            Self::PS512 => jsonwebtoken::Algorithm::PS512,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl KeyType {
    /// Returns the length of a coordinate (or of Ed25519's point) in bytes; `None` for secrets and
    /// RSA.
    pub(crate) const fn coordinate_len(self) -> Option<usize> {
        match self {
            Self::Secret { .. } | Self::Rsa => None,
            Self::P256 | Self::Ed25519 => Some(32),
            Self::P384 => Some(48),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret { .. } => "secret",
            Self::Rsa => "RSA key",
            Self::P256 => "P-256 key",
            Self::P384 => "P-384 key",
            Self::Ed25519 => "Ed25519 key",
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = ConfigError;

    /// Reads the exact JOSE name.
    ///
    /// # Errors
    ///
    /// Any other text. The message does not repeat it, because it may be a secret put there by
    /// mistake.
    fn from_str(name: &str) -> Result<Self, ConfigError> {
        Self::from_jose(name).ok_or_else(|| {
            ConfigError::new(
                "algorithm",
                "is no supported signature algorithm",
                "use one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, \
                 written exactly so",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn every_name_is_read_back_and_agrees_with_the_backend_crate() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse::<Algorithm>().unwrap(), algorithm);
            assert_eq!(format!("{:?}", algorithm.to_jsonwebtoken()), algorithm.to_string());
        }
    }

    #[test]
    fn a_name_in_another_case_or_unsupported_is_refused_and_not_repeated() {
        for name in ["", "none", "None", "hs256", "HS256 ", "ES512", "Ed25519", "EDDSA", "RSA1_5", "A256GCM"] {
            let error = name.parse::<Algorithm>().unwrap_err();
            assert_eq!(error.setting(), "algorithm");
            assert!(Algorithm::from_jose(name).is_none());
        }
        assert!(!"hunter2".parse::<Algorithm>().unwrap_err().to_string().contains("hunter2"));
    }
}

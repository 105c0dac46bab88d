//! The error codes of `fastcore.security`, the predecessor of this crate.

use crate::error::{Error, TokenError};

impl TokenError {
    /// Returns [the predecessor's](crate::compat) code for this error: `EXPIRED_TOKEN`,
    /// `REVOKED_TOKEN` or `INVALID_TOKEN`.
    #[must_use]
    pub fn fastcore_code(&self) -> &'static str {
        match self {
            Self::Expired { .. } | Self::SessionExpired => "EXPIRED_TOKEN",
            Self::Revoked { .. } | Self::Reused => "REVOKED_TOKEN",
            _ => "INVALID_TOKEN",
        }
    }
}

impl Error {
    /// Returns [the predecessor's](crate::compat) code for this error.
    #[must_use]
    pub fn fastcore_code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.fastcore_code(),
            Self::Store(_) | Self::IssuerKeys(_) => "DB_ERROR",
            Self::InvalidCredentials | Self::LoginSuperseded => "INVALID_CREDENTIALS",
            Self::Issue(_) | Self::InvalidId { .. } | Self::Signing | Self::Application(_) | Self::Password(_) => {
                "AUTHENTICATION_ERROR"
            }
        }
    }
}

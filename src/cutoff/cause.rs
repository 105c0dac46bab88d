//! The cause of a cutoff.

use std::{error::Error, fmt};

/// The reason why an open response or socket was cut.
///
/// It is the error of a response body that was cut: see [`ResponseBody`].
///
/// [`ResponseBody`]: crate::middleware::ResponseBody
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CutoffCause {
    /// The token, its session or all sessions of its subject were revoked.
    Revoked,
    /// The token has expired, or its session has ended by time.
    Expired,
    /// The store was away for so long that this node could not confirm the token.
    Unconfirmed,
}

impl CutoffCause {
    /// Returns the name of the cause in logs: `revoked`, `expired` or `unconfirmed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

impl fmt::Display for CutoffCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => "the token was revoked",
            Self::Expired => "the token has expired",
            Self::Unconfirmed => "the token could not be confirmed in time",
        })
    }
}

impl Error for CutoffCause {}

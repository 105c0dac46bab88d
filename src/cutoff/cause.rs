//! The cause of a cutoff.

use std::{error::Error, fmt};

use crate::observe::StreamCause;

/// The reason why the node cut an open response, connection or task.
///
/// Over HTTP, a cut [`ResponseBody`] ends with this cause as its error.
///
/// [`ResponseBody`]: crate::middleware::ResponseBody
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CutoffCause {
    /// The token, its session or all sessions of its subject were revoked.
    Revoked,
    /// The token has expired, or the lifetime of its session is over.
    Expired,
    /// This node could not confirm in time that the token is still valid. Usually the store was
    /// unavailable for too long.
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
            Self::Revoked => "the token was revoked; log in again",
            Self::Expired => "the token or its session has expired; refresh the token or log in again",
            Self::Unconfirmed => "the store did not confirm the token in time; check the store and connect again",
        })
    }
}

impl Error for CutoffCause {}

impl From<CutoffCause> for StreamCause {
    fn from(cause: CutoffCause) -> Self {
        match cause {
            CutoffCause::Revoked => Self::Revoked,
            CutoffCause::Expired => Self::Expired,
            CutoffCause::Unconfirmed => Self::Unconfirmed,
        }
    }
}

//! The meaning of a failed command, without its message.
//!
//! A server's message may quote keys, and a client's may quote the URL. Only the error's code is
//! kept.

use std::error::Error as _;

use deadpool_redis::PoolError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::{StoreError, StoreErrorKind};

/// The code of a command to which the user has no right.
const FORBIDDEN: &str = "NOPERM";
/// The text of a refused user or password, as redis words it.
const UNAUTHENTICATED: &str = "authentication failed";

/// The failure of a command: an error of the server, or no answer.
#[derive(Clone, Debug)]
pub(crate) struct CommandError {
    pub(crate) kind: StoreErrorKind,
    /// True if the connection is to be dropped.
    pub(crate) broken: bool,
    code: String,
}

/// The source of a [`StoreError`]: the error's code.
#[derive(Debug, thiserror::Error)]
#[error("redis: {0}")]
struct RedisCode(String);

impl CommandError {
    /// Creates an error with a code, or with a text of this crate.
    pub(crate) fn new(kind: StoreErrorKind, broken: bool, code: &str) -> Self {
        Self { kind, broken, code: code.to_owned() }
    }

    /// Creates the error of an answer that did not come in time.
    pub(crate) fn timeout() -> Self {
        Self::new(StoreErrorKind::Timeout, false, "no answer within the deadline")
    }

    /// Creates the error of an answer that does not belong to its command. The connection is to be
    /// dropped: its next answer may be wrong as well.
    pub(crate) fn untrusted(what: &'static str) -> Self {
        Self::new(StoreErrorKind::Untrusted, true, what)
    }

    /// Turns it into the error of the wrong server. The connection is to be dropped: a new one may
    /// lead elsewhere.
    pub(crate) fn of_the_wrong_server(self) -> Self {
        Self { kind: StoreErrorKind::Unavailable, broken: true, ..self }
    }

    /// Returns the error's code, or a text of this crate.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Returns whether there was no answer in time.
    pub(crate) fn is_late(&self) -> bool {
        self.kind == StoreErrorKind::Timeout
    }

    /// Returns whether the server does not know the script.
    pub(crate) fn is_unknown_script(&self) -> bool {
        self.code == "NOSCRIPT"
    }

    /// Returns whether a node of a cluster named another one for the command.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.code == "MOVED"
    }

    /// Returns whether the user has no right to the command.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.code == FORBIDDEN
    }
}

/// Returns whether the server refused the user or password.
pub(crate) fn is_unauthenticated(error: &StoreError) -> bool {
    code_of(error).is_some_and(|code| matches!(code, "NOAUTH" | "WRONGPASS" | UNAUTHENTICATED))
}

/// Returns whether the user lacked a right.
pub(crate) fn is_forbidden(error: &StoreError) -> bool {
    code_of(error) == Some(FORBIDDEN)
}

/// Returns the code of the command's error from which this one was made.
fn code_of(error: &StoreError) -> Option<&str> {
    error.source()?.downcast_ref().map(|RedisCode(code)| code.as_str())
}

impl From<CommandError> for StoreError {
    fn from(error: CommandError) -> Self {
        Self::new(error.kind).with_source(RedisCode(error.code))
    }
}

impl From<RedisError> for CommandError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self::timeout();
        }
        let kind = error.kind();
        // A pipeline's error has no code of its own.
        let server = error.clone().into_server_errors();
        let code = server.as_ref().and_then(|errors| errors.first()).map(|(_, error)| error.code());
        if let Some(code) = code.or(error.code()) {
            return from_code(code);
        }
        match kind {
            ErrorKind::AuthenticationFailed => Self::new(StoreErrorKind::Rejected, true, UNAUTHENTICATED),
            ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => {
                Self::new(StoreErrorKind::Rejected, true, error.category())
            }
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
                Self::new(StoreErrorKind::Untrusted, true, error.category())
            }
            ErrorKind::Server(ServerErrorKind::ResponseError) => {
                Self::new(StoreErrorKind::Rejected, false, error.category())
            }
            _ => Self::new(StoreErrorKind::Unavailable, true, error.category()),
        }
    }
}

impl From<PoolError> for CommandError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(_) => Self::new(StoreErrorKind::Timeout, true, "the pool gave no connection in time"),
            PoolError::Backend(error) => Self { broken: true, ..Self::from(error) },
            PoolError::Closed => Self::new(StoreErrorKind::Unavailable, true, "the pool is closed"),
            PoolError::NoRuntimeSpecified => Self::new(StoreErrorKind::Unavailable, true, "the pool has no runtime"),
            PoolError::PostCreateHook(_) => Self::new(StoreErrorKind::Unavailable, true, "the pool's hook failed"),
        }
    }
}

/// Returns the meaning of a server's error code. After a change of the server's role or state the
/// connection is to be dropped: a new one may lead elsewhere.
fn from_code(code: &str) -> CommandError {
    let (kind, broken) = match code {
        "OOM" => (StoreErrorKind::OutOfMemory, false),
        "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "UNBLOCKED" => (StoreErrorKind::Unavailable, true),
        "NOREPLICAS" | "MISCONF" | "TRYAGAIN" | "MOVED" | "ASK" | "BUSY" => (StoreErrorKind::Unavailable, false),
        "NOAUTH" | "WRONGPASS" => (StoreErrorKind::Rejected, true),
        "WRONGTYPE" => (StoreErrorKind::Untrusted, false),
        _ => (StoreErrorKind::Rejected, false),
    };
    // A code is one word in capitals. Any other text may hold data.
    let is_code = code.len() <= 32 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    CommandError::new(kind, broken, if is_code { code } else { "an error without a code" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_text_does_not_reach_the_error() {
        let error = from_code("ERR secret-key");
        assert_eq!(error.code, "an error without a code");
    }

    #[test]
    fn codes_say_whose_fault_it_is() {
        assert_eq!(from_code("OOM").kind, StoreErrorKind::OutOfMemory);
        assert_eq!(from_code("NOPERM").kind, StoreErrorKind::Rejected);
        for code in ["LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN"] {
            assert!(from_code(code).broken, "{code}");
            assert_eq!(from_code(code).kind, StoreErrorKind::Unavailable, "{code}");
        }
    }
}

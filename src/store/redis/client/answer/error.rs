//! What a failed command means, without what it said.
//!
//! A server's message may quote keys, and a client's may quote the URL. Only the error's code goes on.

use deadpool_redis::PoolError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::{StoreError, StoreErrorKind};

/// A command that brought no answer, or an error.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: StoreErrorKind,
    /// Whether the connection is to be dropped.
    pub(crate) broken: bool,
    code: String,
}

/// The source of a [`StoreError`]: the error's code.
#[derive(Debug, thiserror::Error)]
#[error("redis: {0}")]
struct RedisCode(String);

impl Failure {
    pub(crate) fn new(kind: StoreErrorKind, broken: bool, code: &str) -> Self {
        Self { kind, broken, code: code.to_owned() }
    }

    pub(crate) fn timeout() -> Self {
        Self::new(StoreErrorKind::Timeout, false, "no answer within the deadline")
    }

    /// An answer that does not belong to the question. Its connection must go: the next answer may be wrong as well.
    pub(crate) fn untrusted(what: &'static str) -> Self {
        Self::new(StoreErrorKind::Untrusted, true, what)
    }

    /// Makes of it the failure of a server that is not the one to ask: its connection goes, for a
    /// new one may lead elsewhere.
    pub(crate) fn of_the_wrong_server(self) -> Self {
        Self { kind: StoreErrorKind::Unavailable, broken: true, ..self }
    }

    /// Returns the error's code, or a text of this crate's own.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Whether there was no answer in time.
    pub(crate) fn is_late(&self) -> bool {
        self.kind == StoreErrorKind::Timeout
    }

    /// Whether the server does not know the script.
    pub(crate) fn is_unknown_script(&self) -> bool {
        self.code == "NOSCRIPT"
    }

    /// Whether a cluster's node did not run the command because it is another node's.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.code == "MOVED"
    }

    /// Whether the server refused the command because the user has no right to it.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.code == "NOPERM"
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind).with_source(RedisCode(failure.code))
    }
}

impl From<RedisError> for Failure {
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
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => {
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

impl From<PoolError> for Failure {
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

/// What an error code of a server means. After a change of the server's role or state the connection goes, for a new
/// one may lead elsewhere.
fn from_code(code: &str) -> Failure {
    let (kind, broken) = match code {
        "OOM" => (StoreErrorKind::OutOfMemory, false),
        "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "UNBLOCKED" => (StoreErrorKind::Unavailable, true),
        "NOREPLICAS" | "MISCONF" | "TRYAGAIN" | "MOVED" | "ASK" | "BUSY" => (StoreErrorKind::Unavailable, false),
        "NOAUTH" | "WRONGPASS" => (StoreErrorKind::Rejected, true),
        "WRONGTYPE" => (StoreErrorKind::Untrusted, false),
        _ => (StoreErrorKind::Rejected, false),
    };
    // A code is one word in capitals. Anything else is not a code, and might be anything.
    let is_code = code.len() <= 32 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    Failure::new(kind, broken, if is_code { code } else { "an error without a code" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_text_does_not_reach_the_error() {
        let failure = from_code("ERR secret-key");
        assert_eq!(failure.code, "an error without a code");
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

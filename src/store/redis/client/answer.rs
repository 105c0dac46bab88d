//! A reader for the parts of a server's answer, and the errors of commands.
//!
//! The reader returns a [`CommandError`] for every unexpected part. Errors contain only codes and
//! fixed texts, because messages of the server or of redis may contain keys or the URL.

use std::{error::Error as _, ops::Add, sync::Arc, time::Duration};

use deadpool_redis::PoolError;
use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use crate::{
    clock::{Clock, SystemClock, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::redis::client::{
        cause::{RedisCause, RedisFailure},
        credentials::CredentialsError,
    },
};

/// The server's error code for a command to which the user has no right.
const FORBIDDEN: &str = "NOPERM";
/// The text in place of an error code, if redis reports a refused user or password.
const UNAUTHENTICATED: &str = "authentication failed";

/// The failure of a command: an error of the server, or no answer.
#[derive(Clone, Debug)]
pub(crate) struct CommandError {
    pub(crate) kind: StoreErrorKind,
    /// True if the store must drop the connection.
    pub(crate) broken: bool,
    code: String,
    /// The address of the server, if known.
    address: Option<Arc<str>>,
    /// The cause, if known.
    cause: Option<RedisCause>,
    /// The error of the credentials provider, if that error caused this one.
    credentials: Option<CredentialsError>,
}

/// The code of an error, as the source of a [`StoreError`].
#[derive(Debug, thiserror::Error)]
#[error("redis: {0}{remedy}", remedy = remedy_for(.0))]
struct RedisCode(String);

/// Returns the remedy for an error whose text has none, and otherwise an empty text.
fn remedy_for(code: &str) -> &'static str {
    if code.contains("; ") { "" } else { "; check the log and the settings of the Redis server" }
}

impl CommandError {
    /// Creates an error. `code` is an error code of the server, or a fixed text of this crate.
    pub(crate) fn new(kind: StoreErrorKind, broken: bool, code: &str) -> Self {
        Self { kind, broken, code: code.to_owned(), address: None, cause: None, credentials: None }
    }

    /// Adds the address of the server, unless the error has one.
    pub(crate) fn at(mut self, address: Option<&Arc<str>>) -> Self {
        self.address = self.address.or_else(|| address.cloned());
        self
    }

    /// Sets the cause.
    pub(crate) fn because(mut self, cause: RedisCause) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Creates the error of an answer that did not arrive in time.
    pub(crate) fn timeout() -> Self {
        Self::new(StoreErrorKind::Timeout, false, "no answer within the deadline").because(RedisCause::NoAnswer)
    }

    /// Creates the error of an answer that does not belong to its command. The store must drop the
    /// connection, because later answers may not belong to their commands either.
    pub(crate) fn untrusted(what: &'static str) -> Self {
        Self::new(StoreErrorKind::Untrusted, true, what)
    }

    /// Turns this error into `Unavailable` and `broken`, because the server may not be the primary.
    /// The store then drops the connection, because a new connection may reach the primary.
    pub(crate) fn of_the_wrong_server(self) -> Self {
        Self { kind: StoreErrorKind::Unavailable, broken: true, ..self }
    }

    /// Returns the server's error code, or a fixed text of this crate.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Returns whether the server or the network closed the connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.cause == Some(RedisCause::Closed)
    }

    /// Returns whether the answer did not arrive in time.
    pub(crate) fn is_late(&self) -> bool {
        self.kind == StoreErrorKind::Timeout
    }

    /// Returns whether the server does not have the script that the command calls.
    pub(crate) fn is_unknown_script(&self) -> bool {
        self.code == "NOSCRIPT"
    }

    /// Returns whether a server of a cluster answered that another server must run the command.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.code == "MOVED"
    }

    /// Returns whether the application's provider gave no credentials for a connection.
    pub(crate) fn is_of_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// Returns whether the user has no right to the command.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.code == FORBIDDEN
    }
}

/// Returns the cause of an error; `None` if it is unknown.
pub(crate) fn cause_of(error: &StoreError) -> Option<&RedisCause> {
    error.source()?.downcast_ref().map(|failure: &RedisFailure| &failure.cause)
}

impl From<CommandError> for StoreError {
    fn from(error: CommandError) -> Self {
        let CommandError { kind, code, address, cause, credentials, .. } = error;
        match (credentials, cause) {
            (Some(credentials), _) => Self::new(kind).with_source(credentials),
            (None, Some(cause)) => {
                // An unknown host may be a password in the wrong place, so the error omits it.
                let address = address.filter(|_| cause != RedisCause::UnknownHost);
                let failure = RedisFailure { address, cause };
                Self::new(kind).with_source(failure)
            }
            (None, None) => Self::new(kind).with_source(RedisCode(code)),
        }
    }
}

impl From<CredentialsError> for CommandError {
    fn from(error: CredentialsError) -> Self {
        let text = "the credentials provider gave no credentials";
        Self { credentials: Some(error), ..Self::new(StoreErrorKind::Unavailable, false, text) }
    }
}

impl From<RedisError> for CommandError {
    fn from(error: RedisError) -> Self {
        let cause = RedisCause::of(&error);
        let error = Self::without_cause(&error);
        Self { cause: error.cause.or(cause), ..error }
    }
}

impl CommandError {
    /// Converts an error of the redis client. The caller adds the cause.
    fn without_cause(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::timeout();
        }
        let kind = error.kind();
        // The error of a pipeline has no code, but the errors of its commands have codes.
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
            PoolError::Timeout(_) => Self::new(
                StoreErrorKind::Timeout,
                true,
                "the pool gave no connection in time; check the server, or raise the size of the pool or its timeout",
            ),
            PoolError::Backend(error) => Self { broken: true, ..Self::from(error) },
            PoolError::Closed => Self::new(
                StoreErrorKind::Unavailable,
                true,
                "the pool is closed; keep the pool open while the store uses it",
            ),
            PoolError::NoRuntimeSpecified => {
                Self::new(StoreErrorKind::Unavailable, true, "the pool has no runtime; configure one in the pool")
            }
            PoolError::PostCreateHook(_) => Self::new(
                StoreErrorKind::Unavailable,
                true,
                "the `post_create` hook of the pool failed; correct the hook",
            ),
        }
    }
}

/// Creates the error for an error code of the server. For a code such as `READONLY`, the store
/// drops the connection, because a new connection may reach another server.
fn from_code(code: &str) -> CommandError {
    let (kind, broken) = match code {
        "OOM" => (StoreErrorKind::OutOfMemory, false),
        "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "UNBLOCKED" => (StoreErrorKind::Unavailable, true),
        "NOREPLICAS" | "MISCONF" | "TRYAGAIN" | "MOVED" | "ASK" | "BUSY" => (StoreErrorKind::Unavailable, false),
        "NOAUTH" | "WRONGPASS" => (StoreErrorKind::Rejected, true),
        "WRONGTYPE" => (StoreErrorKind::Untrusted, false),
        _ => (StoreErrorKind::Rejected, false),
    };
    // An error code is one word in capitals. Any other text may contain data.
    let is_code = code.len() <= 32 && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    CommandError::new(kind, broken, if is_code { code } else { "an error without a code" })
}

/// The values of an array that the caller has not read yet.
pub(crate) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// Starts to read an array.
    pub(crate) fn of(value: Value) -> Result<Self, CommandError> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            _ => Err(malformed()),
        }
    }

    /// Returns true at the end of the array.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Reads any value.
    pub(crate) fn value(&mut self) -> Result<Value, CommandError> {
        self.0.next().ok_or_else(malformed)
    }

    /// Reads an array.
    pub(crate) fn array(&mut self) -> Result<Self, CommandError> {
        Self::of(self.value()?)
    }

    /// Reads bytes; `None` for nil.
    pub(crate) fn bytes(&mut self) -> Result<Option<Vec<u8>>, CommandError> {
        match self.value()? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes)),
            Value::SimpleString(text) => Ok(Some(text.into_bytes())),
            _ => Err(malformed()),
        }
    }

    /// Reads a text; `None` for nil.
    pub(crate) fn optional_text(&mut self) -> Result<Option<String>, CommandError> {
        self.bytes()?.map(String::from_utf8).transpose().map_err(|_| malformed())
    }

    /// Reads a text.
    pub(crate) fn text(&mut self) -> Result<String, CommandError> {
        self.optional_text()?.ok_or_else(malformed)
    }

    /// Reads a number; `None` for nil.
    pub(crate) fn optional_number(&mut self) -> Result<Option<u64>, CommandError> {
        match self.value()? {
            Value::Nil => Ok(None),
            Value::Int(number) => u64::try_from(number).map(Some).map_err(|_| malformed()),
            Value::BulkString(digits) => decimal(&digits).map(Some).ok_or_else(malformed),
            _ => Err(malformed()),
        }
    }

    /// Reads a number.
    pub(crate) fn number(&mut self) -> Result<u64, CommandError> {
        self.optional_number()?.ok_or_else(malformed)
    }

    /// Reads a time in milliseconds.
    pub(crate) fn time(&mut self) -> Result<Timestamp, CommandError> {
        self.number().map(Timestamp::from_millis)
    }

    /// Reads a duration in milliseconds.
    pub(crate) fn duration(&mut self) -> Result<Duration, CommandError> {
        self.number().map(Duration::from_millis)
    }

    /// Reads the answer to `TIME`: seconds and microseconds.
    pub(crate) fn server_time(&mut self) -> Result<Timestamp, CommandError> {
        let (seconds, micros) = (self.number()?, self.number()?);
        if !self.is_empty() {
            return Err(malformed());
        }
        Ok(Timestamp::from_millis(seconds.saturating_mul(1000).saturating_add(micros / 1000)))
    }

    /// Reads the answer to `ROLE`. Returns an error if the server is not a primary.
    pub(crate) fn primary(&mut self) -> Result<(), CommandError> {
        if self.text()? == "master" {
            return Ok(());
        }
        let error = CommandError::new(StoreErrorKind::Unavailable, true, "the server is not a primary");
        Err(error.because(RedisCause::Replica))
    }
}

/// Parses plain decimal digits: no sign, no space.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads the number before the first dot. The store writes a revocation as a number, a dot, and the
/// sequence of its log entry.
pub(crate) fn leading_number(value: &[u8]) -> Option<u64> {
    value.split(|byte| *byte == b'.').next().and_then(decimal)
}

/// Returns the error of an answer with an unexpected form.
pub(crate) fn malformed() -> CommandError {
    CommandError::untrusted("the answer has an unexpected form")
}

/// Returns the text of an answer to `INFO`.
pub(crate) fn info_text(value: Value) -> Result<String, CommandError> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } => Ok(text),
        _ => Err(malformed()),
    }
}

/// Returns the value of the line `name:value` in an answer to `INFO`.
pub(crate) fn property<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// A moment of this node's monotonic clock, which also runs while the machine is suspended.
///
/// On Linux, `Instant` stops during a suspension. With `Instant`, an answer from before the
/// suspension would look fresh even after hours.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// Returns the current moment.
    pub(crate) fn now() -> Self {
        Self(SystemClock.elapsed())
    }

    /// Returns the time from `earlier` to this moment; zero if `earlier` is not earlier.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

#[cfg(test)]
impl Moment {
    /// Returns a moment of a test, `millis` after its start.
    pub(crate) fn at(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
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

    #[test]
    fn only_plain_decimals_are_numbers() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "+1", "-1", " 1", "1 ", "1e3", "0x1", "18446744073709551616", "1.0"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_number_before_the_dot_is_read_with_and_without_one() {
        for (text, number) in [("17.3", Some(17)), ("17", Some(17)), (".3", None), ("x.3", None), ("", None)] {
            assert_eq!(leading_number(text.as_bytes()), number, "{text}");
        }
    }
}

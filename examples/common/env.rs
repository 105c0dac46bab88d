//! Variables, address and logs of an example.
#![allow(dead_code, unreachable_pub, reason = "each example takes its own part of this")]

use std::{env, error::Error, fmt, net::SocketAddr, str::FromStr, time::Duration};

use tower_bearer::{BoxError, Consistency};
use tracing_subscriber::EnvFilter;

/// Returns the consistency that `CONSISTENCY` names.
pub fn consistency() -> Result<Consistency, BoxError> {
    let Some(text) = variable("CONSISTENCY")? else { return Ok(Consistency::Strong) };
    let millis = text.strip_prefix("bounded:").and_then(|millis| millis.parse().ok());
    match (&*text, millis) {
        ("strong", _) => Ok(Consistency::Strong),
        (_, Some(millis)) => Ok(Consistency::BoundedStaleness(Duration::from_millis(millis))),
        _ => Err(format!("CONSISTENCY is `{text}`; give `strong` or `bounded:<milliseconds>`").into()),
    }
}

/// Returns the address to listen on: `BIND`, or `default`.
pub fn bind_address(default: &str) -> Result<SocketAddr, BoxError> {
    match parsed("BIND", "an address such as 127.0.0.1:3000")? {
        Some(address) => Ok(address),
        None => Ok(default.parse()?),
    }
}

/// Sends logs to standard error, filtered by `RUST_LOG`.
pub fn log_to_stderr() -> Result<(), BoxError> {
    let filter = EnvFilter::try_new(variable("RUST_LOG")?.as_deref().unwrap_or("info"))
        .map_err(|error| format!("RUST_LOG is not a tracing filter ({error}); give one such as `info`"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init()
}

/// Returns the value of a variable. An empty value counts as unset.
pub fn variable(name: &str) -> Result<Option<String>, BoxError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8; set it to a text in UTF-8").into()),
    }
}

/// Returns the parsed value of a variable. `expected` says in an error which values fit.
pub fn parsed<T: FromStr<Err: fmt::Display>>(name: &str, expected: &str) -> Result<Option<T>, BoxError> {
    let Some(value) = variable(name)? else { return Ok(None) };
    let wrong = |error: T::Err| format!("{name} is invalid ({error}); give {expected}").into();
    value.trim().parse().map(Some).map_err(wrong)
}

/// An error that ends an example. Rust prints the error that `main` returns by its `Debug`, which
/// here writes sentences.
pub struct Failure(BoxError);

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source: Option<&(dyn Error + 'static)> = self.0.source();
        while let Some(cause) = source {
            write!(f, "\n  because: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

//! The answer to `INFO`.

use redis::Value;

use crate::store::redis::client::answer::{error::CommandError, reply::malformed};

/// Returns the text of an answer.
pub(crate) fn text(value: Value) -> Result<String, CommandError> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } => Ok(text),
        _ => Err(malformed()),
    }
}

/// Returns the value of a line `name:value`.
pub(crate) fn property<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

//! A reader of a server's answer, piece by piece. Anything unexpected is a [`CommandError`], never
//! a guess.

use std::time::Duration;

use redis::Value;

use crate::{clock::Timestamp, error::StoreErrorKind, store::redis::client::answer::error::CommandError};

/// The rest of an array that is being read.
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

    /// Reads the answers to `TIME` and `ROLE`, the beginning of a strict read.
    pub(crate) fn time_of_primary(&mut self) -> Result<Timestamp, CommandError> {
        let now = self.array()?.server_time()?;
        self.array()?.primary()?;
        Ok(now)
    }

    /// Reads the answer to `ROLE`, and fails if it is not a primary's.
    pub(crate) fn primary(&mut self) -> Result<(), CommandError> {
        if self.text()? == "master" {
            return Ok(());
        }
        Err(CommandError::new(StoreErrorKind::Unavailable, true, "the server is not a primary"))
    }
}

/// Parses plain decimal digits: no sign, no space.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads the number before the first dot. In the value of a revocation, the sequence of its entry
/// follows.
pub(crate) fn leading_number(value: &[u8]) -> Option<u64> {
    value.split(|byte| *byte == b'.').next().and_then(decimal)
}

/// Returns the error of an answer of another form than expected.
pub(crate) fn malformed() -> CommandError {
    CommandError::untrusted("an answer of another form than expected")
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! A position in the revocation log, and its text.

use std::{fmt, str::FromStr};

/// The position of an entry in the revocation log.
///
/// An application may create a position. Later versions change neither the fields nor the text
/// form.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct LogPosition {
    /// The bucket of the log.
    pub bucket: u32,
    /// The identity of the store's data set. It changes when the store loses its data.
    pub incarnation: String,
    /// The number of the entry in the log. The first entry has the number 1, and each next entry
    /// has the next number.
    pub sequence: u64,
}

/// The error for a text that is not a [`LogPosition`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the text is not a position in a revocation log; write `<bucket>.<sequence>.<incarnation>`")]
pub struct InvalidLogPosition;

impl fmt::Display for LogPosition {
    /// Writes `<bucket>.<sequence>.<incarnation>`, a text that another node can parse.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.bucket, self.sequence, self.incarnation)
    }
}

impl FromStr for LogPosition {
    type Err = InvalidLogPosition;

    fn from_str(text: &str) -> Result<Self, InvalidLogPosition> {
        let mut parts = text.splitn(3, '.');
        let (bucket, sequence, incarnation) = (parts.next(), parts.next(), parts.next());
        let incarnation = incarnation
            .filter(|name| (1..=255).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()));
        Ok(Self {
            bucket: number(bucket)?,
            sequence: number(sequence)?,
            incarnation: incarnation.ok_or(InvalidLogPosition)?.to_owned(),
        })
    }
}

/// Parses a number. Accepts only digits, because `parse` alone would also accept a sign.
fn number<N: FromStr>(digits: Option<&str>) -> Result<N, InvalidLogPosition> {
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(InvalidLogPosition)
}

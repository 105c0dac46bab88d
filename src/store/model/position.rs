//! A position in the revocation log, and its text.

use std::{fmt, str::FromStr};

/// A position in the revocation log.
///
/// Its parts and its text form are fixed: no part will be added, and an application may build one.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct LogPosition {
    /// The bucket of the log.
    pub bucket: u32,
    /// Identity of the store's data set: a store that lost its data starts a new one.
    pub incarnation: String,
    /// The entry's number: dense, from 1.
    pub sequence: u64,
}

/// The error of a text that is not a position in a revocation log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the text is not a position in a revocation log; write `<bucket>.<sequence>.<incarnation>`")]
pub struct InvalidLogPosition;

impl fmt::Display for LogPosition {
    /// Writes `<bucket>.<sequence>.<incarnation>`, the form in which one node passes it to another.
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

/// Parses plain digits: `parse` alone would accept a sign.
fn number<N: FromStr>(digits: Option<&str>) -> Result<N, InvalidLogPosition> {
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(InvalidLogPosition)
}

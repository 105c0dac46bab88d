//! A place in the revocation log, as text: what one node hands to another.

use std::{fmt, str::FromStr};

use super::LogPosition;

/// A text that is no place in a revocation log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a place in a revocation log: `<bucket>.<sequence>.<incarnation>` is one")]
pub struct InvalidLogPosition;

impl fmt::Display for LogPosition {
    /// `<bucket>.<sequence>.<incarnation>`.
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

/// Plain digits: `parse` would take a sign as well.
fn number<N: FromStr>(digits: Option<&str>) -> Result<N, InvalidLogPosition> {
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(InvalidLogPosition)
}

//! The encoding of times and durations in the arguments of scripts: decimal milliseconds.

use std::time::Duration;

use crate::clock::{Timestamp, saturating_millis};

/// Encodes a time as an argument of a script.
pub(crate) fn decimals(time: Timestamp) -> Vec<u8> {
    time.as_millis().min(Timestamp::END_OF_TIME.as_millis()).to_string().into_bytes()
}

/// Encodes a duration as an argument of a script.
pub(crate) fn millis(duration: Duration) -> Vec<u8> {
    whole_millis(duration).to_string().into_bytes()
}

/// Returns a duration in whole milliseconds, at most [`Timestamp::END_OF_TIME`].
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    saturating_millis(duration).min(Timestamp::END_OF_TIME.as_millis())
}

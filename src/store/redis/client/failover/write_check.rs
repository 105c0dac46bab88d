//! The write check: `PERSIST {b}:m` at the end of every read that a decision rests on.
//!
//! A primary that was cut off still answers `ROLE` with `master`, and serves reads for ever. It
//! refuses a write once its replicas are gone (`min-replicas-to-write`), and so does a replica. `m`
//! has no time to live: `PERSIST` answers 0 and changes nothing, so nothing is replicated and
//! nothing reaches the disk. It also works out of memory. Measured on Redis 7.0 and 8.2, Valkey 8.1
//! and 9.1.

use redis::{RedisError, Value};

use crate::store::redis::client::answer::{CommandError, malformed};

/// A reason for which a server cannot be write-checked, although it may be the right one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unchecked {
    /// `MISCONF`: it cannot save to its disk, and so refuses every write.
    Disk,
    /// `NOPERM`: the user may not write.
    Right,
}

impl Unchecked {
    /// Returns the text for operators.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Disk => {
                "the Redis server cannot save to its disk and refuses every write (MISCONF); reads are served \
                 unchecked; free its disk"
            }
            Self::Right => {
                "the Redis user has lost the right to PERSIST; reads are served unchecked; grant it with ACL SETUSER"
            }
        }
    }
}

/// Reads the answer to a write check.
///
/// `Ok(None)`: the server takes writes. `Ok(Some(_))`: it refuses them for a reason unrelated to
/// its role, and `may_be_unchecked` allows to go on. An error: the reads before the check do not
/// count. Its connection is to be dropped if [`CommandError::broken`] says so.
pub(crate) fn write_check(answer: &Value, may_be_unchecked: bool) -> Result<Option<Unchecked>, CommandError> {
    let error = match answer {
        Value::Int(_) => return Ok(None),
        Value::ServerError(error) => error,
        _ => return Err(malformed()),
    };
    let error = CommandError::from(RedisError::from(error.clone()));
    let unchecked = match error.code() {
        "MISCONF" => Unchecked::Disk,
        "NOPERM" => Unchecked::Right,
        "NOREPLICAS" | "READONLY" => {
            return Err(error.of_the_wrong_server());
        }
        _ => return Err(error),
    };
    if may_be_unchecked {
        return Ok(Some(unchecked));
    }
    Err(error.of_the_wrong_server())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::error::StoreErrorKind;

    fn error(text: &str) -> Value {
        redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_server_that_takes_writes_passes() {
        for number in [0, 1] {
            assert_eq!(write_check(&Value::Int(number), false).unwrap(), None);
        }
    }

    #[test]
    fn a_server_without_replicas_and_a_replica_do_not_count_and_lose_their_connection() {
        for text in ["NOREPLICAS Not enough good replicas to write.", "READONLY You can't write against a replica."] {
            for may_be_unchecked in [true, false] {
                let error = write_check(&error(text), may_be_unchecked).unwrap_err();
                assert_eq!((error.kind, error.broken), (StoreErrorKind::Unavailable, true), "{text}");
            }
        }
    }

    #[test]
    fn a_full_disk_and_a_lost_right_are_served_only_where_that_is_allowed() {
        let rows = [("MISCONF Redis is configured", Unchecked::Disk), ("NOPERM this user", Unchecked::Right)];
        for (text, reason) in rows {
            assert_eq!(write_check(&error(text), true).unwrap(), Some(reason));
            let error = write_check(&error(text), false).unwrap_err();
            assert_eq!((error.kind, error.broken), (StoreErrorKind::Unavailable, true), "{text}");
        }
    }

    #[test]
    fn any_other_answer_does_not_count() {
        assert!(write_check(&error("MOVED 1 127.0.0.1:1"), true).unwrap_err().is_elsewhere());
        assert!(write_check(&error("LOADING Redis is loading"), true).unwrap_err().broken);
        for value in [Value::Nil, Value::Okay, Value::Array(Vec::new())] {
            assert_eq!(write_check(&value, true).unwrap_err().kind, StoreErrorKind::Untrusted);
        }
    }
}

//! A session's record, as the scripts write it (`user.lua`) and the strict read reads it.
//!
//! 53 bytes, big-endian. More than 64 would double the memory of a session, because Redis then
//! leaves its compact encoding of small hashes. (Measured on 7.0: 120 bytes a session against 239.)
//!
//! | bytes | contents |
//! |--|--|
//! | 8 | tag: the start of SHA-256 over subject and sid |
//! | 8 | generation |
//! | 8 | opened, in ms of the server's clock, as all times here |
//! | 8 | absolute end; once its end is in the log: the sequence of that entry |
//! | 8 | refresh end: the end of the session if it is not used; never beyond the absolute end |
//! | 8 | last rotation; of a revoked session: the time of its revocation |
//! | 4 | counter of the refresh token that comes next |
//! | 1 | flags: bit 0 for a revoked session, bit 1 once its end is in the log |
//!
//! The tag names the owner of a record, and a record with another tag is never used. Otherwise a
//! shifted answer would show one caller the session of another. redis 1.8 shifts answers after a
//! push that it takes for one (see `client::pubsub`); its blocking connection once did so after a
//! timeout (redis-rs#1252, closed). Keep the tag when that is mended: it costs eight bytes.

use crate::{clock::Timestamp, store::redis::layout::keys::hash_of_parts};

/// The start of SHA-256 over subject and sid.
pub(crate) type Tag = [u8; 8];

const SIZE: usize = 53;
const REVOKED: u8 = 1;

/// A record that was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    tag: Tag,
    pub(crate) generation: u64,
    pub(crate) opened: Timestamp,
    pub(crate) absolute_end: Timestamp,
    pub(crate) refresh_end: Timestamp,
    pub(crate) rotated: Timestamp,
    pub(crate) counter: u32,
    flags: u8,
}

/// Returns the tag of a session.
pub(crate) fn tag(subject: &str, sid: &str) -> Tag {
    let hash = hash_of_parts(&[subject, sid]);
    std::array::from_fn(|index| hash.get(index).copied().unwrap_or_default())
}

impl Record {
    /// Reads a record; `None` if it has another size or another tag.
    pub(crate) fn parse(bytes: &[u8], expected: Tag) -> Option<Self> {
        if bytes.len() != SIZE {
            return None;
        }
        let (tag, rest) = bytes.split_first_chunk()?;
        let (generation, rest) = number(rest)?;
        let (opened, rest) = number(rest)?;
        let (absolute_end, rest) = number(rest)?;
        let (refresh_end, rest) = number(rest)?;
        let (rotated, rest) = number(rest)?;
        let (counter, rest) = rest.split_first_chunk()?;
        let record = Self {
            tag: *tag,
            generation,
            opened: Timestamp::from_millis(opened),
            absolute_end: Timestamp::from_millis(absolute_end),
            refresh_end: Timestamp::from_millis(refresh_end),
            rotated: Timestamp::from_millis(rotated),
            counter: u32::from_be_bytes(*counter),
            flags: *rest.first()?,
        };
        (record.tag == expected).then_some(record)
    }

    /// Returns whether the session was revoked.
    pub(crate) fn was_revoked(&self) -> bool {
        self.flags & REVOKED != 0
    }

    /// Returns whether the session lives, under this generation of the user.
    pub(crate) fn is_alive(&self, generation: u64, now: Timestamp) -> bool {
        !self.was_revoked() && self.generation >= generation && now < self.refresh_end
    }
}

/// Reads a number.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn packed(subject: &str, sid: &str, flags: u8) -> Vec<u8> {
        let mut bytes = tag(subject, sid).to_vec();
        for number in [7_u64, 1_790_000_000_001, 3, 4, 5] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(9_u32.to_be_bytes());
        bytes.push(flags);
        bytes
    }

    #[test]
    fn a_record_is_read_as_it_was_packed() {
        let bytes = packed("alice", "s1", 0);
        assert!(bytes.len() <= 64);
        let record = Record::parse(&bytes, tag("alice", "s1")).unwrap();
        assert_eq!((record.generation, record.counter), (7, 9));
        assert_eq!(record.opened, Timestamp::from_millis(1_790_000_000_001));
        assert_eq!(record.absolute_end, Timestamp::from_millis(3));
        assert_eq!(record.refresh_end, Timestamp::from_millis(4));
        assert_eq!(record.rotated, Timestamp::from_millis(5));
        assert!(!record.was_revoked());
        assert!(record.is_alive(7, Timestamp::from_millis(3)));
        assert!(!record.is_alive(8, Timestamp::from_millis(3)));
        assert!(!record.is_alive(7, Timestamp::from_millis(4)));
        assert!(Record::parse(&packed("alice", "s1", 1), tag("alice", "s1")).unwrap().was_revoked());
    }

    #[test]
    fn a_record_of_another_session_or_size_is_not_read() {
        let bytes = packed("alice", "s1", 0);
        assert_eq!(Record::parse(&bytes, tag("alice", "s2")), None);
        assert_eq!(Record::parse(&bytes, tag("bob", "s1")), None);
        assert_eq!(Record::parse(&bytes, tag("alices", "1")), None);
        for size in 0..bytes.len() {
            assert_eq!(Record::parse(bytes.get(..size).unwrap(), tag("alice", "s1")), None);
        }
    }
}

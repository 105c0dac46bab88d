//! The keys of the store, and the fields of a user's hash (`docs/protocol.md`, section 1).
//!
//! ```text
//! {prefix}:{b}:u:<sub>   HASH    a user: generations, sessions, revoked tokens
//! {prefix}:{b}:i:<sub>   HASH    the labels of the user's sessions
//! {prefix}:{b}:s:<sub>   ZSET    index of the user's live sessions by last rotation; exists only
//!                                after a login that limited the number of sessions
//! {prefix}:{b}:d:<hash>  STRING  the denial of an external id
//! {prefix}:{b}:m         HASH    the state of the bucket: layout, buckets, inc, born, seq, head,
//!                                at, keep, grew, from, dmax, fmax
//! {prefix}:{b}:log       STREAM  the revocation log
//! {prefix}:{b}:probe     STRING  a test write of `SessionStore::probe`; no call reads it
//! {prefix}:{b}:ch        shard channel: a nudge for each log entry
//! {prefix}:{0}:w         STRING  always `1`: a test write that the Redis replicas acknowledge
//! ```
//!
//! `{b}` is the bucket's number in literal braces. Redis Cluster uses it as the hash tag, so all
//! keys of a bucket are in one slot. A prefix contains no brace, so the first brace of a key always
//! opens the hash tag.
//!
//! **The bucket** of a subject is the number in the first four bytes (big-endian) of its SHA-256,
//! modulo the number of buckets. Never change this rule, because the store would no longer find the
//! existing sessions.
//!
//! The fields of a user's hash, whose names never collide:
//!
//! | field | contents |
//! |--|--|
//! | `g` | the lowest generation that is not revoked; only a (republished) `revoke_all` writes it |
//! | `o` | the highest generation that any session had |
//! | `r` | time of the last `revoke_all`, in ms; a login must have begun after this time |
//! | `e` | the last `revoke_all`: `<sequence>.<g>:<field of the excepted session>` |
//! | `x` | progress of building the index: a cursor or `done`; absent if there is no index |
//! | `c` | the cursor at which the next pruning starts |
//! | `l` | the user's last log entry: `<time in ms>.<nonce>` |
//! | `!<jti>` | mark of a revoked access token: `<end of the revocation in ms>.<sequence>` |
//! | `<sid>` | a session's record |
//! | `=<sid>` | a session's record, if the `sid` has one byte or starts with `!` or `=` |
//!
//! * `<sequence>` is the number of the revocation's log entry.
//! * The *excepted session* is the one that `revoke_all` left alive.
//! * `e` contains `:` if no other session is alive, and `;` in its place if another session may be
//!   alive.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{clock::Timestamp, error::ConfigError, store::ExternalId};

/// The version of the layout that this code reads and writes. The `m` of each bucket contains it.
pub(crate) const LAYOUT: &str = "2";

/// The first 8 bytes of a hash of subject and sid.
pub(crate) type Tag = [u8; 8];

/// The size of a session's record in bytes, and the flag of a revoked session.
const SIZE: usize = 53;
const REVOKED: u8 = 1;

const MAX_PREFIX: usize = 64;
/// The maximum number of buckets. Each bucket adds a query to every read of the log. More buckets
/// than the cluster has servers bring no benefit.
const MAX_BUCKETS: u32 = 1024;

/// The names of a store's keys. They depend on the prefix and the number of buckets.
#[derive(Clone, Debug)]
pub(crate) struct Keyspace {
    prefix: String,
    buckets: u32,
}

/// The hash of an id that another issuer gave to a token, session or subject. The hash determines
/// the bucket.
pub(crate) struct ExternalKey {
    pub(crate) bucket: u32,
    pub(crate) hash: String,
}

impl Keyspace {
    /// Creates a keyspace.
    ///
    /// # Errors
    ///
    /// The prefix or the number of buckets is invalid.
    pub(crate) fn new(prefix: &str, buckets: u32) -> Result<Self, ConfigError> {
        if prefix.is_empty() || prefix.len() > MAX_PREFIX {
            return Err(ConfigError::out_of_range(
                "prefix",
                format!("has {} bytes, which is out of range", prefix.len()),
                format!("choose a prefix of 1 to {MAX_PREFIX} bytes"),
            ));
        }
        if prefix.contains(['{', '}']) {
            return Err(ConfigError::new(
                "prefix",
                "contains `{` or `}`, which would change the slots of the keys in a Redis Cluster",
                "remove the braces",
            ));
        }
        if buckets == 0 || buckets > MAX_BUCKETS {
            return Err(ConfigError::out_of_range(
                "buckets",
                format!("is {buckets}, which is out of range"),
                format!("choose a number from 1 to {MAX_BUCKETS}, the same on every node"),
            ));
        }
        Ok(Self { prefix: prefix.to_owned(), buckets })
    }

    /// Returns the prefix of all keys.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the number of buckets.
    pub(crate) fn buckets(&self) -> u32 {
        self.buckets
    }

    /// Returns the bucket of a subject.
    pub(crate) fn bucket_of(&self, subject: &str) -> u32 {
        self.bucket(&Sha256::digest(subject))
    }

    /// Returns the key of a bucket's hash `m`.
    pub(crate) fn meta(&self, bucket: u32) -> String {
        format!("{}:{{{bucket}}}:m", self.prefix)
    }

    /// Returns [`meta`](Self::meta) as a function that owns a copy of this keyspace.
    pub(crate) fn meta_keys(&self) -> Box<dyn Fn(u32) -> String + Send + Sync> {
        let keyspace = self.clone();
        Box::new(move |bucket| keyspace.meta(bucket))
    }

    /// Returns the key that the store writes to get acknowledgements from the Redis replicas.
    pub(crate) fn proof(&self) -> String {
        format!("{}:{{0}}:w", self.prefix)
    }

    /// Returns the key that `SessionStore::probe` writes on the server of this bucket.
    pub(crate) fn probe(&self, bucket: u32) -> String {
        format!("{}:{{{bucket}}}:probe", self.prefix)
    }

    /// Returns the key of a bucket's log.
    pub(crate) fn log(&self, bucket: u32) -> String {
        format!("{}:{{{bucket}}}:log", self.prefix)
    }

    /// Returns the pub/sub channel of a bucket's nudges.
    pub(crate) fn channel(&self, bucket: u32) -> String {
        format!("{}:{{{bucket}}}:ch", self.prefix)
    }

    /// Returns the key of a user's hash.
    pub(crate) fn user(&self, bucket: u32, subject: &str) -> String {
        format!("{}:{{{bucket}}}:u:{subject}", self.prefix)
    }

    /// Returns the key of the hash with the labels of a user's sessions.
    pub(crate) fn labels(&self, bucket: u32, subject: &str) -> String {
        format!("{}:{{{bucket}}}:i:{subject}", self.prefix)
    }

    /// Returns the key of the index of a user's live sessions.
    pub(crate) fn index(&self, bucket: u32, subject: &str) -> String {
        format!("{}:{{{bucket}}}:s:{subject}", self.prefix)
    }

    /// Returns the key of a denial.
    pub(crate) fn denied(&self, key: &ExternalKey) -> String {
        format!("{}:{{{}}}:d:{}", self.prefix, key.bucket, key.hash)
    }

    /// Returns the hash and the bucket of an id that `issuer` gave to a token, session or subject.
    /// The hash includes the issuer, because two issuers may give different users the same subject.
    pub(crate) fn external(&self, issuer: &str, id: &ExternalId) -> ExternalKey {
        let (kind, value) = match id {
            ExternalId::Token(value) => ("jti", value.as_str()),
            ExternalId::Session(value) => ("sid", value.as_str()),
            ExternalId::Subject(value) => ("sub", value.as_str()),
        };
        let digest = hash_of_parts(&[issuer, kind, value]);
        ExternalKey { bucket: self.bucket(&digest), hash: URL_SAFE_NO_PAD.encode(digest) }
    }

    /// Computes a bucket from a digest.
    fn bucket(&self, digest: &[u8]) -> u32 {
        let number = digest.iter().take(4).fold(0, |number: u32, byte| (number << 8) | u32::from(*byte));
        number.checked_rem(self.buckets).unwrap_or(0)
    }
}

/// Returns the SHA-256 of several texts. Hashes the length of each text before the text, so that
/// different lists never give the same bytes.
pub(crate) fn hash_of_parts(parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Returns the name of the field that contains a session's record.
pub(crate) fn session_field(sid: &str) -> String {
    if sid.len() < 2 || sid.starts_with(['!', '=']) { format!("={sid}") } else { sid.to_owned() }
}

/// Returns the id of the session whose record is in `field`.
pub(crate) fn sid_of(field: &str) -> &str {
    field.strip_prefix('=').unwrap_or(field)
}

/// Returns the name of the field that marks an access token as revoked.
pub(crate) fn token_field(jti: &str) -> String {
    format!("!{jti}")
}

/// A session's record in the user's hash. The scripts write the record (`user.lua`). The check of a
/// token reads it.
///
/// A record has 53 bytes, big-endian. Above 64 bytes, Redis would not use its compact encoding of
/// small hashes. On Redis 7.0, a session would then need 239 bytes of memory instead of 120.
///
/// | bytes | contents |
/// |--|--|
/// | 8 | tag: the start of SHA-256 over subject and sid |
/// | 8 | generation |
/// | 8 | time of the opening, in ms of the server's clock like all times here |
/// | 8 | absolute end of the session; if bit 1 of the flags is set, the sequence of the log entry |
/// | 8 | refresh end: the session ends then unless a refresh delays it; at most the absolute end |
/// | 8 | last rotation; of a revoked session: the time of its revocation |
/// | 4 | counter of the newest refresh token |
/// | 1 | flags: bit 0 if the session is revoked, bit 1 if the log has an entry of that revocation |
///
/// The store rejects a record whose tag belongs to another session. Without the tag, an error of
/// the client library could give a caller the record that another caller asked for:
///
/// * redis 1.8 takes some pushes for answers. Each later command then gets the answer to the
///   command before it (see `client::pubsub`).
/// * Its blocking connection mixed up answers after a timeout (redis-rs#1252, closed).
///
/// Keep the tag even when both errors are fixed, because it costs only 8 bytes.
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

/// Computes the tag of a session.
pub(crate) fn tag(subject: &str, sid: &str) -> Tag {
    let hash = hash_of_parts(&[subject, sid]);
    std::array::from_fn(|index| hash.get(index).copied().unwrap_or_default())
}

impl Record {
    /// Parses a record. Returns `None` if the size or the tag is wrong.
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

    /// Returns true if the session was revoked.
    pub(crate) fn was_revoked(&self) -> bool {
        self.flags & REVOKED != 0
    }

    /// Returns true if the session is neither revoked nor expired. `generation` is the user's
    /// lowest generation that is not revoked.
    pub(crate) fn is_alive(&self, generation: u64, now: Timestamp) -> bool {
        !self.was_revoked() && self.generation >= generation && now < self.refresh_end
    }
}

/// Reads a big-endian number of 8 bytes. Returns the number and the remaining bytes.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_bucket_of_a_subject_never_changes() {
        let keys = Keyspace::new("tb", 16).unwrap();
        assert_eq!(["alice", "bob", "carol", "1"].map(|subject| keys.bucket_of(subject)), [9, 8, 7, 3]);
    }

    #[test]
    fn no_two_things_share_a_field() {
        let ids = ["g", "o", "r", "e", "x", "c", "l", "!", "=", "=g", "==g", "!x", "=!x", "ab", "!!x", "=ab"];
        let mut fields: HashSet<String> = ["g", "o", "r", "e", "x", "c", "l"].map(str::to_owned).into();
        for id in ids {
            assert!(fields.insert(session_field(id)), "{id}");
            assert!(fields.insert(token_field(id)), "{id}");
            assert_eq!(sid_of(&session_field(id)), id);
        }
    }

    #[test]
    fn no_two_subjects_share_a_key_and_the_hash_tag_is_the_bucket() {
        let keys = Keyspace::new("tb", 16).unwrap();
        let subjects = ["", "a", "u:a", "{3}", "}:u:{", "a:i:b", "s:a", "\r\n", "m", "log"];
        let mut all: HashSet<String> = HashSet::new();
        for subject in subjects {
            for key in [keys.user(3, subject), keys.labels(3, subject), keys.index(3, subject)] {
                assert!(key.starts_with("tb:{3}:"), "{key}");
                assert!(all.insert(key));
            }
        }
        assert!(!all.contains(&keys.meta(3)) && !all.contains(&keys.log(3)));
    }

    #[test]
    fn another_issuers_names_do_not_run_into_each_other() {
        let keys = Keyspace::new("tb", 16).unwrap();
        let token = |value: &str| ExternalId::Token(value.into());
        let hashes: HashSet<String> = [
            keys.external("a", &token("bc")),
            keys.external("ab", &token("c")),
            keys.external("a", &ExternalId::Session("bc".into())),
            keys.external("a", &ExternalId::Subject("bc".into())),
        ]
        .map(|key| key.hash)
        .into();
        assert_eq!(hashes.len(), 4);
    }

    #[test]
    fn a_prefix_or_number_that_cannot_work_is_refused() {
        for prefix in ["", "a{b", "a}", &"x".repeat(65)] {
            assert_eq!(Keyspace::new(prefix, 16).unwrap_err().setting(), "prefix");
        }
        for buckets in [0, 1025] {
            assert_eq!(Keyspace::new("tb", buckets).unwrap_err().setting(), "buckets");
        }
    }

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

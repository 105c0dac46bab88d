//! Revocations of tokens that another issuer has issued.

use std::time::Duration;

use super::ServerId;
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
};

/// A thing of another issuer that can be revoked.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ExternalId {
    /// One token, by its `jti`.
    Token(TokenId),
    /// A session, by its `sid`: its tokens issued until the end of the current half second.
    Session(SessionId),
    /// A subject: its tokens issued until the end of the current half second.
    Subject(Subject),
}

/// The name of another issuer's thing in the log.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct ExternalName {
    /// The bucket whose log has its revocations.
    pub bucket: u32,
    /// The `id` of its [`Revocation::External`](super::Revocation::External).
    pub id: String,
}

impl ExternalName {
    /// Creates the name of a thing in this bucket.
    #[must_use]
    pub fn new(bucket: u32, id: impl Into<String>) -> Self {
        Self { bucket, id: id.into() }
    }
}

impl ExternalId {
    /// Returns its text.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Token(id) => id.as_str(),
            Self::Session(id) => id.as_str(),
            Self::Subject(id) => id.as_str(),
        }
    }
}

/// A token, session or subject of another issuer, to be revoked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DenyRequest {
    /// The issuer (`iss`), so that its subject "1" is not our user 1.
    pub issuer: String,
    /// The thing to be revoked.
    pub id: ExternalId,
    /// The shortest time for which to remember it: the longest life of a token that it concerns,
    /// plus leeway and margin. Zero if its time is over: then nothing is written.
    pub keep: Duration,
}

impl DenyRequest {
    /// Creates the request.
    #[must_use]
    pub fn new(issuer: impl Into<String>, id: ExternalId, keep: Duration) -> Self {
        Self { issuer: issuer.into(), id, keep }
    }
}

/// A token of another issuer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DenyQuery {
    /// The token's `iss`.
    pub issuer: String,
    /// Its `jti`.
    pub jti: Option<TokenId>,
    /// Its `sid`.
    pub sid: Option<SessionId>,
    /// Its `sub`.
    pub subject: Option<Subject>,
}

impl DenyQuery {
    /// Asks about a token of this issuer that has none of the three ids yet.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), jti: None, sid: None, subject: None }
    }
}

/// The revocations that concern a token of another issuer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Denial {
    /// The store's time: the answer is the state of this moment or later.
    pub now: Timestamp,
    /// True if the token itself was revoked.
    pub token: bool,
    /// The time at which its subject or session was revoked: tokens issued at or before it are
    /// dead.
    pub revoked_before: Option<Timestamp>,
    /// The time since which the store remembers. A token issued before may have been revoked in an
    /// earlier incarnation of the store.
    pub born: Timestamp,
    /// The time at which the store was last asked to remember revocations for longer; `None` if it
    /// always did for as long as now.
    pub kept_longer: Option<KeptLonger>,
    /// The server that answered; `None` if its identity is not known, or if several servers
    /// answered.
    pub server: Option<ServerId>,
}

/// A time from which revocations are remembered for longer than before.
///
/// A token of a long life that was issued before may have been revoked, and its revocation
/// forgotten.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeptLonger {
    /// The time.
    pub since: Timestamp,
    /// The shortest time for which earlier revocations are remembered.
    pub before: Duration,
}

impl KeptLonger {
    /// Creates the note of a change at `since`, up to which revocations were remembered for `before`.
    #[must_use]
    pub fn new(since: Timestamp, before: Duration) -> Self {
        Self { since, before }
    }

    /// Joins two changes into one that promises no more than either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { since: self.since.max(other.since), before: self.before.min(other.before) }
    }
}

//! Revocations of tokens that another issuer has issued.

use std::time::Duration;

use super::ServerId;
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
};

/// The id of a token, session or subject of another issuer.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ExternalId {
    /// One token, by its `jti`.
    Token(TokenId),
    /// A session, by its `sid`. A denial concerns its tokens issued until the end of the half
    /// second.
    Session(SessionId),
    /// A subject. A denial concerns its tokens issued until the end of the half second.
    Subject(Subject),
}

/// The name of an external id in the log.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct ExternalName {
    /// The bucket whose log has the denials of the id.
    pub bucket: u32,
    /// The `id` in [`Revocation::External`](super::Revocation::External).
    pub id: String,
}

impl ExternalName {
    /// Creates the name of an id in this bucket.
    #[must_use]
    pub fn new(bucket: u32, id: impl Into<String>) -> Self {
        Self { bucket, id: id.into() }
    }
}

impl ExternalId {
    /// Returns the text of the id.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Token(id) => id.as_str(),
            Self::Session(id) => id.as_str(),
            Self::Subject(id) => id.as_str(),
        }
    }
}

/// A request to revoke a token, session or subject of another issuer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DenyRequest {
    /// The issuer (`iss`): its subject "1" is not this store's user "1".
    pub issuer: String,
    /// The id to be denied.
    pub id: ExternalId,
    /// The shortest time for which the store remembers the denial: the longest life of a token that
    /// it concerns, plus leeway and margin. Zero if no such token lives: the store then writes
    /// nothing.
    pub keep: Duration,
}

impl DenyRequest {
    /// Creates the request.
    #[must_use]
    pub fn new(issuer: impl Into<String>, id: ExternalId, keep: Duration) -> Self {
        Self { issuer: issuer.into(), id, keep }
    }
}

/// The ids of a token of another issuer, to be looked up.
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
    /// The later moment of its subject's and its session's denial. Tokens issued at or before that
    /// moment are revoked.
    pub revoked_before: Option<Timestamp>,
    /// The time at which the store's incarnation began. A token issued before may have been revoked
    /// in an earlier incarnation.
    pub born: Timestamp,
    /// The last increase of the time for which the store remembers denials; `None` if there was
    /// none.
    pub kept_longer: Option<KeptLonger>,
    /// The server that answered; `None` if its identity is not known, or if several servers
    /// answered.
    pub server: Option<ServerId>,
}

/// An increase of the time for which a store remembers denials.
///
/// The store may have forgotten the denial of a long-lived token that was issued before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeptLonger {
    /// The time of the increase.
    pub since: Timestamp,
    /// The shortest time for which the store remembers earlier denials.
    pub before: Duration,
}

impl KeptLonger {
    /// Creates an increase at `since`. The store remembers earlier denials for `before`.
    #[must_use]
    pub fn new(since: Timestamp, before: Duration) -> Self {
        Self { since, before }
    }

    /// Merges two increases into one that promises no more than either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { since: self.since.max(other.since), before: self.before.min(other.before) }
    }
}

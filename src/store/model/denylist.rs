//! Requests, queries and answers about revocations of other issuers' tokens (denials).

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
    /// A session, by its `sid`. A revocation ends those tokens of the session that were issued at
    /// or before [`Denial::revoked_before`].
    Session(SessionId),
    /// A subject. A revocation ends those tokens of the subject that were issued at or before
    /// [`Denial::revoked_before`].
    Subject(Subject),
}

/// The name of another issuer's id in the revocation log.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct ExternalName {
    /// The bucket whose log contains the revocations of this id.
    pub bucket: u32,
    /// The text in the field `id` of [`Revocation::External`](super::Revocation::External).
    pub id: String,
}

impl ExternalName {
    /// Creates a name in the log of `bucket`.
    #[must_use]
    pub fn new(bucket: u32, id: impl Into<String>) -> Self {
        Self { bucket, id: id.into() }
    }
}

impl ExternalId {
    /// Returns the id as text, without its kind (token, session or subject).
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
    /// The issuer (`iss`). Users of different issuers can have the same subject.
    pub issuer: String,
    /// The id of the token, session or subject.
    pub id: ExternalId,
    /// The shortest time for which the store remembers the revocation. Pass the longest remaining
    /// life of a token that the revocation concerns, plus leeway and margin. If `keep` is zero, all
    /// these tokens have expired, and the store writes nothing.
    pub keep: Duration,
}

impl DenyRequest {
    /// Creates a request to revoke `id` of this issuer.
    #[must_use]
    pub fn new(issuer: impl Into<String>, id: ExternalId, keep: Duration) -> Self {
        Self { issuer: issuer.into(), id, keep }
    }
}

/// A query for the revocations that concern one token of another issuer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DenyQuery {
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `jti`, if it has one.
    pub jti: Option<TokenId>,
    /// The token's `sid`, if it has one.
    pub sid: Option<SessionId>,
    /// The token's `sub`, if it has one.
    pub subject: Option<Subject>,
}

impl DenyQuery {
    /// Creates a query without ids. Set the fields of the token's ids afterwards.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), jti: None, sid: None, subject: None }
    }

    /// Creates a query about a token with these ids. Leaves out empty ids.
    pub(crate) fn about(issuer: &str, jti: &TokenId, sid: Option<&SessionId>, subject: &Subject) -> Self {
        let (jti, subject) = (Some(jti), Some(subject));
        Self {
            issuer: issuer.to_owned(),
            jti: jti.filter(|id| !id.as_str().is_empty()).cloned(),
            sid: sid.cloned(),
            subject: subject.filter(|id| !id.as_str().is_empty()).cloned(),
        }
    }

    /// Returns the token's ids. A revocation of the token can name any of them.
    pub(crate) fn into_ids(self) -> impl Iterator<Item = ExternalId> {
        let ids = [self.subject.map(ExternalId::Subject), self.jti.map(ExternalId::Token)];
        ids.into_iter().flatten().chain(self.sid.map(ExternalId::Session))
    }
}

/// The revocations that concern one token of another issuer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Denial {
    /// The store's time before it read the revocations. The answer is the state at this time or
    /// later.
    pub now: Timestamp,
    /// True if the token itself was revoked, by its `jti`.
    pub token: bool,
    /// If the token was issued at or before this time, it is revoked. The time comes from the
    /// revocation of the token's subject or session, from the later of the two.
    pub revoked_before: Option<Timestamp>,
    /// The time at which the store's present data set began. If the token is older, the store may
    /// have lost its revocation together with the earlier data.
    pub born: Timestamp,
    /// The last increase of the time for which the store remembers revocations of other issuers'
    /// tokens; `None` if there was none.
    pub kept_longer: Option<KeptLonger>,
    /// The server that answered; `None` if its identity is unknown, or if several servers answered.
    pub server: Option<ServerId>,
}

/// An increase of the time for which a store remembers revocations of other issuers' tokens.
///
/// Before the increase, the store deleted revocations sooner. So the store may lack the revocation
/// of a long-lived token that was issued before the increase.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeptLonger {
    /// The time of the increase.
    pub since: Timestamp,
    /// The shortest time for which the store remembers a revocation from before the increase.
    pub before: Duration,
}

impl KeptLonger {
    /// Creates an increase at the time `since`. The store remembers revocations from before `since`
    /// for the time `before`.
    #[must_use]
    pub fn new(since: Timestamp, before: Duration) -> Self {
        Self { since, before }
    }

    /// Combines the increases of two buckets. The result has the later `since` and the shorter
    /// `before`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { since: self.since.max(other.since), before: self.before.min(other.before) }
    }
}

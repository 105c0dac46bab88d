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
    /// A session, by its `sid`. A denial revokes its tokens that were issued up to the moment of
    /// the denial ([`Denial::revoked_before`]).
    Session(SessionId),
    /// A subject. A denial revokes its tokens in the same way.
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
    /// Returns the id as text, without its kind.
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
    /// The issuer (`iss`). Two issuers can have different users with the subject "1".
    pub issuer: String,
    /// The id of the token, session or subject.
    pub id: ExternalId,
    /// The shortest time for which the store remembers the denial. It is the longest remaining life
    /// of a token that the denial concerns, plus leeway and margin. If it is zero, no such token is
    /// valid, and the store writes nothing.
    pub keep: Duration,
}

impl DenyRequest {
    /// Creates the request.
    #[must_use]
    pub fn new(issuer: impl Into<String>, id: ExternalId, keep: Duration) -> Self {
        Self { issuer: issuer.into(), id, keep }
    }
}

/// A query for the denials that concern a token of another issuer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DenyQuery {
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `jti`.
    pub jti: Option<TokenId>,
    /// The token's `sid`.
    pub sid: Option<SessionId>,
    /// The token's `sub`.
    pub subject: Option<Subject>,
}

impl DenyQuery {
    /// Creates a query about a token of this issuer. Set its ids afterwards.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), jti: None, sid: None, subject: None }
    }

    /// Creates the query about a token with these ids. An empty id counts as absent.
    pub(crate) fn about(issuer: &str, jti: &TokenId, sid: Option<&SessionId>, subject: &Subject) -> Self {
        let (jti, subject) = (Some(jti), Some(subject));
        Self {
            issuer: issuer.to_owned(),
            jti: jti.filter(|id| !id.as_str().is_empty()).cloned(),
            sid: sid.cloned(),
            subject: subject.filter(|id| !id.as_str().is_empty()).cloned(),
        }
    }

    /// Returns the ids under which the token may be denied.
    pub(crate) fn into_ids(self) -> impl Iterator<Item = ExternalId> {
        let ids = [self.subject.map(ExternalId::Subject), self.jti.map(ExternalId::Token)];
        ids.into_iter().flatten().chain(self.sid.map(ExternalId::Session))
    }
}

/// The revocations that concern a token of another issuer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Denial {
    /// The store's time before it read the denials. The answer is the state at this time or later.
    pub now: Timestamp,
    /// True if the store has a denial of the token itself.
    pub token: bool,
    /// The later moment of two denials: that of the token's subject, and that of its session.
    /// Tokens that were issued at or before this moment are revoked.
    pub revoked_before: Option<Timestamp>,
    /// The time at which the store's incarnation began. An older token may have been revoked in an
    /// earlier incarnation, whose denials the store has lost.
    pub born: Timestamp,
    /// The last increase of the time for which the store remembers denials; `None` if there was
    /// none.
    pub kept_longer: Option<KeptLonger>,
    /// The server that answered; `None` if its identity is unknown, or if several servers answered.
    pub server: Option<ServerId>,
}

/// An increase of the time for which a store remembers denials.
///
/// The store may have dropped the denial of a long-lived token that was issued before the increase.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KeptLonger {
    /// The time of the increase.
    pub since: Timestamp,
    /// The shortest time for which the store remembers denials from before the increase.
    pub before: Duration,
}

impl KeptLonger {
    /// Creates an increase at `since`. The store remembers denials from before it for `before`.
    #[must_use]
    pub fn new(since: Timestamp, before: Duration) -> Self {
        Self { since, before }
    }

    /// Merges the increases of two buckets: returns the later time and the shorter duration.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { since: self.since.max(other.since), before: self.before.min(other.before) }
    }
}

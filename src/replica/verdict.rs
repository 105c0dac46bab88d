//! Verdicts, and the facts about a token on which they depend.

use std::time::Duration;

use crate::{clock::Timestamp, ids::Subject};

/// The replica's answer about a token. If a token has several names, the greatest verdict counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Verdict {
    /// The replica covers the token, and holds no revocation of it.
    Accepted,
    /// Only the store can decide: the replica does not cover the token, in most cases because it
    /// was issued before the horizon.
    BeforeHorizon,
    /// Only the store can decide, because there is no lease.
    Unknown,
    /// The token is revoked.
    Refused,
}

/// The replica's answer about the token of an open stream, with or without a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The token is revoked.
    pub(crate) is_refused: bool,
    /// The horizon covers the token: the node knows each of its revocations in the log.
    pub(crate) is_covered: bool,
}

/// The claims on which the verdict on a token depends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bearer<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a Subject,
    pub(crate) session_id: &'a str,
    pub(crate) token_id: &'a str,
    pub(crate) generation: u64,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// A confirmation by the store that a token was not revoked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Alive {
    /// The store's time of the confirmation. The Unix epoch without one.
    pub(super) at: Timestamp,
    /// The count of eras at that time. The confirmation is void once the bucket's next era begins.
    pub(super) eras: u64,
}

/// The times of a token that determine if the replica covers it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenTimes {
    pub(super) issued_at: Timestamp,
    pub(super) alive: Alive,
    /// From `iat` to the last moment at which a node accepts the token.
    pub(super) lifetime: Duration,
}

//! Verdicts, and the facts about a token on which they depend.

use std::time::Duration;

use crate::{clock::Timestamp, ids::Subject};

/// The replica's answer about a token. If one token may be revoked under several names, the
/// greatest answer counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Verdict {
    /// The token is not revoked, as of the lease.
    Accepted,
    /// Only the store can decide, because the token was issued before the horizon.
    BeforeHorizon,
    /// Only the store can decide, because there is no lease.
    Unknown,
    /// The token is revoked.
    Refused,
}

/// The replica's answer about the token of an open stream. It needs no lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The token is revoked.
    pub(crate) is_refused: bool,
    /// The node knows every revocation of the token that the log names.
    pub(crate) is_covered: bool,
}

/// The claims of a token by which revocations can concern it.
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
    /// The store's time. The Unix epoch without a confirmation.
    pub(super) at: Timestamp,
    /// The count of eras when it came. A bucket does not count it once another era has begun.
    pub(super) eras: u64,
}

/// The times of a token that decide if this node may judge it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenTimes {
    pub(super) issued_at: Timestamp,
    pub(super) alive: Alive,
    /// From `iat` to the last moment at which it is accepted.
    pub(super) lifetime: Duration,
}

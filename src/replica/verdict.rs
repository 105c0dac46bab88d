//! Verdicts, and the facts about a token on which they depend.

use std::time::Duration;

use crate::{clock::Timestamp, ids::Subject};

/// The replica's answer about a token. If a token may be revoked under several names, the greatest
/// verdict of its names applies.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Verdict {
    /// The node may accept the token. The bucket has a lease, and the replica *covers* the token:
    /// the deny set would contain any revocation of the token.
    Accepted,
    /// Only the store can decide, because the replica does not cover the token (see
    /// [`Accepted`](Self::Accepted)). In most cases the token was issued before the horizon.
    BeforeHorizon,
    /// Only the store can decide. The bucket has no lease, or the replica may lack the latest
    /// revocation of the token's subject (`docs/protocol.md`, section 5.6).
    Unknown,
    /// The token is revoked.
    Refused,
}

/// The replica's answer about the token of an open stream. It does not depend on a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The token is revoked.
    pub(crate) is_refused: bool,
    /// The replica covers the token: the deny set would contain any revocation of the token.
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
    /// The store's time of the confirmation; the Unix epoch if the store has confirmed nothing.
    pub(super) at: Timestamp,
    /// Total count of the eras ([`Era`](super::log_reader::Era)) that had begun before the
    /// confirmation, over all buckets. If an era of the token's bucket began later, the
    /// confirmation is void.
    pub(super) eras: u64,
}

/// The times that determine if the replica may decide about a token.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenTimes {
    pub(super) issued_at: Timestamp,
    pub(super) alive: Alive,
    /// The time from `iat` to the last moment at which a node accepts the token.
    pub(super) lifetime: Duration,
}

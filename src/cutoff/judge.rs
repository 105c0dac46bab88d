//! The decisions about streams and their tokens that follow from a store's answers.

use std::time::Duration;

use super::cause::CutoffCause;
use crate::{
    clock::Timestamp,
    store::{Checked, Denial, KeptLonger, ServerId, SessionState},
};

/// The decision about a stream after the store's answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// The stream stays open. By the store's clock, the token was not revoked at this time. The
    /// second field is the server that answered, if the store names its servers.
    Alive(Timestamp, Option<ServerId>),
    /// The node must cut the stream for this cause.
    Ended(CutoffCause),
}

/// The reason why a node refuses another issuer's token after the answer of a denylist.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// The denylist denies the token (`None`), or all tokens of its subject or session that were
    /// issued up to a time (`Some`).
    Revoked(Option<Timestamp>),
    /// The token was issued before the store began to keep denials.
    BeforeMemory,
    /// The token is so old that the store may already have deleted a denial of the token.
    BeyondMemory,
}

/// The rules by which a node decides about other issuers' tokens after the answer of a denylist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DenialRules {
    /// The largest expected difference between the clocks of issuers, nodes and the store.
    pub(crate) leeway: Duration,
    /// True if the node accepts tokens that are older than the store's data.
    pub(crate) accepts_older: bool,
}

/// Returns the verdict on a token of this service.
pub(super) fn judge_session(checked: &Checked) -> Verdict {
    match checked.state {
        SessionState::Active { .. } => Verdict::Alive(checked.now, checked.server),
        SessionState::Revoked { .. } | SessionState::Unknown => Verdict::Ended(CutoffCause::Revoked),
        SessionState::Expired => Verdict::Ended(CutoffCause::Expired),
    }
}

/// Returns the verdict on another issuer's token.
pub(super) fn judge_denial(issued_at: Timestamp, denial: &Denial, rules: DenialRules) -> Verdict {
    match refusal(issued_at, denial, rules) {
        None => Verdict::Alive(denial.now, denial.server),
        Some(Refusal::Revoked(_)) => Verdict::Ended(CutoffCause::Revoked),
        Some(Refusal::BeforeMemory | Refusal::BeyondMemory) => Verdict::Ended(CutoffCause::Unconfirmed),
    }
}

/// Returns the reason to refuse another issuer's token (`docs/protocol.md`, section 6).
///
/// The clocks of the issuer and of the store may differ by the leeway. So before the node compares
/// a time of the store with the token's `iat`, it adds the leeway to the store's time.
pub(crate) fn refusal(issued_at: Timestamp, denial: &Denial, rules: DenialRules) -> Option<Refusal> {
    let DenialRules { leeway, accepts_older } = rules;
    let before = denial.revoked_before.filter(|before| issued_at <= before.saturating_add(leeway));
    if denial.token || before.is_some() {
        return Some(Refusal::Revoked(before));
    }
    if !accepts_older && issued_at < denial.born.saturating_add(leeway) {
        return Some(Refusal::BeforeMemory);
    }
    // At the time `since`, the store began to keep denials longer than the time `before`. If a
    // token was issued before `since` and is older than `before`, its denial may be deleted.
    let is_too_old = |kept: &KeptLonger| {
        issued_at < kept.since.saturating_add(leeway)
            && issued_at.saturating_add(kept.before) <= denial.now.saturating_add(leeway)
    };
    denial.kept_longer.as_ref().is_some_and(is_too_old).then_some(Refusal::BeyondMemory)
}

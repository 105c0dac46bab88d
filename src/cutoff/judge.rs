//! The store's answers about the token of a stream.

use std::time::Duration;

use super::cause::CutoffCause;
use crate::{
    clock::Timestamp,
    store::{Checked, Denial, KeptLonger, ServerId, SessionState},
};

/// A store's verdict on the token of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// It is not revoked, at this time of the store, as this server says.
    Alive(Timestamp, Option<ServerId>),
    /// The stream is to be cut.
    Ended(CutoffCause),
}

/// The reason for which a store's answer refuses another issuer's token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// It was revoked, by itself or up to this time.
    Revoked(Option<Timestamp>),
    /// It was issued before the store began to remember.
    BeforeMemory,
    /// It is older than the time for which the store remembers.
    BeyondMemory,
}

/// Judges one of our own tokens.
pub(super) fn judge_session(checked: &Checked) -> Verdict {
    match checked.state {
        SessionState::Active { .. } => Verdict::Alive(checked.now, checked.server),
        SessionState::Revoked { .. } | SessionState::Unknown => Verdict::Ended(CutoffCause::Revoked),
        SessionState::Expired => Verdict::Ended(CutoffCause::Expired),
    }
}

/// Judges another issuer's token.
pub(super) fn judge_denial(issued_at: Timestamp, denial: &Denial, leeway: Duration) -> Verdict {
    match refusal(issued_at, denial, leeway) {
        None => Verdict::Alive(denial.now, denial.server),
        Some(Refusal::Revoked(_)) => Verdict::Ended(CutoffCause::Revoked),
        Some(Refusal::BeforeMemory | Refusal::BeyondMemory) => Verdict::Ended(CutoffCause::Unconfirmed),
    }
}

/// Returns the reason for which the store's answer refuses another issuer's token (protocol section
/// 6). The other issuer's clock may differ from the store's by the leeway. So a token that may have
/// been issued before the revocation, or before the store began to remember, counts as issued
/// before it.
pub(crate) fn refusal(issued_at: Timestamp, denial: &Denial, leeway: Duration) -> Option<Refusal> {
    let before = denial.revoked_before.filter(|before| issued_at <= before.saturating_add(leeway));
    if denial.token || before.is_some() {
        return Some(Refusal::Revoked(before));
    }
    if issued_at < denial.born.saturating_add(leeway) {
        return Some(Refusal::BeforeMemory);
    }
    // A node that accepts longer lifetimes than the nodes before it may have been the last to start.
    let is_too_old = |kept: &KeptLonger| {
        issued_at < kept.since.saturating_add(leeway)
            && issued_at.saturating_add(kept.before) <= denial.now.saturating_add(leeway)
    };
    denial.kept_longer.as_ref().is_some_and(is_too_old).then_some(Refusal::BeyondMemory)
}

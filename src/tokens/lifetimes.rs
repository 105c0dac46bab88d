//! The lifetimes of tokens and sessions, and their limits.

use std::time::Duration;

use crate::error::ConfigError;

/// The extra time for which the store keeps a revocation after the token's `exp` and the leeway. It
/// covers clock differences and commands in progress (`docs/protocol.md`, section 9).
pub(super) const MARGIN: Duration = Duration::from_secs(60);

/// The maximum of each lifetime: 100 years, so that sums of lifetimes do not overflow.
pub(super) const LONGEST_LIFETIME: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The lifetimes of one service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub(super) access: Duration,
    /// The longest time between two refreshes of a session.
    pub(super) idle: Duration,
    /// The longest lifetime of a session, which refreshes do not extend.
    pub(super) session: Duration,
    pub(super) reuse_grace: Duration,
    /// The time for which the store keeps a revocation after `exp`: the leeway plus [`MARGIN`].
    pub(super) after_end: Duration,
}

/// Returns an error for a lifetime that is out of range or has a fraction of a second.
pub(super) fn check_lifetime(setting: &'static str, lifetime: Duration) -> Result<(), ConfigError> {
    let problem = if lifetime < Duration::from_secs(1) {
        "is shorter than a second"
    } else if lifetime.subsec_nanos() != 0 {
        "has a fraction of a second, which tokens cannot express"
    } else if lifetime > LONGEST_LIFETIME {
        "is longer than 100 years"
    } else {
        return Ok(());
    };
    Err(ConfigError::out_of_range(setting, problem, "give whole seconds, from one to 100 years"))
}

/// Returns the time for which the store must keep a denial: a revocation of another issuer's token.
/// `longest` is the longest lifetime that the service accepts for such a token.
pub(super) fn max_external_lifetime(longest: Duration, after_end: Duration, leeway: Duration) -> Duration {
    longest.saturating_add(after_end).saturating_add(leeway)
}

//! The lifetimes of tokens and sessions, and the bounds that they keep.

use std::time::Duration;

use crate::{error::ConfigError, jwt::Validation};

/// Time beyond a token's own end for which its revocation is remembered, for differences of clocks
/// and commands under way.
pub(super) const MARGIN: Duration = Duration::from_secs(60);

/// 100 years: beyond it a lifetime is a mistake, and below it no sum of times overflows.
pub(super) const LONGEST_LIFETIME: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The lifetimes of one service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub(super) access: Duration,
    /// The time for which a session lives without being refreshed.
    pub(super) idle: Duration,
    /// The time for which a session lives, however often it is refreshed.
    pub(super) session: Duration,
    pub(super) reuse_grace: Duration,
    /// The time after a token's `exp` for which its revocation is remembered: leeway and margin.
    pub(super) after_end: Duration,
}

/// Returns an error for a lifetime that tokens cannot have: they count whole seconds.
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
    Err(ConfigError::out_of_range(setting, problem, "give whole seconds, at least one"))
}

/// Returns the longest time for which a token of another issuer can be accepted. Its revocation has
/// to be remembered for so long.
pub(super) fn max_external_lifetime(validation: &Validation, after_end: Duration) -> Duration {
    validation.max_access_lifetime_in_force().saturating_add(after_end).saturating_add(validation.leeway_in_force())
}

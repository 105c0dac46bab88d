//! The lifetimes of tokens and sessions, and their limits.

use std::time::Duration;

use crate::error::ConfigError;

/// Time for which the store keeps a revocation beyond the token's `exp` and the leeway. It covers
/// clock differences and commands in progress (`docs/protocol.md`, section 9).
pub(super) const MARGIN: Duration = Duration::from_secs(60);

/// The maximum of each lifetime: 100 years. Sums of such times do not overflow.
pub(super) const LONGEST_LIFETIME: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The lifetimes of one service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub(super) access: Duration,
    /// Maximum time between two refreshes of a session.
    pub(super) idle: Duration,
    /// Maximum lifetime of a session.
    pub(super) session: Duration,
    pub(super) reuse_grace: Duration,
    /// Time for which the store keeps a revocation beyond the token's `exp`: leeway plus
    /// [`MARGIN`].
    pub(super) after_end: Duration,
}

/// Returns an error for a lifetime that is out of range or not in whole seconds. Tokens express
/// times in whole seconds.
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

/// Returns the longest time for which this service can accept a token of another issuer. `longest`
/// is the longest accepted lifetime. The store must keep a denial (a revocation of such a token)
/// for the returned time.
pub(super) fn max_external_lifetime(longest: Duration, after_end: Duration, leeway: Duration) -> Duration {
    longest.saturating_add(after_end).saturating_add(leeway)
}

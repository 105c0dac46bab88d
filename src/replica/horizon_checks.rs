//! Store checks of tokens that were issued before the horizon: their rate and their results.
//!
//! After a start of the node or a break of the log, the node checks each older token once at the
//! store. A failover causes such checks on all nodes at the same time, and they reach a server that
//! has just begun to serve. So each node limits the rate. It stores the results in a separate
//! bounded map, because the verified-token cache may be too small for all live tokens.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use quick_cache::sync::Cache;

use super::{
    lease::nanos,
    verdict::{Alive, Bearer},
};

/// Maximum count of confirmed tokens in the map, which then takes some 10 MB.
const CONFIRMED: usize = 1 << 17;
/// Maximum count of unknown sessions in the map.
const UNKNOWN: usize = 1 << 14;
/// Maximum count of refused tokens of other issuers in the map.
const REFUSED: usize = 1 << 14;
/// The time for which the node refuses a session that the store did not know, or another issuer's
/// token that the store refused. It is short, because a store that is being restored may soon know
/// the session again.
const UNKNOWN_FOR: Duration = Duration::from_secs(2);
const SECOND: u64 = 1_000_000_000;

/// The rate of checks, and their results.
pub(super) struct HorizonChecks {
    /// Nanoseconds from one check to the next.
    interval: u64,
    /// The time at which the next check is due at a steady rate (GCRA), by the leases' clock.
    next: AtomicU64,
    hashers: [RandomState; 2],
    confirmed: Cache<u128, Alive>,
    /// For each unknown session, the time until which the node refuses it.
    unknown: Cache<u128, u64>,
    /// The latest of these times. After it, no request searches `unknown`.
    last_unknown: AtomicU64,
    /// The tokens of other issuers that the store has refused. Each has the time until which the
    /// node refuses it, and true if it is revoked.
    refused: Cache<u128, (u64, bool)>,
}

impl HorizonChecks {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self {
            interval: SECOND / u64::from(per_second.get()),
            next: AtomicU64::new(0),
            hashers: [RandomState::new(), RandomState::new()],
            confirmed: Cache::new(CONFIRMED),
            unknown: Cache::new(UNKNOWN),
            last_unknown: AtomicU64::new(0),
            refused: Cache::new(REFUSED),
        }
    }

    /// Returns true if the rate allows one more check. A burst may use the checks of a whole
    /// second, even right after the start.
    pub(super) fn admit(&self, now: u64) -> bool {
        let now = now.saturating_add(SECOND);
        let admit = |next: u64| {
            let next = next.max(now.saturating_sub(SECOND));
            (next <= now).then(|| next.saturating_add(self.interval))
        };
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).is_ok()
    }

    /// Returns the last confirmation of a token.
    pub(super) fn confirmed(&self, bearer: &Bearer<'_>) -> Option<Alive> {
        self.confirmed.get(&self.token(bearer))
    }

    /// Stores a confirmation of a token.
    pub(super) fn confirm(&self, bearer: &Bearer<'_>, alive: Alive) {
        self.confirmed.insert(self.token(bearer), alive);
    }

    /// Returns true if [`note_unknown`](Self::note_unknown) noted the session in the last
    /// [`UNKNOWN_FOR`].
    pub(super) fn is_unknown(&self, bearer: &Bearer<'_>, now: Duration) -> bool {
        let now = nanos(now);
        now < self.last_unknown.load(Ordering::Relaxed)
            && self.unknown.get(&self.session(bearer)).is_some_and(|until| now < until)
    }

    /// Notes that the store does not know the session.
    pub(super) fn note_unknown(&self, bearer: &Bearer<'_>, now: Duration) {
        let until = nanos(now.saturating_add(UNKNOWN_FOR));
        self.unknown.insert(self.session(bearer), until);
        self.last_unknown.fetch_max(until, Ordering::Relaxed);
    }

    /// Notes that the store has refused another issuer's token.
    pub(super) fn note_refused(&self, bearer: &Bearer<'_>, is_revoked: bool, now: Duration) {
        let until = nanos(now.saturating_add(UNKNOWN_FOR));
        self.refused.insert(self.token(bearer), (until, is_revoked));
    }

    /// Returns `None` unless [`note_refused`](Self::note_refused) noted the token in the last
    /// [`UNKNOWN_FOR`]. Otherwise returns true if the token is revoked.
    pub(super) fn was_refused(&self, bearer: &Bearer<'_>, now: Duration) -> Option<bool> {
        let (until, is_revoked) = self.refused.get(&self.token(bearer))?;
        (nanos(now) < until).then_some(is_revoked)
    }

    /// Returns the key of a token. The key contains the times, because another issuer's token may
    /// have no `jti`. *Otherwise the confirmation of a new token would also confirm an older token
    /// of the same subject, which may be revoked.*
    fn token(&self, bearer: &Bearer<'_>) -> u128 {
        let Bearer { issuer, subject, session_id, token_id, issued_at, expires_at, .. } = *bearer;
        self.hash(&("token", issuer, subject, session_id, token_id, issued_at, expires_at))
    }

    fn session(&self, bearer: &Bearer<'_>) -> u128 {
        self.hash(&("session", bearer.subject, bearer.session_id))
    }

    /// Returns 128 bits of a hash with random keys, so that no two names collide in practice.
    fn hash(&self, name: &impl std::hash::Hash) -> u128 {
        let [high, low] = self.hashers.each_ref().map(|hasher| u128::from(hasher.hash_one(name)));
        high << 64 | low
    }
}

impl fmt::Debug for HorizonChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HorizonChecks").field("interval", &self.interval).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn admitted(checks: &HorizonChecks, at: u64) -> usize {
        (0..10_000).filter(|_| checks.admit(at)).count()
    }

    #[test]
    fn no_more_checks_are_admitted_than_the_rate_allows() {
        let checks = HorizonChecks::new(NonZeroU32::new(100).unwrap());
        assert_eq!(admitted(&checks, 10 * SECOND), 101);
        assert_eq!(admitted(&checks, 10 * SECOND), 0);
        assert_eq!(admitted(&checks, 10 * SECOND + SECOND / 2), 50);
        assert_eq!(admitted(&checks, 100 * SECOND), 101, "no more than a second's worth is saved up");
    }
}

//! Store checks of tokens that were issued before the horizon: their rate and their results.
//!
//! After a start of the node or a break of the log, the node asks the store once about each older
//! token. After a failover all nodes do so at the same time, and the new server could be
//! overloaded. So each node limits its rate of checks. It saves the results in a bounded map,
//! because the cache of verified tokens may be too small for all live tokens.

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

/// Maximum count of saved confirmations of tokens. A full map takes about 10 MB.
const CONFIRMED: usize = 1 << 17;
/// Maximum count of saved sessions that the store did not know.
const UNKNOWN: usize = 1 << 14;
/// Maximum count of saved tokens of other issuers that the store refused.
const REFUSED: usize = 1 << 14;
/// Time for which the node refuses an unknown session, or a refused token of another issuer,
/// without asking the store again. The time is short, because a store that is being restored may
/// soon know the session again.
const UNKNOWN_FOR: Duration = Duration::from_secs(2);
const SECOND: u64 = 1_000_000_000;

/// The rate of checks, and their results.
pub(super) struct HorizonChecks {
    /// Minimum time between two checks at a steady rate, in nanoseconds.
    interval: u64,
    /// The time of the next check at a steady rate (the GCRA algorithm), in nanoseconds of the
    /// leases' clock.
    next: AtomicU64,
    hashers: [RandomState; 2],
    confirmed: Cache<u128, Alive>,
    /// For each unknown session, the time until which the node refuses the session.
    unknown: Cache<u128, u64>,
    /// The latest time in `unknown`. After that time, no request searches `unknown`.
    last_unknown: AtomicU64,
    /// The tokens of other issuers that the store has refused. The value is the time until which
    /// the node refuses the token, and true if the token is revoked.
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

    /// Returns true if the rate allows one more check, and counts the check. A burst may use the
    /// checks of a whole second, even right after the start.
    pub(super) fn admit(&self, now: u64) -> bool {
        let now = now.saturating_add(SECOND);
        let admit = |next: u64| {
            let next = next.max(now.saturating_sub(SECOND));
            (next <= now).then(|| next.saturating_add(self.interval))
        };
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).is_ok()
    }

    /// Returns the saved confirmation of a token.
    pub(super) fn confirmed(&self, bearer: &Bearer<'_>) -> Option<Alive> {
        self.confirmed.get(&self.token(bearer))
    }

    /// Saves the store's confirmation of a token.
    pub(super) fn confirm(&self, bearer: &Bearer<'_>, alive: Alive) {
        self.confirmed.insert(self.token(bearer), alive);
    }

    /// Returns true if [`note_unknown`](Self::note_unknown) was called for the session less than
    /// [`UNKNOWN_FOR`] ago.
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

    /// Returns the value of `is_revoked` if [`note_refused`](Self::note_refused) was called for the
    /// token less than [`UNKNOWN_FOR`] ago, otherwise `None`.
    pub(super) fn was_refused(&self, bearer: &Bearer<'_>, now: Duration) -> Option<bool> {
        let (until, is_revoked) = self.refused.get(&self.token(bearer))?;
        (nanos(now) < until).then_some(is_revoked)
    }

    /// Returns the key of a token. The key contains the times, because another issuer's token may
    /// have no `jti`. *Without the times, the confirmation of a new token would also confirm an
    /// older token of the same subject, which may be revoked.*
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
    use crate::{clock::Timestamp, ids::Subject};

    #[test]
    fn a_confirmation_is_valid_for_one_combination_of_ids_and_times() {
        let (alice, bob) = (Subject::from("alice"), Subject::from("bob"));
        let (issued_at, expires_at) = (Timestamp::from_secs(100), Timestamp::from_secs(200));
        let confirmed = Bearer {
            issuer: "https://issuer.example",
            subject: &alice,
            session_id: "s",
            token_id: "",
            generation: 0,
            issued_at,
            expires_at,
        };
        let checks = HorizonChecks::new(NonZeroU32::MIN);
        let alive = Alive { at: Timestamp::from_secs(150), eras: 1 };
        checks.confirm(&confirmed, alive);
        assert_eq!(checks.confirmed(&confirmed), Some(alive));
        for other in [
            Bearer { issuer: "https://other.example", ..confirmed },
            Bearer { subject: &bob, ..confirmed },
            Bearer { session_id: "", ..confirmed },
            Bearer { token_id: "s", session_id: "", ..confirmed },
            Bearer { token_id: "j", ..confirmed },
            Bearer { issued_at: Timestamp::from_secs(99), ..confirmed },
            Bearer { expires_at: Timestamp::from_secs(201), ..confirmed },
            Bearer { issued_at: expires_at, expires_at: issued_at, ..confirmed },
        ] {
            assert_eq!(checks.confirmed(&other), None, "{other:?}");
        }
    }

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

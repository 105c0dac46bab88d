//! The clock that judges the times of a service's own tokens: the store's.
//!
//! The `iat` of these tokens is the store's time. If each node judged them by its own clock, a node
//! whose clock is more than the leeway behind would refuse each new token.
//!
//! # A store's clock that goes back
//!
//! The estimate of the store's time stays at its highest value until the store's clock has reached
//! that value again. So no expired token becomes valid again. Meanwhile new tokens are valid,
//! because their `exp` is later than the highest value.
//!
//! If the step is longer than the lifetime of an access token, new tokens would have an `exp`
//! before the highest value. The node would refuse them. So the estimate then follows the store's
//! clock. The condition [`ConditionKind::StoreClockWentBack`] reports the step.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::conditions::{ConditionKind, Conditions};
use crate::{
    clock::{Clock, Timestamp, saturating_millis},
    store::SessionStore,
};

/// The smallest difference between the clocks that is a condition, even with a shorter leeway.
const SMALLEST_SKEW: Duration = Duration::from_secs(1);

/// A clock that estimates the store's time without I/O.
pub(super) struct StoreClock {
    node: Arc<dyn Clock>,
    store: Arc<dyn SessionStore>,
    conditions: Arc<Conditions>,
    /// The difference between the store's time and the node's coarse time. See [`Offset`].
    offset: AtomicU64,
    /// The highest estimate so far, in ms.
    highest: AtomicU64,
    /// The end of the time in which expired tokens may be valid again, in ms of the store's time.
    /// Set when the estimate follows a long step back.
    revivable_until: AtomicU64,
    /// The step back and the clock difference, in seconds, that were last reported as conditions.
    noted: [AtomicU64; 2],
    holds: ClockHolds,
}

/// The limits by which [`StoreClock`] judges a step back of the store's clock.
#[derive(Clone, Copy)]
pub(super) struct ClockHolds {
    pub(super) leeway: Duration,
    /// The longest step back after which the estimate keeps its highest value: the lifetime of a
    /// new access token.
    pub(super) longest: Duration,
    /// The longest lifetime of an access token that the service accepts.
    pub(super) longest_life: Duration,
}

impl StoreClock {
    pub(super) fn new(
        node: Arc<dyn Clock>,
        store: Arc<dyn SessionStore>,
        conditions: Arc<Conditions>,
        holds: ClockHolds,
    ) -> Self {
        Self {
            node,
            store,
            conditions,
            offset: AtomicU64::new(Offset::UNKNOWN),
            highest: AtomicU64::new(0),
            revivable_until: AtomicU64::new(0),
            noted: Default::default(),
            holds,
        }
    }

    /// Returns the estimate of the store's time. Begins or ends the conditions about the clocks.
    fn judged(&self) -> Timestamp {
        let told = self.store.now();
        // The store has not answered yet. At the epoch, no token is valid.
        if told == Timestamp::default() {
            return told;
        }
        let highest = Timestamp::from_millis(self.highest.fetch_max(told.as_millis(), Ordering::Relaxed));
        let back = highest.saturating_since(told);
        let now = if back <= self.holds.longest { told.max(highest) } else { self.follow_back(told, highest) };
        self.note_step(told, back);
        self.note_skew(told);
        now
    }

    /// Moves the highest estimate back to `told`, the store's time, because the step is too long.
    #[cold]
    fn follow_back(&self, told: Timestamp, highest: Timestamp) -> Timestamp {
        let order = Ordering::Relaxed;
        if self.highest.compare_exchange(highest.as_millis(), told.as_millis(), order, order).is_ok() {
            // A token with an `iat` up to `told` has expired at `told + longest_life`. A token with
            // a later `iat` is not valid until the store's clock reaches this `iat`.
            let end = highest.min(told.saturating_add(self.holds.longest_life));
            self.revivable_until.fetch_max(end.as_millis(), order);
        }
        told
    }

    /// Returns true if the caller must write the condition again: it is new, or `seconds` changed.
    fn is_news(&self, kind: ConditionKind, seconds: u64) -> bool {
        let [step, skew] = &self.noted;
        let noted = if kind == ConditionKind::ClockSkew { skew } else { step };
        noted.swap(seconds, Ordering::Relaxed) != seconds || !self.conditions.has(kind)
    }

    fn note_step(&self, told: Timestamp, back: Duration) {
        let revivable_until = Timestamp::from_millis(self.revivable_until.load(Ordering::Relaxed));
        let seconds = revivable_until.saturating_since(told).max(back).as_secs();
        if (told < revivable_until || back > self.holds.leeway)
            && !self.is_news(ConditionKind::StoreClockWentBack, seconds)
        {
            return;
        }
        if told < revivable_until {
            let text = format!(
                "the store's clock went back by more than the lifetime of an access token; for {seconds} s more, tokens \
                 that had expired may be valid again: set the store's clock, or replace the signing key"
            );
            self.conditions.begin(ConditionKind::StoreClockWentBack, &text);
        } else if back > self.holds.leeway {
            let text = format!(
                "the store's clock went back by {} s; this node holds its estimate until the store's clock has caught \
                 up, so that no expired token becomes valid again: find the cause of the step",
                back.as_secs()
            );
            self.conditions.begin(ConditionKind::StoreClockWentBack, &text);
        } else {
            self.conditions.end(ConditionKind::StoreClockWentBack);
        }
    }

    fn note_skew(&self, told: Timestamp) {
        let node = self.node.now();
        let skew = told.saturating_since(node).max(node.saturating_since(told));
        let most = self.holds.leeway.max(SMALLEST_SKEW);
        if skew > most {
            if !self.is_news(ConditionKind::ClockSkew, skew.as_secs()) {
                return;
            }
            let side = if told > node { "ahead of" } else { "behind" };
            let text = format!(
                "the store's clock is {} s {side} this node's; synchronize both with NTP (tokens of this service are \
                 judged by the store's clock, so they stay valid)",
                (skew + Duration::from_millis(500)).as_secs()
            );
            self.conditions.begin(ConditionKind::ClockSkew, &text);
        // The condition ends only at half of the limit. Otherwise a difference that changes a
        // little around the limit would cause many messages.
        } else if skew <= most / 2 {
            self.conditions.end(ConditionKind::ClockSkew);
        }
    }

    #[cold]
    fn renewed(&self, coarse: Timestamp) -> Timestamp {
        let now = self.judged();
        // The difference of `now` and `node` does not contain the lag of `coarse`. So the estimate
        // that `at` makes from `coarse` has the same lag.
        let node = self.node.now();
        match Offset::between(now, node, coarse) {
            Some(offset) if now > Timestamp::default() => {
                self.offset.store(offset.0, Ordering::Relaxed);
                offset.at(coarse).unwrap_or(now)
            }
            _ => now,
        }
    }
}

impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        self.judged()
    }

    #[inline]
    fn now_coarse(&self) -> Timestamp {
        let coarse = self.node.now_coarse();
        match Offset(self.offset.load(Ordering::Relaxed)).at(coarse) {
            Some(now) => now,
            None => self.renewed(coarse),
        }
    }

    fn elapsed(&self) -> Duration {
        self.node.elapsed()
    }
}

impl fmt::Debug for StoreClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreClock").finish_non_exhaustive()
    }
}

/// The difference between the store's clock and the node's clock in ms, and the tick of its
/// measurement. A tick is a period of 64 ms of the node's clock. One atomic number contains both
/// values, so that a thread never reads parts of two measurements.
///
/// The difference is valid during this tick and the next. After a step of the node's clock, it is
/// no longer valid.
#[derive(Clone, Copy)]
struct Offset(u64);

impl Offset {
    /// The number of bits of the difference: enough for a year in each direction. The other 28 bits
    /// are the number of the tick. The numbers repeat after half a year.
    const BITS: u32 = 36;
    const BIAS: i64 = 1 << (Self::BITS - 1);
    const MASK: u64 = (1 << Self::BITS) - 1;
    /// The number of bits by which a time in ms is shifted to get its tick: a tick lasts 64 ms.
    const TICK: u32 = 6;
    const TICKS: u64 = (1 << (64 - Self::BITS)) - 1;
    /// The value before the first measurement. Never valid.
    const UNKNOWN: u64 = 0;

    /// Returns the difference with its tick, or `None` if the difference is too large.
    fn between(store: Timestamp, node: Timestamp, coarse: Timestamp) -> Option<Self> {
        let millis = |time: Timestamp| i64::try_from(time.as_millis()).ok();
        let difference = millis(store)?.checked_sub(millis(node)?)?.checked_add(Self::BIAS)?;
        let difference = u64::try_from(difference).ok().filter(|difference| *difference <= Self::MASK)?;
        Some(Self(difference | (Self::tick(coarse) << Self::BITS)))
    }

    fn tick(coarse: Timestamp) -> u64 {
        (coarse.as_millis() >> Self::TICK) & Self::TICKS
    }

    /// Returns the store's time at the node's time `coarse`. `None` if the difference is too old.
    #[inline]
    fn at(self, coarse: Timestamp) -> Option<Timestamp> {
        let ticks = Self::tick(coarse).wrapping_sub(self.0 >> Self::BITS) & Self::TICKS;
        if ticks > 1 || self.0 == Self::UNKNOWN {
            return None;
        }
        let difference = i64::try_from(self.0 & Self::MASK).ok()? - Self::BIAS;
        coarse.as_millis().checked_add_signed(difference).map(Timestamp::from_millis)
    }
}

/// Returns the store's time minus the node's, in ms; `None` before the store's first answer.
pub(super) fn skew_ms(store: Timestamp, node: Timestamp) -> Option<i64> {
    let ahead = saturating_millis(store.saturating_since(node));
    let behind = saturating_millis(node.saturating_since(store));
    (store > Timestamp::default()).then(|| {
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        signed(ahead) - signed(behind)
    })
}

#[cfg(test)]
mod tests;

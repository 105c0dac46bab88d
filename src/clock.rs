//! Timestamps, and the clocks that give them.
//!
//! Tokens contain whole seconds (`NumericDate`, RFC 7519 section 2), and stores use milliseconds.
//! The type [`Timestamp`] prevents confusion of the two. The token service, its leases and
//! `MemoryStore` read the time from a [`Clock`]. So a test can set the time instead of sleeping.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A source of the time.
pub trait Clock: Send + Sync + 'static {
    /// Returns the present moment.
    fn now(&self) -> Timestamp;

    /// Returns the present moment, or a moment up to [`COARSE_LAG`] earlier. Every check of a token
    /// reads this cheaper time first. It reads the exact time only if the lag could change the
    /// result. If a clock lags by more than [`COARSE_LAG`], a node may accept a token past its
    /// `exp` by the excess.
    ///
    /// Default: [`now`](Self::now).
    fn now_coarse(&self) -> Timestamp {
        self.now()
    }

    /// Returns the time since a fixed moment in the past. Nobody may set this clock, and it must
    /// count the time for which the machine is suspended. A node measures its leases with this
    /// clock. If the clock stopped meanwhile, a lease would outlast a suspension of hours.
    ///
    /// Default: `CLOCK_BOOTTIME` on Linux and Android, and `CLOCK_MONOTONIC` on Apple's systems.
    /// Elsewhere the default is [`Instant`](std::time::Instant). On some systems it stops while the
    /// machine is suspended.
    fn elapsed(&self) -> Duration {
        system_elapsed()
    }
}

/// Maximum lag of [`Clock::now_coarse`].
pub const COARSE_LAG: Duration = Duration::from_secs(1);

/// A moment: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The first moment that this crate refuses: the start of the year 10 000.
    ///
    /// Every accepted `NumericDate` is earlier, so sums of times and lifetimes cannot overflow.
    pub const END_OF_TIME: Self = Self(253_402_300_800_000);

    /// Returns the moment `milliseconds` after the Unix epoch.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Returns the moment `seconds` after the Unix epoch.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Returns the milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Returns this moment without its fraction of a second.
    #[must_use]
    pub const fn floor_to_secs(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }

    /// Returns the time from `earlier` to this moment; zero if this moment is not later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment `duration` later, at most the last moment of the type.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_millis(duration)))
    }

    /// Returns the moment `duration` earlier, at least the Unix epoch.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_millis(duration)))
    }
}

impl From<SystemTime> for Timestamp {
    /// Converts a time. A time before the Unix epoch becomes the epoch: the clock is wrong, and no
    /// token is valid yet at the epoch.
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(saturating_millis(since_epoch))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(timestamp.0.min(Timestamp::END_OF_TIME.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// Returns the whole milliseconds of a duration, at most `u64::MAX`.
pub(crate) const fn saturating_millis(duration: Duration) -> u64 {
    let millis = duration.as_millis();
    if millis > u64::MAX as u128 {
        u64::MAX
    } else {
        #[allow(clippy::cast_possible_truncation, reason = "compared just above")]
        {
            millis as u64
        }
    }
}

/// Returns a random time between half of a pause and all of it. All nodes of a deployment meet a
/// fault at the same moment, and must not all retry at the same moment.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    // If the system returns no random numbers, the result is the whole pause.
    let share = getrandom::fill(&mut random).map_or(512, |()| random.map(|byte| 256 + u32::from(byte))[0]);
    pause.saturating_mul(share) / 512
}

/// The operating system's clock.
///
/// On Linux and Android its [coarse time](Clock::now_coarse) is the time of the kernel's last tick
/// (`CLOCK_REALTIME_COARSE`). Reading it accesses no hardware. The coarse time lags by some
/// milliseconds. Just after a virtual machine resumes, it may lag by more than [`COARSE_LAG`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn now_coarse(&self) -> Timestamp {
        Timestamp(saturating_millis(read(rustix::time::ClockId::RealtimeCoarse)))
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn system_elapsed() -> Duration {
    #[cfg(target_vendor = "apple")]
    const COUNTS_SUSPEND: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    #[cfg(not(target_vendor = "apple"))]
    const COUNTS_SUSPEND: rustix::time::ClockId = rustix::time::ClockId::Boottime;

    read(COUNTS_SUSPEND)
}

/// Reads a clock. A negative time becomes zero.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn read(clock: rustix::time::ClockId) -> Duration {
    let passed = rustix::time::clock_gettime(clock);
    match (u64::try_from(passed.tv_sec), u32::try_from(passed.tv_nsec)) {
        (Ok(seconds), Ok(nanos)) => Duration::new(seconds, nanos),
        _ => Duration::ZERO,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn system_elapsed() -> Duration {
    use std::{sync::LazyLock, time::Instant};

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// A clock for tests, which moves only when the test moves it. Clones share the time.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::clock::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::at(Timestamp::from_secs(1_767_225_660));
/// clock.advance(Duration::from_secs(40));
/// assert_eq!(clock.now().as_secs(), 1_767_225_700);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<ManualTimes>);

#[derive(Debug, Default)]
struct ManualTimes {
    /// In milliseconds, like `elapsed`.
    now: AtomicU64,
    elapsed: AtomicU64,
}

impl ManualClock {
    /// Creates a clock whose time is `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let clock = Self::default();
        clock.set(now);
        clock
    }

    /// Sets the time to `now`, as if an operator corrected a wrong clock. Does not change
    /// [`elapsed`](Clock::elapsed).
    pub fn set(&self, now: Timestamp) {
        self.0.now.store(now.0, Ordering::SeqCst);
    }

    /// Moves both the time and [`elapsed`](Clock::elapsed) forward by `by`.
    pub fn advance(&self, by: Duration) {
        self.0.now.fetch_add(saturating_millis(by), Ordering::SeqCst);
        self.0.elapsed.fetch_add(saturating_millis(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.now.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.elapsed.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_time_before_the_epoch_is_the_epoch() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp::from(before), Timestamp::default());
    }

    #[test]
    fn sums_stop_at_the_ends_instead_of_wrapping() {
        let end = Timestamp::from_millis(u64::MAX);
        assert_eq!(end.saturating_add(Duration::MAX), end);
        assert_eq!(Timestamp::from_secs(1).saturating_sub(Duration::MAX), Timestamp::default());
        assert_eq!(Timestamp::from_secs(u64::MAX), end);
    }
}

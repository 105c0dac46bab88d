//! Time: a moment, and where it comes from.
//!
//! Tokens speak of whole seconds (`NumericDate`, RFC 7519 section 2) and the stores of milliseconds. Both are a
//! [`Timestamp`] here, so that no unit is ever guessed. Nothing in this crate reads the time but through a
//! [`Clock`], so that a test can stand at any moment without sleeping.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// The present moment or one up to [`ROUGHLY`] before it: for every request, which looks at the exact time only if it makes a difference.
    /// By as much as it lags more, a token may be accepted past its `exp`.
    ///
    /// Default: [`now`](Self::now).
    fn now_roughly(&self) -> Timestamp {
        self.now()
    }

    /// How much time has passed since some moment that stays the same while the process lives: never put back or forward, and counting the
    /// time for which the machine is suspended. A lease is measured by it: by a clock that stops with the machine, it would outlive a suspended
    /// one by hours.
    ///
    /// Default: the operating system's (`CLOCK_BOOTTIME` on Linux and Android, `CLOCK_MONOTONIC` on Apple's systems, elsewhere
    /// what [`Instant`](std::time::Instant) stands for, which on some systems stops).
    fn elapsed(&self) -> Duration {
        system_elapsed()
    }
}

/// By how much [`Clock::now_roughly`] may lag.
pub const ROUGHLY: Duration = Duration::from_secs(1);

/// A moment: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The first moment that this crate refuses to speak of: the start of the year 10 000.
    ///
    /// Every accepted `NumericDate` lies before it, so sums of times and lifetimes cannot overflow.
    pub const END_OF_TIME: Self = Self(253_402_300_800_000);

    /// The moment `milliseconds` after the Unix epoch.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// The moment `seconds` after the Unix epoch.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This moment without its fraction of a second.
    #[must_use]
    pub const fn floor_to_secs(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }

    /// How much later this moment is than `earlier`; zero if it is not.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `duration` more, at most the end of what the type can hold.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_millis(duration)))
    }

    /// This moment less `duration`, at least the Unix epoch.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_millis(duration)))
    }
}

impl From<SystemTime> for Timestamp {
    /// A time before the Unix epoch becomes the epoch: such a clock is wrong, and every token is then not yet valid.
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

/// Whole milliseconds of a duration, at most `u64::MAX`.
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

/// Half of a pause to all of it: the nodes of a deployment meet the same fault at the same moment, and must not all come back at one.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    // Without random numbers it is the whole.
    let share = getrandom::fill(&mut random).map_or(512, |()| random.map(|byte| 256 + u32::from(byte))[0]);
    pause.saturating_mul(share) / 512
}

/// The operating system's clock.
///
/// On Linux and Android it tells the time [roughly](Clock::now_roughly) as that of the kernel's last tick (`CLOCK_REALTIME_COARSE`), which
/// asks no hardware. It lags by some milliseconds, and for a moment by more than [`ROUGHLY`] in a virtual machine that was stopped and goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn now_roughly(&self) -> Timestamp {
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

/// What a clock shows; one that stands before its beginning shows its beginning.
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

/// A clock that stands where it is put: for tests. Its clones show the same time.
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
pub struct ManualClock(Arc<Hands>);

#[derive(Debug, Default)]
struct Hands {
    now: AtomicU64,
    /// In ms.
    elapsed: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let clock = Self::default();
        clock.set(now);
        clock
    }

    /// Puts the clock to `now`, as a hand does that sets the time: none [elapses](Clock::elapsed).
    pub fn set(&self, now: Timestamp) {
        self.0.now.store(now.0, Ordering::SeqCst);
    }

    /// Moves the clock forward: that much time has [elapsed](Clock::elapsed).
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

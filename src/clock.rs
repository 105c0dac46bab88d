//! Timestamps and clocks.
//!
//! Tokens contain times in whole seconds (`NumericDate`, RFC 7519 section 2). Stores use
//! milliseconds. The type [`Timestamp`] keeps the two units apart.
//!
//! The token service and `MemoryStore` read the time from a [`Clock`]. A test can pass a
//! [`ManualClock`] and set the time itself.

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
    /// Returns the present time.
    fn now(&self) -> Timestamp;

    /// Returns the present time, or a time up to [`COARSE_LAG`] earlier. This can be cheaper than
    /// [`now`](Self::now).
    ///
    /// Each check of a token calls this method. If a lag of [`COARSE_LAG`] could change the result,
    /// the check calls [`now`](Self::now) too. If your clock lags more than [`COARSE_LAG`], a node
    /// may accept a token that has expired.
    ///
    /// Default: [`now`](Self::now).
    fn now_coarse(&self) -> Timestamp {
        self.now()
    }

    /// Returns the time since a fixed moment in the past. A node measures its leases with this
    /// time.
    ///
    /// * The result must not depend on the system time, which an operator can set.
    /// * The result must include the time for which the machine is suspended. Otherwise a lease of
    ///   some seconds could last through a suspension of hours.
    ///
    /// Default: `CLOCK_BOOTTIME` on Linux and Android, `CLOCK_MONOTONIC` on Apple's systems, and
    /// [`Instant`](std::time::Instant) on other systems. On some of the other systems, `Instant`
    /// stops while the machine is suspended.
    fn elapsed(&self) -> Duration {
        system_elapsed()
    }
}

/// The maximum time by which [`Clock::now_coarse`] may lag behind [`Clock::now`].
pub const COARSE_LAG: Duration = Duration::from_secs(1);

/// A moment: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The start of the year 10 000. This crate refuses this moment and all later ones in tokens.
    ///
    /// The limit is far below `u64::MAX`, so that a sum of a time and a lifetime cannot overflow.
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

    /// Returns this moment, rounded down to a whole second.
    #[must_use]
    pub const fn floor_to_secs(self) -> Self {
        Self(self.0 - self.0 % 1000)
    }

    /// Returns the time from `earlier` to this moment, or zero if `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment `duration` after this moment. Returns the largest timestamp instead of an
    /// overflow.
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(saturating_millis(duration)))
    }

    /// Returns the moment `duration` before this moment. Returns the Unix epoch instead of a time
    /// before it.
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_millis(duration)))
    }
}

impl From<SystemTime> for Timestamp {
    /// Converts a system time. Turns a time before the Unix epoch into the epoch.
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

/// Returns a random time from half of `pause` to all of it. Without the random part, all nodes
/// would retry at the same moment after a fault.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    // If the system returns no random numbers, the result is the whole pause.
    let share = getrandom::fill(&mut random).map_or(512, |()| random.map(|byte| 256 + u32::from(byte))[0]);
    pause.saturating_mul(share) / 512
}

/// The operating system's clock.
///
/// On Linux and Android, [`now_coarse`](Clock::now_coarse) returns the time of the kernel's last
/// tick (`CLOCK_REALTIME_COARSE`). That time lags by some milliseconds, and the call accesses no
/// hardware. Just after a virtual machine resumes, the lag may exceed [`COARSE_LAG`].
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

/// Returns the time of a clock of the operating system. Turns a negative time into zero.
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

/// A clock for tests. Its time changes only when the test changes it. Clones share the time.
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
    /// Milliseconds since the Unix epoch.
    now: AtomicU64,
    /// Milliseconds, for [`Clock::elapsed`].
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

    /// Sets the time to `now`, as if an operator corrected the system time. Does not change
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
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
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

    /// Prints a reading of the lease clock if the variable `PRINT` is set. Otherwise runs itself
    /// twice so: outside and inside of a time namespace. In the namespace the boot clock is ahead,
    /// as if the machine had been suspended, and the monotonic clock is not.
    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "needs the right to make a time namespace"]
    #[allow(clippy::print_stdout, reason = "the output of the inner run")]
    fn the_lease_clock_includes_the_time_of_a_suspension() {
        use std::process::Command;

        const PRINT: &str = "TOWER_BEARER_PRINT_ELAPSED";
        const MARK: &str = "elapsed=";
        const NAME: &str = "clock::tests::the_lease_clock_includes_the_time_of_a_suspension";
        const SUSPENDED: Duration = Duration::from_secs(100_000);

        if std::env::var_os(PRINT).is_some() {
            println!("\n{MARK}{}", SystemClock.elapsed().as_secs());
            return;
        }
        let test = std::env::current_exe().unwrap();
        let read = |mut command: Command| {
            let output = command.args([NAME, "--exact", "--ignored", "--nocapture"]).env(PRINT, "1").output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let reading = text.lines().find_map(|line| line.strip_prefix(MARK)?.parse().ok());
            Duration::from_secs(reading.unwrap_or_else(|| panic!("no reading: {output:?}")))
        };
        let before = read(Command::new(&test));
        let mut inside = Command::new("unshare");
        inside.args(["--user", "--map-root-user", "--time", "--boottime"]);
        inside.arg(SUSPENDED.as_secs().to_string()).arg("--fork").arg(&test);
        let suspended = read(inside);
        let after = read(Command::new(&test));
        assert!(
            before + SUSPENDED <= suspended && suspended <= after + SUSPENDED,
            "{before:?} {suspended:?} {after:?}"
        );
    }
}

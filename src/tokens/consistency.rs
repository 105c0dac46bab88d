//! When a revocation takes effect.

use std::time::Duration;

use crate::{clock::saturating_millis, error::ConfigError};

/// When a revocation takes effect on other nodes, and what a request pays for it.
///
/// | | `Strong` | `BoundedStaleness(d)` |
/// |--|--|--|
/// | a request | asks the store: one round trip | asks nobody, whether its token was seen before or not |
/// | a revocation made on this node | holds at once | holds at once |
/// | one made on another node, all well | holds at once | a round trip and a few ms later; at most one [poll](super::Builder::poll_interval) if nudges are lost |
/// | store or network hang or restart | requests are refused (503) | decided here for up to `d` more, then asked of the store as under `Strong` |
/// | a token of a session that was never opened, made by whoever has the signing key | refused | accepted: a session of which the log does not speak is taken as alive |
///
/// **The bound holds under every fault**: a request that starts `d` after a revocation was
/// confirmed, or later, is not accepted on any node. It rests on no wall clock, and on no message
/// that might be lost. Three things it cannot do. It speaks of revocations that the store still
/// has: one that a failover has lost is told to it again by a node that has made or read it; if
/// none of them lives, it is lost (run Redis with `appendfsync always` and replicas that are waited
/// for, if that matters). An old primary that was cut off still answers, so the time for which a
/// node may believe it comes on top: [`Status::bound_ms`](super::Status::bound_ms) is the sum. And
/// a server clock that is put back by more than a minute may hide revocations from nodes that start
/// then.
///
/// Where the record itself is needed, as for a transfer of money, let that route ask the store: [`AuthLayer::strong`](crate::AuthLayer::strong),
/// [`TokenService::validate_token_strong`](super::TokenService::validate_token_strong). Whoever must not go on before a revocation holds everywhere awaits
/// [`Revoke::everywhere`](super::Revoke::everywhere).
///
/// Under either, each node of a store with a log of its own (Redis) follows that log in a task: to tell the store what it has lost (see
/// [`SecurityEvent::RevocationsLost`](super::SecurityEvent::RevocationsLost)), and under bounded staleness to decide by it. The task runs on the Tokio runtime in which
/// [`build`](super::Builder::build) was called, and ends with the last handle of the service. Each poll asks Redis for all buckets in one round trip: about
/// 50 µs of the server's time, 40 times a second from each node under bounded staleness, 4 times under `Strong`; in a cluster each bucket is asked about by
/// itself.
///
/// A million revoked sessions take 52 MB of a node's memory if users have ids of 8 characters, 58 MB with UUIDs, 80 MB with other texts of 36 (counted by a test; only
/// revocations that still matter are kept). Their ids take at most 256 MiB, some 4 to 8 million sessions; beyond it the oldest are forgotten, and tokens of their time
/// are asked about in the store. See [`ReplicaStatus`](super::ReplicaStatus).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Consistency {
    /// Every request asks the store.
    #[default]
    Strong,
    /// This node decides by what it knew no longer than this ago: 20 ms to an hour, cut to whole milliseconds. A second is a good choice: it bridges a failover, and nobody
    /// notices it.
    BoundedStaleness(Duration),
}

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(3600);
const DEFAULT_INTERVAL: Duration = Duration::from_millis(25);
/// Only to learn what the store may lose.
const INTERVAL_IF_STRONG: Duration = Duration::from_millis(250);
/// Shorter, and a machine that is busy would never finish connecting.
const SHORTEST_DEADLINE: Duration = Duration::from_millis(150);
const LONGEST_DEADLINE: Duration = Duration::from_millis(500);

/// Bound, interval of polls, and deadline of each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pace {
    /// Zero under `Strong`.
    pub(super) staleness: Duration,
    pub(super) interval: Duration,
    pub(super) deadline: Duration,
}

impl Consistency {
    /// How the log is followed.
    pub(super) fn pace(self, interval: Option<Duration>) -> Result<Pace, ConfigError> {
        let Self::BoundedStaleness(staleness) = self else {
            return Ok(Pace {
                staleness: Duration::ZERO,
                interval: checked(interval.unwrap_or(INTERVAL_IF_STRONG), LONGEST)?,
                deadline: LONGEST_DEADLINE,
            });
        };
        if !(SHORTEST..=LONGEST).contains(&staleness) {
            return Err(ConfigError::new(
                "consistency",
                format!("allows a staleness of {staleness:?}"),
                "give 20 ms to an hour, as `BoundedStaleness(Duration::from_secs(1))`",
            ));
        }
        // Stores speak of whole milliseconds.
        let staleness = Duration::from_millis(saturating_millis(staleness));
        let interval = interval.unwrap_or_else(|| DEFAULT_INTERVAL.min(staleness / 4));
        Ok(Pace {
            staleness,
            interval: checked(interval, staleness / 2)?,
            // Two reads may be late before a lease of a second is over.
            deadline: (staleness / 3).clamp(SHORTEST_DEADLINE, LONGEST_DEADLINE),
        })
    }
}

fn checked(interval: Duration, longest: Duration) -> Result<Duration, ConfigError> {
    if interval < Duration::from_millis(1) || interval > longest {
        return Err(ConfigError::new(
            "poll_interval",
            format!("is {interval:?}"),
            "give at least a millisecond, and at most half of the staleness that is allowed",
        ));
    }
    Ok(interval)
}

//! The time at which a revocation takes effect.

use std::time::Duration;

use crate::{clock::saturating_millis, error::ConfigError};

/// The guarantee of when a revocation takes effect on other nodes, and the cost of a request.
///
/// | | `Strong` | `BoundedStaleness(d)` |
/// |--|--|--|
/// | a request | asks the store: one round trip | no I/O, even for a new token |
/// | a revocation made on this node | holds at once | holds at once |
/// | one made on another node, all well | holds at once | a round trip and a few ms later |
/// | the same, if nudges are lost | holds at once | at most one [`poll_interval`] later |
/// | store or network hang or restart | 503 | decided here for up to `d` more, then as `Strong` |
/// | a signed token of a session that was never opened | refused | accepted |
///
/// The last row concerns tokens that somebody with the signing key has made. A session that the log
/// does not name counts as alive.
///
/// # The bound
///
/// A request that starts later than the bound after a revocation was confirmed is not accepted on
/// any node, whatever fails. The bound is `d` (nothing under `Strong`) **plus the time for which a
/// node may believe an old primary**, which depends on the deployment. See
/// [`Failover`](crate::store::redis::Failover) for one server, `RedisStore::sentinel` and
/// `RedisStore::cluster` for the others. [`Status::bound_ms`](super::Status::bound_ms) has the sum
/// as a number, or the reason why there is none. It rests on no wall clock, and on no message that
/// might be lost.
///
/// It covers revocations that the store still has. A failover can lose one that was confirmed; a
/// node that has made or read it republishes it. If no such node lives, it is lost. If that
/// matters, run Redis with `appendfsync always` and with replicas that it waits for. A server clock
/// that is put back by more than two seconds may hide revocations from nodes that start then.
///
/// If a route needs the record itself, as for a transfer of money, let it ask the store:
/// [`AuthLayer::strong`](crate::AuthLayer::strong),
/// [`TokenService::validate_token_strong`](super::TokenService::validate_token_strong). To go on
/// only when a revocation holds everywhere, await
/// [`Revoke::everywhere`](super::Revoke::everywhere).
///
/// # A start, and a loss
///
/// A node starts at the newest entry of the log, and has its lease after one small read, however
/// long the log is. Until it has read back the older entries, it asks the store about tokens that
/// were issued before the last revocation, once each. The same holds after a failover or a loss of
/// data. The node then asks about tokens that were issued until that moment, because their sessions
/// may be lost. A node asks at most
/// [`max_questions`](super::TokenServiceBuilder::max_questions) a second for these reasons, and
/// answers 503 beyond it.
///
/// # Costs
///
/// Each node of a store with a log of its own (Redis) follows that log in a task. The task
/// republishes what the store loses (see
/// [`SecurityEvent::RevocationsLost`](super::SecurityEvent::RevocationsLost)). Under bounded
/// staleness the node also decides by it. The task runs on the Tokio runtime in which
/// [`build`](super::TokenServiceBuilder::build) was called, and ends with the last handle of the
/// service.
///
/// A poll asks Redis for all buckets in one round trip: 40 times a second from each node under
/// bounded staleness, 4 times under `Strong`. A revocation makes nodes read its bucket at once, as
/// often again at most. In a cluster each bucket is read by itself. `cargo bench --bench following`
/// measures both.
///
/// A million revoked sessions take 52 MB of a node's memory if users have ids of 8 characters. With
/// UUIDs they take 58 MB, with other texts of 36 characters 80 MB (counted by a test). Only
/// revocations that still matter are kept. Their ids take at most 256 MiB, some 4 to 8 million
/// sessions. Beyond it the oldest are dropped, and the node asks the store about tokens of their
/// time. See [`ReplicaStatus`](super::ReplicaStatus).
///
/// [`poll_interval`]: super::TokenServiceBuilder::poll_interval
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Consistency {
    /// Every request asks the store.
    #[default]
    Strong,
    /// This node decides by data of at most this age: 20 ms to an hour, cut to whole milliseconds.
    /// A second is a good choice: it bridges a failover, and users do not notice it.
    BoundedStaleness(Duration),
}

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(3600);
const DEFAULT_INTERVAL: Duration = Duration::from_millis(25);
/// The default under `Strong`, where the log only shows what the store may lose.
const INTERVAL_IF_STRONG: Duration = Duration::from_millis(250);
/// The shortest deadline: with a shorter one, a machine that is busy would never finish connecting.
const SHORTEST_DEADLINE: Duration = Duration::from_millis(150);
const LONGEST_DEADLINE: Duration = Duration::from_millis(500);

/// The bound, the interval of polls, and the deadline of each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pace {
    /// Zero under `Strong`.
    pub(super) staleness: Duration,
    pub(super) interval: Duration,
    pub(super) deadline: Duration,
}

impl Consistency {
    /// Returns the pace at which the log is followed.
    pub(super) fn pace(self, interval: Option<Duration>) -> Result<Pace, ConfigError> {
        let Self::BoundedStaleness(staleness) = self else {
            return Ok(Pace {
                staleness: Duration::ZERO,
                interval: checked(interval.unwrap_or(INTERVAL_IF_STRONG), LONGEST)?,
                deadline: LONGEST_DEADLINE,
            });
        };
        if !(SHORTEST..=LONGEST).contains(&staleness) {
            return Err(ConfigError::out_of_range(
                "consistency",
                format!("allows a staleness of {staleness:?}"),
                "give 20 ms to an hour, as `BoundedStaleness(Duration::from_secs(1))`",
            ));
        }
        // Stores count whole milliseconds.
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
        return Err(ConfigError::out_of_range(
            "poll_interval",
            format!("is {interval:?}"),
            "give at least a millisecond, and at most half of the staleness that is allowed",
        ));
    }
    Ok(interval)
}

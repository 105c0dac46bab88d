//! The guarantee of when a revocation takes effect, and the pace of reading the log.

use std::time::Duration;

use crate::{clock::saturating_millis, error::ConfigError};

/// The guarantee of when a revocation takes effect on other nodes, and the cost of a request.
///
/// | | `Strong` | `BoundedStaleness(d)` |
/// |--|--|--|
/// | a request | one round trip to the store | no I/O, even for a new token |
/// | a revocation made on this node | holds at once | holds at once |
/// | a revocation made on another node | holds at once | a round trip and a few ms later |
/// | the same, if nudges are lost | holds at once | at most one [`poll_interval`] later |
/// | store or network hang or restart | 503 | this node decides for up to `d` more, then 503 |
/// | a signed token of a session that was never opened | refused | accepted |
///
/// The last row needs the signing key: only its holder can make such a token. Under bounded
/// staleness a session counts as alive unless the log revokes it.
///
/// # The bound
///
/// No node accepts a revoked token in a request that starts later than the bound after the
/// confirmation, whatever fails. The bound is `d` (zero under `Strong`) **plus the time for which a
/// node may believe an old primary**, which depends on the deployment. See
/// [`Failover`](crate::store::redis::Failover) for one server, `RedisStore::sentinel` and
/// `RedisStore::cluster` for the others. [`Status::bound_ms`](super::Status::bound_ms) is the sum,
/// and [`Status::bound_reason`](super::Status::bound_reason) the reason if there is none. The bound
/// depends on no wall clock, and on no message that can be lost.
///
/// The bound covers revocations that the store still has. A failover can lose a confirmed
/// revocation. Each node that made or read it republishes it. If no such node runs, it is lost. To
/// reduce that risk, run Redis with `appendfsync always` and let it wait for replicas. A server
/// clock that steps back by more than two seconds may hide revocations from nodes that start then.
///
/// A critical route, such as a money transfer, should ask the store:
/// [`AuthLayer::strong`](crate::AuthLayer::strong),
/// [`TokenService::validate_token_strong`](super::TokenService::validate_token_strong). To continue
/// only when a revocation holds everywhere, await
/// [`Revoke::everywhere`](super::Revoke::everywhere).
///
/// # A start, and a loss
///
/// A node starts at the newest entry of the log. It gets its lease after one small read, whatever
/// the length of the log. Until it has read the older entries, it asks the store about tokens from
/// before the last revocation, once for each token. After a failover or a loss of data, it does so
/// for tokens issued until then, because the store may have lost their sessions.
/// [`max_questions`](super::TokenServiceBuilder::max_questions) limits these checks per second.
/// Beyond the limit the node answers 503.
///
/// # Costs
///
/// If the store's log can outlive the process (Redis), each node follows it in a task. The task
/// republishes revocations that the store loses (see
/// [`SecurityEvent::RevocationsLost`](super::SecurityEvent::RevocationsLost)). Under bounded
/// staleness the node also decides by the log. The task runs on the Tokio runtime of the call to
/// [`build`](super::TokenServiceBuilder::build), and ends with the last handle of the service.
///
/// A poll reads all buckets from Redis in one round trip. By default, a node polls 40 times a
/// second under bounded staleness, and 4 times under `Strong`. Nudges cause at most as many reads
/// again. In a cluster each bucket needs a read of its own. `cargo bench --bench following`
/// measures both.
///
/// A million revoked sessions take 52 MB of a node's memory with user ids of 8 characters, 58 MB
/// with UUIDs, and 80 MB with other ids of 36 characters (a test counts them). The node keeps only
/// revocations of tokens that could still be valid. Their ids take at most 256 MiB, about 4 to 8
/// million sessions. Beyond that, the node drops the oldest and asks the store about tokens of
/// their time. See [`ReplicaStatus`](super::ReplicaStatus).
///
/// [`poll_interval`]: super::TokenServiceBuilder::poll_interval
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Consistency {
    /// Every request asks the store.
    #[default]
    Strong,
    /// This node decides by data of at most this age: 20 ms to an hour, rounded down to whole
    /// milliseconds. A second is a good choice: it bridges a short failover.
    BoundedStaleness(Duration),
}

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(3600);
const DEFAULT_INTERVAL: Duration = Duration::from_millis(25);
/// The default under `Strong`, where the node follows the log only to republish lost revocations.
const INTERVAL_IF_STRONG: Duration = Duration::from_millis(250);
/// With a shorter deadline, a busy machine would never finish connecting.
const SHORTEST_DEADLINE: Duration = Duration::from_millis(150);
const LONGEST_DEADLINE: Duration = Duration::from_millis(500);

/// The staleness, the interval between polls, and the deadline of a read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pace {
    /// Zero under `Strong`.
    pub(super) staleness: Duration,
    pub(super) interval: Duration,
    pub(super) deadline: Duration,
}

impl Consistency {
    /// Returns the pace of following the log.
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
                format!("allows a staleness of {staleness:?}, which is out of range"),
                "give 20 ms to an hour, such as `BoundedStaleness(Duration::from_secs(1))`",
            ));
        }
        // Stores count whole milliseconds.
        let staleness = Duration::from_millis(saturating_millis(staleness));
        let interval = interval.unwrap_or_else(|| DEFAULT_INTERVAL.min(staleness / 4));
        Ok(Pace {
            staleness,
            interval: checked(interval, staleness / 2)?,
            // With a staleness of a second, the lease survives two reads that time out.
            deadline: (staleness / 3).clamp(SHORTEST_DEADLINE, LONGEST_DEADLINE),
        })
    }
}

fn checked(interval: Duration, longest: Duration) -> Result<Duration, ConfigError> {
    if interval < Duration::from_millis(1) || interval > longest {
        return Err(ConfigError::out_of_range(
            "poll_interval",
            format!("is {interval:?}, which is out of range"),
            format!("give 1 ms to {longest:?} with this consistency"),
        ));
    }
    Ok(interval)
}

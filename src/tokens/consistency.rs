//! The source of decisions about revocations, and the pace at which a node reads the log.

use std::time::Duration;

use crate::{clock::saturating_millis, error::ConfigError};

/// The time after which a revocation surely takes effect on other nodes, and the cost of a request.
///
/// | | `Strong` | `BoundedStaleness(d)` |
/// |--|--|--|
/// | a request | one round trip to the store | no I/O, even for a new token |
/// | a revocation made on this node | holds immediately | holds immediately |
/// | a revocation made on another node | holds immediately | a round trip and a few ms later |
/// | the same, if pub/sub messages are lost | holds immediately | within one [`poll_interval`] |
/// | the store or the network fails | 503 | local decisions for at most `d`, then 503 |
/// | a signed token of a session that was never opened | refused | accepted |
///
/// Only an owner of the signing key can make the token of the last row. Under bounded staleness, a
/// node treats a session as alive if the log contains no revocation of the session.
///
/// # The bound
///
/// The *bound* is the longest time from the store's confirmation of a revocation until every node
/// refuses the revoked token in new requests, whatever fails. The bound is the sum of two times:
///
/// - `d`, or zero under `Strong`,
/// - the longest time for which a node may use a server that another server has replaced. This time
///   depends on the deployment: see [`Failover`](crate::store::redis::Failover),
///   `RedisStore::sentinel` and `RedisStore::cluster`.
///
/// [`Status::bound_ms`](super::Status::bound_ms) is the bound, and
/// [`Status::bound_reason`](super::Status::bound_reason) is the reason if the bound is unknown. The
/// bound depends on no wall clock, and on no message that can be lost.
///
/// The bound does not cover revocations that the store has lost. If a failover loses a confirmed
/// revocation, each running node that made or read the revocation republishes it. If no such node
/// runs, the revocation stays lost. To reduce that risk, run Redis with `appendfsync always`, and
/// let each write wait for a Redis replica.
///
/// If a server's clock steps back by more than two seconds, a node that starts after the step may
/// miss revocations.
///
/// A critical route, such as a money transfer, should ask the store:
/// [`AuthLayer::strong`](crate::AuthLayer::strong),
/// [`TokenService::validate_token_strong`](super::TokenService::validate_token_strong). To wait
/// until a revocation holds on every node, await [`Revoke::everywhere`](super::Revoke::everywhere).
///
/// # After a start or a loss of data
///
/// A node starts at the newest entry of the log. After one small read, it gets its *lease*: the
/// right to decide without the store. Until the node has read the older entries, it asks the store
/// once about each token from before the newest entry.
///
/// After a failover or a loss of data, the node asks once about each token from before that event.
/// [`max_questions`](super::TokenServiceBuilder::max_questions) limits these questions per second.
/// Beyond the limit, the node answers 503.
///
/// # Costs
///
/// Under bounded staleness, a task of each node reads the store's log, and the node decides by its
/// copy. Under `Strong`, the task runs if the store is in Redis, or after the first open stream.
/// There it serves two other purposes: it republishes revocations that the store has lost (see
/// [`SecurityEvent::RevocationsLost`](super::SecurityEvent::RevocationsLost)), and it reports
/// revocations to the open streams. The task ends with the last handle of the service.
///
/// A poll reads all buckets from Redis in one round trip. By default, a node polls 40 times a
/// second under bounded staleness, and 4 times under `Strong`. Nudges (pub/sub messages about new
/// entries) at most double the number of reads. In a cluster, each bucket needs a separate read.
/// `cargo bench --bench following` measures these reads.
///
/// A million revoked sessions take 52 MB of a node's memory if user ids have 8 characters. They
/// take 58 MB with UUIDs, and 80 MB with other ids of 36 characters (a test measures this). The
/// node stores only revocations of tokens that could still be valid. The ids of these revocations
/// take at most 256 MiB, enough for about 4 to 8 million sessions. Beyond this limit, the node
/// drops the oldest revocations, and asks the store about the tokens that they may concern. See
/// [`ReplicaStatus`](super::ReplicaStatus).
///
/// [`poll_interval`]: super::TokenServiceBuilder::poll_interval
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Consistency {
    /// Every request asks the store.
    #[default]
    Strong,
    /// This node decides by its copy of the log, which is at most this old: 20 ms to an hour,
    /// rounded down to whole milliseconds. A second is a good choice: it bridges a short failover.
    BoundedStaleness(Duration),
}

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(3600);
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_millis(25);
/// The default interval between polls under `Strong`. No request depends on these polls. The node
/// needs them to republish lost revocations, and to cut streams after a nudge was lost.
const INTERVAL_IF_STRONG: Duration = Duration::from_millis(250);
/// The shortest deadline of a read: a busy machine must have time to connect.
const SHORTEST_DEADLINE: Duration = Duration::from_millis(150);
const LONGEST_DEADLINE: Duration = Duration::from_millis(500);

/// The staleness, the interval between polls, and the deadline of one read of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pace {
    /// Zero under `Strong`.
    pub(super) staleness: Duration,
    pub(super) interval: Duration,
    pub(super) deadline: Duration,
}

impl Consistency {
    /// Returns the pace at which the node reads the log. `interval` is the application's setting.
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
        // The stores count in whole milliseconds.
        let staleness = Duration::from_millis(saturating_millis(staleness));
        let interval = interval.unwrap_or_else(|| DEFAULT_INTERVAL.min(staleness / 4));
        Ok(Pace {
            staleness,
            interval: checked(interval, staleness / 2)?,
            // With a staleness of one second, two reads can time out before the lease ends.
            deadline: (staleness / 3).clamp(SHORTEST_DEADLINE, LONGEST_DEADLINE),
        })
    }
}

fn checked(interval: Duration, longest: Duration) -> Result<Duration, ConfigError> {
    if interval < Duration::from_millis(1) || interval > longest {
        return Err(ConfigError::out_of_range(
            "poll_interval",
            format!("is {interval:?}, which is out of range"),
            format!("give 1 ms to {longest:?}, the limit under this `consistency`"),
        ));
    }
    Ok(interval)
}

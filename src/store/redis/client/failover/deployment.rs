//! The ways in which another server can replace a primary. For each way there is a bound: the
//! longest time for which a node may use the old primary (`docs/protocol.md`, section 8).

use std::time::Duration;

use crate::error::ConfigError;

/// The way in which another server can replace the server at an address.
///
/// A client cannot detect a replacement: after a network split, the old primary still answers
/// reads, and still answers `ROLE` with `master`. So the application declares the deployment,
/// except for sentinels and a Redis Cluster. The declaration determines
/// [`failover_bound`](crate::store::SessionStore::failover_bound), the longest time for which a
/// node may use an old primary:
///
/// | declared | condition | `failover_bound` |
/// |--|--|--|
/// | [`Single`](Self::Single) | one server, never replaced | 0 |
/// | [`Replicas`](Self::Replicas) | all replicas acknowledge writes | `max_lag` |
/// | nothing | | unknown |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Failover {
    /// One server that no other server ever replaces. The server may restart.
    Single,
    /// An address that may move from a primary to one of its replicas, for example a virtual IP, a
    /// DNS name or a managed service.
    ///
    /// While the replicas answer, a task of the store makes a small write at least 4 times a
    /// second. With `WAIT`, the task asks if all replicas have acknowledged the write. If the last
    /// acknowledged write is older than `max_lag`, the node refuses requests and revocations (503).
    /// The Redis user needs the right to `INFO`, which identifies the server.
    ///
    /// **The number of replicas.** The node demands acknowledgements from this number of replicas:
    /// the larger of `min-replicas-to-write` and the most replicas that the node has seen at one
    /// time, and at least 1.
    ///
    /// * Set `min-replicas-to-write` to the highest number of replicas that may attach. An old
    ///   primary that lacks a replica then refuses the writes of other clients too. If more
    ///   replicas attach, the bound is unknown.
    /// * If `min-replicas-to-write` is 0, the server serves without acknowledgements, and the bound
    ///   is unknown. Set 0 to let a promoted server serve before it has a replica.
    /// * If the user has no right to `CONFIG GET`, the node demands at least 1 replica.
    /// * `min-replicas-max-lag` does not affect the bound.
    ///
    /// The price:
    ///
    /// * While one replica is away, nodes refuse all requests.
    /// * After a failover, nodes refuse all requests until the new primary has as many replicas as
    ///   the nodes demand, or its `min-replicas-to-write` is 0.
    /// * After you remove a replica for good, restart the nodes. Until then, they refuse requests.
    ///
    /// The bound does not cover:
    ///
    /// * A replica that attaches after one write of the task, and is promoted before the next.
    /// * A new replica of the old primary that attaches after another replica was promoted, if the
    ///   number above does not include both.
    /// * The promotion of a replica of a replica.
    Replicas {
        /// The maximum age of the last write that all replicas acknowledged: 1 s to 10 minutes,
        /// usually 1 s.
        max_lag: Duration,
    },
}

const SHORTEST_LAG: Duration = Duration::from_secs(1);
const LONGEST_LAG: Duration = Duration::from_secs(600);

/// The deployment: declared by the application, or implied by the kind of URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Deployment {
    Undeclared,
    Single,
    Replicas {
        max_lag: Duration,
    },
    #[cfg(feature = "cluster")]
    Cluster {
        /// The declared `cluster-node-timeout`; if `None`, the store reads it from the servers.
        node_timeout: Option<Duration>,
    },
    #[cfg(feature = "sentinel")]
    Sentinel {
        patience: Duration,
    },
}

impl Deployment {
    /// Returns the deployment that the application declared for a single address.
    pub(crate) fn declared(failover: Option<Failover>) -> Result<Self, ConfigError> {
        match failover {
            None => Ok(Self::Undeclared),
            Some(Failover::Single) => Ok(Self::Single),
            Some(Failover::Replicas { max_lag }) if (SHORTEST_LAG..=LONGEST_LAG).contains(&max_lag) => {
                Ok(Self::Replicas { max_lag })
            }
            Some(Failover::Replicas { max_lag }) => Err(ConfigError::out_of_range(
                "failover",
                format!("has a `max_lag` of {max_lag:?}, which is out of range"),
                "choose 1 s to 10 minutes, usually 1 s",
            )),
        }
    }

    /// Returns the maximum age of the [proof](super::proofs) that an answer needs; `None` if
    /// answers need no proof.
    pub(crate) fn max_lag(self) -> Option<Duration> {
        match self {
            Self::Replicas { max_lag } => Some(max_lag),
            _ => None,
        }
    }

    /// Returns whether the store may use the reads of a server that answers the write check with
    /// `MISCONF` or `NOPERM`.
    ///
    /// Returns false under `Replicas`, because these errors may hide `NOREPLICAS`.
    pub(crate) fn may_be_unchecked(self) -> bool {
        self.max_lag().is_none()
    }

    /// Returns the failover bound F (`docs/protocol.md`, section 8): the longest time for which a
    /// node may use an old primary.
    ///
    /// # Errors
    ///
    /// The reason why the time is unknown.
    pub(crate) fn bound(self) -> Result<Duration, &'static str> {
        match self {
            Self::Single => Ok(Duration::ZERO),
            Self::Replicas { max_lag } => Ok(max_lag),
            #[cfg(feature = "sentinel")]
            Self::Sentinel { patience } => Ok(patience),
            #[cfg(feature = "cluster")]
            Self::Cluster { node_timeout } => node_timeout.ok_or(
                "the cluster's `cluster-node-timeout` is unknown; declare it with `cluster_node_timeout`, or grant \
                 the user `CONFIG GET`",
            ),
            Self::Undeclared => {
                Err("the failover of the Redis server is not declared; set `failover` to `Failover::Single` or \
                 `Failover::Replicas`, or connect through sentinels")
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_deployment_has_its_bound() {
        let bound = |failover| Deployment::declared(failover).unwrap().bound();
        assert_eq!(bound(Some(Failover::Single)).unwrap(), Duration::ZERO);
        let max_lag = Duration::from_secs(1);
        assert_eq!(bound(Some(Failover::Replicas { max_lag })).unwrap(), max_lag);
        assert!(bound(None).unwrap_err().contains("Failover::Single"));
        #[cfg(feature = "sentinel")]
        assert_eq!(Deployment::Sentinel { patience: max_lag }.bound().unwrap(), max_lag);
        #[cfg(feature = "cluster")]
        {
            assert!(Deployment::Cluster { node_timeout: None }.bound().unwrap_err().contains("cluster_node_timeout"));
            assert_eq!(Deployment::Cluster { node_timeout: Some(max_lag) }.bound().unwrap(), max_lag);
        }
    }

    #[test]
    fn a_lag_out_of_range_is_a_mistake() {
        for max_lag in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(601)] {
            let error = Deployment::declared(Some(Failover::Replicas { max_lag })).unwrap_err();
            assert_eq!(error.setting(), "failover");
        }
    }
}

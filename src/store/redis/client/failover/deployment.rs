//! The ways in which a primary can be replaced, and for how long a node may believe an old one
//! under each (`docs/protocol.md`, section 8).

use std::time::Duration;

use crate::error::ConfigError;

/// The way in which another server can replace the one behind an address.
///
/// A client cannot see a replacement: an old primary that was cut off answers reads for ever, and
/// calls itself a primary. So the application declares the deployment.
/// [`failover_bound`](crate::store::SessionStore::failover_bound) returns the time for which a node
/// may then believe an old primary. Sentinels and a Redis Cluster need no declaration.
///
/// | declared | condition | bound on top of the staleness |
/// |--|--|--|
/// | [`Single`](Self::Single) | one server, never replaced | none |
/// | [`Replicas`](Self::Replicas) | a write proves that all replicas follow it | `max_lag` |
/// | nothing | | unknown |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Failover {
    /// One server that no other one ever replaces. It may restart.
    Single,
    /// An address that moves from a primary to one of its replicas: a virtual IP, a name, a managed
    /// service.
    ///
    /// At least four times a second, a task of the store makes a small write and asks with `WAIT`
    /// whether all replicas have acknowledged it. If they have not done so within `max_lag`,
    /// requests and revocations are refused (503). Acknowledgements that reach a stopped server
    /// late prove nothing. The store's user needs `INFO`, which tells one server from another.
    ///
    /// The number of *all replicas* is that of `min-replicas-to-write` or, if higher, the most that
    /// the node has seen at once; at least one. Set the option to the number of replicas that may
    /// ever attach. It also keeps an old primary from confirming the writes of other clients. More
    /// replicas than the option demands void the bound. `min-replicas-max-lag` does not matter.
    ///
    /// A server whose `min-replicas-to-write` is 0 serves without proofs, and voids the bound. So
    /// an operator can let a promoted server serve before it has a replica. Without the right to
    /// `CONFIG GET` a node cannot see the option, and waits for one replica.
    ///
    /// The price:
    ///
    /// * While one replica is away, nodes refuse all requests. After a failover they do so until
    ///   the new primary has as many replicas or demands none.
    /// * After a replica was removed for good, restart the nodes, because they still count it.
    ///
    /// Not covered:
    ///
    /// * A replica that attaches and is promoted between two probes, a quarter of a second apart.
    /// * A replica that attaches in place of a promoted one, if the number counts only one of them.
    /// * The promotion of a replica of a replica.
    Replicas {
        /// The maximum age of the last write that all replicas acknowledged: 1 s to 10 minutes,
        /// usually 1 s.
        max_lag: Duration,
    },
}

const SHORTEST_LAG: Duration = Duration::from_secs(1);
const LONGEST_LAG: Duration = Duration::from_secs(600);

/// The deployment, as declared or as the target implies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Deployment {
    Undeclared,
    Single,
    Replicas {
        max_lag: Duration,
    },
    #[cfg(feature = "cluster")]
    Cluster {
        /// `None` until it was declared or read.
        node_timeout: Option<Duration>,
    },
    #[cfg(feature = "sentinel")]
    Sentinel {
        patience: Duration,
    },
}

impl Deployment {
    /// Returns the deployment behind one address.
    pub(crate) fn declared(failover: Option<Failover>) -> Result<Self, ConfigError> {
        match failover {
            None => Ok(Self::Undeclared),
            Some(Failover::Single) => Ok(Self::Single),
            Some(Failover::Replicas { max_lag }) if (SHORTEST_LAG..=LONGEST_LAG).contains(&max_lag) => {
                Ok(Self::Replicas { max_lag })
            }
            Some(Failover::Replicas { max_lag }) => Err(ConfigError::out_of_range(
                "failover",
                format!("has a `max_lag` of {max_lag:?}"),
                "choose 1 s to 10 minutes, usually 1 s",
            )),
        }
    }

    /// Returns the maximum age of the [proof](super::proofs) that an answer needs, if it needs one.
    pub(crate) fn max_lag(self) -> Option<Duration> {
        match self {
            Self::Replicas { max_lag } => Some(max_lag),
            _ => None,
        }
    }

    /// Returns whether answers count of a server that refuses writes for a reason unrelated to its
    /// role.
    ///
    /// Not under `Replicas`: there the reason may hide NOREPLICAS.
    pub(crate) fn may_be_unchecked(self) -> bool {
        self.max_lag().is_none()
    }

    /// Returns the time, beyond the staleness, for which a node may believe an old primary.
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

//! The ways in which a primary can be replaced, and how much longer an old one may be believed
//! under each.

use std::time::Duration;

use crate::{error::ConfigError, store::redis::continuity};

/// How the server behind an address can be replaced by another one.
///
/// A client cannot see that. An old primary that was cut off answers reads for ever, and calls
/// itself a primary. So the application declares the deployment.
/// [`failover_bound`](crate::store::TokenStore::failover_bound) gives the time for which a node may
/// believe an old primary under it. Sentinels and a Redis Cluster need no declaration.
///
/// | declared | condition | bound on top of the staleness |
/// |--|--|--|
/// | [`Single`](Self::Single) | one server, never replaced | none |
/// | [`Replicas`](Self::Replicas) | `min-replicas-to-write` covers every replica that may attach | `max_lag` and 4 s |
/// | nothing | | unknown |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Failover {
    /// One server that no other one ever replaces. It may restart.
    Single,
    /// An address that moves from a primary to one of its replicas: a virtual IP, a name, a managed
    /// service.
    ///
    /// The server needs `min-replicas-to-write` of at least the number of replicas that may ever
    /// attach, and `min-replicas-max-lag` of at most `max_lag`. A lower number bounds nothing: with
    /// one primary, three replicas and `min-replicas-to-write 1`, both primaries took writes for 36
    /// s. The price: while one replica is away, writes and strict reads are refused (503).
    ///
    /// A new connection counts only once all replicas have acknowledged a write (`WAIT`), or
    /// `max_lag` and 3 s after it was made; [`connect`](super::RedisStoreBuilder::connect) waits
    /// for that. So does a connection whose server has not answered for half a second: until then
    /// requests and revocations are refused (503). Each connection costs seven `PING` a second.
    ///
    /// A replica's acknowledgements must not be delayed by the network: what arrives late counts as
    /// new.
    Replicas {
        /// The servers' `min-replicas-max-lag`: 1 s to 10 minutes.
        ///
        /// 2 s or more is wise: a replica acknowledges once a second, so under 1 s a busy one
        /// counts as lost now and then.
        max_lag: Duration,
    },
}

const SHORTEST_LAG: Duration = Duration::from_secs(1);
const LONGEST_LAG: Duration = Duration::from_secs(600);

/// The deployment, as declared or as the way of connecting tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Deployment {
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
    pub(super) fn declared(failover: Option<Failover>) -> Result<Self, ConfigError> {
        match failover {
            None => Ok(Self::Undeclared),
            Some(Failover::Single) => Ok(Self::Single),
            Some(Failover::Replicas { max_lag }) if (SHORTEST_LAG..=LONGEST_LAG).contains(&max_lag) => {
                Ok(Self::Replicas { max_lag })
            }
            Some(Failover::Replicas { max_lag }) => Err(ConfigError::new(
                "failover",
                format!("has a `max_lag` of {max_lag:?}"),
                "give the servers' `min-replicas-max-lag`: 1 s to 10 minutes",
            )),
        }
    }

    /// Returns for how long a server must have answered without a gap before its check counts, if
    /// that matters. Connections are then kept warm.
    pub(super) fn settling(self) -> Option<Duration> {
        match self {
            Self::Replicas { max_lag } => Some(continuity::settling(max_lag)),
            _ => None,
        }
    }

    /// Returns whether a server may be believed that refuses writes for a reason that says nothing
    /// of its role.
    ///
    /// With sentinels it is: they say which server is the primary. With replicas the reason may
    /// hide NOREPLICAS.
    pub(super) fn may_be_unchecked(self) -> bool {
        self.settling().is_none()
    }

    /// Returns how much longer than the staleness an old primary may be believed, or the reason why
    /// that is unknown.
    pub(super) fn bound(self) -> Result<Duration, &'static str> {
        match self {
            Self::Single => Ok(Duration::ZERO),
            Self::Replicas { max_lag } => Ok(continuity::bound(max_lag)),
            #[cfg(feature = "sentinel")]
            Self::Sentinel { patience } => Ok(patience),
            #[cfg(feature = "cluster")]
            Self::Cluster { node_timeout } => node_timeout.ok_or(
                "the cluster's `cluster-node-timeout` is not known: declare it with `cluster_node_timeout`, or grant \
                 the user `CONFIG GET`",
            ),
            Self::Undeclared => {
                Err("how the Redis server can be replaced is not declared: set `failover` to `Failover::Single` or \
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
        assert_eq!(bound(Some(Failover::Replicas { max_lag })).unwrap(), Duration::from_secs(5));
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
    fn a_lag_that_no_server_has_is_a_mistake() {
        for max_lag in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(601)] {
            let error = Deployment::declared(Some(Failover::Replicas { max_lag })).unwrap_err();
            assert_eq!(error.setting(), "failover");
        }
    }
}

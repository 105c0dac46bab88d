//! The number of a primary's replicas, and the number that the primary demands.

use redis::{Cmd, Value};

use crate::store::redis::client::answer::{CommandError, Reply, decimal, property};

/// The server setting that demands a number of connected replicas for each write.
pub(crate) const DEMANDED: &str = "min-replicas-to-write";

/// The number of a primary's replicas, and its `min-replicas-to-write`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Replication {
    /// `None` if the user has no right to `INFO`.
    pub(crate) connected: Option<u64>,
    /// `min-replicas-to-write`; `None` if the server refuses `CONFIG GET`.
    pub(crate) demanded: Option<u64>,
}

impl Replication {
    /// Returns the reason why `max_lag` is not the failover bound; `None` if it is the bound.
    pub(crate) fn voids(self) -> Option<String> {
        let Some(connected) = self.connected else {
            return Some("the number of the server's replicas is unknown; grant the user `INFO`".to_owned());
        };
        let demanded = self.demanded.filter(|demanded| *demanded == 0 || connected > *demanded)?;
        Some(format!(
            "the server has {connected} replicas, but its {DEMANDED} is {demanded}; raise it to the number of all \
             replicas that may attach"
        ))
    }
}

/// Returns the number of connected replicas, from `INFO replication`.
pub(crate) fn connected(replication: &str) -> Option<u64> {
    decimal(property(replication, "connected_slaves")?.as_bytes())
}

/// Returns the number of replicas that follow the server, from `INFO replication`. Does not include
/// replicas that still load their first copy of the data.
pub(crate) fn online(replication: &str) -> u64 {
    let is_replica = |line: &&str| {
        let name = line.split_once(':').and_then(|(name, _)| name.strip_prefix("slave"));
        name.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let online =
        replication.lines().filter(is_replica).filter(|line| line.split(',').any(|field| field == "state=online"));
    u64::try_from(online.count()).unwrap_or(u64::MAX)
}

/// Returns the command that asks for a setting.
pub(crate) fn setting(name: &str) -> Cmd {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg(name);
    command
}

/// Reads the answer to [`setting`]: a name and its value.
pub(crate) fn number(value: Value) -> Result<Option<u64>, CommandError> {
    let mut reply = Reply::of(value)?;
    if reply.is_empty() {
        return Ok(None);
    }
    reply.text()?;
    Ok(decimal(reply.text()?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voids(connected: Option<u64>, demanded: Option<u64>) -> Option<String> {
        Replication { connected, demanded }.voids()
    }

    #[test]
    fn replicas_that_are_covered_void_nothing() {
        for connected in [0, 1] {
            assert_eq!(voids(Some(connected), Some(1)), None);
        }
        assert_eq!(voids(Some(2), Some(2)), None);
        assert_eq!(voids(Some(2), None), None, "the node counts them itself");
    }

    #[test]
    fn one_replica_more_than_the_server_demands_voids_the_bound() {
        for demanded in [0, 1] {
            let reason = voids(Some(2), Some(demanded)).unwrap_or_default();
            assert!(reason.contains("2 replicas") && reason.contains(&format!("is {demanded}")), "{reason}");
        }
        assert!(voids(None, Some(1)).is_some_and(|reason| reason.contains("INFO")));
    }

    #[test]
    fn a_server_that_demands_none_voids_the_bound_before_any_attaches() {
        assert!(voids(Some(0), Some(0)).is_some_and(|reason| reason.contains("0 replicas")));
    }

    #[test]
    fn replicas_that_follow_the_server_are_counted() {
        let text = "role:master\r\nconnected_slaves:3\r\n\
                    slave0:ip=10.0.0.1,port=6379,state=online,offset=14,lag=0\r\n\
                    slave1:ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0\r\n\
                    slave12:ip=10.0.0.3,port=6379,state=online,offset=0,lag=9\r\n\
                    slave_read_only:1\r\nmaster_repl_offset:14\r\n";
        assert_eq!((online(text), connected(text)), (2, Some(3)));
    }
}

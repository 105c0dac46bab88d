//! Settings of the servers on which the promises rest, looked at when connecting and now and then.
//!
//! They can change at run time, and then nothing fails: a replica more than `min-replicas-to-write`
//! covers, or an eviction policy that drops revocations. The findings are part of
//! [`warnings`](crate::store::TokenStore::warnings). A change is logged.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use redis::Value;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    clock::jittered,
    error::StoreError,
    store::redis::{
        Inner,
        failover::Deployment,
        failure::Failure,
        guard::Seen,
        info::{self, property},
        reply::{Reply, decimal},
    },
};

const EVERY: Duration = Duration::from_secs(60);
/// A replica that attaches may be promoted soon.
const EVERY_WITH_REPLICAS: Duration = Duration::from_secs(15);

/// The task that looks. It ends when this is dropped.
pub(super) struct Lookout(AbortHandle);

impl Lookout {
    /// Starts to look, on the present runtime.
    pub(super) fn start(inner: &Arc<Inner>) -> Self {
        let has_replicas = matches!(inner.origin.guard().deployment(), Deployment::Replicas { .. });
        let pause = if has_replicas { EVERY_WITH_REPLICAS } else { EVERY };
        Self(tokio::spawn(look_for_ever(Arc::downgrade(inner), pause)).abort_handle())
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn look_for_ever(inner: Weak<Inner>, pause: Duration) {
    loop {
        sleep(jittered(pause)).await;
        let Some(inner) = inner.upgrade() else { return };
        // A server that does not answer tells nothing, and its requests fail anyway.
        let limit = inner.timeout.saturating_mul(4);
        if let Ok(Ok(seen)) = timeout(limit, inner.look()).await {
            inner.origin.guard().has_seen(seen);
        }
    }
}

/// The replicas of a primary, and the settings by which it waits for them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Replication {
    /// `None` without the right to `INFO`.
    connected: Option<u64>,
    /// `min-replicas-to-write`; `None` without the right to `CONFIG GET`.
    least: Option<u64>,
    /// `min-replicas-max-lag`.
    max_lag: Option<Duration>,
}

impl Replication {
    /// Returns why the declared `max_lag` bounds nothing. `at_first` is how many replicas there
    /// were when connecting.
    fn voids(self, declared: Duration, at_first: Option<u64>) -> Option<String> {
        let Some(connected) = self.connected else {
            return Some("the number of the server's replicas is unknown: grant the user `INFO`".to_owned());
        };
        if self.least == Some(0) {
            return Some(
                "the server's min-replicas-to-write is 0: set it to the number of its replicas, all that may attach"
                    .to_owned(),
            );
        }
        let covered = self.least.or(at_first).unwrap_or(connected);
        if connected > covered {
            return Some(format!(
                "the server has {connected} replicas, and its write check covers {covered}: raise \
                 min-replicas-to-write to the number of all replicas that may attach"
            ));
        }
        match self.max_lag {
            Some(lag) if lag.is_zero() || lag > declared => Some(format!(
                "the server's min-replicas-max-lag is {} s, and a `max_lag` of {declared:?} is declared: lower the \
                 one or raise the other",
                lag.as_secs()
            )),
            _ => None,
        }
    }
}

impl Inner {
    /// Looks at the settings of each server.
    pub(super) async fn look(&self) -> Result<Seen, StoreError> {
        let guard = self.origin.guard();
        let mut seen = Seen { replicas: guard.seen_replicas(), ..Seen::default() };
        match guard.deployment() {
            Deployment::Replicas { max_lag } => {
                let replication = self.replication().await?;
                seen.replicas = seen.replicas.or(replication.connected);
                seen.voids = replication.voids(max_lag, seen.replicas);
                let covered = replication.least.or(seen.replicas).filter(|covered| *covered > 0);
                seen.covered = covered.filter(|_| seen.voids.is_none());
            }
            #[cfg(feature = "cluster")]
            Deployment::Cluster { node_timeout: None } => seen.node_timeout = self.node_timeout().await?,
            _ => {}
        }
        let memory = self.info("memory").await?.unwrap_or_default();
        let policies = memory.iter().filter_map(|text| property(text, "maxmemory_policy"));
        seen.evicts = policies.into_iter().find(|policy| *policy != "noeviction").map(|policy| {
            format!(
                "the Redis server's maxmemory-policy is {policy:.20}: it may drop sessions and revocations; set it to \
                 noeviction"
            )
        });
        Ok(seen)
    }

    async fn replication(&self) -> Result<Replication, StoreError> {
        let text = self.info("replication").await?.and_then(|texts| texts.into_iter().next());
        let connected = text.and_then(|text| decimal(property(&text, "connected_slaves")?.as_bytes()));
        Ok(Replication {
            connected,
            least: self.setting("min-replicas-to-write", 0).await?,
            max_lag: self.setting("min-replicas-max-lag", 0).await?.map(Duration::from_secs),
        })
    }

    /// The longest `cluster-node-timeout` of the primaries; `None` if one does not tell.
    #[cfg(feature = "cluster")]
    async fn node_timeout(&self) -> Result<Option<Duration>, StoreError> {
        let mut longest = Some(Duration::ZERO);
        for bucket in self.servers.one_bucket_each(Instant::now() + self.timeout).await? {
            let timeout = self.setting("cluster-node-timeout", bucket).await?;
            longest = longest.zip(timeout).map(|(longest, millis)| longest.max(Duration::from_millis(millis)));
        }
        Ok(longest.filter(|longest| !longest.is_zero()))
    }

    /// A number among the settings of a bucket's server; `None` without the right to `CONFIG GET`,
    /// which many managed services do not have at all.
    async fn setting(&self, name: &str, bucket: u32) -> Result<Option<u64>, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let mut lease = self.servers.lease(bucket, deadline).await?;
        match lease.command(redis::cmd("CONFIG").arg("GET").arg(name), deadline).await {
            Ok(value) => Ok(number(value)?),
            Err(failure) if failure.broken || failure.is_late() => Err(failure.into()),
            Err(_) => Ok(None),
        }
    }

    /// A section of `INFO`, from each server; `None` if we have no right to ask.
    pub(super) async fn info(&self, section: &str) -> Result<Option<Vec<String>>, StoreError> {
        let deadline = Instant::now() + self.timeout;
        let mut texts = Vec::new();
        for bucket in self.servers.one_bucket_each(deadline).await? {
            let mut lease = self.servers.lease(bucket, deadline).await?;
            match lease.command(redis::cmd("INFO").arg(section), deadline).await {
                Ok(value) => texts.push(info::text(value)?),
                Err(failure) if failure.is_forbidden() => return Ok(None),
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(Some(texts))
    }
}

/// Reads the answer of `CONFIG GET`: a name and its value.
fn number(value: Value) -> Result<Option<u64>, Failure> {
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

    const MAX_LAG: Duration = Duration::from_secs(1);

    fn told(connected: Option<u64>, least: Option<u64>, max_lag: Option<u64>) -> Option<String> {
        let replication = Replication { connected, least, max_lag: max_lag.map(Duration::from_secs) };
        replication.voids(MAX_LAG, Some(1))
    }

    #[test]
    fn replicas_that_are_covered_void_nothing() {
        for connected in [0, 1] {
            assert_eq!(told(Some(connected), Some(1), Some(1)), None);
            assert_eq!(told(Some(connected), None, None), None);
        }
        assert_eq!(told(Some(2), Some(2), Some(1)), None);
    }

    #[test]
    fn one_replica_more_than_is_covered_voids_the_bound() {
        for least in [Some(1), None] {
            let reason = told(Some(2), least, None);
            assert!(reason.as_ref().is_some_and(|reason| reason.contains("2 replicas")), "{reason:?}");
        }
    }

    #[test]
    fn a_server_that_waits_for_no_replica_or_for_longer_voids_it_too() {
        assert!(told(Some(0), Some(0), Some(1)).is_some_and(|reason| reason.contains("min-replicas-to-write")));
        for lag in [0, 2, 10] {
            assert!(told(Some(1), Some(1), Some(lag)).is_some_and(|reason| reason.contains("min-replicas-max-lag")));
        }
        assert!(told(None, Some(1), Some(1)).is_some_and(|reason| reason.contains("INFO")));
    }
}

//! Settings of the servers on which the promises rest, looked at when connecting and now and then.
//!
//! They can change at run time, and then nothing fails: a replica more than `min-replicas-to-write`
//! covers, or an eviction policy that drops revocations. The findings are part of
//! [`warnings`](crate::store::SessionStore::warnings). A change is logged.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    clock::jittered,
    error::StoreError,
    store::redis::{
        Inner,
        client::{
            answer::info::{self, property},
            failover::{
                deployment::Deployment,
                guard::Seen,
                replication::{self, DEMANDED, Replication},
            },
        },
    },
};

const EVERY: Duration = Duration::from_secs(60);
/// A replica that attaches may be promoted soon.
const EVERY_WITH_REPLICAS: Duration = Duration::from_secs(5);

/// The task that looks. It ends when this is dropped.
pub(crate) struct Lookout(AbortHandle);

impl Lookout {
    /// Starts to look, on the present runtime.
    pub(crate) fn start(inner: &Arc<Inner>) -> Self {
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

impl Inner {
    /// Looks at the settings of each server.
    pub(crate) async fn look(&self) -> Result<Seen, StoreError> {
        let guard = self.origin.guard();
        let mut seen = Seen::default();
        match guard.deployment() {
            Deployment::Replicas { .. } => {
                let replication = self.replication().await?;
                seen.voids = replication.voids();
                seen.demanded = replication.demanded;
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
        let connected = text.and_then(|text| replication::connected(&text));
        Ok(Replication { connected, demanded: self.setting(DEMANDED, 0).await? })
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
        match lease.command(&replication::setting(name), deadline).await {
            Ok(value) => Ok(replication::number(value)?),
            Err(failure) if failure.broken || failure.is_late() => Err(failure.into()),
            Err(_) => Ok(None),
        }
    }

    /// A section of `INFO`, from each server; `None` if we have no right to ask.
    pub(crate) async fn info(&self, section: &str) -> Result<Option<Vec<String>>, StoreError> {
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

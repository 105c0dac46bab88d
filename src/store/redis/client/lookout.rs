//! The server settings on which guarantees depend, read when connecting and at intervals.
//!
//! They can change at run time without any call failing: a replica attaches that
//! `min-replicas-to-write` does not cover, or an eviction policy drops revocations. The findings
//! are part of [`warnings`](crate::store::SessionStore::warnings), and a new one is logged.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::{
    clock::jittered,
    store::redis::client::{
        Client,
        answer::{CommandError, info_text, property},
        failover::{
            deployment::Deployment,
            guard::ServerSettings,
            replication::{self, DEMANDED, Replication},
        },
    },
};

const EVERY: Duration = Duration::from_secs(60);
/// Shorter, because a replica that attaches may be promoted soon.
const EVERY_WITH_REPLICAS: Duration = Duration::from_secs(5);

/// A task that reads the settings at intervals. It ends when this is dropped.
pub(crate) struct Lookout(AbortHandle);

impl Lookout {
    /// Starts the task on the present runtime.
    pub(crate) fn start(client: &Arc<Client>) -> Self {
        let has_replicas = matches!(client.guard().deployment(), Deployment::Replicas { .. });
        let pause = if has_replicas { EVERY_WITH_REPLICAS } else { EVERY };
        Self(tokio::spawn(look_for_ever(Arc::downgrade(client), pause)).abort_handle())
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the settings after each pause, for as long as the store lives.
async fn look_for_ever(client: Weak<Client>, pause: Duration) {
    loop {
        sleep(jittered(pause)).await;
        let Some(client) = client.upgrade() else { return };
        // A failure needs no report: the requests to that server fail too.
        if let Ok(Ok(settings)) = timeout(client.timeout().saturating_mul(4), look(&client)).await {
            client.guard().note_settings(settings);
        }
    }
}

/// Reads the settings of each server.
pub(crate) async fn look(client: &Client) -> Result<ServerSettings, CommandError> {
    let mut settings = ServerSettings::default();
    match client.guard().deployment() {
        Deployment::Replicas { .. } => {
            let replication = replication(client).await?;
            settings.voids = replication.voids();
            settings.demanded = replication.demanded;
        }
        #[cfg(feature = "cluster")]
        Deployment::Cluster { node_timeout: None } => settings.node_timeout = node_timeout(client).await?,
        _ => {}
    }
    settings.evicts = eviction_policy(client).await?.map(|policy| {
        format!(
            "the Redis server's maxmemory-policy {policy:.20} may drop sessions and revocations; set it to \
             noeviction"
        )
    });
    Ok(settings)
}

/// Returns the policy by which a server evicts keys; `None` if all have `noeviction`, or without
/// the right to `INFO`.
pub(crate) async fn eviction_policy(client: &Client) -> Result<Option<String>, CommandError> {
    let memory = info(client, "memory").await?.unwrap_or_default();
    let mut policies = memory.iter().filter_map(|text| property(text, "maxmemory_policy"));
    Ok(policies.find(|policy| *policy != "noeviction").map(str::to_owned))
}

async fn replication(client: &Client) -> Result<Replication, CommandError> {
    let text = info(client, "replication").await?.and_then(|texts| texts.into_iter().next());
    let connected = text.and_then(|text| replication::connected(&text));
    Ok(Replication { connected, demanded: setting(client, DEMANDED, 0).await? })
}

/// Returns the longest `cluster-node-timeout` of the primaries; `None` if one is unknown.
#[cfg(feature = "cluster")]
async fn node_timeout(client: &Client) -> Result<Option<Duration>, CommandError> {
    let mut longest = Some(Duration::ZERO);
    for bucket in client.one_bucket_each(client.deadline()).await? {
        let timeout = setting(client, "cluster-node-timeout", bucket).await?;
        longest = longest.zip(timeout).map(|(longest, millis)| longest.max(Duration::from_millis(millis)));
    }
    Ok(longest.filter(|longest| !longest.is_zero()))
}

/// Returns a number among the settings of a bucket's server; `None` without the right to
/// `CONFIG GET`, which many managed services do not grant.
async fn setting(client: &Client, name: &str, bucket: u32) -> Result<Option<u64>, CommandError> {
    let deadline = client.deadline();
    let checkout = client.checkout(bucket, deadline).await?;
    match checkout.command(&replication::setting(name), deadline).await {
        Ok(value) => Ok(replication::number(value)?),
        Err(error) if error.broken || error.is_late() => Err(error),
        Err(_) => Ok(None),
    }
}

/// Returns a section of `INFO` from each server; `None` without the right to it.
pub(crate) async fn info(client: &Client, section: &str) -> Result<Option<Vec<String>>, CommandError> {
    let deadline = client.deadline();
    let mut texts = Vec::new();
    for bucket in client.one_bucket_each(deadline).await? {
        let checkout = client.checkout(bucket, deadline).await?;
        match checkout.command(redis::cmd("INFO").arg(section), deadline).await {
            Ok(value) => texts.push(info_text(value)?),
            Err(error) if error.is_forbidden() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(texts))
}

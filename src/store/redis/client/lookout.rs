//! A task that repeatedly reads the server settings on which the guarantees depend.
//!
//! An operator can change such a setting at run time, and no call fails. For example, a new
//! eviction policy may delete revocations. The store logs each new problem, and returns all
//! problems from [`warnings`](crate::store::SessionStore::warnings).

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
    error::StoreErrorKind,
    store::redis::client::{
        Client,
        answer::{CommandError, info_text, property},
        cause::RedisCause,
        failover::{
            deployment::Deployment,
            guard::ServerSettings,
            replication::{self, DEMANDED, Replication},
        },
    },
};

const EVERY: Duration = Duration::from_secs(60);
/// The shorter interval under `Failover::Replicas`, where a new replica may be promoted soon.
const EVERY_WITH_REPLICAS: Duration = Duration::from_secs(5);

/// The owner of a task that reads the settings at intervals. Dropping the owner ends the task.
pub(crate) struct Lookout(AbortHandle);

impl Lookout {
    /// Starts the task on the current runtime. The task first awaits `checks`.
    pub(crate) fn start(client: &Arc<Client>, checks: impl Future<Output = ()> + Send + 'static) -> Self {
        let has_replicas = matches!(client.guard().deployment(), Deployment::Replicas { .. });
        let pause = if has_replicas { EVERY_WITH_REPLICAS } else { EVERY };
        let client = Arc::downgrade(client);
        let task = async move {
            checks.await;
            look_for_ever(client, pause).await;
        };
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the settings after each pause, until the store drops the client.
async fn look_for_ever(client: Weak<Client>, pause: Duration) {
    loop {
        sleep(jittered(pause)).await;
        let Some(client) = client.upgrade() else { return };
        // A failed read needs no report, because the requests to that server fail too.
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

/// Returns an eviction policy other than `noeviction`, if a server has one. Also returns `None` if
/// the user has no right to `INFO`.
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

/// Returns a numeric setting of a bucket's server; `None` if the server refuses `CONFIG GET`. Many
/// managed services refuse it.
async fn setting(client: &Client, name: &str, bucket: u32) -> Result<Option<u64>, CommandError> {
    let deadline = client.deadline();
    let checkout = client.checkout(bucket, deadline).await?;
    match checkout.command(&replication::setting(name), deadline).await {
        Ok(value) => Ok(replication::number(value)?),
        Err(error) if error.broken || error.is_late() => Err(error),
        Err(_) => Ok(None),
    }
}

/// Returns a section of `INFO` from each server; `None` if the user has no right to `INFO`.
pub(crate) async fn info(client: &Client, section: &str) -> Result<Option<Vec<String>>, CommandError> {
    let deadline = client.deadline();
    let mut texts = Vec::new();
    for bucket in client.one_bucket_each(deadline).await? {
        let checkout = client.checkout(bucket, deadline).await?;
        match checkout.command(redis::cmd("INFO").arg(section), deadline).await {
            Ok(value) => {
                let text = info_text(value)?;
                if property(&text, "redis_mode") == Some("sentinel") {
                    let error = CommandError::new(StoreErrorKind::Rejected, false, "the server is a sentinel");
                    return Err(error.because(RedisCause::Sentinel).at(checkout.address()));
                }
                texts.push(text);
            }
            Err(error) if error.is_forbidden() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(texts))
}

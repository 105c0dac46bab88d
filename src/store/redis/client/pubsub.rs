//! Subscriptions to nudges: messages on a bucket's channel that ask the nodes to read the log now.
//!
//! A nudge may be lost, late or spurious, so the nodes also read the log without nudges. In a
//! cluster, a node has a subscribed connection to each known primary. After a bucket moves, its
//! nudges are lost for 1 or 2 s.
//!
//! A subscribed connection sends no other command than `ROLE`, because redis-rs can take a push for
//! the answer to a waiting command. There are two such pushes. Redis confirms a subscription with a
//! push and no reply (redis/redis#11784). When a slot moves, the server sends a push that no
//! command caused (valkey-io/valkey#1066, open).
//!
//! No issue of redis-rs exists. To reproduce on redis 1.8 with RESP3, send `SSUBSCRIBE`, then move
//! the slot while a command waits. Remove the separate connection when redis takes no such push for
//! an answer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use redis::{PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

#[cfg(feature = "cluster")]
use crate::store::redis::client::cluster::Cluster;
use crate::{
    clock::jittered,
    error::StoreErrorKind,
    store::{
        bell::Bell,
        redis::client::{
            Client, Servers,
            address::Address,
            answer::{CommandError, Reply},
            connections::{config::ConnectionConfig, connector::Connector},
        },
    },
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a refused subscription. It is long, because an operator must fix the cause.
const PAUSE_IF_REFUSED: Duration = Duration::from_secs(60);
/// The interval at which the task sends `ROLE`. The task notices a dead connection within this
/// interval plus the timeout.
const PING_EVERY: Duration = Duration::from_secs(1);
/// The interval at which the task compares its subscriptions with the primaries of a cluster.
#[cfg(feature = "cluster")]
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The channels of the buckets, and the servers that publish to them.
pub(crate) struct Channels {
    pub(crate) connector: Arc<Connector>,
    /// The time limit of each command.
    pub(crate) timeout: Duration,
    /// Returns the name of a bucket's channel.
    pub(crate) name: Box<dyn Fn(u32) -> String + Send + Sync>,
}

/// The owner of a task that rings a [`Bell`] at each nudge. Dropping the owner ends the task.
pub(crate) struct Subscription(JoinHandle<()>);

impl Subscription {
    /// Starts the task. Returns `None` for the application's own pool, or outside a Tokio runtime.
    pub(crate) fn start(channels: Channels, client: &Arc<Client>, bells: Vec<Arc<Bell>>) -> Option<Self> {
        if !channels.connector.takes_subscriptions() {
            #[cfg(feature = "tracing")]
            tracing::info!("no nudges from Redis, because the address behind the application's own pool is unknown");
            return None;
        }
        let Ok(runtime) = Handle::try_current() else {
            #[cfg(feature = "tracing")]
            tracing::warn!("no nudges from Redis, because the feeds were not started inside a Tokio runtime");
            return None;
        };
        let (channels, client) = (Arc::new(channels), Arc::clone(client));
        let task = async move {
            match &client.servers {
                Servers::One(_) => Subscriber::new(channels, None, bells).run().await,
                #[cfg(feature = "cluster")]
                Servers::Cluster(cluster) => subscribe_to_each(&channels, cluster, &bells).await,
            }
        };
        Some(Self(runtime.spawn(task)))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a task for each primary. So a primary that hangs delays only its own nudges.
#[cfg(feature = "cluster")]
async fn subscribe_to_each(channels: &Arc<Channels>, cluster: &Cluster, bells: &[Arc<Bell>]) {
    let mut subscriptions: HashMap<(Address, Vec<u32>), Subscription> = HashMap::new();
    loop {
        // This task ignores a failed query, because the feeds report the failure.
        let places = cluster.places(Instant::now() + channels.timeout).await.unwrap_or_default();
        subscriptions.retain(|(address, buckets), _| places.get(address) == Some(buckets));
        for (address, buckets) in places {
            subscriptions.entry((address, buckets)).or_insert_with_key(|(address, buckets)| {
                let is_its = |bell: &&Arc<Bell>| bell.buckets().iter().all(|bucket| buckets.contains(bucket));
                let its = bells.iter().filter(is_its).cloned().collect();
                let subscriber = Subscriber::new(Arc::clone(channels), Some(address.clone()), its);
                Subscription(tokio::spawn(async move { subscriber.run().await }))
            });
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The bell and the bucket of each channel, by the channel's name.
type Bells = HashMap<String, (Arc<Bell>, u32)>;

/// A subscription over one connection.
struct Subscriber {
    channels: Arc<Channels>,
    /// The primary in a cluster; `None` for a single server or behind sentinels.
    node: Option<Address>,
    bells_of: Arc<Bells>,
    bells: Vec<Arc<Bell>>,
}

impl Subscriber {
    /// Creates a subscriber for the channels of these bells.
    fn new(channels: Arc<Channels>, node: Option<Address>, bells: Vec<Arc<Bell>>) -> Self {
        let bells_of = bells.iter().flat_map(|bell| {
            bell.buckets().iter().map(|bucket| ((channels.name)(*bucket), (Arc::clone(bell), *bucket)))
        });
        Self { bells_of: Arc::new(bells_of.collect()), channels, node, bells }
    }

    /// Subscribes, and subscribes again each time the subscription ends.
    async fn run(self) {
        let (mut pause, mut is_logged) = (SHORTEST_PAUSE, false);
        loop {
            let begun = Instant::now();
            let outcome = self.listen().await;
            if begun.elapsed() > LONGEST_PAUSE {
                pause = SHORTEST_PAUSE;
            }
            match outcome {
                Err(error) if error.kind == StoreErrorKind::Rejected => {
                    if !is_logged {
                        #[cfg(feature = "tracing")]
                        tracing::warn!(
                            error = ?crate::error::StoreError::from(error),
                            "Redis refused the subscription to nudges, so this node reads revocations only at each \
                             poll; grant the user SSUBSCRIBE on the channels of the prefix"
                        );
                    }
                    is_logged = true;
                    sleep(jittered(PAUSE_IF_REFUSED)).await;
                }
                _ => {
                    sleep(jittered(pause)).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Connects, subscribes, and returns when the subscription has ended.
    async fn listen(&self) -> Result<(), CommandError> {
        // Each connection has its own `ended`. With a shared `ended`, the end of an old connection
        // could end the next connection too.
        let ended = Arc::new(Notify::new());
        let pushes = {
            let (bells_of, ended) = (Arc::clone(&self.bells_of), Arc::clone(&ended));
            move |push| ring(&bells_of, &ended, &push)
        };
        let config =
            ConnectionConfig { pushes: Some(Arc::new(pushes)), ..ConnectionConfig::new(self.channels.timeout, 1) };
        let refused = |_| CommandError::new(StoreErrorKind::Rejected, true, "the address cannot be used");
        let source = self.channels.connector.source(self.node.as_ref(), &config).map_err(refused)?;
        let limit = source.connect_limit(self.channels.timeout);
        let connection = timeout(limit, source.connect()).await.map_err(|_| CommandError::timeout())??;
        timeout(limit, self.subscribe(&connection)).await.map_err(|_| CommandError::timeout())??;
        // The task may have missed nudges before the subscription, so each bell rings once.
        self.bells.iter().for_each(|bell| bell.ring_for_all());
        while timeout(PING_EVERY, ended.notified()).await.is_err() {
            timeout(self.channels.timeout, check_role(connection.clone()))
                .await
                .map_err(|_| CommandError::timeout())??;
        }
        Ok(())
    }

    /// Subscribes with a separate command for each channel.
    ///
    /// If one command names several channels, the server sends several confirmations, but redis 1.8
    /// expects one answer to each command, except in its cluster connection. No upstream issue
    /// exists. To reproduce, send `SSUBSCRIBE a b`, then `PING`. Use one command when `PING` gets
    /// its own answer.
    async fn subscribe(&self, connection: &MultiplexedConnection) -> Result<(), CommandError> {
        let subscriptions = self.bells_of.keys().map(|channel| {
            let mut connection = connection.clone();
            async move { redis::cmd("SSUBSCRIBE").arg(channel).query_async::<Value>(&mut connection).await }
        });
        try_join_all(subscriptions).await?;
        Ok(())
    }
}

/// Handles a push: a nudge, or the end of the subscription. The task that reads the connection
/// calls this function.
fn ring(bells: &Bells, ended: &Notify, push: &PushInfo) {
    match push.kind {
        PushKind::SMessage => {
            let channel = push.data.first().and_then(|channel| match channel {
                Value::BulkString(name) => std::str::from_utf8(name).ok(),
                _ => None,
            });
            if let Some((bell, bucket)) = channel.and_then(|channel| bells.get(channel)) {
                bell.ring(*bucket);
            }
        }
        // The server ends the subscription if the slot moved to another node.
        PushKind::Disconnection | PushKind::SUnsubscribe => ended.notify_one(),
        _ => {}
    }
}

/// Returns an error if the connection is dead, or leads to a server that is no longer a primary.
async fn check_role(mut connection: MultiplexedConnection) -> Result<(), CommandError> {
    let answer = redis::cmd("ROLE").query_async::<Value>(&mut connection).await?;
    if Reply::of(answer)?.text()? == "master" {
        Ok(())
    } else {
        Err(CommandError::untrusted("the server is not a primary"))
    }
}

//! Nudges: at every entry of a log its script publishes to the bucket's channel. Subscribers then
//! read the log at once instead of at the next tick.
//!
//! Nothing rests on them: a nudge may be lost, late or spurious. They come over a connection that
//! carries nothing else, because redis 1.8 can take a push for the answer to a command. In a
//! cluster there is one connection to each primary that the feeds have found. A bucket that moves
//! is without nudges for a second or two.

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
use crate::store::redis::client::router::cluster::Primaries;
use crate::{
    clock::jittered,
    error::StoreErrorKind,
    store::{
        bell::Bell,
        redis::{
            Inner,
            client::{
                answer::{error::Failure, reply::Reply},
                connections::target::{Address, Terms},
                router::Servers,
            },
        },
    },
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a refused subscription: a missing right or protocol is seldom granted soon.
const PAUSE_IF_REFUSED: Duration = Duration::from_secs(60);
/// The longest time for which a dead subscription goes unnoticed, except for the timeout.
const PING_EVERY: Duration = Duration::from_secs(1);
/// The interval at which each primary of a cluster gets a subscription to its buckets.
#[cfg(feature = "cluster")]
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A task that rings the bells until it is dropped.
pub(crate) struct Subscription(JoinHandle<()>);

impl Subscription {
    /// Starts the task. Returns `None` if there can be no subscription.
    pub(crate) fn start(inner: &Arc<Inner>, servers: &Arc<Servers>, bells: Vec<Arc<Bell>>) -> Option<Self> {
        if !inner.origin.takes_subscriptions() {
            #[cfg(feature = "tracing")]
            tracing::info!("no nudges from Redis: the address behind the application's own pool is unknown");
            return None;
        }
        let Ok(runtime) = Handle::try_current() else {
            #[cfg(feature = "tracing")]
            tracing::warn!("no nudges from Redis: there is no Tokio runtime to receive them on");
            return None;
        };
        let (inner, servers) = (Arc::clone(inner), Arc::clone(servers));
        let task = async move {
            match &*servers {
                Servers::One(_) => Ringer::new(inner, None, bells).run().await,
                #[cfg(feature = "cluster")]
                Servers::Cluster(primaries) => ring_for_each(&inner, primaries, &bells).await,
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

/// Keeps a subscription to each primary, each in a task of its own: one that hangs affects only its
/// own buckets.
#[cfg(feature = "cluster")]
async fn ring_for_each(inner: &Arc<Inner>, primaries: &Primaries, bells: &[Arc<Bell>]) {
    let mut subscriptions: HashMap<(Address, Vec<u32>), Subscription> = HashMap::new();
    loop {
        // A failure is reported to the readers.
        let places = primaries.places(Instant::now() + inner.timeout).await.unwrap_or_default();
        subscriptions.retain(|(address, buckets), _| places.get(address) == Some(buckets));
        for (address, buckets) in places {
            subscriptions.entry((address, buckets)).or_insert_with_key(|(address, buckets)| {
                let is_its = |bell: &&Arc<Bell>| bell.buckets().iter().all(|bucket| buckets.contains(bucket));
                let its = bells.iter().filter(is_its).cloned().collect();
                let ringer = Ringer::new(Arc::clone(inner), Some(address.clone()), its);
                Subscription(tokio::spawn(async move { ringer.run().await }))
            });
        }
        sleep(LOOK_EVERY).await;
    }
}

type Channels = HashMap<String, (Arc<Bell>, u32)>;

struct Ringer {
    inner: Arc<Inner>,
    /// The node of a cluster.
    node: Option<Address>,
    /// The bell and the bucket of each channel.
    channels: Arc<Channels>,
    bells: Vec<Arc<Bell>>,
}

impl Ringer {
    fn new(inner: Arc<Inner>, node: Option<Address>, bells: Vec<Arc<Bell>>) -> Self {
        let channels = bells.iter().flat_map(|bell| {
            bell.buckets().iter().map(|bucket| (inner.keys.channel(*bucket), (Arc::clone(bell), *bucket)))
        });
        Self { channels: Arc::new(channels.collect()), inner, node, bells }
    }

    /// Subscribes for ever.
    async fn run(self) {
        let (mut pause, mut told) = (SHORTEST_PAUSE, false);
        loop {
            let begun = Instant::now();
            let outcome = self.listen().await;
            if begun.elapsed() > LONGEST_PAUSE {
                pause = SHORTEST_PAUSE;
            }
            match outcome {
                Err(failure) if failure.kind == StoreErrorKind::Rejected => {
                    if !told {
                        #[cfg(feature = "tracing")]
                        tracing::warn!(
                            error = ?crate::error::StoreError::from(failure),
                            "no nudges from Redis: the subscription was refused; revocations are read at every tick all the same"
                        );
                    }
                    told = true;
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
    async fn listen(&self) -> Result<(), Failure> {
        // Each connection has its own, so that the end of one is not taken for the end of the next.
        let ended = Arc::new(Notify::new());
        let pushes = {
            let (channels, ended) = (Arc::clone(&self.channels), Arc::clone(&ended));
            move |push| ring(&channels, &ended, &push)
        };
        let terms = Terms { pushes: Some(Arc::new(pushes)), ..Terms::new(self.inner.timeout, 1) };
        let refused = |_| Failure::new(StoreErrorKind::Rejected, true, "an address that cannot be used");
        let source = self.inner.origin.source(self.node.as_ref(), &terms).map_err(refused)?;
        let limit = self.inner.timeout.saturating_mul(if source.has_many_addresses() { 4 } else { 1 });
        let link = timeout(limit, source.connect()).await.map_err(|_| Failure::timeout())??;
        timeout(limit, self.subscribe(&link)).await.map_err(|_| Failure::timeout())??;
        // Messages that were published before are not pushed.
        self.bells.iter().for_each(|bell| bell.ring_for_all());
        while timeout(PING_EVERY, ended.notified()).await.is_err() {
            timeout(self.inner.timeout, is_well(link.clone())).await.map_err(|_| Failure::timeout())??;
        }
        Ok(())
    }

    /// Subscribes to one channel at a time: redis 1.8 expects one answer a command.
    async fn subscribe(&self, link: &MultiplexedConnection) -> Result<(), Failure> {
        let subscriptions = self.channels.keys().map(|channel| {
            let mut link = link.clone();
            async move { redis::cmd("SSUBSCRIBE").arg(channel).query_async::<Value>(&mut link).await }
        });
        try_join_all(subscriptions).await?;
        Ok(())
    }
}

/// Handles a push. Runs in the task that reads the connection.
fn ring(channels: &Channels, ended: &Notify, push: &PushInfo) {
    match push.kind {
        PushKind::SMessage => {
            let channel = push.data.first().and_then(|channel| match channel {
                Value::BulkString(name) => std::str::from_utf8(name).ok(),
                _ => None,
            });
            if let Some((bell, bucket)) = channel.and_then(|channel| channels.get(channel)) {
                bell.ring(*bucket);
            }
        }
        // The server ends the subscription if the slot moved to another node.
        PushKind::Disconnection | PushKind::SUnsubscribe => ended.notify_one(),
        _ => {}
    }
}

/// Returns an error if the connection is dead, or leads to a server that is no longer a primary.
async fn is_well(mut link: MultiplexedConnection) -> Result<(), Failure> {
    let answer = redis::cmd("ROLE").query_async::<Value>(&mut link).await?;
    if Reply::of(answer)?.text()? == "master" { Ok(()) } else { Err(Failure::untrusted("not a primary")) }
}

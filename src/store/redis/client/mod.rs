//! A client of the Redis servers that store the buckets. It contains no logic of sessions.
//!
//! | module | contents |
//! |--|--|
//! | `lookout`, `prover`, `pubsub` | background tasks: server settings, proofs, nudges |
//! | `readiness` | the result of the checks that a server must pass before its first use |
//! | `Client` | sends each call to the server of its bucket |
//! | `cluster` | finds the primary of each bucket in a cluster |
//! | `connections` | connections to one server |
//! | `failover` | decides if the store may use an answer (if so, the answer *counts*) |
//! | `sentinel` | asks the sentinels for the primary, and demands a majority |
//! | `answer` | the parts of a server's answer, and the errors of commands |
//! | `credentials` | the user and password, from a provider of the application |
//!
//! Each module imports only modules below it. Here a **bucket** is a number. All keys of a bucket
//! contain its number as their hash tag. In a cluster, the hash tag determines the slot.

pub(crate) mod address;
pub(crate) mod answer;
pub(crate) mod cause;
#[cfg(feature = "cluster")]
mod cluster;
pub(crate) mod connect_error;
pub(crate) mod connections;
pub(crate) mod credentials;
pub(crate) mod failover;
pub(crate) mod lookout;
pub(crate) mod prover;
pub(crate) mod pubsub;
pub(crate) mod readiness;
#[cfg(feature = "sentinel")]
mod sentinel;
mod server_time;

use std::{fmt, sync::Arc, time::Duration};

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

#[cfg(feature = "cluster")]
use self::cluster::Cluster;
use self::{
    answer::{CommandError, Reply},
    connections::{
        Connections, batch::StrictAnswer, config::ConnectionConfig, connection::Checkout, connector::Connector,
    },
    failover::guard::Guard,
    server_time::ServerTime,
};
use crate::{
    clock::Timestamp,
    error::{ConfigError, StoreError},
};

/// The maximum number of times that the client repeats one call after `MOVED`.
const MAX_MOVES: u32 = 3;

/// A client of the servers that store the buckets.
pub(crate) struct Client {
    servers: Servers,
    /// The number of connections to each server.
    connections: usize,
    connector: Arc<Connector>,
    guard: Arc<Guard>,
    time: Arc<ServerTime>,
    timeout: Duration,
    buckets: u32,
}

/// Connections to every server that stores buckets.
enum Servers {
    One(Connections),
    #[cfg(feature = "cluster")]
    Cluster(Box<Cluster>),
}

/// The number of times that a call was repeated, by cause.
#[derive(Default)]
pub(crate) struct Repeats {
    broken: usize,
    moved: u32,
}

#[cfg_attr(
    not(feature = "cluster"),
    allow(clippy::unused_async, unused_variables, reason = "only a cluster has moves")
)]
impl Client {
    /// Creates a client without connections. The first calls make them.
    pub(crate) fn new(connector: Arc<Connector>, config: &ConnectionConfig, buckets: u32) -> Result<Self, ConfigError> {
        let time = Arc::new(ServerTime::new(config.timeout));
        Self::with_time(connector, config, buckets, time)
    }

    /// Creates a second client with its own connections. Shares the guard and the server time.
    pub(crate) fn beside(&self, config: &ConnectionConfig) -> Result<Self, ConfigError> {
        Self::with_time(Arc::clone(&self.connector), config, self.buckets, Arc::clone(&self.time))
    }

    fn with_time(
        connector: Arc<Connector>,
        config: &ConnectionConfig,
        buckets: u32,
        time: Arc<ServerTime>,
    ) -> Result<Self, ConfigError> {
        let (guard, timeout, connections) = (Arc::clone(connector.guard()), config.timeout, config.connections.max(1));
        let servers = match &connector {
            #[cfg(feature = "cluster")]
            connector if connector.is_cluster() => {
                Servers::Cluster(Box::new(Cluster::new(Arc::clone(connector), config.clone(), buckets)?))
            }
            connector => Servers::One(Connections::new(connector.source(None, config)?, config, &guard)),
        };
        Ok(Self { servers, connections, connector, guard, time, timeout, buckets })
    }

    /// Returns the time limit of a call.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the deadline of a call that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Returns the guard, which decides if the store may use an answer.
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Returns the connector, which creates the sources of connections.
    pub(crate) fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Returns the estimate of the server's time. Does no I/O.
    pub(crate) fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// Updates the estimate of the server's time from an answer that has just arrived.
    pub(crate) fn learn_time(&self, answered: Timestamp) {
        self.time.learn(answered);
    }

    /// Returns a connection to the server of a bucket.
    pub(crate) async fn checkout(&self, bucket: u32, deadline: Instant) -> Result<Checkout, CommandError> {
        match &self.servers {
            Servers::One(connections) => connections.checkout(deadline).await,
            #[cfg(feature = "cluster")]
            Servers::Cluster(cluster) => cluster.checkout(bucket, deadline).await,
        }
    }

    /// Sends reads of one bucket, in one batch with the simultaneous reads of other callers.
    /// Returns an error if [`Checkout::judge`] rejects the answer.
    pub(crate) async fn strict_read(
        &self,
        bucket: u32,
        reads: &[Cmd],
        deadline: Instant,
    ) -> Result<(StrictAnswer, Checkout), CommandError> {
        let ask = |checkout: Checkout| async move {
            let answer = checkout.strict_read(bucket, reads.to_vec(), deadline).await?;
            Ok((answer, checkout))
        };
        self.repeatedly(bucket, deadline, ask).await
    }

    /// Sends a pipeline of reads of one bucket, without a batch. Does not judge the answer.
    pub(crate) async fn read(
        &self,
        bucket: u32,
        pipeline: &Pipeline,
        deadline: Instant,
    ) -> Result<(Vec<Value>, Checkout), CommandError> {
        let ask = |checkout: Checkout| async move {
            let values = checkout.pipeline(pipeline, deadline).await?;
            Ok((values, checkout))
        };
        self.repeatedly(bucket, deadline, ask).await
    }

    /// Calls `ask` with a connection to the bucket's server. Repeats a failed call while
    /// [`may_repeat`](Self::may_repeat) returns true.
    async fn repeatedly<T, F>(
        &self,
        bucket: u32,
        deadline: Instant,
        ask: impl Fn(Checkout) -> F,
    ) -> Result<T, CommandError>
    where
        F: Future<Output = Result<T, CommandError>>,
    {
        let mut repeats = Repeats::default();
        loop {
            let outcome = match self.checkout(bucket, deadline).await {
                Ok(checkout) => ask(checkout).await,
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if self.may_repeat(bucket, &error, true, &mut repeats, deadline).await => {}
                outcome => return outcome,
            }
        }
    }

    /// Returns true if the caller should repeat a failed call. There are two cases:
    ///
    /// * A server of a cluster answered `MOVED`. That server did not run the call.
    /// * The connection of a `repeatable` call broke. A call may repeat once for each connection,
    ///   because a restart of the server breaks all connections.
    pub(crate) async fn may_repeat(
        &self,
        bucket: u32,
        error: &CommandError,
        repeatable: bool,
        repeats: &mut Repeats,
        deadline: Instant,
    ) -> bool {
        if error.broken && repeatable && repeats.broken < self.connections {
            repeats.broken += 1;
            return true;
        }
        if error.is_elsewhere() && repeats.moved < MAX_MOVES {
            repeats.moved += 1;
            return self.follow(bucket, deadline).await;
        }
        false
    }

    /// Asks the server of bucket 0 for its time. Returns the time, and updates the estimate.
    pub(crate) async fn ping(&self, deadline: Instant) -> Result<Timestamp, StoreError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("TIME");
        let (values, checkout) = self.read(0, &pipeline, deadline).await?;
        let outcome = Reply::of(Value::Array(values)).and_then(|mut reply| reply.array()?.server_time());
        let now = outcome.inspect_err(|_| checkout.discard())?;
        self.time.learn(now);
        Ok(now)
    }

    /// Returns one bucket of each server.
    pub(crate) async fn one_bucket_each(&self, deadline: Instant) -> Result<Vec<u32>, CommandError> {
        match &self.servers {
            Servers::One(_) => Ok(vec![0]),
            #[cfg(feature = "cluster")]
            Servers::Cluster(cluster) => {
                let places = cluster.places(deadline).await?;
                Ok(places.into_values().filter_map(|buckets| buckets.first().copied()).collect())
            }
        }
    }

    /// Asks the servers of a cluster for a bucket's new primary. Returns false without a cluster.
    async fn follow(&self, bucket: u32, deadline: Instant) -> bool {
        match &self.servers {
            Servers::One(_) => false,
            #[cfg(feature = "cluster")]
            Servers::Cluster(cluster) => {
                cluster.follow(bucket, deadline).await;
                true
            }
        }
    }
}

impl fmt::Debug for Client {
    /// Formats the client without URL and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("timeout", &self.timeout)
            .field("connections_each", &self.connections)
            .finish_non_exhaustive()
    }
}

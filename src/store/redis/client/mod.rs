//! A client of the servers that hold the buckets. It knows no sessions.
//!
//! | room | contents |
//! |--|--|
//! | `answer` | the parts of a server's answer, and the errors of commands |
//! | `sentinel` | the sentinels, and the primary that a majority of them names |
//! | `failover` | the conditions under which an answer counts |
//! | `connections` | connections to one server |
//! | `router` | the server of each bucket |
//!
//! Imports point from the last room to the first. A **bucket** is a number here: the hash tag of
//! its keys, and so the slot of a cluster.

pub(crate) mod address;
pub(crate) mod answer;
pub(crate) mod connect_error;
pub(crate) mod connections;
pub(crate) mod failover;
mod lookout;
mod prover;
pub(crate) mod pubsub;
pub(crate) mod router;
#[cfg(feature = "sentinel")]
mod sentinel;
mod server_time;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use self::{
    answer::{CommandError, Reply},
    connect_error::ConnectError,
    connections::{
        batch::StrictAnswer, config::ConnectionConfig, connection::Checkout, connector::Connector, target::Target,
    },
    failover::{deployment::Deployment, guard::Guard},
    lookout::Lookout,
    prover::Prover,
    router::{Repeats, Router},
    server_time::ServerTime,
};
use crate::{
    clock::Timestamp,
    error::{ConfigError, StoreError},
};

/// The configuration of a [`Client`].
pub(crate) struct ClientConfig {
    pub(crate) target: Target,
    pub(crate) deployment: Deployment,
    /// The time limit of a call.
    pub(crate) timeout: Duration,
    /// The count of connections to each server.
    pub(crate) connections: usize,
    pub(crate) buckets: u32,
    /// Returns the key of a bucket that never has a time to live.
    pub(crate) check_key: Box<dyn Fn(u32) -> String + Send + Sync>,
    /// The key of the writes that replicas acknowledge.
    pub(crate) proof_key: String,
}

/// A client of the servers that hold the buckets.
pub(crate) struct Client {
    connector: Arc<Connector>,
    router: Arc<Router>,
    time: ServerTime,
    timeout: Duration,
    buckets: u32,
    /// Reads the settings of the servers. Set once the client serves.
    lookout: OnceLock<Lookout>,
    /// Asks the replicas of the server for proofs, if answers need them.
    prover: Option<Prover>,
}

impl Client {
    /// Creates a client. It makes no connection before the first call.
    pub(crate) fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        let ClientConfig { target, deployment, timeout, connections, buckets, check_key, proof_key } = config;
        let guard = Guard::new(check_key, deployment);
        #[cfg(feature = "sentinel")]
        let guard = guard.with_watch(connections::connector::watch(&target, deployment, timeout)?);
        let connector = Arc::new(Connector::new(target, guard));
        let prover = Prover::new(&connector, proof_key, timeout)?;
        Ok(Self {
            router: Arc::new(Router::new(&connector, ConnectionConfig::new(timeout, connections), buckets)?),
            connector,
            time: ServerTime::new(timeout),
            timeout,
            buckets,
            lookout: OnceLock::new(),
            prover,
        })
    }

    /// Returns the time limit of a call.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns the deadline of a call that begins now.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Returns the rules by which answers count.
    pub(crate) fn guard(&self) -> &Arc<Guard> {
        self.connector.guard()
    }

    /// Returns the sources of connections.
    pub(crate) fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Returns the router of the calls.
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    /// Creates a router with connections of its own, under the same guard.
    pub(crate) fn router_with(&self, config: ConnectionConfig) -> Result<Router, ConfigError> {
        Router::new(&self.connector, config, self.buckets)
    }

    /// Returns the server's time as best known without asking.
    pub(crate) fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// Learns the server's time from an answer that came just now.
    pub(crate) fn learn_time(&self, answered: Timestamp) {
        self.time.learn(answered);
    }

    /// Starts the task that asks the replicas for proofs, on the present runtime if it has ended.
    pub(crate) fn keep_proving(&self) {
        self.prover.iter().for_each(Prover::keep_at_work);
    }

    /// Waits for the first proof, if answers need proofs.
    pub(crate) async fn begin_proving(&self) -> Result<(), ConnectError> {
        match &self.prover {
            Some(prover) => prover.begin().await,
            None => Ok(()),
        }
    }

    /// Reads the settings of the servers, and notes them in the guard.
    pub(crate) async fn look(&self) -> Result<(), StoreError> {
        self.guard().note_settings(lookout::look(&self.router, self.timeout).await?);
        Ok(())
    }

    /// Starts the task that reads the settings of the servers at intervals, on the present runtime.
    pub(crate) fn keep_looking(&self) {
        let _ = self.lookout.set(Lookout::start(&self.router, self.timeout));
    }

    /// Returns a section of `INFO` from each server; `None` without the right to it.
    pub(crate) async fn info(&self, section: &str) -> Result<Option<Vec<String>>, StoreError> {
        Ok(lookout::info(&self.router, self.timeout, section).await?)
    }

    /// Returns the policy by which a server evicts keys; `None` if all have `noeviction`, or if
    /// there is no right to `INFO`.
    pub(crate) async fn eviction_policy(&self) -> Result<Option<String>, StoreError> {
        Ok(lookout::eviction_policy(&self.router, self.timeout).await?)
    }

    /// Returns a connection to the server of a bucket.
    pub(crate) async fn checkout(&self, bucket: u32, deadline: Instant) -> Result<Checkout, CommandError> {
        self.router.checkout(bucket, deadline).await
    }

    /// Sends reads of one bucket, in one batch with simultaneous ones. An answer that does not
    /// count is an error.
    pub(crate) async fn strict_read(
        &self,
        bucket: u32,
        reads: &[Cmd],
        deadline: Instant,
    ) -> Result<(StrictAnswer, Checkout), CommandError> {
        self.router.strict_read(bucket, reads, deadline).await
    }

    /// Returns true if a call that failed is to be made again: see [`Router::may_repeat`].
    pub(crate) async fn may_repeat(
        &self,
        bucket: u32,
        error: &CommandError,
        repeatable: bool,
        repeats: &mut Repeats,
        deadline: Instant,
    ) -> bool {
        self.router.may_repeat(bucket, error, repeatable, repeats, deadline).await
    }

    /// Asks the server of the first bucket for its time.
    pub(crate) async fn ping(&self, deadline: Instant) -> Result<Timestamp, StoreError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("TIME");
        let (values, checkout) = self.router.read(0, &pipeline, deadline).await?;
        let outcome = Reply::of(Value::Array(values)).and_then(|mut reply| reply.array()?.server_time());
        let now = outcome.inspect_err(|_| checkout.discard())?;
        self.time.learn(now);
        Ok(now)
    }
}

impl fmt::Debug for Client {
    /// Formats it without URL and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).field("router", &self.router).finish_non_exhaustive()
    }
}

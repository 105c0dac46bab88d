//! The router: finds the server of a bucket, which is one server or a primary of a cluster.

#[cfg(feature = "cluster")]
pub(crate) mod cluster;
#[cfg(feature = "cluster")]
pub(crate) mod topology;

use std::{fmt, sync::Arc};

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

#[cfg(feature = "cluster")]
use crate::store::redis::client::router::cluster::Cluster;
use crate::{
    error::ConfigError,
    store::redis::client::{
        answer::CommandError,
        connections::{
            Connections, batch::StrictAnswer, config::ConnectionConfig, connection::Checkout, connector::Connector,
        },
        failover::guard::Guard,
    },
};

/// The highest count of moves of a cluster's slot that one call follows.
const MAX_MOVES: u32 = 3;

/// Connections to every server that holds buckets.
pub(crate) enum Router {
    One(Connections),
    #[cfg(feature = "cluster")]
    Cluster(Box<Cluster>),
}

/// The count of repetitions of a call, by cause.
#[derive(Default)]
pub(crate) struct Repeats {
    broken: usize,
    moved: u32,
}

#[cfg_attr(
    not(feature = "cluster"),
    allow(clippy::unused_async, unused_variables, reason = "only a cluster has moves")
)]
impl Router {
    /// Creates the router. It makes no connection before a call needs one.
    pub(crate) fn new(connector: &Arc<Connector>, config: ConnectionConfig, buckets: u32) -> Result<Self, ConfigError> {
        #[cfg(feature = "cluster")]
        if connector.is_cluster() {
            return Ok(Self::Cluster(Box::new(Cluster::new(Arc::clone(connector), config, buckets)?)));
        }
        Ok(Self::One(Connections::new(connector.source(None, &config)?, &config, connector.guard())))
    }

    /// Returns a connection to the server of a bucket.
    pub(crate) async fn checkout(&self, bucket: u32, deadline: Instant) -> Result<Checkout, CommandError> {
        match self {
            Self::One(connections) => connections.checkout(deadline).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.checkout(bucket, deadline).await,
        }
    }

    /// Sends reads of one bucket, in one batch with simultaneous ones. An answer that does not
    /// count is an error: see [`Checkout::judge`].
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

    /// Sends reads of one bucket in one go, and nothing beside them.
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

    /// Runs `ask` on a bucket's server, and repeats it where that helps. `ask` must be repeatable.
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

    /// Returns true if a call that failed is to be made again. That is so if a cluster's node did
    /// not run it, being the wrong one. For a `repeatable` call it is also so if the connection
    /// broke, once for each connection. After a restart of the server all of them are broken.
    pub(crate) async fn may_repeat(
        &self,
        bucket: u32,
        error: &CommandError,
        repeatable: bool,
        repeats: &mut Repeats,
        deadline: Instant,
    ) -> bool {
        if error.broken && repeatable && repeats.broken < self.count() {
            repeats.broken += 1;
            return true;
        }
        if error.is_elsewhere() && repeats.moved < MAX_MOVES {
            repeats.moved += 1;
            return self.follow(bucket, deadline).await;
        }
        false
    }

    /// Returns one bucket of each server.
    pub(crate) async fn one_bucket_each(&self, deadline: Instant) -> Result<Vec<u32>, CommandError> {
        match self {
            Self::One(_) => Ok(vec![0]),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => {
                let places = cluster.places(deadline).await?;
                Ok(places.into_values().filter_map(|buckets| buckets.first().copied()).collect())
            }
        }
    }

    /// Finds the node to which a bucket has moved. Returns false if there is only one server.
    async fn follow(&self, bucket: u32, deadline: Instant) -> bool {
        match self {
            Self::One(_) => false,
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => {
                cluster.follow(bucket, deadline).await;
                true
            }
        }
    }

    /// Drops every connection of the store, and voids all answers to earlier questions. Sentinels,
    /// or the nodes of a cluster, are asked anew which server is the primary.
    ///
    /// To be called after this node was frozen for longer than its staleness: its data about the
    /// servers are as old as that. One call serves requests and feeds, which share the guard.
    pub(crate) fn suspect(&self) {
        self.guard().suspect();
    }

    /// Returns the rules by which answers count.
    pub(crate) fn guard(&self) -> &Arc<Guard> {
        match self {
            Self::One(connections) => connections.guard(),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.guard(),
        }
    }

    /// Returns the highest count of connections to one server.
    fn count(&self) -> usize {
        match self {
            Self::One(connections) => connections.count(),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.count(),
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("connections_each", &self.count()).finish_non_exhaustive()
    }
}

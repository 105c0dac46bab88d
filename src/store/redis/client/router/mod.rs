//! The servers that hold the buckets: one, or the primaries of a cluster.

#[cfg(feature = "cluster")]
pub(crate) mod cluster;
#[cfg(feature = "cluster")]
pub(crate) mod topology;

use std::{fmt, sync::Arc};

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

#[cfg(feature = "cluster")]
use crate::store::redis::client::router::cluster::Primaries;
use crate::{
    error::ConfigError,
    store::redis::client::{
        answer::error::Failure,
        connections::{
            Connections, Lease,
            batch::StrictAnswer,
            target::{Origin, Terms},
        },
    },
};

/// The most moves of a cluster's slot that one call follows.
const MAX_MOVES: u32 = 3;

/// Connections to every server that holds buckets.
pub(crate) enum Servers {
    One(Connections),
    #[cfg(feature = "cluster")]
    Cluster(Box<Primaries>),
}

/// The count of repetitions of a call, by cause.
#[derive(Default)]
pub(crate) struct Repeats {
    broken: usize,
    moved: u32,
}

#[cfg_attr(
    not(feature = "cluster"),
    allow(clippy::unused_async, unused_variables, reason = "only a cluster is asked where a bucket stands")
)]
impl Servers {
    pub(crate) fn new(origin: &Arc<Origin>, terms: Terms, buckets: u32) -> Result<Self, ConfigError> {
        #[cfg(feature = "cluster")]
        if origin.is_cluster() {
            return Ok(Self::Cluster(Box::new(Primaries::new(Arc::clone(origin), terms, buckets)?)));
        }
        Ok(Self::One(Connections::new(origin.source(None, &terms)?, &terms, origin.guard())))
    }

    /// Returns a connection to the server of a bucket.
    pub(crate) async fn lease(&self, bucket: u32, deadline: Instant) -> Result<Lease, Failure> {
        match self {
            Self::One(connections) => connections.lease(deadline).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(primaries) => primaries.lease(bucket, deadline).await,
        }
    }

    /// Asks for reads of one bucket, in one batch with simultaneous ones. An answer that does not
    /// count is an error: see [`Lease::judge`].
    pub(crate) async fn strict_read(
        &self,
        bucket: u32,
        reads: &[Cmd],
        deadline: Instant,
    ) -> Result<(StrictAnswer, Lease), Failure> {
        let ask = |lease: Lease| async move {
            let answer = lease.strict_read(bucket, reads.to_vec(), deadline).await?;
            Ok((answer, lease))
        };
        self.repeatedly(bucket, deadline, ask).await
    }

    /// Sends reads of one bucket in one go, and nothing beside them.
    pub(crate) async fn read(
        &self,
        bucket: u32,
        pipeline: &Pipeline,
        deadline: Instant,
    ) -> Result<(Vec<Value>, Lease), Failure> {
        let ask = |mut lease: Lease| async move {
            let values = lease.pipeline(pipeline, deadline).await?;
            Ok((values, lease))
        };
        self.repeatedly(bucket, deadline, ask).await
    }

    /// Runs `ask` on a bucket's server, and repeats it where that helps. `ask` must be repeatable.
    async fn repeatedly<T, F>(&self, bucket: u32, deadline: Instant, ask: impl Fn(Lease) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut repeats = Repeats::default();
        loop {
            let outcome = match self.lease(bucket, deadline).await {
                Ok(lease) => ask(lease).await,
                Err(failure) => Err(failure),
            };
            match outcome {
                Err(failure) if self.may_repeat(bucket, &failure, true, &mut repeats, deadline).await => {}
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
        failure: &Failure,
        repeatable: bool,
        repeats: &mut Repeats,
        deadline: Instant,
    ) -> bool {
        if failure.broken && repeatable && repeats.broken < self.count() {
            repeats.broken += 1;
            return true;
        }
        if failure.is_elsewhere() && repeats.moved < MAX_MOVES {
            repeats.moved += 1;
            return self.follow(bucket, deadline).await;
        }
        false
    }

    /// Returns one bucket of each server.
    pub(crate) async fn one_bucket_each(&self, deadline: Instant) -> Result<Vec<u32>, Failure> {
        match self {
            Self::One(_) => Ok(vec![0]),
            #[cfg(feature = "cluster")]
            Self::Cluster(primaries) => {
                let places = primaries.places(deadline).await?;
                Ok(places.into_values().filter_map(|buckets| buckets.first().copied()).collect())
            }
        }
    }

    /// Finds the node to which a bucket has moved. Returns false if there is only one server.
    async fn follow(&self, bucket: u32, deadline: Instant) -> bool {
        match self {
            Self::One(_) => false,
            #[cfg(feature = "cluster")]
            Self::Cluster(primaries) => {
                primaries.follow(bucket, deadline).await;
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
        match self {
            Self::One(connections) => connections.guard().suspect(),
            #[cfg(feature = "cluster")]
            Self::Cluster(primaries) => primaries.guard().suspect(),
        }
    }

    /// Returns the most connections to one server.
    fn count(&self) -> usize {
        match self {
            Self::One(connections) => connections.count(),
            #[cfg(feature = "cluster")]
            Self::Cluster(primaries) => primaries.count(),
        }
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("connections_each", &self.count()).finish_non_exhaustive()
    }
}

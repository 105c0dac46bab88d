//! The parts of a store, as its operations take them.

use std::sync::Arc;

use tokio::time::Instant;

use crate::store::redis::{
    client::{Client, lookout::Lookout, prover::Prover},
    layout::{demands::Demands, encoding::whole_millis, keys::Keyspace},
};

/// The parts of a store, which its clones and its feeds share.
pub(crate) struct Parts {
    pub(crate) client: Arc<Client>,
    pub(crate) keyspace: Keyspace,
    pub(crate) demands: Demands,
    /// Asks the replicas of the server for proofs, if answers need them.
    pub(crate) prover: Option<Prover>,
    /// Reads the settings of the servers, once the store serves.
    pub(crate) _lookout: Option<Lookout>,
}

/// The parts that an operation takes, and its deadline.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) client: &'a Client,
    pub(crate) keyspace: &'a Keyspace,
    pub(crate) demands: &'a Demands,
    pub(crate) deadline: Instant,
}

impl Parts {
    /// Returns the context of an operation with this deadline. Restarts the task that asks replicas
    /// for proofs, if the runtime has ended on which it ran.
    pub(crate) fn until(&self, deadline: Instant) -> Context<'_> {
        self.prover.iter().for_each(Prover::keep_at_work);
        Context { client: &self.client, keyspace: &self.keyspace, demands: &self.demands, deadline }
    }
}

impl Context<'_> {
    /// Returns the longest time for which this node may believe a server that was replaced, in ms;
    /// 0 if it is unknown.
    pub(crate) fn failover_millis(&self) -> u64 {
        self.client.guard().bound().map_or(0, whole_millis)
    }
}

//! One connection, and the state that its calls share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tokio::runtime::Handle;

use crate::store::{
    ServerId,
    redis::client::{
        address::Agreement,
        answer::Moment,
        connections::{batch::ReadBatch, liveness::Liveness},
        failover::guard::Guard,
    },
};

/// The number of the next connection.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A connection that was just made, and its server.
#[derive(Clone)]
pub(super) struct NewConnection {
    pub(super) multiplexed: MultiplexedConnection,
    /// The runtime on which it was made, and on which its driver runs.
    pub(super) home: Handle,
    pub(super) server: Option<ServerId>,
    /// The agreement of the sentinels by which it was made.
    pub(super) agreement: Option<Agreement>,
    /// The guard's count of suspicions when it began to be made.
    pub(super) suspicions: u64,
}

/// A connection. Clones are the same connection.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) multiplexed: MultiplexedConnection,
    pub(super) liveness: Arc<Liveness>,
    /// The time since which it exists.
    pub(super) made: Moment,
    /// The strict reads that are sent over it together.
    pub(super) batch: Arc<ReadBatch>,
    pub(super) server: Option<ServerId>,
    /// The agreement of the sentinels by which it was made.
    pub(super) agreement: Option<Arc<Agreement>>,
    /// The guard's count of suspicions when it began to be made.
    pub(super) suspicions: u64,
    /// No other connection of this process has this number.
    pub(super) number: u64,
}

impl Connection {
    /// Creates a connection without calls.
    pub(super) fn new(NewConnection { multiplexed, home, server, agreement, suspicions }: NewConnection) -> Self {
        let liveness = Arc::new(Liveness::new());
        let batch = Arc::new(ReadBatch::new(multiplexed.clone(), home, Arc::clone(&liveness)));
        Self {
            multiplexed,
            liveness,
            made: Moment::now(),
            batch,
            server,
            agreement: agreement.map(Arc::new),
            suspicions,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Returns whether a call may use it.
    pub(super) fn is_usable(&self, patience: Duration, guard: &Guard) -> bool {
        self.suspicions == guard.suspicions()
            && !self.liveness.is_silent(patience)
            && !guard.names_another(self.agreement.as_deref())
    }

    /// Returns whether both are the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.liveness, &other.liveness)
    }
}

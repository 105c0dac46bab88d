//! The primaries of a cluster. Each primary has separate connections, so a primary that hangs or is
//! dead affects only its own buckets.
//!
//! In this module a *node* is a server of the cluster. A *query* asks the nodes for the primary of
//! each bucket (the *topology*). A **doubt** about a primary begins when the primary does not
//! answer, or answers `MOVED` or another error about its state.
//!
//! * The first call starts a query, and so does a call to a primary that is in doubt. The next
//!   query that succeeds ends the doubt.
//! * All callers share one query at a time.
//! * During a pause after each query, calls use the primaries that are already known. If a query
//!   ends within 2 s of the query before it, the pause doubles, up to 1 s.
//! * After `MOVED` the known primary is wrong, so the caller waits only for the shortest pause.
//!
//! This crate does not use the cluster connection of redis. While one primary hangs, that
//! connection delays calls to all other primaries by more than 1 s at a time. Measured on redis 1.8
//! (redis-rs#2092, closed with 1.4; redis-rs#2277, open). Use that connection once a primary under
//! `SIGSTOP` no longer delays calls to other primaries.

mod topology;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::Shared};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::{
    error::{ConfigError, StoreErrorKind},
    store::{
        BoxFuture,
        redis::client::{
            address::Address,
            answer::CommandError,
            cluster::topology::Topology,
            connections::{Connections, config::ConnectionConfig, connection::Checkout, connector::Connector},
            failover::guard::Guard,
        },
    },
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A query for the primary of each bucket. All callers that wait for the answer share the query.
type TopologyQuery = Shared<BoxFuture<Result<Arc<Topology>, CommandError>>>;

/// Connections to every primary that stores buckets.
pub(crate) struct Cluster {
    connector: Arc<Connector>,
    config: ConnectionConfig,
    /// The nodes that the application named. Each query may ask these nodes, even if the last
    /// answer does not contain them.
    named: Vec<Address>,
    buckets: u32,
    table: Mutex<Table>,
}

/// A primary and the connections to it.
struct Primary {
    address: Address,
    connections: Connections,
}

/// The topology of the cluster as last read, and the state of the queries.
struct Table {
    /// The primary of each bucket.
    primaries: Vec<Option<Arc<Primary>>>,
    /// All nodes in the last answer.
    nodes: Vec<Address>,
    /// The current query, and the time at which it began.
    query: Option<(TopologyQuery, Instant)>,
    /// The time at which the last query ended, and its result.
    last: Option<(Instant, Result<(), CommandError>)>,
    /// The time after the last query during which a doubt starts no new query.
    pause: Duration,
    /// A counter that rotates the nodes, so that each query asks another node first.
    turn: usize,
    /// The value of [`Guard::suspicions`] when the table was created or last emptied. If the guard
    /// has another value, the next checkout empties the table.
    suspicions: u64,
}

impl Cluster {
    /// Creates a cluster without known primaries. The first call asks the nodes.
    pub(crate) fn new(connector: Arc<Connector>, config: ConnectionConfig, buckets: u32) -> Result<Self, ConfigError> {
        let table = Table {
            primaries: Vec::new(),
            nodes: Vec::new(),
            query: None,
            last: None,
            pause: SHORTEST_PAUSE,
            turn: 0,
            suspicions: connector.guard().suspicions(),
        };
        Ok(Self { named: connector.nodes()?, connector, config, buckets, table: Mutex::new(table) })
    }

    /// Returns the guard, which decides if the store may use an answer.
    fn guard(&self) -> &Arc<Guard> {
        self.connector.guard()
    }

    /// Returns a connection to the primary of a bucket.
    pub(crate) async fn checkout(&self, bucket: u32, deadline: Instant) -> Result<Checkout, CommandError> {
        self.forget_if_suspected();
        let known = self.table().primary(bucket);
        let primary = match known {
            Some(primary) if !primary.connections.is_doubted() => primary,
            _ => {
                let outcome = self.ask(None, deadline).await;
                let unknown =
                    || CommandError::new(StoreErrorKind::Unavailable, false, "no primary serves the bucket's slot");
                // Even if `ask` failed, the call uses the known primary.
                self.table().primary(bucket).ok_or_else(|| outcome.err().unwrap_or_else(unknown))?
            }
        };
        primary.connections.checkout(deadline).await
    }

    /// Asks the nodes for a bucket's new primary, after `MOVED`. The query begins with the node
    /// that answered `MOVED`, because that node has seen the move.
    pub(crate) async fn follow(&self, bucket: u32, deadline: Instant) {
        let (first, last) = {
            let table = self.table();
            (table.primary(bucket), table.last.as_ref().map(|(ended, _)| *ended))
        };
        if let Some(ended) = last {
            sleep_until(deadline.min(ended + SHORTEST_PAUSE)).await;
        }
        let _ = self.ask(first.as_ref().map(|primary| &primary.address), deadline).await;
    }

    /// Returns the buckets of each known primary.
    pub(crate) async fn places(&self, deadline: Instant) -> Result<HashMap<Address, Vec<u32>>, CommandError> {
        if self.table().primaries.is_empty() {
            self.ask(None, deadline).await?;
        }
        let mut places: HashMap<Address, Vec<u32>> = HashMap::new();
        for (bucket, primary) in (0..).zip(&self.table().primaries) {
            if let Some(primary) = primary {
                places.entry(primary.address.clone()).or_default().push(bucket);
            }
        }
        Ok(places)
    }

    /// Asks the nodes, and stores the first answer. Simultaneous callers share one query. During
    /// the pause after a query, returns the outcome of that query. If a node has answered `MOVED`,
    /// the caller passes that node as `first`.
    async fn ask(&self, first: Option<&Address>, deadline: Instant) -> Result<(), CommandError> {
        let query = {
            let mut table = self.table();
            match &table.query {
                // A caller waits for at most the limit. So nobody polls a query that is older, and
                // it never ends. A new query replaces it.
                Some((query, began)) if began.elapsed() <= self.limit() => query.clone(),
                _ => {
                    let pause = if first.is_some() { SHORTEST_PAUSE } else { table.pause };
                    if let Some((ended, outcome)) = &table.last
                        && ended.elapsed() < pause
                    {
                        return outcome.clone();
                    }
                    let query = self.query(table.turns(&self.named, first));
                    table.query = Some((query.clone(), Instant::now()));
                    query
                }
            }
        };
        let answer = timeout_at(deadline, query.clone()).await.map_err(|_| CommandError::timeout())?;
        self.settle(&query, answer)
    }

    /// Forgets the primaries and the queries if [`Guard::suspect`] was called since the last check.
    fn forget_if_suspected(&self) {
        let suspicions = self.guard().suspicions();
        let mut table = self.table();
        if table.suspicions != suspicions {
            table.suspicions = suspicions;
            table.primaries = Vec::new();
            (table.query, table.last) = (None, None);
        }
    }

    /// Creates a query, which proceeds only while a caller waits for it.
    fn query(&self, nodes: Vec<Address>) -> TopologyQuery {
        let (connector, config, buckets) = (Arc::clone(&self.connector), self.config.clone(), self.buckets);
        let limit = self.limit();
        let ask = async move {
            let asked = timeout(limit, topology::ask(&connector, &config, nodes, buckets)).await;
            asked.unwrap_or_else(|_| Err(CommandError::timeout())).map(Arc::new)
        };
        let boxed: BoxFuture<_> = Box::pin(ask);
        boxed.shared()
    }

    /// Returns the time limit of a query. The query asks some nodes later than others, so the limit
    /// is twice the timeout.
    fn limit(&self) -> Duration {
        self.config.timeout.saturating_mul(2)
    }

    /// Stores the answer to a query, unless another caller of that query has already stored it.
    fn settle(&self, query: &TopologyQuery, answer: Result<Arc<Topology>, CommandError>) -> Result<(), CommandError> {
        let mut table = self.table();
        if !table.query.as_ref().is_some_and(|(current, _)| current.ptr_eq(query)) {
            return answer.map(drop);
        }
        table.query = None;
        let outcome = answer.and_then(|topology| self.primaries(&table, &topology).map(|found| (topology, found)));
        // After a long time without a query, the next pause is the shortest pause again.
        let is_new = table.last.as_ref().is_none_or(|(ended, _)| ended.elapsed() > LONGEST_PAUSE.saturating_mul(2));
        table.pause = if is_new { SHORTEST_PAUSE } else { table.pause.saturating_mul(2).min(LONGEST_PAUSE) };
        let outcome = outcome.map(|(topology, found)| {
            found.iter().flatten().for_each(|primary| primary.connections.trust());
            table.primaries = found;
            table.nodes.clone_from(&topology.nodes);
        });
        table.last = Some((Instant::now(), outcome.clone()));
        outcome
    }

    /// Returns the primaries of an answer. Primaries that were known before keep their connections.
    fn primaries(&self, table: &Table, topology: &Topology) -> Result<Vec<Option<Arc<Primary>>>, CommandError> {
        let known = table.primaries.iter().flatten();
        let mut known: HashMap<_, _> = known.map(|primary| (&primary.address, Arc::clone(primary))).collect();
        let mut primary = |address| -> Result<_, CommandError> {
            let primary = match known.entry(address) {
                Entry::Occupied(known) => Arc::clone(known.get()),
                Entry::Vacant(place) => Arc::clone(place.insert(Arc::new(self.primary(address)?))),
            };
            Ok(primary)
        };
        topology.primaries.iter().map(|address| address.as_ref().map(&mut primary).transpose()).collect()
    }

    /// Creates the connections to a primary.
    fn primary(&self, address: &Address) -> Result<Primary, CommandError> {
        let unusable = |_| CommandError::new(StoreErrorKind::Rejected, false, "the address cannot be used");
        let source = self.connector.source(Some(address), &self.config).map_err(unusable)?;
        Ok(Primary { address: address.clone(), connections: Connections::new(source, &self.config, self.guard()) })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Returns the known primary of a bucket.
    fn primary(&self, bucket: u32) -> Option<Arc<Primary>> {
        self.primaries.get(usize::try_from(bucket).ok()?)?.clone()
    }

    /// Returns the nodes in the order in which a query asks them. `first` comes first, and the
    /// primaries that are in doubt come last.
    fn turns(&mut self, named: &[Address], first: Option<&Address>) -> Vec<Address> {
        let mut nodes = self.nodes.clone();
        nodes.extend(named.iter().filter(|node| !self.nodes.contains(node)).cloned());
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn.checked_rem(nodes.len()).unwrap_or(0);
        nodes.rotate_left(turn);
        let is_doubted = |node: &Address| {
            self.primaries.iter().flatten().any(|primary| primary.address == *node && primary.connections.is_doubted())
        };
        nodes.sort_by_key(|node| if Some(node) == first { 0 } else { 1 + u8::from(is_doubted(node)) });
        nodes
    }
}

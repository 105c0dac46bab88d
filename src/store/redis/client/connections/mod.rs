//! A few connections to one server, which all calls share.
//!
//! A checkout from a pool would cost two round trips for each call (`cargo bench --bench request`).
//! So simultaneous calls share a few connections. Commands that block need separate connections. So
//! do subscriptions, because redis can mistake a push for an answer: see
//! [`pubsub`](super::pubsub).
//!
//! Each connection has a **slot**:
//!
//! * The first call that finds its slot empty starts an attempt to connect. If no slot has a
//!   connection, other calls wait for the attempt, each until its own deadline.
//! * After a failed attempt the slot pauses, so calls to a dead server fail immediately. Each
//!   further failure doubles the pause.
//! * An attempt proceeds only while a caller waits. A later call replaces an abandoned attempt.
//!
//! The store drops a connection in these cases:
//!
//! * An I/O error occurs, or a reply shows another role or state of the server (`READONLY`,
//!   `MASTERDOWN`, `LOADING`, `CLUSTERDOWN`). A new connection may reach another server.
//! * A command gets no answer for twice the timeout. redis drops a dead connection only after an
//!   error of the socket (redis-rs#1511, open). To reproduce on redis 1.8, send `SIGSTOP` to the
//!   server: each command ends with a timeout. Remove this case when redis drops such a connection.
//! * An answer does not belong to its command.
//! * The server refuses the user or password.
//! * The [`Guard`] finds that another server may be the primary.
//!
//! The second case can also drop a good connection, if the caller of a login, refresh or revocation
//! cancels the call, and no other answer arrives for twice the timeout.
//!
//! A missing answer, or an error about the server's state, starts a **doubt** about the server.
//! `Cluster` then asks again for the primary.

pub(crate) mod access;
pub(crate) mod batch;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod connector;
pub(crate) mod identity;
pub(crate) mod target;
#[cfg(feature = "tls")]
pub(crate) mod tls;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout, timeout_at};

use self::{
    config::ConnectionConfig,
    connection::{Attempt, Checkout, Connection, ConnectionSlot, Limits, SlotLookup, never_tried},
    connector::Source,
};
use crate::store::{
    BoxFuture,
    redis::client::{
        answer::CommandError,
        failover::guard::{Guard, ServerState},
    },
};

/// The shared connections to one server.
pub(crate) struct Connections {
    source: Arc<Source>,
    slots: Box<[Arc<ConnectionSlot>]>,
    next: AtomicUsize,
    limits: Limits,
    identifies: bool,
    doubt: Arc<AtomicBool>,
    server: Arc<ServerState>,
}

impl Connections {
    /// Creates empty slots. The first calls make the connections.
    pub(crate) fn new(source: Source, config: &ConnectionConfig, guard: &Arc<Guard>) -> Self {
        let slots = (0..config.connections.max(1)).map(|_| Arc::default()).collect();
        // An attempt may take longer than a call, but callers wait only until their own deadlines.
        let connect_timeout = source.connect_limit(config.timeout);
        Self {
            source: Arc::new(source),
            slots,
            next: AtomicUsize::new(0),
            limits: Limits { connect_timeout, patience: config.patience, guard: Arc::clone(guard) },
            identifies: config.identifies,
            doubt: Arc::default(),
            server: Arc::default(),
        }
    }

    /// Returns true if an error since the last [`trust`](Self::trust) suggests another primary.
    #[cfg(feature = "cluster")]
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubt.load(Ordering::Relaxed)
    }

    /// Ends the doubt. The caller has found that this server is still the primary.
    #[cfg(feature = "cluster")]
    pub(crate) fn trust(&self) {
        self.doubt.store(false, Ordering::Relaxed);
    }

    /// Returns a connection. Makes one if there is none.
    ///
    /// Calls use the slots in turn. A call skips a slot that pauses after a failure. If another
    /// slot has a connection, the call also skips a slot that is connecting for another call.
    pub(crate) async fn checkout(&self, deadline: Instant) -> Result<Checkout, CommandError> {
        let outcome = self.find(deadline).await;
        if outcome.is_err() {
            self.doubt.store(true, Ordering::Relaxed);
        }
        outcome.map(|(slot, connection)| Checkout {
            slot: Arc::clone(slot),
            connection,
            doubt: Arc::clone(&self.doubt),
            guard: Arc::clone(&self.limits.guard),
            server: Arc::clone(&self.server),
        })
    }

    /// Finds a slot with a connection, or waits for one.
    async fn find(&self, deadline: Instant) -> Result<(&Arc<ConnectionSlot>, Arc<Connection>), CommandError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.slots.len()).unwrap_or(0);
        let (mut outcome, mut others) = (Err(never_tried()), None);
        for slot in self.slots.iter().cycle().skip(turn).take(self.slots.len()) {
            match slot.look(&self.limits, || self.attempt()) {
                SlotLookup::Connection(connection) => return Ok((slot, connection)),
                SlotLookup::New(attempt) => return wait(slot, &attempt, &self.source, deadline).await,
                SlotLookup::Others(attempt) => others = others.or(Some((slot, attempt))),
                // During the pause a repeated call would fail too, so the error is not `broken`.
                SlotLookup::Pause(mut error) => {
                    error.broken = false;
                    outcome = Err(error);
                }
            }
        }
        match others {
            Some((slot, attempt)) => wait(slot, &attempt, &self.source, deadline).await,
            None => outcome,
        }
    }

    /// Starts an attempt to connect and to identify the server.
    fn attempt(&self) -> Attempt {
        let (source, limit, guard) =
            (Arc::clone(&self.source), self.limits.connect_timeout, Arc::clone(&self.limits.guard));
        let (identifies, address) = (self.identifies, self.source.address());
        let of_attempt = Arc::clone(&source);
        let make = async move {
            let suspicions = guard.suspicions();
            let (multiplexed, agreement) = source.connect_with_agreement().await?;
            // Only proofs need a name that changes at each promotion of the server.
            let with_term = guard.deployment().max_lag().is_some();
            let agreed = agreement.as_ref().map(|agreement| {
                let (host, port) = &agreement.address;
                Arc::from(format!("{host}:{port}"))
            });
            let address = address.or(agreed);
            let name = if identifies {
                let name = identity::name(multiplexed.clone(), with_term).await;
                name.map_err(|error| error.at(address.as_ref()))?
            } else {
                None
            };
            let under = agreement.as_ref().map(|agreement| (agreement.era, agreement.epoch));
            let server = name.map(|name| identity::server_id(&name, under));
            Ok(Arc::new(Connection::new(multiplexed, address, server, agreement, suspicions)))
        };
        let connect = async move {
            let made = timeout(limit, make).await;
            made.unwrap_or_else(|_| Err(of_attempt.late()))
        };
        let boxed: BoxFuture<_> = Box::pin(connect);
        boxed.shared()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.limits.guard.forget(&self.server);
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

/// Waits for an attempt until the deadline.
async fn wait<'a>(
    slot: &'a Arc<ConnectionSlot>,
    attempt: &Attempt,
    source: &Source,
    deadline: Instant,
) -> Result<(&'a Arc<ConnectionSlot>, Arc<Connection>), CommandError> {
    let connected = timeout_at(deadline, attempt.clone()).await.map_err(|_| source.late())?;
    slot.settle(attempt, connected).map(|connection| (slot, connection))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use redis::Value;
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;
    use crate::{
        error::StoreErrorKind,
        store::redis::client::{
            answer::Moment, connections::connection::SHORTEST_PAUSE, failover::deployment::Deployment,
        },
    };

    /// Starts a server that refuses every command. Returns it with its URL.
    async fn refusing() -> (JoinHandle<()>, String) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("redis://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut lines = BufReader::new(stream).lines();
                    // Each command is an array.
                    while let Ok(Some(line)) = lines.next_line().await {
                        if line.starts_with('*') && lines.get_mut().write_all(b"-ERR no\r\n").await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (server, url)
    }

    fn connections(url: &str, deployment: Deployment) -> Connections {
        let pool = deadpool_redis::Config::from_url(url).create_pool(Some(deadpool_redis::Runtime::Tokio1)).unwrap();
        let guard = Guard::new(Box::new(|bucket| format!("tb:{{{bucket}}}:m")), deployment);
        Connections::new(Source::Pool(pool), &ConnectionConfig::new(Duration::from_secs(1), 1), &guard.into())
    }

    #[tokio::test]
    async fn after_a_pause_of_this_node_no_connection_of_before_counts_or_is_used() {
        let (_server, url) = refusing().await;
        let connections = connections(&url, Deployment::Single);
        let checkout = async || connections.checkout(Instant::now() + Duration::from_secs(10)).await.unwrap();
        let before = checkout().await;
        assert_eq!(before.server(), None, "it does not tell who it is");
        before.judge(&Value::Int(0), Moment::now()).unwrap();
        assert_eq!(checkout().await.connection_number(), before.connection_number());
        connections.limits.guard.suspect();
        assert!(before.judge(&Value::Int(0), Moment::now()).unwrap_err().broken);
        // The slot makes no new connection immediately after it dropped one.
        tokio::time::sleep(SHORTEST_PAUSE).await;
        let after = checkout().await;
        assert_ne!(after.connection_number(), before.connection_number());
        after.judge(&Value::Int(0), Moment::now()).unwrap();
    }

    #[tokio::test]
    async fn behind_an_address_that_moves_a_connection_without_a_proof_does_not_count_and_stays() {
        let (_server, url) = refusing().await;
        let connections = connections(&url, Deployment::Replicas { max_lag: Duration::from_secs(1) });
        let checkout = async || connections.checkout(Instant::now() + Duration::from_secs(10)).await.unwrap();
        let first = checkout().await;
        let error = first.judge(&Value::Int(0), Moment::now()).unwrap_err();
        assert_eq!((error.kind, error.broken), (StoreErrorKind::Unavailable, false));
        first.confirm().unwrap_err();
        assert_eq!(checkout().await.connection_number(), first.connection_number());
    }

    #[tokio::test]
    async fn a_call_that_finds_every_slot_pausing_has_no_reason_to_look_again() {
        // The closed listener leaves a port on which the system refuses connections.
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("redis://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        drop(listener);
        let connections = connections(&url, Deployment::Undeclared);
        let deadline = Instant::now() + Duration::from_secs(1);
        assert!(connections.checkout(deadline).await.err().unwrap().broken, "the attempt itself");
        let error = connections.checkout(deadline).await.err().unwrap();
        assert_eq!((error.kind, error.broken), (StoreErrorKind::Unavailable, false));
    }
}

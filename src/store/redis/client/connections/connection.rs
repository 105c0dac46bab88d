//! A shared connection, its slot, and the [`Checkout`] with which a call uses the connection.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::Shared;
use redis::{Cmd, Pipeline, RedisResult, Value, aio::MultiplexedConnection};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};

use crate::{
    clock::saturating_millis,
    error::StoreErrorKind,
    store::{
        BoxFuture, ServerId,
        redis::client::{
            address::Agreement,
            answer::{CommandError, Moment},
            connections::batch::{BatchAnswer, ClosedBatch, ReadBatch, StrictAnswer},
            failover::guard::{Guard, ServerState},
        },
    },
};

/// The number of the next connection.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The time without an answer after which a call that must not run twice first sends a read.
///
/// If the server has closed the connection, the read fails instead of the call. The store could not
/// repeat the call, because redis returns the same error for an unsent command and for a lost
/// answer (redis-rs#1415, open). Remove when redis returns different errors.
const REST: Duration = Duration::from_secs(1);
/// The pause after the first failed attempt. Each further failure doubles the pause.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection that many calls share.
pub(super) struct Connection {
    multiplexed: MultiplexedConnection,
    /// The runtime on which the connection was made, and on which its driver runs.
    home: Handle,
    /// The address of the server for messages, if known.
    address: Option<Arc<str>>,
    server: Option<ServerId>,
    /// The agreement of the sentinels that named the server's address.
    agreement: Option<Agreement>,
    /// The value of [`Guard::suspicions`] when connecting began. If the guard has another value, no
    /// call may use the connection.
    suspicions: u64,
    /// The moment at which the connection was made.
    made: Moment,
    liveness: Liveness,
    /// The strict reads that wait for the next batch.
    batch: ReadBatch,
    /// A number that no other connection of this process has.
    number: u64,
}

impl Connection {
    /// Creates a connection without calls, on the current runtime.
    pub(super) fn new(
        multiplexed: MultiplexedConnection,
        address: Option<Arc<str>>,
        server: Option<ServerId>,
        agreement: Option<Agreement>,
        suspicions: u64,
    ) -> Self {
        Self {
            multiplexed,
            home: Handle::current(),
            address,
            server,
            agreement,
            suspicions,
            made: Moment::now(),
            liveness: Liveness::new(),
            batch: ReadBatch::default(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Returns whether a call may use the connection.
    fn is_usable(&self, patience: Duration, guard: &Guard) -> bool {
        self.suspicions == guard.suspicions()
            && !self.liveness.is_silent(patience)
            && !guard.names_another(self.agreement.as_ref())
    }
}

/// The times of a connection's commands and answers. Each time is the age of the connection in ms
/// plus 1. 0 means that there was no such command or answer.
struct Liveness {
    made: Instant,
    /// The time of the first command after the last answer; 0 if no command waits.
    asked: AtomicU64,
    /// The time of the last answer; 0 before the first answer.
    answered: AtomicU64,
}

impl Liveness {
    /// Creates the times of a new connection.
    fn new() -> Self {
        Self { made: Instant::now(), asked: AtomicU64::new(0), answered: AtomicU64::new(0) }
    }

    /// Records that a command waits for its answer. The caller calls this method before it sends
    /// the command, because its future may end before the answer arrives.
    fn asks(&self) {
        let _ = self.asked.compare_exchange(0, self.age(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records that the server has answered now.
    fn answered(&self) {
        self.asked.store(0, Ordering::Relaxed);
        self.answered.store(self.age(), Ordering::Relaxed);
    }

    /// Returns whether a command has waited for an answer for longer than `patience`.
    fn is_silent(&self, patience: Duration) -> bool {
        let earliest = self.age().saturating_sub(saturating_millis(patience));
        let asked = self.asked.load(Ordering::Relaxed);
        asked != 0 && asked < earliest
    }

    /// Returns whether the last answer is older than `rest`.
    fn has_rested(&self, rest: Duration) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        self.age().saturating_sub(answered) > saturating_millis(rest)
    }

    /// Returns the age of the connection in ms, plus one.
    fn age(&self) -> u64 {
        saturating_millis(self.made.elapsed()).saturating_add(1)
    }
}

/// An attempt to connect, which callers can share. It proceeds only while a caller waits for it.
pub(super) type Attempt = Shared<BoxFuture<Result<Arc<Connection>, CommandError>>>;

/// The limits of the connections to one server.
pub(super) struct Limits {
    /// The longest time of one attempt.
    pub(super) connect_timeout: Duration,
    /// The time without an answer to a command after which the store drops the connection.
    pub(super) patience: Duration,
    /// The rules that decide if the store may use an answer.
    pub(super) guard: Arc<Guard>,
}

/// A place for one connection.
pub(super) struct ConnectionSlot(Mutex<SlotState>);

/// The contents of a slot.
enum SlotState {
    /// The slot has no connection, and starts no attempt before `not_before`.
    Empty {
        not_before: Option<Instant>,
        pause: Duration,
        last: CommandError,
    },
    Connecting {
        attempt: Attempt,
        started: Instant,
        pause: Duration,
    },
    Ready(Arc<Connection>),
}

/// The result of a search for a connection in a slot.
pub(super) enum SlotLookup {
    /// A connection that the call may use.
    Connection(Arc<Connection>),
    /// An attempt that this call has begun.
    New(Attempt),
    /// An attempt that another call has begun.
    Others(Attempt),
    /// The error of the last failure. The slot still pauses after that failure.
    Pause(CommandError),
}

impl Default for ConnectionSlot {
    fn default() -> Self {
        Self(Mutex::new(SlotState::Empty { not_before: None, pause: SHORTEST_PAUSE, last: never_tried() }))
    }
}

impl ConnectionSlot {
    /// Returns the connection of the slot. If there is none, begins to make one with `connect`.
    pub(super) fn look(&self, limits: &Limits, connect: impl FnOnce() -> Attempt) -> SlotLookup {
        let mut state = self.lock();
        let pause = match &*state {
            SlotState::Ready(connection) if connection.is_usable(limits.patience, &limits.guard) => {
                return SlotLookup::Connection(Arc::clone(connection));
            }
            SlotState::Ready(_) => SHORTEST_PAUSE,
            // All callers have left an attempt that is older than the time limit, so that attempt
            // will never end. A new attempt replaces it.
            SlotState::Connecting { started, pause, .. } if started.elapsed() > limits.connect_timeout => *pause,
            SlotState::Connecting { attempt, .. } => return SlotLookup::Others(attempt.clone()),
            SlotState::Empty { not_before: Some(moment), last, .. } if Instant::now() < *moment => {
                return SlotLookup::Pause(last.clone());
            }
            SlotState::Empty { pause, .. } => *pause,
        };
        let attempt = connect();
        *state = SlotState::Connecting { attempt: attempt.clone(), started: Instant::now(), pause };
        SlotLookup::New(attempt)
    }

    /// Stores the outcome of an attempt, unless another caller of that attempt has stored it.
    pub(super) fn settle(
        &self,
        attempt: &Attempt,
        outcome: Result<Arc<Connection>, CommandError>,
    ) -> Result<Arc<Connection>, CommandError> {
        let mut state = self.lock();
        match &*state {
            SlotState::Connecting { attempt: current, pause, .. } if current.ptr_eq(attempt) => match outcome {
                Ok(connection) => {
                    *state = SlotState::Ready(Arc::clone(&connection));
                    Ok(connection)
                }
                Err(error) => {
                    let not_before = Instant::now().checked_add(*pause);
                    let pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    *state = SlotState::Empty { not_before, pause, last: error.clone() };
                    Err(error)
                }
            },
            SlotState::Ready(connection) => outcome.map(|_| Arc::clone(connection)),
            // Another caller has stored the outcome. If this attempt made a connection, the slot
            // has already dropped that connection.
            _ => Err(outcome.err().unwrap_or_else(given_up)),
        }
    }

    /// Empties the slot if it still contains this connection. Calls get the error `last` until the
    /// next attempt.
    fn drop_connection(&self, connection: &Arc<Connection>, last: CommandError) {
        let mut state = self.lock();
        if matches!(&*state, SlotState::Ready(current) if Arc::ptr_eq(current, connection)) {
            // If new connections break at once, this pause limits the number of attempts.
            let not_before = connection.liveness.made.checked_add(SHORTEST_PAUSE);
            *state = SlotState::Empty { not_before, pause: SHORTEST_PAUSE, last };
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the error of a slot that never had a connection.
pub(super) fn never_tried() -> CommandError {
    CommandError::new(StoreErrorKind::Unavailable, true, "the store is not connected to the server yet; try again")
}

/// Returns the error for a connection that the store has dropped.
fn given_up() -> CommandError {
    CommandError::new(StoreErrorKind::Unavailable, true, "the connection was dropped; try again")
}

/// A connection that one call uses.
pub(crate) struct Checkout {
    /// The slot of the connection, which [`discard`](Self::discard) empties.
    pub(super) slot: Arc<ConnectionSlot>,
    pub(super) connection: Arc<Connection>,
    /// True if the connection may lead to the wrong server.
    pub(super) doubt: Arc<AtomicBool>,
    pub(super) guard: Arc<Guard>,
    pub(super) server: Arc<ServerState>,
}

impl Checkout {
    /// Sends a command and waits for its answer.
    pub(crate) async fn command(&self, command: &Cmd, deadline: Instant) -> Result<Value, CommandError> {
        let mut multiplexed = self.connection.multiplexed.clone();
        self.answer(command.query_async(&mut multiplexed), deadline).await
    }

    /// Sends a pipeline and waits for all answers.
    pub(crate) async fn pipeline(&self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Value>, CommandError> {
        let mut multiplexed = self.connection.multiplexed.clone();
        self.answer(pipeline.query_async(&mut multiplexed), deadline).await
    }

    /// Waits for an answer, and records the outcome in the state of the connection.
    async fn answer<T>(
        &self,
        answer: impl Future<Output = RedisResult<T>>,
        deadline: Instant,
    ) -> Result<T, CommandError> {
        self.connection.liveness.asks();
        let answer = match timeout_at(deadline, answer).await {
            Ok(answer) => answer.map_err(CommandError::from),
            Err(_) => Err(CommandError::timeout()),
        };
        let answer = answer.map_err(|error| error.at(self.connection.address.as_ref()));
        // An error from the server is an answer too.
        if answer.as_ref().err().is_none_or(|error| !error.broken && !error.is_late()) {
            self.connection.liveness.answered();
        }
        answer.inspect_err(|error| self.on_error(error))
    }

    /// Sends these reads of a bucket, in one batch with the simultaneous reads of other callers.
    /// Returns an error if [`judge`](Self::judge) rejects the answer.
    pub(crate) async fn strict_read(
        &self,
        bucket: u32,
        reads: Vec<Cmd>,
        deadline: Instant,
    ) -> Result<StrictAnswer, CommandError> {
        // If `confirm` fails now, the store could not use the answer. So the call sends nothing.
        self.confirm()?;
        let write_check = self.guard.write_check(bucket);
        let connection = &self.connection;
        let start = |batch: ClosedBatch| {
            connection.liveness.asks();
            let sender = Arc::clone(connection);
            let send = async move { batch.send(sender.multiplexed.clone(), || sender.liveness.answered()).await };
            connection.home.spawn(send);
        };
        let answered = timeout_at(deadline, connection.batch.ask(reads, write_check, deadline, start)).await;
        // The task that sends the batch has already recorded the answer in `liveness`.
        let answered =
            answered.unwrap_or_else(|_| Err(CommandError::timeout())).inspect_err(|error| self.on_error(error));
        let at = |error: CommandError| error.at(self.connection.address.as_ref());
        let BatchAnswer { answer, write_check, asked } = answered.map_err(at)?;
        // If `now` is an error, the caller returns that error. Only other answers need a judgement.
        if answer.now.is_ok() {
            self.judge(&write_check, asked)?;
        }
        Ok(answer)
    }

    /// Returns an error if the store must not use the answers to the reads of a pipeline. The
    /// caller must:
    ///
    /// * take `asked` from [`Moment::now`] before it makes the pipeline,
    /// * send the [`Guard::write_check`] of one of the buckets after all reads, and `TIME` last,
    /// * make the pipeline ignore errors, because the answer to the write check may be an error,
    /// * check the answers to `ROLE` and `TIME` before it calls this method.
    ///
    /// # Errors
    ///
    /// The store must not use the answers. The caller must not [`discard`](Self::discard) the
    /// connection, because it may still be good: for example, only a
    /// [proof](crate::store::redis::client::failover::proofs) may be missing. If the error is
    /// `broken`, this method has dropped the connection.
    pub(crate) fn judge(&self, write_check: &Value, asked: Moment) -> Result<(), CommandError> {
        let checked = self.guard.judge_check(write_check, &self.server).inspect_err(|error| self.on_error(error));
        checked.and_then(|()| self.trust(asked))
    }

    /// Returns an error if the store must not use the answer to a write. The caller calls this
    /// method after the answer has arrived. A write needs no write check.
    ///
    /// # Errors
    ///
    /// The store must not use the answer, so the write may be lost.
    pub(crate) fn confirm(&self) -> Result<(), CommandError> {
        self.trust(Moment::now())
    }

    /// Returns an error if the server may not be the primary. There are three such cases: this node
    /// was frozen after it connected, a proof is missing, or no majority of the sentinels names the
    /// server.
    fn trust(&self, asked: Moment) -> Result<(), CommandError> {
        let outcome = if self.connection.suspicions == self.guard.suspicions() {
            self.guard
                .proved(self.connection.server, asked, self.connection.made)
                .and_then(|()| self.guard.confirm(self.connection.agreement.as_ref()))
        } else {
            let text = "this node was frozen after it made the connection; try again";
            Err(CommandError::new(StoreErrorKind::Unavailable, true, text))
        };
        outcome.inspect_err(|error| self.on_error(error))
    }

    /// Returns the number of this connection, which is unique in this process. A new number shows a
    /// new connection, for example after a failover.
    pub(crate) fn connection_number(&self) -> u64 {
        self.connection.number
    }

    /// Returns the address of the server for messages, if known.
    pub(crate) fn address(&self) -> Option<&Arc<str>> {
        self.connection.address.as_ref()
    }

    /// Returns the identity of the server; `None` if it is unknown.
    pub(crate) fn server(&self) -> Option<ServerId> {
        self.connection.server
    }

    /// Returns whether the connection was silent for so long that the server may have closed it.
    pub(crate) fn has_rested(&self) -> bool {
        self.connection.liveness.has_rested(REST)
    }

    /// Drops the connection. The caller has got an answer of another command, or of a server that
    /// may not be the primary.
    pub(crate) fn discard(&self) {
        self.doubt.store(true, Ordering::Relaxed);
        self.slot.drop_connection(&self.connection, given_up());
    }

    /// Sets `doubt` if this may be the wrong server, and drops a broken connection.
    fn on_error(&self, error: &CommandError) {
        if error.broken || matches!(error.kind, StoreErrorKind::Unavailable | StoreErrorKind::Timeout) {
            self.doubt.store(true, Ordering::Relaxed);
        }
        if error.broken {
            self.slot.drop_connection(&self.connection, error.clone());
        }
    }
}

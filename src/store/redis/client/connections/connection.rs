//! A connection, the slot that holds it, the checkout by which a call uses it, and the times that
//! show if its server still answers.

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

/// After this time without an answer, a call that must not run twice first sends a read.
///
/// The server may have closed the connection meanwhile. redis reports a command that it never sent
/// like one whose answer was lost (redis-rs#1415, open), so the call could not be repeated. Remove
/// when redis tells the two apart.
const REST: Duration = Duration::from_secs(1);
/// The pause after the first failed attempt. Each further one doubles it.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection. Its calls share it.
pub(super) struct Connection {
    multiplexed: MultiplexedConnection,
    /// The runtime on which it was made, and on which its driver runs.
    home: Handle,
    server: Option<ServerId>,
    /// The agreement of the sentinels by which it was made.
    agreement: Option<Agreement>,
    /// The guard's count of suspicions when connecting began.
    suspicions: u64,
    /// The moment at which it was made.
    made: Moment,
    liveness: Liveness,
    /// The strict reads that are sent over it together.
    batch: ReadBatch,
    /// No other connection of this process has this number.
    number: u64,
}

impl Connection {
    /// Creates a connection without calls, on the present runtime.
    pub(super) fn new(
        multiplexed: MultiplexedConnection,
        server: Option<ServerId>,
        agreement: Option<Agreement>,
        suspicions: u64,
    ) -> Self {
        Self {
            multiplexed,
            home: Handle::current(),
            server,
            agreement,
            suspicions,
            made: Moment::now(),
            liveness: Liveness::new(),
            batch: ReadBatch::default(),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Returns whether a call may use it.
    fn is_usable(&self, patience: Duration, guard: &Guard) -> bool {
        self.suspicions == guard.suspicions()
            && !self.liveness.is_silent(patience)
            && !guard.names_another(self.agreement.as_ref())
    }
}

/// The times of a connection's commands and answers, in ms since it was made, plus one.
struct Liveness {
    made: Instant,
    /// The time of the first command after its last answer; 0 if there was none.
    asked: AtomicU64,
    /// The time of its last answer; 0 if there was none.
    answered: AtomicU64,
}

impl Liveness {
    /// Starts the times of a connection that was made now.
    fn new() -> Self {
        Self { made: Instant::now(), asked: AtomicU64::new(0), answered: AtomicU64::new(0) }
    }

    /// Notes that a command is about to be sent. Called before sending, because the caller may drop
    /// its future before the answer comes.
    fn asks(&self) {
        let _ = self.asked.compare_exchange(0, self.age(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that the server has answered now.
    fn answered(&self) {
        self.asked.store(0, Ordering::Relaxed);
        self.answered.store(self.age(), Ordering::Relaxed);
    }

    /// Returns whether the server has owed an answer for longer than `patience`.
    fn is_silent(&self, patience: Duration) -> bool {
        let earliest = self.age().saturating_sub(saturating_millis(patience));
        let asked = self.asked.load(Ordering::Relaxed);
        asked != 0 && asked < earliest
    }

    /// Returns whether nothing has come over the connection for longer than `rest`.
    fn has_rested(&self, rest: Duration) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        self.age().saturating_sub(answered) > saturating_millis(rest)
    }

    /// Returns the age of the connection in ms, plus one.
    fn age(&self) -> u64 {
        saturating_millis(self.made.elapsed()).saturating_add(1)
    }
}

/// An attempt to connect, which any number of callers wait for. It proceeds only while one waits.
pub(super) type Attempt = Shared<BoxFuture<Result<Arc<Connection>, CommandError>>>;

/// The limits of the connections to one server.
pub(super) struct Limits {
    /// The longest time of one attempt.
    pub(super) connect_timeout: Duration,
    /// A connection that owes an answer for longer than this is dropped.
    pub(super) patience: Duration,
    /// The rules that decide whether answers count.
    pub(super) guard: Arc<Guard>,
}

/// A place for one connection.
pub(super) struct ConnectionSlot(Mutex<SlotState>);

/// The contents of a slot.
enum SlotState {
    /// No connection. None is tried before `not_before`.
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

/// The contents of a slot, for a call that needs a connection.
pub(super) enum SlotLookup {
    /// A connection that the call may use.
    Connection(Arc<Connection>),
    /// An attempt that this call has begun.
    New(Attempt),
    /// An attempt that others wait for.
    Others(Attempt),
    /// A failed attempt, which is not repeated yet.
    Pause(CommandError),
}

impl Default for ConnectionSlot {
    fn default() -> Self {
        Self(Mutex::new(SlotState::Empty { not_before: None, pause: SHORTEST_PAUSE, last: never_tried() }))
    }
}

impl ConnectionSlot {
    /// Looks for a connection, and begins to make one with `connect` if there is none.
    pub(super) fn look(&self, limits: &Limits, connect: impl FnOnce() -> Attempt) -> SlotLookup {
        let mut state = self.lock();
        let pause = match &*state {
            SlotState::Ready(connection) if connection.is_usable(limits.patience, &limits.guard) => {
                return SlotLookup::Connection(Arc::clone(connection));
            }
            SlotState::Ready(_) => SHORTEST_PAUSE,
            // An attempt that a caller waits for has ended by then. One that all callers have left
            // makes no progress.
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

    /// Stores the outcome of an attempt, unless another caller that waited for it has done so.
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
            // The attempt succeeded, and its connection was dropped since.
            _ => Err(outcome.err().unwrap_or_else(given_up)),
        }
    }

    /// Empties the slot, unless it holds another connection by now.
    fn drop_connection(&self, connection: &Arc<Connection>) {
        let mut state = self.lock();
        if matches!(&*state, SlotState::Ready(current) if Arc::ptr_eq(current, connection)) {
            // Without a pause, each call would replace a connection that breaks at once.
            let not_before = connection.liveness.made.checked_add(SHORTEST_PAUSE);
            *state = SlotState::Empty { not_before, pause: SHORTEST_PAUSE, last: given_up() };
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the error of a slot that never held a connection.
pub(super) fn never_tried() -> CommandError {
    CommandError::new(StoreErrorKind::Unavailable, true, "not connected")
}

/// Returns the error of a connection that was dropped while a caller waited for it.
fn given_up() -> CommandError {
    CommandError::new(StoreErrorKind::Unavailable, true, "the connection was dropped")
}

/// A connection that one call uses.
pub(crate) struct Checkout {
    /// The slot of the connection, to empty it.
    pub(super) slot: Arc<ConnectionSlot>,
    pub(super) connection: Arc<Connection>,
    /// Set if this may be the wrong server.
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

    /// Waits for an answer, and notes the outcome in the state of the connection.
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
        // An error from the server is an answer too.
        if answer.as_ref().err().is_none_or(|error| !error.broken && !error.is_late()) {
            self.connection.liveness.answered();
        }
        answer.inspect_err(|error| self.on_error(error))
    }

    /// Sends these reads of a bucket, in one batch with all simultaneous ones of this connection.
    /// An answer that does not count is an error.
    pub(crate) async fn strict_read(
        &self,
        bucket: u32,
        reads: Vec<Cmd>,
        deadline: Instant,
    ) -> Result<StrictAnswer, CommandError> {
        // Sends nothing if no answer would count.
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
        // The task that sends the batch has noted that the connection answers.
        let answered =
            answered.unwrap_or_else(|_| Err(CommandError::timeout())).inspect_err(|error| self.on_error(error));
        let BatchAnswer { answer, write_check, asked } = answered?;
        // Without a time the answer is an error, which the caller returns.
        if answer.now.is_ok() {
            self.judge(&write_check, asked)?;
        }
        Ok(answer)
    }

    /// Judges the reads of a pipeline by the answer to its write check.
    ///
    /// The caller takes [`Moment::now`] before it makes the pipeline. After all reads the pipeline
    /// has [`Guard::write_check`] of one of its buckets, and `TIME`. The pipeline ignores errors,
    /// so that the error of the check is among the values. The caller reads `ROLE` and `TIME`
    /// before it calls this.
    ///
    /// # Errors
    ///
    /// The reads do not count. A broken connection was dropped. A connection that only lacks a
    /// proof stays, so the caller must not [`discard`](Self::discard) it.
    pub(crate) fn judge(&self, write_check: &Value, asked: Moment) -> Result<(), CommandError> {
        let checked = self.guard.judge_check(write_check, &self.server).inspect_err(|error| self.on_error(error));
        checked.and_then(|()| self.trust(asked))
    }

    /// Judges the answer to a write, which needs no write check. To be called when the answer has
    /// arrived.
    ///
    /// # Errors
    ///
    /// The write is not confirmed: it may be lost.
    pub(crate) fn confirm(&self) -> Result<(), CommandError> {
        self.trust(Moment::now())
    }

    /// Judges an answer by the suspicions, the proofs and the sentinels.
    fn trust(&self, asked: Moment) -> Result<(), CommandError> {
        let outcome = if self.connection.suspicions == self.guard.suspicions() {
            self.guard
                .proved(self.connection.server, asked, self.connection.made)
                .and_then(|()| self.guard.confirm(self.connection.agreement.as_ref()))
        } else {
            let text = "the connection is older than a pause of this node";
            Err(CommandError::new(StoreErrorKind::Unavailable, true, text))
        };
        outcome.inspect_err(|error| self.on_error(error))
    }

    /// Returns the number of this connection, which no other one of this process has. Two
    /// connections to one server may have been made before and after a failover.
    pub(crate) fn connection_number(&self) -> u64 {
        self.connection.number
    }

    /// Returns the identity of the server; `None` if it is unknown.
    pub(crate) fn server(&self) -> Option<ServerId> {
        self.connection.server
    }

    /// Returns whether the connection was silent for so long that the server may have closed it.
    pub(crate) fn has_rested(&self) -> bool {
        self.connection.liveness.has_rested(REST)
    }

    /// Drops the connection, after an answer to another command or from a server that is not a
    /// primary.
    pub(crate) fn discard(&self) {
        self.doubt.store(true, Ordering::Relaxed);
        self.slot.drop_connection(&self.connection);
    }

    /// Leaves a doubt if this may be the wrong server, and drops a broken connection.
    fn on_error(&self, error: &CommandError) {
        if error.broken || matches!(error.kind, StoreErrorKind::Unavailable | StoreErrorKind::Timeout) {
            self.doubt.store(true, Ordering::Relaxed);
        }
        if error.broken {
            self.slot.drop_connection(&self.connection);
        }
    }
}

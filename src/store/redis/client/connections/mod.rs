//! A few connections to one server that all calls share, and what watches over them.
//!
//! A checkout from a pool costs two round trips each time (`cargo bench --bench request` puts them side by side). So the
//! pool makes the connections, and a few are taken from it for good; being multiplexed, each carries any number of
//! calls at once. Nothing that blocks and no subscription ever goes over them: a push from the server on a connection that
//! carries reads can take the place of an answer (redis 1.8).
//!
//! Each connection stands in a **slot**. The first call that finds its slot empty starts to connect, and the others wait
//! for the same attempt, each no longer than its own deadline, if no other slot has a connection. A failed attempt is not
//! repeated for a moment that doubles each time, so that a dead server costs its callers nothing. An attempt moves on only
//! while somebody waits for it: one that everybody has left is replaced by a new one. A connection is dropped after
//!
//! * an I/O error, or a reply that tells of another role or state of the server (`READONLY`, `MASTERDOWN`, `LOADING`,
//!   `CLUSTERDOWN`): a new one may lead elsewhere;
//! * twice the deadline of a call in which the server was asked and did not answer, whether or not those who asked are
//!   still waiting: redis 1.8 keeps a connection that stopped answering for ever. (A login, refresh or revocation that was left, and nothing
//!   asked since, looks like that too, and costs a new connection; a check does not.)
//! * an answer that does not belong to the question.
//!
//! Whoever is refused or gets no answer leaves a **doubt** that this is the server to ask: in a cluster it may have been
//! replaced, or the bucket have moved.

pub(crate) mod batch;
pub(crate) mod identity;
pub(crate) mod liveness;
pub(crate) mod source;
pub(crate) mod target;
pub(crate) mod url;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, TryFutureExt, future::Shared};
use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection};
use tokio::{
    runtime::Handle,
    time::{Instant, error::Elapsed, timeout, timeout_at},
};

use crate::{
    error::StoreErrorKind,
    store::{
        BoxFuture, ServerId,
        redis::client::{
            answer::error::Failure,
            connections::{
                batch::{Gathered, Gathering, StrictAnswer},
                liveness::Liveness,
                source::Source,
                target::{Agreed, Terms},
            },
            failover::guard::{Guard, ServerState},
            moment::Moment,
        },
    },
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// After so long a rest, what must not be sent twice is sent only when something else has been answered: redis 1.8 does
/// not tell a call that was never sent from one whose answer was lost.
const REST: Duration = Duration::from_secs(1);

/// The number of the next connection.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A connection that was just made, and what is known of it.
#[derive(Clone)]
struct Made {
    link: MultiplexedConnection,
    /// The runtime that was there when it was made: its driver runs on it.
    home: Handle,
    server: Option<ServerId>,
    /// The word of the sentinels by which it was made.
    word: Option<Agreed>,
    /// The guard's time when it began to be made.
    suspicions: u64,
}

type Attempt = Shared<BoxFuture<Result<Made, Failure>>>;

/// The shared connections to one server, and the rules by which they are made.
pub(crate) struct Connections {
    source: Arc<Source>,
    slots: Box<[Arc<Slot>]>,
    next: AtomicUsize,
    connect_timeout: Duration,
    /// A connection that has been asked and has not answered for longer than this is given up.
    patience: Duration,
    identifies: bool,
    doubt: Arc<AtomicBool>,
    guard: Arc<Guard>,
    server: Arc<ServerState>,
}

struct Slot(Mutex<State>);

enum State {
    /// No connection. None is tried before `not_before`.
    Empty {
        not_before: Option<Instant>,
        pause: Duration,
        last: Failure,
    },
    Connecting {
        attempt: Attempt,
        started: Instant,
        pause: Duration,
    },
    Ready(Line),
}

/// A connection. Clones are the same connection.
#[derive(Clone)]
struct Line {
    link: MultiplexedConnection,
    liveness: Arc<Liveness>,
    made: Moment,
    /// What is asked over it together.
    gathering: Arc<Gathering>,
    server: Option<ServerId>,
    word: Option<Arc<Agreed>>,
    suspicions: u64,
    number: u64,
}

/// A connection that a call may use.
pub(crate) struct Lease {
    slot: Arc<Slot>,
    line: Line,
    doubt: Arc<AtomicBool>,
    guard: Arc<Guard>,
    server: Arc<ServerState>,
}

impl Connections {
    pub(crate) fn new(source: Source, terms: &Terms, guard: &Arc<Guard>) -> Self {
        let slots = (0..terms.connections.max(1)).map(|_| Arc::default()).collect();
        // Behind sentinels an attempt may have to try several addresses. Whoever waits for it waits no longer for that.
        let connect_timeout = if source.has_many_addresses() { terms.timeout.saturating_mul(4) } else { terms.timeout };
        Self {
            source: Arc::new(source),
            slots,
            next: AtomicUsize::new(0),
            connect_timeout,
            patience: terms.patience,
            identifies: terms.identifies,
            doubt: Arc::default(),
            guard: Arc::clone(guard),
            server: Arc::default(),
        }
    }

    /// Returns the rules by which answers count.
    pub(crate) fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// How many connections there are at most.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Whether somebody was refused or got no answer since this was last trusted.
    #[cfg(feature = "cluster")]
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubt.load(Ordering::Relaxed)
    }

    /// This is the server to ask, after all.
    #[cfg(feature = "cluster")]
    pub(crate) fn trust(&self) {
        self.doubt.store(false, Ordering::Relaxed);
    }

    /// A connection, made if there is none. The slots take turns; one that pauses after a failure is passed over, and one
    /// for which others wait is left to them if another will do.
    pub(crate) async fn lease(&self, deadline: Instant) -> Result<Lease, Failure> {
        let outcome = self.find(deadline).await;
        if outcome.is_err() {
            self.doubt.store(true, Ordering::Relaxed);
        }
        outcome.map(|(slot, line)| Lease {
            slot: Arc::clone(slot),
            line,
            doubt: Arc::clone(&self.doubt),
            guard: Arc::clone(&self.guard),
            server: Arc::clone(&self.server),
        })
    }

    async fn find(&self, deadline: Instant) -> Result<(&Arc<Slot>, Line), Failure> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.slots.len()).unwrap_or(0);
        let (mut outcome, mut others) = (Err(never_tried()), None);
        for slot in self.slots.iter().cycle().skip(turn).take(self.slots.len()) {
            match slot.look(self, || self.attempt()) {
                Found::Line(line) => return Ok((slot, line)),
                Found::New(attempt) => return wait(slot, &attempt, deadline).await,
                Found::Others(attempt) => others = others.or(Some((slot, attempt))),
                // There is nothing to be dropped: a call that may be repeated has no reason to look here again.
                Found::Pause(mut failure) => {
                    failure.broken = false;
                    outcome = Err(failure);
                }
            }
        }
        match others {
            Some((slot, attempt)) => wait(slot, &attempt, deadline).await,
            None => outcome,
        }
    }

    fn attempt(&self) -> Attempt {
        let (source, limit, guard) = (Arc::clone(&self.source), self.connect_timeout, Arc::clone(&self.guard));
        let identifies = self.identifies;
        let make = async move {
            let suspicions = guard.suspicions();
            let (link, word) = source.connect_by_word().await?;
            // Only proofs need the time for which it has been the primary.
            let with_term = guard.deployment().max_lag().is_some();
            let name = if identifies { identity::name(link.clone(), with_term).await? } else { None };
            let under = word.as_ref().map(|word| (word.era, word.epoch));
            let server = name.map(|name| identity::server_id(&name, under));
            Ok(Made { link, home: Handle::current(), server, word, suspicions })
        };
        let connect = async move { timeout(limit, make).await.unwrap_or_else(|_| Err(Failure::timeout())) };
        let boxed: BoxFuture<_> = Box::pin(connect);
        boxed.shared()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.guard.forget(&self.server);
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("slots", &self.count()).finish_non_exhaustive()
    }
}

async fn wait<'a>(slot: &'a Arc<Slot>, attempt: &Attempt, deadline: Instant) -> Result<(&'a Arc<Slot>, Line), Failure> {
    let connected = timeout_at(deadline, attempt.clone()).await.map_err(|_| Failure::timeout())?;
    slot.settle(attempt, connected).map(|line| (slot, line))
}

impl Lease {
    /// Sends a command and waits for its answer.
    pub(crate) async fn command(&mut self, command: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        self.line.liveness.asks();
        let answer = command.query_async::<Value>(&mut self.line.link).map_err(Failure::from);
        let answer = timeout_at(deadline, answer).await;
        self.report(answer)
    }

    /// Sends commands in one go and waits for all answers.
    pub(crate) async fn pipeline(&mut self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Value>, Failure> {
        self.line.liveness.asks();
        let answer = pipeline.query_async::<Vec<Value>>(&mut self.line.link).map_err(Failure::from);
        let answer = timeout_at(deadline, answer).await;
        self.report(answer)
    }

    /// Asks for these reads of a bucket together with all who ask now over this connection. An
    /// answer that does not count is an error.
    pub(crate) async fn strict_read(
        &self,
        bucket: u32,
        reads: Vec<Cmd>,
        deadline: Instant,
    ) -> Result<StrictAnswer, Failure> {
        // Where no answer would count, nothing is asked.
        self.confirm()?;
        let write_check = self.guard.write_check(bucket);
        let gathered = timeout_at(deadline, self.line.gathering.ask(reads, write_check, deadline)).await;
        // That it answers, the task that sends has written down.
        let gathered = gathered.unwrap_or_else(|_| Err(Failure::timeout())).inspect_err(|failure| self.heed(failure));
        let Gathered { answer, write_check, asked } = gathered?;
        // An answer of no primary, or nobody's, is found out by whoever reads it.
        if answer.now.is_ok() {
            self.judge(&write_check, asked)?;
        }
        Ok(answer)
    }

    /// Judges an answer that came over this connection: whether what was read in the same pipeline
    /// counts.
    ///
    /// How the reader of the log uses it: take [`Moment::now`] before the pipeline is made, end the
    /// pipeline with [`Guard::write_check`] of one of its buckets and `TIME`, both after all reads,
    /// and send it with [`pipeline`](Self::pipeline) (errors ignored, so that the check's own error
    /// is among the values). When the answer has come and `ROLE` and `TIME` were read, call this
    /// with the value in the check's place. An error means: no lease and no `alive_at` by this
    /// answer. The connection was then dropped if it had to be; do not call
    /// [`distrust`](Self::distrust) on top, for a connection that merely lacks a proof must stay.
    pub(crate) fn judge(&self, write_check: &Value, asked: Moment) -> Result<(), Failure> {
        let checked = self.guard.judge_check(write_check, &self.server).inspect_err(|failure| self.heed(failure));
        checked.and_then(|()| self.trust(asked))
    }

    /// Judges an answer that needs no write check, because it told of a write: to be called when it
    /// has come. An error means that nothing is confirmed: what was written may be lost.
    pub(crate) fn confirm(&self) -> Result<(), Failure> {
        self.trust(Moment::now())
    }

    fn trust(&self, asked: Moment) -> Result<(), Failure> {
        let outcome = if self.line.suspicions == self.guard.suspicions() {
            self.guard
                .proved(self.line.server, asked, self.line.made)
                .and_then(|()| self.guard.confirm(self.line.word.as_deref()))
        } else {
            let text = "the connection is older than a pause of this node";
            Err(Failure::new(StoreErrorKind::Unavailable, true, text))
        };
        outcome.inspect_err(|failure| self.heed(failure))
    }

    /// Returns the number of this connection, which no other one of this process has. Two
    /// connections to one server may have been made before and after a failover.
    pub(crate) fn connection(&self) -> u64 {
        self.line.number
    }

    /// Returns the identity of the server; `None` if it does not tell.
    pub(crate) fn server(&self) -> Option<ServerId> {
        self.line.server
    }

    /// Whether nothing has come over this connection for so long that it may have been closed unnoticed.
    pub(crate) fn has_rested(&self) -> bool {
        self.line.liveness.has_rested(REST)
    }

    /// Gives the connection up, because an answer did not belong to the question, or came from no primary.
    pub(crate) fn distrust(&self) {
        self.doubt.store(true, Ordering::Relaxed);
        self.slot.drop_line(&self.line);
    }

    fn report<T>(&self, answer: Result<Result<T, Failure>, Elapsed>) -> Result<T, Failure> {
        let answer = answer.unwrap_or_else(|_| Err(Failure::timeout()));
        // An error of the server's is an answer too.
        if answer.as_ref().err().is_none_or(|failure| !failure.broken && failure.kind != StoreErrorKind::Timeout) {
            self.line.liveness.answered();
        }
        answer.inspect_err(|failure| self.heed(failure))
    }

    fn heed(&self, failure: &Failure) {
        if failure.broken || matches!(failure.kind, StoreErrorKind::Unavailable | StoreErrorKind::Timeout) {
            self.doubt.store(true, Ordering::Relaxed);
        }
        if failure.broken {
            self.slot.drop_line(&self.line);
        }
    }
}

impl Line {
    fn new(Made { link, home, server, word, suspicions }: Made) -> Self {
        let liveness = Arc::new(Liveness::new());
        let gathering = Arc::new(Gathering::new(link.clone(), home, Arc::clone(&liveness)));
        Self {
            link,
            liveness,
            made: Moment::now(),
            gathering,
            server,
            word: word.map(Arc::new),
            suspicions,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Whether a call may use it.
    fn is_usable(&self, limits: &Connections) -> bool {
        self.suspicions == limits.guard.suspicions()
            && !self.liveness.is_silent(limits.patience)
            && !limits.guard.names_another(self.word.as_deref())
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.liveness, &other.liveness)
    }
}

/// What a call finds in its slot.
enum Found {
    Line(Line),
    /// An attempt that this call has begun, or that nobody else has waited for lately.
    New(Attempt),
    /// An attempt that others wait for.
    Others(Attempt),
    Pause(Failure),
}

impl Default for Slot {
    fn default() -> Self {
        Self(Mutex::new(State::Empty { not_before: None, pause: SHORTEST_PAUSE, last: never_tried() }))
    }
}

impl Slot {
    fn look(&self, limits: &Connections, connect: impl FnOnce() -> Attempt) -> Found {
        let mut state = self.lock();
        let pause = match &*state {
            State::Ready(line) if line.is_usable(limits) => return Found::Line(line.clone()),
            State::Ready(_) => SHORTEST_PAUSE,
            // One that is waited for has ended by then. Nobody knows in what state one is that was left half-way.
            State::Connecting { started, pause, .. } if started.elapsed() > limits.connect_timeout => *pause,
            State::Connecting { attempt, .. } => return Found::Others(attempt.clone()),
            State::Empty { not_before: Some(moment), last, .. } if Instant::now() < *moment => {
                return Found::Pause(last.clone());
            }
            State::Empty { pause, .. } => *pause,
        };
        let attempt = connect();
        *state = State::Connecting { attempt: attempt.clone(), started: Instant::now(), pause };
        Found::New(attempt)
    }

    /// Writes down how an attempt ended. The first of those who waited for it does so; the others find it done.
    fn settle(&self, attempt: &Attempt, outcome: Result<Made, Failure>) -> Result<Line, Failure> {
        let mut state = self.lock();
        match &*state {
            State::Connecting { attempt: current, pause, .. } if current.ptr_eq(attempt) => match outcome {
                Ok(made) => {
                    let line = Line::new(made);
                    *state = State::Ready(line.clone());
                    Ok(line)
                }
                Err(failure) => {
                    let not_before = Instant::now().checked_add(*pause);
                    let pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    *state = State::Empty { not_before, pause, last: failure.clone() };
                    Err(failure)
                }
            },
            State::Ready(line) => outcome.map(|_| line.clone()),
            // The attempt ended well and its connection was given up since.
            _ => Err(outcome.err().unwrap_or_else(given_up)),
        }
    }

    fn drop_line(&self, line: &Line) {
        let mut state = self.lock();
        if matches!(&*state, State::Ready(current) if current.is(line)) {
            // One that breaks as soon as it is made would be made again at every call.
            let not_before = line.liveness.made().checked_add(SHORTEST_PAUSE);
            *state = State::Empty { not_before, pause: SHORTEST_PAUSE, last: given_up() };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn never_tried() -> Failure {
    Failure::new(StoreErrorKind::Unavailable, true, "not connected")
}

fn given_up() -> Failure {
    Failure::new(StoreErrorKind::Unavailable, true, "the connection was given up")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;
    use crate::store::redis::{client::failover::deployment::Deployment, layout::keys::Keyspace};

    /// A server that refuses every command, and the URL to meet it at.
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
        let guard = Guard::new(Keyspace::new("tb", 1).unwrap(), deployment);
        Connections::new(Source::Pool(pool), &Terms::new(Duration::from_secs(1), 1), &guard.into())
    }

    #[tokio::test]
    async fn after_a_pause_of_this_node_no_connection_of_before_counts_or_is_used() {
        let (_server, url) = refusing().await;
        let connections = connections(&url, Deployment::Single);
        let lease = async || connections.lease(Instant::now() + Duration::from_secs(10)).await.unwrap();
        let before = lease().await;
        assert_eq!(before.server(), None, "it does not tell who it is");
        before.judge(&Value::Int(0), Moment::now()).unwrap();
        assert_eq!(lease().await.connection(), before.connection());
        connections.guard().suspect();
        assert!(before.judge(&Value::Int(0), Moment::now()).unwrap_err().broken);
        // One that was given up is not made again at once.
        tokio::time::sleep(SHORTEST_PAUSE).await;
        let after = lease().await;
        assert_ne!(after.connection(), before.connection());
        after.judge(&Value::Int(0), Moment::now()).unwrap();
    }

    #[tokio::test]
    async fn behind_an_address_that_moves_a_connection_without_a_proof_does_not_count_and_stays() {
        let (_server, url) = refusing().await;
        let connections = connections(&url, Deployment::Replicas { max_lag: Duration::from_secs(1) });
        let lease = async || connections.lease(Instant::now() + Duration::from_secs(10)).await.unwrap();
        let first = lease().await;
        let failure = first.judge(&Value::Int(0), Moment::now()).unwrap_err();
        assert_eq!((failure.kind, failure.broken), (StoreErrorKind::Unavailable, false));
        first.confirm().unwrap_err();
        assert_eq!(lease().await.connection(), first.connection());
    }

    #[tokio::test]
    async fn a_call_that_finds_every_slot_pausing_has_no_reason_to_look_again() {
        // Bound and not served: a connection to it is refused once it is closed.
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("redis://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        drop(listener);
        let connections = connections(&url, Deployment::Undeclared);
        let deadline = Instant::now() + Duration::from_secs(1);
        assert!(connections.lease(deadline).await.err().unwrap().broken, "the attempt itself");
        let failure = connections.lease(deadline).await.err().unwrap();
        assert_eq!((failure.kind, failure.broken), (StoreErrorKind::Unavailable, false));
    }
}

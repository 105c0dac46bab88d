//! A few connections that all calls share, and what watches over them.
//!
//! A checkout from a pool costs two round trips each time (measured: 25 000 checks a second against 316 000). So the
//! pool makes the connections, and a few are taken from it for good; being multiplexed, each carries any number of
//! calls at once. Nothing that blocks and no subscription ever goes over them: a push from the server on a connection that
//! carries reads can take the place of an answer (redis 1.8).
//!
//! Each connection stands in a **slot**. The first call that finds its slot empty starts to connect, and the others wait
//! for the same attempt, each no longer than its own deadline. A failed attempt is not repeated for a moment that doubles
//! each time, so that a dead server costs its callers nothing. A connection is dropped after
//!
//! * an I/O error, or a reply that tells of another role or state of the server (`READONLY`, `MASTERDOWN`, `LOADING`,
//!   `CLUSTERDOWN`): a new one may lead elsewhere;
//! * two timeouts with no answer in between: redis 1.8 keeps a connection that stopped answering for ever, and its cluster
//!   connection stays with a primary that hangs even after the cluster has replaced it;
//! * an answer that does not belong to the question.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::Shared};
use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, timeout_at};

use crate::{
    error::StoreErrorKind,
    store::{
        BoxFuture,
        redis::{
            failure::Failure,
            source::{Link, Source},
        },
    },
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So many timeouts with no answer in between, and a connection is given up.
const MAX_TIMEOUTS: u32 = 2;

type Attempt = Shared<BoxFuture<Result<Link, Failure>>>;

/// The shared connections.
pub(super) struct Connections {
    source: Arc<Source>,
    slots: Box<[Slot]>,
    next: AtomicUsize,
    connect_timeout: Duration,
    shards: u32,
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
        pause: Duration,
    },
    Ready(Line),
}

/// A connection and how it fares. Clones are the same connection.
#[derive(Clone)]
struct Line {
    link: Link,
    made: Instant,
    /// Timeouts with no answer in between, for each server behind the connection: in a cluster, one that hangs must be
    /// noticed though the others answer.
    timeouts: Arc<[AtomicU32]>,
}

/// A connection that a call may use.
pub(super) struct Lease<'a> {
    slot: &'a Slot,
    line: Line,
    shard: u32,
}

impl Connections {
    pub(super) fn new(source: Source, count: usize, buckets: u32, timeout: Duration) -> Self {
        let slots = (0..count.max(1)).map(|_| Slot::new()).collect();
        let shards = source.shards(buckets);
        // Behind sentinels and in clusters an attempt may have to try several addresses. Whoever waits for it waits no
        // longer for that.
        let connect_timeout = if source.asks_for_role() { timeout.saturating_mul(4) } else { timeout };
        Self { source: Arc::new(source), slots, next: AtomicUsize::new(0), connect_timeout, shards }
    }

    /// How many connections there are at most.
    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Whether a strict read must ask for the server's role as well.
    pub(super) fn asks_for_role(&self) -> bool {
        self.source.asks_for_role()
    }

    /// A connection to ask about a bucket, made if there is none. The slots take turns; one that pauses after a failure is passed over.
    pub(super) async fn lease(&self, bucket: u32, deadline: Instant) -> Result<Lease<'_>, Failure> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.slots.len()).unwrap_or(0);
        let shard = bucket.checked_rem(self.shards).unwrap_or(0);
        let mut outcome = Err(never_tried());
        for slot in self.slots.iter().cycle().skip(turn).take(self.slots.len()) {
            match slot.look(|| self.attempt()) {
                Found::Line(line) => return Ok(Lease { slot, line, shard }),
                Found::Attempt(attempt) => {
                    let connected = timeout_at(deadline, attempt.clone()).await.map_err(|_| Failure::timeout())?;
                    return slot.settle(&attempt, connected, self.shards).map(|line| Lease { slot, line, shard });
                }
                Found::Pause(failure) => outcome = Err(failure),
            }
        }
        outcome
    }

    fn attempt(&self) -> Attempt {
        let (source, limit) = (Arc::clone(&self.source), self.connect_timeout);
        let connect = async move {
            match tokio::time::timeout(limit, source.connect()).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::timeout()),
            }
        };
        let boxed: BoxFuture<_> = Box::pin(connect);
        boxed.shared()
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

impl Lease<'_> {
    /// Sends a command and waits for its answer.
    pub(super) async fn command(&mut self, command: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        let answer = timeout_at(deadline, command.query_async::<Value>(&mut self.line.link)).await;
        self.report(answer)
    }

    /// Sends commands in one go and waits for all answers.
    pub(super) async fn pipeline(&mut self, pipeline: &Pipeline, deadline: Instant) -> Result<Vec<Value>, Failure> {
        let answer = timeout_at(deadline, pipeline.query_async::<Vec<Value>>(&mut self.line.link)).await;
        self.report(answer)
    }

    /// Gives the connection up, because an answer did not belong to the question.
    pub(super) fn distrust(&self) {
        self.slot.drop_line(&self.line);
    }

    fn report<T>(&self, answer: Result<redis::RedisResult<T>, tokio::time::error::Elapsed>) -> Result<T, Failure> {
        match answer {
            Ok(Ok(value)) => {
                if let Some(timeouts) = self.timeouts() {
                    timeouts.store(0, Ordering::Relaxed);
                }
                Ok(value)
            }
            Ok(Err(error)) => Err(self.failed(error.into())),
            Err(_) => Err(self.failed(Failure::timeout())),
        }
    }

    fn timeouts(&self) -> Option<&AtomicU32> {
        self.line.timeouts.get(usize::try_from(self.shard).ok()?)
    }

    fn failed(&self, failure: Failure) -> Failure {
        let timed_out = failure.kind == StoreErrorKind::Timeout;
        let before = self.timeouts().filter(|_| timed_out).map(|timeouts| timeouts.fetch_add(1, Ordering::Relaxed));
        let given_up = before.is_some_and(|before| before.saturating_add(1) >= MAX_TIMEOUTS);
        if failure.broken || given_up {
            self.slot.drop_line(&self.line);
        }
        failure
    }
}

/// What a call finds in its slot.
enum Found {
    Line(Line),
    Attempt(Attempt),
    Pause(Failure),
}

impl Slot {
    fn new() -> Self {
        Self(Mutex::new(State::Empty { not_before: None, pause: SHORTEST_PAUSE, last: never_tried() }))
    }

    fn look(&self, connect: impl FnOnce() -> Attempt) -> Found {
        let mut state = self.lock();
        match &*state {
            State::Ready(line) => Found::Line(line.clone()),
            State::Connecting { attempt, .. } => Found::Attempt(attempt.clone()),
            State::Empty { not_before: Some(moment), last, .. } if Instant::now() < *moment => {
                Found::Pause(last.clone())
            }
            State::Empty { pause, .. } => {
                let (attempt, pause) = (connect(), *pause);
                *state = State::Connecting { attempt: attempt.clone(), pause };
                Found::Attempt(attempt)
            }
        }
    }

    /// Writes down how an attempt ended. The first of those who waited for it does so; the others find it done.
    fn settle(&self, attempt: &Attempt, outcome: Result<Link, Failure>, shards: u32) -> Result<Line, Failure> {
        let mut state = self.lock();
        match &*state {
            State::Connecting { attempt: current, pause } if current.ptr_eq(attempt) => {
                let pause = *pause;
                match outcome {
                    Ok(connected) => {
                        let timeouts = (0..shards).map(|_| AtomicU32::new(0)).collect();
                        let line = Line { link: connected, made: Instant::now(), timeouts };
                        *state = State::Ready(line.clone());
                        Ok(line)
                    }
                    Err(failure) => {
                        let not_before = Instant::now().checked_add(pause);
                        let pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                        *state = State::Empty { not_before, pause, last: failure.clone() };
                        Err(failure)
                    }
                }
            }
            State::Ready(line) => outcome.map(|_| line.clone()),
            // The attempt ended well and its connection was given up since.
            _ => Err(outcome.err().unwrap_or_else(given_up)),
        }
    }

    fn drop_line(&self, line: &Line) {
        let mut state = self.lock();
        if let State::Ready(current) = &*state
            && Arc::ptr_eq(&current.timeouts, &line.timeouts)
        {
            // One that breaks as soon as it is made would be made again at every call.
            let not_before = line.made.checked_add(SHORTEST_PAUSE);
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

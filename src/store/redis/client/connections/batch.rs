//! Batches of strict reads, with which a node asks the store about tokens. A task sends
//! simultaneous reads over one connection together, with one `TIME`, one `ROLE` and one
//! [write check] for all of them.
//!
//! [write check]: crate::store::redis::client::failover::guard::Guard::write_check
//!
//! Each caller enqueues its reads and yields once, so that other callers can enqueue theirs. The
//! first caller that runs again starts the batch. A task on the runtime of the connection sends the
//! batch. It ends with the answer, or at the latest deadline of the callers. If a caller leaves,
//! the other callers still get their answers.
//!
//! If one read gets an error, only its caller fails. But a stray answer would shift all later
//! answers, so that callers would get the answers to other commands. So each batch ends with a
//! second `TIME`. If the last answer is not a time, no caller uses the answers. The tag of a record
//! (`docs/protocol.md`, P1.7) shows a shift too, but a missing record has no tag.
//!
//! Without batches, redis sends the first of many simultaneous commands in a separate write to the
//! socket. No upstream issue exists. To reproduce on redis 1.8, count the writes to the socket of
//! 100 simultaneous commands.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    vec,
};

use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection};
use tokio::{
    sync::oneshot,
    task::yield_now,
    time::{Instant, timeout_at},
};

use crate::{
    clock::Timestamp,
    error::StoreErrorKind,
    store::redis::client::answer::{CommandError, Moment, Reply, malformed},
};

/// The reads that wait to be sent over one connection.
#[derive(Default)]
pub(crate) struct ReadBatch(Mutex<Vec<PendingRead>>);

/// The reads of one batch: at least one.
pub(crate) struct ClosedBatch {
    reads: Vec<PendingRead>,
    /// The latest deadline of all callers.
    latest: Instant,
}

/// The answers to the reads of one caller.
pub(crate) struct StrictAnswer {
    /// The server's time before the reads; an error if `TIME` or `ROLE` has a wrong answer, or the
    /// server is not a primary. The client does not repeat the reads after this error.
    pub(crate) now: Result<Timestamp, CommandError>,
    pub(crate) values: Vec<Value>,
}

/// The answers to the reads of one caller, with the write check and the time of their batch.
pub(crate) struct BatchAnswer {
    pub(crate) answer: StrictAnswer,
    /// The answer to the write check after the reads.
    pub(crate) write_check: Value,
    /// A moment before the reads were sent.
    pub(crate) asked: Moment,
}

/// The reads of one caller.
struct PendingRead {
    reads: Vec<Cmd>,
    /// The write check. A batch contains only the write check of its first caller.
    write_check: Cmd,
    deadline: Instant,
    answer: oneshot::Sender<Result<BatchAnswer, CommandError>>,
}

/// Creates a pipeline with the first commands of a batch.
///
/// * `TIME` comes before the reads, so the reads return every revocation from before that time.
///   Between two commands of a pipeline, the server may run commands of other clients.
/// * `ROLE` detects a primary that became a replica (`REPLICAOF`). Such a server still answers,
///   from stale data.
fn time_and_role() -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(4);
    pipeline.cmd("TIME");
    pipeline.cmd("ROLE");
    pipeline
}

impl ReadBatch {
    /// Enqueues these reads, and starts their batch if no other caller does. A write check checks
    /// the server and not a read, so one write check is enough for the batch.
    ///
    /// `start` sends the batch in a task on the runtime of the connection.
    pub(crate) async fn ask(
        &self,
        reads: Vec<Cmd>,
        write_check: Cmd,
        deadline: Instant,
        start: impl FnOnce(ClosedBatch),
    ) -> Result<BatchAnswer, CommandError> {
        let (answer, answered) = oneshot::channel();
        self.join(PendingRead { reads, write_check, deadline, answer });
        yield_now().await;
        let reads = self.close();
        if let Some(latest) = reads.iter().map(|read| read.deadline).max() {
            start(ClosedBatch { reads, latest });
        }
        let gone =
            |_| Err(CommandError::new(StoreErrorKind::Unavailable, true, "the runtime of the connection has ended"));
        answered.await.unwrap_or_else(gone)
    }

    /// Enqueues reads.
    fn join(&self, read: PendingRead) {
        let mut pending = self.lock();
        // If callers leave before a batch starts, their reads stay in the queue. So a full queue
        // first removes the reads of such callers.
        if pending.len() == pending.capacity() {
            pending.retain(PendingRead::is_waited_for);
        }
        pending.push(read);
    }

    /// Takes the reads whose callers still wait.
    fn close(&self) -> Vec<PendingRead> {
        let mut pending = mem::take(&mut *self.lock());
        pending.retain(PendingRead::is_waited_for);
        pending
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PendingRead>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingRead {
    /// Returns whether the caller still waits.
    fn is_waited_for(&self) -> bool {
        !self.answer.is_closed()
    }
}

impl ClosedBatch {
    /// Sends the batch, and passes each answer to its caller. Calls `on_answer` first if the server
    /// answers.
    pub(crate) async fn send(self, mut multiplexed: MultiplexedConnection, on_answer: impl FnOnce()) {
        let Self { reads, latest } = self;
        let asked = Moment::now();
        let mut pipeline = time_and_role();
        pipeline.ignore_errors();
        let (mut asked_by, mut write_check) = (Vec::with_capacity(reads.len()), None);
        for read in reads {
            asked_by.push((read.reads.len(), read.answer));
            for read in read.reads {
                pipeline.add_command(read);
            }
            write_check.get_or_insert(read.write_check);
        }
        if let Some(write_check) = write_check {
            pipeline.add_command(write_check);
        }
        pipeline.cmd("TIME");
        let outcome = timeout_at(latest, pipeline.query_async::<Vec<Value>>(&mut multiplexed)).await;
        if let Ok(Ok(_)) = outcome {
            // The connection works, even if no caller waits any more.
            on_answer();
        }
        let answered = outcome.map_err(|_| CommandError::timeout()).and_then(|answer| framed(answer?));
        let (now, mut between, write_check) = match answered {
            Ok(Framed { now, between, write_check }) => (Ok(now), between, write_check),
            Err(error) => (Err(error), Vec::new().into_iter(), Value::Nil),
        };
        for (count, answer) in asked_by {
            let own: Vec<_> = between.by_ref().take(count).collect();
            // If the answer to `TIME` or `ROLE` is wrong, an answer to a read may belong to another
            // command.
            let own = now.clone().and_then(|now| {
                let is_untrusted = now.as_ref().is_err_and(|error| error.kind == StoreErrorKind::Untrusted);
                let values = if is_untrusted { Vec::new() } else { without_errors(own)? };
                Ok(BatchAnswer { answer: StrictAnswer { now, values }, write_check: write_check.clone(), asked })
            });
            // The send fails if the caller has left.
            let _ = answer.send(own);
        }
    }
}

/// The parts of the answer to a batch.
pub(crate) struct Framed {
    /// The server's time, as in [`StrictAnswer`].
    pub(crate) now: Result<Timestamp, CommandError>,
    /// The answers to the reads.
    pub(crate) between: vec::IntoIter<Value>,
    pub(crate) write_check: Value,
}

/// Splits the answer to a batch: `TIME`, `ROLE`, the reads, the write check and the second `TIME`.
pub(crate) fn framed(mut values: Vec<Value>) -> Result<Framed, CommandError> {
    let last = values.pop().map(Value::extract_error).transpose()?;
    let write_check = values.pop().ok_or_else(malformed)?;
    let mut values = values.into_iter();
    let first = without_errors(values.by_ref().take(2).collect())?;
    let now = Reply::of(Value::Array(first)).and_then(|mut reply| {
        let now = reply.array()?.server_time()?;
        reply.array()?.primary()?;
        Reply::of(last.unwrap_or(Value::Nil))?.server_time()?;
        Ok(now)
    });
    Ok(Framed { now, between: values, write_check })
}

/// Returns the values, or the first error among them.
fn without_errors(values: Vec<Value>) -> Result<Vec<Value>, CommandError> {
    Ok(values.into_iter().map(Value::extract_error).collect::<Result<_, _>>()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    /// Returns a primary's answers to two reads of absent keys.
    fn answers() -> Vec<Value> {
        let time = Value::Array(vec![bulk("1767225660"), bulk("1000")]);
        let role = Value::Array(vec![bulk("master"), Value::Int(0), Value::Array(Vec::new())]);
        let nothing = || Value::Array(vec![Value::Nil, Value::Nil, Value::Nil]);
        vec![time.clone(), role, nothing(), nothing(), Value::Int(0), time]
    }

    #[test]
    fn what_stands_between_the_times_are_the_answers() {
        let Framed { now, between, write_check } = framed(answers()).unwrap();
        assert_eq!(now.unwrap(), Timestamp::from_millis(1_767_225_660_001));
        assert_eq!((between.len(), write_check), (2, Value::Int(0)));
    }

    #[test]
    fn an_answer_that_is_nobodys_is_noticed_wherever_it_got_in() {
        let nothing = Value::Array(vec![Value::Nil, Value::Nil, Value::Nil]);
        for stray in [Value::Nil, Value::Okay, Value::Int(0), nothing] {
            for place in 0..6 {
                let mut values = answers();
                values.insert(place, stray.clone());
                // The client reads one answer for each command, and leaves the last answer unread.
                values.pop();
                let now = framed(values).map(|framed| framed.now);
                assert!(!matches!(now, Ok(Ok(_))), "at {place}: {stray:?}");
            }
        }
    }
}

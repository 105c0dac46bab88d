//! Strict reads that are asked over one connection at about the same time, sent together: one `TIME`, one `ROLE` and one write serve them all.
//!
//! Of the three things that a strict read asks ([`strict_read`]), two are the same for everybody. And redis 1.8 writes what the first of many has sent
//! before the second gets to send.
//!
//! Who asks first begins a task. It lets those ask who are about to, then sends what has gathered: all of it after it was asked for, and after the same
//! `TIME`.
//!
//! The error of one read is its own. Each waits no longer than its own deadline, and who leaves takes nobody along. The task ends with the
//! last one's deadline, or with its runtime; who waits for it then is told so.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use redis::{Cmd, Value, aio::MultiplexedConnection};
use tokio::{
    sync::oneshot,
    task::yield_now,
    time::{Instant, timeout_at},
};

use crate::{
    clock::Timestamp,
    error::StoreErrorKind,
    store::redis::{call::strict_read, failure::Failure, reply::Reply},
};

/// What is about to be sent over one connection.
#[derive(Default)]
pub(super) struct Gathering(Mutex<Vec<Question>>);

/// The answers to some reads.
pub(super) struct Answer {
    /// The server's time before them; a failure if that cannot be read, or the server is no primary.
    pub(super) now: Result<Timestamp, Failure>,
    pub(super) values: Vec<Value>,
}

struct Question {
    reads: Vec<Cmd>,
    deadline: Instant,
    answer: oneshot::Sender<Result<Answer, Failure>>,
}

/// The right and duty to send what has gathered. Dropped before, it lets go of all who wait: they must not wait for a task that is gone.
struct Departure(Option<Arc<Gathering>>);

impl Gathering {
    /// Asks for these reads, together with all who ask now.
    pub(super) async fn ask(
        self: &Arc<Self>,
        link: &MultiplexedConnection,
        reads: Vec<Cmd>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let (answer, told) = oneshot::channel();
        let is_first = {
            let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            questions.push(Question { reads, deadline, answer });
            questions.len() == 1
        };
        if is_first {
            let departure = Departure(Some(Arc::clone(self)));
            tokio::spawn(departure.send(link.clone()));
        }
        let gone = |_| Err(Failure::new(StoreErrorKind::Unavailable, true, "the runtime of the connection has ended"));
        told.await.unwrap_or_else(gone)
    }
}

impl Departure {
    async fn send(mut self, mut link: MultiplexedConnection) {
        yield_now().await;
        let mut questions = self.close();
        questions.retain(|question| !question.answer.is_closed());
        let Some(latest) = questions.iter().map(|question| question.deadline).max() else { return };
        let mut pipeline = strict_read();
        pipeline.ignore_errors();
        let mut asked_by = Vec::with_capacity(questions.len());
        for Question { reads, answer, .. } in questions {
            asked_by.push((reads.len(), answer));
            for read in reads {
                pipeline.add_command(read);
            }
        }
        let asked = timeout_at(latest, pipeline.query_async::<Vec<Value>>(&mut link)).await;
        let answered = asked.map_err(|_| Failure::timeout()).and_then(|answer| time_of_primary(answer?));
        let (now, mut rest) =
            answered.map_or_else(|failure| (Err(failure), Vec::new().into_iter()), |(now, rest)| (Ok(now), rest));
        for (count, answer) in asked_by {
            let own: Vec<_> = rest.by_ref().take(count).collect();
            let own = now.clone().and_then(|now| Ok(Answer { now, values: without_errors(own)? }));
            // Whoever has left does not need it.
            let _ = answer.send(own);
        }
    }

    /// What has gathered. Whoever asks next is the first of the next.
    fn close(&mut self) -> Vec<Question> {
        let Some(gathering) = self.0.take() else { return Vec::new() };
        let mut questions = gathering.0.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *questions)
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        drop(self.close());
    }
}

type Rest = std::vec::IntoIter<Value>;

/// What the answers to `TIME` and `ROLE` mean, and the rest.
pub(super) fn time_of_primary(values: Vec<Value>) -> Result<(Result<Timestamp, Failure>, Rest), Failure> {
    let mut rest = values.into_iter();
    let first = without_errors(rest.by_ref().take(2).collect())?;
    let now = Reply::of(Value::Array(first)).and_then(|mut reply| reply.time_of_primary());
    Ok((now, rest))
}

fn without_errors(values: Vec<Value>) -> Result<Vec<Value>, Failure> {
    Ok(values.into_iter().map(Value::extract_error).collect::<Result<_, _>>()?)
}

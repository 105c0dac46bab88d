//! A connection that one call uses, and the judgement of its answers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::TryFutureExt;
use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, error::Elapsed, timeout_at};

use crate::{
    error::StoreErrorKind,
    store::{
        ServerId,
        redis::client::{
            answer::{CommandError, Moment},
            connections::{
                batch::{BatchAnswer, StrictAnswer},
                connection::Connection,
                slot::ConnectionSlot,
            },
            failover::guard::{Guard, ServerState},
        },
    },
};

/// After this rest, a call that must not run twice waits until a read has been answered.
///
/// The server may have closed the connection meanwhile. redis reports a command that was never sent
/// like one whose answer was lost (redis-rs#1415, open), so such a call could not be repeated.
/// Remove when redis tells the two apart.
const REST: Duration = Duration::from_secs(1);

/// A connection that one call uses.
pub(crate) struct Checkout {
    /// The slot of the connection, to empty it.
    pub(super) slot: Arc<ConnectionSlot>,
    pub(super) connection: Connection,
    /// Set if this may be the wrong server.
    pub(super) doubt: Arc<AtomicBool>,
    pub(super) guard: Arc<Guard>,
    pub(super) server: Arc<ServerState>,
}

impl Checkout {
    /// Sends a command and waits for its answer.
    pub(crate) async fn command(&mut self, command: &Cmd, deadline: Instant) -> Result<Value, CommandError> {
        self.connection.liveness.asks();
        let answer = command.query_async::<Value>(&mut self.connection.multiplexed).map_err(CommandError::from);
        let answer = timeout_at(deadline, answer).await;
        self.report(answer)
    }

    /// Sends commands in one go and waits for all answers.
    pub(crate) async fn pipeline(
        &mut self,
        pipeline: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Value>, CommandError> {
        self.connection.liveness.asks();
        let answer = pipeline.query_async::<Vec<Value>>(&mut self.connection.multiplexed).map_err(CommandError::from);
        let answer = timeout_at(deadline, answer).await;
        self.report(answer)
    }

    /// Sends these reads of a bucket, in one batch with all simultaneous ones of this connection.
    /// An answer that does not count is an error.
    pub(crate) async fn strict_read(
        &self,
        bucket: u32,
        reads: Vec<Cmd>,
        deadline: Instant,
    ) -> Result<StrictAnswer, CommandError> {
        // If no answer would count, nothing is sent.
        self.confirm()?;
        let write_check = self.guard.write_check(bucket);
        let answered = timeout_at(deadline, self.connection.batch.ask(reads, write_check, deadline)).await;
        // The task that sends the batch has noted that the connection answers.
        let answered =
            answered.unwrap_or_else(|_| Err(CommandError::timeout())).inspect_err(|error| self.on_error(error));
        let BatchAnswer { answer, write_check, asked } = answered?;
        // Without a time the answer is an error, which its caller finds.
        if answer.now.is_ok() {
            self.judge(&write_check, asked)?;
        }
        Ok(answer)
    }

    /// Judges the reads of a pipeline by the answer to its write check.
    ///
    /// The caller takes [`Moment::now`] before it makes the pipeline. After all reads the pipeline
    /// has [`Guard::write_check`] of one of its buckets, and `TIME`. It ignores errors, so that the
    /// error of the check is among the values. The caller reads `ROLE` and `TIME` before it calls
    /// this.
    ///
    /// # Errors
    ///
    /// No decision may rest on the reads. The connection was dropped if it had to be. A connection
    /// that only lacks a proof stays, so the caller must not [`discard`](Self::discard) it.
    pub(crate) fn judge(&self, write_check: &Value, asked: Moment) -> Result<(), CommandError> {
        let checked = self.guard.judge_check(write_check, &self.server).inspect_err(|error| self.on_error(error));
        checked.and_then(|()| self.trust(asked))
    }

    /// Judges the answer to a write, which needs no write check. To be called when it has come.
    ///
    /// # Errors
    ///
    /// Nothing is confirmed: the write may be lost.
    pub(crate) fn confirm(&self) -> Result<(), CommandError> {
        self.trust(Moment::now())
    }

    /// Judges an answer by the suspicions, the proofs and the sentinels.
    fn trust(&self, asked: Moment) -> Result<(), CommandError> {
        let outcome = if self.connection.suspicions == self.guard.suspicions() {
            self.guard
                .proved(self.connection.server, asked, self.connection.made)
                .and_then(|()| self.guard.confirm(self.connection.agreement.as_deref()))
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

    /// Returns the identity of the server; `None` if it does not tell.
    pub(crate) fn server(&self) -> Option<ServerId> {
        self.connection.server
    }

    /// Returns whether the connection was silent for so long that it may have been closed
    /// unnoticed.
    pub(crate) fn has_rested(&self) -> bool {
        self.connection.liveness.has_rested(REST)
    }

    /// Drops the connection, after an answer that belongs to another question or is of no primary.
    pub(crate) fn discard(&self) {
        self.doubt.store(true, Ordering::Relaxed);
        self.slot.drop_connection(&self.connection);
    }

    /// Notes the outcome of a command in the state of the connection.
    fn report<T>(&self, answer: Result<Result<T, CommandError>, Elapsed>) -> Result<T, CommandError> {
        let answer = answer.unwrap_or_else(|_| Err(CommandError::timeout()));
        // An error that the server reports is an answer too.
        if answer.as_ref().err().is_none_or(|error| !error.broken && error.kind != StoreErrorKind::Timeout) {
            self.connection.liveness.answered();
        }
        answer.inspect_err(|error| self.on_error(error))
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

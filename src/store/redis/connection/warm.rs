//! Connections that are kept warm, where a server counts only after it has answered without a gap.

use std::{sync::Arc, time::Duration};

use redis::Value;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{Found, Line, Lines, Slot, wait};
use crate::store::redis::moment::Moment;

/// A third of the longest gap: a ping that comes late leaves time for another one.
const PING_EVERY: Duration = Duration::from_millis(150);

/// The tasks that keep the connections to one server warm, one for each connection. They end when
/// this is dropped.
pub(super) struct Keeper(Vec<JoinHandle<()>>);

impl Keeper {
    /// Starts the tasks on the present runtime.
    pub(super) fn start(lines: &Arc<Lines>) -> Self {
        let keep = |slot: &Arc<Slot>| tokio::spawn(keep(Arc::clone(lines), Arc::clone(slot)));
        Self(lines.slots.iter().map(keep).collect())
    }

    /// Returns whether the runtime of the tasks still exists.
    pub(super) fn is_at_work(&self) -> bool {
        !self.0.iter().any(JoinHandle::is_finished)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Connects if there is no connection, and pings it if there is one.
async fn keep(lines: Arc<Lines>, slot: Arc<Slot>) {
    loop {
        let began = Instant::now();
        match slot.look(&lines, || lines.attempt()) {
            Found::Line(line) => ping(&lines, &slot, line, began + lines.patience).await,
            Found::New(attempt) | Found::Others(attempt) => {
                let _ = wait(&slot, &attempt, &lines.guard, began + lines.connect_timeout).await;
            }
            Found::Pause(_) => {}
        }
        sleep_until(began + PING_EVERY).await;
    }
}

/// Asks the server for a sign of life. As long as its answers do not count, that is a write which
/// all its replicas are to acknowledge: it ends the wait. The connection is then used by nobody
/// else whom that would block.
async fn ping(lines: &Lines, slot: &Arc<Slot>, line: Line, deadline: Instant) {
    let liveness = Arc::clone(&line.liveness);
    let mut lease = lines.lease(slot, line);
    let proof = lines.guard.proof().filter(|_| !liveness.settles_in().is_zero());
    let Some((write, all)) = proof else {
        // `command` notes the outcome for the connection.
        let _ = lease.command(&redis::cmd("PING"), deadline).await;
        return;
    };
    let asked = Moment::now();
    if let Ok(values) = lease.pipeline(&write, deadline).await
        && let Some(Value::Int(acknowledged)) = values.last()
        && u64::try_from(*acknowledged).is_ok_and(|acknowledged| acknowledged >= all)
    {
        liveness.proved(asked);
    }
}

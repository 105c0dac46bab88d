//! The slots of connections: each holds one, an attempt to make one, or the last failure.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::Shared;
use tokio::time::Instant;

use crate::{
    error::StoreErrorKind,
    store::{
        BoxFuture,
        redis::client::{
            answer::CommandError,
            connections::connection::{Connection, NewConnection},
            failover::guard::Guard,
        },
    },
};

/// The pause after the first failed attempt. Each further one doubles it.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An attempt to connect, which any number of callers wait for. It proceeds only while one waits.
pub(super) type Attempt = Shared<BoxFuture<Result<NewConnection, CommandError>>>;

/// The limits of the connections to one server.
pub(super) struct Limits {
    /// The longest time of one attempt.
    pub(super) connect_timeout: Duration,
    /// A connection that owes an answer for longer than this is given up.
    pub(super) patience: Duration,
    /// The rules by which answers count.
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
    Ready(Connection),
}

/// The contents of a slot, for a call that needs a connection.
pub(super) enum SlotLookup {
    /// A connection that the call may use.
    Connection(Connection),
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
                return SlotLookup::Connection(connection.clone());
            }
            SlotState::Ready(_) => SHORTEST_PAUSE,
            // An attempt that a caller waits for has ended by then. One that all callers have left
            // may be in any state.
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

    /// Stores the outcome of an attempt. The first of the callers that waited for it does so; the
    /// others find it done.
    pub(super) fn settle(
        &self,
        attempt: &Attempt,
        outcome: Result<NewConnection, CommandError>,
    ) -> Result<Connection, CommandError> {
        let mut state = self.lock();
        match &*state {
            SlotState::Connecting { attempt: current, pause, .. } if current.ptr_eq(attempt) => match outcome {
                Ok(made) => {
                    let connection = Connection::new(made);
                    *state = SlotState::Ready(connection.clone());
                    Ok(connection)
                }
                Err(error) => {
                    let not_before = Instant::now().checked_add(*pause);
                    let pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                    *state = SlotState::Empty { not_before, pause, last: error.clone() };
                    Err(error)
                }
            },
            SlotState::Ready(connection) => outcome.map(|_| connection.clone()),
            // The attempt succeeded, and its connection was given up since.
            _ => Err(outcome.err().unwrap_or_else(given_up)),
        }
    }

    /// Empties the slot, unless it holds another connection by now.
    pub(super) fn drop_connection(&self, connection: &Connection) {
        let mut state = self.lock();
        if matches!(&*state, SlotState::Ready(current) if current.is(connection)) {
            // Without a pause, one that breaks at once would be made again at every call.
            let not_before = connection.liveness.made().checked_add(SHORTEST_PAUSE);
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

/// Returns the error of a connection that was given up while a caller waited for it.
fn given_up() -> CommandError {
    CommandError::new(StoreErrorKind::Unavailable, true, "the connection was given up")
}

//! The readiness of a service: one strict read and one harmless write.

use std::{
    future::{Future, IntoFuture},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::time::timeout;

use super::{
    conditions::{Condition, Conditions},
    policy::Authority,
};
use crate::{
    error::{StoreError, StoreErrorKind},
    ids::{SessionId, Subject, TokenId},
    store::DenyQuery,
};

/// The time for which an answer counts. So clients of the endpoint cannot make the store work more
/// than once a second for each node.
const LIFETIME: Duration = Duration::from_secs(1);

/// The time limit of each call. The stores of this crate have shorter deadlines.
const LIMIT: Duration = Duration::from_secs(5);

/// An id that no token of a service has. The strict read asks for it.
const NOBODY: &str = "-";

/// The answer to the question if a node should get requests. See
/// [`TokenService::readiness`](super::TokenService::readiness).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Readiness {
    /// True if the store answered a strict read and confirmed a write, or if the policy needs no
    /// store.
    pub is_ready: bool,
    /// The present conditions. A node with conditions may still be ready: see
    /// [`TokenService::readiness`](super::TokenService::readiness).
    pub conditions: Vec<Condition>,
}

/// The failure of the last probe, if it failed, and the probe's time.
#[derive(Default)]
pub(super) struct LastProbe(Mutex<Option<(Outcome, Duration)>>);

type Outcome = Result<(), StoreErrorKind>;

impl LastProbe {
    /// Returns the last answer if it still counts. If not, the caller makes the next probe, and
    /// meanwhile other callers get the last answer.
    fn recent(&self, now: Duration) -> Option<Outcome> {
        let mut last = self.lock();
        let (outcome, at) = last.as_mut()?;
        if now.saturating_sub(*at) < LIFETIME {
            return Some(*outcome);
        }
        *at = now;
        None
    }

    fn set(&self, outcome: Outcome, now: Duration) {
        *self.lock() = Some((outcome, now));
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Outcome, Duration)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a strict read and a harmless write, at most once a second. Notes their outcomes as
/// conditions, and returns the first failure.
pub(super) async fn probe(authority: &Authority, last: &LastProbe, conditions: &Conditions) -> Outcome {
    let clock = conditions.clock();
    if let Some(outcome) = last.recent(clock.elapsed()) {
        return outcome;
    }
    let Some(store) = authority.store() else { return Ok(()) };
    let read = within_limit(read(authority)).await;
    conditions.note_read(&read);
    // A store that answers no read would make the caller wait twice.
    let written = if read.is_ok() { within_limit(store.probe().into_future()).await } else { Ok(()) };
    if read.is_ok() {
        conditions.note_write(&written);
    }
    let outcome = read.and(written).map_err(|error| error.kind());
    last.set(outcome, clock.elapsed());
    outcome
}

/// Ends a call of a store that sets no deadline itself.
async fn within_limit(call: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
    timeout(LIMIT, call).await.unwrap_or_else(|_| Err(StoreErrorKind::Timeout.into()))
}

/// Reads as the check of a request does.
async fn read(authority: &Authority) -> Result<(), StoreError> {
    match authority {
        Authority::Sessions(store) => {
            let (subject, sid, jti) = (Subject::new(NOBODY), SessionId::new(NOBODY), TokenId::new(NOBODY));
            store.check(&subject, &sid, &jti).await.map(drop)
        }
        Authority::Denylist(_, denylist) => {
            let query =
                DenyQuery { issuer: NOBODY.to_owned(), jti: Some(TokenId::new(NOBODY)), sid: None, subject: None };
            denylist.denied(query).await.map(drop)
        }
        Authority::Nothing => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_for_a_second_and_then_one_caller_asks_again() {
        let (last, second) = (LastProbe::default(), Duration::from_secs(1));
        assert_eq!(last.recent(second), None);
        last.set(Ok(()), second);
        assert_eq!(last.recent(second + Duration::from_millis(999)), Some(Ok(())));
        assert_eq!(last.recent(2 * second), None);
        assert_eq!(last.recent(2 * second), Some(Ok(())), "the others do not wait");
        last.set(Err(StoreErrorKind::Timeout), 2 * second);
        assert_eq!(last.recent(2 * second), Some(Err(StoreErrorKind::Timeout)));
    }
}

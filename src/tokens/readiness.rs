//! The readiness of a node: one strict read and one harmless write show whether its store works.

use std::{
    future::{Future, IntoFuture},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::Shared};
use serde::Serialize;
use tokio::time::timeout;

use super::{
    conditions::{Condition, Conditions},
    policy::Authority,
};
use crate::{
    error::{StoreError, StoreErrorKind},
    ids::{SessionId, Subject, TokenId},
    store::{BoxFuture, DenyQuery, SessionStore},
};

/// The time for which a node reuses the outcome of a probe. So each node makes at most one probe a
/// second, however often clients ask.
const LIFETIME: Duration = Duration::from_secs(1);

/// The time limit of each call to the store. The stores of this crate have shorter deadlines.
const LIMIT: Duration = Duration::from_secs(5);

/// The id for which the strict read asks. No token of a service has this id.
const NOBODY: &str = "-";

/// The readiness of a node to receive requests. See
/// [`TokenService::readiness`](super::TokenService::readiness).
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Readiness {
    /// True if the store answered a strict read and confirmed a write, or if the service has no
    /// store.
    pub is_ready: bool,
    /// The present conditions. A node with conditions may still be ready: see
    /// [`TokenService::readiness`](super::TokenService::readiness).
    pub conditions: Vec<Condition>,
}

/// The outcome of a probe, and the time at which it ended.
type Outcome = (Result<(), StoreErrorKind>, Duration);

/// A probe that several callers can await. It makes progress only while a caller waits for it.
type SharedProbe = Shared<BoxFuture<Outcome>>;

/// The last probe, and the time at which it began.
#[derive(Default)]
pub(super) struct LastProbe(Mutex<Option<(SharedProbe, Duration)>>);

impl LastProbe {
    /// Returns the probe in progress, or a probe that ended less than [`LIFETIME`] ago. Otherwise
    /// starts a new probe with `start`.
    fn current(&self, now: Duration, start: impl FnOnce() -> BoxFuture<Outcome>) -> SharedProbe {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((probe, began)) = &*last {
            let is_current = match probe.peek() {
                Some((_, ended)) => now.saturating_sub(*ended) < LIFETIME,
                // If all callers have left, the probe stands still, and its outcome would be old.
                None => now.saturating_sub(*began) < 2 * LIMIT,
            };
            if is_current {
                return probe.clone();
            }
        }
        let probe = start().shared();
        *last = Some((probe.clone(), now));
        probe
    }
}

/// Makes a strict read and a harmless write, at most once a second and never two at once. Records
/// the outcomes in `conditions`, and returns the first failure.
pub(super) async fn probe(
    authority: &Authority,
    last: &LastProbe,
    conditions: &Arc<Conditions>,
) -> Result<(), StoreErrorKind> {
    let Some(store) = authority.store() else { return Ok(()) };
    let start = || -> BoxFuture<Outcome> {
        let (authority, store, conditions) = (authority.clone(), Arc::clone(store), Arc::clone(conditions));
        Box::pin(async move {
            let outcome = ask(&authority, &*store, &conditions).await;
            (outcome, conditions.clock().elapsed())
        })
    };
    last.current(conditions.clock().elapsed(), start).await.0
}

async fn ask(authority: &Authority, store: &dyn SessionStore, conditions: &Conditions) -> Result<(), StoreErrorKind> {
    let read = within_limit(read(authority)).await;
    conditions.note_read(&read);
    // If the read fails, skips the write: the caller would otherwise wait for two timeouts.
    read.map_err(|error| error.kind())?;
    let written = within_limit(store.probe().into_future()).await;
    conditions.note_write(&written);
    written.map_err(|error| error.kind())
}

/// Ends a call after [`LIMIT`] with a timeout error, because a store may set no deadline.
async fn within_limit(call: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
    timeout(LIMIT, call).await.unwrap_or_else(|_| Err(StoreErrorKind::Timeout.into()))
}

/// Makes the same read as the check of a request.
async fn read(authority: &Authority) -> Result<(), StoreError> {
    let (subject, sid, jti) = (Subject::new(NOBODY), SessionId::new(NOBODY), TokenId::new(NOBODY));
    if let Some(store) = authority.sessions() {
        store.check(&subject, &sid, &jti).await.map(drop)?;
    }
    if let Some(denylist) = authority.denylist() {
        denylist.denied(DenyQuery::about(NOBODY, &jti, Some(&sid), &subject)).await.map(drop)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn ended(outcome: Result<(), StoreErrorKind>, at: Duration) -> BoxFuture<Outcome> {
        Box::pin(ready((outcome, at)))
    }

    #[tokio::test]
    async fn an_answer_counts_for_a_second() {
        let (last, second) = (LastProbe::default(), Duration::from_secs(1));
        let unused = || -> BoxFuture<Outcome> { Box::pin(pending()) };
        assert_eq!(last.current(second, || ended(Ok(()), second)).await.0, Ok(()));
        assert_eq!(last.current(second + Duration::from_millis(999), unused).await.0, Ok(()));
        let failed = || ended(Err(StoreErrorKind::Timeout), 2 * second);
        assert_eq!(last.current(2 * second, failed).await.0, Err(StoreErrorKind::Timeout));
    }

    #[tokio::test]
    async fn callers_share_a_probe_and_a_caller_that_leaves_does_not_end_it() {
        let (last, second) = (LastProbe::default(), Duration::from_secs(1));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let slow = move || -> BoxFuture<Outcome> { Box::pin(async move { receiver.await.unwrap() }) };
        let first = last.current(second, slow);
        assert!(first.clone().now_or_never().is_none());
        drop(first);
        let other = last.current(2 * second, || ended(Ok(()), second));
        assert!(other.clone().now_or_never().is_none(), "no earlier or other answer counts");
        sender.send((Err(StoreErrorKind::Timeout), 2 * second)).unwrap();
        assert_eq!(other.await.0, Err(StoreErrorKind::Timeout));
    }

    #[tokio::test]
    async fn a_probe_that_all_callers_have_left_is_begun_again() {
        let last = LastProbe::default();
        drop(last.current(Duration::ZERO, || Box::pin(pending())));
        let later = 2 * LIMIT;
        assert_eq!(last.current(later, || ended(Ok(()), later)).await.0, Ok(()));
    }
}

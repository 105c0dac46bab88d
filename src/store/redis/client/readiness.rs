//! The state of the checks that a server must pass before its first use.

use std::{
    error::Error as StdError,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    error::{StoreError, StoreErrorKind},
    store::redis::client::connect_error::ConnectError,
};

/// The state of the checks. A call waits until the first attempt at the checks has ended. If the
/// last attempt failed, the call fails.
pub(crate) struct Readiness {
    /// True after an attempt succeeded. Each call reads this value, and a lock would be slower.
    is_passed: AtomicBool,
    state: watch::Sender<State>,
}

/// The outcome of the last attempt.
enum State {
    /// The first attempt has not ended.
    Pending,
    Failed {
        error: Arc<ConnectError>,
        /// The warning for operators, if a setting must be changed.
        warning: Option<String>,
    },
    Passed,
}

impl Readiness {
    /// Creates the state before the first attempt.
    pub(crate) fn pending() -> Self {
        Self { is_passed: AtomicBool::new(false), state: watch::Sender::new(State::Pending) }
    }

    /// Records that the servers have passed the checks. The checks need not run again.
    pub(crate) fn pass(&self) {
        self.is_passed.store(true, Ordering::Release);
        self.state.send_replace(State::Passed);
    }

    /// Records that an attempt has failed.
    pub(crate) fn fail(&self, error: ConnectError, warning: Option<String>) {
        self.state.send_replace(State::Failed { error: Arc::new(error), warning });
    }

    /// Returns the warning for operators, if a setting must be changed.
    pub(crate) fn warning(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Failed { warning, .. } => warning.clone(),
            State::Pending | State::Passed => None,
        }
    }

    /// Waits for the end of the first attempt, at most until the deadline. Then returns an error
    /// unless the servers have passed the checks.
    pub(crate) async fn passed(&self, deadline: Instant) -> Result<(), StoreError> {
        if self.is_passed.load(Ordering::Acquire) {
            return Ok(());
        }
        // The box keeps the futures of calls small. Only calls before the first success get here.
        Box::pin(self.ended(deadline)).await
    }

    /// Waits for the end of the first attempt. Returns the outcome of the last attempt.
    async fn ended(&self, deadline: Instant) -> Result<(), StoreError> {
        let mut states = self.state.subscribe();
        // The wait can fail only by its deadline, because `self` owns the sender.
        let _ = timeout_at(deadline, states.wait_for(|state| !matches!(state, State::Pending))).await;
        let cause = match &*self.state.borrow() {
            State::Passed => return Ok(()),
            State::Failed { error, .. } => Some(Arc::clone(error)),
            State::Pending => None,
        };
        Err(StoreError::new(StoreErrorKind::Unavailable).with_source(Unready(cause)))
    }
}

/// The source of the error that a call gets before an attempt has succeeded.
#[derive(Debug)]
struct Unready(Option<Arc<ConnectError>>);

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the Redis server has not passed the checks of the store yet; see the source of this error, or try again",
        )
    }
}

impl StdError for Unready {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.as_deref().map(|error| error as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ConfigError;

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_the_first_attempt_and_for_no_later_one() {
        let readiness = Readiness::pending();
        let began = Instant::now();
        let deadline = began + Duration::from_secs(1);
        let error = readiness.passed(deadline).await.unwrap_err();
        assert_eq!((error.kind(), Instant::now()), (StoreErrorKind::Unavailable, deadline));
        assert!(error.source().unwrap().source().is_none());
        let fails = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            readiness.fail(ConfigError::new("url", "is x", "do y").into(), Some("warned".to_owned()));
        };
        let (outcome, ()) = tokio::join!(readiness.passed(deadline + Duration::from_secs(1)), fails);
        let error = outcome.unwrap_err();
        assert_eq!(error.source().unwrap().source().unwrap().to_string(), "`url` is x; do y");
        let now = Instant::now();
        assert!(now < deadline + Duration::from_millis(200));
        readiness.passed(now + Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(Instant::now(), now, "the call fails immediately");
        assert_eq!(readiness.warning().as_deref(), Some("warned"));
        readiness.pass();
        readiness.passed(now).await.unwrap();
        assert_eq!(readiness.warning(), None);
    }
}

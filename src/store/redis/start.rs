//! The start of a store: checks the servers, and repeats the checks while the failure may pass.

use std::{sync::Weak, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    clock::jittered,
    error::chain,
    store::redis::{
        client::connect_error::{ConnectError, ConnectErrorKind},
        preflight,
        scripts::Parts,
    },
};

/// The pause after the first failed attempt. Each failure doubles it, up to `LONGEST_PAUSE`.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause after an error that does not pass until an operator changes a setting.
const PAUSE_IF_WRONG: Duration = Duration::from_secs(5);

/// The settings of the checks.
#[derive(Clone, Copy)]
pub(crate) struct Checks {
    pub(crate) allow_eviction: bool,
    /// True if a provider returns the credentials. The next credentials may then be right.
    pub(crate) asks_for_credentials: bool,
}

impl Checks {
    /// Checks the servers once. If they pass, the calls of the store may begin.
    pub(crate) async fn once(self, parts: &Parts) -> Result<(), ConnectError> {
        preflight::check(parts, self.allow_eviction).await?;
        #[cfg(feature = "tracing")]
        if let Err(reason) = parts.client.guard().bound() {
            tracing::warn!(
                reason,
                "this node may use a replaced Redis server for an unknown time; correct what `reason` names"
            );
        }
        parts.readiness.pass();
        Ok(())
    }

    /// Checks the servers until they pass. Returns the last error when `patience` is over. Returns
    /// an error that does not pass by itself immediately.
    pub(crate) async fn repeatedly(self, parts: &Parts, patience: Duration) -> Result<(), ConnectError> {
        // If the end is too far away to be represented, the attempts never end.
        let ends = Instant::now().checked_add(patience);
        let (mut attempts, mut pause) = (Attempts::default(), SHORTEST_PAUSE);
        loop {
            let Err(error) = self.once(parts).await else {
                attempts.log_success();
                return Ok(());
            };
            let rest = ends.map_or(Duration::MAX, |ends| ends.saturating_duration_since(Instant::now()));
            if rest.is_zero() || !self.may_pass(&error) {
                return Err(error);
            }
            attempts.log(&error, true);
            sleep(jittered(pause).min(rest)).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Checks the servers until they pass, or until the last clone of the store is dropped.
    pub(crate) async fn in_background(self, parts: Weak<Parts>) {
        let (mut attempts, mut pause) = (Attempts::default(), SHORTEST_PAUSE);
        loop {
            let Some(parts) = parts.upgrade() else { return };
            let Err(error) = self.once(&parts).await else { return attempts.log_success() };
            let may_pass = self.may_pass(&error);
            attempts.log(&error, may_pass);
            let warning =
                (!may_pass).then(|| format!("the store has not started, so every call fails: {}", chain(&error)));
            parts.readiness.fail(error, warning);
            drop(parts);
            sleep(jittered(if may_pass { pause } else { PAUSE_IF_WRONG })).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Returns true if a later attempt may succeed although no setting changes.
    fn may_pass(self, error: &ConnectError) -> bool {
        let is_of_provider = self.asks_for_credentials && error.kind() == ConnectErrorKind::Unauthenticated;
        is_of_provider || error.is_transient()
    }
}

/// The cause of the last failed attempt. The store logs each new cause once.
#[derive(Default)]
struct Attempts {
    /// The cause of the last failure; `None` before the first failure.
    cause: Option<String>,
}

impl Attempts {
    /// Logs a failure if its cause differs from the cause of the failure before.
    fn log(&mut self, error: &ConnectError, may_pass: bool) {
        let cause = chain(error);
        if self.cause.as_ref() == Some(&cause) {
            return;
        }
        #[cfg(feature = "tracing")]
        if may_pass {
            tracing::warn!(cause, "the store cannot use the Redis server yet, and tries again");
        } else {
            tracing::error!(
                cause,
                "the store cannot use the Redis server until a setting changes, so every call fails; correct the setting \
                 that `cause` names"
            );
        }
        let _ = may_pass;
        self.cause = Some(cause);
    }

    /// Logs that the store can use the server, if an earlier attempt failed.
    fn log_success(&self) {
        #[cfg(feature = "tracing")]
        if self.cause.is_some() {
            tracing::info!("the store uses the Redis server");
        }
        #[cfg(not(feature = "tracing"))]
        let _ = &self.cause;
    }
}

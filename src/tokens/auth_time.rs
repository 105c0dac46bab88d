//! The start times of authentications, by the store's clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    clock::{Clock, Timestamp},
    error::StoreError,
    store::SessionStore,
};

/// The time at which an authentication began, by the store's clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuthTime(Timestamp);

impl AuthTime {
    pub(super) fn timestamp(self) -> Timestamp {
        self.0
    }
}

/// The maximum age of the last ping for a login, in ms. The older the ping, the less exact is the
/// estimate of the store's time.
const MAX_PING_AGE: u64 = 30_000;

/// A pause that exceeds the resolution of [`Timestamp`] (1 ms), even if the clocks of the node and
/// the store run at different rates.
const PAUSE: Duration = Duration::from_millis(2);

/// The clock that times authentications: the store's clock, or this node's if there is no store.
pub(super) struct AuthClock {
    store: Option<Arc<dyn SessionStore>>,
    clock: Arc<dyn Clock>,
    /// The store's time of the last ping for a login, in ms.
    last_ping: AtomicU64,
}

impl AuthClock {
    pub(super) fn new(store: Option<Arc<dyn SessionStore>>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, last_ping: AtomicU64::new(0) }
    }

    /// Returns the store's time, estimated without a call.
    pub(super) fn now(&self) -> AuthTime {
        AuthTime(self.store.as_ref().map_or_else(|| self.clock.now(), |store| store.now()))
    }

    /// Returns the store's time. Pings the store first if the last ping was more than 30 s ago.
    /// With a ping at every login, a client that guesses passwords could load the store. If the
    /// store does not answer, returns the estimated time. The estimate is too early, which is safe.
    pub(super) async fn recent(&self) -> AuthTime {
        if let Some(store) = &self.store {
            let last = self.last_ping.load(Ordering::Relaxed);
            if store.now().as_millis().abs_diff(last) > MAX_PING_AGE
                && let Ok(now) = store.ping().await
            {
                self.last_ping.store(now.as_millis(), Ordering::Relaxed);
            }
        }
        self.now()
    }

    /// Pauses, pings the store and returns its time, for the second attempt of a superseded login.
    /// The time is later than the revocation. In a cluster, this requires that the clocks of the
    /// primaries agree.
    ///
    /// The estimated time lags a little, and times are in whole milliseconds. Without the pause and
    /// the ping, the second attempt could seem to begin *before* the revocation.
    pub(super) async fn after_supersession(&self) -> Result<AuthTime, StoreError> {
        sleep(PAUSE).await;
        if let Some(store) = &self.store {
            store.ping().await?;
        }
        Ok(self.now())
    }
}

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

/// The maximum age of the last ping before a login, in ms. If the ping is older, the login pings
/// the store again, because the estimate of the store's time gets less exact with time.
const MAX_PING_AGE: u64 = 30_000;

/// The pause before the second attempt of a login. The pause exceeds the resolution of
/// [`Timestamp`] (1 ms), even if the clocks of the node and the store run at different rates.
const PAUSE: Duration = Duration::from_millis(2);

/// The clock that times authentications: the store's clock, or this node's if there is no store.
pub(super) struct AuthClock {
    store: Option<Arc<dyn SessionStore>>,
    clock: Arc<dyn Clock>,
    /// The store's time at the last ping before a login, in ms.
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

    /// Returns the store's time. Pings the store first if the last ping was more than 30 s ago. If
    /// each login sent a ping, a client that guesses passwords could overload the store.
    ///
    /// If the store does not answer, returns an estimate, which may be a little early. At worst,
    /// the store then refuses a login that it could accept.
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

    /// Returns the store's time for the second attempt of a login whose first attempt failed
    /// because of a revocation. The returned time must be later than the revocation. So the method
    /// pauses for longer than a millisecond, and then pings the store.
    ///
    /// In a cluster, the ping reads the clock of one primary. If this clock is behind the clock of
    /// the user's primary, the second attempt may fail for the same reason.
    pub(super) async fn after_supersession(&self) -> Result<AuthTime, StoreError> {
        sleep(PAUSE).await;
        if let Some(store) = &self.store {
            store.ping().await?;
        }
        Ok(self.now())
    }
}

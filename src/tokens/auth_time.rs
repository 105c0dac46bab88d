//! The time at which an authentication begins, by the store's clock.

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

/// The moment at which an authentication began, by the store's clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuthTime(Timestamp);

impl AuthTime {
    pub(super) fn timestamp(self) -> Timestamp {
        self.0
    }
}

/// The longest age of the store's time with which a login may begin, in ms.
const LONGEST_UNASKED: u64 = 30_000;

/// A pause that is longer than the millisecond in which times are counted, however the paces of two
/// clocks differ.
const A_MOMENT: Duration = Duration::from_millis(2);

/// The clock by which authentications begin: the store's, or this node's without a store.
pub(super) struct AuthClock {
    store: Option<Arc<dyn SessionStore>>,
    clock: Arc<dyn Clock>,
    /// The time at which a login last asked the store for its time, in ms.
    last_asked: AtomicU64,
}

impl AuthClock {
    pub(super) fn new(store: Option<Arc<dyn SessionStore>>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, last_asked: AtomicU64::new(0) }
    }

    /// Returns the store's time as known without asking.
    pub(super) fn now(&self) -> AuthTime {
        AuthTime(self.store.as_ref().map_or_else(|| self.clock.now(), |store| store.now()))
    }

    /// Returns the time of a store that was asked for it within the last 30 s. Not at every login:
    /// otherwise a client that guesses passwords would load the store. If the store does not
    /// answer, its estimated time will do: it is earlier, and so safe.
    pub(super) async fn recent(&self) -> AuthTime {
        if let Some(store) = &self.store {
            let asked = self.last_asked.load(Ordering::Relaxed);
            if store.now().as_millis().abs_diff(asked) > LONGEST_UNASKED
                && let Ok(now) = store.ping().await
            {
                self.last_asked.store(now.as_millis(), Ordering::Relaxed);
            }
        }
        self.now()
    }

    /// Returns the time of a store that was just asked, for a login after one that was superseded.
    /// It is later than the revocation that superseded that one, as far as the clocks of a
    /// cluster's primaries agree.
    ///
    /// The store's time as known without asking lags a little, and both count whole milliseconds.
    /// So a login at once after a logout everywhere may seem to begin *before* the revocation.
    pub(super) async fn after_supersession(&self) -> Result<AuthTime, StoreError> {
        sleep(A_MOMENT).await;
        if let Some(store) = &self.store {
            store.ping().await?;
        }
        Ok(self.now())
    }
}

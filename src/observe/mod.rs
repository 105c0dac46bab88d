//! Observations for metrics: checks, sessions, revocations, the replica, store calls, fetches of
//! keys and streams.
//!
//! Set an [`Observer`] with [`TokenServiceBuilder::observer`]. Give the same observer to
//! `PasswordHasher::observer`, to measure the hashing of passwords. With the feature `metrics`,
//! `MetricsObserver` passes all observations on to the `metrics` facade.
//!
//! An [`Observation`] contains durations, counts and labels from fixed sets. It never contains an
//! id of a user, a session or a token. So each metric has few time series, and no personal data.
//!
//! ```
//! use std::sync::{
//!     Arc,
//!     atomic::{AtomicU64, Ordering},
//! };
//!
//! use tower_bearer::{
//!     MemoryStore, TokenService, TokenType,
//!     observe::{CheckResult, Observation},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_bearer::BoxError> {
//! let refused = Arc::new(AtomicU64::new(0));
//! let count = Arc::clone(&refused);
//! let tokens = TokenService::builder()
//!     .secret("a test secret that is long enough for HS256")
//!     .store(MemoryStore::default())
//!     .observer(move |observation: &Observation| {
//!         if let Observation::Check { result: CheckResult::Refused, .. } = observation {
//!             count.fetch_add(1, Ordering::Relaxed);
//!         }
//!     })
//!     .build()?;
//!
//! let _ = tokens.validate_token("not a token", TokenType::Access).await;
//! assert_eq!(refused.load(Ordering::Relaxed), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Cost
//!
//! * Without an observer, the check of a cached token costs a few predictable branches: 27 of the
//!   4411 instructions of a warm request on the memory store.
//! * With an observer, the check also calls the observer. Only a check that waited for the store
//!   has a duration ([`Observation::Check`]), because reading a clock twice would cost more than
//!   the call.
//! * In both cases, the check of a cached token allocates no memory.
//!
//! `cargo bench --bench request` measures the times, and `--bench instructions` counts the
//! instructions.
//!
//! Tasks of the service report the replica and the cache once a second. They run only if the
//! service has an observer, and only if the application called `build` in a Tokio runtime.
//!
//! [`TokenServiceBuilder::observer`]: crate::tokens::TokenServiceBuilder::observer

#[cfg(feature = "metrics")]
mod metrics;
mod observation;
mod observer;
#[cfg(feature = "metrics")]
mod striped;

#[cfg(feature = "metrics")]
pub use self::metrics::{MetricsObserver, NAMES};
pub(crate) use self::observer::SharedObserver;
pub use self::{
    observation::{
        CacheLookup, ChallengeError, CheckReason, CheckResult, Decider, KeyFetchResult, LeaseLoss, LoginFailure,
        Observation, RefreshResult, SessionEnd, StoreOperation, StoreOutcome, StreamCause,
    },
    observer::Observer,
};

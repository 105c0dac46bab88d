//! The trait [`Observer`], and the handle with which the crate calls the application's observer.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::observation::Observation;

/// A receiver of [`Observation`]s. See the [module docs](super).
///
/// A closure that takes `&Observation` is an observer. To call two observers, write a closure that
/// calls both.
pub trait Observer: Send + Sync + 'static {
    /// Takes one observation.
    ///
    /// Requests, endpoints and tasks call this method directly, so it must not block. Several
    /// threads may call it at the same time. If it panics, the caller catches the panic. Only the
    /// first panic is logged.
    fn observe(&self, observation: &Observation);
}

impl<F: Fn(&Observation) + Send + Sync + 'static> Observer for F {
    fn observe(&self, observation: &Observation) {
        self(observation);
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, observation: &Observation) {
        (**self).observe(observation);
    }
}

/// A handle of the application's observer, or nothing if the application has set no observer.
#[derive(Clone, Default)]
pub(crate) struct SharedObserver(Option<Arc<Guarded<dyn Observer>>>);

/// An observer whose panics are caught.
struct Guarded<O: ?Sized> {
    has_panicked: AtomicBool,
    observer: O,
}

impl SharedObserver {
    pub(crate) fn new(observer: impl Observer) -> Self {
        Self(Some(Arc::new(Guarded { has_panicked: AtomicBool::new(false), observer })))
    }

    /// Returns true if there is an observer. Without one, callers need not measure.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Passes an observation to the observer. Without an observer, the closure does not run.
    #[inline]
    pub(crate) fn observe(&self, observation: impl FnOnce() -> Observation) {
        if let Some(guarded) = &self.0 {
            guarded.observe(&observation());
        }
    }
}

impl Guarded<dyn Observer> {
    /// Calls the observer. Catches a panic, so that the panic does not end the caller's operation.
    /// Logs only the first panic, because an observer may panic at each request.
    fn observe(&self, observation: &Observation) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.observer.observe(observation)));
        if outcome.is_err() && !self.has_panicked.swap(true, Ordering::Relaxed) {
            #[cfg(feature = "tracing")]
            tracing::error!(
                "the application's observer panicked; see the panic message and fix the observer (further panics are \
                 not logged)"
            );
        }
    }
}

impl fmt::Debug for SharedObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedObserver").field(&self.is_set()).finish()
    }
}

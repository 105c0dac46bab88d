//! The task that reports the state of the verified-token cache to the observer.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::AbortHandle, time::sleep};

use super::check::Checker;
use crate::observe::Observation;

const INTERVAL: Duration = Duration::from_secs(1);

/// The handle of the sampling task. The task ends when the handle is dropped.
pub(super) struct Sampler(AbortHandle);

impl Sampler {
    /// Starts the task. Returns `None` if there is no observer or no Tokio runtime.
    pub(super) fn start<C: Send + Sync + 'static>(checker: &Arc<Checker<C>>) -> Option<Self> {
        let runtime = Handle::try_current().ok().filter(|_| checker.observer.is_set())?;
        // The task must not keep the checker alive after its service has ended.
        let checker = Arc::downgrade(checker);
        let task = async move {
            while let Some(checker) = checker.upgrade() {
                let (entries, bytes) = (checker.cache.entries(), checker.cache.bytes());
                checker.observer.observe(|| Observation::Cache { entries, bytes });
                drop(checker);
                sleep(INTERVAL).await;
            }
        };
        Some(Self(runtime.spawn(task).abort_handle()))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.0.abort();
    }
}

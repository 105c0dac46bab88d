//! The end of an example that is told to stop.

use std::time::Duration;

use tokio::{sync::watch, time::sleep};
use tower_bearer::BoxError;

/// The time that open requests have to end.
const PATIENCE: Duration = Duration::from_secs(8);

/// A handle of the signal to stop: SIGTERM, or Ctrl-C. Clones share it.
#[derive(Clone)]
pub struct Drain(watch::Receiver<bool>);

impl Drain {
    /// Starts to wait for the signal.
    pub fn on_signal() -> Result<Self, BoxError> {
        let (sender, receiver) = watch::channel(false);
        #[cfg(unix)]
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::spawn(async move {
            #[cfg(unix)]
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            #[cfg(not(unix))]
            let _ = tokio::signal::ctrl_c().await;
            sender.send_replace(true);
        });
        Ok(Self(receiver))
    }

    /// Resolves when the example is to stop. A response without an end must then end by itself.
    pub async fn begun(mut self) {
        let _ = self.0.wait_for(|has_begun| *has_begun).await;
    }

    /// Resolves when open requests have had the time to end.
    pub async fn is_over(self) {
        self.begun().await;
        sleep(PATIENCE).await;
        tracing::warn!("some requests did not end within {} s; they are dropped", PATIENCE.as_secs());
    }
}

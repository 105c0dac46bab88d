//! The end of an example after the signal to stop.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tower_bearer::BoxError;

/// The time that open requests and sockets have to end.
const PATIENCE: Duration = Duration::from_secs(8);

/// A handle of the signal to stop: SIGTERM, or Ctrl-C. Clones share it. The example waits until all
/// are dropped, so a socket keeps one for as long as it is open.
#[derive(Clone)]
pub struct Drain(watch::Receiver<bool>);

impl Drain {
    /// Starts to wait for the signal. The task ends when all handles were dropped after the signal,
    /// or 8 s after the signal.
    pub fn on_signal() -> Result<(Self, JoinHandle<()>), BoxError> {
        let (sender, receiver) = watch::channel(false);
        #[cfg(unix)]
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let task = tokio::spawn(async move {
            #[cfg(unix)]
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            #[cfg(not(unix))]
            let _ = tokio::signal::ctrl_c().await;
            sender.send_replace(true);
            if timeout(PATIENCE, sender.closed()).await.is_err() {
                tracing::warn!("some requests did not end within {} s; they are dropped", PATIENCE.as_secs());
            }
        });
        Ok((Self(receiver), task))
    }

    /// Resolves when the example is to stop. A response without an end must then end by itself.
    pub async fn begun(mut self) {
        let _ = self.0.wait_for(|has_begun| *has_begun).await;
    }
}

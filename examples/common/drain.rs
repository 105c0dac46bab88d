//! The graceful stop of an example after SIGTERM or Ctrl-C.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tower_bearer::BoxError;

/// The time that open requests and sockets have to end after the signal.
const PATIENCE: Duration = Duration::from_secs(8);

/// A handle of the signal to stop (SIGTERM or Ctrl-C). After the signal, the example waits until
/// all clones are dropped. So an open socket keeps a clone.
#[derive(Clone)]
pub struct Drain(watch::Receiver<bool>);

impl Drain {
    /// Starts a task that waits for the signal, and then until all handles are dropped. The task
    /// ends at the latest 8 s after the signal.
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

    /// Resolves after the signal. A response without an end must then end by itself.
    pub async fn begun(mut self) {
        let _ = self.0.wait_for(|has_begun| *has_begun).await;
    }
}

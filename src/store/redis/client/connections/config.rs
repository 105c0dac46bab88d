//! The configuration of connections.

use std::{convert::Infallible, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

/// The maximum number of commands that wait for the writer of a connection. The default of redis
/// (50) is too low, because all requests of a node share a connection.
const PIPELINE_BUFFER: usize = 1024;

/// A function that receives the pushes of a server.
pub(crate) type PushHandler = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// The configuration of the connections to each server.
#[derive(Clone)]
pub(crate) struct ConnectionConfig {
    /// The time limit of connecting, and of each answer.
    pub(crate) timeout: Duration,
    /// The number of connections to one server.
    pub(crate) connections: usize,
    /// The time without an answer to a command after which the store drops the connection.
    pub(crate) patience: Duration,
    /// True if the store asks the server of each connection for its identity.
    pub(crate) identifies: bool,
    /// The function that receives the server's pushes, which need RESP3. A connection with this
    /// function must not send reads (see [`pubsub`](crate::store::redis::client::pubsub)). A pool
    /// of the application ignores this setting.
    pub(crate) pushes: Option<PushHandler>,
}

impl ConnectionConfig {
    /// Creates the configuration of connections that identify their server and receive no pushes.
    pub(crate) fn new(timeout: Duration, connections: usize) -> Self {
        Self { timeout, connections, patience: timeout.saturating_mul(2), identifies: true, pushes: None }
    }

    /// Returns the protocol. Pushes need RESP3.
    pub(super) fn protocol(&self) -> ProtocolVersion {
        if self.pushes.is_some() { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 }
    }

    /// Returns the settings of redis for a connection.
    pub(super) fn settings(&self) -> AsyncConnectionConfig {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        let Some(pushes) = self.pushes.clone() else { return settings };
        settings.set_push_sender(move |push: PushInfo| {
            pushes(push);
            Ok::<_, Infallible>(())
        })
    }

    /// Returns the settings of TCP, which send small commands immediately and detect a dead peer.
    pub(super) fn tcp(&self) -> TcpSettings {
        let probes = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(probes);
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        let tcp = tcp.set_user_timeout(self.timeout.saturating_mul(2).max(Duration::from_secs(1)));
        tcp
    }
}

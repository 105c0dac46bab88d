//! Where connections to a server come from: a pool in front of it, or Sentinel, which names it.
//!
//! deadpool's own pool for the latter cannot be given deadlines, pings every node at each checkout, and keeps a demoted
//! primary (it answers a ping as well); so there the connections are made here.

#[cfg(feature = "sentinel")]
use std::sync::atomic::{AtomicUsize, Ordering};

use deadpool_redis::Pool;
use redis::aio::MultiplexedConnection;

use crate::store::redis::failure::Failure;

/// Makes connections.
pub(super) enum Source {
    /// One server.
    Pool(Pool),
    /// The primary that sentinels name.
    #[cfg(feature = "sentinel")]
    Sentinel(Box<Sentinels>),
}

/// Who is asked for the primary, and how that is connected to.
#[cfg(feature = "sentinel")]
pub(super) struct Sentinels {
    pub(super) addresses: Vec<redis::ConnectionInfo>,
    pub(super) master: String,
    pub(super) server: redis::RedisConnectionInfo,
    pub(super) tcp: redis::io::tcp::TcpSettings,
    pub(super) settings: redis::AsyncConnectionConfig,
    pub(super) turn: AtomicUsize,
}

impl Source {
    /// A connection that any number of calls share.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        match self {
            // Taken for good: given back, it would be lent to somebody who blocks it.
            Self::Pool(pool) => Ok(deadpool_redis::Connection::take(pool.get().await?)),
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinels) => Ok(sentinels.connect().await?),
        }
    }

    /// Whether connecting may mean to try one address after the other.
    pub(super) fn has_many_addresses(&self) -> bool {
        !matches!(self, Self::Pool(_))
    }
}

#[cfg(feature = "sentinel")]
impl Sentinels {
    /// Asks one sentinel after the other, another one first each time, so that one that hangs does not use up every
    /// attempt. The answer is believed if the server itself says that it is a primary.
    async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};

        let mut addresses = self.addresses.clone();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(turn);
        let server = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(self.server.clone())
            .set_tcp_settings(self.tcp.clone());
        let mut client =
            SentinelClient::build(addresses, self.master.clone(), Some(server), SentinelServerType::Master)?;
        Ok(client.get_async_connection_with_config(&self.settings).await?)
    }
}

//! The sources of connections to a server: a pool, or the agreement of the sentinels.
//!
//! For sentinels, neither the pool of deadpool is used nor the client of redis. The pool takes no
//! deadlines, pings every node at each checkout, and keeps a demoted primary (deadpool#372, open).
//! The client believes the first sentinel that answers (redis-rs#836). Use one of them when it
//! demands a majority and drops a primary that sentinels no longer name.

#[cfg(feature = "sentinel")]
use std::sync::Arc;

use deadpool_redis::Pool;
use redis::aio::MultiplexedConnection;

#[cfg(feature = "sentinel")]
use crate::store::redis::client::{address, sentinel::watch::SentinelWatch};
use crate::store::redis::client::{address::Agreement, answer::CommandError};

/// A source of connections.
pub(crate) enum Source {
    /// One server.
    Pool(Pool),
    /// The primary that sentinels name.
    #[cfg(feature = "sentinel")]
    Sentinel(Box<SentinelSource>),
}

/// The connection settings of the primary that sentinels name.
#[cfg(feature = "sentinel")]
pub(crate) struct SentinelSource {
    pub(crate) watch: Arc<SentinelWatch>,
    /// The server's settings, with the address of a sentinel in place of the primary's.
    pub(crate) server: redis::ConnectionInfo,
    pub(crate) settings: redis::AsyncConnectionConfig,
}

impl Source {
    /// Makes a connection that any number of calls share.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, CommandError> {
        Ok(self.connect_with_agreement().await?.0)
    }

    /// Makes a connection. Returns it with the sentinels' agreement on its address, if there are
    /// sentinels.
    pub(crate) async fn connect_with_agreement(
        &self,
    ) -> Result<(MultiplexedConnection, Option<Agreement>), CommandError> {
        match self {
            // Taken for good: the pool would lend a returned connection to a caller that blocks it.
            Self::Pool(pool) => Ok((deadpool_redis::Connection::take(pool.get().await?), None)),
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinels) => {
                let agreement = sentinels.watch.primary().await?;
                let (host, port) = agreement.address.clone();
                let client = redis::Client::open(address::at(&sentinels.server, host, port))?;
                let connection = client.get_multiplexed_async_connection_with_config(&sentinels.settings).await?;
                Ok((connection, Some(agreement)))
            }
        }
    }

    /// Returns true if connecting may include a question to the sentinels.
    pub(crate) fn has_many_addresses(&self) -> bool {
        !matches!(self, Self::Pool(_))
    }
}

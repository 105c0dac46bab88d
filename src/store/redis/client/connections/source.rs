//! The sources of connections to a server: a pool in front of it, or the agreement of the
//! sentinels.
//!
//! Neither deadpool's pool for sentinels is used nor redis' client for them. The former cannot be
//! given deadlines, pings every node at each checkout, and keeps a demoted primary. The latter
//! believes one sentinel.

#[cfg(feature = "sentinel")]
use std::sync::Arc;

use deadpool_redis::Pool;
use redis::aio::MultiplexedConnection;

#[cfg(feature = "sentinel")]
use crate::store::redis::client::sentinel::watch::{self, Watch};
use crate::store::redis::client::{answer::error::Failure, connections::target::Agreed};

/// A source of connections.
pub(crate) enum Source {
    /// One server.
    Pool(Pool),
    /// The primary that sentinels name.
    #[cfg(feature = "sentinel")]
    Sentinel(Box<Named>),
}

/// The connection settings of the primary that sentinels name.
#[cfg(feature = "sentinel")]
pub(crate) struct Named {
    pub(crate) watch: Arc<Watch>,
    /// The server's settings, with the address of a sentinel in place of the primary's.
    pub(crate) server: redis::ConnectionInfo,
    pub(crate) settings: redis::AsyncConnectionConfig,
}

impl Source {
    /// Makes a connection that any number of calls share.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        Ok(self.connect_by_word().await?.0)
    }

    /// Makes a connection. Returns it with the sentinels' agreement on its address, if there are
    /// sentinels.
    pub(crate) async fn connect_by_word(&self) -> Result<(MultiplexedConnection, Option<Agreed>), Failure> {
        match self {
            // Taken for good: a connection given back would be lent to a caller that blocks it.
            Self::Pool(pool) => Ok((deadpool_redis::Connection::take(pool.get().await?), None)),
            #[cfg(feature = "sentinel")]
            Self::Sentinel(named) => {
                let agreed = named.watch.primary().await?;
                let (host, port) = agreed.address.clone();
                let client = redis::Client::open(watch::at(&named.server, host, port))?;
                let link = client.get_multiplexed_async_connection_with_config(&named.settings).await?;
                Ok((link, Some(agreed)))
            }
        }
    }

    /// Returns true if connecting may mean to ask others first.
    pub(crate) fn has_many_addresses(&self) -> bool {
        !matches!(self, Self::Pool(_))
    }
}

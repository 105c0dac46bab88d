//! Where connections come from: a pool in front of one server, Sentinel, or a cluster.
//!
//! deadpool's own pools for the latter two cannot be given deadlines, ping every node at each checkout, and keep a demoted
//! primary (it answers a ping as well); so there the connections are made here.

#[cfg(feature = "sentinel")]
use std::sync::atomic::{AtomicUsize, Ordering};

use deadpool_redis::Pool;
use redis::{
    Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};

use crate::store::redis::failure::Failure;

/// Makes connections.
pub(super) enum Source {
    /// One server.
    Pool(Pool),
    /// All primaries of a cluster.
    #[cfg(feature = "cluster")]
    Cluster(Box<redis::cluster::ClusterClient>),
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

/// A connection that any number of calls share.
#[derive(Clone)]
pub(super) enum Link {
    Server(MultiplexedConnection),
    #[cfg(feature = "cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Source {
    pub(super) async fn connect(&self) -> Result<Link, Failure> {
        match self {
            // Taken for good: given back, it would be lent to somebody who blocks it.
            Self::Pool(pool) => Ok(Link::Server(deadpool_redis::Connection::take(pool.get().await?))),
            #[cfg(feature = "cluster")]
            Self::Cluster(client) => Ok(Link::Cluster(client.get_async_connection().await?)),
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinels) => Ok(Link::Server(sentinels.connect().await?)),
        }
    }

    /// Whether connecting may mean to try one address after the other.
    pub(super) fn has_many_addresses(&self) -> bool {
        !matches!(self, Self::Pool(_))
    }

    /// Over how many servers a connection may lead at once, at most one for each bucket.
    pub(super) fn shards(&self, buckets: u32) -> u32 {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => buckets,
            _ => buckets.min(1),
        }
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

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            #[cfg(feature = "cluster")]
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

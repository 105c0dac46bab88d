//! Where connections come from: a pool in front of one server.

use std::time::Duration;

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
}

/// A connection that any number of calls share.
#[derive(Clone)]
pub(super) enum Link {
    Server(MultiplexedConnection),
}

impl Source {
    pub(super) async fn connect(&self, _limit: Duration) -> Result<Link, Failure> {
        match self {
            // Taken for good: given back, it would be lent to somebody who blocks it.
            Self::Pool(pool) => Ok(Link::Server(deadpool_redis::Connection::take(pool.get().await?))),
        }
    }

    /// After `REPLICAOF` an open connection still answers, from data that grow old. Where a promotion is normal, every
    /// strict read therefore asks for the role.
    pub(super) fn asks_for_role(&self) -> bool {
        match self {
            Self::Pool(_) => false,
        }
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
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
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
        }
    }
}

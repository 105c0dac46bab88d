//! A feed that reads the log through the store itself, for a store that has no feeds.

use std::{future::IntoFuture, sync::Arc};

use futures_util::future::join_all;

use crate::{
    error::StoreError,
    store::{BoxFuture, LogFeed, LogPages, LogQuery, RevocationLog},
};

/// A feed of all buckets, without nudges. The task finds new entries only when it polls, or when
/// this node wakes it.
pub(super) struct StoreFeed {
    log: Arc<dyn RevocationLog>,
    buckets: Vec<u32>,
}

impl StoreFeed {
    pub(super) fn new(log: Arc<dyn RevocationLog>) -> Self {
        Self { buckets: (0..log.buckets()).collect(), log }
    }
}

impl LogFeed for StoreFeed {
    fn buckets(&self) -> &[u32] {
        &self.buckets
    }

    fn read(&mut self, queries: Vec<(u32, LogQuery)>) -> BoxFuture<Result<LogPages, StoreError>> {
        let pages = queries.into_iter().map(|(bucket, query)| self.log.read(bucket, query));
        let pages: Vec<_> = pages.map(IntoFuture::into_future).collect();
        Box::pin(async move { Ok(join_all(pages).await) })
    }

    fn nudged(&self) -> BoxFuture<Vec<u32>> {
        Box::pin(std::future::pending())
    }
}

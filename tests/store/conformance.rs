//! Both stores of the crate pass the conformance suite for stores.

use std::sync::Arc;

use tower_bearer::store::{
    MemoryStore, SessionStore,
    conformance::{self, Part},
};

const ALL_PARTS: &[Part] = &[Part::Sessions, Part::Log, Part::Denylist];

#[cfg(feature = "redis")]
use crate::support;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_store_conforms() {
    let new_store = async || Arc::new(MemoryStore::default()) as Arc<dyn SessionStore>;
    conformance::run_parts(ALL_PARTS, new_store).await.unwrap();
}

/// One store for all rules: they do not get into each other's way.
#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_redis_store_conforms() {
    let server = support::RedisServer::start();
    let store = tower_bearer::store::RedisStore::connect(&server.url()).await.unwrap();
    let store: Arc<dyn SessionStore> = Arc::new(store);
    conformance::run_parts(ALL_PARTS, async || store.clone()).await.unwrap();
}

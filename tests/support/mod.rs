//! What tests share. Each test that needs a Redis starts its own, on its own port and in its own folder.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    reason = "each test binary takes its own part of this; a harness that fails should say so at once"
)]

pub mod events;
pub mod example;
pub mod faulty_store;
pub mod fixture;
pub mod grpc_server;
pub mod http_client;
pub mod log;
#[cfg(feature = "redis")]
pub mod monitor;
#[cfg(feature = "redis")]
pub mod proxy;
#[cfg(feature = "redis")]
pub mod redis_fixture;
#[cfg(feature = "redis")]
pub mod redis_server;
pub mod secrets;
#[cfg(all(feature = "redis", feature = "sentinel"))]
pub mod sentinel;
pub mod test_keys;
pub mod token_parts;
pub mod users;
pub mod vectors;
pub mod wire;

use std::{
    future::Future,
    time::{Duration, Instant},
};

pub use self::{
    events::Events,
    example::Example,
    faulty_store::{Behaviour, FaultyStore, STORE_ERRORS},
    fixture::{Fixture, bad_tokens},
    http_client::{Answer, HttpClient},
    log::Log,
    users::Users,
    wire::WireServer,
};
#[cfg(feature = "redis")]
pub use self::{monitor::Monitor, proxy::Proxy, redis_server::RedisServer};

/// Waits until `condition` holds; panics with `what` if it does not within half a minute: a machine may be busy, and a cluster takes twice
/// its node timeout to trust a node again.
pub async fn eventually<F, T>(what: &str, mut condition: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within half a minute: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

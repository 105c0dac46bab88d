//! Helpers that the test binaries share. A test that needs Redis starts its own server in its own
//! folder.
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
    reason = "each test binary uses a part of these helpers, and a failing helper should panic at once"
)]

pub mod altered_store;
pub mod browser;
pub mod events;
pub mod example;
#[cfg(feature = "jwks")]
pub mod fake_provider;
pub mod faulty_store;
pub mod fixture;
pub mod grpc_server;
pub mod http_client;
pub mod log;
pub mod metrics_page;
#[cfg(feature = "redis")]
pub mod monitor;
pub mod observed;
#[cfg(feature = "redis")]
pub mod proxy;
#[cfg(feature = "redis")]
pub mod redis_fixture;
#[cfg(feature = "redis")]
pub mod redis_server;
pub mod reserved;
pub mod secrets;
#[cfg(all(feature = "redis", feature = "sentinel"))]
pub mod sentinel;
#[cfg(target_os = "linux")]
pub mod shifted_clock;
pub mod test_keys;
pub mod text_store;
pub mod token_parts;
pub mod tokio_clock;
pub mod users;
pub mod vectors;
pub mod wire;

use std::{
    future::Future,
    time::{Duration, Instant},
};

#[cfg(feature = "redis")]
#[cfg(target_os = "linux")]
pub use self::shifted_clock::ShiftedClock;
pub use self::{
    altered_store::AlteredStore,
    browser::Browser,
    events::Events,
    example::Example,
    faulty_store::{Behaviour, FaultyStore, STORE_ERRORS},
    fixture::{Fixture, bad_tokens},
    http_client::{Answer, HttpClient},
    log::Log,
    metrics_page::MetricsPage,
    observed::Observations,
    reserved::RESERVED,
    text_store::TextStore,
    tokio_clock::TokioClock,
    users::Users,
    wire::WireServer,
};
pub use self::{monitor::Monitor, proxy::Proxy, redis_server::RedisServer};

/// The time limit of a wait. Only a hang takes longer, even on a busy machine.
pub const HANG: Duration = Duration::from_secs(30);

/// The time limit of [`eventually`]. Conditions of other processes, such as sentinels that find
/// each other, have taken longer than [`HANG`] while a build ran beside the tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` returns a value. Panics with `what` after two minutes.
pub async fn eventually<F, T>(what: &str, mut condition: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs `operation` with Tokio's clock paused. Returns its output and the time that it took by that
/// clock.
///
/// A paused clock moves only when all tasks wait, and then to the next timer. So a wait for a
/// silent peer takes exactly its deadline on any machine. Needs a runtime of one thread. No call
/// that gets an answer may run meanwhile, because its timers would fire before the answer.
pub async fn on_a_paused_clock<F: Future>(operation: F) -> (F::Output, Duration) {
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let output = operation.await;
    let took = began.elapsed();
    tokio::time::resume();
    (output, took)
}

//! The cost of following the revocation log. `cargo bench --bench following` takes two minutes;
//! `-- quick` does a tenth of everything.
//!
//! * Four nodes at 0, 50 and 500 revocations a second, strong and bounded: reads of the log a
//!   second, and the CPU of Redis.
//! * The concurrent start of eight nodes on a log of a million entries: the time to the last lease,
//!   and strict checks of another node with and without that start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use redis::aio::MultiplexedConnection;
use support::{
    checks::{assert_revocations_reach, checks, report},
    keys::SECRET,
    redis_server::RedisServer,
    scale::Scale,
};
use tokio::time::{interval, sleep};
use tower_bearer::{Consistency, NewSession, RedisStore, SessionStore, TokenService, tokens::ReplicaState};

const BOUNDED: Consistency = Consistency::BoundedStaleness(Duration::from_secs(1));

fn main() {
    let scale = Scale::from_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        scale.print(
            "four nodes; reads of a bucket's log a second of each, and the CPU of Redis (with the revocations' own)",
        );
        for (name, consistency) in [("strong", Consistency::Strong), ("bounded:1000", BOUNDED)] {
            for rate in [0, 50, 500] {
                follow(scale, name, consistency, rate).await;
            }
        }
        start(scale).await;
    });
}

async fn node(url: &str, consistency: Consistency) -> TokenService {
    let store = RedisStore::builder(url).timeout(Duration::from_secs(5)).connect().await.unwrap();
    TokenService::builder().secret(SECRET).store(store).consistency(consistency).build().unwrap()
}

/// Reads of the log (commands) and the CPU of the server in microseconds, since its start.
async fn costs(admin: &mut MultiplexedConnection) -> (u64, f64) {
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(admin).await.unwrap();
    let cpu: String = redis::cmd("INFO").arg("cpu").query_async(admin).await.unwrap();
    let calls = |name: &str| -> u64 {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.and_then(|rest| rest.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    };
    let seconds = |name: &str| -> f64 {
        let line = cpu.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.map_or(0.0, |seconds| seconds.trim().parse().unwrap())
    };
    (calls("xrange") + calls("xrevrange"), seconds("used_cpu_user") + seconds("used_cpu_sys"))
}

#[allow(clippy::cast_precision_loss, reason = "for reading")]
async fn follow(scale: Scale, name: &str, consistency: Consistency, rate: u32) {
    let time = scale.time(Duration::from_secs(10));
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    let url = server.url();
    let nodes = join_all((0..4).map(|_| node(&url, consistency))).await;
    let store = RedisStore::connect(server.url()).await.unwrap();
    // Afterwards the nodes have read the whole log.
    sleep(Duration::from_millis(500)).await;
    let (before, began) = (costs(&mut admin).await, Instant::now());
    if rate == 0 {
        sleep(time).await;
    } else {
        let pause = Duration::from_secs(1) / rate;
        let mut tick = interval(pause);
        for number in 0..time.as_micros().div_ceil(pause.as_micros()) {
            tick.tick().await;
            store.revoke_session(&format!("user-{number}").into(), &number.to_string().into()).await.unwrap();
        }
    }
    let (after, seconds) = (costs(&mut admin).await, began.elapsed().as_secs_f64());
    scale.print(format_args!(
        "{name:>12}, {rate:>3} revocations/s: {:>6.0} reads/s a node, Redis {:>5.1} % of a core",
        (after.0 - before.0) as f64 / seconds / nodes.len() as f64,
        (after.1 - before.1) / seconds * 100.0,
    ));
    assert_revocations_reach(&nodes).await;
}

async fn start(scale: Scale) {
    let entries = scale.count(1_000_000, 1_000);
    let server = RedisServer::start();
    let store = RedisStore::builder(server.url()).timeout(Duration::from_secs(5)).connect().await.unwrap();
    let began = Instant::now();
    stream::iter(0..entries)
        .for_each_concurrent(256, |number| {
            let store = &store;
            async move {
                let (user, session) = (format!("user-{number}").into(), format!("session-{number:022}").into());
                store.revoke_session(&user, &session).await.unwrap();
            }
        })
        .await;
    scale.print(format_args!("\n{entries} entries written in {:?}", began.elapsed()));
    sleep(scale.time(Duration::from_secs(2))).await;
    // A node on its own thread, as a stand-in for its own machine.
    let (started, has_started) = tokio::sync::oneshot::channel();
    let is_done = Arc::new(AtomicBool::new(false));
    let checker = std::thread::spawn({
        let (is_done, url) = (Arc::clone(&is_done), server.url());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let strict = node(&url, Consistency::Strong).await;
                let pair = strict.create_token_pair(NewSession::new("somebody")).await.unwrap();
                let token = pair.access().as_str();
                let idle = checks(&strict, token, scale.time(Duration::from_secs(4))).await;
                started.send(()).unwrap();
                let mut busy = Vec::new();
                while !is_done.load(Ordering::Relaxed) {
                    busy.extend(checks(&strict, token, Duration::from_millis(50)).await);
                }
                (idle, busy)
            })
        }
    });
    has_started.await.unwrap();
    let began = Instant::now();
    let url = server.url();
    let start = |_| async {
        let tokens = node(&url, BOUNDED).await;
        while tokens.status().await.replica.unwrap().state != ReplicaState::Leased {
            sleep(Duration::from_millis(5)).await;
        }
        (tokens, began.elapsed())
    };
    let nodes = join_all((0..8).map(start)).await;
    let (nodes, after): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
    let last = after.into_iter().max().unwrap();
    // The nodes are still reading older entries.
    sleep(scale.time(Duration::from_secs(4))).await;
    is_done.store(true, Ordering::Relaxed);
    let (idle, busy) = tokio::task::spawn_blocking(|| checker.join().unwrap()).await.unwrap();
    scale.print(format_args!("eight nodes at once: the last one leased after {last:?}"));
    report(scale, "strict checks, nothing starts", idle);
    report(scale, "strict checks, eight nodes start and read back", busy);
    assert_revocations_reach(&nodes).await;
}

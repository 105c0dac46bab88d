//! Faults under which the staleness bound must hold.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tokio::time::sleep;

use super::oracle::Deployment;
use crate::support::Proxy;

/// Random numbers for the faults. The schedule of a real server is not repeatable, so a seed would
/// not help.
struct Random(RandomState, u64);

impl Random {
    fn new() -> Self {
        Self(RandomState::new(), 0)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.1 += 1;
        self.0.hash_one(self.1) % limit
    }

    /// Waits a random real time between `from` and `to` milliseconds. It only spaces the faults.
    async fn pause(&mut self, from: u64, to: u64) {
        sleep(Duration::from_millis(from + self.below(to - from))).await;
    }
}

async fn admin(deployment: &Deployment) -> MultiplexedConnection {
    deployment.server.lock().await.admin().await
}

/// Runs a command and returns its numeric reply, or 1 for any other reply.
async fn run(admin: &mut MultiplexedConnection, words: &[&str]) -> i64 {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    match command.query_async(admin).await.unwrap() {
        redis::Value::Int(count) => count,
        _ => 1,
    }
}

/// Repeats commands until the run ends.
async fn repeat_until_end(
    deployment: Arc<Deployment>,
    over: Arc<AtomicBool>,
    every: (u64, u64),
    words: Vec<Vec<String>>,
) {
    let (mut random, mut admin) = (Random::new(), admin(&deployment).await);
    let mut done = 0;
    while !over.load(Ordering::SeqCst) {
        for words in &words {
            done += run(&mut admin, &words.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        random.pause(every.0, every.1).await;
    }
    assert!(done > 0, "no fault: {words:?}");
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_all_is_calm() {
    let seen = Deployment::start().await.watch("calm", |_, _| async {}).await;
    assert_eq!(seen.unavailable, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_nudges_are_cut() {
    let fault = |deployment, over| repeat_until_end(deployment, over, (5, 20), vec![words("CLIENT KILL TYPE pubsub")]);
    Deployment::start().await.watch("nudges cut", fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_connections_are_killed_in_a_storm() {
    let kill = vec![words("CLIENT KILL TYPE normal SKIPME yes"), words("CLIENT KILL TYPE pubsub")];
    let fault = |deployment, over| repeat_until_end(deployment, over, (20, 120), kill);
    Deployment::start().await.watch("connections killed", fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_nodes_are_cut_off_and_frozen() {
    let fault = |deployment: Arc<Deployment>, over: Arc<AtomicBool>| async move {
        let mut random = Random::new();
        while !over.load(Ordering::SeqCst) {
            let proxy = &deployment.nodes[usize::try_from(random.below(3)).unwrap()].proxy;
            match random.below(4) {
                // Reads from before the revocation are answered late.
                0 => proxy.freeze_replies(),
                1 => proxy.freeze_requests(),
                2 => proxy.silence(),
                _ => proxy.freeze(),
            }
            random.pause(5, 600).await;
            proxy.resume();
            random.pause(10, 80).await;
        }
        deployment.nodes.iter().for_each(|node| node.proxy.resume());
    };
    Deployment::start().await.watch("nodes frozen", fault).await;
}

/// The answer to a read from before the revocation arrives late, and is the last one for longer
/// than the bound. Its lease must end by itself. A lease that counted from the answer would end too
/// late by the delay of that answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_a_late_answer_is_the_last_one_for_long() {
    let fault = |deployment: Arc<Deployment>, over: Arc<AtomicBool>| async move {
        let mut random = Random::new();
        while !over.load(Ordering::SeqCst) {
            let nodes = || deployment.nodes.iter().map(|node| &node.proxy);
            nodes().for_each(Proxy::freeze_replies);
            // Shorter than the deadline of a read.
            random.pause(60, 120).await;
            nodes().for_each(|proxy| {
                proxy.resume();
                proxy.freeze_requests();
            });
            random.pause(250, 300).await;
            nodes().for_each(Proxy::resume);
            random.pause(10, 40).await;
        }
    };
    Deployment::start().await.watch("late answers", fault).await;
}

/// Other work blocks one or both threads of the nodes, also for longer than the bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_the_runtime_is_under_load() {
    let fault = |_, over: Arc<AtomicBool>| async move {
        let mut random = Random::new();
        while !over.load(Ordering::SeqCst) {
            for _ in 0..=random.below(2) {
                let computes = Duration::from_millis(10 + random.below(300));
                // Blocks in real time, because a blocked thread of the runtime is the fault.
                tokio::spawn(async move { std::thread::sleep(computes) });
            }
            random.pause(20, 200).await;
        }
    };
    Deployment::start().await.watch("runtime under load", fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_the_server_is_stopped_and_resumed() {
    let fault = |deployment: Arc<Deployment>, over: Arc<AtomicBool>| async move {
        let mut random = Random::new();
        while !over.load(Ordering::SeqCst) {
            deployment.server.lock().await.pause();
            random.pause(5, 500).await;
            deployment.server.lock().await.resume();
            random.pause(20, 200).await;
        }
    };
    Deployment::start().await.watch("SIGSTOP and SIGCONT", fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_the_server_is_killed_and_comes_back_empty() {
    let fault = |deployment: Arc<Deployment>, over: Arc<AtomicBool>| async move {
        let mut random = Random::new();
        while !over.load(Ordering::SeqCst) {
            deployment.server.lock().await.restart();
            random.pause(300, 900).await;
        }
    };
    Deployment::start().await.watch("killed and empty", fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_everything_is_flushed() {
    let fault = |deployment, over| repeat_until_end(deployment, over, (50, 400), vec![words("FLUSHALL")]);
    Deployment::start().await.watch("FLUSHALL", fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_the_log_is_trimmed_under_its_readers() {
    // Every other bucket keeps its last entry. A node that missed the earlier ones sees only that
    // this entry does not link to its position.
    let trims = (0..16).map(|bucket| words(&format!("XTRIM tb:{{{bucket}}}:log MAXLEN {}", bucket % 2))).collect();
    let fault = |deployment: Arc<Deployment>, over: Arc<AtomicBool>| async move {
        let trimming = repeat_until_end(Arc::clone(&deployment), Arc::clone(&over), (1, 8), trims);
        // A frozen node misses the trimmed entries.
        let freezing = async {
            let mut random = Random::new();
            while !over.load(Ordering::SeqCst) {
                let proxy = &deployment.nodes[usize::try_from(random.below(3)).unwrap()].proxy;
                proxy.freeze_requests();
                random.pause(5, 200).await;
                proxy.resume();
                random.pause(5, 50).await;
            }
        };
        tokio::join!(trimming, freezing);
    };
    Deployment::start().await.watch("log trimmed", fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_when_scripts_are_flushed() {
    let fault = |deployment, over| repeat_until_end(deployment, over, (5, 50), vec![words("SCRIPT FLUSH")]);
    Deployment::start().await.watch("SCRIPT FLUSH", fault).await;
}

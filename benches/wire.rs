//! What the layer costs over the wire: `cargo build --release --examples && cargo bench --bench wire`, about two minutes.
//!
//! `examples/bench_server` runs in a process of its own, and 64 connections ask it in turns for `/open` and for `/protected`, which run the same
//! handler; what counts is the ratio of the two in one run. Beside it, in another process, a server that does by hand what is mostly done: a
//! connection out of a deadpool, and a `GET`, for every request; it does not even look at the token.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

#[path = "../tests/support/example.rs"]
#[allow(dead_code, unreachable_pub, reason = "it takes a part of this")]
mod example;
#[path = "../tests/support/redis_server.rs"]
#[allow(dead_code, unreachable_pub, reason = "it takes a part of this")]
mod redis_server;

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use deadpool_redis::{Pool, redis::AsyncCommands};
use example::Example;
use redis_server::RedisServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinSet,
};

const CONNECTIONS: usize = 64;
/// Short, and many: the speed of a shared machine changes within seconds, and a ratio is taken of turns that follow each other.
const ROUNDS: usize = 48;
const WARM_UP: usize = 4;
const TURN: Duration = Duration::from_millis(200);
/// The bench's own server by hand, told from `cargo bench`'s arguments.
const BY_HAND: &str = "--serve-by-hand";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let arguments: Vec<_> = env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == BY_HAND) {
        runtime.block_on(serve_by_hand(&arguments[at + 1]));
        return;
    }
    let server = RedisServer::start();
    let by_hand = ByHand::start(&server.url());
    println!(
        "{CONNECTIONS} connections, {ROUNDS} turns of {TURN:?} each; requests a second and ratios: median [quartiles]\n"
    );
    for (name, variables) in [
        ("bounded:1000, Redis", vec![("CONSISTENCY", "bounded:1000"), ("REDIS_URL", &*server.url())]),
        ("strong, Redis", vec![("CONSISTENCY", "strong"), ("REDIS_URL", &*server.url())]),
        ("memory", vec![]),
    ] {
        let variables: Vec<_> = variables.into_iter().chain([("RUST_LOG", "warn")]).collect();
        let example = Example::start("bench_server", &variables);
        let mint = async {
            let mut tokens = Vec::with_capacity(CONNECTIONS);
            for _ in 0..CONNECTIONS {
                tokens.push(body(example.authority(), "/token").await);
            }
            tokens
        };
        let tokens = runtime.block_on(mint);
        let targets = [
            Target { name: "/open", authority: example.authority(), path: "/open", tokens: &tokens },
            Target { name: "/protected", authority: example.authority(), path: "/protected", tokens: &tokens },
            Target { name: "by hand: checkout, GET", authority: &by_hand.authority, path: "/", tokens: &tokens },
        ];
        compare(&runtime, name, &targets);
    }
}

struct Target<'a> {
    name: &'static str,
    authority: &'a str,
    path: &'static str,
    /// Each connection is another user's.
    tokens: &'a [String],
}

/// Each target in turns, so that all meet the same state of the machine.
fn compare(runtime: &Runtime, title: &str, targets: &[Target<'_>]) {
    let mut rates = vec![Vec::new(); targets.len()];
    for round in 0..WARM_UP + ROUNDS {
        for (target, rates) in targets.iter().zip(&mut rates) {
            let rate = runtime.block_on(load(target));
            if round >= WARM_UP {
                rates.push(rate);
            }
        }
    }
    println!("{title:<28}{:>12}   of /open             of by hand", "requests/s");
    for (target, own) in targets.iter().zip(&rates) {
        println!(
            "  {:<26}{:>12.0}   {}   {}",
            target.name,
            quartiles(own)[1],
            ratio(own, &rates[0]),
            ratio(own, &rates[2])
        );
    }
    println!();
}

fn ratio(own: &[f64], others: &[f64]) -> String {
    let ratios: Vec<_> = own.iter().zip(others).map(|(own, other)| own / other).collect();
    let [low, median, high] = quartiles(&ratios);
    format!("{median:.3} [{low:.3} {high:.3}]")
}

fn quartiles(values: &[f64]) -> [f64; 3] {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// Requests a second that a target answers.
async fn load(target: &Target<'_>) -> f64 {
    let (answered, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for token in target.tokens {
        let mut stream = TcpStream::connect(target.authority).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let Target { path, authority, .. } = target;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n\r\n");
        let (answered, over) = (Arc::clone(&answered), Arc::clone(&over));
        clients.spawn(async move {
            let mut buffer = vec![0; 4096];
            while !over.load(Ordering::Relaxed) {
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut read = 0;
                while !buffer[..read].ends_with(b"\r\n\r\nhi") {
                    let more = stream.read(&mut buffer[read..]).await.unwrap();
                    assert!(more > 0, "{}", String::from_utf8_lossy(&buffer[..read]));
                    read += more;
                }
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let (began, before) = (Instant::now(), answered.load(Ordering::Relaxed));
    tokio::time::sleep(TURN).await;
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let rate = (answered.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    rate
}

async fn body(authority: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response.split_once("\r\n\r\n").unwrap().1.to_owned()
}

// ---- By hand -------------------------------------------------------------------------------------------------------

/// This program again, as the server by hand. Dropping it ends it.
struct ByHand {
    child: Child,
    authority: String,
}

impl ByHand {
    fn start(redis: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        let mut child = command.args([BY_HAND, redis]).stdout(Stdio::piped()).spawn().unwrap();
        let mut authority = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut authority).unwrap();
        Self { child, authority: authority.trim().to_owned() }
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

async fn serve_by_hand(redis: &str) {
    let builder = deadpool_redis::Config::from_url(redis).builder().unwrap();
    let pool = builder.max_size(16).runtime(deadpool_redis::Runtime::Tokio1).build().unwrap();
    pool.get().await.unwrap().set::<_, _, ()>("session", &[b'x'; 60][..]).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    axum::serve(listener, Router::new().route("/", get(look_up)).with_state(pool)).await.unwrap();
}

async fn look_up(State(pool): State<Pool>) -> Result<&'static str, StatusCode> {
    let mut connection = pool.get().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let found: Vec<u8> = connection.get("session").await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    if found.is_empty() { Err(StatusCode::UNAUTHORIZED) } else { Ok("hi") }
}

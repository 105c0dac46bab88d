//! The cost of the layer over the wire. `cargo bench --bench wire` takes about two minutes;
//! `-- quick` does a tenth of everything.
//!
//! `examples/bench_server` runs in its own process. 64 connections request `/open` and `/protected`
//! in turns, which run the same handler. The result is the ratio of the two in one run.
//!
//! For comparison, another process works as most applications do: each request takes a connection
//! from a deadpool and sends a `GET`. It does not check the token.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

#[path = "../examples/bench_server.rs"]
mod bench_server;
mod support;

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use deadpool_redis::{Pool, redis::AsyncCommands};
use support::{
    keys::SECRET,
    redis_server::RedisServer,
    scale::{Scale, has_argument},
    turns::quartiles,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinSet,
};

const CONNECTIONS: usize = 64;
/// The number of turns of each target. Turns are short and many, because the speed of a shared
/// machine changes within seconds, and each ratio compares consecutive turns.
const ROUNDS: usize = 48;
const TURN: Duration = Duration::from_millis(200);
/// The arguments that make this program run as a server.
const BENCH_SERVER: &str = "--serve-bench-server";
const BY_HAND: &str = "--serve-by-hand";

fn main() {
    if has_argument(BENCH_SERVER) {
        return bench_server::main().unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if has_argument(BY_HAND) {
        return runtime.block_on(serve_by_hand());
    }
    let scale = Scale::from_arguments();
    let rounds = scale.count(ROUNDS, 1);
    let redis = RedisServer::start();
    let url = redis.url();
    let by_hand = Server::start(BY_HAND, &[("REDIS_URL", &url)]);
    scale.print(format_args!(
        "{CONNECTIONS} connections, {rounds} turns of {TURN:?} each; requests a second and ratios: median [quartiles]\n"
    ));
    for (name, variables) in [
        ("bounded:1000, Redis", vec![("CONSISTENCY", "bounded:1000"), ("REDIS_URL", &*url)]),
        ("strong, Redis", vec![("CONSISTENCY", "strong"), ("REDIS_URL", &*url)]),
        ("memory", vec![]),
    ] {
        let variables: Vec<_> =
            variables.into_iter().chain([("JWT_SECRET_KEY", SECRET), ("RUST_LOG", "error")]).collect();
        let server = Server::start(BENCH_SERVER, &variables);
        let authority = &*server.authority;
        let without_token = runtime.block_on(answer(authority, "/protected"));
        assert!(without_token.starts_with("HTTP/1.1 401 "), "{without_token}");
        let mint = async {
            let mut tokens = Vec::with_capacity(CONNECTIONS);
            for _ in 0..CONNECTIONS {
                let answer = answer(authority, "/token").await;
                tokens.push(answer.split_once("\r\n\r\n").unwrap().1.to_owned());
            }
            tokens
        };
        let tokens = runtime.block_on(mint);
        let targets = [
            Target { name: "/open", authority, path: "/open", tokens: &tokens },
            Target { name: "/protected", authority, path: "/protected", tokens: &tokens },
            Target { name: "by hand: checkout, GET", authority: &by_hand.authority, path: "/", tokens: &tokens },
        ];
        compare(scale, &runtime, name, &targets);
    }
}

struct Target<'a> {
    name: &'static str,
    authority: &'a str,
    path: &'static str,
    /// Each connection is another user's.
    tokens: &'a [String],
}

/// Measures the targets in turns, so that all meet the same state of the machine.
fn compare(scale: Scale, runtime: &Runtime, title: &str, targets: &[Target<'_>]) {
    let rounds = scale.count(ROUNDS, 1);
    let mut rates = vec![Vec::new(); targets.len()];
    for round in 0..rounds / 10 + rounds {
        for (target, rates) in targets.iter().zip(&mut rates) {
            let rate = runtime.block_on(load(target));
            // The first turns warm up.
            if round >= rounds / 10 {
                rates.push(rate);
            }
        }
    }
    scale.print(format_args!("{title:<28}{:>12}   of /open             of by hand", "requests/s"));
    for (target, own) in targets.iter().zip(&rates) {
        scale.print(format_args!(
            "  {:<26}{:>12.0}   {}   {}",
            target.name,
            quartiles(own.iter().copied())[1],
            ratio(own, &rates[0]),
            ratio(own, &rates[2])
        ));
    }
    scale.print("");
}

fn ratio(own: &[f64], others: &[f64]) -> String {
    let [low, median, high] = quartiles(own.iter().zip(others).map(|(own, other)| own / other));
    format!("{median:.3} [{low:.3} {high:.3}]")
}

/// Returns the number of requests a second that a target answers.
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
                    read += more;
                    // Another answer does not end in `hi`, so the loop would never end.
                    let is_ok = more > 0 && buffer.starts_with(b"HTTP/1.1 200 ");
                    assert!(is_ok, "{}", String::from_utf8_lossy(&buffer[..read]));
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

/// Returns the whole answer to a request without a token.
async fn answer(authority: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(authority).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

// ---- Servers ------------------------------------------------------------------------------------

/// This program again, as a server. Dropping it ends it.
struct Server {
    child: Child,
    authority: String,
    /// Stays open, because the server prints more than its address.
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server on a free port, with these variables and no others. Waits for its address.
    fn start(role: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg(role).env_clear().env("BIND", "127.0.0.1:0").envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdout, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
        stdout.read_line(&mut line).unwrap();
        let (_, authority) = line.trim().split_once("http://").expect("the server's address");
        Self { child, authority: authority.to_owned(), _stdout: stdout }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

async fn serve_by_hand() {
    let redis = env::var("REDIS_URL").unwrap();
    let builder = deadpool_redis::Config::from_url(redis).builder().unwrap();
    let pool = builder.max_size(16).runtime(deadpool_redis::Runtime::Tokio1).build().unwrap();
    pool.get().await.unwrap().set::<_, _, ()>("session", &[b'x'; 60][..]).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("by hand on http://{}", listener.local_addr().unwrap());
    axum::serve(listener, Router::new().route("/", get(look_up)).with_state(pool)).await.unwrap();
}

async fn look_up(State(pool): State<Pool>) -> Result<&'static str, StatusCode> {
    let mut connection = pool.get().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let found: Vec<u8> = connection.get("session").await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    if found.is_empty() { Err(StatusCode::UNAUTHORIZED) } else { Ok("hi") }
}

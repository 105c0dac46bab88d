//! The cost of open streams, and the time until a revocation cuts them. `cargo bench --bench
//! streams` takes six minutes; `-- quick` does a tenth of everything, and `-- many` measures only
//! the streams of one subject.
//!
//! * A unary request through a layer with cutoff, and through one without, in turns: through the
//!   layer alone, and over HTTP/2 on a pipe in memory.
//! * A node with 100 000 streams on Redis, strong and bounded: the CPU of the process while nothing
//!   happens, and the time from another node's confirmed revocation until a stream is cut, for one
//!   of all streams and for 10 000 streams of one subject. The latter once with a task for each
//!   stream, and once with wakers that only note the time. The difference is the cost of the tasks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

mod support;

use std::{
    convert::Infallible,
    fs,
    future::ready,
    pin::pin,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Wake, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use support::{
    keys::{SECRET, key},
    redis_server::RedisServer,
    requests::{bearer, hello},
    scale::{Scale, has_argument},
    turns::{Contender, Turns},
};
use tokio::task::AbortHandle;
use tower::{BoxError, Layer, Service, service_fn};
use tower_bearer::{
    AuthLayer, Consistency, Cutoff, CutoffCause, KeySet, MemoryStore, NewSession, RedisStore, SessionId, TokenService,
    TokenType,
};

const BOUNDED: Consistency = Consistency::BoundedStaleness(Duration::from_secs(1));
/// The number of logins at once.
const TASKS: usize = 64;
/// The time limit for a cut. It is long, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let scale = Scale::from_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let is_whole = !has_argument("many");
    if is_whole {
        unary(scale);
    }
    runtime.block_on(async {
        for (name, consistency) in [("strong", Consistency::Strong), ("bounded:1000", BOUNDED)] {
            streams(scale, name, consistency, is_whole).await;
        }
    });
}

fn unary(scale: Scale) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tokens =
        TokenService::builder().keys(KeySet::signing(key("HS256"))).store(MemoryStore::default()).build().unwrap();
    let token = runtime.block_on(tokens.create_access_token(NewSession::new("42").scope("read"))).unwrap();
    let requests = || vec![bearer(token.as_str())];
    let layer = |cuts| AuthLayer::new(tokens.clone()).cutoff(cuts);
    let modes = [("without cutoff", false), ("with cutoff", true), ("without cutoff again", false)];
    let mut alone = modes
        .map(|(name, cuts)| Contender::new(name, layer(cuts).layer(service_fn(hello)), requests(), StatusCode::OK));
    Turns::new(scale, 400, 2_000).compare("a warm unary request, layer alone", &runtime, &mut alone);
    let mut served = modes.map(|(name, cuts)| {
        let answer = |_: Request<Incoming>| ready(Ok::<_, Infallible>(Response::new(Full::from("hi"))));
        let client = runtime.block_on(client_over_http2(layer(cuts).layer(service_fn(answer))));
        Contender::new(name, client, requests(), StatusCode::OK)
    });
    Turns::new(scale, 1_000, 200).compare("a warm unary request over HTTP/2", &runtime, &mut served);
}

/// Serves a service over HTTP/2 on a pipe in memory, and returns a client of it.
async fn client_over_http2<S, B>(
    service: S,
) -> impl Service<Request<Full<Bytes>>, Response = Response<()>, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (client, server) = tokio::io::duplex(64 * 1024);
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
    tokio::spawn(server);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    service_fn(move |mut request: Request<Full<Bytes>>| {
        let mut sender = sender.clone();
        *request.uri_mut() = Uri::from_static("http://localhost/");
        async move {
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            body.collect().await.unwrap();
            Ok(Response::from_parts(head, ()))
        }
    })
}

async fn node(url: &str, consistency: Consistency) -> TokenService {
    let store = RedisStore::builder(url).timeout(Duration::from_secs(5)).connect().await.unwrap();
    TokenService::builder().secret(SECRET).store(store).consistency(consistency).build().unwrap()
}

/// The moments of the cuts of a number of streams. Dropping it ends their tasks, which would see
/// another end when the server stops.
struct Cuts {
    moments: Arc<[OnceLock<Instant>]>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Cuts {
    fn of(streams: usize) -> Self {
        Self { moments: (0..streams).map(|_| OnceLock::new()).collect(), tasks: Mutex::default() }
    }

    /// Returns the time from `began` until the cut of a stream.
    async fn after(&self, began: Instant, stream: usize) -> Duration {
        let deadline = began + PATIENCE;
        loop {
            if let Some(cut) = self.moments[stream].get() {
                return cut.saturating_duration_since(began);
            }
            assert!(Instant::now() < deadline, "stream {stream} is not cut");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Cuts {
    fn drop(&mut self) {
        self.tasks.get_mut().unwrap().iter().for_each(AbortHandle::abort);
    }
}

/// Opens a stream that notes the moment of its cut.
async fn open(tokens: &TokenService, token: &str, cuts: &Cuts, stream: usize) {
    let claims = tokens.validate_token(token, TokenType::Access).await.unwrap();
    let (cutoff, moments) = (tokens.ended(&claims), Arc::clone(&cuts.moments));
    let task = tokio::spawn(async move {
        assert_eq!(cutoff.await, CutoffCause::Revoked);
        moments[stream].set(Instant::now()).unwrap();
    });
    cuts.tasks.lock().unwrap().push(task.abort_handle());
}

/// The waker of a stream without a task.
struct Note {
    moments: Arc<[OnceLock<Instant>]>,
    stream: usize,
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        _ = self.moments[self.stream].set(Instant::now());
    }
}

/// Opens a stream whose waker notes the moment of its cut.
async fn open_without_task(tokens: &TokenService, token: &str, cuts: &Cuts, stream: usize) -> Cutoff {
    let claims = tokens.validate_token(token, TokenType::Access).await.unwrap();
    let waker = Waker::from(Arc::new(Note { moments: Arc::clone(&cuts.moments), stream }));
    let mut cutoff = tokens.ended(&claims);
    assert!(pin!(&mut cutoff).poll(&mut Context::from_waker(&waker)).is_pending());
    cutoff
}

async fn streams(scale: Scale, name: &str, consistency: Consistency, is_whole: bool) {
    let all = scale.count(100_000, 200);
    let server = RedisServer::start();
    let (revoker, node) = (node(&server.url(), Consistency::Strong).await, node(&server.url(), consistency).await);
    // A node with leases asks the store about tokens from before its start, at a bounded rate.
    tokio::time::sleep(scale.time(Duration::from_secs(5))).await;
    let idle = if is_whole { cpu_percent(scale).await } else { 0.0 };
    let cuts = Cuts::of(all);
    let sessions: Vec<(usize, SessionId)> = stream::iter(0..all)
        .map(|number| {
            let (revoker, node, cuts) = (&revoker, &node, &cuts);
            async move {
                let pair = revoker.create_token_pair(NewSession::new(format!("user-{number}"))).await?;
                open(node, pair.access().as_str(), cuts, number).await;
                Ok::<_, tower_bearer::Error>((number, pair.session_id().clone()))
            }
        })
        .buffer_unordered(TASKS)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(node.status().await.streams.open, all);

    // Within a few ticks the log covers the streams.
    tokio::time::sleep(scale.time(Duration::from_secs(10))).await;
    if is_whole {
        one_of_all(scale, name, &revoker, &sessions, &cuts, idle).await;
    }
    for is_task in [true, false] {
        of_one_subject(scale, name, &revoker, &node, is_task).await;
    }
    let status = node.status().await.streams;
    assert_eq!((status.expired, status.unconfirmed), (0, 0));
}

async fn one_of_all(
    scale: Scale,
    name: &str,
    revoker: &TokenService,
    sessions: &[(usize, SessionId)],
    cuts: &Cuts,
    idle: f64,
) {
    let all = sessions.len();
    let percent = cpu_percent(scale).await;
    scale.print(format_args!("\n{name}, {all} idle streams: {percent:.2} % of a core, {idle:.2} % without them"));

    let mut waits = Vec::new();
    for (number, session) in sessions.iter().step_by(all.div_ceil(scale.count(500, 20))) {
        // A bucket is read at most every 25 ms, so revocations in quick succession wait for that.
        tokio::time::sleep(scale.time(Duration::from_millis(50))).await;
        revoker.revoke_session(format!("user-{number}"), session).await.unwrap();
        waits.push(cuts.after(Instant::now(), *number).await);
    }
    report(scale, &format!("{name}, one of {all} streams"), waits);
}

async fn of_one_subject(scale: Scale, name: &str, revoker: &TokenService, node: &TokenService, is_task: bool) {
    let many = scale.count(10_000, 50);
    let (mut waits, mut firsts) = (Vec::new(), Vec::new());
    for round in 0..scale.count(10, 1) {
        let user = format!("many-{is_task}-{round}");
        let pair = revoker.create_token_pair(NewSession::new(user.as_str())).await.unwrap();
        let cuts = Cuts::of(many);
        let mut open_streams = Vec::new();
        for stream in 0..many {
            if is_task {
                open(node, pair.access().as_str(), &cuts, stream).await;
            } else {
                open_streams.push(open_without_task(node, pair.access().as_str(), &cuts, stream).await);
            }
        }
        tokio::time::sleep(scale.time(Duration::from_millis(500))).await;
        revoker.revoke_all_for_subject(user.as_str()).await.unwrap();
        let began = Instant::now();
        // The task of this function must not take time from the measured tasks.
        tokio::time::sleep(scale.time(Duration::from_millis(100))).await;
        for stream in 0..many {
            waits.push(cuts.after(began, stream).await);
        }
        firsts.extend(waits.iter().rev().take(many).min());
    }
    let owner = if is_task { "task" } else { "waker" };
    report(scale, &format!("{name}, each of {many} streams of a subject, with a {owner} each"), waits);
    report(scale, "  the first one of them", firsts);
}

fn report(scale: Scale, what: &str, mut waits: Vec<Duration>) {
    waits.sort();
    let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
    scale.print(format_args!(
        "{what}: cut after {:.2?} (median), {:.2?} (p99), {:.2?} (worst), {} cuts",
        at(50),
        at(99),
        at(100),
        waits.len()
    ));
}

/// Returns the part of a core that this process uses in a minute.
async fn cpu_percent(scale: Scale) -> f64 {
    let (before, began) = (cpu_seconds(), Instant::now());
    tokio::time::sleep(scale.time(Duration::from_secs(60))).await;
    (cpu_seconds() - before) / began.elapsed().as_secs_f64() * 100.0
}

/// Returns the CPU time of this process. 0 where the system does not tell.
#[allow(clippy::cast_precision_loss, reason = "for reading")]
fn cpu_seconds() -> f64 {
    // Fields 14 and 15 of proc(5), in ticks of 10 ms. The name of the process, field 2, may have
    // spaces.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() as f64 / 100.0
}

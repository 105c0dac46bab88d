//! The instructions of one request. `cargo bench --bench instructions` takes some seconds, and
//! needs valgrind. Unlike times, the counts hardly depend on the machine or its load.
//!
//! The request is warm, and the memory store decides it. There are five modes: the bare service,
//! the layer without cutoff, with its defaults, with an observer that counts, and with metrics on a
//! Prometheus recorder. The clock is a manual one and there is no replica, because a real clock
//! reads the vDSO, which valgrind hides.
//!
//! This program runs itself under callgrind in each mode, and counts only the warm requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]

mod support;

use std::{
    convert::Infallible,
    env,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusBuilder;
use support::requests::{bearer, hello};
use tower::{Layer, Service, service_fn};
use tower_bearer::{
    AuthLayer, MemoryStore, NewSession, TokenService,
    clock::{ManualClock, Timestamp},
    observe::{MetricsObserver, Observation},
    tokens::TokenServiceBuilder,
};

/// TEST secret.
const SECRET: &str = "TEST-secret-of-the-instructions-0123456789abcdef";
const MODES: [&str; 5] = ["bare service", "no cutoff", "defaults", "counts", "metrics"];
const REQUESTS: u64 = 1000;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [mode, requests, ..] if MODES.contains(&mode.as_str()) => run(mode, requests.parse().unwrap()),
        // Cargo passes `--bench` to a measurement.
        arguments if arguments.iter().any(|argument| argument == "--bench") && has_valgrind() => compare(),
        _ => {
            println!("instructions: not measured without `--bench` and valgrind; one round of each mode instead");
            for mode in MODES {
                run(mode, 10);
            }
        }
    }
}

fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

fn compare() {
    let counts = MODES.map(|mode| collected(mode) / REQUESTS);
    for (mode, count) in MODES.iter().zip(counts) {
        println!("{mode:>14}: {count:>6} instructions a request");
    }
    assert!(counts.is_sorted(), "no mode may cost less than the one before it");
}

/// Returns the instructions of all warm requests in a mode.
fn collected(mode: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*send_warm*"])
        .arg(env::current_exe().unwrap())
        .args([mode, &REQUESTS.to_string()])
        .output()
        .expect("valgrind runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let count = text.lines().find_map(|line| line.split_once("Collected : ")).expect("a count").1;
    count.trim().parse().expect("a number")
}

/// Sends the requests.
fn run(mode: &str, requests: u64) {
    let checks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&checks);
    let counts = move |observation: &Observation| {
        if let Observation::Check { .. } = observation {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    let recorder = PrometheusBuilder::new().build_recorder();
    match mode {
        "bare service" => send(requests, "", service_fn(hello)),
        "no cutoff" => send_through_the_layer(requests, false, |builder| builder),
        "defaults" => send_through_the_layer(requests, true, |builder| builder),
        "counts" => send_through_the_layer(requests, true, |builder| builder.observer(counts)),
        _ => {
            let metrics = metrics::with_local_recorder(&recorder, MetricsObserver::new);
            send_through_the_layer(requests, true, |builder| builder.observer(metrics));
        }
    }
    let is_counted = checks.load(Ordering::Relaxed) > requests;
    assert_eq!(is_counted, mode == "counts");
}

fn send_through_the_layer(
    requests: u64,
    cuts: bool,
    configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder,
) {
    let clock = ManualClock::at(Timestamp::from_secs(1_767_225_660));
    let builder = configure(TokenService::builder()).secret(SECRET).clock(clock.clone());
    let tokens = builder.store(MemoryStore::with_clock(clock)).build().unwrap();
    let token = tokens.create_access_token(NewSession::new("42").scope("read")).now_or_never().unwrap().unwrap();
    send(requests, token.as_str(), AuthLayer::new(tokens).cutoff(cuts).layer(service_fn(hello)));
}

fn send<S>(requests: u64, token: &str, mut service: S)
where
    S: Service<Request<Full<Bytes>>, Error = Infallible, Response: HasStatus>,
{
    let request = bearer(token).map(|()| Full::default());
    // The first request verifies the signature, so it does not count.
    service.call(request.clone()).now_or_never().expect("no wait").unwrap();
    send_warm(requests, &request, &mut service);
}

/// Sends the requests. callgrind finds this function by its name, so it must not be inlined.
#[inline(never)]
fn send_warm<S>(requests: u64, request: &Request<Full<Bytes>>, service: &mut S)
where
    S: Service<Request<Full<Bytes>>, Error = Infallible, Response: HasStatus>,
{
    for _ in 0..requests {
        let answer = service.call(request.clone()).now_or_never().expect("no wait").unwrap();
        assert_eq!(answer.status_code(), StatusCode::OK);
    }
}

/// A response of the service or of the layer.
trait HasStatus {
    fn status_code(&self) -> StatusCode;
}

impl<B> HasStatus for Response<B> {
    fn status_code(&self) -> StatusCode {
        self.status()
    }
}

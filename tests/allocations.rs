//! Counts the allocations of a request. Unlike times, counts do not depend on the machine.
//!
//! This is a separate test target, because the counting allocator replaces the system's for a whole
//! binary.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    convert::Infallible,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use allocation_counter::measure;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use metrics_exporter_prometheus::PrometheusBuilder;
use tower::{Layer, Service, service_fn};
use tower_bearer::{
    AuthLayer, Claims, Consistency, Issuer, KeySet, MemoryStore, NewSession, TokenService, TokenType,
    clock::{ManualClock, Timestamp},
    issuers::IssuerPolicy,
    jwt::{Algorithm, SigningKey},
    observe::{MetricsObserver, Observation},
    tokens::{ReplicaState, TokenServiceBuilder},
};

/// TEST secret.
const SECRET: &str = "TEST-secret-of-the-counted-0123456789abcdef";
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "api";

fn service(entries: usize) -> TokenService {
    let clock = ManualClock::at(Timestamp::from_secs(1_767_225_660));
    TokenService::builder()
        .secret(SECRET)
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .clock(clock.clone())
        .store(MemoryStore::with_clock(clock))
        .verified_cache(entries, 1_000_000)
        .build()
        .unwrap()
}

fn access_token(tokens: &TokenService) -> String {
    let session = NewSession::new("42").scope("read").access_lifetime(Duration::from_secs(60));
    tokens.create_access_token(session).now_or_never().unwrap().unwrap().as_str().to_owned()
}

fn allocations_of_a_check(tokens: &TokenService, token: &str) -> u64 {
    measure(|| drop(tokens.validate_token(token, TokenType::Access).now_or_never().unwrap().unwrap())).count_total
}

#[test]
fn a_check_of_a_remembered_token_allocates_nothing() {
    let tokens = service(1000);
    let token = access_token(&tokens);
    assert!(allocations_of_a_check(&tokens, &token) > 0, "nothing is counted");
    for _ in 0..3 {
        assert_eq!(allocations_of_a_check(&tokens, &token), 0);
    }
    // A check of a cached token that is no longer valid allocates only for the error.
    tokens.revoke_all_for_subject("42").into_future().now_or_never().unwrap().unwrap();
    let refused = measure(|| {
        assert!(tokens.validate_token(&token, TokenType::Access).now_or_never().unwrap().is_err());
    });
    assert_eq!(refused.count_total, 1, "the token's id in the error");
}

#[test]
fn without_the_cache_every_check_allocates() {
    let tokens = service(0);
    let token = access_token(&tokens);
    let first = allocations_of_a_check(&tokens, &token);
    assert!(first > 0);
    assert_eq!(allocations_of_a_check(&tokens, &token), first);
}

#[test]
fn a_warm_request_allocates_the_place_of_its_claims_among_the_extensions_and_nothing_else() {
    let tokens = service(1000);
    let token = access_token(&tokens);
    let bare = service_fn(|request: Request<()>| {
        drop(request);
        ready(Ok::<_, Infallible>(Response::new(())))
    });
    let claimed = service_fn(|request: Request<()>| {
        assert_eq!(request.extensions().get::<Claims>().unwrap().subject(), "42");
        ready(Ok::<_, Infallible>(Response::new(())))
    });
    let layered = AuthLayer::new(tokens).layer(claimed);

    // The extensions are a boxed table of boxed values. The first value costs three allocations,
    // another one costs one.
    for (has_extensions, expected) in [(false, 3), (true, 1)] {
        let request = || {
            let mut request = Request::get("/").header(AUTHORIZATION, format!("Bearer {token}")).body(()).unwrap();
            if has_extensions {
                request.extensions_mut().insert("another layer's");
            }
            request
        };
        let count_bare = allocations_of_a_call(bare, request());
        // The first call warms up the cache.
        allocations_of_a_call(layered.clone(), request());
        let count = allocations_of_a_call(layered.clone(), request());
        assert_eq!(count - count_bare, expected, "with extensions: {has_extensions}");
    }
}

fn allocations_of_a_call<S, B>(mut service: S, request: Request<()>) -> u64
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    let mut status = None;
    let counted = measure(|| status = Some(service.call(request).now_or_never().unwrap().unwrap().status()));
    assert_eq!(status, Some(StatusCode::OK));
    counted.count_total
}

/// A check that the replica decides allocates nothing, like a check on the memory store.
#[tokio::test]
async fn a_check_under_bounded_staleness_allocates_nothing() {
    assert_a_bounded_check_allocates_nothing(|builder| builder).await;
}

/// The observer gets a value on the stack. The metrics only count.
#[tokio::test]
async fn an_observed_check_allocates_nothing() {
    let checks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&checks);
    let observer = move |observation: &Observation| {
        if let Observation::Check { .. } = observation {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    assert_a_bounded_check_allocates_nothing(|builder| builder.observer(observer)).await;
    assert!(checks.load(Ordering::Relaxed) >= 5);

    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = metrics::with_local_recorder(&recorder, MetricsObserver::new);
    assert_a_bounded_check_allocates_nothing(|builder| builder.observer(metrics)).await;
    assert!(recorder.handle().render().contains(r#"tower_bearer_checks{result="accepted""#));
}

/// Returns the allocations of a login, a refresh, a rejected token and a logout.
fn allocations_of_calls(configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) -> [u64; 4] {
    let clock = ManualClock::at(Timestamp::from_secs(1_767_225_660));
    let builder = configure(TokenService::builder()).secret(SECRET).clock(clock.clone());
    let tokens = builder.store(MemoryStore::with_clock(clock)).build().unwrap();
    let mut pair = None;
    let mut log_in = || pair = Some(tokens.create_token_pair(NewSession::new("42")).now_or_never().unwrap().unwrap());
    // The first call makes the tables of the store.
    log_in();
    let login = measure(log_in);
    let pair = pair.unwrap();
    let refresh = measure(|| drop(tokens.refresh(pair.refresh().as_str()).now_or_never().unwrap().unwrap()));
    let rejected =
        measure(|| drop(tokens.validate_token("no token", TokenType::Access).now_or_never().unwrap().unwrap_err()));
    let logout = measure(|| {
        tokens.revoke_token(pair.access().as_str()).into_future().now_or_never().unwrap().unwrap();
    });
    [login, refresh, rejected, logout].map(|calls| calls.count_total)
}

/// Without an observer the metrics cost nothing. With one, each observation is on the stack. Only a
/// logout allocates: it asks for the store's log, and gets one that reports to the observer.
#[test]
fn an_observer_adds_no_allocation_except_to_a_logout() {
    let off = allocations_of_calls(|builder| builder);
    assert!(off.iter().sum::<u64>() > 0, "nothing is counted: {off:?}");
    let seen = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&seen);
    let observer = move |_: &Observation| {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let on = [off[0], off[1], off[2], off[3] + 1];
    assert_eq!(allocations_of_calls(|builder| builder.observer(observer)), on);
    assert!(seen.load(Ordering::Relaxed) >= 5);

    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = metrics::with_local_recorder(&recorder, MetricsObserver::new);
    assert_eq!(allocations_of_calls(|builder| builder.observer(metrics)), on);
}

async fn assert_a_bounded_check_allocates_nothing(configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) {
    let tokens = configure(TokenService::builder())
        .secret(SECRET)
        .store(MemoryStore::default())
        .consistency(Consistency::BoundedStaleness(Duration::from_secs(3600)))
        .build()
        .unwrap();
    let is_leased = async || tokens.status().await.replica.unwrap().state == ReplicaState::Leased;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_leased().await {
        assert!(Instant::now() < deadline, "no lease within half a minute");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let token = access_token(&tokens);
    assert!(allocations_of_a_check(&tokens, &token) > 0, "nothing is counted");
    // The node asks the store once about a token from the second in which the store was created.
    allocations_of_a_check(&tokens, &token);
    assert_eq!(allocations_of_a_check(&tokens, &token), 0);

    // A route that demands freshness costs one more reading of the clock, and no memory.
    let service = service_fn(|request: Request<()>| {
        drop(request);
        ready(Ok::<_, Infallible>(Response::new(())))
    });
    let request = || Request::get("/").header(AUTHORIZATION, format!("Bearer {token}")).body(()).unwrap();
    let layer = AuthLayer::new(tokens.clone());
    let plain = allocations_of_a_call(layer.layer(service), request());
    let fresh = layer.fresher_than(Duration::from_secs(1800)).layer(service);
    assert_eq!(allocations_of_a_call(fresh, request()), plain);
}

/// The bytes of an open stream on the heap: its state, its ids and its entry in the index. The
/// handle itself is part of the response or task.
#[tokio::test]
async fn an_open_stream_takes_at_most_200_bytes() {
    let store = Arc::new(MemoryStore::default());
    for is_own in [true, false] {
        let issuing = TokenService::builder().secret(SECRET).issuer(ISSUER).audience(AUDIENCE);
        let issuing = issuing.shared_store(store.clone()).build().unwrap();
        let tokens = if is_own {
            issuing.clone()
        } else {
            let keys = KeySet::signing(SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap());
            let issuer = Issuer::new(ISSUER).audience(AUDIENCE).keys(keys).policy(IssuerPolicy::Stateless);
            TokenService::builder().accept(issuer).build().unwrap()
        };
        // The watcher starts with the first stream.
        let token = access_token(&issuing);
        let claims = tokens.validate_token(&token, TokenType::Access).await.unwrap();
        let first = tokens.ended(&claims);
        // Just above a size at which the tables of the index grow, where they are half empty.
        for (count, id) in [(7_000_u32, 8_usize), (8_000, 8), (8_000, 36)] {
            let mut all = Vec::new();
            for number in 0..count {
                let session = NewSession::new(format!("{number:0>id$}"));
                let token = issuing.create_access_token(session).await.unwrap();
                all.push(tokens.validate_token(token.as_str(), TokenType::Access).await.unwrap());
            }
            let mut streams = Vec::with_capacity(all.len());
            let opened = measure(|| {
                for claims in &all {
                    let mut ended = tokens.ended(claims);
                    assert!((&mut ended).now_or_never().is_none());
                    streams.push(ended);
                }
            });
            let bytes = opened.bytes_current / i64::from(count);
            println!("{count} streams with subjects of {id} bytes: {bytes} bytes each");
            assert!(bytes <= 200, "{bytes} bytes a stream");
            let closed = measure(|| streams.clear());
            assert!(opened.bytes_current + closed.bytes_current < 64 * 1024, "a dropped stream leaves nothing");
        }
        drop(first);
    }
}

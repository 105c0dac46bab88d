//! The cost of one request. `cargo bench --bench request` takes some three minutes.
//!
//! * `request`: through `AuthService` on the memory store, and through the bare service, without an
//!   HTTP server. The difference is the layer's price. The service has seen the token of a *warm*
//!   request before. Without the cache it verifies each token. At the *first use* it also remembers
//!   the token, and drops others.
//! * `observer`: a warm request that the replica decides: without an observer, with one that counts,
//!   and with the metrics on a Prometheus recorder.
//! * `rejection`: the same for requests that the layer refuses.
//! * `strict`: checks against a Redis of the benchmark's own, one after another and 64 at once.
//!   Beside them stand three checks by hand, none of which looks at a token: a `GET` on a
//!   connection out of a pool, and a `GET` or a check's own two commands on a shared multiplexed
//!   connection.
//! * `issue`: a login's token pair, and a refresh.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use deadpool_redis::redis::AsyncCommands;
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusBuilder;
use support::{
    keys::key,
    measure::{measure, measure_each},
    redis_server::RedisServer,
    requests::{bearer, forged, get, hello},
};
use tokio::runtime::Runtime;
use tower::{Layer, service_fn};
use tower_bearer::{
    AuthLayer, Consistency, KeySet, MemoryStore, NewSession, RedisStore, SessionStore, Subject, TokenId, TokenService,
    TokenType,
    jwt::SigningKey,
    observe::{MetricsObserver, Observation},
    tokens::ReplicaState,
};

/// The number of tasks that check at once.
const TASKS: u64 = 64;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(40);
    targets = requests, observers, rejections, strict, issue
}
criterion_main!(benches);

// ---- Through the service ------------------------------------------------------------------------

fn requests(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("request");
    let tokens = service(key("HS256"), MemoryStore::default());
    let token = access_token(&runtime, &tokens);
    measure(&mut group, "bare service", &runtime, service_fn(hello), &bearer(&token), StatusCode::OK);
    for algorithm in ["HS256", "EdDSA", "ES256", "RS256"] {
        let cached = service(key(algorithm), MemoryStore::default());
        let uncached = builder(key(algorithm)).verified_cache(0, 0).store(MemoryStore::default()).build().unwrap();
        for (name, tokens) in [("warm", cached), ("without the cache", uncached)] {
            let token = access_token(&runtime, &tokens);
            let service = AuthLayer::new(tokens).layer(service_fn(hello));
            let name = format!("{name}, {algorithm}");
            measure(&mut group, &name, &runtime, service, &bearer(&token), StatusCode::OK);
        }
    }
    // The tokens belong to one session, so that the store does not grow. The cache holds half of a
    // batch.
    let tokens = builder(key("HS256")).verified_cache(500, 1 << 20).store(MemoryStore::default()).build().unwrap();
    let refresh = runtime.block_on(tokens.create_refresh_token(NewSession::new("42").scope("read"))).unwrap();
    let service = AuthLayer::new(tokens.clone()).layer(service_fn(hello));
    let another = || {
        let token = runtime.block_on(tokens.refresh_access_token(refresh.as_str())).unwrap();
        bearer(token.as_str())
    };
    measure_each(&mut group, "first use, HS256", &runtime, service, another, StatusCode::OK);
}

fn observers(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("observer");
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = metrics::with_local_recorder(&recorder, MetricsObserver::new);
    let checks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&checks);
    let counts = move |observation: &Observation| {
        if let Observation::Check { .. } = observation {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    let bounded = || {
        let consistency = Consistency::BoundedStaleness(Duration::from_secs(3600));
        builder(key("HS256")).store(MemoryStore::default()).consistency(consistency)
    };
    let tests = [("off", bounded()), ("counts", bounded().observer(counts)), ("metrics", bounded().observer(metrics))];
    for (name, builder) in tests {
        let tokens = {
            let _entered = runtime.enter();
            builder.build().unwrap()
        };
        let is_leased = async || tokens.status().await.replica.unwrap().state == ReplicaState::Leased;
        while !runtime.block_on(is_leased()) {
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
        }
        let token = access_token(&runtime, &tokens);
        let service = AuthLayer::new(tokens).layer(service_fn(hello));
        measure(&mut group, name, &runtime, service, &bearer(&token), StatusCode::OK);
    }
    assert!(checks.load(Ordering::Relaxed) > 0);
    assert!(recorder.handle().render().contains(r#"decided_by="replica"} "#));
}

fn rejections(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("rejection");
    for algorithm in ["HS256", "ES256"] {
        let tokens = service(key(algorithm), MemoryStore::default());
        let token = access_token(&runtime, &tokens);
        let service = AuthLayer::new(tokens).layer(service_fn(hello));
        let name = format!("forged signature, {algorithm}");
        let refused = StatusCode::UNAUTHORIZED;
        measure(&mut group, &name, &runtime, service.clone(), &forged(&token), refused);
        if algorithm == "HS256" {
            measure(&mut group, "no credential", &runtime, service.clone(), &get("/"), refused);
            measure(&mut group, "a header of 1 MiB", &runtime, service, &bearer(&"a".repeat(1 << 20)), refused);
        }
    }
}

// ---- Against Redis ------------------------------------------------------------------------------

fn strict(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // A service on Redis starts a task that follows the log.
    let _entered = runtime.enter();
    let server = RedisServer::start();
    let store = Arc::new(runtime.block_on(RedisStore::connect(server.url())).unwrap());
    let tokens = builder(key("HS256")).shared_store(store.clone()).build().unwrap();
    let pair = runtime.block_on(tokens.create_token_pair(NewSession::new("42").scope("read"))).unwrap();
    let access = Arc::from(pair.access().as_str());
    let ids = Arc::new((Subject::from("42"), pair.session_id().clone(), TokenId::from("jti")));

    let client = redis::Client::open(server.url()).unwrap();
    let shared = runtime.block_on(client.get_multiplexed_async_connection()).unwrap();
    let mut admin = shared.clone();
    // The value is as long as a session record.
    runtime.block_on(admin.set::<_, _, ()>("session", &[b'x'; 60][..])).unwrap();
    runtime.block_on(admin.hset::<_, _, _, ()>("hash", "session", &[b'x'; 60][..])).unwrap();
    let pool = deadpool_redis::Config::from_url(server.url())
        .builder()
        .unwrap()
        .max_size(16)
        .runtime(deadpool_redis::Runtime::Tokio1)
        .build()
        .unwrap();

    for tasks in [1, TASKS] {
        let mut group = criterion.benchmark_group(format!("strict, {tasks} at once"));
        group.throughput(Throughput::Elements(1));
        let validate = (tokens.clone(), Arc::<str>::clone(&access));
        concurrently(&mut group, "validate_token, HS256", &runtime, tasks, &validate, async |(tokens, access)| {
            tokens.validate_token(&access, TokenType::Access).await.unwrap();
            (tokens, access)
        });
        let check = (store.clone(), Arc::clone(&ids));
        concurrently(&mut group, "RedisStore::check", &runtime, tasks, &check, async |(store, ids)| {
            store.check(&ids.0, &ids.1, &ids.2).await.unwrap();
            (store, ids)
        });
        concurrently(&mut group, "by hand: pool checkout, GET", &runtime, tasks, &pool, async |pool| {
            let _: Vec<u8> = pool.get().await.unwrap().get("session").await.unwrap();
            pool
        });
        let same = "by hand: multiplexed HMGET and TIME";
        concurrently(&mut group, same, &runtime, tasks, &shared, async |mut shared| {
            let mut pipeline = redis::pipe();
            pipeline.cmd("HMGET").arg("hash").arg("g").arg("session").arg("!jti").cmd("TIME");
            let _: (Vec<Option<Vec<u8>>>, Vec<u64>) = pipeline.query_async(&mut shared).await.unwrap();
            shared
        });
        concurrently(&mut group, "by hand: multiplexed GET", &runtime, tasks, &shared, async |mut shared| {
            let _: Vec<u8> = shared.get("session").await.unwrap();
            shared
        });
    }
}

/// Runs a step again and again in `tasks` tasks, each with its own clone of the state. Measures the
/// time until all tasks are done.
fn concurrently<T, F, Fut>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    runtime: &Runtime,
    tasks: u64,
    state: &T,
    step: F,
) where
    T: Clone + Send + 'static,
    F: Fn(T) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let began = Instant::now();
            let running: Vec<_> = (0..tasks)
                .map(|task| {
                    let mut state = state.clone();
                    let share = iterations / tasks + u64::from(task < iterations % tasks);
                    runtime.spawn(async move {
                        for _ in 0..share {
                            state = step(state).await;
                        }
                    })
                })
                .collect();
            runtime.block_on(async {
                for task in running {
                    task.await.unwrap();
                }
            });
            began.elapsed()
        });
    });
}

// ---- Issuing ------------------------------------------------------------------------------------

fn issue(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // A service on Redis starts a task that follows the log.
    let _entered = runtime.enter();
    let server = RedisServer::start();
    let redis = Arc::new(runtime.block_on(RedisStore::connect(server.url())).unwrap());
    let mut group = criterion.benchmark_group("issue");
    for (place, store) in [("memory", Arc::new(MemoryStore::default()) as Arc<dyn SessionStore>), ("redis", redis)] {
        for algorithm in ["HS256", "ES256"] {
            let tokens = builder(key(algorithm)).shared_store(Arc::clone(&store)).build().unwrap();
            group.bench_function(format!("create_token_pair, {algorithm}, {place}"), |bencher| {
                bencher.iter_custom(|iterations| runtime.block_on(create_pairs(&tokens, iterations)));
            });
            group.bench_function(format!("refresh, {algorithm}, {place}"), |bencher| {
                bencher.iter_custom(|iterations| runtime.block_on(refresh(&tokens, iterations)));
            });
        }
    }
}

async fn create_pairs(tokens: &TokenService, count: u64) -> Duration {
    let began = Instant::now();
    for user in 0..count {
        tokens.create_token_pair(NewSession::new(user % 1000).scope("read")).await.unwrap();
    }
    let measured = began.elapsed();
    // A user has a few sessions, not as many as a benchmark opens.
    for user in 0..count.min(1000) {
        tokens.revoke_all_for_subject(user).await.unwrap();
    }
    measured
}

async fn refresh(tokens: &TokenService, count: u64) -> Duration {
    let mut pair = tokens.create_token_pair(NewSession::new("refreshing").scope("read")).await.unwrap();
    let began = Instant::now();
    for _ in 0..count {
        pair = tokens.refresh(pair.refresh().as_str()).await.unwrap();
    }
    let measured = began.elapsed();
    tokens.revoke_session("refreshing", pair.session_id()).await.unwrap();
    measured
}

// ---- Keys and tokens ----------------------------------------------------------------------------

fn builder(key: SigningKey) -> tower_bearer::tokens::TokenServiceBuilder {
    TokenService::builder().keys(KeySet::signing(key)).issuer("https://issuer.example").audience("api")
}

fn service(key: SigningKey, store: impl SessionStore) -> TokenService {
    builder(key).store(store).build().unwrap()
}

fn access_token(runtime: &Runtime, tokens: &TokenService) -> String {
    runtime.block_on(tokens.create_access_token(NewSession::new("42").scope("read"))).unwrap().as_str().to_owned()
}

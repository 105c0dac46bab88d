//! Measures requests through a service, without an HTTP server.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{BenchmarkGroup, measurement::WallTime};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt};

/// The number of requests that `next` makes before the clock starts.
const BATCH: u64 = 1000;

/// Measures the same request again and again.
pub fn measure<S, B>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    runtime: &Runtime,
    service: S,
    template: &Request<()>,
    status: StatusCode,
) where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
{
    measure_each(group, name, runtime, service, || template.clone(), status);
}

/// Measures requests that `next` makes before the clock starts.
pub fn measure_each<S, B>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    runtime: &Runtime,
    mut service: S,
    next: impl Fn() -> Request<()>,
    status: StatusCode,
) where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
{
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut measured = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                let batch = left.min(BATCH);
                let requests: Vec<_> = (0..batch).map(|_| next().map(|()| Full::default())).collect();
                measured += runtime.block_on(async {
                    let began = Instant::now();
                    for request in requests {
                        let response = service.ready().await.unwrap().call(request).await.unwrap();
                        assert_eq!(response.status(), status);
                    }
                    began.elapsed()
                });
                left -= batch;
            }
            measured
        });
    });
}

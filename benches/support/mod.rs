//! What the benchmarks share: keys, requests, and the comparison of services in turns.
#![allow(dead_code, unreachable_pub, reason = "each benchmark takes its own part of this")]

use std::{convert::Infallible, fs, time::Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use tokio::runtime::Runtime;
use tower::{Service, ServiceExt, util::BoxCloneSyncService};
use tower_bearer::jwt::{Algorithm, SigningKey};

/// TEST secret.
pub const SECRET: &str = "TEST-secret-of-the-benchmark-0123456789abcdef";

/// A service with any body, so that several kinds can be compared.
pub type Handler = BoxCloneSyncService<Request<Full<Bytes>>, StatusCode, Infallible>;

/// A request to be made again and again, of whom, and what is to come of it.
pub struct Contender {
    pub name: String,
    pub service: Handler,
    /// They take turns.
    pub requests: Vec<Request<()>>,
    pub status: StatusCode,
}

impl Contender {
    pub fn new<S, B>(name: impl Into<String>, service: S, requests: Vec<Request<()>>, status: StatusCode) -> Self
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: 'static,
    {
        let service = BoxCloneSyncService::new(service.map_response(|response| response.status()));
        Self { name: name.into(), service, requests, status }
    }
}

pub async fn hello(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hi")))
}

/// Measures all contenders in turns, in one process, so that all meet the same state of the machine: the median time of each in ns, its ratio to
/// that of the first, and by how many ns it is over that; with quartiles.
pub fn compare(title: &str, runtime: &Runtime, rounds: usize, batch: usize, contenders: &mut [Contender]) {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds + rounds / 10 {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let first = round * batch;
            let requests: Vec<_> = (first..first + batch)
                .map(|turn| contender.requests[turn % contender.requests.len()].clone().map(|()| Full::default()))
                .collect();
            let measured = runtime.block_on(async {
                let began = Instant::now();
                for request in requests {
                    let status = contender.service.ready().await.unwrap().call(request).await.unwrap();
                    assert_eq!(status, contender.status, "{}", contender.name);
                }
                began.elapsed()
            });
            // The first tenth warms up.
            if round >= rounds / 10 {
                times.push(measured.as_secs_f64() * 1e9 / f64::from(u32::try_from(batch).unwrap()));
            }
        }
    }
    println!("\n{title:<40}{:>12}   {:<22}   ns over the first", "ns", "ratio to the first");
    for (contender, own) in contenders.iter().zip(&times) {
        let ratios = quartiles(own.iter().zip(&times[0]).map(|(own, first)| own / first));
        let over = quartiles(own.iter().zip(&times[0]).map(|(own, first)| own - first));
        println!(
            "{:<40}{:>12.0}   {:.2} [{:.2} {:.2}]   {:>14.0} [{:.0} {:.0}]",
            contender.name,
            quartiles(own.iter().copied())[1],
            ratios[1],
            ratios[0],
            ratios[2],
            over[1],
            over[0],
            over[2]
        );
    }
}

/// Lower quartile, median, upper quartile.
pub fn quartiles(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

pub fn get(target: &str) -> Request<()> {
    Request::get(target).body(()).unwrap()
}

pub fn with(name: HeaderName, value: impl AsRef<[u8]>) -> Request<()> {
    let mut request = get("/");
    request.headers_mut().insert(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
    request
}

pub fn bearer(token: &str) -> Request<()> {
    with(AUTHORIZATION, format!("Bearer {token}"))
}

/// A TEST key.
pub fn key(algorithm: &str) -> SigningKey {
    let file = match algorithm {
        "EdDSA" => "TEST-ed25519-pkcs8.pem",
        "ES256" => "TEST-ec-p256-pkcs8.pem",
        "RS256" => "TEST-rsa-2048-pkcs8.pem",
        _ => return SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap(),
    };
    let pem = fs::read(format!("{}/tests/keys/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    SigningKey::from_pem(algorithm.parse().unwrap(), pem).unwrap()
}

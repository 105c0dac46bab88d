//! What whoever has no key can make a service do, as costly as it gets: `cargo bench --bench hostile`, half a minute.
//!
//! Each request is made in turns with a valid token of the greatest length, in one process, so that both meet the same state of the machine; what
//! counts is the ratio. The layer looks for a token everywhere: `Authorization`, a query parameter, a cookie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

use std::{convert::Infallible, fs, time::Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{AUTHORIZATION, COOKIE},
};
use http_body_util::Full;
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_bearer::{
    AuthLayer, KeySet, MemoryStore, NewSession, TokenService,
    jwt::{Algorithm, SigningKey},
};

/// How often each request has its turn.
const ROUNDS: usize = 400;
/// How many of it are made at a turn.
const BATCH: usize = 20;
/// The greatest length of a token.
const ROOM: usize = 8 * 1024;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for algorithm in ["HS256", "RS256", "ES256"] {
        let tokens = TokenService::builder()
            .keys(KeySet::signing(key(algorithm)))
            .issuer("https://issuer.example")
            .audience("api")
            .store(MemoryStore::default())
            .build()
            .unwrap();
        let access = |scope: String| {
            let issued = runtime.block_on(tokens.create_access_token(NewSession::of("42").scope(scope)));
            issued.ok().map(|issued| issued.as_str().to_owned())
        };
        let valid = access("read".to_owned()).unwrap();
        let longest = (0..ROOM).rev().find_map(|len| access("s".repeat(len))).unwrap();
        assert!(longest.len() > ROOM - 100, "{algorithm}: {}", longest.len());
        let mut requests = vec![
            ("valid, of the greatest length", bearer(&longest), StatusCode::OK),
            ("valid, as issued", bearer(&valid), StatusCode::OK),
        ];
        requests.extend(attacks(algorithm, &valid, &longest));
        let layer = AuthLayer::new(tokens.clone()).allow_query("access_token");
        let layer = layer.and_then(|layer| layer.allow_cookie("token")).unwrap();
        compare(algorithm, &runtime, layer.layer(service_fn(hello)), &requests);
    }
}

async fn hello(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hi")))
}

/// Measures all requests in turns, and prints each one's time and its ratio to that of the first, with quartiles.
fn compare<S, B>(title: &str, runtime: &Runtime, mut service: S, requests: &[(&str, Request<()>, StatusCode)])
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
{
    let mut times = vec![Vec::with_capacity(ROUNDS); requests.len()];
    for round in 0..ROUNDS + ROUNDS / 10 {
        for ((name, request, status), times) in requests.iter().zip(&mut times) {
            let batch: Vec<_> = (0..BATCH).map(|_| request.clone().map(|()| Full::default())).collect();
            let measured = runtime.block_on(async {
                let began = Instant::now();
                for request in batch {
                    let response = service.ready().await.unwrap().call(request).await.unwrap();
                    assert_eq!(response.status(), *status, "{name}");
                }
                began.elapsed()
            });
            // The first tenth warms up.
            if round >= ROUNDS / 10 {
                times.push(measured.as_secs_f64() * 1e6 / f64::from(u32::try_from(BATCH).unwrap()));
            }
        }
    }
    println!("\n{title:<32}{:>10}   ratio to the first: median [quartiles]", "µs");
    for ((name, ..), own) in requests.iter().zip(&times) {
        let mut ratios: Vec<_> = own.iter().zip(&times[0]).map(|(own, valid)| own / valid).collect();
        ratios.sort_by(f64::total_cmp);
        let mut own = own.clone();
        own.sort_by(f64::total_cmp);
        let at = |quarter: usize| ratios[ratios.len() * quarter / 4];
        println!("{name:<32}{:>10.2}   {:.2} [{:.2} {:.2}]", own[own.len() / 2], at(2), at(1), at(3));
    }
}

fn attacks(algorithm: &str, valid: &str, longest: &str) -> Vec<(&'static str, Request<()>, StatusCode)> {
    let signature = valid.rsplit('.').next().unwrap();
    // As long as a header may be, and a payload that fills the rest: it is signed too.
    let header = |members: &str| {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}"{members}}}"#));
        let payload = "e30A".repeat((ROOM - header.len() - signature.len()) / 4 - 1);
        bearer(&format!("{header}.{payload}.{signature}"))
    };
    let fill = |unit: &str| unit.repeat((2304 - 30) / unit.len());
    let others = |value: &str| (0..31).fold(String::new(), |all, n| all + &format!(r#","{n}":{value}"#));
    let forged = |token: &str| {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        bearer(&format!("{signed}.{}{}", if signature.starts_with('A') { "B" } else { "A" }, &signature[1..]))
    };
    // As many values as are read at all.
    let array = |value: &str| format!(r#","x":[{}0]"#, value.repeat(254));
    let unauthorized = StatusCode::UNAUTHORIZED;
    let malformed = StatusCode::BAD_REQUEST;
    vec![
        ("forged", forged(valid), unauthorized),
        ("forged, 8 KiB", forged(longest), unauthorized),
        ("a header of one text", header(&format!(r#","x":"{}""#, fill("a"))), unauthorized),
        ("a header of escapes", header(&format!(r#","x":"{}""#, fill(r"\u00e9"))), unauthorized),
        ("a header of arrays", header(&array("[],")), unauthorized),
        ("a header of numbers", header(&array("1.5e99,")), unauthorized),
        ("a header of members", header(&others(&format!("\"{}\"", "a".repeat(64)))), unauthorized),
        ("a header of depth", header(&format!(r#","x":{}"#, "[".repeat(2200))), unauthorized),
        (
            "a signature of 8 KiB",
            bearer(&format!("{}.e30.{}", valid.split('.').next().unwrap(), "A".repeat(8000))),
            unauthorized,
        ),
        ("dots", bearer(&".".repeat(ROOM)), unauthorized),
        ("1 MiB", bearer(&"a".repeat(1 << 20)), unauthorized),
        ("a header that is too long", header(&format!(r#","x":"{}""#, "a".repeat(4096))), unauthorized),
        ("1 MiB of spaces", with(AUTHORIZATION, format!("Bearer {}a", " ".repeat(1 << 20))), malformed),
        ("1 MiB of a scheme", with(AUTHORIZATION, "a".repeat(1 << 20)), unauthorized),
        ("cookies", with(COOKIE, format!("{}{}", "a=1;".repeat(255), "a".repeat(15_000))), unauthorized),
        ("cookies of 1 MiB", with(COOKIE, "a=1;".repeat(1 << 18)), malformed),
        ("parameters", get(&format!("/?{}{}", "access_toke=1&".repeat(255), "a".repeat(12_000))), unauthorized),
        (
            "parameters, escaped",
            get(&format!("/?{}", format!("{}=1&", "%61%63%63%65%73%73%5f%74%6f%6b%65").repeat(255))),
            unauthorized,
        ),
        ("a query of 60 KiB", get(&format!("/?{}", "%61ccess_toke=1&".repeat(3750))), malformed),
    ]
}

fn get(target: &str) -> Request<()> {
    Request::get(target).body(()).unwrap()
}

fn with(name: HeaderName, value: impl AsRef<[u8]>) -> Request<()> {
    let mut request = get("/");
    request.headers_mut().insert(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
    request
}

fn bearer(token: &str) -> Request<()> {
    with(AUTHORIZATION, format!("Bearer {token}"))
}

fn key(algorithm: &str) -> SigningKey {
    let file = match algorithm {
        "ES256" => "TEST-ec-p256-pkcs8.pem",
        "RS256" => "TEST-rsa-2048-pkcs8.pem",
        _ => {
            return SigningKey::from_secret(Algorithm::HS256, "TEST-secret-of-the-benchmark-0123456789abcdef").unwrap();
        }
    };
    let pem = fs::read(format!("{}/tests/keys/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    SigningKey::from_pem(algorithm.parse().unwrap(), pem).unwrap()
}

//! The greatest cost that clients without a key can cause by a request. `cargo bench --bench
//! hostile` takes half a minute; `-- quick` does a tenth of everything.
//!
//! Each request takes turns with a valid token of the greatest length in the same process, so that
//! both meet the same state of the machine. The result is their ratio. The layer accepts tokens in
//! `Authorization`, a query parameter and a cookie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

mod support;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{
    Request, StatusCode,
    header::{AUTHORIZATION, COOKIE},
};
use support::{
    keys::key,
    requests::{bearer, forged, get, hello, with},
    scale::Scale,
    turns::{Contender, Turns},
};
use tower::{Layer, service_fn};
use tower_bearer::{AuthLayer, KeySet, MemoryStore, NewSession, TokenService};

/// The turns of each request.
const ROUNDS: usize = 400;
/// The number of requests in one turn.
const BATCH: usize = 20;
/// The greatest length of a token.
const ROOM: usize = 8 * 1024;

fn main() {
    let turns = Turns::new(Scale::from_arguments(), ROUNDS, BATCH);
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
            let issued = runtime.block_on(tokens.create_access_token(NewSession::new("42").scope(scope)));
            issued.ok().map(|issued| issued.as_str().to_owned())
        };
        let valid = access("read".to_owned()).unwrap();
        let lengths: Vec<_> = (0..ROOM).collect();
        let too_long = lengths.partition_point(|len| access("s".repeat(*len)).is_some());
        let longest = access("s".repeat(too_long - 1)).unwrap();
        // Each token leaves room for a stamp (docs/protocol.md, section 5.6) and for padding.
        assert!(longest.len() > ROOM - 150, "{algorithm}: {}", longest.len());
        let mut requests = vec![
            ("valid, of the greatest length", bearer(&longest), StatusCode::OK),
            ("valid, as issued", bearer(&valid), StatusCode::OK),
        ];
        requests.extend(attacks(algorithm, &valid, &longest));
        let layer = AuthLayer::builder(tokens.clone()).allow_query("access_token").allow_cookie("token");
        let layer = layer.build().unwrap();
        let service = layer.layer(service_fn(hello));
        let contender = |(name, request, status)| Contender::new(name, service.clone(), vec![request], status);
        let mut contenders: Vec<_> = requests.into_iter().map(contender).collect();
        turns.compare(algorithm, &runtime, &mut contenders);
    }
}

fn attacks(algorithm: &str, valid: &str, longest: &str) -> Vec<(&'static str, Request<()>, StatusCode)> {
    let signature = valid.rsplit('.').next().unwrap();
    // A payload fills the token up to the greatest length, because the signature covers it too.
    let header = |members: &str| {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}"{members}}}"#));
        let payload = "e30A".repeat((ROOM - header.len() - signature.len()) / 4 - 1);
        bearer(&format!("{header}.{payload}.{signature}"))
    };
    let fill = |unit: &str| unit.repeat((2304 - 30) / unit.len());
    let others = |value: &str| (0..31).fold(String::new(), |all, n| all + &format!(r#","{n}":{value}"#));
    // The greatest number of values that the parser reads.
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

//! The cost of another issuer's tokens. `cargo bench --bench issuers` takes about a minute.
//!
//! * `warm`: a request whose token was verified before, beside one with an own token.
//! * `first use`: a request whose token is new. Beside it, the same backend checks only the
//!   signature, with a key that is ready.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

mod support;

use std::{
    cell::Cell,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::{Criterion, criterion_group, criterion_main};
use http::StatusCode;
use jsonwebtoken::{DecodingKey, crypto::aws_lc::DEFAULT_PROVIDER};
use support::{
    keys::{key, public_pem},
    measure::{measure, measure_each},
    requests::{bearer, hello},
};
use tokio::runtime::Runtime;
use tower::{Layer, service_fn};
use tower_bearer::{
    AuthLayer, Consistency, Issuer, KeySet, MemoryStore, NewSession, NoClaims, TokenId, TokenService, TokenType,
    clock::Timestamp,
    issuers::IssuerPolicy,
    jwt::{JwtClaims, encode_jwt},
};

/// The number of tokens that take turns. The cache has room for a twentieth of them, so each use is
/// a first one.
const TOKENS: usize = 2000;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(40);
    targets = warm, first_use
}
criterion_main!(benches);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_secs(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
}

fn issuer(algorithm: &str, policy: IssuerPolicy) -> Issuer {
    let keys = KeySet::verifying(key(algorithm).verifying_key().clone());
    Issuer::new(format!("https://{algorithm}.example")).audience("api").policy(policy).keys(keys)
}

/// Returns a token with the claims that most issuers write.
fn external_token(algorithm: &str, jti: &str) -> String {
    let custom = serde_json::json!({
        "azp": "client-1", "tid": "72f988bf-86f1-41af-91ab-2d7cd011db47", "ver": "2.0",
        "scp": "read write", "roles": ["admin"], "name": "A User", "preferred_username": "user@example.com",
    });
    let (jti, hour) = (TokenId::new(jti), Duration::from_secs(3600));
    let claims = JwtClaims::new("0f1e2d3c-user", jti, TokenType::Access, now(), hour, custom)
        .with_issuer(format!("https://{algorithm}.example"))
        .with_audience(["api"]);
    encode_jwt(&KeySet::signing(key(algorithm)), &claims).unwrap()
}

fn warm(criterion: &mut Criterion) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut group = criterion.benchmark_group("warm");
    let tokens: TokenService<NoClaims> = TokenService::builder()
        .keys(KeySet::signing(key("HS256")))
        .issuer("https://own.example")
        .audience("api")
        .store(MemoryStore::default())
        .consistency(Consistency::BoundedStaleness(Duration::from_secs(3600)))
        .accept(issuer("ES256", IssuerPolicy::Denylist))
        .accept(issuer("RS256", IssuerPolicy::Stateless))
        // The tokens are as old as the store.
        .accept_older_than_store(true)
        .build()
        .unwrap();
    let leased = async || tokens.status().await.replica.unwrap().state == tower_bearer::tokens::ReplicaState::Leased;
    while !runtime.block_on(leased()) {
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
    }
    let own = runtime.block_on(tokens.create_access_token(NewSession::new("42").scope("read"))).unwrap();
    let service = AuthLayer::new(tokens).layer(service_fn(hello));
    for (name, token) in [
        ("own", own.as_str().to_owned()),
        ("another issuer, denylist", external_token("ES256", "j1")),
        ("another issuer, stateless", external_token("RS256", "j2")),
    ] {
        measure(&mut group, name, &runtime, service.clone(), &bearer(&token), StatusCode::OK);
    }
}

fn first_use(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("first use");
    for (algorithm, of) in [("RS256", jsonwebtoken::Algorithm::RS256), ("ES256", jsonwebtoken::Algorithm::ES256)] {
        let all: Vec<_> = (0..TOKENS).map(|n| external_token(algorithm, &format!("jti-{n}"))).collect();
        let turn = Cell::new(0);
        let next = || {
            turn.set((turn.get() + 1) % TOKENS);
            &*all[turn.get()]
        };
        let pem = public_pem(algorithm);
        let decoding = match algorithm {
            "RS256" => DecodingKey::from_rsa_pem(pem.as_bytes()),
            _ => DecodingKey::from_ec_pem(pem.as_bytes()),
        };
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&of, &decoding.unwrap()).unwrap();
        group.bench_function(format!("the signature alone, {algorithm}"), |bencher| {
            bencher.iter_batched(
                || {
                    let (message, signature) = next().rsplit_once('.').unwrap();
                    (message.as_bytes(), URL_SAFE_NO_PAD.decode(signature).unwrap())
                },
                |(message, signature)| verifier.verify(message, &signature).unwrap(),
                criterion::BatchSize::SmallInput,
            );
        });
        let tokens: TokenService<NoClaims> = TokenService::builder()
            .accept(issuer(algorithm, IssuerPolicy::Stateless))
            .verified_cache(TOKENS / 20, 1 << 20)
            .build()
            .unwrap();
        let service = AuthLayer::new(tokens).layer(service_fn(hello));
        let name = format!("a request, {algorithm}");
        measure_each(&mut group, &name, &runtime, service, || bearer(next()), StatusCode::OK);
    }
}

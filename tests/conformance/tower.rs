//! TWR: the contract of Tower, and robustness.
//!
//! Readiness and dropped futures are in `tests/middleware/tower_contract.rs`.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    response::sse::{Event, Sse},
    routing::get,
};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc::unbounded_channel,
};
use tonic::service::LayerExt;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::{
    Claims, NewSession,
    middleware::{CurrentUserLayer, ResponseBody},
};
use tower_http::{compression::CompressionLayer, cors::CorsLayer, timeout::TimeoutLayer, trace::TraceLayer};

use crate::{
    subject::{Outcome, Subject, authorization, bearer, send},
    support::{
        Behaviour, HANG, STORE_ERRORS, Users, WireServer, bad_tokens,
        fixture::{SECRET, sign},
    },
};

fn plain(request: http::request::Builder) -> Request<Full<Bytes>> {
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn twr_01_whatever_is_refused_does_not_reach_the_inner_service() {
    let subject = Subject::new();
    let bad = bad_tokens(&subject.fixture).await;
    let good = subject.valid().await;
    let of = async |user: &str| {
        let token = subject.fixture.tokens.create_access_token(NewSession::new(user).scope("read")).await.unwrap();
        bearer(token.as_str())
    };
    let mut cases = vec![
        ("no credentials", Request::get("/"), Outcome::NoCredentials),
        ("another scheme", authorization("Basic dXNlcjpwdw=="), Outcome::NoCredentials),
        ("no token", authorization("Bearer"), Outcome::InvalidRequest),
        ("two tokens", bearer(&good).header("authorization", format!("Bearer {good}")), Outcome::InvalidRequest),
        ("lacks the scope", bearer(&subject.fixture.access("write").await), Outcome::InsufficientScope("read")),
        ("a deleted user", of("7").await, Outcome::InvalidToken),
        ("a lookup that fails", of("500").await, Outcome::Internal),
        ("a lookup that panics", of("666").await, Outcome::Internal),
    ];
    cases.extend(bad.iter().map(|(fault, token)| (*fault, bearer(token), Outcome::InvalidToken)));
    let scope = subject.layer.require_scope("read").unwrap();
    let users = CurrentUserLayer::new(&subject.layer, Arc::new(Users));
    let service = || subject.layer.layer(scope.layer(users.layer(subject.inner.clone())));
    // `expect_of` has counted: the inner service is not called for any of them.
    for (what, request, outcome) in cases {
        for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
            subject.fixture.store.answer(behaviour);
            let request = request
                .headers_ref()
                .unwrap()
                .iter()
                .fold(Request::get("/"), |request, (name, value)| request.header(name, value));
            subject.expect_of(service(), what, request, outcome).await;
        }
    }
    for kind in STORE_ERRORS {
        subject.fixture.store.answer(Behaviour::Fails(kind));
        subject.expect_of(service(), "a store that fails", bearer(&good), Outcome::Unavailable).await;
    }
    // A missing layer is a fault of the application, and refuses all requests.
    subject.expect_of(scope.layer(subject.inner.clone()), "no layer", bearer(&good), Outcome::Internal).await;
    subject.expect_of(users.layer(subject.inner.clone()), "no layer", bearer(&good), Outcome::Internal).await;
    subject.fixture.store.answer(Behaviour::AtOnce);
    assert_eq!(subject.inner.calls(), 0);
    subject.expect_of(service(), "V", bearer(&good), Outcome::Ok).await;
}

/// The proof is that this compiles: a service behind the layers has the traits that other stacks
/// require, for any body types.
#[tokio::test]
async fn twr_05_a_service_behind_the_layers_fits_into_any_stack() {
    fn shareable<S: Clone + Send + Sync + 'static>(service: S) -> S {
        service
    }
    fn has_a_default<B: Default>() {}
    /// A body with only the requirements of `Body`, neither `Send` nor `Default`.
    struct Bare {
        _not_send: std::rc::Rc<()>,
    }
    impl http_body::Body for Bare {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            std::task::Poll::Ready(None)
        }
    }

    let subject = Subject::new();
    let (auth, inner) = (subject.layer.clone(), subject.inner.clone());
    let scope = auth.require_scope("read").unwrap();
    let users = CurrentUserLayer::new(&auth, Arc::new(Users));
    let token = subject.valid().await;
    let service = shareable(auth.layer(scope.layer(users.layer(inner.clone()))));
    assert_eq!(send(service.clone(), plain(bearer(&token))).await.status, 200);

    // Any response body, even one that is none; and its default, for layers that make empty
    // responses.
    has_a_default::<ResponseBody<Full<Bytes>>>();
    has_a_default::<ResponseBody<ResponseBody<ResponseBody<Empty<Bytes>>>>>();
    let bare = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Bare { _not_send: std::rc::Rc::default() }))
    });
    let response = shareable(auth.layer(bare)).oneshot(bearer(&token).body(()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let number = service_fn(async |_: Request<u8>| Ok::<_, Infallible>(Response::new(7_u64)));
    assert_eq!(auth.layer(number).oneshot(bearer(&token).body(1).unwrap()).await.unwrap().status(), 200);

    // tower-http, outside and inside.
    let stacked = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CorsLayer::permissive())
        .layer(CompressionLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, std::time::Duration::from_secs(60)))
        .layer(auth.clone())
        .layer(scope.clone())
        .layer(users.clone())
        .layer(CompressionLayer::new())
        .service(inner.clone());
    assert_eq!(send(shareable(stacked), plain(bearer(&token))).await.status, 200);

    // Axum: over a router, a route and a service.
    let app: Router = Router::new()
        .route("/", get(async |_: Claims| ()).layer(auth.clone()))
        .route_service("/service", service.clone())
        .route_layer(scope.clone())
        .layer(auth.clone())
        .fallback_service(service.clone());
    assert_eq!(send(shareable(app), plain(bearer(&token))).await.status, 200);

    // hyper-util, over a socket.
    let server = WireServer::start(shareable(service)).await;
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    assert!(server.exchange("hyper", request.as_bytes()).await.starts_with(b"HTTP/1.1 200"));
    let _: TowerToHyperService<_> = TowerToHyperService::new(auth.layer(inner));

    // tonic: over a server, and around a service of it.
    let (_reporter, health) = tonic_health::server::health_reporter();
    let named = shareable(auth.named_layer(health));
    let _: tonic::transport::server::Router<_> =
        tonic::transport::Server::builder().layer(auth).layer(scope).layer(users).add_service(named);
}

#[tokio::test]
async fn twr_07_an_extractor_without_a_layer_is_a_logged_500_and_never_a_default_identity() {
    let subject = Subject::new();
    let routes = || {
        Router::new()
            .route("/claims", get(async |claims: Claims| claims.subject().to_string()))
            .route("/optional", get(async |claims: Option<Claims>| claims.is_some().to_string()))
            .route("/other", get(async |claims: Claims<serde_json::Value>| claims.subject().to_string()))
            .route("/user", get(async |user: tower_bearer::users::CurrentUser<String>| user.to_string()))
    };
    let bare: Router = routes();
    // A layer of another type of claims is none.
    let other: Router = Router::new()
        .route("/other", get(async |claims: Claims<serde_json::Value>| claims.subject().to_string()))
        .route("/user", get(async |user: tower_bearer::users::CurrentUser<String>| user.to_string()))
        .layer(subject.layer.clone());
    let token = subject.valid().await;
    for (app, paths) in [(&bare, &["/claims", "/optional", "/other", "/user"][..]), (&other, &["/other", "/user"])] {
        for path in paths {
            let logged = subject.log().len();
            let mut requests = vec![plain(bearer(&token).uri(*path))];
            if std::ptr::eq(app, &raw const bare) {
                requests.push(plain(Request::get(*path)));
            }
            for request in requests {
                let answer = send(app.clone(), request).await;
                answer.assert_refused(path, Outcome::Internal, false);
            }
            let log = &subject.log()[logged..];
            if cfg!(feature = "tracing") {
                let helps = |line: &str| line.contains("ERROR") && line.contains("AuthLayer");
                assert!(log.lines().any(helps), "{path}: the log does not say what to do: {log}");
            }
            assert!(!log.contains(&token[..20]), "{path}: the log has the token");
        }
    }
}

/// Pseudo-random numbers that are the same on every machine (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        (0..self.below(longest + 1)).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    fn of<'a, T: ?Sized>(&mut self, choice: &[&'a T]) -> &'a T {
        choice[self.below(choice.len())]
    }
}

/// Returns a good token with a few changed bytes, in its text or in its header or claims.
fn mutated(random: &mut Random, token: &str, header: &str, claims: &str) -> Vec<u8> {
    const JSON: [&str; 12] = ["\"", "\\", "\\u0000", "\\ud800", "{", "}", "[", ",", ":", "1e999", "null", "\u{fc}"];
    let edit = |random: &mut Random, text: &mut Vec<u8>, piece: &[u8]| {
        let at = random.below(text.len());
        let to = (at + random.below(4)).min(text.len());
        text.splice(at..to, piece.iter().copied());
    };
    match random.below(3) {
        0 => {
            let mut text = token.as_bytes().to_vec();
            for _ in 0..=random.below(3) {
                let piece = random.bytes(2);
                edit(random, &mut text, &piece);
            }
            text
        }
        part => {
            let mut texts = [header.as_bytes().to_vec(), claims.as_bytes().to_vec()];
            let piece = random.of(&JSON).as_bytes();
            edit(random, &mut texts[part - 1], piece);
            let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
            let algorithm = jsonwebtoken::Algorithm::HS256;
            crate::support::fixture::sign_with(algorithm, &key, &texts[0], &texts[1]).into_bytes()
        }
    }
}

#[tokio::test]
async fn twr_09_arbitrary_bytes_never_make_the_layer_panic() {
    use crate::support::token_parts::HEADER;

    const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
    const CASES: usize = 20_000;
    let subject = Subject::new();
    let token = subject.valid().await;
    let claims = subject.claims_text().await;
    let optional = subject.layer.clone().optional();
    let mut random = Random(SEED);
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for case in 0..CASES {
        let mut headers = HeaderMap::new();
        for _ in 0..=random.below(8) / 7 {
            let scheme = random.of(&["Bearer ", "bearer ", "Bearer", "", "Basic ", "Bearer  "]).as_bytes();
            let text = match random.below(4) {
                0 => random.bytes(64),
                1 => random.bytes(12_000),
                2 => random.of(&["abc", "..", "a.b.c", "====", "e30.e30.e30", "eyJhbGciOiJub25lIn0.e30."]).into(),
                _ => mutated(&mut random, &token, HEADER, &claims),
            };
            // What a header cannot hold is cut away: nothing else can reach the layer.
            let value: Vec<u8> = [scheme, &text]
                .concat()
                .into_iter()
                .filter(|&byte| byte == b'\t' || byte >= 32 && byte != 127)
                .collect();
            headers.append("authorization", HeaderValue::from_bytes(&value).unwrap());
        }
        if random.below(4) == 0 {
            let media: Vec<u8> = random.bytes(20).into_iter().filter(|&byte| byte >= 32 && byte != 127).collect();
            let media = [random.of(&["application/grpc", "application/grpc-web", ""]).as_bytes(), &media].concat();
            headers.insert("content-type", HeaderValue::from_bytes(&media).unwrap());
        }
        let layer = if random.below(2) == 0 { &subject.layer } else { &optional };
        let shown = headers.get_all("authorization").iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        let what = || {
            format!(
                "case {case} of seed {SEED:#x}: {:?}",
                shown.iter().map(|v| v.escape_ascii().to_string()).collect::<Vec<_>>()
            )
        };
        let mut request = Request::new(Full::<Bytes>::default());
        *request.headers_mut() = headers.clone();
        let calls = subject.inner.calls();
        let answering = send(layer.layer(subject.inner.clone()), request);
        let answer = AssertUnwindSafe(answering).catch_panic(&what).await;
        let status = answer.headers.get("grpc-status").map_or(answer.status.as_u16(), |code| {
            assert_eq!((code.as_bytes(), answer.status.as_u16()), (&b"16"[..], 200), "{}", what());
            if answer.rejection.as_ref().unwrap().kind() == tower_bearer::middleware::RejectionKind::InvalidRequest {
                400
            } else {
                401
            }
        });
        *statuses.entry(status).or_default() += 1;
        assert!([200, 400, 401].contains(&status), "{}: {answer:?}", what());
        assert_eq!(subject.inner.calls() - calls, usize::from(status == 200), "{}", what());
    }
    assert!(
        [200, 400, 401].iter().all(|status| statuses.contains_key(status)),
        "the cases are too much alike: {statuses:?}"
    );
    // And the layer still does its work.
    subject.expect_token("V", &token, Outcome::Ok).await;
}

/// Names the case if a future panics.
trait CatchPanic: Future + Sized {
    async fn catch_panic(self, what: &impl Fn() -> String) -> Self::Output;
}

impl<F: Future> CatchPanic for AssertUnwindSafe<F> {
    async fn catch_panic(self, what: &impl Fn() -> String) -> F::Output {
        let mut future = std::pin::pin!(self.0);
        std::future::poll_fn(|context| {
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)))
                .unwrap_or_else(|_| panic!("a panic: {}", what()))
        })
        .await
    }
}

/// Upgrades the connection, and echoes its input in capitals.
async fn shout(claims: Claims, request: axum::extract::Request) -> Response<Body> {
    let subject = claims.subject().to_string();
    tokio::spawn(async move {
        let mut upgraded = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        let mut buffer = [0; 64];
        loop {
            let read = upgraded.read(&mut buffer).await.unwrap();
            if read == 0 {
                return;
            }
            let said = buffer[..read].to_ascii_uppercase();
            upgraded.write_all(&[subject.as_bytes(), b":", &said].concat()).await.unwrap();
        }
    });
    let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    response.header("connection", "upgrade").header("upgrade", "websocket").body(Body::empty()).unwrap()
}

#[tokio::test]
async fn twr_15_an_upgrade_and_a_stream_of_events_pass_with_their_claims() {
    let subject = Subject::new();
    let (sender, receiver) = unbounded_channel::<String>();
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let events = move |claims: Claims| {
        let mut receiver = receiver.lock().unwrap().take().expect("one stream");
        let said = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        let subject = claims.subject().to_string();
        async move {
            Sse::new(said.map(move |text| Ok::<_, Infallible>(Event::default().data(format!("{subject}:{text}")))))
        }
    };
    let app: Router =
        Router::new().route("/ws", get(shout)).route("/events", get(events)).route_layer(subject.layer.clone());
    let server = WireServer::start(app).await;
    let token = subject.valid().await;
    // The future of the check is sent between threads and held over its wait for the store.
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        subject.fixture.store.answer(behaviour);
        let upgrade = |token: &str| {
            format!(
                "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
            )
        };
        let mut stream = server.connect().await;
        stream.write_all(upgrade(&token).as_bytes()).await.unwrap();
        let head = read_until(&mut stream, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101"), "{behaviour:?}: {head}");
        for said in ["hello", "again"] {
            stream.write_all(said.as_bytes()).await.unwrap();
            let expected = format!("42:{}", said.to_uppercase());
            assert_eq!(read_until(&mut stream, &expected).await, expected, "{behaviour:?}");
        }
        // A bad token upgrades nothing.
        let mut stream = server.connect().await;
        stream.write_all(upgrade("abc").as_bytes()).await.unwrap();
        let head = read_until(&mut stream, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 401"), "{behaviour:?}: {head}");
    }
    let mut stream = server.connect().await;
    let request = format!("GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.contains("text/event-stream"), "{head}");
    // One at a time: each event is there before the next is said, so nothing holds them back.
    for text in ["one", "two"] {
        sender.send(text.to_owned()).unwrap();
        let event = read_until(&mut stream, "\n\n").await;
        assert!(event.contains(&format!("data: 42:{text}")), "{event}");
    }
}

/// Reads until the text contains `end`.
async fn read_until(stream: &mut tokio::net::TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.contains(end) {
        let read = tokio::time::timeout(HANG, stream.read(&mut buffer)).await;
        let read = read.unwrap_or_else(|_| panic!("{end:?} does not come after {text:?}")).unwrap();
        assert!(read > 0, "closed after {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

#[tokio::test]
async fn twr_19_an_algorithm_that_is_not_known_is_refused_whatever_later_versions_know() {
    let subject = Subject::new();
    let claims = subject.claims_text().await;
    // Of the signature all of them are good: only the name decides.
    for alg in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        "hs256",
        "HS256 ",
        "HS1",
        "HS257",
        "HS512/256",
        "ES256K",
        "ES512",
        "ESP256",
        "Ed25519",
        "Ed448",
        "EDDSA",
        "ML-DSA-44",
        "ML-DSA-65",
        "ML-DSA-87",
        "SLH-DSA-SHA2-128s",
        "RS1",
        "RSA1_5",
        "A128KW",
        "dir",
        "Unknown",
    ] {
        let token = sign(&serde_json::json!({"alg": alg, "typ": "at+jwt"}).to_string(), &claims);
        subject.expect_token(&format!("{alg:?}"), &token, Outcome::InvalidToken).await;
        // `Ed25519` is known, but this service has no key for it.
        let is_known = alg.parse::<tower_bearer::jwt::Algorithm>().is_ok();
        assert_eq!(is_known, alg == "Ed25519", "{alg:?} can be configured: {is_known}");
    }
    let token = sign(r#"{"alg":"HS256","typ":"at+jwt"}"#, &claims);
    subject.expect_token("HS256", &token, Outcome::Ok).await;
}

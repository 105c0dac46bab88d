//! Every rejection over HTTP and gRPC, and the requests that reach the inner service.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_bearer::{
    AuthLayer, Claims, Error, NewSession, TokenType,
    error::{StoreErrorKind, TokenError},
    middleware::{CurrentUserLayer, Rejection, RejectionKind, Unauthenticated},
    users::CurrentUser,
};

use crate::support::{Behaviour, Fixture, STORE_ERRORS, Users, bad_tokens};

/// The inner service. It counts its calls and answers with the subject of the request's claims.
#[derive(Clone, Default)]
struct Inner(Arc<AtomicUsize>);

impl Inner {
    fn calls(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl<B> Service<Request<B>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.0.fetch_add(1, Ordering::SeqCst);
        let marked = request.extensions().get::<Unauthenticated>().is_some();
        let body = match request.extensions().get::<Claims>() {
            Some(claims) if !marked => claims.subject().to_string(),
            None if marked => "anonymous".to_owned(),
            claims => panic!("claims and mark contradict each other: {claims:?}, {marked}"),
        };
        for line in request.headers().get_all("authorization") {
            assert!(line.is_sensitive(), "the inner service might log the credential");
        }
        Box::pin(async move { Ok(Response::new(Full::from(body))) })
    }
}

/// A response with its whole body.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    rejection: Option<Rejection>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns everything by which a client could distinguish two answers.
    fn bytes(&self) -> (StatusCode, Vec<(String, Vec<u8>)>, Bytes) {
        let headers = self.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        (self.status, headers, self.body.clone())
    }
}

async fn send<S, B, R>(service: S, request: Request<B>) -> Answer
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: std::fmt::Debug,
    R: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let (parts, body) = service.oneshot(request).await.unwrap().into_parts();
    let rejection = parts.extensions.get::<Rejection>().cloned();
    let body = body.collect().await.unwrap();
    assert!(body.trailers().is_none());
    Answer { status: parts.status, headers: parts.headers, body: body.to_bytes(), rejection }
}

fn get(path: &str) -> http::request::Builder {
    Request::get(path)
}

fn plain(request: http::request::Builder) -> Request<String> {
    request.body(String::new()).unwrap()
}

fn bearer(token: &str) -> Request<String> {
    plain(get("/").header("authorization", format!("Bearer {token}")))
}

fn grpc(request: Request<String>) -> Request<String> {
    let (mut parts, body) = request.into_parts();
    parts.headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    Request::from_parts(parts, body)
}

/// Parses a `Bearer` challenge by RFC 9110 section 11.2, and returns its parameters.
fn challenge(value: &str) -> Vec<(String, String)> {
    let rest = value.strip_prefix("Bearer ").expect("the scheme and one space");
    let mut parameters = Vec::new();
    let mut rest = rest.trim_start_matches(' ');
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").expect("a name and a quoted string");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{name} is no token");
        let (value, after) = value.split_once('"').expect("the quoted string's end");
        assert!(value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\'), "{value} needs escapes");
        assert!(parameters.iter().all(|(known, _)| known != name), "{name} twice");
        parameters.push((name.to_owned(), value.to_owned()));
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start_matches(' '),
            None => after,
        };
    }
    parameters
}

fn parameters(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn assert_http(answer: &Answer, kind: RejectionKind, status: u16, challenged: Option<&[(&str, &str)]>, body: &str) {
    assert_eq!(answer.rejection.as_ref().expect("the rejection stands in the extensions").kind(), kind);
    assert_eq!(answer.status, status);
    assert_eq!(answer.body, body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()));
    assert_eq!(answer.header("retry-after").is_some(), kind == RejectionKind::Unavailable);
    assert_eq!(answer.headers.get_all("www-authenticate").iter().count(), usize::from(challenged.is_some()));
    if let Some(expected) = challenged {
        assert_eq!(challenge(answer.header("www-authenticate").unwrap()), parameters(expected));
    }
}

fn assert_grpc(answer: &Answer, kind: RejectionKind, code: &str) {
    assert_eq!(answer.rejection.as_ref().expect("the rejection stands in the extensions").kind(), kind);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("grpc-status"), Some(code));
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
    assert_eq!(answer.header("www-authenticate"), None);
    assert!(answer.body.is_empty(), "the status stands in the headers alone");
}

#[tokio::test]
async fn a_good_token_reaches_the_inner_service_with_its_claims() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let service = AuthLayer::new(fixture.tokens.clone()).layer(inner.clone());
    let token = fixture.access("").await;
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        fixture.store.answer(behaviour);
        for request in [bearer(&token), plain(get("/").header("authorization", format!("bEARER   {token}  ")))] {
            let answer = send(service.clone(), request).await;
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"42"[..]));
            assert!(answer.rejection.is_none());
        }
    }
    assert_eq!(inner.calls(), 4);
}

#[tokio::test]
async fn no_credential_is_401_without_an_error() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let service = AuthLayer::new(fixture.tokens.clone()).layer(inner.clone());
    let basic = || get("/").header("authorization", "Basic dXNlcjpwYXNzd29yZA==");
    for request in [plain(get("/")), plain(basic()), plain(get("/").header("authorization", ""))] {
        let answer = send(service.clone(), request).await;
        let body = r#"{"error":"unauthorized"}"#;
        assert_http(&answer, RejectionKind::NoCredentials, 401, Some(&[("realm", "api")]), body);
    }
    assert_grpc(&send(service, grpc(plain(get("/")))).await, RejectionKind::NoCredentials, "16");
    assert_eq!((inner.calls(), fixture.store.calls()), (0, 0));
}

#[tokio::test]
async fn a_malformed_credential_is_400() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let service = AuthLayer::new(fixture.tokens.clone()).layer(inner.clone());
    let token = fixture.access("").await;
    let before = fixture.store.calls();
    let line = |value: &str| plain(get("/").header("authorization", value));
    let twice = || get("/").header("authorization", format!("Bearer {token}"));
    for request in [
        line("Bearer"),
        line("Bearer "),
        line("Bearer\tabc"),
        line("Bearer a b"),
        line("Bearer \"abc\""),
        plain(twice().header("authorization", format!("Bearer {token}"))),
        plain(twice().header("authorization", "Basic dXNlcjpwYXNzd29yZA==")),
    ] {
        let over_grpc = send(service.clone(), grpc(request.clone())).await;
        assert_grpc(&over_grpc, RejectionKind::InvalidRequest, "16");
        let answer = send(service.clone(), request).await;
        let challenged = [("realm", "api"), ("error", "invalid_request")];
        let body = r#"{"error":"invalid_request"}"#;
        assert_http(&answer, RejectionKind::InvalidRequest, 400, Some(&challenged), body);
    }
    assert_eq!((inner.calls(), fixture.store.calls()), (0, before));
}

#[tokio::test]
async fn chl_10_every_bad_token_gets_the_same_answer_to_the_byte() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let service = AuthLayer::new(fixture.tokens.clone()).layer(inner.clone());
    let bad = bad_tokens(&fixture).await;
    let mut answers = Vec::new();
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        fixture.store.answer(behaviour);
        for (fault, token) in &bad {
            let answer = send(service.clone(), bearer(token)).await;
            let challenged = [("realm", "api"), ("error", "invalid_token")];
            let body = r#"{"error":"invalid_token"}"#;
            assert_http(&answer, RejectionKind::InvalidToken, 401, Some(&challenged), body);
            assert!(matches!(answer.rejection.as_ref().unwrap().cause(), Some(Error::Token(_))), "{fault}");
            answers.push((*fault, answer.bytes()));
            let over_grpc = send(service.clone(), grpc(bearer(token))).await;
            assert_grpc(&over_grpc, RejectionKind::InvalidToken, "16");
            assert_eq!(over_grpc.header("grpc-message"), Some("invalid_token"), "{fault}");
        }
    }
    for (fault, answer) in &answers {
        assert_eq!(answer, &answers[0].1, "{fault} can be told from {}", answers[0].0);
    }
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn the_cause_stands_in_the_extensions_only() {
    let fixture = Fixture::new();
    let service = AuthLayer::new(fixture.tokens.clone()).layer(Inner::default());
    let bad = bad_tokens(&fixture).await;
    let cause = async |fault: &str| {
        let (_, token) = bad.iter().find(|(name, _)| *name == fault).unwrap();
        let rejection = send(service.clone(), bearer(token)).await.rejection.unwrap();
        match rejection.cause() {
            Some(Error::Token(error)) => error.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(cause("expired").await, TokenError::Expired { .. }));
    assert!(matches!(cause("revoked").await, TokenError::Revoked { .. }));
    assert!(matches!(cause("logged out").await, TokenError::Revoked { .. }));
    assert_eq!(cause("unknown session").await, TokenError::UnknownSession);
    assert_eq!(cause("bad signature").await, TokenError::Signature);
    for fault in ["another key", "another algorithm", "unknown kid"] {
        assert_eq!(cause(fault).await, TokenError::UnknownKey, "{fault}");
    }
    for fault in
        ["no JWT at all", "too long", "alg none", "crit", "claims are an array", "sub is a number", "a claim twice"]
    {
        assert!(matches!(cause(fault).await, TokenError::Malformed(_)), "{fault}");
    }
    for fault in ["another issuer", "another audience"] {
        assert!(matches!(cause(fault).await, TokenError::Claims(_)), "{fault}");
    }
    assert!(matches!(cause("not yet valid").await, TokenError::NotYetValid { .. }));
    assert_eq!(cause("refresh token").await, TokenError::WrongType);
}

#[tokio::test]
async fn chl_13_a_token_that_lacks_the_scope_is_403() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let auth = AuthLayer::new(fixture.tokens.clone());
    let token = fixture.access("read write").await;
    let all = auth.layer(auth.require_all_scopes(["read", "admin"]).unwrap().layer(inner.clone()));
    let answer = send(all.clone(), bearer(&token)).await;
    let challenged = [("realm", "api"), ("error", "insufficient_scope"), ("scope", "read admin")];
    let body = r#"{"error":"insufficient_scope"}"#;
    assert_http(&answer, RejectionKind::InsufficientScope, 403, Some(&challenged), body);
    assert_eq!(answer.rejection.unwrap().required_scope(), Some("read admin"));
    assert_grpc(&send(all, grpc(bearer(&token))).await, RejectionKind::InsufficientScope, "7");
    for near in ["rea", "reads", "READ", "ad"] {
        let near = auth.layer(auth.require_scope(near).unwrap().layer(inner.clone()));
        assert_eq!(send(near, bearer(&token)).await.status, 403);
    }
    assert_eq!(inner.calls(), 0);

    let any = auth.layer(auth.require_any_scope(["admin", "write"]).unwrap().layer(inner.clone()));
    assert_eq!(send(any, bearer(&token)).await.status, 200);
    let one = auth.layer(auth.require_scope("read").unwrap().layer(inner.clone()));
    assert_eq!(send(one, bearer(&token)).await.status, 200);
    assert!(auth.require_scope("two words").is_err() && auth.require_all_scopes([""; 0]).is_err());
}

#[tokio::test]
async fn a_scope_that_an_anonymous_client_would_need_is_401_and_without_a_layer_500() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let auth = AuthLayer::new(fixture.tokens.clone()).optional();
    let scoped = auth.require_scope("read").unwrap().layer(inner.clone());
    let answer = send(auth.layer(scoped.clone()), plain(get("/"))).await;
    let body = r#"{"error":"unauthorized"}"#;
    assert_http(&answer, RejectionKind::NoCredentials, 401, Some(&[("realm", "api")]), body);
    let alone = send(scoped.clone(), plain(get("/"))).await;
    assert_http(&alone, RejectionKind::Internal, 500, None, r#"{"error":"server_error"}"#);
    assert_grpc(&send(scoped, grpc(plain(get("/")))).await, RejectionKind::Internal, "13");
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn chl_16_a_store_that_fails_is_503_and_nobody_is_let_in() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let service = AuthLayer::new(fixture.tokens.clone()).layer(inner.clone());
    let token = fixture.access("").await;
    for kind in STORE_ERRORS {
        fixture.store.answer(Behaviour::Fails(kind));
        let answer = send(service.clone(), bearer(&token)).await;
        let body = r#"{"error":"temporarily_unavailable"}"#;
        assert_http(&answer, RejectionKind::Unavailable, 503, None, body);
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert_grpc(&send(service.clone(), grpc(bearer(&token))).await, RejectionKind::Unavailable, "14");
    }
    assert_eq!(inner.calls(), 0);
}

#[tokio::test]
async fn chl_18_a_head_request_gets_the_headers_of_a_get_and_no_body() {
    let fixture = Fixture::new();
    let service = AuthLayer::new(fixture.tokens.clone()).layer(Inner::default());
    let by_get = send(service.clone(), plain(get("/"))).await;
    let by_head = send(service, plain(Request::head("/"))).await;
    assert_eq!((by_head.status, &by_head.headers), (by_get.status, &by_get.headers));
    assert!(by_head.body.is_empty() && !by_get.body.is_empty());
}

#[tokio::test]
async fn every_method_needs_a_token_options_too() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let service = AuthLayer::new(fixture.tokens.clone()).layer(inner.clone());
    let token = fixture.access("").await;
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        let request = || Request::builder().method(&method).uri("/");
        assert_eq!(send(service.clone(), plain(request())).await.status, 401, "{method}");
        let request = request().header("authorization", format!("Bearer {token}"));
        assert_eq!(send(service.clone(), plain(request)).await.status, 200, "{method}");
    }
    assert_eq!(inner.calls(), 6);
}

#[tokio::test]
async fn the_application_may_write_the_body_and_nothing_else() {
    let fixture = Fixture::new();
    let problem = |rejection: &Rejection, mut response: Response<Bytes>| {
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/problem+json"));
        response.map(|_| Bytes::from(format!(r#"{{"title":"{}"}}"#, rejection.kind().code())))
    };
    let auth = AuthLayer::builder(fixture.tokens.clone()).on_rejection(problem).realm("my app").build().unwrap();
    let answer = send(auth.layer(Inner::default()), plain(get("/"))).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::UNAUTHORIZED, &br#"{"title":"unauthorized"}"#[..]));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("content-length"), Some("24"));
    let challenged = challenge(answer.header("www-authenticate").unwrap());
    assert_eq!(challenged, parameters(&[("realm", "my app")]));
    assert_grpc(&send(auth.layer(Inner::default()), grpc(plain(get("/")))).await, RejectionKind::NoCredentials, "16");
    for bad in ["", "a\"b", "a\\b", "a\r\nSet-Cookie: x", "ä"] {
        assert_eq!(AuthLayer::builder(fixture.tokens.clone()).realm(bad).build().unwrap_err().setting(), "realm");
    }
}

#[tokio::test]
async fn a_body_that_panics_is_replaced_by_the_default() {
    let fixture = Fixture::new();
    let panics = |_: &Rejection, _| -> Response<Bytes> { panic!("a test's panic, which is caught") };
    let auth = AuthLayer::builder(fixture.tokens.clone()).on_rejection(panics).build().unwrap();
    let answer = send(auth.layer(Inner::default()), plain(get("/"))).await;
    let body = r#"{"error":"unauthorized"}"#;
    assert_http(&answer, RejectionKind::NoCredentials, 401, Some(&[("realm", "api")]), body);
}

#[tokio::test]
async fn the_optional_mode_passes_nobody_and_refuses_whoever_claims_to_be_someone() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let service = AuthLayer::new(fixture.tokens.clone()).optional().layer(inner.clone());
    assert_eq!(send(service.clone(), plain(get("/"))).await.body, "anonymous");
    assert_eq!(send(service.clone(), bearer(&fixture.access("").await)).await.body, "42");
    let calls = inner.calls();
    for (fault, token) in bad_tokens(&fixture).await {
        assert_eq!(send(service.clone(), bearer(&token)).await.status, 401, "{fault}");
    }
    let malformed = plain(get("/").header("authorization", "Bearer a b"));
    assert_eq!(send(service.clone(), malformed).await.status, 400);
    let good = fixture.access("").await;
    fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    assert_eq!(send(service, bearer(&good)).await.status, 503);
    assert_eq!(inner.calls(), calls);
}

#[tokio::test]
async fn a_layer_that_is_switched_off_passes_everything_without_claims() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let service = AuthLayer::builder(fixture.tokens.clone()).enabled(false).build().unwrap().layer(inner.clone());
    let good = fixture.access("").await;
    let calls = fixture.store.calls();
    for request in [plain(get("/")), bearer("junk"), bearer(&good)] {
        assert_eq!(send(service.clone(), request).await.body, "anonymous");
    }
    assert_eq!(fixture.store.calls(), calls);
}

#[tokio::test]
async fn claims_that_a_request_brings_along_are_removed() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let auth = AuthLayer::new(fixture.tokens.clone());
    let token = fixture.access("").await;
    let claims: Claims = fixture.tokens.validate_token(&token, TokenType::Access).await.unwrap();
    let smuggled = |path: &str| {
        let mut request = plain(get(path));
        request.extensions_mut().insert(claims.clone());
        request
    };
    assert_eq!(send(auth.layer(inner.clone()), smuggled("/")).await.status, 401);
    assert_eq!(inner.calls(), 0);
    let builder = || AuthLayer::builder(fixture.tokens.clone());
    let [off, exempt] = [builder().enabled(false), builder().exempt("/public")].map(|builder| builder.build().unwrap());
    for layer in [auth.clone().optional(), off.clone(), exempt] {
        assert_eq!(send(layer.layer(inner.clone()), smuggled("/public")).await.body, "anonymous");
    }
    // The mark of an outer layer must not survive the claims of an inner one.
    let nested = off.layer(auth.layer(inner.clone()));
    assert_eq!(send(nested, bearer(&token)).await.body, "42");
}

#[tokio::test]
async fn twr_04_ten_megabytes_and_trailers_pass_in_both_directions_without_being_held() {
    const FRAMES: usize = 160;
    let fixture = Fixture::new();
    let frame = |number: usize| Bytes::from(vec![u8::try_from(number % 251).unwrap(); 64 * 1024]);
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let frames = stream::unfold(0, move |number| {
        counter.store(number, Ordering::SeqCst);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("abc"));
        async move {
            match number {
                0..FRAMES => Some((Ok::<_, Infallible>(Frame::data(frame(number))), number + 1)),
                FRAMES => Some((Ok(Frame::trailers(trailers)), number + 1)),
                _ => None,
            }
        }
    });
    let echo = service_fn(async |request: Request<_>| Ok::<_, Infallible>(Response::new(request.into_body())));
    let token = fixture.access("").await;
    fixture.store.answer(Behaviour::Late);
    let request = Request::post("/").header("authorization", format!("Bearer {token}"));
    let request = request.body(StreamBody::new(Box::pin(frames))).unwrap();
    let service = AuthLayer::new(fixture.tokens.clone()).layer(echo);
    let mut body = service.oneshot(request).await.unwrap().into_body();
    for number in 0..FRAMES {
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(data, frame(number));
        assert_eq!(made.load(Ordering::SeqCst), number, "a frame was read ahead");
    }
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["x-checksum"], "abc");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn the_user_is_looked_up_or_the_request_is_refused() {
    let fixture = Fixture::new();
    let auth = AuthLayer::new(fixture.tokens.clone());
    let users = CurrentUserLayer::new(&auth, Arc::new(Users));
    let inner = service_fn(async |request: Request<String>| {
        let user = request.extensions().get::<CurrentUser<String>>();
        let name = user.map_or_else(|| "nobody".to_owned(), |user| user.to_string());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(name)))
    });
    let token = async |subject: &str| {
        fixture.tokens.create_access_token(NewSession::new(subject)).await.unwrap().as_str().to_owned()
    };
    let service = auth.layer(users.layer(inner));
    assert_eq!(send(service.clone(), bearer(&token("42").await)).await.body, "alice");

    let deleted = send(service.clone(), bearer(&token("7").await)).await;
    assert_eq!(deleted.bytes(), send(service.clone(), bearer("junk")).await.bytes());
    for subject in ["500", "666"] {
        let answer = send(service.clone(), bearer(&token(subject).await)).await;
        assert_http(&answer, RejectionKind::Internal, 500, None, r#"{"error":"server_error"}"#);
    }

    let anonymous = auth.clone().optional();
    let strict = send(anonymous.layer(users.layer(inner)), plain(get("/"))).await;
    assert_eq!(
        (strict.status, strict.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, Some("Bearer realm=\"api\""))
    );
    let lax = users.clone().optional();
    assert_eq!(send(anonymous.layer(lax.layer(inner)), plain(get("/"))).await.body, "nobody");
    assert_eq!(send(lax.layer(inner), plain(get("/"))).await.status, 500, "under no layer nobody may pass");
}

/// Returns a handler that responds with this rejection, inside a layer that adds headers.
fn handler(
    rejection: Rejection,
) -> impl Service<Request<String>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone {
    service_fn(move |_: Request<String>| {
        let mut response: Response<Full<Bytes>> = rejection.clone().into_response();
        response.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
        response.headers_mut().insert("cache-control", HeaderValue::from_static("public"));
        std::future::ready(Ok(response))
    })
}

fn of_kind(method: &Method, content_type: &str, token: &str) -> Request<String> {
    let request = Request::builder().method(method).uri("/").header("content-type", content_type);
    plain(request.header("authorization", format!("Bearer {token}")))
}

#[tokio::test]
async fn a_handler_rejects_to_the_byte_as_the_layers_do() {
    let fixture = Fixture::new();
    let hook = |rejection: &Rejection, mut response: Response<Bytes>| {
        response.headers_mut().insert("x-code", HeaderValue::from_static(rejection.kind().code()));
        response.map(|_| Bytes::from_static(b"mine"))
    };
    let builder = || AuthLayer::builder(fixture.tokens.clone()).realm("my app");
    let token = fixture.access("read").await;
    for auth in [builder(), builder().on_rejection(hook)].map(|builder| builder.build().unwrap()) {
        for (method, content_type) in [
            (Method::GET, "text/plain"),
            (Method::HEAD, "text/plain"),
            (Method::POST, "application/grpc"),
            (Method::POST, "application/grpc-web+proto"),
        ] {
            let ask = || of_kind(&method, content_type, &token);
            let rule = auth.require(|claims: &Claims| claims.subject() == "43").layer(Inner::default());
            let by_rule = send(auth.layer(rule), ask()).await;
            assert_eq!(by_rule.rejection.as_ref().unwrap().kind(), RejectionKind::InsufficientScope);
            let by_handler = send(auth.layer(handler(Rejection::forbidden())), ask()).await;
            assert_eq!(by_handler.bytes(), by_rule.bytes(), "{method} {content_type}");

            let scope = auth.require_scope("write").unwrap().layer(Inner::default());
            let by_scope = send(auth.layer(scope), ask()).await;
            let by_handler = send(auth.layer(handler(Rejection::insufficient_scope("write"))), ask()).await;
            assert_eq!(by_handler.bytes(), by_scope.bytes(), "{method} {content_type}");
            assert_eq!(by_handler.rejection.unwrap().required_scope(), Some("write"));

            fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
            let by_layer = send(auth.layer(Inner::default()), ask()).await;
            fixture.store.answer(Behaviour::AtOnce);
            let failed = tower_bearer::error::StoreError::new(StoreErrorKind::Timeout);
            let by_handler = send(auth.layer(handler(Error::from(failed).into())), ask()).await;
            assert_eq!(by_handler.bytes(), by_layer.bytes(), "{method} {content_type}");
        }
    }
    let service = builder().build().unwrap().layer(handler(Rejection::forbidden()));
    let answer = send(service, bearer(&token)).await;
    let challenged = [("realm", "my app"), ("error", "insufficient_scope")];
    let body = r#"{"error":"insufficient_scope"}"#;
    assert_http(&answer, RejectionKind::InsufficientScope, 403, Some(&challenged), body);
    assert!(!answer.headers.contains_key("content-encoding") && !answer.headers.contains_key("cache-control"));
}

/// Returns a handler that responds with this rejection and this `Cache-Control`.
fn cached_handler(
    rejection: Rejection,
    fields: &'static [(&'static str, &'static str)],
) -> impl Service<Request<String>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone {
    service_fn(move |_: Request<String>| {
        let mut response: Response<Full<Bytes>> = rejection.clone().into_response();
        for &(name, value) in fields {
            response.headers_mut().append(name, HeaderValue::from_static(value));
        }
        std::future::ready(Ok(response))
    })
}

fn cache_control(answer: &Answer) -> String {
    let lines = answer.headers.get_all("cache-control").iter().map(|line| line.to_str().unwrap());
    lines.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_handlers_rejection_is_never_more_cacheable_than_the_handler_says() {
    type Fields = &'static [(&'static str, &'static str)];

    let fixture = Fixture::new();
    let auth = AuthLayer::builder(fixture.tokens.clone()).allow_cookie("t").build().unwrap();
    let token = fixture.access("").await;
    let cases: [(Fields, &str, &str); 10] = [
        (&[], "", "private"),
        (&[("cache-control", "no-store")], "no-store", "no-store"),
        (&[("cache-control", "Private, max-age=60")], "private, no-cache", "private, no-cache"),
        (&[("cache-control", "public, s-maxage=60, immutable")], "", "private"),
        (&[("cache-control", "public"), ("cache-control", "NO-STORE")], "no-store", "no-store"),
        (&[("cache-control", "no-cache=\"set-cookie\"")], "no-cache", "no-cache, private"),
        (&[("cache-control", "private=\"x-a, x-b\"")], "private", "private"),
        (&[("cache-control", "max-age=0, must-revalidate")], "no-cache", "no-cache, private"),
        (&[("cache-control", "no-store-at-all, , =")], "", "private"),
        (&[("expires", "Thu, 01 Jan 2099 00:00:00 GMT")], "no-cache", "no-cache, private"),
    ];
    for (fields, in_authorization, in_cookie) in cases {
        for kind in [RejectionKind::NotFound, RejectionKind::MethodNotAllowed, RejectionKind::InsufficientScope] {
            let service = auth.layer(cached_handler(Rejection::new(kind), fields));
            let answer = send(service.clone(), bearer(&token)).await;
            assert_eq!((answer.status, cache_control(&answer)), (kind.status(), in_authorization.to_owned()));
            assert!(!answer.headers.contains_key("expires"), "{answer:?}");
            for content_type in ["text/plain", "application/grpc"] {
                let cookie = get("/").header("cookie", format!("t={token}")).header("content-type", content_type);
                let answer = send(service.clone(), plain(cookie)).await;
                assert_eq!(cache_control(&answer), in_cookie, "{fields:?} {content_type}");
            }
        }
    }
}

#[tokio::test]
async fn a_rejection_by_a_layer_inside_is_private_where_the_outer_one_read_a_cookie() {
    let fixture = Fixture::new();
    let outer = AuthLayer::builder(fixture.tokens.clone()).allow_cookie("t").build().unwrap();
    let hook = |_: &Rejection, mut response: Response<Bytes>| {
        response.headers_mut().insert("cache-control", HeaderValue::from_static("public, max-age=60"));
        response
    };
    let inner = outer.clone();
    let hooked = AuthLayer::builder(fixture.tokens.clone()).allow_cookie("t").on_rejection(hook).build().unwrap();
    let token = fixture.access("read").await;
    let cookie = || plain(get("/").header("cookie", format!("t={token}")));
    let rejecting = || cached_handler(Rejection::new(RejectionKind::NotFound), &[]);
    let scope = outer.require_scope("write").unwrap();
    for (answer, status, expected) in [
        (send(outer.layer(inner.layer(rejecting())), cookie()).await, 404, "private"),
        (send(outer.layer(hooked.layer(rejecting())), cookie()).await, 404, "max-age=60, private"),
        (send(outer.layer(scope.layer(Inner::default())), cookie()).await, 403, "private"),
        (
            send(outer.layer(AuthLayer::new(fixture.tokens.clone()).layer(Inner::default())), cookie()).await,
            401,
            "private",
        ),
        // The layer's rejections have no `Cache-Control`, because no cache stores a 401 (RFC 9110
        // section 15.1).
        (send(outer.layer(Inner::default()), plain(get("/").header("cookie", "t=junk"))).await, 401, ""),
    ] {
        assert_eq!((answer.status.as_u16(), cache_control(&answer)), (status, expected.to_owned()));
    }
}

#[tokio::test]
async fn what_layers_inside_add_to_a_handlers_rejection_is_kept() {
    let fixture = Fixture::new();
    let inner = service_fn(async |_: Request<String>| {
        let mut response: Response<Full<Bytes>> = Rejection::new(RejectionKind::NotFound).into_response();
        for cookie in ["a=1", "b=2"] {
            response.headers_mut().append("set-cookie", HeaderValue::from_static(cookie));
        }
        response.extensions_mut().insert(7_u8);
        Ok::<_, Infallible>(response)
    });
    let service = AuthLayer::new(fixture.tokens.clone()).layer(inner);
    let response = service.oneshot(bearer(&fixture.access("").await)).await.unwrap();
    assert_eq!(response.status(), 404);
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(response.extensions().get::<u8>(), Some(&7));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), r#"{"error":"not_found"}"#);
}

#[tokio::test]
async fn without_a_layer_a_handlers_rejection_is_complete() {
    for (rejection, status, challenged, body) in [
        (Rejection::forbidden(), 403, Some(r#"Bearer realm="api", error="insufficient_scope""#), "insufficient_scope"),
        (
            Rejection::insufficient_scope("a b"),
            403,
            Some(r#"Bearer realm="api", error="insufficient_scope", scope="a b""#),
            "insufficient_scope",
        ),
        // No text of the application can break out of the quoted string.
        (
            Rejection::insufficient_scope("a\", error=\"x\r\n"),
            403,
            Some(r#"Bearer realm="api", error="insufficient_scope""#),
            "insufficient_scope",
        ),
        (Rejection::new(RejectionKind::NotFound), 404, None, "not_found"),
        (
            Error::from(TokenError::Signature).into(),
            401,
            Some(r#"Bearer realm="api", error="invalid_token""#),
            "invalid_token",
        ),
        (Error::InvalidId { id: "session id" }.into(), 400, None, "invalid_request"),
        (Error::Signing.into(), 500, None, "server_error"),
    ] {
        let response: Response<Bytes> = rejection.into_response();
        assert_eq!(response.status(), status);
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("www-authenticate"), challenged);
        assert_eq!(header("content-length"), Some(response.body().len().to_string().as_str()));
        assert_eq!(response.body(), &format!(r#"{{"error":"{body}"}}"#));
    }
}

#[tokio::test]
async fn a_handlers_405_names_its_methods_and_its_cause_stays_here() {
    let fixture = Fixture::new();
    let auth = AuthLayer::new(fixture.tokens.clone());
    let token = fixture.access("").await;
    for (rejection, allow) in [
        (Rejection::method_not_allowed(&[Method::GET, Method::DELETE]), "GET, DELETE"),
        (Rejection::method_not_allowed(&[]), ""),
        (Rejection::new(RejectionKind::MethodNotAllowed), ""),
    ] {
        let rejection = rejection.with_cause(TokenError::Signature);
        let response: Response<Bytes> = rejection.clone().into_response();
        assert_eq!(response.headers()["allow"], allow);
        let answer = send(auth.layer(handler(rejection)), bearer(&token)).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some(allow)));
        assert_eq!(answer.body, r#"{"error":"invalid_request"}"#);
        let cause = answer.rejection.as_ref().and_then(Rejection::cause);
        assert!(matches!(cause, Some(Error::Token(TokenError::Signature))), "{cause:?}");
    }
    let other = send(auth.layer(handler(Rejection::new(RejectionKind::NotFound))), bearer(&token)).await;
    assert_eq!(other.header("allow"), None);
}

#[test]
fn a_kind_of_rejection_is_displayed_as_its_code() {
    assert_eq!(RejectionKind::NotFound.to_string(), "not_found");
    assert_eq!(format!("{:>15}", RejectionKind::InvalidToken), "  invalid_token");
}

#[tokio::test]
async fn of_nested_layers_the_innermost_answers_once() {
    let fixture = Fixture::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = |calls: &Arc<AtomicUsize>| {
        let calls = Arc::clone(calls);
        move |_: &Rejection, response: Response<Bytes>| {
            calls.fetch_add(1, Ordering::SeqCst);
            response
        }
    };
    let layer =
        |realm| AuthLayer::builder(fixture.tokens.clone()).realm(realm).on_rejection(count(&calls)).build().unwrap();
    let (outer, inner) = (layer("outer"), layer("inner"));
    let token = fixture.access("read").await;
    let scope = inner.require_scope("write").unwrap();
    let answers = [
        send(outer.layer(inner.layer(handler(Rejection::forbidden()))), bearer(&token)).await,
        send(outer.layer(inner.layer(scope.layer(Inner::default()))), bearer(&token)).await,
        send(outer.clone().optional().layer(inner.layer(Inner::default())), plain(get("/"))).await,
    ];
    assert_eq!(calls.load(Ordering::SeqCst), answers.len());
    for answer in answers {
        assert!(answer.header("www-authenticate").unwrap().starts_with(r#"Bearer realm="inner""#), "{answer:?}");
    }
    // A handler can return a rejection that another layer has answered before.
    let answered = send(inner.layer(Inner::default()), plain(get("/"))).await.rejection.unwrap();
    let answer = send(outer.layer(handler(answered)), bearer(&token)).await;
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="outer""#));
}

#[tokio::test]
async fn the_application_may_replace_all_of_a_rejection_but_its_status() {
    let fixture = Fixture::new();
    let replace = |_: &Rejection, response: Response<Bytes>| {
        assert_eq!(response.status(), 401);
        let mut own = Response::new(Bytes::from_static(b"<h1>Log in</h1>"));
        own.headers_mut().insert("www-authenticate", response.headers()["www-authenticate"].clone());
        own.headers_mut().insert("location", HeaderValue::from_static("/login"));
        own.headers_mut().insert("content-length", HeaderValue::from_static("999"));
        own.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
        own
    };
    let auth = AuthLayer::builder(fixture.tokens.clone()).on_rejection(replace).build().unwrap();
    let answer = send(auth.layer(Inner::default()), plain(get("/"))).await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::UNAUTHORIZED, &b"<h1>Log in</h1>"[..]));
    assert_eq!(answer.rejection.as_ref().unwrap().kind(), RejectionKind::NoCredentials);
    let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
    names.sort();
    assert_eq!(names, ["content-length", "location", "www-authenticate"]);
    assert_eq!(answer.header("content-length"), Some("15"));
    let head = send(auth.layer(Inner::default()), plain(Request::head("/"))).await;
    assert_eq!((head.headers, head.body.len()), (answer.headers, 0));
}

#[tokio::test]
async fn a_predicate_exempts_and_one_that_panics_does_not() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let auth = AuthLayer::builder(fixture.tokens.clone())
        .exempt_if(|request| request.method == Method::OPTIONS)
        .exempt_if(|request| request.uri.path().starts_with("/public/"))
        .exempt_if(|request| {
            assert!(!request.headers.contains_key("x-panic"), "a test's panic, which is caught");
            assert!(request.extensions.get::<Claims>().is_none(), "claims that no layer has put there");
            false
        })
        .build()
        .unwrap();
    let service = auth.layer(inner.clone());
    let claims: Claims = fixture.tokens.validate_token(&fixture.access("").await, TokenType::Access).await.unwrap();
    let mut smuggled = plain(get("/public/x"));
    smuggled.extensions_mut().insert(claims.clone());
    for request in
        [plain(Request::options("/")), plain(get("/public/x").header("authorization", "Bearer junk")), smuggled]
    {
        assert_eq!(send(service.clone(), request).await.body, "anonymous");
    }
    let mut smuggled = plain(get("/"));
    smuggled.extensions_mut().insert(claims);
    for request in [plain(get("/public")), plain(get("/").header("x-panic", "1")), smuggled] {
        assert_eq!(send(service.clone(), request).await.status, 401);
    }
    assert_eq!(send(service, bearer(&fixture.access("").await)).await.body, "42");
}

#[tokio::test]
async fn a_rule_is_met_or_403_and_one_that_panics_is_our_fault() {
    let (fixture, inner) = (Fixture::new(), Inner::default());
    let auth = AuthLayer::new(fixture.tokens.clone());
    let token = fixture.access("").await;
    let is_42 = auth.require(|claims| claims.subject() == "42").layer(inner.clone());
    assert_eq!(send(auth.layer(is_42.clone()), bearer(&token)).await.body, "42");
    let other = fixture.tokens.create_access_token(NewSession::new("43")).await.unwrap();
    let answer = send(auth.layer(is_42.clone()), bearer(other.as_str())).await;
    let challenged = [("realm", "api"), ("error", "insufficient_scope")];
    let body = r#"{"error":"insufficient_scope"}"#;
    assert_http(&answer, RejectionKind::InsufficientScope, 403, Some(&challenged), body);
    assert_grpc(
        &send(auth.layer(is_42.clone()), grpc(bearer(other.as_str()))).await,
        RejectionKind::InsufficientScope,
        "7",
    );

    let internal = r#"{"error":"server_error"}"#;
    let panics = auth.require(|_| panic!("a test's panic, which is caught")).layer(inner.clone());
    assert_http(&send(auth.layer(panics), bearer(&token)).await, RejectionKind::Internal, 500, None, internal);
    let anonymous = send(auth.clone().optional().layer(is_42.clone()), plain(get("/"))).await;
    assert_eq!(anonymous.rejection.unwrap().kind(), RejectionKind::NoCredentials);
    assert_http(&send(is_42, bearer(&token)).await, RejectionKind::Internal, 500, None, internal);
    assert_eq!(inner.calls(), 1);
}

#[test]
fn the_builder_reports_the_first_setting_that_cannot_work() {
    let fixture = Fixture::new();
    let builder = || AuthLayer::builder(fixture.tokens.clone());
    let authorization = || http::header::AUTHORIZATION;
    for (builder, setting) in [
        (builder().realm(""), "realm"),
        (builder().allow_query("a b"), "allow_query"),
        (builder().allow_cookie(""), "allow_cookie"),
        (builder().allow_header(authorization()), "allow_header"),
        (builder().allow_cookie("").realm("").realm("fine").optional(), "allow_cookie"),
        (builder().realm("fine").allow_header(authorization()).allow_query(""), "allow_header"),
    ] {
        assert_eq!(builder.build().unwrap_err().setting(), setting);
    }
    assert!(builder().realm("fine").allow_query("a").allow_cookie("a").optional().strong().build().is_ok());
}

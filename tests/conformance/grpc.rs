//! GRP: answers to gRPC clients.
//!
//! Most tests use a real client and server. The shape of answers is read over bare HTTP/2.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::timeout,
};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::Server,
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_server::{Health, HealthServer},
};
use tower_bearer::{
    AuthLayer, BoxError, Claims, NewSession, error::StoreErrorKind, middleware::CurrentUserLayer, tokens::Validity,
};

use crate::{
    subject::Subject,
    support::{
        Behaviour, Fixture, HANG, STORE_ERRORS, Users, bad_tokens, fixture,
        grpc_server::{GrpcServer, run_grpc},
    },
};

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Messages = UnboundedSender<Result<HealthCheckResponse, Status>>;

/// A handler that counts its calls and keeps the last claims. The test controls its streams.
#[derive(Clone, Default)]
struct Handler(Arc<State>);

#[derive(Default)]
struct State {
    calls: AtomicUsize,
    claims: std::sync::Mutex<Option<Claims>>,
    stream: std::sync::Mutex<Option<Messages>>,
}

impl Handler {
    fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    fn note<T>(&self, request: &Request<T>) {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        *self.0.claims.lock().unwrap() = request.extensions().get::<Claims>().cloned();
    }

    /// Sends a message on the stream that was requested last.
    fn say(&self, status: i32) {
        let stream = self.0.stream.lock().unwrap();
        stream.as_ref().expect("a stream").send(Ok(HealthCheckResponse { status })).unwrap();
    }
}

#[tonic::async_trait]
impl Health for Handler {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.note(&request);
        Ok(Response::new(HealthCheckResponse { status: 1 }))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.note(&request);
        let (sender, mut receiver) = unbounded_channel();
        *self.0.stream.lock().unwrap() = Some(sender);
        Ok(Response::new(Box::pin(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)))))
    }
}

/// Starts a server with the layer around a new handler.
async fn serve(layer: AuthLayer) -> (GrpcServer, Handler) {
    let handler = Handler::default();
    let running = run_grpc!(Server::builder().layer(layer).add_service(HealthServer::new(handler.clone())));
    (running, handler)
}

fn ask(values: &[String]) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest::default());
    for value in values {
        let value: MetadataValue<Ascii> = value.parse().unwrap();
        request.metadata_mut().append("authorization", value);
    }
    request
}

fn with(token: &str) -> [String; 1] {
    [format!("Bearer {token}")]
}

impl GrpcServer {
    /// Returns code and message of a refused call. Asserts that tonic's client and the wire agree,
    /// and that the response is trailers-only.
    async fn refused(&self, what: &str, authorization: &[String]) -> (Code, String) {
        let unary = self.client.clone().check(ask(authorization)).await.expect_err(what);
        let (headers, ends) = self.bare(what, authorization).await;
        assert!(ends, "{what}: the first frame does not end the stream: {headers:?}");
        assert_eq!(headers["content-type"], "application/grpc", "{what}");
        let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).filter(|name| *name != "date").collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "grpc-message", "grpc-status"], "{what}: nothing else is told");
        assert_eq!(headers["grpc-status"], (unary.code() as i32).to_string(), "{what}");
        assert_eq!(headers["grpc-message"], unary.message(), "{what}");
        assert!(unary.details().is_empty(), "{what}: {unary:?}");
        (unary.code(), unary.message().to_owned())
    }

    /// Makes the same call without a gRPC library. Returns the headers of the answer, and true if
    /// nothing follows them. The status must be 200.
    async fn bare(&self, what: &str, authorization: &[String]) -> (HeaderMap, bool) {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
        let mut request = http::Request::post(format!("http://{}/grpc.health.v1.Health/Check", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for value in authorization {
            request = request.header("authorization", HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        // An empty message: not compressed, of length 0.
        let request = request.body(Full::from(&[0_u8; 5][..])).unwrap();
        let (parts, body) = client.request(request).await.expect(what).into_parts();
        assert_eq!(parts.status, StatusCode::OK, "{what}");
        let ends = body.is_end_stream();
        let rest = body.collect().await.unwrap();
        let nothing = rest.trailers().is_none() && rest.to_bytes().is_empty();
        (parts.headers, ends && nothing)
    }
}

const UNAUTHENTICATED: Code = Code::Unauthenticated;

#[tokio::test]
async fn grp_01_a_missing_token_is_unauthenticated_in_the_trailers_alone() {
    let subject = Subject::new();
    let (running, handler) = serve(subject.layer.clone()).await;
    for (what, values) in [
        ("no metadata", vec![]),
        ("another scheme", vec!["Basic dXNlcjpwdw==".to_owned()]),
        ("an empty value", vec![String::new()]),
    ] {
        assert_eq!(running.refused(what, &values).await, (UNAUTHENTICATED, "unauthorized".to_owned()), "{what}");
    }
    assert_eq!((handler.calls(), subject.fixture.store.calls()), (0, 0));
    // A successful answer is not trailers-only, which proves that the test detects this shape.
    let token = subject.valid().await;
    let (headers, ends) = running.bare("V", &with(&token)).await;
    assert!(!ends && !headers.contains_key("grpc-status"), "{headers:?}");
    assert_eq!(handler.calls(), 1);
}

#[tokio::test]
async fn grp_02_an_invalid_token_is_unauthenticated_and_the_message_tells_no_cause() {
    let subject = Subject::new();
    let (running, handler) = serve(subject.layer.clone()).await;
    let bad = bad_tokens(&subject.fixture).await;
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        subject.fixture.store.answer(behaviour);
        for (fault, token) in [("junk", "junk")].into_iter().chain(bad.iter().map(|(fault, token)| (*fault, &**token)))
        {
            let told = running.refused(fault, &with(token)).await;
            assert_eq!(told, (UNAUTHENTICATED, "invalid_token".to_owned()), "{fault}");
        }
    }
    assert_eq!(handler.calls(), 0);
}

#[tokio::test]
async fn grp_03_a_missing_scope_is_permission_denied() {
    let subject = Subject::new();
    let handler = Handler::default();
    let scope = subject.layer.require_all_scopes(["read", "write"]).unwrap();
    let mut layered = Server::builder().layer(subject.layer.clone()).layer(scope);
    let running = run_grpc!(layered.add_service(HealthServer::new(handler.clone())));
    for scope in ["", "read", "write", "reads writes", "READ WRITE"] {
        let token = subject.fixture.access(scope).await;
        let told = running.refused(scope, &with(&token)).await;
        assert_eq!(told, (Code::PermissionDenied, "insufficient_scope".to_owned()), "{scope}");
    }
    // Anonymous clients get no answer about scopes.
    assert_eq!(running.refused("no token", &[]).await.0, UNAUTHENTICATED);
    assert_eq!(handler.calls(), 0);
    let token = subject.fixture.access("write x read").await;
    running.client.clone().check(ask(&with(&token))).await.unwrap();
    assert_eq!(handler.calls(), 1);
}

#[tokio::test]
async fn grp_04_a_store_that_is_down_is_unavailable() {
    let subject = Subject::new();
    let (running, handler) = serve(subject.layer.clone()).await;
    let token = subject.valid().await;
    for kind in STORE_ERRORS {
        subject.fixture.store.answer(Behaviour::Fails(kind));
        let told = running.refused(&format!("{kind:?}"), &with(&token)).await;
        assert_eq!(told, (Code::Unavailable, "temporarily_unavailable".to_owned()), "{kind:?}");
    }
    assert_eq!(handler.calls(), 0);
    subject.fixture.store.answer(Behaviour::AtOnce);
    running.client.clone().check(ask(&with(&token))).await.unwrap();
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn grp_04_a_redis_that_was_stopped_is_unavailable() {
    let mut redis = crate::support::RedisServer::start();
    let store = tower_bearer::RedisStore::connect(redis.url()).await.unwrap();
    let tokens = tower_bearer::TokenService::builder().secret(fixture::SECRET).store(store).build().unwrap();
    let (running, handler) = serve(AuthLayer::new(tokens.clone())).await;
    let token = tokens.create_access_token(NewSession::new("42")).await.unwrap().as_str().to_owned();
    running.client.clone().check(ask(&with(&token))).await.unwrap();
    redis.stop();
    let told = running.refused("stopped", &with(&token)).await;
    assert_eq!(told, (Code::Unavailable, "temporarily_unavailable".to_owned()));
    assert_eq!(handler.calls(), 1);
}

#[tokio::test]
async fn grp_05_an_internal_fault_is_internal_and_its_cause_is_not_told() {
    let validator = |claims: &Claims| match claims.subject().as_str() {
        "fails" => Err::<_, BoxError>("the database of TEST is down".into()),
        "panics" => panic!("a test's panic, which is caught"),
        _ => Ok(Validity::Valid),
    };
    let subject = Subject::with(|builder| builder.validator(validator));
    let handler = Handler::default();
    let users = CurrentUserLayer::new(&subject.layer, Arc::new(Users));
    let mut layered = Server::builder().layer(subject.layer.clone()).layer(users);
    let running = run_grpc!(layered.add_service(HealthServer::new(handler.clone())));
    // A validator that fails or panics, and a lookup that fails or panics.
    for user in ["fails", "panics", "500", "666"] {
        let token = subject.fixture.tokens.create_access_token(NewSession::new(user)).await.unwrap();
        let told = running.refused(user, &with(token.as_str())).await;
        assert_eq!(told, (Code::Internal, "server_error".to_owned()), "{user}");
    }
    assert_eq!(handler.calls(), 0);
    let token = subject.valid().await;
    running.client.clone().check(ask(&with(&token))).await.unwrap();
}

#[tokio::test]
async fn grp_06_what_is_a_400_over_http_is_unauthenticated_and_no_http_400() {
    let subject = Subject::new();
    let (running, handler) = serve(subject.layer.clone()).await;
    let token = subject.valid().await;
    let good = format!("Bearer {token}");
    for (what, values) in [
        ("the same twice", vec![good.clone(), good.clone()]),
        ("two schemes", vec![good.clone(), "Basic dXNlcjpwdw==".to_owned()]),
        ("joined by a comma", vec![format!("{good}, {good}")]),
        ("no token", vec!["Bearer".to_owned()]),
        ("two words", vec![format!("{good} extra")]),
    ] {
        // `refused` has seen the HTTP status 200; a 400 would reach the client as INTERNAL.
        let told = running.refused(what, &values).await;
        assert_eq!(told, (UNAUTHENTICATED, "invalid_request".to_owned()), "{what}");
    }
    assert_eq!(handler.calls(), 0);
}

#[tokio::test]
async fn grp_12_a_stream_is_refused_before_its_first_message() {
    let subject = Subject::new();
    let (running, handler) = serve(subject.layer.clone()).await;
    let bad = bad_tokens(&subject.fixture).await;
    let good = subject.valid().await;
    let mut cases: Vec<_> = bad.iter().map(|(fault, token)| (*fault, with(token).to_vec(), UNAUTHENTICATED)).collect();
    cases.push(("no token", vec![], UNAUTHENTICATED));
    cases.push(("two tokens", vec![format!("Bearer {good}"), format!("Bearer {good}")], UNAUTHENTICATED));
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        subject.fixture.store.answer(behaviour);
        for (what, values, code) in &cases {
            let status = running.client.clone().watch(ask(values)).await.expect_err(what);
            assert_eq!(status.code(), *code, "{what}");
        }
    }
    subject.fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    let status = running.client.clone().watch(ask(&with(&good))).await.expect_err("no stream");
    assert_eq!((status.code(), handler.calls()), (Code::Unavailable, 0));

    subject.fixture.store.answer(Behaviour::Late);
    let mut stream = running.client.clone().watch(ask(&with(&good))).await.unwrap().into_inner();
    handler.say(1);
    assert_eq!(stream.message().await.unwrap().unwrap().status, 1);
    assert_eq!(handler.calls(), 1);
}

/// As documented, a stream may outlive its token, and not its session.
#[tokio::test]
async fn grp_14_a_stream_goes_on_when_its_token_expires_and_ends_with_16_when_it_is_revoked() {
    let subject = Subject::new();
    let (running, handler) = serve(subject.layer.clone()).await;
    let session = NewSession::new("42").access_lifetime(std::time::Duration::from_secs(2));
    let pair = subject.fixture.tokens.create_token_pair(session).await.unwrap();
    let (token, sid) = (pair.access().as_str().to_owned(), pair.session_id().to_owned());
    let mut stream = running.client.clone().watch(ask(&with(&token))).await.unwrap().into_inner();
    handler.say(1);
    assert_eq!(stream.message().await.unwrap().unwrap().status, 1);

    // The handler can tell when its token ends.
    let end = handler.0.claims.lock().unwrap().as_ref().unwrap().expires_at();
    assert_eq!(end.as_secs(), fixture::START.as_secs() + 2);
    // Its lifetime and the leeway.
    subject.fixture.advance(2 + 5);
    assert_eq!(running.refused("a new call", &with(&token)).await.0, UNAUTHENTICATED);
    for status in [2, 0, 1] {
        handler.say(status);
        assert_eq!(stream.message().await.unwrap().unwrap().status, status, "the stream ended with its token");
    }
    subject.fixture.tokens.revoke_session("42", &sid).await.unwrap();
    let end = timeout(HANG, stream.message()).await.expect("the stream is cut");
    assert_eq!(end.expect_err("an end by a status").code(), Code::Unauthenticated);
    assert_eq!(handler.calls(), 1);
}

#[tokio::test]
async fn grp_14_a_stream_ends_with_16_at_the_expiry_of_its_token_if_the_layer_says_so() {
    let subject = Subject::new();
    let (running, handler) = serve(subject.layer.clone().cut_at_expiry(true)).await;
    let session = NewSession::new("42").access_lifetime(std::time::Duration::from_secs(2));
    let token = subject.fixture.tokens.create_access_token(session).await.unwrap();
    let mut stream = running.client.clone().watch(ask(&with(token.as_str()))).await.unwrap().into_inner();
    handler.say(1);
    assert_eq!(stream.message().await.unwrap().unwrap().status, 1);
    subject.fixture.advance(2 + 5);
    let end = timeout(HANG, stream.message()).await.expect("the stream is cut");
    assert_eq!(end.expect_err("an end by a status").code(), Code::Unauthenticated);
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Role {
    role: String,
}

#[derive(Clone, Default)]
struct Typed(Arc<std::sync::Mutex<Option<Claims<Role>>>>);

#[tonic::async_trait]
impl Health for Typed {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        *self.0.lock().unwrap() = request.extensions().get::<Claims<Role>>().cloned();
        Ok(Response::new(HealthCheckResponse::default()))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.check(request).await?;
        Ok(Response::new(Box::pin(futures_util::stream::empty())))
    }
}

#[tokio::test]
async fn grp_15_the_claims_of_the_applications_type_reach_the_handler() {
    let fixture = Fixture::new();
    let tokens = fixture::builder(&fixture.clock).store(fixture.store.clone()).claims::<Role>().build().unwrap();
    let handler = Typed::default();
    let mut layered = Server::builder().layer(AuthLayer::new(tokens.clone()));
    let running = run_grpc!(layered.add_service(HealthServer::new(handler.clone())));
    let role = Role { role: "editor".to_owned() };
    let token = tokens.create_access_token(NewSession::new("42").claims(role.clone()).scope("a b")).await.unwrap();
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        fixture.store.answer(behaviour);
        for streams in [false, true] {
            let mut client = running.client.clone();
            if streams {
                client.watch(ask(&with(token.as_str()))).await.unwrap();
            } else {
                client.check(ask(&with(token.as_str()))).await.unwrap();
            }
            let claims = handler.0.lock().unwrap().take().expect("claims in the extensions");
            assert_eq!((claims.subject().as_str(), claims.scope().as_str()), ("42", "a b"), "{behaviour:?}");
            assert_eq!(claims.custom().role, role.role, "{behaviour:?}");
        }
    }
}

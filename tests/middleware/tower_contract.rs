//! The contract of Tower: readiness, dropped futures, and composition with other layers.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    limit::ConcurrencyLimit,
    service_fn,
    util::{BoxCloneService, BoxCloneSyncService, BoxService},
};
use tower_bearer::{
    AuthLayer, AuthService, Claims, Error, MemoryStore, NewSession, NoClaims, TokenService,
    clock::{ManualClock, Timestamp},
    error::{ConfigError, StoreError, StoreErrorKind, TokenError},
    middleware::{
        AuthFuture, AuthLayerBuilder, CurrentUserLayer, CurrentUserService, Rejection, RejectionKind, Require,
        RequireLayer, ResponseBody, Unauthenticated,
    },
    tokens::{IssuedToken, Revoke, SecurityEvent, Status, TokenPair, TokenServiceBuilder},
    users::{Credentials, CurrentUser},
};
use tower_http::{compression::CompressionLayer, timeout::TimeoutLayer, trace::TraceLayer};

use crate::support::{Behaviour, Fixture, HANG};

/// A service that panics if it is called before it is ready. Clones are not ready.
struct Strict {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Strict {
    fn new() -> Self {
        Self { ready: false, calls: Arc::default() }
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<Request<String>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        assert!(self.ready, "called without having been readied");
        self.ready = false;
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::default()))
    }
}

fn request(token: &str) -> Request<String> {
    Request::get("/").header("authorization", format!("Bearer {token}")).body(String::new()).unwrap()
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

const PATHS: [Behaviour; 2] = [Behaviour::AtOnce, Behaviour::Late];

#[tokio::test]
async fn the_instance_that_was_readied_is_the_one_that_is_called() {
    let fixture = Fixture::new();
    let strict = Strict::new();
    let auth = AuthLayer::new(fixture.tokens.clone());
    let scope = auth.require_scope("read").unwrap();
    let mut service = auth.layer(scope.layer(strict.clone()));
    let token = fixture.access("read").await;
    for path in PATHS {
        fixture.store.answer(path);
        for _ in 0..3 {
            let response = service.ready().await.unwrap().call(request(&token)).await.unwrap();
            assert_eq!(response.status(), 200, "{path:?}");
        }
    }
    assert_eq!(strict.calls.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn a_limit_of_one_inside_serves_one_request_after_the_other() {
    let fixture = Fixture::new();
    let strict = Strict::new();
    let mut service = AuthLayer::new(fixture.tokens.clone()).layer(ConcurrencyLimit::new(strict.clone(), 1));
    let token = fixture.access("").await;
    for path in PATHS {
        fixture.store.answer(path);
        for _ in 0..3 {
            let response = service.ready().await.unwrap().call(request(&token)).await.unwrap();
            assert_eq!(response.status(), 200);
        }
        let requests = (0..8).map(|_| service.clone().oneshot(request(&token)));
        for response in futures_util::future::join_all(requests).await {
            assert_eq!(response.unwrap().status(), 200);
        }
    }
    assert_eq!(strict.calls.load(Ordering::SeqCst), 22);
}

#[tokio::test]
async fn a_mock_sees_one_readiness_for_one_call() {
    let fixture = Fixture::new();
    let token = fixture.access("").await;
    for path in PATHS {
        fixture.store.answer(path);
        let (mock, mut handle) = tower_test::mock::pair::<Request<String>, Response<Full<Bytes>>>();
        let mut service = AuthLayer::new(fixture.tokens.clone()).layer(mock);
        handle.allow(1);
        let answer = service.ready().await.unwrap().call(request(&token));
        let (answer, ()) = tokio::join!(answer, async {
            let (inner, reply) = handle.next_request().await.unwrap();
            assert_eq!(inner.extensions().get::<Claims>().unwrap().subject(), "42");
            reply.send_response(Response::default());
        });
        assert_eq!(answer.unwrap().status(), 200);
        // The inner service has no capacity left, and the layer passes its backpressure on.
        assert!(service.poll_ready(&mut context()).is_pending(), "{path:?}");
    }
}

#[tokio::test]
async fn a_rejection_neither_calls_the_inner_service_nor_uses_its_readiness_up() {
    let fixture = Fixture::new();
    let strict = Strict::new();
    let mut service = AuthLayer::new(fixture.tokens.clone()).layer(strict.clone());
    let good = fixture.access("").await;
    service.ready().await.unwrap();
    // A request that is refused at once must not use up the readiness of the inner service.
    for token in ["junk", "a b", ""] {
        assert!(!service.call(request(token)).await.unwrap().status().is_success());
    }
    assert_eq!(strict.calls.load(Ordering::SeqCst), 0);
    assert_eq!(service.call(request(&good)).await.unwrap().status(), 200);

    let revoked = fixture.tokens.create_access_token(NewSession::new("7")).await.unwrap();
    fixture.tokens.revoke_all_for_subject("7").await.unwrap();
    let limited = ConcurrencyLimit::new(strict.clone(), 1);
    let mut service = AuthLayer::new(fixture.tokens.clone()).layer(limited.clone());
    for behaviour in [Behaviour::AtOnce, Behaviour::Late, Behaviour::Fails(StoreErrorKind::Timeout)] {
        fixture.store.answer(behaviour);
        let response = service.ready().await.unwrap().call(request(revoked.as_str())).await.unwrap();
        assert!(!response.status().is_success(), "{behaviour:?}");
    }
    assert_eq!(strict.calls.load(Ordering::SeqCst), 1);
    drop(service);
    assert!(limited.clone().poll_ready(&mut context()).is_ready(), "a permit was kept");
}

/// An inner service that never answers, and counts its pending calls.
#[derive(Clone, Default)]
struct Hanging(Arc<AtomicUsize>);

struct Waits(Arc<AtomicUsize>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service<Request<String>> for Hanging {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<String>) -> Self::Future {
        self.0.fetch_add(1, Ordering::SeqCst);
        let waits = Waits(Arc::clone(&self.0));
        Box::pin(async move {
            let _waits = waits;
            std::future::pending().await
        })
    }
}

#[tokio::test]
async fn a_future_dropped_at_any_point_gives_everything_back() {
    let fixture = Fixture::new();
    let token = fixture.access("").await;
    let hanging = Hanging::default();
    let limited = ConcurrencyLimit::new(hanging.clone(), 1);
    let auth = AuthLayer::new(fixture.tokens.clone());
    let free = || limited.clone().poll_ready(&mut context()).is_ready();
    // (behaviour of the store, polls before the drop, whether the inner service was called by then)
    for (behaviour, polls, called) in [
        (Behaviour::AtOnce, 0, true),
        (Behaviour::AtOnce, 2, true),
        (Behaviour::Late, 0, false),
        (Behaviour::Late, 1, false),
        (Behaviour::Late, 3, true),
        (Behaviour::Held, 3, false),
        (Behaviour::Hangs, 3, false),
    ] {
        fixture.store.answer(behaviour);
        let mut service = auth.layer(limited.clone());
        let future = service.ready().await.unwrap().call(request(&token));
        let mut future = Box::pin(future);
        for _ in 0..polls {
            assert!(future.as_mut().poll(&mut context()).is_pending());
        }
        assert_eq!(hanging.0.load(Ordering::SeqCst), usize::from(called), "{behaviour:?} {polls}");
        assert_eq!(fixture.store.waiting(), usize::from(!called), "{behaviour:?} {polls}");
        assert!(!free(), "the request holds the permit: {behaviour:?} {polls}");
        drop(future);
        assert!(free(), "the permit is lost: {behaviour:?} {polls}");
        assert_eq!((hanging.0.load(Ordering::SeqCst), fixture.store.waiting()), (0, 0), "{behaviour:?} {polls}");
    }
    fixture.store.answer(Behaviour::AtOnce);
    assert!(fixture.tokens.validate_token(&token, tower_bearer::TokenType::Access).await.is_ok());
}

#[tokio::test]
async fn a_future_that_is_polled_after_its_end_does_not_panic() {
    let fixture = Fixture::new();
    let mut service = AuthLayer::new(fixture.tokens.clone()).layer(Strict::new());
    let mut future = pin!(service.ready().await.unwrap().call(request("junk")));
    assert!(future.as_mut().poll(&mut context()).is_ready());
    assert!(future.as_mut().poll(&mut context()).is_pending());
}

async fn open(_: Request<axum::body::Body>) -> Result<Response<axum::body::Body>, Infallible> {
    Ok(Response::new(axum::body::Body::from("x".repeat(1000))))
}

fn from_client(path: &str, token: &str) -> Request<axum::body::Body> {
    let request =
        Request::get(path).header("accept-encoding", "gzip").header("authorization", format!("Bearer {token}"));
    request.body(axum::body::Body::empty()).unwrap()
}

#[tokio::test]
async fn it_works_between_the_layers_that_others_wrote() {
    let fixture = Fixture::new();
    let token = fixture.access("read").await;
    let auth = AuthLayer::new(fixture.tokens.clone());
    let scope = auth.require_scope("read").unwrap();
    let timeout = || TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, HANG);
    let inside = ServiceBuilder::new()
        .layer(BoxCloneSyncService::layer())
        .layer(TraceLayer::new_for_http())
        .layer(CompressionLayer::new())
        .layer(timeout())
        .layer(auth.clone())
        .layer(scope.clone())
        .service(service_fn(open));
    let outside = ServiceBuilder::new()
        .layer(auth.clone())
        .layer(scope)
        .layer(TraceLayer::new_for_http())
        .layer(CompressionLayer::new())
        .layer(timeout())
        .layer(BoxCloneService::layer())
        .service(service_fn(open));
    for path in PATHS {
        fixture.store.answer(path);
        for (token, status) in [(token.as_str(), StatusCode::OK), ("junk", StatusCode::UNAUTHORIZED)] {
            let response = inside.clone().oneshot(from_client("/", token)).await.unwrap();
            assert_eq!(response.status(), status);
            let response = outside.clone().oneshot(from_client("/", token)).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().contains_key("content-encoding"), status == StatusCode::OK);
        }
    }
    let boxed: BoxService<_, _, _> = auth.layer(service_fn(open)).boxed();
    assert_eq!(boxed.oneshot(from_client("/", &token)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn twr_06_an_unknown_path_is_401_under_layer_and_404_under_route_layer() {
    let fixture = Fixture::new();
    let auth = AuthLayer::new(fixture.tokens.clone());
    let routes = || Router::new().route("/", get(async |claims: Claims| claims.subject().to_string()));
    let token = fixture.access("").await;
    for (app, unknown) in [(routes().layer(auth.clone()), 401), (routes().route_layer(auth), 404)] {
        let app: Router = app;
        assert_eq!(app.clone().oneshot(from_client("/", &token)).await.unwrap().status(), 200);
        assert_eq!(app.clone().oneshot(from_client("/", "junk")).await.unwrap().status(), 401);
        assert_eq!(app.oneshot(from_client("/unknown", "junk")).await.unwrap().status(), unknown);
    }
}

#[tokio::test]
async fn it_runs_on_plain_hyper_over_a_socket() {
    let fixture = Fixture::new();
    fixture.store.answer(Behaviour::Late);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hello = service_fn(async |request: Request<hyper::body::Incoming>| {
        let subject = request.extensions().get::<Claims>().map(|claims| claims.subject().to_string());
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(subject.unwrap_or_default())))
    });
    let service = TowerToHyperService::new(AuthLayer::new(fixture.tokens.clone()).layer(hello));
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let service = service.clone();
            tokio::spawn(async move { connection.serve_connection(TokioIo::new(stream), service).await.unwrap() });
        }
    });
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let token = fixture.access("").await;
    for (token, status, body) in [(token.as_str(), 200, "42"), ("junk", 401, r#"{"error":"invalid_token"}"#)] {
        let request = Request::get(format!("http://{address}/")).header("authorization", format!("Bearer {token}"));
        let response = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
    }
    server.abort();
}

#[tokio::test]
async fn neither_the_request_body_nor_the_inner_service_has_to_be_send() {
    let fixture = Fixture::new();
    fixture.store.answer(Behaviour::Late);
    let here = Rc::new(());
    let inner = service_fn(move |request: Request<Rc<str>>| {
        let (here, body) = (Rc::clone(&here), request.into_body());
        async move {
            drop(here);
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let token = fixture.access("").await;
    let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(Rc::from("here")).unwrap();
    // The layer requires nothing of a response body, so it need not implement `Body`.
    let response = AuthLayer::new(fixture.tokens.clone()).layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[test]
fn a_service_takes_a_request_body_that_is_no_body() {
    fn assert_service<S: Service<Request<()>, Response = Response<ResponseBody<()>>>>(_: &S) {}
    assert_service(
        &AuthLayer::new(Fixture::new().tokens)
            .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())))),
    );
    assert!(http_body::Body::is_end_stream(&ResponseBody::<Empty<Bytes>>::default()));
}

/// Claims without any trait, not even `Clone`.
struct Bare;

#[test]
fn handles_can_be_shared_and_cloned_whatever_the_claims_are() {
    fn shared<T: Send + Sync + 'static>() {}
    fn handle<T: Clone + Send + Sync + 'static>() {}

    handle::<TokenService<Bare>>();
    handle::<AuthLayer<Bare>>();
    handle::<AuthService<Strict, Bare>>();
    handle::<RequireLayer<Bare>>();
    handle::<Require<Strict, Bare>>();
    handle::<CurrentUserLayer<Bare>>();
    handle::<CurrentUserService<Strict, Bare>>();
    handle::<Claims<Bare>>();
    handle::<CurrentUser<Bare>>();
    handle::<Unauthenticated>();
    handle::<Rejection>();
    handle::<RejectionKind>();
    handle::<NewSession<NoClaims>>();
    handle::<TokenPair>();
    handle::<IssuedToken>();
    handle::<Credentials>();
    handle::<Status>();
    handle::<SecurityEvent>();
    handle::<ManualClock>();
    handle::<Timestamp>();
    handle::<TokenError>();
    handle::<tower_bearer::KeySet>();
    handle::<tower_bearer::compat::Settings>();
    shared::<MemoryStore>();
    shared::<TokenServiceBuilder<Bare>>();
    shared::<Error>();
    shared::<StoreError>();
    shared::<ConfigError>();
    shared::<ResponseBody<Full<Bytes>>>();
}

#[test]
fn futures_can_be_sent() {
    fn sent<T: Send + 'static>() {}

    sent::<AuthFuture<Strict, Bare, String>>();
    sent::<AuthLayerBuilder<Bare>>();
    sent::<Revoke>();
}

#[tokio::test]
async fn every_service_gives_its_inner_one_out_and_names_its_layer() {
    let fixture = Fixture::new();
    let auth = AuthService::layer(fixture.tokens.clone());
    let scope = auth.require_scope("read").unwrap();
    let rule = Require::layer(&auth, |claims: &Claims| claims.subject() == "42");
    let users = CurrentUserService::layer(&auth, Arc::new(crate::support::Users));
    let mut service =
        AuthService::new(Require::new(Require::new(users.layer(7), &rule), &scope), fixture.tokens.clone());
    assert_eq!(service.get_ref().get_ref().get_ref().get_ref(), &7);
    *service.get_mut().get_mut().get_mut().get_mut() = 8;
    assert_eq!(service.into_inner().into_inner().into_inner().into_inner(), 8);

    let hello = service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    let service = auth.layer(scope.layer(rule.layer(hello)));
    for (subject, scope, status) in [("42", "read", 200), ("42", "write", 403), ("43", "read", 403)] {
        let token = fixture.tokens.create_access_token(NewSession::new(subject).scope(scope)).await.unwrap();
        let request = Request::get("/").header("authorization", format!("Bearer {}", token.as_str()));
        let response = service.clone().oneshot(request.body(String::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), status, "{subject} {scope}");
    }
}

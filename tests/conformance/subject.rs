//! The layer under test, around a counting service and on a counting store.
#![allow(dead_code, unreachable_pub, reason = "each group takes its own part of this")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE, request};
use http_body_util::{BodyExt, Full};
use jsonwebtoken::EncodingKey;
use tower::{Layer, Service, ServiceExt};
use tower_bearer::{
    AuthLayer, Claims, KeySet, TokenService,
    middleware::{AuthLayerBuilder, Rejection, RejectionKind},
    tokens::TokenServiceBuilder,
};

use crate::support::{
    Fixture, Log,
    fixture::{SECRET, read_part, sign_with},
    secrets::Secrets,
    token_parts::HEADER,
};

/// The expected outcome of a row, as section 2 of the catalogue defines it.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// OK: the inner service answers, with the claims.
    Ok,
    /// E401-none.
    NoCredentials,
    /// E401-inv.
    InvalidToken,
    /// E400-req.
    InvalidRequest,
    /// E403-scope, with the scope that is needed.
    InsufficientScope(&'static str),
    /// 403 without a challenge: another site may have caused the request.
    CrossSite,
    /// E503.
    Unavailable,
    /// E500.
    Internal,
}

/// A layer under test. Nearly every row uses [`expect`](Self::expect).
pub struct Subject {
    pub fixture: Fixture,
    pub layer: AuthLayer,
    pub inner: Inner,
    log: Log,
}

/// A response with its whole body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub rejection: Option<Rejection>,
}

impl Subject {
    /// Returns a default layer on the service of [`Fixture::new`].
    pub fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// Returns a default layer on a configured service.
    pub fn with(configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) -> Self {
        Self::of(Fixture::with(configure))
    }

    /// Returns a default layer on a service with these keys.
    pub fn with_keys(keys: KeySet) -> Self {
        Self::of(Fixture::with_keys(keys, |builder| builder))
    }

    pub fn of(fixture: Fixture) -> Self {
        let log = Log::capture();
        let layer = AuthLayer::new(fixture.tokens.clone());
        Self { fixture, layer, inner: Inner::default(), log }
    }

    /// Replaces the layer by a configured one.
    pub fn layered(mut self, configure: impl FnOnce(AuthLayerBuilder) -> AuthLayerBuilder) -> Self {
        self.layer = configure(self.builder()).build().unwrap();
        self
    }

    /// Returns the builder of another layer on the same service.
    pub fn builder(&self) -> AuthLayerBuilder {
        AuthLayer::builder(self.fixture.tokens.clone())
    }

    /// Returns `V`: a token valid in every respect, with scope `read`.
    pub async fn valid(&self) -> String {
        self.fixture.access("read").await
    }

    /// Returns the claims set of a fresh `V` with a live session, to be changed and signed with
    /// [`sign`](crate::support::fixture::sign).
    pub async fn claims(&self) -> serde_json::Value {
        read_part(&self.valid().await, 1)
    }

    /// Returns the same as text, for changes that a JSON value cannot express.
    pub async fn claims_text(&self) -> String {
        self.claims().await.to_string()
    }

    /// Sends one request through the layer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        send(self.layer.clone().layer(self.inner.clone()), request).await
    }

    /// Asserts the outcome of a token in `Authorization`, over HTTP and gRPC.
    pub async fn expect_token(&self, what: &str, token: &str, outcome: Outcome) {
        self.expect(what, bearer(token), outcome).await;
    }

    /// Asserts that a token is refused without a store call.
    pub async fn refuses_token(&self, what: &str, token: &str) {
        let calls = self.fixture.store.calls();
        self.expect_token(what, token, Outcome::InvalidToken).await;
        assert_eq!(self.fixture.store.calls(), calls, "{what}: the store was asked");
    }

    /// Asserts that a claims set is accepted if the service's secret signs it.
    pub async fn accepts_claims(&self, what: &str, claims: impl AsRef<[u8]>) {
        self.expect_token(what, &self.signed(HEADER, claims), Outcome::Ok).await;
    }

    /// Asserts that such a claims set is refused without a store call.
    pub async fn refuses_claims(&self, what: &str, claims: impl AsRef<[u8]>) {
        self.refuses_token(what, &self.signed(HEADER, claims)).await;
    }

    /// Asserts that a header is accepted over the claims of a fresh `V`. The service's secret signs
    /// by HS256, independently of the header.
    pub async fn accepts_header(&self, header: impl AsRef<[u8]>) {
        let what = String::from_utf8_lossy(header.as_ref());
        self.expect_token(&what, &self.signed(&header, self.claims_text().await), Outcome::Ok).await;
    }

    /// Asserts that such a header is refused without a store call.
    pub async fn refuses_header(&self, header: impl AsRef<[u8]>) {
        let what: String = String::from_utf8_lossy(header.as_ref()).chars().take(200).collect();
        self.refuses_token(&what, &self.signed(&header, self.claims_text().await)).await;
    }

    /// Signs any header and claims with the service's secret.
    #[allow(clippy::unused_self, reason = "it is the secret of this subject's service")]
    pub fn signed(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        sign_with(jsonwebtoken::Algorithm::HS256, &key, header.as_ref(), claims.as_ref())
    }

    /// Asserts the outcome of a request over HTTP and, with gRPC's content type, over gRPC.
    pub async fn expect(&self, what: &str, request: request::Builder, outcome: Outcome) {
        let layer = self.layer.clone();
        self.expect_of(layer.layer(self.inner.clone()), what, request, outcome).await;
    }

    /// Does the same through another service around `self.inner`, for example with a scope layer.
    ///
    /// Asserts that a rejection does not call the inner service, change the store, or log 16 bytes
    /// of the credentials.
    pub async fn expect_of<S, B>(&self, service: S, what: &str, request: request::Builder, outcome: Outcome)
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone,
        B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
    {
        let request = request.body(Full::<Bytes>::default()).expect(what);
        for grpc in [false, true] {
            let (calls, writes) = (self.inner.calls(), self.fixture.store.writes());
            let logged = self.log().len();
            let mut request = request.clone();
            if grpc {
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            }
            let credentials = credentials_in(&request);
            let answer = send(service.clone(), request).await;
            if matches!(outcome, Outcome::Ok) {
                assert_eq!(answer.status, StatusCode::OK, "{what}: {answer:?}");
                assert!(answer.rejection.is_none() && self.inner.calls() == calls + 1, "{what}: {answer:?}");
            } else {
                answer.assert_refused(what, outcome, grpc);
                assert_eq!(self.inner.calls(), calls, "{what}: the inner service was called");
                assert_eq!(self.fixture.store.writes(), writes, "{what}: the store was written to");
            }
            credentials.must_not_be_in(&format!("{what}: the log"), &self.log().as_bytes()[logged..]);
        }
    }

    /// Returns the log at TRACE since the creation of the subject.
    pub fn log(&self) -> String {
        self.log.text()
    }
}

impl Answer {
    /// Asserts the exact status, headers and body of the outcome.
    #[track_caller]
    pub fn assert_refused(&self, what: &str, outcome: Outcome, grpc: bool) {
        let (kind, status, challenge, code, grpc_code) = match outcome {
            Outcome::Ok => panic!("{what}: not a rejection"),
            Outcome::NoCredentials => {
                (RejectionKind::NoCredentials, 401, Some(r#"Bearer realm="api""#.to_owned()), "unauthorized", "16")
            }
            Outcome::InvalidToken => {
                (RejectionKind::InvalidToken, 401, Some(challenge("invalid_token")), "invalid_token", "16")
            }
            Outcome::InvalidRequest => {
                (RejectionKind::InvalidRequest, 400, Some(challenge("invalid_request")), "invalid_request", "16")
            }
            Outcome::InsufficientScope(scope) => {
                let challenge = format!(r#"Bearer realm="api", error="insufficient_scope", scope="{scope}""#);
                (RejectionKind::InsufficientScope, 403, Some(challenge), "insufficient_scope", "7")
            }
            Outcome::CrossSite => (RejectionKind::CrossSite, 403, None, "forbidden", "7"),
            Outcome::Unavailable => (RejectionKind::Unavailable, 503, None, "temporarily_unavailable", "14"),
            Outcome::Internal => (RejectionKind::Internal, 500, None, "server_error", "13"),
        };
        assert_eq!(self.rejection.as_ref().map(Rejection::kind), Some(kind), "{what}: {self:?}");
        let mut expected = HeaderMap::new();
        let mut expect = |name: &'static str, value: &str| {
            expected.insert(name, HeaderValue::try_from(value).unwrap());
        };
        if grpc {
            expect("content-type", "application/grpc");
            expect("grpc-status", grpc_code);
            expect("grpc-message", code);
            assert_eq!((self.status, &self.headers, self.body.len()), (StatusCode::OK, &expected, 0), "{what}");
            return;
        }
        let body = format!(r#"{{"error":"{code}"}}"#);
        expect("content-type", "application/json");
        expect("content-length", &body.len().to_string());
        if let Some(challenge) = challenge {
            expect("www-authenticate", &challenge);
        }
        if kind == RejectionKind::Unavailable {
            expect("retry-after", "1");
        }
        assert_eq!(
            (self.status.as_u16(), &self.headers, &self.body[..]),
            (status, &expected, body.as_bytes()),
            "{what}"
        );
    }
}

/// Asserts the exact outcome of a token on any service, over HTTP and gRPC.
pub async fn expect_on(tokens: &TokenService, what: &str, token: &str, outcome: Outcome) {
    let inner = Inner::default();
    for grpc in [false, true] {
        let calls = inner.calls();
        let mut request = bearer(token).body(Full::<Bytes>::default()).expect(what);
        if grpc {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        }
        let answer = send(AuthLayer::new(tokens.clone()).layer(inner.clone()), request).await;
        if matches!(outcome, Outcome::Ok) {
            assert_eq!((answer.status, inner.calls()), (StatusCode::OK, calls + 1), "{what}: {answer:?}");
        } else {
            answer.assert_refused(what, outcome, grpc);
            assert_eq!(inner.calls(), calls, "{what}: the inner service was called");
        }
    }
}

/// Returns a GET with this token in `Authorization`.
pub fn bearer(token: &str) -> request::Builder {
    authorization(format!("Bearer {token}"))
}

/// Returns a GET with exactly this `Authorization`.
pub fn authorization(value: impl AsRef<[u8]>) -> request::Builder {
    Request::get("/").header("authorization", HeaderValue::from_bytes(value.as_ref()).unwrap())
}

/// Sends a request through any service, and reads the whole answer.
pub async fn send<S, B>(service: S, request: Request<Full<Bytes>>) -> Answer
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let (parts, body) = service.oneshot(request).await.unwrap().into_parts();
    let rejection = parts.extensions.get::<Rejection>().cloned();
    let body = body.collect().await.unwrap();
    assert!(body.trailers().is_none());
    Answer { status: parts.status, headers: parts.headers, body: body.to_bytes(), rejection }
}

fn challenge(error: &str) -> String {
    format!(r#"Bearer realm="api", error="{error}""#)
}

/// Returns the parts of a request that must not be logged: headers and query, up to a searchable
/// length.
fn credentials_in<B>(request: &Request<B>) -> Secrets {
    let mut secrets = Secrets::default();
    let values = request.headers().iter().filter(|(name, _)| *name != CONTENT_TYPE).map(|(_, value)| value.as_bytes());
    for value in values.chain(request.uri().query().map(str::as_bytes)) {
        if value.len() >= crate::support::secrets::WINDOW {
            secrets.add("a credential", &value[..value.len().min(16 * 1024)]);
        }
    }
    secrets
}

/// The inner service. It counts its calls, keeps the last head, and answers with the subject of the
/// claims or `anonymous`.
#[derive(Clone, Default)]
pub struct Inner {
    calls: Arc<AtomicUsize>,
    last: Arc<Mutex<Option<request::Parts>>>,
}

impl Inner {
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Returns the head of the last request that reached the inner service.
    pub fn last(&self) -> request::Parts {
        self.last.lock().unwrap().clone().expect("a request came through")
    }
}

impl<B> Service<Request<B>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let parts = request.into_parts().0;
        let subject =
            parts.extensions.get::<Claims>().map_or("anonymous".to_owned(), |claims| claims.subject().to_string());
        *self.last.lock().unwrap() = Some(parts);
        ready(Ok(Response::new(Full::from(subject))))
    }
}

//! The layer that the rows test, around a service that counts, on a store that counts.
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

/// What a row expects: `conformance.md`, section 2.
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
    /// E503.
    Unavailable,
    /// E500.
    Internal,
}

/// A layer under test. `service` may be taken apart; [`expect`](Self::expect) is what nearly every
/// row needs.
pub struct Subject {
    pub fixture: Fixture,
    pub layer: AuthLayer,
    pub inner: Inner,
    log: Log,
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub rejection: Option<Rejection>,
}

impl Subject {
    /// A layer with the defaults, on a service as [`Fixture::new`] makes it.
    pub fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// On a service that is configured further.
    pub fn with(configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) -> Self {
        Self::of(Fixture::with(configure))
    }

    /// On a service with keys of its own.
    pub fn with_keys(keys: KeySet) -> Self {
        Self::of(Fixture::with_keys(keys, |builder| builder))
    }

    pub fn of(fixture: Fixture) -> Self {
        let log = Log::capture();
        let layer = AuthLayer::new(fixture.tokens.clone());
        Self { fixture, layer, inner: Inner::default(), log }
    }

    /// With a layer that is configured further.
    pub fn layered(mut self, configure: impl FnOnce(AuthLayerBuilder) -> AuthLayerBuilder) -> Self {
        self.layer = configure(self.builder()).build().unwrap();
        self
    }

    /// The settings of another layer on the same service.
    pub fn builder(&self) -> AuthLayerBuilder {
        AuthLayer::builder(self.fixture.tokens.clone())
    }

    /// `V`: a token valid in every respect, for scope `read`.
    pub async fn valid(&self) -> String {
        self.fixture.access("read").await
    }

    /// The claims set of a fresh `V`, to be changed and signed again with
    /// [`sign`](crate::support::fixture::sign): its session is alive.
    pub async fn claims(&self) -> serde_json::Value {
        read_part(&self.valid().await, 1)
    }

    /// The same as text, to be changed where a JSON value cannot express it.
    pub async fn claims_text(&self) -> String {
        self.claims().await.to_string()
    }

    /// Sends one request through the layer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        send(self.layer.clone().layer(self.inner.clone()), request).await
    }

    /// Tries a token in `Authorization`, over HTTP and gRPC.
    pub async fn expect_token(&self, what: &str, token: &str, outcome: Outcome) {
        self.expect(what, bearer(token), outcome).await;
    }

    /// Tries a token whose fault is in itself: the store must not be asked about it.
    pub async fn refuses_token(&self, what: &str, token: &str) {
        let calls = self.fixture.store.calls();
        self.expect_token(what, token, Outcome::InvalidToken).await;
        assert_eq!(self.fixture.store.calls(), calls, "{what}: the store was asked");
    }

    /// Tries a claims set, signed well with the service's own secret.
    pub async fn accepts_claims(&self, what: &str, claims: impl AsRef<[u8]>) {
        self.expect_token(what, &self.signed(HEADER, claims), Outcome::Ok).await;
    }

    /// The same, to be refused for the claims themselves.
    pub async fn refuses_claims(&self, what: &str, claims: impl AsRef<[u8]>) {
        self.refuses_token(what, &self.signed(HEADER, claims)).await;
    }

    /// Tries a header over the claims of a fresh `V`, signed well with the service's own secret, by
    /// HS256 whatever it says.
    pub async fn accepts_header(&self, header: impl AsRef<[u8]>) {
        let what = String::from_utf8_lossy(header.as_ref());
        self.expect_token(&what, &self.signed(&header, self.claims_text().await), Outcome::Ok).await;
    }

    /// The same, to be refused for the header itself.
    pub async fn refuses_header(&self, header: impl AsRef<[u8]>) {
        let what: String = String::from_utf8_lossy(header.as_ref()).chars().take(200).collect();
        self.refuses_token(&what, &self.signed(&header, self.claims_text().await)).await;
    }

    /// A token of any header and claims, by the service's own secret.
    #[allow(clippy::unused_self, reason = "it is the secret of this subject's service")]
    pub fn signed(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        sign_with(jsonwebtoken::Algorithm::HS256, &key, header.as_ref(), claims.as_ref())
    }

    /// Tries a request over HTTP and, with gRPC's content type, over gRPC.
    pub async fn expect(&self, what: &str, request: request::Builder, outcome: Outcome) {
        let layer = self.layer.clone();
        self.expect_of(layer.layer(self.inner.clone()), what, request, outcome).await;
    }

    /// The same through a service of the test's own around `self.inner`, for example with a scope
    /// layer inside.
    ///
    /// A rejection also has to leave the inner service uncalled, the store unchanged and the log
    /// without any 16 bytes of the credentials.
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

    /// All that was logged since the subject was made, at TRACE.
    pub fn log(&self) -> String {
        self.log.text()
    }
}

impl Answer {
    /// To the byte what the table says: status, every header, body.
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

/// Tries a token on any service, for example on a node with a Redis: over HTTP and gRPC, to the
/// byte.
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

/// A GET with this token in `Authorization`.
pub fn bearer(token: &str) -> request::Builder {
    authorization(format!("Bearer {token}"))
}

/// A GET with this `Authorization`, byte for byte.
pub fn authorization(value: impl AsRef<[u8]>) -> request::Builder {
    Request::get("/").header("authorization", HeaderValue::from_bytes(value.as_ref()).unwrap())
}

/// One request through any service, its answer read to the end.
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

/// What of a request must never be logged: all that was sent in headers and query, up to a length
/// that can be searched for.
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

/// The inner service: it counts its calls, and answers with the subject of the claims that it was
/// given, or `anonymous`. The last request's head is kept.
#[derive(Clone, Default)]
pub struct Inner {
    calls: Arc<AtomicUsize>,
    last: Arc<Mutex<Option<request::Parts>>>,
}

impl Inner {
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The head of the last request that came through.
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

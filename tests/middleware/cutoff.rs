//! Open responses behind the layer: which are cut, when, and how their bodies end.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::{
    AuthLayer, Consistency, CutoffCause, MemoryStore, NewSession, TokenService,
    endpoints::BrowserSessions,
    middleware::{Rejection, RejectionKind, ResponseBody},
    tokens::TokenPair,
};
use tower_http::compression::CompressionLayer;

use crate::support::{
    Behaviour, HANG, Log, TokioClock, eventually,
    fixture::{AUDIENCE, ISSUER, SECRET},
};

/// A body that a test feeds, and that counts how often the layer polls it.
struct Fed {
    frames: mpsc::UnboundedReceiver<Frame<Bytes>>,
    polls: Arc<AtomicUsize>,
    /// Set when the layer drops the body.
    is_dropped: Arc<AtomicBool>,
}

/// The test's end of a [`Fed`] body.
#[derive(Clone)]
struct Feed {
    frames: mpsc::UnboundedSender<Frame<Bytes>>,
    polls: Arc<AtomicUsize>,
    is_dropped: Arc<AtomicBool>,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.frames.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::SeqCst);
    }
}

impl Feed {
    fn send(&self, text: &'static str) {
        assert!(self.frames.send(Frame::data(Bytes::from_static(text.as_bytes()))).is_ok(), "the body is gone");
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }

    fn is_dropped(&self) -> bool {
        self.is_dropped.load(Ordering::SeqCst)
    }
}

fn fed() -> (Feed, Fed) {
    let (sender, frames) = mpsc::unbounded_channel();
    let feed = Feed { frames: sender, polls: Arc::default(), is_dropped: Arc::default() };
    let fed = Fed { frames, polls: Arc::clone(&feed.polls), is_dropped: Arc::clone(&feed.is_dropped) };
    (feed, fed)
}

/// A service that logs in, and a layer over a handler whose body the test feeds.
struct Open {
    tokens: TokenService,
    pair: TokenPair,
    feed: Feed,
    body: Pin<Box<ResponseBody<Fed>>>,
}

pub(crate) fn tokens() -> TokenService {
    TokenService::builder().secret(SECRET).store(MemoryStore::default()).build().unwrap()
}

pub(crate) async fn log_in(tokens: &TokenService) -> TokenPair {
    tokens.create_token_pair(NewSession::new("42")).await.unwrap()
}

pub(crate) fn request(pair: &TokenPair) -> Request<()> {
    bearing(pair.access().as_str())
}

fn bearing(token: &str) -> Request<()> {
    Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap()
}

async fn open_with(
    tokens: TokenService,
    configure: impl FnOnce(AuthLayer) -> AuthLayer,
    change: impl FnOnce(&mut Request<()>),
) -> Open {
    let pair = log_in(&tokens).await;
    let (feed, body) = fed();
    let mut body = Some(body);
    let handler = Once(Arc::new(std::sync::Mutex::new(body.take())));
    let mut request = request(&pair);
    change(&mut request);
    let response = configure(AuthLayer::new(tokens.clone())).layer(handler).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    Open { tokens, pair, feed, body: Box::pin(response.into_body()) }
}

async fn open() -> Open {
    open_with(tokens(), |auth| auth, |_| ()).await
}

async fn open_grpc(content_type: &'static str) -> Open {
    let change = |request: &mut Request<()>| {
        *request.method_mut() = Method::POST;
        request.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
    };
    open_with(tokens(), |auth| auth, change).await
}

/// A handler that answers once, with the given body, as the gRPC type that was asked for.
#[derive(Clone)]
struct Once(Arc<std::sync::Mutex<Option<Fed>>>);

impl Service<Request<()>> for Once {
    type Response = Response<Fed>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Fed>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let mut response = Response::new(self.0.lock().unwrap().take().expect("one call"));
        let kind = request.headers().get("answer").or(request.headers().get("content-type"));
        if let Some(kind) = kind {
            response.headers_mut().insert("content-type", kind.clone());
        }
        std::future::ready(Ok(response))
    }
}

impl Open {
    fn poll(&mut self) -> Poll<Option<Result<Frame<Bytes>, tower_bearer::BoxError>>> {
        self.body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    fn assert_waits(&mut self) {
        assert!(self.poll().is_pending());
    }

    /// Returns the next frame.
    async fn next(&mut self) -> Option<Result<Frame<Bytes>, tower_bearer::BoxError>> {
        timeout(HANG, poll_fn(|context| self.body.as_mut().poll_frame(context))).await.expect("the body hangs")
    }

    async fn data(&mut self) -> Bytes {
        self.next().await.expect("a frame").unwrap().into_data().unwrap()
    }

    /// Waits for the error of a cutoff, and checks that nothing follows it.
    async fn cause(&mut self) -> CutoffCause {
        let error = self.next().await.expect("an end by an error").expect_err("no frame after the cutoff");
        self.assert_over();
        *error.downcast::<CutoffCause>().expect("the cause")
    }

    fn assert_over(&mut self) {
        assert!(matches!(self.poll(), Poll::Ready(None)));
        assert!(self.body.is_end_stream());
        assert!(self.feed.is_dropped(), "the inner body goes with the cutoff");
    }

    async fn streams(&self) -> usize {
        self.tokens.status().await.streams.open
    }

    /// Revokes the session, and waits until its watched stream is cut.
    async fn revoke(&self) {
        let before = self.tokens.status().await.streams;
        self.tokens.revoke_session("42", self.pair.session_id()).await.unwrap();
        if before.open > 0 {
            let is_cut = async || (self.tokens.status().await.streams.revoked > before.revoked).then_some(());
            eventually("the stream is cut", is_cut).await;
        }
    }
}

#[tokio::test]
async fn a_waiting_body_is_cut_by_a_revocation_and_its_frames_stay_inside() {
    let mut open = open().await;
    open.feed.send("one");
    assert_eq!(open.data().await, "one");
    open.assert_waits();
    open.feed.send("two");
    assert_eq!(open.data().await, "two");
    open.assert_waits();
    open.revoke().await;
    open.feed.send("three");
    let polls = open.feed.polls();
    assert_eq!(open.cause().await, CutoffCause::Revoked);
    assert_eq!(open.feed.polls(), polls, "after the cutoff no frame is taken");
    let status = open.tokens.status().await.streams;
    assert_eq!((status.open, status.revoked), (0, 1));
}

#[tokio::test]
async fn each_cut_logs_one_event_with_session_and_cause_and_without_the_token() {
    let log = Log::capture();
    let mut open = open().await;
    open.assert_waits();
    open.revoke().await;
    open.cause().await;
    let text = log.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("an open stream was cut")).collect();
    let [line] = lines.as_slice() else { panic!("{text}") };
    assert!(line.contains(open.pair.session_id().as_str()) && line.contains("cause=\"revoked\""), "{line}");
    assert!(!text.contains(open.pair.access().as_str()));
}

#[tokio::test]
async fn a_revocation_wakes_the_task_of_a_waiting_body() {
    for by_token in [true, false] {
        let mut open = open().await;
        open.assert_waits();
        let (tokens, pair) = (open.tokens.clone(), open.pair.clone());
        let task = tokio::spawn(async move { open.cause().await });
        tokio::task::yield_now().await;
        if by_token {
            tokens.revoke_token(pair.access().as_str()).await.unwrap();
        } else {
            tokens.revoke_all_for_subject("42").await.unwrap();
        }
        assert_eq!(timeout(HANG, task).await.unwrap().unwrap(), CutoffCause::Revoked);
    }
}

#[tokio::test]
async fn a_body_without_a_pause_is_watched_from_its_second_frame() {
    let mut open = open().await;
    for text in ["one", "two", "three"] {
        open.feed.send(text);
    }
    assert_eq!(open.data().await, "one");
    assert_eq!(open.streams().await, 0, "the next frame may be the last");
    assert_eq!(open.data().await, "two");
    assert_eq!(open.streams().await, 1);
    open.revoke().await;
    assert_eq!(open.cause().await, CutoffCause::Revoked);
}

#[tokio::test]
async fn a_revocation_between_the_first_two_frames_ends_the_body_at_the_second() {
    let tokens = TokenService::builder()
        .secret(SECRET)
        .store(MemoryStore::default())
        .consistency(Consistency::BoundedStaleness(Duration::from_secs(60)))
        .build()
        .unwrap();
    let mut open = open_with(tokens, |auth| auth, |_| ()).await;
    open.feed.send("one");
    open.feed.send("two");
    open.feed.send("three");
    assert_eq!(open.data().await, "one");
    assert_eq!(open.streams().await, 0);
    open.tokens.revoke_session("42", open.pair.session_id()).await.unwrap();
    assert_eq!(open.cause().await, CutoffCause::Revoked);
}

/// Bodies that are complete, or end with their second frame, as unary gRPC responses do.
#[tokio::test]
async fn a_complete_body_is_never_watched() {
    let tokens = tokens();
    let pair = log_in(&tokens).await;
    let full = AuthLayer::new(tokens.clone()).layer(service_fn(async |_: Request<()>| {
        sleep(Duration::from_millis(1)).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"all"))))
    }));
    let mut body = pin!(full.oneshot(request(&pair)).await.unwrap().into_body());
    assert_eq!(tokens.status().await.streams.open, 0);
    // The token is revoked, and the response was admitted before.
    tokens.revoke_all_for_subject("42").await.unwrap();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "all");
    assert!(body.frame().await.is_none());
    assert_eq!(tokens.status().await.streams.revoked, 0);

    let mut unary = open_grpc("application/grpc").await;
    unary.feed.send("\0\0\0\0\u{1}a");
    unary.feed.frames.send(Frame::trailers(HeaderMap::new())).unwrap();
    assert_eq!(unary.data().await.len(), 6);
    assert_eq!(unary.streams().await, 0);
    assert!(unary.next().await.unwrap().unwrap().is_trailers());
    unary.tokens.revoke_session("42", unary.pair.session_id()).await.unwrap();
    unary.assert_waits();
    assert_eq!(unary.tokens.status().await.streams.revoked, 0);
}

#[tokio::test]
async fn the_inner_end_comes_before_a_cutoff() {
    let mut open = open().await;
    open.assert_waits();
    assert_eq!(open.streams().await, 1);
    let frames = open.feed.frames.clone();
    open.feed.frames = mpsc::unbounded_channel().0;
    drop(frames);
    assert!(open.next().await.is_none(), "the body has ended");
    assert_eq!(open.streams().await, 0, "and is watched no more");
    open.revoke().await;
    assert!(open.next().await.is_none(), "nothing follows an end");
}

#[tokio::test]
async fn a_grpc_body_ends_by_a_status_between_messages_and_by_an_error_within_one() {
    // A message of two bytes in three frames.
    for (frames, is_between) in [
        (&[][..], true),
        (&["\0\0\0\0\u{2}ab"][..], true),
        (&["\0\0\0\0\u{2}", "a", "b"], true),
        (&["\0\0\0\0\u{2}ab\0"], false),
        (&["\0\0\0\0\u{2}", "a"], false),
    ] {
        for content_type in ["application/grpc", "application/grpc+proto", "application/grpc-web+proto"] {
            let mut open = open_grpc(content_type).await;
            for frame in frames {
                open.feed.send(frame);
                open.data().await;
            }
            open.assert_waits();
            open.revoke().await;
            if !is_between {
                assert_eq!(open.cause().await, CutoffCause::Revoked, "{frames:?}");
                continue;
            }
            let end = open.next().await.unwrap().expect("an end by a status");
            if content_type.starts_with("application/grpc-web") {
                let data = end.into_data().unwrap();
                assert_eq!(data[..5], [0x80, 0, 0, 0, u8::try_from(data.len() - 5).unwrap()]);
                assert_eq!(&data[5..], b"grpc-status: 16\r\ngrpc-message: revoked\r\n");
            } else {
                let trailers = end.into_trailers().unwrap();
                assert_eq!(
                    (&trailers["grpc-status"], &trailers["grpc-message"]),
                    (&"16".parse().unwrap(), &"revoked".parse().unwrap())
                );
            }
            open.assert_over();
        }
    }
    // A handler may answer a gRPC request with another type.
    let change = |request: &mut Request<()>| {
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert("answer", HeaderValue::from_static("text/plain"));
    };
    let mut plain = open_with(tokens(), |auth| auth, change).await;
    plain.assert_waits();
    plain.revoke().await;
    assert_eq!(plain.cause().await, CutoffCause::Revoked);

    // Nothing follows the trailers of gRPC-Web.
    let mut ended = open_grpc("application/grpc-web+proto").await;
    ended.feed.send("\0\0\0\0\u{1}a");
    ended.data().await;
    ended.assert_waits();
    let trailers = Bytes::from_static(b"\x80\0\0\0\x10grpc-status: 0\r\n");
    ended.feed.frames.send(Frame::data(trailers)).unwrap();
    ended.data().await;
    ended.tokens.revoke_session("42", ended.pair.session_id()).await.unwrap();
    ended.assert_waits();
    assert_eq!(ended.streams().await, 0);

    let mut text = open_grpc("application/grpc-web-text").await;
    text.assert_waits();
    text.revoke().await;
    assert_eq!(text.cause().await, CutoffCause::Revoked);
}

/// A compression layer outside holds bytes back, but must not turn the cutoff into a clean end.
#[tokio::test]
async fn a_compressed_body_ends_with_an_error_too() {
    let tokens = tokens();
    let pair = log_in(&tokens).await;
    let (feed, body) = fed();
    let service = ServiceBuilder::new()
        .layer(CompressionLayer::new())
        .layer(AuthLayer::new(tokens.clone()))
        .service(Once(Arc::new(std::sync::Mutex::new(Some(body)))));
    let mut request = request(&pair);
    request.headers_mut().insert("accept-encoding", HeaderValue::from_static("gzip"));
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    feed.send("one");
    let reader = tokio::spawn(response.into_body().collect());
    eventually("the body waits", async || (tokens.status().await.streams.open == 1).then_some(())).await;
    tokens.revoke_session("42", pair.session_id()).await.unwrap();
    assert!(timeout(HANG, reader).await.expect("the body ends").unwrap().is_err(), "a clean end");
}

#[tokio::test]
async fn a_layer_without_cutoff_lets_the_body_go_on() {
    let mut open = open_with(tokens(), |auth| auth.cutoff(false).cut_at_expiry(true), |_| ()).await;
    open.assert_waits();
    assert_eq!(open.streams().await, 0);
    open.revoke().await;
    open.feed.send("more");
    assert_eq!(open.data().await, "more");
    open.assert_waits();
}

pub(crate) fn on_paused_time(staleness: Duration) -> TokenService {
    let clock = TokioClock::new();
    TokenService::builder()
        .secret(SECRET)
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .clock(clock.clone())
        .leeway(Duration::from_secs(5))
        .access_lifetime(Duration::from_secs(60))
        .stream_staleness(staleness)
        .store(MemoryStore::with_clock(clock))
        .build()
        .unwrap()
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(start_paused = true)]
async fn a_body_outlives_its_token_unless_the_layer_cuts_at_expiry() {
    let mut outlives = open_with(on_paused_time(DAY), |auth| auth, |_| ()).await;
    outlives.assert_waits();
    sleep(Duration::from_secs(600)).await;
    outlives.assert_waits();
    outlives.feed.send("more");
    assert_eq!(outlives.data().await, "more");

    let began = Instant::now();
    let mut expires = open_with(on_paused_time(DAY), |auth| auth.cut_at_expiry(true), |_| ()).await;
    expires.assert_waits();
    sleep(Duration::from_secs(62)).await;
    expires.assert_waits();
    assert_eq!(expires.cause().await, CutoffCause::Expired);
    let took = began.elapsed();
    // The token has whole seconds, and so may end up to one second earlier.
    assert!(took > Duration::from_secs(63) && took <= Duration::from_secs(66), "{took:?}");
}

/// A handler that answers after a time.
fn slow(
    delay: Duration,
) -> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send> + Clone {
    service_fn(move |_: Request<()>| async move {
        sleep(delay).await;
        let mut response = Response::new(Full::new(Bytes::from_static(b"secret")));
        response.headers_mut().insert("x-request-id", HeaderValue::from_static("7"));
        Ok::<_, Infallible>(response)
    })
}

#[tokio::test]
async fn the_answer_to_a_long_poll_is_refused_if_its_token_was_revoked_meanwhile() {
    for (method, delay, refused) in [
        (Method::GET, 400, true),
        // The response of another method says if its change took place.
        (Method::POST, 400, false),
        (Method::GET, 0, false),
    ] {
        let tokens = tokens();
        let pair = log_in(&tokens).await;
        let mut request = request(&pair);
        *request.method_mut() = method.clone();
        let service = AuthLayer::new(tokens.clone()).layer(slow(Duration::from_millis(delay)));
        let answer = tokio::spawn(service.oneshot(request));
        sleep(Duration::from_millis(delay / 8)).await;
        tokens.revoke_session("42", pair.session_id()).await.unwrap();
        let response = timeout(HANG, answer).await.unwrap().unwrap().unwrap();
        let status = if refused { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        assert_eq!(response.status(), status, "{method} {delay}");
        assert_eq!(response.headers()["x-request-id"], "7", "fields of inner layers stay");
        if refused {
            assert_eq!(response.headers()["www-authenticate"], r#"Bearer realm="api", error="invalid_token""#);
            assert_eq!(response.extensions().get::<Rejection>().unwrap().kind(), RejectionKind::InvalidToken);
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body == "secret", !refused);
    }
}

#[tokio::test]
async fn the_refusal_of_a_long_poll_removes_no_cookies_because_the_user_may_have_logged_in_again() {
    let tokens = tokens();
    let pair = log_in(&tokens).await;
    let sessions = BrowserSessions::builder().build().unwrap();
    let auth = AuthLayer::builder(tokens.clone()).browser_sessions(&sessions).build().unwrap();
    let mut request = request(&pair);
    request.headers_mut().remove("authorization");
    let cookie = format!("__Host-access={}", pair.access().as_str());
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    let answer = tokio::spawn(auth.layer(slow(Duration::from_millis(400))).oneshot(request));
    sleep(Duration::from_millis(50)).await;
    tokens.revoke_session("42", pair.session_id()).await.unwrap();
    let response = timeout(HANG, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers().get("set-cookie"), None);
}

/// A body that begins late was not proved meanwhile, so it does not get a whole staleness more.
#[tokio::test(start_paused = true)]
async fn a_late_head_does_not_start_the_staleness_anew() {
    let staleness = Duration::from_secs(32);
    let clock = TokioClock::new();
    let store = crate::support::FaultyStore::new(clock.clone());
    let tokens = TokenService::builder()
        .secret(SECRET)
        .clock(clock.clone())
        .stream_staleness(staleness)
        .store(store.clone())
        .build()
        .unwrap();
    let pair = log_in(&tokens).await;
    let (feed, body) = fed();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let service = AuthLayer::new(tokens.clone()).layer(service_fn(move |_: Request<()>| {
        let body = body.lock().unwrap().take().unwrap();
        async move {
            sleep(Duration::from_secs(60)).await;
            Ok::<_, Infallible>(Response::new(body))
        }
    }));
    let response = tokio::spawn(service.oneshot(request(&pair)));
    sleep(Duration::from_secs(1)).await;
    store.answer(Behaviour::Fails(tower_bearer::error::StoreErrorKind::Unavailable));
    let response = response.await.unwrap().unwrap();
    let began = Instant::now();
    let mut open = Open { tokens, pair, feed, body: Box::pin(response.into_body()) };
    assert_eq!(open.cause().await, CutoffCause::Unconfirmed);
    let took = began.elapsed();
    assert!(took >= staleness / 4 && took <= staleness / 2, "{took:?}");
}

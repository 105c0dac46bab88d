//! The guard of the login endpoint, and the guard of the example `login_limits` behind it.

#[path = "../../examples/login_limits/limits.rs"]
mod limits;

use std::{
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::extract::ConnectInfo;
use bytes::Bytes;
use governor::clock::FakeRelativeClock;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{
    AuthLayer, BoxError, NoClaims, Subject,
    endpoints::{Admission, Endpoints, LoginAttempt, LoginGuard},
    error::PasswordError,
    middleware::{Rejection, RejectionKind},
    observe::{LoginFailure, Observation},
    password::PasswordHasher,
    users::{Credentials, Grant, UserAuthentication},
};

use self::limits::{Limits, MAX_KEYS};
use crate::support::{Fixture, observed::Observations};

/// The rounds of one password check.
const ONE: u64 = 1 << 4;
const HOME: &str = "192.0.2.1:1000";

/// The users alice and bob, whose password is "right".
struct Users {
    hasher: PasswordHasher,
    hash: String,
}

impl UserAuthentication for Users {
    type User = String;
    type Claims = NoClaims;

    async fn authenticate(&self, login: Credentials) -> Result<Option<String>, BoxError> {
        let is_known = matches!(login.username(), "alice" | "bob");
        let hash = is_known.then_some(self.hash.as_str());
        let is_right = self.hasher.verify_or_dummy(login.password(), hash).await?;
        Ok(is_right.then(|| login.username().to_owned()))
    }

    async fn user_by_id(&self, _: &Subject) -> Result<Option<String>, BoxError> {
        Ok(None)
    }

    fn user_id(&self, user: &String) -> Subject {
        user.into()
    }

    fn grant(&self, _: &String) -> Grant<NoClaims> {
        Grant::default()
    }
}

struct Site {
    endpoints: Endpoints<Users>,
    hasher: PasswordHasher,
    observations: Observations,
}

impl Site {
    async fn new(guard: impl LoginGuard) -> Self {
        let observations = Observations::default();
        let fixture = Fixture::with(|builder| builder.observer(observations.clone()));
        let hasher = PasswordHasher::new(4).unwrap();
        let hash = hasher.hash("right").await.unwrap();
        let users = Users { hasher: hasher.clone(), hash };
        let endpoints = Endpoints::new(&AuthLayer::new(fixture.tokens), Arc::new(users)).guard_login(guard);
        Self { endpoints, hasher, observations }
    }

    async fn limited() -> (Self, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Self::new(Limits::new(&clock)).await, clock)
    }

    async fn send(&self, name: &str, password: &str, peer: Option<&str>) -> Response<Bytes> {
        let body = Full::<Bytes>::from(format!("username={name}&password={password}"));
        let mut request = Request::post("/").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(peer) = peer {
            request = request.extension(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        }
        let response = self.endpoints.login().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }

    /// Logs in from this peer. Returns the status and the number of passwords that were hashed.
    async fn try_login(&self, name: &str, password: &str, peer: &str) -> (u16, u64) {
        let before = self.hasher.rounds_computed();
        let status = self.send(name, password, Some(peer)).await.status().as_u16();
        (status, (self.hasher.rounds_computed() - before) / ONE)
    }

    /// Returns the number of observed failures with this reason.
    fn failures(&self, of: LoginFailure) -> usize {
        self.observations.count(|seen| matches!(seen, Observation::LoginFailed { reason, .. } if *reason == of))
    }
}

#[tokio::test]
async fn the_sixth_wrong_password_is_refused_without_a_hash() {
    let (site, clock) = Site::limited().await;
    // An unknown name gets the same answers, so that they do not reveal who exists.
    for name in ["alice", "nobody"] {
        for _ in 0..5 {
            assert_eq!(site.try_login(name, "wrong", HOME).await, (401, 1), "{name}");
        }
        for password in ["wrong", "right"] {
            assert_eq!(site.try_login(name, password, HOME).await, (429, 0), "{name} {password}");
        }
    }
    assert_eq!(site.failures(LoginFailure::Limited), 4);
    let answer = site.send("alice", "wrong", Some(HOME)).await;
    assert_eq!(answer.body(), r#"{"error":"too_many_requests"}"#);
    assert_eq!(answer.headers()["retry-after"], "60");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers().get("www-authenticate"), None);

    // Others are not affected.
    assert_eq!(site.try_login("bob", "wrong", HOME).await, (401, 1), "another user");
    assert_eq!(site.try_login("bob", "right", HOME).await, (200, 1), "another user");
    assert_eq!(site.try_login("alice", "right", "192.0.2.2:1000").await, (200, 1), "the user elsewhere");
    assert_eq!(site.try_login("alice", "right", "192.0.2.1:2000").await, (429, 0), "another port");

    // After the pause one attempt is free. A success frees all of them.
    clock.advance(Duration::from_millis(59_999));
    assert_eq!(site.try_login("alice", "right", HOME).await, (429, 0));
    assert_eq!(site.send("alice", "right", Some(HOME)).await.headers()["retry-after"], "1", "rounded up");
    clock.advance(Duration::from_millis(1));
    assert_eq!(site.try_login("alice", "right", HOME).await, (200, 1));
    assert_eq!(site.try_login("nobody", "wrong", HOME).await, (401, 1));
    assert_eq!(site.try_login("nobody", "wrong", HOME).await, (429, 0));
    for _ in 0..5 {
        assert_eq!(site.try_login("alice", "wrong", HOME).await, (401, 1));
    }
    assert_eq!(site.try_login("alice", "wrong", HOME).await, (429, 0));
}

#[tokio::test]
async fn guesses_that_arrive_at_once_are_counted_too() {
    let (site, _clock) = Site::limited().await;
    let before = site.hasher.rounds_computed();
    let answers = futures_util::future::join_all((0..20).map(|_| site.send("alice", "wrong", Some(HOME)))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status() == 401).count(), 5);
    assert_eq!(answers.iter().filter(|answer| answer.status() == 429).count(), 15);
    assert_eq!(site.hasher.rounds_computed() - before, 5 * ONE);
}

#[tokio::test]
async fn one_network_cannot_guess_at_many_names_and_many_networks_not_at_one() {
    let (site, clock) = Site::limited().await;
    for number in 0..49 {
        assert_eq!(site.try_login(&format!("u{number}"), "wrong", HOME).await, (401, 1), "{number}");
    }
    // A login with an account of one's own does not reset the network's count.
    assert_eq!(site.try_login("bob", "right", HOME).await, (200, 1));
    for peer in [HOME, "[::ffff:192.0.2.1]:7"] {
        assert_eq!(site.try_login("another", "wrong", peer).await, (429, 0), "{peer}");
    }
    clock.advance(Duration::from_secs(10));
    assert_eq!(site.try_login("yet another", "wrong", HOME).await, (401, 1));

    for number in 0..100 {
        let peer = format!("[2001:db8:0:{number:x}::1]:443");
        assert_eq!(site.try_login("alice", "wrong", &peer).await, (401, 1), "{peer}");
    }
    assert_eq!(site.try_login("alice", "right", "[2001:db8:0:ffff::1]:443").await, (429, 0));
    for host in 1..=6 {
        let peer = format!("[2001:db8:1:1::{host}]:443");
        assert_eq!(site.try_login("bob", "wrong", &peer).await.0, if host < 6 { 401 } else { 429 }, "one /64");
    }
}

#[tokio::test]
async fn the_maps_stay_bounded_whatever_names_and_addresses_come() {
    let limits = Limits::new(&FakeRelativeClock::default());
    for number in 0..3 * MAX_KEYS {
        let peer: SocketAddr =
            format!("10.{}.{}.{}:1", number >> 16, (number >> 8) & 255, number & 255).parse().unwrap();
        let request = Request::builder().extension(ConnectInfo(peer)).header("cookie", "TEST");
        let attempt = LoginAttempt::new(format!("user {number}"), request.body(()).unwrap().into_parts().0);
        assert_eq!(format!("{attempt:?}"), format!("LoginAttempt {{ username: \"user {number}\", .. }}"));
        assert_eq!(limits.admit(&attempt).await.unwrap(), Admission::Admit);
    }
    assert!((MAX_KEYS / 2..=MAX_KEYS).contains(&limits.keys()), "{} keys", limits.keys());
}

#[tokio::test]
async fn a_guard_that_cannot_tell_clients_apart_lets_nobody_in() {
    let (site, _clock) = Site::limited().await;
    let before = site.hasher.rounds_computed();
    assert_eq!(site.send("alice", "right", None).await.status(), 500);
    assert_eq!(site.hasher.rounds_computed(), before);
}

/// A guard whose failure depends on the user's name. It records the outcomes.
#[derive(Clone, Default)]
struct Failing(Arc<Mutex<Vec<Outcome>>>);

type Outcome = (String, Result<(), LoginFailure>);

impl LoginGuard for Failing {
    async fn admit(&self, attempt: &LoginAttempt) -> Result<Admission, BoxError> {
        assert_eq!(attempt.parts().method, http::Method::POST);
        match attempt.username() {
            "panics" => panic!("a test's own panic"),
            "fails" => Err("the counter is down".into()),
            "overloaded" => Err(PasswordError::Overloaded.into()),
            "credentials" => Err(tower_bearer::Error::InvalidCredentials.into()),
            "hangs" => pending().await,
            "at once" => Ok(Admission::RetryAfter(Duration::ZERO)),
            "never" => Ok(Admission::RetryAfter(Duration::MAX)),
            _ => Ok(Admission::Admit),
        }
    }

    async fn finished(&self, attempt: &LoginAttempt, outcome: Result<(), LoginFailure>) {
        self.0.lock().unwrap().push((attempt.username().to_owned(), outcome));
        match attempt.username() {
            "bob" => panic!("a test's own panic"),
            "alice" => pending().await,
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_failure_of_the_guard_lets_a_login_pass() {
    let guard = Failing::default();
    let site = Site::new(guard.clone()).await;
    let before = site.hasher.rounds_computed();
    for (name, status, retry_after) in [
        ("panics", 500, None),
        ("fails", 500, None),
        ("overloaded", 503, Some("1")),
        ("credentials", 500, None),
        ("hangs", 503, Some("1")),
        ("at once", 429, Some("1")),
        ("never", 429, Some("4294967295")),
    ] {
        let answer = site.send(name, "right", None).await;
        assert_eq!(answer.status(), status, "{name}");
        let header = answer.headers().get("retry-after").map(|value| value.to_str().unwrap());
        assert_eq!(header, retry_after, "{name}");
    }
    assert_eq!(site.hasher.rounds_computed(), before, "nothing was hashed");
    assert!(guard.0.lock().unwrap().is_empty(), "refused attempts have no outcome");
    assert_eq!((site.failures(LoginFailure::Limited), site.failures(LoginFailure::Overloaded)), (2, 1));
    assert_eq!(site.failures(LoginFailure::Internal), 4);
}

#[tokio::test(start_paused = true)]
async fn the_guard_learns_the_outcome_and_cannot_change_it() {
    let guard = Failing::default();
    let site = Site::new(guard.clone()).await;
    for (name, password, status) in [("bob", "right", 200), ("alice", "right", 200), ("carol", "right", 401)] {
        assert_eq!(site.send(name, password, None).await.status(), status, "{name}");
    }
    let (seen, failed) = (guard.0.lock().unwrap().clone(), Err(LoginFailure::Credentials));
    assert_eq!(seen, [("bob".to_owned(), Ok(())), ("alice".to_owned(), Ok(())), ("carol".to_owned(), failed)]);
}

#[tokio::test]
async fn a_handlers_429_says_when_to_come_back_also_over_grpc() {
    let fixture = Fixture::new();
    let auth = AuthLayer::new(fixture.tokens.clone());
    let token = fixture.access("").await;
    let rejection = Rejection::too_many_requests(Duration::from_millis(2500));
    assert_eq!(rejection.retry_after(), Some(Duration::from_secs(3)));
    assert_eq!(Rejection::new(RejectionKind::TooManyRequests).retry_after(), None);
    let handler = auth.layer(service_fn(move |_: Request<Full<Bytes>>| {
        let rejection = rejection.clone();
        async move { Ok::<_, BoxError>(rejection.into_response::<Full<Bytes>>()) }
    }));
    for (media, status, name, value) in
        [("text/plain", 429, "retry-after", "3"), ("application/grpc", 200, "grpc-status", "8")]
    {
        let request =
            Request::post("/").header("content-type", media).header("authorization", format!("Bearer {token}"));
        let answer = handler.clone().oneshot(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()[name].to_str().unwrap()), (status, value));
    }
}

//! The endpoints as Tower services, without a server.
//!
//! The tests cover the calls to the application, and the answers to its failures.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Service, ServiceExt};
use tower_bearer::{
    AuthLayer, BoxError, NewSession, NoClaims, Subject, TokenService, TokenType,
    clock::{Clock as _, ManualClock},
    endpoints::{Endpoint, Endpoints, Login, TokenCookie},
    error::{PasswordError, StoreErrorKind},
    issuers::IssuerPolicy,
    jwt::IssuerSubject,
    middleware::{CurrentUserLayer, Rejection, RejectionKind},
    store::Page,
    tokens::{SecurityEvent, TokenServiceBuilder},
    users::{Credentials, CurrentUser, Grant, UserAuthentication},
};

use crate::support::{
    self, Behaviour, Events, Fixture,
    fixture::{IssuedElsewhere, START, issuer_named},
};

/// Another issuer.
const OTHER: &str = "https://other.example";

/// One user, 42, whose password is "right".
#[derive(Default)]
struct Users {
    deleted: AtomicBool,
    failing: AtomicBool,
    panicking: AtomicBool,
    overloaded: AtomicBool,
    /// The events during password checks, one for each check, the last one first.
    meanwhile: Mutex<Vec<Meanwhile>>,
    /// True once the password is "new".
    changed: AtomicBool,
    /// The issuer and the subject that the application has linked to its user.
    linked: Mutex<Option<(&'static str, &'static str)>>,
}

/// A revocation of all sessions during a password check, followed by a millisecond.
struct Meanwhile {
    tokens: TokenService,
    clock: ManualClock,
    changes_password: bool,
}

impl Users {
    fn look_up(&self) -> Result<Option<String>, BoxError> {
        assert!(!self.panicking.load(Ordering::SeqCst), "the user database panics");
        if self.overloaded.load(Ordering::SeqCst) {
            return Err(PasswordError::Overloaded.into());
        }
        if self.failing.load(Ordering::SeqCst) {
            return Err("the user database is down".into());
        }
        Ok((!self.deleted.load(Ordering::SeqCst)).then(|| "42".to_owned()))
    }
}

impl UserAuthentication for Users {
    type User = String;
    type Claims = NoClaims;

    async fn authenticate(&self, credentials: Credentials) -> Result<Option<String>, BoxError> {
        let is_right = credentials.password() == if self.changed.load(Ordering::SeqCst) { "new" } else { "right" };
        let meanwhile = self.meanwhile.lock().unwrap().pop();
        if let Some(Meanwhile { tokens, clock, changes_password }) = meanwhile {
            self.changed.store(changes_password, Ordering::SeqCst);
            // A repeated revocation supersedes logins only if it ends a session.
            tokens.create_token_pair(NewSession::new("42")).await?;
            tokens.revoke_all_for_subject("42").await?;
            clock.advance(Duration::from_millis(1));
        }
        Ok(self.look_up()?.filter(|_| is_right))
    }

    async fn user_by_id(&self, _: &Subject) -> Result<Option<String>, BoxError> {
        self.look_up()
    }

    async fn user_by_issuer(&self, id: IssuerSubject<'_>) -> Result<Option<String>, BoxError> {
        let linked = self.linked.lock().unwrap().is_some_and(|linked| linked == (id.issuer, id.subject.as_str()));
        if linked { self.look_up() } else { Ok(None) }
    }

    fn user_id(&self, user: &String) -> Subject {
        user.into()
    }

    fn grant(&self, _: &String) -> Grant<NoClaims> {
        Grant::default().scope("read write admin")
    }
}

struct App {
    fixture: Fixture,
    users: Arc<Users>,
    endpoints: Endpoints<Users>,
}

fn app() -> App {
    app_with(|builder| builder)
}

fn app_with(configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) -> App {
    let fixture = Fixture::with(configure);
    let users = Arc::new(Users::default());
    let auth = AuthLayer::builder(fixture.tokens.clone()).realm("app").build().unwrap();
    let endpoints = Endpoints::new(&auth, Arc::clone(&users));
    App { fixture, users, endpoints }
}

struct Answer {
    status: StatusCode,
    challenge: Option<String>,
    media: Option<String>,
    body: Value,
}

async fn send<S, B>(service: S, request: Request<Full<Bytes>>) -> Answer
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<B>>,
    S::Error: std::fmt::Debug,
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let response = service.oneshot(request).await.unwrap();
    let status = response.status();
    let text = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (challenge, media) = (text(header::WWW_AUTHENTICATE), text(header::CONTENT_TYPE));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Answer { status, challenge, media, body: serde_json::from_slice(&body).unwrap_or_default() }
}

fn form(body: &str) -> Request<Full<Bytes>> {
    Request::post("/")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from(body.to_owned()))
        .unwrap()
}

fn bearer(method: Method, path: &str, token: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
    request.body(Full::default()).unwrap()
}

async fn log_in(app: &App) -> Value {
    let answer = send(app.endpoints.login(), form("username=u&password=right")).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.body
}

async fn refresh(app: &App, tokens: &Value) -> Answer {
    send(app.endpoints.refresh(), form(&format!("refresh_token={}", tokens["refresh_token"].as_str().unwrap()))).await
}

#[tokio::test]
async fn a_deleted_user_gets_no_new_tokens_though_the_service_has_no_hook() {
    let app = app();
    let tokens = log_in(&app).await;
    app.users.deleted.store(true, Ordering::SeqCst);
    let answer = refresh(&app, &tokens).await;
    assert_eq!((answer.status, &answer.body["error"]), (StatusCode::BAD_REQUEST, &"invalid_grant".into()));
    app.users.deleted.store(false, Ordering::SeqCst);
    assert_eq!(refresh(&app, &tokens).await.status, StatusCode::OK, "the token was not used up");
}

#[tokio::test]
async fn a_login_that_a_revocation_of_all_sessions_overtakes_is_decided_by_what_the_account_is_then() {
    for (revocations, changes_password, expected) in
        [(1, false, StatusCode::OK), (1, true, StatusCode::UNAUTHORIZED), (2, false, StatusCode::UNAUTHORIZED)]
    {
        let events = Events::default();
        let app = app_with(|builder| builder.on_event(events.hook()));
        let Fixture { tokens, clock, .. } = &app.fixture;
        let meanwhile = || Meanwhile { tokens: tokens.clone(), clock: clock.clone(), changes_password };
        *app.users.meanwhile.lock().unwrap() = std::iter::repeat_with(meanwhile).take(revocations).collect();
        let answer = send(app.endpoints.login(), form("username=u&password=right")).await;
        assert_eq!(answer.status, expected, "{revocations} {changes_password}");
        assert!(app.users.meanwhile.lock().unwrap().is_empty());
        let sessions = tokens.sessions("42", Page::default()).await.unwrap().sessions;
        assert_eq!(sessions.len(), usize::from(expected == StatusCode::OK), "{revocations} {changes_password}");
        if expected != StatusCode::OK {
            assert_eq!(answer.body["error"], "invalid_grant");
        }
        let superseded = SecurityEvent::LoginSuperseded { subject: "42".into() };
        assert_eq!(events.take(), if revocations == 2 { vec![superseded] } else { Vec::new() });
    }
}

#[tokio::test]
async fn if_the_store_fails_after_a_report_superseded_login_that_is_our_fault() {
    let app = app();
    let Fixture { tokens, clock, store } = &app.fixture;
    let meanwhile = Meanwhile { tokens: tokens.clone(), clock: clock.clone(), changes_password: false };
    app.users.meanwhile.lock().unwrap().push(meanwhile);
    store.answer_only("ping", Behaviour::Fails(StoreErrorKind::Timeout));
    let answer = send(app.endpoints.login(), form("username=u&password=right")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{:?}", answer.body);
    assert!(app.users.meanwhile.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_user_database_that_fails_is_our_fault_and_uses_no_token_up() {
    let app = app();
    let tokens = log_in(&app).await;
    for (fault, status) in [
        (&app.users.failing, StatusCode::INTERNAL_SERVER_ERROR),
        (&app.users.panicking, StatusCode::INTERNAL_SERVER_ERROR),
        (&app.users.overloaded, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        fault.store(true, Ordering::SeqCst);
        assert_eq!(send(app.endpoints.login(), form("username=u&password=right")).await.status, status);
        assert_eq!(refresh(&app, &tokens).await.status, status);
        fault.store(false, Ordering::SeqCst);
    }
    assert_eq!(refresh(&app, &tokens).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_never_gives_more_scope_than_the_session_was_opened_with() {
    let app = app();
    let session = NewSession::new("42").scope("read delete");
    let pair = app.fixture.tokens.create_token_pair(session).await.unwrap();
    let tokens = serde_json::to_value(&pair).unwrap();
    let answer = refresh(&app, &tokens).await;
    // `delete` is no longer granted. `admin` and `write` never were.
    assert_eq!(answer.body["scope"], "read");
}

#[tokio::test]
async fn the_refresh_without_rotation_tells_the_scope_and_leaves_the_token() {
    let app = app();
    let tokens = log_in(&app).await;
    let body = format!("refresh_token={}", tokens["refresh_token"].as_str().unwrap());
    for _ in 0..2 {
        let answer = send(app.endpoints.refresh_without_rotation(), form(&body)).await;
        assert_eq!((answer.status, &answer.body["scope"]), (StatusCode::OK, &"read write admin".into()));
        assert_eq!(answer.body.get("refresh_token"), None);
    }
}

#[tokio::test]
async fn a_session_id_that_a_client_makes_up_is_not_written_to_the_log() {
    let app = app();
    let tokens = log_in(&app).await;
    let token = tokens["access_token"].as_str().unwrap();
    let calls = app.fixture.store.calls();
    let made_up = bearer(Method::DELETE, "/sessions/AAAAAAAAAAAAAAAAAAAAAA", token);
    assert_eq!(send(app.endpoints.revoke_session(), made_up).await.status, StatusCode::NOT_FOUND);
    // One call by the layer, and one check of the session, but no revocation.
    assert_eq!(app.fixture.store.calls() - calls, 2);
}

#[tokio::test]
async fn a_store_that_fails_is_503_at_every_endpoint() {
    let app = app();
    let tokens = log_in(&app).await;
    let token = tokens["access_token"].as_str().unwrap();
    app.fixture.store.answer(Behaviour::Fails(StoreErrorKind::Unavailable));
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(send(app.endpoints.login(), form("username=u&password=right")).await.status, unavailable);
    assert_eq!(refresh(&app, &tokens).await.status, unavailable);
    assert_eq!(send(app.endpoints.logout(), bearer(Method::POST, "/logout", token)).await.status, unavailable);
    assert_eq!(send(app.endpoints.logout_all(), bearer(Method::POST, "/logout-all", token)).await.status, unavailable);
    assert_eq!(send(app.endpoints.sessions(), bearer(Method::GET, "/sessions", token)).await.status, unavailable);
    let delete = bearer(Method::DELETE, "/sessions/a", token);
    assert_eq!(send(app.endpoints.revoke_session(), delete).await.status, unavailable);
    let health = Request::get("/health").body(Full::default()).unwrap();
    assert_eq!(send(app.endpoints.health(), health).await.status, unavailable);
}

async fn get<S, B>(service: S, path: &str) -> (StatusCode, Value)
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<B>>,
    S::Error: std::fmt::Debug,
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let answer = send(service, Request::get(path).body(Full::default()).unwrap()).await;
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_node_is_ready_while_the_store_answers_a_read_and_a_write() {
    let app = app();
    let (ok, unavailable) = (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(app.endpoints.ready(), "/ready").await, (ok, json!({"status": "ok", "reasons": ["no_bound"]})));
    for (call, reason) in [("check", "reads_refused"), ("probe", "writes_refused")] {
        app.fixture.store.answer_only(call, Behaviour::Fails(StoreErrorKind::Rejected));
        app.fixture.advance(2);
        let (status, body) = get(app.endpoints.ready(), "/ready").await;
        assert_eq!((status, &body["status"]), (unavailable, &json!("unavailable")), "{call}");
        assert!(body["reasons"].as_array().unwrap().contains(&json!(reason)), "{call}: {body}");
        assert_eq!(body.get("conditions"), None, "details are switched off");
        let (status, body) = get(app.endpoints.health(), "/health").await;
        assert_eq!((status, body), (unavailable, json!({"status": "unavailable"})), "{call}");
        let (status, body) = get(app.endpoints.clone().show_details().health(), "/health").await;
        assert_eq!((status, &body["status"]), (unavailable, &json!("unavailable")), "{call}");
        assert!(body["store_error"].as_str().unwrap().contains("refused"), "{call}: {body}");
        let conditions = body["conditions"].as_array().unwrap();
        let condition = conditions.iter().find(|condition| condition["kind"] == reason).unwrap();
        assert_eq!(condition["since"], json!(app.fixture.clock.now().as_secs()), "{call}");
        // The process itself is alive.
        assert_eq!(get(app.endpoints.live(), "/live").await, (ok, json!({"status": "ok"})));
        app.fixture.store.answer(Behaviour::AtOnce);
        app.fixture.advance(2);
        assert_eq!(get(app.endpoints.ready(), "/ready").await.1["reasons"], json!(["no_bound"]), "{call}");
    }
}

#[tokio::test]
async fn clients_of_the_endpoints_make_the_store_work_once_a_second() {
    let app = app();
    let calls = app.fixture.store.calls();
    for _ in 0..100 {
        get(app.endpoints.ready(), "/ready").await;
    }
    assert_eq!(app.fixture.store.calls(), calls + 2);
}

#[tokio::test]
async fn behind_an_optional_layer_a_client_without_a_token_gets_that_layers_rejection() {
    let app = app();
    let auth = AuthLayer::builder(app.fixture.tokens.clone()).realm("app").build().unwrap();
    let endpoints = Endpoints::new(&auth.clone().optional(), Arc::clone(&app.users));
    let required = Endpoints::new(&auth, Arc::clone(&app.users));
    let request = || Request::post("/logout").body(Full::default()).unwrap();
    let (optional, required) = (send(endpoints.logout(), request()).await, send(required.logout(), request()).await);
    assert_eq!(optional.challenge.as_deref(), Some(r#"Bearer realm="app""#));
    assert_eq!(
        (optional.status, optional.challenge, optional.body),
        (required.status, required.challenge, required.body)
    );
}

#[tokio::test]
async fn under_a_denylist_nobody_ends_anothers_session_or_reads_our_users_listing() {
    let issuer = app();
    let victim = issuer.fixture.tokens.create_token_pair(NewSession::new("1")).await.unwrap();
    let caller = issuer.fixture.tokens.create_token_pair(NewSession::new("2")).await.unwrap();
    // A service that accepts the same tokens as another issuer's. Its own store was created before.
    let clock = ManualClock::at(START.saturating_sub(Duration::from_secs(60)));
    let store = support::FaultyStore::new(clock.clone());
    clock.set(START);
    let denylist = support::fixture::accepting(&issuer.fixture.clock, IssuerPolicy::Denylist);
    let denylist = denylist.store(store).build().unwrap();
    let accepted =
        async |tokens: &TokenService, token: &str| tokens.validate_token(token, TokenType::Access).await.is_ok();
    assert!(accepted(&denylist, victim.access().as_str()).await);

    let endpoints = Endpoints::new(&AuthLayer::new(denylist.clone()), Arc::clone(&issuer.users));
    let token = caller.access().as_str();
    let theirs = bearer(Method::DELETE, &format!("/sessions/{}", victim.session_id()), token);
    assert_eq!(send(endpoints.revoke_session(), theirs).await.status, StatusCode::NOT_FOUND);
    assert!(accepted(&denylist, victim.access().as_str()).await);
    let listing = send(endpoints.sessions(), bearer(Method::GET, "/sessions", token)).await;
    assert_eq!(listing.status, StatusCode::FORBIDDEN);

    let own = bearer(Method::DELETE, &format!("/sessions/{}", caller.session_id()), token);
    assert_eq!(send(endpoints.revoke_session(), own).await.status, StatusCode::NO_CONTENT);
    assert!(!accepted(&denylist, token).await);
}

#[tokio::test]
async fn another_issuers_token_reaches_no_session_of_ours_even_with_its_ids() {
    let app = app_with(|builder| builder.accept(issuer_named(OTHER, IssuerPolicy::Denylist)));
    let Fixture { tokens, clock, .. } = &app.fixture;
    app.fixture.advance(60);
    let ours = tokens.create_token_pair(NewSession::new("42")).await.unwrap();
    let sid = ours.session_id().as_str();
    let jti = support::fixture::read_part(ours.access().as_str(), 1)["jti"].as_str().unwrap().to_owned();
    let theirs = |sid: Option<&str>| {
        IssuedElsewhere { issuer: OTHER, ..IssuedElsewhere::default() }.signed(&jti, "42", sid, clock.now())
    };
    let lives = async || {
        tokens.validate_token(ours.access().as_str(), TokenType::Access).await.unwrap();
        tokens.validate_token(ours.refresh().as_str(), TokenType::Refresh).await.unwrap();
        assert_eq!(tokens.sessions("42", Page::default()).await.unwrap().sessions.len(), 1);
    };
    let refused = async |token: &str| {
        assert!(tokens.validate_token(token, TokenType::Access).await.is_err());
        app.fixture.advance(60);
    };
    let endpoints = &app.endpoints;

    let token = theirs(Some("s1"));
    for query in ["", "?cursor=x"] {
        let listing = send(endpoints.sessions(), bearer(Method::GET, &format!("/sessions{query}"), &token)).await;
        assert_eq!((listing.status, &listing.body["error"]), (StatusCode::FORBIDDEN, &"insufficient_scope".into()));
    }
    let ends = bearer(Method::DELETE, &format!("/sessions/{sid}"), &token);
    assert_eq!(send(endpoints.revoke_session(), ends).await.status, StatusCode::NOT_FOUND);
    let spares = bearer(Method::POST, "/?keep_current=true", &token);
    assert_eq!(send(endpoints.logout_all(), spares).await.status, StatusCode::BAD_REQUEST);
    tokens.validate_token(&token, TokenType::Access).await.unwrap();
    lives().await;

    // The other issuer's session has the id of ours. Each request ends only the other one.
    let token = theirs(Some(sid));
    let ends = bearer(Method::DELETE, &format!("/sessions/{sid}"), &token);
    assert_eq!(send(endpoints.revoke_session(), ends).await.status, StatusCode::NO_CONTENT);
    lives().await;
    refused(&token).await;
    let token = theirs(Some(sid));
    assert_eq!(send(endpoints.logout(), bearer(Method::POST, "/", &token)).await.status, StatusCode::OK);
    lives().await;
    refused(&token).await;
    let token = theirs(Some(sid));
    assert_eq!(send(endpoints.logout_all(), bearer(Method::POST, "/", &token)).await.status, StatusCode::OK);
    lives().await;
    refused(&token).await;
    // A token without a session is revoked itself.
    let token = theirs(None);
    assert_eq!(send(endpoints.logout(), bearer(Method::POST, "/", &token)).await.status, StatusCode::OK);
    lives().await;
    refused(&token).await;
    // Nor do the endpoints exchange such a token.
    let answer = send(endpoints.refresh(), form(&format!("refresh_token={}", theirs(Some("s2"))))).await;
    assert_eq!((answer.status, &answer.body["error"]), (StatusCode::BAD_REQUEST, &"invalid_grant".into()));
}

#[tokio::test]
async fn a_token_that_nothing_revokes_cannot_be_logged_out_which_is_nobodys_fault() {
    let app = app_with(|builder| builder.accept(issuer_named(OTHER, IssuerPolicy::Stateless)));
    let (endpoints, now) = (&app.endpoints, app.fixture.clock.now());
    for sid in [Some("s1"), None] {
        let token = IssuedElsewhere { issuer: OTHER, ..IssuedElsewhere::default() }.signed("t1", "42", sid, now);
        let post = || bearer(Method::POST, "/", &token);
        let mut answers = vec![
            send(endpoints.logout(), post()).await,
            send(endpoints.logout_all(), post()).await,
            send(endpoints.sessions(), bearer(Method::GET, "/sessions", &token)).await,
        ];
        if sid.is_some() {
            answers.push(send(endpoints.revoke_session(), bearer(Method::DELETE, "/sessions/s1", &token)).await);
        }
        for answer in answers {
            assert_eq!((answer.status, &answer.body["error"]), (StatusCode::FORBIDDEN, &"insufficient_scope".into()));
        }
        let unknown = bearer(Method::DELETE, "/sessions/s2", &token);
        assert_eq!(send(endpoints.revoke_session(), unknown).await.status, StatusCode::NOT_FOUND);
        app.fixture.tokens.validate_token(&token, TokenType::Access).await.unwrap();
    }
}

#[tokio::test]
async fn another_issuers_token_has_a_user_only_if_the_application_has_linked_one() {
    for policy in [IssuerPolicy::Denylist, IssuerPolicy::Stateless] {
        let third = "https://third.example";
        let app = app_with(|builder| builder.accept(issuer_named(OTHER, policy)).accept(issuer_named(third, policy)));
        app.fixture.advance(60);
        let now = app.fixture.clock.now();
        let auth = AuthLayer::new(app.fixture.tokens.clone());
        let users = CurrentUserLayer::new(&auth, Arc::clone(&app.users));
        let inner = tower::service_fn(async |request: Request<Full<Bytes>>| {
            let user = request.extensions().get::<CurrentUser<String>>().unwrap().to_string();
            Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::from(format!("{user:?}"))))
        });
        let service = tower::Layer::layer(&auth, tower::Layer::layer(&users, inner));
        let ask = async |token: &str| {
            let answer = send(service.clone(), bearer(Method::GET, "/", token)).await;
            (answer.status, answer.body)
        };
        let of = |issuer, subject| {
            IssuedElsewhere { issuer, ..IssuedElsewhere::default() }.signed("t1", subject, Some("s1"), now)
        };
        let ours = app.fixture.tokens.create_token_pair(NewSession::new("42")).await.unwrap();
        let (found, not_found) =
            ((StatusCode::OK, Value::from("42")), (StatusCode::UNAUTHORIZED, json!({ "error": "invalid_token" })));
        assert_eq!(ask(ours.access().as_str()).await, found);
        assert_eq!(ask(&of(OTHER, "42")).await, not_found);
        *app.users.linked.lock().unwrap() = Some((OTHER, "u7"));
        assert_eq!(ask(&of(OTHER, "u7")).await, found);
        for other in [of(OTHER, "42"), of(third, "u7"), of(third, "42")] {
            assert_eq!(ask(&other).await, not_found);
        }
        assert_eq!(ask(ours.access().as_str()).await, found);
        // A deleted user has no link any more.
        app.users.deleted.store(true, Ordering::SeqCst);
        assert_eq!(ask(&of(OTHER, "u7")).await, not_found);
    }
}

/// The kinds of the rejections that a hook got, in order.
type Seen = Arc<Mutex<Vec<RejectionKind>>>;

/// Returns the endpoints of a layer whose hook responds with problem details.
fn with_hook(app: &App, optional: bool) -> (Endpoints<Users>, Seen) {
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let auth = AuthLayer::builder(app.fixture.tokens.clone()).on_rejection(
        move |rejection: &Rejection, mut response: http::Response<Bytes>| {
            noted.lock().unwrap().push(rejection.kind());
            let problem = header::HeaderValue::from_static("application/problem+json");
            response.headers_mut().insert(header::CONTENT_TYPE, problem);
            response.map(|_| Bytes::from(format!(r#"{{"title":"{}"}}"#, rejection.kind().code())))
        },
    );
    let auth = if optional { auth.optional() } else { auth }.build().unwrap();
    (Endpoints::new(&auth, Arc::clone(&app.users)), seen)
}

#[tokio::test]
async fn one_hook_answers_every_failure_of_the_endpoints() {
    let app = app();
    let (endpoints, seen) = with_hook(&app, false);
    let tokens = log_in(&app).await;
    let token = tokens["access_token"].as_str().unwrap();
    let json = |body: &str| {
        let mut request = form(body);
        request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
        request
    };
    let get = || Request::get("/").body(Full::default()).unwrap();
    let post = |token| bearer(Method::POST, "/", token);
    let failing = |service: Endpoint<Login<Users>>| async {
        app.users.failing.store(true, Ordering::SeqCst);
        let answer = send(service, form("username=u&password=right")).await;
        app.users.failing.store(false, Ordering::SeqCst);
        answer
    };
    let answers = [
        (send(endpoints.login(), form("username=u&password=wrong")).await, 401, "invalid_grant"),
        (send(endpoints.login(), form("username=u")).await, 400, "invalid_request"),
        (send(endpoints.login(), json("")).await, 415, "invalid_request"),
        (send(endpoints.login(), form(&"x".repeat(20_000))).await, 413, "invalid_request"),
        (send(endpoints.login(), get()).await, 405, "invalid_request"),
        (failing(endpoints.login()).await, 500, "server_error"),
        (send(endpoints.refresh(), form("refresh_token=x")).await, 400, "invalid_grant"),
        (send(endpoints.logout(), get()).await, 401, "unauthorized"),
        (send(endpoints.logout(), bearer(Method::GET, "/", token)).await, 405, "invalid_request"),
        (send(endpoints.logout_all(), bearer(Method::POST, "/?keep_current=x", token)).await, 400, "invalid_request"),
        (send(endpoints.revoke_session(), bearer(Method::DELETE, "/x", token)).await, 404, "not_found"),
        (send(endpoints.sessions(), post("junk")).await, 401, "invalid_token"),
    ];
    assert_eq!(seen.lock().unwrap().len(), answers.len(), "each was answered once");
    for (answer, status, code) in answers {
        assert_eq!((answer.status.as_u16(), &answer.body["title"]), (status, &code.into()), "{code}");
        assert_eq!(answer.media.as_deref(), Some("application/problem+json"), "{code}");
        assert_eq!(answer.challenge.is_some(), status == 401, "{code}");
    }
    // The store's failure, and a client without a token behind an optional layer.
    app.fixture.store.answer(Behaviour::Fails(StoreErrorKind::Unavailable));
    let answer = send(endpoints.login(), form("username=u&password=right")).await;
    assert_eq!((answer.status.as_u16(), &answer.body["title"]), (503, &"temporarily_unavailable".into()));
    let (optional, seen) = with_hook(&app, true);
    let answer = send(optional.logout(), Request::post("/").body(Full::default()).unwrap()).await;
    assert_eq!((answer.status.as_u16(), &answer.body["title"]), (401, &"unauthorized".into()));
    assert_eq!(*seen.lock().unwrap(), [RejectionKind::NoCredentials]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_408() {
    let app = app();
    let (endpoints, seen) = with_hook(&app, false);
    let never =
        http_body_util::StreamBody::new(futures_util::stream::pending::<Result<http_body::Frame<Bytes>, BoxError>>());
    let request = Request::post("/").header(header::CONTENT_TYPE, "application/json").body(never).unwrap();
    let response = endpoints.login().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 408);
    assert_eq!(response.extensions().get::<Rejection>().unwrap().kind(), RejectionKind::RequestTimeout);
    assert_eq!(*seen.lock().unwrap(), [RejectionKind::RequestTimeout]);
}

#[tokio::test]
async fn logout_clears_the_cookies_that_it_was_given_and_no_other() {
    let cookie = |name: &str| TokenCookie::builder().name(name).build().unwrap();
    for (configured, all) in [(false, false), (false, true), (true, false), (true, true)] {
        let app = app();
        let mut endpoints = app.endpoints.clone();
        if configured {
            endpoints = endpoints.clear_at_logout(cookie("refresh")).clear_at_logout(cookie("hint"));
        }
        let tokens = log_in(&app).await;
        let request = bearer(Method::POST, "/", tokens["access_token"].as_str().unwrap());
        let response = if all {
            endpoints.logout_all().oneshot(request).await.unwrap()
        } else {
            endpoints.logout().oneshot(request).await.unwrap()
        };
        assert_eq!(response.status(), StatusCode::OK);
        let lines = response.headers().get_all(header::SET_COOKIE).iter().map(|line| line.to_str().unwrap());
        let cleared: Vec<_> = lines.map(|line| line.split(';').next().unwrap()).collect();
        assert_eq!(cleared, if configured { vec!["refresh=", "hint="] } else { Vec::new() });
    }
}

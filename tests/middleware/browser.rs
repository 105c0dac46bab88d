//! Browser sessions: both tokens in cookies, the check for other sites, and logout.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceExt};
use tower_bearer::{
    AuthLayer, BoxError, Claims, NewSession, NoClaims, Subject,
    endpoints::{BrowserEndpoints, BrowserSessions, Endpoints, SameSite, TokenCookie},
    error::StoreErrorKind,
    middleware::{AuthLayerBuilder, Rejection, RejectionKind},
    store::Page,
    users::{Credentials, Grant, UserAuthentication},
};
use tower_http::cors::CorsLayer;

use crate::support::{Behaviour, Fixture};

/// One user, 42, whose password is "right".
struct Users;

impl UserAuthentication for Users {
    type User = ();
    type Claims = NoClaims;

    async fn authenticate(&self, credentials: Credentials) -> Result<Option<()>, BoxError> {
        Ok((credentials.password() == "right").then_some(()))
    }

    async fn user_by_id(&self, _: &Subject) -> Result<Option<()>, BoxError> {
        Ok(Some(()))
    }

    fn user_id(&self, (): &()) -> Subject {
        "42".into()
    }

    fn grant(&self, (): &()) -> Grant<NoClaims> {
        Grant::default()
    }
}

/// The inner service. It keeps the subject of the last request.
#[derive(Clone, Default)]
struct Inner(Arc<Mutex<Option<String>>>);

impl Inner {
    fn subject(&self) -> Option<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Service<Request<Full<Bytes>>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        *self.0.lock().unwrap() = request.extensions().get::<Claims>().map(|claims| claims.subject().to_string());
        ready(Ok(Response::new(Full::default())))
    }
}

struct App {
    fixture: Fixture,
    auth: AuthLayer,
    endpoints: Endpoints<Users>,
    browser: BrowserEndpoints<Users>,
}

fn app() -> App {
    app_with(|layer| layer)
}

fn app_with(configure: impl FnOnce(AuthLayerBuilder) -> AuthLayerBuilder) -> App {
    let fixture = Fixture::new();
    let sessions = BrowserSessions::builder().build().unwrap();
    let auth = AuthLayer::builder(fixture.tokens.clone()).browser_sessions(&sessions);
    let auth = configure(auth).build().unwrap();
    let endpoints = Endpoints::new(&auth, Arc::new(Users));
    let browser = endpoints.browser().unwrap();
    App { fixture, auth, endpoints, browser }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

async fn send<S, B>(service: S, request: Request<Full<Bytes>>) -> Answer
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
    B: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let response = service.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body: serde_json::from_slice(&body).unwrap_or_default() }
}

/// The cookies of a browser.
#[derive(Clone, Debug, Default, PartialEq)]
struct Jar {
    access: String,
    refresh: String,
}

impl Jar {
    /// Applies the cookies that an answer sets or removes.
    fn apply(&mut self, answer: &Answer) {
        for line in answer.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            assert!(line.ends_with("; Path=/; HttpOnly; Secure; SameSite=Strict"), "{line}");
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            assert_eq!(value.is_empty(), rest.starts_with("; Max-Age=0;"), "{line}");
            match name {
                "__Host-access" => value.clone_into(&mut self.access),
                "__Host-refresh" => value.clone_into(&mut self.refresh),
                other => panic!("{other}"),
            }
        }
    }

    fn header(&self) -> String {
        format!("theme=dark; __Host-access={}; __Host-refresh={}", self.access, self.refresh)
    }

    fn after(&self, answer: &Answer) -> Self {
        let mut after = self.clone();
        after.apply(answer);
        after
    }
}

/// Returns a POST of a page of the own site.
fn post(jar: &Jar) -> Request<Full<Bytes>> {
    let request = Request::post("/").header("cookie", jar.header()).header("sec-fetch-site", "same-origin");
    request.body(Full::default()).unwrap()
}

fn get(jar: &Jar) -> Request<Full<Bytes>> {
    Request::get("/").header("cookie", jar.header()).body(Full::default()).unwrap()
}

fn form(body: &str) -> Request<Full<Bytes>> {
    let request = Request::post("/").header("content-type", FORM);
    request.header("sec-fetch-site", "same-origin").body(Full::from(body.to_owned())).unwrap()
}

impl App {
    async fn log_in(&self) -> Jar {
        let answer = send(self.browser.login(), form("username=u&password=right")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Jar::default().after(&answer)
    }

    async fn sessions(&self) -> usize {
        self.fixture.tokens.sessions("42", Page::default()).await.unwrap().sessions.len()
    }

    async fn get(&self, jar: &Jar) -> Answer {
        send(self.auth.layer(Inner::default()), get(jar)).await
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

const GONE: Jar = Jar { access: String::new(), refresh: String::new() };

#[tokio::test]
async fn login_and_refresh_set_both_cookies_and_no_body_contains_a_token() {
    let app = app();
    let json = Request::post("/").header("content-type", "application/json").header("origin", "https://a");
    let json = json.header("host", "a").body(Full::from(r#"{"username":"u","password":"right"}"#)).unwrap();
    for login in [form("username=u&password=right"), json] {
        let answer = send(app.browser.login(), login).await;
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &json!({ "user_id": "42", "expires_in": 1800 })));
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert!(answer.headers.get_all("set-cookie").iter().all(HeaderValue::is_sensitive));
        let jar = Jar::default().after(&answer);
        assert_eq!(app.get(&jar).await.status, 200);

        app.fixture.advance(60);
        let answer = send(app.browser.refresh(), post(&jar)).await;
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &json!({ "expires_in": 1800 })));
        let renewed = jar.after(&answer);
        assert!(renewed.access != jar.access && renewed.refresh != jar.refresh);
        assert_eq!(app.get(&renewed).await.status, 200);
    }
    let answer = send(app.browser.login(), form("username=u&password=wrong")).await;
    assert_eq!((answer.status.as_u16(), &answer.body["error"]), (401, &"invalid_grant".into()));
    assert!(!answer.headers.contains_key("set-cookie"), "the cookies of another session stay");
}

#[tokio::test]
async fn two_tabs_that_refresh_at_once_get_the_same_successor() {
    let app = app();
    let jar = app.log_in().await;
    app.fixture.advance(60);
    let (one, other) = tokio::join!(send(app.browser.refresh(), post(&jar)), send(app.browser.refresh(), post(&jar)));
    let (one, other) = (jar.after(&one), jar.after(&other));
    assert_ne!(one, jar);
    assert_eq!(one, other);
    assert_eq!(send(app.browser.refresh(), post(&one)).await.status, 200);
}

#[tokio::test]
async fn a_refused_refresh_is_401_and_removes_both_cookies() {
    let app = app();
    let jar = app.log_in().await;
    let revoked = app.log_in().await;
    app.fixture.tokens.revoke_token(&revoked.refresh).await.unwrap();
    let refused = |jar: &Jar| {
        let jar = jar.clone();
        async { (send(app.browser.refresh(), post(&jar)).await, jar) }
    };
    for (bad, error) in [
        (revoked, "invalid_token"),
        (Jar { refresh: "abc".to_owned(), ..jar.clone() }, "invalid_token"),
        (Jar { refresh: jar.access.clone(), ..jar.clone() }, "invalid_token"),
        (Jar { refresh: String::new(), ..jar.clone() }, "unauthorized"),
        (GONE, "unauthorized"),
    ] {
        let (answer, jar) = refused(&bad).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (401, &error.into()), "{answer:?}");
        assert_eq!(jar.after(&answer), GONE);
        // A late request without cookies must not remove those of a new login.
        let removed = if bad == GONE { 0 } else { 2 };
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), removed);
    }
    // A failure of the store removes nothing.
    app.fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    let (answer, _) = refused(&jar).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (503, None));
}

#[tokio::test]
async fn logout_works_with_one_cookie_and_with_expired_tokens() {
    let app = app();
    let whole = |jar: &Jar| jar.clone();
    let access_only = |jar: &Jar| Jar { refresh: String::new(), ..jar.clone() };
    let refresh_only = |jar: &Jar| Jar { access: String::new(), ..jar.clone() };
    let bad_access = |jar: &Jar| Jar { access: "abc".to_owned(), ..jar.clone() };
    let parts: [fn(&Jar) -> Jar; 4] = [whole, access_only, refresh_only, bad_access];
    for part in parts {
        for wait in [0, 3600] {
            let jar = app.log_in().await;
            let other = app.log_in().await;
            let before = app.sessions().await;
            app.fixture.advance(wait);
            let answer = send(app.browser.logout(), post(&part(&jar))).await;
            assert_eq!((answer.status, jar.after(&answer)), (StatusCode::OK, GONE), "{answer:?}");
            assert_eq!(app.sessions().await, before - 1, "{part:?} {wait}");
            assert_eq!(send(app.browser.refresh(), post(&jar)).await.status, 401);
            assert_eq!(send(app.browser.refresh(), post(&other)).await.status, 200);
            // A second click changes nothing.
            assert_eq!(send(app.browser.logout(), post(&part(&jar))).await.status, 200);
        }
    }
    let jar = app.log_in().await;
    for (bad, error) in [
        (GONE, "unauthorized"),
        (Jar { access: "abc".to_owned(), refresh: String::new() }, "invalid_token"),
        (Jar { access: jar.refresh.clone(), refresh: jar.access.clone() }, "invalid_token"),
    ] {
        let answer = send(app.browser.logout(), post(&bad)).await;
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (401, &error.into()));
        assert_eq!(bad.after(&answer), GONE);
    }
    app.fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    let answer = send(app.browser.logout(), post(&jar)).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (503, None), "it may be repeated");
}

#[tokio::test]
async fn logout_of_all_sessions_removes_the_cookies_unless_it_keeps_this_one() {
    let app = app();
    let (jar, other) = (app.log_in().await, app.log_in().await);
    let mut keep = post(&jar);
    *keep.uri_mut() = "/?keep_current=true".parse().unwrap();
    let answer = send(app.browser.logout_all(), keep).await;
    assert_eq!((answer.status, jar.after(&answer)), (StatusCode::OK, jar.clone()));
    assert_eq!((app.get(&other).await.status, app.get(&jar).await.status.as_u16()), (StatusCode::UNAUTHORIZED, 200));
    let answer = send(app.browser.logout_all(), post(&jar)).await;
    assert_eq!((answer.status, jar.after(&answer)), (StatusCode::OK, GONE));
}

#[tokio::test]
async fn another_site_gets_403_from_each_endpoint_and_changes_nothing() {
    let app = app();
    let jar = app.log_in().await;
    let request = |jar: &Jar, fields: &[(&'static str, &'static str)]| {
        let mut request = form("username=u&password=right");
        request.headers_mut().remove("sec-fetch-site");
        request.headers_mut().insert("host", HeaderValue::from_static("api.example"));
        request.headers_mut().insert("cookie", HeaderValue::try_from(jar.header()).unwrap());
        for (name, value) in fields {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        request
    };
    let foreign = [[("sec-fetch-site", "cross-site")], [("origin", "https://evil.example")], [("origin", "null")]];
    for fields in foreign {
        // A login of another site would log the user in as somebody else.
        for jar in [&jar, &GONE] {
            for answer in [
                send(app.browser.login(), request(jar, &fields)).await,
                send(app.browser.refresh(), request(jar, &fields)).await,
                send(app.browser.logout(), request(jar, &fields)).await,
            ] {
                assert_eq!((answer.status.as_u16(), &answer.body), (403, &json!({ "error": "forbidden" })));
                assert!(!answer.headers.contains_key("set-cookie") && !answer.headers.contains_key("www-authenticate"));
            }
        }
        let answer = send(app.browser.logout_all(), request(&jar, &fields)).await;
        assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (403, None));
    }
    // Neither field: a request that acts by a cookie must say where it comes from.
    for answer in [
        send(app.browser.refresh(), request(&jar, &[])).await,
        send(app.browser.logout(), request(&jar, &[])).await,
        send(app.browser.logout(), request(&Jar { access: String::new(), ..jar.clone() }, &[])).await,
        send(app.browser.logout_all(), request(&jar, &[])).await,
    ] {
        assert_eq!(answer.status, 403);
    }
    assert_eq!(send(app.browser.login(), request(&jar, &[])).await.status, 200, "a login needs no cookie");
    assert_eq!(send(app.browser.refresh(), request(&GONE, &[])).await.status, 401);
    assert_eq!((app.get(&jar).await.status.as_u16(), app.sessions().await), (200, 2));
    assert_eq!(send(app.browser.refresh(), post(&jar)).await.status, 200);
    // Another method is 405.
    assert_eq!(send(app.browser.refresh(), get(&jar)).await.status, 405);
}

#[tokio::test]
async fn a_rejection_of_the_layer_removes_the_cookies_that_it_makes_useless() {
    let app = app();
    let jar = app.log_in().await;
    let without_access = |jar: &Jar| Jar { access: String::new(), ..jar.clone() };
    let bad = Jar { access: "abc".to_owned(), ..jar.clone() };
    for bad in [&bad, &Jar { access: "a b".to_owned(), ..jar.clone() }] {
        let answer = app.get(bad).await;
        assert_eq!(bad.after(&answer), without_access(&jar), "{answer:?}");
    }
    // Of two cookies with one name, the layer does not know which one is its own.
    let mut twice = get(&jar);
    twice.headers_mut().append("cookie", HeaderValue::from_static("__Host-access=abc"));
    let answer = send(app.auth.layer(Inner::default()), twice).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (400, None));
    let mut bearer = get(&GONE);
    bearer.headers_mut().insert("authorization", HeaderValue::from_static("Bearer abc"));
    let answer = send(app.auth.layer(Inner::default()), bearer).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (401, None));

    app.fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    let answer = app.get(&jar).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (503, None));
    app.fixture.store.answer(Behaviour::AtOnce);

    let expired = app.log_in().await;
    app.fixture.advance(3600);
    let answer = app.get(&expired).await;
    assert_eq!((answer.status.as_u16(), expired.after(&answer)), (401, without_access(&expired)));

    let revoked = app.log_in().await;
    app.fixture.tokens.revoke_token(&revoked.refresh).await.unwrap();
    let answer = app.get(&revoked).await;
    assert_eq!((answer.status.as_u16(), revoked.after(&answer)), (401, GONE));
}

#[tokio::test]
async fn an_optional_layer_can_treat_a_bad_cookie_as_none_and_removes_it() {
    let strict = app();
    let revoked = strict.log_in().await;
    strict.fixture.tokens.revoke_token(&revoked.refresh).await.unwrap();
    let answer = send(strict.auth.clone().optional().layer(Inner::default()), get(&revoked)).await;
    assert_eq!(answer.status, 401, "by choice only");

    let app = app_with(|layer| layer.forgive_cookies(true));
    let jar = app.log_in().await;
    let revoked = app.log_in().await;
    app.fixture.tokens.revoke_token(&revoked.refresh).await.unwrap();
    let service = || app.auth.clone().optional().layer(Inner::default());
    // Also if the store answers later.
    app.fixture.store.answer(Behaviour::Late);
    for (bad, after) in [
        (revoked.clone(), GONE),
        (Jar { access: "abc".to_owned(), ..jar.clone() }, Jar { access: String::new(), ..jar.clone() }),
        (Jar { access: "a b".to_owned(), ..jar.clone() }, Jar { access: String::new(), ..jar.clone() }),
    ] {
        let inner = Inner::default();
        let answer = send(app.auth.clone().optional().layer(inner.clone()), get(&bad)).await;
        assert_eq!((answer.status.as_u16(), inner.subject()), (200, None), "{bad:?}");
        assert_eq!(bad.after(&answer), after);
        assert_eq!(answer.headers["cache-control"], "private");
        assert_eq!(app.get(&bad).await.status.as_u16() / 100, 4, "a layer that needs a token");
    }
    let inner = Inner::default();
    let answer = send(app.auth.clone().optional().layer(inner.clone()), get(&jar)).await;
    assert_eq!((inner.subject().as_deref(), answer.headers.get("set-cookie")), (Some("42"), None));

    // Another location, another site, and a failing store.
    let mut bearer = get(&GONE);
    bearer.headers_mut().insert("authorization", HeaderValue::from_static("Bearer abc"));
    assert_eq!(send(service(), bearer).await.status, 401);
    let mut foreign = post(&revoked);
    foreign.headers_mut().insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
    assert_eq!(send(service(), foreign).await.status, 403);
    app.fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    assert_eq!(send(service(), get(&jar)).await.status, 503);
}

#[tokio::test]
async fn a_forgiven_cookie_that_the_layer_does_not_set_is_removed_at_the_root_path() {
    let fixture = Fixture::new();
    let auth = AuthLayer::builder(fixture.tokens.clone()).allow_cookie("t").optional().forgive_cookies(true);
    let auth = auth.build().unwrap();
    let request = |cookie: &'static str| Request::get("/").header("cookie", cookie).body(Full::default()).unwrap();
    let answer = send(auth.layer(Inner::default()), request("t=abc")).await;
    let cleared = "t=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Strict";
    assert_eq!((answer.status.as_u16(), answer.headers["set-cookie"].to_str().unwrap()), (200, cleared));
    // Of two cookies, the layer does not know which one is its own.
    let answer = send(auth.layer(Inner::default()), request("t=abc; t=d")).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (200, None));
}

#[tokio::test]
async fn an_empty_cookie_is_no_credential() {
    let app = app();
    let answer = send(app.auth.clone().optional().layer(Inner::default()), get(&GONE)).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (200, None));
    let answer = app.get(&GONE).await;
    assert_eq!((answer.status.as_u16(), &answer.body["error"]), (401, &"unauthorized".into()));
    let unsafe_without_proof = Request::post("/").header("cookie", "__Host-access=").body(Full::default()).unwrap();
    let answer = send(app.auth.clone().optional().layer(Inner::default()), unsafe_without_proof).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn every_rejection_goes_through_the_one_hook() {
    let app = app_with(|layer| {
        layer.on_rejection(|rejection: &Rejection, response| {
            response.map(|_| json!({ "title": rejection.kind().code() }).to_string().into())
        })
    });
    let jar = app.log_in().await;
    let foreign = || {
        let mut request = post(&jar);
        request.headers_mut().insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
        request
    };
    let bad = Jar { access: "abc".to_owned(), refresh: "abc".to_owned() };
    let handler = tower::service_fn(async |_: Request<Full<Bytes>>| {
        let response: Response<Full<Bytes>> = Rejection::new(RejectionKind::NotFound).into_response();
        Ok::<_, Infallible>(response)
    });
    for (answer, status, code) in [
        (app.get(&bad).await, 401, "invalid_token"),
        (app.get(&GONE).await, 401, "unauthorized"),
        (send(app.auth.layer(Inner::default()), foreign()).await, 403, "forbidden"),
        (send(app.auth.layer(handler), get(&jar)).await, 404, "not_found"),
        (send(app.browser.login(), form("username=u&password=wrong")).await, 401, "invalid_grant"),
        (send(app.browser.login(), form("username=u")).await, 400, "invalid_request"),
        (send(app.browser.login(), foreign()).await, 403, "forbidden"),
        (send(app.browser.refresh(), post(&bad)).await, 401, "invalid_token"),
        (send(app.browser.refresh(), post(&GONE)).await, 401, "unauthorized"),
        (send(app.browser.refresh(), get(&jar)).await, 405, "invalid_request"),
        (send(app.browser.logout(), post(&bad)).await, 401, "invalid_token"),
        (send(app.browser.logout_all(), post(&bad)).await, 401, "invalid_token"),
        (send(app.endpoints.login(), form("username=u&password=wrong")).await, 401, "invalid_grant"),
        (send(app.endpoints.refresh(), form("refresh_token=abc")).await, 400, "invalid_grant"),
        (send(app.endpoints.logout(), form("refresh_token=abc")).await, 401, "invalid_token"),
        (send(app.endpoints.logout(), form("")).await, 401, "unauthorized"),
    ] {
        assert_eq!((answer.status.as_u16(), &answer.body), (status, &json!({ "title": code })), "{answer:?}");
    }
}

#[tokio::test]
async fn logout_without_cookies_takes_an_expired_access_token_or_a_refresh_token() {
    let fixture = Fixture::new();
    let auth = AuthLayer::new(fixture.tokens.clone());
    let cookie = TokenCookie::builder().name("refresh_token").build().unwrap();
    let endpoints = Endpoints::new(&auth, Arc::new(Users)).refresh_cookie(cookie);
    let logout = async |request: http::request::Builder, body: String| {
        send(endpoints.logout(), request.body(Full::from(body)).unwrap()).await
    };
    let bearer = |token: &str| Request::post("/").header("authorization", format!("Bearer {token}"));
    let typed = |media: &str| Request::post("/").header("content-type", media);
    for (which, wait) in [("access", 3600), ("form", 0), ("form", 3600), ("json", 0), ("cookie", 0)] {
        let pair = fixture.tokens.create_token_pair(NewSession::new("42")).await.unwrap();
        let other = fixture.tokens.create_token_pair(NewSession::new("42")).await.unwrap();
        fixture.advance(wait);
        let refresh = pair.refresh().as_str();
        let answer = match which {
            "access" => logout(bearer(pair.access().as_str()), String::new()).await,
            "form" => logout(typed(FORM), format!("refresh_token={refresh}")).await,
            "json" => logout(typed("application/json"), json!({ "refresh_token": refresh }).to_string()).await,
            _ => {
                let cookie = || Request::post("/").header("cookie", format!("refresh_token={refresh}"));
                assert_eq!(logout(cookie(), String::new()).await.status, 403, "another site may have sent it");
                logout(cookie().header("sec-fetch-site", "same-origin"), String::new()).await
            }
        };
        assert_eq!(answer.status, 200, "{which}: {answer:?}");
        assert_eq!(answer.body, json!({ "message": "Successfully logged out" }));
        let cleared = answer.headers["set-cookie"].to_str().unwrap();
        assert!(cleared.starts_with("refresh_token=; Max-Age=0;"), "{cleared}");
        assert!(fixture.tokens.refresh(refresh).await.is_err(), "{which}");
        fixture.tokens.refresh(other.refresh().as_str()).await.unwrap();
    }

    // An expired token ends its own session only at a logout, and gives no other right.
    let pair = fixture.tokens.create_token_pair(NewSession::new("42")).await.unwrap();
    fixture.advance(3600);
    let expired = pair.access().as_str();
    let request = || bearer(expired).body(Full::default()).unwrap();
    for answer in [
        send(endpoints.logout_all(), request()).await,
        send(endpoints.sessions(), request()).await,
        send(auth.clone().optional().layer(Inner::default()), request()).await,
    ] {
        assert_eq!((answer.status.as_u16(), &answer.body["error"]), (401, &"invalid_token".into()));
    }
    let (signed, _) = expired.rsplit_once('.').unwrap();
    for (bad, status) in
        [(format!("{signed}.AAAA"), 401), (pair.refresh().as_str().to_owned(), 401), ("a b".into(), 400)]
    {
        let answer = logout(bearer(&bad), String::new()).await;
        assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (status, None), "{bad}");
    }
    for (request, body, status) in [
        (Request::post("/"), "", 401),
        (typed(FORM), "", 401),
        (typed("text/plain"), "refresh_token=abc", 401),
        (typed(FORM), "refresh_token=abc", 401),
        (typed(FORM), "refresh_token=abc&refresh_token=abc", 400),
        (typed("application/json"), r#"{"refresh_token":1}"#, 400),
        (Request::get("/"), "", 401),
    ] {
        let answer = logout(request, body.to_owned()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}");
    }
    let access_as_refresh = logout(typed(FORM), format!("refresh_token={expired}")).await;
    assert_eq!(access_as_refresh.status, 401);
    fixture.tokens.refresh(pair.refresh().as_str()).await.expect("the session is still there");
}

#[tokio::test]
async fn a_front_end_on_another_origin_works_through_a_cors_layer() {
    const FRONT_END: &str = "https://app.example.com";
    let app = app_with(|layer| layer.trust_origin(FRONT_END));
    let jar = app.log_in().await;
    let cors = CorsLayer::new()
        .allow_origin(HeaderValue::from_static(FRONT_END))
        .allow_methods([Method::POST])
        .allow_headers([header::CONTENT_TYPE])
        .allow_credentials(true);
    let service = || cors.layer(app.auth.layer(Inner::default()));
    let from = |origin: &'static str, jar: &Jar| {
        let mut request = post(jar);
        request.headers_mut().insert("origin", HeaderValue::from_static(origin));
        request.headers_mut().insert("sec-fetch-site", HeaderValue::from_static("same-site"));
        request
    };
    let preflight = Request::options("/").header("origin", FRONT_END).header("access-control-request-method", "POST");
    let answer = send(service(), preflight.body(Full::default()).unwrap()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers["access-control-allow-origin"].as_bytes()),
        (200, FRONT_END.as_bytes())
    );
    assert_eq!(answer.headers["access-control-allow-credentials"], "true");

    for (jar, status) in [(&jar, 200), (&GONE, 401)] {
        let answer = send(service(), from(FRONT_END, jar)).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.headers["access-control-allow-origin"], FRONT_END, "the script can read rejections too");
    }
    assert_eq!(send(service(), from("https://evil.example.com", &jar)).await.status, 403);
    let refresh = cors.layer(app.browser.refresh());
    assert_eq!(send(refresh, from(FRONT_END, &jar)).await.status, 200);
}

#[tokio::test]
async fn the_cookies_are_as_configured_and_the_layer_must_read_them() {
    let sessions = BrowserSessions::builder().same_site(SameSite::Lax).refresh_path("/auth").build().unwrap();
    let refresh = sessions.refresh_cookie().clear();
    assert_eq!(refresh, "__Secure-refresh=; Max-Age=0; Path=/auth; HttpOnly; Secure; SameSite=Strict");
    let access = sessions.access_cookie().clear();
    assert_eq!(access, "__Host-access=; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax");
    let plain = BrowserSessions::builder().secure(false).build().unwrap();
    assert_eq!((plain.access_cookie().name(), plain.refresh_cookie().name()), ("access", "refresh"));
    assert!(BrowserSessions::builder().refresh_path("auth").build().is_err());
    assert!(BrowserSessions::builder().secure(false).same_site(SameSite::None).build().is_err());
    let auth = AuthLayer::new(Fixture::new().tokens);
    assert_eq!(Endpoints::new(&auth, Arc::new(Users)).browser().unwrap_err().setting(), "browser");
}

#[tokio::test]
async fn with_double_submit_login_sets_the_cookie_and_each_act_by_cookie_needs_the_header() {
    let app = app_with(|layer| layer.double_submit("__Host-csrf", HeaderName::from_static("x-csrf-token")));
    let proof = |answer: &Answer| {
        let mut lines = answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
        let line = lines.find(|line| line.starts_with("__Host-csrf=")).unwrap();
        assert!(!line.contains("HttpOnly") && line.contains("; Secure; SameSite=Strict"), "{line}");
        line.split(['=', ';']).nth(1).unwrap().to_owned()
    };
    let login = send(app.browser.login(), form("username=u&password=right")).await;
    let value = |answer: &Answer, name: &str| {
        let mut lines = answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap().to_owned());
        lines.find(|line| line.starts_with(name)).unwrap().split(['=', ';']).nth(1).unwrap().to_owned()
    };
    let request = |answer: &Answer, header: Option<&str>| {
        let jar = Jar { access: value(answer, "__Host-access"), refresh: value(answer, "__Host-refresh") };
        let cookie = format!("{}; __Host-csrf={}", jar.header(), proof(answer));
        let request = Request::post("/").header("cookie", cookie).header("sec-fetch-site", "same-origin");
        let request = if let Some(header) = header { request.header("x-csrf-token", header) } else { request };
        request.body(Full::default()).unwrap()
    };
    assert!(proof(&login).len() >= 16);
    for header in [None, Some("abc")] {
        for answer in [
            send(app.browser.refresh(), request(&login, header)).await,
            send(app.browser.logout(), request(&login, header)).await,
            send(app.auth.layer(Inner::default()), request(&login, header)).await,
        ] {
            assert_eq!(answer.status, 403, "{header:?}");
        }
    }
    let refreshed = send(app.browser.refresh(), request(&login, Some(&proof(&login)))).await;
    assert_eq!(refreshed.status, 200);
    // A new value would break the requests that another tab has begun.
    assert_eq!(proof(&refreshed), proof(&login));
    let right = proof(&refreshed);
    let answer = send(app.auth.layer(Inner::default()), request(&refreshed, Some(&right))).await;
    assert_eq!(answer.status, 200);
    let all = send(app.browser.logout_all(), request(&refreshed, Some(&right))).await;
    let removed = all.headers.get_all("set-cookie").iter().any(|line| line.as_bytes().starts_with(b"__Host-csrf=;"));
    assert!(all.status == 200 && removed, "{all:?}");
    let logout = send(app.browser.logout(), request(&refreshed, Some(&right))).await;
    assert_eq!((logout.status.as_u16(), proof(&logout).as_str()), (200, ""));

    let sessions = |secure| BrowserSessions::builder().secure(secure).build().unwrap();
    for (sessions, name) in [
        (sessions(true), "__Host-access"),
        (sessions(true), "__Host-refresh"),
        (sessions(false), "access"),
        (sessions(false), "__Host-csrf"),
    ] {
        let layer = AuthLayer::builder(Fixture::new().tokens).browser_sessions(&sessions);
        let error = layer.double_submit(name, HeaderName::from_static("x-csrf-token")).build().unwrap_err();
        assert_eq!(error.setting(), "double_submit", "{name}");
    }
}

#[tokio::test]
async fn a_second_cookie_of_a_neighbour_does_not_keep_the_user_from_the_logout() {
    let app = app();
    let jar = app.log_in().await;
    let request = |cookie: String| {
        let request = Request::post("/").header("cookie", cookie).header("sec-fetch-site", "same-origin");
        request.body(Full::default()).unwrap()
    };
    let before = app.sessions().await;
    let answer = send(app.browser.logout(), request(format!("{}; __Host-refresh=x", jar.header()))).await;
    assert_eq!((answer.status, jar.after(&answer)), (StatusCode::OK, GONE));
    assert_eq!(app.sessions().await, before - 1);
    // Without a usable cookie the logout is refused, and the cookies are removed all the same.
    let answer = send(app.browser.logout(), request("__Host-refresh=x; __Host-refresh=y".to_owned())).await;
    assert_eq!((answer.status.as_u16(), jar.after(&answer)), (400, GONE));
    let answer = send(app.browser.refresh(), request("__Host-refresh=x; __Host-refresh=y".to_owned())).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (400, None));
}

#[tokio::test]
async fn another_site_can_neither_set_nor_remove_a_cookie_through_an_endpoint() {
    let fixture = Fixture::new();
    let access = TokenCookie::builder().build().unwrap();
    let auth = AuthLayer::builder(fixture.tokens.clone()).allow_cookie(access.name()).build().unwrap();
    let plain = Endpoints::new(&auth, Arc::new(Users));
    let with_cookie = plain.clone().access_cookie(access).unwrap();
    let request = |site: &str, body: &str| {
        let request = Request::post("/").header("content-type", FORM).header("sec-fetch-site", site.to_owned());
        request.body(Full::from(body.to_owned())).unwrap()
    };
    for (site, with, without) in [("cross-site", 403, 200), ("same-site", 403, 200), ("same-origin", 200, 200)] {
        for (endpoints, sets_cookies, status) in [(&with_cookie, true, with), (&plain, false, without)] {
            let pair = fixture.tokens.create_token_pair(NewSession::new("42")).await.unwrap();
            let refresh = format!("refresh_token={}", pair.refresh().as_str());
            let answer = send(endpoints.login(), request(site, "username=u&password=right")).await;
            assert_eq!(answer.status.as_u16(), status, "{site}: {answer:?}");
            let answer = send(endpoints.refresh(), request(site, &refresh)).await;
            assert_eq!(answer.status.as_u16(), status, "{site}: {answer:?}");
            let answer = send(endpoints.logout(), request(site, &refresh)).await;
            assert_eq!(answer.status.as_u16(), status, "{site}: {answer:?}");
            let is_removed = answer.headers.contains_key("set-cookie");
            assert_eq!(is_removed, status == 200 && sets_cookies, "{site}");
        }
        // The attacker cannot use the header of a bearer token across sites without CORS.
        let pair = fixture.tokens.create_token_pair(NewSession::new("42")).await.unwrap();
        let bearer = Request::post("/").header("authorization", format!("Bearer {}", pair.access().as_str()));
        let answer =
            send(with_cookie.logout(), bearer.header("sec-fetch-site", site).body(Full::default()).unwrap()).await;
        assert_ne!(answer.status, 403, "{site}");
    }
}

#[tokio::test]
async fn the_inner_service_gets_no_cookie_of_the_session() {
    let app = app_with(|layer| {
        layer.strip_credentials(true).double_submit("__Host-csrf", HeaderName::from_static("x-csrf-token"))
    });
    let pair = app.fixture.tokens.create_token_pair(NewSession::new("42")).await.unwrap();
    let jar = Jar { access: pair.access().as_str().to_owned(), refresh: pair.refresh().as_str().to_owned() };
    let mut request = get(&jar);
    let cookie = format!("{}; __Host-csrf=abc", jar.header());
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    let seen = Arc::new(Mutex::new(None));
    let inner = {
        let seen = Arc::clone(&seen);
        tower::service_fn(move |request: Request<Full<Bytes>>| {
            *seen.lock().unwrap() = request.headers().get("cookie").cloned();
            ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
        })
    };
    assert_eq!(send(app.auth.layer(inner), request).await.status, 200);
    assert_eq!(seen.lock().unwrap().as_ref().unwrap(), "theme=dark");
}

#[tokio::test]
async fn the_token_in_another_cookie_removes_no_cookie_of_the_session() {
    let app = app_with(|layer| layer.allow_cookie("other"));
    let (jar, revoked) = (app.log_in().await, app.log_in().await);
    app.fixture.tokens.revoke_token(&revoked.refresh).await.unwrap();
    let request = |cookie: String| Request::get("/").header("cookie", cookie).body(Full::default()).unwrap();
    let in_other = format!("other={}; __Host-access=; __Host-refresh={}", revoked.access, jar.refresh);
    let answer = send(app.auth.layer(Inner::default()), request(in_other)).await;
    assert_eq!((answer.status.as_u16(), answer.headers.get("set-cookie")), (401, None));
    let answer = send(app.auth.layer(Inner::default()), request(revoked.header())).await;
    assert_eq!((answer.status.as_u16(), revoked.after(&answer)), (401, GONE));
}

//! An application for the rows about endpoints: its users, its token service, and its endpoints.
#![allow(dead_code, reason = "each group takes its own part of this")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use tower_bearer::{
    AuthLayer, BoxError, NoClaims, Subject, TokenService,
    endpoints::Endpoints,
    users::{Credentials, Grant, UserAuthentication},
};

use crate::subject::{Answer, Outcome, bearer, expect_on, send};

/// The users alice and bob. A name is an id too. Passwords are not hashed here: `passwords` tests
/// that.
pub(crate) struct Users(Mutex<HashMap<String, Option<String>>>);

impl Default for Users {
    fn default() -> Self {
        let known = ["alice", "bob"].map(|name| (name.to_owned(), Some(password_of(name))));
        Self(Mutex::new(known.into()))
    }
}

impl Users {
    pub(crate) fn set_password(&self, name: &str, password: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), Some(password.to_owned()));
    }

    /// Disables the account without deleting it.
    pub(crate) fn disable(&self, name: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), None);
    }

    pub(crate) fn delete(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }

    fn password(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap().get(name).cloned().flatten()
    }
}

/// The password that a user has at first.
pub(crate) fn password_of(name: &str) -> String {
    format!("TEST-password-of-{name}")
}

impl UserAuthentication for Users {
    type User = String;
    type Claims = NoClaims;

    async fn authenticate(&self, credentials: Credentials) -> Result<Option<String>, BoxError> {
        let right = self.password(credentials.username()).is_some_and(|own| own == credentials.password());
        Ok(right.then(|| credentials.username().to_owned()))
    }

    async fn user_by_id(&self, id: &Subject) -> Result<Option<String>, BoxError> {
        Ok(self.password(id.as_str()).map(|_| id.to_string()))
    }

    fn user_id(&self, user: &String) -> Subject {
        user.into()
    }

    fn grant(&self, _: &String) -> Grant<NoClaims> {
        Grant::default().scope("read write")
    }
}

/// One node of the application.
pub(crate) struct Application {
    pub(crate) tokens: TokenService,
    pub(crate) users: Arc<Users>,
    pub(crate) endpoints: Endpoints<Users>,
}

/// A token pair as a client receives it.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Application {
    pub(crate) fn of(tokens: &TokenService) -> Self {
        Self::sharing(tokens, &Arc::default())
    }

    /// Returns another node with the same users.
    pub(crate) fn sharing(tokens: &TokenService, users: &Arc<Users>) -> Self {
        let endpoints = Endpoints::new(&AuthLayer::new(tokens.clone()), Arc::clone(users));
        Self { tokens: tokens.clone(), users: Arc::clone(users), endpoints }
    }

    pub(crate) async fn try_login(&self, name: &str, password: &str) -> Answer {
        send(self.endpoints.login(), form(&[("username", name), ("password", password)])).await
    }

    #[track_caller]
    pub(crate) fn log_in(&self, name: &str) -> impl Future<Output = Tokens> {
        let caller = std::panic::Location::caller();
        async move { Tokens::of(&self.try_login(name, &password_of(name)).await, &format!("at {caller}")) }
    }

    pub(crate) async fn try_refresh(&self, refresh: &str) -> Answer {
        send(self.endpoints.refresh(), form(&[("refresh_token", refresh)])).await
    }

    #[track_caller]
    pub(crate) fn renew(&self, tokens: &Tokens) -> impl Future<Output = Tokens> {
        let caller = std::panic::Location::caller();
        async move { Tokens::of(&self.try_refresh(&tokens.refresh).await, &format!("at {caller}")) }
    }

    pub(crate) async fn log_out(&self, access: &str) -> Answer {
        let mut request = bearer(access).body(Full::default()).unwrap();
        *request.method_mut() = http::Method::POST;
        send(self.endpoints.logout(), request).await
    }

    /// Asserts that the access token is accepted over HTTP and gRPC.
    pub(crate) async fn accepts(&self, what: &str, tokens: &Tokens) {
        expect_on(&self.tokens, what, &tokens.access, Outcome::Ok).await;
    }

    /// Asserts that both tokens are refused: 401 `invalid_token` over HTTP, 16 over gRPC, and 400
    /// `invalid_grant` at the token endpoint.
    pub(crate) async fn refuses(&self, what: &str, tokens: &Tokens) {
        expect_on(&self.tokens, what, &tokens.access, Outcome::InvalidToken).await;
        self.refuses_refresh(what, &tokens.refresh).await;
    }

    /// Asserts that a refresh fails: TE400-grant over HTTP, and 16 for an application's own gRPC
    /// service.
    pub(crate) async fn refuses_refresh(&self, what: &str, refresh: &str) {
        assert_invalid_grant(what, &self.try_refresh(refresh).await);
        let refused = self.tokens.refresh(refresh).await.expect_err(what);
        let status = tonic::Status::from(refused);
        assert_eq!((status.code(), status.message()), (tonic::Code::Unauthenticated, "invalid_token"), "{what}");
    }
}

impl Tokens {
    pub(crate) fn of(answer: &Answer, what: &str) -> Self {
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let text = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("{what}: no {name}")).to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

/// Returns a form request as a browser would post it.
pub(crate) fn form(fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    request.body(Full::from(body)).unwrap()
}

/// Asserts the exact bytes of TE400-grant: RFC 6749 section 5.2, without a challenge, and section
/// 5.1 for caches.
#[track_caller]
pub(crate) fn assert_invalid_grant(what: &str, answer: &Answer) {
    assert_failure(what, answer, 400, "invalid_grant", &[]);
}

/// Asserts the exact bytes of TE503.
#[track_caller]
pub(crate) fn assert_unavailable(what: &str, answer: &Answer) {
    assert_failure(what, answer, 503, "temporarily_unavailable", &[("retry-after", "1")]);
}

/// Asserts status, all headers and body of a failure at the token endpoint.
#[track_caller]
pub(crate) fn assert_failure(what: &str, answer: &Answer, status: u16, code: &str, further: &[(&'static str, &str)]) {
    let mut expected = HeaderMap::new();
    let always = [("content-type", "application/json"), ("cache-control", "no-store"), ("pragma", "no-cache")];
    for (name, value) in always.iter().chain(further) {
        expected.insert(*name, HeaderValue::try_from(*value).unwrap());
    }
    let body = format!(r#"{{"error":"{code}"}}"#);
    assert_eq!(
        (answer.status.as_u16(), &answer.headers, &answer.body[..]),
        (status, &expected, body.as_bytes()),
        "{what}"
    );
}

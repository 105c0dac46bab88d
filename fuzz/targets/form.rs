//! Sends any bytes as a form or JSON body to login and refresh. Every request gets a defined
//! answer.
//!
//! The first byte selects endpoint and media type. The rest is the body.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tower::ServiceExt;
use tower_bearer::{
    AuthLayer, BoxError, MemoryStore, NoClaims, Subject, TokenService,
    endpoints::{Endpoint, Endpoints, Login, Refresh},
    users::{Credentials, Grant, UserAuthentication},
};

struct Users;

impl UserAuthentication for Users {
    type User = String;
    type Claims = NoClaims;

    /// Accepts a client that gives its name as its password, as one of 256 users. So the store's
    /// memory is bounded.
    async fn authenticate(&self, credentials: Credentials) -> Result<Option<String>, BoxError> {
        let name = credentials.username();
        Ok((name == credentials.password()).then(|| name.bytes().next().unwrap_or_default().to_string()))
    }

    async fn user_by_id(&self, id: &Subject) -> Result<Option<String>, BoxError> {
        Ok(Some(id.to_string()))
    }

    fn user_id(&self, user: &String) -> Subject {
        user.into()
    }

    fn grant(&self, _: &String) -> Grant<NoClaims> {
        Grant::default()
    }
}

struct Stack {
    runtime: Runtime,
    login: Endpoint<Login<Users>>,
    refresh: Endpoint<Refresh<NoClaims>>,
}

thread_local! {
    static STACK: LazyLock<Stack> = LazyLock::new(|| {
        let tokens = TokenService::builder()
            .secret("TEST secret of the fuzz targets, long enough for HS256")
            .store(MemoryStore::default())
            .max_sessions(1)
            .build()
            .expect("a service");
        let endpoints = Endpoints::new(&AuthLayer::new(tokens), Arc::new(Users));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Stack { runtime, login: endpoints.login(), refresh: endpoints.refresh() }
    });
}

fuzz_target!(|data: &[u8]| STACK.with(|stack| run(stack, data)));

fn run(stack: &Stack, data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let media = if choice & 1 == 0 { "application/x-www-form-urlencoded" } else { "application/json" };
    let request = Request::post("/").header(CONTENT_TYPE, media);
    let request = request.body(Full::<Bytes>::new(Bytes::copy_from_slice(body))).expect("a request");
    let logs_in = choice & 2 == 0;
    let response = stack.runtime.block_on(async {
        if logs_in { stack.login.clone().oneshot(request).await } else { stack.refresh.clone().oneshot(request).await }
    });
    match response.expect("an answer").status().as_u16() {
        200 | 401 => assert!(logs_in),
        400 | 413 => {}
        other => panic!("{other}"),
    }
}

//! The scopes that routes require, and the scopes that imply others.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_bearer::{
    AuthLayer,
    error::ConfigErrorKind,
    middleware::{AuthLayerBuilder, RequireLayer},
};

use crate::support::Fixture;

/// Returns a layer on the fixture's service.
pub(crate) fn layer(fixture: &Fixture, configure: impl FnOnce(AuthLayerBuilder) -> AuthLayerBuilder) -> AuthLayer {
    configure(AuthLayer::builder(fixture.tokens.clone())).build().unwrap()
}

pub(crate) type Answer = (u16, HeaderMap, Bytes);

pub(crate) async fn send<S, R>(service: S, request: http::request::Builder) -> Answer
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible>,
    R: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let (parts, body) = service.oneshot(request.body(Full::default()).unwrap()).await.unwrap().into_parts();
    (parts.status.as_u16(), parts.headers, body.collect().await.unwrap().to_bytes())
}

pub(crate) fn bearer(token: &str) -> http::request::Builder {
    Request::get("/").header("authorization", format!("Bearer {token}"))
}

/// Returns the status and the challenge.
pub(crate) fn challenge((status, headers, _): &Answer) -> (u16, &str) {
    (*status, headers.get("www-authenticate").map_or("", |value| value.to_str().unwrap()))
}

pub(crate) async fn hello(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

/// Sends a request with a token of this scope through two layers.
async fn with_scope(fixture: &Fixture, auth: &AuthLayer, require: &RequireLayer, scope: &str) -> Answer {
    let token = fixture.access(scope).await;
    send(auth.layer(require.layer(service_fn(hello))), bearer(&token)).await
}

#[tokio::test]
async fn combined_requirements_name_all_their_scopes_in_one_challenge() {
    let fixture = Fixture::new();
    let auth = layer(&fixture, |builder| builder);
    let asked = Arc::new(AtomicBool::new(false));
    let rule = auth.require({
        let asked = Arc::clone(&asked);
        move |claims| {
            asked.store(true, Ordering::SeqCst);
            *claims.subject() == "42"
        }
    });
    let read = auth.require_scope("read").unwrap();
    let both = rule.and(read.clone()).and(auth.require_all_scopes(["write", "read"]).unwrap());
    let all = both.and(auth.require_any_scope(["a", "b"]).unwrap());
    for lacking in ["", "read", "read write", "write a", "read a", "reads write a"] {
        let answer = with_scope(&fixture, &auth, &all, lacking).await;
        let expected = r#"Bearer realm="api", error="insufficient_scope", scope="read write a b""#;
        assert_eq!(challenge(&answer), (403, expected), "{lacking}");
    }
    assert!(!asked.load(Ordering::SeqCst), "rules come after scopes");
    for enough in ["read write a", "b write read"] {
        assert_eq!(with_scope(&fixture, &auth, &all, enough).await.0, 200, "{enough}");
    }
    assert!(asked.load(Ordering::SeqCst));
    // The part is not changed.
    assert_eq!(with_scope(&fixture, &auth, &read, "read").await.0, 200);

    let forbidden = r#"Bearer realm="api", error="insufficient_scope""#;
    let never = auth.require(|_| true).and(auth.require(|_| false)).and(read);
    assert_eq!(challenge(&with_scope(&fixture, &auth, &never, "read").await), (403, forbidden));
    let panics = auth.require(|_| panic!("a test's panic, which is caught")).and(auth.require(|_| true));
    assert_eq!(with_scope(&fixture, &auth, &panics, "").await.0, 500);
}

#[tokio::test]
async fn a_scope_satisfies_the_requirements_of_those_that_it_implies() {
    let fixture = Fixture::new();
    let auth = layer(&fixture, |builder| {
        // In an order in which one pass would not find the indirect ones.
        builder
            .scope_implies("root", ["admin"])
            .scope_implies("write", ["read", "list"])
            .scope_implies("admin", ["write"])
            .scope_implies("audit", ["read"])
    });
    let strong = auth.clone().strong();
    let read = strong.require_scope("read").unwrap();
    for enough in ["read", "write", "admin", "root", "audit", "x root"] {
        assert_eq!(with_scope(&fixture, &auth, &read, enough).await.0, 200, "{enough}");
    }
    for lacking in ["", "list", "READ", "roots", "x"] {
        let answer = with_scope(&fixture, &auth, &read, lacking).await;
        let expected = r#"Bearer realm="api", error="insufficient_scope", scope="read""#;
        assert_eq!(challenge(&answer), (403, expected), "{lacking}");
    }
    // An implication has one direction.
    let admin = auth.require_scope("admin").unwrap();
    for (scope, status) in [("read write list audit", 403), ("admin", 200), ("root", 200)] {
        assert_eq!(with_scope(&fixture, &auth, &admin, scope).await.0, status, "{scope}");
    }
    let all = auth.require_all_scopes(["read", "write"]).unwrap();
    for (scope, status) in [("write", 200), ("audit", 403), ("audit write", 200), ("read list", 403)] {
        assert_eq!(with_scope(&fixture, &auth, &all, scope).await.0, status, "{scope}");
    }
    let any = auth.require_any_scope(["list", "other"]).unwrap();
    for (scope, status) in [("root", 200), ("other", 200), ("audit", 403)] {
        assert_eq!(with_scope(&fixture, &auth, &any, scope).await.0, status, "{scope}");
    }
    // The claims are as they were issued.
    let exact = auth.require(|claims| claims.scope().contains("read"));
    assert_eq!(with_scope(&fixture, &auth, &exact, "root").await.0, 403);
    // Another layer on the same service has no implications.
    let other = AuthLayer::new(fixture.tokens.clone()).require_scope("read").unwrap();
    assert_eq!(with_scope(&fixture, &auth, &other, "root").await.0, 403);
}

#[test]
fn a_wrong_implication_is_an_error_of_build() {
    type Configure = fn(AuthLayerBuilder) -> AuthLayerBuilder;
    let fixture = Fixture::new();
    let wrong: [(&str, Configure, ConfigErrorKind); 6] = [
        ("itself", |it| it.scope_implies("a", ["a"]), ConfigErrorKind::Conflict),
        (
            "a circle",
            |it| it.scope_implies("a", ["b"]).scope_implies("b", ["c"]).scope_implies("c", ["a"]),
            ConfigErrorKind::Conflict,
        ),
        ("no scope", |it| it.scope_implies("", ["a"]), ConfigErrorKind::Invalid),
        ("two scopes", |it| it.scope_implies("a b", ["c"]), ConfigErrorKind::Invalid),
        ("no token", |it| it.scope_implies("a", ["b\"c"]), ConfigErrorKind::Invalid),
        ("nothing", |it| it.scope_implies("a", [""; 0]), ConfigErrorKind::Invalid),
    ];
    for (what, configure, kind) in wrong {
        let error = configure(AuthLayer::builder(fixture.tokens.clone())).build().expect_err(what);
        assert_eq!((error.setting(), error.kind()), ("scope_implies", kind), "{what}: {error}");
    }
}

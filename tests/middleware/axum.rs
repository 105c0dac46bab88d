//! The Axum extractors of claims and users.
//!
//! Their rejections are identical to those of the layer.

use std::sync::Arc;

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use tower::ServiceExt;
use tower_bearer::{
    AuthLayer, Claims, Error, NewSession,
    middleware::{CurrentUserLayer, Rejection, RejectionKind},
    users::CurrentUser,
};

use crate::support::{Fixture, Users};

async fn required(claims: Claims) -> String {
    claims.subject().to_string()
}

async fn optional(claims: Option<Claims>) -> String {
    claims.map_or_else(|| "nobody".to_owned(), |claims| claims.subject().to_string())
}

async fn user(user: CurrentUser<String>) -> String {
    user.to_string()
}

async fn optional_user(user: Option<CurrentUser<String>>) -> String {
    user.map_or_else(|| "nobody".to_owned(), |user| user.to_string())
}

async fn fallible(claims: Result<Claims, Rejection>) -> String {
    claims.map_or_else(|missing| format!("{:?}", missing.kind()), |claims| claims.subject().to_string())
}

fn routes() -> Router {
    Router::new()
        .route("/required", get(required))
        .route("/optional", get(optional))
        .route("/user", get(user))
        .route("/optional-user", get(optional_user))
        .route("/fallible", get(fallible))
}

type Answer = (StatusCode, HeaderMap, Bytes);

async fn send(app: &Router, request: Request<Body>) -> (Answer, Option<Rejection>) {
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let rejection = parts.extensions.get::<Rejection>().cloned();
    ((parts.status, parts.headers, body.collect().await.unwrap().to_bytes()), rejection)
}

fn request(path: &str, token: Option<&str>) -> Request<Body> {
    let mut request = Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Body::empty()).unwrap()
}

async fn text(app: &Router, path: &str, token: Option<&str>) -> (u16, String) {
    let ((status, _, body), _) = send(app, request(path, token)).await;
    (status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn claims_reach_the_handler_and_nobody_is_told_from_someone() {
    let fixture = Fixture::new();
    let app = routes().layer(AuthLayer::new(fixture.tokens.clone()).optional());
    let token = fixture.access("").await;
    for path in ["/required", "/optional", "/fallible"] {
        assert_eq!(text(&app, path, Some(&token)).await, (200, "42".to_owned()));
    }
    assert_eq!(text(&app, "/optional", None).await, (200, "nobody".to_owned()));
    assert_eq!(text(&app, "/required", None).await.0, 401);
    assert_eq!(text(&app, "/fallible", None).await, (200, "NoCredentials".to_owned()));
    assert_eq!(text(&app, "/optional", Some("junk")).await.0, 401, "a bad token is not nobody");
}

#[tokio::test]
async fn a_handler_refuses_to_the_byte_as_the_layer_does() {
    let fixture = Fixture::new();
    let problem = |rejection: &Rejection, mut response: http::Response<Bytes>| {
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/problem+json"));
        response.map(|_| Bytes::from(rejection.kind().code()))
    };
    let builder = || AuthLayer::builder(fixture.tokens.clone()).realm("my app").on_rejection(problem);
    let auth = builder().build().unwrap();
    let by_layer = routes().layer(auth.clone());
    let by_handler = routes().layer(auth.clone().optional());
    let exempt = routes().layer(builder().exempt("/required").build().unwrap());
    let switched_off = routes().layer(builder().enabled(false).build().unwrap());
    for (method, content_type) in [
        (Method::GET, "text/plain"),
        (Method::HEAD, "text/plain"),
        (Method::GET, "application/grpc"),
        (Method::GET, "application/grpc-web+proto"),
    ] {
        let ask = || {
            let request = Request::builder().method(&method).uri("/required").header("content-type", content_type);
            request.body(Body::empty()).unwrap()
        };
        let (expected, _) = send(&by_layer, ask()).await;
        for app in [&by_handler, &exempt, &switched_off] {
            let (answer, rejection) = send(app, ask()).await;
            assert_eq!(answer, expected, "{method} {content_type}");
            assert_eq!(rejection.unwrap().kind(), RejectionKind::NoCredentials);
        }
    }
    let ((status, headers, body), _) = send(&by_handler, request("/required", None)).await;
    assert_eq!((status, &body[..]), (StatusCode::UNAUTHORIZED, &b"unauthorized"[..]));
    assert_eq!(headers["www-authenticate"], "Bearer realm=\"my app\"");
}

#[tokio::test]
async fn under_no_layer_every_extractor_is_a_fault_of_ours() {
    let fixture = Fixture::new();
    let token = fixture.access("").await;
    for path in ["/required", "/optional", "/user", "/optional-user"] {
        for token in [None, Some(token.as_str())] {
            let expected = (500, r#"{"error":"server_error"}"#.to_owned());
            assert_eq!(text(&routes(), path, token).await, expected, "{path}");
        }
    }
    assert_eq!(text(&routes(), "/fallible", None).await, (200, "Internal".to_owned()));
}

#[tokio::test]
async fn a_role_check_in_a_handler_rejects_to_the_byte_as_the_layer_does() {
    let fixture = Fixture::new();
    let auth = AuthLayer::builder(fixture.tokens.clone()).realm("my app").build().unwrap();
    let admins = auth.require(|claims: &Claims| claims.subject() == "admin");
    let app: Router = Router::new()
        .route("/layer", get(async || "hello").layer(admins))
        .route(
            "/handler",
            get(
                async |claims: Claims| {
                    if claims.subject() == "admin" { Ok("hello") } else { Err(Rejection::forbidden()) }
                },
            ),
        )
        .route_layer(auth);
    let admin = fixture.tokens.create_access_token(NewSession::new("admin")).await.unwrap();
    let other = fixture.access("").await;
    for path in ["/layer", "/handler"] {
        assert_eq!(text(&app, path, Some(admin.as_str())).await, (200, "hello".to_owned()));
    }
    for (method, content_type) in
        [(Method::GET, "text/plain"), (Method::HEAD, "text/plain"), (Method::GET, "application/grpc")]
    {
        let ask = |path| {
            let mut request = request(path, Some(&other));
            *request.method_mut() = method.clone();
            request.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
            request
        };
        let ((by_layer, _), (by_handler, rejection)) =
            (send(&app, ask("/layer")).await, send(&app, ask("/handler")).await);
        assert_eq!(by_layer, by_handler, "{method} {content_type}");
        assert_eq!(rejection.unwrap().kind(), RejectionKind::InsufficientScope);
    }
    let ((status, headers, _), _) = send(&app, request("/handler", Some(&other))).await;
    assert_eq!(status, 403);
    assert_eq!(headers["www-authenticate"], r#"Bearer realm="my app", error="insufficient_scope""#);
}

#[tokio::test]
async fn errors_are_responses_of_handlers() {
    let fixture = Fixture::new();
    let tokens = fixture.tokens.clone();
    let by_rejection = async move |claims: Claims| -> Result<(), Rejection> {
        tokens.revoke_session(claims.subject(), &"".into()).await?;
        Ok(())
    };
    let app: Router = Router::new()
        .route("/rejection", get(by_rejection))
        .route("/error", get(async || Err::<(), _>(Error::Signing)))
        .route_layer(AuthLayer::new(fixture.tokens.clone()));
    let token = fixture.access("").await;
    assert_eq!(text(&app, "/rejection", Some(&token)).await, (400, r#"{"error":"invalid_request"}"#.to_owned()));
    assert_eq!(text(&app, "/error", Some(&token)).await, (500, r#"{"error":"server_error"}"#.to_owned()));
}

#[derive(Deserialize, Serialize)]
struct Role {
    role: String,
}

#[tokio::test]
async fn claims_of_another_type_than_the_layers_are_a_fault_of_ours() {
    let fixture = Fixture::new();
    let app: Router = Router::new()
        .route("/required", get(async |claims: Claims<Role>| claims.custom().role.clone()))
        .route("/optional", get(async |claims: Option<Claims<Role>>| claims.is_some().to_string()))
        .layer(AuthLayer::new(fixture.tokens.clone()));
    let token = fixture.access("").await;
    for path in ["/required", "/optional"] {
        assert_eq!(text(&app, path, Some(&token)).await.0, 500, "{path}");
    }
}

#[tokio::test]
async fn the_user_reaches_the_handler() {
    let fixture = Fixture::new();
    let auth = AuthLayer::new(fixture.tokens.clone()).optional();
    let users = CurrentUserLayer::new(&auth, Arc::new(Users)).optional();
    let app = routes().layer(users).layer(auth.clone());
    let token = fixture.access("").await;
    for path in ["/user", "/optional-user"] {
        assert_eq!(text(&app, path, Some(&token)).await, (200, "alice".to_owned()), "{path}");
    }
    assert_eq!(text(&app, "/optional-user", None).await, (200, "nobody".to_owned()));
    assert_eq!(text(&app, "/user", None).await.0, 401);
    // The request has a token, but no layer looks the user up.
    let without = routes().layer(auth);
    for path in ["/user", "/optional-user"] {
        assert_eq!(text(&without, path, Some(&token)).await.0, 500, "{path}");
    }
}

#[test]
fn a_failed_login_that_a_handler_returns_is_no_bad_token() {
    for error in [Error::InvalidCredentials, Error::LoginSuperseded] {
        let rejection = Rejection::from(error);
        assert_eq!(rejection.kind(), RejectionKind::InvalidCredentials);
        assert_eq!((rejection.kind().status(), rejection.kind().challenge_error()), (StatusCode::UNAUTHORIZED, None));
    }
}

//! CHL: status, challenge and body of rejections.

use std::sync::Arc;

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use tower::{Layer, ServiceBuilder};
use tower_bearer::{
    AuthLayer, Claims, NewSession,
    endpoints::Endpoints,
    error::StoreErrorKind,
    middleware::{CurrentUserLayer, Rejection, RejectionKind, ResourceMetadata},
};
use tower_http::cors::{Any, CorsLayer};

use crate::{
    subject::{Answer, Outcome, Subject, authorization, bearer, send},
    support::{Behaviour, Users, bad_tokens},
};

type Parameters = Vec<(String, String)>;

/// Parses the single challenge of a field value by RFC 9110 sections 11.2, 11.3 and 5.6: a scheme,
/// 1*SP, and parameters separated by commas. Optional white space and quoted pairs are allowed.
/// Everything else is an error.
fn challenge(value: &str) -> Result<(String, Parameters), String> {
    let (scheme, mut rest) = token(value)?;
    let spaces = rest.len() - rest.trim_start_matches(' ').len();
    if spaces == 0 {
        return Err(format!("no space after the scheme: {rest:?}"));
    }
    rest = &rest[spaces..];
    let mut parameters = Parameters::new();
    loop {
        let (name, after) = token(rest)?;
        let after = white(after).strip_prefix('=').ok_or_else(|| format!("no `=` after {name:?}"))?;
        let (value, after) = match white(after).strip_prefix('"') {
            Some(quoted) => quoted_string(quoted)?,
            None => token(white(after)).map(|(value, after)| (value.to_owned(), after))?,
        };
        if parameters.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Err(format!("{name} twice"));
        }
        parameters.push((name.to_owned(), value));
        match white(after) {
            "" => return Ok((scheme.to_owned(), parameters)),
            more => rest = white(more.strip_prefix(',').ok_or_else(|| format!("no comma before {more:?}"))?),
        }
    }
}

/// Parses 1*tchar.
fn token(text: &str) -> Result<(&str, &str), String> {
    let tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match text.bytes().take_while(|&byte| tchar(byte)).count() {
        0 => Err(format!("no token at {text:?}")),
        len => Ok(text.split_at(len)),
    }
}

/// Parses a quoted string after its opening quote, including the closing one.
fn quoted_string(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(characters.next().ok_or("nothing after `\\`")?.1),
            '\t' | ' '..='~' => value.push(character),
            other => return Err(format!("{other:?} in a quoted string")),
        }
    }
    Err("a quoted string without an end".to_owned())
}

fn white(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

/// Returns the challenge of a rejection, which must have exactly one such field line.
#[track_caller]
fn challenge_of(what: &str, answer: &Answer) -> Parameters {
    let lines: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(lines.len(), 1, "{what}: {answer:?}");
    let (scheme, parameters) =
        challenge(lines[0].to_str().unwrap()).unwrap_or_else(|error| panic!("{what}: {error}: {answer:?}"));
    assert_eq!(scheme, "Bearer", "{what}");
    parameters
}

fn pairs(parameters: &[(&str, &str)]) -> Parameters {
    parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn plain(request: http::request::Builder) -> Request<Full<Bytes>> {
    request.body(Full::default()).unwrap()
}

/// Returns a subject, and an answer for every kind of rejection of its layers.
async fn rejections() -> (Subject, Vec<(String, Answer)>) {
    let subject = Subject::new();
    let (layer, inner, store) = (&subject.layer, &subject.inner, &subject.fixture.store);
    let mut answers = Vec::new();
    let mut note = |what: &str, answer: Answer| answers.push((what.to_owned(), answer));

    note("no field", subject.send(plain(Request::get("/"))).await);
    for value in ["", "Basic dXNlcjpwdw==", "Bearer", "Bearer a b"] {
        note(value, subject.send(plain(authorization(value))).await);
    }
    let bad = bad_tokens(&subject.fixture).await;
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        store.answer(behaviour);
        for (fault, token) in &bad {
            note(fault, subject.send(plain(bearer(token))).await);
        }
    }
    let token = subject.valid().await;
    let scope = layer.require_all_scopes(["read", "write"]).unwrap();
    note("no scope", send(layer.layer(scope.layer(inner.clone())), plain(bearer(&token))).await);
    // 401s of services inside the layer.
    let optional = layer.clone().optional();
    note("a scope of nobody", send(optional.layer(scope.layer(inner.clone())), plain(Request::get("/"))).await);
    let users = CurrentUserLayer::new(layer, Arc::new(Users));
    note("no user", send(optional.layer(users.layer(inner.clone())), plain(Request::get("/"))).await);
    let of = async |user: &str| subject.fixture.tokens.create_access_token(NewSession::new(user)).await.unwrap();
    for (what, user) in [("a deleted user", "7"), ("a failed lookup", "500")] {
        let request = plain(bearer(of(user).await.as_str()));
        note(what, send(layer.layer(users.layer(inner.clone())), request).await);
    }
    let app: Router = Router::new().route("/", get(async |_: Claims| ())).layer(optional);
    note("an extractor", send(app, plain(Request::get("/"))).await);
    let endpoints = Endpoints::new(layer, Arc::new(Users));
    note("an endpoint", send(endpoints.sessions(), plain(Request::get("/"))).await);
    note("an endpoint's bad token", send(endpoints.logout(), plain(bearer("abc").method(Method::POST))).await);
    for kind in [StoreErrorKind::Timeout, StoreErrorKind::Layout] {
        store.answer(Behaviour::Fails(kind));
        note("a store that fails", subject.send(plain(bearer(&token))).await);
    }
    (subject, answers)
}

#[tokio::test]
async fn chl_01_every_401_carries_one_bearer_challenge() {
    let (subject, answers) = rejections().await;
    let mut unauthorized = 0;
    for (what, answer) in &answers {
        match answer.status.as_u16() {
            401 => {
                unauthorized += 1;
                assert_eq!(challenge_of(what, answer)[0], ("realm".to_owned(), "api".to_owned()), "{what}");
            }
            400 | 403 => drop(challenge_of(what, answer)),
            status => {
                assert!([500, 503].contains(&status), "{what}: {status}");
                assert!(!answer.headers.contains_key("www-authenticate"), "{what}: no credential would help");
            }
        }
    }
    assert!(unauthorized > 40, "{unauthorized}");
    assert_eq!(subject.inner.calls(), 0);

    // A failed login is a 401 of RFC 6749 section 5.2, and must have a challenge too (RFC 9110
    // section 15.5.2).
    let endpoints = Endpoints::new(&Subject::new().layer, Arc::new(Users));
    let form = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    let login = form.body(Full::from("username=alice&password=wrong")).unwrap();
    let answer = send(endpoints.login(), login).await;
    assert_eq!(answer.status, 401);
    challenge_of("a login", &answer);
}

#[tokio::test]
async fn chl_02_challenges_are_parameters_parted_by_commas() {
    // The parser accepts everything that RFC 9110 allows and refuses common mistakes.
    let read = |value: &str| challenge(value).map(|(_, parameters)| parameters);
    let known = pairs(&[("realm", "a, b=\"c\""), ("error", "x")]);
    assert_eq!(read(r#"Bearer realm="a, b=\"c\"" ,	error=x"#), Ok(known));
    for wrong in [
        r#"Bearer realm="api" error="invalid_token""#,
        r#"Bearer realm="api", error="invalid_token",, "#,
        r#"Bearer realm="api"; error="invalid_token""#,
        r#"Bearer, realm="api""#,
        r#"Bearer realm="api", realm="api""#,
        r#"Bearer realm="a"b""#,
        "Bearer realm=",
        "Bearer realm=\"api",
        "Bearer",
        "",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }

    let (_, answers) = rejections().await;
    for (what, answer) in &answers {
        if answer.headers.contains_key("www-authenticate") {
            let parameters = challenge_of(what, answer);
            let error = answer.rejection.as_ref().and_then(|rejection| rejection.kind().challenge_error());
            let mut expected = pairs(&[("realm", "api")]);
            expected.extend(error.map(|error| ("error".to_owned(), error.to_owned())));
            if answer.status == 403 {
                expected.extend(pairs(&[("scope", "read write")]));
            }
            assert_eq!(parameters, expected, "{what}");
        }
    }
    // Realms that only a quoted string can hold arrive as they are; others cannot be configured.
    let subject = Subject::new();
    for realm in ["my app", "a, b=c", "Basic realm=x", "!#[]^`{|}~", "x", "=,;/?@"] {
        let layer = subject.builder().realm(realm).build().unwrap();
        let answer = send(layer.layer(subject.inner.clone()), plain(bearer("abc"))).await;
        let expected = pairs(&[("realm", realm), ("error", "invalid_token")]);
        assert_eq!(challenge_of(realm, &answer), expected, "{realm}");
    }
    for realm in ["", "a\"b", "a\\b", "a\r\nSet-Cookie: x", "\t", "\u{fc}", "\0", "\x7f", &"x".repeat(256)] {
        assert_eq!(subject.builder().realm(realm).build().unwrap_err().setting(), "realm", "{realm:?}");
    }
}

#[tokio::test]
async fn chl_03_the_error_codes_are_spelled_as_rfc_6750_spells_them() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let scope = subject.layer.require_scope("write").unwrap();
    for (expected, status, request) in [
        ("invalid_request", 400, bearer("a b")),
        ("invalid_token", 401, bearer("abc")),
        ("insufficient_scope", 403, bearer(&token)),
    ] {
        let service = || subject.layer.layer(scope.layer(subject.inner.clone()));
        let request = plain(request);
        let answer = send(service(), request.clone()).await;
        assert_eq!(answer.status, status, "{expected}");
        // To the byte, in challenge, body, and over gRPC.
        let field = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(field.contains(&format!(r#", error="{expected}""#)), "{field}");
        assert_eq!(answer.body, format!(r#"{{"error":"{expected}"}}"#));
        let mut grpc = request;
        grpc.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        assert_eq!(send(service(), grpc).await.headers["grpc-message"], expected);
    }
    let kinds = [RejectionKind::InvalidRequest, RejectionKind::InvalidToken, RejectionKind::InsufficientScope];
    let codes = kinds.map(|kind| kind.challenge_error().unwrap());
    assert_eq!(codes, ["invalid_request", "invalid_token", "insufficient_scope"]);
    // Without a credential there SHOULD be no error code (section 3.1), nor where another
    // credential would not help.
    for kind in [RejectionKind::NoCredentials, RejectionKind::Unavailable, RejectionKind::Internal] {
        assert_eq!(kind.challenge_error(), None, "{kind:?}");
    }
}

#[tokio::test]
async fn chl_06_whatever_an_error_says_keeps_to_the_characters_of_rfc_6750() {
    let legal = |text: &str| text.bytes().all(|byte| matches!(byte, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    let (subject, mut answers) = rejections().await;
    let endpoints = Endpoints::new(&subject.layer, Arc::new(Users));
    subject.fixture.store.answer(Behaviour::AtOnce);
    for (what, media, body) in [
        ("a refresh", "application/x-www-form-urlencoded", "refresh_token=%22%5C%0d%0a%ff"),
        ("a repeated field", "application/x-www-form-urlencoded", "refresh_token=a&refresh_token=%22"),
        ("a body that is no JSON", "application/json", "{\"refresh_token\":\"\\"),
        ("another media type", "text/plain\"\\", "x"),
    ] {
        let request = || {
            let body = Full::from(body);
            Request::post("/").header("content-type", media).body(body).unwrap()
        };
        answers.push((what.to_owned(), send(endpoints.refresh(), request()).await));
        answers.push((what.to_owned(), send(endpoints.login(), request()).await));
    }
    // What a client sends is nowhere repeated, hence the `"` and `\` in it.
    for (what, answer) in &answers {
        assert!(!answer.status.is_success(), "{what}");
        for line in answer.headers.get_all("www-authenticate") {
            let (_, parameters) = challenge(line.to_str().unwrap()).unwrap();
            for (name, value) in parameters {
                assert!(legal(&value), "{what}: {name}: {value:?}");
                // RFC 6750 section 3: for `scope` also without `!`'s neighbours, so that it splits
                // at single spaces.
                assert!(name != "scope" || value.split(' ').all(|token| !token.is_empty()), "{what}: {value:?}");
            }
        }
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        for (name, value) in body.as_object().unwrap() {
            assert!(legal(value.as_str().unwrap()), "{what}: {name}: {value}");
        }
        assert!(!String::from_utf8_lossy(&answer.body).contains('\\'), "{what}: an escape: {answer:?}");
    }
}

#[tokio::test]
async fn chl_14_a_bad_token_on_a_route_that_needs_a_scope_is_401_and_never_403() {
    let subject = Subject::new();
    let bad = bad_tokens(&subject.fixture).await;
    let scope = subject.layer.require_scope("admin").unwrap();
    let service = || subject.layer.layer(scope.layer(subject.inner.clone()));
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        subject.fixture.store.answer(behaviour);
        // Every one of them lacks the scope too: what is wrong with the token comes first.
        for (fault, token) in &bad {
            subject.expect_of(service(), fault, bearer(token), Outcome::InvalidToken).await;
        }
    }
    subject.expect_of(service(), "no token", Request::get("/"), Outcome::NoCredentials).await;
    subject.expect_of(service(), "malformed", bearer("a b"), Outcome::InvalidRequest).await;
    subject.fixture.store.answer(Behaviour::AtOnce);
    let token = subject.valid().await;
    subject.expect_of(service(), "V", bearer(&token), Outcome::InsufficientScope("admin")).await;
    subject.fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    subject.expect_of(service(), "a store that fails", bearer(&token), Outcome::Unavailable).await;
}

#[tokio::test]
async fn chl_17_the_body_is_json_by_default_and_the_application_may_write_it() {
    let (_, answers) = rejections().await;
    for (what, answer) in &answers {
        let kind = answer.rejection.as_ref().map(Rejection::kind);
        assert_eq!(answer.headers["content-type"], "application/json", "{what}");
        assert_eq!(answer.headers.get_all("content-type").iter().count(), 1, "{what}");
        assert_eq!(answer.headers["content-length"], answer.body.len().to_string(), "{what}");
        let code = kind.unwrap_or_else(|| panic!("{what}: no rejection in the extensions")).code();
        assert_eq!(answer.body, format!(r#"{{"error":"{code}"}}"#), "{what}");
    }

    let subject = Subject::new();
    let text = |body: &'static str| {
        move |_: &Rejection, mut response: http::Response<Bytes>| {
            let media = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert("content-type", media);
            response.map(|_| Bytes::from_static(body.as_bytes()))
        }
    };
    for body in ["", "no", "<html>"] {
        let layer = subject.builder().on_rejection(text(body)).build().unwrap();
        for (request, status, challenged) in [
            (Request::get("/"), 401, r#"Bearer realm="api""#),
            (bearer("abc"), 401, r#"Bearer realm="api", error="invalid_token""#),
            (bearer("a b"), 400, r#"Bearer realm="api", error="invalid_request""#),
        ] {
            let answer = send(layer.layer(subject.inner.clone()), plain(request)).await;
            // The body and what describes it are the application's; all else stays.
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, body.as_bytes()));
            assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8", "{body}");
            assert_eq!(answer.headers["content-length"], body.len().to_string(), "{body}");
            assert_eq!(answer.headers["www-authenticate"], challenged, "{body}");
        }
    }
    // An inner layer refuses with the same body.
    let layer = subject.builder().on_rejection(text("mine")).build().unwrap();
    let scope = layer.require_scope("write").unwrap();
    let token = subject.valid().await;
    let answer = send(layer.layer(scope.layer(subject.inner.clone())), plain(bearer(&token))).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (403, &b"mine"[..]));
    // A hook that panics counts as no hook.
    let panics = |_: &Rejection, _| -> http::Response<Bytes> { panic!("a test's panic, which is caught") };
    let layer = subject.builder().on_rejection(panics).build().unwrap();
    let answer = send(layer.layer(subject.inner.clone()), plain(bearer("abc"))).await;
    answer.assert_refused("a body that panics", Outcome::InvalidToken, false);
}

fn preflight(origin: &str) -> http::request::Builder {
    Request::options("/")
        .header("origin", origin)
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "authorization")
}

#[tokio::test]
async fn chl_20_a_cors_layer_outside_answers_preflights_and_adds_its_headers_to_refusals() {
    const ORIGIN: &str = "https://app.example";
    let subject = Subject::new();
    let cors = || {
        let origin = HeaderValue::from_static(ORIGIN);
        CorsLayer::new().allow_origin(origin).allow_methods(Any).allow_headers(Any)
    };
    let service = ServiceBuilder::new().layer(cors()).layer(subject.layer.clone()).service(subject.inner.clone());
    let answer = send(service.clone(), plain(preflight(ORIGIN))).await;
    assert!(answer.status.is_success(), "{answer:?}");
    assert_eq!(answer.headers["access-control-allow-origin"], ORIGIN);
    assert!(answer.headers.contains_key("access-control-allow-methods") && answer.rejection.is_none());
    assert_eq!((subject.inner.calls(), subject.fixture.store.calls()), (0, 0), "the preflight goes no further");

    // A browser shows a page the 401 only if it carries the header (Fetch, section 3.2).
    for (what, request, status) in [
        ("no token", Request::get("/"), 401),
        ("a bad token", bearer("abc"), 401),
        ("a malformed one", bearer("a b"), 400),
    ] {
        let answer = send(service.clone(), plain(request.header("origin", ORIGIN))).await;
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(answer.headers["access-control-allow-origin"], ORIGIN, "{what}");
        challenge_of(what, &answer);
    }
    let token = subject.valid().await;
    subject.fixture.store.answer(Behaviour::Fails(StoreErrorKind::Unavailable));
    let answer = send(service.clone(), plain(bearer(&token).header("origin", ORIGIN))).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["access-control-allow-origin"]),
        (503, &ORIGIN.parse().unwrap())
    );
    subject.fixture.store.answer(Behaviour::AtOnce);
    let answer = send(service, plain(bearer(&token).header("origin", ORIGIN))).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["access-control-allow-origin"]),
        (200, &ORIGIN.parse().unwrap())
    );

    // Without one outside, OPTIONS is a method like any other: what looks like a preflight opens no
    // door.
    let calls = subject.inner.calls();
    let inside = subject.layer.layer(cors().layer(subject.inner.clone()));
    let answer = send(inside, plain(preflight(ORIGIN))).await;
    answer.assert_refused("a CORS layer inside", Outcome::NoCredentials, false);
    subject.expect("none", preflight(ORIGIN), Outcome::NoCredentials).await;
    subject
        .expect("none, a bad token", preflight(ORIGIN).header("authorization", "Bearer abc"), Outcome::InvalidToken)
        .await;
    assert_eq!(subject.inner.calls(), calls);
}

fn metadata() -> ResourceMetadata {
    ResourceMetadata::builder("https://api.example/v1")
        .authorization_servers(["https://login.example"])
        .scopes_supported(["read", "write"])
        .build()
        .unwrap()
}

#[tokio::test]
async fn chl_24_challenges_name_the_metadata_exactly_where_it_is_configured() {
    const URL: &str = "https://api.example/.well-known/oauth-protected-resource/v1";
    let subject = Subject::new();
    let token = subject.valid().await;
    let configured = subject.layer.clone().resource(metadata());
    for (what, request, status) in [
        ("no token", Request::get("/"), 401),
        ("a bad token", bearer("abc"), 401),
        ("a malformed one", bearer("a b"), 400),
        ("no scope", bearer(&token), 403),
    ] {
        let request = plain(request);
        let answer_of = async |layer: &AuthLayer| {
            let scope = layer.require_scope("write").unwrap();
            send(layer.layer(scope.layer(subject.inner.clone())), request.clone()).await
        };
        let (with, without) = (answer_of(&configured).await, answer_of(&subject.layer).await);
        assert_eq!((with.status.as_u16(), without.status.as_u16()), (status, status), "{what}");
        let expected = [challenge_of(what, &without), pairs(&[("resource_metadata", URL)])].concat();
        assert_eq!(challenge_of(what, &with), expected, "{what}");
        // RFC 9728 section 5.1: quoted.
        let field = with.headers["www-authenticate"].to_str().unwrap();
        assert!(field.ends_with(&format!(r#", resource_metadata="{URL}""#)), "{field}");
        assert!(challenge_of(what, &without).iter().all(|(name, _)| name != "resource_metadata"), "{what}");
        assert_eq!(with.body, without.body, "{what}");
    }
}

#[tokio::test]
async fn dpp_09_the_metadata_is_public_and_names_the_configured_resource() {
    let subject = Subject::new();
    let metadata = metadata();
    let app: Router = Router::new()
        .route("/v1", get(async || ()))
        .route_layer(subject.layer.clone().resource(metadata.clone()))
        .route_service(metadata.path(), metadata.service());
    let refused = send(app.clone(), plain(Request::get("/v1"))).await;
    let url = challenge_of("no token", &refused).pop().unwrap().1;
    let path = url.strip_prefix("https://api.example").unwrap();

    // What a client finds from the challenge, also if another host seems to be asked.
    for host in ["api.example", "evil.example"] {
        let answer = send(app.clone(), plain(Request::get(path).header("host", host))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(!answer.headers.contains_key("www-authenticate"));
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = serde_json::json!({
            "resource": "https://api.example/v1",
            "authorization_servers": ["https://login.example"],
            "scopes_supported": ["read", "write"],
            "bearer_methods_supported": ["header"],
        });
        assert_eq!(document, expected);
    }
}

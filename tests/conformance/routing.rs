//! SMG: attempts to bypass the layer at the level of HTTP.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tower::{Layer, service_fn};
use tower_bearer::{Claims, error::StoreErrorKind, middleware::Rejection};

use crate::{
    subject::{Outcome, Subject, authorization, bearer, send},
    support::{Behaviour, WireServer, bad_tokens, wire::statuses},
};

/// Paths that differ from `/public`, but that some router, proxy or file system treats as `/public`
/// or a path below.
const NOT_PUBLIC: [&str; 44] = [
    "/public/../admin",
    "/public/%2e%2e/admin",
    "//public/../admin",
    "/publicx",
    "/PUBLIC",
    "/public;/admin",
    "/public%2f..%2fadmin",
    "/",
    "//",
    "/public/",
    "/public//",
    "//public",
    "///public",
    "/Public",
    "/publiC",
    "/public;",
    "/public;x=1",
    "/public/..;/admin",
    "/public/.",
    "/public/..",
    "/public/..%2fadmin",
    "/public%2f",
    "/public%2F%2E%2E%2Fadmin",
    "/public%252f..%252fadmin",
    "/public%5c..%5cadmin",
    "/public\\..\\admin",
    "/public%00",
    "/public%00/admin",
    "/public%20",
    "/public%09",
    "/public%0a",
    "/public%23",
    "/public%3f",
    "/public.json",
    "/public*",
    "/%70ublic",
    "/%50UBLIC",
    "/publi%63",
    "/.//public",
    "/./public",
    "/x/../public",
    "/admin/public",
    "/admin?/public",
    "/admin?x=/public",
];

#[tokio::test]
async fn smg_01_an_exempt_path_is_compared_byte_for_byte() {
    let subject = Subject::new().layered(|layer| layer.exempt("/public"));
    for uri in ["/public", "/public?x=1", "/public?/../admin", "http://a.example/public"] {
        subject.expect(uri, Request::get(uri), Outcome::Ok).await;
        assert!(subject.inner.last().extensions.get::<Claims>().is_none(), "{uri}");
    }
    let junk = authorization("Bearer junk").uri("/public");
    subject.expect("a credential is not looked at", junk, Outcome::Ok).await;
    for path in NOT_PUBLIC {
        subject.expect(path, Request::get(path), Outcome::NoCredentials).await;
        subject.expect(path, authorization("Bearer abc").uri(path), Outcome::InvalidToken).await;
        subject.expect(path, Request::options(path), Outcome::NoCredentials).await;
        let absolute = format!("http://public{path}");
        subject.expect(&absolute, Request::get(&absolute), Outcome::NoCredentials).await;
    }
    // A host of that name, an asterisk and a tunnel are no paths of that name.
    subject.expect("a host", Request::get("http://public/admin"), Outcome::NoCredentials).await;
    subject.expect("*", Request::options("*"), Outcome::NoCredentials).await;
    subject.expect("a tunnel", Request::connect("public:443"), Outcome::NoCredentials).await;
    // An exemption takes a path, not a pattern.
    for pattern in ["/p*", "/{path}", "/public/", "/public/*", "*", "", "public", "/public?x=1"] {
        let subject = Subject::new().layered(|layer| layer.exempt(pattern));
        subject.expect(pattern, Request::get("/public?x=1"), Outcome::NoCredentials).await;
    }
}

#[tokio::test]
async fn smg_01_on_the_wire_the_same_paths_are_not_exempt() {
    let subject = Subject::new().layered(|layer| layer.exempt("/public"));
    let server = WireServer::start(subject.layer.layer(subject.inner.clone())).await;
    let ask = async |path: &str, header: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}Connection: close\r\n\r\n");
        statuses(&server.exchange(path, request.as_bytes()).await)
    };
    assert_eq!(ask("/public", "").await, [200]);
    assert_eq!(subject.inner.calls(), 1);
    for path in NOT_PUBLIC {
        // 400 is the server's own answer to what is no request target.
        let answer = ask(path, "").await;
        assert!(answer == [401] || answer == [400], "{path}: {answer:?}");
    }
    // Header fields by which some servers override the path.
    for field in
        ["X-Original-URL: /public", "X-Rewrite-URL: /public", "X-Forwarded-Prefix: /public", "Referer: /public"]
    {
        assert_eq!(ask("/admin", &format!("{field}\r\n")).await, [401], "{field}");
    }
    for field in ["X-HTTP-Method-Override: OPTIONS", "X-Forwarded-For: 127.0.0.1", "Upgrade: h2c"] {
        assert_eq!(ask("/admin", &format!("{field}\r\n")).await, [401], "{field}");
    }
    assert_eq!(subject.inner.calls(), 1);
}

/// A service that records subject and path of its calls, with or without reading the body.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, String)>>>);

impl Seen {
    fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test]
async fn smg_08_a_request_smuggled_in_the_body_of_another_is_never_authenticated_by_it() {
    let subject = Subject::new();
    let token = subject.valid().await;
    for reads_body in [true, false] {
        let seen = Seen::default();
        let inner = {
            let seen = seen.clone();
            service_fn(move |request: Request<Incoming>| {
                let seen = seen.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let subject = parts.extensions.get::<Claims>().expect("claims").subject().to_string();
                    seen.0.lock().unwrap().push((parts.uri.path().to_owned(), subject));
                    if reads_body {
                        let _ = body.collect().await;
                    }
                    Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                }
            })
        };
        let server = WireServer::start(subject.layer.layer(inner)).await;
        let smuggled = "GET /admin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let request = |version: &str, fields: &str, body: &str| {
            format!("POST / {version}\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{fields}\r\n{body}")
        };
        let length = smuggled.len();
        let chunk = format!("{length:x}\r\n{smuggled}\r\n0\r\n\r\n");

        // Framing that is honest, so that what follows shows something: the body is a body, and a
        // second request is one of its own.
        let honest = request("HTTP/1.1", &format!("Content-Length: {length}\r\nConnection: close\r\n"), smuggled);
        assert_eq!(statuses(&server.exchange("honest", honest.as_bytes()).await), [200]);
        let honest = request("HTTP/1.1", "Transfer-Encoding: chunked\r\nConnection: close\r\n", &chunk);
        assert_eq!(statuses(&server.exchange("honest, chunked", honest.as_bytes()).await), [200]);
        let pipelined = request("HTTP/1.1", "Content-Length: 0\r\n", smuggled);
        assert_eq!(statuses(&server.exchange("pipelined", pipelined.as_bytes()).await), [200, 401]);
        let calls = vec![("/".to_owned(), "42".to_owned()); 3];
        assert_eq!(seen.take(), calls, "a connection has no identity: each request shows its own token");

        // (what, version, framing fields, body, whether the server must refuse the first request
        // itself)
        let long = "9".repeat(30);
        let cases = [
            ("CL.TE", "HTTP/1.1", "Content-Length: 200\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", false),
            ("TE.CL", "HTTP/1.1", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &*chunk, false),
            ("two lengths", "HTTP/1.1", "Content-Length: 0\r\nContent-Length: 62\r\n", "", true),
            ("two lengths in a list", "HTTP/1.1", "Content-Length: 0, 62\r\n", "", true),
            ("a length with a sign", "HTTP/1.1", "Content-Length: +5\r\n", "12345", true),
            ("a negative length", "HTTP/1.1", "Content-Length: -5\r\n", "12345", true),
            ("a length in hexadecimal", "HTTP/1.1", "Content-Length: 0x5\r\n", "12345", true),
            ("a length with a fraction", "HTTP/1.1", "Content-Length: 5.0\r\n", "12345", true),
            ("a length in two parts", "HTTP/1.1", "Content-Length: 5 5\r\n", "12345", true),
            ("an empty length", "HTTP/1.1", "Content-Length: \r\n", "", true),
            ("a length that overflows", "HTTP/1.1", &format!("Content-Length: {long}\r\n"), "12345", true),
            ("a space before the colon", "HTTP/1.1", "Content-Length : 5\r\n", "12345", true),
            ("a coding and a space", "HTTP/1.1", "Transfer-Encoding : chunked\r\n", "0\r\n\r\n", true),
            ("an unknown coding", "HTTP/1.1", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", true),
            ("chunked not last", "HTTP/1.1", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n", true),
            ("a coding in HTTP/1.0", "HTTP/1.0", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", true),
            ("a folded coding", "HTTP/1.1", "Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n", true),
            ("a chunk size with a sign", "HTTP/1.1", "Transfer-Encoding: chunked\r\n", "+0\r\n\r\n", false),
            (
                "a chunk size that overflows",
                "HTTP/1.1",
                "Transfer-Encoding: chunked\r\n",
                &format!("{long}\r\n"),
                false,
            ),
            ("a chunk size in hexadecimal", "HTTP/1.1", "Transfer-Encoding: chunked\r\n", "0x0\r\n\r\n", false),
        ];
        for (what, version, fields, body, refused) in cases {
            let bytes = request(version, fields, &format!("{body}{smuggled}"));
            let answers = statuses(&server.exchange_and_leave(what, bytes.as_bytes()).await);
            let calls = seen.take();
            assert!(calls.iter().all(|(path, _)| path == "/"), "{what}: smuggled: {calls:?}");
            assert!(calls.len() <= 1, "{what}: {calls:?}");
            if refused {
                assert_eq!((answers.as_slice(), calls.len()), (&[400][..], 0), "{what}");
            } else {
                // However the server interprets the rest, there is no second success.
                assert!(answers.iter().filter(|&&status| status == 200).count() <= 1, "{what}: {answers:?}");
                assert!(answers.iter().all(|status| [200, 400, 401].contains(status)), "{what}: {answers:?}");
            }
        }
    }
}

#[tokio::test]
async fn smg_11_head_gets_the_decision_of_get() {
    let subject = Subject::new();
    let bad = bad_tokens(&subject.fixture).await;
    let scope = subject.layer.require_scope("read").unwrap();
    let (good, other) = (subject.valid().await, subject.fixture.access("write").await);
    let app = {
        let inner = subject.inner.clone();
        let routes: Router = Router::new().route_service("/", inner).route("/get", get(async |_: Claims| "hello"));
        routes.layer(scope.clone()).layer(subject.layer.clone())
    };
    let mut requests = vec![
        ("no token", String::new(), 401),
        ("another scheme", "Basic dXNlcjpwdw==".to_owned(), 401),
        ("malformed", "Bearer a b".to_owned(), 400),
        ("lacks the scope", format!("Bearer {other}"), 403),
        ("V", format!("Bearer {good}"), 200),
    ];
    requests.extend(bad.iter().map(|(fault, token)| (*fault, format!("Bearer {token}"), 401)));
    let ask = async |method: Method, path: &str, value: &str| {
        let request = authorization(value).method(method).uri(path).body(Full::<Bytes>::default()).unwrap();
        send(app.clone(), request).await
    };
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        subject.fixture.store.answer(behaviour);
        for (what, value, status) in &requests {
            for path in ["/", "/get"] {
                let before = subject.inner.calls();
                let by_get = ask(Method::GET, path, value).await;
                let by_get_calls = subject.inner.calls() - before;
                let by_head = ask(Method::HEAD, path, value).await;
                let calls = subject.inner.calls() - before - by_get_calls;
                assert_eq!((by_get.status.as_u16(), by_head.status), (*status, by_get.status), "{what} {path}");
                assert_eq!(calls, by_get_calls, "{what} {path}");
                assert!(path == "/get" || calls == usize::from(*status == 200), "{what} {path}");
                let kind = |answer: &crate::subject::Answer| answer.rejection.as_ref().map(Rejection::kind);
                assert_eq!(kind(&by_get), kind(&by_head), "{what} {path}");
                if *status != 200 {
                    assert_eq!(by_get.headers, by_head.headers, "{what} {path}");
                    assert!(by_head.body.is_empty(), "{what} {path}");
                }
            }
        }
    }
    subject.fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    for method in [Method::GET, Method::HEAD] {
        let request = bearer(&good).method(method).body(Full::default()).unwrap();
        assert_eq!(subject.send(request).await.status, 503);
    }
    // An exemption is one for HEAD too, and only there.
    let subject = subject.layered(|layer| layer.exempt("/public"));
    for (path, status) in [("/public", 200), ("/public/", 401)] {
        for method in [Method::GET, Method::HEAD] {
            let request = Request::builder().method(method).uri(path).body(Full::default()).unwrap();
            assert_eq!(subject.send(request).await.status, status, "{path}");
        }
    }
}

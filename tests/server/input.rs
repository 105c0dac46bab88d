//! Invalid, too large and too slow bodies.

use std::{
    convert::Infallible,
    future::pending,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tower::ServiceExt;
use tower_bearer::{
    AuthLayer, BoxError, MemoryStore, NoClaims, Subject, TokenService,
    endpoints::Endpoints,
    users::{Credentials, Grant, UserAuthentication},
};

use crate::{
    Store, on_each_store,
    support::http_client::{FORM, JSON},
};

on_each_store!(a_body_that_is_not_what_it_should_be_is_refused_for_what_is_wrong, stalled_bodies_keep_nobody_waiting);

/// The greatest length of a body in bytes.
const LIMIT: usize = 16 * 1024;

async fn a_body_that_is_not_what_it_should_be_is_refused_for_what_is_wrong(store: Store) {
    let server = store.server(&[]);
    // Each path with a valid body as form and JSON, one of its fields, and the same field again.
    for (path, form, json) in [
        ("/login", "username=alice&password=alice-password", r#"{"username":"alice","password":"alice-password"}"#),
        ("/refresh", "refresh_token=abc", r#"{"refresh_token":"abc"}"#),
    ] {
        let field = form.split('=').next().unwrap();
        let wrong_fields = [
            (FORM, String::new()),
            (FORM, "other=1".to_owned()),
            (FORM, form.replace(field, "other")),
            (FORM, form.to_uppercase()),
            (FORM, format!("{form}&{field}=x")),
            (FORM, format!("{field}=%ff&{form}").replacen(&format!("&{field}="), "&other=", 1)),
            (JSON, String::new()),
            (JSON, "{}".to_owned()),
            (JSON, "[]".to_owned()),
            (JSON, "null".to_owned()),
            (JSON, format!("[{json}]")),
            (JSON, format!("{json} x")),
            (JSON, json.replace('}', "")),
            (JSON, json.replacen('{', &format!(r#"{{"{field}":"x","#), 1)),
            (JSON, json.replacen(r#":""#, r#":1,"other":""#, 1)),
            (JSON, json.replacen(r#":""#, r#":null,"other":""#, 1)),
            (JSON, json.replacen(r#":""#, r#":["x"],"other":""#, 1)),
            (JSON, json.replacen(r#":""#, r#":"\ud800","other":""#, 1)),
            (JSON, form.to_owned()),
            (FORM, json.to_owned()),
        ];
        for (media, body) in wrong_fields {
            let answer = server.call(Method::POST, path).header("content-type", media).body(body.clone()).send().await;
            assert_eq!(answer.status, 400, "{path} {body}: {answer:?}");
            assert_eq!(answer.error().as_deref(), Some("invalid_request"), "{path} {body}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{path} {body}");
        }
        let in_query = server.call(Method::POST, &format!("{path}?{form}")).header("content-type", FORM).send().await;
        in_query.expect(400);

        for media in [
            "",
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/xml",
            "form",
            "application/json; charset=utf-16",
        ] {
            let answer = server.call(Method::POST, path).header("content-type", media).body(json).send().await;
            assert_eq!((answer.status.as_u16(), answer.error().as_deref()), (415, Some("invalid_request")), "{media}");
        }
        server.call(Method::POST, path).body(form).send().await.expect(415);
        let twice = server.call(Method::POST, path).header("content-type", FORM).header("content-type", JSON);
        twice.body(form).send().await.expect(415);
        let packed = server.call(Method::POST, path).header("content-type", FORM).header("content-encoding", "gzip");
        packed.body(form).send().await.expect(415);

        for (media, prefix) in [(FORM, "x="), (JSON, "{")] {
            let just_fits = format!("{prefix:x<LIMIT$}");
            let too_large = format!("{just_fits}x");
            for (body, status) in [(just_fits, 400), (too_large, 413)] {
                let call = || server.call(Method::POST, path).header("content-type", media);
                call().body(body.clone()).send().await.expect(status);
                let chunked = call().chunked(body.as_bytes()).send().await.expect(status);
                assert_eq!(chunked.error().as_deref(), Some("invalid_request"));
            }
        }
    }
}

async fn stalled_bodies_keep_nobody_waiting(store: Store) {
    let server = store.server(&[]);
    let stalled: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(server.example.authority()).unwrap();
            let head =
                format!("POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\ncontent-length: 60\r\n\r\nuser");
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    server.call(Method::GET, "/health").send().await.expect(200);
    let tokens = server.log_in("bob").await;
    server.accepts(&tokens).await;
    for mut stream in stalled {
        stream.set_nonblocking(true).unwrap();
        let early = stream.read(&mut [0; 64]);
        assert!(early.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "answered before its time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_within_ten_seconds_is_408() {
    let tokens = TokenService::builder().secret(crate::SECRET).store(MemoryStore::default()).build().unwrap();
    let login = Endpoints::new(&AuthLayer::new(tokens), Arc::new(NoUsers)).login();

    // One byte per second must not keep a connection open. The clock is paused, so the sleep takes
    // no real time.
    let dripping = futures_util::stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"a"))), ()))
    });
    let silent = futures_util::stream::once(pending::<Result<Frame<Bytes>, Infallible>>());
    let request = || Request::post("/login").header("content-type", FORM);

    let began = tokio::time::Instant::now();
    let answer = login.clone().oneshot(request().body(StreamBody::new(Box::pin(dripping))).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 408);
    assert_eq!(began.elapsed().as_secs(), 10);
    let answer = login.oneshot(request().body(StreamBody::new(Box::pin(silent))).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 408);
    assert_eq!(began.elapsed().as_secs(), 20);
}

struct NoUsers;

impl UserAuthentication for NoUsers {
    type User = String;
    type Claims = NoClaims;

    async fn authenticate(&self, _: Credentials) -> Result<Option<String>, BoxError> {
        Ok(None)
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

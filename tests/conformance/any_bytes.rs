//! Arbitrary bytes in a header, query, cookie or body get a defined answer.
//!
//! They never cause a panic or a 500, and reach the inner service only with exactly one good token.

use std::{cell::RefCell, collections::HashSet, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::Full;
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use tokio::runtime::Runtime;
use tower::Layer;
use tower_bearer::{endpoints::Endpoints, middleware::AuthLayerBuilder};

use crate::{
    subject::{Subject, send},
    support::Users,
};

const CASES: u32 = 2000;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// Returns a runner with the same cases at each run, because the test asserts which answers they
/// reach. `fuzz/` covers more.
fn runner() -> TestRunner {
    TestRunner::new_with_rng(ProptestConfig::with_cases(CASES), TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn everywhere(layer: AuthLayerBuilder) -> AuthLayerBuilder {
    layer.allow_query("access_token").allow_cookie("t").allow_header(HeaderName::from_static("x-token"))
}

/// Returns random combinations of texts that are hard to parse. `@` stands for a good token.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => select(vec![
            "Bearer @", "t=@", "access_token=@", "Bearer", "bearer", "Basic", "@", " ", "\t", ",", ";", "=", "\"", "&", "%", "%41", "%ff", "+", "t=", "access_token=",
            "access%5Ftoken=", ".", "..", "eyJhbGciOiJIUzI1NiJ9", "e30", "abc", "==", "*", "\u{fc}", "{", "}",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Returns a request with these fields and this query, where `@` is replaced by a good token.
fn request(
    token: &str,
    fields: &[(&'static str, Vec<u8>)],
    query: Option<&Vec<u8>>,
    body: Vec<u8>,
) -> Request<Full<Bytes>> {
    let filled = |text: &[u8]| text.split(|&byte| byte == b'@').collect::<Vec<_>>().join(token.as_bytes());
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_bytes(&filled(value)) {
            headers.append(*name, value);
        }
    }
    let uri = query.and_then(|query| Uri::from_maybe_shared(Bytes::from([b"/p?", &*filled(query)].concat())).ok());
    let mut request = Request::new(Full::from(Bytes::from(body)));
    *request.headers_mut() = headers;
    *request.uri_mut() = uri.unwrap_or_default();
    request
}

/// Returns the credentials of each place, by a simple independent parser.
fn places(headers: &HeaderMap, uri: &Uri) -> [Vec<String>; 2] {
    let lines =
        |name: &str| headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    let is_bearer = |line: &String| {
        let scheme = line.split([' ', '\t']).find(|word| !word.is_empty()).unwrap_or_default();
        scheme.eq_ignore_ascii_case("bearer")
    };
    let field = lines("authorization").filter(is_bearer);
    let own = lines("x-token").filter(|line| !line.trim_matches([' ', '\t']).is_empty());
    let cookies = lines("cookie").flat_map(|line| line.split(';').map(str::to_owned).collect::<Vec<_>>());
    let cookies =
        cookies.filter(|pair| pair.split_once('=').is_some_and(|(name, _)| name.trim_matches([' ', '\t']) == "t"));
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let query = query.filter(|(name, _)| name == "access_token").map(|(_, value)| value.into_owned());
    [field.collect(), own.chain(cookies).chain(query).collect()]
}

#[test]
fn any_bytes_in_headers_cookies_and_query_get_a_defined_answer() {
    let runtime = runtime();
    let subject = Subject::new();
    let token = runtime.block_on(subject.valid());
    let layers = [
        subject.layer.clone(),
        everywhere(subject.builder()).build().unwrap(),
        everywhere(subject.builder()).strip_credentials(true).build().unwrap(),
        everywhere(subject.builder()).optional().strip_credentials(true).build().unwrap(),
    ];
    let seen = RefCell::new(HashSet::new());
    let field = (select(vec!["authorization", "cookie", "x-token", "host"]), text());
    let strategy = (0..layers.len(), prop::collection::vec(field, 0..4), prop::option::of(text()));
    let mut runner = runner();
    let outcome = runner.run(&strategy, |(index, fields, query)| {
        let request = request(&token, &fields, query.as_ref(), Vec::new());
        let [field, elsewhere] = places(request.headers(), request.uri());
        let found: Vec<_> = if index == 0 { field } else { field.into_iter().chain(elsewhere).collect() };
        let calls = subject.inner.calls();
        let answer = runtime.block_on(send(layers[index].layer(subject.inner.clone()), request));
        let status = answer.status.as_u16();
        let called = subject.inner.calls() > calls;
        prop_assert_eq!(called, status == 200);
        prop_assert!([200, 400, 401].contains(&status), "{}", status);
        // A known client presented exactly one credential, which contains the good token. A second
        // one is never overlooked.
        let known = called && answer.body != "anonymous";
        prop_assert!(!known || found.len() == 1 && found[0].contains(&token), "{found:?}");
        prop_assert!(!called || known || index == 3, "{answer:?}");
        prop_assert!(found.len() < 2 || status == 400, "{found:?}: {answer:?}");
        if called && index >= 2 {
            let seen = subject.inner.last();
            let left = places(&seen.headers, &seen.uri);
            prop_assert!(!seen.headers.contains_key("authorization") && left.iter().all(Vec::is_empty), "{left:?}");
        }
        seen.borrow_mut().insert((status, called && answer.body != "anonymous"));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // The strategy must reach every kind of answer, or the test proves nothing.
    assert_eq!(seen.borrow().len(), 4, "{seen:?}");
}

#[test]
fn any_bytes_in_a_body_get_a_defined_answer() {
    let runtime = runtime();
    let subject = Subject::new();
    let endpoints = Endpoints::new(&subject.layer, Arc::new(Users));
    let media = select(vec![
        "application/x-www-form-urlencoded",
        "application/json",
        "application/json; charset=utf-16",
        "multipart/form-data",
        "",
        "\u{fc}/",
    ]);
    let piece = select(vec![
        "username=",
        "password=",
        "refresh_token=",
        "&",
        "=",
        "%00",
        "%",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"username\"",
        "\"password\"",
        "\"refresh_token\"",
        "\"a\"",
        "\"\\ud800\"",
        "1e999",
        "null",
        "\0",
        "\u{feff}",
    ]);
    let body = prop_oneof![
        3 => prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..64),
        1 => (0_usize..40_000).prop_map(|len| vec![b'a'; len]),
    ];
    let seen = RefCell::new(HashSet::new());
    let mut runner = runner();
    let outcome = runner.run(&(media, body, any::<bool>()), |(media, body, logs_in)| {
        let mut request = request("", &[("content-type", media.as_bytes().to_vec())], None, body);
        *request.method_mut() = http::Method::POST;
        let answer = runtime.block_on(async {
            if logs_in { send(endpoints.login(), request).await } else { send(endpoints.refresh(), request).await }
        });
        let status = answer.status.as_u16();
        prop_assert!([400, 401, 413, 415].contains(&status), "{answer:?}");
        seen.borrow_mut().insert(status);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!([400, 413, 415].iter().all(|status| seen.borrow().contains(status)), "{seen:?}");
}

//! LOC: tokens outside the `Authorization` field, which alone is accepted by default.

use http::{HeaderName, HeaderValue, Request, header::COOKIE, request};
use http_body_util::Full;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::middleware::AuthLayerBuilder;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::subject::{Outcome, Subject, bearer, send};

const X_TOKEN: HeaderName = HeaderName::from_static("x-token");

/// Configures a layer that accepts tokens in every place.
fn everywhere(layer: AuthLayerBuilder) -> AuthLayerBuilder {
    layer.allow_query("access_token").allow_cookie("__Host-token").allow_header(X_TOKEN)
}

fn get(path: &str) -> request::Builder {
    Request::get(path)
}

fn query(token: &str) -> request::Builder {
    get(&format!("/x?access_token={token}"))
}

fn cookie(value: &str) -> request::Builder {
    get("/").header("cookie", value)
}

#[tokio::test]
async fn loc_01_a_token_in_the_query_is_no_credential_by_default() {
    let subject = Subject::new();
    let token = subject.valid().await;
    subject.expect("query", query(&token), Outcome::NoCredentials).await;
    let beside = query(&token).header("authorization", format!("Bearer {token}"));
    subject.expect("a query beside the header", beside, Outcome::Ok).await;
}

#[tokio::test]
async fn loc_02_a_token_in_the_query_is_accepted_where_allowed_and_the_response_is_private() {
    let subject = Subject::new().layered(everywhere);
    let token = subject.valid().await;
    subject.expect("query", query(&token), Outcome::Ok).await;
    subject.expect("among others", get(&format!("/x?a=1&access%5Ftoken={token}&b")), Outcome::Ok).await;
    let escaped = token.replace('.', "%2E");
    subject.expect("escaped", query(&escaped), Outcome::Ok).await;

    let ask = async |cache_control: Option<&'static str>, request: request::Builder| {
        let said = cache_control.map(HeaderValue::from_static);
        let says = SetResponseHeaderLayer::if_not_present(http::header::CACHE_CONTROL, move |_: &_| said.clone());
        let service = ServiceBuilder::new().layer(subject.layer.clone()).layer(says).service(subject.inner.clone());
        let answer = send(service, request.body(Full::default()).unwrap()).await;
        let lines = answer.headers.get_all("cache-control").iter().map(|line| line.to_str().unwrap().to_owned());
        (answer.status.as_u16(), lines.collect::<Vec<_>>().join(", "))
    };
    // Shared caches treat only responses to `Authorization` as private (RFC 9111 section 3.5).
    let elsewhere =
        || [query(&token), cookie(&format!("__Host-token={token}")), get("/").header(X_TOKEN, &token)].into_iter();
    for (said, expected) in [
        (None, "private"),
        (Some("max-age=60"), "max-age=60, private"),
        (Some("no-cache, private"), "no-cache, private"),
        (Some("No-Store"), "No-Store"),
        (Some("no-store, s-maxage=0"), "no-store"),
        (Some("Public, max-age=60, no-cache"), "max-age=60, no-cache, private"),
        (Some("s-maxage=60"), "private"),
        (Some("private=\"set-cookie\""), "private=\"set-cookie\", private"),
    ] {
        for request in elsewhere() {
            assert_eq!(ask(said, request).await, (200, expected.to_owned()), "{said:?}");
        }
    }
    // Nothing is said of responses to others, nor of rejections, which no cache keeps.
    assert_eq!(ask(None, bearer(&token)).await, (200, String::new()));
    assert_eq!(ask(Some("public"), bearer(&token)).await, (200, "public".to_owned()));
}

#[tokio::test]
async fn loc_03_more_than_one_credential_is_malformed_wherever_they_stand() {
    type Put = fn(request::Builder, &str) -> request::Builder;
    let places: [(&str, Put); 3] = [
        ("authorization", |request, token| request.header("authorization", format!("Bearer {token}"))),
        ("x-token", |request, token| request.header(X_TOKEN, token)),
        ("cookie", |request, token| request.header("cookie", format!("__Host-token={token}"))),
    ];
    let subject = Subject::new().layered(everywhere);
    let token = subject.valid().await;
    for (name, put) in places {
        subject.expect(name, put(get("/"), &token), Outcome::Ok).await;
        for second in [token.as_str(), "abc", ""] {
            let what = format!("{name} and {second:?} in the query");
            subject.expect(&what, put(query(second), &token), Outcome::InvalidRequest).await;
        }
        for (other, put_other) in places.iter().filter(|(other, _)| *other != name) {
            for second in [token.as_str(), "abc", "a b"] {
                let both = put_other(put(get("/"), &token), second);
                subject.expect(&format!("{name}, {other}: {second}"), both, Outcome::InvalidRequest).await;
            }
        }
    }
    // Never fall through from a bad credential to a good one.
    for bad in ["Bearer", "Bearer a b", "Bearer abc"] {
        subject.expect(bad, query(&token).header("authorization", bad), Outcome::InvalidRequest).await;
    }
    // Another scheme is no bearer credential, so there is one.
    subject.expect("Basic", query(&token).header("authorization", "Basic YTpi"), Outcome::Ok).await;
}

#[tokio::test]
async fn loc_06_a_repeated_parameter_cookie_or_header_is_malformed() {
    let subject = Subject::new().layered(everywhere);
    let token = subject.valid().await;
    for other in [token.as_str(), "abc", ""] {
        for target in [
            format!("/?access_token={token}&access_token={other}"),
            format!("/?access%5ftoken={other}&access_token={token}"),
        ] {
            subject.expect(&target, get(&target), Outcome::InvalidRequest).await;
        }
        let twice = format!("__Host-token={token}; a=1; __Host-token={other}");
        subject.expect("cookies", cookie(&twice), Outcome::InvalidRequest).await;
        let lines = cookie(&format!("__Host-token={token}")).header("cookie", format!("__Host-token={other}"));
        subject.expect("lines of cookies", lines, Outcome::InvalidRequest).await;
        subject
            .expect("headers", get("/").header(X_TOKEN, &token).header(X_TOKEN, other), Outcome::InvalidRequest)
            .await;
    }
    // Two names for a parameter are two places.
    let subject = Subject::new().layered(|layer| everywhere(layer).allow_query("token"));
    let token = subject.valid().await;
    subject.expect("the other name", get(&format!("/?token={token}")), Outcome::Ok).await;
    let both = get(&format!("/?token={token}&access_token={token}"));
    subject.expect("both names", both, Outcome::InvalidRequest).await;
}

#[tokio::test]
async fn loc_a_text_that_is_no_token_is_judged_alike_wherever_it_stands() {
    let subject = Subject::new().layered(everywhere);
    let token = subject.valid().await;
    let padded = format!("{token}==");
    let long = "a".repeat(8 * 1024 + 1);
    let at_most = "a".repeat(8 * 1024);
    for (text, outcome) in [
        ("abc", Outcome::InvalidToken),
        (padded.as_str(), Outcome::InvalidToken),
        (&at_most, Outcome::InvalidToken),
        (&long, Outcome::InvalidToken),
        ("a,b", Outcome::InvalidRequest),
        ("=", Outcome::InvalidRequest),
        ("{}", Outcome::InvalidRequest),
    ] {
        let name = text.get(..20).unwrap_or(text);
        subject.expect(&format!("authorization: {name}"), bearer(text), outcome).await;
        subject.expect(&format!("header: {name}"), get("/").header(X_TOKEN, text), outcome).await;
        subject.expect(&format!("cookie: {name}"), cookie(&format!("__Host-token={text}")), outcome).await;
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        subject.expect(&format!("query: {name}"), query(&encoded), outcome).await;
    }
    for query in ["access_token=", "access_token", "access_token=%ff", "access_token=a%20b"] {
        subject.expect(query, get(&format!("/?{query}")), Outcome::InvalidRequest).await;
    }
    let far_too_long = query(&"a".repeat(32 * 1024));
    subject.expect("a query that no server takes", far_too_long, Outcome::InvalidRequest).await;
    let many = cookie(&format!("__Host-token={token}; a={}", "b".repeat(32 * 1024)));
    subject.expect("cookies that no server takes", many, Outcome::InvalidRequest).await;
    // An empty field of the application's own is as if absent, as an empty `Authorization` is.
    subject.expect("an empty header", get("/").header(X_TOKEN, " "), Outcome::NoCredentials).await;
    subject.expect("empty beside a good one", bearer(&token).header(X_TOKEN, ""), Outcome::Ok).await;
}

#[tokio::test]
async fn loc_11_a_token_in_a_form_is_never_read() {
    let subject = Subject::new().layered(everywhere);
    let token = subject.valid().await;
    for (method, media) in [
        ("GET", "application/x-www-form-urlencoded"),
        ("POST", "application/x-www-form-urlencoded"),
        ("POST", "multipart/form-data; boundary=x"),
    ] {
        let body = format!("access_token={token}");
        let request = Request::builder().method(method).uri("/").header("content-type", media);
        let answer = subject.send(request.body(Full::from(body)).unwrap()).await;
        answer.assert_refused(media, Outcome::NoCredentials, false);
    }
    assert_eq!(subject.inner.calls(), 0);
}

#[tokio::test]
async fn loc_13_a_token_in_a_cookie_is_no_credential_by_default_and_one_where_allowed() {
    let subject = Subject::new();
    let token = subject.valid().await;
    for name in ["access_token", "__Host-token", "token", "refresh_token"] {
        subject.expect(name, cookie(&format!("{name}={token}")), Outcome::NoCredentials).await;
    }
    subject.expect("x-token", get("/").header(X_TOKEN, &token), Outcome::NoCredentials).await;

    let subject = Subject::new().layered(everywhere);
    let token = subject.valid().await;
    for good in [format!("__Host-token={token}"), format!("a=1; __Host-token=\"{token}\"; b=2")] {
        subject.expect(&good, cookie(&good), Outcome::Ok).await;
    }
    let split = cookie("a=1").header("cookie", format!("__Host-token={token}"));
    subject.expect("a line for each cookie, as HTTP/2 may send them", split, Outcome::Ok).await;
    let no_text = cookie("a=1").header("cookie", HeaderValue::from_bytes(b"b=\xff\xfe").unwrap());
    subject.expect("another's cookie that is no text", no_text, Outcome::NoCredentials).await;
    for other in ["__host-token", "Host-token", "__Host-token2", "x__Host-token"] {
        subject.expect(other, cookie(&format!("{other}={token}")), Outcome::NoCredentials).await;
    }
}

#[test]
fn loc_a_place_that_cannot_hold_a_token_is_a_configuration_error() {
    let layer = || Subject::new().builder();
    for name in ["", "a b", "a;b", "a=b", "t\u{f6}ken", "\"a\""] {
        assert_eq!(layer().allow_cookie(name).build().unwrap_err().setting(), "allow_cookie", "{name}");
    }
    for name in ["", "a b", "a&b", "a=b", "a%20b", "a+b", "t\u{f6}ken"] {
        assert_eq!(layer().allow_query(name).build().unwrap_err().setting(), "allow_query", "{name}");
    }
    for name in [http::header::AUTHORIZATION, COOKIE] {
        assert_eq!(layer().allow_header(name).build().unwrap_err().setting(), "allow_header");
    }
}

#[tokio::test]
async fn loc_what_may_hold_a_credential_is_marked_sensitive() {
    let subject = Subject::new().layered(everywhere);
    let token = subject.valid().await;
    for (name, request) in [
        ("authorization", bearer(&token)),
        ("x-token", get("/").header(X_TOKEN, &token)),
        ("cookie", cookie(&format!("__Host-token={token}"))),
    ] {
        subject.expect(name, request, Outcome::Ok).await;
        assert!(subject.inner.last().headers[name].is_sensitive(), "{name}");
    }
}

#[tokio::test]
async fn aut_33_the_inner_service_sees_the_credential_unless_it_is_to_be_stripped() {
    for strip in [false, true] {
        let subject =
            Subject::new().layered(|layer| everywhere(layer).optional().exempt("/exempt").strip_credentials(strip));
        let token = subject.valid().await;
        let with_all = |request: request::Builder| request.header("cookie", "a=1; b=2").header("x-other", "kept");
        for (name, request) in [
            ("authorization", bearer(&token)),
            ("x-token", get("/").header(X_TOKEN, &token)),
            ("cookie", get("/").header("cookie", format!("c=3; __Host-token={token}; d=4"))),
            ("query", get(&format!("/p?a=%41&access_token={token}&b"))),
            ("exempt", get("/exempt?access_token=x").header("authorization", format!("Bearer {token}"))),
            ("another scheme", get("/").header("authorization", "Basic YTpi")),
        ] {
            subject.expect(name, with_all(request), Outcome::Ok).await;
            let seen = subject.inner.last();
            let shown = format!("{} {:?} {:?}", seen.uri, seen.headers.get("authorization"), seen.headers.get(X_TOKEN));
            let cookies: Vec<_> = seen.headers.get_all("cookie").iter().map(|line| line.to_str().unwrap()).collect();
            let cookies = cookies.join("; ");
            let shows = seen.headers.contains_key("authorization")
                || seen.headers.contains_key(X_TOKEN)
                || cookies.contains("__Host-token")
                || seen.uri.query().is_some_and(|query| query.contains("access_token"));
            assert_eq!(shows, !strip, "{name}: {shown} {cookies}");
            assert!(cookies.ends_with("a=1; b=2") && seen.headers["x-other"] == "kept", "{name}: {cookies}");
            if name == "query" {
                assert_eq!(seen.uri == "/p?a=%41&b", strip, "{shown}");
            }
            if name == "cookie" {
                assert_eq!(cookies.starts_with("c=3; d=4; "), strip, "{cookies}");
            }
        }
    }
}

#[tokio::test]
async fn loc_a_check_that_waits_for_the_store_strips_and_marks_the_same() {
    let subject = Subject::new().layered(|layer| everywhere(layer).strip_credentials(true));
    let token = subject.valid().await;
    subject.fixture.store.answer(crate::support::Behaviour::Late);
    let seen_header = service_fn(async |request: Request<Full<bytes::Bytes>>| {
        assert!(request.uri().query().is_none());
        Ok::<_, std::convert::Infallible>(http::Response::new(Full::<bytes::Bytes>::default()))
    });
    let mut service = subject.layer.clone().layer(seen_header);
    let request = query(&token).body(Full::default()).unwrap();
    let response = service.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["cache-control"]),
        (200, &HeaderValue::from_static("private"))
    );
}

#[tokio::test]
async fn loc_a_place_that_is_allowed_twice_is_one_place() {
    let subject = Subject::new().layered(|layer| everywhere(everywhere(layer)));
    let token = subject.valid().await;
    for request in [query(&token), cookie(&format!("__Host-token={token}")), get("/").header(X_TOKEN, &token)] {
        subject.expect("once in the request", request, Outcome::Ok).await;
    }
}

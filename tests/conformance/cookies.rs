//! COK: the access token in a cookie, set at login and cleared at logout.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Request, request};
use http_body_util::Full;
use tower_bearer::{
    AuthLayer,
    endpoints::{Endpoints, SameSite, TokenCookie, TokenCookieBuilder},
};

use crate::{
    application::{Users, password_of},
    subject::{Answer, Outcome, Subject, bearer, send},
};

fn endpoints(layer: &AuthLayer, cookie: TokenCookieBuilder) -> Endpoints<Users> {
    Endpoints::new(layer, Arc::new(Users::default())).access_cookie(cookie.build().unwrap()).unwrap()
}

fn login() -> String {
    format!("username=alice&password={}", password_of("alice"))
}

fn form(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    request.body(Full::new(body.into())).unwrap()
}

/// Returns a POST of a page of the own site.
fn post(cookie: &str) -> request::Builder {
    Request::post("/").header("cookie", cookie).header("sec-fetch-site", "same-origin")
}

/// Returns the cookies that an answer sets: name, value, and sorted attributes.
fn cookies(answer: &Answer) -> Vec<(String, String, Vec<String>)> {
    let lines = answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
    let cookie = |line: &str| {
        let mut parts = line.split("; ").map(str::to_owned);
        let (name, value) = parts.next().unwrap().split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap();
        let mut attributes: Vec<_> = parts.collect();
        attributes.sort();
        (name, value, attributes)
    };
    lines.map(cookie).collect()
}

fn attributes(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn cok_01_login_and_refresh_set_the_cookie_that_the_layer_reads_with_every_attribute() {
    let subject = Subject::new().layered(|layer| layer.allow_cookie("__Host-access_token"));
    let endpoints = endpoints(&subject.layer, TokenCookie::builder());
    let answer = send(endpoints.login(), form(login())).await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let expected = attributes(&["HttpOnly", "Max-Age=1800", "Path=/", "SameSite=Strict", "Secure"]);
    let token = body["access_token"].as_str().unwrap().to_owned();
    assert_eq!(cookies(&answer), [("__Host-access_token".to_owned(), token.clone(), expected.clone())]);
    assert_eq!(body["expires_in"], 1800);
    assert!(answer.headers["set-cookie"].is_sensitive());

    subject.fixture.advance(60);
    let refresh = form(format!("refresh_token={}", body["refresh_token"].as_str().unwrap()));
    let answer = send(endpoints.refresh(), refresh).await;
    let renewed = cookies(&answer);
    assert_eq!((renewed.len(), &renewed[0].2), (1, &expected));
    assert_ne!(renewed[0].1, token);
    let cookie = format!("__Host-access_token={}", renewed[0].1);
    subject.expect("the cookie as a browser sends it", post(&cookie), Outcome::Ok).await;

    // A failed request sets no cookie.
    let answer = send(endpoints.refresh(), form("refresh_token=abc")).await;
    assert_eq!((answer.status.as_u16(), cookies(&answer).len()), (400, 0));
    let answer = send(endpoints.refresh_without_rotation(), form("refresh_token=abc")).await;
    assert_eq!((answer.status.as_u16(), cookies(&answer).len()), (400, 0));
}

#[test]
fn cok_02_a_host_prefix_allows_no_other_path_no_domain_and_no_missing_secure() {
    let name = TokenCookie::builder().build().unwrap().name().to_owned();
    assert_eq!(name, "__Host-access_token");
    let host = |name: &str| TokenCookie::builder().name(name);
    for name in ["__Host-t", "__host-t", "__HOST-t"] {
        host(name).build().unwrap();
        for bad in [host(name).path("/api"), host(name).domain("example.com"), host(name).secure(false)] {
            assert_eq!(bad.build().unwrap_err().setting(), "cookie", "{name}");
        }
    }
    assert!(host("__Secure-t").path("/api").domain("example.com").build().is_ok());
    assert!(host("__Secure-t").secure(false).build().is_err());
    assert!(host("t").path("/api").domain("example.com").secure(false).build().is_ok());
    for bad in [
        host(""),
        host("a b"),
        host("a=b"),
        host("t").path(""),
        host("t").path("api"),
        host("t").path("/a;b"),
        host("t").path("/a\r\nb"),
        host("t").domain(""),
        host("t").domain("a;b"),
        host("t").domain("\u{e4}.example"),
    ] {
        assert!(bad.clone().build().is_err(), "{bad:?}");
    }
}

#[test]
fn cok_02_a_cookie_that_the_layer_does_not_read_is_a_configuration_error() {
    let layer = || Subject::new().builder();
    let set = |layer: &AuthLayer| {
        Endpoints::new(layer, Arc::new(Users::default()))
            .access_cookie(TokenCookie::builder().build().unwrap())
            .map(drop)
    };
    assert_eq!(set(&layer().build().unwrap()).unwrap_err().setting(), "access_cookie");
    assert!(set(&layer().allow_cookie("__host-access_token").build().unwrap()).is_err());
    assert!(set(&layer().allow_cookie("__Host-access_token").build().unwrap()).is_ok());
}

#[tokio::test]
async fn cok_04_logout_clears_the_cookie_with_the_attributes_it_was_set_with() {
    let subject = Subject::new().layered(|layer| layer.allow_cookie("t"));
    let cookie = TokenCookie::builder().name("t").path("/api").domain("example.com").same_site(SameSite::Lax);
    let endpoints = endpoints(&subject.layer, cookie);
    let log_in = async || cookies(&send(endpoints.login(), form(login())).await).remove(0);
    let of_logout = |answer: &Answer| cookies(answer).into_iter().find(|(name, ..)| name == "t");

    let (_, token, mut set) = log_in().await;
    let request = |token: &str| post(&format!("t={token}")).body(Full::default()).unwrap();
    let answer = send(endpoints.logout(), request(&token)).await;
    set.retain(|attribute| !attribute.starts_with("Max-Age="));
    let (_, value, mut cleared) = of_logout(&answer).unwrap();
    assert!(value.is_empty() && cleared.iter().any(|attribute| attribute == "Max-Age=0"), "{answer:?}");
    cleared.retain(|attribute| attribute != "Max-Age=0");
    assert_eq!(cleared, set);
    assert_eq!(set, attributes(&["Domain=example.com", "HttpOnly", "Path=/api", "SameSite=Lax", "Secure"]));
    subject.expect("the session is dead", post(&format!("t={token}")), Outcome::InvalidToken).await;

    // All sessions: this one's cookie goes with it, and stays where this one stays.
    let (_, token, _) = log_in().await;
    let keep = post(&format!("t={token}")).uri("/?keep_current=true");
    let answer = send(endpoints.logout_all(), keep.body(Full::default()).unwrap()).await;
    assert!(answer.status.is_success() && of_logout(&answer).is_none());
    let answer = send(endpoints.logout_all(), request(&token)).await;
    assert!(answer.status.is_success() && of_logout(&answer).is_some());
}

#[test]
fn cok_05_same_site_none_needs_secure() {
    let none = || TokenCookie::builder().name("t").same_site(SameSite::None);
    assert!(none().build().is_ok());
    assert_eq!(none().secure(false).build().unwrap_err().setting(), "cookie");
    for same_site in [SameSite::Lax, SameSite::Strict] {
        assert!(TokenCookie::builder().name("t").same_site(same_site).secure(false).build().is_ok());
    }
}

#[tokio::test]
async fn cok_07_an_unsafe_request_with_the_cookie_needs_proof_that_the_own_site_caused_it() {
    let subject = Subject::new().layered(|layer| layer.allow_cookie("t"));
    let good = subject.valid().await;
    // The same response for every token, so that it tells another site nothing.
    for token in [good.as_str(), "abc", "a b"] {
        let request = |fields: &[(&str, &str)]| {
            let request = Request::post("/").header("host", "api.example").header("cookie", format!("t={token}"));
            fields.iter().fold(request, |request, (name, value)| request.header(*name, *value))
        };
        for (what, fields) in [
            ("a foreign origin", &[("origin", "https://evil.example")][..]),
            ("an opaque origin", &[("origin", "null")]),
            ("neither field", &[]),
            ("neither field, but a referrer", &[("referer", "https://api.example/")]),
            ("another site", &[("sec-fetch-site", "cross-site"), ("origin", "https://api.example")]),
            ("a neighbouring host", &[("sec-fetch-site", "same-site")]),
        ] {
            subject.expect(what, request(fields), Outcome::CrossSite).await;
            for method in ["PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "PURGE"] {
                subject.expect(what, request(fields).method(method), Outcome::CrossSite).await;
            }
        }
    }
    let request = |method: &str| {
        Request::post("/").method(method).header("host", "api.example").header("cookie", format!("t={good}"))
    };
    for method in ["GET", "HEAD", "OPTIONS"] {
        let foreign = request(method).header("origin", "https://evil.example");
        subject.expect(method, foreign, Outcome::Ok).await;
    }
    // Cross-site WebSocket hijacking.
    let upgrade = |origin: &str| request("GET").header("origin", origin).header("upgrade", "websocket");
    subject.expect("an upgrade", upgrade("https://evil.example"), Outcome::CrossSite).await;
    subject.expect("an upgrade by the own site", upgrade("https://api.example"), Outcome::Ok).await;
    for site in ["same-origin", "none"] {
        subject.expect(site, request("POST").header("sec-fetch-site", site), Outcome::Ok).await;
    }
    subject.expect("own origin", request("POST").header("origin", "https://api.example"), Outcome::Ok).await;
}

#[tokio::test]
async fn cok_07_with_double_submit_a_request_without_the_csrf_header_is_refused() {
    let header = HeaderName::from_static("x-csrf-token");
    let subject = Subject::new().layered(|layer| layer.allow_cookie("t").double_submit("csrf", header));
    let token = subject.valid().await;
    let request = |cookie: &str, header: Option<&str>| {
        let request = post(&format!("t={token}{cookie}"));
        if let Some(header) = header { request.header("x-csrf-token", header) } else { request }
    };
    let long = "x".repeat(20_000);
    for (cookie, header) in [
        ("; csrf=abc", None),
        ("; csrf=abc", Some("")),
        ("; csrf=abc", Some("abd")),
        ("; csrf=abc", Some("abcd")),
        ("; csrf=", Some("")),
        ("", Some("abc")),
        ("", Some("")),
        ("; csrf=abc; csrf=abc", Some("abc")),
        ("", Some(&long)),
    ] {
        subject.expect(cookie, request(cookie, header), Outcome::CrossSite).await;
    }
    let repeated = request("; csrf=abc", Some("abc")).header("x-csrf-token", "abc");
    subject.expect("two headers", repeated, Outcome::CrossSite).await;
    subject.expect("equal values", request("; csrf=abc", Some("abc")), Outcome::Ok).await;
    let foreign = Request::post("/").header("cookie", format!("t={token}; csrf=abc")).header("x-csrf-token", "abc");
    subject.expect("not in place of the source", foreign, Outcome::CrossSite).await;
    subject.expect("a safe method", request("", None).method("GET"), Outcome::Ok).await;
    subject.expect("no cookie", bearer(&token).method("POST"), Outcome::Ok).await;
}

#[tokio::test]
async fn cok_07_the_check_can_be_switched_off_and_an_origin_trusted() {
    let subject = Subject::new().layered(|layer| layer.allow_cookie("t").csrf(false));
    let token = subject.valid().await;
    let request = |origin: &str| Request::post("/").header("cookie", format!("t={token}")).header("origin", origin);
    subject.expect("off", request("https://evil.example"), Outcome::Ok).await;
    let subject = Subject::of(subject.fixture)
        .layered(|layer| layer.allow_cookie("t").trust_origin("https://app.example").trust_origin("http://a:8080"));
    for origin in ["https://app.example", "http://a:8080"] {
        let request = request(origin).header("sec-fetch-site", "cross-site");
        subject.expect(origin, request, Outcome::Ok).await;
    }
    for origin in ["http://app.example", "https://app.example:8443", "http://a", "https://x.app.example"] {
        subject.expect(origin, request(origin), Outcome::CrossSite).await;
    }
    for bad in ["", "null", "app.example", "https://app.example/", "https://*.example", "*"] {
        assert_eq!(subject.builder().trust_origin(bad).build().unwrap_err().setting(), "trust_origin", "{bad}");
    }
    let header = HeaderName::from_static("x-csrf-token");
    let refused = subject.builder().double_submit("a b", header).build().unwrap_err();
    assert_eq!(refused.setting(), "double_submit");
}

#[tokio::test]
async fn cok_08_a_bearer_header_needs_no_cookie_and_no_further_proof() {
    let subject = Subject::new().layered(|layer| layer.allow_cookie("t"));
    let token = subject.valid().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        subject.expect(method, bearer(&token).method(method), Outcome::Ok).await;
    }
    let with_another_cookie = bearer(&token).method("POST").header("cookie", "session=abc");
    subject.expect("beside another's cookie", with_another_cookie, Outcome::Ok).await;
}

#[tokio::test]
async fn cok_08_a_bearer_header_from_another_site_passes() {
    let subject = Subject::new().layered(|layer| layer.allow_cookie("t"));
    let token = subject.valid().await;
    let foreign = || bearer(&token).method("POST").header("origin", "https://evil.example");
    subject.expect("another origin", foreign(), Outcome::Ok).await;
    subject.expect("another site", foreign().header("sec-fetch-site", "cross-site"), Outcome::Ok).await;
    subject.expect("an empty cookie", foreign().header("cookie", "t="), Outcome::Ok).await;
}

//! COK: the access token in a cookie, set at login and cleared at logout.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, request};
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

fn post(cookie: &str) -> request::Builder {
    Request::post("/").header("cookie", cookie)
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
    let keep = Request::post("/?keep_current=true").header("cookie", format!("t={token}"));
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
async fn cok_08_a_bearer_header_needs_no_cookie_and_no_further_proof() {
    let subject = Subject::new().layered(|layer| layer.allow_cookie("t"));
    let token = subject.valid().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        subject.expect(method, bearer(&token).method(method), Outcome::Ok).await;
    }
    let with_another_cookie = bearer(&token).method("POST").header("cookie", "session=abc");
    subject.expect("beside another's cookie", with_another_cookie, Outcome::Ok).await;
}

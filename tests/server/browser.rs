//! The routes for pages in browsers, and the logouts without a valid access token.

use std::{collections::BTreeMap, time::Duration};

use http::Method;
use serde_json::json;

use crate::{Answer, Store, Tokens, is_invalid_token, on_each_store, support::http_client::Call};

on_each_store!(
    a_page_logs_in_by_cookies_refreshes_and_logs_out,
    another_site_is_refused_where_a_cookie_acts,
    logout_takes_a_refresh_token_in_the_body_or_in_its_cookie,
    logout_takes_an_expired_access_token,
);

/// Returns the cookies that an answer sets, by name, and checks their flags.
fn cookies_of(answer: &Answer) -> BTreeMap<String, String> {
    let lines = answer.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
    let cookie = |line: &str| {
        assert!(line.ends_with("; Path=/; HttpOnly; Secure; SameSite=Strict"), "{line}");
        let (name, rest) = line.split_once('=').unwrap();
        (name.to_owned(), rest.split(';').next().unwrap().to_owned())
    };
    lines.map(cookie).collect()
}

fn are_cleared(answer: &Answer) -> bool {
    let cookies = cookies_of(answer);
    cookies.len() == 2 && cookies.values().all(String::is_empty)
}

fn as_header(cookies: &BTreeMap<String, String>) -> String {
    cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

async fn log_in(server: &crate::Server) -> BTreeMap<String, String> {
    let fields = [("username", "alice"), ("password", "alice-password")];
    let answer = server.post_form("/browser/login", &fields).await.expect(200);
    let (cookies, body) = (cookies_of(&answer), answer.json());
    assert_eq!(cookies.keys().collect::<Vec<_>>(), ["__Host-access", "__Host-refresh"]);
    assert_eq!((&body["user_id"], body.as_object().unwrap().len()), (&json!("1"), 2), "{body}");
    assert!(body["expires_in"].as_u64().unwrap() > 1700);
    assert!(cookies.values().all(|token| !String::from_utf8_lossy(&answer.body).contains(token.as_str())));
    cookies
}

fn by_cookie(server: &crate::Server, method: Method, path: &str, cookies: &BTreeMap<String, String>) -> Call {
    server.call(method, path).header("cookie", &as_header(cookies))
}

async fn a_page_logs_in_by_cookies_refreshes_and_logs_out(store: Store) {
    let server = store.server(&[]);
    let wrong = server.post_json("/browser/login", json!({ "username": "alice", "password": "x" })).await.expect(401);
    assert_eq!(wrong.error().as_deref(), Some("invalid_grant"));
    let cookies = log_in(&server).await;
    let me = by_cookie(&server, Method::GET, "/browser/me", &cookies).send().await.expect(200);
    assert_eq!(me.json(), json!({ "user_id": "1", "username": "alice" }));

    let refresh = || {
        // As old browsers send it.
        let origin = server.example.url().to_owned();
        by_cookie(&server, Method::POST, "/browser/refresh", &cookies).header("origin", &origin).send()
    };
    let (one, other) = tokio::join!(refresh(), refresh());
    let (one, other) = (cookies_of(&one.expect(200)), cookies_of(&other.expect(200)));
    assert_eq!(one, other, "two tabs at once");
    by_cookie(&server, Method::GET, "/browser/me", &one).send().await.expect(200);

    let logout = by_cookie(&server, Method::POST, "/browser/logout", &one).header("sec-fetch-site", "same-origin");
    assert!(are_cleared(&logout.send().await.expect(200)));
    let me = by_cookie(&server, Method::GET, "/browser/me", &one).send().await;
    assert!(is_invalid_token(&me) && are_cleared(&me));
    let refused = by_cookie(&server, Method::POST, "/browser/refresh", &one).header("sec-fetch-site", "same-origin");
    assert!(are_cleared(&refused.send().await.expect(401)));
}

async fn another_site_is_refused_where_a_cookie_acts(store: Store) {
    let server = store.server(&[]);
    let cookies = log_in(&server).await;
    for path in ["/browser/refresh", "/browser/logout"] {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("x-none", "of both"),
        ] {
            let answer = by_cookie(&server, Method::POST, path, &cookies).header(name, value).send().await.expect(403);
            assert_eq!(answer.error().as_deref(), Some("forbidden"), "{path} {name}: {value}");
            assert_eq!((answer.header("set-cookie"), answer.header("www-authenticate")), (None, None));
        }
    }
    let foreign = server.call(Method::POST, "/browser/login").header("sec-fetch-site", "cross-site");
    foreign.send().await.expect(403);
    by_cookie(&server, Method::GET, "/browser/me", &cookies).send().await.expect(200);
}

async fn logout_takes_a_refresh_token_in_the_body_or_in_its_cookie(store: Store) {
    let server = store.server(&[]);
    let stays = server.log_in("alice").await;
    let tokens = server.log_in("alice").await;
    let by_form = server.post_form("/logout", &[("refresh_token", &tokens.refresh)]).await.expect(200);
    assert_eq!(by_form.json(), json!({ "message": "Successfully logged out" }));
    assert!(by_form.header("set-cookie").unwrap().starts_with("refresh_token=; Max-Age=0;"));
    server.refuses(&tokens).await;

    let tokens = server.log_in("alice").await;
    server.post_json("/logout", json!({ "refresh_token": tokens.refresh })).await.expect(200);
    server.refuses(&tokens).await;

    let tokens = server.log_in("alice").await;
    let cookie = format!("refresh_token={}", tokens.refresh);
    let by_cookie = || server.call(Method::POST, "/logout").header("cookie", &cookie);
    by_cookie().header("sec-fetch-site", "cross-site").send().await.expect(403);
    server.accepts(&tokens).await;
    by_cookie().header("sec-fetch-site", "same-origin").send().await.expect(200);
    server.refuses(&tokens).await;

    for bad in ["abc", stays.access.as_str()] {
        assert!(is_invalid_token(&server.post_form("/logout", &[("refresh_token", bad)]).await));
    }
    server.accepts(&stays).await;
}

async fn logout_takes_an_expired_access_token(store: Store) {
    let server = store.server(&[("ACCESS_TTL_SECONDS", "1"), ("LEEWAY_SECONDS", "0")]);
    let tokens = server.log_in("alice").await;
    let other: Tokens = server.log_in("alice").await;
    // The server's own clock makes the token expire.
    while server.get("/claims", &tokens.access).await.status != 401 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.post("/logout", &tokens.access).await.expect(200);
    server.refresh(&tokens.refresh).await.expect(400);
    server.refresh(&other.refresh).await.expect(200);
}

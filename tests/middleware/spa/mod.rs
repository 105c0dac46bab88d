//! A newcomer's single-page app. It needed 138 lines of server code before there were browser
//! sessions. It behaves as before, with these exceptions: a logout answers 200 with a message, and
//! 401 without cookies (before: 204); a login also returns the user's id; an act by cookie without
//! `Sec-Fetch-Site` and `Origin` is refused.

mod server;

use std::{collections::BTreeMap, time::Duration};

use axum::{Router, body::Body};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// A browser with the page of the app.
struct Browser {
    app: Router,
    /// The value and the path of each cookie.
    cookies: BTreeMap<String, (String, String)>,
}

impl Browser {
    async fn open(access: Duration) -> Self {
        Self { app: server::app(access).await.unwrap(), cookies: BTreeMap::new() }
    }

    async fn send(&mut self, method: &str, path: &str, site: &str, body: &str) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path).header("sec-fetch-site", site);
        let sent = self.cookies.iter().filter(|(_, (_, prefix))| path.starts_with(prefix.as_str()));
        let sent: Vec<_> = sent.map(|(name, (value, _))| format!("{name}={value}")).collect();
        if !sent.is_empty() {
            request = request.header("cookie", sent.join("; "));
        }
        let request = request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        for line in response.headers().get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let same_site = if line.starts_with("__Host-access=") { "Lax" } else { "Strict" };
            assert!(line.ends_with(&format!("; HttpOnly; Secure; SameSite={same_site}")), "{line}");
            let (name, rest) = line.split_once('=').unwrap();
            let path = rest.split("; ").find_map(|part| part.strip_prefix("Path=")).unwrap();
            if rest.contains("; Max-Age=0;") {
                self.cookies.remove(name);
            } else {
                let value = rest.split(';').next().unwrap();
                self.cookies.insert(name.to_owned(), (value.to_owned(), path.to_owned()));
            }
        }
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        for (value, _) in self.cookies.values() {
            assert!(!String::from_utf8_lossy(&body).contains(value.as_str()), "a token in a body");
        }
        (status, serde_json::from_slice(&body).unwrap_or(Value::String(String::from_utf8_lossy(&body).into_owned())))
    }

    async fn get(&mut self, path: &str) -> (StatusCode, Value) {
        self.send("GET", path, "same-origin", "").await
    }

    async fn post(&mut self, path: &str, body: &str) -> (StatusCode, Value) {
        self.send("POST", path, "same-origin", body).await
    }

    async fn log_in(&mut self) -> (StatusCode, Value) {
        self.post("/auth/login", r#"{"username":"alice","password":"alice-password"}"#).await
    }

    fn names(&self) -> Vec<&str> {
        self.cookies.keys().map(String::as_str).collect()
    }
}

#[test]
fn the_server_of_a_single_page_app_takes_at_most_sixty_lines() {
    assert!(include_str!("server.rs").lines().count() <= 60);
}

#[tokio::test]
async fn a_user_logs_in_is_refreshed_silently_and_logs_out() {
    let mut browser = Browser::open(Duration::from_secs(2)).await;
    assert_eq!(browser.get("/api/me").await.0, 401);
    assert_eq!(browser.get("/greet").await, (StatusCode::OK, json!("stranger")));
    let wrong = browser.post("/auth/login", r#"{"username":"alice","password":"x"}"#).await;
    assert_eq!(wrong, (StatusCode::UNAUTHORIZED, json!({ "error": "invalid_grant" })));
    let (status, body) = browser.log_in().await;
    // The remaining lifetime is rounded down.
    assert_eq!((status, &body["user_id"]), (StatusCode::OK, &json!("1")));
    assert!(body["expires_in"].as_u64().unwrap() >= 1);
    assert_eq!(browser.names(), ["__Host-access", "__Secure-refresh"]);
    loop {
        let (status, body) = browser.get("/api/me").await;
        if status == 401 {
            break;
        }
        assert_eq!(body, json!({ "subject": "1" }));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The token has expired by the clock of the store, which the test cannot set. The page sees the
    // 401, refreshes, and repeats its request.
    assert_eq!(browser.names(), ["__Secure-refresh"]);
    assert_eq!(browser.post("/auth/refresh", "").await.0, 200);
    assert_eq!(browser.names(), ["__Host-access", "__Secure-refresh"]);
    assert_eq!(browser.post("/auth/logout", "").await.0, 200);
    assert!(browser.names().is_empty());
    assert_eq!(browser.get("/api/me").await.0, 401);
    assert_eq!(browser.post("/auth/refresh", "").await.0, 401);
}

#[tokio::test]
async fn another_site_cannot_act_with_the_cookies() {
    let mut browser = Browser::open(Duration::from_secs(60)).await;
    browser.log_in().await;
    assert_eq!(browser.get("/api/me").await, (StatusCode::OK, json!({ "subject": "1" })));
    assert_eq!(browser.get("/greet").await, (StatusCode::OK, json!(1)));
    assert_eq!(browser.post("/api/me", "").await.0, 200);
    for path in ["/api/me", "/auth/refresh", "/auth/logout", "/auth/login"] {
        assert_eq!(browser.send("POST", path, "cross-site", "{}").await.0, 403, "{path}");
    }
    assert_eq!(browser.get("/api/me").await.0, 200);
}

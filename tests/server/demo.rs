//! The example `browser` in a headless Chromium.
//!
//! The pictures of the pages are in `target/tmp/browser-*.png`.

use std::path::Path;

use axum::{Router, response::Html, routing::get};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::{Browser, Example};

const COOKIES: [&str; 2] = ["__Host-access", "__Host-refresh"];

async fn log_in(browser: &Browser, demo: &Example) {
    browser.open(demo.url()).await;
    browser.shows("Password").await;
    browser.type_into("[name=username]", "alice").await;
    browser.type_into("[name=password]", "alice-password").await;
    browser.click("#login button").await;
    browser.shows("Hello, alice").await;
    browser.shows("this device").await;
}

async fn picture(browser: &Browser, name: &str) {
    browser.picture(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{name}.png"))).await;
}

/// Returns the tokens in the cookies.
async fn tokens(browser: &Browser) -> Vec<String> {
    let cookies = browser.cookies().await;
    cookies.iter().map(|cookie| cookie["value"].as_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn a_user_logs_in_reloads_and_logs_out() {
    let (demo, browser) = (Example::start("browser", &[]), Browser::start().await);
    browser.open(demo.url()).await;
    browser.shows("Password").await;
    picture(&browser, "login").await;
    browser.type_into("[name=username]", "alice").await;
    browser.type_into("[name=password]", "wrong").await;
    browser.click("#login button").await;
    browser.shows("User name or password is wrong.").await;
    picture(&browser, "wrong-password").await;

    log_in(&browser, &demo).await;
    browser.shows("live").await;
    picture(&browser, "account").await;
    browser.reload().await;
    browser.shows("Hello, alice").await;
    browser.click("#logout").await;
    browser.shows("You are logged out.").await;
    picture(&browser, "logged-out").await;
    assert_eq!(browser.cookies().await, Vec::<Value>::new());
    assert!(!browser.text().await.contains("alice,"), "{}", browser.text().await);
    browser.reload().await;
    browser.shows("Password").await;
}

#[tokio::test]
async fn no_script_and_no_body_has_a_token() {
    let (demo, browser) = (Example::start("browser", &[]), Browser::start().await);
    log_in(&browser, &demo).await;
    let mut seen = tokens(&browser).await;
    browser.click("#refresh").await;
    browser.shows("refreshed them: 1×").await;
    let cookies = browser.cookies().await;
    let mut names: Vec<_> = cookies.iter().map(|cookie| cookie["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, COOKIES);
    for cookie in &cookies {
        let flags = (&cookie["httpOnly"], &cookie["secure"], &cookie["sameSite"], &cookie["path"]);
        assert_eq!(flags, (&true.into(), &true.into(), &"Strict".into(), &"/".into()), "{cookie}");
        assert!(cookie["expiry"].is_u64(), "{cookie}");
    }
    seen.extend(tokens(&browser).await);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4, "login and refresh set two tokens each");

    // Everything that a script can read, also bodies that the page itself does not read.
    let readable = browser
        .run(
            "const databases = (await indexedDB.databases()).map(({ name }) => name);
             const body = async (path, body) => (await fetch(path, { method: 'POST', body })).text();
             const form = new URLSearchParams({ username: 'alice', password: 'alice-password' });
             return JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }, databases,
               document.documentElement.outerHTML, location.href, history.state, window.name,
               await body('/auth/refresh'), await body('/auth/login', form)])",
        )
        .await;
    seen.extend(tokens(&browser).await);
    let readable = readable.as_str().unwrap();
    assert!(readable.starts_with(r#"["",{},{},[],"#) && readable.contains("user_id"), "{readable}");
    browser.click("#logout").await;
    browser.shows("You are logged out.").await;
    let exchanges = browser.responses().await;
    for path in ["/auth/login", "/auth/refresh", "/auth/logout", "/api/me"] {
        let found = exchanges.iter().find(|exchange| exchange.url.ends_with(path) && exchange.status == 200);
        assert!(found.is_some(), "{path}: {exchanges:?}");
    }
    for token in &seen {
        // Even the signature alone must not appear.
        let signature = token.rsplit('.').next().unwrap();
        assert!(!readable.contains(signature));
        assert!(exchanges.iter().all(|exchange| !exchange.body.contains(signature)), "{exchanges:?}");
        assert!(exchanges.iter().all(|exchange| !exchange.url.contains(signature)), "{exchanges:?}");
    }
}

#[tokio::test]
async fn two_tabs_refresh_at_once_and_a_logout_ends_both() {
    let (demo, browser) = (Example::start("browser", &[]), Browser::start().await);
    log_in(&browser, &demo).await;
    let first = browser.tab().await;
    let second = browser.new_tab().await;
    browser.open(demo.url()).await;
    browser.shows("Hello, alice").await;
    for round in 1..=3 {
        browser.click("#refresh").await;
        for tab in [&first, &second] {
            browser.switch_to(tab).await;
            browser.shows(&format!("refreshed them: {round}×")).await;
        }
    }
    browser.switch_to(&first).await;
    browser.reload().await;
    browser.shows("Hello, alice").await;
    browser.shows("live").await;
    picture(&browser, "second-tab").await;
    browser.click("#logout").await;
    browser.shows("You are logged out.").await;
    browser.switch_to(&second).await;
    browser.shows("Password").await;
    browser.shows("no stream").await;
}

#[tokio::test]
async fn an_expired_access_token_is_refreshed_without_the_user() {
    // Not shorter, because the page needs the token once after the login.
    let variables = [("ACCESS_TTL_SECONDS", "5"), ("LEEWAY_SECONDS", "0")];
    let (demo, browser) = (Example::start("browser", &variables), Browser::start().await);
    log_in(&browser, &demo).await;
    // The browser drops the cookie when its token expires.
    crate::support::eventually("an access token that has expired", async || {
        (browser.cookies().await.len() == 1).then_some(())
    })
    .await;
    browser.reload().await;
    browser.shows("Hello, alice").await;
    browser.shows("refreshed them: ").await;
}

#[tokio::test]
async fn one_device_logs_out_another_and_the_stream_of_that_ends() {
    let demo = Example::start("browser", &[]);
    let (laptop, phone) = tokio::join!(Browser::start(), Browser::start());
    log_in(&laptop, &demo).await;
    log_in(&phone, &demo).await;
    // The list is live: the laptop sees the phone without a reload.
    laptop.shows("Log out that device").await;
    picture(&laptop, "two-devices").await;
    laptop.click("#sessions .other button").await;
    phone.shows("Your session has ended, and with it the stream.").await;
    picture(&phone, "ended").await;
    assert_eq!(phone.cookies().await, Vec::<Value>::new());
    // The laptop's list gets shorter, and its session lives.
    crate::support::eventually("a list with one device", async || {
        (!laptop.text().await.contains("Log out that device")).then_some(())
    })
    .await;
    laptop.shows("Hello, alice").await;

    log_in(&phone, &demo).await;
    laptop.shows("Log out that device").await;
    phone.click("#logout-all").await;
    phone.shows("You are logged out.").await;
    laptop.shows("Your session has ended").await;
}

#[tokio::test]
async fn the_button_back_shows_no_account() {
    let (demo, browser) = (Example::start("browser", &[]), Browser::start().await);
    log_in(&browser, &demo).await;
    let first = browser.tab().await;
    browser.open(&format!("{}/style.css", demo.url())).await;
    // The other tab logs out, so the first page is as it was before.
    browser.new_tab().await;
    browser.open(demo.url()).await;
    browser.shows("Hello, alice").await;
    browser.click("#logout").await;
    browser.shows("You are logged out.").await;
    browser.switch_to(&first).await;
    browser.back().await;
    browser.shows("Password").await;
    assert!(!browser.text().await.contains("Hello"), "{}", browser.text().await);
    let html = browser.run("return document.documentElement.outerHTML").await;
    assert!(!html.as_str().unwrap().contains("<li class"), "a session is in the page: {html}");
}

/// Serves a page whose form posts to `target` at once. Returns the port.
async fn attacker(target: String) -> u16 {
    let page = format!(
        "<form method=post action=\"{target}\"><input name=a value=b></form><script>document.forms[0].submit()</script>"
    );
    let app = Router::new().route("/", get(async move || Html(page.clone())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

#[tokio::test]
async fn a_form_of_another_site_is_refused() {
    let (demo, browser) = (Example::start("browser", &[]), Browser::start().await);
    log_in(&browser, &demo).await;
    for path in ["/auth/logout", "/auth/refresh", "/auth/logout-all", "/auth/login"] {
        let port = attacker(format!("{}{path}", demo.url())).await;
        // Another port of one host is the same site, so the browser adds the cookies even though
        // they are `SameSite=Strict`. Another name of the host is another site.
        for host in ["127.0.0.1", "localhost"] {
            browser.responses().await;
            browser.open(&format!("http://{host}:{port}/")).await;
            let answer = crate::support::eventually("an answer to the form", async || {
                browser.responses().await.into_iter().find(|exchange| exchange.url.ends_with(path))
            })
            .await;
            // `/auth/logout-all` needs a token, and without the cookie there is none.
            let expected = if host == "localhost" && path == "/auth/logout-all" { 401 } else { 403 };
            assert_eq!((answer.status, &*answer.method), (expected, "POST"), "{host} {answer:?}");
        }
    }
    browser.open(demo.url()).await;
    browser.shows("Hello, alice").await;
    assert_eq!(browser.cookies().await.len(), 2);
}

#[tokio::test]
async fn an_outage_is_no_logout() {
    let (demo, browser) = (Example::start("browser", &[]), Browser::start().await);
    log_in(&browser, &demo).await;
    drop(demo);
    browser.shows("The service is not available.").await;
    picture(&browser, "not-available").await;
    assert_eq!(browser.cookies().await.len(), 2);
    assert!(!browser.text().await.contains("logged out"), "{}", browser.text().await);
}

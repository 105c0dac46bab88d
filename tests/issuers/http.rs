//! The fetch of keys over HTTPS.

use std::{error::Error, fmt::Debug, net::Ipv4Addr, time::Duration};

use ::http::header;
use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tower_bearer::{
    KeySet,
    error::ConfigErrorKind,
    issuers::{
        FETCH_DEADLINE, HttpKeys, HttpKeysBuilder, KeySource, KeySourceError, KeySourceErrorKind, PublishedKeys,
    },
    jwt::Algorithm,
};

use crate::support::{
    eventually,
    fake_provider::{Conduct, DISCOVERY, FakeProvider, HUGE, JWKS, OAUTH, public_jwk},
    on_a_paused_clock, test_keys,
};

const MAX_LEN: usize = 512 * 1024;
const PASSWORD: &str = "hidden-password";

fn provider() -> FakeProvider {
    let provider = FakeProvider::start();
    provider.publish([public_jwk(Algorithm::ES256, "first")]);
    provider
}

fn build(builder: HttpKeysBuilder) -> HttpKeys {
    builder.root_certificates(FakeProvider::ca()).build().unwrap()
}

fn by_url(provider: &FakeProvider) -> HttpKeys {
    build(HttpKeys::jwks_url(provider.at(JWKS)))
}

fn by_discovery(provider: &FakeProvider) -> HttpKeys {
    build(HttpKeys::discovery(provider.url()))
}

fn kids(published: &PublishedKeys) -> Vec<String> {
    let keys = KeySet::from_published_jwks(&published.jwks).unwrap();
    keys.verifying_keys().iter().map(|key| key.kid().unwrap().to_owned()).collect()
}

/// Fetches, and returns the text of the error with all its causes. It must have the kind, name the
/// address `place`, have a cause of its own, and contain no password.
async fn failure(keys: &HttpKeys, kind: KeySourceErrorKind, place: &str) -> String {
    failed(keys.fetch().await, kind, place)
}

#[track_caller]
fn failed(result: Result<PublishedKeys, KeySourceError>, kind: KeySourceErrorKind, place: &str) -> String {
    let error = result.unwrap_err();
    let text = format!("{error:?}");
    assert_eq!(error.kind(), kind, "{text}");
    assert!(error.source().is_some(), "{text}");
    assert!(text.contains(place), "{text} does not name {place}");
    assert!(!text.contains(PASSWORD), "{text}");
    text
}

#[track_caller]
fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "{text:?} does not contain {part:?}");
}

#[track_caller]
fn assert_hidden(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    assert!(!text.contains("hidden"), "{text}");
    text
}

#[tokio::test]
async fn the_set_comes_from_its_url() {
    let provider = provider();
    let published = by_url(&provider).fetch().await.unwrap();
    assert_eq!(kids(&published), ["first"]);
    assert_eq!(published.max_age, None);
    assert_eq!((provider.fetches(JWKS), provider.all_fetches()), (1, 1));
}

#[tokio::test]
async fn the_url_of_the_set_comes_from_the_metadata_document() {
    let provider = provider();
    let keys = by_discovery(&provider);
    assert_eq!(kids(&keys.fetch().await.unwrap()), ["first"]);
    assert_eq!((provider.fetches(DISCOVERY), provider.fetches(JWKS), provider.all_fetches()), (1, 1, 2));

    // Each fetch asks for both: `jwks_uri` may change.
    keys.fetch().await.unwrap();
    assert_eq!((provider.fetches(DISCOVERY), provider.fetches(JWKS)), (2, 2));
}

#[tokio::test]
async fn the_path_of_the_issuer_is_part_of_the_address() {
    let provider = provider();
    for path in ["/", "/realms/shop", "/realms/shop/"] {
        let issuer = provider.at(path);
        provider.set_issuer(&issuer);
        build(HttpKeys::discovery(&issuer)).fetch().await.unwrap();
    }
    assert_eq!(provider.fetches(DISCOVERY), 1);
    assert_eq!(provider.fetches("/realms/shop/.well-known/openid-configuration"), 2);
    assert_eq!((provider.fetches(JWKS), provider.all_fetches()), (3, 6));
}

#[tokio::test]
async fn the_document_of_rfc_8414_is_asked_for_only_after_a_404() {
    let provider = provider();
    let issuer = provider.at("/tenant/");
    provider.set_issuer(&issuer);
    let keys = build(HttpKeys::discovery(&issuer));
    let (first, second) = (format!("/tenant{DISCOVERY}"), format!("{OAUTH}/tenant"));

    for status in [500, 403, 204] {
        provider.set(&first, Conduct::Status(status));
        let text = failure(&keys, KeySourceErrorKind::Status, &provider.at(&first)).await;
        assert_contains(&text, &status.to_string());
    }
    assert_eq!(provider.fetches(&second), 0);

    provider.set(&first, Conduct::Status(404));
    assert_eq!(kids(&keys.fetch().await.unwrap()), ["first"]);
    assert_eq!(provider.fetches(&second), 1);

    provider.set(&second, Conduct::Status(404));
    let text = failure(&keys, KeySourceErrorKind::Status, &provider.at(&first)).await;
    assert_contains(&text, &provider.at(&second));
    assert_eq!(provider.fetches(JWKS), 1);
}

#[tokio::test]
async fn the_issuer_of_the_document_must_be_equal_in_every_character() {
    let provider = provider();
    let keys = by_discovery(&provider);
    let others = [
        "https://other.example".to_owned(),
        provider.at("/"),
        provider.url().to_uppercase(),
        provider.at("?"),
        format!(" {}", provider.url()),
        String::new(),
    ];
    for other in others {
        provider.set_issuer(&other);
        let text = failure(&keys, KeySourceErrorKind::WrongIssuer, &provider.at(DISCOVERY)).await;
        assert_contains(&text, &format!("{other:?}"));
        assert_contains(&text, &format!("{:?}", provider.url()));
    }
    provider.set(DISCOVERY, Conduct::Status(404));
    failure(&keys, KeySourceErrorKind::WrongIssuer, &provider.at(OAUTH)).await;
    assert_eq!(provider.fetches(JWKS), 0);
}

#[tokio::test]
async fn a_provider_that_changes_its_issuer_is_noticed_at_the_next_fetch() {
    let provider = provider();
    let keys = by_discovery(&provider);
    keys.fetch().await.unwrap();
    provider.set_issuer("https://thief.example");
    failure(&keys, KeySourceErrorKind::WrongIssuer, &provider.at(DISCOVERY)).await;
    assert_eq!(provider.fetches(JWKS), 1);
}

#[tokio::test]
async fn a_long_text_of_the_server_is_cut_in_errors() {
    let provider = provider();
    provider.set_issuer(&"\n".repeat(100_000));
    let text = failure(&by_discovery(&provider), KeySourceErrorKind::WrongIssuer, &provider.at(DISCOVERY)).await;
    assert!(text.len() < 2000 && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn the_metadata_document_may_have_another_address_and_a_template_as_issuer() {
    let provider = provider();
    let template = provider.at("/{tenantid}/v2.0");
    provider.set_issuer(&template);
    let path = format!("/organizations/v2.0{DISCOVERY}");
    let keys = build(HttpKeys::discovery(&template).metadata_url(provider.at(&path)));
    assert_eq!(kids(&keys.fetch().await.unwrap()), ["first"]);
    assert_eq!((provider.fetches(&path), provider.fetches(JWKS), provider.all_fetches()), (1, 1, 2));

    // The given address is the only one.
    provider.set(&path, Conduct::Status(404));
    failure(&keys, KeySourceErrorKind::Status, &provider.at(&path)).await;
    assert_eq!(provider.all_fetches(), 3);
}

#[tokio::test]
async fn the_metadata_document_may_name_another_host_but_no_http_and_no_credentials() {
    let (provider, other) = (provider(), provider());
    let keys = by_discovery(&provider);
    provider.set_jwks_uri(other.at(JWKS));
    other.publish([public_jwk(Algorithm::RS256, "second")]);
    assert_eq!(kids(&keys.fetch().await.unwrap()), ["second"]);

    let plain = FakeProvider::start_http();
    let refused = [
        (plain.at(JWKS), "https:"),
        (other.at(JWKS).replace("//", &format!("//user:{PASSWORD}@")), "password"),
        (other.at("/jwks#first"), "fragment"),
        (JWKS.to_owned(), "absolute"),
        ("file:///etc/passwd".to_owned(), "absolute"),
        ("https://{}/".to_owned(), "absolute"),
        (format!("https://h/{}", "x".repeat(70_000)), "absolute"),
    ];
    for (uri, problem) in refused {
        provider.set_jwks_uri(uri);
        let text = failure(&keys, KeySourceErrorKind::Unreadable, &provider.at(DISCOVERY)).await;
        assert_contains(&text, "jwks_uri");
        assert_contains(&text, problem);
    }
    for uri in [Value::Null, 7.into(), Value::Array(Vec::new())] {
        provider.set_jwks_uri(uri);
        let text = failure(&keys, KeySourceErrorKind::Unreadable, &provider.at(DISCOVERY)).await;
        assert_contains(&text, "jwks_uri");
    }
    assert_eq!((plain.all_fetches(), other.all_fetches()), (0, 1));
}

#[tokio::test]
async fn http_works_only_if_it_is_allowed() {
    let provider = FakeProvider::start_http();
    provider.publish([public_jwk(Algorithm::ES256, "first")]);
    let error = HttpKeys::jwks_url(provider.at(JWKS)).build().unwrap_err();
    assert_eq!(error.setting(), "jwks_url");

    for builder in [HttpKeys::jwks_url(provider.at(JWKS)), HttpKeys::discovery(provider.url())] {
        assert_eq!(kids(&build(builder.allow_http()).fetch().await.unwrap()), ["first"]);
    }
}

#[tokio::test]
async fn new_and_withdrawn_keys_show_at_the_next_fetch() {
    let provider = provider();
    provider.set_cache_control("max-age=86400");
    let keys = by_url(&provider);
    assert_eq!(kids(&keys.fetch().await.unwrap()), ["first"]);
    provider.add_key(&public_jwk(Algorithm::RS256, "second"));
    assert_eq!(kids(&keys.fetch().await.unwrap()), ["first", "second"]);
    provider.withdraw("first");
    assert_eq!(kids(&keys.fetch().await.unwrap()), ["second"]);
    provider.publish([""; 0]);
    assert_eq!(keys.fetch().await.unwrap().jwks, r#"{"keys":[]}"#);
    assert_eq!(provider.fetches(JWKS), 4);
}

#[tokio::test]
async fn the_cache_control_of_the_set_gives_its_lifetime() {
    let provider = provider();
    // The metadata documents say `max-age=7`, which must not count.
    for keys in [by_url(&provider), by_discovery(&provider)] {
        for (value, seconds) in [
            ("public, max-age=300", Some(300)),
            ("no-store", Some(0)),
            ("max-age=300, no-cache", Some(0)),
            ("s-maxage=300", None),
        ] {
            provider.set_cache_control(value);
            let published = keys.fetch().await.unwrap();
            assert_eq!(published.max_age, seconds.map(Duration::from_secs), "{value}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_is_unreadable() {
    let provider = provider();
    let keys = by_url(&provider);
    let answers: [(&str, &[u8]); 8] = [
        ("text/html", b"<!DOCTYPE html><title>Log in</title>"),
        ("application/json", b""),
        ("application/json", b"[]"),
        ("application/json", b"{}"),
        ("application/json", br#"{"keys":{}}"#),
        ("application/json", br#"{"keys":[]"#),
        ("application/json", br#"{"keys":[]} {"keys":[]}"#),
        ("application/json", b"{\"keys\":[\"\xff\"]}"),
    ];
    for (content_type, body) in answers {
        provider.set(JWKS, Conduct::Body(content_type, Bytes::from_static(body)));
        let text = failure(&keys, KeySourceErrorKind::Unreadable, &provider.at(JWKS)).await;
        assert_contains(&text, content_type);
    }
    // The `Content-Type` does not matter if the body is right: many servers have a wrong one.
    provider.set(JWKS, Conduct::Body("text/plain", Bytes::from_static(br#"{"keys":[{"kty":"new"}],"more":1}"#)));
    keys.fetch().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_no_metadata_document_is_unreadable() {
    let provider = provider();
    let keys = by_discovery(&provider);
    let answers: [(&str, &[u8]); 5] = [
        ("text/html", b"<!DOCTYPE html><title>Log in</title>"),
        ("application/json", b"{}"),
        ("application/json", br#"{"issuer":["https://login.example"]}"#),
        ("application/json", br#"{"issuer":"a","issuer":"b"}"#),
        ("application/json", b"\xff"),
    ];
    for (content_type, body) in answers {
        provider.set(DISCOVERY, Conduct::Body(content_type, Bytes::from_static(body)));
        let text = failure(&keys, KeySourceErrorKind::Unreadable, &provider.at(DISCOVERY)).await;
        assert_contains(&text, content_type);
    }
    assert_eq!(provider.all_fetches(), 5);
}

#[tokio::test]
async fn only_the_status_200_counts() {
    let provider = provider();
    let keys = by_url(&provider);
    for status in [201, 203, 204, 300, 304, 305, 400, 401, 404, 429, 500, 503] {
        provider.set(JWKS, Conduct::Status(status));
        let text = failure(&keys, KeySourceErrorKind::Status, &provider.at(JWKS)).await;
        assert_contains(&text, &status.to_string());
    }
    assert_eq!(provider.fetches(JWKS), 12, "nothing is sent twice");
    provider.set(JWKS, Conduct::Serve);
    keys.fetch().await.unwrap();
}

#[tokio::test]
async fn a_huge_answer_is_broken_off_early() {
    let provider = provider();
    for declared in [true, false] {
        for (path, keys) in [(JWKS, by_url(&provider)), (DISCOVERY, by_discovery(&provider))] {
            let before = provider.huge_bytes();
            provider.set(path, Conduct::Huge { declared });
            let text = failure(&keys, KeySourceErrorKind::TooLarge, &provider.at(path)).await;
            assert_contains(&text, "512 KiB");
            // The connection is closed by now. The rest is in the buffers of the kernel.
            let sent = provider.huge_bytes() - before;
            assert!(sent > MAX_LEN as u64 && sent < HUGE as u64 / 2, "{sent} bytes were sent");
        }
    }
}

#[tokio::test]
async fn an_answer_may_have_512_kib() {
    let provider = provider();
    let keys = by_url(&provider);
    let body = |length: usize| {
        let text = r#"{"keys":[]}"#;
        Conduct::Body("application/json", format!("{text}{}", " ".repeat(length - text.len())).into())
    };
    provider.set(JWKS, body(MAX_LEN));
    assert_eq!(keys.fetch().await.unwrap().jwks.len(), MAX_LEN);
    provider.set(JWKS, body(MAX_LEN + 1));
    failure(&keys, KeySourceErrorKind::TooLarge, &provider.at(JWKS)).await;
}

#[tokio::test]
async fn up_to_three_redirects_on_the_same_server_are_followed() {
    let provider = provider();
    let keys = build(HttpKeys::jwks_url(provider.at("/1")));
    provider.set("/1", Conduct::Redirect("/2".to_owned()));
    provider.set("/2", Conduct::Redirect(provider.at("/3")));
    provider.set("/3", Conduct::Redirect("jwks?x=1".to_owned()));
    assert_eq!(kids(&keys.fetch().await.unwrap()), ["first"]);
    assert_eq!((provider.fetches(JWKS), provider.all_fetches()), (1, 4));

    provider.set("/3", Conduct::Redirect("/4".to_owned()));
    provider.set("/4", Conduct::Redirect(JWKS.to_owned()));
    let text = failure(&keys, KeySourceErrorKind::Status, &provider.at("/1")).await;
    assert_contains(&text, "3 times");
    assert_eq!((provider.fetches(JWKS), provider.fetches("/4")), (1, 1));

    provider.set("/1", Conduct::RedirectNowhere);
    failure(&keys, KeySourceErrorKind::Status, &provider.at("/1")).await;
}

#[tokio::test]
async fn a_redirect_to_another_host_port_or_scheme_is_not_followed() {
    let (provider, other) = (provider(), provider());
    let plain = FakeProvider::start_http();
    let targets = [
        (other.at(JWKS), other.at(JWKS)),
        (plain.at(JWKS), plain.at(JWKS)),
        (format!("//localhost:{}{JWKS}", provider.port()), format!("https://localhost:{}{JWKS}", provider.port())),
        (provider.at(JWKS).replace("//", &format!("//user:{PASSWORD}@")), provider.at(JWKS)),
        ("file:///etc/passwd".to_owned(), "null".to_owned()),
    ];
    for allow_http in [false, true] {
        for path in [JWKS, DISCOVERY] {
            let builder =
                if path == JWKS { HttpKeys::jwks_url(provider.at(path)) } else { HttpKeys::discovery(provider.url()) };
            let keys = build(if allow_http { builder.allow_http() } else { builder });
            for (location, shown) in &targets {
                provider.set(path, Conduct::Redirect(location.clone()));
                let fetches = provider.all_fetches();
                let text = failure(&keys, KeySourceErrorKind::Status, &provider.at(path)).await;
                assert_contains(&text, shown);
                assert_eq!(provider.all_fetches(), fetches + 1, "{location}");
            }
            provider.set(path, Conduct::Serve);
        }
    }
    assert_eq!((other.all_fetches(), plain.all_fetches()), (0, 0));

    // The same holds on the way down from http, and on the way up.
    plain.set(JWKS, Conduct::Redirect(provider.at(JWKS)));
    let keys = build(HttpKeys::jwks_url(plain.at(JWKS)).allow_http());
    failure(&keys, KeySourceErrorKind::Status, &plain.at(JWKS)).await;
}

/// Fetches with a paused clock, which stands still until the provider has the request.
async fn fetch_paused(
    keys: &HttpKeys,
    provider: &FakeProvider,
    path: &str,
) -> (Result<PublishedKeys, KeySourceError>, Duration) {
    let before = provider.fetches(path);
    let fetch = tokio::spawn(keys.fetch());
    eventually("a request", async || (provider.fetches(path) > before).then_some(())).await;
    let (result, took) = on_a_paused_clock(fetch).await;
    (result.unwrap(), took)
}

#[tokio::test]
async fn the_deadline_ends_a_fetch_that_hangs_or_drips() {
    let provider = provider();
    for conduct in [Conduct::Hang, Conduct::Drip] {
        for (path, keys) in [(JWKS, by_url(&provider)), (DISCOVERY, by_discovery(&provider))] {
            provider.set(path, conduct.clone());
            let (result, took) = fetch_paused(&keys, &provider, path).await;
            let text = failed(result, KeySourceErrorKind::Timeout, &provider.at(path));
            assert_contains(&text, "in time");
            assert!(took <= FETCH_DEADLINE, "{took:?} by the paused clock");
            provider.set(path, Conduct::Serve);
        }
    }
}

#[tokio::test]
async fn the_deadline_holds_for_both_requests_together() {
    let provider = provider();
    let half = FETCH_DEADLINE / 2;
    provider.set(DISCOVERY, Conduct::Late(half));
    provider.set(JWKS, Conduct::Hang);
    let fetch = tokio::spawn(by_discovery(&provider).fetch());
    eventually("the first request", async || (provider.fetches(DISCOVERY) > 0).then_some(())).await;
    tokio::time::pause();
    tokio::time::advance(half).await;
    tokio::time::resume();
    eventually("the second request", async || (provider.fetches(JWKS) > 0).then_some(())).await;
    let (result, took) = on_a_paused_clock(fetch).await;
    failed(result.unwrap(), KeySourceErrorKind::Timeout, &provider.at(JWKS));
    assert!(took <= half, "{took:?} by the paused clock");
}

#[tokio::test]
async fn a_server_that_says_nothing_in_the_handshake_is_unreachable() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://{}/jwks", listener.local_addr().unwrap());
    let fetch = tokio::spawn(build(HttpKeys::jwks_url(&url)).fetch());
    let (mut connection, _) = listener.accept().await.unwrap();
    connection.read_u8().await.unwrap();
    let (result, took) = on_a_paused_clock(fetch).await;
    let text = failed(result.unwrap(), KeySourceErrorKind::Unreachable, &url);
    assert_contains(&text, "in time");
    assert!(took < FETCH_DEADLINE, "{took:?} by the paused clock");
}

#[tokio::test]
async fn a_connection_that_fails_or_breaks_off_makes_the_server_unreachable() {
    let provider = provider();
    let keys = by_url(&provider);
    for conduct in [Conduct::Close, Conduct::CloseMidway] {
        provider.set(JWKS, conduct);
        failure(&keys, KeySourceErrorKind::Unreachable, &provider.at(JWKS)).await;
    }
    assert_eq!(provider.fetches(JWKS), 2, "nothing is sent twice");

    // Nothing listens at this port any more.
    let gone = provider.at(JWKS);
    drop(provider);
    let fetch = eventually("a closed port", async || match keys.fetch().await {
        Err(error) if format!("{error:?}").contains("refused") => Some(error),
        _ => None,
    });
    failed(Err(fetch.await), KeySourceErrorKind::Unreachable, &gone);

    // This server speaks no TLS.
    let plain = FakeProvider::start_http();
    let url = plain.at(JWKS).replace("http:", "https:");
    failure(&build(HttpKeys::jwks_url(&url)), KeySourceErrorKind::Unreachable, &url).await;

    let url = "https://no-such-host.invalid/jwks";
    failure(&build(HttpKeys::jwks_url(url)), KeySourceErrorKind::Unreachable, url).await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_or_another_name_is_refused() {
    let provider = provider();
    let other = test_keys::text("TEST-tls-client-ca.pem");
    let keys = HttpKeys::jwks_url(provider.at(JWKS)).root_certificates(other.clone()).build().unwrap();
    let text = failure(&keys, KeySourceErrorKind::Unreachable, &provider.at(JWKS)).await;
    assert_contains(&text, "certificate");

    let url = format!("https://localhost:{}/jwks", provider.port());
    let text = failure(&build(HttpKeys::jwks_url(&url)), KeySourceErrorKind::Unreachable, &url).await;
    assert_contains(&text, "certificate");
    assert_eq!(provider.all_fetches(), 0);

    // Of several authorities, each counts.
    let both = format!("{other}\n{}", FakeProvider::ca());
    HttpKeys::jwks_url(provider.at(JWKS)).root_certificates(both).build().unwrap().fetch().await.unwrap();
}

#[tokio::test]
async fn requests_have_no_cookies_no_compression_and_a_user_agent() {
    let provider = provider();
    let keys = by_url(&provider);
    keys.fetch().await.unwrap();
    keys.fetch().await.unwrap();
    for headers in provider.requests(JWKS) {
        for absent in [header::COOKIE, header::ACCEPT_ENCODING, header::AUTHORIZATION, header::REFERER] {
            assert!(!headers.contains_key(&absent), "{headers:?}");
        }
        assert!(headers[header::USER_AGENT].to_str().unwrap().starts_with("tower-bearer/"), "{headers:?}");
    }
}

/// A proxy. It answers each request with `answer`, and after 200 passes all bytes on to `target`.
struct TinyProxy {
    address: String,
    heads: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl TinyProxy {
    async fn start(target: u16, answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, heads) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                sender.send(head.clone()).unwrap();
                if let Some(answer) = answer {
                    client
                        .write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes())
                        .await
                        .unwrap();
                    continue;
                }
                let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.unwrap();
                if head.starts_with("CONNECT ") {
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                } else {
                    server.write_all(head.as_bytes()).await.unwrap();
                }
                tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
            }
        });
        Self { address, heads, task }
    }

    fn url(&self) -> String {
        format!("http://user:{PASSWORD}@{}", self.address)
    }
}

impl Drop for TinyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `Basic` with `user:hidden-password` (RFC 7617).
const BASIC: &str = "Basic dXNlcjpoaWRkZW4tcGFzc3dvcmQ=";

#[tokio::test]
async fn a_proxy_tunnels_https_with_its_credentials() {
    let provider = provider();
    let mut proxy = TinyProxy::start(provider.port(), None).await;
    let keys = build(HttpKeys::jwks_url(provider.at(JWKS)).proxy(proxy.url()));
    assert_eq!(kids(&keys.fetch().await.unwrap()), ["first"]);
    let head = proxy.heads.try_recv().unwrap();
    assert!(head.starts_with(&format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n", provider.port())), "{head}");
    assert_contains(&head.to_lowercase(), &format!("proxy-authorization: {BASIC}").to_lowercase());
    assert!(!provider.requests(JWKS)[0].contains_key(header::PROXY_AUTHORIZATION));

    // The proxy resolves the name. The tunnel leads to the provider, whose certificate has another.
    let url = "https://no-such-host.invalid/jwks";
    let keys = build(HttpKeys::jwks_url(url).proxy(proxy.url()));
    let text = failure(&keys, KeySourceErrorKind::Unreachable, url).await;
    assert_contains(&text, "certificate");
    assert_contains(&proxy.heads.try_recv().unwrap(), "CONNECT no-such-host.invalid:443 ");
}

#[tokio::test]
async fn a_proxy_passes_http_on_with_its_credentials() {
    let provider = FakeProvider::start_http();
    let mut proxy = TinyProxy::start(provider.port(), None).await;
    let keys = build(HttpKeys::jwks_url(provider.at(JWKS)).allow_http().proxy(proxy.url()));
    keys.fetch().await.unwrap();
    let head = proxy.heads.try_recv().unwrap();
    assert!(head.starts_with(&format!("GET {} HTTP/1.1\r\n", provider.at(JWKS))), "{head}");
    assert_contains(&head.to_lowercase(), &format!("proxy-authorization: {BASIC}").to_lowercase());
}

#[tokio::test]
async fn a_proxy_that_refuses_makes_the_server_unreachable() {
    let provider = provider();
    for answer in ["407 Proxy Authentication Required", "502 Bad Gateway", "not HTTP"] {
        let proxy = TinyProxy::start(provider.port(), Some(answer)).await;
        let keys = build(HttpKeys::jwks_url(provider.at(JWKS)).proxy(proxy.url()));
        failure(&keys, KeySourceErrorKind::Unreachable, &provider.at(JWKS)).await;
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let proxy = format!("http://user:{PASSWORD}@{}", listener.local_addr().unwrap());
    drop(listener);
    let keys = build(HttpKeys::jwks_url(provider.at(JWKS)).proxy(proxy));
    failure(&keys, KeySourceErrorKind::Unreachable, &provider.at(JWKS)).await;
    assert_eq!(provider.all_fetches(), 0);
}

#[test]
fn wrong_settings_are_errors_that_show_no_credentials() {
    let jwks = |url: &str| HttpKeys::jwks_url(url);
    let issuer = |issuer: &str| HttpKeys::discovery(issuer);
    let good = || jwks("https://login.example/jwks");
    let (invalid, conflict) = (ConfigErrorKind::Invalid, ConfigErrorKind::Conflict);
    let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (builder, setting, kind, problem) in [
        (jwks(""), "jwks_url", invalid, "absolute"),
        (jwks("login.example/jwks"), "jwks_url", invalid, "absolute"),
        (jwks("/jwks"), "jwks_url", invalid, "absolute"),
        (jwks("https://"), "jwks_url", invalid, "absolute"),
        (jwks("https://{hidden}/"), "jwks_url", invalid, "absolute"),
        (jwks("https://user:hidden@/"), "jwks_url", invalid, "absolute"),
        (jwks("http://login.example/jwks"), "jwks_url", invalid, "https:"),
        (jwks("ftp://login.example/jwks").allow_http(), "jwks_url", invalid, "http:"),
        (jwks("https://user:hidden@login.example/"), "jwks_url", invalid, "password"),
        (jwks("https://hidden@login.example/"), "jwks_url", invalid, "password"),
        (jwks("https://login.example/#hidden"), "jwks_url", invalid, "fragment"),
        (issuer("login.example"), "issuer", invalid, "absolute"),
        (issuer("http://login.example"), "issuer", invalid, "https:"),
        (issuer("https://user:hidden@login.example"), "issuer", invalid, "password"),
        (issuer("https://login.example#hidden"), "issuer", invalid, "fragment"),
        (issuer("https://login.example?hidden"), "issuer", invalid, "query"),
        (good().metadata_url("https://login.example/metadata"), "metadata_url", conflict, "jwks_url"),
        (issuer("https://a.example").metadata_url("http://a.example/"), "metadata_url", invalid, "https:"),
        (issuer("https://a.example").metadata_url("hidden"), "metadata_url", invalid, "absolute"),
        (good().proxy("user:hidden"), "proxy", invalid, "absolute"),
        (good().proxy("proxy.example"), "proxy", invalid, "absolute"),
        (good().proxy("socks5://user:hidden@proxy.example"), "proxy", invalid, "http:"),
        (good().root_certificates(""), "root_certificates", invalid, "no certificate"),
        (good().root_certificates("hidden"), "root_certificates", invalid, "no certificate"),
        (good().root_certificates("-----BEGIN CERTIFICATE-----\n?"), "root_certificates", invalid, "PEM"),
        (good().root_certificates(not_a_certificate), "root_certificates", invalid, "cannot be read"),
        (
            good().root_certificates(test_keys::text("TEST-tls-server-key.pem")),
            "root_certificates",
            invalid,
            "no certificate",
        ),
    ] {
        assert_hidden(&builder);
        let error = builder.clone().build().unwrap_err();
        let text = assert_hidden(&error);
        assert_eq!((error.setting(), error.kind()), (setting, kind), "{builder:?}: {text}");
        assert_contains(&text, problem);
    }
}

#[test]
fn debug_shows_addresses_without_credentials_and_queries() {
    let url = "https://login.example/jwks?key=hidden";
    let builder = HttpKeys::jwks_url(url).proxy("http://user:hidden@proxy.example:3128/");
    for text in [assert_hidden(&builder), assert_hidden(&build(builder.clone()))] {
        assert_contains(&text, "https://login.example/jwks");
        assert_contains(&text, "http://proxy.example:3128");
    }
    let builder = HttpKeys::discovery("https://login.example/a").metadata_url("https://other.example/b?key=hidden");
    for text in [assert_hidden(&builder), assert_hidden(&build(builder.clone()))] {
        assert_contains(&text, "https://login.example/a");
        assert_contains(&text, "https://other.example/b");
    }
    assert_hidden(&HttpKeys::jwks_url("https://user:hidden@login.example/#hidden"));
}

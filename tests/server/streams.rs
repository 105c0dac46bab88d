//! `/events`, which is open until its client leaves: what cuts it, and what each client sees.

use std::{process::Command, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    Server, Store, Tokens, is_invalid_token, is_unauthorized, on_each_store,
    support::{HANG, RedisServer, eventually},
};

on_each_store!(
    each_kind_of_logout_cuts_the_feed_of_its_session,
    a_refresh_and_the_logout_of_another_session_cut_nothing,
);

/// A body of `/events` that is open.
pub(crate) struct Feed(Incoming);

fn client(version: Version) -> Client<HttpConnector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new()).http2_only(version == Version::HTTP_2).build_http()
}

fn events(server: &Server, tokens: &Tokens) -> Request<Empty<Bytes>> {
    let request = Request::get(format!("{}/events", server.example.url()));
    request.header("authorization", format!("Bearer {}", tokens.access)).body(Empty::new()).unwrap()
}

impl Feed {
    /// Opens the feed on a connection of its own, and reads two events.
    pub(crate) async fn open(server: &Server, tokens: &Tokens, version: Version) -> Self {
        Self::open_by(&client(version), server, tokens).await
    }

    async fn open_by(client: &Client<HttpConnector, Empty<Bytes>>, server: &Server, tokens: &Tokens) -> Self {
        let response = client.request(events(server, tokens)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut feed = Self(response.into_body());
        feed.goes_on().await;
        feed
    }

    /// Reads two more events.
    async fn goes_on(&mut self) {
        for _ in 0..2 {
            let frame = timeout(HANG, self.0.frame()).await.expect("an event");
            let data = frame.expect("the feed ended").expect("the feed was cut").into_data().unwrap();
            assert!(data.starts_with(b"data: "), "{data:?}");
        }
    }

    /// Reads to the end. Returns the error by which the feed was cut, or `None` after a clean end.
    async fn end(mut self) -> Option<hyper::Error> {
        let deadline = Instant::now() + HANG;
        loop {
            match timeout(deadline - Instant::now(), self.0.frame()).await.expect("the feed goes on") {
                None => return None,
                Some(Err(error)) => return Some(error),
                Some(Ok(_)) => {}
            }
        }
    }
}

/// Runs a command on a Redis server. Returns its output.
fn redis_cli(port: u16, words: &[&str]) -> String {
    let port = port.to_string();
    let output = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_redis_user_with_only_the_documented_rights_serves_all_and_is_denied_nothing() {
    let redis = RedisServer::start();
    let page = include_str!("../../docs/operations/redis.md");
    for block in page.split("```text\n").skip(1).filter(|block| block.starts_with("ACL SETUSER")) {
        let words: Vec<_> = block.split("```").next().unwrap().split_whitespace().collect();
        assert_eq!(redis_cli(redis.port(), &words).trim(), "OK");
    }
    let url = redis.url().replace("//", "//app:password@");
    let nodes = [Server::start(&[("REDIS_URL", &url)]), Server::start(&[("REDIS_URL", &url)])];
    let tokens = nodes[0].log_in("alice").await;
    nodes[1].accepts(&tokens).await;
    let tokens = nodes[1].renew(&tokens).await;
    let feed = Feed::open(&nodes[1], &tokens, Version::HTTP_2).await;
    eventually("the node listens for nudges", async || {
        redis_cli(redis.port(), &["PUBSUB", "SHARDCHANNELS"]).contains("tb:").then_some(())
    })
    .await;
    nodes[0].post("/logout", &tokens.access).await.expect(200);
    assert!(feed.end().await.is_some(), "the feed is cut");
    nodes[1].refuses(&tokens).await;
    let denied = redis_cli(redis.port(), &["ACL", "LOG"]);
    // From 7.2 on, redis-rs names itself on each connection.
    assert!(
        denied.lines().filter(|line| line.contains("object")).count() == denied.matches("setinfo").count(),
        "{denied}"
    );
}

async fn each_kind_of_logout_cuts_the_feed_of_its_session(store: Store) {
    let server = store.server(&[]);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for way in ["/logout", "/logout-all", "/sessions"] {
            let (here, there) = (server.log_in("alice").await, server.log_in("alice").await);
            let feed = Feed::open(&server, &here, version).await;
            match way {
                "/logout" => server.post("/logout", &here.access).await.expect(200),
                "/logout-all" => server.post("/logout-all", &there.access).await.expect(200),
                _ => {
                    let path = format!("/sessions/{}", here.session_id());
                    server.call(Method::DELETE, &path).bearer(&there.access).send().await
                }
            };
            assert!(feed.end().await.is_some(), "{way} {version:?}: a clean end");
            assert!(is_invalid_token(&server.get("/events", &here.access).await));
        }
    }
    assert!(is_unauthorized(&server.call(Method::GET, "/events").send().await));
}

async fn a_refresh_and_the_logout_of_another_session_cut_nothing(store: Store) {
    let server = store.server(&[]);
    let (here, there, bob) = (server.log_in("alice").await, server.log_in("alice").await, server.log_in("bob").await);
    // One connection of HTTP/2 carries both.
    let client = client(Version::HTTP_2);
    let mut feed = Feed::open_by(&client, &server, &here).await;
    let cut = Feed::open_by(&client, &server, &there).await;
    server.renew(&here).await;
    feed.goes_on().await;
    server.post("/logout", &there.access).await.expect(200);
    assert!(cut.end().await.is_some());
    server.post("/logout-all", &bob.access).await.expect(200);
    for _ in 0..3 {
        feed.goes_on().await;
    }
    let mut another = Feed::open_by(&client, &server, &here).await;
    another.goes_on().await;
}

#[tokio::test]
async fn over_http_1_the_connection_closes_without_the_last_chunk() {
    let server = Store::memory().server(&[]);
    let tokens = server.log_in("alice").await;
    let mut stream = TcpStream::connect(server.example.authority()).await.unwrap();
    let request = format!("GET /events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n", tokens.access);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"data: 2\n\n\r\n") {
        assert!(timeout(HANG, stream.read_buf(&mut bytes)).await.expect("an event").unwrap() > 0);
    }
    server.post("/logout", &tokens.access).await.expect(200);
    // An error is an end too: the server may reset the connection.
    let _ = timeout(HANG, stream.read_to_end(&mut bytes)).await.expect("the connection closes");
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("transfer-encoding: chunked"), "{text}");
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
}

/// An end that a client reports must not look like a complete body.
#[tokio::test]
async fn reqwest_h2_and_curl_report_an_error() {
    let server = Store::memory().server(&[]);

    for http2 in [false, true] {
        let tokens = server.log_in("alice").await;
        let client = reqwest::Client::builder().no_proxy();
        let client = if http2 { client.http2_prior_knowledge() } else { client.http1_only() }.build().unwrap();
        let url = format!("{}/events", server.example.url());
        let mut response = client.get(url).bearer_auth(&tokens.access).send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        server.post("/logout", &tokens.access).await.expect(200);
        let end = async {
            loop {
                match response.chunk().await {
                    Ok(Some(_)) => {}
                    end => return end,
                }
            }
        };
        let error = timeout(HANG, end).await.expect("an end").expect_err("a clean end");
        assert!(error.is_body() || error.is_decode() || error.is_request(), "{error:?}");
    }

    let tokens = server.log_in("alice").await;
    let tcp = TcpStream::connect(server.example.authority()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(tcp).await.unwrap();
    let connection = tokio::spawn(connection);
    let (response, _) = client.send_request(events(&server, &tokens).map(|_| ()), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert!(body.data().await.unwrap().is_ok());
    server.post("/logout", &tokens.access).await.expect(200);
    let error = timeout(HANG, async {
        loop {
            match body.data().await.expect("an end by a reset") {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    });
    let error = error.await.expect("an end");
    assert_eq!((error.is_reset(), error.reason()), (true, Some(h2::Reason::INTERNAL_ERROR)));
    // The connection serves on.
    let (response, _) = client.send_request(events(&server, &server.log_in("alice").await).map(|_| ()), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    drop(client);
    connection.abort();

    // CURLE_PARTIAL_FILE, and CURLE_HTTP2_STREAM.
    for (version, exit) in [("--http1.1", 18), ("--http2-prior-knowledge", 92)] {
        let tokens = server.log_in("alice").await;
        let mut curl = Command::new("curl");
        curl.args(["-sN", version, "--max-time", "60", "--noproxy", "*", "-o", "/dev/null"]);
        curl.args([
            "-H",
            &format!("Authorization: Bearer {}", tokens.access),
            &format!("{}/events", server.example.url()),
        ]);
        let Ok(mut curl) = curl.spawn() else {
            println!("curl is missing, so it was not tried");
            return;
        };
        // Cut before or after curl has sent its request, the feed must not end cleanly.
        sleep(Duration::from_millis(500)).await;
        server.post("/logout", &tokens.access).await.expect(200);
        let status = tokio::task::spawn_blocking(move || curl.wait()).await.unwrap().unwrap();
        assert!(matches!(status.code(), Some(code) if code == exit || code == 16 || code == 56), "{version}: {status}");
    }
}

#[tokio::test]
async fn a_feed_ends_with_its_token_only_if_the_variable_says_so() {
    for (variables, cuts) in [(&[("CUT_AT_EXPIRY", "1")][..], true), (&[], false)] {
        let variables = [&[("ACCESS_TTL_SECONDS", "2"), ("LEEWAY_SECONDS", "0")], variables].concat();
        let server = Store::memory().server(&variables);
        let tokens = server.log_in("alice").await;
        let mut feed = Feed::open(&server, &tokens, Version::HTTP_11).await;
        if cuts {
            assert!(feed.end().await.is_some());
        } else {
            let refused = async || is_invalid_token(&server.get("/me", &tokens.access).await).then_some(());
            eventually("the token expires", refused).await;
            feed.goes_on().await;
        }
    }
}

/// The revocation goes through another process.
#[tokio::test]
async fn a_logout_on_one_node_cuts_the_feed_on_another() {
    for store in [Store::redis(), Store::redis().bounded()] {
        let (here, there) = (store.server(&[]), store.server(&[]));
        let tokens = here.log_in("alice").await;
        let feed = Feed::open(&there, &tokens, Version::HTTP_2).await;
        here.post("/logout", &tokens.access).await.expect(200);
        assert!(feed.end().await.is_some());
    }
}

/// A drain is no cutoff: clients see a protocol's own end.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_sigterm_a_thousand_feeds_end_cleanly() {
    let server = Store::memory().server(&[]);
    let tokens = server.log_in("alice").await;
    let server = Arc::new(server);
    let (opened, mut has_opened) = tokio::sync::mpsc::unbounded_channel();
    let open = |client: Client<HttpConnector, Empty<Bytes>>| {
        let (server, tokens, opened) = (Arc::clone(&server), tokens.clone(), opened.clone());
        tokio::spawn(async move {
            let feed = Feed::open_by(&client, &server, &tokens).await;
            drop(server);
            opened.send(()).unwrap();
            feed.end().await
        })
    };
    // A server takes 200 streams on a connection by default.
    let clients: Vec<_> = (0..6).map(|_| client(Version::HTTP_2)).collect();
    let many = clients.iter().flat_map(|client| (0..150).map(|_| client.clone()));
    let ends: Vec<_> = many.chain((0..100).map(|_| client(Version::HTTP_11))).map(open).collect();
    for _ in &ends {
        timeout(HANG, has_opened.recv()).await.expect("the feeds are open").unwrap();
    }
    let server = Arc::into_inner(server).expect("the tasks have dropped theirs");
    let Server { example, .. } = server;
    let (status, took) = tokio::task::spawn_blocking(move || example.terminate()).await.unwrap();
    println!("the process ended after {took:?}");
    assert!(status.success(), "{status}");
    for end in ends {
        assert!(end.await.unwrap().is_none(), "a clean end");
    }
}

//! Redis behind the server: shared by two servers, paused, killed, emptied and restarted.

use std::time::Duration;

use http::Method;
use tokio::time::timeout;

use crate::{
    Server, Store, Tokens, is_invalid_token,
    support::{Answer, HANG, RedisServer, eventually},
};

fn is_unavailable(answer: &Answer) -> bool {
    answer.status == 503 && answer.header("retry-after") == Some("1") && answer.header("www-authenticate").is_none()
}

/// Waits for the answer of an unavailable store. The store ends a call after 500 ms, so this time
/// limit only detects a hang.
async fn unavailable(what: &str, answer: impl Future<Output = Answer>) -> Answer {
    let answer = timeout(HANG, answer).await.unwrap_or_else(|_| panic!("{what}: no answer"));
    assert!(is_unavailable(&answer), "{what}: {answer:?}");
    answer
}

/// Asserts that every route that needs the store answers 503, and that the other routes still work.
async fn assert_unavailable_everywhere(server: &Server, tokens: &Tokens) {
    for (method, path) in [
        (Method::GET, "/me"),
        (Method::GET, "/claims"),
        (Method::GET, "/optional"),
        (Method::GET, "/sessions"),
        (Method::POST, "/logout"),
        (Method::POST, "/logout-all"),
    ] {
        let answer = unavailable(path, server.call(method, path).bearer(&tokens.access).send()).await;
        assert_eq!(answer.error().as_deref(), Some("temporarily_unavailable"), "{path}");
    }
    unavailable("/refresh", server.refresh(&tokens.refresh)).await;
    let bob = [("username", "bob"), ("password", "bob-password")];
    unavailable("/login", server.post_form("/login", &bob)).await;
    let health = unavailable("/health", server.call(Method::GET, "/health").send()).await;
    assert_eq!(health.json()["status"], "unavailable");

    server.call(Method::GET, "/").send().await.expect(200);
    server.call(Method::GET, "/optional").send().await.expect(200);
    server.call(Method::GET, "/me").send().await.expect(401);
    // A forged token is refused by its signature, without the store.
    assert!(is_invalid_token(&server.get("/me", &crate::forged(&tokens.access)).await));
}

/// Waits until all shared connections work again.
async fn wait_until_available(server: &Server) {
    eventually("the server answers again, whichever connection is asked", async || {
        for _ in 0..4 {
            if server.call(Method::GET, "/health").send().await.status != 200 {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_logout_on_one_server_is_refused_at_once_on_the_other() {
    let store = Store::redis();
    let (one, other) = (store.server(&[]), store.server(&[]));
    let tokens = one.log_in("alice").await;
    other.accepts(&tokens).await;
    one.post("/logout", &tokens.access).await.expect(200);
    other.refuses(&tokens).await;

    let (here, there) = (one.log_in("alice").await, other.log_in("alice").await);
    let renewed = other.renew(&here).await;
    one.accepts(&renewed).await;
    other.post("/logout-all?keep_current=true", &there.access).await.expect(200);
    one.refuses(&renewed).await;
    one.accepts(&there).await;
}

#[tokio::test]
async fn without_redis_requests_get_503_and_a_redis_that_comes_back_empty_knows_no_session() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    let server = Server::start(&[("REDIS_URL", &url)]);
    let tokens = server.log_in("bob").await;
    redis.kill();
    assert_unavailable_everywhere(&server, &tokens).await;
    redis.restart();
    wait_until_available(&server).await;
    server.refuses(&tokens).await;
    let again = server.log_in("bob").await;
    server.accepts(&again).await;
    server.renew(&again).await;
}

#[tokio::test]
async fn a_redis_that_keeps_its_data_brings_the_sessions_back_with_it() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = redis.url();
    let server = Server::start(&[("REDIS_URL", &url)]);
    let (kept, ended) = (server.log_in("bob").await, server.log_in("bob").await);
    server.post("/logout", &ended.access).await.expect(200);
    redis.restart();
    wait_until_available(&server).await;
    server.accepts(&kept).await;
    server.refuses(&ended).await;
    server.renew(&kept).await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_503_within_the_deadline() {
    let redis = RedisServer::start();
    let url = redis.url();
    let server = Server::start(&[("REDIS_URL", &url), ("REUSE_GRACE_SECONDS", "300")]);
    let tokens = server.log_in("bob").await;
    redis.pause();
    assert_unavailable_everywhere(&server, &tokens).await;
    redis.resume();
    wait_until_available(&server).await;
    // No request during the hang has ended the session. The refresh may have taken place, and is
    // repeated within the grace.
    server.accepts(&tokens).await;
    server.renew(&tokens).await;
}

/// Returns a Redis server that is not running yet.
fn absent() -> RedisServer {
    let mut redis = RedisServer::start();
    redis.kill();
    redis
}

#[tokio::test]
async fn a_lazy_server_answers_503_until_redis_runs_for_the_first_time() {
    // The token of a server with the same key.
    let mut redis = absent();
    let url = redis.url();
    let server = Server::start(&[("REDIS_URL", &url), ("CONNECT", "lazy")]);
    let issuer = Store::redis();
    let tokens = issuer.server(&[]).log_in("bob").await;
    assert_unavailable_everywhere(&server, &tokens).await;
    redis.restart();
    wait_until_available(&server).await;
    server.refuses(&tokens).await;
    let tokens = server.log_in("bob").await;
    server.accepts(&tokens).await;
    server.post("/logout", &tokens.access).await.expect(200);
    server.refuses(&tokens).await;
}

#[tokio::test]
async fn a_lazy_server_names_a_wrong_setting_in_its_health_and_goes_on_once_it_is_corrected() {
    let redis = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let server = Server::start(&[("REDIS_URL", &redis.url()), ("CONNECT", "lazy")]);
    let health = unavailable("/health", server.call(Method::GET, "/health").send()).await;
    assert!(health.json()["warnings"].to_string().contains("maxmemory-policy"), "{health:?}");
    let mut admin = redis.admin().await;
    redis::cmd("CONFIG").arg(&["SET", "maxmemory-policy", "noeviction"]).exec_async(&mut admin).await.unwrap();
    wait_until_available(&server).await;
    let tokens = server.log_in("bob").await;
    server.accepts(&tokens).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_tries_again_starts_once_redis_runs() {
    let mut redis = absent();
    let url = redis.url();
    let starting =
        tokio::task::spawn_blocking(move || Server::start(&[("REDIS_URL", &url), ("CONNECT", "retry:1000")]));
    // Real time, for a first attempt that fails. The test does not depend on it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!starting.is_finished(), "it does not listen before");
    redis.restart();
    let server = starting.await.unwrap();
    let tokens = server.log_in("bob").await;
    server.accepts(&tokens).await;
}

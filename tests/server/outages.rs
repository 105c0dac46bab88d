//! The messages to an operator: the store's clock, and the log of an outage.

use std::time::{Duration, Instant};

use crate::{
    SECRET, Server, Tokens,
    support::{Example, HttpClient, RedisServer, ShiftedClock, eventually},
};

fn conditions(health: &serde_json::Value, kind: &str) -> usize {
    health["conditions"].as_array().unwrap().iter().filter(|condition| condition["kind"] == kind).count()
}

/// Runs a login, a request, a refresh, a request with the new token, and a logout.
async fn works(server: &Server, what: &str) {
    let tokens = server.log_in("alice").await;
    server.accepts(&tokens).await;
    let renewed = server.renew(&tokens).await;
    server.accepts(&renewed).await;
    let logout = server.post("/logout", &renewed.access).await;
    assert_eq!(logout.status, 200, "{what}: {logout:?}");
    server.refuses(&renewed).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_redis_whose_clock_is_wrong_changes_nothing_and_is_reported() {
    for consistency in ["strong", "bounded:1000"] {
        for skew in [6, 90, -90] {
            let clock = ShiftedClock::by(skew);
            let redis = RedisServer::start_with_variables(&clock.variables());
            let server = Server::start(&[("REDIS_URL", &redis.url()), ("CONSISTENCY", consistency)]);
            works(&server, &format!("{consistency} {skew}")).await;
            let health = server.get("/health", "").await.expect(200).json();
            let shown = health["clock_skew_ms"].as_i64().unwrap();
            assert!((shown - skew * 1000).abs() < 2000, "{skew}: {shown}");
            assert_eq!(conditions(&health, "clock_skew"), 1, "{skew}: {health}");
            server.get("/ready", "").await.expect(200);
            let (output, errors) = server.example.stop();
            let side = if skew > 0 { "ahead of" } else { "behind" };
            let text = format!("the store's clock is {} s {side} this node's", skew.abs());
            let count = (output + &errors).matches(&text).count();
            assert_eq!(count, 1, "{consistency} {skew}");
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn when_the_clock_of_redis_is_set_back_live_tokens_live_and_expired_ones_stay_dead() {
    let clock = ShiftedClock::by(90);
    let redis = RedisServer::start_with_variables(&clock.variables());
    let lifetimes = [("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "1")];
    let server = Server::start(&[&[("REDIS_URL", redis.url().as_str())], &lifetimes[..]].concat());
    let expired = server.log_in("alice").await;
    // 70 s later: beyond the life of a minute, and the leeway.
    clock.shift(160);
    eventually("the token has expired", async || {
        (server.get("/me", &expired.access).await.status == 401).then_some(())
    })
    .await;
    let living = server.log_in("alice").await;
    server.accepts(&living).await;
    clock.shift(110);
    works(&server, "after the step back").await;
    server.accepts(&living).await;
    assert_eq!(server.get("/me", &expired.access).await.status, 401);
    let health = server.get("/health", "").await.expect(200).json();
    assert_eq!(conditions(&health, "store_clock_went_back"), 1, "{health}");

    // Beyond the life of a token, new tokens would otherwise be dead for as long as the step.
    clock.shift(110 - 7200);
    works(&server, "after a step back of two hours").await;
    let health = server.get("/health", "").await.expect(200).json();
    assert_eq!(conditions(&health, "store_clock_went_back"), 1, "{health}");
}

#[tokio::test]
async fn an_outage_of_a_minute_writes_at_most_twenty_lines() {
    let mut redis = RedisServer::start();
    let variables = [("RUST_LOG", "info"), ("JWT_SECRET_KEY", SECRET), ("CONSISTENCY", "bounded:1000")];
    let url = redis.url();
    let example = Example::start("server", &[&variables[..], &[("REDIS_URL", &url)]].concat());
    let server = Server { client: HttpClient::of(example.url()), example };
    let tokens: Tokens = server.log_in("alice").await;
    redis.kill();
    let began = Instant::now();
    let (mut requests, mut failed) = (0, 0);
    while began.elapsed() < Duration::from_secs(60) {
        let answer = match requests % 10 {
            0 => server.refresh("x").await,
            1 => server.get("/health", "").await,
            2 => server.post("/logout", &tokens.access).await,
            _ => server.get("/me", &tokens.access).await,
        };
        failed += usize::from(answer.status == 503);
        requests += 1;
        // 200 a second.
        tokio::time::sleep((Duration::from_millis(5) * requests).saturating_sub(began.elapsed())).await;
    }
    assert!(failed > 500, "{failed} of {requests} requests failed");
    redis.restart();
    eventually("the server is ready again", async || (server.get("/ready", "").await.status == 200).then_some(()))
        .await;
    let (_, log) = server.example.stop();
    let first: Vec<&str> = log.lines().take(40).collect();
    let lines = log.lines().count();
    assert!(lines <= 20, "{lines} lines:\n{}", first.join("\n"));
    for text in ["reads_refused", "a condition has ended", "has no lease"] {
        assert!(log.contains(text), "{text}:\n{log}");
    }
}

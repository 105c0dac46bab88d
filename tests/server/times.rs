//! Lifetimes from environment variables, in real time.
//!
//! A test judges an answer by the time of its request, so a slow machine does not fail it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use crate::{Answer, Server, Store, claims_in, is_invalid_grant, is_invalid_token, on_each_store};

on_each_store!(an_access_token_ends_after_its_lifetime_and_the_leeway, a_refresh_token_ends_after_its_lifetime);

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn end_of(token: &str) -> Duration {
    Duration::from_secs(claims_in(token)["exp"].as_u64().unwrap())
}

/// Repeats a request until its answer is not 200, and returns that answer. Asserts that this is not
/// before `end`.
///
/// The answer can change some time after `end`: the node's estimate of the store's clock is behind
/// that clock by the time that an answer of the store takes, which is long on a busy machine.
async fn at_the_end<F: Future<Output = Answer>>(end: Duration, ask: impl Fn() -> F) -> Answer {
    loop {
        let asked = now();
        let answer = ask().await;
        if answer.status != StatusCode::OK {
            assert!(now() >= end, "before its end: {answer:?}");
            return answer;
        }
        assert!(asked < end + Duration::from_secs(30), "long after its end: {answer:?}");
        // Real time, because the test checks the example's own clock.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn an_access_token_ends_after_its_lifetime_and_the_leeway(store: Store) {
    let server = |leeway| store.server(&[("ACCESS_TTL_SECONDS", "2"), ("LEEWAY_SECONDS", leeway)]);
    tokio::join!(expires(server("0"), 0), expires(server("1"), 1));
}

async fn expires(server: Server, leeway: u64) {
    let tokens = server.log_in("bob").await;
    let claims = claims_in(&tokens.access);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 2);
    let end = end_of(&tokens.access) + Duration::from_secs(leeway);
    let after = at_the_end(end, || server.get("/me", &tokens.access)).await;
    assert!(is_invalid_token(&after), "{after:?}");
    // The session is still alive.
    let renewed = server.renew(&tokens).await;
    assert!(end_of(&renewed.access) > end_of(&tokens.access));
}

async fn a_refresh_token_ends_after_its_lifetime(store: Store) {
    let server = store.server(&[("ACCESS_TTL_SECONDS", "1"), ("REFRESH_TTL_SECONDS", "2"), ("LEEWAY_SECONDS", "0")]);
    let tokens = server.log_in("bob").await;
    let renewed = server.renew(&tokens).await;
    while now() < end_of(&renewed.refresh) {
        // Real time, as above.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = server.refresh(&renewed.refresh).await;
    assert!(is_invalid_grant(&answer), "{answer:?}");
    server.refuses(&renewed).await;
}

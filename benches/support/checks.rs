//! Measures checks of tokens, and waits for revocations to take effect.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tower_bearer::{Error, NewSession, TokenService, TokenType, error::TokenError};

use super::scale::Scale;

/// Checks the token once a millisecond. Returns the time that each check took.
pub async fn checks(tokens: &TokenService, token: &str, time: Duration) -> Vec<Duration> {
    let (end, mut times) = (Instant::now() + time, Vec::new());
    while Instant::now() < end {
        let began = Instant::now();
        tokens.validate_token(token, TokenType::Access).await.unwrap();
        times.push(began.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
    times
}

/// Prints the percentiles of these times.
pub fn report(scale: Scale, name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1000];
    let [median, high, higher, max] = [500, 990, 999, 1000].map(at);
    let count = times.len();
    scale.print(format_args!("{name}: p50 {median:?}, p99 {high:?}, p99.9 {higher:?}, max {max:?}, of {count}"));
}

/// Opens a session that all nodes accept, revokes it, and waits until all of them refuse it.
pub async fn assert_revocations_reach(nodes: &[TokenService]) {
    let pair = nodes[0].create_token_pair(NewSession::new("revoked")).await.unwrap();
    let token = pair.access().as_str();
    for node in nodes {
        node.validate_token(token, TokenType::Access).await.unwrap();
    }
    nodes[0].revoke_session("revoked", pair.session_id()).await.unwrap();
    for node in nodes {
        wait_until_refused(node, token).await;
    }
}

/// Checks a revoked token again and again. Returns the start of the first check that refused it.
pub async fn wait_until_refused(tokens: &TokenService, token: &str) -> Instant {
    // Far more than any bound, so that a busy machine does not fail.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let began = Instant::now();
        match tokens.validate_token(token, TokenType::Access).await {
            Err(Error::Token(TokenError::Revoked { .. })) => return began,
            Err(error) => panic!("a revoked token: {error}"),
            Ok(_) => assert!(began < deadline, "a revoked token is still accepted"),
        }
        tokio::task::yield_now().await;
    }
}

//! Checks of one token, timed.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tower_bearer::{TokenService, TokenType};

/// Checks the token once a millisecond. Returns the time that each check took.
pub(crate) async fn checks(tokens: &TokenService, token: &str, time: Duration) -> Vec<Duration> {
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
pub(crate) fn report(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1000];
    println!("{name}: p50 {:?}, p99 {:?}, p99.9 {:?}, of {}", at(500), at(990), at(999), times.len());
}

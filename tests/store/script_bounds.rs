//! The work of one script for a user with very many sessions. The test keeps a server busy for
//! seconds.

use std::time::Duration;

use tower_bearer::store::{Opened, Page};

use crate::support::{
    TextStore,
    redis_fixture::{Fixture, capped},
};

/// Fills a user's hash: `ARGV` 1 first, 2 last, 3 now.
const FILL: &str = include_str!("../support/crowded_user.lua");

#[tokio::test]
async fn a_login_of_a_user_with_half_a_million_sessions_under_a_cap_is_cheap_and_converges() {
    const SESSIONS: u64 = 500_000;
    let f = Fixture::new().await;
    f.open("alice", "first").await;
    let now = f.store.now().as_millis().to_string();
    let mut admin = f.admin.clone();
    admin.set_response_timeout(Duration::from_secs(60));
    for first in (1..SESSIONS).step_by(50_000) {
        let mut fill = redis::cmd("EVAL");
        fill.arg(FILL).arg(1).arg("tb:{0}:u:alice").arg(first).arg(first + 49_999).arg(&now);
        fill.exec_async(&mut admin).await.unwrap();
    }
    let fields: u64 = f.redis(&["HLEN", "tb:{0}:u:alice"]).await;
    assert!(fields > 2 * SESSIONS, "{fields}");
    let (mut evicted_in_all, mut most, mut times) = (0, 0, Vec::new());
    for login in 0..200 {
        f.redis::<()>(&["CONFIG", "RESETSTAT"]).await;
        let opened = f.store.open(capped("alice", &format!("login {login}"), 5)).await.unwrap();
        let Opened::Opened { evicted, .. } = opened else { panic!("{opened:?}") };
        evicted_in_all += evicted.len();
        let stats: String = f.redis(&["INFO", "commandstats"]).await;
        let field = |line: &str, name: &str| -> u64 {
            line.split([':', ',']).find_map(|part| part.strip_prefix(name)).unwrap().trim().parse().unwrap()
        };
        let lines = || stats.lines().filter(|line| line.starts_with("cmdstat_"));
        let script = |line: &&str| line.starts_with("cmdstat_eval");
        let usec: u64 = lines().filter(script).map(|line| field(line, "usec=")).sum();
        let calls: u64 = lines().filter(|line| !script(line)).map(|line| field(line, "calls=")).sum();
        most = most.max(calls);
        times.push(usec);
    }
    times.sort_unstable();
    let (median, slowest) = (times.get(times.len() / 2).unwrap(), times.last().unwrap());
    println!("a login: {most} commands at most, {median} us of the server's time (median), {slowest} us (slowest)");
    assert!(most < 2000, "{most} commands in one script");
    assert!(evicted_in_all >= 200 * 30, "200 logins ended {evicted_in_all} sessions");
    // The same user's other calls.
    f.redis::<()>(&["CONFIG", "RESETSTAT"]).await;
    f.store.revoke_session("alice", "first").await.unwrap();
    f.store.revoke_all("alice", None).await.unwrap();
    f.store.sessions("alice", Page::default().limit(u32::MAX)).await.unwrap();
    let stats: String = f.redis(&["INFO", "commandstats"]).await;
    println!("revoking one and all, and a page of 1000:\n{stats}");
    // All sessions have ended, so no login has to search them.
    let opened = f.store.open(capped("alice", "last", 5)).await.unwrap();
    assert!(matches!(&opened, Opened::Opened { evicted, .. } if evicted.is_empty()), "{opened:?}");
}

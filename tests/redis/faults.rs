//! The store when Redis, the network or a setting fails.

use std::{
    collections::HashSet,
    future::IntoFuture,
    time::{Duration, Instant},
};

use tower_bearer::{
    error::StoreErrorKind,
    store::{
        DenyRequest, ExternalId, LogQuery, Opened, RedisStore, Rotated, SessionState,
        redis::{ConnectError, RedisStoreBuilder},
    },
};

use crate::support::{
    HANG, Proxy, RedisServer, TextStore, eventually, on_a_paused_clock,
    redis_fixture::{Fixture, GRACE, open, rotation, session, successor, wait_until_after},
    redis_server::free_port,
};

const TIMEOUT: Duration = Duration::from_millis(300);

/// Timers count whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

fn builder(url: &str) -> RedisStoreBuilder {
    RedisStore::builder(url).buckets(1).connections(1).timeout(TIMEOUT)
}

/// Waits until the store answers again.
async fn wait_until_answered(store: &RedisStore) {
    eventually("the store answers", async || store.ping().await.ok()).await;
}

/// Waits until the connection is old enough to be replaced at once when it breaks.
async fn wait_until_settled(store: &RedisStore) {
    wait_until_answered(store).await;
    wait_until_after(store, store.ping().await.unwrap().saturating_add(Duration::from_millis(60))).await;
}

/// Interrupts a rotation by `cut`, repeats it until it is answered, and asserts that there is one
/// successor.
async fn rotate_with_a_cut(f: &Fixture, store: &RedisStore, sid: &str, grace: Duration, cut: impl Fn()) {
    f.open("alice", sid).await;
    wait_until_settled(store).await;
    let rotate = || rotation("alice", sid, 0, grace);
    cut();
    let mut seen = HashSet::new();
    let mut remember = |rotated: Rotated| {
        let next = successor(rotated);
        seen.insert((next.counter, next.generation, next.issued_at, next.refresh_end));
    };
    if let Ok(rotated) = store.rotate(rotate()).await {
        remember(rotated);
    }
    let retried = eventually("a retry is answered", async || store.rotate(rotate()).await.ok()).await;
    remember(retried);
    remember(f.store.rotate(rotate()).await.unwrap());
    assert_eq!(seen.len(), 1, "{sid}: {seen:?}");
    assert_eq!(successor(f.rotate("alice", sid, 1).await).counter, 2, "{sid}");
    assert!(matches!(f.rotate("alice", sid, 0).await, Rotated::Reused { .. }), "{sid}");
}

#[tokio::test]
async fn a_connection_killed_at_any_step_of_a_rotation_leaves_one_live_refresh_token() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connect().await.unwrap();
    f.open("alice", "measure").await;
    store.rotate(rotation("alice", "measure", 0, GRACE)).await.unwrap();
    let (asked, answered) = (proxy.request_bytes(), proxy.reply_bytes());
    store.rotate(rotation("alice", "measure", 0, GRACE)).await.unwrap();
    let request = u32::try_from(proxy.request_bytes() - asked).unwrap();
    let reply = u32::try_from(proxy.reply_bytes() - answered).unwrap();
    // With the first timeout the store resends. With the second the caller must, because the store
    // resends only if the grace is long compared with its timeout.
    for timeout in [TIMEOUT, GRACE] {
        let store = builder(&proxy.url()).timeout(timeout).connect().await.unwrap();
        let name = timeout.as_millis();
        for bytes in (0..request).step_by(97).chain([request - 1, request]) {
            let sid = format!("request-{name}-{bytes}");
            rotate_with_a_cut(&f, &store, &sid, GRACE, || proxy.cut_requests_after(bytes)).await;
            proxy.unlimited();
        }
        for bytes in (0..reply).step_by(41).chain([reply - 1]) {
            let sid = format!("reply-{name}-{bytes}");
            rotate_with_a_cut(&f, &store, &sid, GRACE, || proxy.cut_replies_after(bytes)).await;
            proxy.unlimited();
        }
    }
}

#[tokio::test]
async fn a_rotation_without_a_grace_is_not_resent_for_that_would_be_reuse() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connect().await.unwrap();
    f.rotate("alice", "s1", 0).await;
    wait_until_settled(&store).await;
    proxy.cut_replies_after(0);
    store.rotate(rotation("alice", "s1", 1, Duration::ZERO)).await.unwrap_err();
    assert!(f.is_active("alice", "s1").await);
    assert!(matches!(f.rotate("alice", "s1", 1).await, Rotated::Replayed(next) if next.counter == 2), "it had run");
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_replaced() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connect().await.unwrap();
    proxy.silence();
    let mut failed = 0;
    eventually("the store answers", async || {
        let answer = store.ping().await;
        failed += u32::from(answer.is_err());
        answer.ok()
    })
    .await;
    assert!((1..10).contains(&failed), "{failed} calls failed in a row");
}

#[tokio::test]
async fn a_connection_that_fell_silent_is_replaced_though_every_caller_gives_up_first() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connect().await.unwrap();
    proxy.silence();
    let begun = Instant::now();
    let impatient = Duration::from_millis(50);
    eventually("a call is answered within a sixth of the deadline", async || {
        tokio::time::timeout(impatient, store.check("alice", "s1", "j").into_future()).await.ok()?.ok()
    })
    .await;
    assert!(begun.elapsed() >= TIMEOUT * 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn one_connection_that_falls_silent_is_replaced_though_the_other_answers() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connections(2).connect().await.unwrap();
    for _ in 0..2 {
        store.ping().await.unwrap();
    }
    proxy.silence();
    // Both connections are silent. The first replacement answers.
    wait_until_answered(&store).await;
    eventually("eight calls in a row are answered", async || {
        for _ in 0..8 {
            store.ping().await.ok()?;
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn an_attempt_to_connect_that_was_left_half_way_fails_no_later_call() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connect().await.unwrap();
    wait_until_settled(&store).await;
    proxy.freeze();
    proxy.cut();
    // The first call finds the connection cut and starts to reconnect. No call waits for that.
    for _ in 0..5 {
        let _ = tokio::time::timeout(Duration::from_millis(20), store.check("a", "s", "j").into_future()).await;
    }
    // The connection that was accepted while frozen is lost, as behind a load balancer.
    proxy.silence();
    proxy.resume();
    // Real time, because the proxy uses the same clock. The attempt has timed out afterwards.
    tokio::time::sleep(TIMEOUT * 2).await;
    store.check("alice", "s1", "j").await.unwrap();
}

#[tokio::test]
async fn a_call_takes_the_connection_that_is_there_and_does_not_wait_for_another() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connections(2).timeout(HANG).connect().await.unwrap();
    wait_until_settled(&store).await;
    proxy.hold_new_connections();
    let clients: String = f.redis(&["CLIENT", "LIST"]).await;
    let own: i64 = f.redis(&["CLIENT", "ID"]).await;
    let mut ids = clients.lines().filter_map(|line| line.strip_prefix("id=")?.split(' ').next());
    let last = ids.rfind(|id| *id != own.to_string()).unwrap();
    f.redis::<i64>(&["CLIENT", "KILL", "ID", last]).await;
    // One of these calls reconnects and waits for the connection.
    let waiting: Vec<_> = (0..4).map(|_| tokio::spawn(store.ping().into_future())).collect();
    let answered = async || waiting.iter().filter(|ping| ping.is_finished()).count();
    eventually("three have the other connection", async || (answered().await == 3).then_some(())).await;
    for _ in 0..10 {
        store.ping().await.unwrap();
    }
    assert_eq!(answered().await, 3, "the ten did not wait for the connection that is being made");
}

#[tokio::test]
async fn the_answer_to_a_check_is_not_dated_after_a_revocation_that_it_has_not_seen() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).timeout(GRACE).connect().await.unwrap();
    let before = proxy.request_bytes();
    store.check("alice", "s-00", "j").await.unwrap();
    let request = proxy.request_bytes() - before;
    for held in (10..request).step_by(7) {
        let sid = format!("s-{held:02}");
        f.open("alice", &sid).await;
        proxy.hold_requests_after(held);
        let check = tokio::spawn(store.check("alice", &sid, "j").into_future());
        eventually("the rest is held back", async || proxy.holds_requests().then_some(())).await;
        wait_until_after(&f.store, f.store.ping().await.unwrap()).await;
        let revoked = f.store.revoke_session("alice", &sid).await.unwrap().now;
        wait_until_after(&f.store, revoked).await;
        proxy.resume();
        let checked = check.await.unwrap().unwrap();
        let active = matches!(checked.state, SessionState::Active { .. });
        assert!(!active || checked.now < revoked, "{held} of {request} bytes: {checked:?}, revoked at {revoked}");
    }
}

#[tokio::test]
async fn a_login_whose_answer_was_lost_is_repeated_and_opens_one_session() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connect().await.unwrap();
    for (sid, runs_twice) in [("s1", true), ("s2", false)] {
        wait_until_settled(&store).await;
        if runs_twice {
            proxy.cut_replies_after(0);
        } else {
            proxy.cut_requests_after(3);
        }
        let Opened::Opened { generation, refresh_end, .. } = store.open(session("alice", sid)).await.unwrap() else {
            panic!("{sid} is not open");
        };
        let listed = f.list("alice").await;
        let [record] = &listed.iter().filter(|record| record.sid.as_str() == sid).collect::<Vec<_>>()[..] else {
            panic!("{listed:?}");
        };
        assert_eq!(record.expires_at, refresh_end);
        let checked = f.store.check("alice", sid, "j").await.unwrap();
        assert!(matches!(checked.state, SessionState::Active { .. }), "{generation}: {checked:?}");
    }
    assert_eq!(f.list("alice").await.len(), 2);
}

#[tokio::test]
async fn a_repeated_login_takes_over_no_other_session() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connect().await.unwrap();
    f.open("alice", "older").await;
    f.open("alice", "revoked").await;
    f.store.revoke_session("alice", "revoked").await.unwrap();
    for sid in ["older", "revoked"] {
        wait_until_settled(&store).await;
        proxy.cut_replies_after(0);
        let answer = store.open(session("alice", sid)).await.unwrap();
        assert!(matches!(answer, Opened::Exists { .. }), "{sid}: {answer:?}");
    }
}

#[tokio::test]
async fn a_repeated_login_does_not_revive_its_session() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).timeout(GRACE).connect().await.unwrap();
    open(&store, "alice", "s0").await;
    let before = proxy.request_bytes();
    open(&store, "alice", "s1").await;
    let request = proxy.request_bytes() - before;
    for (sid, ends_all) in [("s2", false), ("s3", true)] {
        wait_until_settled(&store).await;
        // The first attempt runs, and the second one waits.
        proxy.hold_requests_after(request);
        proxy.cut_replies_after(0);
        let login = tokio::spawn(store.open(session("alice", sid)).into_future());
        eventually("the second attempt is held back", async || proxy.holds_requests().then_some(())).await;
        assert!(f.is_active("alice", sid).await, "the first attempt has run");
        if ends_all {
            f.store.revoke_all("alice", None).await.unwrap();
        } else {
            f.store.revoke_session("alice", sid).await.unwrap();
        }
        proxy.resume();
        let answer = login.await.unwrap().unwrap();
        assert!(matches!(answer, Opened::Superseded { .. }), "{sid}: {answer:?}");
        assert!(!f.is_active("alice", sid).await, "{sid}");
    }
}

#[tokio::test]
async fn a_login_does_not_fail_because_its_connection_died_while_nobody_used_it() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connections(2).connect().await.unwrap();
    for sid in ["s1", "s2"] {
        // A connection counts as idle after more than a second of real time.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        proxy.cut();
        open(&store, "alice", sid).await;
    }
}

#[tokio::test]
async fn a_connection_that_gave_one_answer_to_the_wrong_question_gives_no_other() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.open("bob", "s2").await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connect().await.unwrap();
    f.rotate("bob", "s2", 0).await;
    for by_rotation in [true, false] {
        wait_until_settled(&store).await;
        proxy.freeze_replies();
        // One reply for each command of a check: two times, a role, the record and the write check.
        proxy.forge_reply(b"*0\r\n*0\r\n*0\r\n*0\r\n*0\r\n");
        let error = if by_rotation {
            store.rotate(rotation("bob", "s2", 1, Duration::ZERO)).await.unwrap_err()
        } else {
            store.check("bob", "s2", "j").await.unwrap_err()
        };
        assert_eq!(error.kind(), StoreErrorKind::Untrusted);
        // The true reply is still under way, and would answer the next call on this connection.
        let asked = proxy.request_bytes();
        let check = tokio::spawn(store.check("alice", "s1", "j").into_future());
        eventually("the check is sent", async || (proxy.request_bytes() > asked).then_some(())).await;
        proxy.resume();
        assert!(matches!(check.await.unwrap().unwrap().state, SessionState::Active { .. }));
    }
}

#[tokio::test]
async fn a_paused_server_is_a_timeout_within_the_deadline_and_nothing_has_to_be_restarted() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let store = builder(&f.server.url()).connect().await.unwrap();
    f.server.pause();
    for _ in 0..5 {
        let (checked, took) = on_a_paused_clock(store.check("alice", "s1", "j").into_future()).await;
        let error = checked.unwrap_err();
        assert!(took <= TIMEOUT + ROUNDING, "{took:?}");
        assert!(matches!(error.kind(), StoreErrorKind::Timeout | StoreErrorKind::Unavailable), "{error:?}");
    }
    let error = store.revoke_session("alice", "s1").await.unwrap_err();
    assert!(matches!(error.kind(), StoreErrorKind::Timeout | StoreErrorKind::Unavailable), "never success");
    f.server.resume();
    wait_until_answered(&store).await;
    assert!(matches!(store.check("alice", "s1", "j").await.unwrap().state, SessionState::Active { .. }));
}

#[tokio::test]
async fn two_hundred_calls_on_a_paused_server_fail_together_within_the_deadline() {
    let f = Fixture::new().await;
    let store = builder(&f.server.url()).connections(2).connect().await.unwrap();
    // First while connecting, then on open connections.
    for _ in 0..2 {
        f.server.pause();
        let calls = (0..200).map(|n| {
            let store = store.clone();
            async move { store.check("alice", &format!("s-{n}"), "j").await.is_err() }
        });
        let (failed, took) = on_a_paused_clock(futures_util::future::join_all(calls)).await;
        assert!(failed.into_iter().all(|failed| failed));
        assert!(took <= TIMEOUT + ROUNDING, "{took:?}");
        f.server.resume();
        wait_until_answered(&store).await;
    }
    let clients: String = f.redis(&["CLIENT", "LIST", "TYPE", "normal"]).await;
    assert!(clients.lines().count() < 12, "connections do not pile up: {clients}");
}

#[tokio::test]
async fn a_dead_server_costs_its_callers_no_time() {
    let mut f = Fixture::new().await;
    f.server.kill();
    let calls = async {
        for _ in 0..100 {
            f.store.check("alice", "s1", "j").await.unwrap_err();
        }
    };
    let ((), took) = on_a_paused_clock(calls).await;
    assert!(took < TIMEOUT, "{took:?}: a call has waited for its deadline");
}

#[tokio::test]
async fn a_restart_without_data_refuses_every_session_and_the_store_goes_on() {
    let mut f = Fixture::new().await;
    f.open("alice", "s1").await;
    let before = f.store.read(0, LogQuery::from_start()).await.unwrap().incarnation;
    f.server.restart();
    wait_until_answered(&f.store).await;
    assert_eq!(f.state("alice", "s1").await, SessionState::Unknown);
    f.open("alice", "s2").await;
    assert_ne!(f.store.read(0, LogQuery::from_start()).await.unwrap().incarnation, before);
}

#[tokio::test]
async fn killed_connections_and_forgotten_scripts_are_not_noticed() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    eventually("connections are old enough to be replaced at once", async || {
        f.redis::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        f.store.check("alice", "s1", "j").await.ok()
    })
    .await;
    f.redis::<()>(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(successor(f.rotate("alice", "s1", 0).await).counter, 1);
    f.redis::<()>(&["SCRIPT", "FLUSH"]).await;
    assert!(f.store.revoke_session("alice", "s1").await.unwrap().found);
}

#[tokio::test]
async fn out_of_memory_refuses_what_is_new_and_revokes_all_the_same() {
    let f = Fixture::new().await;
    for sid in ["s1", "s2", "s3", "s4"] {
        f.open("alice", sid).await;
    }
    f.rotate("alice", "s2", 0).await;
    f.rotate("alice", "s2", 1).await;
    f.rotate("alice", "s4", 0).await;
    f.redis::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = |error: tower_bearer::error::StoreError| assert_eq!(error.kind(), StoreErrorKind::OutOfMemory);
    full(f.store.open(session("alice", "s9")).await.unwrap_err());
    full(f.store.rotate(rotation("alice", "s1", 0, GRACE)).await.unwrap_err());
    assert!(matches!(f.rotate("alice", "s4", 0).await, Rotated::Replayed(next) if next.counter == 1));
    assert!(matches!(f.rotate("alice", "s2", 0).await, Rotated::Reused { .. }), "found by the second script");
    assert!(f.is_revoked("alice", "s2").await);
    assert!(f.store.revoke_session("alice", "s3").await.unwrap().found);
    f.store.revoke_token("alice", "j1", f.store.now().saturating_add(GRACE)).await.unwrap();
    let deny = DenyRequest::new("i", ExternalId::Token("j".into()), GRACE);
    f.store.deny(deny).await.unwrap();
    assert!(f.is_active("alice", "s1").await);
    assert_eq!(f.list("alice").await.len(), 2);
    f.redis::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(successor(f.rotate("alice", "s1", 0).await).counter, 1, "nothing had moved");
    f.redis::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert!(f.store.revoke_all("alice", None).await.unwrap().found);
    assert_eq!(f.log().await.len(), 5);
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_unavailable_until_it_is_a_primary_again() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.redis::<()>(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]).await;
    let error = f.store.revoke_session("alice", "s1").await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    f.redis::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    eventually("it writes again", async || f.store.revoke_session("alice", "s1").await.ok()).await;
    assert!(f.is_revoked("alice", "s1").await);
}

#[tokio::test]
async fn reads_of_a_server_that_became_a_replica_are_refused_though_its_connection_still_answers() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.redis::<()>(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]).await;
    let unavailable = |kind| assert_eq!(kind, StoreErrorKind::Unavailable);
    unavailable(f.store.check("alice", "s1", "j").await.unwrap_err().kind());
    unavailable(f.store.read(0, LogQuery::from_start()).await.unwrap_err().kind());
}

#[tokio::test]
async fn a_rotation_that_is_refused_for_memory_and_then_not_answered_is_a_timeout() {
    let f = Fixture::new().await;
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connect().await.unwrap();
    f.open("alice", "s1").await;
    f.rotate("alice", "s1", 0).await;
    let before = proxy.request_bytes();
    store.rotate(rotation("alice", "s1", 1, GRACE)).await.unwrap();
    let request = proxy.request_bytes() - before;
    f.redis::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    proxy.hold_requests_after(request);
    let error = store.rotate(rotation("alice", "s1", 2, GRACE)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Timeout, "reuse may have been found, nobody knows");
}

/// Makes a call whose requests are held back until it has timed out, and then lets them arrive.
async fn held_back<T>(f: &Fixture, call: impl AsyncFnOnce(RedisStore) -> T, meanwhile: impl AsyncFnOnce()) -> T {
    let proxy = Proxy::start(f.server.port()).await;
    let store = builder(&proxy.url()).connect().await.unwrap();
    // The server must know the scripts, because a late EVALSHA of an unknown one does nothing.
    f.open("warm", "up").await;
    f.rotate("warm", "up", 0).await;
    f.store.revoke_all("warm", None).await.unwrap();
    let passed = proxy.request_bytes();
    proxy.freeze_requests();
    let outcome = call(store.clone()).await;
    meanwhile().await;
    proxy.resume();
    // When a later call on the same connection is answered, the held one has run.
    wait_until_answered(&store).await;
    assert!(proxy.request_bytes() > passed);
    outcome
}

#[tokio::test]
async fn a_login_that_timed_out_does_not_appear_later() {
    let f = Fixture::new().await;
    let login = async |store: RedisStore| store.open(session("alice", "s1")).await.unwrap_err();
    let error = held_back(&f, login, async || ()).await;
    assert_eq!(error.kind(), StoreErrorKind::Timeout);
    assert_eq!(f.state("alice", "s1").await, SessionState::Unknown);
}

#[tokio::test]
async fn a_rotation_that_timed_out_does_not_read_as_reuse_later() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let rotate = async |store: RedisStore| store.rotate(rotation("alice", "s1", 0, Duration::ZERO)).await.unwrap_err();
    let meanwhile = async || {
        successor(f.rotate("alice", "s1", 0).await);
        successor(f.rotate("alice", "s1", 1).await);
    };
    held_back(&f, rotate, meanwhile).await;
    assert!(f.is_active("alice", "s1").await);
}

#[tokio::test]
async fn a_revoke_all_that_timed_out_does_not_end_later_logins() {
    let f = Fixture::new().await;
    let revoke = async |store: RedisStore| store.revoke_all("alice", None).await.unwrap_err();
    let meanwhile = async || {
        f.open("alice", "s1").await;
    };
    held_back(&f, revoke, meanwhile).await;
    assert!(f.is_active("alice", "s1").await);
}

#[tokio::test]
async fn a_dropped_call_is_made_or_not_made_and_harms_no_other() {
    let f = Fixture::new().await;
    for n in 0..50 {
        let sid = format!("s-{n}");
        f.open("alice", &sid).await;
        let rotate = f.store.rotate(rotation("alice", &sid, 0, GRACE));
        let _ = tokio::time::timeout(Duration::from_micros(n * 20), async { rotate.await }).await;
        assert_eq!(successor(f.rotate("alice", &sid, 0).await).counter, 1);
        assert!(f.is_active("alice", &sid).await);
    }
}

// ---- Connecting ---------------------------------------------------------------------------------

fn setting(outcome: Result<RedisStore, ConnectError>) -> &'static str {
    match outcome {
        Err(ConnectError::Config(error)) => {
            assert!(error.to_string().starts_with(&format!("`{}`", error.setting())), "{error}");
            error.setting()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nodes_with_other_buckets_are_refused() {
    let server = RedisServer::start();
    let first = RedisStore::builder(server.url()).buckets(16).connect().await.unwrap();
    for buckets in [1, 15, 64] {
        assert_eq!(setting(RedisStore::builder(server.url()).buckets(buckets).connect().await), "buckets");
    }
    RedisStore::builder(server.url()).buckets(64).prefix("other").connect().await.unwrap();
    // Data of another layout can appear while a node runs, for example from a restored backup.
    let mut admin = server.admin().await;
    for bucket in 0..16 {
        let key = format!("tb:{{{bucket}}}:m");
        redis::cmd("HSET").arg(key).arg("layout").arg("3").exec_async(&mut admin).await.unwrap();
    }
    let layout = |error: tower_bearer::error::StoreError| assert_eq!(error.kind(), StoreErrorKind::Layout);
    layout(first.open(session("alice", "s1")).await.unwrap_err());
    layout(first.revoke_all("alice", None).await.unwrap_err());
    layout(first.sessions("alice", tower_bearer::store::Page::default()).await.unwrap_err());
    layout(first.read(0, LogQuery::from_start()).await.unwrap_err());
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_by_name() {
    let url = format!("redis://127.0.0.1:{}/", free_port());
    assert_eq!(setting(RedisStore::builder(&url).prefix("a{b}").connect().await), "prefix");
    assert_eq!(setting(RedisStore::builder(&url).buckets(0).connect().await), "buckets");
    assert_eq!(setting(RedisStore::builder(&url).timeout(Duration::ZERO).connect().await), "timeout");
    assert_eq!(setting(RedisStore::builder(&url).connections(0).connect().await), "connections");
    assert_eq!(setting(RedisStore::connect("http://user:hunter2@127.0.0.1/").await), "url");
    assert!(matches!(RedisStore::connect(&url).await, Err(ConnectError::Store(_))));
}

#[tokio::test]
async fn a_server_that_evicts_is_refused_unless_allowed() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    assert_eq!(setting(RedisStore::connect(server.url()).await), "allow_eviction");
    RedisStore::builder(server.url()).allow_eviction(true).connect().await.unwrap();
}

#[tokio::test]
async fn no_password_shows_in_any_text() {
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg("test-password").exec_async(&mut admin).await.unwrap();
    for (user, password) in [("", "hunter2"), ("hunter2", "hunter2")] {
        let url = format!("redis://{user}:{password}@127.0.0.1:{}/", server.port());
        let Err(error) = RedisStore::connect(&url).await else { panic!("connected with a wrong password") };
        let ConnectError::Store(store) = &error else { panic!("{error:?}") };
        assert_eq!(store.kind(), StoreErrorKind::Rejected);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
    let url = format!("redis://:test-password@127.0.0.1:{}/", server.port());
    let store = RedisStore::connect(&url).await.unwrap();
    let text = format!("{store:?} {:?}", RedisStore::builder(&url));
    assert!(!text.contains("test-password") && !text.contains("127.0.0.1"), "{text}");
}

#[tokio::test]
async fn a_pool_of_ones_own_serves_too() {
    let server = RedisServer::start();
    let pool =
        deadpool_redis::Config::from_url(server.url()).create_pool(Some(deadpool_redis::Runtime::Tokio1)).unwrap();
    let store = RedisStoreBuilder::from_pool(pool).connect().await.unwrap();
    open(&store, "alice", "s1").await;
    assert!(store.revoke_session("alice", "s1").await.unwrap().found);
}

#[tokio::test]
async fn rights_that_are_missing_are_the_operators_fault() {
    let f = Fixture::new().await;
    f.redis::<()>(&["ACL", "SETUSER", "app", "on", ">test-password", "+@all", "-info", "-evalsha", "-eval", "~*"])
        .await;
    let url = format!("redis://app:test-password@127.0.0.1:{}/", f.server.port());
    let Err(ConnectError::Store(error)) = RedisStore::connect(url).await else { panic!("connected") };
    assert_eq!(error.kind(), StoreErrorKind::Rejected);
}

#[tokio::test]
async fn a_right_that_only_a_revocation_needs_is_missed_when_connecting() {
    let f = Fixture::new().await;
    let user = ["ACL", "SETUSER", "app", "on", ">test-password", "+@all", "-info", "-spublish", "~tb:*"];
    f.redis::<()>(&user).await;
    let url = format!("redis://app:test-password@127.0.0.1:{}/", f.server.port());
    let store = RedisStore::builder(&url).buckets(1).connect().await.unwrap();
    store.revoke_all("alice", None).await.unwrap();
    for right in ["xadd", "xtrim", "role", "hdel"] {
        f.redis::<()>(&["ACL", "SETUSER", "app", &format!("-{right}")]).await;
        let outcome = RedisStore::builder(&url).buckets(1).connect().await;
        assert!(outcome.as_ref().is_err_and(|error| error.to_string().contains(right)), "{right}: {outcome:?}");
        assert_eq!(setting(outcome), "url", "{right}");
        f.redis::<()>(&["ACL", "SETUSER", "app", &format!("+{right}")]).await;
    }
}

#[tokio::test]
async fn the_store_needs_no_more_connections_than_it_was_given() {
    let f = Fixture::new().await;
    let calls = (0..100).map(|n| {
        let store = f.store.clone();
        async move { matches!(store.open(session("alice", &format!("s-{n}"))).await, Ok(Opened::Opened { .. })) }
    });
    assert!(futures_util::future::join_all(calls).await.into_iter().all(|opened| opened));
    let clients: String = f.redis(&["CLIENT", "LIST", "TYPE", "normal"]).await;
    assert!(clients.lines().count() <= 3, "two and the test's own: {clients}");
}

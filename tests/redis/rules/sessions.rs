//! Opening of sessions with superseded logins, caps and lifetimes, and their listing.

use std::time::Duration;

use tower_bearer::{
    SessionId,
    clock::Timestamp,
    store::{OpenSession, Opened, Page, Revocation, RotateRefresh, Rotated, SessionState},
};

use super::HOUR;
use crate::support::{
    TextStore,
    redis_fixture::{ABSOLUTE, Fixture, IDLE, capped, session, successor, wait_until_after, with},
};

#[tokio::test]
async fn an_existing_session_is_never_overwritten() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    successor(f.rotate("alice", "s1", 0).await);
    assert!(matches!(f.store.open(session("alice", "s1")).await.unwrap(), Opened::Exists { .. }));
    assert_eq!(successor(f.rotate("alice", "s1", 1).await).counter, 2);
    f.store.revoke_session("alice", "s1").await.unwrap();
    assert!(matches!(f.store.open(session("alice", "s1")).await.unwrap(), Opened::Exists { .. }));
    assert!(f.is_revoked("alice", "s1").await);
}

#[tokio::test]
async fn a_login_with_the_old_password_does_not_outlive_its_change() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let began = f.store.now();
    f.store.revoke_all("alice", Some("s1")).await.unwrap();
    let late = with(session("alice", "thief"), |open| open.auth_time = Some(began));
    assert!(matches!(f.store.open(late).await.unwrap(), Opened::Superseded { .. }));
    assert_eq!(f.state("alice", "thief").await, SessionState::Unknown);
    wait_until_after(&f.store, f.store.now()).await;
    let began = f.store.ping().await.unwrap();
    let fresh = with(session("alice", "s2"), |open| open.auth_time = Some(began));
    assert!(matches!(f.store.open(fresh).await.unwrap(), Opened::Opened { .. }));
}

#[tokio::test]
async fn first_logins_at_the_same_time_do_not_look_superseded() {
    let f = Fixture::new().await;
    let began = f.store.now();
    for sid in ["s1", "s2"] {
        let login = with(session("alice", sid), |open| open.auth_time = Some(began));
        assert!(matches!(f.store.open(login).await.unwrap(), Opened::Opened { .. }), "{sid}");
    }
}

#[tokio::test]
async fn a_cap_counts_only_live_sessions_and_evicts_those_used_longest_ago() {
    let f = Fixture::new().await;
    f.store.revoke_token("alice", "j1", f.store.now().saturating_add(HOUR)).await.unwrap();
    for sid in ["s1", "s2", "s3"] {
        f.open("alice", sid).await;
        wait_until_after(&f.store, f.store.ping().await.unwrap()).await;
    }
    f.store.revoke_session("alice", "s3").await.unwrap();
    f.store.open(with(session("alice", "s4"), |open| open.idle = Duration::ZERO)).await.unwrap();
    successor(f.rotate("alice", "s1", 0).await);
    let Opened::Opened { evicted, .. } = f.store.open(capped("alice", "s5", 3)).await.unwrap() else { panic!() };
    assert_eq!(evicted, Vec::<SessionId>::new(), "marks, the dead and our own fields are no sessions");
    let Opened::Opened { evicted, .. } = f.store.open(capped("alice", "s6", 2)).await.unwrap() else { panic!() };
    assert_eq!(evicted, ["s2", "s1"]);
    assert!(f.is_revoked("alice", "s1").await && f.is_revoked("alice", "s2").await);
    assert!(f.is_active("alice", "s5").await && f.is_active("alice", "s6").await);
    let logged = f.log().await;
    let last = logged.last().unwrap();
    assert_eq!(last.revocation, Revocation::Session { subject: "alice".into(), sid: "s1".into() });
}

#[tokio::test]
async fn a_server_clock_that_was_ahead_once_locks_nobody_out() {
    let f = Fixture::new().await;
    let ahead = f.store.now().saturating_add(24 * HOUR).as_millis().to_string();
    let login = async |sid: &str, began| {
        let outcome = f.store.open(with(session("alice", sid), |open| open.auth_time = Some(began))).await.unwrap();
        matches!(outcome, Opened::Opened { .. })
    };
    // A session from a clock one day ahead raises the generation of a present revocation.
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "o", &ahead]).await;
    let began = f.store.ping().await.unwrap();
    let revoked = f.store.revoke_all("alice", None).await.unwrap().now;
    assert!(!login("a", began).await);
    wait_until_after(&f.store, revoked).await;
    assert!(login("b", f.store.ping().await.unwrap()).await);
    // A revocation from a clock one day ahead supersedes logins under way, but no later ones.
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "r", &ahead]).await;
    let began = f.store.ping().await.unwrap();
    assert!(!login("c", began).await);
    wait_until_after(&f.store, f.store.ping().await.unwrap()).await;
    assert!(login("d", f.store.ping().await.unwrap()).await);
}

#[tokio::test]
async fn logins_under_a_cap_leave_an_index_of_the_live_sessions_only() {
    let f = Fixture::new().await;
    for n in 0..300 {
        f.store.open(capped("alice", &format!("s-{n}"), 2)).await.unwrap();
    }
    let index: Vec<String> = f.redis(&["ZRANGE", "tb:{0}:s:alice", "0", "-1"]).await;
    assert_eq!(index, ["s-298", "s-299"]);
    for sid in ["s-0", "s-150", "s-297"] {
        assert!(f.is_revoked("alice", sid).await, "{sid}");
    }
    assert_eq!(f.log().await.len(), 298);
}

#[tokio::test]
async fn a_login_under_a_new_cap_ends_a_bounded_number_of_sessions_and_the_next_ones_the_rest() {
    let f = Fixture::new().await;
    for n in 0..600 {
        f.open("alice", &format!("s-{n}")).await;
    }
    let encoding: String = f.redis(&["OBJECT", "ENCODING", "tb:{0}:u:alice"]).await;
    assert_eq!(encoding, "hashtable", "more than one page of a scan");
    let (mut alive, mut logins) = (600, 0);
    while alive > 1 {
        logins += 1;
        let opened = f.store.open(capped("alice", &format!("login {logins}"), 1)).await.unwrap();
        let Opened::Opened { evicted, .. } = opened else { panic!("{opened:?}") };
        assert!(!evicted.is_empty() && evicted.len() <= 100, "login {logins} evicted {}", evicted.len());
        alive = alive + 1 - evicted.len();
        assert_eq!(f.list("alice").await.len(), alive);
    }
    assert!(logins <= 8, "{logins}");
}

#[tokio::test]
async fn a_cap_spares_the_newest_while_the_index_is_being_built() {
    let f = Fixture::new().await;
    for n in 0..600 {
        f.open("alice", &format!("s-{n}")).await;
        if n == 579 {
            wait_until_after(&f.store, f.store.ping().await.unwrap()).await;
        }
    }
    for login in 0..12 {
        f.store.open(capped("alice", &format!("login {login}"), 20)).await.unwrap();
    }
    let mut live: Vec<String> = f.list("alice").await.into_iter().map(|session| session.sid.into()).collect();
    live.sort_unstable();
    let mut expected: Vec<String> = (0..12).map(|login| format!("login {login}")).collect();
    expected.extend((592..600).map(|n| format!("s-{n}")));
    expected.sort_unstable();
    // The store may evict any session of the same millisecond.
    let is_login = |sid: &&String| sid.starts_with("login");
    assert_eq!(live.iter().filter(is_login).count(), 12, "{live:?}");
    assert_eq!(live.len(), expected.len());
    let newest: Vec<_> = (580..600).map(|n| format!("s-{n}")).collect();
    assert!(live.iter().filter(|sid| !is_login(sid)).all(|sid| newest.contains(sid)), "{live:?}");
}

#[tokio::test]
async fn an_index_is_kept_by_rotations_and_ends_and_healed_by_later_writes() {
    let f = Fixture::new().await;
    let index = async || f.redis::<Vec<String>>(&["ZRANGE", "tb:{0}:s:alice", "0", "-1"]).await;
    let tick = async || wait_until_after(&f.store, f.store.ping().await.unwrap()).await;
    f.open("alice", "s-a").await;
    tick().await;
    assert!(index().await.is_empty(), "no cap was in use");
    f.store.open(capped("alice", "s-b", 9)).await.unwrap();
    tick().await;
    f.open("alice", "=").await;
    tick().await;
    f.rotate("alice", "s-a", 0).await;
    assert_eq!(index().await, ["s-b", "==", "s-a"]);
    f.store.revoke_session("alice", "s-b").await.unwrap();
    assert_eq!(index().await, ["==", "s-a"]);
    for key in ["tb:{0}:s:alice", "tb:{0}:u:alice"] {
        let ttl: i64 = f.redis(&["TTL", key]).await;
        assert!(ttl >= IDLE.as_secs().cast_signed(), "{key}: {ttl}");
    }
    // Only the index is lost. The next writes rebuild it.
    f.redis::<()>(&["DEL", "tb:{0}:s:alice"]).await;
    f.store.revoke_session("alice", "unknown").await.unwrap();
    assert_eq!(index().await, ["==", "s-a"]);
    f.store.revoke_all("alice", Some("=")).await.unwrap();
    assert_eq!(index().await, ["=="]);
    f.store.revoke_all("alice", None).await.unwrap();
    assert!(index().await.is_empty());
    f.open("alice", "s-c").await;
    assert_eq!(index().await, ["s-c"], "a session without a cap counts for the next login with one");
    let Opened::Opened { evicted, .. } = f.store.open(capped("alice", "s-d", 1)).await.unwrap() else { panic!() };
    assert_eq!(evicted, ["s-c"]);
}

#[tokio::test]
async fn a_listing_has_the_live_sessions_with_their_labels() {
    let f = Fixture::new().await;
    f.store.open(with(session("alice", "s1"), |open| open.label = "Firefox ü".into())).await.unwrap();
    f.store.open(with(session("alice", "s2"), |open| open.label = "x".repeat(1024))).await.unwrap();
    f.open("alice", "s3").await;
    f.store.revoke_session("alice", "s2").await.unwrap();
    let next = successor(f.rotate("alice", "s1", 0).await);
    let mut sessions = f.list("alice").await;
    sessions.sort_by(|a, b| a.sid.cmp(&b.sid));
    assert_eq!(
        sessions.iter().map(|s| (s.sid.as_str(), s.label.as_str())).collect::<Vec<_>>(),
        [("s1", "Firefox ü"), ("s3", "")]
    );
    assert_eq!((sessions[0].last_rotated_at, sessions[0].expires_at), (next.issued_at, next.refresh_end));
    assert_eq!(sessions[0].absolute_end, sessions[0].opened_at.saturating_add(ABSOLUTE));
    let labels: Vec<String> = f.redis(&["HKEYS", "tb:{0}:i:alice"]).await;
    assert_eq!(labels, ["s1"], "a label goes with its session");
}

#[tokio::test]
async fn a_listing_of_many_comes_in_pages_and_a_foreign_cursor_begins_anew() {
    let f = Fixture::new().await;
    for n in 0..600 {
        f.open("alice", &format!("s-{n}")).await;
    }
    let first = f.store.sessions("alice", Page::default().limit(50)).await.unwrap();
    assert!(first.next.is_some() && first.sessions.len() < 600);
    let sids: std::collections::HashSet<SessionId> = f.list("alice").await.into_iter().map(|s| s.sid).collect();
    assert_eq!(sids.len(), 600);
    let page = Page::at(Some("0; FLUSHALL".into())).limit(50);
    assert_eq!(f.store.sessions("alice", page).await.unwrap(), first);
}

#[tokio::test]
async fn idle_sessions_expire_by_the_servers_clock() {
    let f = Fixture::new().await;
    let open = with(session("alice", "s1"), |open| open.idle = Duration::from_millis(200));
    let Opened::Opened { refresh_end, .. } = f.store.open(open).await.unwrap() else { panic!() };
    assert!(f.is_active("alice", "s1").await);
    wait_until_after(&f.store, refresh_end).await;
    assert_eq!(f.state("alice", "s1").await, SessionState::Expired);
    assert!(matches!(f.rotate("alice", "s1", 0).await, Rotated::Expired { .. }));
    assert_eq!(f.list("alice").await.len(), 0);
}

#[tokio::test]
async fn lifetimes_beyond_all_bounds_do_not_overflow() {
    let f = Fixture::new().await;
    let open = OpenSession::new("alice", "s1".into(), Duration::MAX, Duration::MAX);
    let Opened::Opened { refresh_end, .. } = f.store.open(open).await.unwrap() else { panic!() };
    assert_eq!(refresh_end, Timestamp::END_OF_TIME);
    let rotate = RotateRefresh::new("alice", "s1".into(), 0, Duration::MAX, Duration::MAX);
    assert_eq!(successor(f.store.rotate(rotate).await.unwrap()).refresh_end, Timestamp::END_OF_TIME);
    f.store.revoke_token("alice", "j", Timestamp::from_millis(u64::MAX)).await.unwrap();
    assert!(matches!(f.state_of("alice", "s1", "j").await, SessionState::Revoked { .. }));
}

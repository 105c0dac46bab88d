//! Revocation of a token, of a session, and of all sessions of a user.

use std::time::Duration;

use tower_bearer::{
    SessionId,
    store::{LogQuery, Opened, Revocation, Rotated, SessionState},
};

use super::HOUR;
use crate::support::{
    TextStore,
    redis_fixture::{Fixture, GRACE, rotation, session, successor, wait_until_after, with},
};

#[tokio::test]
async fn a_session_opened_after_revoke_all_lives_and_those_before_do_not() {
    let f = Fixture::new().await;
    for round in 0..20 {
        let (old, new) = (format!("old-{round}"), format!("new-{round}"));
        let before = f.open("alice", &old).await;
        assert!(f.store.revoke_all("alice", None).await.unwrap().found);
        let after = f.open("alice", &new).await;
        assert!(after > before, "whatever the millisecond");
        assert!(f.is_revoked("alice", &old).await && f.is_active("alice", &new).await);
        assert!(matches!(f.rotate("alice", &old, 0).await, Rotated::Revoked { .. }));
    }
}

#[tokio::test]
async fn the_session_that_was_spared_keeps_its_name_however_many_are_opened_since() {
    let f = Fixture::new().await;
    f.open("alice", "a:b").await;
    f.open("alice", "dead").await;
    f.store.revoke_all("alice", Some("a:b")).await.unwrap();
    for sid in ["s1", "s2"] {
        f.open("alice", sid).await;
        let told = f.store.revoke_session("alice", "dead").await.unwrap().logged.unwrap().revocation;
        let Revocation::Subject { except, .. } = told else { panic!("{told:?}") };
        assert_eq!(except, Some("a:b".into()));
    }
}

#[tokio::test]
async fn revoke_all_tells_whether_there_was_anything_to_end() {
    let f = Fixture::new().await;
    assert!(!f.store.revoke_all("alice", None).await.unwrap().found);
    f.open("alice", "s1").await;
    assert!(!f.store.revoke_all("alice", Some("s1")).await.unwrap().found);
    assert!(f.store.revoke_all("alice", None).await.unwrap().found);
    assert!(!f.store.revoke_all("alice", None).await.unwrap().found);
}

#[tokio::test]
async fn a_server_clock_that_was_put_back_gives_no_session_a_generation_above_the_next_revoke_all() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    // Simulates a session that was opened while the clock was a day ahead.
    let ahead = f.store.now().saturating_add(24 * HOUR).as_millis();
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "o", &ahead.to_string()]).await;
    let generation = f.open("alice", "s2").await;
    assert_eq!(generation, ahead, "no session falls behind those before it");
    f.store.revoke_all("alice", None).await.unwrap();
    assert!(f.is_revoked("alice", "s1").await && f.is_revoked("alice", "s2").await);
    assert!(f.open("alice", "s3").await > ahead);
    assert!(f.is_active("alice", "s3").await);
}

#[tokio::test]
async fn revoke_all_keeps_the_marks_of_single_tokens() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.store.revoke_token("alice", "j1", f.store.now().saturating_add(HOUR)).await.unwrap();
    f.store.revoke_all("alice", Some("s1")).await.unwrap();
    assert!(f.is_active("alice", "s1").await);
    assert!(matches!(f.state_of("alice", "s1", "j1").await, SessionState::Revoked { .. }));
}

#[tokio::test]
async fn an_exception_is_named_only_if_it_was_alive() {
    let f = Fixture::new().await;
    f.open("alice", "victim").await;
    f.open("alice", "thief").await;
    f.store.revoke_all("alice", Some("victim")).await.unwrap();
    // The thief's own request, which was authenticated just before.
    f.store.revoke_all("alice", Some("thief")).await.unwrap();
    assert!(f.is_revoked("alice", "thief").await);
    let excepts: Vec<Option<SessionId>> = f
        .log()
        .await
        .into_iter()
        .map(|entry| match entry.revocation {
            Revocation::Subject { except, .. } => except,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(excepts, [Some("victim".into()), None]);
}

#[tokio::test]
async fn the_kept_session_carries_the_new_generation() {
    let f = Fixture::new().await;
    let before = f.open("alice", "s1").await;
    f.store.revoke_all("alice", Some("s1")).await.unwrap();
    let Revocation::Subject { generation, .. } = f.log().await[0].revocation else { panic!() };
    assert!(generation > before);
    let state = f.state("alice", "s1").await;
    assert!(matches!(state, SessionState::Active { generation: own, .. } if own == generation), "{state:?}");
    assert_eq!(successor(f.rotate("alice", "s1", 0).await).generation, generation);
}

#[tokio::test]
async fn a_revocation_is_logged_even_if_there_was_nothing_to_delete() {
    let f = Fixture::new().await;
    assert!(!f.store.revoke_session("alice", "lost").await.unwrap().found);
    assert_eq!(f.log().await[0].revocation, Revocation::Session { subject: "alice".into(), sid: "lost".into() });
    assert!(f.is_revoked("alice", "lost").await, "a repetition finds that it was revoked");
    f.store.revoke_session("alice", "lost").await.unwrap();
    assert_eq!(f.log().await.len(), 1);
    assert!(matches!(f.store.open(session("alice", "lost")).await.unwrap(), Opened::Exists { .. }));
}

#[tokio::test]
async fn a_repeated_revocation_of_all_does_not_refuse_logins_that_began_since() {
    let f = Fixture::new().await;
    f.open("alice", "kept").await;
    let first = f.store.revoke_all("alice", Some("kept")).await.unwrap();
    wait_until_after(&f.store, first.now).await;
    let began = f.store.ping().await.unwrap();
    let login = |sid, began| with(session("alice", sid), |open| open.auth_time = Some(began));
    f.store.revoke_all("alice", Some("kept")).await.unwrap();
    assert!(matches!(f.store.open(login("a", began)).await.unwrap(), Opened::Opened { .. }));
    f.store.revoke_all("alice", Some("kept")).await.unwrap();
    assert!(f.is_revoked("alice", "a").await);
    // Simulates a login that began long before the last revocation.
    let past = began.saturating_sub(Duration::from_secs(10)).as_millis().to_string();
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "r", &past]).await;
    let sequence = f.store.read(0, LogQuery::from_start()).await.unwrap().sequence;
    let began = f.store.ping().await.unwrap();
    f.store.revoke_all("alice", Some("kept")).await.unwrap();
    assert!(matches!(f.store.open(login("b", began)).await.unwrap(), Opened::Superseded { .. }));
    assert_eq!(
        f.store.read(0, LogQuery::from_start()).await.unwrap().sequence,
        sequence,
        "and it writes nothing to the log"
    );
}

#[tokio::test]
async fn a_generation_that_was_put_back_ends_what_the_next_revoke_all_finds() {
    let f = Fixture::new().await;
    let old = f.open("alice", "old").await;
    wait_until_after(&f.store, f.store.ping().await.unwrap()).await;
    f.open("alice", "new").await;
    let lost = Revocation::Subject { subject: "alice".into(), generation: old + 1, except: None };
    f.store.republish(0, lost, f.store.now().saturating_add(HOUR)).await.unwrap();
    assert!(f.is_revoked("alice", "old").await && f.is_active("alice", "new").await);
    assert!(f.store.revoke_all("alice", None).await.unwrap().found);
    assert!(f.is_revoked("alice", "new").await);
}

#[tokio::test]
async fn logout_rotation_and_revoke_all_at_once_leave_no_live_session() {
    let f = Fixture::new().await;
    for round in 0..30 {
        let sid = format!("s-{round}");
        f.open("alice", &sid).await;
        let (logout, rotate, all) = tokio::join!(
            async { f.store.revoke_session("alice", &sid).await },
            async { f.store.rotate(rotation("alice", &sid, 0, GRACE)).await },
            async { f.store.revoke_all("alice", None).await },
        );
        logout.unwrap();
        rotate.unwrap();
        all.unwrap();
        assert!(f.is_revoked("alice", &sid).await);
        assert!(!matches!(f.rotate("alice", &sid, 1).await, Rotated::Rotated(_) | Rotated::Replayed(_)));
    }
}

#[tokio::test]
async fn revoking_a_session_ends_its_refresh_tokens_though_a_jti_mark_would_not() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.store.revoke_token("alice", "s1.0.refresh", f.store.now().saturating_add(HOUR)).await.unwrap();
    assert!(matches!(f.rotate("alice", "s1", 0).await, Rotated::Rotated(_)), "rotate reads counters, not marks");
    f.store.revoke_session("alice", "s1").await.unwrap();
    assert!(matches!(f.rotate("alice", "s1", 1).await, Rotated::Revoked { .. }));
}

#[tokio::test]
async fn beyond_what_is_counted_revoke_all_tells_whether_a_session_was_opened_since() {
    let f = Fixture::new().await;
    for n in 0..130 {
        f.store.revoke_token("alice", &format!("j-{n}"), f.store.now().saturating_add(HOUR)).await.unwrap();
    }
    assert!(!f.store.revoke_all("alice", None).await.unwrap().found, "there never was one");
    // Within one millisecond, a revocation with an exception would not overtake the login.
    wait_until_after(&f.store, f.store.ping().await.unwrap()).await;
    f.open("alice", "s1").await;
    f.open("alice", "s2").await;
    assert!(f.store.revoke_all("alice", Some("s1")).await.unwrap().found);
    assert!(!f.store.revoke_all("alice", Some("s1")).await.unwrap().found, "only the one that stays is left");
    assert!(f.store.revoke_all("alice", None).await.unwrap().found, "that one");
    assert!(!f.store.revoke_all("alice", None).await.unwrap().found);
}

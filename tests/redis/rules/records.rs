//! The records and keys of a user: contents, expiry and pruning.

use std::{collections::HashMap, time::Duration};

use tower_bearer::{
    error::StoreErrorKind,
    store::{Revocation, Rotated, SessionState},
};

use super::{AGE, HOUR};
use crate::support::{
    TextStore,
    redis_fixture::{Fixture, GRACE, IDLE, capped, rotation, session, wait_until_after, with},
};

#[tokio::test]
async fn a_session_lives_from_open_to_revocation() {
    let f = Fixture::new().await;
    assert_eq!(f.state("alice", "s1").await, SessionState::Unknown);
    let generation = f.open("alice", "s1").await;
    let state = f.state("alice", "s1").await;
    assert!(matches!(state, SessionState::Active { generation: own, .. } if own == generation), "{state:?}");
    let revoked = f.store.revoke_session("alice", "s1").await.unwrap();
    assert!(revoked.found);
    assert_eq!(f.state("alice", "s1").await, SessionState::Revoked { at: Some(revoked.now) });
    assert!(matches!(f.rotate("alice", "s1", 0).await, Rotated::Revoked { at: Some(at), .. } if at == revoked.now));
    let again = f.store.revoke_session("alice", "s1").await.unwrap();
    assert!(!again.found);
    assert_eq!(again.position().unwrap(), revoked.position().unwrap(), "it names the entry that is there");
    assert_eq!(f.log().await.len(), 1);
    assert_eq!(f.log().await[0].revocation, Revocation::Session { subject: "alice".into(), sid: "s1".into() });
}

#[tokio::test]
async fn every_key_has_a_time_to_live_but_m() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.store.open(with(capped("alice", "s2", 1), |open| open.label = "Firefox".into())).await.unwrap();
    f.store.revoke_session("nobody", "s").await.unwrap();
    f.store.revoke_token("carol", "j", f.store.now().saturating_add(3 * HOUR)).await.unwrap();
    f.store.revoke_all("dave", None).await.unwrap();
    f.rotate("alice", "s2", 0).await;
    let keys: Vec<String> = f.redis(&["KEYS", "*"]).await;
    assert_eq!(keys.len(), 8, "{keys:?}");
    for key in keys {
        let ttl: i64 = f.redis(&["PTTL", &key]).await;
        assert_eq!(ttl == -1, key == "tb:{0}:m", "{key}: {ttl}");
        assert!(ttl == -1 || ttl > 3_540_000, "{key} lives for at least `keep`: {ttl}");
    }
    let carol: i64 = f.redis(&["TTL", "tb:{0}:u:carol"]).await;
    assert!(carol > 3 * 3600 - 60, "as long as the mark: {carol}");
    let alice: i64 = f.redis(&["TTL", "tb:{0}:u:alice"]).await;
    assert!(alice >= IDLE.as_secs().cast_signed(), "as long as the longest session: {alice}");
}

#[tokio::test]
async fn a_shorter_session_does_not_shorten_the_life_of_a_longer_one() {
    let f = Fixture::new().await;
    f.open("alice", "long").await;
    f.store.open(with(session("alice", "short"), |open| open.idle = HOUR)).await.unwrap();
    let ttl: i64 = f.redis(&["TTL", "tb:{0}:u:alice"]).await;
    assert!(ttl >= IDLE.as_secs().cast_signed());
}

#[tokio::test]
async fn a_hundred_sessions_stay_in_the_compact_encoding() {
    let f = Fixture::new().await;
    for n in 0..100 {
        f.open("alice", &format!("session-{n:014}")).await;
    }
    let encoding: String = f.redis(&["OBJECT", "ENCODING", "tb:{0}:u:alice"]).await;
    assert_eq!(encoding, "listpack");
    let sizes: HashMap<String, Vec<u8>> = f.redis(&["HGETALL", "tb:{0}:u:alice"]).await;
    assert!(sizes.values().all(|value| value.len() <= 64));
}

#[tokio::test]
async fn a_generation_in_milliseconds_comes_back_whole() {
    let f = Fixture::new().await;
    let before = f.store.ping().await.unwrap().as_millis();
    let generation = f.open("alice", "s1").await;
    let after = f.store.ping().await.unwrap().as_millis();
    assert!(before > u64::from(u32::MAX));
    assert!((before..=after).contains(&generation), "{before} {generation} {after}");
    let revoked = f.store.revoke_all("alice", None).await.unwrap();
    let next = f.open("alice", "s2").await;
    assert!(next > generation && next > revoked.now.as_millis() - 1);
}

#[tokio::test]
async fn a_jti_stays_revoked_up_to_its_end_and_other_writes_do_not_prune_it() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let until = f.store.ping().await.unwrap().saturating_add(Duration::from_millis(300));
    assert!(f.store.revoke_token("alice", "j1", until).await.unwrap().found);
    assert!(!f.store.revoke_token("alice", "j1", until).await.unwrap().found);
    f.open("alice", "s2").await;
    f.store.revoke_all("alice", Some("s1")).await.unwrap();
    assert!(matches!(f.state_of("alice", "s1", "j1").await, SessionState::Revoked { .. }));
    assert!(matches!(f.state_of("alice", "s1", "j2").await, SessionState::Active { .. }));
    // A repeated call with an earlier end does not shorten the revocation.
    f.store.revoke_token("alice", "j1", until.saturating_sub(HOUR)).await.unwrap();
    assert!(matches!(f.state_of("alice", "s1", "j1").await, SessionState::Revoked { .. }));
    // The revocation also outlives its own end, up to `keep`: the longest time for which any node
    // accepts a token.
    wait_until_after(&f.store, until).await;
    assert!(matches!(f.state_of("alice", "s1", "j1").await, SessionState::Revoked { .. }));
    let mark: String = f.redis(&["HGET", "tb:{0}:u:alice", "!j1"]).await;
    let (till, sequence) = mark.split_once('.').unwrap();
    assert_eq!((till.parse::<u64>().unwrap(), sequence), (f.log().await[0].until.as_millis(), "1"));
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "!j1", &format!("{}.1", until.as_millis())]).await;
    assert!(matches!(f.state_of("alice", "s1", "j1").await, SessionState::Active { .. }));
    f.open("alice", "s3").await;
    let left: bool = f.redis(&["HEXISTS", "tb:{0}:u:alice", "!j1"]).await;
    assert!(!left, "what is over is pruned");
}

#[tokio::test]
async fn a_jti_of_an_unknown_session_is_revoked_not_unknown() {
    let f = Fixture::new().await;
    let until = f.store.now().saturating_add(HOUR);
    f.store.revoke_token("alice", "j1", until).await.unwrap();
    assert_eq!(f.state_of("alice", "s1", "j1").await, SessionState::Revoked { at: None });
}

#[tokio::test]
async fn malformed_fields_are_pruned_and_refused_and_make_nothing_fail() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "bad", "x", "!bad", "y", "c", "not a cursor"]).await;
    assert_eq!(f.store.check("alice", "bad", "j").await.unwrap_err().kind(), StoreErrorKind::Untrusted);
    assert_eq!(f.list("alice").await.len(), 1);
    f.open("alice", "s2").await;
    let fields: Vec<String> = f.redis(&["HKEYS", "tb:{0}:u:alice"]).await;
    assert!(!fields.contains(&"bad".to_owned()) && !fields.contains(&"!bad".to_owned()), "{fields:?}");
    assert_eq!(f.list("alice").await.len(), 2);
}

#[tokio::test]
async fn a_record_that_is_another_sessions_is_never_used() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.open("alice", "s2").await;
    let record: Vec<u8> = f.redis(&["HGET", "tb:{0}:u:alice", "s2"]).await;
    let mut command = redis::cmd("HSET");
    command.arg("tb:{0}:u:alice").arg("s1").arg(record);
    command.exec_async(&mut f.admin.clone()).await.unwrap();
    assert_eq!(f.store.check("alice", "s1", "j").await.unwrap_err().kind(), StoreErrorKind::Untrusted);
    let rotated = f.store.rotate(rotation("alice", "s1", 0, GRACE)).await;
    assert_eq!(rotated.unwrap_err().kind(), StoreErrorKind::Untrusted);
    assert!(f.is_active("alice", "s2").await);
}

#[tokio::test]
async fn what_is_over_is_pruned_by_later_writes() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.store.open(with(session("alice", "s2"), |open| open.idle = Duration::ZERO)).await.unwrap();
    f.store.revoke_session("alice", "s1").await.unwrap();
    assert_eq!(f.state("alice", "s2").await, SessionState::Expired);
    assert!(matches!(f.rotate("alice", "s2", 0).await, Rotated::Expired { .. }));
    // Ages the records by more than `keep`. Scripts use the longer of the values in `m` and from
    // the caller.
    let moved: i32 = f.redis(&["EVAL", AGE, "1", "tb:{0}:u:alice", "3700000"]).await;
    assert_eq!(moved, 2);
    f.open("alice", "s3").await;
    let fields: Vec<String> = f.redis(&["HKEYS", "tb:{0}:u:alice"]).await;
    assert!(!fields.contains(&"s1".to_owned()) && !fields.contains(&"s2".to_owned()), "{fields:?}");
    assert_eq!(f.state("alice", "s1").await, SessionState::Unknown);
}

#[tokio::test]
async fn ids_that_look_like_our_own_fields_are_only_ids() {
    let f = Fixture::new().await;
    for id in [
        "g",
        "o",
        "c",
        "l",
        "!g",
        "=g",
        "!",
        "=",
        "\r\n*1\r\n$8\r\nFLUSHALL\r\n",
        "') redis.call('FLUSHALL') --",
        "ü{3}",
    ] {
        f.open("alice", id).await;
        assert!(f.is_active("alice", id).await, "{id:?}");
        f.open(id, "s1").await;
        assert!(f.is_active(id, "s1").await, "{id:?}");
    }
    assert_eq!(f.list("alice").await.len(), 11);
    f.store.revoke_session("alice", "g").await.unwrap();
    f.store.revoke_token("alice", "g", f.store.now().saturating_add(HOUR)).await.unwrap();
    assert!(f.is_active("alice", "!g").await && f.is_active("alice", "=g").await && !f.is_active("alice", "g").await);
    f.store.revoke_all("alice", Some("o")).await.unwrap();
    assert_eq!(f.list("alice").await.iter().map(|session| session.sid.as_str()).collect::<Vec<_>>(), ["o"]);
}

#[tokio::test]
async fn a_mark_in_the_form_of_layout_1_is_read_and_written_anew() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let until = f.store.now().saturating_add(2 * HOUR);
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "!j1", &until.as_millis().to_string()]).await;
    assert!(matches!(f.state_of("alice", "s1", "j1").await, SessionState::Revoked { .. }));
    assert!(!f.store.revoke_token("alice", "j1", until).await.unwrap().found);
    assert_eq!(f.log().await.len(), 1, "no entry of this log spoke of it");
    f.store.revoke_token("alice", "j1", until).await.unwrap();
    assert_eq!(f.log().await.len(), 1);
}

#[tokio::test]
async fn a_cursor_of_pruning_that_cannot_be_read_is_forgotten() {
    let f = Fixture::new().await;
    f.store.open(with(session("alice", "s1"), |open| open.idle = Duration::ZERO)).await.unwrap();
    f.redis::<i32>(&["EVAL", AGE, "1", "tb:{0}:u:alice", "3700000"]).await;
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "c", &"9".repeat(30)]).await;
    f.open("alice", "s2").await;
    f.open("alice", "s3").await;
    let fields: Vec<String> = f.redis(&["HKEYS", "tb:{0}:u:alice"]).await;
    assert!(!fields.contains(&"s1".to_owned()), "{fields:?}");
}

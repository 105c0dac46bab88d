//! The rules of the store, each by the sequence of events that breaks the promise without it, on a real Redis.
#![allow(clippy::cast_possible_wrap, reason = "tests")]

use std::{collections::HashMap, time::Duration};

use tower_bearer::{
    clock::Timestamp,
    error::StoreErrorKind,
    store::{
        Deny, DenyQuery, ForeignId, LogQuery, Open, Opened, Page, RedisStore, Revocation, Rotate, Rotated,
        SessionState, TokenStore,
    },
};

use crate::support::{
    self,
    redis_fixture::{ABSOLUTE, Fixture, GRACE, IDLE, capped, open, pass, rotation, session, successor},
};

const HOUR: Duration = Duration::from_secs(3600);

// ---- Records and keys (protocol section 1) -----------------------------------------------------------------------

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
    assert_eq!(again.position, revoked.position, "it names the entry that is there");
    assert_eq!(f.log().await.len(), 1);
    assert_eq!(f.log().await[0].revocation, Revocation::Session { subject: "alice".into(), sid: "s1".into() });
}

#[tokio::test]
async fn every_key_has_a_time_to_live_but_m() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.store.open(Open { label: "Firefox".into(), ..capped("alice", "s2", 1) }).await.unwrap();
    f.store.revoke_session("nobody", "s").await.unwrap();
    f.store.revoke_token("carol", "j", f.store.now().saturating_add(3 * HOUR)).await.unwrap();
    f.store.revoke_all("dave", None).await.unwrap();
    f.rotate("alice", "s2", 0).await;
    let keys: Vec<String> = f.redis(&["KEYS", "*"]).await;
    assert_eq!(keys.len(), 8, "{keys:?}");
    for key in keys {
        let ttl: i64 = f.redis(&["PTTL", &key]).await;
        assert_eq!(ttl == -1, key == "tb:{0}:m", "{key}: {ttl}");
        assert!(ttl == -1 || ttl > 3_590_000, "{key} lives for at least `keep`: {ttl}");
    }
    let carol: i64 = f.redis(&["TTL", "tb:{0}:u:carol"]).await;
    assert!(carol > 3 * 3600 - 10, "as long as the mark: {carol}");
    let alice: i64 = f.redis(&["TTL", "tb:{0}:u:alice"]).await;
    assert!(alice >= IDLE.as_secs().cast_signed(), "as long as the longest session: {alice}");
}

#[tokio::test]
async fn a_shorter_session_does_not_shorten_the_life_of_a_longer_one() {
    let f = Fixture::new().await;
    f.open("alice", "long").await;
    f.store.open(Open { idle: HOUR, ..session("alice", "short") }).await.unwrap();
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
    let generation = f.open("alice", "s1").await;
    assert!(generation > u64::from(u32::MAX));
    let now = f.store.ping().await.unwrap().as_millis();
    assert!(now - generation < 10_000, "{now} {generation}");
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
    // An earlier end does not shorten it.
    f.store.revoke_token("alice", "j1", until.saturating_sub(HOUR)).await.unwrap();
    assert!(matches!(f.state_of("alice", "s1", "j1").await, SessionState::Revoked { .. }));
    // Nor does its own end, before the longest time for which any node accepts a token: `keep`.
    pass(&f.store, until).await;
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
    f.store.open(Open { idle: Duration::ZERO, ..session("alice", "s2") }).await.unwrap();
    f.store.revoke_session("alice", "s1").await.unwrap();
    assert_eq!(f.state("alice", "s2").await, SessionState::Expired);
    assert!(matches!(f.rotate("alice", "s2", 0).await, Rotated::Expired { .. }));
    // As if `keep` had passed: the scripts take it from `m` and from the caller, whichever is longer.
    let moved: i32 = f.redis(&["EVAL", AGE, "1", "tb:{0}:u:alice", "3700000"]).await;
    assert_eq!(moved, 2);
    f.open("alice", "s3").await;
    let fields: Vec<String> = f.redis(&["HKEYS", "tb:{0}:u:alice"]).await;
    assert!(!fields.contains(&"s1".to_owned()) && !fields.contains(&"s2".to_owned()), "{fields:?}");
    assert_eq!(f.state("alice", "s1").await, SessionState::Unknown);
}

/// Makes all records older by so many milliseconds: opened, ends, rotated.
const AGE: &str = r"
local n = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local value = redis.call('HGET', KEYS[1], field)
  if #value == 53 then
    local tag, g, o, a, r, t, c, f = struct.unpack('>c8I8I8I8I8I8I4B', value)
    local by = tonumber(ARGV[1])
    redis.call('HSET', KEYS[1], field, struct.pack('>c8I8I8I8I8I8I4B', tag, g, o - by, a - by, r - by, t - by, c, f))
    n = n + 1
  end
end
return n";

#[tokio::test]
async fn ids_that_look_like_our_own_fields_are_only_ids() {
    let f = Fixture::new().await;
    for id in
        ["g", "o", "c", "!g", "=g", "!", "=", "\r\n*1\r\n$8\r\nFLUSHALL\r\n", "') redis.call('FLUSHALL') --", "ü{3}"]
    {
        f.open("alice", id).await;
        assert!(f.is_active("alice", id).await, "{id:?}");
        f.open(id, "s1").await;
        assert!(f.is_active(id, "s1").await, "{id:?}");
    }
    assert_eq!(f.list("alice").await.len(), 10);
    f.store.revoke_session("alice", "g").await.unwrap();
    f.store.revoke_token("alice", "g", f.store.now().saturating_add(HOUR)).await.unwrap();
    assert!(f.is_active("alice", "!g").await && f.is_active("alice", "=g").await && !f.is_active("alice", "g").await);
    f.store.revoke_all("alice", Some("o")).await.unwrap();
    assert_eq!(f.list("alice").await.iter().map(|session| session.sid.as_str()).collect::<Vec<_>>(), ["o"]);
}

// ---- Scripts (protocol section 2) --------------------------------------------------------------------------------

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
    let late = Open { authentication_began: Some(began), ..session("alice", "thief") };
    assert!(matches!(f.store.open(late).await.unwrap(), Opened::Superseded { .. }));
    assert_eq!(f.state("alice", "thief").await, SessionState::Unknown);
    pass(&f.store, f.store.now()).await;
    let fresh = Open { authentication_began: Some(f.store.ping().await.unwrap()), ..session("alice", "s2") };
    assert!(matches!(f.store.open(fresh).await.unwrap(), Opened::Opened { .. }));
}

#[tokio::test]
async fn first_logins_at_the_same_time_do_not_look_superseded() {
    let f = Fixture::new().await;
    let began = f.store.now();
    for sid in ["s1", "s2"] {
        let login = Open { authentication_began: Some(began), ..session("alice", sid) };
        assert!(matches!(f.store.open(login).await.unwrap(), Opened::Opened { .. }), "{sid}");
    }
}

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
        let told = f.store.revoke_session("alice", "dead").await.unwrap().revocation;
        let Revocation::Subject { except, .. } = told else { panic!("{told:?}") };
        assert_eq!(except.as_deref(), Some("a:b"));
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
    // As if the session had been opened while the clock was a day ahead.
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
    // The thief's own request, authenticated just before.
    f.store.revoke_all("alice", Some("thief")).await.unwrap();
    assert!(f.is_revoked("alice", "thief").await);
    let excepts: Vec<Option<String>> = f
        .log()
        .await
        .into_iter()
        .map(|entry| match entry.revocation {
            Revocation::Subject { except, .. } => except,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(excepts, [Some("victim".to_owned()), None]);
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
async fn a_cap_counts_only_live_sessions_and_evicts_those_used_longest_ago() {
    let f = Fixture::new().await;
    f.store.revoke_token("alice", "j1", f.store.now().saturating_add(HOUR)).await.unwrap();
    for sid in ["s1", "s2", "s3"] {
        f.open("alice", sid).await;
        pass(&f.store, f.store.ping().await.unwrap()).await;
    }
    f.store.revoke_session("alice", "s3").await.unwrap();
    f.store.open(Open { idle: Duration::ZERO, ..session("alice", "s4") }).await.unwrap();
    successor(f.rotate("alice", "s1", 0).await);
    let Opened::Opened { evicted, .. } = f.store.open(capped("alice", "s5", 3)).await.unwrap() else { panic!() };
    assert_eq!(evicted, Vec::<String>::new(), "marks, the dead and our own fields are no sessions");
    let Opened::Opened { evicted, .. } = f.store.open(capped("alice", "s6", 2)).await.unwrap() else { panic!() };
    assert_eq!(evicted, ["s2", "s1"]);
    assert!(f.is_revoked("alice", "s1").await && f.is_revoked("alice", "s2").await);
    assert!(f.is_active("alice", "s5").await && f.is_active("alice", "s6").await);
    let logged = f.log().await;
    let last = logged.last().unwrap();
    assert_eq!(last.revocation, Revocation::Session { subject: "alice".into(), sid: "s1".into() });
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
async fn after_the_log_was_lost_with_its_m_the_same_revocations_are_logged_again() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let until = f.store.now().saturating_add(2 * HOUR);
    let revoke = async || {
        // For less than it is remembered: a later call asks for no longer time.
        let denied = Deny { keep: HOUR / 2, ..deny(ISSUER, ForeignId::Token("j1".into())) };
        f.store.deny(denied).await.unwrap();
        f.store.revoke_session("alice", "s1").await.unwrap();
        f.store.revoke_token("alice", "j1", until).await.unwrap();
        f.store.revoke_all("alice", None).await.unwrap();
    };
    for _ in 0..2 {
        for _ in 0..3 {
            revoke().await;
        }
        let log = f.log().await;
        assert_eq!(log.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3, 4], "{log:?}");
        f.redis::<()>(&["DEL", "tb:{0}:m"]).await;
    }
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
async fn a_repeated_revocation_of_all_does_not_refuse_logins_that_began_since() {
    let f = Fixture::new().await;
    f.open("alice", "kept").await;
    let first = f.store.revoke_all("alice", Some("kept")).await.unwrap();
    pass(&f.store, first.now).await;
    let began = f.store.ping().await.unwrap();
    let login = |sid, began| Open { authentication_began: Some(began), ..session("alice", sid) };
    f.store.revoke_all("alice", Some("kept")).await.unwrap();
    assert!(matches!(f.store.open(login("a", began)).await.unwrap(), Opened::Opened { .. }));
    f.store.revoke_all("alice", Some("kept")).await.unwrap();
    assert!(f.is_revoked("alice", "a").await);
    // Long after the last one, a login is under way that knows nothing of it.
    let past = began.saturating_sub(Duration::from_secs(10)).as_millis().to_string();
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "r", &past]).await;
    let sequence = f.store.log(0, LogQuery::from_start()).await.unwrap().sequence;
    let began = f.store.ping().await.unwrap();
    f.store.revoke_all("alice", Some("kept")).await.unwrap();
    assert!(matches!(f.store.open(login("b", began)).await.unwrap(), Opened::Superseded { .. }));
    assert_eq!(
        f.store.log(0, LogQuery::from_start()).await.unwrap().sequence,
        sequence,
        "and it writes nothing to the log"
    );
}

#[tokio::test]
async fn a_generation_that_was_put_back_ends_what_the_next_revoke_all_finds() {
    let f = Fixture::new().await;
    let old = f.open("alice", "old").await;
    pass(&f.store, f.store.ping().await.unwrap()).await;
    f.open("alice", "new").await;
    let lost = Revocation::Subject { subject: "alice".into(), generation: old + 1, except: None };
    f.store.republish(0, lost, f.store.now().saturating_add(HOUR)).await.unwrap();
    assert!(f.is_revoked("alice", "old").await && f.is_active("alice", "new").await);
    assert!(f.store.revoke_all("alice", None).await.unwrap().found);
    assert!(f.is_revoked("alice", "new").await);
}

#[tokio::test]
async fn a_nudge_without_rights_is_no_error_and_the_numbers_stay_dense() {
    let f = Fixture::new().await;
    f.redis::<()>(&["ACL", "SETUSER", "app", "on", ">test-password", "+@all", "~*", "resetchannels"]).await;
    let url = format!("redis://app:test-password@127.0.0.1:{}/", f.server.port());
    let store = RedisStore::builder(url).buckets(1).connect().await.unwrap();
    open(&store, "alice", "s1").await;
    assert!(store.revoke_session("alice", "s1").await.unwrap().found);
    store.revoke_all("alice", None).await.unwrap();
    assert_eq!(f.log().await.len(), 2);
}

#[tokio::test]
async fn a_revocation_that_cannot_write_the_log_leaves_no_hole() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.store.revoke_session("alice", "s0").await.unwrap();
    f.redis::<()>(&["RENAME", "tb:{0}:log", "aside"]).await;
    f.redis::<()>(&["SET", "tb:{0}:log", "no stream"]).await;
    f.store.revoke_session("alice", "s1").await.unwrap_err();
    assert!(f.is_revoked("alice", "s1").await, "the deletion came first");
    f.redis::<()>(&["RENAME", "aside", "tb:{0}:log"]).await;
    assert_eq!(f.store.log(0, LogQuery::from_start()).await.unwrap().sequence, 1);
    f.store.revoke_session("alice", "s1").await.unwrap();
    assert_eq!(f.log().await.len(), 2);
}

/// The log as the stream has it, whatever `m` counts: sequences and predecessors.
async fn stream(f: &Fixture) -> Vec<(String, String)> {
    let entries: Vec<(String, HashMap<String, String>)> = f.redis(&["XRANGE", "tb:{0}:log", "-", "+"]).await;
    entries.into_iter().map(|(_, fields)| (fields["seq"].clone(), fields["prev"].clone())).collect()
}

#[tokio::test]
async fn an_entry_that_cannot_be_counted_is_taken_back() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.store.deny(deny(ISSUER, ForeignId::Token("j0".into()))).await.unwrap();
    // A right that is withdrawn at run time: the entry is written, `m` is not.
    f.redis::<()>(&["ACL", "SETUSER", "default", "-hset"]).await;
    for n in 1..4 {
        let id = ForeignId::Token(format!("j{n}"));
        f.store.deny(deny(ISSUER, id)).await.unwrap_err();
        assert_eq!(stream(&f).await.len(), 1, "call {n}");
    }
    f.redis::<()>(&["ACL", "SETUSER", "default", "+hset"]).await;
    f.store.deny(deny(ISSUER, ForeignId::Token("j1".into()))).await.unwrap();
    f.store.revoke_session("alice", "s1").await.unwrap();
    assert_eq!(f.log().await.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_log_whose_expiry_cannot_be_set_is_written_all_the_same() {
    let f = Fixture::new().await;
    for sid in ["s1", "s2", "s3"] {
        f.open("alice", sid).await;
    }
    f.store.revoke_session("alice", "s1").await.unwrap();
    f.redis::<()>(&["ACL", "SETUSER", "default", "-pexpireat", "-pexpiretime", "-xtrim"]).await;
    // The user's own key: that failure comes before the entry.
    f.store.revoke_session("alice", "s2").await.unwrap_err();
    assert!(f.is_revoked("alice", "s2").await);
    f.redis::<()>(&["ACL", "SETUSER", "default", "+pexpiretime"]).await;
    f.store.revoke_session("alice", "s2").await.unwrap();
    f.store.revoke_session("alice", "s3").await.unwrap();
    f.redis::<()>(&["ACL", "SETUSER", "default", "+pexpireat", "+xtrim"]).await;
    let sids: Vec<_> = f.log().await.into_iter().map(|entry| entry.revocation).collect();
    let ended = |sid: &str| Revocation::Session { subject: "alice".into(), sid: sid.into() };
    assert_eq!(sids, ["s1", "s2", "s3"].map(ended));
}

#[tokio::test]
async fn an_entry_that_was_not_counted_is_adopted_by_the_next_write() {
    let f = Fixture::new().await;
    f.store.revoke_session("alice", "s1").await.unwrap();
    f.redis::<()>(&["ACL", "SETUSER", "default", "-hset", "-xdel"]).await;
    f.store.deny(deny(ISSUER, ForeignId::Token("j1".into()))).await.unwrap_err();
    f.redis::<()>(&["ACL", "SETUSER", "default", "+hset", "+xdel"]).await;
    assert_eq!(stream(&f).await.len(), 2);
    let counted: String = f.redis(&["HGET", "tb:{0}:m", "seq"]).await;
    assert_eq!(counted, "1");
    let next = f.store.revoke_session("alice", "s2").await.unwrap();
    assert_eq!(next.position.sequence, 3);
    let log = f.log().await;
    assert_eq!(log.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    // What does not follow is left to the readers, who see it.
    f.redis::<()>(&["HSET", "tb:{0}:m", "head", "another"]).await;
    f.store.revoke_session("alice", "s3").await.unwrap();
    assert_eq!(stream(&f).await.last().unwrap(), &("4".to_owned(), "another".to_owned()));
}

// ---- Rotation ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_rotation_moves_on_and_a_replay_within_the_grace_gets_the_same_successor() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let first = successor(f.rotate("alice", "s1", 0).await);
    assert_eq!((first.counter, first.issued_at), (1, first.now));
    let Rotated::Replayed(again) = f.rotate("alice", "s1", 0).await else { panic!() };
    assert_eq!((again.counter, again.issued_at, again.refresh_end), (1, first.issued_at, first.refresh_end));
    assert_eq!(successor(f.rotate("alice", "s1", 1).await).counter, 2);
    assert!(matches!(f.rotate("alice", "s1", 0).await, Rotated::Reused { .. }), "two behind is reuse, grace or not");
    assert!(f.is_revoked("alice", "s1").await);
    assert!(matches!(f.rotate("alice", "s1", 2).await, Rotated::Revoked { .. }));
    assert_eq!(f.log().await.len(), 1, "reuse is logged once");
}

#[tokio::test]
async fn a_replay_does_not_move_the_window() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let grace = Duration::from_millis(150);
    let first = successor(f.store.rotate(rotation("alice", "s1", 0, grace)).await.unwrap());
    let outcome = support::eventually("the window closes", async || {
        match f.store.rotate(rotation("alice", "s1", 0, grace)).await.unwrap() {
            Rotated::Replayed(again) => {
                assert!(again.now.saturating_since(first.issued_at) < grace);
                None
            }
            other => Some(other),
        }
    })
    .await;
    let Rotated::Reused { now } = outcome else { panic!("{outcome:?}") };
    assert!(now.saturating_since(first.issued_at) >= grace);
}

#[tokio::test]
async fn a_grace_of_zero_never_replays() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    successor(f.store.rotate(rotation("alice", "s1", 0, Duration::ZERO)).await.unwrap());
    let again = f.store.rotate(rotation("alice", "s1", 0, Duration::ZERO)).await.unwrap();
    assert!(matches!(again, Rotated::Reused { .. }));
}

#[tokio::test]
async fn a_counter_ahead_of_the_record_is_adopted() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    assert_eq!(successor(f.rotate("alice", "s1", 7).await).counter, 8);
    assert!(matches!(f.rotate("alice", "s1", 7).await, Rotated::Replayed(next) if next.counter == 8));
    assert_eq!(successor(f.rotate("alice", "s1", u32::MAX - 1).await).counter, u32::MAX);
    assert!(matches!(f.rotate("alice", "s1", u32::MAX).await, Rotated::Reused { .. }), "no counter follows the last");
}

#[tokio::test]
async fn a_rotation_never_moves_the_absolute_end() {
    let f = Fixture::new().await;
    let absolute = Duration::from_secs(5);
    let open = Open { absolute, idle: Duration::from_secs(3), ..session("alice", "s1") };
    let Opened::Opened { now, refresh_end, .. } = f.store.open(open).await.unwrap() else { panic!() };
    assert_eq!(refresh_end, now.saturating_add(Duration::from_secs(3)));
    let next = successor(f.rotate("alice", "s1", 0).await);
    assert_eq!(next.refresh_end, now.saturating_add(absolute));
}

#[tokio::test]
async fn fifty_rotations_of_one_counter_give_one_successor() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let rotations = (0..50).map(|_| {
        let store = f.store.clone();
        tokio::spawn(async move { store.rotate(rotation("alice", "s1", 0, GRACE)).await.unwrap() })
    });
    let outcomes: Vec<Rotated> =
        futures_util::future::join_all(rotations).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Rotated::Rotated(_))).count(), 1);
    let identities: std::collections::HashSet<_> = outcomes
        .into_iter()
        .map(successor)
        .map(|next| (next.counter, next.generation, next.issued_at, next.refresh_end))
        .collect();
    assert_eq!(identities.len(), 1);
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
async fn a_grace_of_zero_never_replays_though_the_clock_was_put_back() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    successor(f.rotate("alice", "s1", 0).await);
    // As if the rotation had been an hour from now.
    f.redis::<i32>(&["EVAL", AGE, "1", "tb:{0}:u:alice", "-3600000"]).await;
    let again = f.store.rotate(rotation("alice", "s1", 0, Duration::ZERO)).await.unwrap();
    assert!(matches!(again, Rotated::Reused { .. }), "{again:?}");
}

#[tokio::test]
async fn a_rotation_keeps_the_user_and_its_label_as_long_as_the_session() {
    let f = Fixture::new().await;
    f.store.open(Open { idle: HOUR, label: "Firefox".into(), ..session("alice", "s1") }).await.unwrap();
    f.rotate("alice", "s1", 0).await;
    for key in ["tb:{0}:u:alice", "tb:{0}:i:alice"] {
        let ttl: i64 = f.redis(&["TTL", key]).await;
        assert!(ttl >= IDLE.as_secs().cast_signed(), "{key}: {ttl}");
    }
}

// ---- Clocks and rights -------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_server_clock_that_was_ahead_once_locks_nobody_out() {
    let f = Fixture::new().await;
    let ahead = f.store.now().saturating_add(24 * HOUR).as_millis().to_string();
    let login = async |sid: &str, began| {
        let outcome = f.store.open(Open { authentication_began: Some(began), ..session("alice", sid) }).await.unwrap();
        matches!(outcome, Opened::Opened { .. })
    };
    // A session of a day ahead raises the generation of a revocation of now.
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "o", &ahead]).await;
    let began = f.store.ping().await.unwrap();
    let revoked = f.store.revoke_all("alice", None).await.unwrap().now;
    assert!(!login("a", began).await);
    pass(&f.store, revoked).await;
    assert!(login("b", f.store.ping().await.unwrap()).await);
    // A revocation of a day ahead overtook the logins that are under way, and no later ones.
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "r", &ahead]).await;
    let began = f.store.ping().await.unwrap();
    assert!(!login("c", began).await);
    pass(&f.store, f.store.ping().await.unwrap()).await;
    assert!(login("d", f.store.ping().await.unwrap()).await);
}

#[tokio::test]
async fn times_in_the_log_do_not_go_back_with_the_clock() {
    let f = Fixture::new().await;
    f.store.revoke_session("alice", "s0").await.unwrap();
    let ahead = f.store.now().saturating_add(24 * HOUR);
    f.redis::<()>(&["HSET", "tb:{0}:m", "at", &ahead.as_millis().to_string()]).await;
    f.store.revoke_session("alice", "s1").await.unwrap();
    let entry = f.store.log(0, LogQuery::from_start()).await.unwrap().entries.remove(1);
    assert_eq!((entry.previous_at, entry.at), (ahead, ahead));
}

#[tokio::test]
async fn an_end_that_could_not_be_logged_is_logged_later() {
    const ENDED: [(&str, &str); 3] = [("alice", "reused"), ("bob", "evicted"), ("alice", "revoked")];
    let f = Fixture::new().await;
    for (subject, sid) in ENDED {
        f.open(subject, sid).await;
    }
    successor(f.rotate("alice", "reused", 0).await);
    successor(f.rotate("alice", "reused", 1).await);
    f.redis::<()>(&["ACL", "SETUSER", "default", "-xadd"]).await;
    f.store.rotate(rotation("alice", "reused", 0, GRACE)).await.unwrap_err();
    f.store.open(capped("bob", "new", 1)).await.unwrap_err();
    f.store.revoke_session("alice", "revoked").await.unwrap_err();
    f.redis::<()>(&["ACL", "SETUSER", "default", "+xadd"]).await;
    for (subject, sid) in ENDED {
        let state = f.state(subject, sid).await;
        assert!(matches!(state, SessionState::Revoked { .. }), "{sid}: {state:?}");
    }
    assert_eq!(f.log().await.len(), 0);
    assert!(matches!(f.rotate("alice", "reused", 2).await, Rotated::Revoked { .. }));
    assert!(matches!(f.rotate("alice", "reused", 2).await, Rotated::Revoked { .. }));
    f.store.revoke_session("alice", "revoked").await.unwrap();
    f.store.open(capped("bob", "new", 1)).await.unwrap();
    let sids: Vec<String> = f
        .log()
        .await
        .into_iter()
        .map(|entry| match entry.revocation {
            Revocation::Session { sid, .. } => sid,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sids, ["reused", "revoked", "evicted"], "once each");
}

#[tokio::test]
async fn a_cursor_of_pruning_that_cannot_be_read_is_forgotten() {
    let f = Fixture::new().await;
    f.store.open(Open { idle: Duration::ZERO, ..session("alice", "s1") }).await.unwrap();
    f.redis::<i32>(&["EVAL", AGE, "1", "tb:{0}:u:alice", "3700000"]).await;
    f.redis::<()>(&["HSET", "tb:{0}:u:alice", "c", &"9".repeat(30)]).await;
    f.open("alice", "s2").await;
    f.open("alice", "s3").await;
    let fields: Vec<String> = f.redis(&["HKEYS", "tb:{0}:u:alice"]).await;
    assert!(!fields.contains(&"s1".to_owned()), "{fields:?}");
}

#[tokio::test]
async fn beyond_what_is_counted_revoke_all_tells_whether_a_session_was_opened_since() {
    let f = Fixture::new().await;
    for n in 0..130 {
        f.store.revoke_token("alice", &format!("j-{n}"), f.store.now().saturating_add(HOUR)).await.unwrap();
    }
    assert!(!f.store.revoke_all("alice", None).await.unwrap().found, "there never was one");
    // In the very same millisecond, beside an exception, it would not be seen.
    pass(&f.store, f.store.ping().await.unwrap()).await;
    f.open("alice", "s1").await;
    f.open("alice", "s2").await;
    assert!(f.store.revoke_all("alice", Some("s1")).await.unwrap().found);
    assert!(!f.store.revoke_all("alice", Some("s1")).await.unwrap().found, "only the one that stays is left");
    assert!(f.store.revoke_all("alice", None).await.unwrap().found, "that one");
    assert!(!f.store.revoke_all("alice", None).await.unwrap().found);
}

#[tokio::test]
async fn every_entry_of_the_log_is_followed_by_a_nudge() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let f = Fixture::new().await;
    let mut subscriber = tokio::net::TcpStream::connect(("127.0.0.1", f.server.port())).await.unwrap();
    subscriber.write_all(b"SSUBSCRIBE tb:{0}:ch\r\n").await.unwrap();
    let mut heard = String::new();
    let mut hear = async |text: &str| {
        tokio::time::timeout(Duration::from_secs(10), async {
            let mut buffer = [0; 1024];
            while !heard.contains(text) {
                let read = subscriber.read(&mut buffer).await.unwrap();
                assert!(read > 0, "{heard}");
                heard.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            }
        })
        .await
        .unwrap();
    };
    hear("ssubscribe").await;
    f.store.revoke_session("alice", "s1").await.unwrap();
    hear("tb:{0}:ch\r\n$1\r\n1\r\n").await;
    f.store.revoke_all("alice", None).await.unwrap();
    hear("tb:{0}:ch\r\n$1\r\n2\r\n").await;
}

#[tokio::test]
async fn a_query_about_no_id_writes_nothing() {
    let f = Fixture::new().await;
    f.redis::<()>(&["CONFIG", "RESETSTAT"]).await;
    let denial = f.store.denied(query(ISSUER, "", "", "")).await.unwrap();
    assert!(denial.born <= denial.now);
    let stats: String = f.redis(&["INFO", "commandstats"]).await;
    assert!(!stats.contains("cmdstat_eval") && stats.contains("cmdstat_hmget"), "{stats}");
}

// ---- Bounds ------------------------------------------------------------------------------------------------------

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
            pass(&f.store, f.store.ping().await.unwrap()).await;
        }
    }
    for login in 0..12 {
        f.store.open(capped("alice", &format!("login {login}"), 20)).await.unwrap();
    }
    let mut live: Vec<String> = f.list("alice").await.into_iter().map(|session| session.sid).collect();
    live.sort_unstable();
    let mut expected: Vec<String> = (0..12).map(|login| format!("login {login}")).collect();
    expected.extend((592..600).map(|n| format!("s-{n}")));
    expected.sort_unstable();
    // Of those opened in one millisecond, any.
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
    let tick = async || pass(&f.store, f.store.ping().await.unwrap()).await;
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
    // The index was lost alone: the next writes find the sessions again.
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
async fn the_log_has_an_end_even_if_nothing_in_it_is_old() {
    const FILL: &str = "for i = 1, 1001000 do redis.call('XADD', KEYS[1], '*', 'n', '1') end";
    let f = Fixture::new().await;
    f.store.revoke_session("alice", "s0").await.unwrap();
    let mut admin = f.admin.clone();
    admin.set_response_timeout(Duration::from_secs(60));
    redis::cmd("EVAL").arg(FILL).arg(1).arg("tb:{0}:log").exec_async(&mut admin).await.unwrap();
    f.store.revoke_session("alice", "s1").await.unwrap();
    let kept: u64 = f.redis(&["XLEN", "tb:{0}:log"]).await;
    assert!((1_000_000..1_000_200).contains(&kept), "{kept}");
}

// ---- Listing -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_listing_has_the_live_sessions_with_their_labels() {
    let f = Fixture::new().await;
    f.store.open(Open { label: "Firefox ü".into(), ..session("alice", "s1") }).await.unwrap();
    f.store.open(Open { label: "x".repeat(1024), ..session("alice", "s2") }).await.unwrap();
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
    let first = f.store.sessions("alice", Page { cursor: None, limit: 50 }).await.unwrap();
    assert!(first.next.is_some() && first.sessions.len() < 600);
    let sids: std::collections::HashSet<String> = f.list("alice").await.into_iter().map(|s| s.sid).collect();
    assert_eq!(sids.len(), 600);
    let page = Page { cursor: Some("0; FLUSHALL".into()), limit: 50 };
    assert_eq!(f.store.sessions("alice", page).await.unwrap(), first);
}

// ---- Log (protocol section 4, as far as writing goes) ------------------------------------------------------------

#[tokio::test]
async fn the_log_is_a_chain_from_the_incarnation_on() {
    let f = Fixture::new().await;
    let empty = f.store.log(0, LogQuery::from_start()).await.unwrap();
    assert_eq!((empty.sequence, empty.at, empty.entries.len()), (0, empty.born, 0));
    assert_eq!(empty.head, empty.incarnation);
    f.open("alice", "s1").await;
    let first = f.store.revoke_session("alice", "s1").await.unwrap();
    f.store.revoke_token("alice", "j", f.store.now().saturating_add(HOUR)).await.unwrap();
    f.store.revoke_all("alice", None).await.unwrap();
    assert_eq!(first.position.incarnation, empty.incarnation);
    let log = f.log().await;
    assert_eq!(log.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&log[0].previous, log[0].previous_at), (&empty.incarnation, empty.born));
    assert_eq!(log[0].at, first.now);
    let page = f.store.log(0, LogQuery::from_start()).await.unwrap();
    let rest = f.store.log(0, LogQuery::after(page.next.clone())).await.unwrap();
    assert_eq!((rest.entries.len(), rest.next), (0, page.next));
    assert!(f.store.log(1, LogQuery::from_start()).await.is_err(), "there is one bucket");
}

#[tokio::test]
async fn a_long_log_comes_in_pages() {
    let f = Fixture::new().await;
    for hundred in 0..12 {
        let revocations = (0..100).map(|n| {
            let store = f.store.clone();
            async move { store.revoke_session("alice", &format!("s-{hundred}-{n}")).await.unwrap() }
        });
        futures_util::future::join_all(revocations).await;
    }
    let first = f.store.log(0, LogQuery::from_start()).await.unwrap();
    assert_eq!((first.entries.len(), first.sequence), (1000, 1200));
    let second = f.store.log(0, LogQuery::after(first.next)).await.unwrap();
    assert_eq!((second.entries[0].sequence, second.entries.len()), (1001, 200));
}

#[tokio::test]
async fn the_log_is_kept_as_long_as_the_node_with_the_longest_tokens_needs() {
    let f = Fixture::new().await;
    f.store.keep_log_for(10 * HOUR);
    f.store.revoke_session("alice", "s0").await.unwrap();
    let other = RedisStore::builder(f.server.url()).buckets(1).connect().await.unwrap();
    other.keep_log_for(2 * HOUR);
    other.revoke_session("alice", "s1").await.unwrap();
    let keep: u64 = f.redis(&["HGET", "tb:{0}:m", "keep"]).await;
    assert_eq!(keep, 36_000_000, "it only grows");
    let log = f.log().await;
    assert_eq!(log[1].until, log[1].at.saturating_add(10 * HOUR));
    // Entries of three hours ago: the other node alone would not need them any more.
    f.redis::<()>(&["DEL", "tb:{0}:log"]).await;
    let old = log[0].at.saturating_sub(3 * HOUR).as_millis();
    for n in 0..500 {
        f.redis::<String>(&["XADD", "tb:{0}:log", &format!("{}-0", old + n), "n", "1"]).await;
    }
    other.revoke_session("alice", "s2").await.unwrap();
    let kept: u64 = f.redis(&["XLEN", "tb:{0}:log"]).await;
    assert_eq!(kept, 501);
}

#[tokio::test]
async fn what_a_node_revoked_lives_in_the_store_as_long_as_the_node_with_the_longest_tokens_needs() {
    let f = Fixture::new().await;
    f.store.keep_log_for(10 * HOUR);
    f.open("alice", "s1").await;
    f.store.revoke_session("alice", "s0").await.unwrap();
    let other = RedisStore::builder(f.server.url()).buckets(1).connect().await.unwrap();
    let short = Duration::from_millis(50);
    other.deny(Deny { keep: short, ..deny(ISSUER, ForeignId::Subject("1".into())) }).await.unwrap();
    other.deny(Deny { keep: short, ..deny(ISSUER, ForeignId::Token("1".into())) }).await.unwrap();
    other.revoke_token("bob", "j1", other.now().saturating_add(short)).await.unwrap();
    let keys: Vec<String> = f.redis(&["KEYS", "tb:{0}:[du]:*"]).await;
    assert_eq!(keys.len(), 4);
    for key in keys {
        let ttl: i64 = f.redis(&["TTL", &key]).await;
        assert!(ttl > 10 * 3600 - 10, "{key}: {ttl}");
    }
    let log = f.log().await;
    assert!(log.iter().all(|entry| entry.at.saturating_add(10 * HOUR) <= entry.until), "{log:?}");
    let mark: String = f.redis(&["HGET", "tb:{0}:u:bob", "!j1"]).await;
    assert_eq!(mark, format!("{}.4", log[3].until.as_millis()));
}

#[tokio::test]
async fn what_is_older_than_keep_is_trimmed() {
    let f = Fixture::new().await;
    let old = f.store.now().saturating_sub(3 * HOUR).as_millis();
    for n in 0..500 {
        f.redis::<String>(&["XADD", "tb:{0}:log", &format!("{}-0", old + n), "n", "1"]).await;
    }
    f.store.revoke_session("alice", "s1").await.unwrap();
    let kept: u64 = f.redis(&["XLEN", "tb:{0}:log"]).await;
    assert!(kept < 200, "{kept}");
}

#[tokio::test]
async fn an_entry_of_another_form_is_skipped_and_counted_and_stops_nobody() {
    let f = Fixture::new().await;
    f.store.revoke_session("alice", "s1").await.unwrap();
    f.redis::<String>(&["XADD", "tb:{0}:log", "*", "seq", "2"]).await;
    f.store.revoke_session("alice", "s2").await.unwrap();
    let page = f.store.log(0, LogQuery::from_start()).await.unwrap();
    assert_eq!((page.entries.len(), page.skipped, page.sequence), (2, 1, 2));
    f.redis::<String>(&["XADD", "tb:{0}:log", "*", "more", "x"]).await;
    let newest = f.store.log(0, LogQuery::newest()).await.unwrap();
    assert_eq!((newest.entries.len(), newest.skipped, newest.sequence), (0, 1, 2));
}

#[tokio::test]
async fn lost_data_starts_a_new_incarnation_and_an_empty_log() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.store.revoke_session("alice", "s0").await.unwrap();
    let before = f.store.log(0, LogQuery::from_start()).await.unwrap();
    f.redis::<()>(&["FLUSHALL"]).await;
    assert_eq!(f.state("alice", "s1").await, SessionState::Unknown);
    let after = f.store.log(0, LogQuery::from_start()).await.unwrap();
    assert_ne!(before.incarnation, after.incarnation);
    assert!(after.born >= before.at);
    assert_eq!((after.sequence, after.entries.len()), (0, 0));
    // The hash alone is lost: what the log holds belongs to no chain any more.
    f.store.revoke_session("alice", "s0").await.unwrap();
    f.redis::<()>(&["DEL", "tb:{0}:m"]).await;
    f.store.revoke_session("alice", "s2").await.unwrap();
    assert_eq!(f.log().await.len(), 1);
}

#[tokio::test]
async fn idle_sessions_expire_by_the_servers_clock() {
    let f = Fixture::new().await;
    let open = Open { idle: Duration::from_millis(200), ..session("alice", "s1") };
    let Opened::Opened { refresh_end, .. } = f.store.open(open).await.unwrap() else { panic!() };
    assert!(f.is_active("alice", "s1").await);
    pass(&f.store, refresh_end).await;
    assert_eq!(f.state("alice", "s1").await, SessionState::Expired);
    assert!(matches!(f.rotate("alice", "s1", 0).await, Rotated::Expired { .. }));
    assert_eq!(f.list("alice").await.len(), 0);
}

#[tokio::test]
async fn lifetimes_beyond_all_bounds_do_not_overflow() {
    let f = Fixture::new().await;
    let open = Open { idle: Duration::MAX, absolute: Duration::MAX, ..session("alice", "s1") };
    let Opened::Opened { refresh_end, .. } = f.store.open(open).await.unwrap() else { panic!() };
    assert_eq!(refresh_end, Timestamp::END_OF_TIME);
    let rotate = Rotate { idle: Duration::MAX, ..rotation("alice", "s1", 0, Duration::MAX) };
    assert_eq!(successor(f.store.rotate(rotate).await.unwrap()).refresh_end, Timestamp::END_OF_TIME);
    f.store.revoke_token("alice", "j", Timestamp::from_millis(u64::MAX)).await.unwrap();
    assert!(matches!(f.state_of("alice", "s1", "j").await, SessionState::Revoked { .. }));
}

// ---- Tokens of other issuers (protocol section 6) ----------------------------------------------------------------

const ISSUER: &str = "https://issuer.example";

fn deny(issuer: &str, id: ForeignId) -> Deny {
    Deny { issuer: issuer.to_owned(), id, keep: HOUR }
}

fn query(issuer: &str, jti: &str, sid: &str, subject: &str) -> DenyQuery {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    DenyQuery { issuer: issuer.to_owned(), jti: some(jti), sid: some(sid), subject: some(subject) }
}

#[tokio::test]
async fn a_denied_token_is_known_by_its_jti_and_the_others_are_not() {
    let f = Fixture::new().await;
    assert!(f.store.deny(deny(ISSUER, ForeignId::Token("j1".into()))).await.unwrap().found);
    assert!(!f.store.deny(deny(ISSUER, ForeignId::Token("j1".into()))).await.unwrap().found);
    assert!(f.store.denied(query(ISSUER, "j1", "s", "u")).await.unwrap().token);
    let other = f.store.denied(query(ISSUER, "j2", "j1", "j1")).await.unwrap();
    assert_eq!((other.token, other.revoked_before), (false, None));
    assert!(!f.store.denied(query("https://other.example", "j1", "", "")).await.unwrap().token);
}

#[tokio::test]
async fn a_denied_subject_or_session_is_dead_up_to_that_moment() {
    let f = Fixture::new().await;
    let first = f.store.deny(deny(ISSUER, ForeignId::Subject("1".into()))).await.unwrap();
    let denial = f.store.denied(query(ISSUER, "j", "s", "1")).await.unwrap();
    let end_of_half_a_second = |moment: Timestamp| Timestamp::from_millis(moment.as_millis() / 500 * 500 + 499);
    assert_eq!(denial.revoked_before, Some(end_of_half_a_second(first.now)));
    pass(&f.store, end_of_half_a_second(first.now)).await;
    let second = f.store.deny(deny(ISSUER, ForeignId::Session("s".into()))).await.unwrap();
    let denial = f.store.denied(query(ISSUER, "j", "s", "1")).await.unwrap();
    assert_eq!(denial.revoked_before, Some(end_of_half_a_second(second.now)), "the later of both");
    let log = f.log().await;
    let moment = Some(end_of_half_a_second(first.now));
    assert!(matches!(&log[0].revocation, Revocation::Foreign { before, .. } if *before == moment));
}

#[tokio::test]
async fn a_foreign_subject_is_not_our_user_of_that_name() {
    let f = Fixture::new().await;
    f.open("1", "s1").await;
    f.store.deny(deny(ISSUER, ForeignId::Subject("1".into()))).await.unwrap();
    f.store.deny(deny(ISSUER, ForeignId::Session("s1".into()))).await.unwrap();
    assert!(f.is_active("1", "s1").await);
    f.store.revoke_all("2", None).await.unwrap();
    assert_eq!(f.store.denied(query(ISSUER, "", "", "2")).await.unwrap().revoked_before, None);
}

#[tokio::test]
async fn a_later_denial_that_is_kept_for_less_does_not_shorten_an_earlier_one() {
    let f = Fixture::new().await;
    f.store.deny(deny(ISSUER, ForeignId::Subject("1".into()))).await.unwrap();
    f.store.deny(Deny { keep: Duration::ZERO, ..deny(ISSUER, ForeignId::Subject("1".into())) }).await.unwrap();
    let keys: Vec<String> = f.redis(&["KEYS", "tb:{0}:d:*"]).await;
    let ttl: i64 = f.redis(&["TTL", &keys[0]]).await;
    assert!(ttl > 3500, "{ttl}");
}

#[tokio::test]
async fn after_data_was_lost_the_store_tells_since_when_it_remembers() {
    let f = Fixture::new().await;
    let revoked = f.store.deny(deny(ISSUER, ForeignId::Token("j1".into()))).await.unwrap();
    f.redis::<()>(&["FLUSHALL"]).await;
    let denial = f.store.denied(query(ISSUER, "j1", "s", "u")).await.unwrap();
    assert!(!denial.token && denial.born >= revoked.now && denial.now >= denial.born);
    let nothing = f.store.denied(query(ISSUER, "", "", "")).await.unwrap();
    assert_eq!(nothing.born, denial.born);
}

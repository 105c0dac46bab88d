//! Writing the revocation log: a chain without holes, its nudges, and its trimming.

use std::{collections::HashMap, time::Duration};

use tower_bearer::{
    SessionId,
    store::{ExternalId, LogQuery, RedisStore, Revocation, Rotated, SessionState},
};

use super::{HOUR, ISSUER, deny};
use crate::support::{
    HANG, TextStore,
    redis_fixture::{Fixture, GRACE, capped, open, rotation, successor, with},
};

#[tokio::test]
async fn after_the_log_was_lost_with_its_m_the_same_revocations_are_logged_again() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    let until = f.store.now().saturating_add(2 * HOUR);
    let revoke = async || {
        // For a shorter time than the denial is kept, so the repeated call extends nothing.
        let denied = with(deny(ISSUER, ExternalId::Token("j1".into())), |deny| deny.keep = HOUR / 2);
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
    assert_eq!(f.store.read(0, LogQuery::from_start()).await.unwrap().sequence, 1);
    f.store.revoke_session("alice", "s1").await.unwrap();
    assert_eq!(f.log().await.len(), 2);
}

/// Returns sequences and predecessors from the stream itself, independently of the counters in `m`.
async fn stream(f: &Fixture) -> Vec<(String, String)> {
    let entries: Vec<(String, HashMap<String, String>)> = f.redis(&["XRANGE", "tb:{0}:log", "-", "+"]).await;
    entries.into_iter().map(|(_, fields)| (fields["seq"].clone(), fields["prev"].clone())).collect()
}

#[tokio::test]
async fn an_entry_that_cannot_be_counted_is_taken_back() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.store.deny(deny(ISSUER, ExternalId::Token("j0".into()))).await.unwrap();
    // The right to `HSET` is withdrawn, so the script writes the entry but not `m`.
    f.redis::<()>(&["ACL", "SETUSER", "default", "-hset"]).await;
    for n in 1..4 {
        let id = ExternalId::Token(format!("j{n}").into());
        f.store.deny(deny(ISSUER, id)).await.unwrap_err();
        assert_eq!(stream(&f).await.len(), 1, "call {n}");
    }
    f.redis::<()>(&["ACL", "SETUSER", "default", "+hset"]).await;
    f.store.deny(deny(ISSUER, ExternalId::Token("j1".into()))).await.unwrap();
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
    // A broken user key makes the script fail before it writes the entry.
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
    f.store.deny(deny(ISSUER, ExternalId::Token("j1".into()))).await.unwrap_err();
    f.redis::<()>(&["ACL", "SETUSER", "default", "+hset", "+xdel"]).await;
    assert_eq!(stream(&f).await.len(), 2);
    let counted: String = f.redis(&["HGET", "tb:{0}:m", "seq"]).await;
    assert_eq!(counted, "1");
    let next = f.store.revoke_session("alice", "s2").await.unwrap();
    assert_eq!(next.position().unwrap().sequence, 3);
    let log = f.log().await;
    assert_eq!(log.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    // The script does not check the chain, because readers detect a break.
    f.redis::<()>(&["HSET", "tb:{0}:m", "head", "another"]).await;
    f.store.revoke_session("alice", "s3").await.unwrap();
    assert_eq!(stream(&f).await.last().unwrap(), &("4".to_owned(), "another".to_owned()));
}

#[tokio::test]
async fn times_in_the_log_do_not_go_back_with_the_clock() {
    let f = Fixture::new().await;
    f.store.revoke_session("alice", "s0").await.unwrap();
    let ahead = f.store.now().saturating_add(24 * HOUR);
    f.redis::<()>(&["HSET", "tb:{0}:m", "at", &ahead.as_millis().to_string()]).await;
    f.store.revoke_session("alice", "s1").await.unwrap();
    let entry = f.store.read(0, LogQuery::from_start()).await.unwrap().entries.remove(1);
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
    let sids: Vec<SessionId> = f
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
async fn every_entry_of_the_log_is_followed_by_a_nudge() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let f = Fixture::new().await;
    let mut subscriber = tokio::net::TcpStream::connect(("127.0.0.1", f.server.port())).await.unwrap();
    subscriber.write_all(b"SSUBSCRIBE tb:{0}:ch\r\n").await.unwrap();
    let mut heard = String::new();
    let mut hear = async |text: &str| {
        tokio::time::timeout(HANG, async {
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

#[tokio::test]
async fn the_log_is_a_chain_from_the_incarnation_on() {
    let f = Fixture::new().await;
    let empty = f.store.read(0, LogQuery::from_start()).await.unwrap();
    assert_eq!((empty.sequence, empty.at, empty.entries.len()), (0, empty.born, 0));
    assert_eq!(empty.head, empty.incarnation);
    f.open("alice", "s1").await;
    let first = f.store.revoke_session("alice", "s1").await.unwrap();
    f.store.revoke_token("alice", "j", f.store.now().saturating_add(HOUR)).await.unwrap();
    f.store.revoke_all("alice", None).await.unwrap();
    assert_eq!(first.position().unwrap().incarnation, empty.incarnation);
    let log = f.log().await;
    assert_eq!(log.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((&log[0].previous, log[0].previous_at), (&empty.incarnation, empty.born));
    assert_eq!(log[0].at, first.now);
    let page = f.store.read(0, LogQuery::from_start()).await.unwrap();
    let rest = f.store.read(0, LogQuery::after(page.next.clone())).await.unwrap();
    assert_eq!((rest.entries.len(), rest.next), (0, page.next));
    assert!(f.store.read(1, LogQuery::from_start()).await.is_err(), "there is one bucket");
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
    let first = f.store.read(0, LogQuery::from_start()).await.unwrap();
    assert_eq!((first.entries.len(), first.sequence), (1000, 1200));
    let second = f.store.read(0, LogQuery::after(first.next)).await.unwrap();
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
    // Entries of three hours ago, which the other node alone would not need any more.
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
    other.deny(with(deny(ISSUER, ExternalId::Subject("1".into())), |deny| deny.keep = short)).await.unwrap();
    other.deny(with(deny(ISSUER, ExternalId::Token("1".into())), |deny| deny.keep = short)).await.unwrap();
    other.revoke_token("bob", "j1", other.now().saturating_add(short)).await.unwrap();
    let keys: Vec<String> = f.redis(&["KEYS", "tb:{0}:[du]:*"]).await;
    assert_eq!(keys.len(), 4);
    for key in keys {
        let ttl: i64 = f.redis(&["TTL", &key]).await;
        assert!(ttl > 10 * 3600 - 60, "{key}: {ttl}");
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
    let page = f.store.read(0, LogQuery::from_start()).await.unwrap();
    assert_eq!((page.entries.len(), page.skipped, page.sequence), (2, 1, 2));
    f.redis::<String>(&["XADD", "tb:{0}:log", "*", "more", "x"]).await;
    let newest = f.store.read(0, LogQuery::newest()).await.unwrap();
    assert_eq!((newest.entries.len(), newest.skipped, newest.sequence), (0, 1, 2));
}

#[tokio::test]
async fn lost_data_starts_a_new_incarnation_and_an_empty_log() {
    let f = Fixture::new().await;
    f.open("alice", "s1").await;
    f.store.revoke_session("alice", "s0").await.unwrap();
    let before = f.store.read(0, LogQuery::from_start()).await.unwrap();
    f.redis::<()>(&["FLUSHALL"]).await;
    assert_eq!(f.state("alice", "s1").await, SessionState::Unknown);
    let after = f.store.read(0, LogQuery::from_start()).await.unwrap();
    assert_ne!(before.incarnation, after.incarnation);
    assert!(after.born >= before.at);
    assert_eq!((after.sequence, after.entries.len()), (0, 0));
    // Without the hash `m`, the entries in the log belong to no chain.
    f.store.revoke_session("alice", "s0").await.unwrap();
    f.redis::<()>(&["DEL", "tb:{0}:m"]).await;
    f.store.revoke_session("alice", "s2").await.unwrap();
    assert_eq!(f.log().await.len(), 1);
}

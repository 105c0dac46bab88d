//! Tests of the limits of one change, and of the removal of old records.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

const START: Timestamp = Timestamp::from_secs(1_767_225_660);
const DAY: Duration = Duration::from_secs(86_400);

fn open(subject: &str, sid: &str) -> OpenSession {
    OpenSession::new(subject, sid.into(), DAY, 30 * DAY)
}

fn sizes(shard: &Shard) -> (usize, usize, usize, usize) {
    let users = shard.users.values();
    let (sessions, tokens) = users.fold((0, 0), |(s, t), user| (s + user.sessions.len(), t + user.tokens.len()));
    (shard.users.len(), sessions, tokens, shard.expiries.len())
}

#[test]
fn sessions_markers_and_users_leave_when_their_time_is_over() {
    let (log, mut shard) = (Log::new(START), Shard::default());
    for n in 0..50 {
        let subject = n.to_string();
        shard.open(open(&subject, "s"), START, &log).unwrap();
        shard.revoke_token(&subject, "j", START.saturating_add(DAY / 2), START, &log).unwrap();
        shard.revoke_all(&subject, Some("s"), START, &log).unwrap();
    }
    let prune = |shard: &mut Shard, now| (0..100).for_each(|_| shard.prune(now));
    prune(&mut shard, START);
    assert_eq!(sizes(&shard), (50, 50, 50, 150));
    prune(&mut shard, START.saturating_add(DAY / 2));
    assert_eq!(sizes(&shard), (50, 50, 0, 100), "the users stay for as long as their sessions");
    prune(&mut shard, START.saturating_add(DAY));
    assert_eq!(sizes(&shard), (0, 0, 0, 0));
}

#[test]
fn a_session_that_is_used_stays_and_a_revoked_one_leaves_after_the_time_the_log_keeps() {
    let (log, mut shard) = (Log::new(START), Shard::default());
    shard.open(open("alice", "used"), START, &log).unwrap();
    shard.open(open("alice", "revoked"), START, &log).unwrap();
    let later = START.saturating_add(DAY / 2);
    let rotate = RotateRefresh::new("alice", "used".into(), 0, DAY, Duration::ZERO);
    assert!(matches!(shard.rotate(&rotate, later, &log).unwrap(), Rotated::Rotated(_)));
    shard.revoke_session("alice", "revoked", later, &log).unwrap();
    shard.prune(later.saturating_add(log.keep()));
    assert_eq!(sizes(&shard), (1, 1, 0, 2));
    shard.prune(START.saturating_add(DAY));
    assert_eq!(sizes(&shard), (1, 1, 0, 2), "put back to its new end");
    (0..3).for_each(|_| shard.prune(later.saturating_add(DAY)));
    assert_eq!(sizes(&shard), (0, 0, 0, 0));
}

#[test]
fn a_clock_that_was_ahead_once_locks_nobody_out() {
    let (log, mut shard) = (Log::new(START), Shard::default());
    let at = |seconds| START.saturating_add(Duration::from_secs(seconds));
    let login = |sid, began| OpenSession { auth_time: Some(began), ..open("alice", sid) };
    // The clock was a day ahead at this opening, so the next `revoke_all` gets a higher generation.
    shard.open(open("alice", "ahead"), START.saturating_add(DAY), &log).unwrap();
    shard.revoke_all("alice", None, START, &log).unwrap();
    assert!(matches!(shard.open(login("a", START), at(1), &log).unwrap(), Opened::Superseded { .. }));
    assert!(matches!(shard.open(login("b", at(1)), at(2), &log).unwrap(), Opened::Opened { .. }));
    // The clock was a day ahead at this `revoke_all`. It supersedes only the logins in progress.
    shard.revoke_all("alice", None, START.saturating_add(DAY), &log).unwrap();
    assert!(matches!(shard.open(login("c", at(3)), at(3), &log).unwrap(), Opened::Superseded { .. }));
    assert!(matches!(shard.open(login("d", at(4)), at(5), &log).unwrap(), Opened::Opened { .. }));
}

fn capped(sid: &str, cap: u32) -> OpenSession {
    OpenSession { max_sessions: std::num::NonZeroU32::new(cap), ..open("alice", sid) }
}

#[test]
fn a_login_under_a_new_cap_ends_a_bounded_number_of_sessions_and_the_next_ones_the_rest() {
    let (log, mut shard) = (Log::new(START), Shard::default());
    for n in 0..600 {
        shard.open(open("alice", &n.to_string()), START, &log).unwrap();
    }
    let (mut alive, mut logins) = (600, 0);
    while alive > 2 {
        logins += 1;
        let Opened::Opened { evicted, .. } = shard.open(capped(&format!("l{logins}"), 2), START, &log).unwrap() else {
            unreachable!("login {logins} failed")
        };
        assert!(!evicted.is_empty() && evicted.len() <= EVICTED, "login {logins} evicted {}", evicted.len());
        alive = alive + 1 - evicted.len();
        assert_eq!(shard.users["alice"].live.len(), alive);
    }
    assert!(logins < 8, "{logins}");
}

#[test]
fn what_one_call_looks_at_is_bounded_and_what_it_discards_is_dropped_little_by_little() {
    let (log, mut shard) = (Log::new(START), Shard::default());
    for n in 0..5000 {
        shard.open(open("alice", &n.to_string()), START, &log).unwrap();
        shard
            .open(OpenSession { idle: Duration::from_secs(1), ..open("alice", &format!("short {n}")) }, START, &log)
            .unwrap();
    }
    let later = START.saturating_add(DAY / 2);
    for cap in [150, 101, 99] {
        let opened = shard.open(capped(&format!("cap {cap}"), cap), later, &log).unwrap();
        let Opened::Opened { evicted, .. } = opened else { unreachable!("{opened:?}") };
        // Each login reads at most 250 of 10 000 sessions. Half of them have expired.
        assert!(evicted.len() <= EVICTED, "cap {cap}: {}", evicted.len());
    }
    let before = shard.users["alice"].live.len();
    assert!(shard.revoke_all("alice", Some("cap 99"), later, &log).unwrap().found);
    assert_eq!((shard.users["alice"].live.len(), shard.discarded[0].len()), (1, before));
    shard.prune(later);
    assert_eq!(shard.discarded[0].len(), before - DROPPED_PER_CHANGE);
    (0..200).for_each(|_| shard.prune(later));
    assert!(shard.discarded.is_empty());
}

#[test]
fn a_repetition_that_ends_nothing_refuses_no_login_that_began_since_but_those_of_long_ago() {
    let (log, mut shard) = (Log::new(START), Shard::default());
    let at = |seconds| START.saturating_add(Duration::from_secs(seconds));
    let login = |sid, began| OpenSession { auth_time: Some(began), ..open("alice", sid) };
    shard.open(open("alice", "kept"), START, &log).unwrap();
    let first = shard.revoke_all("alice", Some("kept"), START, &log).unwrap();
    for seconds in 2..10 {
        let again = shard.revoke_all("alice", Some("kept"), at(seconds), &log).unwrap();
        assert_eq!((again.found, again.position()), (false, first.position()));
    }
    assert!(matches!(shard.open(login("a", at(1)), at(9), &log).unwrap(), Opened::Opened { .. }));
    let second = shard.revoke_all("alice", Some("kept"), at(9), &log).unwrap();
    assert!(second.found && second.position().unwrap().sequence == 2);
    // Another login is in progress long after that revocation.
    assert_eq!(shard.revoke_all("alice", Some("kept"), at(19), &log).unwrap().position(), second.position());
    assert!(matches!(shard.open(login("b", at(18)), at(20), &log).unwrap(), Opened::Superseded { .. }));
    assert!(
        matches!(shard.check("alice", "a", "j", at(20)), SessionState::Revoked { at: Some(told) } if told == at(9))
    );
}

#[test]
fn the_index_of_live_sessions_is_kept_by_every_change() {
    let (log, mut shard) = (Log::new(START), Shard::default());
    let index =
        |shard: &Shard| -> Vec<String> { shard.users["alice"].live.iter().map(|(.., sid)| sid.to_string()).collect() };
    for sid in ["a", "b", "c"] {
        shard.open(open("alice", sid), START, &log).unwrap();
    }
    let later = START.saturating_add(DAY / 2);
    shard.rotate(&RotateRefresh::new("alice", "a".into(), 0, DAY, Duration::ZERO), later, &log).unwrap();
    assert_eq!(index(&shard), ["b", "c", "a"]);
    shard.revoke_session("alice", "b", later, &log).unwrap();
    assert_eq!(index(&shard), ["c", "a"]);
    let lost = shard.users["alice"].generation + 1;
    shard.republish_all("alice", lost, None, later, &log).unwrap();
    assert_eq!(index(&shard), ["c", "a"], "they were opened later, or are found dead at the next look");
    (0..8).for_each(|_| shard.prune(START.saturating_add(DAY)));
    assert_eq!(index(&shard), ["a"], "the other one has expired");
    shard.revoke_all("alice", Some("a"), later, &log).unwrap();
    assert_eq!(index(&shard), ["a"]);
    shard.revoke_all("alice", None, later, &log).unwrap();
    assert!(index(&shard).is_empty());
}

#[test]
fn a_users_generation_outlives_the_time_the_log_keeps_after_the_last_revocation() {
    let (log, mut shard) = (Log::new(START), Shard::default());
    shard.revoke_all("alice", None, START, &log).unwrap();
    let before = START.saturating_add(log.keep()).saturating_sub(Duration::from_millis(1));
    shard.prune(before);
    let mut login = open("alice", "s");
    login.auth_time = Some(START);
    assert_eq!(shard.open(login, before, &log).unwrap(), Opened::Superseded { now: before });
}

#[test]
fn generations_rise_even_if_the_clock_is_put_back() {
    let (log, mut shard) = (Log::new(START), Shard::default());
    let back = Timestamp::from_secs(1);
    shard.open(open("alice", "a"), START, &log).unwrap();
    shard.revoke_all("alice", None, back, &log).unwrap();
    assert!(matches!(shard.check("alice", "a", "j", back), SessionState::Revoked { .. }));
    shard.open(open("alice", "b"), back, &log).unwrap();
    assert!(matches!(shard.check("alice", "b", "j", back), SessionState::Active { .. }));
    shard.revoke_all("alice", None, back, &log).unwrap();
    assert!(matches!(shard.check("alice", "b", "j", back), SessionState::Revoked { .. }));
}

//! Tests of the node's own revocations. They hold immediately, and the reader expects their entries
//! in the log. If a later read does not find an entry, its revocation is lost.

use std::sync::Arc;

use super::{
    model::{PAGE, Store, ms},
    node::{STALENESS, Step, World, config},
};
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject},
    replica::{
        bucket::{Bucket, Outcome},
        deny_set::NameHasher,
        log_reader::MAX_PENDING,
        verdict::Verdict,
    },
    store::{LogPosition, Revocation},
};

use Step::{Answer, Ask, Confirm, Deliver, ReadAll, RevokeHere, RollBack, Save};

#[test]
fn what_this_node_revokes_is_lost_only_if_a_question_of_later_does_not_find_it() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[ReadAll, Save, Ask, Answer(0), RevokeHere(0), Confirm]);
    assert_eq!(world.says(&token), Verdict::Refused);
    assert!(!world.step(Deliver(0)).has_lost, "the read had begun before");
    assert!(!world.step(ReadAll).has_lost, "the log had it");
    let missing = |world: &World| world.bucket.missing(now(&world.store), 0, 9).1.len();
    assert_eq!(missing(&world), 0);
    world.token("u0");
    world.steps(&[Save, RevokeHere(0), Confirm, RollBack(1)]);
    assert!(world.step(ReadAll).broke.is_some());
    assert!(world.step(ReadAll).has_lost, "the log goes on from where it was read, without it");
    assert_eq!(missing(&world), 1);
    assert!(!world.step(ReadAll).has_lost, "that is said once");
}

/// Returns a bucket that has read the empty log of a store, and the store.
fn a_read_bucket() -> (Bucket, Store) {
    let mut store = Store::new();
    store.data.max_staleness = STALENESS;
    let bucket = Bucket::new(NameHasher::default(), config(&Arc::default()), 1 << 20);
    read(&bucket, &store);
    (bucket, store)
}

/// Reads the log, and reads it once more after a break. Then reads back all older entries.
fn read(bucket: &Bucket, store: &Store) -> Outcome {
    let pending = bucket.next_read(ms(1), PAGE);
    let mut outcome = bucket.apply(&pending, store.page(store.meta(), &pending.query).0, now(store));
    if outcome.broke.is_some() {
        let again = read(bucket, store);
        return Outcome { has_lost: outcome.has_lost || again.has_lost, ..outcome };
    }
    while let Some(pending) = bucket.next_back_read(PAGE) {
        outcome.has_lost |= bucket.apply_back(&pending, store.page(store.meta(), &pending.query).0).has_lost;
    }
    outcome
}

/// A position in an unknown incarnation. The reader expects its entry once all entries are read.
const POS: LogPosition = LogPosition { bucket: 0, incarnation: String::new(), sequence: 0 };

fn now(store: &Store) -> Timestamp {
    Timestamp::from_secs(store.now)
}

fn session(sid: &str) -> Revocation {
    Revocation::Session { subject: "u".into(), sid: sid.into() }
}

#[test]
fn whatever_this_node_revokes_is_waited_for() {
    let subject = || Subject::from("u");
    let all = [
        session("s"),
        Revocation::Token { subject: subject(), jti: "t".into() },
        Revocation::Subject { subject: subject(), generation: 7, except: None },
        Revocation::Subject { subject: subject(), generation: 7, except: Some("s".into()) },
        Revocation::External { id: "f".to_owned(), before: None },
        Revocation::External { id: "f".to_owned(), before: Some(Timestamp::from_secs(7)) },
    ];
    for revocation in all {
        let (bucket, store) = a_read_bucket();
        let until = now(&store).saturating_add(ms(1_000_000));
        bucket.record_revocation(&revocation, now(&store), until, &POS);
        assert_eq!(bucket.missing(now(&store), 0, 9).1, []);
        assert!(read(&bucket, &store).has_lost, "{revocation:?}");
        assert_eq!(bucket.missing(now(&store), 0, 9).1, [(revocation, until)]);
    }
}

#[test]
fn what_this_node_revokes_and_the_log_tells_is_kept_once() {
    let (bucket, mut store) = a_read_bucket();
    let entry = store.revoke(0, session("s"));
    bucket.record_revocation(&entry.revocation, entry.at, entry.at, &POS);
    let size = bucket.size();
    read(&bucket, &store);
    assert_eq!(bucket.size(), size);
}

#[test]
fn what_this_node_revokes_and_cannot_write_down_is_not_decided_here() {
    let (bucket, store) = a_read_bucket();
    assert_ne!(bucket.lease_end(), 0);
    let pending = bucket.next_read(ms(1), PAGE);
    assert!(bucket.record_revocation(&session(&"s".repeat(1 << 16)), now(&store), now(&store), &POS));
    assert_eq!(bucket.lease_end(), 0);
    bucket.apply(&pending, store.page(store.meta(), &pending.query).0, now(&store));
    assert_eq!(bucket.lease_end(), 0, "the read had begun before");
    read(&bucket, &store);
    assert_ne!(bucket.lease_end(), 0);
}

#[test]
fn a_log_that_is_not_read_to_its_end_has_lost_nothing() {
    let (bucket, mut store) = a_read_bucket();
    for number in 0..5 {
        let entry = store.revoke(number, session(&number.to_string()));
        if number == 4 {
            bucket.record_revocation(&entry.revocation, entry.at, entry.until, &POS);
        }
    }
    for _ in 0..4 {
        assert!(!read(&bucket, &store).has_lost);
    }
    assert_eq!(bucket.missing(now(&store), 0, 9).1, []);
}

#[test]
fn so_much_as_is_waited_for_is_bounded_and_the_rest_is_missing_until_it_is_told() {
    let (bucket, store) = a_read_bucket();
    let many = MAX_PENDING + 10;
    for number in 0..many {
        bucket.record_revocation(&session(&number.to_string()), now(&store), now(&store), &POS);
    }
    assert_eq!(bucket.missing(now(&store), 0, many).1.len(), 10);
    assert!(read(&bucket, &store).has_lost);
    assert_eq!(bucket.missing(now(&store), 0, many + 1).1.len(), many);
}

#[test]
fn what_is_revoked_again_when_no_more_can_be_waited_for_is_still_waited_for() {
    let (bucket, store) = a_read_bucket();
    for number in 0..MAX_PENDING {
        bucket.record_revocation(&session(&number.to_string()), now(&store), now(&store), &POS);
    }
    bucket.record_revocation(&session("0"), now(&store), now(&store), &POS);
    assert_eq!(bucket.missing(now(&store), 0, 9).1, []);
    assert!(read(&bucket, &store).has_lost);
}

#[test]
fn what_the_store_refuses_meanwhile_is_still_waited_for() {
    let (bucket, store) = a_read_bucket();
    bucket.record_revocation(&session("s"), now(&store), now(&store), &POS);
    bucket.record_refusal(&session("s"), Timestamp::END_OF_TIME);
    assert!(read(&bucket, &store).has_lost);
}

#[test]
fn what_is_past_its_use_is_not_lost_but_missing_should_the_clock_go_back() {
    let (bucket, mut store) = a_read_bucket();
    bucket.record_revocation(&session("s"), now(&store), now(&store), &POS);
    // This entry keeps the segment alive, so that no sweep removes the first entry.
    bucket.record_revocation(&session("t"), now(&store), Timestamp::END_OF_TIME, &POS);
    store.now += store.data.keep + 1;
    bucket.mark_republished(&session("t"), 0);
    assert!(read(&bucket, &store).has_lost, "the other");
    store.now -= store.data.keep + 1;
    assert_eq!(bucket.missing(now(&store), 0, 9).1.len(), 2);
}

#[test]
fn however_often_a_log_begins_anew_what_is_missing_is_found() {
    let (bucket, mut store) = a_read_bucket();
    let mut empty = store.clone();
    // The empty store has another incarnation.
    empty.lose_all();
    store.revoke(0, session("s"));
    read(&bucket, &store);
    let anew = |store: &Store| {
        let outcome = read(&bucket, store);
        assert!(outcome.broke.is_some());
        outcome
    };
    for _ in 0..=u16::MAX / 2 {
        assert!(anew(&empty).has_lost);
        assert_eq!(bucket.missing(now(&store), 0, 9).1.len(), 1);
        anew(&store);
        assert_eq!(bucket.missing(now(&store), 0, 9).1.len(), 0);
    }
}

#[test]
fn of_two_that_spare_a_session_each_counts_as_told() {
    // The second session is opened after the first revocation, and the second revocation spares it.
    let revoke = |store: &mut Store| {
        [0, 1].map(|number| {
            let except = Some(store.open("u0").into());
            let entry = store.revoke(number, Revocation::Subject { subject: "u0".into(), generation: 0, except });
            assert!(matches!(entry.revocation, Revocation::Subject { except: Some(_), .. }));
            entry
        })
    };
    for confirmed_late in [false, true] {
        let (bucket, mut store) = a_read_bucket();
        let entries = revoke(&mut store);
        if confirmed_late {
            assert!(!read(&bucket, &store).has_lost);
        }
        for entry in &entries {
            bucket.record_revocation(&entry.revocation, entry.at, entry.until, &POS);
        }
        assert!(!read(&bucket, &store).has_lost);
        assert_eq!(bucket.missing(now(&store), 0, 9).1, [], "confirmed late: {confirmed_late}");
    }
    // Each of the two revocations can also be lost.
    let (bucket, mut store) = a_read_bucket();
    store.save();
    for entry in revoke(&mut store) {
        bucket.record_revocation(&entry.revocation, entry.at, entry.until, &POS);
    }
    store.roll_back(0);
    assert!(read(&bucket, &store).has_lost);
    assert_eq!(bucket.missing(now(&store), 0, 9).1.len(), 2);
}

#[test]
fn one_that_spares_a_session_is_not_told_by_one_that_spares_another() {
    let (bucket, mut store) = a_read_bucket();
    let all_but = |sid| Revocation::Subject { subject: "u0".into(), generation: 0, except: Some(SessionId::new(sid)) };
    store.save();
    let spared = store.open("u0");
    let lost = store.revoke(0, all_but(spared));
    store.roll_back(0);
    let spared = store.open("u0");
    store.now += 1;
    store.revoke(1, all_but(spared));
    read(&bucket, &store);
    bucket.record_revocation(&lost.revocation, lost.at, lost.until, &POS);
    assert!(read(&bucket, &store).has_lost);
    assert_eq!(bucket.missing(now(&store), 0, 9).1.len(), 1);
}

#[test]
fn a_stronger_one_that_is_waited_for_is_not_lost_for_a_weaker_one_that_was_told() {
    let (bucket, mut store) = a_read_bucket();
    let mut revoke = |number| {
        let all = Revocation::Subject { subject: "u0".into(), generation: 0, except: None };
        let entry = store.revoke(number, all);
        bucket.record_revocation(&entry.revocation, entry.at, entry.until, &POS);
        store.clone()
    };
    let weaker = revoke(0);
    let pending = bucket.next_read(ms(1), PAGE);
    let stronger = revoke(1);
    assert!(!bucket.apply(&pending, weaker.page(weaker.meta(), &pending.query).0, now(&weaker)).has_lost);
    assert!(!read(&bucket, &stronger).has_lost);
    assert_eq!(bucket.missing(now(&stronger), 0, 9).1, []);
}

#[test]
fn what_was_told_in_a_weaker_form_is_lost_in_the_stronger() {
    let (bucket, mut store) = a_read_bucket();
    let all = || Revocation::Subject { subject: "u0".into(), generation: 0, except: None };
    store.revoke(0, all());
    read(&bucket, &store);
    store.save();
    let stronger = store.revoke(1, all());
    bucket.record_revocation(&stronger.revocation, stronger.at, stronger.until, &POS);
    store.roll_back(0);
    assert!(read(&bucket, &store).has_lost);
    assert_eq!(bucket.missing(now(&store), 0, 9).1, [(stronger.revocation, stronger.until)]);
}

#[test]
fn what_is_revoked_again_while_it_is_restored_is_waited_for() {
    let (bucket, mut store) = a_read_bucket();
    store.save();
    let entry = store.revoke(0, session("s"));
    bucket.record_revocation(&entry.revocation, entry.at, entry.until, &POS);
    store.roll_back(0);
    assert!(read(&bucket, &store).has_lost);
    let (epoch, missing) = bucket.missing(now(&store), 0, 9);
    assert_eq!(missing.len(), 1);
    bucket.record_revocation(&entry.revocation, entry.at, entry.until, &POS);
    bucket.mark_republished(&entry.revocation, epoch);
    assert!(read(&bucket, &store).has_lost, "neither was there");
}

#[test]
fn the_number_of_a_revocation_that_a_new_server_gave_to_another_is_not_its_place() {
    let (bucket, mut store) = a_read_bucket();
    store.save();
    let lost = store.revoke(0, session("lost"));
    let position = store.position();
    store.roll_back(0);
    let logged = store.revoke(1, session("logged"));
    assert_eq!(store.position(), position);
    read(&bucket, &store);
    assert!(bucket.has_applied_own(&logged.revocation, &position));
    assert!(!bucket.has_applied_own(&lost.revocation, &position));
}

#[test]
fn what_is_lost_is_found_though_memory_is_full() {
    let mut store = Store::new();
    store.data.max_staleness = STALENESS;
    let bucket = Bucket::new(NameHasher::default(), config(&Arc::default()), 1 << 15);
    store.revoke(0, session("a"));
    read(&bucket, &store);
    store.save();
    let lost = store.revoke(1, session("lost"));
    read(&bucket, &store);
    store.roll_back(0);
    (2..5).for_each(|number| drop(store.revoke(number, session(&number.to_string()))));
    assert!(read(&bucket, &store).has_lost);
    let missing = bucket.missing(now(&store), 0, 9).1;
    assert_eq!(missing.into_iter().map(|(revocation, _)| revocation).collect::<Vec<_>>(), [lost.revocation]);
}

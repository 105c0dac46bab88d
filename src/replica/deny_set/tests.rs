//! Tests of the deny set against a plain list of all inserted revocations.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};
use uuid::Uuid;

use super::*;
use crate::ids::{SessionId, Subject};

const SEED: u64 = 1;

/// Returns a name so long that eight entries fill a segment.
fn long(name: &str) -> String {
    format!("{name}{}", "-".repeat(4000))
}

/// Returns an id in one of the three forms in which the deny set stores ids.
fn id(number: u8) -> String {
    match number % 3 {
        0 => format!("s{number}"),
        1 => URL_SAFE_NO_PAD.encode([number; 16]),
        _ => Uuid::from_bytes([number; 16]).to_string(),
    }
}

fn secs(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn session(subject: &str, sid: &str) -> Revocation {
    Revocation::Session { subject: subject.into(), sid: sid.into() }
}

fn all(generation: u64, except: Option<&str>) -> Revocation {
    Revocation::Subject { subject: "u".into(), generation, except: except.map(Into::into) }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Revocation, u64),
    Later(u64),
}

fn revocation() -> impl Strategy<Value = Revocation> {
    let subject = || (0..3u8).prop_map(|number| long(&format!("u{number}")));
    let id = || (0..12u8).prop_map(id);
    prop_oneof![
        4 => (subject(), id()).prop_map(|(subject, sid)| Revocation::Session { subject: subject.into(), sid: sid.into() }),
        2 => (subject(), id()).prop_map(|(subject, jti)| Revocation::Token { subject: subject.into(), jti: jti.into() }),
        3 => (subject(), 1..8u64, proptest::option::of((0..3u8).prop_map(|number| self::id(number).into())))
            .prop_map(|(subject, generation, except)| Revocation::Subject { subject: subject.into(), generation, except }),
        2 => ((0..6u8).prop_map(|number| long(&format!("f{number}"))), proptest::option::of(1..8u64))
            .prop_map(|(id, before)| Revocation::External { id, before: before.map(Timestamp::from_millis) }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (revocation(), 1..40u64).prop_map(|(revocation, epoch)| Step::Insert(revocation, epoch)),
        1 => (1..20u64).prop_map(Step::Later),
    ]
}

/// Returns true if the deny set refuses the token that `probe` describes.
fn says(deny_set: &DenySet, probe: &Revocation) -> bool {
    let name = |kind, first, second| deny_set.hasher.name(kind, first, second);
    match probe {
        Revocation::Session { subject, sid } => {
            deny_set.contains(name(EntryKind::Session, subject.as_str(), sid.as_str()))
        }
        Revocation::Token { subject, jti } => deny_set.contains(name(EntryKind::Token, subject.as_str(), jti.as_str())),
        // The probe is a session of this generation.
        Revocation::Subject { subject, generation, except } => {
            let sid = except.as_ref().map_or("other", SessionId::as_str);
            let of_subject = name(EntryKind::Subject, subject.as_str(), "");
            deny_set.is_outdated(
                of_subject,
                EntryName::hashed(0, EntryKind::Session, subject.as_str(), sid),
                *generation,
            )
        }
        // The probe is a token that was issued at `before`.
        Revocation::External { id, before } => {
            let found = deny_set.revoked_up_to(name(EntryKind::External, id, ""));
            found.is_some_and(|until| before.map_or(u64::MAX, Timestamp::as_millis) <= until)
        }
    }
}

fn concerns(inserted: &Revocation, probe: &Revocation) -> bool {
    match (inserted, probe) {
        (
            Revocation::Subject { subject, generation, except },
            Revocation::Subject { subject: of, generation: its, except: sid },
        ) => subject == of && its < generation && (except.is_none() || except != sid),
        (Revocation::External { id, before }, Revocation::External { id: of, before: issued }) => {
            id == of && (before.is_none() || issued.is_some_and(|issued| before.is_some_and(|before| issued <= before)))
        }
        _ => inserted == probe,
    }
}

fn probes() -> Vec<Revocation> {
    let mut all = Vec::new();
    for number in 0..3 {
        let subject = Subject::new(long(&format!("u{number}")));
        for id in (0..12).map(id) {
            all.push(Revocation::Session { subject: subject.clone(), sid: id.as_str().into() });
            all.push(Revocation::Token { subject: subject.clone(), jti: id.into() });
        }
        for generation in 0..8 {
            for except in [None, Some(id(0)), Some(id(1)), Some(id(2))] {
                let except = except.map(SessionId::new);
                all.push(Revocation::Subject { subject: subject.clone(), generation, except });
            }
        }
    }
    for number in 0..6 {
        let id = long(&format!("f{number}"));
        all.extend((0..8).map(|at| Revocation::External { id: id.clone(), before: Some(Timestamp::from_millis(at)) }));
        all.push(Revocation::External { id, before: None });
    }
    all
}

#[test]
fn what_was_told_is_refused_until_its_time_and_nothing_else_is_whatever_memory_there_is() {
    let config = Config { cases: 60, failure_persistence: None, rng_seed: RngSeed::Fixed(SEED), ..Config::default() };
    let steps = proptest::collection::vec(step(), 0..120);
    let memory = prop_oneof![Just(1usize), Just(3), Just(1000)];
    proptest!(config, |(steps in steps, segments in memory, before_wrap in 0..4u32)| {
        let mut deny_set = DenySet::new(NameHasher::default(), segments * SEGMENT);
        deny_set.segments.first = segments::NUMBER_MASK - before_wrap;
        let (mut now, mut forgotten, mut inserted) = (1000, Timestamp::default(), Vec::new());
        for step in steps {
            match step {
                Step::Insert(revocation, epoch) => {
                    let gone = deny_set.insert(&revocation, secs(now), secs(now + epoch), 0).unwrap();
                    forgotten = forgotten.max(gone.unwrap_or_default());
                    inserted.push((revocation, secs(now), secs(now + epoch)));
                }
                Step::Later(seconds) => {
                    now += seconds;
                    (0..8).for_each(|_| {
                        deny_set.sweep(secs(now));
                    });
                }
            }
            let length: usize = deny_set.segments.lengths().sum();
            prop_assert_eq!(deny_set.segments.bytes, length);
            prop_assert!(length <= (segments + 1) * SEGMENT);
        }
        for probe in probes() {
            let meant: Vec<_> = inserted.iter().filter(|(inserted, ..)| concerns(inserted, &probe)).collect();
            let must = meant.iter().any(|(_, at, until)| *until > secs(now) && *at > forgotten);
            prop_assert!(says(&deny_set, &probe) || !must, "{:.20?} is not refused", probe);
            prop_assert!(!says(&deny_set, &probe) || !meant.is_empty(), "{:.20?} is refused", probe);
        }
        // After the ends of all entries, the deny set is empty.
        (0..100).for_each(|_| {
            deny_set.sweep(secs(now + 100));
        });
        prop_assert_eq!((deny_set.len(), deny_set.segments.bytes, deny_set.segments.len()), (0, 0, 0));
    });
}

#[test]
fn of_two_exceptions_each_loses_to_the_other() {
    for inserted in [[(5, Some("a")), (7, Some("b"))], [(7, Some("b")), (5, Some("a"))]] {
        let mut deny_set = DenySet::new(NameHasher::default(), SEGMENT);
        for (generation, except) in inserted {
            deny_set.insert(&all(generation, except), secs(1), secs(9), 0).unwrap();
        }
        let dead = |sid: &str, generation| says(&deny_set, &all(generation, Some(sid)));
        assert!(dead("a", 4) && dead("a", 6) && dead("b", 4) && dead("c", 6));
        assert!(!dead("b", 5) && !dead("a", 7) && !dead("c", 7));
    }
}

/// Marks all entries of the epochs before 2 as lost, as after a full read of the log in epoch 2.
fn is_read(deny_set: &mut DenySet, now: Timestamp) {
    for start in deny_set.segment_starts().collect::<Vec<_>>() {
        deny_set.mark_segment_lost(start, now, |epoch| epoch < 2);
    }
}

#[test]
fn what_the_log_tells_in_a_weaker_form_is_still_missing_in_it() {
    let mut deny_set = DenySet::new(NameHasher::default(), SEGMENT);
    let foreign = |before| Revocation::External { id: "f".into(), before: Some(secs(before)) };
    for strong in [all(7, None), foreign(7)] {
        deny_set.insert(&strong, secs(7), secs(90), 1).unwrap();
    }
    for weak in [all(5, None), foreign(5)] {
        deny_set.insert(&weak, secs(5), secs(95), 2).unwrap();
    }
    is_read(&mut deny_set, secs(10));
    let mut missing = deny_set.missing(secs(10), 0, 9);
    missing.sort_by_key(|(revocation, _)| matches!(revocation, Revocation::External { .. }));
    assert_eq!(missing, [(all(7, None), secs(95)), (foreign(7), secs(95))]);
    deny_set.insert(&all(7, None), secs(7), secs(90), 2).unwrap();
    assert_eq!(deny_set.missing(secs(10), 0, 9), [(foreign(7), secs(95))]);
}

#[test]
fn what_is_missing_is_told_in_the_very_words_in_which_it_was_learnt() {
    for number in 0..3 {
        let mut deny_set = DenySet::new(NameHasher::default(), SEGMENT);
        let inserted = session(&id(number), &id(number + 1));
        deny_set.insert(&inserted, secs(1), secs(90), 1).unwrap();
        is_read(&mut deny_set, secs(2));
        assert_eq!(deny_set.missing(secs(2), 0, 9), [(inserted, secs(90))]);
    }
}

#[test]
fn what_was_restored_is_missing_no_more_unless_something_stronger_was_learnt() {
    let mut deny_set = DenySet::new(NameHasher::default(), SEGMENT);
    deny_set.insert(&session("u", "s"), secs(1), secs(90), 1).unwrap();
    deny_set.insert(&all(5, Some("s")), secs(1), secs(90), 1).unwrap();
    is_read(&mut deny_set, secs(2));
    assert_eq!(deny_set.missing(secs(2), 0, 9).len(), 2);
    assert_eq!(deny_set.missing(secs(2), 0, 1).len(), 1, "no more than the limit");
    assert!(deny_set.missing(secs(90), 0, 9).is_empty(), "what is past its use is not missed");
    deny_set.mark_republished(&session("u", "s"), 2);
    deny_set.insert(&all(7, Some("s")), secs(2), secs(90), 1).unwrap();
    is_read(&mut deny_set, secs(2));
    deny_set.mark_republished(&all(5, Some("s")), 2);
    assert_eq!(deny_set.missing(secs(2), 0, 9), [(all(7, Some("s")), secs(90))]);
}

#[test]
fn ids_as_long_as_a_store_takes_them_are_kept_and_longer_ones_are_refused_not_cut() {
    let mut deny_set = DenySet::new(NameHasher::default(), SEGMENT);
    let id = "é".repeat(127);
    deny_set.insert(&session(&id, &id), secs(1), secs(9), 0).unwrap();
    assert!(says(&deny_set, &session(&id, &id)));
    for length in [SEGMENT, usize::from(u16::MAX), usize::from(u16::MAX) + 1] {
        let long = "s".repeat(length);
        assert_eq!(deny_set.insert(&session("u", &long), secs(1), secs(9), 0), Err(TooLong));
        assert!(!says(&deny_set, &session("u", &long)));
    }
    assert_eq!(deny_set.len(), 1);
}

#[test]
fn what_was_told_again_later_is_forgotten_as_of_later() {
    let mut deny_set = DenySet::new(NameHasher::default(), SEGMENT);
    deny_set.insert(&all(5, None), secs(1), secs(90), 0).unwrap();
    deny_set.insert(&all(5, None), secs(8), secs(90), 0).unwrap();
    let inserted: Vec<_> = (0..20).map(|number| session(&long("u"), &number.to_string())).collect();
    let forgotten: Vec<_> =
        inserted.iter().filter_map(|inserted| deny_set.insert(inserted, secs(3), secs(90), 0).unwrap()).collect();
    assert_eq!(forgotten.first(), Some(&secs(8)));
}

#[test]
fn one_name_told_again_and_again_takes_the_place_of_one() {
    let mut deny_set = DenySet::new(NameHasher::default(), 4 * SEGMENT);
    for second in 0..10_000 {
        let now = secs(1000 + second);
        deny_set.insert(&session("u", "s"), now, now.saturating_add(Duration::from_secs(60)), 0).unwrap();
        deny_set.sweep(now);
    }
    assert_eq!(deny_set.len(), 1);
    assert!(deny_set.bytes() < 3 * SEGMENT, "{}", deny_set.bytes());
}

/// Measures the memory of a million revoked sessions in 16 buckets.
#[test]
fn a_million_revoked_sessions_fit_into_the_memory_that_is_stated() {
    const ONE_BUCKET: u128 = 1_000_000 / 16;
    let bytes = |subject: fn(u128) -> String| {
        let mut deny_set = DenySet::new(NameHasher::default(), usize::MAX);
        for number in 0..ONE_BUCKET {
            // Session ids in the form of this crate.
            let sid = URL_SAFE_NO_PAD.encode(number.to_be_bytes());
            deny_set.insert(&session(&subject(number / 2), &sid), secs(1), secs(9), 0).unwrap();
        }
        assert_eq!(deny_set.len() as u128, ONE_BUCKET);
        deny_set.bytes() * 16
    };
    let numbers = bytes(|number| format!("{number:08}"));
    let uuids = bytes(|number| Uuid::from_u128(number).to_string());
    let texts = bytes(|number| format!("{number:036}"));
    println!("{numbers} bytes with subjects of 8 characters, {uuids} with UUIDs, {texts} with 36 others");
    assert!(numbers <= 54_000_000, "{numbers}");
    assert!(uuids <= 60_000_000, "{uuids}");
    assert!(texts <= 82_000_000, "{texts}");
}

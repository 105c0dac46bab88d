//! The registry against a model, the ids of streams, and the pace.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;

use super::{
    ids::Ids,
    pace::Pace,
    registry::{Indexed, Place, Registry},
};
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
    jwt::TokenNames,
};

struct Entry {
    number: usize,
    places: Vec<Place>,
    is_cut: AtomicBool,
}

impl Indexed for Entry {
    fn place(&self, number: usize) -> Option<&Place> {
        self.places.get(number)
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Registers a stream with these keys. Some keys may have been announced before.
    Register(BTreeSet<u64>),
    /// Removes one of the open streams.
    Drop(usize),
    /// Revokes and announces a key.
    Announce(u64),
    /// Revokes and announces a key. Each look removes the stream that it finds, as a waker may.
    AnnounceAndDrop(u64),
}

fn step() -> impl Strategy<Value = Step> {
    // There are so few keys that streams share them. The shifted keys lie in both shards.
    let key = || prop_oneof![0..6_u64, (0..3_u64).prop_map(|number| number << 24)];
    prop_oneof![
        4 => prop::collection::btree_set(key(), 1..=3).prop_map(Step::Register),
        3 => any::<usize>().prop_map(Step::Drop),
        1 => key().prop_map(Step::Announce),
        1 => key().prop_map(Step::AnnounceAndDrop),
    ]
}

/// The registry, and the streams that must be in it.
struct World {
    registry: Registry<Entry>,
    open: BTreeMap<usize, Arc<Entry>>,
    revoked: BTreeSet<u64>,
    registered: usize,
}

impl World {
    fn keys(entry: &Entry, keys: &BTreeMap<usize, BTreeSet<u64>>) -> BTreeSet<u64> {
        keys.get(&entry.number).cloned().unwrap_or_default()
    }

    fn run(steps: Vec<Step>) {
        let mut world =
            Self { registry: Registry::with_shards(2), open: BTreeMap::new(), revoked: BTreeSet::new(), registered: 0 };
        let mut keys = BTreeMap::new();
        for step in steps {
            world.take(step, &mut keys);
            world.check(&keys);
        }
        let all: Vec<_> = std::mem::take(&mut world.open).into_values().collect();
        for entry in all {
            world.registry.remove(&entry);
            // The registry has dropped its handles of the stream.
            assert_eq!(Arc::strong_count(&entry), 1);
        }
        assert_eq!(world.registry.open(), 0);
        world.registry.for_each(|entry| panic!("{} is left", entry.number));
    }

    fn take(&mut self, step: Step, keys: &mut BTreeMap<usize, BTreeSet<u64>>) {
        match step {
            Step::Register(of_it) => {
                let places = of_it.iter().map(|key| Place::new(*key, 0)).collect();
                let entry = Arc::new(Entry { number: self.registered, places, is_cut: AtomicBool::new(false) });
                self.registered += 1;
                let is_first = self.registry.register(&entry, |entry| {
                    entry.is_cut.store(!of_it.is_disjoint(&self.revoked), Ordering::Relaxed);
                });
                assert_eq!(is_first, self.open.is_empty());
                keys.insert(entry.number, of_it);
                self.open.insert(entry.number, entry);
            }
            Step::Drop(number) => {
                let number = self.open.keys().nth(number % self.open.len().max(1)).copied();
                if let Some(entry) = number.and_then(|number| self.open.remove(&number)) {
                    self.registry.remove(&entry);
                }
            }
            Step::Announce(key) => {
                self.revoked.insert(key);
                self.registry.announce(key, |entry| entry.is_cut.store(true, Ordering::Relaxed));
            }
            Step::AnnounceAndDrop(key) => {
                self.revoked.insert(key);
                let mut found = BTreeSet::new();
                self.registry.announce(key, |entry| {
                    assert!(found.insert(entry.number), "found twice");
                    self.registry.remove(entry);
                });
                let has_it = |entry: &Arc<Entry>| Self::keys(entry, keys).contains(&key);
                let expected: BTreeSet<_> =
                    self.open.values().filter(|entry| has_it(entry)).map(|entry| entry.number).collect();
                assert_eq!(found, expected);
                self.open.retain(|_, entry| !has_it(entry));
            }
        }
    }

    fn check(&self, keys: &BTreeMap<usize, BTreeSet<u64>>) {
        assert_eq!(self.registry.open(), self.open.len());
        let mut seen = BTreeSet::new();
        self.registry.for_each(|entry| assert!(seen.insert(entry.number), "seen twice"));
        assert_eq!(seen, self.open.keys().copied().collect());
        for entry in self.open.values() {
            let is_revoked = !Self::keys(entry, keys).is_disjoint(&self.revoked);
            assert_eq!(entry.is_cut.load(Ordering::Relaxed), is_revoked, "{}", entry.number);
        }
    }
}

/// Returns the milliseconds of an issue and an expiry: any, or those of whole seconds.
fn times() -> impl Strategy<Value = (u64, u64)> {
    let seconds = (0..1_u64 << 40, 0..1_u64 << 20).prop_map(|(from, span)| (from * 1000, (from + span) * 1000));
    prop_oneof![any::<(u64, u64)>(), seconds]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_open_stream_and_no_other_is_found_in_any_order_of_steps(
        steps in prop::collection::vec(step(), 0..60)
    ) {
        World::run(steps);
    }

    #[test]
    fn ids_are_unpacked_as_they_were(
        subject in "\\PC{1,200}", generation in any::<u64>(), times in times(),
        session in prop::option::of("[a-z.]{1,24}"), token in "[a-z.]{1,40}", is_own in any::<bool>(),
    ) {
        let numbers = (generation, times.0, times.1);
        ids_return(&subject, session.as_deref(), &token, is_own, numbers);
        if let Some(session) = &session {
            ids_return(&subject, Some(session), &format!("{session}.0.a"), is_own, numbers);
            ids_return(&subject, Some(session), session, is_own, numbers);
        }
    }
}

fn ids_return(subject: &str, session: Option<&str>, token: &str, is_own: bool, numbers: (u64, u64, u64)) {
    let (generation, issued_at, expires_at) =
        (numbers.0, Timestamp::from_millis(numbers.1), Timestamp::from_millis(numbers.2));
    let (subject, session, token) = (Subject::from(subject), session.map(SessionId::new), TokenId::new(token));
    let names = TokenNames {
        issuer: "https://issuer.example",
        subject: &subject,
        session_id: session.as_ref(),
        token_id: &token,
        generation,
        issued_at,
        expires_at,
    };
    let packed = Ids::new(&names, !is_own).unwrap();
    assert_eq!(packed.read().subject(), subject.as_str());
    assert_eq!((packed.read().issued_at(), packed.read().expires_at()), (issued_at, expires_at));
    let ids = packed.read().to_owned(&"own".into());
    assert_eq!((&ids.subject, &ids.session, &ids.token), (&subject, &session, &token));
    assert_eq!(&*ids.issuer, if is_own { "own" } else { names.issuer });
    let bearer = ids.bearer();
    assert_eq!((bearer.generation, bearer.issued_at, bearer.expires_at), (generation, issued_at, expires_at));
}

#[test]
fn an_id_that_no_token_can_have_has_no_stream() {
    let (subject, token) = (Subject::from("x".repeat(1 << 16)), TokenId::new("t"));
    let names = TokenNames {
        issuer: "",
        subject: &subject,
        session_id: None,
        token_id: &token,
        generation: 0,
        issued_at: Timestamp::default(),
        expires_at: Timestamp::default(),
    };
    assert!(Ids::new(&names, false).is_none());
}

#[test]
fn questions_and_cutoffs_are_spread_over_their_spans() {
    for staleness in [500, 1000, 30_000, 86_400_000].map(Duration::from_millis) {
        let pace = Pace::new(staleness);
        let whole = u64::try_from(staleness.as_nanos()).unwrap();
        for share in 0..=u8::MAX {
            let due = pace.due(share);
            assert!(due >= whole / 5 * 2 && due <= whole / 2, "{staleness:?} {share}: {due}");
            let by_log = pace.limit(share, true);
            assert!(by_log > whole / 2 + pace.tick && by_log <= whole);
            let by_store = pace.limit(share, false);
            assert!(by_store > whole / 4 * 3 && by_store <= whole);
            // There is time for a late question and for its answer.
            assert!(due + pace.tick + u64::try_from(pace.patience().as_nanos()).unwrap() < by_store);
        }
        assert!(pace.limit(u8::MAX, true) - pace.limit(0, true) > whole / 4, "they are spread");
        assert!(pace.tick <= whole / 16 || pace.tick == 20_000_000);
    }
}

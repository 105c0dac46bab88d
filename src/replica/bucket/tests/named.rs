//! The sequences of the protocol that concern a reader, and those that the search has found, each by its name.

use std::{sync::atomic::AtomicU64, time::Duration};

use super::{
    model::{Token, ms},
    node::{STALENESS, Step, World},
};
use crate::{
    clock::Timestamp,
    replica::{
        bucket::{Bucket, Facts, Known, SessionNames, Verdict},
        denied::{Kind, Names},
        leased::Leased,
        reader::Break,
    },
    store::{LogPage, Revocation},
};

/// The life of a token that the store's log speaks of for long enough.
const LIFE: u8 = 20;

impl World {
    pub(super) fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(*step);
        }
    }

    /// A token of a new session.
    pub(super) fn token(&mut self, subject: &str) -> Token {
        let session = self.store.open(subject);
        self.store.now += 1;
        let token = self.store.mint(&session, LIFE.into());
        self.tokens.push(token.clone());
        token
    }

    pub(super) fn says(&self, token: &Token) -> Verdict {
        self.verdict(token, self.elapsed)
    }
}

use Step::{
    Answer, Ask, Begin, Deliver, Elapse, Grow, Later, LoseAll, MustSeeLast, Remove, Restart, RevokeAll, RevokeSession,
    RollBack, Round, Save, Trim, TrimAll, Unreadable,
};

#[test]
fn what_must_be_seen_is_not_blessed_by_an_answer_of_the_same_moment() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[Round, Ask, Answer(0), RevokeSession(0), MustSeeLast, Deliver(0)]);
    assert_eq!(world.says(&token), Verdict::Unknown);
    world.steps(&[Round]);
    assert_eq!(world.says(&token), Verdict::Refused);
}

#[test]
fn a_time_that_grows_while_the_log_is_read_moves_the_horizon() {
    let mut world = World::new();
    let session = world.store.open("u0");
    world.store.now += 1;
    let long = world.store.mint(&session, 60);
    world.tokens.push(long.clone());
    (0..5).for_each(|_| drop(world.token("u1")));
    world.steps(&[RevokeSession(0); 6]);
    // Three pages. What the first two tell is past its use by the time that is known so far, and goes.
    world.steps(&[Round, Later(30), Round, Grow(60), Round]);
    assert_eq!(world.says(&long), Verdict::Unknown);
}

#[test]
fn an_exception_made_after_a_loss_does_not_save_who_is_known_to_be_revoked() {
    let mut world = World::new();
    let (victim, thief) = (world.token("u0"), world.token("u0"));
    world.steps(&[
        Later(1),
        Save,
        RevokeAll(0, Some(0)),
        Round,
        Later(1),
        RollBack(0),
        RevokeAll(0, Some(1)),
        Round,
        Round,
    ]);
    assert_eq!(world.says(&victim), Verdict::Refused);
    assert_eq!(world.says(&thief), Verdict::Refused);
}

#[test]
fn a_promoted_replica_with_the_same_numbers_is_a_break() {
    let mut world = World::new();
    let (lost, kept) = (world.token("u0"), world.token("u1"));
    world.steps(&[Save, RevokeSession(0), Round, RollBack(0)]);
    assert_eq!(world.says(&lost), Verdict::Refused);
    // The other history has the same number of entries, under ids that are not higher.
    world.steps(&[RevokeSession(1)]);
    assert!(world.step(Round).broke.is_some());
    assert_eq!(world.says(&kept), Verdict::Unknown, "not decided before all is read again");
    world.steps(&[Round]);
    assert_eq!([world.says(&lost), world.says(&kept)], [Verdict::Refused; 2]);
}

#[test]
fn flushall_then_a_new_node_accepts_nothing_of_before() {
    let mut world = World::new();
    let (revoked, other) = (world.token("u0"), world.token("u1"));
    world.steps(&[RevokeSession(0), Later(1), LoseAll, Restart, Round, Round]);
    assert_eq!([world.says(&revoked), world.says(&other)], [Verdict::Unknown; 2]);
    let young = world.token("u1");
    assert_eq!(world.says(&young), Verdict::Accepted);
}

#[test]
fn flushall_under_a_node_ends_its_lease_and_not_what_it_knows() {
    let mut world = World::new();
    let (revoked, other) = (world.token("u0"), world.token("u1"));
    world.steps(&[RevokeSession(0), Round]);
    assert_eq!(world.says(&other), Verdict::Accepted);
    world.steps(&[LoseAll]);
    assert_eq!(world.step(Round).broke, Some(Break::Incarnation));
    assert_eq!([world.says(&revoked), world.says(&other)], [Verdict::Refused, Verdict::Unknown]);
    world.steps(&[Round]);
    assert_eq!([world.says(&revoked), world.says(&other)], [Verdict::Refused, Verdict::Unknown]);
}

#[test]
fn a_log_trimmed_under_the_reader_moves_the_horizon() {
    let mut world = World::new();
    let tokens = [0; 6].map(|_| world.token("u0"));
    for _ in 0..6 {
        world.steps(&[Later(1), RevokeSession(0)]);
    }
    // The first of three pages has been read when the entries 1, 2, 3 and 5 are taken away.
    world.steps(&[Round, Trim(3), Remove(1), Round]);
    let (read, taken) = (Verdict::Refused, Verdict::Unknown);
    assert_eq!(tokens.map(|token| world.says(&token)), [read, read, taken, read, taken, read]);
    let young = world.token("u0");
    assert_eq!(world.says(&young), Verdict::Accepted);
}

#[test]
fn a_log_that_was_trimmed_to_the_last_before_a_node_came_says_since_when_it_speaks() {
    let mut world = World::new();
    let (revoked, old) = (world.token("u0"), world.token("u1"));
    world.steps(&[RevokeSession(0), TrimAll, Later(1)]);
    let young = world.token("u1");
    world.steps(&[Round]);
    assert_eq!(
        [revoked, old, young].map(|token| world.says(&token)),
        [Verdict::Unknown, Verdict::Unknown, Verdict::Accepted]
    );
}

#[test]
fn an_entry_that_was_taken_from_the_middle_is_a_hole_though_the_numbers_after_it_fit() {
    let mut world = World::new();
    let (first, second, third) = (world.token("u0"), world.token("u0"), world.token("u0"));
    world.steps(&[
        Later(1),
        RevokeSession(0),
        Later(1),
        RevokeSession(0),
        Later(1),
        RevokeSession(0),
        Remove(1),
        Round,
    ]);
    assert_eq!(
        [first, second, third].map(|token| world.says(&token)),
        [Verdict::Refused, Verdict::Unknown, Verdict::Refused]
    );
}

#[test]
fn a_rollout_with_mixed_lifetimes_decides_no_token_that_lives_longer_than_is_spoken_of() {
    let mut world = World::new();
    let session = world.store.open("u0");
    world.store.now += 1;
    let long = world.store.mint(&session, 60);
    world.tokens.push(long.clone());
    world.steps(&[Round]);
    assert_eq!(world.says(&long), Verdict::Unknown, "it lives longer than entries are kept");
    // It is revoked under the short time. That is forgotten before a node comes whose tokens live so long.
    world.steps(&[RevokeSession(0), Round, Later(30), Round]);
    assert_eq!(world.says(&long), Verdict::Unknown);
    world.steps(&[Grow(60), Round]);
    assert_eq!(world.says(&long), Verdict::Unknown);
    let session = world.store.open("u1");
    world.store.now += 1;
    let young = world.store.mint(&session, 60);
    assert_eq!(world.says(&young), Verdict::Accepted);
}

#[test]
fn an_entry_of_an_earlier_life_still_refuses() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[Save, RevokeSession(0), Round, RollBack(0), Round, Round, LoseAll, Round, Round, Unreadable, Round]);
    assert_eq!(world.says(&token), Verdict::Refused);
}

#[test]
fn what_an_answer_proves_it_proves_for_the_moment_before_the_question() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[Ask, Answer(0), RevokeSession(0), Elapse(40), Deliver(0)]);
    assert_eq!(world.says(&token), Verdict::Accepted, "{STALENESS} ms have not passed");
    world.steps(&[Elapse(10)]);
    assert_eq!(world.says(&token), Verdict::Unknown);
}

#[test]
fn an_answer_that_comes_late_or_twice_says_nothing() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[Ask, Answer(0), Ask, Deliver(1)]);
    assert_eq!(world.says(&token), Verdict::Unknown, "a later question was asked");
    world.steps(&[Answer(0), Deliver(0), Elapse(20), Ask, Answer(0), Deliver(1), Deliver(0)]);
    let lease = world.lease_end();
    world.steps(&[Deliver(0), Deliver(1), Deliver(2)]);
    assert_eq!(world.lease_end(), lease);
}

#[test]
fn a_revocation_between_the_halves_of_an_answer_is_counted() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[Round, Ask, Begin(0), RevokeSession(0), Answer(0)]);
    assert!(world.step(Deliver(0)).broke.is_none());
    assert_eq!(world.says(&token), Verdict::Refused);
}

#[test]
fn a_store_that_is_lost_between_the_halves_of_an_answer_is_a_break() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[Round, RevokeSession(0), Ask, Begin(0), LoseAll, Answer(0)]);
    assert!(world.step(Deliver(0)).broke.is_some());
    assert_eq!(world.says(&token), Verdict::Unknown);
}

#[test]
fn the_place_of_a_revocation_is_waited_for() {
    let mut world = World::new();
    let (revoked, other) = (world.token("u0"), world.token("u1"));
    world.steps(&[Round, RevokeSession(0), MustSeeLast]);
    assert_eq!([world.says(&revoked), world.says(&other)], [Verdict::Unknown; 2]);
    world.steps(&[Round, MustSeeLast]);
    assert_eq!([world.says(&revoked), world.says(&other)], [Verdict::Refused, Verdict::Accepted]);
}

#[test]
fn nothing_is_decided_before_every_node_may_know_for_how_long_it_was() {
    let mut world = World::new();
    let token = world.token("u0");
    world.store.data.max_staleness = STALENESS - 1;
    world.steps(&[Round]);
    assert_eq!(world.says(&token), Verdict::Unknown);
}

#[test]
fn a_log_in_which_the_same_entries_come_again_is_not_read_without_end() {
    let mut world = World::new();
    (0..4).for_each(|_| drop(world.token("u0")));
    world.steps(&[RevokeSession(0), RevokeSession(0), RevokeSession(0), RevokeSession(0)]);
    // A store that does not know its own cursors.
    let (page, _) = world.store.page(world.store.meta(), None);
    let at_once = (0..20).filter(|_| {
        let ask = world.bucket.ask(ms(world.elapsed));
        world.bucket.page(&ask, page.clone()).more
    });
    assert_eq!(at_once.count(), 10, "every other time it is waited");
}

#[test]
fn an_entry_that_is_too_long_to_be_kept_leaves_the_bucket_undecided() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[Round]);
    assert_eq!(world.says(&token), Verdict::Accepted);
    for length in [40_000, 70_000] {
        world.store.revoke(0, Revocation::Session { subject: "u1".into(), sid: "s".repeat(length) });
        let ask = world.bucket.ask(ms(world.elapsed));
        let (page, _) = world.store.page(world.store.meta(), ask.since());
        assert_eq!(world.bucket.page(&ask, page).broke, Some(Break::Chain));
        assert_eq!(world.says(&token), Verdict::Unknown);
    }
}

#[test]
fn an_entry_written_under_a_shorter_time_counts_for_the_longer_one() {
    let mut world = World::new();
    let session = world.store.open("u0");
    world.store.now += 1;
    let long = world.store.mint(&session, 60);
    world.tokens.push(long.clone());
    world.steps(&[RevokeSession(0), Grow(60), Round, Later(30), Round]);
    assert_eq!(world.says(&long), Verdict::Refused);
}

#[test]
fn a_log_read_in_part_tells_nothing_to_a_request_that_still_holds_the_lease_of_before() {
    let mut world = World::new();
    world.steps(&[LoseAll, Later(5), LoseAll, Round]);
    let before = world.bucket.horizon();
    (0..4).for_each(|_| drop(world.token("u0")));
    world.steps(&[RevokeSession(0), RevokeSession(0), RevokeSession(0), RevokeSession(0), TrimAll]);
    (0..4).for_each(|_| drop(world.token("u0")));
    world.steps(&[RevokeSession(0), RevokeSession(0), RevokeSession(0), Round]);
    assert!(world.step(Round).more);
    assert_eq!(world.bucket.horizon(), before);
    world.steps(&[Round]);
    assert!(world.bucket.horizon() > before);
}

#[test]
fn a_promoted_replica_that_has_written_more_is_a_break_though_its_numbers_go_on() {
    let mut world = World::new();
    let (lost, kept, later) = (world.token("u0"), world.token("u1"), world.token("u1"));
    world.steps(&[Save, RevokeSession(0), Round, RollBack(0), RevokeSession(1), RevokeSession(1)]);
    assert!(world.step(Round).broke.is_some());
    world.steps(&[Round]);
    assert_eq!([lost, kept, later].map(|token| world.says(&token)), [Verdict::Refused; 3]);
}

#[test]
fn the_place_of_a_revocation_in_an_earlier_life_is_not_reached_by_the_numbers_of_this_one() {
    let mut world = World::new();
    drop((world.token("u0"), world.token("u0")));
    world.steps(&[RevokeSession(0)]);
    let position = world.store.position();
    world.steps(&[LoseAll]);
    drop(world.token("u0"));
    world.steps(&[RevokeSession(0), Round]);
    let young = world.token("u1");
    assert_eq!(world.says(&young), Verdict::Accepted);
    world.bucket.must_see_position(&position);
    assert_eq!(world.says(&young), Verdict::Unknown);
}

/// A bucket with room for two segments that knows the end of a thousand sessions of `u`, `0` first, and may decide; and what it says of a token of a session.
fn a_full_bucket() -> (Bucket, impl Fn(&Bucket, &str, &AtomicU64) -> Verdict) {
    let names = Names::default();
    let bucket = Bucket::new(names.clone(), ms(STALENESS), 1 << 16);
    let session = |number: u64| Revocation::Session { subject: "u".to_owned(), sid: number.to_string() };
    let learn = |known: &Leased<Known>| {
        known.change(|known| {
            known.bounds.keep = Duration::from_secs(3600);
            (0..1000).try_for_each(|number| known.insert(&session(number), at(1000 + number), at(1_000_000), 0))
        })
    };
    bucket.known.update(false, learn, Some(u64::MAX)).unwrap();
    let says = move |bucket: &Bucket, session: &str, note: &AtomicU64| {
        let facts = Facts { alive_at: at(999), life: Duration::from_secs(60) };
        let name = |kind, id| names.of(kind, "u", id);
        let (subject, session, token) = (name(Kind::Subject, ""), name(Kind::Session, session), name(Kind::Token, "t"));
        bucket.session_verdict(facts, SessionNames { subject, session, token }, 0, note, || 0)
    };
    (bucket, says)
}

/// The answer of a store with an empty log whose clock shows `now`.
fn nothing_new(now: u64) -> LogPage {
    LogPage {
        now: at(now),
        incarnation: "i".to_owned(),
        born: at(0),
        sequence: 0,
        head: "i".to_owned(),
        at: at(0),
        keep: Duration::from_secs(3600),
        max_staleness: ms(STALENESS),
        entries: Vec::new(),
        next: None,
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[test]
fn a_server_clock_that_jumps_ahead_and_back_revives_nobody() {
    let (bucket, says) = a_full_bucket();
    let says = |bucket| says(bucket, "0", &AtomicU64::new(0));
    assert_eq!(says(&bucket), Verdict::Refused);
    for now in [1_000_001, 2000] {
        bucket.page(&bucket.ask(ms(1)), nothing_new(now));
    }
    assert!(bucket.lease_end() > 0);
    assert_eq!(says(&bucket), Verdict::Unknown, "forgotten too early, and so asked about");
}

#[test]
fn who_was_found_good_is_looked_at_again_once_something_was_forgotten() {
    let (bucket, says) = a_full_bucket();
    let note = AtomicU64::new(0);
    bucket.page(&bucket.ask(ms(1)), nothing_new(2000));
    assert_eq!(says(&bucket, "another", &note), Verdict::Accepted);
    bucket.page(&bucket.ask(ms(2)), nothing_new(2001));
    assert!(bucket.still_accepts(&note, || 0), "nothing has happened");
    bucket.page(&bucket.ask(ms(3)), nothing_new(1_000_001));
    assert!(!bucket.still_accepts(&note, || 0));
    assert_eq!(says(&bucket, "another", &note), Verdict::Unknown);
}

#[test]
fn a_refusal_that_is_written_down_moves_the_horizon_past_what_has_to_go_for_it() {
    let (bucket, says) = a_full_bucket();
    let says = |bucket| says(bucket, "0", &AtomicU64::new(0));
    for number in 0..10_000 {
        let token = Revocation::Token { subject: "u".to_owned(), jti: number.to_string() };
        bucket.learn_refusal(&token, at(1_000_000));
    }
    assert_eq!(says(&bucket), Verdict::Unknown, "forgotten, and so asked about");
}

#[test]
fn what_the_store_has_told_is_not_missing_there() {
    let mut world = World::new();
    world.steps(&[Round]);
    let told = Revocation::Token { subject: "nobody".to_owned(), jti: "n".to_owned() };
    world.bucket.learn_refusal(&told, Timestamp::END_OF_TIME);
    world.steps(&[Unreadable, Round, Round]);
    assert_eq!(world.bucket.missing(at(0), 0, 9).1, []);
}

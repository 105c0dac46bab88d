//! Tests of named sequences: those of the protocol that concern a reader, and those that the random
//! search has found.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use super::{
    model::{PAGE, Token, ms},
    node::{STALENESS, Step, World, config, still_accepts},
};
use crate::{
    clock::Timestamp,
    replica::{
        bucket::{Bucket, BucketData, SessionNames},
        deny_set::{EntryKind, NameHasher},
        lease::Leased,
        log_reader::Break,
        verdict::{Alive, TokenTimes, Verdict},
    },
    store::{LogPage, LogQuery, Revocation},
};

/// A token lifetime that is not longer than the time for which the store's log keeps entries.
const LIFETIME: u8 = 20;

impl World {
    pub(super) fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(*step);
        }
    }

    /// Issues a token of a new session.
    pub(super) fn token(&mut self, subject: &str) -> Token {
        let session = self.store.open(subject);
        self.store.now += 1;
        let token = self.store.mint(&session, LIFETIME.into());
        self.tokens.push(token.clone());
        token
    }

    pub(super) fn says(&self, token: &Token) -> Verdict {
        self.verdict(token, self.elapsed)
    }
}

use Step::{
    Answer, Ask, AskBack, Begin, Check, Deliver, DeliverBack, Elapse, FailOver, Grow, Later, LoseAll, ReadAll, Remove,
    RequireLast, Restart, RevokeAll, RevokeSession, RollBack, Round, Save, Trim, TrimAll,
};

#[test]
fn what_must_be_seen_is_not_blessed_by_an_answer_of_the_same_moment() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[ReadAll, Ask, Answer(0), RevokeSession(0), RequireLast, Deliver(0)]);
    assert_eq!(world.says(&token), Verdict::Unknown);
    world.steps(&[ReadAll]);
    assert_eq!(world.says(&token), Verdict::Refused);
}

#[test]
fn a_time_that_grows_has_all_read_once_more() {
    let mut world = World::new();
    let session = world.store.open("u0");
    world.store.now += 1;
    let long = world.store.mint(&session, 60);
    world.tokens.push(long.clone());
    (0..5).for_each(|_| drop(world.token("u1")));
    world.steps(&[RevokeSession(0); 6]);
    // The log has three pages. The entries end under the first `keep`, so the node removes them
    // before it learns of the longer one.
    world.steps(&[ReadAll, Later(30), ReadAll, Grow(60), ReadAll]);
    assert_eq!(world.says(&long), Verdict::Refused);
}

#[test]
fn sessions_that_the_store_may_have_lost_are_asked_about_after_the_old_history_is_joined() {
    let mut world = World::new();
    let (old, _) = (world.token("u0"), world.token("u1"));
    world.steps(&[RevokeSession(1), ReadAll, Later(5), Save, Later(5)]);
    let lost = world.token("u0");
    world.steps(&[Later(5)]);
    assert_eq!([&old, &lost].map(|token| world.says(token)), [Verdict::Accepted; 2]);
    // The store loses all data for a moment. The restored snapshot lacks the session of `lost`.
    world.steps(&[LoseAll, Round, RollBack(0), Round, Round, Later(1)]);
    assert_eq!([&old, &lost].map(|token| world.says(token)), [Verdict::Accepted, Verdict::BeforeHorizon]);
    let young = world.token("u0");
    assert_eq!(world.says(&young), Verdict::Accepted);
}

#[test]
fn a_second_failover_long_after_the_first_does_not_have_the_tokens_in_between_asked_about() {
    let mut world = World::new();
    drop(world.token("u1"));
    world.steps(&[RevokeSession(0), ReadAll, Later(5), FailOver, ReadAll, ReadAll, Later(100)]);
    let between = world.token("u0");
    drop(world.token("u1"));
    world.steps(&[Later(1), RevokeSession(1), Later(1), ReadAll]);
    assert_eq!(world.says(&between), Verdict::Accepted);
    world.steps(&[FailOver, ReadAll, ReadAll]);
    assert_eq!(world.says(&between), Verdict::Accepted);
}

/// Reads the log for the bucket of a world in large pages, forwards and backwards.
fn read_quickly(world: &World, max_failover: Duration) {
    let now = Timestamp::from_secs(world.store.now);
    let page = |query: &LogQuery| LogPage { max_failover, ..world.store.page(world.store.meta(), query).0 };
    for _ in 0..2 {
        let read = world.bucket.next_read(ms(world.elapsed), 2000);
        world.bucket.apply(&read, page(&read.query), now);
    }
    while let Some(read) = world.bucket.next_back_read(2000) {
        world.bucket.apply_back(&read, page(&read.query));
    }
}

#[test]
fn sessions_that_a_store_may_have_lost_are_asked_about_though_its_log_is_read_once_more() {
    let mut world = World::new();
    let revoke = |world: &mut World, count: u64| {
        for _ in 0..count {
            let sid = world.store.open("u1");
            world.store.revoke(0, Revocation::Session { subject: "u1".into(), sid: sid.into() });
        }
    };
    revoke(&mut world, 5);
    read_quickly(&world, Duration::ZERO);
    world.store.save();
    world.store.now += 1;
    // These are more entries than a unit of the history remembers.
    revoke(&mut world, 1100);
    let lost = world.token("u0");
    read_quickly(&world, Duration::ZERO);
    assert_eq!(world.says(&lost), Verdict::Accepted);
    world.store.roll_back(0);
    world.store.now += 1;
    read_quickly(&world, Duration::ZERO);
    assert_eq!(world.says(&lost), Verdict::BeforeHorizon);
    world.store.data.keep = 60;
    revoke(&mut world, 1);
    read_quickly(&world, Duration::ZERO);
    assert_eq!(world.says(&lost), Verdict::BeforeHorizon);
}

#[test]
fn after_a_failover_each_token_is_asked_about_once() {
    let mut world = World::new();
    drop(world.token("u1"));
    world.steps(&[RevokeSession(0)]);
    let token = world.token("u0");
    world.steps(&[ReadAll, FailOver]);
    read_quickly(&world, Duration::from_secs(5));
    assert_eq!(world.says(&token), Verdict::BeforeHorizon);
    world.store.now += 1;
    world.take(Check(1));
    assert_eq!(world.says(&token), Verdict::Accepted, "the new server knows it");
    let late = world.token("u0");
    assert_eq!(world.says(&late), Verdict::BeforeHorizon, "it may be of the old server");
}

#[test]
fn a_server_that_takes_over_while_the_head_is_jumped_to_may_lack_sessions() {
    let mut world = World::new();
    let old = world.token("u0");
    (0..13).for_each(|_| drop(world.token("u1")));
    world.steps(&[ReadAll]);
    world.steps(&[RevokeSession(1); 12]);
    world.steps(&[Later(1), Save, Later(1)]);
    let lost = world.token("u0");
    world.steps(&[Round; 4]);
    assert_eq!(world.step(Round).broke, Some(Break::Behind));
    world.steps(&[RollBack(0), ReadAll, ReadAll, Later(1)]);
    assert_eq!([&old, &lost].map(|token| world.says(token)), [Verdict::Accepted, Verdict::BeforeHorizon]);
}

#[test]
fn a_confirmation_counts_only_from_the_server_whose_log_is_read_and_in_its_era() {
    let mut world = World::new();
    let (token, _, other) = (world.token("u0"), world.token("u1"), world.token("u0"));
    world.steps(&[Later(1), RevokeSession(1), TrimAll, Later(1), Check(0), ReadAll]);
    assert_eq!(world.says(&token), Verdict::BeforeHorizon, "the check came before the log was followed");
    world.steps(&[Check(0)]);
    assert_eq!(world.says(&token), Verdict::Accepted);
    world.steps(&[FailOver, Check(2)]);
    assert_eq!(world.says(&other), Verdict::BeforeHorizon, "another server than that of the log has answered");
    world.steps(&[ReadAll, ReadAll]);
    assert_eq!([&token, &other].map(|token| world.says(token)), [Verdict::BeforeHorizon; 2], "another era");
    world.steps(&[Later(1), Check(0)]);
    assert_eq!(world.says(&token), Verdict::Accepted);
}

#[test]
fn an_exception_made_after_a_loss_does_not_save_who_is_known_to_be_revoked() {
    let mut world = World::new();
    let (victim, thief) = (world.token("u0"), world.token("u0"));
    world.steps(&[
        Later(1),
        Save,
        RevokeAll(0, Some(0)),
        ReadAll,
        Later(1),
        RollBack(0),
        RevokeAll(0, Some(1)),
        ReadAll,
        ReadAll,
    ]);
    assert_eq!(world.says(&victim), Verdict::Refused);
    assert_eq!(world.says(&thief), Verdict::Refused);
}

#[test]
fn a_promoted_replica_with_the_same_numbers_is_a_break() {
    let mut world = World::new();
    let (lost, kept) = (world.token("u0"), world.token("u1"));
    world.steps(&[Save, RevokeSession(0), ReadAll, RollBack(0)]);
    assert_eq!(world.says(&lost), Verdict::Refused);
    // The other history has the same count of entries, with stream ids that are not higher.
    world.steps(&[RevokeSession(1)]);
    assert!(world.step(ReadAll).broke.is_some());
    assert_eq!(world.says(&kept), Verdict::Unknown, "not decided before all is read again");
    world.steps(&[ReadAll]);
    assert_eq!([world.says(&lost), world.says(&kept)], [Verdict::Refused; 2]);
}

#[test]
fn flushall_then_a_new_node_accepts_nothing_of_before() {
    let mut world = World::new();
    let (revoked, other) = (world.token("u0"), world.token("u1"));
    world.steps(&[RevokeSession(0), Later(1), LoseAll, Restart, ReadAll, ReadAll]);
    assert_eq!([world.says(&revoked), world.says(&other)], [Verdict::BeforeHorizon; 2]);
    let young = world.token("u1");
    assert_eq!(world.says(&young), Verdict::Accepted);
}

#[test]
fn flushall_under_a_node_ends_its_lease_and_not_what_it_knows() {
    let mut world = World::new();
    let (revoked, other) = (world.token("u0"), world.token("u1"));
    world.steps(&[RevokeSession(0), ReadAll]);
    assert_eq!(world.says(&other), Verdict::Accepted);
    world.steps(&[LoseAll]);
    assert_eq!(world.step(ReadAll).broke, Some(Break::Incarnation));
    assert_eq!([world.says(&revoked), world.says(&other)], [Verdict::Refused, Verdict::Unknown]);
    world.steps(&[ReadAll]);
    assert_eq!([world.says(&revoked), world.says(&other)], [Verdict::Refused, Verdict::BeforeHorizon]);
}

#[test]
fn a_log_trimmed_while_it_is_read_backwards_leaves_the_horizon_at_the_hole() {
    let mut world = World::new();
    let tokens = [0; 6].map(|_| world.token("u0"));
    for _ in 0..6 {
        world.steps(&[Later(1), RevokeSession(0)]);
    }
    // The node reads the newest entry. Then the store removes the entries 1, 2, 3 and 5.
    world.steps(&[Round, Trim(3), Remove(1), AskBack, DeliverBack]);
    let (read, taken) = (Verdict::Refused, Verdict::BeforeHorizon);
    assert_eq!(tokens.map(|token| world.says(&token)), [taken, taken, taken, taken, taken, read]);
    assert_eq!(world.bucket.way_back(), None);
    let young = world.token("u0");
    assert_eq!(world.says(&young), Verdict::Accepted);
}

#[test]
fn a_log_that_was_trimmed_to_the_last_before_a_node_came_says_since_when_it_speaks() {
    let mut world = World::new();
    let (revoked, old) = (world.token("u0"), world.token("u1"));
    world.steps(&[RevokeSession(0), TrimAll, Later(1)]);
    let young = world.token("u1");
    world.steps(&[ReadAll]);
    assert_eq!(
        [revoked, old, young].map(|token| world.says(&token)),
        [Verdict::BeforeHorizon, Verdict::BeforeHorizon, Verdict::Accepted]
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
        ReadAll,
    ]);
    assert_eq!(
        [first, second, third].map(|token| world.says(&token)),
        [Verdict::BeforeHorizon, Verdict::BeforeHorizon, Verdict::Refused]
    );
}

#[test]
fn both_entries_after_the_same_one_are_applied_whatever_pages_they_are_in() {
    let three = |world: &mut World| ["u0", "u1", "u0"].map(|subject| world.token(subject));
    // Revokes a session. The log then has the entry, but `m` does not count it.
    let revoke_uncounted = |world: &mut World| {
        world.steps(&[RevokeSession(0)]);
        world.store.uncount();
    };
    let assert_decided = |world: &World, [first, second, other]: &[Token; 3]| {
        assert_eq!([first, second].map(|token| world.says(token)), [Verdict::Refused; 2]);
        assert_eq!(world.says(other), Verdict::Accepted);
    };

    // Both are in one page.
    let mut world = World::new();
    let tokens = three(&mut world);
    world.steps(&[ReadAll]);
    revoke_uncounted(&mut world);
    world.steps(&[RevokeSession(0)]);
    assert_eq!(world.step(ReadAll).broke, None);
    assert_decided(&world, &tokens);

    // The page starts with the second. The next entry follows the second.
    let mut world = World::new();
    let tokens = three(&mut world);
    world.steps(&[ReadAll]);
    revoke_uncounted(&mut world);
    assert_eq!(world.step(ReadAll).broke, None);
    assert_eq!(world.says(&tokens[0]), Verdict::Refused);
    world.steps(&[RevokeSession(0)]);
    assert_eq!(world.step(ReadAll).broke, None);
    assert_decided(&world, &tokens);
    let next = world.token("u1");
    world.steps(&[RevokeSession(1)]);
    assert_eq!(world.step(ReadAll).broke, None);
    assert_eq!(world.says(&next), Verdict::Refused);
    assert_decided(&world, &tokens);

    // A new node reads them backwards.
    let mut world = World::new();
    world.token("u0");
    world.steps(&[RevokeSession(0)]);
    let tokens = three(&mut world);
    world.steps(&[Later(1)]);
    revoke_uncounted(&mut world);
    world.steps(&[RevokeSession(0), ReadAll]);
    assert_decided(&world, &tokens);
}

#[test]
fn a_rollout_with_mixed_lifetimes_decides_no_token_that_lives_longer_than_is_spoken_of() {
    let mut world = World::new();
    let session = world.store.open("u0");
    world.store.now += 1;
    let long = world.store.mint(&session, 60);
    world.tokens.push(long.clone());
    world.steps(&[ReadAll]);
    assert_eq!(world.says(&long), Verdict::BeforeHorizon, "it lives longer than entries are kept");
    // The session is revoked under the short `keep`. The node removes the entry before another node
    // with longer lifetimes raises `keep`.
    world.steps(&[RevokeSession(0), ReadAll, Later(30), ReadAll]);
    assert_eq!(world.says(&long), Verdict::BeforeHorizon);
    world.steps(&[Grow(60), ReadAll]);
    assert_eq!(world.says(&long), Verdict::Refused);
    let session = world.store.open("u1");
    world.store.now += 1;
    let young = world.store.mint(&session, 60);
    assert_eq!(world.says(&young), Verdict::Accepted);
}

#[test]
fn an_entry_of_an_earlier_life_still_refuses() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[
        Save,
        RevokeSession(0),
        ReadAll,
        RollBack(0),
        ReadAll,
        ReadAll,
        LoseAll,
        ReadAll,
        ReadAll,
        LoseAll,
        ReadAll,
        ReadAll,
    ]);
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
    assert_eq!(world.says(&token), Verdict::Unknown, "a later read was started");
    world.steps(&[Answer(0), Deliver(0), Elapse(20), Ask, Answer(0), Deliver(1), Deliver(0)]);
    let lease = world.lease_end();
    world.steps(&[Deliver(0), Deliver(1), Deliver(2)]);
    assert_eq!(world.lease_end(), lease);
}

#[test]
fn a_revocation_between_the_halves_of_an_answer_is_counted() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[ReadAll, Ask, Begin(0), RevokeSession(0), Answer(0)]);
    assert!(world.step(Deliver(0)).broke.is_none());
    assert_eq!(world.says(&token), Verdict::Refused);
}

#[test]
fn a_store_that_is_lost_between_the_halves_of_an_answer_is_a_break() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[ReadAll, RevokeSession(0), Ask, Begin(0), LoseAll, Answer(0)]);
    assert!(world.step(Deliver(0)).broke.is_some());
    assert_eq!(world.says(&token), Verdict::Unknown);
}

#[test]
fn the_place_of_a_revocation_is_waited_for() {
    let mut world = World::new();
    let (revoked, other) = (world.token("u0"), world.token("u1"));
    world.steps(&[ReadAll, RevokeSession(0), RequireLast]);
    assert_eq!([world.says(&revoked), world.says(&other)], [Verdict::Unknown; 2]);
    world.steps(&[ReadAll, RequireLast]);
    assert_eq!([world.says(&revoked), world.says(&other)], [Verdict::Refused, Verdict::Accepted]);
}

#[test]
fn nothing_is_decided_before_every_node_may_know_for_how_long_it_was() {
    let mut world = World::new();
    let token = world.token("u0");
    world.store.data.max_staleness = STALENESS - 1;
    world.steps(&[ReadAll]);
    assert_eq!(world.says(&token), Verdict::Unknown);
}

#[test]
fn a_log_in_which_the_same_entries_come_again_is_not_read_without_end() {
    let mut world = World::new();
    (0..4).for_each(|_| drop(world.token("u0")));
    world.steps(&[RevokeSession(0), RevokeSession(0), RevokeSession(0), RevokeSession(0)]);
    // This store ignores cursors, and always returns the same page.
    let (page, _) = world.store.page(world.store.meta(), &LogQuery::from_start());
    let at_once = (0..20).filter(|_| {
        let read = world.bucket.next_read(ms(world.elapsed), PAGE);
        world.bucket.apply(&read, page.clone(), at(0)).more
    });
    assert_eq!(at_once.count(), 10, "every other time it is waited");
}

#[test]
fn an_entry_that_no_valid_token_can_match_stops_nobody() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[ReadAll]);
    assert_eq!(world.says(&token), Verdict::Accepted);
    for length in [40_000, 70_000] {
        world.store.revoke(0, Revocation::Session { subject: "u1".into(), sid: "s".repeat(length).into() });
        let read = world.bucket.next_read(ms(world.elapsed), PAGE);
        let (page, _) = world.store.page(world.store.meta(), &read.query);
        let outcome = world.bucket.apply(&read, page, at(0));
        assert_eq!((outcome.broke, outcome.has_skipped), (None, true));
        assert_eq!(world.says(&token), Verdict::Accepted);
    }
}

#[test]
fn an_entry_written_under_a_shorter_time_counts_for_the_longer_one() {
    let mut world = World::new();
    let session = world.store.open("u0");
    world.store.now += 1;
    let long = world.store.mint(&session, 60);
    world.tokens.push(long.clone());
    world.steps(&[RevokeSession(0), Grow(60), ReadAll, Later(30), ReadAll]);
    assert_eq!(world.says(&long), Verdict::Refused);
}

#[test]
fn after_a_loss_only_tokens_of_after_the_read_are_decided_until_the_old_history_is_joined() {
    let mut world = World::new();
    let before = world.token("u0");
    world.steps(&[RevokeSession(0), ReadAll, Later(1), Save]);
    let lost = world.token("u0");
    world.steps(&[Later(1)]);
    for _ in 0..4 {
        world.token("u1");
    }
    world.steps(&[RollBack(0)]);
    for _ in 0..4 {
        world.token("u2");
    }
    world.steps(&[RevokeSession(1), RevokeSession(1), RevokeSession(1), Later(1), Round]);
    let young = world.token("u3");
    world.steps(&[Round]);
    assert_eq!(
        [before, lost, young].map(|token| world.says(&token)),
        [Verdict::Refused, Verdict::BeforeHorizon, Verdict::BeforeHorizon]
    );
}

#[test]
fn a_promoted_replica_that_has_written_more_is_a_break_though_its_numbers_go_on() {
    let mut world = World::new();
    let (lost, kept, later) = (world.token("u0"), world.token("u1"), world.token("u1"));
    world.steps(&[Save, RevokeSession(0), ReadAll, RollBack(0), RevokeSession(1), RevokeSession(1)]);
    assert!(world.step(ReadAll).broke.is_some());
    world.steps(&[ReadAll]);
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
    world.steps(&[RevokeSession(0), ReadAll]);
    let young = world.token("u1");
    assert_eq!(world.says(&young), Verdict::Accepted);
    world.bucket.require_position(&position);
    assert_eq!(world.says(&young), Verdict::Unknown);
}

/// Returns a bucket with a lease and room for two segments, and a function that returns its verdict
/// on a token of a session. The bucket has the revocations of a thousand sessions of `u`, from `0`.
fn a_full_bucket() -> (Bucket, impl Fn(&Bucket, &str, &AtomicU64) -> Verdict) {
    let hasher = NameHasher::default();
    let bucket = Bucket::new(hasher.clone(), config(&Arc::default()), 1 << 16);
    let session = |number: u64| Revocation::Session { subject: "u".into(), sid: number.to_string().into() };
    let learn = |data: &Leased<BucketData>| {
        data.mutate(|data| {
            data.bounds.keep = Duration::from_secs(3600);
            data.bounds.horizon.own = at(0);
            data.bounds.horizon.since = at(0);
            assert!((0..1000).all(|number| data.insert(&session(number), at(1000 + number), at(1_000_000), 0)));
            Ok::<(), ()>(())
        })
    };
    bucket.data.apply_page(false, learn, Some(u64::MAX)).unwrap();
    let says = move |bucket: &Bucket, session: &str, note: &AtomicU64| {
        let times = TokenTimes { issued_at: at(999), alive: Alive::default(), lifetime: Duration::from_secs(60) };
        let name = |kind, id| hasher.name(kind, "u", id);
        let (subject, session, token) =
            (name(EntryKind::Subject, ""), name(EntryKind::Session, session), name(EntryKind::Token, "t"));
        bucket.session_verdict(times, SessionNames { subject, session, token }, 0, note, || 0)
    };
    (bucket, says)
}

/// Returns the page of a store that has an empty log and the time `now`.
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
        server: None,
        connection: 0,
        max_failover: Duration::ZERO,
        skipped: 0,
        more: false,
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
        bucket.apply(&bucket.next_read(ms(1), PAGE), nothing_new(now), at(0));
    }
    assert!(bucket.lease_end() > 0);
    assert_eq!(says(&bucket), Verdict::BeforeHorizon, "forgotten too early, so the store is asked");
}

#[test]
fn who_was_found_good_is_looked_at_again_once_something_was_forgotten() {
    let (bucket, says) = a_full_bucket();
    let note = AtomicU64::new(0);
    bucket.apply(&bucket.next_read(ms(1), PAGE), nothing_new(2000), at(0));
    assert_eq!(says(&bucket, "another", &note), Verdict::Accepted);
    bucket.apply(&bucket.next_read(ms(2), PAGE), nothing_new(2001), at(0));
    assert!(still_accepts(&bucket, &note, || 0), "nothing has happened");
    bucket.apply(&bucket.next_read(ms(3), PAGE), nothing_new(1_000_001), at(0));
    assert!(!still_accepts(&bucket, &note, || 0));
    assert_eq!(says(&bucket, "another", &note), Verdict::BeforeHorizon);
}

#[test]
fn a_refusal_that_is_written_down_moves_the_horizon_past_what_has_to_go_for_it() {
    let (bucket, says) = a_full_bucket();
    let says = |bucket| says(bucket, "0", &AtomicU64::new(0));
    for number in 0..10_000 {
        let token = Revocation::Token { subject: "u".into(), jti: number.to_string().into() };
        bucket.record_refusal(&token, at(1_000_000));
    }
    assert_eq!(says(&bucket), Verdict::BeforeHorizon, "forgotten, so the store is asked");
}

#[test]
fn what_the_store_has_told_is_not_missing_there() {
    let mut world = World::new();
    world.steps(&[ReadAll]);
    let refused = Revocation::Token { subject: "nobody".into(), jti: "n".into() };
    world.bucket.record_refusal(&refused, Timestamp::END_OF_TIME);
    world.steps(&[LoseAll, ReadAll, ReadAll]);
    assert_eq!(world.bucket.missing(at(0), 0, 9).1, []);
}

//! Tests of the promises for every short sequence of steps, from each of several start states.

use super::node::{Step, World};

/// Maximum length of the sequences. `EVERY_DEPTH` overrides it: `scripts/test.sh` sets 4 in one of
/// its runs.
const DEPTH: u32 = 3;

const ALL: [Step; 17] = [
    Step::RevokeSession(0),
    Step::RevokeHere(0),
    Step::Confirm,
    Step::RequireLast,
    Step::Trim(1),
    Step::Remove(1),
    Step::LoseAll,
    Step::RollBack(0),
    Step::Grow(60),
    Step::Later(30),
    Step::Elapse(50),
    Step::Check(0),
    Step::Ask,
    Step::Answer(0),
    Step::Deliver(0),
    Step::Round,
    Step::Back,
];

/// Steps that open three sessions, and revoke the first two. In between they save a snapshot, which
/// lacks the second revocation.
const LOGGED: [Step; 10] = [
    Step::Open(0),
    Step::Open(0),
    Step::Open(1),
    Step::Later(1),
    Step::Mint(0, 20),
    Step::Mint(1, 60),
    Step::Mint(2, 60),
    Step::RevokeSession(0),
    Step::Save,
    Step::RevokeSession(0),
];

fn starts() -> Vec<Vec<Step>> {
    let (round, more) =
        (Step::Round, [Step::RevokeSession(0), Step::Open(1), Step::Mint(0, 60), Step::RevokeSession(0)]);
    let unread = [&LOGGED[..], &more].concat();
    let half_read = [&unread[..], &[round]].concat();
    let read = [&LOGGED[..], &[round, Step::Later(1), Step::Open(0), Step::Mint(0, 60)]].concat();
    let pending = [&LOGGED[..], &[round, Step::Ask, Step::Answer(0), Step::Open(0), Step::Mint(0, 60)]].concat();
    vec![unread, half_read, read, pending]
}

fn keep_the_promises_from(start: usize) {
    let most = std::env::var("EVERY_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(DEPTH);
    let start = starts().swap_remove(start);
    for depth in 1..=most {
        for number in 0..ALL.len().pow(depth) {
            let digit = |index| number / ALL.len().pow(index) % ALL.len();
            let steps: Vec<_> = (0..depth).map(|index| ALL[digit(index)]).collect();
            let outcome = std::panic::catch_unwind(|| try_out(&start, &steps));
            assert!(outcome.is_ok(), "from {start:?} by {steps:?}");
        }
    }
}

// There is one test for each start state, so that the tests run in parallel.

#[test]
fn every_short_sequence_keeps_the_promises_from_an_unread_log() {
    keep_the_promises_from(0);
}

#[test]
fn every_short_sequence_keeps_the_promises_from_a_log_read_in_part() {
    keep_the_promises_from(1);
}

#[test]
fn every_short_sequence_keeps_the_promises_from_a_log_read_to_its_end() {
    keep_the_promises_from(2);
}

#[test]
fn every_short_sequence_keeps_the_promises_from_a_question_under_way() {
    keep_the_promises_from(3);
}

/// Takes all steps, and checks the promises after the last start step and each later one. The start
/// steps get no checks, because each check writes to the notes of the tokens.
fn try_out(start: &[Step], steps: &[Step]) {
    let mut world = World::new();
    for step in start {
        world.take(*step);
    }
    world.check();
    for step in steps {
        world.step(*step);
    }
    world.settles();
}

//! The promises, for every short sequence of events, from each of several states.

use super::node::{Step, World};

/// The length of the sequences. `EVERY_DEPTH` overrides it: `scripts/test.sh` sets 4 in one of its
/// runs.
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

/// Three sessions, of which a snapshot still knows the second and third after they are revoked.
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
    let asked = [&LOGGED[..], &[round, Step::Ask, Step::Answer(0), Step::Open(0), Step::Mint(0, 60)]].concat();
    vec![unread, half_read, read, asked]
}

fn keep_the_promises_from(start: usize) {
    let most = std::env::var("EVERY_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(DEPTH);
    let start = starts().swap_remove(start);
    for depth in 1..=most {
        for number in 0..ALL.len().pow(depth) {
            let digit = |place| number / ALL.len().pow(place) % ALL.len();
            let steps: Vec<_> = (0..depth).map(|place| ALL[digit(place)]).collect();
            let outcome = std::panic::catch_unwind(|| try_out(&start, &steps));
            assert!(outcome.is_ok(), "from {start:?} by {steps:?}");
        }
    }
}

// A test for each start, so that they run side by side.

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

/// Checks from the start on, because each check leaves notes behind.
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

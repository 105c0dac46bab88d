//! The sequences of the protocol that concern a reader, and those that the search has found, each by its name.

use super::{
    model::Token,
    node::{STALENESS, Step, World},
};
use crate::replica::bucket::Verdict;

/// The life of a token that the store's log speaks of for long enough.
const LIFE: u8 = 20;

impl World {
    fn steps(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| drop(self.step(*step)));
    }

    /// A token of a new session.
    fn token(&mut self, subject: &str) -> Token {
        let session = self.store.open(subject);
        self.store.now += 1;
        let token = self.store.mint(&session, LIFE.into());
        self.tokens.push(token.clone());
        token
    }

    fn says(&self, token: &Token) -> Verdict {
        self.verdict(token, self.elapsed)
    }
}

use Step::{
    Answer, Ask, Begin, Deliver, Elapse, Grow, Later, LoseAll, MustSeeLast, Remove, Restart, RevokeAll, RevokeHere,
    RevokeSession, RollBack, Round, Save, Trim, TrimAll, Unreadable,
};

#[test]
fn what_this_node_revokes_is_not_blessed_by_an_answer_of_the_same_moment() {
    let mut world = World::new();
    let token = world.token("u0");
    world.steps(&[Round, Ask, Answer(0), RevokeHere(0), Deliver(0)]);
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

//! Protocol 7.2 for an address that moves, with `min-replicas-to-write`.
//!
//! R1 is the primary that node A reads; R2 is its replica. The link between them can be cut, R2 can
//! be promoted, and R2 takes writes at once: a new replica has attached to it. R1 can be stopped
//! and run again. Node B confirms one revocation on R2. Node A asks R1, and each question carries
//! the write check.
//!
//! One step of time is one second. Ages are counted up to a limit, so the search sees all states.
//! Limits belong to the time that they end. What the model knows of Redis:
//!
//! * It counts its replicas once in each second that it runs, and keeps the count in between.
//! * It compares ages in whole seconds, so a replica counts until its age is `MAX_LAG + 1`.
//! * It dates an acknowledgement by when it reads it. One that waited in the socket of a stopped
//!   primary is new when that primary runs again (seen on 7.0.15).
//!
//! A server that runs again counts its replicas once before it stops again.
//! The bound here is that of the last question that counts. A lease adds `d` to it.

use super::{
    rules::{Rule, Rules},
    search::Model,
};

const MAX_LAG: u8 = 1;
/// What a stop that no gap shows adds: the time between two questions, and that to the answer.
const HIDDEN_STOP: u8 = 2 * GAP;
/// The lag, one second of rounding, one until the next count, and two hidden stops: the first
/// while the last acknowledgement waits, the second while the last count stands.
pub const BOUND: u8 = BOUND_WITHOUT_STOPS + 2 * HIDDEN_STOP;
const BOUND_WITHOUT_STOPS: u8 = MAX_LAG + 2;
const WAIT: u8 = MAX_LAG + 2 + HIDDEN_STOP;
const LONG: u8 = BOUND + 1;
/// The longest time between two questions, and between a question and its answer.
const GAP: u8 = 1;

#[derive(Clone, Debug, Hash)]
pub struct State {
    is_linked: bool,
    is_promoted: bool,
    is_running: bool,
    /// R1 has run for a second since it last counted its replicas.
    must_count: bool,
    /// R1 was stopped since it last counted.
    was_stopped: bool,
    /// The replicas that R1 has counted suffice.
    is_good: bool,
    ack_age: u8,
    /// R2's acknowledgement waits in the socket of R1, which is stopped.
    has_queued_ack: bool,
    /// Time since B confirmed the revocation.
    confirmed: Option<u8>,
    question: Option<Question>,
    /// Time since the question of the last answer, and since that answer.
    asked_before: u8,
    answered_before: u8,
    /// Time for which no answer counts.
    wait: u8,
    has_believed: bool,
    is_broken: bool,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Question {
    age: u8,
    after_gap: bool,
    while_waiting: bool,
    /// Time from the confirmation to this question.
    since_confirmed: Option<u8>,
    /// What R1 said to the write check.
    answer: Option<bool>,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Tick,
    R1CountsItsReplicas,
    R2Acknowledges,
    R1ReadsTheQueuedAck,
    R1Stops,
    R1RunsAgain,
    LinkIsCut,
    R2IsPromoted,
    BConfirmsOnR2,
    AAsksR1,
    R1AnswersA,
    AHears,
    AConnectsAnew,
    AWaitsForTheReplicas,
}

/// The faults that may happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Faults {
    None,
    Cut,
    CutAndStop,
}

pub struct Replicas {
    pub rules: Rules,
    pub faults: Faults,
    /// A may end its wait by a write of its own that all replicas acknowledge (`WAIT`).
    pub can_prove: bool,
}

impl Replicas {
    /// Returns the wait. Both its ends are in it, so it is one step longer than the rule says.
    fn wait(&self) -> u8 {
        if !self.rules.has(Rule::Silence) {
            0
        } else if self.rules.has(Rule::WaitCoversLag) {
            WAIT + 1
        } else {
            2 + 1
        }
    }

    fn bound(&self) -> u8 {
        if self.faults == Faults::CutAndStop { BOUND } else { BOUND_WITHOUT_STOPS }
    }

    fn hears(&self, state: &mut State, question: Question) {
        let is_refused = self.rules.has(Rule::WriteCheck) && question.answer == Some(false);
        let is_late = question.age > GAP;
        if is_refused {
            Self::connects(state);
            return;
        }
        if is_late || question.after_gap {
            state.wait = self.wait();
        }
        let counts = !is_late && !question.after_gap && !question.while_waiting;
        if counts || !self.rules.has(Rule::Silence) {
            state.has_believed = true;
            state.is_broken = question.since_confirmed.is_some_and(|time| time > self.bound());
        }
        state.asked_before = question.age;
        state.answered_before = 0;
    }

    /// Drops what is in flight. The first answer on a new connection comes after a gap.
    fn connects(state: &mut State) {
        state.question = None;
        state.asked_before = GAP + 1;
        state.answered_before = GAP + 1;
    }

    fn tick(state: &mut State) {
        let older = |age: u8| (age + 1).min(LONG);
        state.must_count |= state.is_running;
        state.ack_age = (state.ack_age + 1).min(MAX_LAG + 2);
        state.confirmed = state.confirmed.map(older);
        state.asked_before = (state.asked_before + 1).min(GAP + 1);
        state.answered_before = (state.answered_before + 1).min(GAP + 1);
        state.wait = state.wait.saturating_sub(1);
        if let Some(question) = &mut state.question {
            question.age = (question.age + 1).min(GAP + 1);
        }
    }
}

impl Model for Replicas {
    type State = State;
    type Step = Step;

    fn initial(&self) -> State {
        State {
            is_linked: true,
            is_promoted: false,
            is_running: true,
            must_count: false,
            was_stopped: false,
            is_good: true,
            ack_age: 0,
            has_queued_ack: false,
            confirmed: None,
            question: None,
            asked_before: GAP + 1,
            answered_before: GAP + 1,
            wait: 0,
            has_believed: false,
            is_broken: false,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        let mut push = |step, change: &dyn Fn(&mut State)| {
            let mut after = state.clone();
            change(&mut after);
            next.push((step, after));
        };
        if !state.is_running || (!state.must_count && !state.has_queued_ack) {
            push(Step::Tick, &Self::tick);
        }
        if state.is_running && !state.has_queued_ack {
            push(Step::R1CountsItsReplicas, &|state| {
                let has_other = !self.rules.has(Rule::AllReplicas);
                state.is_good = state.ack_age <= MAX_LAG + 1 || has_other;
                state.must_count = false;
                state.was_stopped = false;
            });
        }
        if state.is_linked && !state.is_promoted {
            push(Step::R2Acknowledges, &|state| {
                if state.is_running {
                    state.ack_age = 0;
                } else {
                    state.has_queued_ack = true;
                }
            });
        }
        if self.can_prove && state.is_linked && !state.is_promoted && state.is_running {
            push(Step::AWaitsForTheReplicas, &|state| {
                state.has_queued_ack = false;
                state.ack_age = 0;
                state.question = None;
                state.wait = 0;
                state.asked_before = 0;
                state.answered_before = 0;
            });
        }
        if state.is_running && state.has_queued_ack {
            push(Step::R1ReadsTheQueuedAck, &|state| {
                state.has_queued_ack = false;
                state.ack_age = 0;
            });
        }
        match state.question {
            None => push(Step::AAsksR1, &|state| {
                let by_question = self.rules.has(Rule::GapByQuestion);
                let before = if by_question { state.asked_before } else { state.answered_before };
                state.question = Some(Question {
                    age: 0,
                    after_gap: before > GAP,
                    while_waiting: state.wait > 0,
                    since_confirmed: state.confirmed,
                    answer: None,
                });
            }),
            Some(question) if question.answer.is_none() => {
                if state.is_running {
                    push(Step::R1AnswersA, &|state| {
                        state.question = Some(Question { answer: Some(state.is_good), ..question });
                    });
                }
            }
            Some(question) => push(Step::AHears, &|state| {
                state.question = None;
                self.hears(state, question);
            }),
        }
        if self.faults == Faults::None {
            return;
        }
        push(Step::AConnectsAnew, &|state| Self::connects(state));
        if self.faults == Faults::CutAndStop && state.is_running && !state.was_stopped {
            push(Step::R1Stops, &|state| state.is_running = false);
        }
        if !state.is_running {
            push(Step::R1RunsAgain, &|state| {
                state.is_running = true;
                state.was_stopped = true;
            });
        }
        if state.is_linked {
            push(Step::LinkIsCut, &|state| state.is_linked = false);
        } else if !state.is_promoted {
            push(Step::R2IsPromoted, &|state| state.is_promoted = true);
        } else if state.confirmed.is_none() {
            push(Step::BConfirmsOnR2, &|state| state.confirmed = Some(0));
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        state.is_broken.then_some("A believes R1 later than the bound after B's confirmation")
    }

    fn is_goal(&self, state: &State) -> bool {
        state.has_believed
    }
}

//! Protocol section 8 with sentinels: which primary the nodes believe.
//!
//! Three sentinels each name a primary with a config epoch. A failover needs two votes, and only
//! its leader knows of it at first: each other sentinel adopts it at any later time, or never. That
//! is how the model cuts sentinels off from each other, and R1 with node A from the rest.
//!
//! Node A reads. It asks the sentinels one by one; one question at a time can be slow. Node B
//! confirms one revocation K. B's knowledge is not in the state: it may use each answer that a
//! sentinel can have given within the patience. That allows all that any B can do.
//!
//! The promise to readers is about the time at which A asks: then no read counts later than the
//! patience after the confirmation. A lease adds `d` to it. K must be on the primary of the highest
//! epoch, because a failover may lose what was not replicated; and B must have confirmed it under
//! that epoch, or a majority of sentinels must have reached it.
//!
//! The promise of writers: B does not confirm on a primary longer than the patience after a
//! majority has gone beyond it.

use super::{
    rules::{Rule, Rules},
    search::{Model, steps_from},
};

pub const PATIENCE: u8 = 1;
const LONG: u8 = PATIENCE + 1;
const ALL: [usize; 3] = [0, 1, 2];

/// The primary that a sentinel names. New sentinels have a new generation, and with it new ids.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Vote {
    pub generation: u8,
    pub epoch: u8,
    pub server: usize,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Sentinel {
    vote: Vote,
    before: Vote,
    /// Time since it changed from `before` to `vote`.
    changed: u8,
    /// The number of sentinels that it knows, itself among them.
    count: u8,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Heard {
    vote: Vote,
    age: u8,
    count: u8,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Slow {
    sentinel: usize,
    age: u8,
    answer: Option<(Vote, u8)>,
}

#[derive(Clone, Debug, Hash)]
pub struct State {
    sentinels: [Sentinel; 3],
    /// The vote of the last failover. The data of its server survives.
    last: Vote,
    /// The other server is a replica of the surviving one.
    is_attached: bool,
    has_k: [bool; 2],
    /// Time since K counts: it is confirmed, and on the server that survives.
    confirmed: Option<u8>,
    /// For each epoch, time since a majority of sentinels has gone beyond it.
    superseded: [Option<u8>; 3],
    heard: [Option<Heard>; 3],
    highest: [u8; 3],
    slow: Option<Slow>,
    had_fault: bool,
    confirms_on_replaced: bool,
}

#[allow(dead_code, reason = "a trace prints the fields")]
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Tick,
    FailoverIsLedBy(usize),
    Adopts { sentinel: usize, from: usize },
    KIsReplicated,
    TheOtherServerIsAttached,
    BConfirmsK(Vote),
    AAsks(usize, Vote),
    AAsksSlowly(usize),
    SlowAnswer(Vote),
    AHearsTheSlowAnswer,
    Forgets(usize),
    AllAreCreatedAnew,
    KnowsNoOthers(usize),
}

/// A fault beyond failovers, slow answers and cuts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    None,
    /// A sentinel forgets an epoch that A has heard from it.
    Forgets,
    /// All sentinels are replaced by new ones, which name the primary with epoch 0.
    CreatedAnew,
    /// A sentinel says that it knows no others, as after `SENTINEL RESET`.
    KnowsNoOthers,
}

pub struct Sentinels {
    pub rules: Rules,
    pub fault: Fault,
    pub failovers: u8,
    /// The promises that the search checks: to readers, of writers.
    pub promises: (bool, bool),
}

impl Sentinels {
    /// Returns the server that A believes. Two that differ cannot both have a majority.
    fn believes(&self, state: &State, server: usize) -> bool {
        if !self.rules.has(Rule::ReaderMajority) {
            return true;
        }
        state.heard.iter().flatten().any(|first| {
            let vote = first.vote;
            let same = || state.heard.iter().flatten().filter(|heard| heard.vote == vote);
            let count = if self.rules.has(Rule::CountNeverShrinks) {
                3
            } else {
                same().map(|heard| heard.count).max().unwrap_or(3)
            };
            vote.server == server && same().count() > usize::from(count / 2) && self.is_high_enough(state, vote)
        })
    }

    fn is_high_enough(&self, state: &State, vote: Vote) -> bool {
        let is_new = vote.generation > 0 && self.rules.has(Rule::EpochPerId);
        let highest = state.highest.iter().max().copied().unwrap_or(0);
        !self.rules.has(Rule::HighestEpoch) || is_new || vote.epoch >= highest
    }

    fn hears(state: &mut State, sentinel: usize, heard: Heard) {
        state.heard[sentinel] = (heard.age <= PATIENCE).then_some(heard);
        if heard.vote.generation == 0 {
            state.highest[sentinel] = state.highest[sentinel].max(heard.vote.epoch);
        }
    }

    /// Returns true if B can know enough to confirm on the server of `vote`.
    fn may_confirm(&self, state: &State, vote: Vote) -> bool {
        let knows = |sentinel: &&Sentinel| {
            let is_recent = sentinel.changed <= PATIENCE;
            sentinel.vote == vote || (sentinel.before == vote && is_recent)
        };
        let count = state.sentinels.iter().filter(knows).count();
        if !self.rules.has(Rule::WriterMajority) {
            return count >= 1;
        }
        // Tested before the reply, the majority of the first epoch is good for all time.
        count >= 2 || (!self.rules.has(Rule::MajorityAfterReply) && vote.epoch == 0)
    }

    fn changes(state: &mut State, index: usize, vote: Vote) {
        let sentinel = &mut state.sentinels[index];
        sentinel.before = sentinel.vote;
        sentinel.vote = vote;
        sentinel.changed = 0;
        for (epoch, superseded) in state.superseded.iter_mut().enumerate() {
            let beyond = |sentinel: &&Sentinel| usize::from(sentinel.vote.epoch) > epoch;
            let is_majority = state.sentinels.iter().filter(beyond).count() >= 2;
            *superseded = is_majority.then_some(superseded.unwrap_or(0));
        }
    }

    fn tick(state: &mut State) {
        let older = |age: u8| (age + 1).min(LONG);
        for sentinel in &mut state.sentinels {
            sentinel.changed = older(sentinel.changed);
            if sentinel.changed == LONG {
                sentinel.before = sentinel.vote;
            }
        }
        for heard in &mut state.heard {
            *heard = heard.map(|heard| Heard { age: heard.age + 1, ..heard });
            *heard = heard.filter(|heard| heard.age <= PATIENCE);
        }
        if let Some(slow) = &mut state.slow {
            slow.age = older(slow.age);
        }
        state.confirmed = state.confirmed.map(older);
        state.superseded = state.superseded.map(|age| age.map(older));
    }

    fn faults(&self, state: &State, push: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        if state.had_fault || self.fault == Fault::None {
            return;
        }
        if self.fault == Fault::CreatedAnew {
            if state.highest.iter().any(|epoch| *epoch > 0) {
                push(Step::AllAreCreatedAnew, &|state| {
                    state.had_fault = true;
                    state.last = Vote { generation: 1, epoch: 0, ..state.last };
                    for index in ALL {
                        Self::changes(state, index, state.last);
                    }
                    state.superseded = [None; 3];
                });
            }
            return;
        }
        for index in ALL {
            let vote = state.sentinels[index].vote;
            if self.fault == Fault::KnowsNoOthers {
                push(Step::KnowsNoOthers(index), &|state| {
                    state.had_fault = true;
                    state.sentinels[index].count = 1;
                });
            } else if vote.epoch > 0 && state.highest[index] == vote.epoch {
                push(Step::Forgets(index), &|state| {
                    state.had_fault = true;
                    Self::changes(state, index, FIRST);
                });
            }
        }
    }
}

const FIRST: Vote = Vote { generation: 0, epoch: 0, server: 0 };

impl Model for Sentinels {
    type State = State;
    type Step = Step;

    fn initial(&self) -> State {
        State {
            sentinels: [Sentinel { vote: FIRST, before: FIRST, changed: LONG, count: 3 }; 3],
            last: FIRST,
            is_attached: true,
            has_k: [false; 2],
            confirmed: None,
            superseded: [None; 3],
            heard: [None; 3],
            highest: [0; 3],
            slow: None,
            had_fault: false,
            confirms_on_replaced: false,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        let mut push = steps_from(state, next);
        push(Step::Tick, &Self::tick);
        for index in ALL {
            let Sentinel { vote, before, count, .. } = state.sentinels[index];
            let generation = state.last.generation;
            // The sentinels are alike, so the first can lead the first failover.
            if state.last.epoch < self.failovers && (index == 0 || state.last.epoch > 0) {
                push(Step::FailoverIsLedBy(index), &|state| {
                    let epoch = state.last.epoch + 1;
                    state.last = Vote { generation, epoch, server: 1 - vote.server };
                    Self::changes(state, index, state.last);
                    state.is_attached = false;
                    state.confirmed = None;
                });
            }
            for from in ALL {
                let other = state.sentinels[from].vote;
                if other.epoch > vote.epoch {
                    push(Step::Adopts { sentinel: index, from }, &|state| {
                        Self::changes(state, index, other);
                        let has_last = |sentinel: &&Sentinel| sentinel.vote == state.last;
                        let count = state.sentinels.iter().filter(has_last).count();
                        if count >= 2 && state.has_k[state.last.server] {
                            state.confirmed = state.confirmed.or(Some(0));
                        }
                    });
                }
            }
            push(Step::AAsks(index, vote), &|state| {
                Self::hears(state, index, Heard { vote, age: 0, count });
            });
            if state.slow.is_none() {
                push(Step::AAsksSlowly(index), &|state| {
                    state.slow = Some(Slow { sentinel: index, age: 0, answer: None });
                });
            }
            for vote in [vote, before] {
                if !state.has_k[vote.server] && self.may_confirm(state, vote) {
                    push(Step::BConfirmsK(vote), &|state| {
                        state.has_k[vote.server] = true;
                        if vote == state.last {
                            state.confirmed = state.confirmed.or(Some(0));
                        }
                        let superseded = state.superseded[usize::from(vote.epoch)];
                        state.confirms_on_replaced = superseded.is_some_and(|age| age > PATIENCE);
                    });
                }
            }
        }
        match state.slow {
            Some(slow @ Slow { sentinel, answer: None, .. }) => {
                let Sentinel { vote, count, .. } = state.sentinels[sentinel];
                push(Step::SlowAnswer(vote), &|state| {
                    state.slow = Some(Slow { answer: Some((vote, count)), ..slow });
                });
            }
            Some(Slow { sentinel, age, answer: Some((vote, count)) }) => {
                push(Step::AHearsTheSlowAnswer, &|state| {
                    let age = if self.rules.has(Rule::DatedByQuestion) { age } else { 0 };
                    state.slow = None;
                    Self::hears(state, sentinel, Heard { vote, age, count });
                });
            }
            None => {}
        }
        let Vote { server, .. } = state.last;
        if state.is_attached && state.has_k[server] && !state.has_k[1 - server] {
            push(Step::KIsReplicated, &|state| state.has_k[1 - server] = true);
        }
        if !state.is_attached {
            push(Step::TheOtherServerIsAttached, &|state| {
                state.is_attached = true;
                state.has_k[1 - server] = state.has_k[server];
            });
        }
        self.faults(state, &mut push);
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let (to_readers, of_writers) = self.promises;
        if of_writers && state.confirms_on_replaced {
            return Some("B confirms on a primary that was replaced longer ago than the patience");
        }
        let is_due = state.confirmed.is_some_and(|age| age > PATIENCE);
        let is_accepted = |server: &usize| !state.has_k[*server] && self.believes(state, *server);
        let is_broken = to_readers && is_due && [0, 1].iter().any(is_accepted);
        is_broken.then_some("A believes a server without K later than the bound")
    }

    fn is_goal(&self, state: &State) -> bool {
        let heard = state.heard.iter().flatten();
        let is_new = |heard: &&Heard| heard.vote.generation == 1 && heard.vote.epoch == 0;
        let has_new = heard.filter(is_new).count() >= 2;
        (self.fault != Fault::CreatedAnew || has_new) && self.believes(state, state.last.server)
    }
}

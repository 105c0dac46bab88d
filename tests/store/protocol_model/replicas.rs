//! Protocol section 8 for an address that moves: proofs by `WAIT`.
//!
//! R1 is the primary that node A reads. R2 and R3 are its replicas. R2 can be promoted, with or
//! without a cut before it, and node B then confirms one revocation there. R1 can be stopped and
//! run again, be made a replica of R2 (which heals it), and be promoted once more.
//!
//! Node A has two connections: one asks for proofs, and one reads. Each leads to R1 or to R2. A
//! proof is a write that all replicas of its server acknowledge. Each acknowledgement waits in a
//! socket for as long as the search likes. So does each question and each answer.
//!
//! R2 has replicas of its own as soon as `NewReplicasFollowR2`. Their acknowledgements are one
//! step. One step of time is a second. Ages are counted up to a limit, so the search sees all
//! states. The bound here is that of the last question that counts. A lease adds `d` to it.

use super::{
    rules::{Rule, Rules},
    search::{Model, steps_from},
};

const MAX_LAG: u8 = 2;
pub const BOUND: u8 = MAX_LAG;
/// A gives a question up that is older.
const DEADLINE: u8 = 1;
/// Beyond this no two ages differ for any rule.
const LONG: u8 = DEADLINE + MAX_LAG + 1;

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Server {
    R1,
    R2,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Role {
    Primary,
    /// Made a replica of R2, whose data it has.
    Healed,
    PrimaryAgain,
}

/// What a replica has acknowledged, and whether R1 has read it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Ack {
    /// Nothing that is on its way.
    None,
    /// A write before that of the present proof.
    Earlier,
    /// That of the present proof.
    This,
    /// R1 has read one that counts.
    Read,
}

#[derive(Clone, Debug, Hash)]
pub struct State {
    role: Role,
    is_running: bool,
    /// R2's link to R1 passes.
    is_linked: bool,
    is_promoted: bool,
    r2_has_replicas: bool,
    /// Of R2 and of R3.
    acks: [Ack; 2],
    /// Time since B confirmed the revocation.
    confirmed: Option<u8>,
    /// Where A's connections lead.
    prover: Server,
    reader: Server,
    probe: Option<Probe>,
    proof: Option<Proof>,
    question: Option<Question>,
    has_believed: bool,
    is_broken: bool,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Probe {
    age: u8,
    /// R1 has made the write.
    is_written: bool,
    /// The server and its term as a primary, once it has answered that all have acknowledged.
    proved: Option<(Server, bool)>,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Proof {
    age: u8,
    server: (Server, bool),
}

#[derive(Clone, Copy, Debug, Hash)]
struct Question {
    age: u8,
    /// Time from the confirmation to this question.
    since_confirmed: Option<u8>,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Answer {
    /// The server and its term as a primary.
    server: (Server, bool),
    has_revocation: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Tick,
    R1Stops,
    R1RunsAgain,
    LinkIsCut,
    R2IsPromoted,
    NewReplicasFollowR2,
    BConfirmsOnR2,
    R1IsMadeAReplicaOfR2,
    R1IsPromotedAgain,
    AAsksForAProof,
    R1Writes,
    R2Acknowledges,
    R3Acknowledges,
    R1ReadsTheAckOfR2,
    R1ReadsTheAckOfR3,
    R1AnswersTheProof,
    R2AnswersTheProof,
    AHearsTheProof,
    AProvesElsewhere,
    AAsks,
    TheServerAnswers,
    AHears,
    AReadsElsewhere,
}

pub struct Replicas {
    pub rules: Rules,
    /// R2 may be promoted, and R1 be stopped and cut off.
    pub has_faults: bool,
    /// R1 may be a replica of R2, and be promoted again.
    pub is_healed: bool,
    /// The longest time from the confirmation to a question whose answer counts without it.
    pub bound: u8,
}

impl Replicas {
    /// Returns the server as the node tells it from others.
    fn identity(&self, state: &State, server: Server) -> (Server, bool) {
        let is_again = server == Server::R1 && state.role == Role::PrimaryAgain;
        (server, is_again && self.rules.has(Rule::ServerOfTerm))
    }

    fn is_acknowledged(&self, state: &State) -> bool {
        let count = state.acks.iter().filter(|ack| **ack == Ack::Read).count();
        count == state.acks.len() || (count > 0 && !self.rules.has(Rule::AllReplicas))
    }

    fn hears(&self, state: &mut State, question: Question, answer: Answer) {
        let counts = state.proof.is_some_and(|proof| {
            let is_young = proof.age <= question.age.saturating_add(MAX_LAG) || !self.rules.has(Rule::ProofAge);
            let is_same = proof.server == answer.server || !self.rules.has(Rule::ProofOfServer);
            is_young && is_same
        });
        if counts {
            state.has_believed = true;
            let is_late = question.since_confirmed.is_some_and(|time| time > self.bound);
            state.is_broken |= is_late && !answer.has_revocation;
        }
    }

    fn tick(state: &mut State) {
        let older = |age: u8| (age + 1).min(LONG);
        state.confirmed = state.confirmed.map(older);
        for age in [
            state.probe.as_mut().map(|probe| &mut probe.age),
            state.proof.as_mut().map(|proof| &mut proof.age),
            state.question.as_mut().map(|question| &mut question.age),
        ]
        .into_iter()
        .flatten()
        {
            *age = older(*age);
        }
        state.question = state.question.filter(|question| question.age <= DEADLINE);
    }

    /// Appends the steps of a proof.
    fn proof_steps(&self, state: &State, push: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        let Some(probe) = state.probe else {
            push(Step::AAsksForAProof, &|state| {
                state.probe = Some(Probe { age: 0, is_written: false, proved: None });
            });
            return;
        };
        if let Some(server) = probe.proved {
            push(Step::AHearsTheProof, &|state| {
                let age = if self.rules.has(Rule::ProofDatedByQuestion) { probe.age } else { 0 };
                state.proof = Some(Proof { age, server });
                state.probe = None;
            });
            return;
        }
        let answers = |state: &mut State, server| {
            state.probe = Some(Probe { proved: Some(self.identity(state, server)), ..probe });
        };
        match state.prover {
            Server::R2 => {
                if state.r2_has_replicas && state.role != Role::PrimaryAgain {
                    push(Step::R2AnswersTheProof, &|state| answers(state, Server::R2));
                }
            }
            Server::R1 if !state.is_running => {}
            Server::R1 => match state.role {
                // Both replicas follow it, and all their acknowledgements are one step.
                Role::PrimaryAgain => push(Step::R1AnswersTheProof, &|state| answers(state, Server::R1)),
                Role::Primary if !probe.is_written => push(Step::R1Writes, &|state| {
                    state.probe = Some(Probe { is_written: true, ..probe });
                    for ack in &mut state.acks {
                        *ack = match *ack {
                            Ack::This | Ack::Earlier => Ack::Earlier,
                            Ack::Read | Ack::None => Ack::None,
                        };
                    }
                }),
                Role::Primary if self.is_acknowledged(state) => {
                    push(Step::R1AnswersTheProof, &|state| answers(state, Server::R1));
                }
                Role::Primary | Role::Healed => {}
            },
        }
    }

    /// Appends the steps of acknowledgements.
    fn ack_steps(&self, state: &State, push: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        let is_written = state.probe.is_some_and(|probe| probe.is_written && probe.proved.is_none());
        let follows = [state.is_linked && !state.is_promoted, true];
        let acknowledges = [Step::R2Acknowledges, Step::R3Acknowledges];
        let reads = [Step::R1ReadsTheAckOfR2, Step::R1ReadsTheAckOfR3];
        for replica in 0..state.acks.len() {
            if state.role != Role::Primary {
                continue;
            }
            let ack = state.acks[replica];
            if follows[replica] && ack == Ack::None {
                push(acknowledges[replica], &|state| {
                    state.acks[replica] = if is_written { Ack::This } else { Ack::Earlier };
                });
            }
            if state.is_running && matches!(ack, Ack::Earlier | Ack::This) {
                push(reads[replica], &|state| {
                    let counts = ack == Ack::This || (is_written && !self.rules.has(Rule::AckOfThisWrite));
                    state.acks[replica] = if counts { Ack::Read } else { Ack::None };
                });
            }
        }
    }

    /// Appends the steps of a read.
    fn read_steps(&self, state: &State, push: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        match state.question {
            None => push(Step::AAsks, &|state| {
                state.question = Some(Question { age: 0, since_confirmed: state.confirmed, answer: None });
            }),
            Some(question) => match question.answer {
                None => {
                    let is_answered = match state.reader {
                        Server::R1 => state.is_running && state.role != Role::Healed,
                        Server::R2 => state.role != Role::PrimaryAgain,
                    };
                    if is_answered {
                        push(Step::TheServerAnswers, &|state| {
                            let has_revocation = match state.reader {
                                Server::R1 => state.role == Role::PrimaryAgain,
                                Server::R2 => true,
                            } && state.confirmed.is_some();
                            let server = self.identity(state, state.reader);
                            let answer = Some(Answer { server, has_revocation });
                            state.question = Some(Question { answer, ..question });
                        });
                    }
                }
                Some(answer) => push(Step::AHears, &|state| {
                    state.question = None;
                    self.hears(state, question, answer);
                }),
            },
        }
    }

    /// Appends the steps that only a failover has.
    fn fault_steps(&self, state: &State, push: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        if state.is_running {
            push(Step::R1Stops, &|state| state.is_running = false);
        } else {
            push(Step::R1RunsAgain, &|state| state.is_running = true);
        }
        if state.is_linked {
            push(Step::LinkIsCut, &|state| state.is_linked = false);
        }
        if !state.is_promoted {
            push(Step::R2IsPromoted, &|state| state.is_promoted = true);
            return;
        }
        if !state.r2_has_replicas {
            push(Step::NewReplicasFollowR2, &|state| state.r2_has_replicas = true);
        }
        if state.confirmed.is_none() && state.role == Role::Primary {
            push(Step::BConfirmsOnR2, &|state| state.confirmed = Some(0));
        }
        if self.is_healed && state.is_running && state.confirmed.is_some() {
            match state.role {
                Role::Primary => push(Step::R1IsMadeAReplicaOfR2, &|state| {
                    state.role = Role::Healed;
                    state.acks = [Ack::None; 2];
                    // Redis ends what a client waits for.
                    if state.prover == Server::R1 && state.probe.is_some_and(|probe| probe.proved.is_none()) {
                        state.probe = None;
                    }
                }),
                Role::Healed => push(Step::R1IsPromotedAgain, &|state| state.role = Role::PrimaryAgain),
                Role::PrimaryAgain => {}
            }
        }
        let other = |server| if server == Server::R1 { Server::R2 } else { Server::R1 };
        push(Step::AProvesElsewhere, &|state| {
            state.prover = other(state.prover);
            state.probe = None;
        });
        push(Step::AReadsElsewhere, &|state| {
            state.reader = other(state.reader);
            state.question = None;
        });
    }
}

impl Model for Replicas {
    type State = State;
    type Step = Step;

    fn initial(&self) -> State {
        State {
            role: Role::Primary,
            is_running: true,
            is_linked: true,
            is_promoted: false,
            r2_has_replicas: false,
            acks: [Ack::None; 2],
            confirmed: None,
            prover: Server::R1,
            reader: Server::R1,
            probe: None,
            proof: None,
            question: None,
            has_believed: false,
            is_broken: false,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        let mut push = steps_from(state, next);
        push(Step::Tick, &Self::tick);
        self.proof_steps(state, &mut push);
        self.ack_steps(state, &mut push);
        self.read_steps(state, &mut push);
        if self.has_faults {
            self.fault_steps(state, &mut push);
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        state.is_broken.then_some("A accepts what B has revoked, later than the bound after B's confirmation")
    }

    fn is_goal(&self, state: &State) -> bool {
        state.has_believed
    }
}

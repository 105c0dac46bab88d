//! Protocol section 7: the head start, the horizon H, reading back, and the era.
//!
//! Two servers hold a log each. One is the primary; the other copies it as its replica. A failover
//! makes the other server the primary with what it has, and the old one can be read and written for
//! `PATIENCE` more steps. A flush empties the primary. The clocks of both servers may differ by the
//! margin.
//!
//! Node A reads: by fences on one connection, by strict reads on another. Both A and B revoke.
//! An entry of a log is known by its nonce; the table of all entries holds its predecessor, so the
//! head's nonce stands for a whole log.

mod node;
mod world;

use self::{node::Node, world::World};
use super::{
    rules::{Rule, Rules},
    search::Model,
};

const PATIENCE: u8 = 1;
const LEASE: u8 = 1;
const BOUND: u8 = LEASE + PATIENCE;
const MARGIN: u8 = 1;
/// The tokens of the model; one more was revoked before it starts.
const TOKENS: [usize; 2] = [0, 1];
const SERVERS: [usize; 2] = [0, 1];

#[derive(Clone, Debug, Hash)]
pub struct State {
    world: World,
    a: Node,
    broken: Option<Broken>,
}

/// A promise that a step broke.
#[derive(Clone, Copy, Debug, Hash)]
enum Broken {
    ChainBreaksWithoutFault,
    RepublishesWhatIsThere,
}

#[allow(dead_code, reason = "a trace prints the fields")]
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Tick,
    Mints { token: usize, server: usize },
    BRevokes { token: usize, server: usize },
    ARevokes { token: usize, server: usize },
    Replicates,
    Failover,
    Attaches,
    Flush,
    AMovesItsFence,
    AMovesItsStrictReads,
    AStartsAtTheHead,
    AEndsTheHeadStart,
    AFences,
    AReadsBack,
    AAsksForAPage,
    AHearsThePage,
    AReadsStrictly(usize),
    AHearsTheStrictRead,
    ARepublishes(usize),
}

/// One configuration of the model.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    pub rules: Rules,
    /// Node A has just started; else it has followed the log before.
    pub is_fresh: bool,
    /// How far the clock of each server is ahead.
    pub skew: [u8; 2],
    pub failovers: u8,
    pub flushes: u8,
    /// The number of entries, and of steps of time.
    pub entries: u8,
    pub ticks: u8,
    /// Also covers revocations that the store lost together with the session.
    pub is_strong: bool,
    /// A reads strictly, on a connection that can be to another server than its fence.
    pub has_strict_reads: bool,
    /// A revokes and republishes.
    pub has_own: bool,
    /// A page that A reads back can be slow.
    pub has_pages: bool,
    /// A must notice each revocation that the store lost.
    pub must_notice: bool,
}

impl Log {
    fn has(&self, rule: Rule) -> bool {
        self.rules.has(rule)
    }
}

impl Model for Log {
    type State = State;
    type Step = Step;

    fn initial(&self) -> State {
        let world = World::new();
        State { a: Node::new(self, &world), world, broken: None }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Step, State)>) {
        if state.broken.is_none() {
            let mut push = |step, change: &dyn Fn(&mut State)| {
                let mut after = state.clone();
                change(&mut after);
                next.push((step, after));
            };
            self.world_steps(state, &mut push);
            self.node_steps(state, &mut push);
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        match state.broken {
            Some(Broken::ChainBreaksWithoutFault) => return Some("the chain breaks without a fault"),
            Some(Broken::RepublishesWhatIsThere) => return Some("A republishes what the store has"),
            None => {}
        }
        for token in TOKENS {
            let is_due = state.world.due[token].is_some_and(|age| age > BOUND);
            if is_due && state.a.accepts(self, &state.world, token) {
                return Some("A accepts a revoked token later than the bound");
            }
        }
        let has_lost = self.must_notice && state.a.has_unnoticed_loss(&state.world);
        has_lost.then_some("A does not notice that the store has lost a revocation that it knows")
    }

    fn is_goal(&self, state: &State) -> bool {
        // A decides locally on a new token, and has read the whole log after each fault.
        let world = &state.world;
        let had_faults = world.failovers == self.failovers && world.flushes == self.flushes;
        had_faults && state.a.is_settled(world) && world.iat[1].is_some() && state.a.accepts(self, world, 1)
    }
}

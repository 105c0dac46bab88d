//! Breadth-first search over the states of a model.
//!
//! It is written here because it is shorter than the glue that `stateright` would need, adds no
//! dependency, and keeps only a hash and a parent for each state. Breadth first gives the shortest
//! trace to a violation.

use std::{
    collections::HashSet,
    fmt::Debug,
    hash::{BuildHasherDefault, Hash, Hasher},
};

/// A system of states and the steps between them.
pub trait Model {
    type State: Clone + Hash;
    type Step: Copy + Debug;

    /// Returns the state that each search starts with.
    fn initial(&self) -> Self::State;

    /// Appends each step that is possible in `state`, with the state after it.
    fn steps(&self, state: &Self::State, next: &mut Vec<(Self::Step, Self::State)>);

    /// Returns the promise that `state` breaks.
    fn violation(&self, state: &Self::State) -> Option<&'static str>;

    /// Returns true if `state` is one that the model must be able to reach in a calm world.
    fn is_goal(&self, state: &Self::State) -> bool;
}

/// The result of one search.
#[derive(Debug)]
pub struct Report {
    pub states: usize,
    pub depth: usize,
    /// The search ended because there were no further states, and not at a limit.
    pub is_complete: bool,
    /// The state that the search looked for: what it is, and the steps to it.
    pub found: Option<(&'static str, Vec<String>)>,
}

/// Looks for a state that breaks a promise, through at most `depth` steps.
pub fn violation<M: Model>(model: &M, depth: usize) -> Report {
    run(model, depth, |state| model.violation(state))
}

/// Looks for a goal state, through at most `depth` steps.
pub fn goal<M: Model>(model: &M, depth: usize) -> Report {
    run(model, depth, |state| model.is_goal(state).then_some("goal"))
}

fn run<M: Model>(model: &M, limit: usize, wanted: impl Fn(&M::State) -> Option<&'static str>) -> Report {
    let initial = model.initial();
    let mut seen: HashSet<u64, BuildHasherDefault<Same>> = HashSet::default();
    seen.insert(fingerprint(&initial));
    // For each state that was found: its parent, and the step from there.
    let mut parents: Vec<(usize, Option<M::Step>)> = vec![(0, None)];
    let mut frontier = vec![(0, initial)];
    let mut next = Vec::new();
    let mut depth = 0;
    while depth < limit && !frontier.is_empty() {
        depth += 1;
        for (parent, state) in std::mem::take(&mut frontier) {
            model.steps(&state, &mut next);
            for (step, state) in next.drain(..) {
                if !seen.insert(fingerprint(&state)) {
                    continue;
                }
                parents.push((parent, Some(step)));
                let index = parents.len() - 1;
                if let Some(what) = wanted(&state) {
                    let found = Some((what, trace(&parents, index)));
                    return Report { states: parents.len(), depth, is_complete: false, found };
                }
                frontier.push((index, state));
            }
        }
    }
    Report { states: parents.len(), depth, is_complete: frontier.is_empty(), found: None }
}

fn trace<S: Debug>(parents: &[(usize, Option<S>)], mut index: usize) -> Vec<String> {
    let mut steps = Vec::new();
    while let (parent, Some(step)) = &parents[index] {
        steps.push(format!("{step:?}"));
        index = *parent;
    }
    steps.reverse();
    steps
}

fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = Mix(0);
    state.hash(&mut hasher);
    hasher.finish()
}

/// A fast hash for small states. Two of some million states collide with a chance below 1 in 10^6.
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.unsigned_abs() as u64);
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }
}

/// Passes on what is a fingerprint already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Returns a function that adds a step, and the state to which a change of `state` leads.
pub(super) fn steps_from<'a, S: Clone, T>(
    state: &'a S,
    next: &'a mut Vec<(T, S)>,
) -> impl FnMut(T, &dyn Fn(&mut S)) + use<'a, S, T> {
    move |step, change| {
        let mut after = state.clone();
        change(&mut after);
        next.push((step, after));
    }
}

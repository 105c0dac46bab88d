//! Node A: what it keeps and decides, its steps, and its own revocations.

mod reading;

use super::{Broken, LEASE, Log, MARGIN, PATIENCE, Rule, State, Step, TOKENS, World};

/// The list of places, with the H and the gap that belong to them.
#[derive(Clone, Copy, Debug, Default, Hash)]
struct List {
    /// The nonces, as bits.
    nonces: u8,
    h: u8,
    gap: Option<Gap>,
}

/// A period after H whose tokens A still checks at the store.
#[derive(Clone, Copy, Debug, Hash)]
struct Gap {
    from: u8,
    to: u8,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Place {
    nonce: u8,
    incarnation: u8,
    /// The sequence after which the node reads on.
    cursor: u8,
}

/// The first half of a head start.
#[derive(Clone, Copy, Debug, Hash)]
struct Half {
    place: Option<Place>,
    time: u8,
    age: u8,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Strict {
    token: usize,
    server: usize,
    is_alive: bool,
    time: u8,
    is_of_era: bool,
}

#[derive(Clone, Debug, Hash)]
pub struct Node {
    /// The servers of both connections, and the number of failovers before each was opened.
    fence: usize,
    strict: usize,
    fence_config: u8,
    strict_config: u8,
    place: Option<Place>,
    half: Option<Half>,
    lease: Option<u8>,
    h: u8,
    gap: Option<Gap>,
    /// The next nonce to read back, until the node has joined its list or the log's end.
    back: Option<u8>,
    /// The nonce of the requested page, and whether its epoch still lasts.
    page: Option<(u8, bool)>,
    list: List,
    /// The nonces of this epoch, until then.
    fresh: u8,
    deny: u8,
    alive_at: [Option<u8>; 2],
    asked: Option<Strict>,
    /// The nonces of own revocations that the node has not met in the log.
    own: [Option<u8>; 2],
    /// The last fence read to the head, nothing is left to read back, and own revocations are
    /// judged.
    has_judged: bool,
    /// Own revocations that counted as seen for their number.
    seen_by_number: u8,
    /// The tokens that the node will republish, as bits.
    missing: u8,
}

impl Node {
    pub fn new(model: &Log, world: &World) -> Self {
        let nonce = world.servers[0].head;
        let follows = !model.is_fresh;
        Self {
            fence: 0,
            strict: 0,
            fence_config: 0,
            strict_config: 0,
            place: follows.then_some(Place { nonce, incarnation: 0, cursor: 1 }),
            half: None,
            lease: follows.then_some(LEASE),
            h: 0,
            gap: None,
            back: None,
            page: None,
            list: List { nonces: if follows { 1 << nonce } else { 0 }, ..List::default() },
            fresh: 0,
            deny: if follows { 1 << world.entry(nonce).token } else { 0 },
            alive_at: [None; 2],
            asked: None,
            own: [None; 2],
            has_judged: false,
            seen_by_number: 0,
            missing: 0,
        }
    }

    pub fn tick(&mut self) {
        self.lease = self.lease.and_then(|rest| rest.checked_sub(1));
        if let Some(half) = &mut self.half {
            half.age = (half.age + 1).min(LEASE + 1);
        }
    }

    /// Returns true if A accepts `token` without asking the store.
    pub fn accepts(&self, model: &Log, world: &World, token: usize) -> bool {
        let Some(iat) = world.iat[token] else { return false };
        let margin = if model.has(Rule::ClockMargin) { MARGIN } else { 0 };
        let around = if model.has(Rule::GapMargins) { MARGIN } else { 0 };
        let is_within = |gap: Gap| gap.from <= iat + around && iat <= gap.to + around;
        let is_in_gap = self.gap.is_some_and(is_within);
        let is_young = iat > self.h + margin && !is_in_gap;
        let is_confirmed = self.alive_at[token].is_some_and(|time| time > self.h);
        self.lease.is_some() && self.deny & (1 << token) == 0 && (is_young || is_confirmed)
    }

    /// Returns true if A has read all of the primary's log, and has judged its own revocations.
    pub fn is_settled(&self, world: &World) -> bool {
        let server = &world.servers[world.primary];
        let is_at_head =
            self.place.is_some_and(|place| place.nonce == server.head && place.incarnation == server.incarnation);
        is_at_head && self.has_judged && self.fence_config == world.failovers
    }

    /// Returns true if A has read the primary's whole log and knows a revocation that is missing
    /// there, without having noticed.
    pub fn has_unnoticed_loss(&self, world: &World) -> bool {
        self.is_settled(world) && self.deny & !world.revoked(world.primary) & !self.missing != 0
    }

    fn starts_era(&mut self, model: &Log) {
        if model.has(Rule::Era) {
            self.alive_at = [None; 2];
        }
        if let Some(asked) = &mut self.asked {
            asked.is_of_era = false;
        }
        self.has_judged = false;
    }

    /// Asks the store about tokens that another server may have lost with their sessions.
    fn opens_gap(&mut self, model: &Log, world: &World) {
        if let Some(place) = self.place.filter(|_| model.has(Rule::GapOfMove)) {
            let time = world.entry(place.nonce).time;
            let old = self.gap.filter(|_| model.has(Rule::GapKept));
            let from = old.map_or(time, |gap| gap.from.min(time));
            self.gap = Some(Gap { from, to: world.clock(model, self.fence) + model.late() });
            if self.back.is_none() {
                self.list.gap = self.gap;
            }
        }
    }

    fn breaks(&mut self, model: &Log) {
        self.place = None;
        self.lease = None;
        self.back = None;
        self.fresh = 0;
        if !model.has(Rule::KeptDenySet) {
            self.deny = 0;
        }
        self.page = self.page.map(|(nonce, _)| (nonce, false));
        self.starts_era(model);
    }

    /// Judges own revocations, after a fence that has read all there is.
    fn judges_own(&mut self, model: &Log, world: &World) {
        if self.back.is_none() {
            if let Some(place) = self.place.filter(|_| !model.has(Rule::OwnJudgedAtEnd)) {
                self.forgets_own_by_number(world, world.entry(place.nonce).seq);
            }
            for token in TOKENS {
                let is_missing = self.own[token].take().is_some();
                self.missing |= u8::from(is_missing) << token;
            }
            self.has_judged = true;
        }
    }

    /// The error that a rule prevents: an own revocation counts as seen if its sequence was read.
    fn forgets_own_by_number(&mut self, world: &World, seq: u8) {
        for token in TOKENS {
            if self.own[token].is_some_and(|nonce| world.entry(nonce).seq <= seq) {
                self.own[token] = None;
                self.seen_by_number |= 1 << token;
            }
        }
    }
}

impl Log {
    /// Returns for how long other nodes log in on a primary that this node has left.
    fn late(&self) -> u8 {
        if self.has(Rule::GapMargins) { PATIENCE } else { 0 }
    }

    pub fn node_steps(&self, state: &State, push: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        let State { world, a, .. } = state;
        let can_fence = world.is_vouched_since(a.fence_config);
        if a.fence_config != world.failovers {
            push(Step::AMovesItsFence, &|state| {
                let State { world, a, .. } = state;
                a.fence = world.primary;
                a.fence_config = world.failovers;
                a.half = None;
                a.starts_era(self);
                a.opens_gap(self, world);
            });
        }
        if a.strict_config != world.failovers && self.has_strict_reads {
            push(Step::AMovesItsStrictReads, &|state| {
                state.a.strict = state.world.primary;
                state.a.strict_config = state.world.failovers;
            });
        }
        match (a.half, a.place) {
            (Some(half), _) if can_fence => push(Step::AEndsTheHeadStart, &|state| {
                state.a.ends_head_start(self, &state.world, half);
                state.judges(self);
            }),
            (None, None) if can_fence => push(Step::AStartsAtTheHead, &|state| {
                let State { world, a, .. } = state;
                let place = self.has(Rule::TimeAfterReads).then(|| a.head(self, world));
                a.half = Some(Half { place, time: world.clock(self, a.fence), age: 0 });
            }),
            (None, Some(place)) if can_fence => push(Step::AFences, &|state| {
                state.fences(self, place);
            }),
            _ => {}
        }
        self.back_steps(state, push);
        if self.has_strict_reads {
            self.strict_steps(state, push);
        }
        if self.has_own {
            self.own_steps(state, push);
        }
    }

    fn back_steps(&self, state: &State, push: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        let State { world, a, .. } = state;
        let is_there = |nonce: u8| {
            let incarnation = world.servers[a.fence].incarnation;
            let is_same = a.place.is_some_and(|place| place.incarnation == incarnation);
            is_same && (nonce == 0 || world.log(a.fence).any(|other| other == nonce))
        };
        let can_read = |nonce: &u8| world.is_vouched_since(a.fence_config) && is_there(*nonce);
        if let Some(nonce) = a.back.filter(can_read) {
            push(Step::AReadsBack, &|state| {
                state.a.reads_back(self, &state.world, nonce);
                state.judges(self);
            });
            if self.has_pages && a.page.is_none() {
                push(Step::AAsksForAPage, &|state| state.a.page = Some((nonce, true)));
            }
        }
        if let Some((nonce, is_of_epoch)) = a.page {
            push(Step::AHearsThePage, &|state| {
                state.a.page = None;
                let is_next = is_of_epoch && state.a.back == Some(nonce);
                let is_trusted = !self.has(Rule::PageOfEpoch) && state.a.back.is_some();
                if is_next || is_trusted {
                    state.a.reads_back(self, &state.world, nonce);
                }
            });
        }
    }

    fn strict_steps(&self, state: &State, push: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        let State { world, a, .. } = state;
        if let Some(asked) = a.asked {
            push(Step::AHearsTheStrictRead, &|state| {
                let State { world, a, .. } = state;
                a.asked = None;
                let counts = asked.is_of_era && asked.server == a.fence;
                if asked.is_alive && (counts || !self.has(Rule::Era)) {
                    let is_before = self.has(Rule::StrictDatedBefore);
                    let time = if is_before { asked.time } else { world.clock(self, asked.server) };
                    a.alive_at[asked.token] = Some(time);
                }
            });
        } else if world.is_vouched_since(a.strict_config) {
            for token in TOKENS.into_iter().filter(|token| world.iat[*token].is_some()) {
                push(Step::AReadsStrictly(token), &|state| {
                    let State { world, a, .. } = state;
                    let server = a.strict;
                    let is_alive = world.servers[server].alive & (1 << token) != 0;
                    let time = world.clock(self, server);
                    a.asked = Some(Strict { token, server, is_alive, time, is_of_era: true });
                });
            }
        }
    }

    fn own_steps(&self, state: &State, push: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        let State { world, a, .. } = state;
        if world.entries >= self.entries {
            return;
        }
        for token in TOKENS {
            let is_revoked = world.confirmed & (1 << token) != 0;
            if world.is_vouched_since(a.strict_config) && world.iat[token].is_some() && !is_revoked {
                push(Step::ARevokes { token, server: a.strict }, &|state| {
                    state.revokes(self, token, state.a.strict);
                });
            }
            if world.is_vouched_since(a.fence_config) && a.place.is_some() && a.missing & (1 << token) != 0 {
                push(Step::ARepublishes(token), &|state| {
                    state.a.missing &= !(1 << token);
                    state.revokes(self, token, state.a.fence);
                });
            }
        }
    }
}

impl State {
    fn revokes(&mut self, model: &Log, token: usize, server: usize) {
        let nonce = self.world.revoke(model, token, server);
        self.a.deny |= 1 << token;
        self.a.own[token] = Some(nonce);
        self.a.has_judged = false;
    }

    fn fences(&mut self, model: &Log, place: Place) {
        let State { world, a, .. } = self;
        if a.reads_on(model, world, place) {
            a.lease = Some(LEASE);
            a.judges_own(model, world);
        } else {
            a.breaks(model);
            if world.failovers + world.flushes == 0 {
                self.broken = Some(Broken::ChainBreaksWithoutFault);
            }
        }
    }

    /// Checks that the revocations that A just judged missing are not in the log.
    fn judges(&mut self, model: &Log) {
        let is_there = self.world.revoked(self.a.fence) & self.a.missing != 0;
        if is_there && !model.has(Rule::MissingJudgedAtEnd) {
            self.broken = Some(Broken::RepublishesWhatIsThere);
        }
    }
}

//! The reads of node A: the head start, backwards from there, and forwards.

use super::{super::LEASE, Gap, Half, List, Log, Node, Place, Rule, TOKENS, World};

impl Node {
    /// Adds an entry that the node has read.
    pub(super) fn applies(&mut self, world: &World, nonce: u8) {
        self.deny |= 1 << world.entry(nonce).token;
        if self.back.is_some() {
            self.fresh |= 1 << nonce;
        } else {
            self.list.nonces |= 1 << nonce;
        }
        for token in TOKENS {
            self.own[token] = self.own[token].filter(|own| *own != nonce);
        }
    }

    /// Ends reading back, at the place of the list with this nonce or at the log's end.
    pub(super) fn ends(&mut self, model: &Log, world: &World, ancestor: Option<u8>) {
        let seq = ancestor.map_or(0, |nonce| world.entry(nonce).seq);
        let is_known = |nonce: &u8| world.entry(*nonce).seq <= seq;
        let kept = (1..=world.entries).filter(|nonce| self.list.nonces & (1 << nonce) != 0);
        let kept = kept.filter(is_known).fold(0, |nonces, nonce| nonces | (1 << nonce));
        self.back = None;
        if let Some(nonce) = ancestor {
            // During the patience, other nodes still believe the old primary and log in there.
            let (time, h) = (world.entry(nonce).time, self.h + model.late());
            self.gap = model.has(Rule::GapOfJoin).then(|| Gap {
                from: self.list.gap.filter(|_| model.has(Rule::GapKept)).map_or(time, |gap| gap.from.min(time)),
                to: self.gap.map_or(h, |gap| gap.to.max(h)),
            });
            self.h = self.list.h;
        }
        let is_seen = |nonce: &u8| (kept | self.fresh) & (1 << nonce) != 0;
        let seen = (1..=world.entries).filter(is_seen);
        let seen = seen.fold(0, |tokens, nonce| tokens | (1 << world.entry(nonce).token));
        // The next fence judges own revocations.
        let own = TOKENS.into_iter().filter(|token| self.own[*token].is_some());
        let own = own.fold(0, |tokens, token| tokens | (1 << token));
        self.missing |= self.deny & !seen & !own & !self.seen_by_number;
        self.list = List { nonces: kept | self.fresh, h: self.h, gap: self.gap };
        self.fresh = 0;
    }

    /// Reads one entry back, or finds the end.
    pub(super) fn reads_back(&mut self, model: &Log, world: &World, nonce: u8) {
        if self.list.nonces & (1 << nonce) != 0 && nonce > 0 {
            self.ends(model, world, Some(nonce));
        } else if nonce == 0 {
            if !model.is_strong {
                self.h = self.h.min(world.servers[self.fence].born);
            }
            self.ends(model, world, None);
        } else {
            self.applies(world, nonce);
            self.back = Some(world.entry(nonce).before);
            if !model.is_strong && world.entry(nonce).before > 0 {
                self.h = self.h.min(world.entry(world.entry(nonce).before).time);
            }
        }
    }

    pub(super) fn head(&self, model: &Log, world: &World) -> Place {
        let server = world.servers[self.fence];
        let cursor = if model.has(Rule::Cursor) { world.entry(server.head).seq } else { 0 };
        Place { nonce: server.head, incarnation: server.incarnation, cursor }
    }

    pub(super) fn ends_head_start(&mut self, model: &Log, world: &World, half: Half) {
        let (place, time) = match half.place {
            Some(place) => (place, world.clock(model, self.fence)),
            None => (self.head(model, world), half.time),
        };
        let head = world.entry(place.nonce);
        self.half = None;
        self.place = Some(place);
        self.lease = LEASE.checked_sub(half.age);
        // The time of the newest entry alone would do while one clock never runs back.
        self.h = if half.place.is_some() { time.max(head.time) } else { time };
        // Sessions of an old primary may be younger than H, and lost.
        let had_list = self.list.nonces != 0;
        self.gap = had_list.then(|| Gap { from: self.h, to: self.h + model.late() });
        if !model.has(Rule::FrozenList) {
            self.list.nonces |= 1 << place.nonce;
        }
        if !model.has(Rule::OwnJudgedAtEnd) {
            self.forgets_own_by_number(world, head.seq);
        }
        if !model.has(Rule::MissingJudgedAtEnd) {
            self.missing |= self.deny & !(1 << head.token);
        }
        self.back = Some(place.nonce);
    }

    /// Reads on from the cursor. Returns false if the chain breaks.
    pub(super) fn reads_on(&mut self, model: &Log, world: &World, place: Place) -> bool {
        let server = world.servers[self.fence];
        if server.incarnation != place.incarnation {
            return false;
        }
        let after = |nonce: &u8| world.entry(*nonce).seq > place.cursor;
        let mut nonces: Vec<u8> = world.log(self.fence).filter(after).collect();
        nonces.reverse();
        let mut last = place.nonce;
        for nonce in nonces {
            let entry = world.entry(nonce);
            let by_nonce = entry.before == last || !model.has(Rule::NonceChain);
            if !by_nonce || entry.seq != world.entry(last).seq + 1 {
                return false;
            }
            self.applies(world, nonce);
            last = nonce;
        }
        let (head, seen) = (world.entry(server.head).seq, world.entry(last).seq);
        let is_head = last == server.head || !model.has(Rule::NonceChain);
        self.place = Some(Place { nonce: last, cursor: seen, ..place });
        is_head && head == seen
    }
}

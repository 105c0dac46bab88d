//! The servers, their logs, and the node B, which only revokes.

use super::{BOUND, Log, PATIENCE, SERVERS, State, Step, TOKENS};

/// The number of entries that the table can hold.
pub const MOST: usize = 5;
/// The time at which the model starts. Earlier times lie before it.
const START: u8 = 4;
/// The time of issue of the first token: later than H plus the margin, earlier than a gap.
const MINTED: u8 = 2;
/// The token that was revoked before the model starts.
const PAST: usize = 2;

/// An entry of a log. Its nonce is its index in the table and 1; nonce 0 is the start of a log.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub struct Entry {
    pub token: usize,
    pub seq: u8,
    pub before: u8,
    pub time: u8,
}

#[derive(Clone, Copy, Debug, Hash)]
pub struct Server {
    pub incarnation: u8,
    pub born: u8,
    /// The nonce of the newest entry.
    pub head: u8,
    /// The tokens with a live record, as bits.
    pub alive: u8,
}

#[derive(Clone, Debug, Hash)]
pub struct World {
    pub now: u8,
    pub table: [Entry; MOST],
    pub entries: u8,
    pub servers: [Server; 2],
    pub primary: usize,
    /// The other server copies the primary.
    pub is_attached: bool,
    /// Time since the last failover.
    pub replaced: u8,
    pub failovers: u8,
    pub flushes: u8,
    pub iat: [Option<u8>; 2],
    /// The tokens whose revocation was confirmed, as bits.
    pub confirmed: u8,
    /// For each token, time since its revocation is confirmed and the primary has it.
    pub due: [Option<u8>; 2],
}

impl World {
    pub fn new() -> Self {
        let mut table = [Entry::default(); MOST];
        table[0] = Entry { token: PAST, seq: 1, before: 0, time: 1 };
        let server = Server { incarnation: 0, born: 0, head: 1, alive: 0b01 };
        Self {
            now: START,
            table,
            entries: 1,
            servers: [server; 2],
            primary: 0,
            is_attached: true,
            replaced: PATIENCE + 1,
            failovers: 0,
            flushes: 0,
            iat: [Some(MINTED), None],
            confirmed: 0,
            due: [None; 2],
        }
    }

    pub fn clock(&self, model: &Log, server: usize) -> u8 {
        self.now + model.skew[server]
    }

    /// Returns true if a node may still believe `server`.
    pub fn is_vouched(&self, server: usize) -> bool {
        server == self.primary || (self.failovers > 0 && self.replaced <= PATIENCE)
    }

    /// Returns true if a node may still believe a connection from before the later failovers.
    pub fn is_vouched_since(&self, config: u8) -> bool {
        config == self.failovers || (config + 1 == self.failovers && self.replaced <= PATIENCE)
    }

    pub fn entry(&self, nonce: u8) -> Entry {
        match nonce {
            0 => Entry::default(),
            nonce => self.table[usize::from(nonce) - 1],
        }
    }

    /// Returns the nonces of the log of `server`, the newest first.
    pub fn log(&self, server: usize) -> impl Iterator<Item = u8> {
        let mut nonce = self.servers[server].head;
        std::iter::from_fn(move || {
            let this = nonce;
            nonce = self.entry(nonce).before;
            (this > 0).then_some(this)
        })
    }

    /// Returns the tokens that the log of `server` revokes, as bits.
    pub fn revoked(&self, server: usize) -> u8 {
        self.log(server).fold(0, |tokens, nonce| tokens | (1 << self.entry(nonce).token))
    }

    /// Writes a revocation to `server`, and returns its nonce.
    pub fn revoke(&mut self, model: &Log, token: usize, server: usize) -> u8 {
        let time = self.clock(model, server);
        let Server { head, alive, .. } = &mut self.servers[server];
        let before = *head;
        self.entries += 1;
        *head = self.entries;
        *alive &= !(1 << token);
        let seq = self.entry(before).seq + 1;
        self.table[usize::from(self.entries) - 1] = Entry { token, seq, before, time };
        if token < PAST {
            self.confirmed |= 1 << token;
        }
        self.update_due(model);
        self.entries
    }

    /// Starts and stops the time of each revocation after the primary or its data has changed.
    fn update_due(&mut self, model: &Log) {
        let revoked = self.revoked(self.primary);
        let Server { alive, .. } = self.servers[self.primary];
        for token in TOKENS {
            let is_there = revoked & (1 << token) != 0;
            let is_dead = model.is_strong && alive & (1 << token) == 0;
            let is_due = self.confirmed & (1 << token) != 0 && (is_there || is_dead);
            self.due[token] = is_due.then_some(self.due[token].unwrap_or(0));
        }
    }

    pub fn tick(&mut self) {
        self.now += 1;
        self.replaced = (self.replaced + 1).min(PATIENCE + 1);
        self.due = self.due.map(|due| due.map(|age| (age + 1).min(BOUND + 1)));
    }
}

impl Log {
    pub fn world_steps(&self, state: &State, push: &mut impl FnMut(Step, &dyn Fn(&mut State))) {
        let world = &state.world;
        if world.now < START + self.ticks {
            push(Step::Tick, &|state| {
                state.world.tick();
                state.a.tick();
            });
        }
        for server in SERVERS.into_iter().filter(|server| world.is_vouched(*server)) {
            for token in TOKENS {
                if world.iat[token].is_none() {
                    push(Step::Mints { token, server }, &|state| {
                        state.world.iat[token] = Some(state.world.clock(self, server));
                        state.world.servers[server].alive |= 1 << token;
                    });
                } else if world.entries < self.entries && world.confirmed & (1 << token) == 0 {
                    push(Step::BRevokes { token, server }, &|state| {
                        state.world.revoke(self, token, server);
                    });
                }
            }
        }
        let primary = world.primary;
        let copies = |state: &mut State| {
            let Server { incarnation, born, head, alive } = state.world.servers[primary];
            state.world.servers[1 - primary] = Server { incarnation, born, head, alive };
        };
        if world.is_attached {
            push(Step::Replicates, &copies);
        } else if world.replaced > PATIENCE {
            push(Step::Attaches, &|state| {
                state.world.is_attached = true;
                copies(state);
            });
        }
        if world.failovers < self.failovers && world.is_attached {
            push(Step::Failover, &|state| {
                let world = &mut state.world;
                world.primary = 1 - primary;
                world.is_attached = false;
                world.replaced = 0;
                world.failovers += 1;
                world.due = [None; 2];
                world.update_due(self);
            });
        }
        if world.flushes < self.flushes {
            push(Step::Flush, &|state| {
                let world = &mut state.world;
                world.flushes += 1;
                let (incarnation, born) = (world.flushes, world.clock(self, primary));
                world.servers[primary] = Server { incarnation, born, head: 0, alive: 0 };
                world.update_due(self);
            });
        }
    }
}

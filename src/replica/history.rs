//! The span of a log that a node applied without a hole, and the way back to it after a break.
//!
//! A node starts at the newest entry of a log, not at the oldest. So one small read gives it a
//! lease, however long the log is. The node reads the rest **backwards**, page by page. A break
//! means that the store has lost or replaced data, or that the node has fallen behind. The node
//! then starts at the new head, and reads back until it meets an entry that it knows.
//!
//! # One unit
//!
//! The last steps of the span and its horizon are one **unit**. A break freezes the unit, and a new
//! one begins at the new head. When reading back meets a step of the frozen unit, it joins the two.
//! If steps entered the frozen unit before that, a node would join its own new head after
//! `FLUSHALL`, and believe the old horizon. If reading back ends without a join, the node gives
//! the frozen unit up. A second break before that discards the new unit.
//!
//! # Conclusions from a join
//!
//! | part of the old history | state in the store |
//! |--|--|
//! | up to the entry that was met | present, so the old horizon holds again |
//! | applied after it, and not read again | **lost**, to be republished at once |
//! | sessions opened after it | perhaps lost: the store decides tokens from then to the new head |

use std::collections::VecDeque;

use crate::{
    clock::Timestamp,
    store::{LogCursor, LogEntry, Revocation},
};

/// Maximum of the steps that a unit remembers for a later join. If a store has lost more, the node
/// reads its log back to the end.
const MAX_TRAIL: usize = 1024;
/// Maximum of the epochs that broke again before a join. Beyond it the store flaps, and the node
/// gives the frozen unit up.
const MAX_DISCARDED: usize = 64;

/// An applied entry, or the head from which reading began.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) sequence: u64,
    pub(super) nonce: String,
    pub(super) at: Timestamp,
    /// `None` for the head of a log that no longer holds its newest entry.
    pub(super) revocation: Option<Revocation>,
}

impl Step {
    pub(super) fn of(entry: &LogEntry) -> Self {
        Self {
            sequence: entry.sequence,
            nonce: entry.nonce.clone(),
            at: entry.at,
            revocation: Some(entry.revocation.clone()),
        }
    }
}

/// The times that bound the tokens which a node decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Horizon {
    /// The node holds every revocation after this moment of the store's time.
    pub(super) since: Timestamp,
    /// The node decides tokens of this crate that were issued later. After a break it is later than
    /// `since`: until then, another node may have opened sessions on the replaced server.
    pub(super) own: Timestamp,
    /// The same for tokens of other issuers, whose `iat` comes from other clocks. It is the later
    /// of the store's and this node's time at the first read of the unit. Reading back does not
    /// lower it, because the difference of the clocks at earlier times is unknown.
    pub(super) external: Timestamp,
    /// The span in which sessions were opened that the store may have lost.
    pub(super) gap: Option<Gap>,
}

/// A span of the store's time, with both ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Gap {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// The link from an entry to the one before it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The cursor from which the next page is read backwards.
    pub(super) before: LogCursor,
    pub(super) sequence: u64,
    pub(super) previous: String,
    pub(super) previous_at: Timestamp,
}

#[derive(Clone, Debug)]
struct Unit {
    trail: VecDeque<Step>,
    horizon: Horizon,
    /// The link of the oldest entry that was read; `None` if reading back has ended.
    back: Option<Link>,
}

/// The head of a log, from which reading begins.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) step: Step,
    pub(super) horizon: Horizon,
    /// The link of the newest entry, if the log still holds it.
    pub(super) link: Option<Link>,
}

#[derive(Debug)]
struct Frozen {
    /// The store may have lost sessions.
    loses: bool,
    /// The epochs after the unit's own that broke before a join.
    discarded: Vec<u16>,
    /// The unit that begins at the new head; `None` before the head was read.
    fresh: Option<Unit>,
}

/// The history of one bucket's log.
#[derive(Debug, Default)]
pub(super) struct History {
    unit: Option<Unit>,
    frozen: Option<Frozen>,
}

/// The revocations that the store has lost, as known when reading back after a break ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Lost {
    /// After a join: these revocations, and all entries of these epochs, except those that were
    /// read again in the current epoch.
    These { revocations: Vec<Revocation>, epochs: Vec<u16> },
    /// Without a join: all entries that were not read in the current epoch.
    AllOfBefore,
}

/// A page that was read backwards, cut at the first entry that does not link.
#[derive(Debug, Default)]
pub(super) struct BackPage {
    pub(super) entries: Vec<LogEntry>,
    pub(super) lost: Option<Lost>,
}

impl History {
    /// Returns the current horizon; `None` before the first read.
    pub(super) fn horizon(&self) -> Option<Horizon> {
        self.current().map(|unit| unit.horizon)
    }

    /// Returns true from a break until reading back ends.
    pub(super) fn is_broken(&self) -> bool {
        self.frozen.is_some()
    }

    /// Returns true if older entries remain to be read.
    pub(super) fn has_more_to_read(&self) -> bool {
        self.is_broken() || self.unit.as_ref().is_some_and(|unit| unit.back.is_some())
    }

    /// Returns the cursor of the next page backwards, and the time of the newest entry on it.
    pub(super) fn way_back(&self) -> Option<(&LogCursor, Timestamp)> {
        let back = self.current()?.back.as_ref()?;
        Some((&back.before, back.previous_at))
    }

    fn current(&self) -> Option<&Unit> {
        match &self.frozen {
            Some(frozen) => frozen.fresh.as_ref(),
            None => self.unit.as_ref(),
        }
    }

    fn current_mut(&mut self) -> Option<&mut Unit> {
        match &mut self.frozen {
            Some(frozen) => frozen.fresh.as_mut(),
            None => self.unit.as_mut(),
        }
    }

    /// Freezes the unit. `loses` is true if the store may have lost sessions. `epoch` is the epoch
    /// that the break ends.
    pub(super) fn freeze(&mut self, loses: bool, epoch: u16) {
        if self.unit.is_none() {
            return;
        }
        match &mut self.frozen {
            None => self.frozen = Some(Frozen { loses, discarded: Vec::new(), fresh: None }),
            Some(frozen) => {
                frozen.loses |= loses;
                // Without a unit nothing was read in this epoch.
                if frozen.fresh.take().is_some() {
                    frozen.discarded.push(epoch);
                }
            }
        }
    }

    /// Notes that another server has answered since the break: it may have lost sessions.
    pub(super) fn may_have_lost(&mut self) {
        if let Some(frozen) = &mut self.frozen {
            frozen.loses = true;
        }
    }

    /// Returns true if some remembered steps have this sequence, and none of them has this
    /// revocation.
    pub(super) fn has_other_at(&self, sequence: u64, revocation: &Revocation) -> bool {
        let trail = self.current().into_iter().flat_map(|unit| &unit.trail);
        let mut found =
            trail.filter(|step| step.sequence == sequence).filter_map(|step| step.revocation.as_ref()).peekable();
        found.peek().is_some() && !found.any(|found| found == revocation)
    }

    /// Begins at the head of a log.
    pub(super) fn begin(&mut self, head: Head) -> Option<Lost> {
        let Head { step, horizon, link } = head;
        let (sequence, nonce) = (step.sequence, step.nonce.clone());
        let mut unit = Unit { trail: VecDeque::from([step]), horizon, back: link };
        let Some(frozen) = &mut self.frozen else {
            unit.lower();
            self.unit = Some(unit);
            return None;
        };
        unit.drop_back_at_the_first();
        frozen.fresh = Some(unit);
        if frozen.discarded.len() > MAX_DISCARDED {
            return self.give_up();
        }
        self.join(sequence, &nonce).or_else(|| self.give_up_at_the_end())
    }

    /// Adds an entry that follows the last one.
    pub(super) fn advance(&mut self, step: Step) {
        if let Some(unit) = self.current_mut() {
            unit.push(step);
        }
    }

    /// Raises the horizon to `now`, because `keep` has grown. Entries that were applied before may
    /// leave the deny set while tokens of the new lifetime are alive.
    pub(super) fn raise(&mut self, now: Timestamp) {
        let fresh = self.frozen.as_mut().and_then(|frozen| frozen.fresh.as_mut());
        for unit in self.unit.iter_mut().chain(fresh) {
            unit.horizon.since = unit.horizon.since.max(now);
            unit.horizon.own = unit.horizon.own.max(now);
        }
    }

    /// Forgets a gap that ended by `moment`: no token that was issued in it is alive. Gaps merge.
    /// *After two failovers a month apart, a node would ask about every token of that month.*
    pub(super) fn forget_gap_up_to(&mut self, moment: Timestamp) {
        if let Some(unit) = &mut self.unit {
            unit.horizon.gap = unit.horizon.gap.filter(|gap| moment < gap.to);
        }
    }

    /// Begins to read the span backwards once more. Returns the step of its newest entry, to apply
    /// it again. `link` leads from there to the entry before.
    pub(super) fn read_again(&mut self, link: Link) -> Option<Step> {
        let unit = self.current_mut()?;
        let newest = unit.trail.back().filter(|step| step.revocation.is_some()).cloned()?;
        unit.back = Some(link);
        unit.lower();
        Some(newest)
    }

    /// Stops reading back, because the deny set has no room.
    pub(super) fn stop(&mut self) {
        if let Some(unit) = self.current_mut() {
            unit.back = None;
        }
    }

    /// Applies a page that was read backwards. Its entries are in the order of the log. `more` is
    /// true if the log has older ones.
    pub(super) fn read_back(&mut self, entries: Vec<LogEntry>, more: bool, next: Option<LogCursor>) -> BackPage {
        let mut page = BackPage::default();
        let mut is_linked = true;
        for entry in entries.into_iter().rev() {
            let Some(back) = self.current_mut().and_then(|unit| unit.back.as_mut()) else { break };
            if entry.sequence == back.sequence && entry.previous == back.previous {
                // A sibling: a script failed after it wrote the entry and before it updated `m`.
                // So the next script used the same sequence.
                page.entries.push(entry);
                continue;
            }
            is_linked = entry.sequence.checked_add(1) == Some(back.sequence) && entry.nonce == back.previous;
            if !is_linked {
                break;
            }
            back.sequence = entry.sequence;
            back.previous.clone_from(&entry.previous);
            back.previous_at = entry.previous_at;
            let step = Step::of(&entry);
            let (sequence, nonce) = (step.sequence, step.nonce.clone());
            if let Some(unit) = self.current_mut().filter(|unit| unit.trail.len() < MAX_TRAIL) {
                unit.trail.push_front(step);
            }
            page.entries.push(entry);
            if self.is_broken() {
                page.lost = self.join(sequence, &nonce);
                if page.lost.is_some() {
                    return page;
                }
            }
        }
        let is_broken = self.is_broken();
        if let Some(unit) = self.current_mut() {
            match (&mut unit.back, next) {
                (Some(back), Some(next)) if is_linked && more => back.before = next,
                // The end of the log, or a hole.
                (back, _) => *back = None,
            }
            if let Some(oldest) = page.entries.last().filter(|_| !is_broken) {
                unit.horizon.lower(oldest.previous_at);
            }
            unit.drop_back_at_the_first();
        }
        page.lost = self.give_up_at_the_end();
        page
    }

    /// Joins the two units if the frozen one contains this step.
    fn join(&mut self, sequence: u64, nonce: &str) -> Option<Lost> {
        let unit = self.unit.as_mut()?;
        let is_this = |step: &Step| step.sequence == sequence && step.nonce == nonce;
        let joined = unit.trail.iter().rposition(is_this)?;
        let Frozen { loses, discarded, fresh } = self.frozen.take()?;
        let fresh = fresh?;
        let joined_at = unit.trail.get(joined).map(|step| step.at).unwrap_or_default();
        let revocations = unit.trail.drain(joined + 1..).filter_map(|step| step.revocation).collect();
        for step in fresh.trail.into_iter().filter(|step| step.sequence > sequence) {
            unit.push(step);
        }
        if loses {
            let gap = Gap { from: joined_at, to: fresh.horizon.own };
            unit.horizon.gap = Some(unit.horizon.gap.map_or(gap, |known| known.with(gap)));
        }
        Some(Lost::These { revocations, epochs: discarded })
    }

    /// Gives the frozen unit up if reading back has ended.
    fn give_up_at_the_end(&mut self) -> Option<Lost> {
        let fresh = self.frozen.as_ref()?.fresh.as_ref()?;
        if fresh.back.is_some() { None } else { self.give_up() }
    }

    fn give_up(&mut self) -> Option<Lost> {
        let Frozen { loses, fresh, .. } = self.frozen.take()?;
        self.unit = fresh;
        if loses && let Some(Unit { horizon, .. }) = &mut self.unit {
            // Reading everything again lowers the horizon, but restores no session.
            horizon.gap = Some(Gap { from: Timestamp::default(), to: horizon.own });
        }
        Some(Lost::AllOfBefore)
    }
}

impl Unit {
    fn push(&mut self, step: Step) {
        if self.trail.len() >= MAX_TRAIL {
            self.trail.pop_front();
        }
        self.trail.push_back(step);
    }

    /// Lowers the horizon to the entry before the newest, because the newest is applied.
    fn lower(&mut self) {
        if let Some(back) = &self.back {
            self.horizon.lower(back.previous_at);
        }
        self.drop_back_at_the_first();
    }

    /// Drops the link before the first entry of an incarnation, which has no predecessor.
    fn drop_back_at_the_first(&mut self) {
        if self.back.as_ref().is_some_and(|back| back.sequence <= 1) {
            self.back = None;
        }
    }
}

impl Horizon {
    fn lower(&mut self, moment: Timestamp) {
        self.since = self.since.min(moment);
        self.own = self.own.min(moment);
    }
}

impl Gap {
    /// Returns the span from the earlier beginning to the later end.
    fn with(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }
}

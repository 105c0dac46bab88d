//! The span of a log that a node applied without a hole, and the way back to it after a break.
//!
//! A node starts at the newest entry of a log, not at the oldest. So one small read gives it a
//! lease, however long the log is. The node reads the rest **backwards**, page by page. A break
//! means that the store has lost or replaced data, or that the node has fallen behind. The node
//! then starts at the new head, and reads back until it meets an entry that it knows.
//!
//! # One unit
//!
//! The last steps of the span and its horizon are one **unit**. A break freezes it. Steps that the
//! node reads after the break enter the unit only when reading back has joined it. *Without that, a
//! node takes its own new head for the common ancestor after `FLUSHALL`, and believes the old
//! horizon.* If reading back ends without a join, the unit is given up, and the horizon of the new
//! head holds. A second break before that discards the pages between.
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

/// Upper bound of the steps of a unit that a later join can meet. More is of no use: a store that
/// lost more is read to its end.
const TRAIL: usize = 1024;
/// Upper bound of the epochs that broke again before they were joined. With more of them the unit
/// is given up: the store flaps.
const MOST_DISCARDED: usize = 64;

/// An entry that was applied, or the head from which reading began.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) sequence: u64,
    pub(super) nonce: String,
    pub(super) at: Timestamp,
    /// `None` for the head of a log whose newest entry is gone.
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

/// The times that bound which tokens a node decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Horizon {
    /// The node holds every revocation after this moment of the store's time.
    pub(super) since: Timestamp,
    /// Our own tokens that were issued later are decided here. It is `since`. After a break it is
    /// the moment up to which another node may have opened sessions on a server that was replaced.
    pub(super) own: Timestamp,
    /// The same, for tokens whose time of issue comes from another issuer's clock. It is the later
    /// of the store's and this node's time when the log was first read in this unit. Reading back
    /// does not lower it, because the difference of the clocks at that time is unknown.
    pub(super) external: Timestamp,
    /// Sessions that were opened in this span may be lost.
    pub(super) gap: Option<Gap>,
}

/// A span of the store's time, with both ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Gap {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// The link from an entry that was read to the one before it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The cursor of the entry, or of an older one.
    pub(super) before: LogCursor,
    pub(super) sequence: u64,
    pub(super) previous: String,
    pub(super) previous_at: Timestamp,
}

#[derive(Clone, Debug)]
struct Unit {
    trail: VecDeque<Step>,
    horizon: Horizon,
    /// The link of the oldest entry that was read; `None` if nothing more is to be read back.
    back: Option<Link>,
}

/// The head of a log, from which reading begins.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) step: Step,
    pub(super) horizon: Horizon,
    /// The link of the newest entry, if that is the head.
    pub(super) link: Option<Link>,
}

/// The state of a frozen unit.
#[derive(Debug)]
struct Frozen {
    /// The store may have lost sessions.
    loses: bool,
    /// Epochs since the unit's last one.
    discarded: Vec<u16>,
    /// The unit that begins at the new head; `None` before that was read.
    fresh: Option<Unit>,
}

/// The history of one bucket's log.
#[derive(Debug, Default)]
pub(super) struct History {
    unit: Option<Unit>,
    frozen: Option<Frozen>,
}

/// The outcome of a break that was resolved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Lost {
    /// The old history was joined. The store lacks these revocations and all of these epochs,
    /// except what was read in the current epoch.
    These { revocations: Vec<Revocation>, epochs: Vec<u16> },
    /// Nothing was joined: the store lacks everything that was not read in the current epoch.
    AllOfBefore,
}

/// A page that was read backwards, as far as its entries link.
#[derive(Debug, Default)]
pub(super) struct BackPage {
    /// The entries to be applied.
    pub(super) entries: Vec<LogEntry>,
    pub(super) lost: Option<Lost>,
}

impl History {
    /// Returns the horizon that holds now; `None` before anything was read.
    pub(super) fn horizon(&self) -> Option<Horizon> {
        self.current().map(|unit| unit.horizon)
    }

    /// Returns true until the way back from a break has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.frozen.is_some()
    }

    /// Returns true if older entries are still to be read.
    pub(super) fn has_more_to_read(&self) -> bool {
        self.is_broken() || self.unit.as_ref().is_some_and(|unit| unit.back.is_some())
    }

    /// Returns the cursor of the next page to be read backwards, and the time of the oldest entry
    /// that was read.
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

    /// Freezes the unit. `loses` is true if the store may have lost sessions; `epoch` is the one
    /// that ended.
    pub(super) fn freeze(&mut self, loses: bool, epoch: u16) {
        if self.unit.is_none() {
            return;
        }
        match &mut self.frozen {
            None => self.frozen = Some(Frozen { loses, discarded: Vec::new(), fresh: None }),
            Some(frozen) => {
                frozen.loses |= loses;
                // An epoch in which nothing was read holds no entries.
                if frozen.fresh.take().is_some() {
                    frozen.discarded.push(epoch);
                }
            }
        }
    }

    /// Notes that another server has answered since the unit was frozen: it may lack sessions.
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
        if frozen.discarded.len() > MOST_DISCARDED {
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

    /// Raises the horizon to `now`. Entries that were applied before may be forgotten too early for
    /// tokens that live as long as is now allowed.
    pub(super) fn raise(&mut self, now: Timestamp) {
        let fresh = self.frozen.as_mut().and_then(|frozen| frozen.fresh.as_mut());
        for unit in self.unit.iter_mut().chain(fresh) {
            unit.horizon.since = unit.horizon.since.max(now);
            unit.horizon.own = unit.horizon.own.max(now);
        }
    }

    /// Forgets a gap that ended by `moment`: no token that was issued in it is alive. *A node that
    /// has seen two failovers a month apart would ask about every token of that month.*
    pub(super) fn forget_gap_up_to(&mut self, moment: Timestamp) {
        if let Some(unit) = &mut self.unit {
            unit.horizon.gap = unit.horizon.gap.filter(|gap| moment < gap.to);
        }
    }

    /// Begins to read the span once more, from its newest entry on, and returns that entry's step,
    /// to be applied again. `link` leads from there to the entry before.
    pub(super) fn read_again(&mut self, link: Link) -> Option<Step> {
        let unit = self.current_mut()?;
        let newest = unit.trail.back().filter(|step| step.revocation.is_some()).cloned()?;
        unit.back = Some(link);
        unit.lower();
        Some(newest)
    }

    /// Stops reading back, as there is no room for more.
    pub(super) fn stop(&mut self) {
        if let Some(unit) = self.current_mut() {
            unit.back = None;
        }
    }

    /// Applies a page that was read backwards: its entries, oldest first. `more` is true if the log
    /// has older ones.
    pub(super) fn read_back(&mut self, entries: Vec<LogEntry>, more: bool, next: Option<LogCursor>) -> BackPage {
        let mut page = BackPage::default();
        let mut is_linked = true;
        for entry in entries.into_iter().rev() {
            let Some(back) = self.current_mut().and_then(|unit| unit.back.as_mut()) else { break };
            if entry.sequence == back.sequence && entry.previous == back.previous {
                // A sibling: a script failed between the entry and `m`, and the next script took
                // the same sequence.
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
            if let Some(unit) = self.current_mut().filter(|unit| unit.trail.len() < TRAIL) {
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
                // The oldest entry that the log holds, or the last one before a hole.
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

    /// Joins the frozen unit, if it contains this step.
    fn join(&mut self, sequence: u64, nonce: &str) -> Option<Lost> {
        let unit = self.unit.as_mut()?;
        let is_it = |step: &Step| step.sequence == sequence && step.nonce == nonce;
        let met = unit.trail.iter().rposition(is_it)?;
        let Frozen { loses, discarded, fresh } = self.frozen.take()?;
        let fresh = fresh?;
        let joined_at = unit.trail.get(met).map(|step| step.at).unwrap_or_default();
        let revocations = unit.trail.drain(met + 1..).filter_map(|step| step.revocation).collect();
        for step in fresh.trail.into_iter().filter(|step| step.sequence > sequence) {
            unit.push(step);
        }
        if loses {
            let gap = Gap { from: joined_at, to: fresh.horizon.own };
            unit.horizon.gap = Some(unit.horizon.gap.map_or(gap, |known| known.with(gap)));
        }
        Some(Lost::These { revocations, epochs: discarded })
    }

    /// Gives the frozen unit up if nothing more is to be read back.
    fn give_up_at_the_end(&mut self) -> Option<Lost> {
        let fresh = self.frozen.as_ref()?.fresh.as_ref()?;
        if fresh.back.is_some() { None } else { self.give_up() }
    }

    fn give_up(&mut self) -> Option<Lost> {
        let Frozen { loses, fresh, .. } = self.frozen.take()?;
        self.unit = fresh;
        if loses && let Some(Unit { horizon, .. }) = &mut self.unit {
            // Reading all once more lowers the horizon, and brings no session back.
            horizon.gap = Some(Gap { from: Timestamp::default(), to: horizon.own });
        }
        Some(Lost::AllOfBefore)
    }
}

impl Unit {
    fn push(&mut self, step: Step) {
        if self.trail.len() >= TRAIL {
            self.trail.pop_front();
        }
        self.trail.push_back(step);
    }

    /// Lowers the horizon to the entry before the newest, which is applied.
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

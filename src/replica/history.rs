//! The entries of one log that a node has applied, and the way back to older entries.
//!
//! A node starts at the newest entry of a log, the head. One small read then grants a lease, even
//! if the log is long. After that, the node reads the older entries **backwards**, page by page.
//!
//! A *break* means that the store has lost or replaced data, or that the node has fallen behind.
//! After a break, the node starts again at the new head. It reads back until it finds an entry that
//! it applied before the break.
//!
//! # Units
//!
//! A **unit** consists of the newest entries that the node has applied without a missing entry (its
//! *steps*), and of their horizon. At a break:
//!
//! 1. The node *freezes* the unit, and begins a new unit at the new head.
//! 2. If reading back finds a step of the frozen unit, the node *joins* the two units.
//! 3. If reading back ends without a join, the node discards the frozen unit.
//! 4. If another break comes first, the node discards the new unit.
//!
//! Before the join, the node adds steps only to the new unit. *If it added the new head to the
//! frozen unit, reading back would always find a common step: the new head itself. Even after
//! `FLUSHALL`, the node would then trust the old horizon.*
//!
//! # Conclusions from a join
//!
//! The *common entry* is the step that both units contain.
//!
//! | part of the old history | state in the store |
//! |--|--|
//! | entries up to the common entry | present: the old horizon is valid again |
//! | later entries that the node has not read again | **lost**: the node republishes them |
//! | sessions opened between that entry and the new horizon | perhaps lost: the store decides |

use std::collections::VecDeque;

use crate::{
    clock::Timestamp,
    store::{LogCursor, LogEntry, Revocation},
};

/// Maximum count of steps in a unit. If the store has lost more entries, the node finds no common
/// entry, and reads the whole log back.
const MAX_TRAIL: usize = 1024;
/// Maximum count of further breaks before the node finds an entry from before the first break.
/// After more breaks, the node discards the history from before the first break.
const MAX_DISCARDED: usize = 64;

/// An applied entry, or the head at which reading began.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) sequence: u64,
    pub(super) nonce: String,
    pub(super) at: Timestamp,
    /// `None` for a head whose entry is no longer in the log.
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

/// The times that determine about which tokens a node may decide.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Horizon {
    /// The node has applied every revocation that the store logged after this time (server time).
    pub(super) since: Timestamp,
    /// The node may decide about this crate's tokens that were issued after this time. After a
    /// break it may be later than `since`: other nodes may have opened sessions on the replaced
    /// server for a while, and the new server lacks them.
    pub(super) own: Timestamp,
    /// The node may decide about other issuers' tokens that were issued after this time. It is the
    /// store's time or this node's time at the first read, whichever is later. Reading back does
    /// not lower it, because the two clocks may have differed more at earlier times.
    pub(super) external: Timestamp,
    /// The store may have lost sessions that were opened in this range of time.
    pub(super) gap: Option<Gap>,
}

/// A range of the store's time. Both ends are included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Gap {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// The link from an entry to the entry before it, and the cursor with which the node reads older
/// entries.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The next page backwards contains the entries just before this cursor.
    pub(super) before: LogCursor,
    pub(super) sequence: u64,
    pub(super) previous: String,
    pub(super) previous_at: Timestamp,
}

#[derive(Clone, Debug)]
/// The newest entries that the node has applied without a missing entry, and their horizon.
struct Unit {
    trail: VecDeque<Step>,
    horizon: Horizon,
    /// The link of the oldest entry that the node has read; `None` if reading back has ended.
    back: Option<Link>,
}

/// The head of a log, at which reading begins.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) step: Step,
    pub(super) horizon: Horizon,
    /// The link of the newest entry, if this entry is still in the log.
    pub(super) link: Option<Link>,
}

#[derive(Debug)]
/// The state after a break. It ends when the node finds an entry that it applied before the break,
/// or when reading back ends.
struct Frozen {
    /// True if the store may have lost sessions at the break.
    loses: bool,
    /// The numbers of the epochs that began after the first break and have ended at a later break.
    discarded: Vec<u16>,
    /// The new unit, which begins at the new head; `None` until the node has read the head.
    fresh: Option<Unit>,
}

/// The history of one bucket's log.
#[derive(Debug, Default)]
pub(super) struct History {
    unit: Option<Unit>,
    frozen: Option<Frozen>,
}

/// The revocations that the store has lost. The node determines them at a join, or when reading
/// back has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Lost {
    /// After a join: these revocations, and all entries of these epochs. An entry that the node has
    /// read again in the current epoch is not lost.
    These { revocations: Vec<Revocation>, epochs: Vec<u16> },
    /// Without a join: all entries that the node has not read in the current epoch.
    AllOfBefore,
}

/// The entries of a page backwards that continue the chain, from the newest to the oldest.
#[derive(Debug, Default)]
pub(super) struct BackPage {
    pub(super) entries: Vec<LogEntry>,
    pub(super) lost: Option<Lost>,
}

impl History {
    /// Returns the current horizon; `None` until the node has read the head.
    pub(super) fn horizon(&self) -> Option<Horizon> {
        self.current().map(|unit| unit.horizon)
    }

    /// Returns true from a break until the node finds an entry that it applied before the break, or
    /// until reading back ends.
    pub(super) fn is_broken(&self) -> bool {
        self.frozen.is_some()
    }

    /// Returns true if older entries remain to be read, or if the log is broken.
    pub(super) fn has_more_to_read(&self) -> bool {
        self.is_broken() || self.unit.as_ref().is_some_and(|unit| unit.back.is_some())
    }

    /// Returns the cursor of the next page backwards, and the time of the newest entry on that
    /// page. Returns `None` if reading back has ended.
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

    /// Freezes the unit after a break. `loses` is true if the store may have lost sessions. `epoch`
    /// is the number of the epoch that ends with this break.
    pub(super) fn freeze(&mut self, loses: bool, epoch: u16) {
        if self.unit.is_none() {
            return;
        }
        match &mut self.frozen {
            None => self.frozen = Some(Frozen { loses, discarded: Vec::new(), fresh: None }),
            Some(frozen) => {
                frozen.loses |= loses;
                // If there is no new unit, the node has read nothing in this epoch. Then there is
                // nothing to note.
                if frozen.fresh.take().is_some() {
                    frozen.discarded.push(epoch);
                }
            }
        }
    }

    /// Notes that another server answers after the break. That server may have lost sessions.
    pub(super) fn may_have_lost(&mut self) {
        if let Some(frozen) = &mut self.frozen {
            frozen.loses = true;
        }
    }

    /// Returns true if the unit has entries with this sequence, and none of them contains this
    /// revocation.
    pub(super) fn has_other_at(&self, sequence: u64, revocation: &Revocation) -> bool {
        let trail = self.current().into_iter().flat_map(|unit| &unit.trail);
        let mut found =
            trail.filter(|step| step.sequence == sequence).filter_map(|step| step.revocation.as_ref()).peekable();
        found.peek().is_some() && !found.any(|found| found == revocation)
    }

    /// Begins a unit at the head of a log. If the state after a break ends with this head, returns
    /// the revocations that the store has lost.
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

    /// Adds the step of the entry that follows the newest step.
    pub(super) fn advance(&mut self, step: Step) {
        if let Some(unit) = self.current_mut() {
            unit.push(step);
        }
    }

    /// Raises the horizon to `now`, because `keep` has grown and tokens may live longer. The deny
    /// set may have removed entries that matter for such tokens.
    pub(super) fn raise(&mut self, now: Timestamp) {
        let fresh = self.frozen.as_mut().and_then(|frozen| frozen.fresh.as_mut());
        for unit in self.unit.iter_mut().chain(fresh) {
            unit.horizon.since = unit.horizon.since.max(now);
            unit.horizon.own = unit.horizon.own.max(now);
        }
    }

    /// Removes a gap that ended by `moment`: all tokens from the gap have expired. *Otherwise the
    /// next failover widens the gap. After two failovers a month apart, a node would ask the store
    /// about every token of that month.*
    pub(super) fn forget_gap_up_to(&mut self, moment: Timestamp) {
        if let Some(unit) = &mut self.unit {
            unit.horizon.gap = unit.horizon.gap.filter(|gap| moment < gap.to);
        }
    }

    /// Starts to read the log backwards once more. Returns the step of the newest entry, which the
    /// caller applies again. `link` is the link of that entry.
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

    /// Applies a page that was read backwards. `entries` are in the order of the log. `more` is
    /// true if the log has older entries, and `next` is the cursor for them.
    pub(super) fn read_back(&mut self, entries: Vec<LogEntry>, more: bool, next: Option<LogCursor>) -> BackPage {
        let mut page = BackPage::default();
        let mut is_linked = true;
        for entry in entries.into_iter().rev() {
            let Some(back) = self.current_mut().and_then(|unit| unit.back.as_mut()) else { break };
            if entry.sequence == back.sequence && entry.previous == back.previous {
                // A sibling: a script failed after it wrote the entry and before it updated the
                // head in `m`. So the next script used the same sequence and predecessor.
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
                // The log has no older entry, or the next older entry is missing.
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

    /// Joins the new unit to the frozen unit if the frozen unit contains this step. Returns the
    /// lost revocations after a join, otherwise `None`.
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

    /// Discards the frozen unit if reading back has ended.
    fn give_up_at_the_end(&mut self) -> Option<Lost> {
        let fresh = self.frozen.as_ref()?.fresh.as_ref()?;
        if fresh.back.is_some() { None } else { self.give_up() }
    }

    fn give_up(&mut self) -> Option<Lost> {
        let Frozen { loses, fresh, .. } = self.frozen.take()?;
        self.unit = fresh;
        if loses && let Some(Unit { horizon, .. }) = &mut self.unit {
            // The store may have lost any session from before `own`. The horizon may fall when the
            // node reads the log back again, but the gap then still covers these sessions.
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

    /// Lowers the horizon to the time of the entry before the newest one, because the node has
    /// applied the newest one.
    fn lower(&mut self) {
        if let Some(back) = &self.back {
            self.horizon.lower(back.previous_at);
        }
        self.drop_back_at_the_first();
    }

    /// Removes the link if it is the link of an incarnation's first entry, because that entry has
    /// no predecessor.
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
    /// Returns the range from the earlier beginning to the later end.
    fn with(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }
}

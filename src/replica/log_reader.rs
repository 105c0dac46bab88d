//! The log of one bucket, as it is read: chain, lease, and the changes that a page causes. It has
//! no clock and does no I/O.
//!
//! The task starts a read ([`start_read`](LogReader::start_read)) and fetches the page. With that
//! it finishes the read ([`finish_read`](LogReader::finish_read)). A page contains every revocation
//! that the store had confirmed **before** the read started. So a lease runs from that moment.
//!
//! # Conclusions from a page
//!
//! | in the page | conclusion |
//! |--|--|
//! | any entry, and the reader has applied none | it starts there: **lease**, then reads back |
//! | entries that link to the last one applied, each to the one before | they are applied |
//! | all is applied, down to the last nonce | lease, to the read's start plus `staleness` |
//! | more to be read | no lease; the next page at once, and after some pages a jump to the head |
//! | another incarnation or server | **break**: no lease, and the reader starts at the new head |
//! | a sequence or nonce that does not link | break |
//! | an end that is behind the last entry applied | break |
//! | no entry of this node's own revocation, in a later read | that is **lost** |
//!
//! Sequences alone are not enough. A promoted replica that lost two entries and wrote two others
//! has the same sequences, and lower ids of the stream. A reader would find nothing new.
//!
//! # The horizon
//!
//! The node knows every revocation since its horizon. It decides tokens that were issued later, and
//! the store all others. A node that starts knows none of the entries up to the head, and the
//! head's time bounds them all. Each page that is read back lowers the horizon. After a break the
//! store may have lost sessions as well, which no entry shows. So the horizon is the store's time
//! **after** the read, until the old history is joined.
//!
//! The node keeps entries for `keep`, which only grows. When it has grown, the reader raises the
//! horizon, and reads everything back once more.

use std::{collections::VecDeque, time::Duration};

use super::{
    deny_set::LAST_EPOCH,
    history::{BackPage, Head, History, Horizon, Link, Lost, Step},
};
use crate::{
    clock::Timestamp,
    store::{LogCursor, LogEntry, LogPage, LogPosition, LogQuery, Revocation, ServerId},
};

/// Upper bound of the own revocations that the log does not have yet. Beyond it they count as lost
/// until the log has them.
pub(super) const MAX_PENDING: usize = 4096;
/// The count of pages in a row that leave more to be read, after which the reader jumps to the
/// head.
const PAGES_IN_A_ROW: u32 = 4;

/// The state of reading one bucket's log.
#[derive(Debug)]
pub(super) struct LogReader {
    /// Maximum age of the data that a local decision may use. Zero: this node decides nothing.
    staleness: Duration,
    /// The last entry that was applied; `None` before the head was read.
    last: Option<LastEntry>,
    history: History,
    /// The sequence of the head from which the current epoch began.
    head: u64,
    keep: Duration,
    /// `keep` has grown, and the span is to be read once more.
    must_read_again: bool,
    server: Option<ServerId>,
    connection: u64,
    /// This read and earlier ones grant no lease. A number and not a time: a read and a revocation
    /// may fall into one moment of the clock.
    void_up_to: u64,
    /// Count of log restarts. It wraps.
    epoch: u16,
    /// True if anything was read in this epoch.
    was_read: bool,
    /// The number of the last read, if its page has not come.
    open: Option<u64>,
    /// Count of reads that were started.
    started: u64,
    /// Count of pages in a row that left more to be read.
    behind: u32,
    pending: VecDeque<PendingRevocation>,
}

/// An own revocation that the log does not have yet.
#[derive(Debug)]
struct PendingRevocation {
    /// The number of the last read that was started before the store confirmed the revocation.
    read: u64,
    position: LogPosition,
    revocation: Revocation,
}

#[derive(Debug)]
struct LastEntry {
    incarnation: String,
    sequence: u64,
    nonce: String,
    /// The nonce of the entry before, and its time; `None` if the entry itself was gone.
    previous: Option<(String, Timestamp)>,
    cursor: Option<LogCursor>,
}

/// A read of the log whose page has not come.
#[derive(Clone, Debug)]
pub(super) struct PendingRead {
    number: u64,
    began: Duration,
    pub(super) query: LogQuery,
}

/// A read backwards whose page has not come.
#[derive(Clone, Debug)]
pub(super) struct PendingBackRead {
    epoch: u16,
    pub(super) query: LogQuery,
}

/// The cause of a new start at the head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Break {
    /// The store has begun another incarnation.
    Incarnation,
    /// The store has less than the reader has applied, or other entries; or entries were removed
    /// unread.
    Chain,
    /// Another server answers. Its log may continue at the same position, and still lack sessions
    /// of the one before.
    Server,
    /// The log has grown faster than it is read.
    Behind,
}

/// The state changes that one page causes. The bucket first ends the lease on a break. Then it
/// applies the entries and the bounds, grants the lease, and marks the lost entries.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// The epoch in which the entries were read.
    pub(super) epoch: u16,
    pub(super) broke: Option<Break>,
    pub(super) entries: Vec<LogEntry>,
    /// An earlier entry, to be applied once more because it is kept for longer now.
    pub(super) again: Option<LogEntry>,
    pub(super) bounds: Option<Bounds>,
    /// The end of the new lease, by the clock of the reads.
    pub(super) lease: Option<Duration>,
    /// The time as of which every revocation is applied, by the clock of the reads.
    pub(super) known: Option<Duration>,
    /// There is more to be read at once.
    pub(super) more: bool,
    /// Own revocations that the log must have by now.
    pub(super) overdue: Vec<Revocation>,
    pub(super) lost: Option<Lost>,
}

/// The bounds of the tokens that a node decides, and the era in which a confirmation by the store
/// counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bounds {
    pub(super) horizon: Horizon,
    /// Upper bound of a token's lifetime: the log does not keep entries for longer.
    pub(super) keep: Duration,
    pub(super) era: Era,
}

/// A span of time in which one server answered for one history of the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Era {
    pub(super) epoch: u16,
    pub(super) server: Option<ServerId>,
    pub(super) connection: u64,
}

impl LastEntry {
    fn link(&self) -> Option<Link> {
        let (previous, previous_at) = self.previous.clone()?;
        Some(Link { before: self.cursor.clone()?, sequence: self.sequence, previous, previous_at })
    }
}

impl LogReader {
    pub(super) fn new(staleness: Duration) -> Self {
        Self {
            staleness,
            last: None,
            history: History::default(),
            head: 0,
            keep: Duration::ZERO,
            must_read_again: false,
            server: None,
            connection: 0,
            void_up_to: 0,
            epoch: 0,
            was_read: false,
            open: None,
            started: 0,
            behind: 0,
            pending: VecDeque::new(),
        }
    }

    pub(super) fn epoch(&self) -> u16 {
        self.epoch
    }

    /// Returns true while the way back from a break has not ended.
    pub(super) fn is_broken(&self) -> bool {
        self.history.is_broken()
    }

    /// Tracks an own revocation until the log has it. It is lost if a later read reaches the end of
    /// the log and does not find it. Returns false if too many are tracked already.
    pub(super) fn track_pending(&mut self, revocation: &Revocation, position: &LogPosition) -> bool {
        let has_room = self.pending.len() < MAX_PENDING;
        if has_room {
            let (position, revocation) = (position.clone(), revocation.clone());
            self.pending.push_back(PendingRevocation { read: self.started, position, revocation });
        }
        has_room
    }

    /// Returns the least time for which entries matter.
    pub(super) fn keep(&self) -> Duration {
        self.keep
    }

    /// Starts the next read, of at most `limit` entries. An earlier read whose page has not come is
    /// given up: its page would prove nothing more.
    pub(super) fn start_read(&mut self, now: Duration, limit: u32) -> PendingRead {
        self.started = self.started.wrapping_add(1);
        self.open = Some(self.started);
        let query = match &self.last {
            Some(last) => LogQuery::after(last.cursor.clone()).limit(limit),
            None => LogQuery::newest(),
        };
        PendingRead { number: self.started, began: now, query }
    }

    /// Starts the next read backwards, if there is more to be read.
    pub(super) fn start_back_read(&self, limit: u32) -> Option<PendingBackRead> {
        let (cursor, _) = self.history.way_back()?;
        Some(PendingBackRead { epoch: self.epoch, query: LogQuery::before(cursor.clone()).limit(limit) })
    }

    /// Returns the time of the oldest entry that was read, and true if reading back is urgent;
    /// `None` if no more is to be read.
    pub(super) fn way_back(&self) -> Option<(Timestamp, bool)> {
        self.history.way_back().map(|(_, oldest)| (oldest, self.history.is_broken()))
    }

    /// Voids all reads so far: they grant no lease, because their pages may lack the latest event
    /// in the store. The caller ends the lease.
    pub(super) fn require_later_read(&mut self) {
        self.void_up_to = self.started;
    }

    /// Returns true if the entry at this position was passed: it is applied, or no token that it
    /// concerns is decided here.
    pub(super) fn has_passed(&self, position: &LogPosition) -> bool {
        let is_passed =
            |last: &LastEntry| last.incarnation == position.incarnation && last.sequence >= position.sequence;
        self.last.as_ref().is_some_and(is_passed)
    }

    /// Returns true if the entry at this position was applied.
    pub(super) fn has_applied(&self, position: &LogPosition) -> bool {
        self.has_passed(position) && (position.sequence > self.head || !self.history.has_more_to_read())
    }

    /// Returns true if the own revocation at this position was applied. *A server that is about to
    /// be replaced confirms it, and the new one gives its sequence to another. By the sequence it
    /// would count as applied.*
    pub(super) fn has_applied_own(&self, revocation: &Revocation, position: &LogPosition) -> bool {
        self.has_applied(position) && !self.history.has_other_at(position.sequence, revocation)
    }

    /// Finishes a read with its page. `wall` is the time of this node's clock when it came.
    pub(super) fn finish_read(&mut self, read: &PendingRead, page: LogPage, wall: Timestamp) -> Change {
        if self.open.take_if(|open| *open == read.number).is_none() {
            return Change::default();
        }
        if self.last.is_none() {
            return self.start_at_head(read, page, wall);
        }
        self.go_on(read, page)
    }

    /// Starts at the newest entry.
    fn start_at_head(&mut self, read: &PendingRead, page: LogPage, wall: Timestamp) -> Change {
        self.grow(&page);
        let LogPage { now, server, incarnation, sequence, head, at, max_staleness, mut entries, next, .. } = page;
        let max_failover = page.max_failover;
        // The later of the two: entries may have been written between the two reads.
        let is_head =
            |entry: &LogEntry| entry.sequence > sequence || (entry.sequence == sequence && entry.nonce == head);
        let newest = entries.pop().filter(is_head).map(|entry| self.extend_until(entry));
        let step = match &newest {
            Some(entry) => Step { at: entry.at.max(at), ..Step::of(entry) },
            None => Step { sequence, nonce: head, at, revocation: None },
        };
        let since = if self.is_broken() { now.max(step.at) } else { step.at };
        // Until `since + max_failover`, a node may have opened sessions on the replaced server.
        let own = if self.is_broken() { since.saturating_add(max_failover) } else { since };
        let horizon = Horizon { since, own, external: wall.max(now), gap: None };
        let previous = newest.as_ref().map(|entry| (entry.previous.clone(), entry.previous_at));
        let last =
            LastEntry { incarnation, sequence: step.sequence, nonce: step.nonce.clone(), previous, cursor: next };
        let link = last.link();
        self.head = step.sequence;
        if self.server.is_some() && self.server != server {
            self.history.may_have_lost();
        }
        (self.server, self.connection) = (server, page.connection);
        self.last = Some(last);
        self.was_read = true;
        let lost = self.history.begin(Head { step, horizon, link });
        self.reach_end(read, max_staleness, newest.into_iter().collect(), lost)
    }

    /// Continues after the last entry.
    fn go_on(&mut self, read: &PendingRead, page: LogPage) -> Change {
        if self.last.as_ref().is_some_and(|last| last.incarnation != page.incarnation) {
            return self.restart_at_head(Break::Incarnation);
        }
        if self.server.is_some() && self.server != page.server {
            return self.restart_at_head(Break::Server);
        }
        self.grow(&page);
        // Long enough for every token of that span to be dead, wherever clocks stand.
        self.history.forget_gap_up_to(page.now.saturating_sub(self.keep.saturating_mul(2)));
        let LogPage { server, sequence, head, max_staleness, entries, more, next, .. } = page;
        let Some(mut last) = self.last.take() else { return Change::default() };
        for entry in &entries {
            let follows = last.sequence.checked_add(1) == Some(entry.sequence) && last.nonce == entry.previous;
            // A script failed between the entry and `m`, and the next one took the same sequence:
            // both are applied.
            let is_sibling = last.sequence == entry.sequence
                && last.previous.as_ref().is_some_and(|(previous, _)| *previous == entry.previous);
            if !follows && !is_sibling {
                return self.restart_at_head(Break::Chain);
            }
            last.sequence = entry.sequence;
            last.nonce.clone_from(&entry.nonce);
            last.previous = Some((entry.previous.clone(), entry.previous_at));
        }
        let is_at_end = last.sequence == sequence && last.nonce == head;
        if !is_at_end && !more {
            return self.restart_at_head(Break::Chain);
        }
        last.cursor = next;
        self.last = Some(last);
        (self.server, self.connection) = (server, page.connection);
        for entry in &entries {
            self.history.advance(Step::of(entry));
        }
        let entries = entries.into_iter().map(|entry| self.extend_until(entry)).collect();
        if is_at_end {
            self.behind = 0;
            return self.reach_end(read, max_staleness, entries, None);
        }
        self.behind += 1;
        let epoch = self.epoch;
        let broke = (self.behind > PAGES_IN_A_ROW).then(|| self.jump_to_head());
        Change { epoch, broke, entries, more: true, ..Change::default() }
    }

    /// Concludes a read that reached the end of the log: every entry is applied that the store had
    /// confirmed before the read started.
    fn reach_end(
        &mut self,
        read: &PendingRead,
        max_staleness: Duration,
        entries: Vec<LogEntry>,
        lost: Option<Lost>,
    ) -> Change {
        let again = self.read_again();
        let is_known = read.number > self.void_up_to;
        let may_decide = !self.staleness.is_zero() && max_staleness >= self.staleness && is_known;
        Change {
            epoch: self.epoch,
            broke: None,
            overdue: self.take_overdue(read.number),
            entries,
            again,
            bounds: self.bounds(),
            lease: may_decide.then(|| read.began.saturating_add(self.staleness)),
            known: is_known.then_some(read.began),
            more: false,
            lost,
        }
    }

    /// Finishes a read backwards with its page.
    pub(super) fn finish_back_read(&mut self, read: &PendingBackRead, page: LogPage) -> Change {
        let is_of_this = |last: &LastEntry| last.incarnation == page.incarnation;
        if read.epoch != self.epoch || !self.last.as_ref().is_some_and(is_of_this) {
            return Change::default();
        }
        let read_from = read.query.cursor();
        if self.history.way_back().is_none_or(|(cursor, _)| Some(cursor) != read_from) {
            return Change::default();
        }
        let LogPage { now, entries, more, next, .. } = page;
        // Older entries concern no token that is alive.
        let is_over = |entry: &LogEntry| entry.at.saturating_add(self.keep) < now;
        let more = more && !entries.first().is_some_and(is_over);
        let BackPage { entries, lost } = self.history.read_back(entries, more, next);
        let entries = entries.into_iter().map(|entry| self.extend_until(entry)).collect();
        let again = self.read_again();
        Change { epoch: self.epoch, entries, again, bounds: self.bounds(), lost, ..Change::default() }
    }

    /// Stops reading back: there is no room for more.
    pub(super) fn stop_reading_back(&mut self) {
        self.history.stop();
    }

    fn bounds(&self) -> Option<Bounds> {
        let era = Era { epoch: self.epoch, server: self.server, connection: self.connection };
        self.history.horizon().map(|horizon| Bounds { horizon, keep: self.keep, era })
    }

    /// Notes the time for which the log keeps entries. If that has grown, the entries read before
    /// no longer decide any token.
    fn grow(&mut self, page: &LogPage) {
        if self.history.horizon().is_some() && page.keep > self.keep {
            self.history.raise(page.now);
            self.must_read_again = true;
        }
        self.keep = self.keep.max(page.keep);
    }

    /// Begins to read the span once more, if that is necessary. Returns the newest entry, to be
    /// applied again.
    fn read_again(&mut self) -> Option<LogEntry> {
        if !self.must_read_again || self.is_broken() {
            return None;
        }
        self.must_read_again = false;
        let last = self.last.as_ref()?;
        let (previous, previous_at) = last.previous.clone()?;
        let Step { sequence, nonce, at, revocation } = self.history.read_again(last.link()?)?;
        let until = at.saturating_add(self.keep);
        Some(LogEntry { sequence, nonce, previous, previous_at, at, revocation: revocation?, until })
    }

    /// Extends the time to which an entry matters, up to the time for which entries are kept now.
    fn extend_until(&self, mut entry: LogEntry) -> LogEntry {
        entry.until = entry.until.max(entry.at.saturating_add(self.keep));
        entry
    }

    /// Takes the own revocations that read `number` must have found. Those in the part that is
    /// still to be read back stay until that has ended. *A failover loses one, and the new server
    /// gives its sequence to another: by the sequence it would count as read.*
    fn take_overdue(&mut self, number: u64) -> Vec<Revocation> {
        let Some(last) = &self.last else { return Vec::new() };
        let all_is_read = !self.history.has_more_to_read();
        let mut overdue = Vec::new();
        self.pending.retain(|pending| {
            let is_after_the_head =
                pending.position.sequence > self.head && pending.position.incarnation == last.incarnation;
            let is_overdue = pending.read < number && (all_is_read || is_after_the_head);
            if is_overdue {
                overdue.push(pending.revocation.clone());
            }
            !is_overdue
        });
        overdue
    }

    /// Forgets the last entry, to start at the head again.
    fn restart_at_head(&mut self, why: Break) -> Change {
        self.last = None;
        self.history.freeze(why != Break::Behind, self.epoch);
        self.behind = 0;
        if std::mem::take(&mut self.was_read) {
            self.epoch = if self.epoch < LAST_EPOCH { self.epoch + 1 } else { 0 };
            // The first restart reads at once. A log that breaks again before its head was read
            // waits for the next poll.
            return Change { broke: Some(why), more: true, ..Change::default() };
        }
        Change { broke: Some(why), ..Change::default() }
    }

    fn jump_to_head(&mut self) -> Break {
        self.restart_at_head(Break::Behind);
        Break::Behind
    }
}

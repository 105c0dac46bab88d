//! The reader of one bucket's log. It checks that entries link to each other, grants leases, and
//! returns the changes that a page causes. It has no clock and does no I/O.
//!
//! A read has three steps: the task starts it ([`start_read`](LogReader::start_read)), fetches the
//! page, and finishes it with the page ([`finish_read`](LogReader::finish_read)). If the page
//! reaches the end of the log, the node has every revocation that the store had confirmed
//! **before** the read started. So a lease runs from the start of the read.
//!
//! # Conclusions from a page
//!
//! | page | conclusion |
//! |--|--|
//! | the first page of the reader | **lease**; the reader starts at the head, and reads back |
//! | each entry links to the entry before it | the bucket applies the entries |
//! | the last entry is the head | lease, until the read's start plus `staleness` |
//! | the log has more entries | no lease; after some such pages the reader jumps to the head |
//! | another incarnation or server | **break**: no lease, and a start at the new head |
//! | an entry does not link to the entry before it | break |
//! | the log ends, but its last entry is not the head | break |
//! | a later read lacks the entry of this node's own revocation | the revocation is **lost** |
//!
//! A reader that compared only sequences would miss some breaks. For example, a promoted Redis
//! replica has lost two entries and written two others. The new entries have the same sequences as
//! the lost ones, so the reader would find no new entry.
//!
//! # The horizon
//!
//! * **Start.** The node applies the head first. So its horizon is the time of the entry before the
//!   head. If the log no longer contains the head, the horizon is the head's time.
//! * **Break.** The store may also have lost sessions, which no entry shows. So the horizon is the
//!   store's time **after** the read. It falls when reading back meets an entry that the node
//!   applied before the break.
//! * **`keep`.** The deny set stores entries for the time `keep`. If `keep` grows, the reader
//!   raises the horizon, and reads the log back once more.

use std::{collections::VecDeque, time::Duration};

use super::{
    causal::SettledStamps,
    deny_set::LAST_EPOCH,
    history::{BackPage, Head, History, Horizon, Link, Lost, Step},
};
use crate::{
    clock::Timestamp,
    store::{LogCursor, LogEntry, LogPage, LogPosition, LogQuery, LogStamp, Revocation, ServerId},
};

/// Maximum count of own revocations whose entries the reader expects in the log. The node marks
/// further own revocations as lost, until the reader finds their entries.
pub(super) const MAX_PENDING: usize = 4096;
/// Maximum count of pages in a row that do not reach the end of the log. After one more, the reader
/// jumps to the head.
const PAGES_IN_A_ROW: u32 = 4;

/// The state of reading one bucket's log.
#[derive(Debug)]
pub(super) struct LogReader {
    /// Maximum age of the data that a local decision may use. Zero if the node never decides.
    staleness: Duration,
    /// The last applied entry; `None` until the reader has read the head.
    last: Option<LastEntry>,
    history: History,
    /// The sequence of the head at which the current epoch began.
    head: u64,
    keep: Duration,
    /// True if `keep` has grown, and the reader must read the log back once more.
    must_read_again: bool,
    server: Option<ServerId>,
    connection: u64,
    /// Reads up to this number grant no lease. This is a number instead of a time, because a read
    /// and a revocation may happen at the same moment of the clock.
    void_up_to: u64,
    /// The number of the current epoch (the time between two breaks). It grows at each break, and
    /// wraps.
    epoch: u16,
    /// True if the reader has read the head in this epoch.
    was_read: bool,
    /// The number of the read whose page has not come yet.
    open: Option<u64>,
    /// Count of reads that were started.
    started: u64,
    /// Count of pages in a row that did not reach the end of the log.
    behind: u32,
    pending: VecDeque<PendingRevocation>,
    stamps: SettledStamps,
}

/// A revocation of this node whose entry the reader has not found yet.
#[derive(Debug)]
struct PendingRevocation {
    /// The number of the last read that started before the store confirmed the revocation. Any
    /// later read must find the entry.
    read: u64,
    position: LogPosition,
    revocation: Revocation,
}

#[derive(Debug)]
struct LastEntry {
    incarnation: String,
    sequence: u64,
    nonce: String,
    /// The nonce and the time of the preceding entry; `None` if the log no longer contains the last
    /// entry.
    previous: Option<(String, Timestamp)>,
    cursor: Option<LogCursor>,
}

/// A read of the log whose page has not come yet.
#[derive(Clone, Debug)]
pub(super) struct PendingRead {
    number: u64,
    began: Duration,
    pub(super) query: LogQuery,
    /// The store's time on the newest page before this read.
    before: Timestamp,
}

/// A read backwards whose page has not come yet.
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
    /// The chain of entries is broken: the store has lost or replaced applied entries, or removed
    /// unread ones.
    Chain,
    /// Another server answers. Even if its log continues at the same position, it may have lost
    /// sessions.
    Server,
    /// The log grows faster than the node reads it.
    Behind,
}

/// The state changes that one page causes. The bucket ends the lease on a break, applies entries
/// and bounds, grants the new lease, and marks the lost entries, in this order.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// The epoch in which the entries were read.
    pub(super) epoch: u16,
    pub(super) broke: Option<Break>,
    /// True if the entries follow entries that the node applied before.
    pub(super) continues: bool,
    pub(super) entries: Vec<LogEntry>,
    /// An applied entry to apply once more, because `keep` has grown.
    pub(super) again: Option<LogEntry>,
    pub(super) bounds: Option<Bounds>,
    /// The end of the new lease, by the leases' clock.
    pub(super) lease: Option<Duration>,
    /// The node has applied every revocation up to this time, by the clock of the reads.
    pub(super) known: Option<Duration>,
    /// The number of this read, if it reached the end of the log. The node then releases the
    /// subjects that it has held since before this read.
    pub(super) settles: Option<u64>,
    /// True if the task must read the next page immediately.
    pub(super) more: bool,
    /// This node's own revocations whose entries should be in the log by now, but are not. The
    /// store has lost these revocations.
    pub(super) overdue: Vec<Revocation>,
    pub(super) lost: Option<Lost>,
}

/// The bounds of the tokens about which a node may decide, and the era in which the store's
/// confirmations are valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bounds {
    pub(super) horizon: Horizon,
    /// The time for which the log keeps entries. The replica decides about no token that lives
    /// longer.
    pub(super) keep: Duration,
    pub(super) era: Era,
}

/// A period in which the same server answered over the same connection, and the log had no break.
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
            stamps: SettledStamps::default(),
        }
    }

    pub(super) fn epoch(&self) -> u16 {
        self.epoch
    }

    /// Returns true from a break until the reader finds an entry of the old history again, or until
    /// reading back ends.
    pub(super) fn is_broken(&self) -> bool {
        self.history.is_broken()
    }

    /// Registers this node's own revocation, whose entry the log must contain. If a later read
    /// reaches the end of the log without the entry, the revocation is lost. If too many own
    /// revocations are pending, returns false and registers nothing.
    pub(super) fn track_pending(&mut self, revocation: &Revocation, position: &LogPosition) -> bool {
        let has_room = self.pending.len() < MAX_PENDING;
        if has_room {
            let (position, revocation) = (position.clone(), revocation.clone());
            self.pending.push_back(PendingRevocation { read: self.started, position, revocation });
        }
        has_room
    }

    /// Returns the time for which the log keeps entries.
    pub(super) fn keep(&self) -> Duration {
        self.keep
    }

    /// Starts the next read, of at most `limit` entries. From now on the reader ignores the page of
    /// any earlier read.
    pub(super) fn start_read(&mut self, now: Duration, limit: u32) -> PendingRead {
        self.started = self.started.wrapping_add(1);
        self.open = Some(self.started);
        let query = match &self.last {
            Some(last) => LogQuery::after(last.cursor.clone()).limit(limit),
            None => LogQuery::newest(),
        };
        PendingRead { number: self.started, began: now, query, before: self.stamps.newest() }
    }

    /// Starts the next read backwards. Returns `None` if reading back has ended.
    pub(super) fn start_back_read(&self, limit: u32) -> Option<PendingBackRead> {
        let (cursor, _) = self.history.way_back()?;
        Some(PendingBackRead { epoch: self.epoch, query: LogQuery::before(cursor.clone()).limit(limit) })
    }

    /// Returns the time of the newest entry that the node has not read back yet, and true if
    /// reading back is urgent (after a break). Returns `None` if reading back has ended.
    pub(super) fn way_back(&self) -> Option<(Timestamp, bool)> {
        self.history.way_back().map(|(_, oldest)| (oldest, self.history.is_broken()))
    }

    /// Voids the reads that have already started: they grant no lease, because their pages may lack
    /// the store's latest revocation. The caller ends the present lease.
    pub(super) fn require_later_read(&mut self) {
        self.void_up_to = self.started;
    }

    /// Settles the stamp of a token. Returns `None` if the stamp was settled before. Otherwise
    /// returns the number of the last read whose page may lack the stamp's entry.
    pub(super) fn settle(&mut self, stamp: LogStamp, margin: Duration) -> Option<u64> {
        let is_new = !self.stamps.contain(stamp, margin);
        is_new.then(|| {
            self.stamps.add(stamp);
            self.started
        })
    }

    /// Returns true if the node has applied the entry at this position, or has started at a later
    /// head. In the second case the entry revokes only tokens from before the horizon, so the node
    /// asks the store about them.
    pub(super) fn has_passed(&self, position: &LogPosition) -> bool {
        let is_passed =
            |last: &LastEntry| last.incarnation == position.incarnation && last.sequence >= position.sequence;
        self.last.as_ref().is_some_and(is_passed)
    }

    /// Returns true if the node has applied the entry at this position.
    pub(super) fn has_applied(&self, position: &LogPosition) -> bool {
        self.has_passed(position) && (position.sequence > self.head || !self.history.has_more_to_read())
    }

    /// Returns true if the node has applied the entry of its own revocation at this position.
    /// Compares the revocation as well as the position. *After a failover, the new server may give
    /// the same sequence to another revocation.*
    pub(super) fn has_applied_own(&self, revocation: &Revocation, position: &LogPosition) -> bool {
        self.has_applied(position) && !self.history.has_other_at(position.sequence, revocation)
    }

    /// Finishes a read with its page. `wall` is the present time by this node's clock.
    pub(super) fn finish_read(&mut self, read: &PendingRead, page: LogPage, wall: Timestamp) -> Change {
        if self.open.take_if(|open| *open == read.number).is_none() {
            return Change::default();
        }
        self.stamps.note_page(page.now);
        if self.last.is_none() {
            return self.start_at_head(read, page, wall);
        }
        self.continue_after_last(read, page)
    }

    /// Starts at the newest entry of the log: when the node starts, and after a break.
    fn start_at_head(&mut self, read: &PendingRead, page: LogPage, wall: Timestamp) -> Change {
        self.extend_keep(&page);
        let LogPage { now, server, incarnation, sequence, head, at, max_staleness, mut entries, next, .. } = page;
        let max_failover = page.max_failover;
        // The store reads `m`, which names the head, before it reads the log. A later entry in the
        // log is then the head.
        let is_head =
            |entry: &LogEntry| entry.sequence > sequence || (entry.sequence == sequence && entry.nonce == head);
        let newest = entries.pop().filter(is_head).map(|entry| self.extend_until(entry));
        let step = match &newest {
            Some(entry) => Step { at: entry.at.max(at), ..Step::of(entry) },
            None => Step { sequence, nonce: head, at, revocation: None },
        };
        let since = if self.is_broken() { now.max(step.at) } else { step.at };
        // For the time `max_failover`, other nodes may open sessions on the replaced server.
        let own = if self.is_broken() { since.saturating_add(max_failover) } else { since };
        let horizon = Horizon { since, own, external: wall.max(now), gap: None };
        if let Some(entry) = &newest {
            self.stamps.add(entry.into());
        }
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

    /// Continues after the last applied entry.
    fn continue_after_last(&mut self, read: &PendingRead, page: LogPage) -> Change {
        if self.last.as_ref().is_some_and(|last| last.incarnation != page.incarnation) {
            return self.restart_at_head(Break::Incarnation);
        }
        if self.server.is_some() && self.server != page.server {
            return self.restart_at_head(Break::Server);
        }
        self.extend_keep(&page);
        // After twice `keep`, each token that was issued in the gap has expired, even if the clocks
        // differ.
        self.history.forget_gap_up_to(page.now.saturating_sub(self.keep.saturating_mul(2)));
        let LogPage { server, sequence, head, max_staleness, entries, more, next, .. } = page;
        let Some(mut last) = self.last.take() else { return Change::default() };
        for entry in &entries {
            let follows = last.sequence.checked_add(1) == Some(entry.sequence) && last.nonce == entry.previous;
            // A sibling: a script failed after it wrote an entry and before it updated the head in
            // `m`. So the next script used the same sequence and predecessor for its own entry, and
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
            self.stamps.add(entry.into());
        }
        let entries = entries.into_iter().map(|entry| self.extend_until(entry)).collect();
        if is_at_end {
            self.behind = 0;
            return Change { continues: true, ..self.reach_end(read, max_staleness, entries, None) };
        }
        self.behind += 1;
        let epoch = self.epoch;
        let broke = (self.behind > PAGES_IN_A_ROW).then(|| self.jump_to_head());
        Change { epoch, broke, continues: true, entries, more: true, ..Change::default() }
    }

    /// Concludes a read that reached the end of the log. Only such a read grants a lease: the node
    /// then has every revocation that the store confirmed before the read started.
    fn reach_end(
        &mut self,
        read: &PendingRead,
        max_staleness: Duration,
        entries: Vec<LogEntry>,
        lost: Option<Lost>,
    ) -> Change {
        self.stamps.note_complete(read.before);
        let again = self.read_again();
        let is_known = read.number > self.void_up_to;
        let may_decide = !self.staleness.is_zero() && max_staleness >= self.staleness && is_known;
        Change {
            epoch: self.epoch,
            broke: None,
            continues: false,
            overdue: self.take_overdue(read.number),
            entries,
            again,
            bounds: self.bounds(),
            lease: may_decide.then(|| read.began.saturating_add(self.staleness)),
            known: is_known.then_some(read.began),
            settles: Some(read.number),
            more: false,
            lost,
        }
    }

    /// Finishes a read backwards with its page.
    pub(super) fn finish_back_read(&mut self, read: &PendingBackRead, page: LogPage) -> Change {
        let is_same = |last: &LastEntry| last.incarnation == page.incarnation;
        if read.epoch != self.epoch || !self.last.as_ref().is_some_and(is_same) {
            return Change::default();
        }
        let read_from = read.query.cursor();
        if self.history.way_back().is_none_or(|(cursor, _)| Some(cursor) != read_from) {
            return Change::default();
        }
        let LogPage { now, entries, more, next, .. } = page;
        // If an entry is this old, all tokens that older entries revoke have expired.
        let is_over = |entry: &LogEntry| entry.at.saturating_add(self.keep) < now;
        let more = more && !entries.first().is_some_and(is_over);
        let BackPage { entries, lost } = self.history.read_back(entries, more, next);
        let entries = entries.into_iter().map(|entry| self.extend_until(entry)).collect();
        let again = self.read_again();
        Change { epoch: self.epoch, entries, again, bounds: self.bounds(), lost, ..Change::default() }
    }

    /// Stops reading back, because the deny set has no room.
    pub(super) fn stop_reading_back(&mut self) {
        self.history.stop();
    }

    fn bounds(&self) -> Option<Bounds> {
        let era = Era { epoch: self.epoch, server: self.server, connection: self.connection };
        self.history.horizon().map(|horizon| Bounds { horizon, keep: self.keep, era })
    }

    /// Adopts the page's `keep` if it is longer. If so, raises the horizon, because the deny set
    /// may have removed entries that matter under the new `keep`.
    fn extend_keep(&mut self, page: &LogPage) {
        if self.history.horizon().is_some() && page.keep > self.keep {
            self.history.raise(page.now);
            self.must_read_again = true;
        }
        self.keep = self.keep.max(page.keep);
    }

    /// Begins to read the log back once more if `keep` has grown. Returns the newest entry, which
    /// the bucket applies again.
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

    /// Raises the `until` of an entry to at least the entry's time plus the present `keep`.
    fn extend_until(&self, mut entry: LogEntry) -> LogEntry {
        entry.until = entry.until.max(entry.at.saturating_add(self.keep));
        entry
    }

    /// Removes and returns this node's own revocations that the store has lost: the read with this
    /// number should have found their entries, but has not.
    ///
    /// A revocation stays pending while its entry may be in the part that the node has not read
    /// back yet. *A sequence before the head proves nothing: after a failover, the new server may
    /// have given it to another revocation.*
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

    /// Forgets the last applied entry, so that the next read starts at the head.
    fn restart_at_head(&mut self, why: Break) -> Change {
        self.last = None;
        self.history.freeze(why != Break::Behind, self.epoch);
        self.behind = 0;
        if std::mem::take(&mut self.was_read) {
            self.epoch = if self.epoch < LAST_EPOCH { self.epoch + 1 } else { 0 };
            // `more` makes the task read the head immediately. After the head, the task waits for
            // the next poll. *Otherwise, a store with wrong cursors would cause reads without a
            // pause.*
            return Change { broke: Some(why), more: true, ..Change::default() };
        }
        Change { broke: Some(why), ..Change::default() }
    }

    fn jump_to_head(&mut self) -> Break {
        self.restart_at_head(Break::Behind);
        Break::Behind
    }
}

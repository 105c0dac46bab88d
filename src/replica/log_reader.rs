//! The log of one bucket, as it is read: chain, lease, and the changes that an answer causes. It
//! has no clock and does no I/O.
//!
//! A reader asks ([`ask`](Reader::ask)) and takes the answer ([`page`](Reader::page)). An answer
//! proves something for the moment **before** the question was sent: it contains every revocation
//! that the store had confirmed by then. So a lease runs from there.
//!
//! # Conclusions from a page
//!
//! | in the page | conclusion |
//! |--|--|
//! | any entry, and the reader has no place | it starts at the newest: **lease**, then reads back |
//! | entries that link to the last one applied, each to the one before | they are applied |
//! | all is applied, down to the last nonce | lease, to the question's moment plus `staleness` |
//! | more to be read | no lease; the next page at once, and after some pages a jump to the head |
//! | another incarnation or server | **break**: no lease, and the reader starts at the new head |
//! | a number or nonce that does not link | break |
//! | an end that is behind the last entry applied | break |
//! | no entry of this node's own revocation, in a later question | that is **lost** |
//!
//! Numbers alone are not enough. A promoted replica that lost two entries and wrote two others has
//! the same numbers, and lower ids of the stream. A reader would find nothing new.
//!
//! # The horizon
//!
//! The reader knows every revocation after its horizon. The node decides tokens that were issued
//! later, the store all others. A node that starts knows none of the entries up to the head, and
//! the head's time bounds them all. Each page that is read back lowers the horizon. After a break
//! the store may have lost sessions as well, which no entry shows. So the horizon is the store's
//! time **after** the read, until the old history is joined.
//!
//! Entries are kept for `keep`, which only grows. When it has grown, the horizon is raised, and all
//! is read back once more.

use std::{collections::VecDeque, time::Duration};

use super::{
    epoch::LAST_EPOCH,
    history::{BackPage, Head, History, Horizon, Link, Lost, Step},
};
use crate::{
    clock::Timestamp,
    store::{LogCursor, LogEntry, LogPage, LogPosition, LogQuery, Revocation, ServerId},
};

/// Upper bound of the own revocations that are awaited in the log. Beyond it they count as missing
/// until the log has them.
pub(super) const MOST_AWAITED: usize = 4096;
/// The count of pages in a row that leave more to be read, after which the reader jumps to the
/// head.
const PAGES_IN_A_ROW: u32 = 4;

/// The state of reading one bucket's log.
#[derive(Debug)]
pub(super) struct Reader {
    /// Maximum age of the data that a local decision may use. Zero: nothing is decided here.
    staleness: Duration,
    /// The last entry that was applied; `None` before the head was read.
    place: Option<Place>,
    history: History,
    /// The sequence of the head from which the current epoch began.
    head: u64,
    keep: Duration,
    /// `keep` has grown, and the span is to be read once more.
    must_read_again: bool,
    server: Option<ServerId>,
    connection: u64,
    /// The answers to this question and to earlier ones grant nothing. A number and not a time: a
    /// question and a revocation may fall into one moment of the clock.
    outdated: u64,
    /// Count of log restarts. It wraps.
    epoch: u16,
    /// True if anything was read in this epoch.
    was_read: bool,
    /// The last question, if its answer has not come.
    open: Option<u64>,
    asked: u64,
    behind: u32,
    awaited: VecDeque<Awaited>,
}

/// An own revocation that the log does not have yet.
#[derive(Debug)]
struct Awaited {
    /// The last question that was asked before the store confirmed it.
    asked: u64,
    position: LogPosition,
    revocation: Revocation,
}

#[derive(Debug)]
struct Place {
    incarnation: String,
    sequence: u64,
    nonce: String,
    /// The nonce of the entry before, and its time; `None` if the entry itself was gone.
    previous: Option<(String, Timestamp)>,
    cursor: Option<LogCursor>,
}

/// A question to the store.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    number: u64,
    began: Duration,
    query: LogQuery,
}

/// A question for a page that is read backwards.
#[derive(Clone, Debug)]
pub(super) struct BackAsk {
    epoch: u16,
    query: LogQuery,
}

/// The cause of a new start at the head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Break {
    /// The store has begun another incarnation.
    Incarnation,
    /// The store has less than the reader has applied, or other entries; or entries were removed
    /// unread.
    Chain,
    /// Another server answers. Its log may continue at the same place, and still lack sessions of
    /// the one before.
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
    /// The end of the new lease, by the clock of the questions.
    pub(super) lease: Option<Duration>,
    /// There is more to be read at once.
    pub(super) more: bool,
    /// Own revocations that the log must have by now.
    pub(super) due: Vec<Revocation>,
    pub(super) lost: Option<Lost>,
}

/// The bounds of the tokens that a node decides, and the era in which a confirmation by the store
/// counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bounds {
    pub(super) horizon: Horizon,
    /// Upper bound of the life of a token: the log does not keep entries for longer.
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

impl Place {
    fn link(&self) -> Option<Link> {
        let (previous, previous_at) = self.previous.clone()?;
        Some(Link { before: self.cursor.clone()?, sequence: self.sequence, previous, previous_at })
    }
}

impl Ask {
    pub(super) fn query(&self) -> &LogQuery {
        &self.query
    }
}

impl BackAsk {
    pub(super) fn query(&self) -> &LogQuery {
        &self.query
    }
}

impl Reader {
    pub(super) fn new(staleness: Duration) -> Self {
        Self {
            staleness,
            place: None,
            history: History::default(),
            head: 0,
            keep: Duration::ZERO,
            must_read_again: false,
            server: None,
            connection: 0,
            outdated: 0,
            epoch: 0,
            was_read: false,
            open: None,
            asked: 0,
            behind: 0,
            awaited: VecDeque::new(),
        }
    }

    pub(super) fn epoch(&self) -> u16 {
        self.epoch
    }

    /// Returns true while the way back from a break has not ended.
    pub(super) fn is_broken(&self) -> bool {
        self.history.is_broken()
    }

    /// Awaits an own revocation in the log. It is lost if a later question reads the log to its end
    /// and does not find it. Returns false if too many are awaited already.
    pub(super) fn track_pending(&mut self, revocation: &Revocation, position: &LogPosition) -> bool {
        let has_room = self.awaited.len() < MOST_AWAITED;
        if has_room {
            let (position, revocation) = (position.clone(), revocation.clone());
            self.awaited.push_back(Awaited { asked: self.asked, position, revocation });
        }
        has_room
    }

    /// Returns the least time for which entries matter.
    pub(super) fn keep(&self) -> Duration {
        self.keep
    }

    /// Returns the next question, with at most `limit` entries in its answer. An earlier question
    /// without an answer is given up: its answer would prove nothing more.
    pub(super) fn ask(&mut self, now: Duration, limit: u32) -> Ask {
        self.asked = self.asked.wrapping_add(1);
        self.open = Some(self.asked);
        let query = match &self.place {
            Some(place) => LogQuery::after(place.cursor.clone()).limit(limit),
            None => LogQuery::newest(),
        };
        Ask { number: self.asked, began: now, query }
    }

    /// Returns the next question backwards, if there is more to be read.
    pub(super) fn ask_back(&self, limit: u32) -> Option<BackAsk> {
        let (cursor, _) = self.history.way_back()?;
        Some(BackAsk { epoch: self.epoch, query: LogQuery::before(cursor.clone()).limit(limit) })
    }

    /// Returns the time of the oldest entry that was read, and true if reading back is urgent;
    /// `None` if no more is to be read.
    pub(super) fn way_back(&self) -> Option<(Timestamp, bool)> {
        self.history.way_back().map(|(_, oldest)| (oldest, self.history.is_broken()))
    }

    /// Voids the answers to all questions so far: they grant no lease, because they may lack the
    /// latest event in the store. The caller ends the lease.
    pub(super) fn require_later_answer(&mut self) {
        self.outdated = self.asked;
    }

    /// Returns true if the entry at this position was passed: it is applied, or no token that it
    /// concerns is decided here.
    pub(super) fn has_passed(&self, position: &LogPosition) -> bool {
        let is_passed =
            |place: &Place| place.incarnation == position.incarnation && place.sequence >= position.sequence;
        self.place.as_ref().is_some_and(is_passed)
    }

    /// Returns true if the entry at this position was applied.
    pub(super) fn has_applied(&self, position: &LogPosition) -> bool {
        self.has_passed(position) && (position.sequence > self.head || !self.history.has_more_to_read())
    }

    /// Returns true if the own revocation at this position was applied. *A server that is about to
    /// be replaced confirms it, and the new one gives its number to another. By the number it would
    /// count as read.*
    pub(super) fn has_applied_own(&self, revocation: &Revocation, position: &LogPosition) -> bool {
        self.has_applied(position) && !self.history.tells_another(position.sequence, revocation)
    }

    /// Applies the answer to a question. `wall` is the time of this node's clock when it came.
    pub(super) fn page(&mut self, ask: &Ask, page: LogPage, wall: Timestamp) -> Change {
        if self.open.take_if(|open| *open == ask.number).is_none() {
            return Change::default();
        }
        if self.place.is_none() {
            return self.head_page(ask, page, wall);
        }
        self.next_page(ask, page)
    }

    /// Starts at the newest entry.
    fn head_page(&mut self, ask: &Ask, page: LogPage, wall: Timestamp) -> Change {
        self.grow(&page);
        let LogPage { now, server, incarnation, sequence, head, at, max_staleness, mut entries, next, .. } = page;
        let max_failover = page.max_failover;
        // The later of the two: entries may have been written between the two reads.
        let is_head =
            |entry: &LogEntry| entry.sequence > sequence || (entry.sequence == sequence && entry.nonce == head);
        let newest = entries.pop().filter(is_head).map(|entry| self.for_as_long_as_it_matters(entry));
        let step = match &newest {
            Some(entry) => Step { at: entry.at.max(at), ..Step::of(entry) },
            None => Step { sequence, nonce: head, at, revocation: None },
        };
        let since = if self.is_broken() { now.max(step.at) } else { step.at };
        // Until that time another node may have opened sessions on a server that was replaced.
        let own = if self.is_broken() { since.saturating_add(max_failover) } else { since };
        let horizon = Horizon { since, own, foreign: wall.max(now), gap: None };
        let previous = newest.as_ref().map(|entry| (entry.previous.clone(), entry.previous_at));
        let place = Place { incarnation, sequence: step.sequence, nonce: step.nonce.clone(), previous, cursor: next };
        let link = place.link();
        self.head = step.sequence;
        if self.server.is_some() && self.server != server {
            self.history.may_have_lost();
        }
        (self.server, self.connection) = (server, page.connection);
        self.place = Some(place);
        self.was_read = true;
        let lost = self.history.begin(Head { step, horizon, link });
        self.done(ask, max_staleness, newest.into_iter().collect(), lost)
    }

    /// Continues after the last entry.
    fn next_page(&mut self, ask: &Ask, page: LogPage) -> Change {
        if self.place.as_ref().is_some_and(|place| place.incarnation != page.incarnation) {
            return self.restart_at_head(Break::Incarnation);
        }
        if self.server.is_some() && self.server != page.server {
            return self.restart_at_head(Break::Server);
        }
        self.grow(&page);
        // Long enough for every token of that span to be dead, wherever clocks stand.
        self.history.forget_gap_up_to(page.now.saturating_sub(self.keep.saturating_mul(2)));
        let LogPage { server, sequence, head, max_staleness, entries, more, next, .. } = page;
        let Some(mut place) = self.place.take() else { return Change::default() };
        for entry in &entries {
            let follows = place.sequence.checked_add(1) == Some(entry.sequence) && place.nonce == entry.previous;
            // A script failed between the entry and `m`, and the next one took the same place: both
            // are applied.
            let is_sibling = place.sequence == entry.sequence
                && place.previous.as_ref().is_some_and(|(previous, _)| *previous == entry.previous);
            if !follows && !is_sibling {
                return self.restart_at_head(Break::Chain);
            }
            place.sequence = entry.sequence;
            place.nonce.clone_from(&entry.nonce);
            place.previous = Some((entry.previous.clone(), entry.previous_at));
        }
        let is_at_end = place.sequence == sequence && place.nonce == head;
        if !is_at_end && !more {
            return self.restart_at_head(Break::Chain);
        }
        place.cursor = next;
        self.place = Some(place);
        (self.server, self.connection) = (server, page.connection);
        for entry in &entries {
            self.history.advance(Step::of(entry));
        }
        let entries = entries.into_iter().map(|entry| self.for_as_long_as_it_matters(entry)).collect();
        if is_at_end {
            self.behind = 0;
            return self.done(ask, max_staleness, entries, None);
        }
        self.behind += 1;
        let epoch = self.epoch;
        let broke = (self.behind > PAGES_IN_A_ROW).then(|| self.jump());
        Change { epoch, broke, entries, more: true, ..Change::default() }
    }

    /// Concludes an answer after which every entry is applied that the store had confirmed before
    /// the question.
    fn done(&mut self, ask: &Ask, max_staleness: Duration, entries: Vec<LogEntry>, lost: Option<Lost>) -> Change {
        let again = self.read_again();
        let may_decide = !self.staleness.is_zero() && max_staleness >= self.staleness && ask.number > self.outdated;
        Change {
            epoch: self.epoch,
            broke: None,
            due: self.take_due(ask.number),
            entries,
            again,
            bounds: self.bounds(),
            lease: may_decide.then(|| ask.began.saturating_add(self.staleness)),
            more: false,
            lost,
        }
    }

    /// Applies a page that was asked for backwards.
    pub(super) fn back_page(&mut self, ask: &BackAsk, page: LogPage) -> Change {
        let is_of_this = |place: &Place| place.incarnation == page.incarnation;
        if ask.epoch != self.epoch || !self.place.as_ref().is_some_and(is_of_this) {
            return Change::default();
        }
        let asked = ask.query.cursor();
        if self.history.way_back().is_none_or(|(cursor, _)| Some(cursor) != asked) {
            return Change::default();
        }
        let LogPage { now, entries, more, next, .. } = page;
        // Older entries concern no token that is alive.
        let is_over = |entry: &LogEntry| entry.at.saturating_add(self.keep) < now;
        let more = more && !entries.first().is_some_and(is_over);
        let BackPage { entries, lost } = self.history.read_back(entries, more, next);
        let entries = entries.into_iter().map(|entry| self.for_as_long_as_it_matters(entry)).collect();
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

    /// Begins to read the span once more, if that is due, and returns the newest entry, to be
    /// applied again.
    fn read_again(&mut self) -> Option<LogEntry> {
        if !self.must_read_again || self.is_broken() {
            return None;
        }
        self.must_read_again = false;
        let place = self.place.as_ref()?;
        let (previous, previous_at) = place.previous.clone()?;
        let Step { sequence, nonce, at, revocation } = self.history.read_again(place.link()?)?;
        let until = at.saturating_add(self.keep);
        Some(LogEntry { sequence, nonce, previous, previous_at, at, revocation: revocation?, until })
    }

    fn for_as_long_as_it_matters(&self, mut entry: LogEntry) -> LogEntry {
        entry.until = entry.until.max(entry.at.saturating_add(self.keep));
        entry
    }

    /// Takes the own revocations that the answer to question `number` must contain. Those in the
    /// part that is still to be read back are judged when that has ended. *A failover loses one,
    /// and the new server gives its number to another: by the number it would count as seen.*
    fn take_due(&mut self, number: u64) -> Vec<Revocation> {
        let Some(place) = &self.place else { return Vec::new() };
        let all_is_read = !self.history.has_more_to_read();
        let mut due = Vec::new();
        self.awaited.retain(|awaited| {
            let is_after_the_head =
                awaited.position.sequence > self.head && awaited.position.incarnation == place.incarnation;
            let is_due = awaited.asked < number && (all_is_read || is_after_the_head);
            if is_due {
                due.push(awaited.revocation.clone());
            }
            !is_due
        });
        due
    }

    /// Drops the place, to start at the head again.
    fn restart_at_head(&mut self, why: Break) -> Change {
        self.place = None;
        self.history.freeze(why != Break::Behind, self.epoch);
        self.behind = 0;
        if std::mem::take(&mut self.was_read) {
            self.epoch = if self.epoch < LAST_EPOCH { self.epoch + 1 } else { 0 };
            // At once, the first time. A log that breaks again before its head was read waits for
            // the next tick.
            return Change { broke: Some(why), more: true, ..Change::default() };
        }
        Change { broke: Some(why), ..Change::default() }
    }

    fn jump(&mut self) -> Break {
        self.restart_at_head(Break::Behind);
        Break::Behind
    }
}

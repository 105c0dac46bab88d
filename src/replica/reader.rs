//! The log of one bucket, as it is read: what has been applied of it, since when all is known, and whether that may be decided by. It has no clock and
//! does no I/O.
//!
//! A reader asks ([`ask`](Reader::ask)), and is told the answer ([`page`](Reader::page)). What an answer proves, it proves for the moment **before** the
//! question was sent: all that the store had confirmed by then is in it. So a lease runs from there.
//!
//! # What can be found
//!
//! | in the page | what follows |
//! |--|--|
//! | entries that link to what was applied, each to the one before | they are applied |
//! | more to be read | no lease yet, the next page is asked for at once |
//! | all is applied, down to the last name | the **lease** is granted, to the question's moment and `staleness` |
//! | no word of what this node itself has revoked, though the question was asked later | it is **lost**, and no break shows it: the log may go on from where it was read |
//! | another incarnation; a number or name that does not link; an end that is behind what was applied | **a break**: no lease, and the whole log is read again |
//!
//! Numbers alone would not do: a promoted replica that lost two entries and wrote two others has the same numbers, and names of the stream that are
//! lower, so that a reader is told "nothing new".
//!
//! # The horizon
//!
//! From the log a reader learns since when it knows every revocation: since the time of the predecessor of the oldest entry after the last hole; where
//! no entry is left, since the time of the last one ever written (the bucket's birth before the first). Tokens that were issued later are decided here, others are asked about
//! in the store. So a resynchronisation ends by moving the horizon, never by waiting; and a log that was trimmed, which Redis does not tell, costs time and never truth.
//!
//! The time for which entries are kept (`keep`) only grows. Those that were read before it grew, be it an earlier page of the same log, may be forgotten too
//! early for tokens that live as long as is now allowed: so the horizon is moved to the moment of the growth.

use std::{collections::VecDeque, time::Duration};

use super::denied::LAST_LIFE;
use crate::{
    clock::Timestamp,
    store::{LogCursor, LogEntry, LogPage, Revocation},
};

/// Of so many revocations at most it is watched that the log tells them. Beyond that they are missing until it does.
pub(super) const MOST_AWAITED: usize = 4096;

/// What has been read of one bucket's log.
#[derive(Debug)]
pub(super) struct Reader {
    /// How old what is known may be when it is decided by. Zero: it is never decided by.
    staleness: Duration,
    /// Where the log was left; `None` before anything was read.
    place: Option<Place>,
    /// Whether all was applied once since the last break.
    is_complete: bool,
    horizon: Timestamp,
    keep: Duration,
    /// The answer to this question, and to those before it, grants nothing. Numbers and not times: a question and what must be seen may fall into
    /// one moment of the clock.
    outdated: u64,
    /// How often the log was begun anew. Wraps; told apart are only this time and others.
    life: u16,
    /// Whether anything was read in this life.
    was_read: bool,
    /// The number of the last question, if its answer has not come.
    open: Option<u64>,
    asked: u64,
    /// What the log has to tell yet, and the last question from before that was so.
    awaited: VecDeque<(u64, Revocation)>,
}

#[derive(Debug)]
struct Place {
    incarnation: String,
    sequence: u64,
    head: String,
    cursor: Option<LogCursor>,
}

/// A question to the store.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    number: u64,
    began: Duration,
    since: Option<LogCursor>,
}

/// Why a log is read from its beginning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Break {
    /// The store has begun another life.
    Incarnation,
    /// The store has less than, or other things than, what was read before; or entries were taken away that had not been read.
    Chain,
}

/// What an answer means for what requests read. To be done in this order: end the lease if it says so, apply the entries and the bounds, grant the lease;
/// look whether what is due was among the entries.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) broke: Option<Break>,
    pub(super) entries: Vec<LogEntry>,
    pub(super) bounds: Option<Bounds>,
    /// From when on, by the clock of the questions, there is no lease any more.
    pub(super) lease: Option<Duration>,
    /// There is more to be read at once.
    pub(super) more: bool,
    /// All was applied for the first time since the last break.
    pub(super) completed: bool,
    /// What the log must have told by now.
    pub(super) due: Vec<Revocation>,
}

/// Which tokens may be decided.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Bounds {
    /// Every revocation after this moment is known.
    pub(super) horizon: Timestamp,
    /// Tokens that live longer are not spoken of long enough.
    pub(super) keep: Duration,
}

impl Ask {
    pub(super) fn since(&self) -> Option<&LogCursor> {
        self.since.as_ref()
    }
}

impl Reader {
    pub(super) fn new(staleness: Duration) -> Self {
        Self {
            staleness,
            place: None,
            is_complete: false,
            horizon: Timestamp::END_OF_TIME,
            keep: Duration::ZERO,
            outdated: 0,
            life: 0,
            was_read: false,
            open: None,
            asked: 0,
            awaited: VecDeque::new(),
        }
    }

    pub(super) fn life(&self) -> u16 {
        self.life
    }

    /// The store has confirmed a revocation: the log, read to its end by a question that is yet to be asked, tells of it; or it is lost. `false` if too
    /// many are waited for already.
    pub(super) fn wait_for(&mut self, revocation: &Revocation) -> bool {
        let has_room = self.awaited.len() < MOST_AWAITED;
        if has_room {
            self.awaited.push_back((self.asked, revocation.clone()));
        }
        has_room
    }

    /// One that is told apart from this one.
    pub(super) fn earlier_life(&self) -> u16 {
        self.life.checked_sub(1).unwrap_or(LAST_LIFE)
    }

    /// How long entries matter at least.
    pub(super) fn keep(&self) -> Duration {
        self.keep
    }

    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The next question. An earlier one that was not answered is given up: its answer would say nothing more.
    pub(super) fn ask(&mut self, now: Duration) -> Ask {
        self.asked = self.asked.wrapping_add(1);
        self.open = Some(self.asked);
        Ask { number: self.asked, began: now, since: self.place.as_ref().and_then(|place| place.cursor.clone()) }
    }

    /// What has just happened in the store must be seen before anything is decided: an answer to what was asked before this grants nothing. The lease
    /// is to be ended by whoever calls this.
    pub(super) fn must_see(&mut self) {
        self.outdated = self.asked;
    }

    /// Whether an entry of this incarnation has been applied.
    pub(super) fn has_applied(&self, incarnation: &str, sequence: u64) -> bool {
        let place = self.place.as_ref().filter(|_| self.is_complete);
        place.is_some_and(|place| place.incarnation == incarnation && place.sequence >= sequence)
    }

    /// The bucket could not be read, or not understood: it is read anew, since nobody knows what is in it.
    pub(super) fn unreadable(&mut self) -> Change {
        self.open = None;
        self.begin_anew(Break::Chain)
    }

    /// The answer to a question.
    pub(super) fn page(&mut self, ask: &Ask, page: LogPage) -> Change {
        if self.open.take_if(|open| *open == ask.number).is_none() {
            return Change::default();
        }
        let LogPage { now, incarnation, born, sequence, head, at, keep, max_staleness, mut entries, next } = page;
        if self.place.as_ref().is_some_and(|place| place.incarnation != incarnation) {
            return self.begin_anew(Break::Incarnation);
        }
        let has_grown = self.place.is_some() && keep > self.keep;
        let (mut place, mut horizon) = match self.place.take() {
            Some(place) => (Some((place.sequence, place.head)), self.horizon),
            None => (None, born),
        };
        let has_entries = !entries.is_empty();
        self.was_read |= has_entries;
        self.keep = self.keep.max(keep);
        for entry in &mut entries {
            entry.until = entry.until.max(entry.at.saturating_add(self.keep));
            let links = place.as_ref().is_some_and(|(sequence, head)| {
                sequence.checked_add(1) == Some(entry.sequence) && *head == entry.previous
            });
            if !links {
                let goes_back = place.as_ref().is_some_and(|(sequence, _)| entry.sequence <= *sequence);
                if self.is_complete || goes_back {
                    return self.begin_anew(Break::Chain);
                }
                // Before this one there is a hole, or the end of what is kept.
                horizon = horizon.max(entry.previous_at);
            }
            place = Some((entry.sequence, entry.nonce.clone()));
        }
        let is_at_end = place.as_ref().is_some_and(|(last, name)| *last == sequence && *name == head);
        // An end that is behind what was read, or behind its own entries.
        let goes_back = !is_at_end && place.as_ref().is_some_and(|(last, _)| *last >= sequence);
        if goes_back || (!is_at_end && !has_entries && self.is_complete) {
            return self.begin_anew(Break::Chain);
        }
        if !is_at_end && !has_entries {
            // What follows was taken away, to the last.
            (place, horizon) = (Some((sequence, head)), horizon.max(at));
        }
        let is_done = is_at_end || !has_entries;
        let Some((sequence, head)) = place else { return self.begin_anew(Break::Chain) };
        self.place = Some(Place { incarnation, sequence, head, cursor: next });
        self.horizon = if has_grown { horizon.max(now) } else { horizon };
        let completed = is_done && !self.is_complete;
        self.is_complete |= is_done;
        self.was_read |= is_done;
        let may_decide = is_done && !self.staleness.is_zero() && max_staleness >= self.staleness;
        let due = self.awaited.iter().take_while(|(asked, _)| is_done && *asked < ask.number).count();
        Change {
            broke: None,
            due: self.awaited.drain(..due).map(|(_, revocation)| revocation).collect(),
            entries,
            // Not before all is applied: a lease that was granted before the break may still be in a request's hands, and it must not meet the
            // horizon of a log that is read in part.
            bounds: self.is_complete.then_some(Bounds { horizon: self.horizon, keep: self.keep }),
            lease: (may_decide && ask.number > self.outdated).then(|| ask.began.saturating_add(self.staleness)),
            more: !is_done,
            completed,
        }
    }

    fn begin_anew(&mut self, why: Break) -> Change {
        self.place = None;
        // At once after all had been read; a log that breaks again while it is read is read at the next tick.
        let more = std::mem::take(&mut self.is_complete);
        self.horizon = Timestamp::END_OF_TIME;
        if std::mem::take(&mut self.was_read) {
            self.life = if self.life < LAST_LIFE { self.life + 1 } else { 0 };
        }
        Change { broke: Some(why), more, ..Change::default() }
    }
}

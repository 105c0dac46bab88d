//! One bucket of the replica: its reader, and the data that requests read.

use std::{
    mem, slice,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    deny_set::{DenySet, EntryName, NameHasher},
    epoch::{EPOCH_LOCAL, EPOCH_LOST, EPOCH_PENDING, LAST_EPOCH},
    history::{Gap, Horizon, Lost},
    lease::{Leased, nanos},
    log_reader::{Ask, BackAsk, Bounds, Break, Change, Era, Reader},
};
use crate::{
    clock::Timestamp,
    store::{LogEntry, LogPage, LogPosition, Revocation, ServerId},
};

/// Upper bound of the entries that one write lock applies, because requests wait meanwhile.
const ENTRIES_AT_ONCE: usize = 64;

/// A bucket. Lock order: the reader, then the data.
#[derive(Debug)]
pub(super) struct Bucket {
    reader: Mutex<Reader>,
    known: Leased<Known>,
    rules: Rules,
}

/// Settings that all buckets of a replica share.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) staleness: Duration,
    /// The largest difference between the clocks of two servers of one store.
    pub(super) margin: Duration,
    /// The largest difference between the clocks of this node and of other issuers.
    pub(super) leeway: Duration,
    /// Counts the eras of all buckets.
    pub(super) eras: Arc<AtomicU64>,
}

/// The data of a bucket.
#[derive(Debug)]
struct Known {
    denied: DenySet,
    bounds: Bounds,
    /// The count of eras when the current one began.
    era_began: u64,
    /// The end of the span of which the node dropped revocations to keep memory bounded.
    forgotten: Timestamp,
    /// Count of entries that were skipped: they cannot be read, or no valid token has such ids.
    skipped: u64,
    /// An entry was skipped and is yet to be reported.
    has_left_out: bool,
}

/// The times of a token that decide if it may be judged here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) issued_at: Timestamp,
    pub(super) alive: Alive,
    /// From `iat` to the last moment at which it is accepted.
    pub(super) life: Duration,
}

/// A confirmation by the store that a token was not revoked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Alive {
    /// The store's time. The epoch if the store was never asked.
    pub(super) at: Timestamp,
    /// The count of eras when it came. A bucket does not count it once another era has begun.
    pub(super) eras: u64,
}

/// The names under which one of our tokens may be denied.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionNames<'a> {
    pub(super) subject: EntryName<'a>,
    pub(super) session: EntryName<'a>,
    pub(super) token: EntryName<'a>,
}

/// The answer of a bucket about a token. If one token may be denied under several names, the
/// greatest answer counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Verdict {
    /// The token is not revoked, as of the lease.
    Accepted,
    /// Only the store can tell, because the token was issued before the horizon.
    BeforeHorizon,
    /// Only the store can tell, because there is no lease.
    Unknown,
    /// The token is revoked.
    Refused,
}

/// The result of applying a page.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) broke: Option<Break>,
    pub(super) more: bool,
    /// The count of entries that were applied: the newest of the page.
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "it is for the log"))]
    pub(super) applied: usize,
    /// The store has lost revocations that this node holds.
    pub(super) has_lost: bool,
    /// Entries were skipped that may be news to the operator.
    pub(super) has_skipped: bool,
}

impl Bucket {
    pub(super) fn new(hasher: NameHasher, rules: Rules, max_bytes: usize) -> Self {
        let never = Timestamp::END_OF_TIME;
        let horizon = Horizon { since: never, own: never, foreign: never, gap: None };
        Self {
            reader: Mutex::new(Reader::new(rules.staleness)),
            known: Leased::new(Known {
                denied: DenySet::new(hasher, max_bytes),
                bounds: Bounds { horizon, keep: Duration::ZERO, era: Era::default() },
                era_began: u64::MAX,
                forgotten: Timestamp::default(),
                skipped: 0,
                has_left_out: false,
            }),
            rules,
        }
    }

    pub(super) fn ask(&self, now: Duration, limit: u32) -> Ask {
        self.reader().ask(now, limit)
    }

    /// Returns the next question backwards. There is none if nothing is left to be read, or no room
    /// for more after a start.
    pub(super) fn ask_back(&self, limit: u32) -> Option<BackAsk> {
        let mut reader = self.reader();
        let ask = reader.ask_back(limit)?;
        // After a break it reads back to the end: before that, no entry can be found to be lost.
        if !reader.is_broken() && self.known.read(|known, _| known.denied.is_full(), || 0).0 {
            reader.stop_reading_back();
            return None;
        }
        Some(ask)
    }

    /// Returns the time of the oldest entry that was read, and true if reading back is urgent;
    /// `None` if no more is to be read.
    pub(super) fn way_back(&self) -> Option<(Timestamp, bool)> {
        self.reader().way_back()
    }

    /// Applies the answer to a question. `wall` is the time of this node's clock.
    pub(super) fn page(&self, ask: &Ask, page: LogPage, wall: Timestamp) -> Outcome {
        let mut reader = self.reader();
        let (now, skipped) = (page.now, page.skipped);
        let change = reader.page(ask, page, wall);
        let outcome = self.apply(&reader, change, now, skipped);
        // Invalidates cached verdicts only if the sweep removed log entries.
        self.known.mutate_if_changed(|known| {
            let forgotten = known.denied.sweep(now);
            let leaves_a_hole = forgotten > known.forgotten;
            known.forgotten = known.forgotten.max(forgotten);
            ((), leaves_a_hole)
        });
        outcome
    }

    /// Applies the answer to a question backwards.
    pub(super) fn back_page(&self, ask: &BackAsk, page: LogPage) -> Outcome {
        let mut reader = self.reader();
        let (now, skipped) = (page.now, page.skipped);
        let change = reader.back_page(ask, page);
        self.apply(&reader, change, now, skipped)
    }

    /// Ends the lease, because the store's answer about this bucket could not be read. Only a later
    /// answer grants another.
    pub(super) fn unreadable(&self) {
        let mut reader = self.reader();
        reader.require_later_answer();
        self.known.end_lease();
    }

    /// Adds a revocation that this node has made and the store has confirmed. The next request on
    /// this node is refused. If the store loses the entry before any node has read it, this node
    /// republishes it.
    ///
    /// Returns true if the lease had to be ended instead.
    pub(super) fn has_revoked(
        &self,
        revocation: &Revocation,
        at: Timestamp,
        until: Timestamp,
        position: &LogPosition,
    ) -> bool {
        let mut reader = self.reader();
        let epochs = |known: &Known| known.denied.epochs_of(revocation).collect::<Vec<_>>();
        let (epochs, _) = self.known.read(|known, _| epochs(known), || 0);
        let told =
            epochs.iter().find(|epoch| **epoch == reader.epoch() || (!reader.is_broken() && **epoch <= LAST_EPOCH));
        let epoch = if let Some(told) = told {
            *told
        } else if reader.track_pending(revocation, position) || epochs.contains(&EPOCH_PENDING) {
            EPOCH_PENDING
        } else {
            // Republished at the next loss, whether or not the store has lost this one.
            EPOCH_LOST
        };
        // The same end as that of an entry read from the log.
        let until = until.max(at.saturating_add(reader.keep()));
        let is_kept = self.known.mutate(|known| known.insert(revocation, at, until, epoch));
        if !is_kept {
            reader.require_later_answer();
            self.known.end_lease();
        }
        !is_kept
    }

    /// Ends the lease, unless this position of the log was passed, until a later question has read
    /// the log. The answer to that contains every revocation that the store has confirmed by now.
    pub(super) fn must_see_position(&self, position: &LogPosition) {
        let mut reader = self.reader();
        if !reader.has_passed(position) {
            reader.require_later_answer();
            self.known.end_lease();
        }
    }

    /// Returns true if the entry at this position was applied.
    pub(super) fn has_applied(&self, position: &LogPosition) -> bool {
        self.reader().has_applied(position)
    }

    /// Returns true if an own revocation, to which the store gave this position, was applied.
    pub(super) fn has_applied_own(&self, revocation: &Revocation, position: &LogPosition) -> bool {
        self.reader().has_applied_own(revocation, position)
    }

    /// Returns true if one of our tokens was accepted when this was noted, and nothing has been
    /// learnt since. Cheaper than another look at the deny set.
    #[inline]
    pub(super) fn still_accepts(&self, note: &AtomicU64, now: impl FnOnce() -> u64) -> bool {
        self.known.is_current(note.load(Ordering::Relaxed), now)
    }

    /// Judges one of our tokens. Notes it if the deny set holds nothing against it.
    pub(super) fn session_verdict(
        &self,
        facts: Facts,
        names: SessionNames<'_>,
        generation: u64,
        note: &AtomicU64,
        now: impl FnOnce() -> u64,
    ) -> Verdict {
        let SessionNames { subject, session, token } = names;
        let is_denied = |denied: &DenySet| {
            denied.is_outdated(subject, session, generation) || denied.contains(session) || denied.contains(token)
        };
        let margin = self.rules.margin;
        let covers = |known: &Known| known.covers_own(facts.issued_at, margin);
        let (verdict, version) = self.verdict(facts, now, is_denied, covers);
        if verdict == Verdict::Accepted {
            // The result for one version stays true of it, also if another request notes a later
            // one.
            note.store(version, Ordering::Relaxed);
        }
        verdict
    }

    /// Judges a token by one of the names under which another issuer's tokens are revoked.
    pub(super) fn foreign_verdict(&self, facts: Facts, name: EntryName<'_>, now: impl FnOnce() -> u64) -> Verdict {
        let leeway = self.rules.leeway;
        // The earliest moment at which it may have been issued, whatever its issuer's clock says.
        let issued_at = facts.issued_at.saturating_sub(leeway);
        let is_denied =
            |denied: &DenySet| denied.revoked_up_to(name).is_some_and(|before| issued_at.as_millis() <= before);
        self.verdict(facts, now, is_denied, |known| issued_at > known.bounds.horizon.foreign.max(known.forgotten)).0
    }

    /// Returns the verdict and the version of the data on which it rests.
    fn verdict(
        &self,
        facts: Facts,
        now: impl FnOnce() -> u64,
        is_denied: impl FnOnce(&DenySet) -> bool,
        covers: impl FnOnce(&Known) -> bool,
    ) -> (Verdict, u64) {
        let look = |known: &Known, version| {
            let is_covered = facts.life <= known.bounds.keep && (covers(known) || known.counts(facts.alive));
            (is_denied(&known.denied), is_covered, version)
        };
        let ((is_denied, is_covered, version), may_decide) = self.known.read(look, now);
        let verdict = match (is_denied, may_decide, is_covered) {
            (true, _, _) => Verdict::Refused,
            (false, true, true) => Verdict::Accepted,
            (false, true, false) => Verdict::BeforeHorizon,
            (false, false, _) => Verdict::Unknown,
        };
        (verdict, version)
    }

    /// Returns true if the log is read from this server.
    pub(super) fn follows(&self, server: ServerId) -> bool {
        self.known.read(|known, _| known.bounds.era.server == Some(server), || 0).0
    }

    /// Adds a token that the store has refused. If there is no room, the node asks the store again.
    pub(super) fn record_refusal(&self, revocation: &Revocation, until: Timestamp) {
        // A forgotten entry of this kind hides nothing of the log, so it has no time of its own.
        self.known.mutate(|known| known.insert(revocation, Timestamp::default(), until, EPOCH_LOCAL));
    }

    /// Returns the end of the lease; 0 without one.
    pub(super) fn lease_end(&self) -> u64 {
        self.known.lease_end()
    }

    /// Returns the count of revocations in the deny set, and the bytes that they take.
    pub(super) fn size(&self) -> (usize, usize) {
        self.known.read(|known, _| (known.denied.len(), known.denied.bytes()), || 0).0
    }

    /// Returns the current epoch, and revocations that this node holds and the store has lost: up
    /// to `limit`, after the first `skip`.
    pub(super) fn missing(&self, now: Timestamp, skip: usize, limit: usize) -> (u16, Vec<(Revocation, Timestamp)>) {
        let epoch = self.reader().epoch();
        (epoch, self.known.read(|known, _| known.denied.missing(now, skip, limit), || 0).0)
    }

    /// Notes that the store has confirmed a lost revocation, which was missing in this epoch.
    pub(super) fn is_restored(&self, revocation: &Revocation, epoch: u16) {
        self.known.mutate(|known| known.denied.mark_republished(revocation, epoch));
    }

    fn apply(&self, reader: &Reader, change: Change, now: Timestamp, skipped: u32) -> Outcome {
        let Change { epoch, broke, entries, again, bounds, lease, more, due, lost } = change;
        let Ok(()) = self.known.apply_page(
            broke.is_some(),
            |known| {
                // A few at a time, because requests wait meanwhile.
                for part in entries.chunks(ENTRIES_AT_ONCE).chain(again.as_ref().map(slice::from_ref)) {
                    known.mutate(|known| known.learn(part, epoch));
                }
                if let Some(bounds) = bounds {
                    known.mutate_if_changed(|known| ((), known.rebound(bounds, &self.rules.eras)));
                }
                Ok::<(), std::convert::Infallible>(())
            },
            lease.map(nanos),
        );
        let mut has_lost = false;
        for part in due.chunks(ENTRIES_AT_ONCE) {
            self.known.mutate_if_changed(|known| {
                for revocation in part {
                    has_lost |= known.denied.mark_lost(revocation, now, |epoch| epoch == EPOCH_PENDING);
                }
                ((), false)
            });
        }
        if let Some(lost) = lost {
            has_lost |= self.mark_lost(&lost, reader.epoch(), now);
        }
        let has_skipped = self.known.mutate_if_changed(|known| {
            let is_first = skipped > 0 && known.skipped == 0;
            known.skipped = known.skipped.saturating_add(skipped.into());
            (is_first || mem::take(&mut known.has_left_out), false)
        });
        Outcome { broke, more, applied: entries.len(), has_lost, has_skipped }
    }

    /// Marks the entries that the store has lost. Returns true if any of them still matters.
    fn mark_lost(&self, lost: &Lost, current: u16, now: Timestamp) -> bool {
        let is_told = |epoch: u16| epoch == current || epoch >= EPOCH_LOST;
        let mut has_lost = false;
        let mut of_all_segments = |is_lost: &dyn Fn(u16) -> bool| {
            for start in self.known.read(|known, _| known.denied.segment_starts().collect::<Vec<_>>(), || 0).0 {
                self.known.mutate_if_changed(|known| {
                    has_lost |= known.denied.mark_segment_lost(start, now, is_lost);
                    ((), false)
                });
            }
        };
        match lost {
            Lost::AllOfBefore => of_all_segments(&|epoch| !is_told(epoch)),
            Lost::These { revocations, epochs } => {
                if !epochs.is_empty() {
                    of_all_segments(&|epoch| epochs.contains(&epoch) && !is_told(epoch));
                }
                for part in revocations.chunks(ENTRIES_AT_ONCE) {
                    self.known.mutate_if_changed(|known| {
                        for revocation in part {
                            has_lost |= known.denied.mark_lost(revocation, now, |epoch| !is_told(epoch));
                        }
                        ((), false)
                    });
                }
            }
        }
        has_lost
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn learn(&mut self, entries: &[LogEntry], epoch: u16) {
        for entry in entries {
            // An entry that is too long to be kept does not stop the node: no valid token has such
            // ids.
            if !self.insert(&entry.revocation, entry.at, entry.until, epoch) {
                self.skipped = self.skipped.saturating_add(1);
                self.has_left_out = true;
            }
        }
    }

    /// Inserts a revocation. If older ones are pushed out, the horizon moves in the same step.
    /// Returns false if the entry is too long.
    fn insert(&mut self, revocation: &Revocation, at: Timestamp, until: Timestamp, epoch: u16) -> bool {
        let forgotten = self.denied.insert(revocation, at, until, epoch);
        if let Ok(Some(forgotten)) = forgotten {
            self.forgotten = self.forgotten.max(forgotten);
        }
        forgotten.is_ok()
    }

    /// Puts other bounds in force. Returns true if cached verdicts are invalid.
    fn rebound(&mut self, bounds: Bounds, eras: &AtomicU64) -> bool {
        let before = mem::replace(&mut self.bounds, bounds);
        if before.era != bounds.era || self.era_began == u64::MAX {
            self.era_began = eras.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        }
        before != bounds
    }

    /// Returns true if every revocation of one of our tokens issued at that time is known here, and
    /// its session was not lost.
    fn covers_own(&self, issued_at: Timestamp, margin: Duration) -> bool {
        let Bounds { horizon, .. } = self.bounds;
        let is_in =
            |gap: Gap| gap.from.saturating_sub(margin) <= issued_at && issued_at <= gap.to.saturating_add(margin);
        issued_at > horizon.own.max(self.forgotten).saturating_add(margin) && !horizon.gap.is_some_and(is_in)
    }

    /// Returns true if a confirmation by the store holds: it came in this era, and every later
    /// revocation is known. A session that this server knows is not lost.
    fn counts(&self, alive: Alive) -> bool {
        alive.eras >= self.era_began && alive.at > self.bounds.horizon.since.max(self.forgotten)
    }
}

#[cfg(test)]
mod tests;

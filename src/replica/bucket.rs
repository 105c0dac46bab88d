//! One bucket of the replica: its reader, and what requests read.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    denied::{Denied, NOT_OF_THE_LOG, Name, Names, TooLong, UNTOLD},
    leased::Leased,
    nanos,
    reader::{Ask, Bounds, Break, Change, Reader},
};
use crate::{
    clock::Timestamp,
    store::{LogEntry, LogPage, LogPosition, Revocation},
};

/// For so many entries requests wait at most.
const ENTRIES_AT_ONCE: usize = 64;

/// A bucket. Lock order: the reader, then what is known.
#[derive(Debug)]
pub(super) struct Bucket {
    reader: Mutex<Reader>,
    known: Leased<Known>,
}

/// What is known of a bucket.
#[derive(Debug)]
struct Known {
    denied: Denied,
    bounds: Bounds,
    /// Of what was logged up to then, something had to go to keep memory bounded.
    forgotten: Timestamp,
}

/// What the texts of a token say that its revocation goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// A moment, by the store's clock, at which it was not revoked: when it was issued, at the earliest, or later.
    pub(super) alive_at: Timestamp,
    /// From `iat` to the last moment at which it is accepted.
    pub(super) life: Duration,
}

/// The names under which one of our tokens may be denied.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionNames<'a> {
    pub(super) subject: Name<'a>,
    pub(super) session: Name<'a>,
    pub(super) token: Name<'a>,
}

/// What a bucket says of a token. Of several names under which one token may be denied, the greatest word counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Verdict {
    /// It is not revoked, and that may be relied on.
    Accepted,
    /// Only the store knows.
    Unknown,
    /// It is revoked.
    Refused,
}

/// What reading a page has led to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) broke: Option<Break>,
    pub(super) more: bool,
    /// All was applied for the first time since a break.
    pub(super) completed: bool,
    /// The store may have lost something.
    pub(super) has_lost: bool,
}

impl Bucket {
    pub(super) fn new(names: Names, staleness: Duration, max_bytes: usize) -> Self {
        Self {
            reader: Mutex::new(Reader::new(staleness)),
            known: Leased::new(Known {
                denied: Denied::new(names, max_bytes),
                bounds: Bounds::default(),
                forgotten: Timestamp::default(),
            }),
        }
    }

    pub(super) fn ask(&self, now: Duration) -> Ask {
        self.reader().ask(now)
    }

    /// Applies the answer to a question.
    pub(super) fn page(&self, ask: &Ask, page: LogPage) -> Outcome {
        let mut reader = self.reader();
        let now = page.now;
        let change = reader.page(ask, page);
        let outcome = self.apply(&mut reader, change, now);
        // Who has found nothing has to look again only if something went that the log had told.
        self.known.tend(|known| {
            let forgotten = known.denied.sweep(now);
            let leaves_a_hole = forgotten > known.forgotten;
            known.forgotten = known.forgotten.max(forgotten);
            ((), leaves_a_hole)
        });
        outcome
    }

    /// The store could not tell this bucket's log, or told what cannot be understood.
    pub(super) fn unreadable(&self) {
        let mut reader = self.reader();
        let change = reader.unreadable();
        self.apply(&mut reader, change, Timestamp::default());
    }

    /// This node has revoked something, and the store has confirmed it. It is known from here on, and not only when the log tells of it: the next request
    /// on this node is refused; and should the store lose it before anybody has read it, it can be told it again.
    ///
    /// Whether the lease had to be ended instead.
    pub(super) fn has_revoked(&self, revocation: &Revocation, at: Timestamp, until: Timestamp) -> bool {
        let mut reader = self.reader();
        let is_of = |life| self.known.read(|known, _| known.denied.is_of_life(revocation, life), || 0).0;
        let life = if is_of(reader.life()) {
            // The log was read before this was called.
            reader.life()
        } else if reader.wait_for(revocation) || is_of(UNTOLD) {
            UNTOLD
        } else {
            // Offered to the store at the next loss, which then may not be one.
            reader.earlier_life()
        };
        // As the log's entry is read.
        let until = until.max(at.saturating_add(reader.keep()));
        let is_kept = self.known.change(|known| known.insert(revocation, at, until, life)).is_ok();
        if !is_kept {
            reader.must_see();
            self.known.end_lease();
        }
        !is_kept
    }

    /// Decides nothing, unless this place of the log has been applied, until the log was read by a question that is yet to be asked: what the store
    /// has confirmed by now is in the answer.
    pub(super) fn must_see_position(&self, position: &LogPosition) {
        let mut reader = self.reader();
        if !reader.has_applied(&position.incarnation, position.sequence) {
            reader.must_see();
            self.known.end_lease();
        }
    }

    /// Whether this place of the log has been applied.
    pub(super) fn has_applied(&self, position: &LogPosition) -> bool {
        self.reader().has_applied(&position.incarnation, position.sequence)
    }

    /// Whether one of our tokens may go on: it was accepted when this was noted, and nothing has been learnt since. Less work than to look once more.
    #[inline]
    pub(super) fn still_accepts(&self, note: &AtomicU64, now: impl FnOnce() -> u64) -> bool {
        self.known.still(note.load(Ordering::Relaxed), now)
    }

    /// What is known of one of our tokens. If nothing is known against it, that is noted.
    pub(super) fn session_verdict(
        &self,
        facts: Facts,
        names: SessionNames<'_>,
        generation: u64,
        note: &AtomicU64,
        now: impl FnOnce() -> u64,
    ) -> Verdict {
        let SessionNames { subject, session, token } = names;
        let is_denied = |denied: &Denied| {
            denied.is_outdated(subject, session, generation) || denied.contains(session) || denied.contains(token)
        };
        let (verdict, version) = self.verdict(facts, now, is_denied);
        if verdict == Verdict::Accepted {
            // What was found in one version stays true of it, whatever comes after and whoever else notes what.
            note.store(version, Ordering::Relaxed);
        }
        verdict
    }

    /// What is known of a token by one of the names under which another issuer's tokens are revoked. `issued_at` is the earliest moment at which it
    /// may have been issued, whatever its issuer's clock says.
    pub(super) fn foreign_verdict(
        &self,
        facts: Facts,
        name: Name<'_>,
        issued_at: Timestamp,
        now: impl FnOnce() -> u64,
    ) -> Verdict {
        self.verdict(facts, now, |denied| denied.foreign(name).is_some_and(|before| issued_at.as_millis() <= before)).0
    }

    /// And the version of what is known in which it was found.
    fn verdict(
        &self,
        facts: Facts,
        now: impl FnOnce() -> u64,
        is_denied: impl FnOnce(&Denied) -> bool,
    ) -> (Verdict, u64) {
        let look = |known: &Known, version| {
            let is_spoken_of = facts.alive_at > known.horizon() && facts.life <= known.bounds.keep;
            (is_denied(&known.denied), is_spoken_of, version)
        };
        let ((is_denied, is_spoken_of, version), may_decide) = self.known.read(look, now);
        let verdict = match (is_denied, is_spoken_of && may_decide) {
            (true, _) => Verdict::Refused,
            (false, true) => Verdict::Accepted,
            (false, false) => Verdict::Unknown,
        };
        (verdict, version)
    }

    /// The store has refused what nothing was known against. If it cannot be written down, the store is asked again.
    pub(super) fn learn_refusal(&self, revocation: &Revocation, until: Timestamp) {
        // To forget this one hides nothing that the log told, so it has no moment of its own; what has to go for it does.
        let _ = self.known.change(|known| known.insert(revocation, Timestamp::default(), until, NOT_OF_THE_LOG));
    }

    /// When the lease ends; 0 without one.
    pub(super) fn lease_end(&self) -> u64 {
        self.known.lease_end()
    }

    /// How many revocations are known, and the bytes that they take.
    pub(super) fn size(&self) -> (usize, usize) {
        self.known.read(|known, _| (known.denied.len(), known.denied.bytes()), || 0).0
    }

    /// Revocations that this node knows, and the log, read from its beginning, did not tell when it had to: up to `limit`, after the first `skip`;
    /// and in which life of the log. None until it was read to its end.
    pub(super) fn missing(&self, now: Timestamp, skip: usize, limit: usize) -> (u16, Vec<(Revocation, Timestamp)>) {
        let (life, is_complete) = {
            let reader = self.reader();
            (reader.life(), reader.is_complete())
        };
        let limit = if is_complete { limit } else { 0 };
        (life, self.known.read(|known, _| known.denied.missing(life, now, skip, limit), || 0).0)
    }

    /// The store has confirmed that it knows this revocation again, which was missing in this life of the log.
    pub(super) fn is_restored(&self, revocation: &Revocation, life: u16) {
        self.known.change(|known| known.denied.is_restored(revocation, life));
    }

    fn apply(&self, reader: &mut Reader, change: Change, now: Timestamp) -> Outcome {
        let Change { broke, entries, bounds, lease, more, completed, due } = change;
        let (life, earlier) = (reader.life(), reader.earlier_life());
        let applied = self.known.update(
            broke.is_some(),
            |known| {
                // A few at a time, for requests wait meanwhile.
                for part in entries.chunks(ENTRIES_AT_ONCE) {
                    known.change(|known| known.learn(part, life))?;
                }
                if let Some(bounds) = bounds {
                    known.tend(|known| ((), mem::replace(&mut known.bounds, bounds) != bounds));
                }
                Ok::<(), TooLong>(())
            },
            lease.map(nanos),
        );
        let mut missed = false;
        for part in due.chunks(ENTRIES_AT_ONCE) {
            self.known.tend(|known| {
                for revocation in part {
                    missed |= known.denied.miss_if_untold(revocation, now, earlier);
                }
                ((), false)
            });
        }
        if applied.is_err() {
            let _ = reader.unreadable();
            return Outcome { broke: Some(Break::Chain), ..Outcome::default() };
        }
        Outcome { broke, more, completed, has_lost: completed || missed }
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn learn(&mut self, entries: &[LogEntry], life: u16) -> Result<(), TooLong> {
        entries.iter().try_for_each(|entry| self.insert(&entry.revocation, entry.at, entry.until, life))
    }

    /// What had to go for it is not known any more: the horizon is moved in the same step.
    fn insert(&mut self, revocation: &Revocation, at: Timestamp, until: Timestamp, life: u16) -> Result<(), TooLong> {
        let forgotten = self.denied.insert(revocation, at, until, life)?;
        self.forgotten = self.forgotten.max(forgotten.unwrap_or_default());
        Ok(())
    }

    fn horizon(&self) -> Timestamp {
        self.bounds.horizon.max(self.forgotten)
    }
}

#[cfg(test)]
mod tests;

//! The data of a bucket that requests read: the deny set, and the bounds of the tokens that it
//! decides.

use std::{
    mem,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    clock::Timestamp,
    replica::{
        deny_set::{DenySet, EntryName, NameHasher},
        history::{Gap, Horizon},
        log_reader::{Bounds, Era},
        verdict::Alive,
    },
    store::{LogEntry, Revocation},
};

/// The data of a bucket.
#[derive(Debug)]
pub(in crate::replica) struct BucketData {
    pub(super) denied: DenySet,
    pub(super) bounds: Bounds,
    /// The count of eras when the current one began.
    era_began: u64,
    /// The end of the span of which the node dropped revocations to keep memory bounded.
    pub(super) forgotten: Timestamp,
    /// Count of entries that were skipped: they cannot be read, or no valid token has such ids.
    skipped: u64,
    /// An entry was skipped and is yet to be reported.
    has_unreported_skip: bool,
}

/// The names under which one of our tokens may be revoked.
#[derive(Clone, Copy, Debug)]
pub(in crate::replica) struct SessionNames<'a> {
    pub(in crate::replica) subject: EntryName<'a>,
    pub(in crate::replica) session: EntryName<'a>,
    pub(in crate::replica) token: EntryName<'a>,
}

impl BucketData {
    pub(super) fn new(hasher: NameHasher, max_bytes: usize) -> Self {
        let never = Timestamp::END_OF_TIME;
        let horizon = Horizon { since: never, own: never, external: never, gap: None };
        Self {
            denied: DenySet::new(hasher, max_bytes),
            bounds: Bounds { horizon, keep: Duration::ZERO, era: Era::default() },
            era_began: u64::MAX,
            forgotten: Timestamp::default(),
            skipped: 0,
            has_unreported_skip: false,
        }
    }

    /// Inserts the entries of a page that was read in this epoch.
    pub(super) fn insert_all(&mut self, entries: &[LogEntry], epoch: u16) {
        for entry in entries {
            // An entry that is too long to be kept does not stop the node: no valid token has such
            // ids.
            if !self.insert(&entry.revocation, entry.at, entry.until, epoch) {
                self.skipped = self.skipped.saturating_add(1);
                self.has_unreported_skip = true;
            }
        }
    }

    /// Inserts a revocation. If older ones are pushed out, the horizon moves in the same step.
    /// Returns false if the entry is too long.
    pub(super) fn insert(&mut self, revocation: &Revocation, at: Timestamp, until: Timestamp, epoch: u16) -> bool {
        let forgotten = self.denied.insert(revocation, at, until, epoch);
        if let Ok(Some(forgotten)) = forgotten {
            self.forgotten = self.forgotten.max(forgotten);
        }
        forgotten.is_ok()
    }

    /// Removes entries that are past their use at `now`. Returns true if entries of the log went
    /// for which the horizon must move.
    pub(super) fn sweep(&mut self, now: Timestamp) -> bool {
        let forgotten = self.denied.sweep(now);
        let leaves_a_hole = forgotten > self.forgotten;
        self.forgotten = self.forgotten.max(forgotten);
        leaves_a_hole
    }

    /// Counts entries that the store skipped. Returns true if the operator should know about
    /// skipped entries.
    pub(super) fn count_skipped(&mut self, skipped: u32) -> bool {
        let is_first = skipped > 0 && self.skipped == 0;
        self.skipped = self.skipped.saturating_add(skipped.into());
        is_first || mem::take(&mut self.has_unreported_skip)
    }

    /// Puts other bounds in force. Returns true if cached verdicts are invalid.
    pub(super) fn set_bounds(&mut self, bounds: Bounds, eras: &AtomicU64) -> bool {
        let before = mem::replace(&mut self.bounds, bounds);
        if before.era != bounds.era || self.era_began == u64::MAX {
            self.era_began = eras.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        }
        before != bounds
    }

    /// Returns true if one of our tokens is revoked: by itself, with its session, or with its
    /// generation.
    pub(super) fn revokes(&self, names: SessionNames<'_>, generation: u64) -> bool {
        let SessionNames { subject, session, token } = names;
        self.denied.is_outdated(subject, session, generation)
            || self.denied.contains(session)
            || self.denied.contains(token)
    }

    /// Returns true if a token of another issuer is revoked under this name.
    pub(super) fn revokes_external(&self, name: EntryName<'_>, issued_at: Timestamp) -> bool {
        self.denied.revoked_up_to(name).is_some_and(|end| issued_at.as_millis() <= end)
    }

    /// Returns true if the node knows every revocation of our tokens that were issued at that time,
    /// and the store did not lose their sessions.
    pub(super) fn covers(&self, issued_at: Timestamp, margin: Duration) -> bool {
        let Bounds { horizon, .. } = self.bounds;
        let is_in =
            |gap: Gap| gap.from.saturating_sub(margin) <= issued_at && issued_at <= gap.to.saturating_add(margin);
        issued_at > horizon.own.max(self.forgotten).saturating_add(margin) && !horizon.gap.is_some_and(is_in)
    }

    /// Returns the same for tokens of another issuer.
    pub(super) fn covers_external(&self, issued_at: Timestamp) -> bool {
        issued_at > self.bounds.horizon.external.max(self.forgotten)
    }

    /// Returns true if a confirmation by the store holds: it came in this era, and the node knows
    /// every later revocation. A session that this server knows is not lost.
    pub(super) fn is_covered_by(&self, alive: Alive) -> bool {
        alive.eras >= self.era_began && alive.at > self.bounds.horizon.since.max(self.forgotten)
    }
}

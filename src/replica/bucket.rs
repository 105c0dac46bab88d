//! One bucket of the replica: the reader of the bucket's log, and the data by which requests decide
//! under a lease. The data include the deny set and the horizon.

use std::{
    mem, slice,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    causal::HeldSubjects,
    deny_set::{DenySet, EPOCH_LOCAL, EPOCH_LOST, EPOCH_PENDING, EntryName, LAST_EPOCH, NameHasher},
    history::{Gap, Horizon, Lost},
    lease::{Leased, nanos},
    log_reader::{Bounds, Break, Change, Era, LogReader, PendingBackRead, PendingRead},
    verdict::{Alive, Look, TokenTimes, Verdict},
};
use crate::{
    clock::Timestamp,
    store::{LogEntry, LogPage, LogPosition, LogStamp, Revocation, ServerId},
};

/// Maximum count of entries that the node inserts under one write lock. Requests wait for this
/// lock.
const ENTRIES_AT_ONCE: usize = 64;

/// One bucket of the replica. A thread that takes both locks takes the lock of `reader` first.
#[derive(Debug)]
pub(super) struct Bucket {
    reader: Mutex<LogReader>,
    /// The data that requests read under a lease. The module `shared` compares their version with
    /// that of an earlier verdict.
    pub(super) data: Leased<BucketData>,
    /// The node has applied every revocation up to this time, in nanoseconds of the leases' clock.
    /// The time never goes back, and does not depend on a lease.
    known: AtomicU64,
    config: BucketConfig,
}

/// Configuration that all buckets of a replica share.
#[derive(Clone, Debug)]
pub(super) struct BucketConfig {
    pub(super) staleness: Duration,
    /// The largest difference between the clocks of two servers of one store.
    pub(super) margin: Duration,
    /// The largest difference between the clocks of this node and of other issuers.
    pub(super) leeway: Duration,
    /// Total count of the eras ([`Era`]) that have begun, over all buckets.
    pub(super) eras: Arc<AtomicU64>,
}

/// The result of applying a page.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) broke: Option<Break>,
    pub(super) more: bool,
    /// Count of applied entries that follow the last applied entry. It is 0 for the first page
    /// after a start or a break, and for a page of older entries.
    pub(super) news: usize,
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "only for the log message"))]
    pub(super) applied: usize,
    /// True if the store has lost revocations that this node has.
    pub(super) has_lost: bool,
    /// True if the task should warn the operator about skipped entries.
    pub(super) has_skipped: bool,
}

#[derive(Debug)]
pub(in crate::replica) struct BucketData {
    deny_set: DenySet,
    held: HeldSubjects,
    bounds: Bounds,
    /// The value of [`BucketConfig::eras`] when the current era of this bucket began.
    era_began: u64,
    /// The coverage version, starting at 1. It changes with `bounds` and `forgotten`, because the
    /// deny set may then be complete for other tokens than before.
    coverage: u64,
    /// The deny set may have dropped revocations that were logged up to this time.
    forgotten: Timestamp,
    /// Count of skipped entries. The node skips an entry that is unreadable, or whose ids are
    /// longer than those of any valid token.
    skipped: u64,
    /// True if the deny set has rejected an entry, and no [`Outcome`] has reported the rejection
    /// yet.
    has_unreported_skip: bool,
}

/// The names under which a token of this crate may be revoked.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionNames<'a> {
    pub(super) subject: EntryName<'a>,
    pub(super) session: EntryName<'a>,
    pub(super) token: EntryName<'a>,
}

impl Bucket {
    pub(super) fn new(hasher: NameHasher, config: BucketConfig, max_bytes: usize) -> Self {
        Self {
            reader: Mutex::new(LogReader::new(config.staleness)),
            data: Leased::new(BucketData::new(hasher, max_bytes)),
            known: AtomicU64::new(0),
            config,
        }
    }

    /// Returns the verdict on a token of this crate. Writes the data's version to `note` if the
    /// verdict is [`Verdict::Accepted`].
    pub(super) fn session_verdict(
        &self,
        times: TokenTimes,
        names: SessionNames<'_>,
        generation: u64,
        note: &AtomicU64,
        now: impl FnOnce() -> u64,
    ) -> Verdict {
        let is_revoked = |data: &BucketData| data.revokes(names, generation);
        let is_covered = |data: &BucketData| data.covers(times.issued_at, self.config.margin);
        let is_held = |data: &BucketData| data.held.contain(names.subject.hash);
        let (verdict, version) = self.verdict(times, now, is_revoked, is_covered, is_held);
        if verdict == Verdict::Accepted {
            // `Relaxed` is enough: the verdict is valid for as long as the data have this version.
            note.store(version, Ordering::Relaxed);
        }
        verdict
    }

    /// Returns the verdict on one of the names of another issuer's token, and the version of the
    /// data that gave the verdict.
    pub(super) fn external_verdict(
        &self,
        times: TokenTimes,
        name: EntryName<'_>,
        now: impl FnOnce() -> u64,
    ) -> (Verdict, u64) {
        // The issuer's clock may be fast. So this is the earliest possible time of issue.
        let issued_at = times.issued_at.saturating_sub(self.config.leeway);
        let is_revoked = |data: &BucketData| data.revokes_external(name, issued_at);
        self.verdict(times, now, is_revoked, |data| data.covers_external(issued_at), |_| false)
    }

    /// Returns the verdict, and the version of the data on which the verdict rests.
    fn verdict(
        &self,
        times: TokenTimes,
        now: impl FnOnce() -> u64,
        is_revoked: impl FnOnce(&BucketData) -> bool,
        is_covered: impl FnOnce(&BucketData) -> bool,
        is_held: impl FnOnce(&BucketData) -> bool,
    ) -> (Verdict, u64) {
        let look = |data: &BucketData, version| {
            let may_cover = times.lifetime <= data.bounds.keep;
            let is_covered = may_cover && (is_covered(data) || data.is_covered_by(times.alive));
            (is_revoked(data), is_covered, is_held(data), version)
        };
        let ((is_revoked, is_covered, is_held, version), has_lease) = self.data.read(look, now);
        let verdict = match (is_revoked, has_lease && !is_held, is_covered) {
            (true, _, _) => Verdict::Refused,
            (false, true, true) => Verdict::Accepted,
            (false, true, false) => Verdict::BeforeHorizon,
            (false, false, _) => Verdict::Unknown,
        };
        (verdict, version)
    }

    /// Returns true if this node reads the bucket's log from this server.
    pub(super) fn follows(&self, server: ServerId) -> bool {
        self.look(|data| data.bounds.era.server == Some(server))
    }

    /// Adds the revocation of a token that the store has refused. If the entry is too long, adds
    /// nothing: the node then asks the store about the token again.
    pub(super) fn record_refusal(&self, revocation: &Revocation, until: Timestamp) {
        // The log may lack this revocation, so it gets the log time 0. If the deny set drops the
        // revocation later, the horizon does not rise, because the horizon depends only on entries
        // of the log.
        self.data.mutate(|data| data.insert(revocation, Timestamp::default(), until, EPOCH_LOCAL));
    }

    /// Adds a revocation that this node has made and the store has confirmed. From the next request
    /// on, this node refuses the revoked tokens. If the store loses the log entry, this node
    /// republishes the revocation.
    ///
    /// If the deny set cannot store the entry because it is too long, ends the lease instead and
    /// returns true.
    pub(super) fn record_revocation(
        &self,
        revocation: &Revocation,
        at: Timestamp,
        until: Timestamp,
        position: &LogPosition,
    ) -> bool {
        let mut reader = self.reader();
        let held: Vec<_> = self.look(|data| data.deny_set.epochs_of(revocation).collect());
        let is_logged = |epoch: u16| epoch == reader.epoch() || (!reader.is_broken() && epoch <= LAST_EPOCH);
        let logged = held.iter().copied().find(|epoch| is_logged(*epoch));
        let epoch = if let Some(epoch) = logged {
            epoch
        } else if reader.track_pending(revocation, position) || held.contains(&EPOCH_PENDING) {
            EPOCH_PENDING
        } else {
            // Too many own revocations wait for their entries. The node marks this revocation as
            // lost, until it reads the entry in the log.
            EPOCH_LOST
        };
        // Extends `until` as the reader does for an entry of the log.
        let until = until.max(at.saturating_add(reader.keep()));
        let is_kept = self.data.mutate(|data| data.insert(revocation, at, until, epoch));
        if !is_kept {
            self.require_later_read(&mut reader);
        }
        !is_kept
    }

    /// Ends the lease unless the reader has passed this position. Only a read that starts later
    /// grants the next lease, because its page contains every revocation that the store has
    /// confirmed by now.
    pub(super) fn require_position(&self, position: &LogPosition) {
        let mut reader = self.reader();
        if !reader.has_passed(position) {
            self.require_later_read(&mut reader);
        }
    }

    /// Settles the stamp of a token that this node sees for the first time. Returns true if the
    /// stamp is new.
    ///
    /// For a new stamp, the node **holds** the subject: it asks the store about the subject's
    /// tokens until a later read reaches the end of the log. If the node already holds too many
    /// subjects, it ends the bucket's lease instead.
    ///
    /// *If each new stamp ended the lease, one client that logs out and in again would make the
    /// node ask the store about all users of the bucket.*
    pub(super) fn settle(&self, stamp: LogStamp, subject: u32) -> bool {
        let mut reader = self.reader();
        let Some(read) = reader.settle(stamp, self.config.margin) else { return false };
        let is_held = self.data.mutate(|data| data.held.hold(subject, read));
        if !is_held {
            self.require_later_read(&mut reader);
        }
        true
    }

    /// Ends the lease, because the node cannot read the store's page. Only a later read grants
    /// another lease.
    pub(super) fn reject_page(&self) {
        self.require_later_read(&mut self.reader());
    }

    fn require_later_read(&self, reader: &mut LogReader) {
        reader.require_later_read();
        self.data.end_lease();
    }

    /// Returns true if the reader has applied the entry at this position.
    pub(super) fn has_applied(&self, position: &LogPosition) -> bool {
        self.reader().has_applied(position)
    }

    /// Returns true if the reader has applied the entry of this node's own revocation at this
    /// position.
    pub(super) fn has_applied_own(&self, revocation: &Revocation, position: &LogPosition) -> bool {
        self.reader().has_applied_own(revocation, position)
    }

    /// Starts the next read of the log.
    pub(super) fn next_read(&self, now: Duration, limit: u32) -> PendingRead {
        self.reader().start_read(now, limit)
    }

    /// Starts the next read backwards. Returns `None` if reading back has ended. A full deny set
    /// ends reading back early, but not after a break.
    pub(super) fn next_back_read(&self, limit: u32) -> Option<PendingBackRead> {
        let mut reader = self.reader();
        let read = reader.start_back_read(limit)?;
        // After a break the node reads on, because only the end of reading back shows which entries
        // are lost.
        if !reader.is_broken() && self.look(|data| data.deny_set.is_full()) {
            reader.stop_reading_back();
            return None;
        }
        Some(read)
    }

    /// Returns the time of the newest entry that the node has not read back yet, and true if
    /// reading back is urgent (after a break). Returns `None` if reading back has ended.
    pub(super) fn way_back(&self) -> Option<(Timestamp, bool)> {
        self.reader().way_back()
    }

    /// Applies the page of a read. `wall` is the time of this node's clock. Passes the applied
    /// entries to `announce` when the deny set contains them. Holds no lock during that call.
    pub(super) fn apply_and(
        &self,
        read: &PendingRead,
        page: LogPage,
        wall: Timestamp,
        announce: impl FnOnce(&[LogEntry]),
    ) -> Outcome {
        let mut reader = self.reader();
        let (now, skipped) = (page.now, page.skipped);
        let change = reader.finish_read(read, page, wall);
        let (outcome, entries) = self.apply_change(&reader, change, now, skipped);
        // Invalidates earlier verdicts only if the sweep has removed entries of the log.
        self.data.mutate_if_changed(|data| ((), data.sweep(now)));
        drop(reader);
        announce(&entries);
        outcome
    }

    /// Applies the page of a read backwards, as [`apply_and`](Self::apply_and) does.
    pub(super) fn apply_back_and(
        &self,
        read: &PendingBackRead,
        page: LogPage,
        announce: impl FnOnce(&[LogEntry]),
    ) -> Outcome {
        let mut reader = self.reader();
        let (now, skipped) = (page.now, page.skipped);
        let change = reader.finish_back_read(read, page);
        let (outcome, entries) = self.apply_change(&reader, change, now, skipped);
        drop(reader);
        announce(&entries);
        outcome
    }

    /// Applies a change to the data. Returns the outcome, and the applied entries.
    fn apply_change(
        &self,
        reader: &LogReader,
        change: Change,
        now: Timestamp,
        skipped: u32,
    ) -> (Outcome, Vec<LogEntry>) {
        let Change { epoch, broke, continues, entries, again, bounds, lease, known, settles, more, overdue, lost } =
            change;
        let Ok(()) = self.data.apply_page(
            broke.is_some(),
            |data| {
                // Inserts a few entries at a time, because requests wait meanwhile.
                for part in entries.chunks(ENTRIES_AT_ONCE).chain(again.as_ref().map(slice::from_ref)) {
                    data.mutate(|data| data.insert_all(part, epoch));
                }
                if let Some(bounds) = bounds {
                    data.mutate_if_changed(|data| ((), data.set_bounds(bounds, &self.config.eras)));
                }
                // Releases the held subjects only now. Before the node stops asking the store about
                // them, the deny set must contain the new entries.
                if let Some(read) = settles {
                    data.mutate_if_changed(|data| (data.held.release(read), false));
                }
                Ok::<(), std::convert::Infallible>(())
            },
            lease.map(nanos),
        );
        if let Some(known) = known {
            self.known.fetch_max(nanos(known), Ordering::Release);
        }
        let mut has_lost = self.mark_lost(&overdue, now, |epoch| epoch == EPOCH_PENDING);
        if let Some(lost) = lost {
            has_lost |= self.resolve_break(&lost, reader.epoch(), now);
        }
        let has_skipped = self.data.mutate_if_changed(|data| (data.count_skipped(skipped), false));
        let news = if continues { entries.len() } else { 0 };
        (Outcome { broke, more, news, applied: entries.len(), has_lost, has_skipped }, entries)
    }

    /// Marks the entries that the store has lost. Returns true if any marked entry still matters,
    /// because a token that it revokes may be alive.
    fn resolve_break(&self, lost: &Lost, current: u16, now: Timestamp) -> bool {
        let is_kept = |epoch: u16| epoch == current || epoch >= EPOCH_LOST;
        match lost {
            Lost::AllOfBefore => self.mark_all_lost(now, |epoch| !is_kept(epoch)),
            Lost::These { revocations, epochs } => {
                let of_epochs =
                    !epochs.is_empty() && self.mark_all_lost(now, |epoch| epochs.contains(&epoch) && !is_kept(epoch));
                self.mark_lost(revocations, now, |epoch| !is_kept(epoch)) || of_epochs
            }
        }
    }

    /// Marks each of these revocations as lost if `is_lost` returns true for the epoch of its entry
    /// (the time between two breaks in which the node read the entry). Returns true if any marked
    /// revocation still matters.
    fn mark_lost(&self, revocations: &[Revocation], now: Timestamp, is_lost: impl Fn(u16) -> bool) -> bool {
        let mut has_lost = false;
        for part in revocations.chunks(ENTRIES_AT_ONCE) {
            self.data.mutate_if_changed(|data| {
                for revocation in part {
                    has_lost |= data.deny_set.mark_lost(revocation, now, &is_lost);
                }
                ((), false)
            });
        }
        has_lost
    }

    /// Does the same as [`mark_lost`](Self::mark_lost) for all revocations in the deny set.
    fn mark_all_lost(&self, now: Timestamp, is_lost: impl Fn(u16) -> bool) -> bool {
        let mut has_lost = false;
        for start in self.look(|data| data.deny_set.segment_starts().collect::<Vec<_>>()) {
            self.data.mutate_if_changed(|data| {
                has_lost |= data.deny_set.mark_segment_lost(start, now, &is_lost);
                ((), false)
            });
        }
        has_lost
    }

    /// Returns the current epoch, and the lost revocations with the times until which they matter.
    /// Omits the first `skip` revocations, and returns at most `limit`.
    pub(super) fn missing(&self, now: Timestamp, skip: usize, limit: usize) -> (u16, Vec<(Revocation, Timestamp)>) {
        let epoch = self.reader().epoch();
        (epoch, self.look(|data| data.deny_set.missing(now, skip, limit)))
    }

    /// Notes that the store has confirmed a republished revocation. [`missing`](Self::missing)
    /// returned the revocation and this `epoch`.
    pub(super) fn mark_republished(&self, revocation: &Revocation, epoch: u16) {
        self.data.mutate(|data| data.deny_set.mark_republished(revocation, epoch));
    }

    /// Returns the time up to which the node has applied every revocation, and the coverage
    /// version. Loads the version **after** the time. If two calls return the same version, the
    /// deny set covered the same tokens at both times.
    pub(super) fn known(&self) -> (u64, u64) {
        let known = self.known_as_of();
        (known, self.look(|data| data.coverage))
    }

    /// Returns the time up to which the node has applied every revocation. Takes no lock.
    pub(super) fn known_as_of(&self) -> u64 {
        self.known.load(Ordering::Acquire)
    }

    /// Looks up a token of this crate for an open stream, with or without a lease.
    pub(super) fn session_look(&self, times: TokenTimes, names: SessionNames<'_>, generation: u64) -> Look {
        self.look_at(
            times,
            |data| data.revokes(names, generation),
            |data| data.covers(times.issued_at, self.config.margin),
        )
    }

    /// Looks up one name of another issuer's token for an open stream, with or without a lease.
    pub(super) fn external_look(&self, times: TokenTimes, name: EntryName<'_>) -> Look {
        let issued_at = times.issued_at.saturating_sub(self.config.leeway);
        self.look_at(times, |data| data.revokes_external(name, issued_at), |data| data.covers_external(issued_at))
    }

    fn look_at(
        &self,
        times: TokenTimes,
        is_revoked: impl FnOnce(&BucketData) -> bool,
        is_covered: impl FnOnce(&BucketData) -> bool,
    ) -> Look {
        self.look(|data| {
            let may_cover = times.lifetime <= data.bounds.keep;
            let is_covered = may_cover && (is_covered(data) || data.is_covered_by(times.alive));
            Look { is_refused: is_revoked(data), is_covered }
        })
    }

    /// Returns the end of the lease in nanoseconds, or 0 if there is no lease.
    pub(super) fn lease_end(&self) -> u64 {
        self.data.lease_end()
    }

    /// Returns the count of revocations in the deny set, and the bytes that they take.
    pub(super) fn size(&self) -> (usize, usize) {
        self.look(|data| (data.deny_set.len(), data.deny_set.bytes()))
    }

    /// Reads the data, with or without a lease.
    fn look<R>(&self, look: impl FnOnce(&BucketData) -> R) -> R {
        self.data.read(|data, _| look(data), || 0).0
    }

    fn reader(&self) -> MutexGuard<'_, LogReader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BucketData {
    fn new(hasher: NameHasher, max_bytes: usize) -> Self {
        let never = Timestamp::END_OF_TIME;
        let horizon = Horizon { since: never, own: never, external: never, gap: None };
        Self {
            deny_set: DenySet::new(hasher, max_bytes),
            held: HeldSubjects::default(),
            bounds: Bounds { horizon, keep: Duration::ZERO, era: Era::default() },
            era_began: u64::MAX,
            coverage: 1,
            forgotten: Timestamp::default(),
            skipped: 0,
            has_unreported_skip: false,
        }
    }

    /// Inserts the entries of a page that was read in this epoch.
    fn insert_all(&mut self, entries: &[LogEntry], epoch: u16) {
        for entry in entries {
            // An entry that does not fit has longer ids than any valid token. So the node may
            // decide without the entry.
            if !self.insert(&entry.revocation, entry.at, entry.until, epoch) {
                self.skipped = self.skipped.saturating_add(1);
                self.has_unreported_skip = true;
            }
        }
    }

    /// Inserts a revocation. If the deny set drops older revocations to make room, the horizon
    /// rises in the same step. Returns false if the entry is too long.
    fn insert(&mut self, revocation: &Revocation, at: Timestamp, until: Timestamp, epoch: u16) -> bool {
        let forgotten = self.deny_set.insert(revocation, at, until, epoch);
        if let Ok(Some(forgotten)) = forgotten {
            self.forgotten = self.forgotten.max(forgotten);
            self.coverage = self.coverage.wrapping_add(1);
        }
        forgotten.is_ok()
    }

    /// Removes entries that no longer matter at `now`. Returns true if earlier verdicts are
    /// invalid, because the horizon may have risen.
    fn sweep(&mut self, now: Timestamp) -> bool {
        let forgotten = self.deny_set.sweep(now);
        let leaves_a_hole = forgotten > self.forgotten;
        self.coverage = self.coverage.wrapping_add(leaves_a_hole.into());
        self.forgotten = self.forgotten.max(forgotten);
        leaves_a_hole
    }

    /// Counts the entries that the store skipped. Returns true if the operator needs a warning: at
    /// the first skipped entry of this bucket, or after [`insert_all`](Self::insert_all) has
    /// skipped an entry.
    fn count_skipped(&mut self, skipped: u32) -> bool {
        let is_first = skipped > 0 && self.skipped == 0;
        self.skipped = self.skipped.saturating_add(skipped.into());
        is_first || mem::take(&mut self.has_unreported_skip)
    }

    /// Replaces the horizon, `keep` and the era. Returns true if any of them has changed, because
    /// earlier verdicts are then invalid.
    fn set_bounds(&mut self, bounds: Bounds, eras: &AtomicU64) -> bool {
        let before = mem::replace(&mut self.bounds, bounds);
        if before.era != bounds.era || self.era_began == u64::MAX {
            self.era_began = eras.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        }
        self.coverage = self.coverage.wrapping_add((before != bounds).into());
        before != bounds
    }

    /// Returns true if a token of this crate is revoked: by itself, with its session, or with all
    /// sessions of its subject.
    fn revokes(&self, names: SessionNames<'_>, generation: u64) -> bool {
        let SessionNames { subject, session, token } = names;
        self.deny_set.is_outdated(subject, session, generation)
            || self.deny_set.contains(session)
            || self.deny_set.contains(token)
    }

    /// Returns true if a token of another issuer is revoked under this name.
    fn revokes_external(&self, name: EntryName<'_>, issued_at: Timestamp) -> bool {
        self.deny_set.revoked_up_to(name).is_some_and(|end| issued_at.as_millis() <= end)
    }

    /// Returns true if the replica covers this crate's tokens that were issued at this time. The
    /// replica then has every revocation of these tokens, and the store cannot have lost their
    /// sessions.
    fn covers(&self, issued_at: Timestamp, margin: Duration) -> bool {
        let Bounds { horizon, .. } = self.bounds;
        let is_in =
            |gap: Gap| gap.from.saturating_sub(margin) <= issued_at && issued_at <= gap.to.saturating_add(margin);
        issued_at > horizon.own.max(self.forgotten).saturating_add(margin) && !horizon.gap.is_some_and(is_in)
    }

    /// Returns true if the replica covers other issuers' tokens that were issued at this time. The
    /// replica then has every revocation of these tokens.
    fn covers_external(&self, issued_at: Timestamp) -> bool {
        issued_at > self.bounds.horizon.external.max(self.forgotten)
    }

    /// Returns true if the node may rely on the store's confirmation of a token: it came in the
    /// present era, and the replica has every later revocation. Lost sessions ([`Gap`]) do not
    /// matter here, because the store has confirmed the session.
    fn is_covered_by(&self, alive: Alive) -> bool {
        alive.eras >= self.era_began && alive.at > self.bounds.horizon.since.max(self.forgotten)
    }
}

/// Variants that announce nothing, for tests.
#[cfg(test)]
impl Bucket {
    fn apply(&self, read: &PendingRead, page: LogPage, wall: Timestamp) -> Outcome {
        self.apply_and(read, page, wall, |_| {})
    }

    fn apply_back(&self, read: &PendingBackRead, page: LogPage) -> Outcome {
        self.apply_back_and(read, page, |_| {})
    }
}

#[cfg(test)]
mod tests;

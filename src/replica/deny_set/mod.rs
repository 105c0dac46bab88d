//! The deny set: an index over the revocations that a node holds, in as little memory as an exact
//! answer allows.
//!
//! Entries lie one after the other in **segments** of 32 KiB, in the order in which they were
//! learnt. For each entry the index holds 32 bits of a keyed hash and its place. A lookup compares
//! the ids in full: so nothing is refused for a hash alone, and the index grows without a look at
//! the entries.
//!
//! A revocation leaves only by time: a segment goes as a whole once its last entry is past its use.
//! To refuse an entry for a while longer does no harm: no token that it concerns is alive. Nothing
//! else is ever removed, whatever happens to the store, with one exception.
//!
//! **Memory is bounded.** When a bucket's entries exceed their share, its oldest segment goes
//! early, and [`insert`](Denied::insert) returns the time of its newest entry. The horizon moves
//! there, so that the store is asked about older tokens.
//!
//! `entry` defines the bytes of an entry, and `id` those of an id within it.
//!
//! A million revoked sessions in 16 buckets take 52 MB if users have ids of 8 characters. With
//! UUIDs they take 58 MB, with other texts of 36 characters 80 MB. A test counts that.
//! (`cargo bench --bench staleness` also measures it with UUIDs.)

mod entry;
mod id;

use std::{collections::VecDeque, hash::BuildHasher, hash::RandomState};

use hashbrown::HashTable;

pub(super) use self::entry::Kind;
use self::entry::{LAST_SECOND, Stored, parts, revocation, up_to_seconds};
use self::id::Id;
use crate::{clock::Timestamp, store::Revocation};

/// The size of a segment, and so of the longest entry. A store's ids have at most 255 bytes.
const SEGMENT: usize = 1 << OFFSET_BITS;
const OFFSET_BITS: u32 = 15;
/// Segment numbers use the bits of a place that the offset leaves, and wrap.
const MAX_SEGMENTS: usize = 1 << (32 - OFFSET_BITS);
const NUMBER_MASK: u32 = (1 << (32 - OFFSET_BITS)) - 1;
/// The count of segments that one sweep looks at.
const SWEPT_AT_ONCE: usize = 16;

/// Epoch of entries that were learned from `check` instead of the log. They are never republished.
pub(super) const EPOCH_LOCAL: u16 = u16::MAX;
/// Epoch of this node's own revocations that the log does not have yet.
pub(super) const EPOCH_PENDING: u16 = EPOCH_LOCAL - 1;
/// Epoch of entries that the store has lost. They are to be republished.
pub(super) const EPOCH_LOST: u16 = EPOCH_PENDING - 1;
/// The last number of an epoch of the log.
pub(super) const LAST_EPOCH: u16 = EPOCH_LOST - 1;

/// The name of a revoked thing, with 32 bits of its keyed hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    pub(super) hash: u32,
    kind: Kind,
    first: &'a str,
    second: &'a str,
}

/// The keyed hash of names. One for a whole replica, so that a name is hashed once.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(RandomState);

impl Names {
    /// Returns the hash of a name. `second` counts for sessions and tokens. All entries of a
    /// subject share one hash.
    pub(super) fn hash(&self, kind: Kind, first: &str, second: &str) -> u32 {
        let (kind, second) = match kind {
            Kind::Session | Kind::Token => (kind, second),
            Kind::Subject | Kind::Others => (Kind::Subject, ""),
            Kind::Foreign => (kind, ""),
        };
        #[allow(clippy::cast_possible_truncation, reason = "32 bits of it are wanted")]
        {
            self.0.hash_one((kind, first, second)) as u32
        }
    }

    pub(super) fn of<'a>(&self, kind: Kind, first: &'a str, second: &'a str) -> Name<'a> {
        Name { hash: self.hash(kind, first, second), kind, first, second }
    }
}

impl<'a> Name<'a> {
    /// Makes a name whose hash was computed before.
    pub(super) fn hashed(hash: u32, kind: Kind, first: &'a str, second: &'a str) -> Self {
        Self { hash, kind, first, second }
    }
}

/// The revocations of one bucket.
#[derive(Debug)]
pub(super) struct Denied {
    names: Names,
    index: HashTable<Slot>,
    segments: VecDeque<Segment>,
    /// The number of the first segment.
    base: u32,
    bytes_of_entries: usize,
    max_bytes: usize,
    /// The segment at which the next sweep goes on.
    swept: usize,
}

/// One entry of the index.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    place: u32,
}

#[derive(Debug, Default)]
struct Segment {
    entries: Vec<u8>,
    /// The last moment at which any of its entries matters.
    last: Timestamp,
    /// The time at which the newest of its entries was logged.
    logged: Timestamp,
}

/// An entry that is longer than a store's ids allow. It was not inserted, so nothing may be decided
/// without it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TooLong;

impl Denied {
    pub(super) fn new(names: Names, max_bytes: usize) -> Self {
        Self {
            names,
            index: HashTable::new(),
            segments: VecDeque::new(),
            base: 0,
            bytes_of_entries: 0,
            max_bytes: max_bytes.min(MAX_SEGMENTS * SEGMENT),
            swept: 0,
        }
    }

    /// Returns the count of revocations.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let segments = self.segments.iter().map(|segment| segment.entries.capacity()).sum::<usize>();
        segments + self.segments.capacity() * size_of::<Segment>() + self.index.allocation_size()
    }

    /// Returns true if a session, or one of our tokens, is revoked by itself.
    pub(super) fn contains(&self, name: Name<'_>) -> bool {
        self.find(name).is_some()
    }

    /// Returns true if a revocation of the subject ended this session and its tokens of this
    /// generation.
    pub(super) fn is_outdated(&self, subject: Name<'_>, session: Name<'_>, generation: u64) -> bool {
        let all = self.index.iter_hash(spread(subject.hash)).filter(|slot| slot.hash == subject.hash);
        let is_of_it = |stored: &Stored<'_>| stored.first == Id::of(subject.first) && generation < stored.number;
        all.filter_map(|slot| self.stored(slot.place)).filter(is_of_it).any(|stored| match stored.kind {
            Kind::Subject => true,
            Kind::Others => stored.second != Id::of(session.second),
            Kind::Session | Kind::Token | Kind::Foreign => false,
        })
    }

    /// Returns the moment up to which a thing of another issuer must have been issued to be
    /// revoked; `u64::MAX` for a token.
    pub(super) fn foreign(&self, name: Name<'_>) -> Option<u64> {
        self.find(name).map(|stored| stored.number)
    }

    /// Returns the epochs under which this revocation, or a stronger one in its place, is held.
    pub(super) fn epochs_of(&self, revocation: &Revocation) -> impl Iterator<Item = u16> {
        let (.., number) = parts(revocation);
        let stored = self.places_of(revocation).filter_map(|place| self.stored(place));
        stored.filter(move |known| known.number >= number).map(|known| known.epoch)
    }

    /// Marks a revocation as lost if its epoch is one for which `is_lost` is true. Returns true if
    /// it was marked and matters at `now`.
    pub(super) fn mark_lost(&mut self, revocation: &Revocation, now: Timestamp, is_lost: impl Fn(u16) -> bool) -> bool {
        let (.., number) = parts(revocation);
        let known = self.places_of(revocation).filter_map(|place| Some((place, self.stored(place)?)));
        let lost = known.filter(|(_, known)| known.number == number && is_lost(known.epoch));
        let Some((place, until)) = lost.map(|(place, known)| (place, known.until)).next() else { return false };
        self.mark(place, EPOCH_LOST, Timestamp::default());
        until > now
    }

    /// Returns the numbers of all segments, for [`mark_segment_lost`](Self::mark_segment_lost).
    pub(super) fn segments(&self) -> impl Iterator<Item = u32> + use<> {
        let (base, count) = (self.base, self.segments.len());
        (0..).take(count).map(move |position: u32| base.wrapping_add(position) & NUMBER_MASK)
    }

    /// Marks as lost all entries of one segment whose epoch is one for which `is_lost` is true.
    /// Returns true if one of them matters at `now`.
    pub(super) fn mark_segment_lost(&mut self, number: u32, now: Timestamp, is_lost: impl Fn(u16) -> bool) -> bool {
        let (mut offset, mut found) = (0, false);
        loop {
            let place = (number << OFFSET_BITS) | offset;
            let Some(stored) = self.stored(place) else { return found };
            let (length, hash, is_over) = (stored.len(), stored.hash(&self.names), stored.until <= now);
            // An entry that was replaced by a later one is in no index.
            if is_lost(stored.epoch) && self.index.find(spread(hash), |slot| slot.place == place).is_some() {
                self.mark(place, EPOCH_LOST, Timestamp::default());
                found |= !is_over;
            }
            offset += u32::try_from(length).unwrap_or(u32::MAX);
            if offset >= 1 << OFFSET_BITS {
                return found;
            }
        }
    }

    /// Returns the place of a revocation, or of the entry into which it was merged. Two revocations
    /// that each spare another session become one that spares none.
    fn places_of(&self, revocation: &Revocation) -> impl Iterator<Item = u32> {
        let (kind, first, second, _) = parts(revocation);
        let spares_it = |place: &u32| self.stored(*place).is_some_and(|known| known.second == Id::of(second));
        let own = self.position(self.names.of(kind, first, second)).filter(spares_it);
        let of_all = (kind == Kind::Others).then(|| self.position(self.names.of(Kind::Subject, first, "")));
        own.into_iter().chain(of_all.flatten())
    }

    /// Returns true if one more entry would push out older ones.
    pub(super) fn is_full_for_another(&self) -> bool {
        self.is_full(SEGMENT)
    }

    /// Inserts a revocation that was logged `at` and matters to `until`, as read in this `epoch` of
    /// the log. An entry stays at least as long and as strict as it was.
    ///
    /// If older entries were pushed out, returns the time up to which the deny set is no longer
    /// complete.
    pub(super) fn insert(
        &mut self,
        revocation: &Revocation,
        at: Timestamp,
        until: Timestamp,
        epoch: u16,
    ) -> Result<Option<Timestamp>, TooLong> {
        let (kind, first, second, number) = parts(revocation);
        let until = up_to_seconds(until);
        let new = Stored { kind, epoch, until, number, first: Id::of(first), second: Id::of(second) };
        let name = self.names.of(kind, first, second);
        let Some(known) = self.find(name).filter(|known| known.second != new.second) else {
            return self.learn(name, new, at);
        };
        // Two exceptions. Below the earlier generation all sessions are revoked but the one that it
        // spares, and the later revocation does not spare that one.
        let (known_epoch, known_until, known_number) = (known.epoch, known.until, known.number);
        let earlier = if known_number < number {
            Stored {
                kind: Kind::Subject,
                epoch: known_epoch,
                until: known_until,
                number: known_number,
                second: Id::EMPTY,
                ..new
            }
        } else {
            Stored { kind: Kind::Subject, second: Id::EMPTY, ..new }
        };
        let mut forgotten = self.learn(Name { kind: Kind::Subject, ..name }, earlier, at)?;
        if known_number < number {
            forgotten = forgotten.max(self.put(name.hash, self.position(name), new, at)?);
        }
        Ok(forgotten)
    }

    /// Inserts an entry, or merges it with one of the same name and another strength.
    fn learn(&mut self, name: Name<'_>, mut new: Stored<'_>, at: Timestamp) -> Result<Option<Timestamp>, TooLong> {
        let Some(place) = self.position(name) else { return self.put(name.hash, None, new, at) };
        let Some(known) = self.stored(place) else { return self.put(name.hash, Some(place), new, at) };
        // A log that has only the weaker one does not contain the entry that is held.
        let is_weaker = new.number < known.number || new.epoch == EPOCH_LOCAL;
        let epoch = if is_weaker { known.epoch } else { new.epoch };
        if known.number >= new.number && known.until >= new.until.min(LAST_SECOND) {
            self.mark(place, epoch, at);
            return Ok(None);
        }
        new = Stored { epoch, until: known.until.max(new.until), number: known.number.max(new.number), ..new };
        self.put(name.hash, Some(place), new, at)
    }

    /// Removes entries that are past their use at `now`, a few segments at a time. Returns the time
    /// up to which logged entries may have been removed. That is long past for every token that is
    /// alive, unless the server's clock has jumped.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Timestamp {
        let mut forgotten = Timestamp::default();
        for _ in 0..SWEPT_AT_ONCE.min(self.segments.len()) {
            if self.swept >= self.segments.len() {
                self.swept = 0;
            }
            if let Some(over) = self.segments.get(self.swept).filter(|segment| segment.last <= now) {
                forgotten = forgotten.max(over.logged);
                self.clear(self.swept);
            }
            self.swept += 1;
        }
        self.drop_empty();
        if self.index.capacity() > 1024 && self.index.len() < self.index.capacity() / 8 {
            self.index.shrink_to(self.index.len() * 2, |slot| spread(slot.hash));
        }
        forgotten
    }

    /// Returns the lost revocations that matter at `now`: up to `limit`, after the first `skip`.
    pub(super) fn missing(&self, now: Timestamp, skip: usize, limit: usize) -> Vec<(Revocation, Timestamp)> {
        let all = self.index.iter().filter_map(|slot| self.stored(slot.place));
        let missing = all.filter(|stored| stored.epoch == EPOCH_LOST && stored.until > now).skip(skip);
        missing.filter_map(|stored| Some((revocation(stored)?, stored.until))).take(limit).collect()
    }

    /// Notes that the store has a lost revocation again, as of this `epoch`.
    pub(super) fn is_restored(&mut self, revocation: &Revocation, epoch: u16) {
        let (kind, first, second, number) = parts(revocation);
        let Some(place) = self.position(self.names.of(kind, first, second)) else { return };
        // Meanwhile a stronger revocation may have been learnt, or it was revoked again.
        let is_it =
            |known: Stored<'_>| known.number == number && known.second == Id::of(second) && known.epoch == EPOCH_LOST;
        if self.stored(place).is_some_and(is_it) {
            self.mark(place, epoch, Timestamp::default());
        }
    }

    fn find(&self, name: Name<'_>) -> Option<Stored<'_>> {
        self.stored(self.position(name)?)
    }

    fn position(&self, name: Name<'_>) -> Option<u32> {
        let is_it =
            |slot: &Slot| slot.hash == name.hash && self.stored(slot.place).is_some_and(|stored| stored.is(name));
        self.index.find(spread(name.hash), is_it).map(|slot| slot.place)
    }

    fn stored(&self, place: u32) -> Option<Stored<'_>> {
        let segment = self.segments.get(self.segment_of(place))?;
        Stored::read(segment.entries.get(offset_of(place)..)?)
    }

    /// Writes another epoch into an entry.
    fn mark(&mut self, place: u32, epoch: u16, at: Timestamp) {
        let (position, offset) = (self.segment_of(place), offset_of(place));
        let Some(segment) = self.segments.get_mut(position) else { return };
        segment.logged = segment.logged.max(at);
        if let Some(bytes) = segment.entries.get_mut(offset..) {
            Stored::mark(bytes, epoch);
        }
    }

    /// Writes an entry, and points the index to it instead of `instead_of`.
    fn put(
        &mut self,
        hash: u32,
        instead_of: Option<u32>,
        entry: Stored<'_>,
        at: Timestamp,
    ) -> Result<Option<Timestamp>, TooLong> {
        let bytes = entry.written().ok_or(TooLong)?;
        let mut forgotten = None;
        while self.is_full(bytes.len()) && self.segments.len() > 1 {
            forgotten = forgotten.max(self.segments.front().map(|oldest| oldest.logged));
            self.clear(0);
            self.drop_empty();
        }
        let has_room =
            |segment: &Segment| !segment.entries.is_empty() && segment.entries.len() + bytes.len() <= SEGMENT;
        if !self.segments.back().is_some_and(has_room) {
            self.segments.push_back(Segment::default());
        }
        let number = self.base.wrapping_add(u32::try_from(self.segments.len() - 1).map_err(|_| TooLong)?) & NUMBER_MASK;
        let segment = self.segments.back_mut().ok_or(TooLong)?;
        let place = (number << OFFSET_BITS) | u32::try_from(segment.entries.len()).map_err(|_| TooLong)?;
        if segment.entries.capacity() - segment.entries.len() < bytes.len() {
            let size = (segment.entries.capacity() * 2).clamp(bytes.len(), SEGMENT);
            segment.entries.reserve_exact(size.max(segment.entries.len() + bytes.len()) - segment.entries.len());
        }
        segment.entries.extend_from_slice(&bytes);
        segment.last = segment.last.max(entry.until);
        segment.logged = segment.logged.max(at);
        self.bytes_of_entries += bytes.len();
        let known = instead_of.and_then(|old| self.index.find_mut(spread(hash), |slot| slot.place == old));
        match known {
            Some(slot) => slot.place = place,
            None => {
                self.index.insert_unique(spread(hash), Slot { hash, place }, |slot| spread(slot.hash));
            }
        }
        Ok(forgotten)
    }

    /// Removes a segment's entries from the index, and frees their bytes.
    fn clear(&mut self, position: usize) {
        let number = self.base.wrapping_add(u32::try_from(position).unwrap_or_default()) & NUMBER_MASK;
        let Some(segment) = self.segments.get_mut(position) else { return };
        let entries = std::mem::take(&mut segment.entries);
        *segment = Segment::default();
        self.bytes_of_entries -= entries.len();
        let mut offset = 0;
        while let Some(stored) = entries.get(offset..).and_then(Stored::read) {
            let place = (number << OFFSET_BITS) | u32::try_from(offset).unwrap_or_default();
            let hash = stored.hash(&self.names);
            if let Ok(found) = self.index.find_entry(spread(hash), |slot| slot.place == place) {
                found.remove();
            }
            offset += stored.len();
        }
    }

    fn is_full(&self, more: usize) -> bool {
        self.bytes_of_entries + more > self.max_bytes || self.segments.len() >= MAX_SEGMENTS
    }

    fn drop_empty(&mut self) {
        while self.segments.front().is_some_and(|segment| segment.entries.is_empty()) {
            self.segments.pop_front();
            self.base = self.base.wrapping_add(1) & NUMBER_MASK;
            self.swept = self.swept.saturating_sub(1);
        }
    }

    fn segment_of(&self, place: u32) -> usize {
        ((place >> OFFSET_BITS).wrapping_sub(self.base) & NUMBER_MASK) as usize
    }
}

fn offset_of(place: u32) -> usize {
    (place & ((1 << OFFSET_BITS) - 1)) as usize
}

/// Returns the 64 bits that the index wants: its first guess uses the highest bits, its place the
/// lowest.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests;

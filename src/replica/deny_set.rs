//! The deny set: an exact index of the revocations of one bucket, in little memory.
//!
//! **Layout.** The deny set appends its entries to **segments** of 32 KiB. For each entry, the
//! index contains 32 bits of a keyed hash and the entry's address. A lookup compares the ids in
//! full, so a hash collision refuses no token.
//!
//! **Removal.** An entry *matters* while a token that it revokes may be alive. The deny set removes
//! a whole segment when none of its entries matters any more.
//!
//! **Bounded memory.** If a bucket's entries exceed the bucket's share, the deny set removes its
//! oldest segment early. [`insert`](DenySet::insert) then returns the time of the newest entry in
//! that segment. The horizon rises to that time, so that the node asks the store about older
//! tokens.
//!
//! **Epochs.** An epoch is the time between two breaks of the bucket's log. Each entry contains the
//! number of the epoch in which the node read the entry. After a break, the node finds by this
//! number the entries that the store has lost.
//!
//! | file | subject |
//! |--|--|
//! | `segments` | the segments and the addresses in them |
//! | `entry` | the kinds of entries, and the byte format of an entry |
//! | `id` | the bytes of an id within an entry |
//!
//! A million revoked sessions in 16 buckets take 52 MB if users have ids of 8 characters. With
//! UUIDs they take 58 MB, with other texts of 36 characters 80 MB (measured by a test).

mod entry;
mod id;
mod segments;

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

pub(super) use self::entry::{EPOCH_LOCAL, EPOCH_LOST, EPOCH_PENDING, EntryKind, LAST_EPOCH};
use self::{
    entry::{Entry, LAST_SECOND, parts},
    id::{LONGEST_TEXT, PackedId},
    segments::{Address, Cleared, SEGMENT, Segments, TooLong},
};
use crate::{clock::Timestamp, store::Revocation};

/// Maximum count of segments that one sweep visits.
const SEGMENTS_PER_SWEEP: usize = 16;

/// The revocations of one bucket.
#[derive(Debug)]
pub(super) struct DenySet {
    hasher: NameHasher,
    index: HashTable<IndexEntry>,
    segments: Segments,
    /// The index of the segment at which the next sweep starts.
    next_swept: usize,
}

#[derive(Clone, Copy, Debug)]
struct IndexEntry {
    hash: u32,
    address: Address,
}

/// The name of a session, token or subject in the deny set, with 32 bits of the name's keyed hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryName<'a> {
    pub(super) hash: u32,
    kind: EntryKind,
    first: &'a str,
    second: &'a str,
}

/// The keyed hash function of names. All buckets of a replica share the key, so the node hashes a
/// name only once.
#[derive(Clone, Debug, Default)]
pub(super) struct NameHasher(RandomState);

impl<'a> EntryName<'a> {
    /// Creates a name whose hash the caller already has.
    pub(super) fn hashed(hash: u32, kind: EntryKind, first: &'a str, second: &'a str) -> Self {
        Self { hash, kind, first, second }
    }

    /// Returns true if this is the name of the entry.
    fn is_of(&self, entry: &Entry<'_>) -> bool {
        self.kind == entry.kind
            && PackedId::of(self.first) == entry.first
            && (self.kind.has_strength() || PackedId::of(self.second) == entry.second)
    }
}

impl NameHasher {
    /// Returns the hash of a name. The hash covers `second` only for sessions and tokens. So
    /// `Subject` and `Others` entries of one subject have the same hash, and one lookup finds both.
    pub(super) fn hash(&self, kind: EntryKind, first: &str, second: &str) -> u32 {
        let (kind, second) = match kind {
            EntryKind::Session | EntryKind::Token => (kind, second),
            EntryKind::Subject | EntryKind::Others => (EntryKind::Subject, ""),
            EntryKind::External => (kind, ""),
        };
        #[allow(clippy::cast_possible_truncation, reason = "the index holds 32 bits")]
        {
            self.0.hash_one((kind as u8, first, second)) as u32
        }
    }

    pub(super) fn name<'a>(&self, kind: EntryKind, first: &'a str, second: &'a str) -> EntryName<'a> {
        EntryName { hash: self.hash(kind, first, second), kind, first, second }
    }

    /// Returns the hash of an entry's name.
    fn hash_of(&self, entry: &Entry<'_>) -> u32 {
        let (mut first, mut second) = ([0; LONGEST_TEXT], [0; LONGEST_TEXT]);
        let (first, second) = (entry.first.text(&mut first), entry.second.text(&mut second));
        self.hash(entry.kind, first.unwrap_or_default(), second.unwrap_or_default())
    }
}

impl DenySet {
    pub(super) fn new(hasher: NameHasher, max_bytes: usize) -> Self {
        Self { hasher, index: HashTable::new(), segments: Segments::new(max_bytes), next_swept: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.segments.allocated() + self.index.allocation_size()
    }

    /// Returns true if the deny set has an entry for this session or token of this crate.
    pub(super) fn contains(&self, name: EntryName<'_>) -> bool {
        self.find(name).is_some()
    }

    /// Returns true if a revocation of all sessions of the subject ends this session, which has
    /// this generation.
    pub(super) fn is_outdated(&self, subject: EntryName<'_>, session: EntryName<'_>, generation: u64) -> bool {
        let all = self.index.iter_hash(spread(subject.hash)).filter(|indexed| indexed.hash == subject.hash);
        let concerns = |entry: &Entry<'_>| entry.first == PackedId::of(subject.first) && generation < entry.number;
        all.filter_map(|indexed| self.segments.entry(indexed.address)).filter(concerns).any(|entry| match entry.kind {
            EntryKind::Subject => true,
            EntryKind::Others => entry.second != PackedId::of(session.second),
            EntryKind::Session | EntryKind::Token | EntryKind::External => false,
        })
    }

    /// Returns the latest `iat`, in ms, of the tokens that are revoked under this name of another
    /// issuer. For the name of a single token, returns `u64::MAX`.
    pub(super) fn revoked_up_to(&self, name: EntryName<'_>) -> Option<u64> {
        self.find(name).map(|entry| entry.number)
    }

    /// Returns the epochs of the entries that contain this revocation, or a stronger one of the
    /// same name.
    pub(super) fn epochs_of(&self, revocation: &Revocation) -> impl Iterator<Item = u16> {
        let (.., number) = parts(revocation);
        let held = self.addresses_of(revocation).filter_map(|address| self.segments.entry(address));
        held.filter(move |entry| entry.number >= number).map(|entry| entry.epoch)
    }

    /// Marks the entry of a revocation as lost if `is_lost` returns true for the entry's epoch.
    /// Returns true if the entry was marked and still matters at `now`.
    pub(super) fn mark_lost(&mut self, revocation: &Revocation, now: Timestamp, is_lost: impl Fn(u16) -> bool) -> bool {
        let (.., number) = parts(revocation);
        let held = self.addresses_of(revocation).filter_map(|address| Some((address, self.segments.entry(address)?)));
        let mut lost = held.filter(|(_, entry)| entry.number == number && is_lost(entry.epoch));
        let Some((address, until)) = lost.next().map(|(address, entry)| (address, entry.until)) else { return false };
        drop(lost);
        self.segments.set_epoch(address, EPOCH_LOST, Timestamp::default());
        until > now
    }

    /// Returns the address of each segment's first entry, for
    /// [`mark_segment_lost`](Self::mark_segment_lost).
    pub(super) fn segment_starts(&self) -> impl Iterator<Item = Address> + use<> {
        self.segments.starts()
    }

    /// Marks each entry of one segment as lost if `is_lost` returns true for the entry's epoch.
    /// Returns true if any marked entry still matters at `now`.
    pub(super) fn mark_segment_lost(&mut self, start: Address, now: Timestamp, is_lost: impl Fn(u16) -> bool) -> bool {
        let (mut next, mut is_any) = (Some(start), false);
        while let Some(address) = next {
            let Some(entry) = self.segments.entry(address) else { break };
            next = address.after(entry.len());
            let (hash, is_over) = (self.hasher.hash_of(&entry), entry.until <= now);
            // Skips a replaced entry, whose address the index no longer contains.
            if is_lost(entry.epoch) && self.index.find(spread(hash), |indexed| indexed.address == address).is_some() {
                self.segments.set_epoch(address, EPOCH_LOST, Timestamp::default());
                is_any |= !is_over;
            }
        }
        is_any
    }

    /// Returns the addresses of the entries that may contain a revocation. A revocation that spares
    /// one session may have 2 entries: see [`insert`](Self::insert).
    fn addresses_of(&self, revocation: &Revocation) -> impl Iterator<Item = Address> {
        let (kind, first, second, _) = parts(revocation);
        let spares_it =
            |address: &Address| self.segments.entry(*address).is_some_and(|entry| entry.second == PackedId::of(second));
        let own = self.address_of(self.hasher.name(kind, first, second)).filter(spares_it);
        let of_all =
            (kind == EntryKind::Others).then(|| self.address_of(self.hasher.name(EntryKind::Subject, first, "")));
        own.into_iter().chain(of_all.flatten())
    }

    /// Returns true if the deny set would remove older entries to insert an entry of the maximum
    /// size.
    pub(super) fn is_full(&self) -> bool {
        self.segments.is_full_for(SEGMENT)
    }

    /// Inserts a revocation. An existing entry of the same name never becomes weaker or shorter.
    ///
    /// * `at`: the time at which the store logged the revocation.
    /// * `until`: the time until which the revocation matters.
    /// * `epoch`: the epoch in which the node read the revocation, or a special one such as
    ///   [`EPOCH_LOCAL`].
    ///
    /// If the deny set removes older entries to make room, returns the time of the newest removed
    /// entry.
    pub(super) fn insert(
        &mut self,
        revocation: &Revocation,
        at: Timestamp,
        until: Timestamp,
        epoch: u16,
    ) -> Result<Option<Timestamp>, TooLong> {
        let (kind, first, second, number) = parts(revocation);
        // An entry stores whole seconds, so this rounds up.
        let until = Timestamp::from_secs(until.as_millis().div_ceil(1000));
        let new = Entry { kind, epoch, until, number, first: PackedId::of(first), second: PackedId::of(second) };
        let name = self.hasher.name(kind, first, second);
        let Some(held) = self.find(name).filter(|held| held.second != new.second) else {
            return self.merge(name, new, at);
        };
        // Both revocations end all sessions but one, and they spare different sessions. Below the
        // lower generation both apply, so a `Subject` entry revokes all sessions there. An `Others`
        // entry with the higher generation still spares one session.
        let (held_epoch, held_until, held_number) = (held.epoch, held.until, held.number);
        let of_all = Entry { kind: EntryKind::Subject, second: PackedId::EMPTY, ..new };
        let earlier = if held_number < number {
            Entry { epoch: held_epoch, until: held_until, number: held_number, ..of_all }
        } else {
            of_all
        };
        let mut forgotten = self.merge(EntryName { kind: EntryKind::Subject, ..name }, earlier, at)?;
        if held_number < number {
            forgotten = forgotten.max(self.write(name.hash, self.address_of(name), new, at)?);
        }
        Ok(forgotten)
    }

    /// Inserts an entry, or merges it into the entry of the same name. The merged entry has the
    /// greater strength (generation or time) and the later end of the two.
    fn merge(&mut self, name: EntryName<'_>, mut new: Entry<'_>, at: Timestamp) -> Result<Option<Timestamp>, TooLong> {
        let Some(address) = self.address_of(name) else { return self.write(name.hash, None, new, at) };
        let Some(held) = self.segments.entry(address) else { return self.write(name.hash, Some(address), new, at) };
        // If the new revocation is weaker, the log may contain it and still lack the stronger one.
        // So the stronger entry keeps its epoch.
        let is_weaker = new.number < held.number || new.epoch == EPOCH_LOCAL;
        let epoch = if is_weaker { held.epoch } else { new.epoch };
        if held.number >= new.number && held.until >= new.until.min(LAST_SECOND) {
            self.segments.set_epoch(address, epoch, at);
            return Ok(None);
        }
        new = Entry { epoch, until: held.until.max(new.until), number: held.number.max(new.number), ..new };
        self.write(name.hash, Some(address), new, at)
    }

    /// Removes segments whose entries no longer matter at `now`. Visits a few segments per call.
    /// Returns the log time of the newest removed entry. If the server's clock has jumped, a token
    /// that was issued before this time may still be alive.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Timestamp {
        let mut forgotten = Timestamp::default();
        for _ in 0..SEGMENTS_PER_SWEEP.min(self.segments.len()) {
            if self.next_swept >= self.segments.len() {
                self.next_swept = 0;
            }
            if let Some(cleared) = self.segments.clear_if_over(self.next_swept, now) {
                forgotten = forgotten.max(cleared.logged);
                self.remove_from_index(&cleared);
            }
            self.next_swept += 1;
        }
        self.drop_empty();
        if self.index.capacity() > 1024 && self.index.len() < self.index.capacity() / 8 {
            self.index.shrink_to(self.index.len() * 2, |indexed| spread(indexed.hash));
        }
        forgotten
    }

    /// Returns the lost revocations that matter at `now`, with the times until which they matter.
    /// Omits the first `skip` revocations, and returns at most `limit`.
    pub(super) fn missing(&self, now: Timestamp, skip: usize, limit: usize) -> Vec<(Revocation, Timestamp)> {
        let all = self.index.iter().filter_map(|indexed| self.segments.entry(indexed.address));
        let missing = all.filter(|entry| entry.epoch == EPOCH_LOST && entry.until > now).skip(skip);
        missing.filter_map(|entry| Some((entry.to_revocation()?, entry.until))).take(limit).collect()
    }

    /// Notes that the store has a lost revocation again. The revocation's entry gets this `epoch`.
    pub(super) fn mark_republished(&mut self, revocation: &Revocation, epoch: u16) {
        let (kind, first, second, number) = parts(revocation);
        let Some(address) = self.address_of(self.hasher.name(kind, first, second)) else { return };
        // If the entry has become stronger since, or the node has read it in the log, the entry
        // stays as it is.
        let is_same =
            |held: Entry<'_>| held.number == number && held.second == PackedId::of(second) && held.epoch == EPOCH_LOST;
        if self.segments.entry(address).is_some_and(is_same) {
            self.segments.set_epoch(address, epoch, Timestamp::default());
        }
    }

    fn find(&self, name: EntryName<'_>) -> Option<Entry<'_>> {
        self.segments.entry(self.address_of(name)?)
    }

    fn address_of(&self, name: EntryName<'_>) -> Option<Address> {
        let is_it = |indexed: &IndexEntry| {
            let entry = || self.segments.entry(indexed.address);
            indexed.hash == name.hash && entry().is_some_and(|entry| name.is_of(&entry))
        };
        self.index.find(spread(name.hash), is_it).map(|indexed| indexed.address)
    }

    /// Writes an entry. If there is a `replaced` address, the index replaces it with the new one.
    /// Returns the log time of the newest entry that was removed to make room, if any.
    fn write(
        &mut self,
        hash: u32,
        replaced: Option<Address>,
        entry: Entry<'_>,
        at: Timestamp,
    ) -> Result<Option<Timestamp>, TooLong> {
        let bytes = entry.to_bytes().ok_or(TooLong)?;
        let mut forgotten = None;
        while self.segments.is_full_for(bytes.len()) {
            let Some(cleared) = self.segments.clear_oldest() else { break };
            forgotten = forgotten.max(Some(cleared.logged));
            self.remove_from_index(&cleared);
            self.drop_empty();
        }
        let address = self.segments.append(&bytes, at, entry.until)?;
        let is_replaced = |indexed: &IndexEntry| Some(indexed.address) == replaced;
        if let Some(indexed) = self.index.find_mut(spread(hash), is_replaced) {
            indexed.address = address;
        } else {
            self.index.insert_unique(spread(hash), IndexEntry { hash, address }, |indexed| spread(indexed.hash));
        }
        Ok(forgotten)
    }

    fn remove_from_index(&mut self, cleared: &Cleared) {
        for (address, entry) in cleared.entries() {
            let hash = self.hasher.hash_of(&entry);
            if let Ok(found) = self.index.find_entry(spread(hash), |indexed| indexed.address == address) {
                found.remove();
            }
        }
    }

    fn drop_empty(&mut self) {
        self.next_swept = self.next_swept.saturating_sub(self.segments.drop_empty());
    }
}

/// Spreads the hash over 64 bits. `HashTable` takes its tags from the highest bits and its slots
/// from the lowest bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests;

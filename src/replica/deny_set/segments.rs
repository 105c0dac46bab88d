//! The bytes of all entries, in segments. The deny set appends entries at the end, and drops whole
//! segments.

use std::collections::VecDeque;

use super::entry::{self, Entry};
use crate::clock::Timestamp;

/// The size of a segment in bytes, which is also the maximum size of an entry.
pub(super) const SEGMENT: usize = 1 << OFFSET_BITS;
const OFFSET_BITS: u32 = 15;
/// Maximum count of segments. An address has 32 bits: the lowest 15 are the offset, the others are
/// the segment's number. Numbers wrap.
const MAX_SEGMENTS: usize = 1 << (32 - OFFSET_BITS);
pub(super) const NUMBER_MASK: u32 = (1 << (32 - OFFSET_BITS)) - 1;
const _: () = assert!(entry::MAX_BYTES == SEGMENT, "the longest entry fills a segment");

/// The error for an entry that is longer than a segment. The ids that a store accepts are shorter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::replica) struct TooLong;

/// The address of an entry: the number of its segment, and its offset there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::replica) struct Address(u32);

/// The segments, oldest first. A cleared segment stays in the list until all older ones are gone,
/// because the number of a segment is its index plus `first`.
#[derive(Debug)]
pub(super) struct Segments {
    all: VecDeque<Segment>,
    /// The number of the oldest segment.
    pub(super) first: u32,
    /// The bytes of all entries.
    pub(super) bytes: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Segment {
    entries: Vec<u8>,
    /// The time until which at least one of the entries matters.
    last: Timestamp,
    /// The time at which the store logged the newest of the entries.
    logged: Timestamp,
}

/// The content of a cleared segment.
#[derive(Debug)]
pub(super) struct Cleared {
    number: u32,
    entries: Vec<u8>,
    /// The time at which the store logged the newest of the entries.
    pub(super) logged: Timestamp,
}

impl Address {
    fn start_of(number: u32) -> Self {
        Self(number << OFFSET_BITS)
    }

    fn number(self) -> u32 {
        self.0 >> OFFSET_BITS
    }

    fn offset(self) -> usize {
        (self.0 & ((1 << OFFSET_BITS) - 1)) as usize
    }

    /// Returns the address at this offset of the same segment.
    fn at(self, offset: usize) -> Option<Self> {
        let offset = u32::try_from(offset).ok().filter(|offset| *offset < 1 << OFFSET_BITS)?;
        Some(Self(self.number() << OFFSET_BITS | offset))
    }

    /// Returns the address after an entry of this length; `None` at the end of the segment.
    pub(super) fn after(self, length: usize) -> Option<Self> {
        self.at(self.offset().checked_add(length)?)
    }
}

impl Segments {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { all: VecDeque::new(), first: 0, bytes: 0, max_bytes: max_bytes.min(MAX_SEGMENTS * SEGMENT) }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    #[cfg(test)]
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.all.iter().map(|segment| segment.entries.len())
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn allocated(&self) -> usize {
        let segments = self.all.iter().map(|segment| segment.entries.capacity()).sum::<usize>();
        segments + self.all.capacity() * size_of::<Segment>()
    }

    /// Returns true if `more` bytes would exceed `max_bytes`, or if all segment numbers are in use.
    pub(super) fn is_full_for(&self, more: usize) -> bool {
        self.bytes + more > self.max_bytes || self.all.len() >= MAX_SEGMENTS
    }

    /// Returns the address of the first entry of each segment.
    pub(super) fn starts(&self) -> impl Iterator<Item = Address> + use<> {
        let (first, count) = (self.first, self.all.len());
        (0..).take(count).map(move |index: u32| Address::start_of(first.wrapping_add(index) & NUMBER_MASK))
    }

    pub(super) fn entry(&self, address: Address) -> Option<Entry<'_>> {
        let segment = self.all.get(self.index_of(address))?;
        Entry::read(segment.entries.get(address.offset()..)?)
    }

    /// Replaces the epoch of an entry. Raises the segment's `logged` to at least `at`, the entry's
    /// time in the log.
    pub(super) fn set_epoch(&mut self, address: Address, epoch: u16, at: Timestamp) {
        let index = self.index_of(address);
        let Some(segment) = self.all.get_mut(index) else { return };
        segment.logged = segment.logged.max(at);
        if let Some(bytes) = segment.entries.get_mut(address.offset()..) {
            Entry::set_epoch(bytes, epoch);
        }
    }

    /// Appends the bytes of an entry that was logged `at` and matters until `until`.
    pub(super) fn append(&mut self, bytes: &[u8], at: Timestamp, until: Timestamp) -> Result<Address, TooLong> {
        let has_room =
            |segment: &Segment| !segment.entries.is_empty() && segment.entries.len() + bytes.len() <= SEGMENT;
        if !self.all.back().is_some_and(has_room) {
            self.all.push_back(Segment::default());
        }
        let index = u32::try_from(self.all.len() - 1).map_err(|_| TooLong)?;
        let number = self.first.wrapping_add(index) & NUMBER_MASK;
        let segment = self.all.back_mut().ok_or(TooLong)?;
        let address = Address::start_of(number).at(segment.entries.len()).ok_or(TooLong)?;
        if segment.entries.capacity() - segment.entries.len() < bytes.len() {
            let size = (segment.entries.capacity() * 2).clamp(bytes.len(), SEGMENT);
            segment.entries.reserve_exact(size.max(segment.entries.len() + bytes.len()) - segment.entries.len());
        }
        segment.entries.extend_from_slice(bytes);
        segment.last = segment.last.max(until);
        segment.logged = segment.logged.max(at);
        self.bytes += bytes.len();
        Ok(address)
    }

    /// Clears the oldest segment, unless it is the only one.
    pub(super) fn clear_oldest(&mut self) -> Option<Cleared> {
        if self.all.len() > 1 { self.clear(0) } else { None }
    }

    /// Clears a segment if none of its entries matters at `now`.
    pub(super) fn clear_if_over(&mut self, index: usize, now: Timestamp) -> Option<Cleared> {
        self.all.get(index).filter(|segment| segment.last <= now)?;
        self.clear(index)
    }

    fn clear(&mut self, index: usize) -> Option<Cleared> {
        let number = self.first.wrapping_add(u32::try_from(index).ok()?) & NUMBER_MASK;
        let Segment { entries, logged, .. } = std::mem::take(self.all.get_mut(index)?);
        self.bytes -= entries.len();
        Some(Cleared { number, entries, logged })
    }

    /// Drops segments from the oldest on, up to the first that is not empty. Returns the count of
    /// dropped segments.
    pub(super) fn drop_empty(&mut self) -> usize {
        let before = self.all.len();
        while self.all.front().is_some_and(|segment| segment.entries.is_empty()) {
            self.all.pop_front();
            self.first = self.first.wrapping_add(1) & NUMBER_MASK;
        }
        before - self.all.len()
    }

    fn index_of(&self, address: Address) -> usize {
        (address.number().wrapping_sub(self.first) & NUMBER_MASK) as usize
    }
}

impl Cleared {
    /// Returns the entries, with the addresses that they had.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Address, Entry<'_>)> {
        let mut next = Some(Address::start_of(self.number));
        std::iter::from_fn(move || {
            let address = next?;
            let entry = Entry::read(self.entries.get(address.offset()..)?)?;
            next = address.after(entry.len());
            Some((address, entry))
        })
    }
}

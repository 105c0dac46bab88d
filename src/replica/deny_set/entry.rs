//! The kinds of entries, and the byte format of an entry.

use std::ops::Range;

use super::id::{LONGEST_TEXT, PackedId};
use crate::{clock::Timestamp, store::Revocation};

/// Maximum size of an entry in bytes. Valid ids need far less, because a store accepts ids of at
/// most 255 bytes.
pub(super) const MAX_BYTES: usize = 1 << 15;
/// The size of the header in bytes: 1 for the kind and the forms of the ids, 2 for the epoch, 4 for
/// `until` in seconds.
const HEAD: usize = 7;
/// The size of the strength (a generation or a time) in bytes. The strength follows the header, if
/// the kind has one. The two ids come last.
const NUMBER: usize = 8;
/// The layout of the first byte: three bits for the kind, then two bits for the form of each id.
const KIND: u8 = 0b111;
const FORM: u8 = 0b11;
const FIRST: u32 = 3;
const SECOND: u32 = 5;
/// The bytes of the epoch.
const EPOCH: Range<usize> = 1..3;
/// The latest time that fits into the 4 bytes of an entry's `until`.
pub(super) const LAST_SECOND: Timestamp = Timestamp::from_secs(u32::MAX as u64);

// An epoch is the time between two breaks of the log. An entry from the log has the number of the
// epoch in which the node read it. The highest numbers have these special meanings:

/// Special epoch of entries that come from the store's refusals instead of the log. The node never
/// republishes these entries.
pub(in crate::replica) const EPOCH_LOCAL: u16 = u16::MAX;
/// Special epoch of this node's own revocations whose entries the node has not found in the log
/// yet.
pub(in crate::replica) const EPOCH_PENDING: u16 = EPOCH_LOCAL - 1;
/// Special epoch of entries that the store has lost. The node republishes them.
pub(in crate::replica) const EPOCH_LOST: u16 = EPOCH_PENDING - 1;
/// The highest number of an epoch of the log. The number of the next epoch is 0.
pub(in crate::replica) const LAST_EPOCH: u16 = EPOCH_LOST - 1;

/// The kind of a revocation, and of its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(in crate::replica) enum EntryKind {
    Session = 1,
    Token = 2,
    /// All sessions of a subject below a generation.
    Subject = 3,
    /// A token of another issuer, or all of that issuer's tokens for a subject or session.
    External = 4,
    /// All sessions of a subject below a generation, except one. This entry does not replace a
    /// `Subject` entry of the subject. Otherwise the spared session would be alive again.
    Others = 5,
}

/// A revocation in the form in which the deny set stores it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Entry<'a> {
    pub(super) kind: EntryKind,
    pub(super) epoch: u16,
    pub(super) until: Timestamp,
    /// The strength: a generation, or a time in ms. 0 for kinds without a strength.
    pub(super) number: u64,
    pub(super) first: PackedId<'a>,
    pub(super) second: PackedId<'a>,
}

impl EntryKind {
    /// Returns true if entries of this kind have a strength (a generation or a time). A revocation
    /// of one session or token of this crate has none, because it cannot be weaker or stronger than
    /// another.
    pub(super) fn has_strength(self) -> bool {
        !matches!(self, Self::Session | Self::Token)
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Session, Self::Token, Self::Subject, Self::External, Self::Others]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

impl<'a> Entry<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (tag, head) = bytes.split_first()?;
        let kind = EntryKind::of(tag & KIND)?;
        let (epoch, head) = head.split_first_chunk::<2>()?;
        let (until, rest) = head.split_first_chunk::<4>()?;
        let (number, ids) = if kind.has_strength() {
            let (number, ids) = rest.split_first_chunk::<NUMBER>()?;
            (u64::from_le_bytes(*number), ids)
        } else {
            (0, rest)
        };
        let (first, rest) = PackedId::read(tag >> FIRST & FORM, ids)?;
        let (second, _) = PackedId::read(tag >> SECOND & FORM, rest)?;
        Some(Self {
            kind,
            epoch: u16::from_le_bytes(*epoch),
            until: Timestamp::from_secs(u32::from_le_bytes(*until).into()),
            number,
            first,
            second,
        })
    }

    /// Returns the bytes of the entry, or `None` if they exceed [`MAX_BYTES`].
    pub(super) fn to_bytes(self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.push(self.kind as u8 | self.first.form() << FIRST | self.second.form() << SECOND);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        // From the year 2106 on, this is the latest time that fits. That does no harm, because a
        // segment stores the exact time until which its entries matter.
        bytes.extend_from_slice(&u32::try_from(self.until.as_secs()).unwrap_or(u32::MAX).to_le_bytes());
        if self.kind.has_strength() {
            bytes.extend_from_slice(&self.number.to_le_bytes());
        }
        self.first.write(&mut bytes)?;
        self.second.write(&mut bytes)?;
        (bytes.len() <= MAX_BYTES).then_some(bytes)
    }

    /// Replaces the epoch in the bytes of an entry.
    pub(super) fn set_epoch(bytes: &mut [u8], epoch: u16) {
        if let Some(bytes) = bytes.get_mut(EPOCH) {
            bytes.copy_from_slice(&epoch.to_le_bytes());
        }
    }

    pub(super) fn len(&self) -> usize {
        let number = if self.kind.has_strength() { NUMBER } else { 0 };
        HEAD + number + self.first.len() + self.second.len()
    }

    /// Returns the revocation that the entry stores.
    pub(super) fn to_revocation(self) -> Option<Revocation> {
        let text = |id: PackedId<'_>| id.text(&mut [0; LONGEST_TEXT]).map(str::to_owned);
        let (first, second) = (text(self.first)?, text(self.second)?);
        let before = (self.number != u64::MAX).then(|| Timestamp::from_millis(self.number));
        Some(match self.kind {
            EntryKind::Session => Revocation::Session { subject: first.into(), sid: second.into() },
            EntryKind::Token => Revocation::Token { subject: first.into(), jti: second.into() },
            EntryKind::Subject => Revocation::Subject { subject: first.into(), generation: self.number, except: None },
            EntryKind::Others => {
                Revocation::Subject { subject: first.into(), generation: self.number, except: Some(second.into()) }
            }
            EntryKind::External => Revocation::External { id: first, before },
        })
    }
}

/// Returns the kind of a revocation, its two ids, and its strength.
pub(super) fn parts(revocation: &Revocation) -> (EntryKind, &str, &str, u64) {
    match revocation {
        Revocation::Session { subject, sid } => (EntryKind::Session, subject.as_str(), sid.as_str(), 0),
        Revocation::Token { subject, jti } => (EntryKind::Token, subject.as_str(), jti.as_str(), 0),
        Revocation::Subject { subject, generation, except: None } => {
            (EntryKind::Subject, subject.as_str(), "", *generation)
        }
        Revocation::Subject { subject, generation, except: Some(except) } => {
            (EntryKind::Others, subject.as_str(), except.as_str(), *generation)
        }
        Revocation::External { id, before } => {
            (EntryKind::External, id, "", before.map_or(u64::MAX, Timestamp::as_millis))
        }
    }
}

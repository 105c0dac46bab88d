//! The bytes of an entry: how a revocation is written into a segment and read from it. The index
//! finds segments and entries.

use std::ops::Range;

use super::{
    Name, Names, SEGMENT,
    id::{self, Id},
};
use crate::{clock::Timestamp, store::Revocation};

/// Kind and forms of the ids (1), epoch (2), until in seconds (4).
const HEAD: usize = 7;
/// The size of a generation or time. It follows the head of an entry that has a strength. Two ids
/// come last.
const NUMBER: usize = 8;
/// Masks of the first byte: three bits of kind, then two for the form of each id.
const KIND: u8 = 0b111;
const FORM: u8 = 0b11;
const FIRST: u32 = 3;
const SECOND: u32 = 5;
/// The bytes of the epoch.
const EPOCH: Range<usize> = 1..3;
/// The latest time that the 4 bytes of an entry's `until` can hold.
pub(super) const LAST_SECOND: Timestamp = Timestamp::from_secs(u32::MAX as u64);

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub(in crate::replica) enum Kind {
    Session = 1,
    Token = 2,
    /// All sessions of a subject, of before a generation.
    Subject = 3,
    Foreign = 4,
    /// The same, but one session. It is held beside the former and not in its place. An exception
    /// for a session must not bring back one that is known to be dead.
    Others = 5,
}

/// An entry as it lies in a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stored<'a> {
    pub(super) kind: Kind,
    pub(super) epoch: u16,
    pub(super) until: Timestamp,
    pub(super) number: u64,
    pub(super) first: Id<'a>,
    pub(super) second: Id<'a>,
}

impl<'a> Stored<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (tag, head) = bytes.split_first()?;
        let kind = Kind::of(tag & KIND)?;
        let (epoch, head) = head.split_first_chunk::<2>()?;
        let (until, rest) = head.split_first_chunk::<4>()?;
        let (number, ids) = if kind.has_strength() {
            let (number, ids) = rest.split_first_chunk::<NUMBER>()?;
            (u64::from_le_bytes(*number), ids)
        } else {
            (0, rest)
        };
        let (first, rest) = Id::read(tag >> FIRST & FORM, ids)?;
        let (second, _) = Id::read(tag >> SECOND & FORM, rest)?;
        Some(Self {
            kind,
            epoch: u16::from_le_bytes(*epoch),
            until: Timestamp::from_secs(u32::from_le_bytes(*until).into()),
            number,
            first,
            second,
        })
    }

    /// Returns its bytes, or `None` if it is longer than an entry may be.
    pub(super) fn written(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len());
        bytes.push(self.kind as u8 | self.first.form() << FIRST | self.second.form() << SECOND);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        // Used only to select the entries to republish. It ends in the year 2106.
        bytes.extend_from_slice(&u32::try_from(self.until.as_secs()).unwrap_or(u32::MAX).to_le_bytes());
        if self.kind.has_strength() {
            bytes.extend_from_slice(&self.number.to_le_bytes());
        }
        self.first.write(&mut bytes)?;
        self.second.write(&mut bytes)?;
        (bytes.len() <= SEGMENT).then_some(bytes)
    }

    /// Writes another epoch into the bytes of an entry.
    pub(super) fn mark(bytes: &mut [u8], epoch: u16) {
        if let Some(bytes) = bytes.get_mut(EPOCH) {
            bytes.copy_from_slice(&epoch.to_le_bytes());
        }
    }

    pub(super) fn len(&self) -> usize {
        let number = if self.kind.has_strength() { NUMBER } else { 0 };
        HEAD + number + self.first.len() + self.second.len()
    }

    pub(super) fn is(&self, name: Name<'_>) -> bool {
        let is_one_of_many = matches!(self.kind, Kind::Session | Kind::Token);
        let is_second = || !is_one_of_many || self.second == Id::of(name.second);
        self.kind == name.kind && self.first == Id::of(name.first) && is_second()
    }

    pub(super) fn hash(&self, names: &Names) -> u32 {
        let (mut first, mut second) = ([0; id::LONGEST], [0; id::LONGEST]);
        let (first, second) = (self.first.text(&mut first), self.second.text(&mut second));
        names.hash(self.kind, first.unwrap_or_default(), second.unwrap_or_default())
    }
}

impl Kind {
    /// Returns true unless the kind is a session or a token, which is revoked or not, and nothing
    /// between.
    fn has_strength(self) -> bool {
        !matches!(self, Self::Session | Self::Token)
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Session, Self::Token, Self::Subject, Self::Foreign, Self::Others]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

pub(super) fn up_to_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_secs(at.as_millis().div_ceil(1000))
}

/// Returns its kind, its texts, and the number that is its strength.
pub(super) fn parts(revocation: &Revocation) -> (Kind, &str, &str, u64) {
    match revocation {
        Revocation::Session { subject, sid } => (Kind::Session, subject.as_str(), sid.as_str(), 0),
        Revocation::Token { subject, jti } => (Kind::Token, subject.as_str(), jti.as_str(), 0),
        Revocation::Subject { subject, generation, except: None } => (Kind::Subject, subject.as_str(), "", *generation),
        Revocation::Subject { subject, generation, except: Some(except) } => {
            (Kind::Others, subject.as_str(), except.as_str(), *generation)
        }
        Revocation::External { id, before } => (Kind::Foreign, id, "", before.map_or(u64::MAX, Timestamp::as_millis)),
    }
}

pub(super) fn revocation(stored: Stored<'_>) -> Option<Revocation> {
    let text = |id: Id<'_>| id.text(&mut [0; id::LONGEST]).map(str::to_owned);
    let (first, second) = (text(stored.first)?, text(stored.second)?);
    let before = (stored.number != u64::MAX).then(|| Timestamp::from_millis(stored.number));
    Some(match stored.kind {
        Kind::Session => Revocation::Session { subject: first.into(), sid: second.into() },
        Kind::Token => Revocation::Token { subject: first.into(), jti: second.into() },
        Kind::Subject => Revocation::Subject { subject: first.into(), generation: stored.number, except: None },
        Kind::Others => {
            Revocation::Subject { subject: first.into(), generation: stored.number, except: Some(second.into()) }
        }
        Kind::Foreign => Revocation::External { id: first, before },
    })
}

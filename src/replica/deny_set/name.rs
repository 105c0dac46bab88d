//! The names under which the deny set finds its entries.

use std::hash::{BuildHasher, RandomState};

/// The kind of a revocation, and of its name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub(in crate::replica) enum EntryKind {
    Session = 1,
    Token = 2,
    /// All sessions of a subject below a generation.
    Subject = 3,
    /// A token of another issuer, or all of one subject or session there.
    External = 4,
    /// The same as `Subject`, except one session. It is held beside that and not in its place: an
    /// exception for a session must not revive one that is revoked.
    Others = 5,
}

/// The name of a revoked thing, with 32 bits of its keyed hash.
#[derive(Clone, Copy, Debug)]
pub(in crate::replica) struct EntryName<'a> {
    pub(in crate::replica) hash: u32,
    pub(super) kind: EntryKind,
    pub(super) first: &'a str,
    pub(super) second: &'a str,
}

/// The keyed hash of names. One for a whole replica, so that a name is hashed once.
#[derive(Clone, Debug, Default)]
pub(in crate::replica) struct NameHasher(RandomState);

impl EntryKind {
    /// Returns true unless the kind is a session or a token, which is revoked or not, and nothing
    /// between.
    pub(super) fn has_strength(self) -> bool {
        !matches!(self, Self::Session | Self::Token)
    }

    pub(super) fn of(byte: u8) -> Option<Self> {
        [Self::Session, Self::Token, Self::Subject, Self::External, Self::Others]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

impl<'a> EntryName<'a> {
    /// Makes a name whose hash was computed before.
    pub(in crate::replica) fn hashed(hash: u32, kind: EntryKind, first: &'a str, second: &'a str) -> Self {
        Self { hash, kind, first, second }
    }
}

impl NameHasher {
    /// Returns the hash of a name. `second` counts for sessions and tokens. All entries of a
    /// subject share one hash.
    pub(in crate::replica) fn hash(&self, kind: EntryKind, first: &str, second: &str) -> u32 {
        let (kind, second) = match kind {
            EntryKind::Session | EntryKind::Token => (kind, second),
            EntryKind::Subject | EntryKind::Others => (EntryKind::Subject, ""),
            EntryKind::External => (kind, ""),
        };
        #[allow(clippy::cast_possible_truncation, reason = "32 bits of it are wanted")]
        {
            self.0.hash_one((kind, first, second)) as u32
        }
    }

    pub(in crate::replica) fn name<'a>(&self, kind: EntryKind, first: &'a str, second: &'a str) -> EntryName<'a> {
        EntryName { hash: self.hash(kind, first, second), kind, first, second }
    }
}

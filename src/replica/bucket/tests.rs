//! The promises of a bucket, tested against a store that loses things in every way that it can
//! (`model`). `random` tries random steps, `every` all short sequences, `named` the sequences of
//! the protocol by name, and `own` the node's own revocations.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

mod every;
mod model;
mod named;
mod node;
mod own;
mod random;

impl super::Bucket {
    /// Returns the time since which every revocation is known.
    fn horizon(&self) -> crate::clock::Timestamp {
        self.known.read(|known, _| known.bounds.horizon.own.max(known.forgotten), || 0).0
    }
}

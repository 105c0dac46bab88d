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
    /// Returns the time after which the bucket knows every revocation.
    fn horizon(&self) -> crate::clock::Timestamp {
        self.look(|data| data.bounds.horizon.own.max(data.forgotten))
    }
}

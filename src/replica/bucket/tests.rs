//! The promises of a bucket, tested against a store that loses things in every way that it can
//! (`model`). The steps come by chance (`random`), for all short sequences (`every`), for the
//! sequences of the protocol by name (`named`), and for the node's own revocations (`own`).

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

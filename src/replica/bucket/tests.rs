//! Tests of a bucket's promises against a model of a store that loses data in many ways (`model`).
//! `node` has the node and the checks. `random` takes random steps, and `every` takes all short
//! sequences of steps. `named` has the sequences of the protocol. `own` tests own revocations.

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

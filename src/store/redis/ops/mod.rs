//! The operations on buckets, the log and the denylist. `store.rs` has the operations on sessions.

pub(crate) mod bucket;
mod denylist;
mod feed;
mod fence;
mod log;

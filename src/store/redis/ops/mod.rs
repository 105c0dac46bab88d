//! The operations of a store beside its sessions: its log and its denylist.

pub(crate) mod bucket;
mod denylist;
mod feed;
mod fence;
mod log;

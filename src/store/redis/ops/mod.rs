//! The operations of a store: the calls of scripts, the strict reads, and the meaning of their
//! answers.

pub(crate) mod bucket;
mod denylist;
mod feed;
mod fence;
mod log;

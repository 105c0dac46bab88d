//! The operations of a store: the calls of scripts, the strict reads, and the meaning of their
//! answers.

pub(crate) mod bucket;
pub(crate) mod denylist;
pub(crate) mod fence;
pub(crate) mod log;
pub(crate) mod republish;
pub(crate) mod sessions;

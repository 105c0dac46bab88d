//! The operations of a store.

pub(crate) mod denylist;
pub(crate) mod log;
pub(crate) mod republish;
pub(crate) mod sessions;

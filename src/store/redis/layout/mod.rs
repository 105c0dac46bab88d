//! The layout of the data: keys and their contents. Pure: no I/O.

pub(crate) mod encoding;
pub(crate) mod keys;
pub(crate) mod log_entry;
pub(crate) mod meta;

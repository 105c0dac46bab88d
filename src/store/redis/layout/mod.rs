//! The layout of the data in Redis: keys and their contents. This module does no I/O.

pub(crate) mod encoding;
pub(crate) mod keys;
pub(crate) mod log_entry;
pub(crate) mod meta;

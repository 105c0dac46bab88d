//! The layout of the data: keys and their contents. Pure: no I/O.

pub(crate) mod keys;
pub(crate) mod record;

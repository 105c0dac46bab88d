//! The answers of a server: their parts, and their errors.

pub(crate) mod error;
pub(crate) mod info;
pub(crate) mod reply;

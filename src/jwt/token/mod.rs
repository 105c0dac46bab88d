//! The form of a token: its segments, its header and the members of its payload.

pub(crate) mod compact;
pub(crate) mod payload;

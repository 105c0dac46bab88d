//! The text of a token: its segments with the header, and the members of its payload.

pub(crate) mod compact;
pub(crate) mod payload;

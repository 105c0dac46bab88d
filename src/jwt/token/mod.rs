//! The text of a token: its three segments, its header, and the members of its payload.

pub(crate) mod compact;
pub(crate) mod encode;
pub(crate) mod header;
pub(crate) mod payload;

//! Reads and checks a token: its text, its header, its signature and its payload.

pub(crate) mod compact;
pub(crate) mod payload;

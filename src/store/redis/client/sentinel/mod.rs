//! The sentinels, and the primary that a majority of them names.

pub(crate) mod votes;
pub(crate) mod watch;

//! The client of the servers. It knows no sessions.

pub(crate) mod answer;
pub(crate) mod connections;
pub(crate) mod failover;
pub(crate) mod lookout;
pub(crate) mod moment;
pub(crate) mod prover;
pub(crate) mod pubsub;
pub(crate) mod router;
#[cfg(feature = "sentinel")]
pub(crate) mod sentinel;
pub(crate) mod server_time;

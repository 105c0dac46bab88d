//! The local copy of the revocation log, and the lease under which the node decides: until the
//! lease ends, no request asks the store.
//!
//! | file | subject |
//! |--|--|
//! | `task` | the task that reads one feed of the log |
//! | `republish` | the task that republishes what the store has lost |
//! | `pace` | the times at which buckets are read, and the rate of reading older entries back |
//! | `store_feed` | a feed over the store itself |
//! | `shared` | the replica, as requests and tasks share it, and the routes of tokens |
//! | `horizon_checks` | the checks at the store that a raised horizon causes |
//! | `status`, `notices` | state, log lines and notices for the operator |
//! | `bucket` | one bucket: reader, lease and data together |
//! | `log_reader` | the log as it is read: chain and lease; no I/O and no clock |
//! | `history` | the span that was read without a hole, and the way back after a break |
//! | `deny_set` | the revocations: exact, bounded, in little memory |
//! | `lease` | the order in which lease and data are read and written |
//! | `verdict` | types that the others share |
//!
//! # Why the bound holds
//!
//! A lease is granted to `T0 + d`. `T0` is a moment before the node sent the query whose page it
//! applies. A request decides only until the lease ends, by data of the time of the grant or later.
//! So a token that is accepted at a moment `t` was not revoked by `T0 > t - d`. Every revocation
//! that was confirmed before `T0` is in the page. No fault between node and store lengthens that:
//! it can only prevent the next lease, and then requests ask the store. The clock is this node's
//! own, counts the time for which the machine is suspended, and is never set
//! ([`Clock::elapsed`](crate::clock::Clock::elapsed)).
//!
//! A node adds its own revocations to the replica before it confirms them to the caller. So the
//! next request on this node sees them. And they survive a store that fails before any node has
//! read its log.
//!
//! # Limits
//!
//! A session that the log does not name counts as alive. Every way in which a session ends before
//! its own expiry is logged, and no access token outlives its session. But a token for a session
//! that was never opened, made by an attacker with the signing key, is found by the store alone.

mod bucket;
mod deny_set;
mod history;
mod horizon_checks;
mod lease;
mod log_reader;
mod notices;
mod pace;
mod republish;
mod shared;
mod status;
mod store_feed;
mod sync;
mod task;
mod verdict;

pub use self::status::{ReplicaState, ReplicaStatus};
pub(crate) use self::{
    notices::{Notice, OnNotice, OnRevoked},
    shared::{Replica, ReplicaSettings, Route, Source},
    task::ReplicaTasks,
    verdict::{Alive, Bearer, Verdict},
};

//! The replica: this node's copy of the store's revocation log, by which the node decides about
//! tokens without asking the store. `docs/protocol.md`, sections 4, 5 and 10, has the rules.
//!
//! * **Log.** A bucket has a log, to which the store appends each revocation of the bucket's
//!   subjects. An entry names the nonce of the entry before it. So a node notices if entries are
//!   missing or were replaced.
//! * **Horizon.** A node starts at the newest entry, and then reads older ones back. The horizon is
//!   the time since which the node knows every revocation of the bucket.
//! * **Lease.** A read that reaches the end of the log grants a lease. Until it ends, the node may
//!   decide locally. Without a lease, requests ask the store.
//! * **Deny set.** It holds the revocations that the node has read or made. It answers exactly, and
//!   in bounded memory: if it must drop entries, the horizon rises.
//! * **Break.** The lease ends if an entry does not link to the last one, if the log has lost its
//!   end, or if another server answers. The node then starts at the new head, with a new horizon.
//!   It reads back to an entry that it knows, and republishes what the store has lost.
//!
//! From these follows the **verdict** on a token. The first row that applies decides:
//!
//! | state | verdict | then |
//! |--|--|--|
//! | the deny set names the token | `Refused` | the request is rejected |
//! | the bucket has no lease | `Unknown` | the store decides |
//! | the token was issued before the horizon | `BeforeHorizon` | the store decides, mostly once |
//! | none of these | `Accepted` | no I/O |
//!
//! # Why the bound holds
//!
//! Let `d` be the staleness, and `T0` a moment before the node sends a query. If the page reaches
//! the end of the log, it grants a lease until `T0 + d`.
//!
//! 1. The page contains every revocation that the store confirmed before `T0`.
//! 2. A request decides only before the lease ends, by data at least as new as the lease.
//! 3. So at a moment `t` no token is accepted whose revocation was confirmed before `t - d`.
//!
//! A fault between node and store can only prevent the next lease. Leases are measured by a clock
//! of the node that is never set, and that counts the time for which the machine is suspended
//! ([`Clock::elapsed`](crate::clock::Clock::elapsed)).
//!
//! A node adds its own revocations to the replica before it confirms them to the caller. So its
//! next request sees them. If the store fails before any node has read them, this node
//! republishes them.
//!
//! # Limits
//!
//! A session that the log does not name counts as alive. That is sound for tokens of this crate:
//! every end of a session before its expiry is logged, and no access token outlives its session.
//! But an attacker with the signing key can make a token of a session that was never opened. Only
//! the store refuses that.
//!
//! # Files
//!
//! | files | subject |
//! |--|--|
//! | `task`, `pace`, `store_feed` | the tasks that read the log, and the times of reads |
//! | `bucket`, `log_reader`, `history` | one bucket: the chain, the lease, and the way back |
//! | `deny_set`, `lease` | the revocations, and the order in which they and the lease are written |
//! | `shared`, `verdict` | the replica as requests and tasks share it, and its verdicts |
//! | `horizon_checks` | the store checks that a raised horizon causes |
//! | `republish`, `status`, `notices` | repair of losses; state, log messages and notices |

mod bucket;
mod causal;
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
    notices::{Notice, OnNotice, RevocationListener},
    shared::{Replica, ReplicaSettings, Route, Source},
    task::ReplicaTasks,
    verdict::{Alive, Bearer, Verdict},
};

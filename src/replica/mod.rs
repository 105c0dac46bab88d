//! The replica: this node's copy of the store's revocation log. With it the node decides about
//! tokens without asking the store. The rules are in `docs/protocol.md`, sections 4, 5, 7 and 10.
//!
//! * **Log.** The store appends each revocation to the log of its bucket. Each entry has a random
//!   name (its nonce), and contains the nonce of the entry before it. So a node detects missing and
//!   replaced entries.
//! * **Lease.** A read that reaches the end of the log grants a lease. Until the lease ends, the
//!   node may decide without the store. Without a lease, the node asks the store.
//! * **Deny set.** It contains the revocations that the node has read or made. Its memory is
//!   bounded.
//! * **Horizon.** The time from which on the node has every revocation of the bucket. A node starts
//!   at the newest entry, and then reads the older entries page by page (it *reads back*). So the
//!   horizon falls. If the deny set drops entries early, the horizon rises.
//! * **Break.** The log does not continue after the last entry that the node applied, another
//!   server answers, or the node reads too slowly. The lease ends, and the node starts at the new
//!   head (the newest entry) with a new horizon. It reads back to an entry that it applied before
//!   the break. Then it republishes the revocations that the store has lost. The time between two
//!   breaks is an **epoch**.
//!
//! The replica's answer about a token is the **verdict**. The first row that applies gives the
//! verdict:
//!
//! | state | verdict | then |
//! |--|--|--|
//! | the deny set contains a revocation of the token | `Refused` | the request is rejected |
//! | no lease, or the node holds the subject (`causal`) | `Unknown` | the store decides |
//! | the token was issued before the horizon | `BeforeHorizon` | the store decides, usually once |
//! | none of these | `Accepted` | the node accepts without I/O |
//!
//! # Why the bound holds
//!
//! Let `d` be the maximum staleness (a setting), and `T0` a moment before the node sends a query
//! for a page. If the page reaches the end of the log, it grants a lease until `T0 + d`.
//!
//! 1. The page contains every revocation that the store confirmed before `T0`.
//! 2. The node decides locally only before the lease ends, with data that include this page.
//! 3. So at a moment `t` the node accepts no token whose revocation the store confirmed before
//!    `t - d`.
//!
//! A fault between node and store can only prevent the next lease. The node measures leases with a
//! clock that no one can set: [`Clock::elapsed`](crate::clock::Clock::elapsed). That clock also
//! counts the time for which the machine is suspended.
//!
//! A node adds its own revocation to the replica before it confirms the revocation to the caller.
//! So the next request on this node already obeys the revocation.
//!
//! # Limits
//!
//! If the log contains no end of a session, the replica takes the session for alive. For tokens of
//! this crate that is correct: the store logs each session that ends before its expiry, and no
//! access token outlives its session. But an attacker with the signing key can make a token of a
//! session that was never opened. Only the store refuses that token.
//!
//! # Files
//!
//! | files | subject |
//! |--|--|
//! | `task`, `pace`, `store_feed` | the tasks that read the log, and the times of reads |
//! | `bucket`, `log_reader`, `history` | one bucket: reading its log forwards and backwards |
//! | `deny_set`, `lease` | the revocations, and the order of writes to them and to the lease |
//! | `causal` | the stamps of tokens, and the subjects about which the node asks the store |
//! | `shared`, `verdict` | the replica that requests and tasks share, and its verdicts |
//! | `horizon_checks` | the store checks of tokens that were issued before the horizon |
//! | `republish`, `status`, `notices` | repair of losses; state, log messages and notices |
//! | `sample` | the state of the replica, for the observer |

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
mod sample;
mod shared;
mod status;
mod store_feed;
mod sync;
mod task;
mod verdict;

pub use self::status::{ReplicaState, ReplicaStatus};
pub(crate) use self::{
    notices::{Notice, OnNotice, ReplicaHooks, RevocationListener},
    shared::{Replica, ReplicaSettings, Route, Source},
    task::ReplicaTasks,
    verdict::{Alive, Bearer, Verdict},
};

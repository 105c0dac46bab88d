//! The open streams of this node, which end when their token is revoked.
//!
//! The layer checks a token when a request arrives. A **stream** is an open response, connection or
//! task that continues after that check. The node registers each stream with its token. When the
//! node no longer accepts the token, the node **cuts** the stream: it ends the stream.
//!
//! | file | subject |
//! |--|--|
//! | `stream`, `ticket` | the handle of an open stream, and the handle that opens it from claims |
//! | `future`, `io` | a future that resolves at the cutoff, and a connection that fails after it |
//! | `watcher` | the task that watches the streams of a service |
//! | `streams` | the streams of a service: keys, proofs, questions to the store |
//! | `registry` | the index of streams |
//! | `state`, `ids` | the compact state of one stream |
//! | `pace` | the times of questions and cutoffs |
//! | `judge` | the decisions that follow from the store's answers |
//! | `cause`, `status` | the cause of a cutoff, and the counts of cutoffs |
//!
//! # Why the bound holds
//!
//! The setting `stream_staleness`, here `S`, bounds how long a stream outlives a revocation. A
//! **proof** is a time at which the token of a stream was not revoked. Each poll of a stream
//! compares the age of the latest proof with a limit, which is at most `S`. If the proof is older,
//! the poll cuts the stream. So the bound holds even if the store and the watcher have failed.
//!
//! There are two kinds of proof:
//!
//! * **By the store.** The store has answered that the token is not revoked. The proof is the time
//!   just before the node asked.
//! * **By the log.** The log **covers** a token if the node has applied every revocation of the
//!   token (`docs/protocol.md`, section 12). The proof of a covered token is the time up to which
//!   the node has applied the log of the bucket. All covered streams of a bucket share this proof.
//!
//! If the horizon of a bucket rises, the log no longer covers some tokens. So the watcher first
//! updates the coverage of all streams, and **then** the shared proof. *In the opposite order, the
//! new proof would also extend streams whose tokens the log no longer covers. The node could miss
//! the revocation of such a token.*
//!
//! The first proof of a stream is the time at which it opened, because the node had just checked
//! the token. If the node accepted the token under a lease, the first proof is the time up to which
//! the node had applied the log.
//!
//! The application may also open a stream for the claims of an old request, with
//! [`TokenService::ended`](crate::TokenService::ended). If the store has no log, such a stream may
//! stay open for `S` after the call, even if the token was revoked before.
//!
//! # Owners
//!
//! The handles of a service, its claims and its open streams share one `Core`. The tasks of the
//! service end when the last handle, claim or stream is dropped. If the watcher ends earlier, with
//! its runtime or by a panic, a guard cuts all streams. The next stream starts another watcher.
//!
//! # Two choices that need a reason
//!
//! * The index chooses the lock by the key of a stream, not by the bucket. A memory store has only
//!   one bucket, so otherwise all its streams would wait for one lock.
//! * Streams read the shared proof from a copy, not from the replica. At each tick, the watcher
//!   updates this copy after the coverage of the streams. *If streams read the replica, a new page
//!   could extend a stream before the watcher has checked the stream's coverage.*

mod cause;
mod future;
mod ids;
mod io;
mod judge;
mod pace;
mod registry;
mod state;
mod status;
mod stream;
mod streams;
mod sync;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests;
mod ticket;
mod watcher;

pub use self::{cause::CutoffCause, future::Cutoff, io::CutoffIo, status::StreamStatus};
pub(crate) use self::{
    judge::{DenialRules, Refusal, refusal},
    streams::{LazyReplica, StreamAuthority, StreamSettings, Streams},
};
pub(crate) use self::{stream::OpenStream, ticket::Ticket};

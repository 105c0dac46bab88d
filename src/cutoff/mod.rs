//! The streams that are open on this node, and the end that a revocation puts to them.
//!
//! A request is checked when it starts. A response that is still open, a socket or a task is a
//! **stream**: it is registered here with its token, and cut when that is no longer good.
//!
//! | file | subject |
//! |--|--|
//! | `stream`, `ticket` | an open stream, and the way to it from claims |
//! | `future`, `io` | the end of a stream as a future, and a connection that ends with it |
//! | `watcher` | the task that watches the streams of a service |
//! | `streams` | the streams of a service: keys, proofs, questions |
//! | `registry` | the index of streams, and its order against the deny set |
//! | `state`, `ids` | one stream, in little memory |
//! | `pace` | the times of questions and cutoffs |
//! | `judge` | the store's answers |
//! | `cause`, `status` | the cause of a cutoff, and counts |
//!
//! # Why the bound holds
//!
//! Let `S` be the staleness of streams. Each stream has a **proof**: a moment as of which its token
//! was not revoked. It is cut at `S` after its proof at the latest, whatever fails, because the
//! owner compares the time at each poll. There are two kinds of proof.
//!
//! * **By the log.** The node has applied every revocation that was confirmed before a moment, and
//!   has announced each to the streams. If the horizon covers the token, that moment is the proof of
//!   every such stream of the bucket. So a tick costs as much as there are buckets.
//! * **By the store.** The proof is the moment before the question to which the store answered that
//!   the token is alive.
//!
//! When what the log covers changes, the watcher looks at all streams **before** it moves the proof
//! by the log on. *A session that was revoked in the part of the log that a node has not read would
//! keep its stream for ever.*
//!
//! A stream counts as proved when it is registered, because its token was checked for that request.
//! [`TokenService::ended`](crate::TokenService::ended) with claims of an old request is the
//! exception: without a log it can take `S` from the call instead of from the revocation.
//!
//! # Owners
//!
//! Claims and open streams hold the core of their service, as its handles do. Its tasks end with
//! the last of all these. If the watcher ends before, with its runtime or by a panic, it cuts all
//! streams. The next stream starts another.
//!
//! # Where this differs from a plainer design
//!
//! * Streams are spread over locks by their keys, and not by buckets: a store in memory has one
//!   bucket, and then all streams would wait for one lock.
//! * The proof by the log is a copy that the watcher moves, and not the bucket's own time. So there
//!   is no order between a grant and a look to be proved, at the price of one tick of age.

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
    judge::{Refusal, refusal},
    streams::{LazyReplica, StreamAuthority, StreamSettings, Streams},
};
pub(crate) use self::{stream::OpenStream, ticket::Ticket};

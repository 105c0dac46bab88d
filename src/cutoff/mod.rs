//! The streams that are open on this node, and their end when a token is revoked.
//!
//! The layer checks a token when a request arrives. A **stream** is what outlives that check: an
//! open response, a socket or a task. The node registers each stream here with its token, and cuts
//! the stream when the token is no longer good.
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
//! Let `S` be the staleness of streams. Each stream has a **proof**: a time at which its token was
//! not revoked. The owner of a stream compares the time at each poll. So it cuts the stream at `S`
//! after the proof at the latest, whatever fails. There are two kinds of proof.
//!
//! * **By the log.** The node has applied the log of a bucket up to a time, and has announced each
//!   entry to the streams. If the horizon covers a token, that time is the proof of the token's
//!   streams. One time serves all of them, so a tick of the watcher costs a few steps per bucket.
//! * **By the store.** The store has answered that the token is alive. The proof is the time before
//!   the question.
//!
//! If the horizon rises, the watcher looks at all streams **before** it moves the proof by the log
//! on. *If it did not, a session that was revoked in an unread part of the log would keep its
//! stream for ever.*
//!
//! The registration is the first proof, because the request's token was just checked.
//! [`TokenService::ended`](crate::TokenService::ended) with the claims of an old request is the
//! exception. Without a log, the bound then runs from the call instead of from the revocation.
//!
//! # Owners
//!
//! Handles of a service, its claims and its open streams share one `Core`. The tasks of the service
//! end when the last of them is dropped. If the watcher ends earlier, with its runtime or by a
//! panic, it cuts all streams. The next stream starts another watcher.
//!
//! # Where this differs from a plainer design
//!
//! * The locks of the index are chosen by keys and not by buckets. A store in memory has one
//!   bucket, so all its streams would wait for one lock.
//! * The watcher copies the time up to which a bucket's log was applied, and streams use the copy.
//!   So no order between a new lease and a look has to be proved. The copy is up to one tick old.

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

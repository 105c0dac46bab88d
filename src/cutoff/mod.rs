//! The streams that are open on this node, and their end when a token is revoked.
//!
//! The layer checks a token when a request arrives. A **stream** is an open response, a socket or a
//! task that continues after that check. The node registers each stream here with its token, and
//! cuts the stream when it no longer accepts the token.
//!
//! | file | subject |
//! |--|--|
//! | `stream`, `ticket` | the handle of an open stream, and the handle that opens it from claims |
//! | `future`, `io` | the end of a stream as a future, and a connection that ends with it |
//! | `watcher` | the task that watches the streams of a service |
//! | `streams` | the streams of a service: keys, proofs, questions to the store |
//! | `registry` | the index of streams |
//! | `state`, `ids` | the compact state of one stream |
//! | `pace` | the times of questions and cutoffs |
//! | `judge` | the verdicts that follow from the store's answers |
//! | `cause`, `status` | the cause of a cutoff, and the counts of cutoffs |
//!
//! # Why the bound holds
//!
//! Let `S` be the staleness of streams. Each stream has a **proof**: a time at which its token was
//! not revoked. At each poll, the owner of the stream compares the age of the proof with a limit of
//! at most `S`. If the proof is older, the owner cuts the stream, even if the store and the watcher
//! have failed. There are two kinds of proof.
//!
//! * **By the log.** The node has applied the log of a bucket up to a time, and has announced each
//!   entry to the streams. If the log covers a token, that time is the proof of the token's
//!   streams. All covered streams of a bucket share this time. So a tick of the watcher costs a few
//!   steps per bucket.
//! * **By the store.** The store has answered that the token is not revoked. The proof is the time
//!   just before the node asked.
//!
//! The log **covers** a token if the node has applied every revocation of the token. The conditions
//! are in `docs/protocol.md`, section 12.
//!
//! If the horizon rises, the watcher checks the coverage of all streams **before** it updates the
//! proof by the log. *If it updated the proof first, a stream whose session was revoked in an
//! unread part of the log would stay open for ever.*
//!
//! The first proof is the time at which the stream opened, because the node had just checked the
//! token. If a lease admitted the token, the first proof is the time up to which the log was
//! applied. In one case nothing checks the token just before: the application calls
//! [`TokenService::ended`](crate::TokenService::ended) with the claims of an old request. Without a
//! log, the bound `S` then starts at that call instead of at the revocation.
//!
//! # Owners
//!
//! The handles of a service, its claims and its open streams share one `Core`. The tasks of the
//! service end when the last handle, claim or stream is dropped. If the watcher ends earlier, with
//! its runtime or by a panic, a guard cuts all streams. The next stream starts another watcher.
//!
//! # Where this differs from a plainer design
//!
//! * The index chooses a lock by the key of a stream, and not by its bucket. A memory store has
//!   only one bucket, so all its streams would wait for one lock.
//! * The watcher copies the time up to which the node has applied a bucket's log. Streams use only
//!   the copy, which is up to one tick old. So the design needs no proof of the order between a new
//!   lease and a check of the coverage.

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

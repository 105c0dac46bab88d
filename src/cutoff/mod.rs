//! The streams that are open on this node, and the end that a revocation puts to them.

mod cause;
mod stream;
mod streams;
mod ticket;

pub use self::cause::CutoffCause;
pub(crate) use self::{stream::OpenStream, streams::Streams, ticket::Ticket};

//! An open stream, as its owner holds it.

use std::{
    fmt,
    task::{Context, Poll},
};

use super::{cause::CutoffCause, streams::Streams};
use crate::jwt::TokenNames;

/// A registered stream. Dropping it deregisters it.
pub(crate) struct OpenStream {
    pub(super) streams: Option<Streams>,
}

impl OpenStream {
    /// Registers a stream of this token, and looks at the deny set after that.
    pub(super) fn open(streams: &Streams, _names: &TokenNames<'_>, _at_expiry: bool) -> Self {
        Self { streams: Some(streams.clone()) }
    }

    /// Creates a stream that is cut already.
    pub(super) fn ended(_cause: CutoffCause) -> Self {
        Self { streams: None }
    }

    /// Resolves with the cause once the stream is cut. The latest waker counts.
    pub(crate) fn poll_cut(&self, _context: &mut Context<'_>) -> Poll<CutoffCause> {
        Poll::Pending
    }

    /// Returns the cause if the stream is cut. Registers no waker.
    pub(crate) fn cause(&self) -> Option<CutoffCause> {
        None
    }
}

impl fmt::Debug for OpenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStream").field("cause", &self.cause()).finish_non_exhaustive()
    }
}

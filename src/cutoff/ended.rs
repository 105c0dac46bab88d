//! The future of a stream's end.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::{cause::CutoffCause, stream::OpenStream, streams::Streams};
use crate::jwt::TokenNames;

/// A future that resolves with the cause once the token that it is about is no longer good. Made by
/// [`TokenService::ended`](crate::TokenService::ended).
///
/// Dropping it ends the watch. It can be awaited by reference again and again, as in
/// `tokio::select!`.
#[must_use = "a future does nothing unless it is polled"]
pub struct Ended(OpenStream);

impl Ended {
    pub(crate) fn new(streams: &Streams, names: &TokenNames<'_>) -> Self {
        Self(OpenStream::open(streams, names, false))
    }

    /// Resolves when the token expires as well, at `exp` plus the leeway. Without this, a socket may
    /// outlive its token, as long as that is not revoked.
    pub fn at_expiry(mut self) -> Self {
        self.0.cut_at_expiry();
        self
    }
}

impl Future for Ended {
    type Output = CutoffCause;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CutoffCause> {
        self.0.poll_cut(context)
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ended").field("cause", &self.0.cause()).finish()
    }
}

//! The handle with which a layer opens a stream for verified claims.

use std::{fmt, sync::Arc};

use super::{cause::CutoffCause, stream::OpenStream, streams::Streams};
use crate::{
    error::TokenError,
    jwt::{Admitted, Claims},
    observe::SharedObserver,
};

/// A handle of verified claims, for any claims type of the application.
///
/// The handle points to the memory of the claims and takes 16 bytes, so each response can have a
/// handle.
pub(crate) struct Ticket(Arc<dyn Admitted>);

impl Ticket {
    /// Registers a stream, and then searches the deny set for its token.
    ///
    /// * If `at_expiry` is true, the node also cuts the stream when the token expires.
    /// * `since` is the time at which the stream opened, as [`now`](Self::now) returned it. `None`
    ///   means the present time.
    pub(crate) fn open(&self, at_expiry: bool, since: Option<u64>) -> OpenStream {
        match self.streams() {
            Some(streams) => OpenStream::open(&streams, &self.0.names(), at_expiry, since),
            // Unreachable, because each ticket has a verifier. To be safe, the stream ends.
            None => OpenStream::ended(CutoffCause::Unconfirmed),
        }
    }

    /// Returns the time by the clock of the streams, in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        self.streams().map_or(0, |streams| streams.core().now())
    }

    /// Starts the replica that only streams need. A later call of [`refusal`](Self::refusal) can
    /// then find a revocation.
    pub(crate) fn follow(&self) {
        if let Some(streams) = self.streams() {
            streams.core().follow_if_lazy();
        }
    }

    /// Returns an error if this node's deny set refuses the token now. Does no I/O.
    pub(crate) fn refusal(&self) -> Option<TokenError> {
        let names = self.0.names();
        let is_refused = self.streams()?.refuses(&names);
        is_refused.then(|| TokenError::Revoked { token_id: names.token_id.clone(), revoked_at: None })
    }

    /// Returns the observer of the service that verified the claims.
    pub(crate) fn observer(&self) -> SharedObserver {
        self.streams().map_or_else(SharedObserver::default, |streams| streams.observer().clone())
    }

    pub(super) fn streams(&self) -> Option<Streams> {
        self.0.verifier().and_then(Streams::of)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

impl<C: Send + Sync + 'static> Claims<C> {
    /// Returns the ticket of these claims, or `None` if no service verified them.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        let ticket = Ticket(self.admitted());
        ticket.0.verifier().is_some().then_some(ticket)
    }
}

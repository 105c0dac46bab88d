//! The watch over one response: it registers a body that stays open, and decides how a cutoff ends
//! the body.
//!
//! The watch never registers a complete body, because a registration costs an allocation. It
//! registers a body that waits, or whose second frame is not the last. The first frame is not
//! enough: in a unary gRPC response the trailers follow the first frame.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::messages::{Messages, end_frame_of_grpc_web, end_of_grpc};
use crate::cutoff::{CutoffCause, OpenStream, Ticket};

/// The watch over one response.
#[derive(Debug)]
pub(super) struct Watch {
    stage: Stage,
    framing: Framing,
}

#[derive(Debug)]
enum Stage {
    /// Nothing cuts the response.
    Off,
    /// The response is not registered as an open stream yet. `since` is the time of the first wait
    /// or the first frame, if any.
    Unregistered {
        ticket: Ticket,
        at_expiry: bool,
        since: Option<u64>,
        has_frame: bool,
    },
    Registered(OpenStream),
}

/// The units in which the inner service sends a body. A cutoff can add a gRPC status only between
/// two messages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    Bytes,
    Grpc(Messages),
    GrpcWeb(Messages),
}

/// The end of a body that was cut.
pub(super) enum End {
    Frame(Frame<Bytes>),
    /// An error, which the HTTP server turns into an incomplete body.
    Error,
}

impl Watch {
    pub(super) const OFF: Self = Self { stage: Stage::Off, framing: Framing::Bytes };

    /// Creates the watch over a body. `since` is the time at which the inner service began to wait,
    /// if it did.
    pub(super) fn new(ticket: Ticket, at_expiry: bool, since: Option<u64>, framing: Framing) -> Self {
        Self { stage: Stage::Unregistered { ticket, at_expiry, since, has_frame: false }, framing }
    }

    /// Resolves with the cause once the registered response is cut.
    pub(super) fn poll_cut(&self, context: &mut Context<'_>) -> Poll<CutoffCause> {
        match &self.stage {
            Stage::Registered(stream) => stream.poll_cut(context),
            Stage::Off | Stage::Unregistered { .. } => Poll::Pending,
        }
    }

    /// Registers the response. Returns true if it was unregistered.
    pub(super) fn register(&mut self) -> bool {
        let Stage::Unregistered { ticket, at_expiry, since, .. } = &self.stage else { return false };
        self.stage = Stage::Registered(ticket.open(*at_expiry, *since));
        true
    }

    /// Checks a frame of the body before it is sent. Returns the cause if a cutoff forbids the
    /// frame.
    pub(super) fn pass(&mut self, frame: &Frame<Bytes>, is_last: bool) -> Result<(), CutoffCause> {
        if is_last {
            self.stage = Stage::Off;
            return Ok(());
        }
        match &mut self.stage {
            Stage::Off => return Ok(()),
            Stage::Unregistered { has_frame: true, .. } => {
                self.register();
            }
            Stage::Unregistered { ticket, since, has_frame, .. } => {
                *has_frame = true;
                since.get_or_insert_with(|| ticket.now());
            }
            Stage::Registered(_) => {}
        }
        if let Stage::Registered(stream) = &self.stage
            && let Some(cause) = stream.cause()
        {
            return Err(cause);
        }
        if let (Framing::Grpc(messages) | Framing::GrpcWeb(messages), Some(data)) =
            (&mut self.framing, frame.data_ref())
        {
            messages.pass(data);
            if messages.have_ended() {
                self.stage = Stage::Off;
            }
        }
        Ok(())
    }

    /// Returns the end of a body that a cutoff ends now.
    pub(super) fn end(self, cause: CutoffCause) -> End {
        match self.framing {
            Framing::Grpc(messages) if messages.is_between() => End::Frame(Frame::trailers(end_of_grpc(cause))),
            Framing::GrpcWeb(messages) if messages.is_between() => {
                End::Frame(Frame::data(end_frame_of_grpc_web(cause)))
            }
            _ => End::Error,
        }
    }
}

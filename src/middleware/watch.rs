//! The watch over one response. It registers an open body as a stream, so that a cutoff can end the
//! body, and decides how the body ends.
//!
//! A registration allocates memory, and most bodies are complete at once. So the watch registers a
//! body only if the body returns `Pending`, or if the second frame of the body is not its last. A
//! unary gRPC response has two frames.

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

/// The structure of a body: bytes, or gRPC messages. A cutoff can add a gRPC status only between
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

    /// Creates the watch over a body. `since` is the time at which the inner service first returned
    /// `Pending`, if it did.
    pub(super) fn new(ticket: Ticket, at_expiry: bool, since: Option<u64>, framing: Framing) -> Self {
        Self { stage: Stage::Unregistered { ticket, at_expiry, since, has_frame: false }, framing }
    }

    /// Resolves with the cause once a cutoff has ended the registered response.
    pub(super) fn poll_cut(&self, context: &mut Context<'_>) -> Poll<CutoffCause> {
        match &self.stage {
            Stage::Registered(stream) => stream.poll_cut(context),
            Stage::Off | Stage::Unregistered { .. } => Poll::Pending,
        }
    }

    /// Registers the response. Returns false if there is nothing to register.
    pub(super) fn register(&mut self) -> bool {
        let Stage::Unregistered { ticket, at_expiry, since, .. } = &self.stage else { return false };
        self.stage = Stage::Registered(ticket.open(*at_expiry, *since));
        true
    }

    /// Checks a frame of the body. Returns the cause as an error if a cutoff has ended the
    /// response.
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

    /// Returns the last frame of a body that a cutoff ends, or `End::Error` if no frame can end it.
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

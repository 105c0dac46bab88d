//! The body of a layer's responses.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::watch::{End, Watch};
use crate::{cutoff::CutoffCause, error::BoxError};

/// The body of a layer's response: the body of the inner service, or the body of a rejection.
///
/// `ResponseBody` implements [`Body`] if `B` is a body of [`Bytes`]. It passes the frames of `B` on
/// unchanged. At a [cutoff](super#long-lived-responses), it drops `B` and ends:
///
/// * Over HTTP, the body ends with a [`CutoffCause`] as the error. So no client takes the
///   incomplete body for complete.
/// * Over gRPC, the body ends with the trailer `grpc-status: 16`. If a message is incomplete, the
///   body ends with the error as over HTTP.
///
/// `Default` returns the default of `B`, for outer layers that make empty responses.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody<B>(#[pin] Kind<B>);

#[pin_project(project = KindProjection)]
#[derive(Debug)]
enum Kind<B> {
    Inner(#[pin] B, Watch),
    Rejection(Option<Bytes>),
    Cut,
}

impl<B> ResponseBody<B> {
    pub(super) fn inner(body: B) -> Self {
        Self(Kind::Inner(body, Watch::OFF))
    }

    pub(super) fn rejection(body: Bytes) -> Self {
        Self(Kind::Rejection(Some(body).filter(|body| !body.is_empty())))
    }

    /// Returns true if the layer made the response.
    pub(super) fn is_rejection(&self) -> bool {
        matches!(self.0, Kind::Rejection(_))
    }

    /// Starts the watch over the body of the inner service.
    #[inline]
    pub(super) fn set_watch(&mut self, new: Watch) {
        if let Kind::Inner(_, watch) = &mut self.0 {
            *watch = new;
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut kind = self.project().0;
        let (body, watch) = match kind.as_mut().project() {
            KindProjection::Inner(body, watch) => (body, watch),
            KindProjection::Rejection(body) => return Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            KindProjection::Cut => return Poll::Ready(None),
        };
        let polled = match watch.poll_cut(context) {
            Poll::Ready(cause) => Err(cause),
            Poll::Pending => poll_inner(body, watch, context),
        };
        let cause = match polled {
            Ok(polled) => return polled.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Err(cause) => cause,
        };
        let end = mem::replace(watch, Watch::OFF).end(cause);
        // Drops the inner body now, so that it releases its resources.
        kind.set(Kind::Cut);
        Poll::Ready(Some(match end {
            End::Frame(frame) => Ok(frame),
            End::Error => Err(cause.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Inner(body, _) => body.is_end_stream(),
            Kind::Rejection(body) => body.is_none(),
            Kind::Cut => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Inner(body, _) => body.size_hint(),
            Kind::Rejection(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Kind::Cut => SizeHint::with_exact(0),
        }
    }
}

/// The result of a poll of the inner body.
type PolledFrame<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// Polls the inner body. Returns the cause as an error if a cutoff has ended the response.
fn poll_inner<B: Body<Data = Bytes>>(
    mut body: Pin<&mut B>,
    watch: &mut Watch,
    context: &mut Context<'_>,
) -> Result<PolledFrame<B::Error>, CutoffCause> {
    let polled = body.as_mut().poll_frame(context);
    match &polled {
        Poll::Pending => {
            if watch.register()
                && let Poll::Ready(cause) = watch.poll_cut(context)
            {
                return Err(cause);
            }
        }
        Poll::Ready(Some(Ok(frame))) => {
            let is_last = frame.is_trailers() || body.is_end_stream();
            watch.pass(frame, is_last)?;
        }
        // The body has ended, so the watch ends too.
        Poll::Ready(None | Some(Err(_))) => *watch = Watch::OFF,
    }
    Ok(polled)
}

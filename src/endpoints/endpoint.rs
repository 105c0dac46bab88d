//! What all endpoints share: the method, the body, and that no failure leaves without an answer.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts};
use http_body::Body;
use http_body_util::Full;
use tower::Service;

use super::{answer::Failure, fields::Fields};
use crate::{error::BoxError, jwt::Claims, middleware::refuse_missing_claims, store::BoxFuture};

/// One endpoint as a Tower service. Made by [`Endpoints`](super::Endpoints).
pub struct Endpoint<H> {
    handler: Arc<H>,
}

impl<H> Endpoint<H> {
    pub(super) fn new(handler: H) -> Self {
        Self { handler: Arc::new(handler) }
    }
}

impl<H> Clone for Endpoint<H> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler) }
    }
}

impl<H> fmt::Debug for Endpoint<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

/// What an endpoint does with a request whose method and body are right. Sealed: it stands in a private module.
pub trait Handle: Send + Sync + 'static {
    /// The methods it answers.
    const METHODS: &'static [Method];
    /// Whether it reads fields from the body.
    const READS_BODY: bool;

    /// The answer.
    fn handle(
        &self,
        parts: Parts,
        fields: Fields,
    ) -> impl Future<Output = Result<Response<Full<Bytes>>, Failure>> + Send;
}

impl<H, B> Service<Request<B>> for Endpoint<H>
where
    H: Handle,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Full<Bytes>>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let handler = Arc::clone(&self.handler);
        Box::pin(async move { Ok(answer(&*handler, request).await.unwrap_or_else(Failure::into_response)) })
    }
}

async fn answer<H: Handle, B>(handler: &H, request: Request<B>) -> Result<Response<Full<Bytes>>, Failure>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    if !H::METHODS.contains(request.method()) {
        return Err(Failure::MethodNotAllowed(H::METHODS));
    }
    let (parts, body) = request.into_parts();
    let fields = if H::READS_BODY { Fields::read(&parts.headers, body).await? } else { Fields::default() };
    handler.handle(parts, fields).await
}

/// The claims that the layer around an endpoint has put into the request.
pub(super) fn claims_of<C: Send + Sync + 'static>(parts: &Parts) -> Result<Claims<C>, Failure> {
    // That layer may be optional or switched off: then the answer is to the byte what it would have been.
    parts
        .extensions
        .get::<Claims<C>>()
        .cloned()
        .ok_or_else(|| Failure::Refused(Box::new(refuse_missing_claims(parts).1)))
}

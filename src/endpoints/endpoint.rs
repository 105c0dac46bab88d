//! The Tower service around each handler. It checks the method, reads the body and renders
//! rejections.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response,
    header::{AUTHORIZATION, COOKIE},
    request::Parts,
};
use http_body::Body;
use http_body_util::Full;
use tower::Service;

use super::fields::Fields;
use crate::{
    error::BoxError,
    jwt::Claims,
    middleware::{Form, Rejection, RejectionKind, Responder, is_unauthenticated, missing_claims},
    store::BoxFuture,
};

/// One endpoint as a Tower service. [`Endpoints`](super::Endpoints) and
/// [`ResourceMetadata`](crate::middleware::ResourceMetadata) create it.
pub struct Endpoint<H> {
    handler: Arc<H>,
    responder: Responder,
}

impl<H> Endpoint<H> {
    pub(super) fn new(handler: H, responder: Responder) -> Self {
        Self { handler: Arc::new(handler), responder }
    }
}

impl<H> Clone for Endpoint<H> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler), responder: self.responder.clone() }
    }
}

impl<H> fmt::Debug for Endpoint<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

/// The logic of one [`Endpoint`]. Sealed: other crates cannot implement this trait, because its
/// module is private.
pub trait Handle: Send + Sync + 'static {
    /// The methods that the handler answers.
    const METHODS: &'static [Method];
    /// True if the handler needs the fields of the body. [`reads_body`](Self::reads_body) returns
    /// this value by default.
    const READS_BODY: bool;

    /// Checks the head of the request. The endpoint calls this before it checks the method and
    /// reads the body.
    fn check(&self, parts: &Parts) -> Result<(), Rejection> {
        let _ = parts;
        Ok(())
    }

    /// Returns true if the handler needs fields of this request's body.
    fn reads_body(&self, parts: &Parts) -> bool {
        let _ = parts;
        Self::READS_BODY
    }

    /// Returns true if the request has cookies that a rejection may remove.
    fn has_cookies(&self, headers: &HeaderMap) -> bool {
        let _ = headers;
        false
    }

    /// Adds headers to the response to a rejected request, for example to remove cookies.
    ///
    /// The endpoint calls this only if [`has_cookies`](Self::has_cookies) returned true. Otherwise
    /// a late response to a request without cookies could remove the cookies of a new login.
    fn add_to_rejection(&self, kind: RejectionKind, headers: &mut HeaderMap) {
        let _ = (kind, headers);
    }

    /// Answers the request.
    fn handle(
        &self,
        parts: Parts,
        fields: Fields,
    ) -> impl Future<Output = Result<Response<Full<Bytes>>, Rejection>> + Send;
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Self { handler, responder } = self.clone();
        // Marks credentials as sensitive, so that `Debug` does not show them. A login guard, for
        // example, may log the headers.
        for (name, value) in request.headers_mut().iter_mut() {
            value.set_sensitive(value.is_sensitive() || name == COOKIE || name == AUTHORIZATION);
        }
        let has_cookies = handler.has_cookies(request.headers());
        // True if the client is anonymous, and a layer around this endpoint passed on the request.
        let is_anonymous = is_unauthenticated(request.extensions());
        Box::pin(async move {
            let rejection = match answer(&*handler, request).await {
                Ok(response) => return Ok(response),
                Err(rejection) => rejection,
            };
            let kind = rejection.kind();
            let mut response = match kind {
                // The layer around this endpoint replaces the response by its own 401.
                RejectionKind::NoCredentials if is_anonymous => rejection.into_response(),
                _ => responder.respond(rejection, Form::ENDPOINT).map(Full::from),
            };
            if has_cookies {
                handler.add_to_rejection(kind, response.headers_mut());
            }
            Ok(response)
        })
    }
}

async fn answer<H: Handle, B>(handler: &H, request: Request<B>) -> Result<Response<Full<Bytes>>, Rejection>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    handler.check(&parts)?;
    if !H::METHODS.contains(&parts.method) {
        return Err(Rejection::method_not_allowed(H::METHODS));
    }
    let fields = if handler.reads_body(&parts) { Fields::read(&parts.headers, body).await? } else { Fields::default() };
    handler.handle(parts, fields).await
}

/// Returns the claims that the layer around an endpoint has added to the request.
pub(super) fn claims_of<C: Send + Sync + 'static>(parts: &Parts) -> Result<Claims<C>, Rejection> {
    parts.extensions.get::<Claims<C>>().cloned().ok_or_else(|| missing_claims(&parts.extensions))
}

/// Refuses the request with 403 if this service cannot revoke the token, because the policy of the
/// token's issuer is [`Stateless`](crate::issuers::IssuerPolicy::Stateless).
pub(super) fn refuse_irrevocable<C>(claims: &Claims<C>) -> Result<(), Rejection> {
    let is_irrevocable = claims.external().is_some_and(|external| !external.is_revocable);
    if is_irrevocable { Err(Rejection::forbidden()) } else { Ok(()) }
}

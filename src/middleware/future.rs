//! The futures of a request that is rejected, or asked about, or passed on.

use std::{
    fmt,
    future::{Future, Ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header::CACHE_CONTROL};
use pin_project::pin_project;
use tower::Service;

use super::{
    body::ResponseBody,
    rejection::Rejection,
    responder::{Form, Responder},
};
use crate::{jwt::Claims, tokens::Pending};

/// The future of [`AuthService`](super::AuthService).
///
/// Dropping it at any point leaves nothing half done: a check changes nothing, and the inner
/// service's permit, if it has one, is given back.
#[pin_project]
pub struct AuthFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    #[pin]
    pub(super) admission: Admission<S, ReqBody, ClaimsFromStore<C>>,
    /// Makes the response to a rejection that the inner service returns.
    pub(super) responder: Arc<Responder>,
    pub(super) form: Form,
    /// Shared caches are to be told that the response is one client's, since the credential stands
    /// where they do not look for one.
    pub(super) is_private: bool,
}

impl<S, C, ReqBody, ResBody> Future for AuthFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    C: Send + Sync + 'static,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.admission.poll_with(context, |response| finish(response, this.responder, *this.form, *this.is_private))
    }
}

/// Finishes the inner service's response. A response that rejects the request is made anew. A
/// private one is marked as such.
#[inline]
fn finish<B>(
    mut response: Response<B>,
    responder: &Responder,
    form: Form,
    is_private: bool,
) -> Response<ResponseBody<B>> {
    match response.extensions().get::<Rejection>() {
        None if is_private => make_private(response.headers_mut()),
        Some(rejection) if !rejection.is_rendered() => {
            return responder.rerender(response, form).map(ResponseBody::rejection);
        }
        _ => {}
    }
    response.map(ResponseBody::inner)
}

/// Keeps shared caches from storing a response (RFC 6750 section 2.3, RFC 9111 section 5.2.2). Of
/// the inner service's directives it removes only those that let caches share it.
fn make_private(headers: &mut HeaderMap) {
    let said: Vec<_> = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok()).collect();
    let directives = said.iter().flat_map(|line| line.split(',')).map(str::trim);
    let is_shared = |directive: &&str| {
        let name = directive.split('=').next().unwrap_or_default();
        name.eq_ignore_ascii_case("public") || name.eq_ignore_ascii_case("s-maxage")
    };
    let mut kept: Vec<_> = directives.filter(|directive| !directive.is_empty() && !is_shared(directive)).collect();
    if !kept.iter().any(|own| own.eq_ignore_ascii_case("private") || own.eq_ignore_ascii_case("no-store")) {
        kept.push("private");
    }
    let kept = HeaderValue::try_from(kept.join(", ")).unwrap_or(HeaderValue::from_static("no-store"));
    headers.insert(CACHE_CONTROL, kept);
}

impl<S: Service<Request<ReqBody>>, C, ReqBody> fmt::Debug for AuthFuture<S, C, ReqBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFuture").finish_non_exhaustive()
    }
}

/// A check that waits for the store, with its outcome for the request.
pub(super) struct ClaimsFromStore<C>(pub(super) Box<Pending<C>>);

impl<C> Future for ClaimsFromStore<C> {
    type Output = Result<Claims<C>, Rejection>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(Rejection::from)
    }
}

/// The three states of a request in each service of this module.
///
/// The request itself stays here while the question (`Q`) is open, and is never part of a boxed
/// future. So neither its body nor the inner service has to be `Send` or `'static`. The answer is
/// put into the request's extensions.
#[pin_project(project = AdmissionProjection)]
pub(super) enum Admission<S, ReqBody, Q>
where
    S: Service<Request<ReqBody>>,
{
    /// The response is there. `None` once it was given.
    Rejected(Option<Response<Bytes>>),
    /// The question is open. The service is the instance that was readied. It is dropped as soon as
    /// it has been called.
    Asking { question: Q, held: Option<(S, Request<ReqBody>)>, responder: Arc<Responder> },
    /// The inner service works on it.
    Admitted(#[pin] S::Future),
}

/// The states of a request about which nothing is asked.
pub(super) type Decided<S, ReqBody> = Admission<S, ReqBody, Ready<Result<(), Rejection>>>;

impl<S, ReqBody, ResBody, Q, T> Admission<S, ReqBody, Q>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    Q: Future<Output = Result<T, Rejection>> + Unpin,
    T: Clone + Send + Sync + 'static,
{
    /// Polls for the response, which `finish` makes of the inner service's.
    #[inline]
    fn poll_with(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        finish: impl FnOnce(Response<ResBody>) -> Response<ResponseBody<ResBody>>,
    ) -> Poll<Result<Response<ResponseBody<ResBody>>, S::Error>> {
        loop {
            match self.as_mut().project() {
                AdmissionProjection::Admitted(future) => return future.poll(context).map_ok(finish),
                // Polled again after its end, it stays pending: nothing is left to be done.
                AdmissionProjection::Rejected(response) => {
                    return match response.take() {
                        Some(response) => Poll::Ready(Ok(response.map(ResponseBody::rejection))),
                        None => Poll::Pending,
                    };
                }
                AdmissionProjection::Asking { question, held, responder } => {
                    let answer = ready!(Pin::new(question).poll(context));
                    let Some((mut service, mut request)) = held.take() else { return Poll::Pending };
                    let next = match answer {
                        Ok(extension) => {
                            request.extensions_mut().insert(extension);
                            Self::Admitted(service.call(request))
                        }
                        Err(rejection) => Self::Rejected(Some(responder.respond(rejection, Form::of(&request)))),
                    };
                    self.set(next);
                }
            }
        }
    }
}

impl<S, ReqBody, ResBody, Q, T> Future for Admission<S, ReqBody, Q>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    Q: Future<Output = Result<T, Rejection>> + Unpin,
    T: Clone + Send + Sync + 'static,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_with(context, |response| response.map(ResponseBody::inner))
    }
}

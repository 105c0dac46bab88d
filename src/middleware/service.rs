//! The service that checks every request, and its future.

use std::{
    fmt,
    future::{Future, Ready},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{AUTHORIZATION, CACHE_CONTROL},
};
use pin_project::pin_project;
use tower::Service;

use super::{
    accessors::accessors_of_inner,
    config::Config,
    credentials::{self, Credential},
    rejection::{Rejection, RejectionKind},
    responder::{Form, Responder, ResponseBody},
    unauthenticated::Unauthenticated,
};
use crate::{
    jwt::{Claims, NoClaims, TokenType},
    tokens::{AccessCheck, Lookup, Pending, TokenService},
};

/// A service that calls its inner service only for requests with a valid bearer token.
///
/// Made by an [`AuthLayer`](super::AuthLayer). See the [module docs](super) for examples.
pub struct AuthService<S, C = NoClaims> {
    inner: S,
    config: Arc<Config<C>>,
}

impl<S, C> AuthService<S, C> {
    /// Wraps `inner` with the defaults of [`AuthLayer::new`](super::AuthLayer::new).
    pub fn new(inner: S, tokens: TokenService<C>) -> Self {
        Self::with(inner, Arc::new(Config::new(tokens)))
    }

    pub(super) fn with(inner: S, config: Arc<Config<C>>) -> Self {
        Self { inner, config }
    }

    accessors_of_inner!();
}

impl<S, C, ReqBody, ResBody> Service<Request<ReqBody>> for AuthService<S, C>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    C: Send + Sync + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = AuthFuture<S, C, ReqBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let config = &*self.config;
        let responder = config.responder.clone();
        let form = Form::of(&request);
        // Claims come from this layer or from nowhere.
        request.extensions_mut().remove::<Claims<C>>();
        request.extensions_mut().remove::<Unauthenticated>();
        credentials::mark_sensitive(request.headers_mut());
        if let Some(locations) = &config.locations {
            locations.mark_sensitive(request.headers_mut());
        }

        let is_exempt = |request| config.exemptions.as_ref().is_some_and(|exempt| exempt.include(request));
        let (decision, is_private) = if !config.enabled || is_exempt(&mut request) {
            (self.pass_without_claims(&mut request), false)
        } else {
            self.admit(&mut request)
        };
        // Each arm constructs the future in place: it may hold a request, which is expensive to
        // move.
        match decision {
            // This calls the instance that was polled ready. After a rejection it stays ready for
            // the next request.
            Decision::Pass => {
                AuthFuture { admission: Admission::Admitted(self.inner.call(request)), responder, form, is_private }
            }
            Decision::Reject(rejection) => {
                let response = responder.respond(rejection, form);
                AuthFuture { admission: Admission::Rejected(Some(response)), responder, form, is_private }
            }
            Decision::Ask(question) => {
                // Only this instance was polled ready, so it must serve the request. The clone is
                // not ready.
                let not_ready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, not_ready);
                let held = Some((ready, request));
                let admission = Admission::Asking { question, held, responder: responder.clone() };
                AuthFuture { admission, responder, form, is_private }
            }
        }
    }
}

/// The decision about a request.
enum Decision<C> {
    Pass,
    Reject(Rejection),
    Ask(ClaimsFromStore<C>),
}

impl<S, C: Send + Sync + 'static> AuthService<S, C> {
    /// Decides about a request. The `bool` is `true` if the credential came from another location
    /// than `Authorization`.
    fn admit<B>(&self, request: &mut Request<B>) -> (Decision<C>, bool) {
        let config = &*self.config;
        let checker = &config.tokens.checker;
        let mut credential = credentials::in_authorization(request.headers(), checker.max_token_len);
        let mut is_elsewhere = false;
        if let Some(locations) = &config.locations {
            let other = locations.find(request, checker.max_token_len);
            is_elsewhere = other != Credential::Absent;
            credential = credential.and(other);
        }
        let malformed = || Decision::Reject(Rejection::new(RejectionKind::InvalidRequest));
        let check = match credential {
            Credential::Absent if !config.required => return (self.pass_without_claims(request), false),
            Credential::Absent => return (Decision::Reject(Rejection::new(RejectionKind::NoCredentials)), false),
            Credential::Malformed => return (malformed(), is_elsewhere),
            Credential::Token(text) => {
                // The grammar decides between 400 and 401. The check would take a large part of a
                // cached request's time, so it runs only on a cache miss.
                match checker.check_cached(text.as_bytes(), config.freshness) {
                    Lookup::Hit(check) => check,
                    Lookup::Miss(miss) => match text.token() {
                        Some(token) => checker.check_text(miss, token, TokenType::Access, config.freshness),
                        None => return (malformed(), is_elsewhere),
                    },
                }
            }
        };
        let decision = match check {
            AccessCheck::Done(Ok(claims)) => {
                request.extensions_mut().insert(claims);
                Decision::Pass
            }
            AccessCheck::Done(Err(error)) => return (Decision::Reject(error.into()), is_elsewhere),
            AccessCheck::Pending(pending) => Decision::Ask(ClaimsFromStore(pending)),
        };
        self.strip(request);
        (decision, is_elsewhere)
    }

    fn pass_without_claims<B>(&self, request: &mut Request<B>) -> Decision<C> {
        Unauthenticated::mark(request.extensions_mut());
        self.strip(request);
        Decision::Pass
    }

    fn strip<B>(&self, request: &mut Request<B>) {
        if self.config.strip_credentials {
            request.headers_mut().remove(AUTHORIZATION);
            if let Some(locations) = &self.config.locations {
                locations.strip(request);
            }
        }
    }
}

impl<S: Clone, C> Clone for AuthService<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), config: Arc::clone(&self.config) }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for AuthService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// The future of [`AuthService`].
///
/// Dropping it is safe at any point: a check changes nothing, and the inner service, with any
/// permit that it holds, is dropped too.
#[pin_project]
pub struct AuthFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    #[pin]
    admission: Admission<S, ReqBody, ClaimsFromStore<C>>,
    /// Makes the response to a rejection that the inner service returns.
    responder: Responder,
    form: Form,
    /// True if the response needs `Cache-Control: private`: shared caches recognize a credential
    /// only in `Authorization`.
    is_private: bool,
}

impl<S, C, ReqBody, ResBody> Future for AuthFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    C: Send + Sync + 'static,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Finished in place, because a response is about 150 bytes to move.
        let mut poll = this.admission.poll(context);
        if let Poll::Ready(Ok(response)) = &mut poll {
            finish(response, this.responder, *this.form, *this.is_private);
        }
        poll
    }
}

/// Finishes a response of the inner service: replaces it if it rejects the request, and marks it
/// private if needed. That includes rejections, because a cache may store an unmarked 404 (RFC 9110
/// section 15.1). The layer's own rejections are complete.
#[inline]
fn finish<B>(response: &mut Response<ResponseBody<B>>, responder: &Responder, form: Form, is_private: bool) {
    if response.body().is_rejection() {
        return;
    }
    if response.extensions().get::<Rejection>().is_some_and(|rejection| !rejection.is_rendered()) {
        responder.rerender(response, form);
    }
    if is_private {
        make_private(response.headers_mut());
    }
}

/// Forbids shared caches to store a response (RFC 6750 section 2.3, RFC 9111 section 5.2.2).
/// Removes only those directives of the inner service that permit it.
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

/// A check that waits for the store, and resolves to claims or a rejection.
struct ClaimsFromStore<C>(Box<Pending<C>>);

impl<C> Future for ClaimsFromStore<C> {
    type Output = Result<Claims<C>, Rejection>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(Rejection::from)
    }
}

/// The three states of a request in each service of this module.
///
/// The request stays here until the question (`Q`) is answered, and is never part of a boxed
/// future. So neither its body nor the inner service must be `Send` or `'static`. The answer goes
/// into the request's extensions.
#[pin_project(project = AdmissionProjection)]
pub(super) enum Admission<S, ReqBody, Q>
where
    S: Service<Request<ReqBody>>,
{
    /// The layer has made the response. `None` after the future has returned it.
    Rejected(Option<Response<Bytes>>),
    /// The question is not answered yet. `held` has the service instance that was polled ready. It
    /// is dropped right after the call.
    Asking { question: Q, held: Option<(S, Request<ReqBody>)>, responder: Responder },
    /// The inner service handles the request.
    Admitted(#[pin] S::Future),
}

/// The states of a request that is decided at once, without a question.
pub(super) type Decided<S, ReqBody> = Admission<S, ReqBody, Ready<Result<(), Rejection>>>;

impl<S, ReqBody, ResBody, Q, T> Future for Admission<S, ReqBody, Q>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    Q: Future<Output = Result<T, Rejection>> + Unpin,
    T: Clone + Send + Sync + 'static,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                AdmissionProjection::Admitted(future) => {
                    return future.poll(context).map_ok(|response| response.map(ResponseBody::inner));
                }
                // A poll after completion returns `Pending` instead of a panic.
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

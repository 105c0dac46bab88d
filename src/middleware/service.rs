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
use http::{Extensions, Request, Response, header::AUTHORIZATION};
use pin_project::pin_project;
use tower::Service;

use super::{
    accessors::accessors_of_inner,
    body::ResponseBody,
    config::{Config, Demand},
    credentials::{self, Credential},
    expired::ExpiredClaims,
    finish::Finisher,
    rejection::{Rejection, RejectionKind},
    responder::{Form, Responder},
    unauthenticated::Unauthenticated,
};
use crate::{
    error::{Error, TokenError},
    jwt::{Claims, NoClaims, TokenType},
    observe::SharedObserver,
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
        // Removes the claims of an outer layer: the handler must see only those of this layer.
        let outer = request.extensions_mut().remove::<Claims<C>>();
        let mut finisher = Finisher::new(&request, config, outer.as_ref());
        request.extensions_mut().remove::<Unauthenticated>();
        if config.demand == Demand::Logout {
            request.extensions_mut().remove::<ExpiredClaims>();
        }
        credentials::mark_sensitive(request.headers_mut());
        if let Some(locations) = &config.locations {
            locations.mark_sensitive(request.headers_mut());
        }

        let is_exempt = |request| config.exemptions.as_ref().is_some_and(|exempt| exempt.include(request));
        let decision = if !config.enabled || is_exempt(&mut request) {
            self.pass_without_claims(&mut request, &mut finisher)
        } else {
            self.admit(&mut request, &mut finisher)
        };
        // Each arm constructs the future in place. The future may contain a request, which is
        // expensive to move.
        match decision {
            // Calls `self.inner`, which was polled ready. After a rejection, `self.inner` is still
            // ready for the next request.
            Decision::Pass => AuthFuture { admission: Admission::Admitted(self.inner.call(request)), finisher },
            Decision::Reject(rejection) => {
                rejection.report(&config.tokens.checker.observer);
                AuthFuture { admission: Admission::Rejected(Some(finisher.respond(rejection))), finisher }
            }
            Decision::Ask(question) => {
                // The future takes the instance that was polled ready. A clone, which is not ready,
                // takes its place in `self`.
                let not_ready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, not_ready);
                let held = Some((ready, request));
                let admission = Admission::Asking { question, held, responder: finisher.responder().clone() };
                AuthFuture { admission, finisher }
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
    /// Decides if the request passes, gets a rejection or must wait for the store.
    fn admit<B>(&self, request: &mut Request<B>, finisher: &mut Finisher) -> Decision<C> {
        let config = &*self.config;
        let checker = &config.tokens.checker;
        let mut credential = credentials::in_authorization(request.headers(), checker.max_token_len);
        let mut is_in_cookie = false;
        if let Some(locations) = &config.locations {
            let other = locations.find(request, checker.max_token_len);
            if other.credential != Credential::Absent {
                finisher.set_private();
            }
            is_in_cookie = other.is_in_cookie && credential == Credential::Absent;
            credential = credential.and(other.credential);
        }
        if is_in_cookie {
            // Checks for a request of another site (CSRF) before the token. Otherwise that site
            // could learn from the response if the token is valid.
            let (method, uri, headers) = (request.method(), request.uri(), request.headers());
            if !config.cookies.cross_site.admits(method, uri, headers, checker.max_token_len) {
                return Decision::Reject(Rejection::new(RejectionKind::CrossSite));
            }
            // If two cookies have the same name, the credential is `Malformed`. Then the layer
            // removes neither, because it does not know which cookie is its own.
            if credential != Credential::Malformed {
                finisher.set_cleared(config, request.headers());
            }
        }
        let forgives = is_in_cookie && config.forgives_cookies();
        let malformed = || Rejection::new(RejectionKind::InvalidRequest);
        let mut expired = None;
        let check = match credential {
            Credential::Absent if config.demand != Demand::Token => return self.pass_without_claims(request, finisher),
            Credential::Absent => return Decision::Reject(Rejection::new(RejectionKind::NoCredentials)),
            Credential::Malformed => return self.refuse(malformed(), forgives, request, finisher),
            Credential::Token(text) => {
                // The grammar check separates malformed text (400) from an invalid token (401). The
                // check is slow compared with a cache hit, so it runs only on a cache miss.
                let check = match checker.check_cached(text.as_bytes(), config.freshness) {
                    Lookup::Hit(check) => check,
                    Lookup::Miss(miss) => match text.token() {
                        Some(token) => checker.check_text(miss, token, TokenType::Access, config.freshness),
                        None => return self.refuse(malformed(), forgives, request, finisher),
                    },
                };
                if config.demand == Demand::Logout
                    && matches!(check, AccessCheck::Done(Err(Error::Token(TokenError::Expired { .. }))))
                {
                    expired =
                        text.token().and_then(|token| config.tokens.claims_at_logout(token, TokenType::Access).ok());
                }
                check
            }
        };
        let decision = match check {
            AccessCheck::Done(Ok(mut claims)) => {
                finisher.admit(&mut claims);
                request.extensions_mut().insert(claims);
                Decision::Pass
            }
            AccessCheck::Done(Err(error)) => {
                let Some(claims) = expired else { return self.refuse(error.into(), forgives, request, finisher) };
                request.extensions_mut().insert(ExpiredClaims(claims));
                return self.pass_without_claims(request, finisher);
            }
            AccessCheck::Pending(pending) => Decision::Ask(ClaimsFromStore { pending, forgives }),
        };
        self.strip(request);
        decision
    }

    /// Rejects the request, or passes it on without claims if the layer forgives bad cookies.
    fn refuse<B>(
        &self,
        rejection: Rejection,
        forgives: bool,
        request: &mut Request<B>,
        finisher: &mut Finisher,
    ) -> Decision<C> {
        if forgives && rejection.kind().blames_credential() {
            finisher.forgive(&rejection);
            return self.pass_without_claims(request, finisher);
        }
        Decision::Reject(rejection)
    }

    fn pass_without_claims<B>(&self, request: &mut Request<B>, finisher: &mut Finisher) -> Decision<C> {
        finisher.set_observer(&self.config.tokens.checker.observer);
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
/// The future can be dropped at any time, because a check changes no data. The drop also cancels
/// the call of the inner service, and so releases its permits.
#[pin_project]
pub struct AuthFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    #[pin]
    admission: Admission<S, ReqBody, ClaimsFromStore<C>>,
    finisher: Finisher,
}

impl<S, C, ReqBody, ResBody> Future for AuthFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    C: Send + Sync + 'static,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let finisher = this.finisher;
        let mut poll = this.admission.poll_with(context, |extensions, answer| match answer {
            Answer::Claims(mut claims) => {
                finisher.admit(&mut claims);
                extensions.insert(claims);
            }
            Answer::Forgiven(rejection, observer) => {
                finisher.set_observer(&observer);
                finisher.forgive(&rejection);
                Unauthenticated::mark(extensions);
            }
        });
        match &mut poll {
            // Finishes the response in place, because a move would copy about 150 bytes.
            Poll::Ready(Ok(response)) => finisher.finish(response),
            Poll::Ready(Err(_)) => {}
            // `note_wait` does nothing until the request is admitted.
            Poll::Pending => finisher.note_wait(),
        }
        poll
    }
}

impl<S: Service<Request<ReqBody>>, C, ReqBody> fmt::Debug for AuthFuture<S, C, ReqBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFuture").finish_non_exhaustive()
    }
}

/// The future of a token check that waits for the store or for an issuer's keys.
struct ClaimsFromStore<C> {
    pending: Box<Pending<C>>,
    /// True if the layer passes on the request without claims when the token is bad.
    forgives: bool,
}

/// The result of a check that lets the request pass.
enum Answer<C> {
    Claims(Claims<C>),
    /// The token is bad, but the request passes without claims.
    Forgiven(Rejection, SharedObserver),
}

impl<C: Send + Sync + 'static> Future for ClaimsFromStore<C> {
    type Output = Result<Answer<C>, Rejection>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.pending).poll(context)) {
            Ok(claims) => Ok(Answer::Claims(claims)),
            Err(error) => {
                let rejection = Rejection::from(error);
                let observer = self.pending.observer();
                if self.forgives && rejection.kind().blames_credential() {
                    Ok(Answer::Forgiven(rejection, observer.clone()))
                } else {
                    rejection.report(observer);
                    Err(rejection)
                }
            }
        })
    }
}

/// The state of a request in a service: rejected, waiting for an answer, or admitted.
///
/// `Q` is the future that the request waits for, such as a token check or a user lookup. The
/// service puts the answer of `Q` into the request's extensions. No boxed future contains the
/// request, so the request's body and the inner service need not be `Send` or `'static`.
#[pin_project(project = AdmissionProjection)]
pub(super) enum Admission<S, ReqBody, Q>
where
    S: Service<Request<ReqBody>>,
{
    /// The service has made the response itself. `None` after the future has returned the response.
    Rejected(Option<Response<Bytes>>),
    /// The future `question` is pending. `held` contains the request, and the service instance that
    /// was polled ready and will handle the request.
    Asking { question: Q, held: Option<(S, Request<ReqBody>)>, responder: Responder },
    /// The inner service handles the request.
    Admitted(#[pin] S::Future),
}

/// The state of a request in a service that decides immediately, and so never uses `Asking`.
pub(super) type Decided<S, ReqBody> = Admission<S, ReqBody, Ready<Result<(), Rejection>>>;

impl<S, ReqBody, ResBody, Q, T> Future for Admission<S, ReqBody, Q>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    Q: Future<Output = Result<T, Rejection>> + Unpin,
    T: Clone + Send + Sync + 'static,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_with(context, |extensions, answer| {
            extensions.insert(answer);
        })
    }
}

impl<S, ReqBody, ResBody, Q, T> Admission<S, ReqBody, Q>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    Q: Future<Output = Result<T, Rejection>> + Unpin,
{
    /// Polls the future of the present state. Calls `admit` with the extensions and the answer.
    fn poll_with(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut admit: impl FnMut(&mut Extensions, T),
    ) -> Poll<Result<Response<ResponseBody<ResBody>>, S::Error>> {
        loop {
            match self.as_mut().project() {
                AdmissionProjection::Admitted(future) => {
                    return future.poll(context).map_ok(|response| response.map(ResponseBody::inner));
                }
                // A poll after completion returns `Pending`, and does not panic.
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
                        Ok(answer) => {
                            admit(request.extensions_mut(), answer);
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

//! The service: the check of every request.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower::Service;

use super::{
    accessors::accessors_of_inner,
    body::ResponseBody,
    config::Config,
    credentials::{Credential, Presented},
    future::{Admission, AuthFuture, ClaimsFromStore},
    rejection::{Rejection, RejectionKind},
    responder::Form,
    unauthenticated::Unauthenticated,
};
use crate::{
    jwt::{Claims, NoClaims},
    tokens::{AccessCheck, Lookup, TokenService},
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
        let responder = Arc::clone(&config.responder);
        let form = Form::of(&request);
        // Claims come from this layer or from nowhere.
        request.extensions_mut().remove::<Claims<C>>();
        request.extensions_mut().remove::<Unauthenticated>();
        config.locations.mark_sensitive(request.headers_mut());

        let (decision, is_private) = if !config.enabled || config.exemptions.include(&mut request) {
            (self.pass_without_claims(&mut request), false)
        } else {
            self.admit(&mut request)
        };
        // Each future is made where it is returned: it holds a request, which is dear to move.
        match decision {
            // The instance that was readied is called; a rejection leaves it ready for the next
            // request.
            Decision::Pass => {
                AuthFuture { admission: Admission::Admitted(self.inner.call(request)), responder, form, is_private }
            }
            Decision::Reject(rejection) => {
                let response = responder.respond(rejection, form);
                AuthFuture { admission: Admission::Rejected(Some(response)), responder, form, is_private }
            }
            Decision::Ask(question) => {
                // The readied instance goes with the request. A clone stays, which is not ready.
                let not_ready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, not_ready);
                let held = Some((ready, request));
                let admission = Admission::Asking { question, held, responder: Arc::clone(&responder) };
                AuthFuture { admission, responder, form, is_private }
            }
        }
    }
}

/// The fate of a request.
enum Decision<C> {
    Pass,
    Reject(Rejection),
    Ask(ClaimsFromStore<C>),
}

impl<S, C: Send + Sync + 'static> AuthService<S, C> {
    /// Decides about a request. Returns `true` beside if its credential was read elsewhere than in
    /// `Authorization`.
    fn admit<B>(&self, request: &mut Request<B>) -> (Decision<C>, bool) {
        let config = &*self.config;
        let Presented { credential, is_elsewhere } = config.locations.find(request, config.tokens.max_token_len());
        let malformed = || Decision::Reject(Rejection::new(RejectionKind::InvalidRequest));
        let check = match credential {
            Credential::Absent if !config.required => return (self.pass_without_claims(request), false),
            Credential::Absent => return (Decision::Reject(Rejection::new(RejectionKind::NoCredentials)), false),
            Credential::Malformed => return (malformed(), is_elsewhere),
            Credential::Token(text) => {
                // The grammar decides between 400 and 401. It is read only if the text is not
                // known as a token: reading it would be a good part of a warm request.
                match config.tokens.check_cached(text.as_bytes(), config.freshness) {
                    Lookup::Hit(check) => check,
                    Lookup::Miss(miss) => match text.token() {
                        Some(token) => config.tokens.check_text(miss, token, config.freshness),
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
            self.config.locations.strip(request);
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

//! The service: what happens to every request.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Extensions, Request, Response, request::Parts};
use tower::Service;

use super::{
    body::ResponseBody,
    credentials::{Credential, Presented},
    future::{Admission, ClaimsFromStore, ResponseFuture},
    layer::Config,
    rejection::{Refusal, RefusalKind, Refusals},
};
use crate::{
    jwt::{Claims, NoClaims},
    tokens::{AccessCheck, Lookup},
};

/// A service behind an [`AuthLayer`](super::AuthLayer).
///
/// See the [module docs](super) for examples.
pub struct AuthService<S, C = NoClaims> {
    inner: S,
    config: Arc<Config<C>>,
}

/// Stands in the extensions of a request that an [`AuthLayer`](super::AuthLayer) passed on without claims: optional, exempt or switched
/// off. So a handler under no layer at all is told from one whose client is anonymous.
///
/// It carries how that layer refuses, so that an extractor or an endpoint refuses to the byte as the layer would.
#[derive(Clone, Debug)]
pub struct Unauthenticated(Arc<Refusals>);

impl<S, C> AuthService<S, C> {
    pub(super) fn new(inner: S, config: Arc<Config<C>>) -> Self {
        Self { inner, config }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service, without the layer.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, C, ReqBody, ResBody> Service<Request<ReqBody>> for AuthService<S, C>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    C: Send + Sync + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, C, ReqBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let (decision, is_private) = self.admit(&mut request);
        match decision {
            // The instance that was readied is called; a refusal leaves it ready for the next request.
            Decision::Pass => ResponseFuture { admission: Admission::Admitted(self.inner.call(request)), is_private },
            Decision::Refuse(refusal) => {
                let response = self.config.refusals.respond(refusal, &request);
                ResponseFuture { admission: Admission::Refused(Some(response)), is_private }
            }
            Decision::Ask(question) => {
                // The readied instance goes with the request; what stays is a clone that is not ready.
                let not_ready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, not_ready);
                let refusals = Arc::clone(&self.config.refusals);
                let admission = Admission::Asking { question, held: Some((ready, request)), refusals };
                ResponseFuture { admission, is_private }
            }
        }
    }
}

/// What is to become of a request.
enum Decision<C> {
    Pass,
    Refuse(Refusal),
    Ask(ClaimsFromStore<C>),
}

impl<S, C: Send + Sync + 'static> AuthService<S, C> {
    /// What is to become of a request, and whether its credential stands elsewhere than in `Authorization`.
    fn admit<B>(&self, request: &mut Request<B>) -> (Decision<C>, bool) {
        let config = &*self.config;
        // Claims come from this layer or from nowhere.
        request.extensions_mut().remove::<Claims<C>>();
        request.extensions_mut().remove::<Unauthenticated>();
        config.locations.mark_sensitive(request.headers_mut());

        if !config.enabled || (!config.exempt.is_empty() && config.exempt.contains(request.uri().path())) {
            return (self.pass_without_claims(request), false);
        }
        let Presented { credential, is_elsewhere } = config.locations.find(request, config.tokens.max_token_len());
        let check = match credential {
            Credential::Absent if !config.required => return (self.pass_without_claims(request), false),
            Credential::Absent => return (Decision::Refuse(Refusal::new(RefusalKind::NoCredentials)), false),
            Credential::Malformed => {
                return (Decision::Refuse(Refusal::new(RefusalKind::InvalidRequest)), is_elsewhere);
            }
            Credential::Token(text) => {
                // The grammar decides between 400 and 401. It is read only if the text is not known
                // as a token's: to read it costs more than all the rest of a warm request.
                match config.tokens.check_cached(text.as_bytes(), config.freshness) {
                    Lookup::Hit(check) => check,
                    Lookup::Miss(miss) => match text.token() {
                        Some(token) => config.tokens.check_text(miss, token, config.freshness),
                        None => return (Decision::Refuse(Refusal::new(RefusalKind::InvalidRequest)), is_elsewhere),
                    },
                }
            }
        };
        let decision = match check {
            AccessCheck::Done(Ok(claims)) => {
                request.extensions_mut().insert(claims);
                Decision::Pass
            }
            AccessCheck::Done(Err(error)) => return (Decision::Refuse(error.into()), is_elsewhere),
            AccessCheck::Pending(pending) => Decision::Ask(ClaimsFromStore(pending)),
        };
        self.strip(request);
        (decision, is_elsewhere)
    }

    fn pass_without_claims<B>(&self, request: &mut Request<B>) -> Decision<C> {
        request.extensions_mut().insert(Unauthenticated(Arc::clone(&self.config.refusals)));
        self.strip(request);
        Decision::Pass
    }

    fn strip<B>(&self, request: &mut Request<B>) {
        if self.config.strip_authorization {
            self.config.locations.strip(request);
        }
    }
}

/// Why a request that should have claims has none: its client is anonymous, or the layer that puts them there is missing.
pub(crate) fn missing_claims(extensions: &Extensions) -> Refusal {
    if extensions.get::<Unauthenticated>().is_some() {
        return Refusal::new(RefusalKind::NoCredentials);
    }
    #[cfg(feature = "tracing")]
    tracing::error!(
        "claims are needed, but the request has none: put it behind an `AuthLayer` of the same claims type"
    );
    Refusal::new(RefusalKind::Internal)
}

/// Why a request has no claims, and the answer that its layer would have given.
pub(crate) fn refuse_missing_claims(parts: &Parts) -> (Refusal, Response<Bytes>) {
    let refusal = missing_claims(&parts.extensions);
    let refusals = parts.extensions.get::<Unauthenticated>().map(|passed| Arc::clone(&passed.0));
    // Under no layer nobody has configured how to refuse.
    let refusals = refusals.unwrap_or_else(|| Arc::new(Refusals::new()));
    let response = refusals.respond_to(refusal.clone(), &parts.method, &parts.headers);
    (refusal, response)
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

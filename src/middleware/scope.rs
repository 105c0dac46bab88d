//! Routes that need a scope.

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use pin_project::pin_project;
use tower::{Layer, Service};

use super::{
    accessors::accessors_of_inner,
    rejection::Rejection,
    responder::{Form, Responder, ResponseBody},
    service::{Admission, Decided},
    unauthenticated::missing_claims,
};
use crate::{
    error::ConfigError,
    jwt::{Claims, NoClaims, Scope},
};

/// A layer that rejects requests whose claims lack a scope.
///
/// Made by [`AuthLayer::require_scope`](super::AuthLayer::require_scope),
/// [`require_all_scopes`](super::AuthLayer::require_all_scopes) and
/// [`require_any_scope`](super::AuthLayer::require_any_scope). It belongs *inside* that layer.
#[must_use = "a layer does nothing until it wraps a service"]
pub struct RequireScopeLayer<C = NoClaims> {
    rule: Arc<Rule>,
    claims: PhantomData<fn() -> C>,
}

struct Rule {
    responder: Responder,
    /// The scope tokens, as the challenge names them.
    required: Arc<str>,
    tokens: Scope,
    any: bool,
}

impl<C> RequireScopeLayer<C> {
    pub(super) fn all(
        responder: Responder,
        scopes: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, ConfigError> {
        Self::new(responder, scopes, false)
    }

    pub(super) fn any(
        responder: Responder,
        scopes: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, ConfigError> {
        Self::new(responder, scopes, true)
    }

    fn new(
        responder: Responder,
        scopes: impl IntoIterator<Item = impl AsRef<str>>,
        any: bool,
    ) -> Result<Self, ConfigError> {
        let list: Vec<String> = scopes.into_iter().map(|scope| scope.as_ref().to_owned()).collect();
        let one_each = list.iter().all(|scope| !scope.is_empty() && !scope.contains(' '));
        let tokens = Scope::parse(&list.join(" ")).filter(|scope| one_each && !scope.is_empty()).ok_or_else(|| {
            ConfigError::new(
                "scope",
                "is missing, or is no scope token",
                "give tokens of printable ASCII without space, `\"` and `\\` (RFC 6749 section 3.3)",
            )
        })?;
        let required = Arc::from(tokens.as_str());
        Ok(Self { rule: Arc::new(Rule { responder, required, tokens, any }), claims: PhantomData })
    }
}

impl<C> Clone for RequireScopeLayer<C> {
    fn clone(&self) -> Self {
        Self { rule: Arc::clone(&self.rule), claims: PhantomData }
    }
}

impl<C> fmt::Debug for RequireScopeLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireScopeLayer").field("required", &self.rule.required).field("any", &self.rule.any).finish()
    }
}

impl<S, C> Layer<S> for RequireScopeLayer<C> {
    type Service = RequireScope<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireScope::new(inner, self)
    }
}

/// A service that calls its inner service only for requests whose claims have a scope.
///
/// Made by a [`RequireScopeLayer`].
pub struct RequireScope<S, C = NoClaims> {
    inner: S,
    layer: RequireScopeLayer<C>,
}

impl<S, C> RequireScope<S, C> {
    /// Wraps `inner` as `layer` does.
    pub fn new(inner: S, layer: &RequireScopeLayer<C>) -> Self {
        Self { inner, layer: layer.clone() }
    }

    accessors_of_inner!();
}

impl<S: Clone, C> Clone for RequireScope<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for RequireScope<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireScope").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<S, C, ReqBody, ResBody> Service<Request<ReqBody>> for RequireScope<S, C>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    C: Send + Sync + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = RequireScopeFuture<S, ReqBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let rule = &self.layer.rule;
        RequireScopeFuture(match rule.reject::<C, _>(&request) {
            None => Admission::Admitted(self.inner.call(request)),
            Some(rejection) => Admission::Rejected(Some(rule.responder.respond(rejection, Form::of(&request)))),
        })
    }
}

impl Rule {
    fn reject<C: Send + Sync + 'static, B>(&self, request: &Request<B>) -> Option<Rejection> {
        let Some(claims) = request.extensions().get::<Claims<C>>() else {
            return Some(missing_claims(request.extensions()));
        };
        let mut needed = self.tokens.iter();
        let enough = if self.any {
            needed.any(|token| claims.scope().contains(token))
        } else {
            needed.all(|token| claims.scope().contains(token))
        };
        (!enough).then(|| Rejection::lacks_scope(Arc::clone(&self.required)))
    }
}

/// The future of [`RequireScope`].
#[pin_project]
pub struct RequireScopeFuture<S, ReqBody>(#[pin] Decided<S, ReqBody>)
where
    S: Service<Request<ReqBody>>;

impl<S, ReqBody, ResBody> Future for RequireScopeFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(context)
    }
}

impl<S: Service<Request<ReqBody>>, ReqBody> fmt::Debug for RequireScopeFuture<S, ReqBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireScopeFuture").finish_non_exhaustive()
    }
}

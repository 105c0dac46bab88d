//! Layers for routes that require more than a valid token: scopes, or a rule of the application.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use pin_project::pin_project;
use tower::{Layer, Service};

use super::{
    accessors::accessors_of_inner,
    body::ResponseBody,
    rejection::Rejection,
    responder::{Form, Responder},
    scope::RequiredScopes,
    service::{Admission, Decided},
    unauthenticated::missing_claims,
};
use crate::{
    error::Error,
    jwt::{Claims, NoClaims},
    observe::SharedObserver,
};

/// A layer that rejects requests whose claims lack a scope or break a rule.
///
/// Made by [`AuthLayer::require`](super::AuthLayer::require),
/// [`require_scope`](super::AuthLayer::require_scope),
/// [`require_all_scopes`](super::AuthLayer::require_all_scopes) and
/// [`require_any_scope`](super::AuthLayer::require_any_scope). It belongs *inside* the
/// [`AuthLayer`](super::AuthLayer).
#[must_use = "a layer does nothing until it wraps a service"]
pub struct RequireLayer<C = NoClaims> {
    responder: Responder,
    observer: SharedObserver,
    requirement: Requirement<C>,
}

/// The requirement that the claims of a request must meet.
enum Requirement<C> {
    Scopes(Arc<RequiredScopes>),
    Rule(Arc<Rule<C>>),
}

type Rule<C> = dyn Fn(&Claims<C>) -> bool + Send + Sync;

impl<C> RequireLayer<C> {
    pub(super) fn rule(
        responder: Responder,
        observer: SharedObserver,
        rule: impl Fn(&Claims<C>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { responder, observer, requirement: Requirement::Rule(Arc::new(rule)) }
    }

    pub(super) fn scopes(responder: Responder, observer: SharedObserver, scopes: RequiredScopes) -> Self {
        Self { responder, observer, requirement: Requirement::Scopes(Arc::new(scopes)) }
    }
}

impl<C> Clone for Requirement<C> {
    fn clone(&self) -> Self {
        match self {
            Self::Scopes(scopes) => Self::Scopes(Arc::clone(scopes)),
            Self::Rule(rule) => Self::Rule(Arc::clone(rule)),
        }
    }
}

impl<C> fmt::Debug for Requirement<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scopes(scopes) => scopes.fmt(f),
            Self::Rule(_) => f.write_str("Rule"),
        }
    }
}

impl<C> Clone for RequireLayer<C> {
    fn clone(&self) -> Self {
        let Self { responder, observer, requirement } = self;
        Self { responder: responder.clone(), observer: observer.clone(), requirement: requirement.clone() }
    }
}

impl<C> fmt::Debug for RequireLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireLayer").field("requirement", &self.requirement).finish_non_exhaustive()
    }
}

impl<S, C> Layer<S> for RequireLayer<C> {
    type Service = Require<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Require::new(inner, self)
    }
}

/// A service that calls its inner service only for requests whose claims meet a requirement.
///
/// Made by a [`RequireLayer`].
pub struct Require<S, C = NoClaims> {
    inner: S,
    layer: RequireLayer<C>,
}

impl<S, C> Require<S, C> {
    /// Wraps `inner` as `layer` does.
    pub fn new(inner: S, layer: &RequireLayer<C>) -> Self {
        Self { inner, layer: layer.clone() }
    }

    accessors_of_inner!();
}

impl<S: Clone, C> Clone for Require<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for Require<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Require").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<S, C, ReqBody, ResBody> Service<Request<ReqBody>> for Require<S, C>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    C: Send + Sync + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = RequireFuture<S, ReqBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        RequireFuture(match self.layer.reject(&request) {
            None => Admission::Admitted(self.inner.call(request)),
            Some(rejection) => {
                rejection.report(&self.layer.observer);
                Admission::Rejected(Some(self.layer.responder.respond(rejection, Form::of(&request))))
            }
        })
    }
}

impl<C: Send + Sync + 'static> RequireLayer<C> {
    fn reject<B>(&self, request: &Request<B>) -> Option<Rejection> {
        let Some(claims) = request.extensions().get::<Claims<C>>() else {
            return Some(missing_claims(request.extensions()));
        };
        match &self.requirement {
            Requirement::Scopes(scopes) if scopes.are_met_by(claims.scope()) => None,
            Requirement::Scopes(scopes) => Some(Rejection::lacks_scope(Arc::clone(&scopes.text))),
            Requirement::Rule(rule) => match catch_unwind(AssertUnwindSafe(|| rule(claims))) {
                Ok(true) => None,
                Ok(false) => Some(Rejection::forbidden()),
                Err(_) => Some(Error::Application("the rule of `AuthLayer::require` panicked".into()).into()),
            },
        }
    }
}

/// The future of [`Require`].
#[pin_project]
pub struct RequireFuture<S, ReqBody>(#[pin] Decided<S, ReqBody>)
where
    S: Service<Request<ReqBody>>;

impl<S, ReqBody, ResBody> Future for RequireFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(context)
    }
}

impl<S: Service<Request<ReqBody>>, ReqBody> fmt::Debug for RequireFuture<S, ReqBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireFuture").finish_non_exhaustive()
    }
}

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
/// [`require_any_scope`](super::AuthLayer::require_any_scope). Put the layer *inside* the
/// [`AuthLayer`](super::AuthLayer). [`and`](Self::and) combines two layers.
#[must_use = "a layer does nothing until it wraps a service"]
pub struct RequireLayer<C = NoClaims> {
    responder: Responder,
    observer: SharedObserver,
    requirement: Arc<Requirement<C>>,
}

/// The requirement that the claims of a request must meet.
struct Requirement<C> {
    scopes: Option<RequiredScopes>,
    rules: Vec<Arc<Rule<C>>>,
}

type Rule<C> = dyn Fn(&Claims<C>) -> bool + Send + Sync;

impl<C> RequireLayer<C> {
    pub(super) fn rule(
        responder: Responder,
        observer: SharedObserver,
        rule: impl Fn(&Claims<C>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let requirement = Requirement { scopes: None, rules: vec![Arc::new(rule)] };
        Self { responder, observer, requirement: Arc::new(requirement) }
    }

    pub(super) fn scopes(responder: Responder, observer: SharedObserver, scopes: RequiredScopes) -> Self {
        let requirement = Requirement { scopes: Some(scopes), rules: Vec::new() };
        Self { responder, observer, requirement: Arc::new(requirement) }
    }

    /// Returns one layer with the requirements of both layers.
    ///
    /// If the token lacks a scope, the 403 lists the scopes of both layers (RFC 6750 section 3). So
    /// the client can request all of them at once. With nested layers, the 403 lists only the
    /// scopes of one layer. For [`require_any_scope`](super::AuthLayer::require_any_scope), the 403
    /// lists all alternatives.
    ///
    /// The combined layer first checks the scopes, and then the rules of
    /// [`AuthLayer::require`](super::AuthLayer::require) in order. The realm, the hook and the
    /// metadata are those of `self`.
    ///
    /// ```
    /// # use tower_bearer::{AuthLayer, TokenService, error::ConfigError};
    /// # fn router(tokens: TokenService) -> Result<axum::Router, ConfigError> {
    /// # use axum::routing::get;
    /// let auth = AuthLayer::new(tokens);
    /// let reports = auth.require_scope("reports")?;
    /// // A 403 has `scope="reports export csv"`.
    /// let export = reports.clone().and(auth.require_all_scopes(["export", "csv"])?);
    /// let router = axum::Router::new()
    ///     .route("/reports", get("..").layer(reports))
    ///     .route("/reports/export", get("..").layer(export))
    ///     .route_layer(auth);
    /// # Ok(router)
    /// # }
    /// ```
    pub fn and(mut self, other: Self) -> Self {
        let (own, Self { requirement: other, .. }) = (&self.requirement, other);
        let scopes = match (own.scopes.clone(), other.scopes.clone()) {
            (Some(own), Some(other)) => Some(own.and(other)),
            (own, other) => own.or(other),
        };
        let rules = own.rules.iter().chain(&other.rules).cloned().collect();
        self.requirement = Arc::new(Requirement { scopes, rules });
        self
    }
}

impl<C> fmt::Debug for Requirement<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.rules.len();
        f.debug_struct("Requirement").field("scopes", &self.scopes).field("rules", &rules).finish()
    }
}

impl<C> Clone for RequireLayer<C> {
    fn clone(&self) -> Self {
        let Self { responder, observer, requirement } = self;
        Self { responder: responder.clone(), observer: observer.clone(), requirement: Arc::clone(requirement) }
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
        let Requirement { scopes, rules } = &*self.requirement;
        if let Some(scopes) = scopes.as_ref().filter(|scopes| !scopes.are_met_by(claims.scope())) {
            return Some(Rejection::lacks_scope(Arc::clone(&scopes.text)));
        }
        rules.iter().find_map(|rule| match catch_unwind(AssertUnwindSafe(|| rule(claims))) {
            Ok(true) => None,
            Ok(false) => Some(Rejection::forbidden()),
            Err(_) => Some(Error::Application("the rule of `AuthLayer::require` panicked".into()).into()),
        })
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

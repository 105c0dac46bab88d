//! A layer for routes that need the user, not only the user's id.

use std::{
    fmt,
    future::Future,
    mem,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{Request, Response};
use pin_project::pin_project;
use tower::{Layer, Service};

use super::{
    accessors::accessors_of_inner,
    body::ResponseBody,
    layer::AuthLayer,
    rejection::Rejection,
    responder::{Form, Responder},
    service::Admission,
    unauthenticated::{Unauthenticated, missing_claims},
};
use crate::{
    error::{Error, TokenError},
    jwt::Claims,
    observe::SharedObserver,
    store::BoxFuture,
    users::{CurrentUser, UserAuthentication},
};

/// A layer that looks up the token's user on every request, and adds [`CurrentUser`] to the
/// request's extensions. Put it *inside* an [`AuthLayer`].
///
/// The layer answers 401 if the user is not found, as for any invalid token. If the lookup fails or
/// panics, it answers 500.
#[must_use = "a layer does nothing until it wraps a service"]
pub struct CurrentUserLayer<A> {
    users: Arc<A>,
    responder: Responder,
    observer: SharedObserver,
    required: bool,
}

impl<A: UserAuthentication> CurrentUserLayer<A> {
    /// Creates a layer that looks up users in `users`. Its rejections have the realm and hook of
    /// `auth`.
    pub fn new(auth: &AuthLayer<A::Claims>, users: Arc<A>) -> Self {
        Self { users, responder: auth.responder(), observer: auth.observer(), required: true }
    }

    /// Also passes on each request that the [`AuthLayer`] passed on without claims. The request
    /// then has no [`CurrentUser`].
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }
}

impl<A> Clone for CurrentUserLayer<A> {
    fn clone(&self) -> Self {
        let Self { users, responder, observer, required } = self;
        Self { users: Arc::clone(users), responder: responder.clone(), observer: observer.clone(), required: *required }
    }
}

impl<A> fmt::Debug for CurrentUserLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentUserLayer").finish_non_exhaustive()
    }
}

impl<S, A> Layer<S> for CurrentUserLayer<A> {
    type Service = CurrentUserService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        CurrentUserService::new(inner, self)
    }
}

/// A service that looks up the token's user before it calls its inner service.
///
/// Made by a [`CurrentUserLayer`].
pub struct CurrentUserService<S, A> {
    inner: S,
    layer: CurrentUserLayer<A>,
}

impl<S, A> CurrentUserService<S, A> {
    /// Wraps `inner` as `layer` does.
    pub fn new(inner: S, layer: &CurrentUserLayer<A>) -> Self {
        Self { inner, layer: layer.clone() }
    }

    accessors_of_inner!();
}

impl<A: UserAuthentication> CurrentUserService<(), A> {
    /// Returns the layer that makes such services: [`CurrentUserLayer::new`].
    pub fn layer(auth: &AuthLayer<A::Claims>, users: Arc<A>) -> CurrentUserLayer<A> {
        CurrentUserLayer::new(auth, users)
    }
}

impl<S: Clone, A> Clone for CurrentUserService<S, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, A> fmt::Debug for CurrentUserService<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentUserService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, A, ReqBody, ResBody> Service<Request<ReqBody>> for CurrentUserService<S, A>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    A: UserAuthentication,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = CurrentUserFuture<S, A::User, ReqBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        request.extensions_mut().remove::<CurrentUser<A::User>>();
        let responder = self.layer.responder.clone();
        let Some(claims) = request.extensions().get::<Claims<A::Claims>>() else {
            if !self.layer.required && request.extensions().get::<Unauthenticated>().is_some() {
                return CurrentUserFuture(Admission::Admitted(self.inner.call(request)));
            }
            let rejection = missing_claims(request.extensions());
            rejection.report(&self.layer.observer);
            let response = responder.respond(rejection, Form::of(&request));
            return CurrentUserFuture(Admission::Rejected(Some(response)));
        };
        let question = look_up(Arc::clone(&self.layer.users), claims.clone(), self.layer.observer.clone());
        // The future takes the instance that was polled ready. A clone, which is not ready, takes
        // its place in `self`.
        let not_ready = self.inner.clone();
        let ready = mem::replace(&mut self.inner, not_ready);
        CurrentUserFuture(Admission::Asking { question, held: Some((ready, request)), responder })
    }
}

fn look_up<A: UserAuthentication>(
    users: Arc<A>,
    claims: Claims<A::Claims>,
    observer: SharedObserver,
) -> BoxFuture<Result<CurrentUser<A::User>, Rejection>> {
    Box::pin(async move {
        let found = AssertUnwindSafe(async {
            match claims.issuer_subject() {
                Some(subject) if claims.is_external() => users.user_by_issuer(subject).await,
                Some(_) => users.user_by_id(claims.subject()).await,
                None => Ok(None),
            }
        })
        .catch_unwind()
        .await;
        let found = match found {
            Ok(Ok(Some(user))) => Ok(CurrentUser::found(user)),
            Ok(Ok(None)) => Err(Error::from(TokenError::UserRefused)),
            Ok(Err(error)) => Err(Error::of_application(error)),
            Err(_) => Err(Error::Application("the user lookup panicked".into())),
        };
        found.map_err(Rejection::from).inspect_err(|rejection| rejection.report(&observer))
    })
}

/// The future of [`CurrentUserService`]. Dropping it cancels the lookup.
#[pin_project]
pub struct CurrentUserFuture<S, U, ReqBody>(#[pin] Admission<S, ReqBody, BoxFuture<Result<CurrentUser<U>, Rejection>>>)
where
    S: Service<Request<ReqBody>>;

impl<S, U, ReqBody, ResBody> Future for CurrentUserFuture<S, U, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    U: Send + Sync + 'static,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(context)
    }
}

impl<S: Service<Request<ReqBody>>, U, ReqBody> fmt::Debug for CurrentUserFuture<S, U, ReqBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentUserFuture").finish_non_exhaustive()
    }
}

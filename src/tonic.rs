//! Tonic support: claims in gRPC handlers, rejections as [`Status`], and layers around one service.
//!
//! The layer checks the token of a call when the call arrives. If the token is revoked later, the
//! layer ends an open stream with status 16 (see
//! [`middleware`](crate::middleware#long-lived-responses)).
//!
//! Add the layer to all services of a server with `Server::builder().layer(..)`, or wrap a single
//! service. An [`AuthService`] around a generated service implements [`NamedService`] too.
//!
//! ```
//! use tonic::{Request, Response, Status};
//! use tower_bearer::{NoClaims, tonic::RequestClaims};
//!
//! async fn say_hello(request: Request<()>) -> Result<Response<String>, Status> {
//!     let claims = request.claims::<NoClaims>()?;
//!     Ok(Response::new(format!("hello {}", claims.subject())))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // Without a layer: a fault of the application, never an anonymous client.
//! assert_eq!(say_hello(Request::new(())).await.unwrap_err().code(), tonic::Code::Internal);
//! # }
//! ```

use ::tonic::{Code, Request, Status, server::NamedService};

use crate::{
    error::Error,
    jwt::Claims,
    middleware::{AuthService, CurrentUserService, Rejection, Require, Unauthenticated, missing_claims},
    users::CurrentUser,
};

/// An extension trait of [`Request`] for the claims and the user that the layers added to the
/// request.
pub trait RequestClaims: sealed::Sealed {
    /// Returns the claims of the request's token.
    ///
    /// # Errors
    ///
    /// * 16 UNAUTHENTICATED: the layer passed the request on without claims.
    /// * 13 INTERNAL, and an error in the log: the service has no [`AuthLayer`](crate::AuthLayer)
    ///   with the same claims type.
    #[allow(clippy::result_large_err, reason = "tonic's own error type is large")]
    fn claims<C: Send + Sync + 'static>(&self) -> Result<Claims<C>, Status>;

    /// Returns the claims, or `None` if the layer passed the request on without them.
    ///
    /// # Errors
    ///
    /// 13 INTERNAL, as for [`claims`](Self::claims).
    #[allow(clippy::result_large_err, reason = "tonic's own error type is large")]
    fn optional_claims<C: Send + Sync + 'static>(&self) -> Result<Option<Claims<C>>, Status>;

    /// Returns the user whom the [`CurrentUserLayer`](crate::middleware::CurrentUserLayer) found
    /// for the request's token.
    ///
    /// # Errors
    ///
    /// The errors of [`claims`](Self::claims). 13 INTERNAL can also mean that the service has no
    /// `CurrentUserLayer` with the same user type.
    #[allow(clippy::result_large_err, reason = "tonic's own error type is large")]
    fn current_user<U: Send + Sync + 'static>(&self) -> Result<CurrentUser<U>, Status>;
}

impl<T> RequestClaims for Request<T> {
    fn claims<C: Send + Sync + 'static>(&self) -> Result<Claims<C>, Status> {
        required(self)
    }

    fn optional_claims<C: Send + Sync + 'static>(&self) -> Result<Option<Claims<C>>, Status> {
        match self.extensions().get::<Claims<C>>() {
            None if self.extensions().get::<Unauthenticated>().is_some() => Ok(None),
            _ => required(self).map(Some),
        }
    }

    fn current_user<U: Send + Sync + 'static>(&self) -> Result<CurrentUser<U>, Status> {
        required(self)
    }
}

#[allow(clippy::result_large_err, reason = "tonic's own error type is large")]
fn required<T, E: Clone + Send + Sync + 'static>(request: &Request<T>) -> Result<E, Status> {
    request.extensions().get::<E>().cloned().ok_or_else(|| missing_claims(request.extensions()).into())
}

mod sealed {
    pub trait Sealed {}

    impl<T> Sealed for ::tonic::Request<T> {}
}

/// Converts a rejection by the table of [`RejectionKind`](crate::middleware::RejectionKind). The
/// cause becomes the source of the status. Tonic does not send the source to the client.
impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        let kind = rejection.kind();
        let mut status = Self::new(Code::from(i32::from(kind.grpc_code())), kind.code());
        if let Some(cause) = rejection.into_cause() {
            status.set_source(cause);
        }
        status
    }
}

/// Converts an error to the status that the layer would send. For example: 16 for a bad token, 14
/// if the store failed, 3 for an id that no token can have.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Rejection::from(error).into()
    }
}

impl<S: NamedService, C> NamedService for AuthService<S, C> {
    const NAME: &'static str = S::NAME;
}

impl<S: NamedService, C> NamedService for Require<S, C> {
    const NAME: &'static str = S::NAME;
}

impl<S: NamedService, A> NamedService for CurrentUserService<S, A> {
    const NAME: &'static str = S::NAME;
}

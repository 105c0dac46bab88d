//! The application's own check of a token, after all other checks.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    error::{BoxError, Error, TokenError},
    jwt::Claims,
};

/// The verdict of the application's [`validator`](super::TokenServiceBuilder::validator).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Validity {
    /// The service accepts the token.
    Valid,
    /// The service refuses the token. The client gets the same response as for any other bad token.
    Invalid,
}

pub(super) type Validator<C> = Arc<dyn Fn(&Claims<C>) -> Result<Validity, BoxError> + Send + Sync>;

/// Calls the validator. Returns an error if the validator refuses the token, fails or panics.
pub(super) fn ask<C>(validator: &Validator<C>, claims: Claims<C>) -> Result<Claims<C>, Error> {
    match catch_unwind(AssertUnwindSafe(|| validator(&claims))) {
        Ok(Ok(Validity::Valid)) => Ok(claims),
        Ok(Ok(Validity::Invalid)) => Err(TokenError::Refused.into()),
        Ok(Err(error)) => Err(Error::of_application(error)),
        Err(_) => Err(Error::Application(
            "the application's `validator` panicked; see the panic message and fix the hook".into(),
        )),
    }
}

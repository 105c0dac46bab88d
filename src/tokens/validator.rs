//! The application's own check of a token that is otherwise good.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    error::{BoxError, Error, TokenError},
    jwt::Claims,
};

/// The answer of the application's [`validator`](super::TokenServiceBuilder::validator) about a
/// token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Validity {
    /// The token is good.
    Valid,
    /// The token is not good: the client gets the answer of every bad token.
    Invalid,
}

pub(super) type Validator<C> = Arc<dyn Fn(&Claims<C>) -> Result<Validity, BoxError> + Send + Sync>;

/// Asks the validator. Neither its error nor its panic accepts a token.
pub(super) fn ask<C>(validator: &Validator<C>, claims: Claims<C>) -> Result<Claims<C>, Error> {
    match catch_unwind(AssertUnwindSafe(|| validator(&claims))) {
        Ok(Ok(Validity::Valid)) => Ok(claims),
        Ok(Ok(Validity::Invalid)) => Err(TokenError::Refused.into()),
        Ok(Err(error)) => Err(Error::of_application(error)),
        Err(_) => Err(Error::Application("the application's `validator` panicked".into())),
    }
}

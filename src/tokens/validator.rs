//! The application's own check of a token that is otherwise good.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::{
    error::{BoxError, Error, TokenError},
    jwt::Claims,
};

/// The answer of the application's [`validator`](super::Builder::validator) about a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The token is good.
    Accept,
    /// The token is not good: the client gets the answer of every bad token.
    Refuse,
}

pub(super) type Validator<C> = Arc<dyn Fn(&Claims<C>) -> Result<Verdict, BoxError> + Send + Sync>;

/// Asks the hook, if there is one. Neither its error nor its panic accepts a token.
pub(super) fn ask<C>(hook: Option<&Validator<C>>, claims: Claims<C>) -> Result<Claims<C>, Error> {
    let Some(hook) = hook else { return Ok(claims) };
    match catch_unwind(AssertUnwindSafe(|| hook(&claims))) {
        Ok(Ok(Verdict::Accept)) => Ok(claims),
        Ok(Ok(Verdict::Refuse)) => Err(TokenError::Refused.into()),
        Ok(Err(error)) => Err(Error::of_application(error)),
        Err(_) => Err(Error::Application("the application's `validator` panicked".into())),
    }
}

//! The result of a check.

use crate::error::StoreError;

/// The result of a check, or of one step of a check.
pub(super) type Outcome<T = ()> = Result<T, Broken>;

/// A sentence about how the store breaks a rule.
pub(super) struct Broken(pub(super) String);

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self(format!("the store returned an error: {error:?}"))
    }
}

impl From<tokio::task::JoinError> for Broken {
    fn from(error: tokio::task::JoinError) -> Self {
        Self(format!("a call panicked or was cancelled: {error}"))
    }
}

/// Returns from the function with [`Broken`] and this message if the condition is false.
macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::store::conformance::outcome::Broken(format!($($what)+)));
        }
    };
}
pub(super) use ensure;

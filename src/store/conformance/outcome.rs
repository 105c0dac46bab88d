//! The result of a rule.

use crate::error::StoreError;

/// The result of a rule.
pub(super) type Outcome<T = ()> = Result<T, Broken>;

/// A store's behaviour that breaks a rule.
pub(super) struct Broken(pub(super) String);

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self(format!("the store failed: {error:?}"))
    }
}

impl From<tokio::task::JoinError> for Broken {
    fn from(error: tokio::task::JoinError) -> Self {
        Self(format!("a call did not end: {error}"))
    }
}

/// Breaks the rule unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::store::conformance::outcome::Broken(format!($($what)+)));
        }
    };
}
pub(super) use ensure;

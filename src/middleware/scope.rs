//! The scopes that a route requires.

use std::sync::Arc;

use crate::{error::ConfigError, jwt::Scope};

/// The scope tokens that a route requires: all of them, or at least one.
#[derive(Debug)]
pub(super) struct RequiredScopes {
    /// The scope tokens as the challenge lists them.
    pub(super) text: Arc<str>,
    tokens: Scope,
    any: bool,
}

impl RequiredScopes {
    pub(super) fn new(scopes: impl IntoIterator<Item = impl AsRef<str>>, any: bool) -> Result<Self, ConfigError> {
        let list: Vec<String> = scopes.into_iter().map(|scope| scope.as_ref().to_owned()).collect();
        let one_each = list.iter().all(|scope| !scope.is_empty() && !scope.contains(' '));
        let tokens = Scope::parse(&list.join(" ")).filter(|scope| one_each && !scope.is_empty()).ok_or_else(|| {
            ConfigError::new(
                "scope",
                "is missing, or is not a scope token",
                "give printable ASCII without space, `\"` and `\\` (RFC 6749 section 3.3)",
            )
        })?;
        Ok(Self { text: Arc::from(tokens.as_str()), tokens, any })
    }

    /// Returns true if a token with this scope meets the requirement.
    pub(super) fn are_met_by(&self, scope: &Scope) -> bool {
        let mut needed = self.tokens.iter();
        if self.any { needed.any(|token| scope.contains(token)) } else { needed.all(|token| scope.contains(token)) }
    }
}

//! The scopes that a route requires, and the scopes that imply others.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{error::ConfigError, jwt::Scope};

/// Parses the scope tokens of a setting. Returns an error for an empty list.
pub(super) fn scope_tokens(
    setting: &'static str,
    scopes: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Scope, ConfigError> {
    let list: Vec<String> = scopes.into_iter().map(|scope| scope.as_ref().to_owned()).collect();
    let one_each = list.iter().all(|scope| !scope.is_empty() && !scope.contains(' '));
    Scope::parse(&list.join(" ")).filter(|scope| one_each && !scope.is_empty()).ok_or_else(|| {
        ConfigError::new(
            setting,
            "is empty, or contains a text that is not a scope token",
            "give one or more scopes of printable ASCII without space, `\"` and `\\` (RFC 6749 section 3.3)",
        )
    })
}

/// The scopes that a route requires.
#[derive(Clone, Debug)]
pub(super) struct RequiredScopes {
    /// The required scope tokens, separated by spaces, for the challenge.
    pub(super) text: Arc<str>,
    /// The token must have at least one scope of each inner list.
    needs: Vec<Vec<Box<str>>>,
}

impl RequiredScopes {
    /// Requires all of these scopes. If `any` is true, requires only one of them.
    pub(super) fn new(
        scopes: impl IntoIterator<Item = impl AsRef<str>>,
        any: bool,
        implications: &ScopeImplications,
    ) -> Result<Self, ConfigError> {
        let tokens = scope_tokens("scope", scopes)?;
        let mut needs: Vec<_> = tokens.iter().map(|token| implications.satisfying(token)).collect();
        if any {
            needs = vec![needs.concat()];
        }
        Ok(Self { text: Arc::from(tokens.as_str()), needs })
    }

    /// Returns a requirement of `self` and `other`. The challenge lists each scope once.
    pub(super) fn and(mut self, other: Self) -> Self {
        let own = self.text.split(' ');
        let added = other.text.split(' ').filter(|token| !own.clone().any(|known| known == *token));
        self.text = Arc::from(own.clone().chain(added).collect::<Vec<_>>().join(" "));
        self.needs.extend(other.needs);
        self
    }

    /// Returns true if a token with the scopes `scope` meets the requirement.
    pub(super) fn are_met_by(&self, scope: &Scope) -> bool {
        self.needs.iter().all(|need| need.iter().any(|token| scope.contains(token)))
    }
}

/// The scopes that imply other scopes, from `scope_implies`.
#[derive(Clone, Debug, Default)]
pub(super) struct ScopeImplications {
    /// A map from each scope to the scopes that imply it. [`close`](Self::close) adds the scopes
    /// that imply it indirectly.
    implying: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
}

impl ScopeImplications {
    pub(super) fn add(
        &mut self,
        scope: &str,
        implied: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<(), ConfigError> {
        scope_tokens("scope_implies", [scope])?;
        for token in scope_tokens("scope_implies", implied)?.iter() {
            self.implying.entry(token.into()).or_default().insert(scope.into());
        }
        Ok(())
    }

    /// Adds the indirect implications. Returns an error if a scope implies itself, because such a
    /// circle is probably a mistake.
    pub(super) fn close(&mut self) -> Result<(), ConfigError> {
        let direct = self.implying.clone();
        for (token, implying) in &mut self.implying {
            let mut next: Vec<_> = implying.iter().cloned().collect();
            while let Some(scope) = next.pop() {
                for stronger in direct.get(&scope).into_iter().flatten() {
                    if implying.insert(stronger.clone()) {
                        next.push(stronger.clone());
                    }
                }
            }
            if implying.contains(token) {
                return Err(ConfigError::conflict(
                    "scope_implies",
                    format!("lets the scope `{token}` imply itself, directly or through other scopes"),
                    "remove the call of `scope_implies` that closes the circle",
                ));
            }
        }
        Ok(())
    }

    /// Returns the scopes that satisfy the required scope `token`: first `token` itself.
    fn satisfying(&self, token: &str) -> Vec<Box<str>> {
        let implying = self.implying.get(token).into_iter().flatten().cloned();
        std::iter::once(Box::from(token)).chain(implying).collect()
    }
}

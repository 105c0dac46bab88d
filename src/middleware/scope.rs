//! The scopes that a route requires, and the scopes that imply others.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{error::ConfigError, jwt::Scope};

/// Reads a list of scope tokens for a setting. The list must not be empty.
pub(super) fn scope_tokens(
    setting: &'static str,
    scopes: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Scope, ConfigError> {
    let list: Vec<String> = scopes.into_iter().map(|scope| scope.as_ref().to_owned()).collect();
    let one_each = list.iter().all(|scope| !scope.is_empty() && !scope.contains(' '));
    Scope::parse(&list.join(" ")).filter(|scope| one_each && !scope.is_empty()).ok_or_else(|| {
        ConfigError::new(
            setting,
            "is empty, or contains a text that is no scope token",
            "give printable ASCII without space, `\"` and `\\` (RFC 6749 section 3.3)",
        )
    })
}

/// The scopes that a route requires.
#[derive(Clone, Debug)]
pub(super) struct RequiredScopes {
    /// The scope tokens as the challenge lists them.
    pub(super) text: Arc<str>,
    /// The needs. Each is a list of scope tokens, and the token must have at least one of the list.
    needs: Vec<Vec<Box<str>>>,
}

impl RequiredScopes {
    /// Requires all of these scope tokens, or at least one if `any` is true.
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

    /// Combines both requirements. The challenge lists each scope token once.
    pub(super) fn and(mut self, other: Self) -> Self {
        let own = self.text.split(' ');
        let added = other.text.split(' ').filter(|token| !own.clone().any(|known| known == *token));
        self.text = Arc::from(own.clone().chain(added).collect::<Vec<_>>().join(" "));
        self.needs.extend(other.needs);
        self
    }

    /// Returns true if a token with this scope meets the requirement.
    pub(super) fn are_met_by(&self, scope: &Scope) -> bool {
        self.needs.iter().all(|need| need.iter().any(|token| scope.contains(token)))
    }
}

/// The scope tokens that imply others.
#[derive(Clone, Debug, Default)]
pub(super) struct ScopeImplications {
    /// For each scope token, the scope tokens that imply it. [`close`](Self::close) adds the
    /// indirect ones.
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

    /// Adds the indirect implications.
    ///
    /// Refuses a scope token that implies itself. In a circle the weakest scope would have the
    /// rights of the strongest, which is probably a mistake.
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
                    format!("lets the scope `{token}` imply itself"),
                    "remove one implication of the circle",
                ));
            }
        }
        Ok(())
    }

    /// Returns the scope tokens that satisfy a required one. The required one comes first.
    fn satisfying(&self, token: &str) -> Vec<Box<str>> {
        let implying = self.implying.get(token).into_iter().flatten().cloned();
        std::iter::once(Box::from(token)).chain(implying).collect()
    }
}

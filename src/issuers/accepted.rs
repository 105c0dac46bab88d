//! The issuers that a service accepts, and the check of their tokens.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    claim_names::ClaimNames,
    issuer_keys::{FetchTask, IssuerKeys},
};
use crate::{
    clock::Timestamp,
    error::{ConfigError, TokenError},
    jwt::{Header, JwtClaims, KeySet, Payload, RawClaims, UnverifiedToken, Validation, VerifyingKey},
    observe::SharedObserver,
};

/// An issuer whose settings were checked.
pub(crate) struct AcceptedIssuer {
    /// The accepted values of `iss`.
    pub(super) identifiers: Vec<String>,
    /// True if the setting `tenants` is set. `identifiers` then has one identifier for each tenant.
    pub(super) has_tenants: bool,
    pub(crate) validation: Validation,
    pub(super) names: ClaimNames,
    pub(crate) is_revocable: bool,
    pub(crate) keys: Arc<IssuerKeys>,
}

/// The other issuers whose tokens a service accepts.
#[derive(Default)]
pub(crate) struct AcceptedIssuers {
    issuers: Vec<AcceptedIssuer>,
    /// For each identifier, the index of its issuer in `issuers`.
    by_identifier: HashMap<String, usize>,
    /// The tasks that fetch keys. Dropping this value ends them.
    tasks: Vec<FetchTask>,
}

impl AcceptedIssuer {
    /// Verifies a token with these keys. Checks the token's times only if `now` is given, and never
    /// checks its revocation. `issuer` must be the token's `iss`.
    pub(crate) fn verify(
        &self,
        token: &UnverifiedToken<'_>,
        issuer: &str,
        keys: &KeySet,
        now: Option<Timestamp>,
    ) -> Result<JwtClaims<RawClaims>, TokenError> {
        let map = |payload: &Payload, header: &Header| self.names.read(payload, header, self.is_revocable);
        let allows = |key: &VerifyingKey| !self.has_tenants || key.may_verify_for(issuer);
        let claims = self.validation.verify_external(token, keys, allows, map, now)?;
        // The caller read `iss` before the signature was verified. The verified `iss` must be the
        // same, because the keys belong to that issuer (RFC 8725 section 3.8).
        if claims.issuer() != Some(issuer) {
            return Err(TokenError::UnknownIssuer);
        }
        if self.is_revocable {
            check_revocable(&claims)?;
        }
        Ok(claims)
    }
}

/// Returns an error if no revocation could ever match the token.
fn check_revocable(claims: &JwtClaims<RawClaims>) -> Result<(), TokenError> {
    if !claims.has_issued_at() {
        return Err(TokenError::Claims("`iat` is missing, and the policy `Denylist` needs it"));
    }
    let has_id =
        claims.issuer_subject().is_some() || claims.session_id().is_some() || !claims.token_id().as_str().is_empty();
    if has_id { Ok(()) } else { Err(TokenError::Claims("`sub`, `jti` and the session are missing")) }
}

impl AcceptedIssuers {
    /// Creates the list of issuers. `own` is the issuer of the service's own tokens.
    ///
    /// # Errors
    ///
    /// Two issuers have the same identifier.
    pub(crate) fn new(issuers: Vec<AcceptedIssuer>, own: Option<&str>) -> Result<Self, ConfigError> {
        let mut accepted = Self::default();
        for issuer in issuers {
            let name = issuer.keys.identifier();
            for identifier in &issuer.identifiers {
                let is_own = own == Some(identifier.as_str());
                let index = accepted.issuers.len();
                if is_own || accepted.by_identifier.insert(identifier.clone(), index).is_some() {
                    return Err(ConfigError::conflict(
                        "accept",
                        format!("is called for the issuer `{name}`, which is accepted already or is your own `issuer`"),
                        "remove this call, or give your own `issuer` another URL",
                    ));
                }
            }
            accepted.issuers.push(issuer);
        }
        Ok(accepted)
    }

    /// Starts the tasks that fetch keys, on the Tokio runtime of the caller. They report each fetch
    /// to the observer.
    ///
    /// # Errors
    ///
    /// The keys of an issuer must be fetched, but there is no Tokio runtime.
    pub(crate) fn start(&mut self, observer: &SharedObserver) -> Result<(), ConfigError> {
        for issuer in &self.issuers {
            self.tasks.extend(FetchTask::start(&issuer.keys, observer)?);
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &AcceptedIssuer> {
        self.issuers.iter()
    }

    /// Returns the index of the issuer with this identifier.
    pub(crate) fn index_of(&self, identifier: &str) -> Option<usize> {
        self.by_identifier.get(identifier).copied()
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&AcceptedIssuer> {
        self.issuers.get(index)
    }

    /// Returns true if the service can revoke the tokens of at least one issuer.
    pub(crate) fn are_revocable(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.is_revocable)
    }

    /// Returns the longest accepted lifetime of the tokens that the service can revoke.
    pub(crate) fn longest_lifetime(&self) -> Duration {
        let revocable = self.issuers.iter().filter(|issuer| issuer.is_revocable);
        revocable.map(|issuer| issuer.validation.max_access_lifetime_in_force()).max().unwrap_or_default()
    }
}

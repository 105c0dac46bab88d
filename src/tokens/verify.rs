//! The verification of a token's text with the keys and rules of its issuer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{
    check::Checker,
    judge::refusal_by,
    keyring::Keyring,
    origin::{Convert, Origin, Unverified},
    policy::TokenAuthority,
};
use crate::{
    clock::Clock,
    error::{Error, TokenError},
    issuers::AcceptedIssuer,
    jwt::{Claims, TokenType, UnverifiedToken, Validation},
};

impl<C> Checker<C> {
    /// Verifies text, signature and claims of a token. Does not check the token's revocation.
    pub(super) fn verify(
        &self,
        keyring: &Keyring,
        token: &str,
        token_type: TokenType,
    ) -> Result<(Claims<C>, Origin), Unverified> {
        // A refresh token is always an own token: a client sends another issuer's refresh token to
        // that issuer.
        if self.issuers.is_empty() || token_type == TokenType::Refresh {
            return self.verify_own(keyring, token, token_type);
        }
        let unverified = UnverifiedToken::parse(token, self.max_token_len)?;
        let issuer = unverified.issuer();
        if issuer.as_deref() == self.validation.accepted_issuer() && self.authority.sessions().is_some() {
            return self.verify_own(keyring, token, token_type);
        }
        let issuer = issuer.ok_or(TokenError::UnknownIssuer)?;
        let index = self.issuers.index_of(&issuer).ok_or(TokenError::UnknownIssuer)?;
        self.verify_external(&unverified, &issuer, index)
    }

    fn verify_own(
        &self,
        keyring: &Keyring,
        token: &str,
        token_type: TokenType,
    ) -> Result<(Claims<C>, Origin), Unverified> {
        self.authority.of_own()?;
        let clock = &*self.clock;
        let claims = (self.parse)(token, &keyring.keys, &self.validation, token_type, clock.now())
            .map_err(|error| Unverified::Refused(refusal_by(error, clock, &self.conditions)))?;
        claims.set_verifier(self.streams.own().verifier());
        Ok((claims, Origin::Own))
    }

    fn verify_external(
        &self,
        token: &UnverifiedToken<'_>,
        name: &str,
        index: usize,
    ) -> Result<(Claims<C>, Origin), Unverified> {
        let (issuer, convert) = self.issuer(index).ok_or(TokenError::UnknownIssuer)?;
        // The version must be loaded before the keys. Otherwise `await_key` could overlook a fetch
        // that ends between the two loads.
        let version = issuer.keys.version();
        let current = issuer.keys.load();
        let Some(current) = &*current else { return Err(Unverified::UnknownKey { index, version }) };
        let claims = match issuer.verify(token, name, &current.keys, Some(self.node_clock.now())) {
            Ok(claims) => claims,
            Err(TokenError::UnknownKey) => return Err(Unverified::UnknownKey { index, version }),
            Err(error) => return Err(error.into()),
        };
        let claims = catch_unwind(AssertUnwindSafe(|| convert(claims))).map_err(|_| {
            let text = "the hook of `accept_with` panicked; see the panic message and correct it";
            Unverified::Refused(Error::Application(text.into()))
        })??;
        let claims = Claims::verified(claims);
        claims.set_verifier(self.streams.of(claims.external()).verifier());
        Ok((claims, Origin::External { index, version: current.version }))
    }

    fn issuer(&self, index: usize) -> Option<(&AcceptedIssuer, &Convert<C>)> {
        Some((self.issuers.get(index)?, self.converters.get(index)?))
    }

    /// Returns the origin of claims that this or another service has verified before. Refuses
    /// another issuer's token in two cases:
    ///
    /// - Another service has verified it. That service may have other settings for the issuer.
    /// - The issuer has withdrawn the token's key.
    pub(super) fn origin_of(&self, claims: &Claims<C>) -> Result<Origin, TokenError> {
        let Some(external) = claims.external() else { return Ok(Origin::Own) };
        let index = claims.issuer().and_then(|issuer| self.issuers.index_of(issuer));
        let is_ours = claims.is_verified_by(&self.streams.of(Some(external)).verifier());
        let index = index.filter(|_| is_ours).ok_or(TokenError::UnknownIssuer)?;
        let current = self.issuers.get(index).map(|issuer| issuer.keys.load());
        let Some(current) = current.as_deref().and_then(Option::as_ref) else { return Err(TokenError::UnknownKey) };
        let (kid, algorithm) = &external.key;
        if current.keys.candidates(kid.as_deref(), *algorithm).next().is_none() {
            return Err(TokenError::UnknownKey);
        }
        Ok(Origin::External { index, version: current.version })
    }

    /// Returns the rules and the clock for the times of a token.
    #[inline]
    pub(super) fn time_rules(&self, origin: Origin) -> Result<(&Validation, &dyn Clock), TokenError> {
        match origin {
            Origin::Own => Ok((&self.validation, &*self.clock)),
            Origin::External { index, .. } => {
                let issuer = self.issuers.get(index).ok_or(TokenError::UnknownIssuer)?;
                Ok((&issuer.validation, &*self.node_clock))
            }
        }
    }

    /// Returns the source that decides about the revocation of a token.
    #[inline]
    pub(super) fn authority_of(&self, origin: Origin) -> Result<TokenAuthority<'_>, TokenError> {
        match origin {
            Origin::Own => self.authority.of_own(),
            Origin::External { index, .. } => {
                let issuer = self.issuers.get(index).ok_or(TokenError::UnknownIssuer)?;
                self.authority.of_external(issuer.is_revocable)
            }
        }
    }

    /// Returns true if the issuer's keys have not changed since they verified the token. Always
    /// true for own tokens, because the service clears the cache when its keys change.
    #[inline]
    pub(super) fn has_present_keys(&self, origin: Origin) -> bool {
        match origin {
            Origin::Own => true,
            Origin::External { index, version } => {
                self.issuers.get(index).is_some_and(|issuer| issuer.keys.version() == version)
            }
        }
    }
}

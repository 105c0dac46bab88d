//! Minting (creating and signing) of tokens.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    keyring::{Keyring, Signer},
    lifetimes::LONGEST_LIFETIME,
    session::{IssuedToken, TokenPair},
};
use crate::{
    clock::Timestamp,
    error::{Error, TokenError},
    ids::{SessionId, Subject, TokenId},
    jwt::{JwtClaims, Scope, SigningKey, TokenType, Validation},
    store::LogStamp,
};

/// The claims that all own tokens share, and the rules that they must meet.
pub(super) struct MintRules {
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) validation: Validation,
    pub(super) max_token_len: usize,
}

impl MintRules {
    /// Returns a mint that signs with this keyring.
    pub(super) fn mint<'a>(&'a self, keyring: &'a Keyring) -> Result<Mint<'a>, Error> {
        // `Keyring::new` returns an error if a service that issues tokens has no signing key.
        match (&keyring.signer, keyring.keys.signing_key()) {
            (Some(signer), Some(key)) => Ok(Mint { rules: self, signer, key }),
            _ => Err(Error::Signing),
        }
    }
}

/// The identity of a new token. It depends only on the session's record and the refresh token. So a
/// repeated refresh gives the same identity (`docs/protocol.md`, section 3).
pub(crate) struct Identity<'a> {
    pub(super) subject: &'a Subject,
    pub(super) sid: &'a SessionId,
    pub(super) counter: u32,
    pub(super) generation: u64,
    /// The store's time of the login or rotation that allowed the token.
    pub(super) issued_at: Timestamp,
    /// The time at which the session ends if the client does not refresh it again.
    pub(super) session_end: Timestamp,
    /// The lifetime of the session's access tokens. The refresh token contains this lifetime, so
    /// that a repeated refresh on a node with another setting gives the same `exp`.
    pub(super) access_lifetime: Duration,
    /// The store's time in its answer to the login or refresh.
    pub(super) now: Timestamp,
    /// The stamp: a short name of the subject's last revocation, if some node may not have read
    /// this revocation yet.
    pub(super) last_revocation: Option<LogStamp>,
}

impl Identity<'_> {
    /// Returns an error in the last second of a session. The times in tokens are whole seconds, so
    /// a new token would expire immediately.
    pub(super) fn has_time_left(&self) -> Result<(), TokenError> {
        if self.session_end.as_secs() > self.issued_at.as_secs() { Ok(()) } else { Err(TokenError::SessionExpired) }
    }

    /// Returns the common start of the `jti` of the access token and of the refresh token.
    pub(crate) fn token_id_stem(&self) -> String {
        format!("{}.{}", self.sid, self.counter)
    }

    fn access_end(&self) -> Timestamp {
        self.issued_at.saturating_add(self.access_lifetime).min(self.session_end)
    }
}

/// The signer, the key and the rules with which one operation mints its tokens.
pub(super) struct Mint<'a> {
    rules: &'a MintRules,
    signer: &'a Signer,
    key: &'a SigningKey,
}

impl Mint<'_> {
    /// Returns an error if this service would refuse tokens with these claims. Called before the
    /// store changes, so that the claims cannot make the later signing fail.
    pub(super) fn check<C: Serialize>(&self, subject: &Subject, scope: &Scope, custom: &C) -> Result<(), Error> {
        let sid = &SessionId::from("0123456789012345678901");
        let identity = Identity {
            subject,
            sid,
            counter: u32::MAX,
            generation: u64::MAX,
            issued_at: Timestamp::default(),
            session_end: Timestamp::END_OF_TIME,
            access_lifetime: LONGEST_LIFETIME,
            now: Timestamp::default(),
            last_revocation: None,
        };
        // The longest `jti` of an own token: stem, random part and suffix.
        let jti = TokenId::from(format!("{}.{sid}.a", identity.token_id_stem()));
        let stamp = LogStamp::new(Timestamp::END_OF_TIME, "").to_text();
        let claims = self.claims(&identity, TokenType::Refresh, jti, Timestamp::END_OF_TIME, scope, custom);
        // Only access tokens contain the stamp, and only refresh tokens contain the access
        // lifetime. So one check of claims with both covers both types.
        let claims = claims.with_stamp(Some(stamp));
        if !self.rules.validation.has_required(&claims) {
            return Err(Error::Issue(
                "the session's tokens would lack a claim of `require_claims` and be refused; add the claim".into(),
            ));
        }
        let len = self.signer.refresh.encoded_len(&claims, self.signer.signature_len)?;
        if len > self.rules.max_token_len {
            return Err(Error::Issue(
                format!("the session's tokens could have {len} bytes, more than `max_token_len`; shorten the claims")
                    .into(),
            ));
        }
        Ok(())
    }

    /// Mints the access and the refresh token of this identity.
    pub(super) fn pair<C: Serialize>(
        &self,
        identity: &Identity<'_>,
        scope: &Scope,
        custom: &C,
    ) -> Result<TokenPair, Error> {
        let access = self.access(identity, scope, custom)?;
        let jti = TokenId::from(format!("{}.r", identity.token_id_stem()));
        let claims = self.claims(identity, TokenType::Refresh, jti, identity.session_end, scope, custom);
        let refresh = self.sign(&claims, identity.now, scope)?;
        Ok(TokenPair { access, refresh, session_id: identity.sid.clone() })
    }

    /// Mints the access token of this identity. The token expires at the latest with its session.
    pub(super) fn access<C: Serialize>(
        &self,
        identity: &Identity<'_>,
        scope: &Scope,
        custom: &C,
    ) -> Result<IssuedToken, Error> {
        let jti = TokenId::from(format!("{}.a", identity.token_id_stem()));
        self.access_with_id(jti, identity, scope, custom)
    }

    /// Mints an access token with the id `jti` instead of the id of this identity.
    pub(super) fn access_with_id<C: Serialize>(
        &self,
        jti: TokenId,
        identity: &Identity<'_>,
        scope: &Scope,
        custom: &C,
    ) -> Result<IssuedToken, Error> {
        let claims = self.claims(identity, TokenType::Access, jti, identity.access_end(), scope, custom);
        self.sign(&claims, identity.now, scope)
    }

    fn sign<C: Serialize>(&self, claims: &JwtClaims<C>, now: Timestamp, scope: &Scope) -> Result<IssuedToken, Error> {
        let encoder = match claims.token_type() {
            Some(TokenType::Refresh) => &self.signer.refresh,
            _ => &self.signer.access,
        };
        let token = Zeroizing::new(encoder.encode(self.key, claims)?);
        Ok(IssuedToken { token, expires_at: claims.expires_at(), now, scope: scope.clone() })
    }

    fn claims<'c, C>(
        &self,
        identity: &Identity<'_>,
        token_type: TokenType,
        jti: TokenId,
        expires_at: Timestamp,
        scope: &Scope,
        custom: &'c C,
    ) -> JwtClaims<&'c C> {
        let rules = self.rules;
        let mut claims = JwtClaims::new(identity.subject, jti, token_type, identity.issued_at, Duration::ZERO, custom)
            .with_expiry(expires_at)
            .with_session(identity.sid.clone(), identity.generation)
            .with_scope(scope.clone())
            .with_audience(rules.audience.as_deref());
        if let Some(issuer) = &rules.issuer {
            claims = claims.with_issuer(issuer);
        }
        if let Some(client_id) = &rules.client_id {
            claims = claims.with_client_id(client_id);
        }
        if token_type == TokenType::Refresh {
            claims = claims.with_access_lifetime(identity.access_lifetime);
        } else {
            claims = claims.with_stamp(identity.last_revocation.map(LogStamp::to_text));
        }
        claims
    }
}

/// Returns 128 random bits as 22 characters of base64url. A UUID has only 122 random bits, and
/// takes 14 bytes more in every record.
pub(crate) fn random_id() -> Result<String, Error> {
    let mut bytes = [0; 16];
    // Without random bytes, an attacker could guess the id, and ids could repeat.
    getrandom::fill(&mut bytes).map_err(|_| Error::Signing)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

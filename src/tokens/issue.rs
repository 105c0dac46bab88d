//! Opening sessions and minting tokens.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    IssuedToken, NewSession, SecurityEvent, TokenPair, TokenService,
    builder::{LONGEST_LIFETIME, check_lifetime},
    keyring::{Keyring, Signer},
    service::Inner,
};
use crate::{
    clock::Timestamp,
    error::{Error, StoreError, StoreErrorKind, TokenError},
    ids::{SessionId, TokenId, is_id},
    jwt::{Claims, JwtClaims, Scope, SigningKey, TokenType, Validation},
    store::{Open, Opened, TokenStore},
};

/// The longest label of a session in bytes.
const MAX_LABEL: usize = 1024;

impl<C: Serialize + Send + Sync + 'static> TokenService<C> {
    /// Opens a session and makes its access and refresh token.
    ///
    /// Dropping the future may leave a session of which no client has a token; it ends by itself.
    ///
    /// # Errors
    ///
    /// [`Error::Issue`] if the session is not acceptable; [`Error::LoginSuperseded`] if the user's
    /// sessions were all revoked since [`NewSession::authenticated_since`]; [`Error::Store`] if the
    /// store failed. Then no token was made.
    pub async fn create_token_pair(&self, session: NewSession<C>) -> Result<TokenPair, Error> {
        let inner = self.inner();
        let keyring = inner.keyring.load_full();
        let (mint, scope) = inner.draft(&keyring, &session)?;
        let lifetime = inner.access_lifetime(&session)?;
        let opened = inner.open(mint.store, &session, inner.lifetimes.idle, inner.session_end(&session)?).await?;
        let identity = opened.identity(&session.subject, lifetime);
        let access = mint.access(&identity, &scope, &session.custom)?;
        let refresh = mint.refresh(&identity, &scope, &session.custom)?;
        Ok(TokenPair { access, refresh, session_id: opened.sid })
    }

    /// Opens a session that consists of one access token, and ends with it.
    ///
    /// Dropping the future is as with [`create_token_pair`](Self::create_token_pair).
    ///
    /// # Errors
    ///
    /// As [`create_token_pair`](Self::create_token_pair).
    pub async fn create_access_token(&self, session: NewSession<C>) -> Result<IssuedToken, Error> {
        let inner = self.inner();
        let keyring = inner.keyring.load_full();
        let (mint, scope) = inner.draft(&keyring, &session)?;
        let lifetime = inner.access_lifetime(&session)?.min(inner.session_end(&session)?);
        // The session outlives the token by the leeway, within which the token is still accepted.
        let end = lifetime.saturating_add(inner.validation.leeway_in_force());
        let opened = inner.open(mint.store, &session, end, end).await?;
        let identity = opened.identity(&session.subject, lifetime);
        mint.access(&identity, &scope, &session.custom)
    }

    /// Opens a session and makes its refresh token only: for a client that is to fetch its access
    /// tokens itself.
    ///
    /// Dropping the future is as with [`create_token_pair`](Self::create_token_pair).
    ///
    /// # Errors
    ///
    /// As [`create_token_pair`](Self::create_token_pair).
    pub async fn create_refresh_token(&self, session: NewSession<C>) -> Result<IssuedToken, Error> {
        self.create_token_pair(session).await.map(|pair| pair.refresh)
    }
}

impl<C> Inner<C> {
    /// Returns the inputs of minting, or the reason why this service cannot mint.
    pub(super) fn mint<'a>(&'a self, keyring: &'a Keyring) -> Result<Mint<'a>, Error> {
        match (&keyring.signer, keyring.keys.signing_key(), &self.store) {
            (Some(signer), Some(key), Some(store)) => Ok(Mint {
                signer,
                key,
                store,
                issuer: self.issuer.as_deref(),
                audience: self.audience.as_deref(),
                client_id: self.client_id.as_deref(),
                validation: &self.validation,
                max_token_len: self.keyring.max_token_len(),
            }),
            _ => Err(Error::Issue("this service was configured to verify tokens, not to issue them".into())),
        }
    }

    /// Checks all of a session that can be checked before the store opens it.
    fn draft<'a>(&'a self, keyring: &'a Keyring, session: &NewSession<C>) -> Result<(Mint<'a>, Scope), Error>
    where
        C: Serialize,
    {
        let mint = self.mint(keyring)?;
        if !is_id(&session.subject) {
            return Err(Error::Issue("the subject must be 1 to 255 bytes without control characters".into()));
        }
        if session.label.len() > MAX_LABEL {
            return Err(Error::Issue("the label is longer than 1 KiB".into()));
        }
        let scope = Scope::parse(&session.scope)
            .ok_or(Error::Issue("the scope must be tokens of printable ASCII with one space between two".into()))?;
        mint.check(&session.subject, &scope, &session.custom)?;
        Ok((mint, scope))
    }

    /// Returns the life of the access tokens that a refresh token is exchanged for. Tokens of older
    /// versions do not contain it.
    pub(super) fn access_lifetime_of(&self, refresh: &Claims<C>) -> Duration {
        let lifetime = refresh.access_lifetime().unwrap_or(self.lifetimes.access);
        lifetime.min(self.validation.max_access_lifetime_in_force())
    }

    fn access_lifetime(&self, session: &NewSession<C>) -> Result<Duration, Error> {
        let Some(lifetime) = session.access_lifetime else { return Ok(self.lifetimes.access) };
        check_lifetime("access_lifetime", lifetime).map_err(|error| Error::Issue(error.to_string().into()))?;
        if lifetime > self.validation.max_access_lifetime_in_force() {
            return Err(Error::Issue("the access lifetime is longer than `max_access_lifetime`".into()));
        }
        Ok(lifetime)
    }

    fn session_end(&self, session: &NewSession<C>) -> Result<Duration, Error> {
        let Some(lifetime) = session.session_lifetime else { return Ok(self.lifetimes.absolute) };
        check_lifetime("session_lifetime", lifetime).map_err(|error| Error::Issue(error.to_string().into()))?;
        Ok(lifetime.min(self.lifetimes.absolute))
    }

    async fn open(
        &self,
        store: &Arc<dyn TokenStore>,
        session: &NewSession<C>,
        idle: Duration,
        absolute: Duration,
    ) -> Result<Session, Error> {
        let sid = random_id()?;
        let open = Open {
            subject: session.subject.clone(),
            sid: sid.clone(),
            idle,
            absolute,
            authentication_began: session.authentication_began,
            max_sessions: self.max_sessions,
            label: session.label.clone(),
        };
        match store.open(open).await? {
            Opened::Opened { now, generation, refresh_end, evicted } => {
                for session_id in evicted {
                    self.has_ended(&session.subject, &session_id, now);
                    self.emit(&SecurityEvent::SessionEvicted { subject: session.subject.clone(), session_id });
                }
                // A session that ends as it begins, because the clock is at the end of time: its
                // tokens would have no life either.
                if refresh_end.as_secs() <= now.as_secs() {
                    return Err(StoreError::new(StoreErrorKind::Untrusted).into());
                }
                Ok(Session { sid, now, generation, refresh_end })
            }
            Opened::Superseded { .. } => Err(Error::LoginSuperseded),
            // 128 random bits do not repeat: a store that claims so cannot be trusted.
            Opened::Exists { .. } => Err(StoreError::new(StoreErrorKind::Untrusted).into()),
        }
    }
}

/// A session that the store has opened.
struct Session {
    sid: String,
    now: Timestamp,
    generation: u64,
    refresh_end: Timestamp,
}

impl Session {
    fn identity<'a>(&'a self, subject: &'a str, access_lifetime: Duration) -> Identity<'a> {
        Identity {
            subject,
            sid: &self.sid,
            counter: 0,
            generation: self.generation,
            issued_at: self.now,
            session_end: self.refresh_end,
            access_lifetime,
            now: self.now,
        }
    }
}

/// The identity of a token: all of it comes from the session's record and the refresh token.
pub(super) struct Identity<'a> {
    pub(super) subject: &'a str,
    pub(super) sid: &'a str,
    pub(super) counter: u32,
    pub(super) generation: u64,
    /// The store's time of the step that allowed the token.
    pub(super) issued_at: Timestamp,
    /// The end of the session if it is not used again.
    pub(super) session_end: Timestamp,
    /// The life of the session's access tokens. It is fixed at login and travels in the refresh
    /// token, so that a replay on a node with another setting gives no later `exp`.
    pub(super) access_lifetime: Duration,
    /// The store's time of the answer.
    pub(super) now: Timestamp,
}

/// A maker of tokens.
pub(super) struct Mint<'a> {
    signer: &'a Signer,
    key: &'a SigningKey,
    pub(super) store: &'a Arc<dyn TokenStore>,
    issuer: Option<&'a str>,
    audience: Option<&'a str>,
    client_id: Option<&'a str>,
    validation: &'a Validation,
    max_token_len: usize,
}

impl Mint<'_> {
    /// Returns an error if tokens with these claims cannot be made, or would not be accepted.
    /// Called before anything is stored.
    pub(super) fn check<C: Serialize>(&self, subject: &str, scope: &Scope, custom: &C) -> Result<(), Error> {
        let sid = "0123456789012345678901";
        let identity = Identity {
            subject,
            sid,
            counter: u32::MAX,
            generation: u64::MAX,
            issued_at: Timestamp::default(),
            session_end: Timestamp::END_OF_TIME,
            access_lifetime: LONGEST_LIFETIME,
            now: Timestamp::default(),
        };
        // A random part and a suffix are the longest that follow a counter.
        let jti = format!("{}.{sid}.a", identity.jti_stem());
        let claims = self.claims(&identity, TokenType::Refresh, jti, Timestamp::END_OF_TIME, scope, custom);
        if !self.validation.has_required(&claims) {
            return Err(Error::Issue(
                "its tokens would lack a claim that `require_claims` names, and be refused".into(),
            ));
        }
        let len = self.signer.refresh.encoded_len(&claims, self.signer.signature_len)?;
        if len > self.max_token_len {
            return Err(Error::Issue(
                format!("its tokens would be up to {len} bytes long, over `max_token_len`; store less in the claims")
                    .into(),
            ));
        }
        Ok(())
    }

    /// Makes the access token of this identity: it ends with its session at the latest.
    pub(super) fn access<C: Serialize>(
        &self,
        identity: &Identity<'_>,
        scope: &Scope,
        custom: &C,
    ) -> Result<IssuedToken, Error> {
        let jti = format!("{}.a", identity.jti_stem());
        self.access_with_id(jti, identity, scope, custom)
    }

    /// Makes an access token with an id of its own, beside the one that belongs to the refresh
    /// token.
    pub(super) fn access_with_id<C: Serialize>(
        &self,
        jti: String,
        identity: &Identity<'_>,
        scope: &Scope,
        custom: &C,
    ) -> Result<IssuedToken, Error> {
        let expires_at = identity.issued_at.saturating_add(identity.access_lifetime).min(identity.session_end);
        let claims = self.claims(identity, TokenType::Access, jti, expires_at, scope, custom);
        let token = self.signer.access.encode(self.key, &claims)?;
        Ok(IssuedToken {
            token: Zeroizing::new(token),
            expires_at: claims.expires_at(),
            now: identity.now,
            scope: scope.clone(),
        })
    }

    /// Makes the refresh token of this identity: it lives as long as its session if that is not
    /// used.
    pub(super) fn refresh<C: Serialize>(
        &self,
        identity: &Identity<'_>,
        scope: &Scope,
        custom: &C,
    ) -> Result<IssuedToken, Error> {
        let jti = format!("{}.r", identity.jti_stem());
        let claims = self.claims(identity, TokenType::Refresh, jti, identity.session_end, scope, custom);
        let token = self.signer.refresh.encode(self.key, &claims)?;
        Ok(IssuedToken {
            token: Zeroizing::new(token),
            expires_at: claims.expires_at(),
            now: identity.now,
            scope: scope.clone(),
        })
    }

    fn claims<'c, C>(
        &self,
        identity: &Identity<'_>,
        token_type: TokenType,
        jti: String,
        expires_at: Timestamp,
        scope: &Scope,
        custom: &'c C,
    ) -> JwtClaims<&'c C> {
        let mut claims =
            JwtClaims::new(identity.subject, TokenId::new(jti), token_type, identity.issued_at, Duration::ZERO, custom)
                .with_expiry(expires_at)
                .with_session(SessionId::new(identity.sid), identity.generation)
                .with_scope(scope.clone())
                .with_audience(self.audience);
        if let Some(issuer) = self.issuer {
            claims = claims.with_issuer(issuer);
        }
        if let Some(client_id) = self.client_id {
            claims = claims.with_client_id(client_id);
        }
        if token_type == TokenType::Refresh {
            claims = claims.with_access_lifetime(identity.access_lifetime);
        }
        claims
    }
}

impl Identity<'_> {
    /// Returns an error in the last second of a session's life: tokens have whole seconds, so none
    /// is left to give.
    pub(super) fn has_time_left(&self) -> Result<(), TokenError> {
        if self.session_end.as_secs() > self.issued_at.as_secs() { Ok(()) } else { Err(TokenError::SessionExpired) }
    }

    fn jti_stem(&self) -> String {
        format!("{}.{}", self.sid, self.counter)
    }
}

/// Returns 128 random bits as 22 characters of base64url: more than the 122 of a random UUID, and
/// 14 bytes less in every record.
pub(super) fn random_id() -> Result<String, Error> {
    let mut bytes = [0; 16];
    // Without randomness nothing may be issued. The cause is the machine, and it may pass.
    getrandom::fill(&mut bytes).map_err(|_| Error::Signing)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

//! The service: its public methods, which delegate to its parts.

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    auth_time::{AuthClock, AuthTime},
    check::{AccessCheck, Checker, Freshness},
    events::{Events, SecurityEvent},
    external::ExternalTokens,
    issue::TokenIssuer,
    origin::Unverified,
    readiness::{LastProbe, Readiness},
    refresh::{Exchange, OnRefresh, Refresher},
    revoke::{Revoke, Revoker},
    sampler::Sampler,
    session::{IssuedToken, NewSession, TokenPair},
    status::{Status, Subjects},
};
use crate::{
    cutoff::Cutoff,
    error::{ConfigError, Error, TokenError},
    ids::{SessionId, Subject},
    jwt::{Claims, JwtClaims, KeySet, NoClaims, TokenType, decode_token},
    observe::{Observation, RefreshResult, SessionEnd, SharedObserver},
    store::{ExternalId, LogPosition, Page, SessionPage},
};

/// A service that issues, checks, refreshes and revokes tokens. Made by [`TokenService::builder`].
///
/// A cheap handle: clones share one service. `C` is the type of the application's own claims.
///
/// ```
/// use tower_bearer::{MemoryStore, NewSession, TokenService, TokenType};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_bearer::BoxError> {
/// let tokens = TokenService::builder()
///     .secret("a test secret that is long enough for HS256")
///     .issuer("https://api.example.com")
///     .audience("api")
///     .store(MemoryStore::default())
///     .build()?;
///
/// let pair = tokens.create_token_pair(NewSession::new("42").scope("read")).await?;
/// let access = pair.access().as_str();
/// let claims = tokens.validate_token(access, TokenType::Access).await?;
/// assert_eq!(claims.subject(), "42");
///
/// tokens.revoke_all_for_subject("42").await?;
/// assert!(tokens.validate_token(access, TokenType::Access).await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct TokenService<C = NoClaims> {
    /// A separate `Arc`, because the check of a request uses only the checker.
    pub(crate) checker: Arc<Checker<C>>,
    parts: Arc<Parts<C>>,
}

/// The parts of a service other than the checker.
pub(super) struct Parts<C> {
    /// `None` if this service issues no tokens.
    pub(super) refresher: Option<Refresher<C>>,
    pub(super) revoker: Revoker,
    pub(super) auth_clock: AuthClock,
    pub(super) events: Events,
    pub(super) last_probe: LastProbe,
    /// The task that reports the size of the cache, if there is an observer.
    pub(super) _sampler: Option<Sampler>,
}

impl<C> Clone for TokenService<C> {
    fn clone(&self) -> Self {
        Self { checker: Arc::clone(&self.checker), parts: Arc::clone(&self.parts) }
    }
}

impl<C> fmt::Debug for TokenService<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checker { authority, validation, .. } = &*self.checker;
        f.debug_struct("TokenService")
            .field("store", &authority.store().map(|store| store.name()))
            .field("validation", validation)
            .finish_non_exhaustive()
    }
}

/// Checks.
impl<C: Send + Sync + 'static> TokenService<C> {
    /// Verifies a token and checks that it is not revoked, as the middleware does for every
    /// request. Asks the store, unless this node may decide under
    /// [`Consistency::BoundedStaleness`](super::Consistency::BoundedStaleness).
    ///
    /// A refresh token is valid only while it is the newest of its session. Only the store can
    /// decide this. To exchange the token, call [`refresh`](Self::refresh).
    ///
    /// Dropping the future has no effect.
    ///
    /// # Errors
    ///
    /// * [`Error::Token`] with the reason if the token is refused.
    /// * [`Error::Store`] if the store failed. The token may or may not be valid.
    /// * [`Error::IssuerKeys`] if the node has no keys of the token's issuer.
    /// * [`Error::Application`] if the [`validator`](super::TokenServiceBuilder::validator) failed.
    pub async fn validate_token(&self, token: &str, expected: TokenType) -> Result<Claims<C>, Error> {
        self.validate(token, expected, Freshness::AsConfigured).await
    }

    /// Verifies a token as [`validate_token`](Self::validate_token) does, but accepts it only after
    /// the store has confirmed that it is not revoked. Use this method for actions that must fail
    /// immediately after a logout. See also [`AuthLayer::strong`](crate::AuthLayer::strong).
    ///
    /// # Errors
    ///
    /// As [`validate_token`](Self::validate_token).
    pub async fn validate_token_strong(&self, token: &str, expected: TokenType) -> Result<Claims<C>, Error> {
        self.validate(token, expected, Freshness::STRONG).await
    }

    /// Checks verified claims again, as the middleware checks the token of a new request. Checks
    /// the times, the revocation of token, session and subject, and calls the application's
    /// [`validator`](super::TokenServiceBuilder::validator).
    ///
    /// Use this method in a long-running handler, before a step that needs the rights of the token.
    /// To react to a revocation immediately, see [`ended`](Self::ended).
    ///
    /// ```
    /// # use tower_bearer::{Claims, Error, TokenService};
    /// async fn step(tokens: &TokenService, claims: &Claims) -> Result<(), Error> {
    ///     tokens.check(claims).await
    ///     // The step.
    /// }
    /// ```
    ///
    /// Dropping the future has no effect.
    ///
    /// # Errors
    ///
    /// As [`validate_token`](Self::validate_token).
    pub async fn check(&self, claims: &Claims<C>) -> Result<(), Error> {
        match self.checker.check_again(claims) {
            AccessCheck::Done(result) => result.map(drop),
            AccessCheck::Pending(pending) => pending.await.map(drop),
        }
    }

    /// Watches the token of these claims until you drop the returned future. The future resolves
    /// with the cause in these cases:
    ///
    /// - A revocation of the token, its session or its subject reaches this node: within
    ///   milliseconds while this node follows the store's log.
    /// - The store does not answer. The future resolves within
    ///   [`stream_staleness`](super::TokenServiceBuilder::stream_staleness).
    /// - The token expires, but only if you call [`Cutoff::at_expiry`].
    ///
    /// A refresh does not resolve the future, because a socket belongs to its session. Nothing
    /// revokes a token under [`IssuerPolicy::Stateless`](crate::issuers::IssuerPolicy::Stateless),
    /// so only its expiry can resolve the future. If another service verified the claims, that
    /// service watches them.
    ///
    /// Use this method for sockets and tasks that outlive their request, with the claims of that
    /// request. Call it in a Tokio runtime. Without a runtime, no timer wakes the future.
    ///
    /// ```
    /// # use tower_bearer::{Claims, TokenService};
    /// # async fn message() -> Option<String> { None }
    /// async fn socket(tokens: TokenService, claims: Claims) {
    ///     let mut ended = tokens.ended(&claims);
    ///     loop {
    ///         tokio::select! {
    ///             cause = &mut ended => return println!("closed: {cause}"),
    ///             message = message() => match message {
    ///                 Some(message) => println!("{message}"),
    ///                 None => return,
    ///             },
    ///         }
    ///     }
    /// }
    /// ```
    pub fn ended(&self, claims: &Claims<C>) -> Cutoff<C> {
        Cutoff::of(claims).unwrap_or_else(|| Cutoff::new(self.checker.streams.of(claims.external()), claims))
    }

    async fn validate(&self, token: &str, expected: TokenType, freshness: Freshness) -> Result<Claims<C>, Error> {
        match self.checker.check(token, expected, freshness) {
            AccessCheck::Done(result) => result,
            AccessCheck::Pending(pending) => pending.await,
        }
    }
}

impl<C> TokenService<C> {
    pub(super) fn new(checker: Arc<Checker<C>>, parts: Parts<C>) -> Self {
        Self { checker, parts: Arc::new(parts) }
    }

    /// Verifies text, signature and claims of a token, and nothing else. Accepts a revoked token.
    /// Does not call the [`validator`](super::TokenServiceBuilder::validator), and does not use the
    /// verified-token cache.
    ///
    /// # Errors
    ///
    /// Returns an error for the first rule that the token breaks.
    pub fn validate_jwt_stateless(&self, token: &str, expected: TokenType) -> Result<Claims<C>, Error> {
        match self.checker.verify(&self.checker.keyring.load(), token, expected) {
            Ok((claims, _)) => Ok(claims),
            Err(Unverified::Refused(error)) => Err(error),
            Err(Unverified::UnknownKey { index, .. }) => Err(self.checker.unknown_key(index)),
        }
    }

    /// Decodes an own token of either type. Verifies its signature and claims, but not its times.
    ///
    /// # Errors
    ///
    /// Returns an error for the first rule that the token breaks.
    pub fn decode_token(&self, token: &str) -> Result<JwtClaims<C>, TokenError>
    where
        C: DeserializeOwned,
    {
        decode_token(token, &self.checker.keyring.load().keys, &self.checker.validation)
    }

    /// Makes this node obey a revocation that another node has made. Applies to every request that
    /// begins after this call returns. The call returns immediately.
    ///
    /// Get the position from [`Revoked::position`](crate::store::Revoked::position), and send it to
    /// the other services as text. Accept positions only from your own services, because a position
    /// makes requests ask the store.
    ///
    /// Until the node has read the log up to the position, it asks the store about each token of
    /// the position's bucket. Without bounded staleness, it asks about each token anyway.
    pub fn require_position(&self, position: &LogPosition) {
        if let Some(replica) = &self.checker.replica {
            replica.require_position(position);
        }
    }

    /// Returns true if this node has read the revocation at this position of the store's log. This
    /// node then refuses the revoked tokens even if the store loses the revocation. Also returns
    /// true if the node follows no log, as with the memory store under
    /// [`Strong`](super::Consistency::Strong).
    ///
    /// A revocation by this node takes effect on this node immediately. The result can still be
    /// false until the node has read the revocation from the log, at the next nudge (a pub/sub
    /// message) or poll.
    #[must_use]
    pub fn has_applied(&self, position: &LogPosition) -> bool {
        self.checker.replica.as_ref().is_none_or(|replica| replica.has_applied(position))
    }

    /// Replaces the keys of this service and its clones, to rotate a key (see [`KeySet`]) or to
    /// remove a leaked key. The call changes only this node. Replace the keys on every node.
    ///
    /// A check that begins after this call uses only the new keys. Operations in progress still use
    /// the old keys. So keep the old signing key as a verifying key until its last token has
    /// expired. Remove it immediately only if it leaked.
    ///
    /// ```
    /// use tower_bearer::{
    ///     KeySet, MemoryStore, TokenService,
    ///     jwt::{Algorithm, SigningKey},
    /// };
    ///
    /// let key = |secret: &[u8], kid| {
    ///     SigningKey::from_secret(Algorithm::HS256, secret)?.with_kid(kid)
    /// };
    /// let old = key(b"a TEST key of 32 bytes or more: 2026-10", "2026-10")?;
    /// let new = key(b"a TEST key of 32 bytes or more: 2026-11", "2026-11")?;
    /// let tokens = TokenService::builder()
    ///     .keys(KeySet::signing(old.clone()))
    ///     .store(MemoryStore::default())
    ///     .build()?;
    ///
    /// let both = KeySet::signing(new.clone()).and_verifying(old.verifying_key().clone())?;
    /// tokens.replace_keys(both)?;
    /// // After the last token of the old key has expired:
    /// tokens.replace_keys(KeySet::signing(new))?;
    /// # Ok::<(), tower_bearer::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the service issues tokens: the set has no signing key, the key cannot sign, or its `kid`
    /// is too long for [`max_token_len`](super::TokenServiceBuilder::max_token_len). If the service
    /// has no own tokens: always. The old keys then stay in use.
    pub fn replace_keys(&self, keys: KeySet) -> Result<(), ConfigError> {
        self.checker.replace_keys(keys)
    }

    /// Pings the store, and returns its state with the keys and the consistency in use. Ends within
    /// the store's deadline. Never fails: the status contains the store's error. Dropping the
    /// future changes nothing.
    pub async fn status(&self) -> Status {
        self.subjects().status().await
    }

    /// Returns the readiness of this node. Asks the store for a strict read and for a harmless
    /// write, at most once a second. Never fails. Dropping the future changes nothing.
    ///
    /// A node is not ready if the store refuses the read or the write. Other
    /// [conditions](super::Condition), such as a difference between clocks, do not change the
    /// readiness. They often concern all nodes at once, and a load balancer would remove nodes that
    /// serve requests correctly.
    pub async fn readiness(&self) -> Readiness {
        self.subjects().readiness().await
    }

    fn subjects(&self) -> Subjects<'_, C> {
        let Checker { authority, replica, keyring, cache, streams, issuers, conditions, .. } = &*self.checker;
        Subjects {
            authority,
            replica: replica.as_deref(),
            keyring,
            cache,
            streams,
            issuers,
            conditions,
            last_probe: &self.parts.last_probe,
        }
    }
}

/// Logins.
impl<C> TokenService<C> {
    /// Returns the start time of an authentication. Call it **before** you check the password, and
    /// pass the result to [`NewSession::auth_time`](super::NewSession::auth_time).
    ///
    /// The method estimates the store's time, and does not call the store. The estimate can be too
    /// early: in a `RedisStore` by 15 ms more for each minute without a call of the store. If all
    /// of the user's sessions were revoked a little before the login, the login may then fail with
    /// [`Error::LoginSuperseded`]. In that case, authenticate again from the start after a short
    /// pause, as the login endpoint does.
    #[must_use]
    pub fn auth_time(&self) -> AuthTime {
        self.parts.auth_clock.now()
    }

    /// Returns the start time of an authentication. Pings the store first if the last ping is older
    /// than 30 s.
    pub(crate) async fn recent_auth_time(&self) -> AuthTime {
        self.parts.auth_clock.recent().await
    }

    /// Returns the start time for the second attempt of a login that was superseded.
    pub(crate) async fn auth_time_after_supersession(&self) -> Result<AuthTime, Error> {
        Ok(self.parts.auth_clock.after_supersession().await?)
    }

    /// Emits [`SecurityEvent::LoginSuperseded`], after a correct login was superseded twice.
    pub(crate) fn report_superseded_login(&self, subject: Subject) {
        #[cfg(feature = "tracing")]
        tracing::warn!(%subject, "a valid login failed: all sessions were revoked during both attempts; find the cause");
        self.parts.events.emit(&SecurityEvent::LoginSuperseded { subject });
    }

    /// Returns the application's observer.
    pub(crate) fn observer(&self) -> &SharedObserver {
        &self.checker.observer
    }

    fn refresher(&self) -> Result<&Refresher<C>, Error> {
        let refresher = self.parts.refresher.as_ref();
        refresher.ok_or(Error::Issue("this service only verifies tokens; use the service that issues them".into()))
    }

    fn issuer(&self) -> Result<&TokenIssuer, Error> {
        Ok(&self.refresher()?.issuer)
    }
}

/// Issue and refresh.
impl<C: Serialize + Send + Sync + 'static> TokenService<C> {
    /// Opens a session and mints its access token and its refresh token. If you drop the future,
    /// the store may contain a session without a client. That session expires.
    ///
    /// # Errors
    ///
    /// * [`Error::Issue`] if a parameter of the session is not allowed, or the service issues no
    ///   tokens.
    /// * [`Error::LoginSuperseded`] if all of the user's sessions were revoked after
    ///   [`NewSession::auth_time`].
    /// * [`Error::Store`] if the store failed.
    pub async fn create_token_pair(&self, session: NewSession<C>) -> Result<TokenPair, Error> {
        self.issuer()?.issue_pair(session).await
    }

    /// Opens a session with one access token, without a refresh token. The session ends with the
    /// token. If you drop the future, the store may contain a session without a client.
    ///
    /// # Errors
    ///
    /// As [`create_token_pair`](Self::create_token_pair).
    pub async fn create_access_token(&self, session: NewSession<C>) -> Result<IssuedToken, Error> {
        self.issuer()?.issue_access(session).await
    }

    /// Opens a session and returns only its refresh token, for a client that fetches its access
    /// tokens itself.
    ///
    /// If you drop the future, the store may contain a session without a client.
    ///
    /// # Errors
    ///
    /// As [`create_token_pair`](Self::create_token_pair).
    pub async fn create_refresh_token(&self, session: NewSession<C>) -> Result<IssuedToken, Error> {
        self.create_token_pair(session).await.map(|pair| pair.refresh)
    }

    /// Exchanges a refresh token for a new pair of its session. The token is then used up.
    ///
    /// A client can safely repeat the request after a lost response or a dropped future. A
    /// repetition within [`reuse_grace`](super::TokenServiceBuilder::reuse_grace), while the new
    /// refresh token is unused, gives tokens with the same `jti`, `iat` and `exp`. Their bytes may
    /// differ if the algorithm randomizes signatures.
    ///
    /// # Errors
    ///
    /// * [`Error::Token`] if the token is refused. [`TokenError::Reused`] means that the token was
    ///   used before, and that the store has revoked its session.
    /// * [`Error::Application`] if [`on_refresh`](super::TokenServiceBuilder::on_refresh) failed,
    ///   and [`Error::Issue`] if the new claims are not allowed. The token stays usable.
    /// * [`Error::Store`] if the store failed. The token may or may not be used up. Try again with
    ///   the same token.
    pub async fn refresh(&self, refresh_token: &str) -> Result<TokenPair, Error> {
        self.refresh_or_ask(refresh_token, None).await
    }

    /// Refreshes as [`refresh`](Self::refresh) does. Calls `hook` if the service has no
    /// `on_refresh` hook.
    pub(crate) async fn refresh_or_ask(
        &self,
        refresh_token: &str,
        hook: Option<&dyn OnRefresh<C>>,
    ) -> Result<TokenPair, Error> {
        let refreshed = async { self.begin_exchange(refresh_token, hook).await?.rotate().await }.await;
        self.observer().observe(|| Observation::Refresh {
            result: match &refreshed {
                Ok((_, result)) => *result,
                Err(error) => RefreshResult::of(error),
            },
        });
        refreshed.map(|(pair, _)| pair)
    }

    /// Checks a refresh token and calls the `on_refresh` hook for the new claims. Does not use up
    /// the refresh token yet.
    pub(crate) async fn begin_exchange(
        &self,
        refresh_token: &str,
        hook: Option<&dyn OnRefresh<C>>,
    ) -> Result<Exchange<'_, C>, Error> {
        self.refresher()?.begin(refresh_token, hook).await
    }
}

/// Revocation.
impl<C: Send + Sync + 'static> TokenService<C> {
    /// Revokes the token with this text. Revokes the whole session of a refresh token. For another
    /// issuer's token without an id, see [`revoke_claims`](Self::revoke_claims). Does not read
    /// custom claims, and so also revokes tokens of older versions of the application.
    ///
    /// Idempotent. Also accepts an expired token: an old refresh token still ends its session.
    /// Nothing happens until you `.await` the returned value.
    ///
    /// # Errors
    ///
    /// When awaited:
    ///
    /// * [`Error::Token`] if the text is not a token that this service accepts.
    /// * [`Error::IssuerKeys`] if the node has no key for another issuer's token.
    /// * [`Error::Store`] if the store did not confirm the revocation. Repeat the call until it
    ///   succeeds.
    /// * [`Error::Issue`] if this service cannot revoke the token.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_token(&self, token: &str) -> Revoke {
        self.parts.revoker.revoke_token(token)
    }

    /// Revokes the token that has these claims, as [`revoke_token`](Self::revoke_token) does.
    ///
    /// If another issuer's token has no id (`jti`), revokes the token's session. If the token has
    /// no session either, revokes the tokens of its subject that were issued up to now.
    ///
    /// # Errors
    ///
    /// As [`revoke_session`](Self::revoke_session), and [`Error::Issue`] if the service cannot
    /// revoke the tokens of this issuer.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_claims<D>(&self, claims: &JwtClaims<D>) -> Revoke {
        self.parts.revoker.revoke_claims(claims)
    }

    /// Revokes a session: its refresh token and all its access tokens. Does nothing if the session
    /// belongs to another subject. Idempotent.
    ///
    /// # Errors
    ///
    /// When awaited:
    ///
    /// * [`Error::Store`] if the store did not confirm the revocation. Repeat the call until it
    ///   succeeds.
    /// * [`Error::InvalidId`] if an id is malformed.
    /// * [`Error::Issue`] if the service has no tokens of its own.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_session(&self, subject: impl Into<Subject>, session_id: &SessionId) -> Revoke {
        self.parts.revoker.revoke_session(subject.into(), session_id.clone(), SessionEnd::Revoked)
    }

    /// Returns the claims of a token with which its user logs out. Also accepts an expired or
    /// revoked token, because a logout only ends the token's session.
    pub(crate) fn claims_at_logout(&self, token: &str, token_type: TokenType) -> Result<JwtClaims<NoClaims>, Error> {
        self.parts.revoker.own_claims(token, token_type)
    }

    /// Returns the maximum length of a token in bytes.
    pub(crate) fn max_token_len(&self) -> usize {
        self.checker.max_token_len
    }

    /// Revokes the session of these claims, and reports the cause "logout" to the observer. If the
    /// claims have no session, revokes the token.
    pub(crate) fn log_out<D>(&self, claims: &JwtClaims<D>) -> Revoke {
        match claims.session_id() {
            Some(sid) if claims.is_external() => {
                let id = ExternalId::Session(sid.clone());
                self.parts.revoker.deny(claims.issuer().unwrap_or_default(), id, Some(SessionEnd::Logout))
            }
            Some(sid) => self.parts.revoker.revoke_session(claims.subject().clone(), sid.clone(), SessionEnd::Logout),
            None => self.revoke_claims(claims),
        }
    }

    /// Returns the methods that revoke another issuer's tokens, sessions and subjects. `issuer` is
    /// the `iss` of the tokens.
    ///
    /// ```
    /// # async fn f(tokens: tower_bearer::TokenService) -> Result<(), tower_bearer::Error> {
    /// tokens.external("https://id.example.com").revoke_subject("42").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn external(&self, issuer: impl Into<String>) -> ExternalTokens<'_> {
        ExternalTokens { revoker: &self.parts.revoker, issuer: issuer.into() }
    }

    /// Revokes all sessions of a user in one step. Call it when a device is lost, when an account
    /// is disabled, and after a new password is stored. Idempotent.
    ///
    /// Also ends logins and refreshes in progress, with one exception. If you repeat the call
    /// within ten seconds, and no session was opened in between, the repetition changes nothing. A
    /// login that began between the two calls then succeeds. Otherwise a thief could repeat the
    /// call, and so block every login of the user.
    ///
    /// # Errors
    ///
    /// As [`revoke_session`](Self::revoke_session).
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_all_for_subject(&self, subject: impl Into<Subject>) -> Revoke {
        self.parts.revoker.revoke_all(subject.into(), None)
    }

    /// Revokes all sessions of a user except this session: "log out everywhere else". If this
    /// session has already ended, it stays ended.
    ///
    /// # Errors
    ///
    /// As [`revoke_session`](Self::revoke_session).
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_all_for_subject_except(&self, subject: impl Into<Subject>, session_id: &SessionId) -> Revoke {
        self.parts.revoker.revoke_all(subject.into(), Some(session_id.clone()))
    }

    /// Lists the user's live sessions, a page at a time, in no particular order. Dropping the
    /// future changes nothing.
    ///
    /// # Errors
    ///
    /// * [`Error::InvalidId`] if an id is malformed.
    /// * [`Error::Store`] if the store did not answer.
    /// * [`Error::Issue`] if the service has no tokens of its own.
    pub async fn sessions(&self, subject: impl Into<Subject>, page: Page) -> Result<SessionPage, Error> {
        self.parts.revoker.sessions(&subject.into(), page).await
    }

    /// Returns true if the user has this session and the session is alive. Dropping the future
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// As [`sessions`](Self::sessions).
    pub async fn has_session(&self, subject: impl Into<Subject>, session_id: &SessionId) -> Result<bool, Error> {
        self.parts.revoker.has_session(&subject.into(), session_id).await
    }
}

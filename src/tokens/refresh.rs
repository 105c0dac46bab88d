//! Exchange of refresh tokens.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt;
use serde::Serialize;

use super::{
    IssuedToken, SecurityEvent, TokenPair, TokenService,
    check::{judge_session, refresh_counter, revoked},
    issue::{Identity, Mint, random_id},
};
use crate::{
    error::{BoxError, Error, TokenError},
    ids::SessionId,
    jwt::{Claims, Scope, TokenType},
    store::{BoxFuture, Rotate, Rotated, SessionState},
};

/// A hook that decides at every refresh if a user may still have tokens, and with which claims.
///
/// Any `async` closure that takes the refresh token's claims is one:
///
/// ```
/// use tower_bearer::{BoxError, Claims, MemoryStore, Renewal, TokenService};
///
/// let tokens = TokenService::builder()
///     .secret("a test secret that is long enough for HS256")
///     .store(MemoryStore::default())
///     .on_refresh(|claims: Claims| async move {
///         let active = claims.subject() != "7"; // ask your user database here
///         Ok::<_, BoxError>(if active { Renewal::Keep } else { Renewal::Refuse })
///     })
///     .build()?;
/// # Ok::<(), tower_bearer::error::ConfigError>(())
/// ```
pub trait OnRefresh<C>: Send + Sync + 'static {
    /// Decides before the refresh token is used up: after an error or a panic, the client may try
    /// again with the same token.
    ///
    /// The future is dropped when the client goes away.
    fn on_refresh(&self, claims: Claims<C>) -> BoxFuture<Result<Renewal<C>, BoxError>>;
}

impl<C, F, Fut> OnRefresh<C> for F
where
    F: Fn(Claims<C>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Renewal<C>, BoxError>> + Send + 'static,
{
    fn on_refresh(&self, claims: Claims<C>) -> BoxFuture<Result<Renewal<C>, BoxError>> {
        Box::pin(self(claims))
    }
}

/// The decision about a session at a refresh.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Renewal<C> {
    /// The new tokens have the claims and the scope of the refresh token.
    Keep,
    /// The new tokens have these claims and this scope: a role that was taken away is gone.
    Replace {
        /// The application's own claims.
        claims: C,
        /// The scope of the tokens, as in [`NewSession::scope`](super::NewSession::scope).
        scope: String,
    },
    /// The user may have no new tokens.
    Refuse,
}

impl<C: Serialize + Send + Sync + 'static> TokenService<C> {
    /// Exchanges a refresh token for a new pair of its session. The token is used up.
    ///
    /// Repeated within [`Builder::reuse_grace`](super::Builder::reuse_grace), it gives tokens of
    /// the same identity (`jti`, `iat`, `exp`) again. Their bytes may differ if the algorithm's
    /// signatures are randomised. So a client that lost the answer, or whose request was dropped at
    /// any point, simply asks again.
    ///
    /// # Errors
    ///
    /// * [`Error::Token`] if the token is not valid. [`TokenError::Reused`] if it was used before;
    ///   its session is then revoked.
    /// * [`Error::Application`] if [`on_refresh`](super::Builder::on_refresh) failed, and
    ///   [`Error::Issue`] if its claims are not acceptable. The token is then still good.
    /// * [`Error::Store`]: the token may or may not be used up; ask again with the same token.
    pub async fn refresh(&self, refresh_token: &str) -> Result<TokenPair, Error> {
        self.refresh_or_ask(refresh_token, None).await
    }

    /// Makes a new access token for the session of a refresh token, which stays as it is: the
    /// predecessor's behaviour.
    ///
    /// Prefer [`refresh`](Self::refresh): a thief can use a refresh token that is never rotated for
    /// as long as it lives without being noticed.
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    ///
    /// As [`refresh`](Self::refresh). A refresh token that has a successor is refused, but its
    /// session is not revoked: nothing was rotated with it.
    pub async fn refresh_access_token(&self, refresh_token: &str) -> Result<IssuedToken, Error> {
        self.refresh_access_token_or_ask(refresh_token, None).await
    }

    /// Refreshes as [`refresh`](Self::refresh) does, with `hook` if the service has none of its
    /// own.
    pub(crate) async fn refresh_or_ask(
        &self,
        refresh_token: &str,
        hook: Option<&dyn OnRefresh<C>>,
    ) -> Result<TokenPair, Error> {
        let inner = self.inner();
        let keyring = inner.keyring.load_full();
        let mint = inner.mint(&keyring)?;
        let claims = inner.verify(&keyring, refresh_token, TokenType::Refresh)?;
        let exchange = self.exchange(&mint, claims, hook).await?;
        let claims = &exchange.claims;

        let rotate = Rotate {
            subject: claims.subject().as_str().to_owned(),
            sid: exchange.sid.clone(),
            counter: exchange.counter,
            idle: inner.lifetimes.idle,
            grace: inner.lifetimes.grace,
        };
        let successor = match mint.store.rotate(rotate).await? {
            Rotated::Rotated(successor) | Rotated::Replayed(successor) => successor,
            Rotated::Reused { now } => {
                inner.has_ended(claims.subject().as_str(), &exchange.sid, now);
                let (subject, session_id) = (claims.subject().as_str().to_owned(), exchange.sid);
                inner.emit(&SecurityEvent::ReuseDetected { subject, session_id });
                return Err(TokenError::Reused.into());
            }
            Rotated::Revoked { at, .. } => return Err(revoked(claims, at).into()),
            Rotated::Unknown { .. } => return Err(TokenError::UnknownSession.into()),
            Rotated::Expired { .. } => return Err(TokenError::SessionExpired.into()),
        };
        // Only signing is left: nothing after the rotation can fail for the application's reasons
        // (protocol section 3).
        let identity = Identity {
            subject: claims.subject().as_str(),
            sid: &exchange.sid,
            counter: successor.counter,
            generation: successor.generation,
            issued_at: successor.issued_at,
            session_end: successor.refresh_end,
            access_lifetime: inner.access_lifetime_of(claims),
            now: successor.now,
        };
        identity.has_time_left()?;
        let access = mint.access(&identity, &exchange.scope, exchange.custom())?;
        let refresh = mint.refresh(&identity, &exchange.scope, exchange.custom())?;
        Ok(TokenPair { access, refresh, session_id: exchange.sid })
    }

    /// Refreshes as [`refresh_access_token`](Self::refresh_access_token) does, with `hook` if the
    /// service has none of its own.
    pub(crate) async fn refresh_access_token_or_ask(
        &self,
        refresh_token: &str,
        hook: Option<&dyn OnRefresh<C>>,
    ) -> Result<IssuedToken, Error> {
        let inner = self.inner();
        let keyring = inner.keyring.load_full();
        let mint = inner.mint(&keyring)?;
        let claims = inner.verify(&keyring, refresh_token, TokenType::Refresh)?;
        let exchange = self.exchange(&mint, claims, hook).await?;
        let (claims, sid) = (&exchange.claims, &exchange.sid);

        let checked = mint.store.check(claims.subject().as_str(), sid, claims.token_id().as_str()).await?;
        judge_session(claims, &checked)?;
        let SessionState::Active { generation, refresh_end, .. } = checked.state else {
            return Err(TokenError::UnknownSession.into());
        };
        let identity = Identity {
            subject: claims.subject().as_str(),
            sid,
            counter: exchange.counter,
            generation,
            issued_at: checked.now,
            session_end: refresh_end,
            access_lifetime: inner.access_lifetime_of(claims),
            now: checked.now,
        };
        identity.has_time_left()?;
        // Unlike the successors of a rotation these are many. So each has an id of its own, by
        // which it can be revoked alone.
        let jti = format!("{sid}.{}.{}.a", exchange.counter, random_id()?);
        mint.access_with_id(jti, &identity, &exchange.scope, exchange.custom())
    }

    /// Prepares an exchange after the check of the token's text. Asks the application, and checks
    /// that tokens of its answer can be made, before the store is asked.
    async fn exchange(
        &self,
        mint: &Mint<'_>,
        claims: Claims<C>,
        hook: Option<&dyn OnRefresh<C>>,
    ) -> Result<Exchange<C>, Error> {
        self.inner().refuse_if_revoked(&claims)?;
        let counter = refresh_counter(&claims)?;
        let sid = claims.session_id().map_or("", SessionId::as_str).to_owned();
        let (replaced, scope) = self.renew(&claims, hook).await?;
        let exchange = Exchange { claims, sid, counter, replaced, scope };
        mint.check(exchange.claims.subject().as_str(), &exchange.scope, exchange.custom())?;
        Ok(exchange)
    }

    /// Asks the application for claims and scope; `None` for the claims of the refresh token. Its
    /// panic is an error like any other of its failures.
    async fn renew(&self, claims: &Claims<C>, hook: Option<&dyn OnRefresh<C>>) -> Result<(Option<C>, Scope), Error> {
        let Some(hook) = self.inner().on_refresh.as_deref().or(hook) else {
            return Ok((None, claims.scope().clone()));
        };
        let asked = AssertUnwindSafe(async { hook.on_refresh(claims.clone()).await });
        match asked.catch_unwind().await {
            Ok(Ok(Renewal::Keep)) => Ok((None, claims.scope().clone())),
            Ok(Ok(Renewal::Replace { claims, scope })) => {
                let scope = Scope::parse(&scope).ok_or(Error::Issue("`on_refresh` gave a malformed scope".into()))?;
                Ok((Some(claims), scope))
            }
            Ok(Ok(Renewal::Refuse)) => {
                self.inner().emit(&SecurityEvent::RefreshRefused {
                    subject: claims.subject().as_str().to_owned(),
                    session_id: claims.session_id().map_or("", SessionId::as_str).to_owned(),
                });
                Err(TokenError::UserRefused.into())
            }
            Ok(Err(error)) => Err(Error::of_application(error)),
            Err(_) => Err(Error::Application("the `on_refresh` hook panicked".into())),
        }
    }
}

/// A refresh token whose text is good, with the claims and scope of its successors.
struct Exchange<C> {
    claims: Claims<C>,
    sid: String,
    counter: u32,
    /// `None`: the claims of the refresh token.
    replaced: Option<C>,
    scope: Scope,
}

impl<C> Exchange<C> {
    fn custom(&self) -> &C {
        self.replaced.as_ref().unwrap_or_else(|| self.claims.custom())
    }
}

//! The exchange of refresh tokens.

use std::{fmt, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use serde::Serialize;

use super::{
    events::SecurityEvent,
    issue::TokenIssuer,
    judge::{NO_SESSION, judge_session, refresh_counter, refusal_by, refuse_if_revoked, revoked},
    keyring::Keyring,
    mint::Identity,
    session::{IssuedToken, TokenPair},
};
use crate::{
    clock::{Clock, Timestamp},
    error::{BoxError, Error, TokenError},
    ids::{SessionId, TokenId},
    jwt::{Claims, JwtClaims, RawClaims, Scope, TokenType, Validation, validate_jwt_stateless},
    observe::{Observation, RefreshResult, SessionEnd},
    store::{BoxFuture, RotateRefresh, Rotated, SessionState},
};

/// A hook that decides at every refresh whether a user may have new tokens, and with which claims.
///
/// Any `async` closure that takes a [`Refreshing`] implements it:
///
/// ```
/// use tower_bearer::{BoxError, MemoryStore, Renewal, TokenService, tokens::Refreshing};
///
/// let tokens = TokenService::builder()
///     .secret("a test secret that is long enough for HS256")
///     .store(MemoryStore::default())
///     .on_refresh(|session: Refreshing| async move {
///         // Ask your user database here.
///         let active = session.claims().subject() != "7";
///         Ok::<_, BoxError>(if active { Renewal::Keep } else { Renewal::Refuse })
///     })
///     .build()?;
/// # Ok::<(), tower_bearer::error::ConfigError>(())
/// ```
pub trait OnRefresh<C>: Send + Sync + 'static {
    /// Returns the decision, before the store uses up the refresh token. After an error or a panic
    /// of the hook, the client may try again with the same token.
    ///
    /// If the client disconnects, the server may drop the future.
    fn on_refresh(&self, session: Refreshing<C>) -> BoxFuture<Result<Renewal<C>, BoxError>>;
}

impl<C, F, Fut> OnRefresh<C> for F
where
    F: Fn(Refreshing<C>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Renewal<C>, BoxError>> + Send + 'static,
{
    fn on_refresh(&self, session: Refreshing<C>) -> BoxFuture<Result<Renewal<C>, BoxError>> {
        Box::pin(self(session))
    }
}

/// A refresh token that the service is about to exchange: the input of [`OnRefresh`]. A cheap
/// handle: clones share the claims.
///
/// The token's text, signature and registered claims are valid. Its custom claims may be those of
/// an older version of the application (see [Changing your claims](super#changing-your-claims)).
pub struct Refreshing<C = crate::NoClaims>(Arc<Presented<C>>);

/// The claims of a refresh token.
struct Presented<C> {
    claims: Claims<RawClaims>,
    /// The claims with custom claims of type `C`, or the reason why the custom claims do not fit.
    custom: Result<Claims<C>, TokenError>,
}

impl<C> Refreshing<C> {
    /// Returns the registered claims of the refresh token: user, session, scope.
    #[must_use]
    pub fn claims(&self) -> &JwtClaims<RawClaims> {
        &self.0.claims
    }

    /// Returns the application's own claims. Returns `None` if they do not deserialize to `C`, or
    /// if a claim of [`require_claims`](super::TokenServiceBuilder::require_claims) is missing.
    #[must_use]
    pub fn custom(&self) -> Option<&C> {
        self.0.custom.as_ref().ok().map(|claims| claims.custom())
    }

    /// Returns the custom claims as the token contains them, even if they do not fit `C`.
    #[must_use]
    pub fn raw_custom(&self) -> &RawClaims {
        self.0.claims.custom()
    }
}

impl<C> Clone for Refreshing<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for Refreshing<C> {
    /// Omits the custom claims, which may be personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshing").field("claims", &self.0.claims).finish_non_exhaustive()
    }
}

/// The decision about a session at a refresh.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Renewal<C> {
    /// The new tokens have the claims and the scope of the refresh token. If
    /// [`custom`](Refreshing::custom) is `None`, the service refuses the refresh.
    Keep,
    /// The new tokens have these claims and this scope, for example without a revoked role.
    Replace {
        /// The application's own claims.
        claims: C,
        /// The scope of the tokens, as in [`NewSession::scope`](super::NewSession::scope).
        scope: String,
    },
    /// The user may not have new tokens.
    Refuse,
}

/// The part of a service that exchanges refresh tokens.
pub(super) struct Refresher<C> {
    pub(super) issuer: Arc<TokenIssuer>,
    /// The rules for refresh tokens, without `require_claims`: `on_refresh` may add those claims.
    pub(super) validation: Arc<Validation>,
    pub(super) clock: Arc<dyn Clock>,
    /// [`Claims::parse_custom`] for `C`. A function pointer needs no bounds on `C`.
    pub(super) parse_custom: fn(&Claims<RawClaims>) -> Result<Claims<C>, TokenError>,
    pub(super) hook: Option<Arc<dyn OnRefresh<C>>>,
}

impl<C: Serialize + Send + Sync + 'static> Refresher<C> {
    /// Begins an exchange: verifies the token, checks the replica's deny set, and calls the hook.
    /// Does not use up the token. Calls `fallback` if the service has no `on_refresh` hook.
    pub(super) async fn begin(
        &self,
        refresh_token: &str,
        fallback: Option<&dyn OnRefresh<C>>,
    ) -> Result<Exchange<'_, C>, Error> {
        let issuer = &*self.issuer;
        let keyring = issuer.keyring.load_full();
        let verified = self.verify(&keyring, refresh_token);
        let token = verified.map_err(|error| refusal_by(error, &*self.clock, &issuer.conditions))?;
        if let Some(replica) = &issuer.replica {
            refuse_if_revoked(replica, &token.0.claims)?;
        }
        let counter = refresh_counter(token.claims())?;
        let sid = token.claims().session_id().cloned().ok_or(NO_SESSION)?;
        let (replaced, scope) = self.renew(&token, &sid, fallback).await?;
        let exchange = Exchange { issuer, keyring, token, sid, counter, replaced, scope };
        // Unusable claims must fail before the store rotates the session.
        let mint = issuer.rules.mint(&exchange.keyring)?;
        mint.check(exchange.token.claims().subject(), &exchange.scope, exchange.custom()?)?;
        Ok(exchange)
    }

    fn verify(&self, keyring: &Keyring, refresh_token: &str) -> Result<Refreshing<C>, TokenError> {
        let (keys, now) = (&keyring.keys, self.clock.now());
        let claims =
            validate_jwt_stateless::<RawClaims>(refresh_token, keys, &self.validation, TokenType::Refresh, now)?;
        let custom = if self.issuer.rules.validation.has_required(&claims) {
            (self.parse_custom)(&claims)
        } else {
            Err(TokenError::Claims("a claim that `require_claims` demands is missing"))
        };
        Ok(Refreshing(Arc::new(Presented { claims, custom })))
    }

    /// Calls the hook, and returns the new claims and the scope. Returns no claims if the new
    /// tokens keep the claims of the refresh token. Returns an error if the hook panics.
    async fn renew(
        &self,
        token: &Refreshing<C>,
        sid: &SessionId,
        fallback: Option<&dyn OnRefresh<C>>,
    ) -> Result<(Option<C>, Scope), Error> {
        let claims = token.claims();
        let Some(hook) = self.hook.as_deref().or(fallback) else { return Ok((None, claims.scope().clone())) };
        let asked = AssertUnwindSafe(async { hook.on_refresh(token.clone()).await });
        match asked.catch_unwind().await {
            Ok(Ok(Renewal::Keep)) => Ok((None, claims.scope().clone())),
            Ok(Ok(Renewal::Replace { claims, scope })) => {
                let scope = Scope::parse(&scope).ok_or(Error::Issue(
                    "`on_refresh` returned a malformed scope; separate scope tokens by single spaces".into(),
                ))?;
                Ok((Some(claims), scope))
            }
            Ok(Ok(Renewal::Refuse)) => {
                self.issuer.events.emit(&SecurityEvent::RefreshRefused {
                    subject: claims.subject().clone(),
                    session_id: sid.clone(),
                });
                Err(TokenError::UserRefused.into())
            }
            Ok(Err(error)) => Err(Error::of_application(error)),
            Err(_) => {
                Err(Error::Application("the `on_refresh` hook panicked; see the panic message and fix the hook".into()))
            }
        }
    }
}

/// A verified refresh token, with the claims and the scope for the new pair of tokens.
pub(crate) struct Exchange<'a, C> {
    issuer: &'a TokenIssuer,
    /// The keys for the whole exchange, even if another thread replaces the service's keys.
    keyring: Arc<Keyring>,
    token: Refreshing<C>,
    sid: SessionId,
    counter: u32,
    /// The new custom claims. `None` if the new tokens keep those of the refresh token.
    replaced: Option<C>,
    scope: Scope,
}

impl<C: Serialize> Exchange<'_, C> {
    /// Uses up the refresh token, and mints its successor.
    pub(super) async fn rotate(self) -> Result<(TokenPair, RefreshResult), Error> {
        let Self { issuer, ref token, ref sid, .. } = self;
        let claims = token.claims();
        let rotate = RotateRefresh {
            subject: claims.subject().clone(),
            sid: sid.clone(),
            counter: self.counter,
            idle: issuer.lifetimes.idle,
            grace: issuer.lifetimes.reuse_grace,
        };
        let rotated = issuer.store.rotate(rotate).await;
        issuer.conditions.note_write(&rotated);
        let (successor, result) = match rotated? {
            Rotated::Rotated(successor) => (successor, RefreshResult::Rotated),
            Rotated::Replayed(successor) => (successor, RefreshResult::Replayed),
            Rotated::Reused { now } => {
                issuer.session_ended(claims.subject(), sid, now);
                issuer.observer.observe(|| Observation::SessionEnded { cause: SessionEnd::Reused });
                #[cfg(feature = "tracing")]
                tracing::warn!(
                    session = sid.as_str(),
                    "a used refresh token was sent again, so its session was revoked; a thief may have a copy: tell \
                     the user"
                );
                let (subject, session_id) = (claims.subject().clone(), sid.clone());
                issuer.events.emit(&SecurityEvent::ReuseDetected { subject, session_id });
                return Err(TokenError::Reused.into());
            }
            Rotated::Revoked { at, .. } => return Err(revoked(claims, at).into()),
            Rotated::Unknown { .. } => return Err(TokenError::UnknownSession.into()),
            Rotated::Expired { .. } => return Err(TokenError::SessionExpired.into()),
        };
        // Only the signing is left. If the hook ran here and failed, the refresh token would be
        // used up, and the next attempt could count as theft (`docs/protocol.md`, section 3).
        let identity = Identity {
            counter: successor.counter,
            issued_at: successor.issued_at,
            last_revocation: successor.last_revocation,
            ..self.identity(successor.now, successor.generation, successor.refresh_end)
        };
        identity.has_time_left()?;
        let pair = issuer.rules.mint(&self.keyring)?.pair(&identity, &self.scope, self.custom()?)?;
        Ok((pair, result))
    }

    /// Returns the identity of a new access token, by the store's record of the session. Does not
    /// use up the refresh token. Returns an error if that token is not the newest of its session.
    pub(crate) async fn current_identity(&self) -> Result<Identity<'_>, Error> {
        let claims = self.token.claims();
        let checked = self.issuer.store.check(claims.subject(), &self.sid, claims.token_id()).await?;
        judge_session(claims, &checked)?;
        let SessionState::Active { generation, refresh_end, .. } = checked.state else {
            return Err(TokenError::UnknownSession.into());
        };
        let identity = self.identity(checked.now, generation, refresh_end);
        identity.has_time_left()?;
        Ok(identity)
    }

    pub(crate) fn access_with_id(&self, jti: TokenId, identity: &Identity<'_>) -> Result<IssuedToken, Error> {
        self.issuer.rules.mint(&self.keyring)?.access_with_id(jti, identity, &self.scope, self.custom()?)
    }

    fn identity(&self, now: Timestamp, generation: u64, session_end: Timestamp) -> Identity<'_> {
        Identity {
            subject: self.token.claims().subject(),
            sid: &self.sid,
            counter: self.counter,
            generation,
            issued_at: now,
            session_end,
            access_lifetime: self.access_lifetime(),
            now,
            // The store's answer to `check` contains no stamp.
            last_revocation: None,
        }
    }

    /// Returns the lifetime of new access tokens. A refresh token of an older version of this crate
    /// contains no lifetime. The configured lifetime then applies.
    fn access_lifetime(&self) -> Duration {
        let lifetime = self.token.claims().access_lifetime().unwrap_or(self.issuer.lifetimes.access);
        lifetime.min(self.issuer.rules.validation.max_access_lifetime_in_force())
    }
}

impl<C> Exchange<'_, C> {
    /// Returns the custom claims of the new tokens.
    fn custom(&self) -> Result<&C, TokenError> {
        match &self.replaced {
            Some(replaced) => Ok(replaced),
            None => match &self.token.0.custom {
                Ok(claims) => Ok(claims.custom()),
                Err(error) => Err(error.clone()),
            },
        }
    }
}

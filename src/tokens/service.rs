//! The service itself, and what every request goes through: [`TokenService::validate_token`].

use std::{
    fmt,
    future::Future,
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};

use super::{
    AuthenticationStart, OnRefresh, SecurityEvent, TokenPolicy,
    cache::{Text, Verified},
    keyring::{KeyRules, Keyring},
    validator::{self, Validator},
};
use crate::{
    clock::{Clock, Timestamp},
    error::{Error, StoreError, StoreErrorKind, TokenError},
    jwt::{Claims, JwtClaims, KeySet, NoClaims, TokenType, Validation, decode_token},
    store::{Answer, BoxFuture, Checked, Denial, DenyQuery, SessionState, TokenStore},
};

/// Issues, checks, refreshes and revokes tokens. Made by [`TokenService::builder`].
///
/// A cheap handle: its clones are the same service. `C` are the application's own claims.
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
/// let pair = tokens.create_token_pair(NewSession::of("42").scope("read")).await?;
/// let claims = tokens.validate_token(pair.access().as_str(), TokenType::Access).await?;
/// assert_eq!(claims.subject(), "42");
///
/// tokens.revoke_all_for_subject("42").await?;
/// assert!(tokens.validate_token(pair.access().as_str(), TokenType::Access).await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct TokenService<C = NoClaims> {
    inner: Arc<Inner<C>>,
}

/// How old the store's time may be that a login begins with, in ms.
const LONGEST_UNASKED: u64 = 30_000;

/// Is called with security events.
pub(super) type OnEvent = Arc<dyn Fn(&SecurityEvent) + Send + Sync>;

/// [`validate_jwt_stateless`](crate::jwt::validate_jwt_stateless) for one type of claims.
pub(super) type Parse<C> = fn(&str, &KeySet, &Validation, TokenType, Timestamp) -> Result<Claims<C>, TokenError>;

/// All that a service is made of. Nothing of it changes but the keys, what is known of tokens, and when the store was last asked for its time.
pub(super) struct Inner<C> {
    /// Each operation loads it once: the whole of it is done with one key set.
    pub(super) keyring: ArcSwap<Keyring<C>>,
    pub(super) key_rules: KeyRules,
    pub(super) validation: Validation,
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) store: Option<Arc<dyn TokenStore>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: TokenPolicy,
    pub(super) lifetimes: Lifetimes,
    pub(super) max_sessions: Option<NonZeroU32>,
    /// When a login last asked the store for its time, in ms.
    pub(super) asked_for_time: AtomicU64,
    /// Reads a token's text. A pointer, so that whoever only checks tokens needs no bounds on `C`.
    pub(super) parse: Parse<C>,
    pub(super) validator: Option<Validator<C>>,
    pub(super) on_event: Option<OnEvent>,
    pub(super) on_refresh: Option<Arc<dyn OnRefresh<C>>>,
}

pub(super) struct Lifetimes {
    pub(super) access: Duration,
    pub(super) idle: Duration,
    pub(super) absolute: Duration,
    pub(super) grace: Duration,
    /// For how long after a token's `exp` its revocation is remembered: leeway and margin.
    pub(super) after_end: Duration,
}

impl<C> Clone for TokenService<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C> fmt::Debug for TokenService<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenService")
            .field("issuer", &self.inner.issuer)
            .field("audience", &self.inner.audience)
            .field("policy", &self.inner.policy)
            .field("store", &self.inner.store.as_ref().map(|store| store.name()))
            .finish_non_exhaustive()
    }
}

impl<C> TokenService<C> {
    pub(super) fn from_inner(inner: Inner<C>) -> Self {
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn inner(&self) -> &Inner<C> {
        &self.inner
    }

    /// The moment at which an authentication begins: take it **before** the password is looked at, and hand it to
    /// [`NewSession::authenticated_since`](super::NewSession::authenticated_since).
    ///
    /// It is the store's time as known without asking, which may lag: by 15 ms for each minute in which a `RedisStore` was
    /// asked nothing. A login is refused if all sessions were revoked in that time just before it. The login endpoint
    /// asks the store first; to do so too, await [`TokenStore::ping`] now and then.
    #[must_use]
    pub fn authentication_begins(&self) -> AuthenticationStart {
        AuthenticationStart(self.inner.store_now())
    }
}

impl<C: Send + Sync + 'static> TokenService<C> {
    /// The moment at which an authentication begins, by a store that was asked for its time within the last 30 s: not at
    /// every login, else whoever guesses passwords would load the store. If it does not answer, the time known will do:
    /// it is the earlier one, and so the safe one.
    pub(crate) async fn authentication_begins_now(&self) -> AuthenticationStart {
        let inner = self.inner();
        if let Some(store) = &inner.store {
            let asked = inner.asked_for_time.load(Ordering::Relaxed);
            if store.now().as_millis().abs_diff(asked) > LONGEST_UNASKED
                && let Ok(now) = store.ping().await
            {
                inner.asked_for_time.store(now.as_millis(), Ordering::Relaxed);
            }
        }
        self.authentication_begins()
    }

    /// Verifies a token and asks the store whether it is alive: what the middleware does for every request.
    ///
    /// A refresh token is valid only while it is the newest of its session; to use it, call [`refresh`](Self::refresh).
    ///
    /// Dropping the future has no effect: a check changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Token`] with the reason if the token is refused; [`Error::Store`] if the store could not be asked: then nothing may be
    /// concluded about the token.
    pub async fn validate_token(&self, token: &str, expected: TokenType) -> Result<Claims<C>, Error> {
        match self.check(token, expected) {
            AccessCheck::Done(result) => result,
            AccessCheck::Pending(pending) => pending.await,
        }
    }

    /// Verifies text, signature and claims of a token, and nothing else: a revoked token passes, and the application's
    /// [`validator`](super::Builder::validator) is not asked. Every call verifies the signature: what is remembered of tokens is for requests.
    ///
    /// # Errors
    ///
    /// The first rule that the token breaks.
    pub fn validate_jwt_stateless(&self, token: &str, expected: TokenType) -> Result<Claims<C>, TokenError> {
        let inner = self.inner();
        inner.verify(&inner.keyring.load(), token, expected)
    }

    /// Reads a token of either kind and any age whose signature and claims are good.
    ///
    /// # Errors
    ///
    /// The first rule that the token breaks; never its times.
    pub fn decode_token(&self, token: &str) -> Result<JwtClaims<C>, TokenError>
    where
        C: serde::de::DeserializeOwned,
    {
        decode_token(token, &self.inner.keyring.load().keys, &self.inner.validation)
    }

    /// The longest text that is looked at.
    pub(crate) fn max_token_len(&self) -> usize {
        self.inner.key_rules.max_token_len
    }

    /// Begins the check of a token: done at once, or when the store has answered.
    pub(crate) fn check(&self, token: &str, expected: TokenType) -> AccessCheck<C> {
        self.begin_check(token, expected).unwrap_or_else(|error| AccessCheck::Done(Err(error)))
    }

    /// What is remembered of the text or verified in it, then whether it was revoked; then it is remembered, and the application asked.
    fn begin_check(&self, token: &str, expected: TokenType) -> Result<AccessCheck<C>, Error> {
        let inner = self.inner();
        let keyring = inner.keyring.load();
        let is_access = expected == TokenType::Access;
        // Only access tokens are remembered: a refresh token is used once, and an access token in its place has to be found to be one.
        let sought = if is_access { keyring.verified.seek(token) } else { None };
        let (claims, first_use) = match sought.as_ref().and_then(|sought| keyring.verified.find(sought)) {
            Some(Verified { claims }) => {
                inner.validation.check_times(&claims, inner.clock.now())?;
                (claims, None)
            }
            None => (inner.verify(&keyring, token, expected)?, sought),
        };
        let (claims, answer) = inner.ask_store(claims)?;
        // What a refresh token may still do is `on_refresh`'s to say.
        let validator = inner.validator.as_ref().filter(|_| is_access);
        Ok(match answer {
            None => {
                if let Some(sought) = first_use {
                    keyring.verified.keep(sought.to_text(), Verified { claims: claims.clone() });
                }
                AccessCheck::Done(validator::ask(validator, claims))
            }
            Some(answer) => AccessCheck::Pending(Pending {
                claims,
                answer,
                first_use: first_use
                    .map(|sought| FirstUse { text: sought.to_text(), keyring: Guard::into_inner(keyring) }),
                validator: validator.cloned(),
            }),
        })
    }
}

impl<C> Inner<C> {
    /// Verifies all that can be told from the text of a token.
    pub(super) fn verify(
        &self,
        keyring: &Keyring<C>,
        token: &str,
        expected: TokenType,
    ) -> Result<Claims<C>, TokenError> {
        (self.parse)(token, &keyring.keys, &self.validation, expected, self.clock.now())
    }

    /// Asks whether a token with these claims was revoked: if it is good so far, what has yet to be awaited.
    fn ask_store(&self, claims: Claims<C>) -> Result<(Claims<C>, Option<Awaited>), Error> {
        let leeway = self.validation.leeway_in_force();
        Ok(match (self.policy, &self.store) {
            (TokenPolicy::Stateless, _) => (claims, None),
            // `build` lets neither of the other policies be without a store.
            (_, None) => return Err(StoreError::new(StoreErrorKind::Unavailable).into()),
            (TokenPolicy::Tracked, Some(store)) => {
                let sid = claims.session_id().ok_or(TokenError::Claims("`sid` is missing"))?;
                match store.check(claims.subject(), sid, claims.token_id()) {
                    Answer::Ready(answer) => (judge_session(claims, &answer?)?, None),
                    Answer::Pending(answer) => (claims, Some(Awaited::Session(answer))),
                }
            }
            (TokenPolicy::Denylist, Some(store)) => match store.denied(DenyQuery {
                issuer: claims.issuer().unwrap_or_default().to_owned(),
                jti: Some(claims.token_id().to_owned()),
                sid: claims.session_id().map(str::to_owned),
                subject: Some(claims.subject().to_owned()),
            }) {
                Answer::Ready(answer) => (judge_denial(claims, &answer?, leeway)?, None),
                Answer::Pending(answer) => (claims, Some(Awaited::Denial(answer, leeway))),
            },
        })
    }

    /// The store's time as best known; without a store, this node's.
    pub(super) fn store_now(&self) -> Timestamp {
        self.store.as_ref().map_or_else(|| self.clock.now(), |store| store.now())
    }

    /// Tells the application. A panic of its code ends here: it must not take a request down whose work is done.
    pub(super) fn emit(&self, event: &SecurityEvent) {
        let Some(hook) = &self.on_event else { return };
        if catch_unwind(AssertUnwindSafe(|| hook(event))).is_err() {
            #[cfg(feature = "tracing")]
            tracing::error!("the application's `on_event` hook panicked");
        }
    }
}

/// A token to be remembered if the store accepts it, beside the keys that it was verified with: should these be replaced meanwhile, nobody finds it.
struct FirstUse<C> {
    text: Text,
    keyring: Arc<Keyring<C>>,
}

/// A check of an access token that has begun.
pub(crate) enum AccessCheck<C> {
    Done(Result<Claims<C>, Error>),
    Pending(Pending<C>),
}

/// A check that waits for the store. It borrows nothing, so it can stand in a response future.
pub(crate) struct Pending<C> {
    claims: Claims<C>,
    answer: Awaited,
    first_use: Option<FirstUse<C>>,
    validator: Option<Validator<C>>,
}

enum Awaited {
    Session(BoxFuture<Result<Checked, StoreError>>),
    Denial(BoxFuture<Result<Denial, StoreError>>, Duration),
}

impl<C> Future for Pending<C> {
    type Output = Result<Claims<C>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { claims, answer, first_use, validator } = &mut *self;
        let claims = match answer {
            Awaited::Session(answer) => {
                let checked = ready!(answer.as_mut().poll(context))?;
                judge_session(claims.clone(), &checked)?
            }
            Awaited::Denial(answer, leeway) => {
                let denial = ready!(answer.as_mut().poll(context))?;
                judge_denial(claims.clone(), &denial, *leeway)?
            }
        };
        if let Some(FirstUse { text, keyring }) = first_use.take() {
            keyring.verified.keep(text, Verified { claims: claims.clone() });
        }
        Poll::Ready(validator::ask(validator.as_ref(), claims))
    }
}

/// What the store's answer about a session of ours means for a token of it.
pub(super) fn judge_session<C>(claims: Claims<C>, checked: &Checked) -> Result<Claims<C>, Error> {
    match checked.state {
        SessionState::Active { counter, .. } => match claims.token_type() {
            // An older refresh token has a successor: it is spent, whoever holds it.
            Some(TokenType::Refresh) if refresh_counter(&claims)? < counter => Err(revoked(&claims, None).into()),
            _ => Ok(claims),
        },
        SessionState::Revoked { at } => Err(revoked(&claims, at).into()),
        SessionState::Unknown => Err(TokenError::UnknownSession.into()),
        SessionState::Expired => Err(TokenError::SessionExpired.into()),
    }
}

/// What is known against another issuer's token, and what it means (protocol section 6). The other issuer's clock may differ
/// from the store's by the leeway: a token that may have been issued before the revocation, or before the store began to remember, counts as
/// issued before it.
fn judge_denial<C>(claims: Claims<C>, denial: &Denial, leeway: Duration) -> Result<Claims<C>, Error> {
    let issued_at = claims.issued_at();
    let before = denial.revoked_before.filter(|before| issued_at <= before.saturating_add(leeway));
    if denial.token || before.is_some() {
        return Err(revoked(&claims, before).into());
    }
    if issued_at < denial.born.saturating_add(leeway) {
        return Err(TokenError::Claims("it was issued before the store began to remember revocations").into());
    }
    Ok(claims)
}

pub(super) fn revoked<C>(claims: &JwtClaims<C>, revoked_at: Option<Timestamp>) -> TokenError {
    TokenError::Revoked { token_id: claims.token_id().to_owned(), revoked_at }
}

/// The counter of a refresh token, which stands in its `jti`: `<sid>.<counter>.r`.
pub(super) fn refresh_counter<C>(claims: &JwtClaims<C>) -> Result<u32, TokenError> {
    claims
        .session_id()
        .and_then(|sid| claims.token_id().strip_prefix(sid)?.strip_prefix('.')?.strip_suffix(".r")?.parse().ok())
        .ok_or(TokenError::Claims("`jti` and `sid` are not those of a refresh token of this service"))
}

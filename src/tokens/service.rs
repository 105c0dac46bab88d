//! The service itself, and the check of every request: [`TokenService::validate_token`].

use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use super::{
    AuthenticationStart, OnRefresh, SecurityEvent, TokenPolicy,
    cache::VerifiedTokens,
    check::{AccessCheck, Freshness},
    events::{self, OnEvent},
    keyring::{CurrentKeyring, Keyring},
    validator::Validator,
};
use crate::{
    clock::{Clock, Timestamp},
    error::{Error, StoreError, StoreErrorKind, TokenError},
    ids::Subject,
    jwt::{Claims, JwtClaims, KeySet, NoClaims, TokenType, Validation, decode_token},
    replica::{Replica, ReplicaTasks},
    store::{Denylist, LogPosition, SessionStore},
};

/// A service that issues, checks, refreshes and revokes tokens. Made by [`TokenService::builder`].
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
    inner: Arc<Inner<C>>,
}

/// The longest age of the store's time with which a login may begin, in ms.
const LONGEST_UNASKED: u64 = 30_000;

/// A pause that is longer than the millisecond in which times are counted, however the paces of two
/// clocks differ.
const A_MOMENT: Duration = Duration::from_millis(2);

/// [`validate_jwt_stateless`](crate::jwt::validate_jwt_stateless) for one type of claims.
pub(super) type Parse<C> = fn(&str, &KeySet, &Validation, TokenType, Timestamp) -> Result<Claims<C>, TokenError>;

/// The parts of a service. Only these change: the keys, the cached tokens, and the time of the last
/// question for the store's time.
pub(super) struct Inner<C> {
    /// Each operation loads it once, so that one key set serves all of it.
    pub(super) keyring: CurrentKeyring,
    /// The access tokens that were verified with its keys.
    pub(super) verified: VerifiedTokens<C>,
    pub(super) validation: Validation,
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) store: Option<Arc<dyn SessionStore>>,
    /// Present under [`TokenPolicy::Denylist`].
    pub(super) denylist: Option<Arc<dyn Denylist>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: TokenPolicy,
    pub(super) lifetimes: Lifetimes,
    pub(super) max_sessions: Option<NonZeroU32>,
    /// The time at which a login last asked the store for its time, in ms.
    pub(super) asked_for_time: AtomicU64,
    /// Reads a token's text. A pointer, so that a service that only checks tokens needs no bounds
    /// on `C`.
    pub(super) parse: Parse<C>,
    pub(super) validator: Option<Validator<C>>,
    pub(super) on_event: Option<OnEvent>,
    pub(super) on_refresh: Option<Arc<dyn OnRefresh<C>>>,
    pub(super) replica: Option<Arc<Replica>>,
    /// They end with the last handle of the service. A check that is under way is one too.
    pub(super) _tasks: Option<ReplicaTasks>,
}

pub(super) struct Lifetimes {
    pub(super) access: Duration,
    pub(super) idle: Duration,
    pub(super) absolute: Duration,
    pub(super) grace: Duration,
    /// The time after a token's `exp` for which its revocation is remembered: leeway and margin.
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

    /// Returns the moment at which an authentication begins. Take it **before** the password is
    /// checked, and give it to
    /// [`NewSession::authenticated_since`](super::NewSession::authenticated_since).
    ///
    /// It is the store's time as known without asking, which lags by a moment. A `RedisStore` adds
    /// 15 ms for each minute without a call. A login is refused ([`Error::LoginSuperseded`]) if all
    /// sessions were revoked in that time just before it. Authenticate again from the start then,
    /// as the login endpoint does, a little later.
    #[must_use]
    pub fn authentication_begins(&self) -> AuthenticationStart {
        AuthenticationStart(self.inner.store_now())
    }
}

impl<C: Send + Sync + 'static> TokenService<C> {
    /// Returns the moment at which an authentication begins, by a store that was asked for its time
    /// within the last 30 s. Not at every login: otherwise a client that guesses passwords would
    /// load the store. If the store does not answer, its estimated time will do: it is earlier, and
    /// so safe.
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

    /// Returns the moment at which an authentication begins anew, after one that was superseded, by
    /// a store that was just asked. It is later than the revocation that superseded it, as far as
    /// the clocks of a cluster's primaries agree.
    ///
    /// The store's time as known without asking lags a little, and both count whole milliseconds.
    /// So a login at once after a logout everywhere may seem to begin *before* the revocation.
    pub(crate) async fn authentication_begins_anew(&self) -> Result<AuthenticationStart, Error> {
        sleep(A_MOMENT).await;
        if let Some(store) = &self.inner().store {
            store.ping().await?;
        }
        Ok(self.authentication_begins())
    }

    /// Reports a correct login that was superseded twice to the application.
    pub(crate) fn login_was_overtaken(&self, subject: Subject) {
        #[cfg(feature = "tracing")]
        tracing::warn!(%subject, "a correct login was refused: revocations of all sessions overtook it twice");
        self.inner().emit(&SecurityEvent::LoginOvertaken { subject });
    }

    /// Verifies a token and checks that it is alive, as the middleware does for every request. It
    /// asks the store, unless
    /// [`Consistency::BoundedStaleness`](super::Consistency::BoundedStaleness) is configured and
    /// this node may decide.
    ///
    /// A refresh token is valid only while it is the newest of its session, which the store alone
    /// knows; to use it, call [`refresh`](Self::refresh).
    ///
    /// Dropping the future has no effect: a check changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Token`] with the reason if the token is refused; [`Error::Store`] if the store
    /// could not be asked: then nothing may be concluded about the token.
    pub async fn validate_token(&self, token: &str, expected: TokenType) -> Result<Claims<C>, Error> {
        self.validate(token, expected, Freshness::AsConfigured).await
    }

    /// Verifies a token as [`validate_token`](Self::validate_token) does, and always asks the
    /// store. Use it for actions that must not be possible a moment after a logout. See also
    /// [`AuthLayer::strong`](crate::AuthLayer::strong).
    ///
    /// # Errors
    ///
    /// As [`validate_token`](Self::validate_token).
    pub async fn validate_token_strong(&self, token: &str, expected: TokenType) -> Result<Claims<C>, Error> {
        self.validate(token, expected, Freshness::Strong).await
    }

    async fn validate(&self, token: &str, expected: TokenType, freshness: Freshness) -> Result<Claims<C>, Error> {
        match self.check(token, expected, freshness) {
            AccessCheck::Done(result) => result,
            AccessCheck::Pending(pending) => pending.await,
        }
    }

    /// Makes this node see a revocation of another node: no request that begins after this is
    /// decided without it.
    ///
    /// The position comes from [`Revoked::position`](crate::store::Revoked::position), and may
    /// travel as text. Take it from your own services only, since it makes requests ask the store.
    /// This call returns at once. Unless the log has been read up to the position, requests that
    /// concern its bucket ask the store until it was read anew. That read begins at once. Without
    /// bounded staleness this does nothing.
    pub fn require_position(&self, position: &LogPosition) {
        if let Some(replica) = &self.inner.replica {
            replica.require_position(position);
        }
    }

    /// Returns true if this node has read a revocation in the store's log. Then it holds here even
    /// if the store loses it, and under bounded staleness without a question to the store.
    ///
    /// This node's own revocations hold here at once, and are read at the next nudge or poll.
    /// `true` if no log is followed, as with the memory store under strong consistency.
    #[must_use]
    pub fn has_applied(&self, position: &LogPosition) -> bool {
        self.inner.replica.as_ref().is_none_or(|replica| replica.has_applied(position))
    }

    /// Verifies text, signature and claims of a token, and nothing else. A revoked token passes,
    /// and the application's [`validator`](super::Builder::validator) is not asked. Every call
    /// verifies the signature: the cache of verified tokens is for requests.
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

    /// Returns the length of the longest text that is checked.
    pub(crate) fn max_token_len(&self) -> usize {
        self.inner.keyring.max_token_len()
    }
}

impl<C> Inner<C> {
    /// Verifies the parts of a token that need its text alone.
    pub(super) fn verify(&self, keyring: &Keyring, token: &str, expected: TokenType) -> Result<Claims<C>, TokenError> {
        (self.parse)(token, &keyring.keys, &self.validation, expected, self.clock.now())
    }

    /// Returns the store's time as best known; without a store, this node's.
    pub(super) fn store_now(&self) -> Timestamp {
        self.store.as_ref().map_or_else(|| self.clock.now(), |store| store.now())
    }

    /// Returns the list of revocations of other issuers' tokens. `build` rejects the policy that
    /// needs it if the store has none.
    pub(super) fn denylist(&self) -> Result<&Arc<dyn Denylist>, Error> {
        self.denylist.as_ref().ok_or_else(|| StoreError::new(StoreErrorKind::Unavailable).into())
    }

    /// Reports an event to the application.
    pub(super) fn emit(&self, event: &SecurityEvent) {
        events::tell(self.on_event.as_ref(), event);
    }
}

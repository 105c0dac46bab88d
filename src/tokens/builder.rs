//! Configuration of a [`TokenService`]: all of it is checked once, in [`Builder::build`].

mod build;

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use zeroize::Zeroizing;

pub(super) use self::build::{LONGEST_LIFETIME, check_lifetime, max_foreign_life};
use super::{
    Consistency, OnRefresh, SecurityEvent, TokenPolicy, TokenService, Verdict, cache::CacheBounds, events::OnEvent,
    validator::Validator,
};
use crate::{
    clock::{Clock, SystemClock},
    error::{BoxError, ConfigError},
    jwt::{AccessTyp, Algorithm, Claims, DEFAULT_MAX_TOKEN_LEN, KeySet, NoClaims},
    settings::{self, Settings},
    store::SessionStore,
};

const DAY: Duration = Duration::from_secs(86_400);
const DEFAULT_QUESTIONS: NonZeroU32 = NonZeroU32::new(2000).unwrap();

/// Configuration of a [`TokenService`]. Made by [`TokenService::builder`].
///
/// | setting | default |
/// |--|--|
/// | [`secret`](Self::secret) or [`keys`](Self::keys) | none: one of them must be given |
/// | [`algorithm`](Self::algorithm) of the secret | HS256 |
/// | [`issuer`](Self::issuer), [`audience`](Self::audience) | none; tokens with one are refused |
/// | [`store`](Self::store) | none: must be given, but for [`TokenPolicy::Stateless`] |
/// | [`access_lifetime`](Self::access_lifetime) | 30 minutes |
/// | [`refresh_lifetime`](Self::refresh_lifetime) (idle) | 7 days since the last use |
/// | [`session_lifetime`](Self::session_lifetime) (absolute) | 30 days since the login |
/// | [`reuse_grace`](Self::reuse_grace) | 30 s |
/// | [`leeway`](Self::leeway) | 5 s |
/// | [`max_token_age`](Self::max_token_age) | no bound but a token's life |
/// | [`require_claims`](Self::require_claims), [`validator`](Self::validator) | none |
/// | [`max_sessions`](Self::max_sessions) | no limit |
/// | [`policy`](Self::policy) | [`TokenPolicy::Tracked`] |
/// | [`consistency`](Self::consistency) | [`Consistency::Strong`] |
/// | [`max_questions`](Self::max_questions) | 2000 a second |
/// | [`verified_cache`](Self::verified_cache) | 65 536 tokens, 64 MiB |
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<C = NoClaims> {
    secret: Option<Zeroizing<Vec<u8>>>,
    /// The name of the secret in errors: an operator who set a variable knows no method of this
    /// builder.
    secret_name: &'static str,
    algorithm: Option<Algorithm>,
    keys: Option<KeySet>,
    verify_only: bool,
    issuer: Option<String>,
    audience: Option<String>,
    also_accepted: Vec<String>,
    client_id: Option<String>,
    store: Option<Arc<dyn SessionStore>>,
    clock: Arc<dyn Clock>,
    policy: TokenPolicy,
    consistency: Consistency,
    poll_interval: Option<Duration>,
    max_questions: NonZeroU32,
    access_typ: Option<AccessTyp>,
    access_lifetime: Duration,
    refresh_lifetime: Duration,
    session_lifetime: Option<Duration>,
    max_access_lifetime: Option<Duration>,
    max_token_age: Option<Duration>,
    required_claims: Vec<String>,
    reuse_grace: Duration,
    leeway: Duration,
    max_token_len: usize,
    max_sessions: Option<u32>,
    verified_cache: CacheBounds,
    validator: Option<Validator<C>>,
    on_event: Option<OnEvent>,
    on_refresh: Option<Arc<dyn OnRefresh<C>>>,
    /// The hook that was given before the claims' type changed.
    hook_lost: Option<&'static str>,
}

impl TokenService<NoClaims> {
    /// Begins the configuration of a service.
    pub fn builder() -> Builder<NoClaims> {
        Builder {
            secret: None,
            secret_name: "secret",
            algorithm: None,
            keys: None,
            verify_only: false,
            issuer: None,
            audience: None,
            also_accepted: Vec::new(),
            client_id: None,
            store: None,
            clock: Arc::new(SystemClock),
            policy: TokenPolicy::default(),
            consistency: Consistency::default(),
            poll_interval: None,
            max_questions: DEFAULT_QUESTIONS,
            access_typ: None,
            access_lifetime: Duration::from_secs(30 * 60),
            refresh_lifetime: 7 * DAY,
            session_lifetime: None,
            max_access_lifetime: None,
            max_token_age: None,
            required_claims: Vec::new(),
            reuse_grace: Duration::from_secs(30),
            leeway: Duration::from_secs(5),
            max_token_len: DEFAULT_MAX_TOKEN_LEN,
            max_sessions: None,
            verified_cache: CacheBounds::DEFAULT,
            validator: None,
            on_event: None,
            on_refresh: None,
            hook_lost: None,
        }
    }
}

impl Builder<NoClaims> {
    /// Gives tokens claims of the application's own. Call it before
    /// [`on_refresh`](Self::on_refresh) and [`validator`](Self::validator).
    ///
    /// `D` must serialize to a JSON object without the registered names (`sub`, `exp`, ...).
    pub fn claims<D>(self) -> Builder<D> {
        Builder {
            hook_lost: self.hook_lost.or(self.on_refresh.map(|_| "on_refresh")).or(self.validator.map(|_| "validator")),
            validator: None,
            on_refresh: None,
            secret: self.secret,
            secret_name: self.secret_name,
            algorithm: self.algorithm,
            keys: self.keys,
            verify_only: self.verify_only,
            issuer: self.issuer,
            audience: self.audience,
            also_accepted: self.also_accepted,
            client_id: self.client_id,
            store: self.store,
            clock: self.clock,
            policy: self.policy,
            consistency: self.consistency,
            poll_interval: self.poll_interval,
            max_questions: self.max_questions,
            access_typ: self.access_typ,
            access_lifetime: self.access_lifetime,
            refresh_lifetime: self.refresh_lifetime,
            session_lifetime: self.session_lifetime,
            max_access_lifetime: self.max_access_lifetime,
            max_token_age: self.max_token_age,
            required_claims: self.required_claims,
            reuse_grace: self.reuse_grace,
            leeway: self.leeway,
            max_token_len: self.max_token_len,
            max_sessions: self.max_sessions,
            verified_cache: self.verified_cache,
            on_event: self.on_event,
        }
    }
}

impl<C> Builder<C> {
    /// Sets the secret that signs and verifies, with HS256 or the [`algorithm`](Self::algorithm)
    /// given. It needs at least as many random bytes as the hash has (RFC 7518 section 3.2). It is
    /// wiped from memory when the builder is gone.
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = Some(Zeroizing::new(secret.as_ref().to_vec()));
        self.secret_name = "secret";
        self
    }

    /// Sets the algorithm of the [`secret`](Self::secret): HS256, HS384 or HS512. A key of a
    /// [`KeySet`] has its own.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Sets the keys, instead of a secret: for public-key algorithms and for rotation.
    pub fn keys(mut self, keys: KeySet) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Makes a service that verifies tokens and issues none: its [`keys`](Self::keys) need no
    /// signing key.
    pub fn verify_only(mut self) -> Self {
        self.verify_only = true;
        self
    }

    /// Sets `iss` of the tokens: the URL of your service.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets `aud` of the tokens, which is also an accepted audience.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Adds another audience that is accepted.
    pub fn also_accept_audience(mut self, audience: impl Into<String>) -> Self {
        self.also_accepted.push(audience.into());
        self
    }

    /// Sets `client_id` of the tokens (RFC 9068 section 2.2).
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Sets the store of sessions.
    pub fn store(self, store: impl SessionStore) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// Sets the store of sessions, shared with others.
    pub fn shared_store(mut self, store: Arc<dyn SessionStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Sets the clock against which `exp`, `nbf` and `iat` are checked. Default: the system's.
    ///
    /// Tokens are *issued* at the store's time: a test that sets this clock gives the same one to
    /// [`MemoryStore::with_clock`](crate::MemoryStore::with_clock).
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the tokens that are accepted, and the question to the store about them.
    pub fn policy(mut self, policy: TokenPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets when a revocation takes effect, and so the cost of a request.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// Sets the interval at which the store's revocation log is read without nudges: at least a
    /// millisecond, at most half of the staleness.
    ///
    /// Default: 25 ms, or a quarter of the staleness if that is shorter; under
    /// [`Consistency::Strong`] 250 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = Some(interval);
        self
    }

    /// Bounds the questions to the store, in tokens a second, about tokens that were issued before
    /// this node followed the revocation log. There are such tokens after a start, and after the
    /// store has lost or replaced data. A token beyond the bound is answered 503 with
    /// `Retry-After`. Each token is asked about once. Default: 2000.
    ///
    /// It concerns [`Consistency::BoundedStaleness`] alone. *A failover makes all nodes ask at
    /// once, in front of a server that has just begun to serve.*
    pub fn max_questions(mut self, per_second: NonZeroU32) -> Self {
        self.max_questions = per_second;
        self
    }

    /// Sets the mark of an access token. Default: [`AccessTyp::Compatible`] for our own tokens,
    /// [`AccessTyp::AtJwt`] for another issuer's ([`TokenPolicy::Denylist`] and
    /// [`TokenPolicy::Stateless`]).
    pub fn access_typ(mut self, typ: AccessTyp) -> Self {
        self.access_typ = Some(typ);
        self
    }

    /// Sets the life of an access token. Whole seconds.
    ///
    /// A session keeps the life with which it was opened: after a change, tokens of older sessions
    /// live as long as before. [`max_access_lifetime`](Self::max_access_lifetime) bounds them too.
    ///
    /// Nodes that share a store may differ in it, and in the leeway by less than a minute.
    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_lifetime = lifetime;
        self
    }

    /// Sets the time for which a session lives without being refreshed. Whole seconds.
    pub fn refresh_lifetime(mut self, idle: Duration) -> Self {
        self.refresh_lifetime = idle;
        self
    }

    /// Sets the longest life of a session, however often it is refreshed. Whole seconds. Default:
    /// 30 days, or the [`refresh_lifetime`](Self::refresh_lifetime) if that is longer.
    pub fn session_lifetime(mut self, absolute: Duration) -> Self {
        self.session_lifetime = Some(absolute);
        self
    }

    /// Sets the longest accepted life of an access token, from `iat` to `exp`. Default: 24 hours,
    /// or the [`access_lifetime`](Self::access_lifetime) if that is longer.
    pub fn max_access_lifetime(mut self, max: Duration) -> Self {
        self.max_access_lifetime = Some(max);
        self
    }

    /// Sets the longest time since `iat` at which an access token is accepted, whatever its `exp`:
    /// see [`Validation::max_token_age`](crate::jwt::Validation::max_token_age). Not shorter than
    /// the [`access_lifetime`](Self::access_lifetime) of tokens issued here. Default: as long as a
    /// token lives.
    pub fn max_token_age(mut self, max: Duration) -> Self {
        self.max_token_age = Some(max);
        self
    }

    /// Requires these claims too, in tokens of both kinds: registered ones (`client_id`, `scope`,
    /// ...), or the application's own. A session whose tokens would lack one is not opened.
    pub fn require_claims(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.required_claims.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets a hook that is asked about every access token after all other checks, the store's
    /// included. It runs at each request, so be quick. A check that has to wait for a database
    /// belongs into a layer of its own, as
    /// [`CurrentUserLayer`](crate::middleware::CurrentUserLayer).
    ///
    /// [`Verdict::Refuse`] is answered as any bad token is (401). An error or a panic is the
    /// server's fault (500), and the next request is served. The rights of a good token are the
    /// subject of scopes and handlers (403).
    /// [`validate_jwt_stateless`](TokenService::validate_jwt_stateless),
    /// [`decode_token`](TokenService::decode_token) and refreshes do not ask it.
    ///
    /// ```
    /// use tower_bearer::{BoxError, Claims, MemoryStore, TokenService, tokens::Verdict};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct MyClaims { tenant: String }
    ///
    /// let tokens = TokenService::builder()
    ///     .secret("a test secret that is long enough for HS256")
    ///     .store(MemoryStore::default())
    ///     .claims::<MyClaims>()
    ///     .validator(|claims: &Claims<MyClaims>| {
    ///         let is_ours = claims.custom().tenant == "acme";
    ///         Ok::<_, BoxError>(if is_ours { Verdict::Accept } else { Verdict::Refuse })
    ///     })
    ///     .build()?;
    /// # Ok::<(), tower_bearer::error::ConfigError>(())
    /// ```
    pub fn validator(mut self, hook: impl Fn(&Claims<C>) -> Result<Verdict, BoxError> + Send + Sync + 'static) -> Self {
        self.validator = Some(Arc::new(hook));
        self
    }

    /// Sets the time for which a repeated refresh token gets the same successor again. At most 5
    /// minutes; zero: every repetition is taken as theft.
    pub fn reuse_grace(mut self, grace: Duration) -> Self {
        self.reuse_grace = grace;
        self
    }

    /// Sets the largest difference between the clocks of issuer and verifier. At most a day.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Sets the longest token in bytes that is checked, and that is issued; three eighths of it may
    /// be the header's. Default 8 KiB.
    pub fn max_token_len(mut self, bytes: usize) -> Self {
        self.max_token_len = bytes;
        self
    }

    /// Sets the highest count of sessions of a user. One more ends the one that was used longest
    /// ago.
    pub fn max_sessions(mut self, max: u32) -> Self {
        self.max_sessions = Some(max);
        self
    }

    /// Sets the bounds of the verified-token cache: a token that comes again costs no signature.
    /// Its times, its revocation and the [`validator`](Self::validator) are checked at every use
    /// all the same. Other [keys](TokenService::replace_keys) clear the cache. Zero entries switch
    /// it off.
    ///
    /// Both bounds hold at once. An entry counts its text twice (once for the claims in it) and
    /// some 300 bytes. Not counted are the table's own bytes, and those of custom claims beyond
    /// their text. A token too long for the bytes is verified at each use.
    pub fn verified_cache(mut self, entries: usize, bytes: usize) -> Self {
        self.verified_cache = CacheBounds { entries, bytes };
        self
    }

    /// Sets a hook for every [`SecurityEvent`]. It runs on the task that found the event: be quick,
    /// or hand it on. A panic in it is caught.
    pub fn on_event(mut self, hook: impl Fn(&SecurityEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(hook));
        self
    }

    /// Sets a hook that decides at every refresh if the user may still have tokens, and with which
    /// claims. Without it, scope and custom claims are copied from the refresh token: a role that
    /// was taken away stays until the session ends.
    pub fn on_refresh(mut self, hook: impl OnRefresh<C>) -> Self {
        self.on_refresh = Some(Arc::new(hook));
        self
    }

    /// Applies the settings of the environment (see [`Settings`]). A setting that is absent there
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// An algorithm whose name is unknown.
    pub fn settings(mut self, settings: &Settings) -> Result<Self, ConfigError> {
        if let Some(secret) = settings.secret_key() {
            self = self.secret(secret);
            self.secret_name = settings::SECRET_KEY;
        }
        if let Some(algorithm) = settings.algorithm() {
            let parsed = algorithm.parse::<Algorithm>();
            self.algorithm = Some(parsed.map_err(|error| error.set_by("algorithm", settings::ALGORITHM))?);
        }
        if let Some(lifetime) = settings.access_ttl() {
            self.access_lifetime = lifetime;
        }
        if let Some(lifetime) = settings.refresh_ttl() {
            self.refresh_lifetime = lifetime;
        }
        if let Some(issuer) = settings.issuer() {
            self = self.issuer(issuer);
        }
        if let Some(audience) = settings.audience() {
            self = self.audience(audience);
        }
        for audience in settings.allowed_audiences().unwrap_or_default() {
            self = self.also_accept_audience(audience);
        }
        Ok(self)
    }
}

impl<C> fmt::Debug for Builder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("policy", &self.policy)
            .field("consistency", &self.consistency)
            .field("access_lifetime", &self.access_lifetime)
            .field("refresh_lifetime", &self.refresh_lifetime)
            .finish_non_exhaustive()
    }
}

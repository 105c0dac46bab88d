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
    store::TokenStore,
};

const DAY: Duration = Duration::from_secs(86_400);
const DEFAULT_QUESTIONS: NonZeroU32 = NonZeroU32::new(2000).unwrap();

/// Configures a [`TokenService`]. Made by [`TokenService::builder`].
///
/// | setting | default |
/// |--|--|
/// | [`secret`](Self::secret) or [`keys`](Self::keys) | none: one of them must be given |
/// | [`algorithm`](Self::algorithm) of the secret | HS256 |
/// | [`issuer`](Self::issuer), [`audience`](Self::audience) | none: tokens carry none, and tokens that carry one are refused |
/// | [`store`](Self::store) | none: must be given, but for [`TokenPolicy::Stateless`] |
/// | [`access_lifetime`](Self::access_lifetime) | 30 minutes |
/// | [`refresh_lifetime`](Self::refresh_lifetime) (idle) | 7 days since the last use |
/// | [`session_lifetime`](Self::session_lifetime) (absolute) | 30 days since the login, or the idle lifetime if that is longer |
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
    /// What errors call the secret: whoever set a variable knows no method of this builder.
    secret_name: &'static str,
    algorithm: Option<Algorithm>,
    keys: Option<KeySet>,
    verify_only: bool,
    issuer: Option<String>,
    audience: Option<String>,
    also_accepted: Vec<String>,
    client_id: Option<String>,
    store: Option<Arc<dyn TokenStore>>,
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
    /// A hook for claims of another type than is now configured.
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
    /// Gives tokens claims of the application's own. Call it before [`on_refresh`](Self::on_refresh) and [`validator`](Self::validator).
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
    /// The secret that signs and verifies (HS256, or the [`algorithm`](Self::algorithm) given): at least as many random
    /// bytes as the hash has (RFC 7518 section 3.2). Wiped from memory when the builder is gone.
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = Some(Zeroizing::new(secret.as_ref().to_vec()));
        self.secret_name = "secret";
        self
    }

    /// The algorithm of the [`secret`](Self::secret): HS256, HS384 or HS512. A key of a [`KeySet`] has its own.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// The keys, instead of a secret: for public-key algorithms and for rotation.
    pub fn keys(mut self, keys: KeySet) -> Self {
        self.keys = Some(keys);
        self
    }

    /// This service verifies tokens and issues none: its [`keys`](Self::keys) need no signing key.
    pub fn verify_only(mut self) -> Self {
        self.verify_only = true;
        self
    }

    /// `iss` of the tokens: the URL of your service.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// `aud` of the tokens, and an audience that is accepted.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Another audience that is accepted.
    pub fn also_accept_audience(mut self, audience: impl Into<String>) -> Self {
        self.also_accepted.push(audience.into());
        self
    }

    /// `client_id` of the tokens (RFC 9068 section 2.2).
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Where sessions are kept.
    pub fn store(self, store: impl TokenStore) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// Where sessions are kept, shared with others.
    pub fn shared_store(mut self, store: Arc<dyn TokenStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// The clock against which `exp`, `nbf` and `iat` are checked. Default: the system's.
    ///
    /// Tokens are *issued* at the store's time: a test that sets this clock gives the same one to
    /// [`MemoryStore::with_clock`](crate::MemoryStore::with_clock).
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Whose tokens are accepted, and what the store is asked.
    pub fn policy(mut self, policy: TokenPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// When a revocation takes effect, and what a request pays for it.
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// How often the store's revocation log is read if no nudge tells that it has grown: at least a millisecond, at most half of the staleness allowed. Default:
    /// 25 ms, or a quarter of the staleness if that is shorter; under [`Consistency::Strong`] 250 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = Some(interval);
        self
    }

    /// Bounds how many tokens a second this node asks the store about because they were issued before it followed the
    /// revocation log: after a start, or after the store has lost or replaced data. A token beyond it is answered 503
    /// with `Retry-After`. Each token is asked about once. Default: 2000.
    ///
    /// It concerns [`Consistency::BoundedStaleness`] alone. *A failover makes all nodes ask at once, in front of a server
    /// that has just begun to serve.*
    pub fn max_questions(mut self, per_second: NonZeroU32) -> Self {
        self.max_questions = per_second;
        self
    }

    /// What marks an access token. Default: [`AccessTyp::Compatible`] for our own tokens, [`AccessTyp::AtJwt`] for another issuer's
    /// ([`TokenPolicy::Denylist`] and [`TokenPolicy::Stateless`]).
    pub fn access_typ(mut self, typ: AccessTyp) -> Self {
        self.access_typ = Some(typ);
        self
    }

    /// Sets how long an access token lives. Whole seconds.
    ///
    /// A session keeps the life with which it was opened: after a change, tokens of older sessions live
    /// as long as before. [`max_access_lifetime`](Self::max_access_lifetime) bounds them too.
    ///
    /// Nodes that share a store may differ in it, and in the leeway by less than a minute.
    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_lifetime = lifetime;
        self
    }

    /// How long a session lives without being refreshed. Whole seconds.
    pub fn refresh_lifetime(mut self, idle: Duration) -> Self {
        self.refresh_lifetime = idle;
        self
    }

    /// How long a session lives at most, however often it is refreshed. Whole seconds.
    pub fn session_lifetime(mut self, absolute: Duration) -> Self {
        self.session_lifetime = Some(absolute);
        self
    }

    /// The longest life from `iat` to `exp` that is accepted of an access token. Default: 24 hours, or the
    /// [`access_lifetime`](Self::access_lifetime) if that is longer.
    pub fn max_access_lifetime(mut self, max: Duration) -> Self {
        self.max_access_lifetime = Some(max);
        self
    }

    /// The longest time since `iat` at which an access token is accepted, whatever its `exp`: see [`Validation::max_token_age`](crate::jwt::Validation::max_token_age). Not shorter than the
    /// [`access_lifetime`](Self::access_lifetime) of tokens issued here. Default: as long as a token lives.
    pub fn max_token_age(mut self, max: Duration) -> Self {
        self.max_token_age = Some(max);
        self
    }

    /// These claims must be there too, in tokens of both kinds: registered ones (`client_id`, `scope`, ...), or the application's own. A session whose
    /// tokens would lack one is not opened.
    pub fn require_claims(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.required_claims.extend(names.into_iter().map(Into::into));
        self
    }

    /// Is asked about every access token that has passed all other checks, the store's included: at each request, so be quick; what has to
    /// wait for a database belongs into a layer of its own, as [`CurrentUserLayer`](crate::middleware::CurrentUserLayer).
    ///
    /// [`Verdict::Refuse`] is answered as any bad token is (401); an error or a panic is our fault (500), and the next request is served.
    /// What a good token *may do* is for scopes and handlers (403). [`validate_jwt_stateless`](TokenService::validate_jwt_stateless),
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
    ///         Ok::<_, BoxError>(if claims.tenant == "acme" { Verdict::Accept } else { Verdict::Refuse })
    ///     })
    ///     .build()?;
    /// # Ok::<(), tower_bearer::error::ConfigError>(())
    /// ```
    pub fn validator(mut self, hook: impl Fn(&Claims<C>) -> Result<Verdict, BoxError> + Send + Sync + 'static) -> Self {
        self.validator = Some(Arc::new(hook));
        self
    }

    /// For how long a repeated refresh token gets the same successor again. At most 5 minutes; zero: every repetition is taken as
    /// theft.
    pub fn reuse_grace(mut self, grace: Duration) -> Self {
        self.reuse_grace = grace;
        self
    }

    /// How far the clocks of issuer and verifier may differ. At most a day.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The longest token in bytes that is looked at, and that is issued; three eighths of it may be the header's. Default 8 KiB.
    pub fn max_token_len(mut self, bytes: usize) -> Self {
        self.max_token_len = bytes;
        self
    }

    /// How many sessions a user may have. One more ends the one that was used longest ago.
    pub fn max_sessions(mut self, max: u32) -> Self {
        self.max_sessions = Some(max);
        self
    }

    /// How many verified access tokens are remembered at most, and in how many bytes: a token that comes again costs no signature. Its times, its
    /// revocation and the [`validator`](Self::validator) are asked at every use all the same, and other [keys](TokenService::replace_keys) forget
    /// them all. No entries: nothing is remembered.
    ///
    /// Both bounds hold at once. An entry counts its text twice (once for the claims in it) and some 300 bytes, not what the table needs beside its
    /// entries nor what custom claims take beyond their text; a token too long for the bytes is verified at each use.
    pub fn verified_cache(mut self, entries: usize, bytes: usize) -> Self {
        self.verified_cache = CacheBounds { entries, bytes };
        self
    }

    /// Is called with every [`SecurityEvent`], on the task that found it: be quick, or hand it on. A panic in it is caught.
    pub fn on_event(mut self, hook: impl Fn(&SecurityEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(hook));
        self
    }

    /// Is asked at every refresh whether the user may still have tokens, and with which claims. Without it, scope and
    /// custom claims are copied from the refresh token: a role that was taken away stays until the session ends.
    pub fn on_refresh(mut self, hook: impl OnRefresh<C>) -> Self {
        self.on_refresh = Some(Arc::new(hook));
        self
    }

    /// Takes over what the environment sets (see [`Settings`]); what it does not set stays as it is.
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

//! Configuration of a [`TokenService`]. [`TokenServiceBuilder::build`] checks all settings.

mod build;

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use zeroize::Zeroizing;

use super::{
    cache::CacheBounds,
    consistency::Consistency,
    events::{Events, SecurityEvent},
    origin::Convert,
    refresh::OnRefresh,
    service::TokenService,
    validator::{Validator, Validity},
};
use crate::{
    clock::{Clock, SystemClock},
    error::{BoxError, ConfigError, TokenError},
    issuers::Issuer,
    jwt::{AccessTyp, Algorithm, Claims, DEFAULT_MAX_TOKEN_LEN, JwtClaims, KeySet, NoClaims, RawClaims},
    observe::{Observer, SharedObserver},
    store::SessionStore,
};

const DEFAULT_QUESTIONS: NonZeroU32 = NonZeroU32::new(2000).unwrap();

/// Configuration of a [`TokenService`]. Made by [`TokenService::builder`].
///
/// | setting | default |
/// |--|--|
/// | [`secret`](Self::secret) or [`keys`](Self::keys) | none: required to have own tokens |
/// | [`algorithm`](Self::algorithm) of the secret | HS256 |
/// | [`issuer`](Self::issuer) | none: own tokens must not have an `iss` |
/// | [`audience`](Self::audience) | none: own tokens must not have an `aud` |
/// | [`accept`](Self::accept): other issuers | none |
/// | [`store`](Self::store) | none: required for own tokens and for a denylist |
/// | [`access_lifetime`](Self::access_lifetime) | 30 minutes, or the session's if shorter |
/// | [`refresh_lifetime`](Self::refresh_lifetime) (idle) | 7 days since the last use |
/// | [`session_lifetime`](Self::session_lifetime) (absolute) | 30 days, or the idle lifetime |
/// | [`reuse_grace`](Self::reuse_grace) | 30 s |
/// | [`leeway`](Self::leeway) | 5 s |
/// | [`max_token_age`](Self::max_token_age) | the token's lifetime |
/// | [`require_claims`](Self::require_claims), [`validator`](Self::validator) | none |
/// | [`max_sessions`](Self::max_sessions) | no limit |
/// | [`consistency`](Self::consistency) | [`Consistency::Strong`] |
/// | [`max_questions`](Self::max_questions) | 2000 a second |
/// | [`stream_staleness`](Self::stream_staleness) | 30 s, or the staleness if that is longer |
/// | [`verified_cache`](Self::verified_cache) | 65 536 tokens, 64 MiB |
#[must_use = "a builder does nothing until `build` is called"]
pub struct TokenServiceBuilder<C = NoClaims> {
    config: Config,
    hooks: Hooks<C>,
}

/// The settings that do not depend on the type of the claims.
struct Config {
    /// The error of the first setting that the builder could not apply.
    error: Option<ConfigError>,
    secret: Option<Zeroizing<Vec<u8>>>,
    /// The name of the secret in error texts: `secret`, or the name of an environment variable.
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
    /// True if the application called [`clock`](TokenServiceBuilder::clock).
    has_own_clock: bool,
    issuers: Vec<Issuer>,
    accepts_older_than_store: bool,
    consistency: Consistency,
    poll_interval: Option<Duration>,
    max_questions: NonZeroU32,
    stream_staleness: Option<Duration>,
    access_typ: Option<AccessTyp>,
    access_lifetime: Option<Duration>,
    refresh_lifetime: Option<Duration>,
    session_lifetime: Option<Duration>,
    max_access_lifetime: Option<Duration>,
    max_token_age: Option<Duration>,
    required_claims: Vec<String>,
    reuse_grace: Duration,
    leeway: Duration,
    max_token_len: usize,
    max_sessions: Option<u32>,
    verified_cache: CacheBounds,
    events: Events,
    observer: SharedObserver,
}

/// The application's hooks that depend on the type of the claims.
struct Hooks<C> {
    validator: Option<Validator<C>>,
    on_refresh: Option<Arc<dyn OnRefresh<C>>>,
    /// The functions given to `accept_with`. Each has the index of its issuer in `issuers`.
    converters: Vec<(usize, Convert<C>)>,
    /// The name of a hook that was set before `claims`. A call of `claims` drops such a hook.
    lost: Option<&'static str>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            error: None,
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
            has_own_clock: false,
            issuers: Vec::new(),
            accepts_older_than_store: false,
            consistency: Consistency::default(),
            poll_interval: None,
            max_questions: DEFAULT_QUESTIONS,
            stream_staleness: None,
            access_typ: None,
            access_lifetime: None,
            refresh_lifetime: None,
            session_lifetime: None,
            max_access_lifetime: None,
            max_token_age: None,
            required_claims: Vec::new(),
            reuse_grace: Duration::from_secs(30),
            leeway: Duration::from_secs(5),
            max_token_len: DEFAULT_MAX_TOKEN_LEN,
            max_sessions: None,
            verified_cache: CacheBounds::DEFAULT,
            events: Events::default(),
            observer: SharedObserver::default(),
        }
    }
}

impl<C> Hooks<C> {
    fn none() -> Self {
        Self { validator: None, on_refresh: None, converters: Vec::new(), lost: None }
    }

    /// Drops all hooks, because the type of the claims changes. Records a dropped hook in `lost`.
    fn retyped<D>(self) -> Hooks<D> {
        let lost = self.lost.or(self.on_refresh.map(|_| "on_refresh")).or(self.validator.map(|_| "validator"));
        let lost = lost.or(self.converters.first().map(|_| "accept_with"));
        Hooks { lost, ..Hooks::none() }
    }
}

impl TokenService<NoClaims> {
    /// Begins the configuration of a service.
    pub fn builder() -> TokenServiceBuilder<NoClaims> {
        TokenServiceBuilder { config: Config::default(), hooks: Hooks::none() }
    }
}

impl TokenServiceBuilder<NoClaims> {
    /// Sets the type of the application's own claims. Call it before
    /// [`on_refresh`](Self::on_refresh) and [`validator`](Self::validator).
    ///
    /// `D` must serialize to a JSON object without reserved names (`iss`, `sub`, `aud`, `exp`,
    /// `iat`, `nbf`, `jti`, `type`, `sid`, `gen`, `scope`, `client_id`, `atl`, `cnf`, `tb_stamp`).
    /// [`build`](Self::build) finds reserved names in a struct with derived `Deserialize`, but not
    /// in flattened fields, maps, untagged enums and manual implementations. If `build` misses a
    /// reserved name, the first login fails.
    ///
    /// See [Changing your claims](crate::tokens#changing-your-claims) before you change `D`.
    pub fn claims<D>(self) -> TokenServiceBuilder<D> {
        TokenServiceBuilder { config: self.config, hooks: self.hooks.retyped() }
    }
}

impl<C> TokenServiceBuilder<C> {
    /// Sets the secret, and its name in error texts.
    pub(crate) fn set_secret(&mut self, secret: &[u8], name: &'static str) {
        self.config.secret = Some(Zeroizing::new(secret.to_vec()));
        self.config.secret_name = name;
    }

    /// Records the error of a setting that the builder could not apply. [`build`](Self::build)
    /// returns the first one.
    pub(crate) fn set_error(&mut self, error: ConfigError) {
        self.config.error.get_or_insert(error);
    }
}

impl<C> TokenServiceBuilder<C> {
    /// Sets the secret that signs and verifies tokens, with HS256 or the given
    /// [`algorithm`](Self::algorithm). HS256 needs at least 32 random bytes, HS384 needs 48, and
    /// HS512 needs 64 (RFC 7518 section 3.2). The builder wipes its copy from memory.
    ///
    /// [`build`](Self::build) refuses text that begins or ends with white space. Trim a secret that
    /// you read from a file: files often end with a newline.
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.set_secret(secret.as_ref(), "secret");
        self
    }

    /// Sets the algorithm of the [`secret`](Self::secret): HS256, HS384 or HS512. Not allowed with
    /// [`keys`](Self::keys), because each key has its own algorithm.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.config.algorithm = Some(algorithm);
        self
    }

    /// Sets the keys, instead of a secret: for public-key algorithms and for key rotation.
    pub fn keys(mut self, keys: KeySet) -> Self {
        self.config.keys = Some(keys);
        self
    }

    /// Makes the service verify tokens only. Its [`keys`](Self::keys) need no signing key.
    pub fn verify_only(mut self) -> Self {
        self.config.verify_only = true;
        self
    }

    /// Sets the `iss` of issued and accepted tokens: the URL of your service.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.config.issuer = Some(issuer.into());
        self
    }

    /// Sets the `aud` of issued tokens. The service also accepts tokens with this audience.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.config.audience = Some(audience.into());
        self
    }

    /// Adds a further audience. The service accepts tokens with this audience, but issues none.
    pub fn also_accept_audience(mut self, audience: impl Into<String>) -> Self {
        self.config.also_accepted.push(audience.into());
        self
    }

    /// Sets the `client_id` of issued tokens (RFC 9068 section 2.2).
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.config.client_id = Some(client_id.into());
        self
    }

    /// Sets the store of sessions.
    pub fn store(self, store: impl SessionStore) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// Sets the store of sessions, if other services of this process use the same store.
    pub fn shared_store(mut self, store: Arc<dyn SessionStore>) -> Self {
        self.config.store = Some(store);
        self
    }

    /// Sets the clock for the checks of `exp`, `nbf` and `iat`. By default, the store's clock
    /// judges this service's own tokens (see [`Status`](super::Status#the-stores-clock)), and the
    /// system's clock judges other issuers' tokens.
    ///
    /// The service *issues* tokens at the store's time. So in a test, pass the same clock to
    /// [`MemoryStore::with_clock`](crate::MemoryStore::with_clock).
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.config.clock = Arc::new(clock);
        self.config.has_own_clock = true;
        self
    }

    /// Accepts the tokens of another issuer. Call it once for each issuer. The service finds the
    /// issuer of a token by the `iss` of the token. The application gets the issuer and the user
    /// from [`JwtClaims::issuer_subject`].
    ///
    /// A service without [`secret`](Self::secret) and [`keys`](Self::keys) accepts only the tokens
    /// of other issuers. It needs a store only if one of the issuers has
    /// [`IssuerPolicy::Denylist`](crate::issuers::IssuerPolicy::Denylist).
    ///
    /// The custom claims of the issuer's tokens must fit the claims type of the application. If
    /// they do not, use [`accept_with`](Self::accept_with).
    pub fn accept(mut self, issuer: Issuer) -> Self {
        self.config.issuers.push(issuer);
        self
    }

    /// Accepts the tokens of another issuer, as [`accept`](Self::accept) does, but makes the
    /// application's claims with `read`. The service calls `read` once for each token that it
    /// verifies. `read` must not block. The custom claims that `read` gets are all claims except
    /// the registered ones of RFC 7519.
    ///
    /// ```
    /// use tower_bearer::{Issuer, TokenService, error::TokenError, jwt::{JwtClaims, RawClaims}};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct MyClaims {
    ///     role: String,
    /// }
    ///
    /// /// Returns the claims of an employee, because the issuer has only employees.
    /// fn employee(_: &JwtClaims<RawClaims>) -> Result<MyClaims, TokenError> {
    ///     Ok(MyClaims { role: "employee".to_owned() })
    /// }
    ///
    /// # let idp = Issuer::new("https://id.example.com");
    /// let builder = TokenService::builder().claims::<MyClaims>().accept_with(idp, employee);
    /// ```
    pub fn accept_with(
        mut self,
        issuer: Issuer,
        read: impl Fn(&JwtClaims<RawClaims>) -> Result<C, TokenError> + Send + Sync + 'static,
    ) -> Self {
        let convert: Convert<C> = Arc::new(move |claims| {
            let custom = read(&claims)?;
            Ok(claims.with_custom(custom))
        });
        self.hooks.converters.push((self.config.issuers.len(), convert));
        self.accept(issuer)
    }

    /// Accepts other issuers' tokens that were issued before the store began to record revocations,
    /// if `accept` is `true`. Default: `false`.
    ///
    /// * With `false`, the service refuses such tokens under
    ///   [`IssuerPolicy::Denylist`](crate::issuers::IssuerPolicy::Denylist), because the store may
    ///   have lost their revocations. So users must get new tokens after the first start, and after
    ///   each loss of the store's data. A [`MemoryStore`](crate::MemoryStore) loses its data at
    ///   each restart.
    /// * With `true`, revoked tokens become valid again until they expire, if the store loses its
    ///   data.
    pub fn accept_older_than_store(mut self, accept: bool) -> Self {
        self.config.accepts_older_than_store = accept;
        self
    }

    /// Sets the longest time until a revocation takes effect on other nodes. [`Consistency`]
    /// describes the cost of each choice. Default: [`Consistency::Strong`].
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.config.consistency = consistency;
        self
    }

    /// Sets the interval between polls of the store's revocation log. A node also reads the log
    /// when a pub/sub message (a nudge) announces a new entry.
    ///
    /// | | default | limits |
    /// |--|--|--|
    /// | bounded staleness `d` | 25 ms, at most `d / 4` | 1 ms to `d / 2` |
    /// | [`Consistency::Strong`] | 250 ms | 1 ms to an hour |
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.config.poll_interval = Some(interval);
        self
    }

    /// Limits how many questions about old tokens this node asks the store per second. Default:
    /// 2000. Beyond the limit, the node answers 503 with `Retry-After`. The limit applies only
    /// under [`Consistency::BoundedStaleness`].
    ///
    /// A token is old if it was issued before the time from which on the node has every revocation.
    /// Old tokens exist after a start of the node, and after the store has lost data. The node asks
    /// once about each of them. After a failover, all nodes ask the new server at the same time,
    /// and the limit protects this server.
    pub fn max_questions(mut self, per_second: NonZeroU32) -> Self {
        self.config.max_questions = per_second;
        self
    }

    /// Sets the longest time for which a stream stays open without a new confirmation of its token.
    /// A stream is an open response, a socket or a task with a [`Cutoff`](crate::Cutoff).
    ///
    /// - While this node follows the store's log, a revocation cuts a stream within milliseconds.
    /// - If the store does not answer, this node cuts the stream in the second half of this time.
    /// - If the store has no log, this node asks the store about each stream twice in this time.
    ///
    /// Limits: 500 ms to a day, and at least the staleness that [`consistency`](Self::consistency)
    /// allows. Default: 30 s, or that staleness if it is longer.
    pub fn stream_staleness(mut self, staleness: Duration) -> Self {
        self.config.stream_staleness = Some(staleness);
        self
    }

    /// Sets the marks (header `typ`, claim `type`) that this service's access tokens must have.
    /// Default: [`AccessTyp::Compatible`].
    pub fn access_typ(mut self, typ: AccessTyp) -> Self {
        self.config.access_typ = Some(typ);
        self
    }

    /// Sets the lifetime of an access token. Whole seconds, at most the
    /// [`session_lifetime`](Self::session_lifetime). An access token expires at the latest when its
    /// session ends.
    ///
    /// Each session keeps the lifetime that was set at its login. So a change affects only new
    /// sessions. To shorten the tokens of older sessions, set
    /// [`max_access_lifetime`](Self::max_access_lifetime).
    ///
    /// Nodes that share a store may have different lifetimes, but their [`leeway`](Self::leeway)s
    /// must differ by less than a minute.
    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.access_lifetime = Some(lifetime);
        self
    }

    /// Sets the idle lifetime: a session ends if the client does not refresh it for this time.
    /// Whole seconds, at most the [`session_lifetime`](Self::session_lifetime) if both are given.
    pub fn refresh_lifetime(mut self, idle: Duration) -> Self {
        self.config.refresh_lifetime = Some(idle);
        self
    }

    /// Sets the absolute lifetime of a session, which refreshes do not extend. Whole seconds.
    /// Default: 30 days, or the [`refresh_lifetime`](Self::refresh_lifetime) if that is longer.
    pub fn session_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.session_lifetime = Some(lifetime);
        self
    }

    /// Sets the longest accepted lifetime of this service's own access tokens, from `iat` to `exp`.
    /// Default: 24 hours, or the [`access_lifetime`](Self::access_lifetime) if that is longer. For
    /// other issuers, see [`Issuer::max_access_lifetime`].
    pub fn max_access_lifetime(mut self, max: Duration) -> Self {
        self.config.max_access_lifetime = Some(max);
        self
    }

    /// Sets the maximum age (time since `iat`) of this service's own access tokens. The service
    /// refuses an older token even before its `exp`: see
    /// [`Validation::max_token_age`](crate::jwt::Validation::max_token_age). If the service issues
    /// tokens, the maximum must be at least the [`access_lifetime`](Self::access_lifetime).
    /// Default: the token's lifetime. For other issuers, see [`Issuer::max_token_age`].
    pub fn max_token_age(mut self, max: Duration) -> Self {
        self.config.max_token_age = Some(max);
        self
    }

    /// Requires further claims in this service's own access and refresh tokens: registered claims
    /// (`client_id`, `scope`, ...) or the application's own. A login fails if its tokens would lack
    /// a required claim. You can still revoke an older token that lacks the claim, and
    /// [`on_refresh`](Self::on_refresh) can add the claim. For other issuers, see
    /// [`Issuer::require_claim`].
    pub fn require_claims(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.required_claims.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets a hook that checks every access token after all other checks, including the store's.
    /// The hook runs on every request and must not block. A check that waits for a database belongs
    /// in a layer, such as [`CurrentUserLayer`](crate::middleware::CurrentUserLayer).
    ///
    /// * If the hook returns [`Validity::Invalid`], the client gets 401, as for any bad token. A
    ///   client that only lacks a right should get 403: use scopes or your handlers instead.
    /// * If the hook fails or panics, the client gets 500.
    /// * Refreshes, [`decode_token`](TokenService::decode_token) and
    ///   [`validate_jwt_stateless`](TokenService::validate_jwt_stateless) do not call the hook.
    ///
    /// ```
    /// use tower_bearer::{BoxError, Claims, MemoryStore, TokenService, tokens::Validity};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct MyClaims { tenant: String }
    ///
    /// let tokens = TokenService::builder()
    ///     .secret("a test secret that is long enough for HS256")
    ///     .store(MemoryStore::default())
    ///     .claims::<MyClaims>()
    ///     .validator(|claims: &Claims<MyClaims>| {
    ///         let is_ours = claims.custom().tenant == "acme";
    ///         Ok::<_, BoxError>(if is_ours { Validity::Valid } else { Validity::Invalid })
    ///     })
    ///     .build()?;
    /// # Ok::<(), tower_bearer::error::ConfigError>(())
    /// ```
    pub fn validator(
        mut self,
        hook: impl Fn(&Claims<C>) -> Result<Validity, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.validator = Some(Arc::new(hook));
        self
    }

    /// Sets how long a client may use an old refresh token again after a refresh. While the new
    /// refresh token is unused, the client then gets the same new tokens. At most 5 minutes.
    /// Default: 30 s. With zero, the service takes each repeated use for theft.
    pub fn reuse_grace(mut self, grace: Duration) -> Self {
        self.config.reuse_grace = grace;
        self
    }

    /// Sets the largest difference between the clocks of issuer and verifier that checks allow. At
    /// most a day. Default: 5 s.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.config.leeway = leeway;
        self
    }

    /// Sets the maximum length of accepted and issued tokens, in bytes. The header may take at most
    /// three eighths of the length. Default: 8 KiB.
    pub fn max_token_len(mut self, bytes: usize) -> Self {
        self.config.max_token_len = bytes;
        self
    }

    /// Sets the maximum number of sessions of a user. A login beyond the maximum ends the least
    /// recently used session. Default: no limit.
    pub fn max_sessions(mut self, max: u32) -> Self {
        self.config.max_sessions = Some(max);
        self
    }

    /// Sets the limits of the verified-token cache, which saves the signature check of a repeated
    /// token. Each use of a cached token still checks its times and its revocation, and calls the
    /// [`validator`](Self::validator). [`replace_keys`](TokenService::replace_keys) clears the
    /// cache. Zero entries switch the cache off. Default: 65 536 entries and 64 MiB.
    ///
    /// Both limits apply. An entry takes about 300 bytes plus twice the length of the token. If a
    /// token is too long for the cache, the service verifies it at each use.
    pub fn verified_cache(mut self, entries: usize, bytes: usize) -> Self {
        self.config.verified_cache = CacheBounds { entries, bytes };
        self
    }

    /// Sets a hook for every [`SecurityEvent`]. The hook runs on the task that emits the event and
    /// must not block. The service catches a panic of the hook.
    pub fn on_event(mut self, hook: impl Fn(&SecurityEvent) + Send + Sync + 'static) -> Self {
        self.config.events = Events::new(hook);
        self
    }

    /// Sets an observer of checks, sessions, revocations, the replica, store calls and streams, for
    /// metrics. See [`observe`](crate::observe). The last of several calls applies. Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.config.observer = SharedObserver::new(observer);
        self
    }

    /// Sets a hook that decides at every refresh whether the user may have new tokens, and with
    /// which claims. Without a hook:
    ///
    /// - The new tokens have the scope and the custom claims of the refresh token. So a user keeps
    ///   a revoked role until the session ends.
    /// - The service refuses a refresh token whose custom claims are of an older version of the
    ///   application ([`TokenError::CustomClaims`](crate::error::TokenError::CustomClaims)).
    pub fn on_refresh(mut self, hook: impl OnRefresh<C>) -> Self {
        self.hooks.on_refresh = Some(Arc::new(hook));
        self
    }
}

impl<C> fmt::Debug for TokenServiceBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        f.debug_struct("TokenServiceBuilder")
            .field("issuer", &config.issuer)
            .field("audience", &config.audience)
            .field("issuers", &config.issuers)
            .field("consistency", &config.consistency)
            .field("access_lifetime", &config.access_lifetime)
            .field("refresh_lifetime", &config.refresh_lifetime)
            .finish_non_exhaustive()
    }
}

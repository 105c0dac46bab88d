//! [`TokenServiceBuilder::build`]: checks the settings and assembles the service.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;

use super::{
    super::{
        auth_time::AuthClock,
        cache::TokenCache,
        check::Checker,
        conditions::Conditions,
        consistency::{DEFAULT_INTERVAL, Pace},
        events::SecurityEvent,
        issue::TokenIssuer,
        keyring::{CurrentKeyring, KeyRules},
        lifetimes::{Lifetimes, MARGIN, check_lifetime, max_external_lifetime},
        mint::MintRules,
        origin::Convert,
        policy::Authority,
        readiness::LastProbe,
        refresh::Refresher,
        revoke::Revoker,
        sampler::Sampler,
        service::{Parts, TokenService},
        store_clock::{ClockHolds, StoreClock},
        streams::TokenStreams,
    },
    Config, Hooks, TokenServiceBuilder,
};
use crate::{
    clock::Clock,
    cutoff::{DenialRules, LazyReplica, StreamAuthority, StreamSettings, Streams},
    error::ConfigError,
    issuers::AcceptedIssuers,
    jwt::{Algorithm, Claims, JwtClaims, KeySet, SigningKey, Validation, reserved_member_of, validate_jwt_stateless},
    observe::Observation,
    replica::{Notice, OnNotice, Replica, ReplicaHooks, ReplicaSettings, ReplicaTasks, Source},
    store::{Observed, SessionStore},
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// The maximum of `reuse_grace`. During the grace, a thief can use a stolen token undetected.
const LONGEST_GRACE: Duration = Duration::from_secs(300);
/// The default of `stream_staleness`, unless the staleness of requests is longer.
const STREAM_STALENESS: Duration = Duration::from_secs(30);
/// The limits of `stream_staleness`. Below 500 ms, a pause of the runtime would cut streams.
const STREAM_STALENESS_BOUNDS: (Duration, Duration) = (Duration::from_millis(500), DAY);

impl<C> TokenServiceBuilder<C> {
    /// Builds the service as [`build`](Self::build) does, and waits at most about five seconds for
    /// the keys of all issuers that it [accepts](Self::accept). Dropping the future drops the
    /// service.
    ///
    /// # Errors
    ///
    /// The errors of [`build`](Self::build). If a fetch of keys fails, the kind is
    /// [`Unreachable`](crate::error::ConfigErrorKind::Unreachable), and the source is a
    /// [`KeySourceError`](crate::issuers::KeySourceError).
    pub async fn connect(self) -> Result<TokenService<C>, ConfigError>
    where
        C: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let tokens = self.build()?;
        for issuer in tokens.checker.issuers.iter() {
            let fetched = issuer.keys.first_fetch().await;
            fetched.map_err(|error| ConfigError::unreachable("accept", issuer.keys.identifier(), error))?;
        }
        Ok(tokens)
    }

    /// Builds the service. The call needs a Tokio runtime if the store is in Redis, under bounded
    /// staleness, or if the service fetches keys of other issuers. The tasks that read the store's
    /// log and fetch keys run on that runtime.
    ///
    /// This call starts the fetches of keys, but does not wait for them as
    /// [`connect`](Self::connect) does. Until an issuer's first fetch ends, requests with its
    /// tokens wait for at most a second, and then get 503.
    ///
    /// # Errors
    ///
    /// The first setting that is missing, out of range, or in conflict with another setting. The
    /// error names the setting, and says what to do.
    pub fn build(self) -> Result<TokenService<C>, ConfigError>
    where
        C: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let Self { mut config, mut hooks } = self;
        if let Some(error) = config.error.take() {
            return Err(error);
        }
        hooks.check(config.issues())?;
        config.check_rules_of_own_tokens()?;
        let converters = hooks.take_converters(config.issuers.len());
        check_claims_type::<C>()?;
        config.verified_cache.check::<C>()?;
        let (issues, has_own) = (config.issues(), config.has_own_tokens());
        let key_rules = KeyRules { issues, max_token_len: config.max_token_len };
        let keyring = Arc::new(CurrentKeyring::new(config.take_keys()?, key_rules)?);
        let lifetimes = config.lifetimes()?;
        let lenient = config.lenient_validation(&lifetimes)?;
        let validation = lenient.clone().require_claims(&config.required_claims);
        validation.check()?;
        let max_sessions = config.max_sessions()?;
        config.observe_store();
        let mut issuers = config.accepted_issuers(has_own)?;
        let authority = config.authority(has_own, &issuers)?;
        config.warn_about_memory(&authority);
        let node_clock = Arc::clone(&config.clock);
        let conditions = Arc::new(Conditions::new(Arc::clone(&config.clock)));
        config.judge_by_store(&authority, &validation, &lifetimes, &conditions);
        let leeway = validation.leeway_in_force();
        let keep_denials = max_external_lifetime(issuers.longest_lifetime(), lifetimes.after_end, leeway);
        let keep = Keep { log: keep_denials.max(lifetimes.access + lifetimes.after_end), denials: keep_denials };
        let denial_rules = DenialRules { leeway, accepts_older: config.accepts_older_than_store };
        let streams = config.streams(&authority, &issuers, &node_clock, denial_rules)?;
        let replica = config.replica(&authority, keep, &node_clock, leeway, &streams)?;
        issuers.start(&config.observer)?;
        let issuers = Arc::new(issuers);
        let lenient = Arc::new(lenient);
        let refresher = match authority.sessions() {
            Some(store) if issues => Some(Refresher {
                issuer: Arc::new(TokenIssuer {
                    keyring: Arc::clone(&keyring),
                    rules: MintRules {
                        issuer: config.issuer.clone(),
                        audience: config.audience,
                        client_id: config.client_id,
                        validation: validation.clone(),
                        max_token_len: config.max_token_len,
                    },
                    store: Arc::clone(store),
                    replica: replica.clone(),
                    lifetimes,
                    max_sessions,
                    events: config.events.clone(),
                    observer: config.observer.clone(),
                    streams: streams.own().clone(),
                    conditions: Arc::clone(&conditions),
                }),
                validation: Arc::clone(&lenient),
                clock: Arc::clone(&config.clock),
                parse_custom: Claims::parse_custom::<C>,
                hook: hooks.on_refresh,
            }),
            _ => None,
        };
        let revoker = Revoker {
            authority: authority.clone(),
            replica: replica.clone(),
            keyring: Arc::clone(&keyring),
            issuers: Arc::clone(&issuers),
            validation: lenient,
            after_end: lifetimes.after_end,
            keep_denials,
            observer: config.observer.clone(),
            streams: streams.clone(),
            conditions: Arc::clone(&conditions),
        };
        let auth_clock = AuthClock::new(authority.store().cloned(), Arc::clone(&config.clock));
        let checker = Arc::new(Checker {
            keyring,
            cache: TokenCache::new(config.verified_cache, config.max_token_len),
            max_token_len: config.max_token_len,
            validation,
            clock: config.clock,
            node_clock,
            issuers,
            converters,
            denial_rules,
            conditions,
            is_judged_by_store: !config.has_own_clock,
            parse: validate_jwt_stateless::<C>,
            authority,
            replica,
            validator: hooks.validator,
            observer: config.observer,
            streams,
        });
        let sampler = Sampler::start(&checker);
        let (events, last_probe) = (config.events, LastProbe::default());
        let parts = Parts { refresher, revoker, auth_clock, events, last_probe, _sampler: sampler };
        Ok(TokenService::new(checker, parts))
    }
}

/// Returns an error if the claims type has a field with a reserved name. The parser would never
/// fill this field, and the encoder would reject it.
fn check_claims_type<C: DeserializeOwned>() -> Result<(), ConfigError> {
    match reserved_member_of::<C>() {
        None => Ok(()),
        Some(name) => Err(ConfigError::new(
            "claims",
            format!("has a type with the field `{name}`, whose name this crate reserves"),
            "rename the field, or read the registered claim with the methods of `Claims`",
        )),
    }
}

/// The times for which the store keeps log entries, and revocations of other issuers' tokens.
#[derive(Clone, Copy)]
struct Keep {
    log: Duration,
    denials: Duration,
}

impl<C: DeserializeOwned + 'static> Hooks<C> {
    /// Returns for each issuer the function that reads its custom claims.
    fn take_converters(&mut self, issuers: usize) -> Box<[Convert<C>]> {
        let by_type: Convert<C> = Arc::new(JwtClaims::parse_custom);
        let mut given = std::mem::take(&mut self.converters).into_iter().peekable();
        (0..issuers)
            .map(|index| given.next_if(|(own, _)| *own == index).map_or_else(|| Arc::clone(&by_type), |(_, own)| own))
            .collect()
    }
}

impl<C> Hooks<C> {
    /// Returns an error if the service would never call a given hook.
    fn check(&self, issues: bool) -> Result<(), ConfigError> {
        if let Some(hook) = self.lost {
            return Err(ConfigError::conflict(
                hook,
                "was set before `claims` changed the type of the claims, so it would never be called",
                "call `claims` before this method",
            ));
        }
        if self.on_refresh.is_some() && !issues {
            return Err(ConfigError::conflict(
                "on_refresh",
                "is given, but this service issues no tokens and would never call it",
                "remove the call of `on_refresh`, or remove `verify_only()` and give a signing key",
            ));
        }
        Ok(())
    }
}

impl Config {
    /// Returns true if the service issues tokens.
    fn issues(&self) -> bool {
        self.has_own_tokens() && !self.verify_only
    }

    /// Returns true if the service has own tokens. If the service accepts other issuers, it has own
    /// tokens only if a setting of own tokens is given, such as `secret` or `audience`.
    fn has_own_tokens(&self) -> bool {
        self.issuers.is_empty()
            || self.secret.is_some()
            || self.keys.is_some()
            || self.issuer.is_some()
            || self.audience.is_some()
            || self.client_id.is_some()
    }

    /// Returns an error if rules for own tokens are given, but the service has no own tokens. The
    /// developer could believe that the rules apply to the tokens of other issuers.
    fn check_rules_of_own_tokens(&self) -> Result<(), ConfigError> {
        if self.has_own_tokens() {
            return Ok(());
        }
        let rules = [
            ("algorithm", self.algorithm.is_some(), "algorithms"),
            ("access_typ", self.access_typ.is_some(), "access_typ"),
            ("max_access_lifetime", self.max_access_lifetime.is_some(), "max_access_lifetime"),
            ("max_token_age", self.max_token_age.is_some(), "max_token_age"),
            ("require_claims", !self.required_claims.is_empty(), "require_claim"),
        ];
        match rules.into_iter().find(|(_, is_given, _)| *is_given) {
            None => Ok(()),
            Some((setting, _, of_issuer)) => Err(ConfigError::conflict(
                setting,
                "is a rule for own tokens, but this service accepts only other issuers' tokens",
                format!("remove this call, and call `Issuer::{of_issuer}` for each issuer"),
            )),
        }
    }

    fn accepted_issuers(&mut self, has_own: bool) -> Result<AcceptedIssuers, ConfigError> {
        let own = self.issuer.as_deref().filter(|_| has_own);
        if has_own && own.is_none() && !self.issuers.is_empty() {
            return Err(ConfigError::missing(
                "issuer",
                "is missing, so the service cannot tell own tokens from those of other issuers",
                "call `issuer(..)` with the URL of your service",
            ));
        }
        let issuers = std::mem::take(&mut self.issuers).into_iter();
        let issuers = issuers
            .map(|issuer| issuer.accepted(self.leeway, self.max_token_len, &self.clock))
            .collect::<Result<_, _>>();
        AcceptedIssuers::new(issuers?, own)
    }

    fn max_sessions(&self) -> Result<Option<NonZeroU32>, ConfigError> {
        let Some(max) = self.max_sessions else { return Ok(None) };
        if !self.issues() {
            return Err(ConfigError::conflict(
                "max_sessions",
                "is given, but this service opens no sessions",
                "set it on the service that issues the tokens",
            ));
        }
        match NonZeroU32::new(max) {
            Some(max) => Ok(Some(max)),
            None => Err(ConfigError::out_of_range(
                "max_sessions",
                "is zero, which would refuse every login",
                "give 1 or more, or remove the call of `max_sessions`",
            )),
        }
    }

    /// If there is an observer, wraps the store so that the observer learns of each call.
    fn observe_store(&mut self) {
        if self.observer.is_set()
            && let Some(store) = self.store.take()
        {
            self.store = Some(Arc::new(Observed::new(self.observer.clone(), store)));
        }
    }

    /// Makes the store's clock judge own tokens, unless the application has set a clock.
    fn judge_by_store(
        &mut self,
        authority: &Authority,
        validation: &Validation,
        lifetimes: &Lifetimes,
        conditions: &Arc<Conditions>,
    ) {
        let Some(store) = authority.sessions().filter(|_| !self.has_own_clock) else { return };
        let holds = ClockHolds {
            leeway: validation.leeway_in_force(),
            longest: lifetimes.access.min(validation.max_token_age_in_force()),
            longest_life: validation.max_access_lifetime_in_force(),
        };
        let clock = Arc::clone(&self.clock);
        self.clock = Arc::new(StoreClock::new(clock, Arc::clone(store), Arc::clone(conditions), holds));
    }

    /// Warns if this node, after a restart, would refuse other issuers' earlier tokens.
    fn warn_about_memory(&self, authority: &Authority) {
        let is_memory = authority.store().is_some_and(|store| store.name() == "memory");
        if is_memory && authority.denylist().is_some() && !self.accepts_older_than_store {
            #[cfg(feature = "tracing")]
            tracing::warn!(
                "the store is in memory, so this node refuses other issuers' tokens from before its start; use a \
                 store that lasts, or `accept_older_than_store(true)`"
            );
        }
    }

    /// Returns the store and the denylist that decide about revocations.
    fn authority(&self, has_own: bool, issuers: &AcceptedIssuers) -> Result<Authority, ConfigError> {
        let is_needed = has_own || issuers.are_revocable();
        let Some(store) = &self.store else {
            if is_needed {
                return Err(ConfigError::missing(
                    "store",
                    "is missing",
                    "give `RedisStore::connect(..)` or `MemoryStore::default()`",
                ));
            }
            return Ok(Authority::default());
        };
        if !is_needed {
            return Err(ConfigError::conflict(
                "store",
                "is given, but all issuers have the policy `Stateless`, which uses no store",
                "remove the store, or use the policy `Denylist`",
            ));
        }
        let denylist = Arc::clone(store).denylist().filter(|_| issuers.are_revocable());
        if issuers.are_revocable() && denylist.is_none() {
            return Err(ConfigError::conflict(
                "policy",
                format!("is `Denylist`, but the store `{}` cannot revoke other issuers' tokens", store.name()),
                "use a store that implements `Denylist`, such as `RedisStore`",
            ));
        }
        Ok(Authority::new(Some(Arc::clone(store)), has_own, denylist))
    }

    fn take_keys(&mut self) -> Result<KeySet, ConfigError> {
        match (self.secret.take(), self.keys.take()) {
            (Some(secret), None) => {
                let key = SigningKey::from_secret(self.algorithm.unwrap_or(Algorithm::HS256), &*secret)
                    .map_err(|error| error.set_by("signing_key", self.secret_name))?;
                Ok(KeySet::signing(key))
            }
            (None, Some(_)) if self.algorithm.is_some() => Err(ConfigError::conflict(
                "algorithm",
                "is given beside `keys`, although each key has its own algorithm",
                "remove the call of `algorithm`, or give a `secret` in place of `keys`",
            )),
            (None, Some(keys)) => Ok(keys),
            (Some(_), Some(_)) => Err(ConfigError::conflict(
                self.secret_name,
                "is given together with `keys`",
                "remove one of the two; a `KeySet` can contain the secret too",
            )),
            (None, None) if !self.has_own_tokens() => Ok(KeySet::none()),
            (None, None) => Err(ConfigError::missing(
                "secret",
                "is missing, and so are `keys`",
                "give a secret of 32 random bytes or more (`openssl rand -base64 48`), or a `KeySet`",
            )),
        }
    }

    /// Creates the replica of the store's log and starts its tasks. A replica exists under bounded
    /// staleness, and also under `Strong` if the log needs feeds (tasks that read it). Sets the
    /// times for which the store keeps revocations.
    fn replica(
        &self,
        authority: &Authority,
        keep: Keep,
        node_clock: &Arc<dyn Clock>,
        leeway: Duration,
        streams: &TokenStreams,
    ) -> Result<Option<Arc<Replica>>, ConfigError> {
        let denylist = authority.denylist().cloned();
        let log = authority.store().cloned().and_then(SessionStore::revocation_log);
        if let Some(log) = &log {
            log.keep_log_for(keep.log);
        }
        if let Some(denylist) = &denylist {
            denylist.keep_denials_for(keep.denials);
        }
        let Pace { staleness, interval, deadline } = self.consistency.pace(self.poll_interval)?;
        let (store, log) = match (authority.store(), log) {
            (Some(store), Some(log)) => (Arc::clone(store), log),
            _ if staleness.is_zero() => return Ok(None),
            (None, _) => {
                return Err(ConfigError::conflict(
                    "consistency",
                    "is given, but all issuers have the policy `Stateless`, which checks no revocations",
                    "remove the call of `consistency`, or use the policy `Denylist`",
                ));
            }
            (Some(store), None) => {
                return Err(ConfigError::conflict(
                    "consistency",
                    format!("is `BoundedStaleness`, but the store `{}` has no revocation log", store.name()),
                    "use `Consistency::Strong`, or a store that implements `RevocationLog`, such as `RedisStore`",
                ));
            }
        };
        let feeds = log.feeds(deadline);
        if staleness.is_zero() && feeds.is_empty() {
            return Ok(None);
        }
        let runtime = Handle::try_current().map_err(|error| {
            let problem = "needs a task that follows the store's log, but there is no Tokio runtime";
            ConfigError::new("consistency", problem, "call `build` in a Tokio runtime").with_source(error)
        })?;
        log.allow_staleness(staleness);
        let settings = ReplicaSettings { staleness, interval, deadline, leeway, check_rate: self.max_questions };
        let source = Source { store, log, denylist };
        let (on_notice, listener) = (self.on_notice(), streams.listener());
        let hooks = ReplicaHooks { on_notice, listener, observer: self.observer.clone() };
        let clock = Arc::clone(node_clock);
        let (replica, tasks) = ReplicaTasks::start(&runtime, source, feeds, clock, settings, hooks);
        streams.follow(&replica, tasks);
        Ok(Some(replica))
    }

    fn on_notice(&self) -> OnNotice {
        let (events, observer) = (self.events.clone(), self.observer.clone());
        Box::new(move |notice| {
            observer.observe(|| match notice {
                Notice::Lost(count) => Observation::RevocationsLost { count },
                Notice::Republished(count) => Observation::RevocationsRestored { count },
            });
            let event = match notice {
                Notice::Lost(count) => SecurityEvent::RevocationsLost { count },
                Notice::Republished(count) => SecurityEvent::RevocationsRepublished { count },
            };
            events.emit(&event);
        })
    }

    /// Creates the registries of open streams.
    fn streams(
        &self,
        authority: &Authority,
        issuers: &AcceptedIssuers,
        node_clock: &Arc<dyn Clock>,
        denial_rules: DenialRules,
    ) -> Result<TokenStreams, ConfigError> {
        let Pace { staleness, deadline, .. } = self.consistency.pace(self.poll_interval)?;
        // A log without feeds sends no nudges. A cutoff may then take one whole `interval`.
        let interval = self.poll_interval.unwrap_or(DEFAULT_INTERVAL);
        let staleness = self.stream_staleness(staleness)?;
        let (leeway, check_rate) = (denial_rules.leeway, self.max_questions);
        let settings = |authority: StreamAuthority, denylist, store: Option<&Arc<dyn SessionStore>>, clock| {
            let log = store.cloned().and_then(SessionStore::revocation_log);
            let lazy = store.zip(log.as_ref()).map(|(store, log)| LazyReplica {
                source: Source { store: Arc::clone(store), log: Arc::clone(log), denylist },
                settings: ReplicaSettings { staleness: Duration::ZERO, interval, deadline, leeway, check_rate },
                on_notice: self.on_notice(),
            });
            Streams::new(StreamSettings {
                staleness,
                denial_rules,
                clock: Arc::clone(clock),
                issuer: self.issuer.clone().unwrap_or_default(),
                authority,
                log,
                lazy,
                observer: self.observer.clone(),
            })
        };
        let nothing = || settings(StreamAuthority::Nothing, None, None, node_clock);
        let own = authority
            .sessions()
            .map(|store| settings(StreamAuthority::Sessions(Arc::clone(store)), None, Some(store), &self.clock));
        let revocable = authority.denylist().map(|denylist| {
            let denylist = Arc::clone(denylist);
            settings(StreamAuthority::Denylist(Arc::clone(&denylist)), Some(denylist), authority.store(), node_clock)
        });
        let stateless = issuers.iter().any(|issuer| !issuer.is_revocable).then(nothing);
        Ok(TokenStreams::new(own.unwrap_or_else(nothing), revocable, stateless))
    }

    /// Returns the staleness of streams. `staleness` is the staleness of requests.
    fn stream_staleness(&self, staleness: Duration) -> Result<Duration, ConfigError> {
        let Some(given) = self.stream_staleness else { return Ok(STREAM_STALENESS.max(staleness)) };
        let (shortest, longest) = STREAM_STALENESS_BOUNDS;
        if given < staleness {
            return Err(ConfigError::out_of_range(
                "stream_staleness",
                format!("is {given:?}, shorter than the {staleness:?} that `consistency` allows"),
                "give at least the staleness of `consistency`, or remove the setting",
            ));
        }
        if !(shortest..=longest).contains(&given) {
            return Err(ConfigError::out_of_range(
                "stream_staleness",
                format!("is {given:?}, which is out of range"),
                "give 500 ms to a day, such as `Duration::from_secs(30)`",
            ));
        }
        Ok(given)
    }

    fn lifetimes(&self) -> Result<Lifetimes, ConfigError> {
        let refresh = self.refresh_lifetime.unwrap_or(7 * DAY);
        check_lifetime("refresh_lifetime", refresh)?;
        let session = self.session_lifetime.unwrap_or_else(|| refresh.max(30 * DAY));
        check_lifetime("session_lifetime", session)?;
        let access = self.access_lifetime.unwrap_or_else(|| session.min(30 * MINUTE));
        check_lifetime("access_lifetime", access)?;
        if self.issues() && access > session {
            return Err(ConfigError::conflict(
                "access_lifetime",
                format!("is {access:?}, longer than the session lifetime of {session:?}"),
                "shorten `access_lifetime`, or raise `session_lifetime`",
            ));
        }
        if let (Some(refresh), Some(session)) = (self.refresh_lifetime, self.session_lifetime)
            && self.issues()
            && refresh > session
        {
            return Err(ConfigError::conflict(
                "refresh_lifetime",
                "is longer than `session_lifetime` and so has no effect",
                "shorten `refresh_lifetime`, or raise `session_lifetime`",
            ));
        }
        if self.reuse_grace > LONGEST_GRACE {
            return Err(ConfigError::out_of_range(
                "reuse_grace",
                "is over 5 minutes, during which a thief could use a stolen token unseen",
                "give 5 minutes or less, such as `Duration::from_secs(30)`",
            ));
        }
        Ok(Lifetimes {
            access,
            idle: refresh,
            session,
            reuse_grace: self.reuse_grace,
            after_end: self.leeway.saturating_add(MARGIN),
        })
    }

    /// Returns the rules for tokens, except for the claims of `require_claims`.
    fn lenient_validation(&self, lifetimes: &Lifetimes) -> Result<Validation, ConfigError> {
        let issues = self.issues();
        // Tokens never contain `nbf`. Only refresh tokens contain `atl`, and only a few access
        // tokens contain `tb_stamp`.
        let never_written = |name: &&String| match name.as_str() {
            "nbf" | "atl" | "tb_stamp" => true,
            "client_id" => self.client_id.is_none(),
            _ => false,
        };
        if issues && let Some(name) = self.required_claims.iter().find(never_written) {
            return Err(ConfigError::conflict(
                "require_claims",
                format!("contains `{name}`, but tokens issued here lack this claim, so they would be refused"),
                "remove the claim, or call `client_id(..)` if the claim is `client_id`",
            ));
        }
        if issues && self.max_token_age.is_some_and(|max| max < lifetimes.access) {
            return Err(ConfigError::conflict(
                "max_token_age",
                "is shorter than `access_lifetime`, so tokens issued here would end before their `exp`",
                "raise or remove `max_token_age`, or shorten `access_lifetime`",
            ));
        }
        let max_access = self.max_access_lifetime.unwrap_or_else(|| lifetimes.access.max(DAY));
        if max_access < lifetimes.access {
            return Err(ConfigError::conflict(
                "max_access_lifetime",
                "is shorter than `access_lifetime`, so tokens issued here would be refused",
                "raise `max_access_lifetime`, or shorten `access_lifetime`",
            ));
        }
        let mut validation = Validation::new()
            .leeway(self.leeway)
            .max_access_lifetime(max_access)
            .max_refresh_lifetime(lifetimes.session)
            .max_token_len(self.max_token_len)
            .access_typ(self.access_typ.unwrap_or_default());
        if let Some(max) = self.max_token_age {
            validation = validation.max_token_age(max);
        }
        if let Some(issuer) = &self.issuer {
            validation = validation.issuer(issuer);
        }
        if self.audience.is_none() && !self.also_accepted.is_empty() {
            return Err(ConfigError::missing(
                "audience",
                "is missing, but `also_accept_audience` is given, so tokens issued here would be refused",
                "call `audience(..)` with the audience of your own tokens",
            ));
        }
        for audience in self.audience.iter().chain(&self.also_accepted) {
            validation = validation.audience(audience);
        }
        Ok(validation)
    }
}

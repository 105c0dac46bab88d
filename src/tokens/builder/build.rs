//! The check of a configuration in [`Builder::build`]: settings that cannot work are found here,
//! once.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Handle;

use super::{
    super::{
        SecurityEvent, TokenPolicy, TokenService,
        cache::VerifiedTokens,
        consistency::Pace,
        events,
        keyring::{CurrentKeyring, KeyRules},
        service::{Inner, Lifetimes},
    },
    Builder, DAY,
};
use crate::{
    error::ConfigError,
    jwt::{AccessTyp, Algorithm, KeySet, SigningKey, Validation, validate_jwt_stateless},
    replica::{Notice, Replica, ReplicaSettings, ReplicaTasks, Source},
    store::{Denylist, RevocationLog, SessionStore},
};

/// Time beyond a token's own end for which its revocation is remembered, for differences of clocks
/// and commands under way.
const MARGIN: Duration = Duration::from_secs(60);
/// Longer grace windows are a licence to reuse: this is the widest found in comparable systems.
const LONGEST_GRACE: Duration = Duration::from_secs(300);
/// 100 years: beyond it a lifetime is a mistake, and below it no sum of times overflows.
pub(in crate::tokens) const LONGEST_LIFETIME: Duration = Duration::from_secs(100 * 365 * 86_400);

impl<C> Builder<C> {
    /// Builds the service. Call it inside of a Tokio runtime if the store has a log to be followed,
    /// as Redis has under either [`Consistency`](crate::Consistency). A task on that runtime
    /// follows the log.
    ///
    /// # Errors
    ///
    /// A setting that is missing, contradicts another or is out of its range. The error names it
    /// and says what to do.
    pub fn build(mut self) -> Result<TokenService<C>, ConfigError>
    where
        C: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        if let Some(hook) = self.hook_lost {
            return Err(ConfigError::new(
                hook,
                "was given before `claims`, whose type it does not have",
                "call `claims` first",
            ));
        }
        self.verified_cache.check::<C>()?;
        let verified = VerifiedTokens::new(self.verified_cache, self.max_token_len);
        let key_rules = KeyRules { issues: self.issues(), max_token_len: self.max_token_len };
        let keyring = CurrentKeyring::new(self.take_keys()?, key_rules)?;
        let lifetimes = self.lifetimes()?;
        let validation = self.validation(&lifetimes)?;
        let max_sessions = match self.max_sessions.map(NonZeroU32::new) {
            None => None,
            Some(Some(max)) => Some(max),
            Some(None) => {
                return Err(ConfigError::new(
                    "max_sessions",
                    "is zero, which would refuse every login",
                    "give 1 or more, or leave it out",
                ));
            }
        };
        match (&self.store, self.policy) {
            (None, TokenPolicy::Tracked | TokenPolicy::Denylist) => {
                return Err(ConfigError::new(
                    "store",
                    "is missing",
                    "give `RedisStore::connect(..)` or `MemoryStore::default()`",
                ));
            }
            (Some(_), TokenPolicy::Stateless) => {
                return Err(ConfigError::new(
                    "store",
                    "is given, but the policy `Stateless` never asks it",
                    "leave one of them out",
                ));
            }
            _ => {}
        }
        let log = self.store.clone().and_then(SessionStore::revocation_log);
        let denylist = self.denylist()?;
        let keep = match self.policy {
            TokenPolicy::Denylist => max_foreign_life(&validation, lifetimes.after_end),
            TokenPolicy::Tracked | TokenPolicy::Stateless => lifetimes.access + self.leeway + MARGIN,
        };
        if let Some(log) = &log {
            log.keep_log_for(keep);
        }
        if let Some(denylist) = &denylist {
            denylist.keep_denials_for(keep);
        }
        let (replica, tasks) = self.replica(log, denylist.clone(), validation.leeway_in_force())?.unzip();
        Ok(TokenService::from_inner(Inner {
            keyring,
            verified,
            validation,
            issuer: self.issuer,
            audience: self.audience,
            client_id: self.client_id,
            store: self.store,
            denylist,
            clock: self.clock,
            policy: self.policy,
            lifetimes,
            max_sessions,
            asked_for_time: 0.into(),
            parse: validate_jwt_stateless::<C>,
            validator: self.validator,
            on_event: self.on_event,
            on_refresh: self.on_refresh,
            replica,
            _tasks: tasks,
        }))
    }

    /// Returns the store's list of revocations of other issuers' tokens, if the policy needs it.
    fn denylist(&self) -> Result<Option<Arc<dyn Denylist>>, ConfigError> {
        let (Some(store), TokenPolicy::Denylist) = (&self.store, self.policy) else { return Ok(None) };
        match Arc::clone(store).denylist() {
            Some(denylist) => Ok(Some(denylist)),
            None => Err(ConfigError::new(
                "policy",
                format!(
                    "is `Denylist`, but the store `{}` keeps no revocations of other issuers' tokens",
                    store.name()
                ),
                "use a store that implements `Denylist`, as `RedisStore`",
            )),
        }
    }

    fn take_keys(&mut self) -> Result<KeySet, ConfigError> {
        match (self.secret.take(), self.keys.take()) {
            (Some(secret), None) => {
                let key = SigningKey::from_secret(self.algorithm.unwrap_or(Algorithm::HS256), &*secret)
                    .map_err(|error| error.set_by("signing_key", self.secret_name))?;
                Ok(KeySet::signing(key))
            }
            (None, Some(_)) if self.algorithm.is_some() => Err(ConfigError::new(
                "algorithm",
                "is given beside `keys`, each of which has its own",
                "leave it out, or use `secret`",
            )),
            (None, Some(keys)) => Ok(keys),
            (Some(_), Some(_)) => Err(ConfigError::new(
                self.secret_name,
                "is given beside `keys`",
                "give one of them: a secret may be a key of the set",
            )),
            (None, None) => Err(ConfigError::new(
                "secret",
                "is missing, and so are `keys`",
                "give a secret of 32 random bytes or more (`openssl rand -base64 48`), or a `KeySet`",
            )),
        }
    }

    /// Makes the replica of the store's log, and the tasks that follow it. Both exist under bounded
    /// staleness, and for any store that may lose its data apart from this process.
    fn replica(
        &self,
        log: Option<Arc<dyn RevocationLog>>,
        denylist: Option<Arc<dyn Denylist>>,
        leeway: Duration,
    ) -> Result<Option<(Arc<Replica>, ReplicaTasks)>, ConfigError> {
        let Pace { staleness, interval, deadline } = self.consistency.pace(self.poll_interval)?;
        let (store, log) = match (&self.store, log) {
            (Some(store), Some(log)) => (Arc::clone(store), log),
            _ if staleness.is_zero() => return Ok(None),
            (None, _) => {
                return Err(ConfigError::new(
                    "consistency",
                    "is given, but the policy `Stateless` checks no revocations",
                    "leave one of them out",
                ));
            }
            (Some(store), None) => {
                return Err(ConfigError::new(
                    "consistency",
                    format!(
                        "is `BoundedStaleness`, but the store `{}` has no revocation log from which a node could \
                         learn revocations",
                        store.name()
                    ),
                    "use `Consistency::Strong`, or a store that implements `RevocationLog`, as `RedisStore`",
                ));
            }
        };
        let feeds = log.feeds(deadline);
        if staleness.is_zero() && feeds.is_empty() {
            return Ok(None);
        }
        let runtime = Handle::try_current().map_err(|error| {
            let problem = "of this store, strong or bounded, needs a task that follows its log, and there is no Tokio runtime to run it on";
            ConfigError::new("consistency", problem, "call `build` inside of the runtime").with_source(error)
        })?;
        log.allow_staleness(staleness);
        let hook = self.on_event.clone();
        let on_notice = Box::new(move |notice| {
            let event = match notice {
                Notice::Lost(count) => SecurityEvent::RevocationsLost { count },
                Notice::Republished(count) => SecurityEvent::RevocationsRestored { count },
            };
            events::tell(hook.as_ref(), &event);
        });
        let settings = ReplicaSettings { staleness, interval, deadline, leeway, check_rate: self.max_questions };
        let source = Source { store, log, denylist };
        Ok(Some(ReplicaTasks::start(&runtime, source, feeds, Arc::clone(&self.clock), settings, on_notice)))
    }

    /// Returns true if the service issues tokens.
    fn issues(&self) -> bool {
        self.policy == TokenPolicy::Tracked && !self.verify_only
    }

    fn lifetimes(&self) -> Result<Lifetimes, ConfigError> {
        let session = self.session_lifetime.unwrap_or_else(|| self.refresh_lifetime.max(30 * DAY));
        for (setting, lifetime) in [
            ("access_lifetime", self.access_lifetime),
            ("refresh_lifetime", self.refresh_lifetime),
            ("session_lifetime", session),
        ] {
            check_lifetime(setting, lifetime)?;
        }
        if self.reuse_grace > LONGEST_GRACE {
            return Err(ConfigError::new(
                "reuse_grace",
                "is over 5 minutes, in which a thief could use a stolen token unseen",
                "give seconds: how long a client may take to repeat a request",
            ));
        }
        Ok(Lifetimes {
            access: self.access_lifetime,
            idle: self.refresh_lifetime,
            absolute: session,
            grace: self.reuse_grace,
            after_end: self.leeway.saturating_add(MARGIN),
        })
    }

    fn validation(&self, lifetimes: &Lifetimes) -> Result<Validation, ConfigError> {
        let issues = self.issues();
        let never_written = |name: &&String| *name == "nbf" || (*name == "client_id" && self.client_id.is_none());
        if issues && let Some(name) = self.required_claims.iter().find(never_written) {
            return Err(ConfigError::new(
                "require_claims",
                format!("has `{name}`, which tokens issued here do not have, so that they would be refused"),
                "leave it out; for `client_id` configure one",
            ));
        }
        if issues && self.max_token_age.is_some_and(|max| max < lifetimes.access) {
            return Err(ConfigError::new(
                "max_token_age",
                "is shorter than `access_lifetime`, so that tokens issued here would end before their `exp`",
                "shorten `access_lifetime` instead",
            ));
        }
        let max_access = self.max_access_lifetime.unwrap_or_else(|| lifetimes.access.max(DAY));
        if max_access < lifetimes.access {
            return Err(ConfigError::new(
                "max_access_lifetime",
                "is shorter than `access_lifetime`, so that no token issued here would be accepted",
                "raise it, or shorten `access_lifetime`",
            ));
        }
        let typ = self.access_typ.unwrap_or(match self.policy {
            TokenPolicy::Tracked => AccessTyp::Compatible,
            TokenPolicy::Denylist | TokenPolicy::Stateless => AccessTyp::AtJwt,
        });
        let mut validation = Validation::new()
            .leeway(self.leeway)
            .max_access_lifetime(max_access)
            .max_refresh_lifetime(lifetimes.absolute)
            .max_token_len(self.max_token_len)
            .require_claims(&self.required_claims)
            .access_typ(typ);
        if let Some(max) = self.max_token_age {
            validation = validation.max_token_age(max);
        }
        if let Some(issuer) = &self.issuer {
            validation = validation.issuer(issuer);
        }
        if self.audience.is_none() && !self.also_accepted.is_empty() && self.policy == TokenPolicy::Tracked {
            return Err(ConfigError::new(
                "audience",
                "is missing though other audiences are accepted: tokens issued here would be refused here",
                "give the audience of your own tokens",
            ));
        }
        for audience in self.audience.iter().chain(&self.also_accepted) {
            validation = validation.audience(audience);
        }
        validation.check()?;
        Ok(validation)
    }
}

/// Returns the longest time for which a token of another issuer can be accepted. Its revocation has
/// to be remembered for so long.
pub(in crate::tokens) fn max_foreign_life(validation: &Validation, after_end: Duration) -> Duration {
    validation.max_access_lifetime_in_force().saturating_add(after_end).saturating_add(validation.leeway_in_force())
}

/// Returns an error for a lifetime that tokens cannot have: they count whole seconds.
pub(in crate::tokens) fn check_lifetime(setting: &'static str, lifetime: Duration) -> Result<(), ConfigError> {
    let problem = if lifetime < Duration::from_secs(1) {
        "is shorter than a second"
    } else if lifetime.subsec_nanos() != 0 {
        "has a fraction of a second, which tokens cannot express"
    } else if lifetime > LONGEST_LIFETIME {
        "is longer than 100 years"
    } else {
        return Ok(());
    };
    Err(ConfigError::new(setting, problem, "give whole seconds, at least one"))
}

//! Settings, and the checks before the first call: every misconfiguration is found here, none per request.

use std::{
    fmt,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use deadpool_redis::Pool;
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::Value;
use tokio::time::Instant;

#[cfg(feature = "sentinel")]
use crate::store::redis::client::connections::target::watch;
use crate::{
    clock::{Timestamp, saturating_millis},
    error::{ConfigError, StoreError, StoreErrorKind},
    store::{
        ExternalId,
        redis::{
            Inner, RedisStore,
            client::{
                answer::{info::property, reply::Reply},
                connections::{
                    target::{Origin, Place, Terms},
                    url,
                },
                failover::{
                    deployment::{Deployment, Failover},
                    guard::Guard,
                },
                lookout::Lookout,
                prover::Prover,
                router::Servers,
                server_time::ServerTime,
            },
            layout::keys::{ForeignKey, Keyspace},
            scripts::{self, call::Call},
        },
    },
};

const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_CONNECTIONS: usize = 2;
const MAX_CONNECTIONS: usize = 64;
const DEFAULT_BUCKETS: u32 = 16;
/// Buckets asked at once when connecting.
const TOUCHES_AT_ONCE: usize = 64;
/// For how long the log is kept at least. A login that began before everything was revoked must still meet the
/// revocation when it ends, however long its user looked for the second factor.
const SHORTEST_KEEP: Duration = Duration::from_secs(60 * 60);
const OLDEST_VERSION: u32 = 7;
#[cfg(feature = "sentinel")]
const DEFAULT_PATIENCE: Duration = Duration::from_secs(5);
#[cfg(feature = "sentinel")]
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);
#[cfg(feature = "sentinel")]
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);
#[cfg(feature = "cluster")]
const SHORTEST_NODE_TIMEOUT: Duration = Duration::from_millis(1);
#[cfg(feature = "cluster")]
const LONGEST_NODE_TIMEOUT: Duration = Duration::from_secs(600);

/// The store could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting, of this store or of the server, that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server did not answer as it should. Trying again later may help.
    #[error("the token store could not be connected")]
    Store(#[from] StoreError),
}

/// The settings of a [`RedisStore`].
pub struct RedisStoreBuilder {
    place: Place,
    /// Why the URL cannot be used.
    problem: Option<ConfigError>,
    prefix: String,
    buckets: u32,
    timeout: Duration,
    connections: usize,
    allow_eviction: bool,
    failover: Option<Failover>,
    #[cfg(feature = "sentinel")]
    sentinel_patience: Option<Duration>,
    #[cfg(feature = "cluster")]
    cluster_node_timeout: Option<Duration>,
}

impl RedisStoreBuilder {
    pub(crate) fn new(url: &str) -> Self {
        match url::place(url) {
            Ok(place) => Self::from(place),
            Err(problem) => Self { problem: Some(problem), ..Self::from(Place::Url(String::new())) },
        }
    }

    #[cfg(feature = "cluster")]
    pub(crate) fn cluster(urls: Vec<String>) -> Self {
        Self::from(Place::Cluster(urls))
    }

    #[cfg(feature = "sentinel")]
    pub(crate) fn sentinel(urls: Vec<String>, master: String) -> Self {
        Self::from(Place::Sentinel { urls, master, credentials: None })
    }

    /// Uses a pool of your own. See [Your own pool](super#your-own-pool).
    #[must_use]
    pub fn from_pool(pool: Pool) -> Self {
        Self::from(Place::Pool(pool))
    }

    fn from(place: Place) -> Self {
        Self {
            place,
            problem: None,
            prefix: "tb".to_owned(),
            buckets: DEFAULT_BUCKETS,
            timeout: DEFAULT_TIMEOUT,
            connections: DEFAULT_CONNECTIONS,
            allow_eviction: false,
            failover: None,
            #[cfg(feature = "sentinel")]
            sentinel_patience: None,
            #[cfg(feature = "cluster")]
            cluster_node_timeout: None,
        }
    }

    /// User (`default` if the servers have only a password) and password of the servers behind sentinels. The sentinels'
    /// own stand in their URLs.
    #[cfg(feature = "sentinel")]
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        if let Place::Sentinel { credentials, .. } = &mut self.place {
            *credentials = Some((user.into(), password.into()));
        }
        self
    }

    /// What every key starts with: 1 to 64 bytes without braces. Default: `tb`.
    ///
    /// Deployments that share a server take different prefixes.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Into how many parts users are spread, 1 to 1024. Default: 16.
    ///
    /// Each part stands in one slot of a Redis Cluster. The number is fixed for the life of the data: a node that comes
    /// with another one is refused.
    #[must_use]
    pub fn buckets(mut self, buckets: u32) -> Self {
        self.buckets = buckets;
        self
    }

    /// How long a call may take in all, connecting and repeating included: up to a minute. Default: 500 ms.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many connections all calls share, 1 to 64; in a cluster, to each primary. Default: 2. More help only where one core of this process
    /// is too slow to read the answers.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Whether a server is accepted whose `maxmemory-policy` is not `noeviction`. Default: no.
    ///
    /// A server that evicts may drop a denied token of another issuer, which then lives again; our own users it logs out.
    #[must_use]
    pub fn allow_eviction(mut self, allow: bool) -> Self {
        self.allow_eviction = allow;
        self
    }

    /// Declares how the server behind the URL can be replaced by another one. Default: undeclared.
    /// Then the time is unknown for which this node may believe a server that was replaced.
    ///
    /// Not with sentinels or a cluster, which tell it themselves.
    #[must_use]
    pub fn failover(mut self, failover: Failover) -> Self {
        self.failover = Some(failover);
        self
    }

    /// Sets the maximum age of the sentinels' answers by which this node decides: 1 s to a minute.
    /// Default: 5 s.
    ///
    /// A majority of them must have named the primary within this time, else requests and
    /// revocations are refused (503). A node that is cut off from the sentinels believes an old
    /// primary for no longer. The sentinels need a durable disk: one that forgets may vote for an
    /// old primary again.
    #[cfg(feature = "sentinel")]
    #[must_use]
    pub fn sentinel_patience(mut self, patience: Duration) -> Self {
        self.sentinel_patience = Some(patience);
        self
    }

    /// Declares the cluster's `cluster-node-timeout`, up to 10 minutes. Default: read with `CONFIG
    /// GET`, if the user has the right to it.
    ///
    /// A primary that was cut off serves for this long. `CLUSTER FAILOVER TAKEOVER` replaces a
    /// primary without a vote: the bound does not hold for it.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn cluster_node_timeout(mut self, timeout: Duration) -> Self {
        self.cluster_node_timeout = Some(timeout);
        self
    }

    /// Connects, and checks that the server is fit for this: its version, its eviction policy, and
    /// the rights of the user. No other layout or number of buckets may be in use under the prefix.
    ///
    /// `ROLE` is among the rights that are needed, and in a cluster `CLUSTER SLOTS`. `SPUBLISH` and
    /// `SSUBSCRIBE` are not, and `INFO` only under [`Failover::Replicas`]. There the store also
    /// waits until all replicas have acknowledged a write. If they do not within
    /// [`timeout`](Self::timeout) and half of `max_lag`, the error says how many have.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Config`] for what has to be changed, [`ConnectError::Store`] if the server cannot be reached.
    pub async fn connect(mut self) -> Result<RedisStore, ConnectError> {
        if let Some(problem) = self.problem.take() {
            return Err(problem.into());
        }
        let keys = Keyspace::new(&self.prefix, self.buckets)?;
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            let problem = format!("is {:?}", self.timeout);
            return Err(ConfigError::new("timeout", problem, "choose more than zero and at most a minute").into());
        }
        if self.connections == 0 || self.connections > MAX_CONNECTIONS {
            let (problem, remedy) = (format!("is {}", self.connections), format!("choose 1 to {MAX_CONNECTIONS}"));
            return Err(ConfigError::new("connections", problem, remedy).into());
        }
        let allow_eviction = self.allow_eviction;
        let deployment = self.deployment()?;
        let guard = Guard::new(keys.clone(), deployment);
        #[cfg(feature = "sentinel")]
        let guard = guard.with_watch(watch(&self.place, deployment, self.timeout)?);
        let origin = Arc::new(Origin::new(self.place, guard));
        let prover = Prover::new(&origin, &keys, self.timeout)?;
        let inner = Inner {
            keys,
            servers: Servers::new(&origin, Terms::new(self.timeout, self.connections), self.buckets)?,
            origin,
            time: ServerTime::new(self.timeout),
            timeout: self.timeout,
            keep: AtomicU64::new(saturating_millis(SHORTEST_KEEP)),
            staleness: AtomicU64::new(0),
            lookout: OnceLock::new(),
            prover,
        };
        inner.check_server(allow_eviction).await?;
        // Before the buckets are touched, which are told of the bound.
        inner.origin.guard().has_seen(inner.look().await?);
        if let Some(prover) = &inner.prover {
            prover.begin().await?;
        }
        inner.check_rights().await?;
        inner.touch_all().await?;
        let inner = Arc::new(inner);
        #[cfg(feature = "tracing")]
        if let Err(reason) = inner.origin.guard().bound() {
            let text = "the time is unknown for which a Redis server that was replaced may be believed";
            tracing::warn!(reason, "{text}");
        }
        let _ = inner.lookout.set(Lookout::start(&inner));
        Ok(RedisStore { inner })
    }
}

impl RedisStoreBuilder {
    /// Returns how a primary can be replaced. Refuses declarations that do not fit the way of
    /// connecting.
    fn deployment(&self) -> Result<Deployment, ConfigError> {
        let unfit = |setting, how| {
            Err(ConfigError::new(setting, format!("is set, and the store connects {how}"), "leave it out"))
        };
        #[cfg(feature = "cluster")]
        match (&self.place, self.cluster_node_timeout) {
            (Place::Cluster(_), _) if self.failover.is_some() => {
                return unfit("failover", "to a cluster, which tells it itself");
            }
            (Place::Cluster(_), Some(timeout))
                if !(SHORTEST_NODE_TIMEOUT..=LONGEST_NODE_TIMEOUT).contains(&timeout) =>
            {
                let (problem, remedy) = (format!("is {timeout:?}"), "give the servers' `cluster-node-timeout`");
                return Err(ConfigError::new("cluster_node_timeout", problem, remedy));
            }
            (Place::Cluster(_), node_timeout) => return Ok(Deployment::Cluster { node_timeout }),
            (_, Some(_)) => return unfit("cluster_node_timeout", "to no cluster"),
            _ => {}
        }
        #[cfg(feature = "sentinel")]
        match (&self.place, self.sentinel_patience) {
            (Place::Sentinel { .. }, _) if self.failover.is_some() => {
                return unfit("failover", "through sentinels, which tell it themselves");
            }
            (Place::Sentinel { .. }, patience) => {
                let patience = patience.unwrap_or(DEFAULT_PATIENCE);
                if (SHORTEST_PATIENCE..=LONGEST_PATIENCE).contains(&patience) {
                    return Ok(Deployment::Sentinel { patience });
                }
                let problem = format!("is {patience:?}");
                return Err(ConfigError::new("sentinel_patience", problem, "choose 1 s to a minute; 5 s is usual"));
            }
            (_, Some(_)) => return unfit("sentinel_patience", "without sentinels"),
            _ => {}
        }
        #[cfg(not(any(feature = "cluster", feature = "sentinel")))]
        let _: fn(&'static str, &'static str) -> Result<Deployment, ConfigError> = unfit;
        Deployment::declared(self.failover)
    }
}

impl fmt::Debug for RedisStoreBuilder {
    /// Shows no URL and no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("prefix", &self.prefix)
            .field("buckets", &self.buckets)
            .field("timeout", &self.timeout)
            .field("connections", &self.connections)
            .field("allow_eviction", &self.allow_eviction)
            .field("failover", &self.failover)
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) async fn ping(&self, deadline: Instant) -> Result<Timestamp, StoreError> {
        let mut pipeline = redis::Pipeline::with_capacity(1);
        pipeline.cmd("TIME");
        let (values, lease) = self.servers.read(0, &pipeline, deadline).await?;
        let outcome = Reply::of(Value::Array(values)).and_then(|mut reply| reply.array()?.server_time());
        let now = outcome.inspect_err(|_| lease.distrust())?;
        self.time.learn(now);
        Ok(now)
    }

    async fn check_server(&self, allow_eviction: bool) -> Result<(), ConnectError> {
        let Some(server) = self.info("server").await? else {
            #[cfg(feature = "tracing")]
            tracing::warn!("no right to INFO: the Redis server's version and eviction policy are not checked");
            return Ok(());
        };
        if let Some(version) = server.iter().find_map(|text| old_version(text)) {
            let remedy = format!("use Redis {OLDEST_VERSION}.0 or later, or Valkey");
            return Err(ConfigError::new("url", format!("leads to a server of version {version:.20}"), remedy).into());
        }
        let memory = self.info("memory").await?.unwrap_or_default();
        let policies = memory.iter().filter_map(|text| property(text, "maxmemory_policy"));
        let Some(policy) = policies.into_iter().find(|policy| *policy != "noeviction") else { return Ok(()) };
        if !allow_eviction {
            return Err(ConfigError::new(
                "allow_eviction",
                format!("is off, and the server's maxmemory-policy is {policy:.20}: it may drop revocations"),
                "set maxmemory-policy to noeviction, or call allow_eviction(true)",
            )
            .into());
        }
        // Told by the look that follows.
        Ok(())
    }

    /// Without this, a right that is missing would be found by the first revocation.
    async fn check_rights(&self) -> Result<(), ConnectError> {
        let denied = self.keys.foreign("", &ExternalId::Token("".into()));
        let denied = ForeignKey { bucket: 0, ..denied };
        let call = Call {
            script: &scripts::RIGHTS,
            bucket: 0,
            keys: vec![
                self.keys.user(0, "0"),
                self.keys.labels(0, "0"),
                self.keys.denied(&denied),
                self.keys.index(0, "0"),
            ],
            arguments: Vec::new(),
            expires: false,
            repeatable: true,
        };
        let mut answered = self.run(&call, Instant::now() + self.timeout).await?;
        let (mut commands, mut missing) = (answered.rest.array().map_err(StoreError::from)?, Vec::new());
        while !commands.is_empty() {
            missing.push(commands.text().map_err(StoreError::from)?);
        }
        if missing.is_empty() {
            return Ok(());
        }
        let problem = format!("names a user who has no right to {} on the keys of this prefix", missing.join(", "));
        Err(ConfigError::new("url", problem, "grant it with ACL SETUSER").into())
    }

    /// Makes the buckets that do not exist, and compares the layout of those that do.
    async fn touch_all(&self) -> Result<(), ConnectError> {
        let touches = stream::iter(0..self.keys.buckets())
            .map(|bucket| self.touch(bucket, Instant::now() + self.timeout))
            .buffer_unordered(TOUCHES_AT_ONCE);
        match touches.try_collect::<()>().await {
            Err(error) if error.kind() == StoreErrorKind::Layout => {
                let problem = format!("is {}, and the prefix is in use with another layout", self.keys.buckets());
                let remedy = "give every node the same number and version, or take another prefix";
                Err(ConfigError::new("buckets", problem, remedy).with_source(error).into())
            }
            outcome => Ok(outcome?),
        }
    }
}

/// The version in `INFO server` if it is too old. Valkey tells the Redis version that it is compatible with, and its own.
fn old_version(server: &str) -> Option<&str> {
    let recent = |version: &&str| {
        version
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok())
            .is_some_and(|major| major >= OLDEST_VERSION)
    };
    let versions = || ["redis_version", "valkey_version"].into_iter().filter_map(|name| property(server, name));
    if versions().any(|version| recent(&version)) { None } else { versions().next().or(Some("unknown")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_before_seven_is_too_old_and_valkey_is_not() {
        assert_eq!(old_version("redis_version:6.2.5\r\n"), Some("6.2.5"));
        assert_eq!(old_version("redis_version:7.0.15\r\n"), None);
        assert_eq!(old_version("redis_version:10.1\r\n"), None);
        assert_eq!(old_version("valkey_version:8.1.8\r\n"), None);
        assert_eq!(old_version("nothing\r\n"), Some("unknown"));
    }

    #[test]
    fn the_builder_shows_neither_url_nor_password() {
        let builder = RedisStore::builder("redis://user:hunter2@example.invalid/");
        let text = format!("{builder:?}");
        assert!(!text.contains("hunter2") && !text.contains("example"), "{text}");
    }
}

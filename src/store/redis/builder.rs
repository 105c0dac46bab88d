//! The settings of a Redis store. [`RedisStoreBuilder::connect`] checks the settings and the
//! servers, so a wrong setting shows at the start and not in a later request.

use std::{
    fmt,
    future::ready,
    sync::{Arc, OnceLock},
    time::Duration,
};

use deadpool_redis::Pool;
use tokio::runtime::Handle;
#[cfg(feature = "tls")]
use zeroize::Zeroizing;

use crate::{
    error::{BoxError, ConfigError},
    store::redis::{
        client::{
            Client,
            connect_error::ConnectError,
            connections::{access::Access, config::ConnectionConfig, connector::Connector, target::Target},
            credentials::{Credentials, CredentialsProvider},
            failover::deployment::{Deployment, Failover},
            lookout::Lookout,
            prover::Prover,
            readiness::Readiness,
        },
        layout::keys::Keyspace,
        scripts::{Demands, Parts},
        start::Checks,
        store::RedisStore,
    },
};

const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_CONNECTIONS: usize = 2;
const MAX_CONNECTIONS: usize = 64;
const DEFAULT_BUCKETS: u32 = 16;
/// The shortest time for which the store keeps the log and the users' hashes. It must be longer
/// than any login takes. Otherwise the store could forget a `revoke_all` that ran during a login.
const SHORTEST_KEEP: Duration = Duration::from_secs(60 * 60);
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

impl RedisStore {
    /// Connects to a server with the default settings of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: the server cannot be reached, or does not meet the requirements.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// Creates a builder for the servers of a URL.
    ///
    /// * `redis://[user:password@]host[:port][/db]` and `unix://`: one server.
    /// * `redis-sentinel://[user:password@]host[:port][,host:port..][/db]#name`: the primary that
    ///   sentinels call `name`.
    /// * `redis-cluster://[user:password@]host[:port][,host:port..]`: a cluster, found through some
    ///   of its nodes.
    ///
    /// `rediss`, `rediss-sentinel` and `rediss-cluster` use TLS (feature `tls`). With
    /// `rediss-sentinel`, both the sentinels and the servers use TLS. Sentinels need the feature
    /// `sentinel`, and a cluster needs the feature `cluster`.
    ///
    /// `user` and `password` are the credentials for the servers. If the sentinels need
    /// credentials, add the parameters `sentinel_user` and `sentinel_password` before the `#`.
    /// Percent-encode characters that have a meaning in URLs.
    ///
    /// An invalid URL is an error of [`connect`](RedisStoreBuilder::connect).
    #[must_use]
    pub fn builder(url: impl AsRef<str>) -> RedisStoreBuilder {
        match Target::parse(url.as_ref()) {
            Ok(target) => RedisStoreBuilder::from(target),
            Err(problem) => {
                RedisStoreBuilder { problem: Some(problem), ..RedisStoreBuilder::from(Target::Url(String::new())) }
            }
        }
    }

    /// Creates a builder for a Redis Cluster from the URLs of some of its servers.
    ///
    /// The store asks these servers for the others with `CLUSTER SLOTS`. It connects to the hosts
    /// and ports in the answer, with the credentials and the TLS of the URLs.
    ///
    /// * **A slot moves**: all data of a user are in one slot. While the slot moves to another
    ///   server, calls about its users may fail with
    ///   [`Unavailable`](crate::error::StoreErrorKind::Unavailable).
    /// * **A primary fails**: calls about the users of its slots fail until the cluster has
    ///   replaced this primary. Other users are not affected.
    /// * **The network cuts off a primary**: this primary may still answer, at most for the time
    ///   [`cluster_node_timeout`](RedisStoreBuilder::cluster_node_timeout).
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn cluster<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> RedisStoreBuilder {
        RedisStoreBuilder::from(Target::Cluster(urls.into_iter().map(Into::into).collect()))
    }

    /// Creates a builder for the primary that the sentinels call `master_name`.
    ///
    /// * **URLs**: they contain the user and password for the sentinels. The TLS (`rediss://`) and
    ///   the database of the first URL also apply to the servers.
    /// * **Credentials for the servers**: set them with
    ///   [`credentials`](RedisStoreBuilder::credentials).
    /// * **Majority**: a majority of all sentinels must have named the primary within the last
    ///   [`sentinel_patience`](RedisStoreBuilder::sentinel_patience). The number of all sentinels
    ///   is the number of URLs, or a higher number that a sentinel reports.
    ///
    /// [`builder`](Self::builder) takes all of these settings in one URL.
    #[cfg(feature = "sentinel")]
    #[must_use]
    pub fn sentinel<U: Into<String>>(
        urls: impl IntoIterator<Item = U>,
        master_name: impl Into<String>,
    ) -> RedisStoreBuilder {
        let (urls, master) = (urls.into_iter().map(Into::into).collect(), master_name.into());
        RedisStoreBuilder::from(Target::Sentinel { urls, master, credentials: None })
    }
}

/// The settings of a [`RedisStore`].
pub struct RedisStoreBuilder {
    target: Target,
    /// The error of an invalid URL, which `connect` returns.
    problem: Option<ConfigError>,
    access: Access,
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
    /// Creates a builder for a store that uses your own connection pool (see the
    /// [module](super#your-own-pool)).
    #[must_use]
    pub fn from_pool(pool: Pool) -> Self {
        Self::from(Target::Pool(pool))
    }

    /// Creates a builder with the default settings.
    fn from(target: Target) -> Self {
        Self {
            target,
            problem: None,
            access: Access::default(),
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

    /// Sets the user and password for the servers that the sentinels watch. Has no effect without
    /// sentinels. If the servers have only a password, pass the user `default`. The URLs of the
    /// sentinels contain the sentinels' own credentials.
    #[cfg(feature = "sentinel")]
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        if let Target::Sentinel { credentials, .. } = &mut self.target {
            *credentials = Some((user.into(), password.into()));
        }
        self
    }

    /// Sets a function that returns the user and password for each new connection to a server.
    ///
    /// With this function, a password can change without a restart. A token of a cloud's identity
    /// service can also serve as the password.
    ///
    /// * **Calls**: the store calls the function at the start, after a connection broke, and for a
    ///   new primary. It may make several calls simultaneously.
    /// * **URL**: it must contain no user and no password for the servers. The URLs of sentinels
    ///   still contain the credentials for the sentinels.
    /// * **Time**: requests wait while the function runs. So let it return stored credentials, and
    ///   refresh them in the background. The function fails if it takes longer than
    ///   [`timeout`](Self::timeout).
    /// * **Failure**: requests fail with [`CredentialsError`](super::CredentialsError) as the
    ///   source. The next attempt to connect calls the function again. Logs and the status show the
    ///   text of the function's error, so it must not contain a secret.
    ///
    /// To change a password without a failed request:
    ///
    /// 1. Let the server accept both passwords: `ACL SETUSER app >new`.
    /// 2. Make the function return the new password, on every node.
    /// 3. Remove the old password: `ACL SETUSER app <old`. This does not close open connections.
    ///    `CLIENT KILL USER app` closes them, and the nodes connect again.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_bearer::store::{RedisStore, redis::Credentials};
    ///
    /// let store = RedisStore::builder("rediss://redis.internal/")
    ///     .credentials_provider(|| async {
    ///         // The orchestrator replaces this file when the password changes.
    ///         let password = tokio::fs::read_to_string("/run/secrets/redis").await?;
    ///         Ok(Credentials::new("app", password.trim()))
    ///     })
    ///     .connect()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn credentials_provider<P, F>(mut self, provider: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Credentials, BoxError>> + Send + 'static,
    {
        self.access.credentials = Some(CredentialsProvider::new(provider));
        self
    }

    /// Sets the certificate that the node presents to the servers and sentinels (mutual TLS).
    ///
    /// Both arguments are PEM texts: the certificate with its chain, and its private key without a
    /// password. The URL must use TLS. To replace the certificate, build a new store.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn client_certificate(mut self, certificates: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.access.certificates.client = Some((certificates.into(), Zeroizing::new(key.into())));
        self
    }

    /// Sets the authorities that may sign the certificates of the servers and sentinels, as one PEM
    /// text. By default the node trusts the authorities of the system. The URL must use TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn root_certificates(mut self, certificates: impl Into<Vec<u8>>) -> Self {
        self.access.certificates.roots = Some(certificates.into());
        self
    }

    /// Sets the prefix of every key: 1 to 64 bytes without braces. Default: `tb`. Applications that
    /// share a server need different prefixes.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the number of buckets, 1 to 1024. Default: 16. Each user belongs to one bucket.
    ///
    /// In a Redis Cluster each bucket is in one slot. The number cannot change while data exist
    /// under the prefix: a node with another number cannot connect.
    #[must_use]
    pub fn buckets(mut self, buckets: u32) -> Self {
        self.buckets = buckets;
        self
    }

    /// Sets the time limit of a call, at most 60 s. Default: 500 ms. The limit includes the time to
    /// connect and to repeat the call.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the number of connections to each server, 1 to 64. Default: 2. All calls share these
    /// connections. One task reads the answers of one connection. So more connections help only if
    /// such a task uses a whole CPU core.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Accepts a server whose `maxmemory-policy` is not `noeviction`. Default: `false`.
    ///
    /// Such a server may delete keys when its memory is full. If it deletes the denial of another
    /// issuer's token, the nodes accept this token again. If it deletes a user's sessions, the user
    /// is logged out.
    #[must_use]
    pub fn allow_eviction(mut self, allow: bool) -> Self {
        self.allow_eviction = allow;
        self
    }

    /// Declares how another server can replace the server behind the URL.
    ///
    /// * **One address**: without this setting, the bound
    ///   [`failover_bound`](crate::store::SessionStore::failover_bound) is unknown: the longest
    ///   time for which a node may use a replaced server.
    /// * **Sentinels or a cluster**: leave this setting out, because [`connect`](Self::connect)
    ///   rejects it.
    #[must_use]
    pub fn failover(mut self, failover: Failover) -> Self {
        self.failover = Some(failover);
        self
    }

    /// Sets the maximum age of the sentinels' answers: 1 s to 60 s. Default: 5 s.
    ///
    /// If no majority of the sentinels named the primary within this time, the node refuses
    /// requests and revocations (503). So a node that is cut off from the sentinels stops using a
    /// primary that they may have replaced.
    ///
    /// Each sentinel needs a durable disk. If a sentinel loses its state, it may vote for a
    /// replaced primary again.
    #[cfg(feature = "sentinel")]
    #[must_use]
    pub fn sentinel_patience(mut self, patience: Duration) -> Self {
        self.sentinel_patience = Some(patience);
        self
    }

    /// Declares the servers' option `cluster-node-timeout`, 1 ms to 10 minutes. By default the
    /// store reads the option with `CONFIG GET`, if the user has the right to this command.
    ///
    /// If the network cuts off a primary, the primary serves for at most this time. The time has
    /// no limit after `CLUSTER FAILOVER TAKEOVER`, which replaces a primary without a vote.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn cluster_node_timeout(mut self, timeout: Duration) -> Self {
        self.cluster_node_timeout = Some(timeout);
        self
    }

    /// Connects, and checks the server's version, its eviction policy and the rights of the user.
    /// If data exist under the prefix, they must have this layout and number of buckets.
    ///
    /// * **Rights**: the [module](super#rights) lists them. The rights to `SPUBLISH` and
    ///   `SSUBSCRIBE` are optional. [`Failover::Replicas`] requires the right to `INFO`, which is
    ///   otherwise optional.
    /// * **Redis replicas**: under [`Failover::Replicas`], the store also waits until all Redis
    ///   replicas have acknowledged a write. It waits for at most [`timeout`](Self::timeout) plus
    ///   half of the declared `max_lag`.
    ///
    /// # Errors
    ///
    /// * [`ConnectError::Config`]: a setting must be changed.
    /// * [`ConnectError::Store`]: a server did not answer as expected.
    ///
    /// [`ConnectError::kind`] returns the cause.
    pub async fn connect(self) -> Result<RedisStore, ConnectError> {
        let (parts, checks) = self.prepare()?;
        checks.once(&parts).await?;
        Ok(watched(parts))
    }

    /// Connects as [`connect`](Self::connect) does, and tries again for at most `patience` while
    /// the cause of the failure [may pass](ConnectError::is_transient). So a node may start before
    /// its Redis server.
    ///
    /// * **Causes that may pass**: the server is not reachable, loads its data, or answers too
    ///   late. With a [provider of credentials](Self::credentials_provider), also refused
    ///   credentials, because the provider may return others later.
    /// * **Log**: the store logs each new cause once.
    /// * **Time**: the last attempt begins when `patience` is over, and may take as long as one
    ///   [`connect`](Self::connect). With `Duration::MAX` the store tries for ever.
    ///
    /// # Errors
    ///
    /// The error of the last attempt. An error that does not pass by itself ends the attempts.
    pub async fn connect_retrying(self, patience: Duration) -> Result<RedisStore, ConnectError> {
        let (parts, checks) = self.prepare()?;
        checks.repeatedly(&parts, patience).await?;
        Ok(watched(parts))
    }

    /// Returns a store immediately. A background task connects, and repeats the checks of
    /// [`connect`](Self::connect) until the servers pass them. So a node may start, and answer
    /// requests that need no store, while its Redis server is away.
    ///
    /// * **Until the first attempt ends**: calls wait for its end, at most until their deadline.
    /// * **Until the checks pass**: later calls fail immediately with
    ///   [`Unavailable`](crate::error::StoreErrorKind::Unavailable), and requests with a token get
    ///   503.
    /// * **Wrong setting** of the store or of the server: the store logs the error once at level
    ///   ERROR, and [`warnings`](crate::store::SessionStore::warnings) contains it. The task
    ///   repeats the checks every few seconds, so a change of the server's setting needs no
    ///   restart.
    /// * **End**: the task ends when the last clone of the store is dropped.
    ///
    /// A wrong setting does not end the process. So watch the log or the warnings, or use
    /// [`connect_retrying`](Self::connect_retrying).
    ///
    /// # Errors
    ///
    /// A setting is invalid by itself, or the caller is outside a Tokio runtime.
    pub fn connect_lazy(self) -> Result<RedisStore, ConfigError> {
        let (parts, checks) = self.prepare()?;
        if Handle::try_current().is_err() {
            let problem = "is called outside a Tokio runtime, so it cannot start its task";
            return Err(ConfigError::conflict("connect_lazy", problem, "call it inside a Tokio runtime"));
        }
        let parts = Arc::new(parts);
        let checks = checks.in_background(Arc::downgrade(&parts));
        let _ = parts.lookout.set(Lookout::start(&parts.client, checks));
        Ok(RedisStore::of(parts))
    }

    /// Checks the settings, and creates the parts of a store. Does not connect.
    fn prepare(mut self) -> Result<(Parts, Checks), ConfigError> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        let keyspace = Keyspace::new(&self.prefix, self.buckets)?;
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            let problem = format!("is {:?}, which is out of range", self.timeout);
            return Err(ConfigError::out_of_range("timeout", problem, "choose more than zero and at most 60 s"));
        }
        if self.connections == 0 || self.connections > MAX_CONNECTIONS {
            let (problem, remedy) =
                (format!("is {}, which is out of range", self.connections), format!("choose 1 to {MAX_CONNECTIONS}"));
            return Err(ConfigError::out_of_range("connections", problem, remedy));
        }
        let deployment = self.deployment()?;
        let checks =
            Checks { allow_eviction: self.allow_eviction, asks_for_credentials: self.access.credentials.is_some() };
        let connector = Connector::new(self.target, self.access, deployment, keyspace.meta_keys(), self.timeout)?;
        let connector = Arc::new(connector);
        let prover = Prover::new(&connector, keyspace.proof(), self.timeout)?;
        let config = ConnectionConfig::new(self.timeout, self.connections);
        let client = Arc::new(Client::new(connector, &config, self.buckets)?);
        let demands = Demands::new(SHORTEST_KEEP);
        let (readiness, lookout) = (Readiness::pending(), OnceLock::new());
        Ok((Parts { client, keyspace, demands, prover, readiness, lookout }, checks))
    }
}

/// Creates a store from parts that have passed the checks. Starts the task that watches the
/// servers' settings.
fn watched(parts: Parts) -> RedisStore {
    let _ = parts.lookout.set(Lookout::start(&parts.client, ready(())));
    RedisStore::of(Arc::new(parts))
}

impl RedisStoreBuilder {
    /// Returns the way in which another server can replace the primary. Rejects a setting that does
    /// not fit the kind of URL.
    fn deployment(&self) -> Result<Deployment, ConfigError> {
        let unfit =
            |setting, reason| Err(ConfigError::conflict(setting, format!("is set, but {reason}"), "remove the call"));
        #[cfg(feature = "cluster")]
        match (&self.target, self.cluster_node_timeout) {
            (Target::Cluster(_), _) if self.failover.is_some() => {
                return unfit("failover", "it does not apply to a cluster");
            }
            (Target::Cluster(_), Some(timeout))
                if !(SHORTEST_NODE_TIMEOUT..=LONGEST_NODE_TIMEOUT).contains(&timeout) =>
            {
                let (problem, remedy) = (
                    format!("is {timeout:?}, which is out of range"),
                    "pass the value of the servers' `cluster-node-timeout`",
                );
                return Err(ConfigError::out_of_range("cluster_node_timeout", problem, remedy));
            }
            (Target::Cluster(_), node_timeout) => return Ok(Deployment::Cluster { node_timeout }),
            (_, Some(_)) => return unfit("cluster_node_timeout", "the store does not connect to a cluster"),
            _ => {}
        }
        #[cfg(feature = "sentinel")]
        match (&self.target, self.sentinel_patience) {
            (Target::Sentinel { .. }, _) if self.failover.is_some() => {
                return unfit("failover", "it does not apply to sentinels");
            }
            (Target::Sentinel { .. }, patience) => {
                let patience = patience.unwrap_or(DEFAULT_PATIENCE);
                if (SHORTEST_PATIENCE..=LONGEST_PATIENCE).contains(&patience) {
                    return Ok(Deployment::Sentinel { patience });
                }
                let problem = format!("is {patience:?}, which is out of range");
                return Err(ConfigError::out_of_range("sentinel_patience", problem, "choose 1 s to 60 s, usually 5 s"));
            }
            (_, Some(_)) => return unfit("sentinel_patience", "the store does not connect through sentinels"),
            _ => {}
        }
        #[cfg(not(any(feature = "cluster", feature = "sentinel")))]
        let _: fn(&'static str, &'static str) -> Result<Deployment, ConfigError> = unfit;
        Deployment::declared(self.failover)
    }
}

impl fmt::Debug for RedisStoreBuilder {
    /// Formats the settings without the URL and the password.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builder_shows_neither_url_nor_password() {
        let builder = RedisStore::builder("redis://user:hunter2@example.invalid/");
        let text = format!("{builder:?}");
        assert!(!text.contains("hunter2") && !text.contains("example"), "{text}");
    }
}

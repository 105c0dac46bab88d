//! The settings of a store, and its construction. Every misconfiguration is found here, none per
//! request.

use std::{fmt, sync::Arc, time::Duration};

use deadpool_redis::Pool;

use crate::{
    error::ConfigError,
    store::redis::{
        client::{
            Client,
            connect_error::ConnectError,
            connections::{config::ConnectionConfig, connector::Connector, target::Target},
            failover::deployment::{Deployment, Failover},
            lookout::Lookout,
            prover::Prover,
        },
        layout::keys::Keyspace,
        preflight,
        scripts::{Demands, Parts},
        store::RedisStore,
    },
};

const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_CONNECTIONS: usize = 2;
const MAX_CONNECTIONS: usize = 64;
const DEFAULT_BUCKETS: u32 = 16;
/// The shortest time for which the log is kept. No login may take longer: one that began before a
/// `revoke_all` must find it when it ends, even if its user was slow with the second factor.
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
    /// [`ConnectError`]: the server cannot be reached, or is not fit for this.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// Starts with a URL.
    ///
    /// * `redis://[user:password@]host[:port][/db]` and `unix://`: one server.
    /// * `redis-sentinel://[user:password@]host[:port][,host:port..][/db]#name`: the primary that
    ///   sentinels call `name`.
    /// * `redis-cluster://[user:password@]host[:port][,host:port..]`: a cluster, found through some
    ///   of its nodes.
    ///
    /// `rediss`, `rediss-sentinel` and `rediss-cluster` use TLS (feature `tls`), the second to
    /// sentinels and servers alike. Sentinels need the feature `sentinel`, a cluster the feature
    /// `cluster`.
    ///
    /// User and password are those of the servers. Sentinels are asked without, or with
    /// `sentinel_user` and `sentinel_password` if the URL has these parameters before the `#`.
    /// Percent-encode the characters that have a meaning in URLs.
    ///
    /// A URL that cannot be used is an error of [`connect`](RedisStoreBuilder::connect).
    #[must_use]
    pub fn builder(url: impl AsRef<str>) -> RedisStoreBuilder {
        match Target::parse(url.as_ref()) {
            Ok(target) => RedisStoreBuilder::from(target),
            Err(problem) => {
                RedisStoreBuilder { problem: Some(problem), ..RedisStoreBuilder::from(Target::Url(String::new())) }
            }
        }
    }

    /// Starts with URLs of some nodes of a Redis Cluster; the others are found through them.
    ///
    /// All data of a user are in one slot. While that slot moves to another node, calls for its
    /// bucket may be [`Unavailable`](crate::error::StoreErrorKind::Unavailable). Each primary has
    /// connections of its own. So one that hangs or is dead affects only the users of its own
    /// slots, until the cluster has replaced it. A primary that was cut off still answers for as
    /// long as `cluster-node-timeout`: see
    /// [`cluster_node_timeout`](RedisStoreBuilder::cluster_node_timeout).
    ///
    /// The store asks the nodes with `CLUSTER SLOTS`. It connects to the host and port that they
    /// announce there, with the credentials and the TLS of the URLs.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn cluster<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> RedisStoreBuilder {
        RedisStoreBuilder::from(Target::Cluster(urls.into_iter().map(Into::into).collect()))
    }

    /// Starts with the URLs of sentinels and the name under which they know the primary.
    ///
    /// A majority of all sentinels must have named the primary within
    /// [`sentinel_patience`](RedisStoreBuilder::sentinel_patience): of those in these URLs, or of
    /// as many as they report. The URLs hold the user and password of the sentinels; those of the
    /// servers are given with [`credentials`](RedisStoreBuilder::credentials). TLS (`rediss://`)
    /// and the database of the first URL are the servers' too.
    ///
    /// [`builder`](Self::builder) takes all of it as one URL.
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
    /// The reason for which the URL cannot be used.
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
    /// Uses a pool of your own. See [Your own pool](super#your-own-pool).
    #[must_use]
    pub fn from_pool(pool: Pool) -> Self {
        Self::from(Target::Pool(pool))
    }

    /// Starts with the default settings.
    fn from(target: Target) -> Self {
        Self {
            target,
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

    /// Sets the user and password of the servers behind sentinels. The user is `default` if the
    /// servers have only a password. The credentials of the sentinels are part of their URLs.
    #[cfg(feature = "sentinel")]
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        if let Target::Sentinel { credentials, .. } = &mut self.target {
            *credentials = Some((user.into(), password.into()));
        }
        self
    }

    /// Sets the prefix of every key: 1 to 64 bytes without braces. Default: `tb`.
    ///
    /// Deployments that share a server take different prefixes.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the count of buckets over which users are spread, 1 to 1024. Default: 16.
    ///
    /// Each bucket is in one slot of a Redis Cluster. The count is fixed for the life of the data:
    /// a node with another one cannot connect.
    #[must_use]
    pub fn buckets(mut self, buckets: u32) -> Self {
        self.buckets = buckets;
        self
    }

    /// Sets the time limit of a call, connecting and repeating included: up to a minute. Default:
    /// 500 ms.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the count of connections that all calls share, 1 to 64; in a cluster, to each primary.
    /// Default: 2. More help only if one core of this process is too slow to read the answers.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Accepts a server whose `maxmemory-policy` is not `noeviction`. Default: no.
    ///
    /// A server that evicts may drop the denial of another issuer's token, which is then accepted
    /// again. It may also log out users of this service.
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
    /// [`ConnectError::Config`] for a setting to be changed, [`ConnectError::Store`] if the server
    /// cannot be reached. [`ConnectError::kind`] tells the cases apart.
    pub async fn connect(mut self) -> Result<RedisStore, ConnectError> {
        if let Some(problem) = self.problem.take() {
            return Err(problem.into());
        }
        let keyspace = Keyspace::new(&self.prefix, self.buckets)?;
        if self.timeout.is_zero() || self.timeout > LONGEST_TIMEOUT {
            let problem = format!("is {:?}", self.timeout);
            return Err(
                ConfigError::out_of_range("timeout", problem, "choose more than zero and at most a minute").into()
            );
        }
        if self.connections == 0 || self.connections > MAX_CONNECTIONS {
            let (problem, remedy) = (format!("is {}", self.connections), format!("choose 1 to {MAX_CONNECTIONS}"));
            return Err(ConfigError::out_of_range("connections", problem, remedy).into());
        }
        let allow_eviction = self.allow_eviction;
        let deployment = self.deployment()?;
        let connector = Arc::new(Connector::new(self.target, deployment, keyspace.meta_keys(), self.timeout)?);
        let prover = Prover::new(&connector, keyspace.proof(), self.timeout)?;
        let config = ConnectionConfig::new(self.timeout, self.connections);
        let client = Arc::new(Client::new(connector, &config, self.buckets)?);
        let parts = Parts { client, keyspace, demands: Demands::new(SHORTEST_KEEP), prover, _lookout: None };
        preflight::check(&parts, allow_eviction).await?;
        #[cfg(feature = "tracing")]
        if let Err(reason) = parts.client.guard().bound() {
            let text = "a Redis server that was replaced may be believed for an unknown time";
            tracing::warn!(reason, "{text}");
        }
        let lookout = Lookout::start(&parts.client);
        Ok(RedisStore::of(Arc::new(Parts { _lookout: Some(lookout), ..parts })))
    }
}

impl RedisStoreBuilder {
    /// Returns how a primary can be replaced. Refuses declarations that do not fit the way of
    /// connecting.
    fn deployment(&self) -> Result<Deployment, ConfigError> {
        let unfit = |setting, how| {
            Err(ConfigError::conflict(setting, format!("is set, and the store connects {how}"), "leave it out"))
        };
        #[cfg(feature = "cluster")]
        match (&self.target, self.cluster_node_timeout) {
            (Target::Cluster(_), _) if self.failover.is_some() => {
                return unfit("failover", "to a cluster, which needs no declaration");
            }
            (Target::Cluster(_), Some(timeout))
                if !(SHORTEST_NODE_TIMEOUT..=LONGEST_NODE_TIMEOUT).contains(&timeout) =>
            {
                let (problem, remedy) = (format!("is {timeout:?}"), "give the servers' `cluster-node-timeout`");
                return Err(ConfigError::out_of_range("cluster_node_timeout", problem, remedy));
            }
            (Target::Cluster(_), node_timeout) => return Ok(Deployment::Cluster { node_timeout }),
            (_, Some(_)) => return unfit("cluster_node_timeout", "to no cluster"),
            _ => {}
        }
        #[cfg(feature = "sentinel")]
        match (&self.target, self.sentinel_patience) {
            (Target::Sentinel { .. }, _) if self.failover.is_some() => {
                return unfit("failover", "through sentinels, which need no declaration");
            }
            (Target::Sentinel { .. }, patience) => {
                let patience = patience.unwrap_or(DEFAULT_PATIENCE);
                if (SHORTEST_PATIENCE..=LONGEST_PATIENCE).contains(&patience) {
                    return Ok(Deployment::Sentinel { patience });
                }
                let problem = format!("is {patience:?}");
                return Err(ConfigError::out_of_range(
                    "sentinel_patience",
                    problem,
                    "choose 1 s to a minute; 5 s is usual",
                ));
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
    /// Formats it without URL and password.
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

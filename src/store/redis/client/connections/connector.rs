//! The sources of connections to the servers that the application named: a pool, or the primary on
//! which the sentinels agree.
//!
//! For sentinels, this crate does not use the pool of deadpool or the client of redis. The pool
//! takes no deadlines, pings every node at each checkout, and keeps using a demoted primary
//! (deadpool#372, open). The client believes the first sentinel that answers (redis-rs#836). Use
//! one of them when it demands a majority, and drops a primary that the sentinels no longer name.

use std::{sync::Arc, time::Duration};

use deadpool_redis::{Manager, Pool, Runtime};
use redis::{IntoConnectionInfo, aio::MultiplexedConnection};

#[cfg(any(feature = "cluster", feature = "sentinel"))]
use crate::store::redis::client::address;
#[cfg(feature = "sentinel")]
use crate::store::redis::client::sentinel::watch::SentinelWatch;
use crate::{
    error::ConfigError,
    store::redis::client::{
        address::{Address, Agreement},
        answer::CommandError,
        connections::{config::ConnectionConfig, target::Target},
        failover::{
            deployment::Deployment,
            guard::{CheckKey, Guard},
        },
    },
};

/// A factory of the sources of connections to the servers that the application named.
pub(crate) struct Connector {
    target: Target,
    guard: Arc<Guard>,
}

impl Connector {
    /// Creates a connector whose connections share one guard. `timeout` limits each call.
    #[cfg_attr(
        not(feature = "sentinel"),
        allow(unused_variables, clippy::unnecessary_wraps, reason = "only sentinels are watched")
    )]
    pub(crate) fn new(
        target: Target,
        deployment: Deployment,
        check_key: CheckKey,
        timeout: Duration,
    ) -> Result<Self, ConfigError> {
        let guard = Guard::new(check_key, deployment);
        #[cfg(feature = "sentinel")]
        let guard = guard.with_watch(watch(&target, deployment, timeout)?);
        Ok(Self { target, guard: Arc::new(guard) })
    }

    /// Returns the guard, which decides if the store may use an answer.
    pub(crate) fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Returns a source of connections to the server, or to this node of a cluster.
    ///
    /// # Errors
    ///
    /// The address cannot be used.
    pub(crate) fn source(&self, node: Option<&Address>, config: &ConnectionConfig) -> Result<Source, ConfigError> {
        // Only a cluster names nodes.
        let _ = node;
        Ok(match &self.target {
            Target::Url(url) => Source::Pool(pool(info(url)?, config)?),
            Target::Pool(pool) => Source::Pool(pool.clone()),
            #[cfg(feature = "cluster")]
            Target::Cluster(urls) => Source::Pool(pool(info_of(node, urls)?, config)?),
            #[cfg(feature = "sentinel")]
            Target::Sentinel { urls, credentials, .. } => {
                let server = behind_sentinels(urls, credentials.as_ref(), config)?;
                let watch = self.guard.watch().ok_or_else(invalid_url)?;
                Source::Sentinel(Box::new(SentinelSource {
                    watch: Arc::clone(watch),
                    server,
                    settings: config.settings(),
                }))
            }
        })
    }

    /// Returns the nodes of a cluster that the application named; none if this is no cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn nodes(&self) -> Result<Vec<Address>, ConfigError> {
        match &self.target {
            Target::Cluster(urls) => nodes(urls),
            _ => Ok(Vec::new()),
        }
    }

    /// Returns whether the connector can make connections that receive pushes.
    pub(crate) fn takes_subscriptions(&self) -> bool {
        !matches!(self.target, Target::Pool(_))
    }

    /// Returns whether the buckets are spread over several servers.
    pub(crate) fn is_cluster(&self) -> bool {
        self.target.is_cluster()
    }
}

/// A source of connections.
pub(crate) enum Source {
    /// One server.
    Pool(Pool),
    /// The primary that sentinels name.
    #[cfg(feature = "sentinel")]
    Sentinel(Box<SentinelSource>),
}

/// The connection settings of the primary that sentinels name.
#[cfg(feature = "sentinel")]
pub(crate) struct SentinelSource {
    pub(crate) watch: Arc<SentinelWatch>,
    /// The server's settings, with the address of a sentinel in place of the primary's.
    pub(crate) server: redis::ConnectionInfo,
    pub(crate) settings: redis::AsyncConnectionConfig,
}

impl Source {
    /// Makes a connection that any number of calls may share.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, CommandError> {
        Ok(self.connect_with_agreement().await?.0)
    }

    /// Makes a connection. Returns it with the sentinels' agreement on its address, if there are
    /// sentinels.
    pub(crate) async fn connect_with_agreement(
        &self,
    ) -> Result<(MultiplexedConnection, Option<Agreement>), CommandError> {
        match self {
            // The connection never returns to the pool: its next user could block it.
            Self::Pool(pool) => Ok((deadpool_redis::Connection::take(pool.get().await?), None)),
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinels) => {
                let agreement = sentinels.watch.primary().await?;
                let (host, port) = agreement.address.clone();
                let client = redis::Client::open(address::at(&sentinels.server, host, port))?;
                let connection = client.get_multiplexed_async_connection_with_config(&sentinels.settings).await?;
                Ok((connection, Some(agreement)))
            }
        }
    }

    /// Returns true if connecting may include a question to the sentinels.
    pub(crate) fn has_many_addresses(&self) -> bool {
        !matches!(self, Self::Pool(_))
    }
}

/// Creates a pool that makes connections with these settings.
fn pool(info: redis::ConnectionInfo, config: &ConnectionConfig) -> Result<Pool, ConfigError> {
    let redis = info.redis_settings().clone().set_protocol(config.protocol());
    let info = info.set_tcp_settings(config.tcp()).set_redis_settings(redis);
    let manager = Manager::new_with_config(info, config.settings()).map_err(|_| invalid_url())?;
    Pool::builder(manager)
        .max_size(config.connections)
        .wait_timeout(Some(config.timeout))
        .create_timeout(Some(config.timeout))
        .recycle_timeout(Some(config.timeout))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| ConfigError::new("url", "cannot be used", "see the source of this error").with_source(error))
}

/// Returns the settings for a node, with the credentials and TLS of the named nodes.
#[cfg(feature = "cluster")]
fn info_of(node: Option<&Address>, urls: &[String]) -> Result<redis::ConnectionInfo, ConfigError> {
    let named = infos(urls)?.into_iter().next().ok_or_else(invalid_url)?;
    let Some((host, port)) = node.cloned() else { return Ok(named) };
    Ok(address::at(&named, host, port))
}

/// Returns the addresses of the named nodes, which must share credentials and TLS.
#[cfg(feature = "cluster")]
fn nodes(urls: &[String]) -> Result<Vec<Address>, ConfigError> {
    let (mut nodes, mut common) = (Vec::new(), None);
    for info in infos(urls)? {
        let (host, port, tls) = match info.addr() {
            redis::ConnectionAddr::Tcp(host, port) => (host, *port, false),
            redis::ConnectionAddr::TcpTls { host, port, .. } => (host, *port, true),
            _ => return Err(ConfigError::new("urls", "name a Unix socket", "write redis://host:port/")),
        };
        let redis = info.redis_settings();
        let its = (tls, redis.username().map(str::to_owned), redis.password().map(str::to_owned));
        if *common.get_or_insert_with(|| its.clone()) != its {
            let remedy = "give all nodes of a cluster the same";
            return Err(ConfigError::new("urls", "differ in credentials or TLS", remedy));
        }
        nodes.push((host.clone(), port));
    }
    Ok(nodes)
}

/// Creates the watch over the sentinels, if the target names any.
#[cfg(feature = "sentinel")]
fn watch(target: &Target, deployment: Deployment, timeout: Duration) -> Result<Option<SentinelWatch>, ConfigError> {
    let (Target::Sentinel { urls, master, .. }, Deployment::Sentinel { patience }) = (target, deployment) else {
        return Ok(None);
    };
    let config = ConnectionConfig::new(timeout, 1);
    let mut named = Vec::new();
    for info in infos(urls)? {
        if address::of(&info).is_none() {
            return Err(ConfigError::new("urls", "name a Unix socket", "write redis://host:port/"));
        }
        // A sentinel has no databases: the database of the URL is that of the servers.
        let redis = info.redis_settings().clone().set_db(0);
        named.push(info.set_tcp_settings(config.tcp()).set_redis_settings(redis));
    }
    Ok(Some(SentinelWatch::new(named, master.clone(), config.settings(), patience, timeout)))
}

/// Returns the settings for the servers behind sentinels. TLS and the address are still those of
/// the sentinels' URLs. The credentials are those of the servers.
#[cfg(feature = "sentinel")]
fn behind_sentinels(
    urls: &[String],
    credentials: Option<&(String, String)>,
    config: &ConnectionConfig,
) -> Result<redis::ConnectionInfo, ConfigError> {
    let named = infos(urls)?.into_iter().next().ok_or_else(invalid_url)?;
    let mut redis = redis::RedisConnectionInfo::default().set_protocol(config.protocol());
    redis = redis.set_db(named.redis_settings().db());
    if let Some((user, password)) = credentials {
        redis = redis.set_username(user).set_password(password);
    }
    Ok(named.set_tcp_settings(config.tcp()).set_redis_settings(redis))
}

/// Returns the settings that each of these URLs gives.
#[cfg(any(feature = "cluster", feature = "sentinel"))]
fn infos(urls: &[String]) -> Result<Vec<redis::ConnectionInfo>, ConfigError> {
    if urls.is_empty() {
        return Err(ConfigError::missing("urls", "is empty", "name at least one node"));
    }
    urls.iter().map(|url| info(url)).collect()
}

/// Returns the settings that a URL gives.
fn info(url: &str) -> Result<redis::ConnectionInfo, ConfigError> {
    if url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rediss:")) {
        prepare_tls()?;
    }
    url.into_connection_info().map_err(|_| invalid_url())
}

/// Installs a `rustls` crypto provider, if the application has not.
///
/// redis leaves the choice to the process, and panics at the first connection without a provider
/// (redis-rs#1812, closed as intended). Remove when redis takes a provider in its own settings.
#[cfg(feature = "tls")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn prepare_tls() -> Result<(), ConfigError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // The call fails only if another thread has just installed a provider, which works too.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    }
    Ok(())
}

/// Rejects TLS, which this build lacks.
#[cfg(not(feature = "tls"))]
fn prepare_tls() -> Result<(), ConfigError> {
    Err(ConfigError::unsupported("url", "asks for TLS (`rediss:`), which this build lacks", "enable the feature `tls`"))
}

/// Returns the error of an invalid URL. Leaves out the parser's message, which may quote the URL
/// and its password.
fn invalid_url() -> ConfigError {
    ConfigError::new("url", "is not the URL of a Redis server", "write redis://host:port/")
}

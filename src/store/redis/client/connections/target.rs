//! Where the servers are, and how they are connected to.

use std::{sync::Arc, time::Duration};

use deadpool_redis::{Manager, Pool, Runtime};
#[cfg(feature = "cluster")]
use redis::ConnectionAddr;
use redis::{
    AsyncConnectionConfig, IntoConnectionInfo, ProtocolVersion, PushInfo,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

#[cfg(feature = "sentinel")]
use crate::store::redis::client::{
    connections::source::Named,
    failover::deployment::Deployment,
    sentinel::watch::{self, Watch},
};
use crate::{
    error::ConfigError,
    store::redis::client::{connections::source::Source, failover::guard::Guard},
};

/// How many commands may wait for a connection's writer. The default of 50 is for one caller, not for a server.
const PIPELINE_BUFFER: usize = 1024;

/// Where the servers are, and the rules by which their answers count.
pub(crate) struct Origin {
    place: Place,
    guard: Arc<Guard>,
}

/// The address that the application named. It holds passwords, and is never shown.
pub(crate) enum Place {
    Url(String),
    /// Made by the application: only it knows the address.
    Pool(Pool),
    /// Some nodes.
    #[cfg(feature = "cluster")]
    Cluster(Vec<String>),
    #[cfg(feature = "sentinel")]
    Sentinel {
        urls: Vec<String>,
        master: String,
        /// User and password of the servers behind the sentinels.
        credentials: Option<(String, String)>,
    },
}

/// The host and port by which a node of a cluster is known to the others.
pub(crate) type Address = (String, u16);

/// The word of a majority of sentinels: which server is the primary.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(not(feature = "sentinel"), allow(dead_code, reason = "only sentinels make it"))]
pub(crate) struct Agreed {
    /// Counts how often all sentinels were replaced by others.
    pub(crate) era: u64,
    pub(crate) address: Address,
    pub(crate) epoch: u64,
}

/// What is demanded of connections.
#[derive(Clone)]
pub(crate) struct Terms {
    /// For connecting, and for each answer.
    pub(crate) timeout: Duration,
    /// How many there are to one server.
    pub(crate) connections: usize,
    /// A connection that owes an answer for longer than this is given up.
    pub(crate) patience: Duration,
    /// Whether each server is asked who it is.
    pub(crate) identifies: bool,
    /// Who gets the server's pushes; with somebody the protocol is RESP3. Such a connection carries nothing else: a push can take the
    /// place of an answer (redis 1.8). A pool of the application's is as it is.
    pub(crate) pushes: Option<Arc<dyn Fn(PushInfo) + Send + Sync>>,
}

impl Origin {
    pub(crate) fn new(place: Place, guard: Guard) -> Self {
        Self { place, guard: Arc::new(guard) }
    }

    /// Returns the rules by which answers count.
    pub(crate) fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Where connections to the server come from; in a cluster, to one of its nodes.
    pub(crate) fn source(&self, node: Option<&Address>, terms: &Terms) -> Result<Source, ConfigError> {
        // Only a cluster has several.
        let _ = node;
        Ok(match &self.place {
            Place::Url(url) => Source::Pool(pool(address(url)?, terms)?),
            Place::Pool(pool) => Source::Pool(pool.clone()),
            #[cfg(feature = "cluster")]
            Place::Cluster(urls) => Source::Pool(pool(info_of(node, urls)?, terms)?),
            #[cfg(feature = "sentinel")]
            Place::Sentinel { urls, credentials, .. } => {
                let server = behind_sentinels(urls, credentials.as_ref(), terms)?;
                let watch = self.guard.watch().ok_or_else(invalid_url)?;
                Source::Sentinel(Box::new(Named { watch: Arc::clone(watch), server, settings: terms.settings() }))
            }
        })
    }

    /// The nodes of a cluster that the application named; none if this is no cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn nodes(&self) -> Result<Vec<Address>, ConfigError> {
        match &self.place {
            Place::Cluster(urls) => nodes(urls),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether connections can be made that receive pushes.
    pub(crate) fn takes_subscriptions(&self) -> bool {
        !matches!(self.place, Place::Pool(_))
    }

    /// Whether the buckets are spread over servers.
    pub(crate) fn is_cluster(&self) -> bool {
        match self.place {
            #[cfg(feature = "cluster")]
            Place::Cluster(_) => true,
            _ => false,
        }
    }
}

impl Terms {
    pub(crate) fn new(timeout: Duration, connections: usize) -> Self {
        Self { timeout, connections, patience: timeout.saturating_mul(2), identifies: true, pushes: None }
    }

    fn protocol(&self) -> ProtocolVersion {
        if self.pushes.is_some() { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 }
    }

    fn settings(&self) -> AsyncConnectionConfig {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        match self.push_sender() {
            Some(sender) => settings.set_push_sender(sender),
            None => settings,
        }
    }

    fn push_sender(&self) -> Option<impl Fn(PushInfo) -> Result<(), std::convert::Infallible> + Send + Sync + 'static> {
        let pushes = Arc::clone(self.pushes.as_ref()?);
        Some(move |push: PushInfo| {
            pushes(push);
            Ok(())
        })
    }

    /// Small commands go out at once, and a dead peer is noticed.
    fn tcp(&self) -> TcpSettings {
        let probes = TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(probes);
        #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
        let tcp = tcp.set_user_timeout(self.timeout.saturating_mul(2).max(Duration::from_secs(1)));
        tcp
    }
}

fn pool(info: redis::ConnectionInfo, terms: &Terms) -> Result<Pool, ConfigError> {
    let redis = info.redis_settings().clone().set_protocol(terms.protocol());
    let info = info.set_tcp_settings(terms.tcp()).set_redis_settings(redis);
    let manager = Manager::new_with_config(info, terms.settings()).map_err(|_| invalid_url())?;
    Pool::builder(manager)
        .max_size(terms.connections)
        .wait_timeout(Some(terms.timeout))
        .create_timeout(Some(terms.timeout))
        .recycle_timeout(Some(terms.timeout))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| ConfigError::new("url", "cannot be used", "see the source of this error").with_source(error))
}

/// The others of a cluster are met with the credentials and the TLS of those that were named.
#[cfg(feature = "cluster")]
fn info_of(node: Option<&Address>, urls: &[String]) -> Result<redis::ConnectionInfo, ConfigError> {
    let named = addresses(urls)?.into_iter().next().ok_or_else(invalid_url)?;
    let Some((host, port)) = node.cloned() else { return Ok(named) };
    let address = match named.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    Ok(named.set_addr(address))
}

#[cfg(feature = "cluster")]
fn nodes(urls: &[String]) -> Result<Vec<Address>, ConfigError> {
    let (mut nodes, mut terms) = (Vec::new(), None);
    for info in addresses(urls)? {
        let (host, port, tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port, false),
            ConnectionAddr::TcpTls { host, port, .. } => (host, *port, true),
            _ => return Err(ConfigError::new("urls", "name a socket of this machine", "write redis://host:port/")),
        };
        let redis = info.redis_settings();
        let its = (tls, redis.username().map(str::to_owned), redis.password().map(str::to_owned));
        if *terms.get_or_insert_with(|| its.clone()) != its {
            let remedy = "give all nodes the same credentials and TLS";
            return Err(ConfigError::new("urls", "cannot be one cluster", remedy));
        }
        nodes.push((host.clone(), port));
    }
    Ok(nodes)
}

/// Returns the watch over the sentinels, if these are sentinels.
#[cfg(feature = "sentinel")]
pub(crate) fn watch(place: &Place, deployment: Deployment, timeout: Duration) -> Result<Option<Watch>, ConfigError> {
    let (Place::Sentinel { urls, master, .. }, Deployment::Sentinel { patience }) = (place, deployment) else {
        return Ok(None);
    };
    let terms = Terms::new(timeout, 1);
    let mut named = Vec::new();
    for info in addresses(urls)? {
        if watch::address_of(&info).is_none() {
            return Err(ConfigError::new("urls", "name a socket of this machine", "write redis://host:port/"));
        }
        // A sentinel has no databases: one that was given belongs to the servers.
        let redis = info.redis_settings().clone().set_db(0);
        named.push(info.set_tcp_settings(terms.tcp()).set_redis_settings(redis));
    }
    Ok(Some(Watch::new(named, master.clone(), terms.settings(), patience, timeout)))
}

/// Returns how the servers are met that sentinels name: with the TLS of the sentinels' URLs and
/// credentials of their own. The address is still that of a sentinel.
#[cfg(feature = "sentinel")]
fn behind_sentinels(
    urls: &[String],
    credentials: Option<&(String, String)>,
    terms: &Terms,
) -> Result<redis::ConnectionInfo, ConfigError> {
    let named = addresses(urls)?.into_iter().next().ok_or_else(invalid_url)?;
    let mut redis = redis::RedisConnectionInfo::default().set_protocol(terms.protocol());
    redis = redis.set_db(named.redis_settings().db());
    if let Some((user, password)) = credentials {
        redis = redis.set_username(user).set_password(password);
    }
    Ok(named.set_tcp_settings(terms.tcp()).set_redis_settings(redis))
}

#[cfg(any(feature = "cluster", feature = "sentinel"))]
fn addresses(urls: &[String]) -> Result<Vec<redis::ConnectionInfo>, ConfigError> {
    if urls.is_empty() {
        return Err(ConfigError::new("urls", "is empty", "name at least one node"));
    }
    urls.iter().map(|url| address(url)).collect()
}

fn address(url: &str) -> Result<redis::ConnectionInfo, ConfigError> {
    if url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rediss:")) {
        prepare_tls()?;
    }
    url.into_connection_info().map_err(|_| invalid_url())
}

/// redis leaves it to the application which cryptography TLS uses, and panics at the first connection if nobody has chosen.
#[cfg(feature = "tls")]
#[allow(clippy::unnecessary_wraps, reason = "without the feature it fails")]
fn prepare_tls() -> Result<(), ConfigError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only if another thread has chosen since, which is as good.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    }
    Ok(())
}

#[cfg(not(feature = "tls"))]
fn prepare_tls() -> Result<(), ConfigError> {
    Err(ConfigError::new("url", "asks for TLS (`rediss:`), which this build lacks", "enable the feature `tls`"))
}

/// Without the parser's message: it may quote the URL, and with it a password.
fn invalid_url() -> ConfigError {
    ConfigError::new("url", "is not the URL of a Redis server", "write redis://host:port/")
}

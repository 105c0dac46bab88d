//! The sources of connections to the servers that the application named: an address, the primary on
//! which the sentinels agree, or the application's own pool.
//!
//! For sentinels, this crate uses neither the pool of deadpool nor the client of redis. The pool
//! takes no deadlines, pings every node at each checkout, and keeps using a demoted primary
//! (deadpool#372, open). The client believes the first sentinel that answers (redis-rs#836). Use
//! one of the two when it demands a majority, and drops a primary without a majority.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_redis::Pool;
use futures_util::future::{Either, select};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, aio::MultiplexedConnection};
use tokio::{net::TcpStream, time::sleep};

#[cfg(feature = "sentinel")]
use crate::store::redis::client::sentinel::watch::SentinelWatch;
#[cfg(any(feature = "cluster", feature = "sentinel"))]
use crate::store::redis::client::{address, connections::target::invalid_url};
use crate::{
    error::ConfigError,
    store::redis::client::{
        address::{Address, Agreement},
        answer::CommandError,
        cause::{self, RedisCause},
        connections::{access::Access, config::ConnectionConfig, target::Target},
        credentials::CredentialsProvider,
        failover::{
            deployment::Deployment,
            guard::{CheckKey, Guard},
        },
    },
};

/// A factory of [`Source`]s: sources of connections to the servers of a store.
pub(crate) struct Connector {
    target: Target,
    access: Access,
    guard: Arc<Guard>,
}

impl Connector {
    /// Creates a connector with one guard. `timeout` limits each answer of a sentinel.
    #[cfg_attr(
        not(feature = "sentinel"),
        allow(unused_variables, clippy::unnecessary_wraps, reason = "only sentinels are watched")
    )]
    pub(crate) fn new(
        target: Target,
        access: Access,
        deployment: Deployment,
        check_key: CheckKey,
        timeout: Duration,
    ) -> Result<Self, ConfigError> {
        access.check(&target)?;
        let guard = Guard::new(check_key, deployment);
        #[cfg(feature = "sentinel")]
        let guard = guard.with_watch(watch(&target, &access, deployment, timeout)?);
        Ok(Self { target, access, guard: Arc::new(guard) })
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
        // Without the feature `cluster`, nothing uses `node`.
        let _ = node;
        let login = || Login { provider: self.access.credentials.clone(), limit: config.timeout };
        let server = |info: ConnectionInfo| {
            let redis = info.redis_settings().clone().set_protocol(config.protocol());
            let info = info.set_tcp_settings(config.tcp()).set_redis_settings(redis);
            Source::Server(Box::new(ServerSource::new(info, config, login())))
        };
        Ok(match &self.target {
            Target::Url(url) => server(self.access.info(url)?),
            Target::Pool(pool) => Source::Pool(pool.clone()),
            #[cfg(feature = "cluster")]
            Target::Cluster(urls) => server(info_of(node, self.access.infos(urls)?)?),
            #[cfg(feature = "sentinel")]
            Target::Sentinel { urls, credentials, .. } => {
                let info = behind_sentinels(self.access.infos(urls)?, credentials.as_ref(), config)?;
                let watch = self.guard.watch().ok_or_else(invalid_url)?;
                Source::Sentinel(Box::new(SentinelSource {
                    watch: Arc::clone(watch),
                    server: ServerSource::new(info, config, login()),
                }))
            }
        })
    }

    /// Returns the nodes of a cluster that the application named; an empty list without a cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn nodes(&self) -> Result<Vec<Address>, ConfigError> {
        match &self.target {
            Target::Cluster(urls) => nodes(self.access.infos(urls)?),
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
    Server(Box<ServerSource>),
    /// A server behind the application's own pool.
    Pool(Pool),
    /// The primary that sentinels name.
    #[cfg(feature = "sentinel")]
    Sentinel(Box<SentinelSource>),
}

/// The connection settings of a server.
pub(crate) struct ServerSource {
    info: ConnectionInfo,
    settings: AsyncConnectionConfig,
    login: Login,
    /// True if the port accepted a TCP connection while an attempt to connect took long.
    accepts: AtomicBool,
}

/// The connection settings of the primary that sentinels name.
#[cfg(feature = "sentinel")]
pub(crate) struct SentinelSource {
    watch: Arc<SentinelWatch>,
    /// The server's settings, with the address of a sentinel in place of the primary's.
    server: ServerSource,
}

/// The provider of credentials, and its time limit. Without a provider, the settings of the server
/// already contain the credentials.
struct Login {
    provider: Option<CredentialsProvider>,
    limit: Duration,
}

impl Login {
    /// Returns the settings with the credentials for a new connection.
    async fn apply(&self, info: ConnectionInfo) -> Result<ConnectionInfo, CommandError> {
        let Some(provider) = &self.provider else { return Ok(info) };
        let credentials = provider.ask(self.limit).await?;
        let redis = credentials.apply(info.redis_settings().clone());
        Ok(info.set_redis_settings(redis))
    }
}

impl ServerSource {
    fn new(info: ConnectionInfo, config: &ConnectionConfig, login: Login) -> Self {
        Self { info, settings: config.settings(), login, accepts: AtomicBool::new(false) }
    }

    /// Connects to the server at the address of `info`.
    async fn connect(&self, info: ConnectionInfo) -> Result<MultiplexedConnection, CommandError> {
        let address = address_of(&info);
        let at = |error| self.explain(CommandError::from(error).at(Some(&address)));
        let client = Client::open(self.login.apply(info).await?).map_err(at)?;
        let connecting = pin!(client.get_multiplexed_async_connection_with_config(&self.settings));
        let connected = match client.get_connection_info().addr() {
            ConnectionAddr::TcpTls { host, port, .. } => {
                match select(connecting, pin!(self.probe(host, *port))).await {
                    Either::Left((connected, _)) => connected,
                    Either::Right(((), connecting)) => connecting.await,
                }
            }
            _ => connecting.await,
        };
        if connected.is_ok() {
            // A later failure has another cause.
            self.accepts.store(false, Ordering::Relaxed);
        }
        match connected.map_err(at) {
            Err(error) if error.is_closed() => Err(match client.get_connection_info().addr() {
                ConnectionAddr::Tcp(host, port) => match cause::of_greeting(host, *port).await {
                    Some(cause) => error.because(cause),
                    None => error,
                },
                _ => error,
            }),
            outcome => outcome,
        }
    }

    /// Waits until half the time limit of connecting is over. Then notes if the port accepts a TCP
    /// connection, because redis does not tell which part of connecting takes long.
    async fn probe(&self, host: &str, port: u16) {
        sleep(self.login.limit / 2).await;
        self.accepts.store(false, Ordering::Relaxed);
        if TcpStream::connect((host, port)).await.is_ok() {
            self.accepts.store(true, Ordering::Relaxed);
        }
    }

    /// Sets the cause of an attempt that was late because of the TLS handshake.
    fn explain(&self, error: CommandError) -> CommandError {
        let lacks_handshake = error.is_late() && has_tls(&self.info) && self.accepts.load(Ordering::Relaxed);
        if lacks_handshake { error.because(RedisCause::NoTlsAnswer) } else { error }
    }
}

fn has_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// Returns the address of a server, for messages to operators.
fn address_of(info: &ConnectionInfo) -> Arc<str> {
    info.addr().to_string().into()
}

impl Source {
    /// Returns the address of the server for messages, if it is fixed and known.
    pub(crate) fn address(&self) -> Option<Arc<str>> {
        match self {
            Self::Server(server) => Some(address_of(&server.info)),
            Self::Pool(_) => None,
            #[cfg(feature = "sentinel")]
            Self::Sentinel(_) => None,
        }
    }

    /// Returns the error of an attempt to connect that did not end in time.
    pub(crate) fn late(&self) -> CommandError {
        let error = CommandError::timeout().at(self.address().as_ref());
        match self {
            Self::Server(server) => server.explain(error),
            Self::Pool(_) => error,
            #[cfg(feature = "sentinel")]
            Self::Sentinel(_) => error,
        }
    }

    /// Makes a connection that any number of calls may share.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, CommandError> {
        Ok(self.connect_with_agreement().await?.0)
    }

    /// Makes a connection. Behind sentinels, also returns their agreement on the primary.
    pub(crate) async fn connect_with_agreement(
        &self,
    ) -> Result<(MultiplexedConnection, Option<Agreement>), CommandError> {
        match self {
            // `broken` lets the call try another slot. After a failure of the credentials provider,
            // that would not help.
            Self::Server(server) => match server.connect(server.info.clone()).await {
                Ok(connection) => Ok((connection, None)),
                Err(mut error) => {
                    error.broken = !error.is_of_credentials();
                    Err(error)
                }
            },
            // The connection never returns to the pool, because its next user could block it.
            Self::Pool(pool) => Ok((deadpool_redis::Connection::take(pool.get().await?), None)),
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinels) => {
                let SentinelSource { watch, server } = &**sentinels;
                let agreement = watch.primary().await?;
                let (host, port) = agreement.address.clone();
                let connection = server.connect(address::at(&server.info, host, port)).await?;
                Ok((connection, Some(agreement)))
            }
        }
    }

    /// Returns the time limit of connecting, from the time limit of one answer. Connecting may also
    /// need answers of the sentinels and of the credentials provider.
    pub(crate) fn connect_limit(&self, timeout: Duration) -> Duration {
        let (answers, login) = match self {
            Self::Server(server) => (1, Some(&server.login)),
            Self::Pool(_) => (1, None),
            #[cfg(feature = "sentinel")]
            Self::Sentinel(sentinels) => (4, Some(&sentinels.server.login)),
        };
        let asks = login.is_some_and(|login| login.provider.is_some());
        timeout.saturating_mul(answers + u32::from(asks))
    }
}

/// Returns the settings for a node, with the credentials and TLS of the named nodes.
#[cfg(feature = "cluster")]
fn info_of(node: Option<&Address>, named: Vec<ConnectionInfo>) -> Result<ConnectionInfo, ConfigError> {
    let named = named.into_iter().next().ok_or_else(invalid_url)?;
    let Some((host, port)) = node.cloned() else { return Ok(named) };
    Ok(address::at(&named, host, port))
}

/// Returns the addresses of the named nodes, which must share credentials and TLS.
#[cfg(feature = "cluster")]
fn nodes(named: Vec<ConnectionInfo>) -> Result<Vec<Address>, ConfigError> {
    let (mut nodes, mut common) = (Vec::new(), None);
    for info in named {
        let (host, port, tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port, false),
            ConnectionAddr::TcpTls { host, port, .. } => (host, *port, true),
            _ => {
                return Err(ConfigError::new(
                    "urls",
                    "name a Unix socket, but clusters and sentinels need TCP",
                    "write redis://host:port/",
                ));
            }
        };
        let redis = info.redis_settings();
        let its = (tls, redis.username().map(str::to_owned), redis.password().map(str::to_owned));
        if *common.get_or_insert_with(|| its.clone()) != its {
            let remedy = "give all nodes of a cluster the same user, password and TLS";
            return Err(ConfigError::new("urls", "differ in credentials or TLS", remedy));
        }
        nodes.push((host.clone(), port));
    }
    Ok(nodes)
}

/// Creates the watch over the sentinels, if the target names any.
#[cfg(feature = "sentinel")]
fn watch(
    target: &Target,
    access: &Access,
    deployment: Deployment,
    timeout: Duration,
) -> Result<Option<SentinelWatch>, ConfigError> {
    let (Target::Sentinel { urls, master, .. }, Deployment::Sentinel { patience }) = (target, deployment) else {
        return Ok(None);
    };
    let config = ConnectionConfig::new(timeout, 1);
    let mut named = Vec::new();
    for info in access.infos(urls)? {
        if address::of(&info).is_none() {
            return Err(ConfigError::new(
                "urls",
                "name a Unix socket, but clusters and sentinels need TCP",
                "write redis://host:port/",
            ));
        }
        // A sentinel has no databases: the URL names the database of the servers behind it.
        let redis = info.redis_settings().clone().set_db(0);
        named.push(info.set_tcp_settings(config.tcp()).set_redis_settings(redis));
    }
    Ok(Some(SentinelWatch::new(named, master.clone(), config.settings(), patience, timeout)))
}

/// Returns the settings for the servers behind sentinels, with the servers' credentials. The
/// address is still that of a sentinel, and the caller replaces it.
#[cfg(feature = "sentinel")]
fn behind_sentinels(
    sentinels: Vec<ConnectionInfo>,
    credentials: Option<&(String, String)>,
    config: &ConnectionConfig,
) -> Result<ConnectionInfo, ConfigError> {
    let named = sentinels.into_iter().next().ok_or_else(invalid_url)?;
    let mut redis = redis::RedisConnectionInfo::default().set_protocol(config.protocol());
    redis = redis.set_db(named.redis_settings().db());
    if let Some((user, password)) = credentials {
        redis = redis.set_username(user).set_password(password);
    }
    Ok(named.set_tcp_settings(config.tcp()).set_redis_settings(redis))
}

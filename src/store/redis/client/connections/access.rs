//! The settings of connections that are not in the URL: a credentials provider and certificates.

use std::fmt;

#[cfg(feature = "tls")]
use redis::ConnectionAddr;
use redis::{ConnectionInfo, IntoConnectionInfo};

#[cfg(feature = "tls")]
use crate::store::redis::client::connections::tls::Certificates;
use crate::{
    error::ConfigError,
    store::redis::client::{
        connections::target::{Target, invalid_url},
        credentials::CredentialsProvider,
    },
};

/// The credentials and certificates for connections, beyond those of the URL.
#[derive(Default)]
pub(crate) struct Access {
    /// The provider of credentials for the servers; `None` if the URL contains them.
    pub(crate) credentials: Option<CredentialsProvider>,
    #[cfg(feature = "tls")]
    pub(crate) certificates: Certificates,
}

impl Access {
    /// Rejects settings that do not fit the target.
    pub(crate) fn check(&self, target: &Target) -> Result<(), ConfigError> {
        let servers = match target {
            Target::Pool(_) => return self.check_pool(),
            Target::Url(url) => std::slice::from_ref(url),
            #[cfg(feature = "cluster")]
            Target::Cluster(urls) => urls,
            #[cfg(feature = "sentinel")]
            Target::Sentinel { urls, credentials, .. } => {
                self.check_credentials(credentials.is_some())?;
                // The credentials in these URLs are those of the sentinels.
                return urls.iter().try_for_each(|url| self.check_tls(url));
            }
        };
        servers.iter().try_for_each(|url| {
            self.check_credentials(has_credentials(url))?;
            self.check_tls(url)
        })
    }

    /// Rejects a provider or certificates together with the application's own pool.
    fn check_pool(&self) -> Result<(), ConfigError> {
        let pool = |setting| {
            let problem = "is set, but the application's own pool makes the connections";
            Err(ConfigError::conflict(setting, problem, "remove the call, and configure the pool in its place"))
        };
        if self.credentials.is_some() {
            return pool("credentials_provider");
        }
        #[cfg(feature = "tls")]
        if let Some(setting) = self.certificates.setting() {
            return pool(setting);
        }
        Ok(())
    }

    /// Rejects a credentials provider if the user or password of the servers is set too.
    fn check_credentials(&self, are_fixed: bool) -> Result<(), ConfigError> {
        if self.credentials.is_none() || !are_fixed {
            return Ok(());
        }
        let problem = "is set, but the user or password of the servers is set too";
        Err(ConfigError::conflict("credentials_provider", problem, "remove the provider, or the user and password"))
    }

    /// Rejects certificates for a URL without TLS.
    #[cfg_attr(
        not(feature = "tls"),
        allow(clippy::unused_self, clippy::unnecessary_wraps, unused_variables, reason = "only TLS has certificates")
    )]
    fn check_tls(&self, url: &str) -> Result<(), ConfigError> {
        #[cfg(feature = "tls")]
        if let (Some(setting), Ok(info)) = (self.certificates.setting(), url.into_connection_info())
            && !matches!(info.addr(), ConnectionAddr::TcpTls { .. })
        {
            return Err(ConfigError::conflict(
                setting,
                "is set, but the URL does not use TLS",
                "write rediss:// in the URL",
            ));
        }
        Ok(())
    }

    /// Converts a URL to connection settings, and adds the certificates.
    #[cfg_attr(not(feature = "tls"), allow(clippy::unused_self, reason = "only TLS has certificates"))]
    pub(crate) fn info(&self, url: &str) -> Result<ConnectionInfo, ConfigError> {
        if url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rediss:")) {
            prepare_tls()?;
        }
        let info = url.into_connection_info().map_err(|_| invalid_url())?;
        #[cfg(feature = "tls")]
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            return self.certificates.apply(info);
        }
        Ok(info)
    }

    /// Converts each URL to connection settings, and adds the certificates.
    #[cfg(any(feature = "cluster", feature = "sentinel"))]
    pub(crate) fn infos(&self, urls: &[String]) -> Result<Vec<ConnectionInfo>, ConfigError> {
        if urls.is_empty() {
            return Err(ConfigError::missing("urls", "is empty", "give the URL of at least one node"));
        }
        urls.iter().map(|url| self.info(url)).collect()
    }
}

impl fmt::Debug for Access {
    /// Formats whether a credentials provider is set, and no other setting.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("credentials", &self.credentials.is_some()).finish_non_exhaustive()
    }
}

/// Returns whether a URL contains a user or password. Returns false for an invalid URL, which
/// another check rejects.
fn has_credentials(url: &str) -> bool {
    url.into_connection_info().is_ok_and(|info| {
        let redis = info.redis_settings();
        redis.username().is_some() || redis.password().is_some()
    })
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

/// Rejects TLS, which this build does not support.
#[cfg(not(feature = "tls"))]
fn prepare_tls() -> Result<(), ConfigError> {
    Err(ConfigError::unsupported(
        "url",
        "asks for TLS (`rediss:`), which this build lacks",
        "enable the feature `tls` of tower-bearer",
    ))
}

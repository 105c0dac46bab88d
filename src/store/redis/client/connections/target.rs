//! The servers that the application named.

use deadpool_redis::Pool;

/// The address that the application named. It holds passwords, and is never shown.
pub(crate) enum Target {
    /// One server.
    Url(String),
    /// A pool of the application, which alone knows the address.
    Pool(Pool),
    /// Some nodes of a cluster.
    #[cfg(feature = "cluster")]
    Cluster(Vec<String>),
    /// Sentinels.
    #[cfg(feature = "sentinel")]
    Sentinel {
        urls: Vec<String>,
        /// The name by which the sentinels know the primary.
        master: String,
        /// User and password of the servers behind the sentinels.
        credentials: Option<(String, String)>,
    },
}

impl Target {
    /// Returns whether the buckets are spread over several servers.
    pub(crate) fn is_cluster(&self) -> bool {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => true,
            _ => false,
        }
    }
}

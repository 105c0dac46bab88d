//! The addresses of servers, and the agreement of sentinels on one.

#[cfg(any(feature = "cluster", feature = "sentinel"))]
use redis::{ConnectionAddr, ConnectionInfo};

/// The host and port by which the other servers know a server.
pub(crate) type Address = (String, u16);

/// The agreement of a majority of sentinels on the primary.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(not(feature = "sentinel"), allow(dead_code, reason = "only sentinels make it"))]
pub(crate) struct Agreement {
    /// Counts how often all sentinels were replaced by others.
    pub(crate) era: u64,
    pub(crate) address: Address,
    pub(crate) epoch: u64,
}

/// Returns the settings for another address, with the same credentials and TLS.
#[cfg(any(feature = "cluster", feature = "sentinel"))]
pub(crate) fn at(info: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let address = match info.addr().clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(address)
}

/// Returns the host and port. A socket of this machine has none.
#[cfg(feature = "sentinel")]
pub(crate) fn of(info: &ConnectionInfo) -> Option<Address> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
        _ => None,
    }
}

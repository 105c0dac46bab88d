//! The address of a server, and the agreement of sentinels on the primary's address.

#[cfg(any(feature = "cluster", feature = "sentinel"))]
use redis::{ConnectionAddr, ConnectionInfo};

/// The host and port of a server, as the application or another server named them.
pub(crate) type Address = (String, u16);

/// The agreement of a majority of sentinels on the primary.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(not(feature = "sentinel"), allow(dead_code, reason = "only sentinels make it"))]
pub(crate) struct Agreement {
    /// A counter that rises when this node detects that an operator has replaced all sentinels.
    pub(crate) era: u64,
    pub(crate) address: Address,
    pub(crate) epoch: u64,
}

/// Returns `info` with another address. Credentials and TLS settings stay the same.
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

/// Returns the host and port; `None` for a Unix socket.
#[cfg(feature = "sentinel")]
pub(crate) fn of(info: &ConnectionInfo) -> Option<Address> {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
        _ => None,
    }
}

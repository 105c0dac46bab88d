//! The causes of failures of a Redis server, each with a sentence for operators.
//!
//! The sentences contain the server's address, and sometimes the name of a command. They contain no
//! text of the server or of the redis client, because such a text may contain keys or the URL.

use std::{error::Error as StdError, fmt, io, sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

/// A failure of a Redis server, or of the connection to it. It is the source of a
/// [`StoreError`](crate::error::StoreError).
///
/// `docs/operations/errors.md` explains each sentence.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RedisFailure {
    /// The host and port of the server; `None` if unknown, for example behind the application's own
    /// pool. Also `None` for [`RedisCause::UnknownHost`], because the host in the URL may be a
    /// misplaced password.
    pub address: Option<Arc<str>>,
    /// The cause of the failure.
    pub cause: RedisCause,
}

/// The causes of failures of a Redis server.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RedisCause {
    /// The operating system of the server refused the connection.
    Refused,
    /// The host name has no address.
    UnknownHost,
    /// The server did not accept the connection in time, or did not answer in time.
    NoAnswer,
    /// The server accepted the TCP connection, and the TLS connection was not complete in time,
    /// including the login. A Redis server without TLS never finishes the handshake.
    NoTlsAnswer,
    /// The server or the network closed the connection.
    Closed,
    /// The server's default user has no password, so the server refuses clients from other machines
    /// (`DENIED`).
    ProtectedMode,
    /// The answer is not in the Redis protocol.
    NotRedis,
    /// No known authority has signed the server's certificate.
    UntrustedCertificate,
    /// The server's certificate cannot be used. The value names the problem, if known.
    UnusableCertificate(Option<&'static str>),
    /// The server's certificate names another host.
    WrongCertificateName,
    /// The server's certificate has expired or is not valid yet.
    CertificateTime,
    /// The server demands a client certificate, or refused that of the node. A revoked or expired
    /// certificate has this cause too.
    ClientCertificate,
    /// The server answered the TLS handshake with another protocol.
    PlainServer,
    /// TLS failed for another reason, for example without a common version or cipher. With TLS 1.2,
    /// a missing client certificate has this cause too.
    Tls,
    /// The server refused the user or password, or demands a password.
    Credentials,
    /// The user lacks the right to a command, to keys or to a channel. The value is the command, if
    /// known.
    MissingRight(Option<String>),
    /// The server does not know a command. The hosting provider may have disabled or renamed it.
    /// The value is the command, if known, or several with `, ` between them.
    UnknownCommand(Option<String>),
    /// The server has reached `maxclients`.
    TooManyClients,
    /// The server cannot save to its disk, so it refuses writes (`MISCONF`).
    Disk,
    /// The server has reached `maxmemory`, so it refuses to store anything new (`OOM`).
    Memory,
    /// The server is a replica.
    Replica,
    /// Too few replicas are connected to the server (`NOREPLICAS`).
    TooFewReplicas,
    /// The server loads its data from the disk.
    Loading,
    /// The server is a node of a cluster, but the URL names a single server.
    ClusterNode,
    /// The URL names a database other than 0 on a node of a cluster.
    ClusterDatabase,
    /// The cluster does not serve all slots.
    ClusterDown,
    /// The server is a sentinel, but the URL names a Redis server.
    Sentinel,
}

impl RedisCause {
    /// Returns the cause of an error of the redis client, if it is known.
    pub(super) fn of(error: &RedisError) -> Option<Self> {
        let server = error.clone().into_server_errors();
        if let Some((_, error)) = server.as_ref().and_then(|errors| errors.first()) {
            return Self::of_answer(error.code(), error.details().unwrap_or_default());
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => {
                let detail = error.detail().unwrap_or_default();
                Some(Self::of_text(detail).unwrap_or(Self::Credentials))
            }
            ErrorKind::Server(_) | ErrorKind::Extension => {
                Self::of_answer(error.code().unwrap_or_default(), error.detail().unwrap_or_default())
            }
            ErrorKind::InvalidClientConfig if error.detail().is_none() => Some(Self::UnknownHost),
            ErrorKind::Parse => Some(Self::NotRedis),
            _ => Self::of_io(error),
        }
    }

    /// Returns the cause of an error answer of the server, if it is known.
    pub(super) fn of_answer(code: &str, text: &str) -> Option<Self> {
        match code {
            "NOAUTH" | "WRONGPASS" => Some(Self::Credentials),
            "NOPERM" => Some(Self::MissingRight(quoted_command(text))),
            "MISCONF" => Some(Self::Disk),
            "OOM" => Some(Self::Memory),
            "READONLY" | "MASTERDOWN" => Some(Self::Replica),
            "NOREPLICAS" => Some(Self::TooFewReplicas),
            "LOADING" => Some(Self::Loading),
            "MOVED" => Some(Self::ClusterNode),
            "CLUSTERDOWN" => Some(Self::ClusterDown),
            "DENIED" => Some(Self::ProtectedMode),
            "ERR" => Self::of_text(text),
            _ => None,
        }
    }

    /// Returns the cause of an error answer by its text. Its code alone does not show the cause.
    fn of_text(text: &str) -> Option<Self> {
        if text.contains("max number of clients reached") {
            return Some(Self::TooManyClients);
        }
        if text.contains("SELECT is not allowed in cluster mode") {
            return Some(Self::ClusterDatabase);
        }
        // In Redis 7.0, the error of a script has no code.
        if text.contains("ACL failure in script") || text.contains("executing the script can't run this command") {
            return Some(Self::MissingRight(quoted_command(text)));
        }
        // Redis 7 writes `unknown`, and scripts of Valkey write `Unknown`.
        if text.contains("nknown command") || text.contains("nknown Redis command") {
            return Some(Self::UnknownCommand(quoted_command(text)));
        }
        None
    }

    /// Returns the cause of an I/O error.
    fn of_io(error: &RedisError) -> Option<Self> {
        // redis wraps the error in an `Arc`, so the first `downcast_ref` gets that `Arc`.
        let shared = error.source()?.downcast_ref::<Arc<dyn StdError + Send + Sync>>()?;
        let error = shared.downcast_ref::<io::Error>()?;
        #[cfg(feature = "tls")]
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(Self::of_tls(error));
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Some(Self::Refused),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Some(Self::NoAnswer),
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected => Some(Self::Closed),
            // std has no `ErrorKind` for a failed name resolution.
            _ if error.to_string().starts_with("failed to lookup address") => Some(Self::UnknownHost),
            _ => None,
        }
    }

    #[cfg(feature = "tls")]
    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::{AlertDescription, CertificateError, Error};

        match error {
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::WrongCertificateName,
            Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Self::CertificateTime,
            // The signature is wrong if another authority has the same name.
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Self::UntrustedCertificate
            }
            Error::InvalidCertificate(error) => Self::UnusableCertificate(problem_of(error)),
            Error::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied,
            ) => Self::ClientCertificate,
            Error::InvalidMessage(_) => Self::PlainServer,
            _ => Self::Tls,
        }
    }
}

/// Returns the problem of a certificate that cannot be used, if it is known.
#[cfg(feature = "tls")]
fn problem_of(error: &rustls::CertificateError) -> Option<&'static str> {
    use rustls::CertificateError;

    match error {
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Some("it is not for TLS servers")
        }
        CertificateError::Revoked => Some("it is revoked"),
        CertificateError::BadEncoding => Some("it is malformed"),
        CertificateError::UnhandledCriticalExtension => Some("it has an unknown critical extension"),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            Some("its signature algorithm is not supported")
        }
        // rustls has no variants for these problems. The text is the name of webpki's variant.
        CertificateError::Other(other) => match other.to_string().as_str() {
            "CaUsedAsEndEntity" => Some("it has CA:TRUE"),
            "EndEntityUsedAsCa" => Some("its issuer has CA:FALSE"),
            "UnsupportedCertVersion" => Some("it is not X.509 v3"),
            _ => None,
        },
        _ => None,
    }
}

/// The time limit of [`of_greeting`].
const GREETING: Duration = Duration::from_millis(200);

/// Connects once more, and returns the cause that the server sends before it closes the connection.
/// The redis client reports only that the connection was closed.
pub(super) async fn of_greeting(host: &str, port: u16) -> Option<RedisCause> {
    let greeting = async {
        let mut stream = TcpStream::connect((host, port)).await.ok()?;
        let mut bytes = [0; 128];
        let count = stream.read(&mut bytes).await.ok()?;
        let (code, text) = str::from_utf8(bytes.get(..count)?).ok()?.strip_prefix('-')?.split_once(' ')?;
        RedisCause::of_answer(code, text)
    };
    timeout(GREETING, greeting).await.ok()?
}

/// Returns the command that an error answer quotes. Returns `None` for other quoted texts, because
/// they may be keys.
fn quoted_command(text: &str) -> Option<String> {
    let name = text.split(['\'', '`']).nth(1)?;
    let is_name = !name.is_empty() && name.len() <= 32;
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'|' || byte == b'_';
    (is_name && name.bytes().all(is_letter)).then(|| name.to_ascii_uppercase())
}

impl fmt::Display for RedisFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "the Redis server at {address} ")?,
            None => f.write_str("the Redis server ")?,
        }
        match &self.cause {
            RedisCause::MissingRight(Some(command)) => {
                let right = command.to_ascii_lowercase();
                write!(f, "refuses {command} to this user; grant it with ACL SETUSER <user> +{right}")
            }
            RedisCause::UnknownCommand(Some(commands)) => {
                let noun = if commands.contains(", ") { "commands" } else { "command" };
                write!(
                    f,
                    "does not know the {noun} {commands}; use Redis 7 or later, and remove the `rename-command` lines of \
                     its configuration, or ask the provider"
                )
            }
            RedisCause::UnusableCertificate(Some(problem)) => {
                let text = self.cause.text();
                let (statement, remedy) = text.split_once("; ").unwrap_or((text, ""));
                write!(f, "{statement} ({problem}); {remedy}")
            }
            cause => f.write_str(cause.text()),
        }
    }
}

impl StdError for RedisFailure {}

impl RedisCause {
    /// Returns the sentence after the server's address. It contains no name of a command.
    fn text(&self) -> &'static str {
        match self {
            Self::Refused => "refuses connections; check that it runs, and that host and port are correct",
            Self::UnknownHost => {
                "has a host name that does not resolve; check the host in the URL (not shown, because it may be a \
                 misplaced password), and the DNS"
            }
            Self::NoAnswer => {
                "did not answer in time; run `redis-cli -h <host> -p <port> PING` on this service's machine (add `--tls` \
                 for rediss://): if it is slow or hangs too, check the server's load and the network; otherwise raise \
                 the service's setting `timeout`"
            }
            Self::NoTlsAnswer => {
                "did not complete a TLS connection in time; run `redis-cli -h <host> -p <port> PING` without `--tls` on \
                 this service's machine: after PONG or NOAUTH the port has no TLS, so correct the port, enable TLS on \
                 it, or write redis:// in the URL; after a closed or reset connection the port has TLS, so check the \
                 server's load, or raise the service's setting `timeout`; if it hangs, check the server and the network"
            }
            Self::Closed => {
                "closed the connection; read the server's log: for `wrong version number` write rediss:// in the URL; if \
                 it says nothing, compare connected_clients of INFO with maxclients, and check protected-mode"
            }
            Self::ProtectedMode => {
                "is in protected mode, so it refuses clients from other machines (DENIED); set a password for its \
                 default user, and write it in the URL"
            }
            Self::NotRedis => {
                "does not speak the Redis protocol; correct the port in the URL, or write rediss:// if the port has TLS"
            }
            Self::UntrustedCertificate => {
                "has a certificate of an unknown authority; pass the authority's certificate to the service's setting \
                 `root_certificates`"
            }
            Self::UnusableCertificate(_) => {
                "has a certificate that this service cannot accept; issue an X.509 v3 certificate for TLS servers, with \
                 CA:FALSE and a SHA-256 signature"
            }
            Self::WrongCertificateName => {
                "has a certificate for another name; write one of the certificate's subject alternative names in the \
                 URL (the CN does not count), or issue a certificate with the URL's host"
            }
            Self::CertificateTime => {
                "has a certificate that is expired or not valid yet; check this machine's clock, then renew the certificate"
            }
            Self::ClientCertificate => {
                "demands a client certificate, or refuses the one that it got; pass a valid certificate (not expired, \
                 for client use) of an authority that the server trusts, with its key, to the service's setting \
                 `client_certificate`"
            }
            Self::PlainServer => "does not use TLS; correct the port, enable TLS on it, or write redis:// in the URL",
            Self::Tls => {
                "failed the TLS handshake; read the reason in the server's log: for `peer did not return a certificate` \
                 or `certificate verify failed` pass a valid certificate to the service's setting `client_certificate`; \
                 for `unsupported protocol` or `no shared cipher` allow on the server TLS 1.3, or TLS 1.2 with ECDHE \
                 and AES-GCM or ChaCha20"
            }
            Self::Credentials => {
                "refuses the user or password, or demands one; check those in the URL, or those that the service's \
                 `credentials_provider` returns; leave the password out if the server has none"
            }
            Self::MissingRight(_) => {
                "refuses this user a command, key or channel; find which one with ACL LOG, and grant the rights of \
                 docs/operations/redis.md of tower-bearer"
            }
            Self::UnknownCommand(_) => {
                "does not know a command that the service needs; use Redis 7 or later, and remove the \
                 `rename-command` lines of its configuration, or ask the provider"
            }
            Self::TooManyClients => {
                "has too many clients; find with CLIENT LIST those that do not disconnect, and raise maxclients if all are \
                 needed"
            }
            Self::Disk => {
                "cannot save to its disk, so it refuses writes (MISCONF); read in its log why, and free space if the disk is full"
            }
            Self::Memory => {
                "has no memory left, so it refuses the service's new logins (OOM); raise maxmemory (tokens can still be \
                 revoked)"
            }
            Self::Replica => {
                "is a replica; write the primary's address in the URL (after a failover with sentinels, wait: it ends by \
                 itself)"
            }
            Self::TooFewReplicas => {
                "has too few replicas, so it refuses writes (NOREPLICAS); reconnect them; read docs/operations/errors.md of \
                 tower-bearer before you lower min-replicas-to-write"
            }
            Self::Loading => "loads its data from the disk; wait: this service reconnects by itself",
            Self::ClusterNode => "is a node of a cluster; write redis-cluster://host:port in the URL",
            Self::ClusterDatabase => {
                "is a node of a cluster, which has no numbered databases; leave the number out of the URL"
            }
            Self::ClusterDown => {
                "does not serve all slots of its cluster (CLUSTERDOWN); find the lost slots with `redis-cli --cluster \
                 check <host>:<port>`, and start their primary or its replica"
            }
            Self::Sentinel => {
                "is a sentinel; write redis-sentinel://host:port#name in the URL, with the primary's name in the \
                 sentinel's configuration"
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_operators_has_each_sentence() {
        let page = include_str!("../../../../docs/operations/errors.md");
        let causes = [
            RedisCause::Refused,
            RedisCause::UnknownHost,
            RedisCause::NoAnswer,
            RedisCause::NoTlsAnswer,
            RedisCause::Closed,
            RedisCause::ProtectedMode,
            RedisCause::NotRedis,
            RedisCause::UntrustedCertificate,
            RedisCause::UnusableCertificate(None),
            RedisCause::UnusableCertificate(Some("it is revoked")),
            RedisCause::WrongCertificateName,
            RedisCause::CertificateTime,
            RedisCause::ClientCertificate,
            RedisCause::PlainServer,
            RedisCause::Tls,
            RedisCause::Credentials,
            RedisCause::MissingRight(None),
            RedisCause::MissingRight(Some("COMMAND".to_owned())),
            RedisCause::UnknownCommand(None),
            RedisCause::UnknownCommand(Some("COMMAND".to_owned())),
            RedisCause::TooManyClients,
            RedisCause::Disk,
            RedisCause::Memory,
            RedisCause::Replica,
            RedisCause::TooFewReplicas,
            RedisCause::Loading,
            RedisCause::ClusterNode,
            RedisCause::ClusterDatabase,
            RedisCause::ClusterDown,
            RedisCause::Sentinel,
        ];
        for cause in causes {
            let sentence = RedisFailure { address: None, cause }.to_string();
            let problem = sentence.strip_prefix("the Redis server ").unwrap();
            let problem = problem.split([';', '(']).next().unwrap().trim_end();
            // The table gives the consequence in a column of its own.
            let problem = problem.split(", so it").next().unwrap();
            assert!(page.contains(&format!("| {problem} |")), "{problem}");
        }
    }

    #[test]
    fn only_the_name_of_a_command_is_quoted() {
        let rows = [
            ("User app has no permissions to run the 'hmget' command", Some("HMGET")),
            ("unknown command 'EVAL', with args beginning with: 'secret'", Some("EVAL")),
            ("unknown command `config|get`", Some("CONFIG|GET")),
            ("no permissions to access the key 'tb:{3}:u:alice'", None),
            ("No permissions to access a key", None),
            ("''", None),
        ];
        for (text, command) in rows {
            assert_eq!(quoted_command(text).as_deref(), command, "{text}");
        }
    }
}

//! The sentence for each cause of a failure, on real servers.

use std::{fmt, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tower_bearer::{
    error::StoreError,
    store::{
        OpenSession, SessionStore,
        redis::{ConnectError, ConnectErrorKind, RedisCause, RedisFailure, RedisStore},
    },
};

use crate::support::{RedisServer, eventually, redis_server::free_port};

/// Returns the failure in the sources of an error.
fn failure<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a RedisFailure {
    let mut error = Some(error);
    while let Some(cause) = error {
        if let Some(failure) = cause.downcast_ref() {
            return failure;
        }
        error = cause.source();
    }
    panic!("no cause");
}

async fn connect(url: &str) -> ConnectError {
    let connected = RedisStore::builder(url).timeout(Duration::from_secs(2)).connect().await;
    connected.err().unwrap_or_else(|| panic!("connected to {url}"))
}

/// Returns the URL with a password. The user `default` takes any, because it has none.
fn with_password(server: &RedisServer) -> String {
    server.url().replace("//", "//default:TEST-password@")
}

/// Asserts the cause, the kind and the sentence of an error, whose `Debug` text ends with the
/// sentence.
fn assert_error(error: &ConnectError, cause: &RedisCause, kind: ConnectErrorKind, sentence: &str) {
    let text = format!("{error:?}");
    assert!(text.ends_with(sentence), "{text}\nis not\n{sentence}");
    assert!(!text.contains("TEST-password"), "{text}");
    assert_eq!((&failure(error).cause, error.kind()), (cause, kind), "{text}");
}

fn server(port: impl fmt::Display, rest: impl fmt::Display) -> String {
    format!("the Redis server at 127.0.0.1:{port} {rest}")
}

const NO_ANSWER: &str = "did not answer in time; run `redis-cli -h <host> -p <port> PING` on this service's machine \
                         (add `--tls` for rediss://): if it is slow or hangs too, check the server's load and the \
                         network; otherwise raise the service's setting `timeout`";
const CLOSED: &str = "closed the connection; read the server's log: for `wrong version number` write rediss:// in \
                      the URL; if it says nothing, compare connected_clients of INFO with maxclients, and check \
                      protected-mode";

#[tokio::test]
async fn a_server_that_cannot_be_reached() {
    let port = free_port();
    let error = connect(&format!("redis://user:TEST-password@127.0.0.1:{port}/")).await;
    let sentence = server(port, "refuses connections; check that it runs, and that host and port are correct");
    assert_error(&error, &RedisCause::Refused, ConnectErrorKind::Unreachable, &sentence);

    let error = connect("redis://:TEST-password@no-such-host.invalid/").await;
    let sentence = "the Redis server has a host name that does not resolve; check the host in the URL (not shown, because it may be a misplaced password), and the DNS";
    assert_error(&error, &RedisCause::UnknownHost, ConnectErrorKind::Unreachable, sentence);

    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let error = connect(&format!("redis://127.0.0.1:{port}/")).await;
    assert_error(&error, &RedisCause::NoAnswer, ConnectErrorKind::Unreachable, &server(port, NO_ANSWER));

    let closing = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = closing.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = closing.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    let error = connect(&format!("redis://127.0.0.1:{port}/")).await;
    assert_error(&error, &RedisCause::Closed, ConnectErrorKind::Unreachable, &server(port, CLOSED));
    task.abort();
}

#[tokio::test]
async fn a_server_that_refuses_the_client() {
    let redis = RedisServer::start_with(&["--maxclients", "3"]);
    let mut admin = redis.admin().await;
    let port = redis.port();
    let set = async |admin: &mut redis::aio::MultiplexedConnection, name: &str, value: &str| {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec_async(admin).await.unwrap();
    };
    // The test's own connections leave no place.
    let held = (redis.admin().await, redis.admin().await);
    let error = connect(&redis.url()).await;
    let sentence = server(
        port,
        "has too many clients; find with CLIENT LIST those that do not disconnect, and raise maxclients if all are needed",
    );
    assert_error(&error, &RedisCause::TooManyClients, ConnectErrorKind::Unreachable, &sentence);
    drop(held);
    set(&mut admin, "maxclients", "1000").await;

    set(&mut admin, "requirepass", "TEST-password").await;
    let sentence = server(
        port,
        "refuses the user or password, or demands one; check those in the URL, or those that the service's `credentials_provider` returns; leave the password out if the server has none",
    );
    for login in ["", ":TEST-password-wrong@", "nobody:TEST-password@"] {
        let error = connect(&format!("redis://{login}127.0.0.1:{port}/")).await;
        assert_error(&error, &RedisCause::Credentials, ConnectErrorKind::Unauthenticated, &sentence);
    }
    set(&mut admin, "requirepass", "").await;
    let error = connect(&format!("redis://:TEST-password@127.0.0.1:{port}/")).await;
    assert_error(&error, &RedisCause::Credentials, ConnectErrorKind::Unauthenticated, &sentence);
}

const PROTECTED: &str = "is in protected mode, so it refuses clients from other machines (DENIED); set a password for \
                         its default user, and write it in the URL";

/// Returns the address of this machine in its network, if it has one. Sends no packet.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

#[tokio::test]
async fn a_server_in_protected_mode() {
    // A machine without a network has only the second server, which sends the words of Redis.
    if let Some(address) = own_address() {
        let redis = RedisServer::start_with(&["--protected-mode", "yes", "--bind", "127.0.0.1", &address.to_string()]);
        let error = connect(&format!("redis://{address}:{}/", redis.port())).await;
        let sentence = format!("the Redis server at {address}:{} {PROTECTED}", redis.port());
        assert_error(&error, &RedisCause::ProtectedMode, ConnectErrorKind::Server, &sentence);
    }
    let text = "-DENIED Redis is running in protected mode because TEST-password\r\n";
    let (port, task) = sending(text, Sends::First).await;
    let error = connect(&format!("redis://127.0.0.1:{port}/")).await;
    assert_error(&error, &RedisCause::ProtectedMode, ConnectErrorKind::Server, &server(port, PROTECTED));
    task.abort();
}

/// The time at which a server of a test sends its text: before or after the client's first bytes.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Sends {
    First,
    Second,
}

/// Starts a server that sends each client this text, and closes the connection. Returns its port.
async fn sending(text: &'static str, order: Sends) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if order == Sends::Second {
                let _ = stream.read(&mut [0; 4096]).await;
            }
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    (port, task)
}

const HTTP: &str = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_port_of_another_protocol() {
    let rest = "does not speak the Redis protocol; correct the port in the URL, or write rediss:// if the port has TLS";
    for (text, order) in [(HTTP, Sends::Second), ("SSH-2.0-OpenSSH_9.2\r\n", Sends::First)] {
        let (port, task) = sending(text, order).await;
        let error = connect(&format!("redis://:TEST-password@127.0.0.1:{port}/")).await;
        assert_error(&error, &RedisCause::NotRedis, ConnectErrorKind::Configuration, &server(port, rest));
        task.abort();
    }
}

#[tokio::test]
async fn a_server_of_another_kind() {
    let cluster = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let port = cluster.port();
    let mut admin = cluster.admin().await;
    redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(100).exec_async(&mut admin).await.unwrap();
    let error = connect(&format!("redis://127.0.0.1:{port}/3")).await;
    let sentence =
        server(port, "is a node of a cluster, which has no numbered databases; leave the number out of the URL");
    assert_error(&error, &RedisCause::ClusterDatabase, ConnectErrorKind::Configuration, &sentence);

    let error = connect(&cluster.url()).await;
    let sentence = server(
        port,
        "does not serve all slots of its cluster (CLUSTERDOWN); find the lost slots with `redis-cli --cluster check <host>:<port>`, and start their primary or its replica",
    );
    assert_error(&error, &RedisCause::ClusterDown, ConnectErrorKind::Unreachable, &sentence);

    // Another node serves the slots of the data.
    let (first, second) = (start_node(), start_node());
    let meet = ["MEET", "127.0.0.1", &second.0.port().to_string(), &second.1.to_string()];
    for (node, command) in
        [(&first.0, &["ADDSLOTSRANGE", "0", "0"][..]), (&second.0, &["ADDSLOTSRANGE", "1", "16383"]), (&first.0, &meet)]
    {
        redis::cmd("CLUSTER").arg(command).exec_async(&mut node.admin().await).await.unwrap();
    }
    eventually("the nodes know each other's slots", async || {
        let mut admin = first.0.admin().await;
        let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut admin).await.ok()?;
        info.contains("cluster_state:ok").then_some(())
    })
    .await;
    let error = connect(&with_password(&first.0)).await;
    let sentence = server(first.0.port(), "is a node of a cluster; write redis-cluster://host:port in the URL");
    assert_error(&error, &RedisCause::ClusterNode, ConnectErrorKind::Configuration, &sentence);

    let primary = RedisServer::start();
    let replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    let error = connect(&replica.url()).await;
    let sentence = server(
        replica.port(),
        "is a replica; write the primary's address in the URL (after a failover with sentinels, wait: it ends by itself)",
    );
    assert_error(&error, &RedisCause::Replica, ConnectErrorKind::Unreachable, &sentence);
}

/// Starts a cluster's node without slots. Returns it with the port of its bus.
fn start_node() -> (RedisServer, u16) {
    let bus = free_port();
    (RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus.to_string()]), bus)
}

#[tokio::test]
async fn a_server_that_loads_its_data() {
    // The server answers between two keys. The rest of the data would take a minute.
    let delays = ["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"];
    let mut redis = RedisServer::start_with(&[&delays[..], &["--rdbcompression", "no"]].concat());
    let mut admin = redis.admin().await;
    let mut keys = redis::pipe();
    for number in 0..3000 {
        keys.set(number, "x".repeat(1100));
    }
    keys.cmd("SAVE").exec_async(&mut admin).await.unwrap();
    redis.restart();
    let error = connect(&with_password(&redis)).await;
    let sentence = server(redis.port(), "loads its data from the disk; wait: this service reconnects by itself");
    assert_error(&error, &RedisCause::Loading, ConnectErrorKind::Unreachable, &sentence);
    assert!(error.is_transient(), "waiting helps");
}

fn session() -> OpenSession {
    OpenSession::new("42", "TEST-session".into(), Duration::from_secs(60), Duration::from_secs(60))
}

/// Opens a session, as a login does.
async fn open(store: &RedisStore) -> StoreError {
    store.open(session()).await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_refuses_a_command() {
    let redis = RedisServer::start();
    let port = redis.port();
    let mut admin = redis.admin().await;
    let store = RedisStore::connect(redis.url()).await.unwrap();
    let mut run = async |command: &[&str]| {
        let mut cmd = redis::cmd(command[0]);
        cmd.arg(&command[1..]).exec_async(&mut admin).await.unwrap();
    };
    let assert_open = |error: &StoreError, cause: &RedisCause, rest: &str| {
        let (text, sentence) = (format!("{error:?}"), server(port, rest));
        assert!(text.ends_with(&sentence), "{text}\nis not\n{sentence}");
        assert_eq!(&failure(error).cause, cause, "{text}");
    };
    run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let rest = "has no memory left, so it refuses the service's new logins (OOM); raise maxmemory (tokens can still be revoked)";
    assert_open(&open(&store).await, &RedisCause::Memory, rest);
    run(&["CONFIG", "SET", "maxmemory", "0"]).await;

    run(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let rest = "has too few replicas, so it refuses writes (NOREPLICAS); reconnect them; read docs/operations/errors.md of tower-bearer before you lower min-replicas-to-write";
    assert_open(&open(&store).await, &RedisCause::TooFewReplicas, rest);
    run(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;

    run(&["ACL", "SETUSER", "default", "-hmget"]).await;
    let rest = "refuses HMGET to this user; grant it with ACL SETUSER <user> +hmget";
    let read = store.check(&"42".into(), &"TEST-session".into(), &"x".into()).await.unwrap_err();
    assert_open(&read, &RedisCause::MissingRight(Some("HMGET".to_owned())), rest);
    // The error of a script names no command.
    run(&["ACL", "SETUSER", "default", "+hmget", "-hset"]).await;
    let rest = "refuses this user a command, key or channel; find which one with ACL LOG, and grant the rights of docs/operations/redis.md of tower-bearer";
    assert_open(&open(&store).await, &RedisCause::MissingRight(None), rest);
    run(&["ACL", "SETUSER", "default", "+hset", "resetkeys", "~other"]).await;
    assert_open(&open(&store).await, &RedisCause::MissingRight(None), rest);
}

#[tokio::test]
async fn a_server_that_cannot_save() {
    let redis = RedisServer::start();
    let store = RedisStore::connect(redis.url()).await.unwrap();
    let mut admin = redis.admin().await;
    // No folder, so the save in the background fails.
    for command in [&["CONFIG", "SET", "save", "1 1"][..], &["SET", "x", "y"]] {
        redis::cmd(command[0]).arg(&command[1..]).exec_async(&mut admin).await.unwrap();
    }
    redis.remove_folder();
    let _: Result<(), _> = redis::cmd("BGSAVE").exec_async(&mut admin).await;
    let refused = async || store.open(session()).await.err();
    let error = eventually("Redis refuses writes", refused).await;
    let sentence = server(
        redis.port(),
        "cannot save to its disk, so it refuses writes (MISCONF); read in its log why, and free space if the disk is full",
    );
    assert!(format!("{error:?}").ends_with(&sentence), "{error:?}");
}

#[tokio::test]
async fn a_server_without_a_command() {
    // Scripts use `GET` and `HDEL`, so the error of the server does not name them.
    for (disabled, noun, commands) in [
        (&["EVALSHA"][..], "command", "EVALSHA"),
        (&["GET"], "command", "GET"),
        (&["GET", "HDEL"], "commands", "HDEL, GET"),
    ] {
        let options: Vec<_> = disabled.iter().flat_map(|name| ["--rename-command", name, ""]).collect();
        let redis = RedisServer::start_with(&options);
        let error = connect(&with_password(&redis)).await;
        let sentence = server(
            redis.port(),
            format!(
                "does not know the {noun} {commands}; use Redis 7 or later, and remove the `rename-command` lines of its \
                 configuration, or ask the provider"
            ),
        );
        let cause = RedisCause::UnknownCommand(Some(commands.to_owned()));
        assert_error(&error, &cause, ConnectErrorKind::Server, &sentence);
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_server_whose_tls_does_not_fit() {
    use crate::tls::{pem, start};

    let (plain, port) = start();
    let connect = async |url: &str, authority: &str, client: Option<&str>| {
        let builder = RedisStore::builder(url).timeout(Duration::from_secs(2)).root_certificates(pem(authority));
        let builder = match client {
            Some(name) => builder.client_certificate(pem(name), pem(&format!("{name}-key"))),
            None => builder,
        };
        builder.connect().await.expect_err(url)
    };
    let url = format!("rediss://127.0.0.1:{port}/");
    for client in [None, Some("server")] {
        let error = connect(&url, "ca", client).await;
        assert_error(&error, &RedisCause::ClientCertificate, ConnectErrorKind::Tls, &server(port, CLIENT_CERTIFICATE));
    }
    let rest = "has a certificate of an unknown authority; pass the authority's certificate to the service's setting \
                `root_certificates`";
    let error = connect(&url, "client-ca", Some("client")).await;
    assert_error(&error, &RedisCause::UntrustedCertificate, ConnectErrorKind::Tls, &server(port, rest));

    // The certificate names 127.0.0.1.
    let error = connect(&format!("rediss://localhost:{port}/"), "ca", Some("client")).await;
    let sentence = format!(
        "the Redis server at localhost:{port} has a certificate for another name; write one of the \
         certificate's subject alternative names in the URL (the CN does not count), or issue a certificate with the \
         URL's host"
    );
    assert_error(&error, &RedisCause::WrongCertificateName, ConnectErrorKind::Tls, &sentence);

    let error = connect(&format!("rediss://127.0.0.1:{}/", plain.port()), "ca", None).await;
    let sentence = server(plain.port(), NO_TLS_ANSWER);
    assert_error(&error, &RedisCause::NoTlsAnswer, ConnectErrorKind::Unreachable, &sentence);

    let error = self::connect(&format!("redis://127.0.0.1:{port}/")).await;
    assert_error(&error, &RedisCause::Closed, ConnectErrorKind::Unreachable, &server(port, CLOSED));
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_tls_server_that_hangs() {
    let (redis, port) = crate::tls::start_with("server", &["--tls-auth-clients", "no", "--tcp-backlog", "1"]);
    redis.pause();
    let error = connect_by_tls(port, "ca").await;
    assert_error(&error, &RedisCause::NoTlsAnswer, ConnectErrorKind::Unreachable, &server(port, NO_TLS_ANSWER));
    // The system drops further connections when the queue of the paused server is full.
    let mut waiting = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(500), tokio::net::TcpStream::connect(("127.0.0.1", port))).await
    {
        waiting.push(stream.unwrap());
    }
    let error = connect_by_tls(port, "ca").await;
    assert_error(&error, &RedisCause::NoAnswer, ConnectErrorKind::Unreachable, &server(port, NO_ANSWER));
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_client_certificate_that_the_server_refuses() {
    // The certificates have expired, and are for another purpose.
    for (client, key, authority) in [("client-expired", "client-key", "client-expired"), ("server", "server-key", "ca")]
    {
        for version in ["TLSv1.2", "TLSv1.3"] {
            let authority = crate::tls::path(authority);
            let options = ["--tls-ca-cert-file", &authority, "--tls-protocols", version, "--tls-auth-clients", "yes"];
            let (_redis, port) = crate::tls::start_with("server", &options);
            let builder = RedisStore::builder(format!("rediss://user:TEST-password@127.0.0.1:{port}/"));
            let builder = builder.root_certificates(crate::tls::pem("ca")).timeout(Duration::from_secs(2));
            let builder = builder.client_certificate(crate::tls::pem(client), crate::tls::pem(key));
            let error = builder.connect().await.expect_err(client);
            let sentence = server(port, CLIENT_CERTIFICATE);
            assert_error(&error, &RedisCause::ClientCertificate, ConnectErrorKind::Tls, &sentence);
        }
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_server_whose_certificate_cannot_be_used() {
    for (certificate, key, authority, problem) in [
        ("server-with-ca", "server-key", "server-with-ca", "it has CA:TRUE"),
        ("version-1", "server-key", "version-1", "it is not X.509 v3"),
        ("client", "client-key", "client-ca", "it is not for TLS servers"),
    ] {
        let key = crate::tls::path(key);
        let (_redis, port) = crate::tls::start_with(certificate, &["--tls-key-file", &key, "--tls-auth-clients", "no"]);
        let error = connect_by_tls(port, authority).await;
        let sentence = server(
            port,
            format!(
                "has a certificate that this service cannot accept ({problem}); issue an X.509 v3 certificate for TLS \
                 servers, with CA:FALSE and a SHA-256 signature"
            ),
        );
        assert_error(&error, &RedisCause::UnusableCertificate(Some(problem)), ConnectErrorKind::Tls, &sentence);
    }
}

#[cfg(feature = "tls")]
const CLIENT_CERTIFICATE: &str = "demands a client certificate, or refuses the one that it got; pass a valid \
                                  certificate (not expired, for client use) of an authority that the server trusts, \
                                  with its key, to the service's setting `client_certificate`";
#[cfg(feature = "tls")]
const NO_TLS_ANSWER: &str = "did not complete a TLS connection in time; run `redis-cli -h <host> -p <port> PING` \
                             without `--tls` on this service's machine: after PONG or NOAUTH the port has no TLS, so \
                             correct the port, enable TLS on it, or write redis:// in the URL; after a closed or reset \
                             connection the port has TLS, so check the server's load, or raise the service's setting \
                             `timeout`; if it hangs, check the server and the network";

#[cfg(feature = "tls")]
async fn connect_by_tls(port: u16, authority: &str) -> ConnectError {
    let url = format!("rediss://user:TEST-password@127.0.0.1:{port}/");
    let builder = RedisStore::builder(&url).timeout(Duration::from_secs(2));
    builder.root_certificates(crate::tls::pem(authority)).connect().await.expect_err(&url)
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_server_whose_certificate_is_out_of_date() {
    for certificate in ["expired", "not-yet-valid"] {
        let (_redis, port) = crate::tls::start_with(certificate, &["--tls-auth-clients", "no"]);
        let error = connect_by_tls(port, "outdated-ca").await;
        let rest = "has a certificate that is expired or not valid yet; check this machine's clock, then renew the certificate";
        assert_error(&error, &RedisCause::CertificateTime, ConnectErrorKind::Tls, &server(port, rest));
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_server_that_refuses_the_clients_version_or_ciphers() {
    let old_version = ["--tls-protocols", "TLSv1.1", "--tls-ciphers", "ALL:@SECLEVEL=0", "--tls-auth-clients", "no"];
    let old_cipher = ["--tls-protocols", "TLSv1.2", "--tls-ciphers", "AES128-SHA256", "--tls-auth-clients", "no"];
    // TLS 1.2 has no alert of its own for a missing certificate.
    let no_certificate = ["--tls-protocols", "TLSv1.2", "--tls-auth-clients", "yes"];
    for options in [&old_version[..], &old_cipher, &no_certificate] {
        let (_redis, port) = crate::tls::start_with("server", options);
        let error = connect_by_tls(port, "ca").await;
        let rest = "failed the TLS handshake; read the reason in the server's log: for `peer did not return a certificate` or \
                    `certificate verify failed` pass a valid certificate to the service's setting `client_certificate`; for \
                    `unsupported protocol` or `no shared cipher` allow on the server TLS 1.3, or TLS 1.2 with ECDHE and \
                    AES-GCM or ChaCha20";
        assert_error(&error, &RedisCause::Tls, ConnectErrorKind::Tls, &server(port, rest));
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_port_that_answers_tls_with_another_protocol() {
    let rest = "does not use TLS; correct the port, enable TLS on it, or write redis:// in the URL";
    // A plain Redis server waits for more of the handshake, unless it has too many clients.
    let redis = RedisServer::start_with(&["--maxclients", "3"]);
    let _held = (redis.admin().await, redis.admin().await, redis.admin().await);
    let error = connect_by_tls(redis.port(), "ca").await;
    assert_error(&error, &RedisCause::PlainServer, ConnectErrorKind::Tls, &server(redis.port(), rest));

    let (port, task) = sending(HTTP, Sends::Second).await;
    let error = connect_by_tls(port, "ca").await;
    assert_error(&error, &RedisCause::PlainServer, ConnectErrorKind::Tls, &server(port, rest));
    task.abort();
}

#[tokio::test]
async fn a_url_of_several_servers() {
    let error = connect("redis://:TEST-password@one,two/").await;
    let text = format!("{error:?}");
    assert_eq!(
        text,
        "`url` names several hosts, but `redis:` is the scheme of a single server; write redis-cluster://host,host \
         for a cluster, or redis-sentinel://host,host#name for sentinels"
    );
    assert_eq!(error.kind(), ConnectErrorKind::Configuration);
}

#[cfg(feature = "sentinel")]
#[tokio::test]
async fn a_sentinel_in_place_of_a_server() {
    let (primary, port) = (RedisServer::start(), free_port());
    let _sentinel = crate::support::sentinel::SentinelProcess::start(port, primary.port(), 1, "");
    let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok();
    eventually("the sentinel listens", listens).await;
    let error = connect(&format!("redis://127.0.0.1:{port}/")).await;
    let sentence = server(
        port,
        "is a sentinel; write redis-sentinel://host:port#name in the URL, with the primary's name in the sentinel's configuration",
    );
    assert_error(&error, &RedisCause::Sentinel, ConnectErrorKind::Configuration, &sentence);
}

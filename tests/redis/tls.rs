//! Mutual TLS, on a server that demands a certificate of each client.

use tower_bearer::{
    error::ConfigError,
    store::{
        RedisStore,
        redis::{ConnectError, RedisStoreBuilder},
    },
};

use crate::support::{HANG, RedisServer, TextStore, redis_fixture::open, redis_server::free_port};

pub(crate) fn path(name: &str) -> String {
    format!("{}/tests/keys/TEST-tls-{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn pem(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

/// Starts a server that demands certificates of the TEST authority. Returns it with its TLS port.
pub(crate) fn start() -> (RedisServer, u16) {
    start_with("server", &["--tls-auth-clients", "yes"])
}

/// Starts a server with this certificate and further options. Returns it with its TLS port.
pub(crate) fn start_with(certificate: &str, options: &[&str]) -> (RedisServer, u16) {
    let port = free_port();
    let (text, certificate, key, authority) =
        (port.to_string(), path(certificate), path("server-key"), path("client-ca"));
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &authority];
    (RedisServer::start_with(&[&["--tls-port", &text], &files[..], options].concat()), port)
}

fn on(port: u16) -> RedisStoreBuilder {
    RedisStore::builder(format!("rediss://127.0.0.1:{port}/")).buckets(1).timeout(HANG)
}

#[tokio::test]
async fn a_server_that_demands_a_certificate_gets_it_on_every_connection() {
    let (_server, port) = start();
    let builder = on(port).root_certificates(pem("ca")).client_certificate(pem("client"), pem("client-key"));
    let store = builder.connect().await.unwrap();
    open(&store, "alice", "s").await;
    let mut feeds = store.feeds(HANG);
    feeds[0].read(vec![(0, tower_bearer::store::LogQuery::newest())]).await.unwrap();
    assert!(tokio::time::timeout(HANG, feeds[0].nudged()).await.is_ok());
}

#[tokio::test]
async fn without_its_certificate_or_its_authority_there_is_no_connection() {
    let (_server, port) = start();
    let client = || (pem("client"), pem("client-key"));
    // The server's own certificate is of another authority than the clients'.
    let stranger = on(port).root_certificates(pem("ca")).client_certificate(pem("server"), pem("server-key"));
    let rows = [
        ("no certificate", on(port).root_certificates(pem("ca"))),
        ("a stranger's certificate", stranger),
        ("the system's authorities", on(port).client_certificate(client().0, client().1)),
        ("another authority", on(port).root_certificates(pem("client-ca")).client_certificate(client().0, client().1)),
    ];
    for (what, builder) in rows {
        let error = builder.connect().await.expect_err(what);
        assert!(matches!(error, ConnectError::Store(_)), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_named() {
    let key = String::from_utf8(pem("client-key")).unwrap();
    let rows: [(&str, RedisStoreBuilder); 7] = [
        ("root_certificates", on(1).root_certificates("")),
        ("root_certificates", on(1).root_certificates(key.clone())),
        ("client_certificate", on(1).client_certificate("nonsense", key.clone())),
        ("client_certificate", on(1).client_certificate(pem("client"), pem("client"))),
        ("client_certificate", on(1).client_certificate(pem("client"), pem("server-key"))),
        ("root_certificates", RedisStore::builder("redis://127.0.0.1:1/").root_certificates(pem("ca"))),
        (
            "client_certificate",
            RedisStore::builder("redis://127.0.0.1:1/").client_certificate(pem("client"), key.clone()),
        ),
    ];
    for (setting, builder) in rows {
        let error: ConfigError = match builder.connect().await {
            Err(ConnectError::Config(error)) => error,
            other => panic!("{setting}: {other:?}"),
        };
        assert_eq!(error.setting(), setting, "{error}");
        let secret = key.lines().nth(1).unwrap();
        assert!(!format!("{error:?}").contains(secret), "{error:?}");
    }
}

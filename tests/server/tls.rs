//! `rediss://` with a certificate authority from the environment.

use http::Method;

use crate::{
    SECRET, Server,
    support::{Example, RedisServer, redis_server::free_port},
};

fn file(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn sessions_are_kept_over_tls_and_an_unknown_authority_is_refused() {
    let port = free_port().to_string();
    let (certificate, key) = (file("TEST-tls-server.pem"), file("TEST-tls-server-key.pem"));
    let authority = file("TEST-tls-ca.pem");
    let options =
        ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let server = RedisServer::start_with(&[&options[..], &["--tls-ca-cert-file", &authority]].concat());
    let url = format!("rediss://127.0.0.1:{port}/");

    let over_tls = Server::start(&[("REDIS_URL", &url), ("SSL_CERT_FILE", &authority)]);
    assert_eq!(over_tls.call(Method::GET, "/health").send().await.expect(200).json()["store"], "redis");
    let login = over_tls.post_form("/login", &[("username", "bob"), ("password", "bob-password")]).await.expect(200);
    let token = login.json()["access_token"].as_str().unwrap().to_owned();
    over_tls.get("/me", &token).await.expect(200);

    // The same server with an untrusted certificate, and a server without TLS.
    let other = file("TEST-tls-server.pem");
    let plain = format!("rediss://127.0.0.1:{}/", server.port());
    for (url, trusted) in [(&url, &other), (&plain, &authority)] {
        let (status, output) = Example::run_to_end(
            "server",
            &[("JWT_SECRET_KEY", SECRET), ("REDIS_URL", url), ("SSL_CERT_FILE", trusted)],
        );
        assert_eq!(status.code(), Some(1), "{output}");
        assert!(output.contains("REDIS_URL") && !output.contains("panicked"), "{output}");
    }
}

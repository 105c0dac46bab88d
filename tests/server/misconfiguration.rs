//! With unusable settings the server ends at once, names the setting, and does not panic.

use std::process::Command;

use crate::{
    SECRET,
    support::{Example, RedisServer, redis_server::free_port},
};

/// Runs a server that must not start, and asserts that its output contains `named`. Returns the
/// output.
#[track_caller]
fn refuses_to_start(variables: &[(&str, &str)], named: &str) -> String {
    let (status, output) = Example::run_to_end("server", variables);
    assert!(!status.success(), "{variables:?}: {output}");
    assert_eq!(status.code(), Some(1), "{variables:?}: {output}");
    assert!(output.contains(named), "{variables:?} does not name {named}: {output}");
    assert!(!output.contains("panicked") && !output.contains("RUST_BACKTRACE"), "{variables:?}: {output}");
    assert!(!output.contains("http://"), "it has listened before it failed: {output}");
    output
}

#[test]
fn a_setting_that_cannot_work_is_named() {
    let file = |name: &str| format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let (rsa, weak, public) =
        (file("TEST-rsa-2048-pkcs8.pem"), file("TEST-rsa-1024-pkcs8.pem"), file("TEST-rsa-2048-public.pem"));
    let secret = ("JWT_SECRET_KEY", SECRET);
    let rows: &[(&[(&str, &str)], &str)] = &[
        (&[("JWT_SECRET_KEY", "too short")], "JWT_SECRET_KEY"),
        (&[("JWT_SECRET_KEY", "")], "JWT_SECRET_KEY"),
        (&[("JWT_SECRET_KEY", "00000000000000000000000000000000")], "JWT_SECRET_KEY"),
        (&[secret, ("JWT_ALGORITHM", "HS512")], "JWT_SECRET_KEY"),
        (&[secret, ("JWT_ALGORITHM", "none")], "JWT_ALGORITHM"),
        (&[secret, ("JWT_ALGORITHM", "hs256")], "JWT_ALGORITHM"),
        (&[secret, ("JWT_ALGORITHM", "ES512")], "JWT_ALGORITHM"),
        (&[secret, ("JWT_ALGORITHM", "RS256")], "JWT_SECRET_KEY"),
        (&[("JWT_PRIVATE_KEY_FILE", &rsa)], "JWT_ALGORITHM"),
        (&[("JWT_PRIVATE_KEY_FILE", &rsa), ("JWT_ALGORITHM", "ES256")], "JWT_PRIVATE_KEY_FILE"),
        (&[("JWT_PRIVATE_KEY_FILE", &rsa), ("JWT_ALGORITHM", "HS256")], "JWT_PRIVATE_KEY_FILE"),
        (&[("JWT_PRIVATE_KEY_FILE", &weak), ("JWT_ALGORITHM", "RS256")], "JWT_PRIVATE_KEY_FILE"),
        (&[("JWT_PRIVATE_KEY_FILE", &public), ("JWT_ALGORITHM", "RS256")], "JWT_PRIVATE_KEY_FILE"),
        (&[("JWT_PRIVATE_KEY_FILE", "no-such-file.pem"), ("JWT_ALGORITHM", "RS256")], "JWT_PRIVATE_KEY_FILE"),
        (&[secret, ("JWT_PRIVATE_KEY_FILE", &rsa), ("JWT_ALGORITHM", "RS256")], "JWT_SECRET_KEY"),
        (&[secret, ("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "0")], "JWT_ACCESS_TOKEN_EXPIRE_MINUTES"),
        (&[secret, ("JWT_REFRESH_TOKEN_EXPIRE_DAYS", "seven")], "JWT_REFRESH_TOKEN_EXPIRE_DAYS"),
        (&[secret, ("JWT_ALLOWED_AUDIENCES", "[")], "JWT_ALLOWED_AUDIENCES"),
        (&[secret, ("CONSISTENCY", "eventual")], "CONSISTENCY"),
        (&[secret, ("CONSISTENCY", "Strong")], "CONSISTENCY"),
        (&[secret, ("CONSISTENCY", "bounded:")], "CONSISTENCY"),
        (&[secret, ("CONSISTENCY", "bounded:1s")], "CONSISTENCY"),
        (&[secret, ("CONSISTENCY", "bounded:5")], "consistency"),
        (&[secret, ("ACCESS_TTL_SECONDS", "0")], "access_lifetime"),
        (&[secret, ("ACCESS_TTL_SECONDS", "-1")], "ACCESS_TTL_SECONDS"),
        (&[secret, ("REFRESH_TTL_SECONDS", "1.5")], "REFRESH_TTL_SECONDS"),
        (&[secret, ("REUSE_GRACE_SECONDS", "301")], "reuse_grace"),
        (&[secret, ("LEEWAY_SECONDS", "100000")], "leeway"),
        (&[secret, ("STREAM_STALENESS_SECONDS", "0")], "stream_staleness"),
        (&[secret, ("STREAM_STALENESS_SECONDS", "-1")], "STREAM_STALENESS_SECONDS"),
        (&[secret, ("STREAM_STALENESS_SECONDS", "1"), ("CONSISTENCY", "bounded:2000")], "stream_staleness"),
        (&[secret, ("CUT_AT_EXPIRY", "yes")], "CUT_AT_EXPIRY"),
        (&[secret, ("CUT_AT_EXPIRY", "0")], "CUT_AT_EXPIRY"),
        (&[secret, ("RUST_LOG", "info,=[")], "RUST_LOG"),
        (&[secret, ("BIND", "localhost")], "BIND"),
        (&[secret, ("REDIS_URL", "http://127.0.0.1/")], "REDIS_URL"),
        (&[secret, ("REDIS_URL", "http://127.0.0.1/"), ("CONNECT", "lazy")], "REDIS_URL"),
        (&[secret, ("REDIS_URL", "redis://127.0.0.1:1/"), ("CONNECT", "retry:0")], "REDIS_URL"),
        (&[secret, ("REDIS_URL", "redis://127.0.0.1:1/"), ("CONNECT", "retry:")], "CONNECT"),
        (&[secret, ("REDIS_URL", "redis://127.0.0.1:1/"), ("CONNECT", "soon")], "CONNECT"),
        (&[secret, ("REDIS_URL", "redis-sentinel://127.0.0.1:1")], "REDIS_URL"),
        (&[secret, ("REDIS_URL", "redis-sentinel://127.0.0.1:1#main"), ("FAILOVER", "single")], "FAILOVER"),
        (&[secret, ("REDIS_URL", "redis-cluster://127.0.0.1:1/1")], "REDIS_URL"),
        (&[secret, ("REDIS_URL", "redis://127.0.0.1:1/"), ("FAILOVER", "replica")], "FAILOVER"),
        (&[secret, ("REDIS_URL", "redis://127.0.0.1:1/"), ("FAILOVER", "replicas:")], "FAILOVER"),
        (&[secret, ("REDIS_URL", "redis://127.0.0.1:1/"), ("FAILOVER", "replicas:0")], "FAILOVER"),
        (
            &[secret, ("REDIS_URL", "redis://127.0.0.1:1/"), ("SENTINEL_PATIENCE_SECONDS", "5")],
            "SENTINEL_PATIENCE_SECONDS",
        ),
        (
            &[secret, ("REDIS_URL", "redis-sentinel://127.0.0.1:1#main"), ("SENTINEL_PATIENCE_SECONDS", "0")],
            "SENTINEL_PATIENCE_SECONDS",
        ),
    ];
    for (variables, named) in rows {
        let output = refuses_to_start(variables, named);
        for (name, value) in *variables {
            assert!(
                *name != "JWT_SECRET_KEY" || value.is_empty() || !output.contains(value),
                "it shows the secret: {output}"
            );
        }
    }
}

#[test]
fn a_redis_that_cannot_be_used_is_named_and_its_password_is_not() {
    let secret = ("JWT_SECRET_KEY", SECRET);
    let nobody = format!("redis://:TEST-password-of-nobody@127.0.0.1:{}/", free_port());
    let output = refuses_to_start(&[secret, ("REDIS_URL", &nobody)], "REDIS_URL");
    assert!(!output.contains("TEST-password"), "{output}");

    // A Redis that requires a password gets none, or a wrong one.
    let redis = RedisServer::start();
    let set = Command::new("redis-cli")
        .args(["-p", &redis.port().to_string(), "config", "set", "requirepass", "TEST-password-of-redis"])
        .output()
        .unwrap();
    assert!(set.status.success(), "{set:?}");
    refuses_to_start(&[secret, ("REDIS_URL", &redis.url())], "REDIS_URL");
    let wrong = redis.url().replace("127.0.0.1", ":TEST-password-that-is-wrong@127.0.0.1");
    let output = refuses_to_start(&[secret, ("REDIS_URL", &wrong)], "REDIS_URL");
    assert!(!output.contains("TEST-password"), "{output}");

    // A wrong password and a wrong setting do not pass.
    for connect in ["eager", "retry:1000"] {
        refuses_to_start(&[secret, ("REDIS_URL", &wrong), ("CONNECT", connect)], "REDIS_URL");
        let evicting = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
        refuses_to_start(&[secret, ("REDIS_URL", &evicting.url()), ("CONNECT", connect)], "maxmemory-policy");
    }
    let prefix = ("REDIS_PREFIX", "{x}");
    refuses_to_start(&[secret, ("REDIS_URL", &RedisServer::start().url()), prefix], "prefix");
}

//! The settings that declare a failover, and the bound in the answer of `/health`.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    Server, Store,
    support::{RedisServer, eventually, sentinel::Replicated},
};

async fn health(server: &Server) -> Value {
    server.get("/health", "").await.expect(200).json()
}

#[tokio::test]
async fn health_tells_the_bound_or_why_there_is_none() {
    let memory = health(&Store::memory().server(&[])).await;
    assert_eq!(
        (&memory["bound_ms"], &memory["bound_reason"], &memory["warnings"]),
        (&json!(0), &Value::Null, &json!([]))
    );
    let redis = Store::redis().bounded();
    let undeclared = health(&redis.server(&[])).await;
    assert_eq!(undeclared["bound_ms"], Value::Null);
    assert!(undeclared["bound_reason"].as_str().unwrap().contains("failover"));
    let single = health(&redis.server(&[("FAILOVER", "single")])).await;
    assert_eq!((&single["bound_ms"], &single["bound_reason"]), (&json!(1000), &Value::Null));
}

#[tokio::test]
async fn an_address_that_moves_is_declared_with_its_lag() {
    let server = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
    let _replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {}", server.port())]);
    let mut admin = server.admin().await;
    eventually("the replica follows", async || {
        let info: String = redis::cmd("INFO").arg("replication").query_async(&mut admin).await.ok()?;
        info.contains("state=online").then_some(())
    })
    .await;
    let start =
        || Server::start(&[("REDIS_URL", &server.url()), ("FAILOVER", "replicas:1"), ("CONSISTENCY", "strong")]);
    let told = health(&start()).await;
    assert_eq!(told["bound_ms"], Value::Null, "min-replicas-to-write is 0");
    assert!(told["bound_reason"].as_str().unwrap().contains("min-replicas-to-write"));
    assert_eq!(told["warnings"].as_array().unwrap().len(), 1);
    redis::cmd("CONFIG").arg(&["SET", "min-replicas-to-write", "1"]).exec_async(&mut admin).await.unwrap();
    let told = health(&start()).await;
    assert_eq!((&told["bound_ms"], &told["warnings"]), (&json!(1000), &json!([])));
}

#[tokio::test]
async fn sentinels_are_named_by_one_url() {
    let servers = Replicated::start().await;
    let host = servers.sentinel.url().trim_start_matches("redis://").trim_end_matches('/').to_owned();
    let url = format!("redis-sentinel://{host}#main");
    let server = Server::start(&[("REDIS_URL", &url), ("SENTINEL_PATIENCE_SECONDS", "3"), ("CONSISTENCY", "strong")]);
    assert_eq!(health(&server).await["bound_ms"], json!(3000));
    let tokens = server.log_in("alice").await;
    server.accepts(&tokens).await;
    drop(servers);
    eventually("without sentinels nothing is decided", async || {
        (server.get("/me", &tokens.access).await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
}

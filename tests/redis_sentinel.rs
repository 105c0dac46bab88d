//! The store behind a real sentinel that replaces a dead primary.
#![cfg(all(feature = "redis", feature = "sentinel"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use support::{
    RedisServer, eventually,
    redis_fixture::{GRACE, open, rotation, successor},
    redis_server::free_port,
};
use tower_bearer::store::{RedisStore, SessionState, TokenStore};

struct Sentinel {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Sentinel {
    fn start(primary: u16) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("tower-bearer-sentinel-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
        );
        fs::write(&file, settings).unwrap();
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port, folder }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn after_a_failover_the_store_goes_on_with_the_new_primary() {
    let mut primary = RedisServer::start();
    let replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
    let mut admin = primary.admin().await;
    eventually("the replica follows", async || {
        let info: String = redis::cmd("INFO").arg("replication").query_async(&mut admin).await.ok()?;
        info.contains("state=online").then_some(())
    })
    .await;
    let sentinel = Sentinel::start(primary.port());
    // The first address is nobody's.
    let urls = [format!("redis://127.0.0.1:{}/", free_port()), format!("redis://127.0.0.1:{}/", sentinel.port)];
    let store =
        eventually("the store connects", async || RedisStore::sentinel(urls.clone(), "main").connect().await.ok())
            .await;
    open(&store, "alice", "s1").await;
    open(&store, "alice", "s2").await;
    store.revoke_session("alice", "s2").await.unwrap();
    assert!(matches!(store.check("alice", "s1", "j").await.unwrap().state, SessionState::Active { .. }));
    let mut sentinels =
        redis::Client::open(urls[1].as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    eventually("the sentinel knows the replica, and all is replicated", async || {
        let mut command = redis::cmd("SENTINEL");
        let known: Vec<redis::Value> = command.arg("replicas").arg("main").query_async(&mut sentinels).await.ok()?;
        let replicated: u64 = redis::cmd("WAIT").arg(1).arg(100).query_async(&mut admin).await.ok()?;
        (!known.is_empty() && replicated == 1).then_some(())
    })
    .await;
    primary.kill();
    let begun = Instant::now();
    let next = loop {
        match store.rotate(rotation("alice", "s1", 0, GRACE)).await {
            Ok(rotated) => break successor(rotated),
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(40), "no new primary: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(next.counter, 1);
    assert!(matches!(store.check("alice", "s2", "j").await.unwrap().state, SessionState::Revoked { .. }));
    drop(replica);
}

#[tokio::test]
async fn a_demoted_primary_answers_no_check() {
    let server = RedisServer::start();
    let sentinel = Sentinel::start(server.port());
    let urls = [format!("redis://127.0.0.1:{}/", sentinel.port)];
    let store =
        eventually("the store connects", async || RedisStore::sentinel(urls.clone(), "main").connect().await.ok())
            .await;
    open(&store, "alice", "s1").await;
    let mut admin = server.admin().await;
    let nobody = free_port().to_string();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(nobody).exec_async(&mut admin).await.unwrap();
    store.check("alice", "s1", "j").await.unwrap_err();
}

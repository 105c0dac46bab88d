//! A primary, its replica, and a sentinel that can promote the replica.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tower_bearer::store::RedisStore;

use super::{RedisServer, eventually, redis_server::free_port};

/// The sentinels' name of the primary.
pub const MASTER: &str = "main";

/// A running sentinel with the test's settings. Dropping it kills the sentinel and removes its
/// folder.
pub struct SentinelProcess {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl SentinelProcess {
    /// Starts a sentinel on `port` for the primary on port `primary`. It declares the primary dead
    /// after half a second if `quorum` sentinels agree.
    pub fn start(port: u16, primary: u16, quorum: u32, settings: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tower-bearer-sentinel-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the sentinel");
        let file = folder.join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\n{settings}\nsentinel monitor {MASTER} 127.0.0.1 {primary} {quorum}\n\
             sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n"
        );
        fs::write(&file, settings).expect("the sentinel's settings");
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server runs; is it installed?");
        Self { child, port, folder }
    }

    /// Returns the URL of the sentinel.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}

impl Drop for SentinelProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A sentinel with a quorum of one.
pub struct Sentinel(SentinelProcess);

impl Sentinel {
    /// Starts a sentinel that watches the primary on this port.
    pub fn start(primary: u16) -> Self {
        Self(SentinelProcess::start(free_port(), primary, 1, ""))
    }

    /// Returns the URL of the sentinel.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// Waits until the sentinel names a primary, and returns a store on that primary.
    pub async fn store(&self) -> RedisStore {
        let urls = [self.url()];
        eventually("the store connects", async || RedisStore::sentinel(urls.clone(), MASTER).connect().await.ok()).await
    }
}

/// A primary with a replica, and a sentinel that knows both.
pub struct Replicated {
    pub primary: RedisServer,
    pub replica: RedisServer,
    pub sentinel: Sentinel,
}

impl Replicated {
    pub async fn start() -> Self {
        let primary = RedisServer::start();
        let replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {}", primary.port())]);
        let mut admin = primary.admin().await;
        eventually("the replica follows", async || {
            let info: String = redis::cmd("INFO").arg("replication").query_async(&mut admin).await.ok()?;
            info.contains("state=online").then_some(())
        })
        .await;
        let sentinel = Sentinel::start(primary.port());
        eventually("the sentinel knows the replica", async || {
            let client = redis::Client::open(sentinel.url()).expect("the sentinel's URL");
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            let mut command = redis::cmd("SENTINEL");
            let known: Vec<redis::Value> =
                command.arg("replicas").arg(MASTER).query_async(&mut connection).await.ok()?;
            (!known.is_empty()).then_some(())
        })
        .await;
        Self { primary, replica, sentinel }
    }

    /// Waits until the replica has all present data of the primary.
    pub async fn wait_until_replicated(&self) {
        let (mut primary, mut replica) = (self.primary.admin().await, self.replica.admin().await);
        let mut info = redis::cmd("INFO");
        info.arg("replication");
        let offset = |info: &str, name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.parse::<u64>().ok()).expect("an offset")
        };
        let all: String = info.query_async(&mut primary).await.expect("an answer of the primary's");
        eventually("all is replicated", async || {
            let its: String = info.query_async(&mut replica).await.ok()?;
            (offset(&its, "slave_repl_offset") >= offset(&all, "master_repl_offset")).then_some(())
        })
        .await;
    }
}

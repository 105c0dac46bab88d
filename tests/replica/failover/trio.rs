//! A primary, its replica and three sentinels, in a network that can be partitioned.
//!
//! Everything runs on the loopback interface, so the source address of a connection shows its side.
//! Sentinels use 127.0.0.2, the replica 127.0.0.3, nodes 127.0.0.1.
//!
//! All connections to the primary and the sentinels go through proxies, whose addresses the
//! sentinels announce. Only the node on the other side connects to the sentinels' own ports.

use redis::Value;
use tower_bearer::store::{RedisStore, redis::RedisStoreBuilder};

use crate::support::{
    Proxy, RedisServer, eventually,
    redis_server::free_port,
    sentinel::{MASTER, SentinelProcess},
};

const SENTINELS: &str = "127.0.0.2";
pub(crate) const REPLICA: &str = "127.0.0.3";
const NODES: &str = "127.0.0.1";

struct Sentinel {
    process: SentinelProcess,
    proxy: Proxy,
}

impl Sentinel {
    async fn start(primary: u16) -> Self {
        let port = free_port();
        let proxy = Proxy::start(port).await;
        let settings = format!(
            "bind-source-addr {SENTINELS}\nsentinel announce-ip 127.0.0.1\nsentinel announce-port {}",
            proxy.port()
        );
        Self { process: SentinelProcess::start(port, primary, 2, &settings), proxy }
    }

    fn url(&self) -> String {
        self.process.url()
    }

    /// Returns `Some` if the sentinel knows the replica and the two other sentinels.
    async fn knows_all(&self) -> Option<()> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        for (what, count) in [("REPLICAS", 1), ("SENTINELS", 2)] {
            let mut command = redis::cmd("SENTINEL");
            let known: Vec<Value> = command.arg(what).arg(MASTER).query_async(&mut connection).await.ok()?;
            if known.len() != count {
                return None;
            }
        }
        Some(())
    }
}

pub(crate) struct Trio {
    pub(crate) old: RedisServer,
    pub(crate) new: RedisServer,
    old_address: Proxy,
    sentinels: Vec<Sentinel>,
}

impl Trio {
    pub(crate) async fn start() -> Self {
        let old = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
        let old_address = Proxy::start(old.port()).await;
        let primary = format!("127.0.0.1 {}", old_address.port());
        // The protected mode would refuse the sentinels' source address as that of another machine.
        let of_it = ["--replicaof", &primary, "--bind-source-addr", REPLICA, "--protected-mode", "no"];
        let new = RedisServer::start_with(&of_it);
        let mut admin = new.admin().await;
        eventually("the replica follows", async || {
            let info: String = redis::cmd("INFO").arg("replication").query_async(&mut admin).await.ok()?;
            info.contains("master_link_status:up").then_some(())
        })
        .await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(Sentinel::start(old_address.port()).await);
        }
        for sentinel in &sentinels {
            eventually("the sentinels know each other", async || sentinel.knows_all().await).await;
        }
        Self { old, new, old_address, sentinels }
    }

    /// Returns the store of a node that stays on the old primary.
    pub(crate) fn store_on_old_primary(&self) -> RedisStoreBuilder {
        RedisStore::sentinel(self.sentinels.iter().map(|sentinel| sentinel.proxy.url()), MASTER)
    }

    /// Returns the store of a node on the side of the sentinels. The first configured sentinel does
    /// not exist.
    pub(crate) fn store_with_sentinels(&self) -> RedisStoreBuilder {
        let nobody = format!("redis://127.0.0.1:{}/", free_port());
        RedisStore::sentinel([nobody].into_iter().chain(self.sentinels.iter().map(Sentinel::url)), MASTER)
    }

    /// Returns a store that is configured with one sentinel.
    pub(crate) fn store_with_one_sentinel(&self) -> RedisStoreBuilder {
        RedisStore::sentinel(self.sentinels.first().map(|sentinel| sentinel.proxy.url()), MASTER)
    }

    /// Blocks nodes from all sentinels except the first.
    pub(crate) fn block_all_but_one_sentinel(&self) {
        self.sentinels.iter().skip(1).for_each(|sentinel| sentinel.proxy.block(&[NODES]));
    }

    /// Waits until the replica has all present data of the old primary.
    pub(crate) async fn wait_until_replicated(&self) {
        let (mut old, mut new) = (self.old.admin().await, self.new.admin().await);
        let offset = |info: &str, name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.and_then(|value| value.parse::<u64>().ok()).unwrap()
        };
        let info = || {
            let mut info = redis::cmd("INFO");
            info.arg("replication");
            info
        };
        let all: String = info().query_async(&mut old).await.unwrap();
        eventually("all is replicated", async || {
            let its: String = info().query_async(&mut new).await.ok()?;
            (offset(&its, "slave_repl_offset") >= offset(&all, "master_repl_offset")).then_some(())
        })
        .await;
    }

    /// Separates the old primary and its node from the sentinels and the replica.
    pub(crate) fn partition(&self) {
        self.old_address.block(&[SENTINELS, REPLICA]);
        self.sentinels.iter().for_each(|sentinel| sentinel.proxy.block(&[NODES]));
    }

    /// Ends the partition.
    pub(crate) fn heal(&self) {
        self.old_address.unblock();
        self.sentinels.iter().for_each(|sentinel| sentinel.proxy.unblock());
    }
}

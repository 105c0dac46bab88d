//! The store on a real cluster of three nodes.

use std::{
    cell::Cell,
    collections::HashSet,
    future::IntoFuture,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tower_bearer::{
    Consistency, CutoffCause, Error, NewSession, TokenPair, TokenType,
    error::{StoreError, StoreErrorKind},
    store::{
        DenyRequest, ExternalId, LogFeed, LogPage, LogQuery, Page, RedisStore, Rotated, SessionState,
        redis::{ConnectError, Credentials},
    },
};

use crate::support::{
    HANG, RedisServer, TextStore, eventually, on_a_paused_clock,
    redis_fixture::{self, GRACE, open, query, rotation, session, successor, user_of},
    redis_server::free_port,
};

const TIMEOUT: Duration = Duration::from_millis(500);

/// Timers go by whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Three primaries, each with a third of the slots. A hang of some seconds has no consequences.
    async fn start() -> Self {
        Self::with_node_timeout("5000").await
    }

    async fn with_node_timeout(node_timeout: &str) -> Self {
        let mut cluster = Self { nodes: Vec::new() };
        for (first, last) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")] {
            let (node, bus) = start_node(node_timeout);
            run::<()>(&node, &["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
            cluster.join(node, bus).await;
        }
        cluster.wait_until_formed().await;
        cluster
    }

    async fn join(&mut self, node: RedisServer, bus: u16) {
        if let Some(first) = self.nodes.first() {
            let (port, bus) = (node.port().to_string(), bus.to_string());
            run::<()>(first, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
        }
        self.nodes.push(node);
    }

    async fn wait_until_formed(&self) {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            let mut admin = node.admin().await;
            eventually("the cluster has formed", async || {
                let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut admin).await.ok()?;
                let wanted = ["cluster_state:ok", "cluster_slots_ok:16384", &known];
                wanted.iter().all(|line| info.contains(line)).then_some(())
            })
            .await;
        }
    }

    /// One more node, which follows this one.
    async fn add_replica_of(&mut self, number: usize, node_timeout: &str) {
        let (node, bus) = start_node(node_timeout);
        self.join(node, bus).await;
        self.wait_until_formed().await;
        let (primary, replica) = (&self.nodes[number], self.nodes.last().unwrap());
        let id: String = run(primary, &["CLUSTER", "MYID"]).await;
        run::<()>(replica, &["CLUSTER", "REPLICATE", &id]).await;
        eventually("the replica follows, and all know", async || {
            let info: String = run(replica, &["INFO", "replication"]).await;
            let mut is_known = info.contains("master_link_status:up");
            for node in &self.nodes {
                is_known &= run::<String>(node, &["CLUSTER", "NODES"]).await.contains(&format!("slave {id}"));
            }
            is_known.then_some(())
        })
        .await;
    }

    /// Blocks until the newest node has every write of `primary`.
    ///
    /// `WAIT` cannot tell: it counts from the last write of its own connection, which made none.
    async fn wait_until_copied(&self, primary: usize) {
        let written = number_of(&self.nodes[primary], "master_repl_offset").await;
        let replica = self.nodes.last().unwrap();
        eventually("the replica has every write", async || {
            (number_of(replica, "slave_repl_offset").await >= written).then_some(())
        })
        .await;
    }

    fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    async fn store(&self) -> RedisStore {
        eventually("the store connects", async || {
            RedisStore::cluster(self.urls()).timeout(TIMEOUT).connect().await.ok()
        })
        .await
    }
}

/// A node with no slots, and the port of its bus.
fn start_node(node_timeout: &str) -> (RedisServer, u16) {
    let bus = free_port();
    // A part that is lost for long is no reason to refuse the others.
    let options = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
    let bus_text = bus.to_string();
    let more = ["--cluster-port", &bus_text, "--cluster-node-timeout", node_timeout];
    (RedisServer::start_with(&[options, more].concat()), bus)
}

async fn run<T: redis::FromRedisValue>(node: &RedisServer, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    let answer = command.query_async(&mut node.admin().await).await;
    answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Reads a number of `INFO replication`.
async fn number_of(node: &RedisServer, field: &str) -> u64 {
    let info: String = run(node, &["INFO", "replication"]).await;
    let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field} in {info}")).trim().parse().unwrap()
}

#[tokio::test]
async fn users_of_every_bucket_are_served_by_three_nodes() {
    let cluster = Cluster::start().await;
    let store = cluster.store().await;
    for n in 0..40 {
        let user = format!("user-{n}");
        open(&store, &user, "s1").await;
        open(&store, &user, "s2").await;
        assert_eq!(successor(store.rotate(rotation(&user, "s1", 0, GRACE)).await.unwrap()).counter, 1);
        assert!(store.revoke_session(&user, "s1").await.unwrap().found);
        assert!(matches!(store.check(&user, "s1", "j").await.unwrap().state, SessionState::Revoked { .. }));
        assert!(matches!(store.check(&user, "s2", "j").await.unwrap().state, SessionState::Active { .. }));
        assert_eq!(store.sessions(&user, Page::default()).await.unwrap().sessions.len(), 1);
        assert!(store.revoke_all(&user, None).await.unwrap().found);
        assert!(matches!(store.rotate(rotation(&user, "s2", 0, GRACE)).await.unwrap(), Rotated::Revoked { .. }));
        let id = ExternalId::Token(format!("j-{n}").into());
        store.deny(DenyRequest::new("i", id, GRACE)).await.unwrap();
        let query = query("i", &format!("j-{n}"), "s", "");
        assert!(store.denied(query).await.unwrap().token);
    }
    let mut logged = 0;
    for bucket in 0..store.buckets() {
        logged += store.read(bucket, LogQuery::from_start()).await.unwrap().entries.len();
    }
    assert_eq!(logged, 40 * 3);
    for node in &cluster.nodes {
        let keys: u64 = redis::cmd("DBSIZE").query_async(&mut node.admin().await).await.unwrap();
        assert!(keys > 0, "every node has its part");
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut node.admin().await).await.unwrap();
    }
    open(&store, "user-0", "after the scripts were forgotten").await;
    let other = RedisStore::cluster(cluster.urls()).buckets(64).connect().await;
    assert!(matches!(other, Err(ConnectError::Config(error)) if error.setting() == "buckets"));
}

#[tokio::test]
async fn a_node_that_hangs_takes_only_its_own_users_with_it_and_comes_back_by_itself() {
    let cluster = Cluster::start().await;
    let store = cluster.store().await;
    let lost = buckets_of(&cluster.nodes[1]).await;
    let users: Vec<String> = (0..30).map(|n| format!("user-{n}")).collect();
    for user in &users {
        open(&store, user, "s1").await;
    }
    cluster.nodes[1].pause();
    let (own, others): (Vec<_>, Vec<_>) = users.iter().partition(|user| lost.contains(&store.bucket_of(user)));
    assert!(!own.is_empty() && !others.is_empty());
    for user in own {
        let (checked, took) = on_a_paused_clock(store.check(user, "s1", "j").into_future()).await;
        let error = checked.unwrap_err();
        assert!(matches!(error.kind(), StoreErrorKind::Timeout | StoreErrorKind::Unavailable), "{error:?}");
        assert!(took <= TIMEOUT + ROUNDING, "{took:?}");
    }
    for user in others {
        let checked = eventually("the others are served", async || store.check(user, "s1", "j").await.ok()).await;
        assert!(matches!(checked.state, SessionState::Active { .. }));
    }
    cluster.nodes[1].resume();
    for user in &users {
        eventually("every user is served again", async || store.check(user, "s1", "j").await.ok()).await;
    }
    eventually("logins work", async || store.open(session("user-0", "s2")).await.ok()).await;
}

/// The buckets that a node holds.
#[tokio::test]
async fn a_probe_writes_to_each_primary_and_fails_if_one_of_them_refuses() {
    let cluster = Cluster::start().await;
    let store: &dyn tower_bearer::store::SessionStore = &cluster.store().await;
    store.probe().await.unwrap();
    for node in &cluster.nodes {
        let keys: Vec<String> = run(node, &["KEYS", "*:probe"]).await;
        assert_eq!(keys.len(), 1, "{keys:?}");
    }
    run::<()>(&cluster.nodes[1], &["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(store.probe().await.unwrap_err().kind(), StoreErrorKind::OutOfMemory);
}

async fn buckets_of(node: &RedisServer) -> HashSet<u32> {
    let keys: Vec<String> = run(node, &["KEYS", "*:m"]).await;
    keys.iter().map(|key| key.split(['{', '}']).nth(1).unwrap().parse().unwrap()).collect()
}

/// Feeds that have read, one a bucket. With this deadline redis's own cluster connection fails the
/// tests of a primary that hangs.
async fn feeds(store: &RedisStore) -> Vec<Box<dyn LogFeed>> {
    let mut feeds = store.feeds(TIMEOUT);
    assert_eq!(feeds.len(), 16, "one a bucket");
    for (feed, bucket) in feeds.iter_mut().zip(0..) {
        assert_eq!(feed.buckets(), [bucket]);
        wait_for_read(&mut **feed).await;
    }
    feeds
}

async fn read(feed: &mut dyn LogFeed) -> Result<LogPage, StoreError> {
    let bucket = feed.buckets()[0];
    feed.read(vec![(bucket, LogQuery::from_start())]).await.and_then(|mut pages| pages.pop().unwrap())
}

async fn wait_for_read(feed: &mut dyn LogFeed) -> LogPage {
    eventually("the feed reads", async || read(feed).await.ok()).await
}

#[tokio::test]
async fn while_a_primary_hangs_the_others_buckets_are_read_at_every_tick_and_its_own_not_at_all() {
    // Real time, for the other nodes answer meanwhile.
    const TICK: Duration = Duration::from_millis(25);
    const TICKS: u32 = 160;
    let cluster = Cluster::start().await;
    let store = cluster.store().await;
    let lost = buckets_of(&cluster.nodes[1]).await;
    let mut feeds = feeds(&store).await;
    cluster.nodes[1].pause();
    let (served, finished) = (16 - lost.len(), Cell::new(0));
    assert!(!lost.is_empty() && served > 0);
    let reads = feeds.iter_mut().map(async |feed| {
        let bucket = feed.buckets()[0];
        if lost.contains(&bucket) {
            let mut refused = 0;
            while finished.get() < served {
                let answer = tokio::time::timeout(HANG, read(&mut **feed)).await.expect("its own deadline ends a read");
                let error = answer.unwrap_err();
                assert!(matches!(error.kind(), StoreErrorKind::Timeout | StoreErrorKind::Unavailable), "{error:?}");
                refused += 1;
                // As a node's poll does. Virtual time would end the deadlines before servers
                // answer.
                tokio::time::sleep(TICK).await;
            }
            assert!(refused > 0);
        } else {
            for tick in 0..TICKS {
                read(&mut **feed).await.unwrap_or_else(|error| panic!("bucket {bucket}, tick {tick}: {error:?}"));
                tokio::time::sleep(TICK).await;
            }
            finished.set(finished.get() + 1);
        }
    });
    futures_util::future::join_all(reads).await;
    cluster.nodes[1].resume();
    for feed in &mut feeds {
        wait_for_read(&mut **feed).await;
    }
}

#[tokio::test]
async fn while_a_primary_hangs_the_others_users_are_served_at_once() {
    let cluster = Cluster::start().await;
    let store = cluster.store().await;
    let lost = buckets_of(&cluster.nodes[1]).await;
    let (unlucky, lucky) =
        (user_of(&store, |bucket| lost.contains(&bucket)), user_of(&store, |bucket| !lost.contains(&bucket)));
    open(&store, &unlucky, "s").await;
    open(&store, &lucky, "s").await;
    cluster.nodes[1].pause();
    let over = Cell::new(false);
    let refused = async {
        for _ in 0..12 {
            store.check(&unlucky, "s", "j").await.unwrap_err();
        }
        over.set(true);
    };
    let served = async {
        while !over.get() {
            store.check(&lucky, "s", "j").await.unwrap();
            store.revoke_token(&lucky, "j", store.now()).await.unwrap();
            // Real time, for the other nodes answer in it. It only spaces the requests.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::join!(refused, served);
}

#[tokio::test]
async fn after_a_failover_the_new_primary_is_read_while_the_old_one_still_hangs() {
    const NODE_TIMEOUT: &str = "2000";
    let mut cluster = Cluster::with_node_timeout(NODE_TIMEOUT).await;
    cluster.add_replica_of(1, NODE_TIMEOUT).await;
    let store = cluster.store().await;
    let lost = buckets_of(&cluster.nodes[1]).await;
    let mut feeds = feeds(&store).await;
    let user = user_of(&store, |bucket| lost.contains(&bucket));
    let bucket = store.bucket_of(&user);
    open(&store, &user, "s1").await;
    store.revoke_session(&user, "s1").await.unwrap();
    cluster.wait_until_copied(1).await;
    cluster.nodes[1].pause();
    for feed in &mut feeds {
        wait_for_read(&mut **feed).await;
    }
    let state = eventually("requests are served", async || store.check(&user, "s1", "j").await.ok()).await.state;
    assert!(matches!(state, SessionState::Revoked { .. }));
    eventually("revocations work", async || store.revoke_session(&user, "s2").await.ok()).await;
    assert!(wait_for_read(&mut *feeds[bucket as usize]).await.entries.len() > 1);
    nudges(&store, &*feeds[bucket as usize], &user).await;
    cluster.nodes[1].resume();
    let old = &cluster.nodes[1];
    eventually("the old primary follows the new one", async || {
        run::<String>(old, &["INFO", "replication"]).await.contains("role:slave").then_some(())
    })
    .await;
    for feed in &mut feeds {
        wait_for_read(&mut **feed).await;
    }
    eventually("requests are served", async || store.check(&user, "s1", "j").await.ok()).await;
}

#[tokio::test]
async fn the_cluster_is_asked_ever_less_often_about_a_primary_that_is_dead() {
    let mut cluster = Cluster::start().await;
    let store = cluster.store().await;
    let lost = *buckets_of(&cluster.nodes[1]).await.iter().next().unwrap();
    let mut feeds = feeds(&store).await;
    cluster.nodes[1].kill();
    for node in [&cluster.nodes[0], &cluster.nodes[2]] {
        run::<()>(node, &["CONFIG", "RESETSTAT"]).await;
    }
    // In real time, for the other nodes answer meanwhile, and the pauses between questions to them
    // are what is counted. The sleep in between only spaces the reads.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        read(&mut *feeds[lost as usize]).await.unwrap_err();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut asked = 0;
    for node in [&cluster.nodes[0], &cluster.nodes[2]] {
        let stats: String = run(node, &["INFO", "commandstats"]).await;
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_cluster|slots:calls=")?.split(',').next());
        asked += calls.map_or(0, |calls| calls.parse::<u64>().unwrap());
    }
    // After 50, 100, 200, 400 and 800 ms, and then every second: a slow machine has more time, and
    // is allowed more.
    assert!(asked > 0 && asked <= 6 + begun.elapsed().as_secs(), "{asked}");
}

/// A revocation nudges, as soon as its channel has been subscribed to where it is now.
async fn nudges(store: &RedisStore, feed: &dyn LogFeed, user: &str) {
    // Those of before.
    while tokio::time::timeout(Duration::from_millis(50), feed.nudged()).await.is_ok() {}
    let nudged = feed.nudged();
    tokio::pin!(nudged);
    eventually("a nudge", async || {
        let _ = store.revoke_session(user, "s").await;
        tokio::time::timeout(Duration::from_millis(100), &mut nudged).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_slot_that_moves_is_refused_half_way_and_followed_when_it_has_moved() {
    let cluster = Cluster::start().await;
    let store = cluster.store().await;
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[2]);
    let all = buckets_of(from).await;
    let user = user_of(&store, |bucket| all.contains(&bucket));
    let bucket = store.bucket_of(&user);
    open(&store, &user, "s1").await;
    store.revoke_session(&user, "s1").await.unwrap();
    let mut feeds = feeds(&store).await;
    let before = wait_for_read(&mut *feeds[bucket as usize]).await;
    assert_eq!(before.entries.len(), 1);
    let slot = run::<u32>(from, &["CLUSTER", "KEYSLOT", &format!("tb:{{{bucket}}}:m")]).await.to_string();
    let (from_id, to_id): (String, String) =
        (run(from, &["CLUSTER", "MYID"]).await, run(to, &["CLUSTER", "MYID"]).await);
    run::<()>(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
    run::<()>(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
    let keys: Vec<String> = run(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
    let port = to.port().to_string();
    for key in &keys {
        run::<()>(from, &["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await;
    }
    // Neither old nor new answers yet: an error, and never an empty log.
    assert_eq!(read(&mut *feeds[bucket as usize]).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_eq!(store.check(&user, "s1", "j").await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    for node in [to, from] {
        run::<()>(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
    }
    let page = read(&mut *feeds[bucket as usize]).await.unwrap();
    assert_eq!(page.entries, before.entries);
    assert!(matches!(store.check(&user, "s1", "j").await.unwrap().state, SessionState::Revoked { .. }));
    for feed in &mut feeds {
        read(&mut **feed).await.unwrap();
    }
    nudges(&store, &*feeds[bucket as usize], &user).await;
}

#[tokio::test]
async fn while_a_primary_hangs_the_replica_keeps_the_others_leases_and_decides_nothing_for_its_users() {
    let cluster = Cluster::start().await;
    let store = cluster.store().await;
    let lost = buckets_of(&cluster.nodes[1]).await;
    let (unlucky, lucky) =
        (user_of(&store, |bucket| lost.contains(&bucket)), user_of(&store, |bucket| !lost.contains(&bucket)));
    let consistency = Consistency::BoundedStaleness(Duration::from_secs(2));
    let tokens = redis_fixture::node_on(store, |builder| builder.consistency(consistency));
    let leased = async || tokens.status().await.replica.unwrap().leased_buckets;
    eventually("all are leased", async || (leased().await == 16).then_some(())).await;
    let pair = async |user: &str| tokens.create_token_pair(NewSession::new(user)).await.unwrap();
    let (unlucky, lucky) = (pair(&unlucky).await, pair(&lucky).await);
    let check = async |pair: &TokenPair| tokens.validate_token(pair.access().as_str(), TokenType::Access).await;
    check(&unlucky).await.unwrap();
    check(&lucky).await.unwrap();
    cluster.nodes[1].pause();
    let others = 16 - lost.len();
    eventually("the leases of those that hang have ended", async || (leased().await == others).then_some(())).await;
    for _ in 0..100 {
        assert_eq!(leased().await, others);
        check(&lucky).await.unwrap();
        // Real time, for the other nodes answer meanwhile.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let error = check(&unlucky).await.unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error:?}");
    cluster.nodes[1].resume();
    eventually("all are leased again", async || (leased().await == 16).then_some(())).await;
    check(&unlucky).await.unwrap();
}

#[tokio::test]
async fn a_revocation_nudges_the_feed_of_its_bucket() {
    let cluster = Cluster::start().await;
    let store = cluster.store().await;
    let feeds = store.feeds(TIMEOUT);
    let nudged = async |bucket: u32| {
        let nudged = feeds[bucket as usize].nudged();
        assert!(tokio::time::timeout(HANG, nudged).await.is_ok(), "bucket {bucket}");
    };
    for bucket in 0..16 {
        nudged(bucket).await;
    }
    for n in 0..20 {
        let user = format!("user-{n}");
        store.revoke_session(&user, "s").await.unwrap();
        nudged(store.bucket_of(&user)).await;
    }
}

#[tokio::test]
async fn the_password_of_all_nodes_changes_without_a_restart() {
    let cluster = Cluster::start().await;
    let password = Arc::new(Mutex::new("TEST-0"));
    let held = Arc::clone(&password);
    let provider = move || {
        let password = *held.lock().unwrap();
        async move { Ok(Credentials::new("app", password)) }
    };
    for node in &cluster.nodes {
        run::<()>(node, &["ACL", "SETUSER", "app", "on", ">TEST-0", "~*", "&*", "+@all"]).await;
    }
    let builder = RedisStore::cluster([cluster.nodes[0].url()]).timeout(HANG).credentials_provider(provider);
    let store = builder.connect().await.unwrap();
    for n in 0..40 {
        open(&store, &format!("user-{n}"), "s").await;
    }
    for node in &cluster.nodes {
        run::<()>(node, &["ACL", "SETUSER", "app", ">TEST-1", "<TEST-0"]).await;
    }
    *password.lock().unwrap() = "TEST-1";
    for node in &cluster.nodes {
        run::<()>(node, &["CLIENT", "KILL", "USER", "app"]).await;
    }
    for n in 0..40 {
        let user = format!("user-{n}");
        eventually("the node is met again", async || store.check(&user, "s", "j").await.ok()).await;
    }
}

#[tokio::test]
async fn the_nodes_that_are_found_are_met_with_the_credentials_of_the_one_that_was_named() {
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        let mut admin = node.admin().await;
        for user in ["app on >test-password ~* &* +@all", "default off"] {
            let mut command = redis::cmd("ACL");
            command.arg("SETUSER").arg(user.split(' ').collect::<Vec<_>>());
            command.exec_async(&mut admin).await.unwrap();
        }
    }
    let port = cluster.nodes[0].port();
    let url = format!("redis://app:test-password@127.0.0.1:{port}/");
    let store = RedisStore::cluster([url.clone()]).connect().await.unwrap();
    for n in 0..40 {
        open(&store, &format!("user-{n}"), "s").await;
    }
    for feed in &mut feeds(&store).await {
        read(&mut **feed).await.unwrap();
        assert!(tokio::time::timeout(HANG, feed.nudged()).await.is_ok(), "{:?}", feed.buckets());
    }
    let stranger = RedisStore::cluster([format!("redis://app:another-password@127.0.0.1:{port}/")]).connect().await;
    assert!(matches!(stranger, Err(ConnectError::Store(error)) if error.kind() == StoreErrorKind::Rejected));
    let mixed = RedisStore::cluster([url, format!("redis://127.0.0.1:{port}/")]).connect().await;
    assert!(matches!(mixed, Err(ConnectError::Config(error)) if error.setting() == "urls"));
}

#[tokio::test]
async fn a_cluster_is_found_through_any_of_the_nodes_that_were_named() {
    let cluster = Cluster::start().await;
    let (nobody, hung) = (format!("redis://127.0.0.1:{}/", free_port()), RedisServer::start());
    hung.pause();
    let single = RedisServer::start();
    let urls = [nobody, hung.url(), single.url(), cluster.nodes[2].url()];
    for n in 0..4 {
        let store = RedisStore::cluster(urls.clone()).timeout(4 * TIMEOUT).connect().await.unwrap();
        open(&store, &format!("user-{n}"), "s").await;
    }
}

/// Each primary has its own feed, and so its own proofs of open streams.
#[tokio::test]
async fn open_streams_of_every_primary_are_cut_by_another_node() {
    let cluster = Cluster::start().await;
    for consistency in [Consistency::Strong, Consistency::BoundedStaleness(Duration::from_secs(1))] {
        let here = redis_fixture::node_on(cluster.store().await, |builder| builder.consistency(consistency));
        let there = redis_fixture::node_on(cluster.store().await, |builder| builder);
        let mut streams = Vec::new();
        // Users enough for each of the primaries.
        for number in 0..24 {
            let user = format!("user-{number}");
            let pair = there.create_token_pair(NewSession::new(user.as_str())).await.unwrap();
            let token = pair.access().as_str();
            let admitted = async || here.validate_token(token, TokenType::Access).await.ok();
            let claims = eventually("the token is admitted", admitted).await;
            streams.push((user, pair.session_id().clone(), here.ended(&claims)));
        }
        for (user, session_id, cutoff) in streams {
            there.revoke_session(user.as_str(), &session_id).await.unwrap();
            let cause = tokio::time::timeout(HANG, cutoff).await.expect("the stream is cut");
            assert_eq!(cause, CutoffCause::Revoked, "{user}");
        }
    }
}

#[tokio::test]
async fn a_cluster_without_nodes_is_a_mistake() {
    let outcome = RedisStore::cluster(Vec::<String>::new()).connect().await;
    assert!(matches!(outcome, Err(ConnectError::Config(error)) if error.setting() == "urls"));
}

#[tokio::test]
async fn the_bound_of_a_failover_is_the_node_timeout_declared_or_read() {
    let cluster = Cluster::start().await;
    let read = cluster.store().await;
    assert_eq!(read.failover_bound(), Ok(Duration::from_secs(5)));
    // The longest of any primary.
    run::<()>(&cluster.nodes[1], &["CONFIG", "SET", "cluster-node-timeout", "7000"]).await;
    assert_eq!(cluster.store().await.failover_bound(), Ok(Duration::from_secs(7)));
    for node in &cluster.nodes {
        let rights = ["SETUSER", "app", "on", ">test-password", "~*", "&*", "+@all", "-config"];
        run::<()>(node, &[&["ACL"], &rights[..]].concat()).await;
    }
    let url = || format!("redis://app:test-password@127.0.0.1:{}/", cluster.nodes[0].port());
    let unknown = RedisStore::cluster([url()]).connect().await.unwrap();
    assert!(unknown.failover_bound().unwrap_err().contains("cluster_node_timeout"));
    let declared = RedisStore::cluster([url()]).cluster_node_timeout(Duration::from_secs(9));
    assert_eq!(declared.connect().await.unwrap().failover_bound(), Ok(Duration::from_secs(9)));
}

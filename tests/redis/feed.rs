//! The feed of the revocation log: reads on its own connection, and nudges.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tower_bearer::{
    Consistency, Error, NewSession, TokenPair, TokenType,
    error::{StoreError, StoreErrorKind},
    store::{LogCursor, LogFeed, LogPage, LogQuery, RedisStore, Revocation, redis::RedisStoreBuilder},
    tokens::ReplicaState,
};

use crate::support::{
    HANG, Proxy, RedisServer, TextStore, eventually, on_a_paused_clock,
    redis_fixture::{self, open, user_of, with},
    redis_server::free_port,
};

const BUCKETS: u32 = 16;
/// Tests that wait for the deadline use `SHORT`.
const DEADLINE: Duration = HANG;
const SHORT: Duration = Duration::from_millis(200);

fn feed(store: &RedisStore, deadline: Duration) -> Box<dyn LogFeed> {
    let mut feeds = store.feeds(deadline);
    assert_eq!(feeds.len(), 1, "one server, one feed");
    feeds.pop().unwrap()
}

async fn read_from_the_start(feed: &mut Box<dyn LogFeed>) -> Result<Vec<Result<LogPage, StoreError>>, StoreError> {
    let queries = feed.buckets().iter().map(|bucket| (*bucket, LogQuery::from_start())).collect();
    feed.read(queries).await
}

async fn pages(feed: &mut Box<dyn LogFeed>) -> Vec<LogPage> {
    read_from_the_start(feed).await.unwrap().into_iter().map(Result::unwrap).collect()
}

async fn run<T: redis::FromRedisValue>(admin: &MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut admin.clone()).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Returns the number of subscribed connections, and that of their channels together.
async fn listeners(admin: &MultiplexedConnection) -> (usize, u32) {
    let list: String = run(admin, &["CLIENT", "LIST", "TYPE", "pubsub"]).await;
    let channels =
        list.split_whitespace().filter_map(|field| field.strip_prefix("ssub=")).map(|n| n.parse::<u32>().unwrap());
    (list.lines().count(), channels.sum())
}

/// Returns true if a nudge arrives soon.
async fn is_nudged(feed: &dyn LogFeed) -> bool {
    tokio::time::timeout(HANG, feed.nudged()).await.is_ok()
}

/// Revokes a session and asserts that it causes a nudge. Consumes the initial nudge of a new
/// subscription first.
async fn assert_revocation_nudges(store: &RedisStore, feed: &dyn LogFeed) {
    static SESSIONS: AtomicUsize = AtomicUsize::new(0);
    assert!(is_nudged(feed).await, "a new subscription nudges: what was published before is not pushed");
    // A new session each time, because a repeated revocation writes nothing.
    let session = SESSIONS.fetch_add(1, Ordering::Relaxed).to_string();
    store.revoke_session("alice", &session).await.unwrap();
    assert!(is_nudged(feed).await, "the revocation nudges");
}

// ---- Reads --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_read_tells_all_buckets_and_goes_on_where_the_last_one_ended() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    let mut feed = feed(&store, DEADLINE);
    assert_eq!(feed.buckets(), (0..BUCKETS).collect::<Vec<_>>());
    let before = pages(&mut feed).await;
    assert!(before.iter().all(|page| page.entries.is_empty() && page.sequence == 0));
    for n in 0..40 {
        store.revoke_session(&format!("user-{n}"), "s").await.unwrap();
    }
    let after = pages(&mut feed).await;
    for (page, bucket) in after.iter().zip(0..) {
        let asked = store.read(bucket, LogQuery::from_start()).await.unwrap();
        assert_ne!(page.connection, asked.connection);
        let expected = with(asked, |asked| (asked.now, asked.connection) = (page.now, page.connection));
        assert_eq!(*page, expected);
        for entry in &page.entries {
            let Revocation::Session { subject, .. } = &entry.revocation else { panic!("{entry:?}") };
            assert_eq!(store.bucket_of(subject.as_str()), bucket);
        }
    }
    assert_eq!(after.iter().map(|page| page.entries.len()).sum::<usize>(), 40);
    let next: Vec<_> = (0..).zip(after.iter().map(|page| LogQuery::after(page.next.clone()))).collect();
    store.revoke_session("user-7", "another").await.unwrap();
    let more: Vec<_> = feed.read(next).await.unwrap().into_iter().flat_map(|page| page.unwrap().entries).collect();
    assert_eq!(more.len(), 1);
    assert_eq!(more[0].revocation, Revocation::Session { subject: "user-7".into(), sid: "another".into() });
}

#[tokio::test]
async fn buckets_of_others_and_cursors_of_another_form_are_refused() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    let mut feed = feed(&store, DEADLINE);
    for (bucket, query) in [
        (16, LogQuery::newest()),
        (0, LogQuery::after(LogCursor::new("+"))),
        (0, LogQuery::before(LogCursor::new("(1-1"))),
    ] {
        assert_eq!(feed.read(vec![(bucket, query)]).await.unwrap_err().kind(), StoreErrorKind::Rejected);
    }
}

#[tokio::test]
async fn the_staleness_that_is_allowed_stands_in_m_before_a_read_answers() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    let admin = server.admin().await;
    let mut feed = feed(&store, DEADLINE);
    assert!(pages(&mut feed).await.iter().all(|page| page.max_staleness.is_zero()));
    store.allow_staleness(Duration::from_millis(250));
    store.keep_log_for(Duration::from_secs(2 * 3600));
    let told = pages(&mut feed).await;
    assert!(told.iter().all(|page| page.max_staleness == Duration::from_millis(250)));
    assert!(told.iter().all(|page| page.keep == Duration::from_secs(2 * 3600)));
    for bucket in 0..BUCKETS {
        let wishes: Vec<u64> = run(&admin, &["HMGET", &format!("tb:{{{bucket}}}:m"), "dmax", "keep"]).await;
        assert_eq!(wishes, [250, 7_200_000]);
    }
    // The stored staleness only grows. The answer to a revocation tells it to a node with a lower
    // setting.
    let other = RedisStore::connect(server.url()).await.unwrap();
    other.allow_staleness(Duration::from_millis(100));
    let revoked = other.revoke_session("alice", "s").await.unwrap();
    assert_eq!(revoked.logged.unwrap().max_staleness, Duration::from_millis(250));
    assert_eq!(other.read(0, LogQuery::from_start()).await.unwrap().max_staleness, Duration::from_millis(250));
}

#[tokio::test]
async fn data_that_are_lost_show_as_a_new_incarnation_of_every_bucket() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    store.allow_staleness(Duration::from_millis(250));
    let mut feed = feed(&store, DEADLINE);
    store.revoke_session("alice", "s").await.unwrap();
    let before = pages(&mut feed).await;
    run::<()>(&server.admin().await, &["FLUSHALL"]).await;
    for (old, new) in before.iter().zip(pages(&mut feed).await) {
        assert_ne!(old.incarnation, new.incarnation);
        assert!(new.entries.is_empty() && new.sequence == 0 && new.head == new.incarnation);
        assert!(new.born >= old.now);
        assert_eq!(new.max_staleness, Duration::from_millis(250));
    }
}

#[tokio::test]
async fn what_cannot_be_read_of_one_bucket_leaves_the_others_and_the_connection_as_they_are() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    let admin = server.admin().await;
    let mut feed = feed(&store, DEADLINE);
    pages(&mut feed).await;
    run::<String>(&admin, &["XADD", "tb:{3}:log", "*", "seq", "1"]).await;
    run::<()>(&admin, &["HSET", "tb:{5}:m", "buckets", "64"]).await;
    run::<()>(&admin, &["HSET", "tb:{7}:m", "seq", "-1"]).await;
    let clients: String = run(&admin, &["CLIENT", "LIST"]).await;
    for _ in 0..3 {
        for (page, bucket) in read_from_the_start(&mut feed).await.unwrap().into_iter().zip(0..) {
            match bucket {
                // An unreadable entry does not stop the feed.
                3 => assert_eq!(page.unwrap().skipped, 1),
                7 => assert_eq!(page.unwrap_err().kind(), StoreErrorKind::Untrusted),
                5 => assert_eq!(page.unwrap_err().kind(), StoreErrorKind::Layout),
                _ => assert!(page.unwrap().entries.is_empty()),
            }
        }
    }
    let now: String = run(&admin, &["CLIENT", "LIST"]).await;
    assert_eq!(ids(&clients), ids(&now), "the connection stays");
}

fn ids(clients: &str) -> Vec<&str> {
    clients.lines().filter_map(|line| line.split(' ').next()).collect()
}

/// Replaces the log or metadata key of a bucket by a value of another type.
async fn replace_by_text(admin: &MultiplexedConnection, key: &str) {
    run::<()>(admin, &["SET", key, "something else"]).await;
}

#[tokio::test]
async fn another_type_of_value_under_one_buckets_key_leaves_the_others_and_the_connection_as_they_are() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    let admin = server.admin().await;
    let mut feed = feed(&store, DEADLINE);
    pages(&mut feed).await;
    for key in ["tb:{3}:log", "tb:{5}:m", "tb:{15}:log", "tb:{15}:m"] {
        replace_by_text(&admin, key).await;
    }
    let clients: String = run(&admin, &["CLIENT", "LIST"]).await;
    for number in 1..=3 {
        let user = user_of(&store, |bucket| bucket == 4);
        store.revoke_session(&user, &format!("s{number}")).await.unwrap();
        for (page, bucket) in read_from_the_start(&mut feed).await.unwrap().into_iter().zip(0..) {
            match bucket {
                3 | 5 | 15 => {
                    let error = page.unwrap_err();
                    assert_eq!(error.kind(), StoreErrorKind::Untrusted);
                    assert_eq!(reason(&error), "redis: WRONGTYPE; check the log and the settings of the Redis server");
                }
                // The replies of the next bucket must not be taken for the missing ones.
                4 => assert_eq!(page.unwrap().entries.len(), number),
                _ => assert!(page.unwrap().entries.is_empty()),
            }
        }
    }
    let now: String = run(&admin, &["CLIENT", "LIST"]).await;
    assert_eq!(ids(&clients), ids(&now), "the connection stays");
}

#[tokio::test]
async fn while_one_bucket_cannot_be_read_its_users_are_the_stores_and_the_others_keep_their_leases() {
    let server = RedisServer::start();
    // Long, so that no lease expires.
    let bounded = Consistency::BoundedStaleness(Duration::from_secs(3600));
    let tokens = redis_fixture::node(&server.url(), |builder| builder.consistency(bounded)).await;
    let leased = async || tokens.status().await.replica.unwrap().leased_buckets;
    let all = BUCKETS as usize;
    eventually("all are leased", async || (leased().await == all).then_some(())).await;
    let store = RedisStore::connect(server.url()).await.unwrap();
    let (unlucky, lucky) = (user_of(&store, |bucket| bucket == 3), user_of(&store, |bucket| bucket == 4));
    let session = async |user: &str| tokens.create_token_pair(NewSession::new(user)).await.unwrap();
    let (of_unlucky, of_lucky) = (session(&unlucky).await, session(&lucky).await);
    let check = async |pair: &TokenPair| tokens.validate_token(pair.access().as_str(), TokenType::Access).await;
    let admin = server.admin().await;
    // The node asks the store once about tokens from the first second of the log.
    check(&of_unlucky).await.unwrap();
    check(&of_lucky).await.unwrap();
    // A session that ends without a log entry is dead for the store, but alive for a replica with a
    // lease.
    for (bucket, user) in [(3, &unlucky), (4, &lucky)] {
        assert_eq!(run::<u32>(&admin, &["DEL", &format!("tb:{{{bucket}}}:u:{user}")]).await, 1);
    }
    check(&of_unlucky).await.unwrap();
    check(&of_lucky).await.unwrap();
    replace_by_text(&admin, "tb:{3}:log").await;
    eventually("the one lease has ended", async || (leased().await == all - 1).then_some(())).await;
    let error = check(&of_unlucky).await.unwrap_err();
    assert!(matches!(error, Error::Token(_)), "the store knows no such session: {error:?}");
    check(&of_lucky).await.unwrap();
    let status = tokens.status().await.replica.unwrap();
    assert_eq!(
        (status.state, status.reason),
        (ReplicaState::Unavailable, Some("the store's log cannot be understood"))
    );
    // If the store does not answer either, the node accepts no token by old data.
    let another = session(&unlucky).await;
    server.pause();
    let error = check(&another).await.unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error:?}");
    check(&of_lucky).await.unwrap();
    server.resume();
    run::<u32>(&admin, &["DEL", "tb:{3}:log"]).await;
    eventually("all are leased again", async || (leased().await == all).then_some(())).await;
    check(&another).await.unwrap();
}

#[tokio::test]
async fn a_right_that_is_missing_for_one_bucket_is_the_whole_reads_error_and_the_connection_stays() {
    let server = RedisServer::start();
    let admin = server.admin().await;
    run::<()>(&admin, &["ACL", "SETUSER", "app", "on", ">test-password", "+@all", "~*", "&*"]).await;
    let store = RedisStore::connect(format!("redis://app:test-password@127.0.0.1:{}/", server.port())).await.unwrap();
    let mut feed = feed(&store, DEADLINE);
    pages(&mut feed).await;
    let connection = feed_connection(&admin).await;
    // An error of a single bucket comes before it.
    replace_by_text(&admin, "tb:{3}:log").await;
    let others = (0..BUCKETS).filter(|bucket| *bucket != 5).map(|bucket| format!("~tb:{{{bucket}}}:*"));
    let rights: Vec<_> = ["ACL", "SETUSER", "app", "resetkeys"].map(str::to_owned).into_iter().chain(others).collect();
    run::<()>(&admin, &rights.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let error = read_from_the_start(&mut feed).await.unwrap_err();
    assert_eq!(
        (error.kind(), reason(&error)),
        (
            StoreErrorKind::Rejected,
            format!(
                "the Redis server at 127.0.0.1:{} refuses this user a command, key or channel; find which one with ACL \
                 LOG, and grant the rights of docs/operations/redis.md of tower-bearer",
                server.port()
            )
        )
    );
    run::<()>(&admin, &["ACL", "SETUSER", "app", "~*"]).await;
    assert_only_bucket_3_failed(&read_from_the_start(&mut feed).await.unwrap());
    assert_eq!(feed_connection(&admin).await, connection);
}

#[tokio::test]
async fn a_state_of_the_server_that_concerns_one_bucket_is_the_whole_reads_error_and_the_connection_goes() {
    let bus = free_port().to_string();
    let cluster = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-port", &bus];
    let server = RedisServer::start_with(&cluster);
    let admin = server.admin().await;
    run::<()>(&admin, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let store = eventually("the only node is up", async || RedisStore::connect(server.url()).await.ok()).await;
    let mut feed = feed(&store, DEADLINE);
    pages(&mut feed).await;
    let connection = feed_connection(&admin).await;
    replace_by_text(&admin, "tb:{3}:log").await;
    let slot = run::<u32>(&admin, &["CLUSTER", "KEYSLOT", "tb:{5}:m"]).await.to_string();
    // `CLUSTERDOWN`.
    run::<()>(&admin, &["CLUSTER", "DELSLOTS", &slot]).await;
    assert_eq!(read_from_the_start(&mut feed).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    run::<()>(&admin, &["CLUSTER", "ADDSLOTS", &slot]).await;
    assert_only_bucket_3_failed(&eventually("a read", async || read_from_the_start(&mut feed).await.ok()).await);
    assert_ne!(feed_connection(&admin).await, connection, "a new one may lead elsewhere");
}

#[tokio::test]
async fn another_type_of_value_under_the_only_buckets_key_is_that_buckets_error() {
    let f = redis_fixture::Fixture::new().await;
    let mut feed = feed(&f.store, DEADLINE);
    pages(&mut feed).await;
    replace_by_text(&f.admin, "tb:{0}:log").await;
    let told = read_from_the_start(&mut feed).await.unwrap();
    assert_eq!(
        told.into_iter().map(|page| reason(&page.unwrap_err())).collect::<Vec<_>>(),
        ["redis: WRONGTYPE; check the log and the settings of the Redis server"]
    );
}

fn assert_only_bucket_3_failed(pages: &[Result<LogPage, StoreError>]) {
    for (page, bucket) in pages.iter().zip(0..) {
        assert_eq!(page.is_err(), bucket == 3, "{bucket}: {page:?}");
    }
}

#[tokio::test]
async fn without_the_right_to_info_each_connection_counts_as_a_server_of_its_own() {
    let server = RedisServer::start();
    let admin = server.admin().await;
    run::<()>(&admin, &["ACL", "SETUSER", "app", "on", ">test-password", "+@all", "-info", "~*", "&*"]).await;
    let store = RedisStore::connect(format!("redis://app:test-password@127.0.0.1:{}/", server.port())).await.unwrap();
    let mut feed = feed(&store, DEADLINE);
    let first = pages(&mut feed).await[0].server;
    assert_eq!(pages(&mut feed).await[0].server, first);
    run::<()>(&admin, &["CLIENT", "KILL", "USER", "app"]).await;
    let second = eventually("it is read again", async || {
        let pages = read_from_the_start(&mut feed).await.ok()?;
        pages.into_iter().next()?.ok()?.server
    })
    .await;
    assert_ne!(Some(second), first, "another server may stand there");
    assert_eq!(store.read(0, LogQuery::newest()).await.unwrap().server, None);
}

/// Returns the text of the cause of a store error.
fn reason(error: &StoreError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

/// Returns the client id of the connection that last read the log.
async fn feed_connection(admin: &MultiplexedConnection) -> String {
    let clients: String = run(admin, &["CLIENT", "LIST"]).await;
    let reads = clients.lines().find(|line| line.contains("cmd=time"));
    reads.and_then(|line| line.split(' ').next()).unwrap_or_else(|| panic!("nobody reads: {clients}")).to_owned()
}

#[tokio::test]
async fn a_server_that_hangs_is_an_error_within_the_deadline_and_is_read_again_when_it_goes_on() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    let mut feed = feed(&store, SHORT);
    eventually("a read in time", async || read_from_the_start(&mut feed).await.ok()).await;
    server.pause();
    for _ in 0..4 {
        let (read, took) = on_a_paused_clock(read_from_the_start(&mut feed)).await;
        let error = read.unwrap_err();
        assert!(matches!(error.kind(), StoreErrorKind::Timeout | StoreErrorKind::Unavailable), "{error:?}");
        // Timers go by whole milliseconds.
        assert!(took <= SHORT + Duration::from_millis(2), "{took:?}");
    }
    server.resume();
    eventually("it is read again", async || read_from_the_start(&mut feed).await.ok()).await;
}

#[tokio::test]
async fn a_connection_that_hangs_is_replaced() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::connect(proxy.url()).await.unwrap();
    let mut feed = feed(&store, SHORT);
    eventually("a read in time", async || read_from_the_start(&mut feed).await.ok()).await;
    proxy.silence();
    eventually("it is read again", async || read_from_the_start(&mut feed).await.ok()).await;
}

#[tokio::test]
async fn a_server_that_is_no_primary_any_more_is_an_error() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    let admin = server.admin().await;
    let mut feed = feed(&store, DEADLINE);
    pages(&mut feed).await;
    let nobody = free_port().to_string();
    run::<()>(&admin, &["REPLICAOF", "127.0.0.1", &nobody]).await;
    assert_eq!(read_from_the_start(&mut feed).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    run::<()>(&admin, &["REPLICAOF", "NO", "ONE"]).await;
    eventually("it is read again", async || read_from_the_start(&mut feed).await.ok()).await;
}

// ---- Nudges -------------------------------------------------------------------------------------

#[tokio::test]
async fn every_bucket_nudges() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    let feed = feed(&store, DEADLINE);
    assert_revocation_nudges(&store, &*feed).await;
    assert_eq!(listeners(&server.admin().await).await, (1, BUCKETS), "over one connection");
    let mut heard = std::collections::HashSet::new();
    for n in 0.. {
        let user = format!("user-{n}");
        if heard.insert(store.bucket_of(&user)) {
            // A nudge is not lost between two waits, nor by a dropped wait.
            drop(feed.nudged());
            store.revoke_session(&user, "s").await.unwrap();
            assert!(is_nudged(&*feed).await, "bucket {}", store.bucket_of(&user));
        }
        if heard.len() == 16 {
            break;
        }
    }
}

#[tokio::test]
async fn a_subscription_that_was_killed_comes_back_each_time() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    let admin = server.admin().await;
    let feed = feed(&store, DEADLINE);
    assert_revocation_nudges(&store, &*feed).await;
    for _ in 0..3 {
        assert_eq!(run::<u32>(&admin, &["CLIENT", "KILL", "TYPE", "pubsub"]).await, 1);
        assert_revocation_nudges(&store, &*feed).await;
    }
}

#[tokio::test]
async fn a_subscription_that_is_half_dead_is_noticed() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::connect(proxy.url()).await.unwrap();
    let feed = feed(&store, DEADLINE);
    assert!(is_nudged(&*feed).await);
    proxy.silence();
    assert!(is_nudged(&*feed).await, "subscribed again");
}

#[tokio::test]
async fn without_a_right_to_the_channels_there_are_reads_and_no_nudges() {
    let server = RedisServer::start();
    let admin = server.admin().await;
    let user = ["ACL", "SETUSER", "app", "on", ">test-password", "+@all", "~*", "resetchannels"];
    run::<()>(&admin, &user).await;
    let url = format!("redis://app:test-password@127.0.0.1:{}/", server.port());
    let store = RedisStore::connect(url).await.unwrap();
    let mut feed = feed(&store, DEADLINE);
    store.revoke_session("alice", "s").await.unwrap();
    assert_eq!(pages(&mut feed).await.iter().map(|page| page.entries.len()).sum::<usize>(), 1);
    eventually("the subscription was refused", async || {
        let denied: redis::Value = run(&admin, &["ACL", "LOG"]).await;
        format!("{denied:?}").contains("channel").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pool_of_ones_own_gives_reads_and_no_nudges() {
    let server = RedisServer::start();
    let config = deadpool_redis::Config::from_url(server.url());
    let pool = config.create_pool(Some(deadpool_redis::Runtime::Tokio1)).unwrap();
    let store = RedisStoreBuilder::from_pool(pool).connect().await.unwrap();
    open(&store, "alice", "s1").await;
    let mut feed = feed(&store, DEADLINE);
    store.revoke_session("alice", "s1").await.unwrap();
    assert_eq!(pages(&mut feed).await.iter().map(|page| page.entries.len()).sum::<usize>(), 1);
    assert_eq!(listeners(&server.admin().await).await, (0, 0));
}

// ---- The end ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_feed_that_is_dropped_ends_its_connections() {
    let server = RedisServer::start();
    let store = RedisStore::connect(server.url()).await.unwrap();
    store.ping().await.unwrap();
    store.ping().await.unwrap();
    let admin = server.admin().await;
    let clients = async || run::<String>(&admin, &["CLIENT", "LIST"]).await.lines().count();
    let before = clients().await;
    let mut feed = feed(&store, DEADLINE);
    pages(&mut feed).await;
    assert!(is_nudged(&*feed).await);
    assert_eq!(clients().await, before + 2, "one to read, one to listen");
    drop(feed);
    eventually("both are gone", async || (clients().await == before).then_some(())).await;
}

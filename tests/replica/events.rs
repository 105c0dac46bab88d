//! The events for operators: each change of a replica's state once, with level, state and reason.
//!
//! They also count republished revocations, and contain no secret.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tower_bearer::{Consistency, NewSession, RedisStore, TokenPair, TokenService, TokenType, tokens::SecurityEvent};

use crate::{
    support::{
        Events, HANG, Log, Proxy, RedisServer, eventually,
        fixture::SECRET,
        redis_fixture::{node_on, user_of},
        secrets::Secrets,
    },
    wait_until_leased,
};

/// Long enough that no lease ends on a busy machine.
const BOUNDED: Consistency = Consistency::BoundedStaleness(Duration::from_secs(3));
const BUCKETS: usize = 16;
/// TEST secrets.
const PASSWORD: &str = "TEST-password-of-the-Redis-user";
const SUBJECT: &str = "TEST-subject-that-no-log-may-show";

const LEASED: &str = "INFO Leased 16 from 0: ";
const NO_ANSWER: &str = "WARN Unavailable 16 from 0: the store does not answer in time";
const AWAY: &str = "WARN Unavailable 16 from 0: the store is unavailable";
const REFUSED: &str = "WARN Unavailable 16 from 0: the store refuses to be read: check the rights of its user";
const ONE_BUCKET: &str = "WARN Unavailable 1 from 3: the store's log cannot be understood";
const RESYNC: &str = "WARN Strict 16 from 0: the store has lost or replaced its revocation log; the node reads it anew";

/// Returns the state events: level, state, number of buckets, first bucket, reason.
fn states(log: &Log) -> Vec<String> {
    let field = |line: &str, name: &str, end: char| {
        let rest = line.split_once(&format!(" {name}=")).map(|(_, rest)| rest.trim_start_matches('"').to_owned());
        rest.map(|rest| rest.split(end).next().unwrap().to_owned()).unwrap_or_default()
    };
    let of_report = |line: &&str| line.contains(" tower_bearer::replica::status: ");
    let told = |line: &str| {
        let level = line.split_whitespace().nth(1).unwrap();
        let [state, buckets, first] = ["state", "buckets", "first_bucket"].map(|name| field(line, name, ' '));
        format!("{level} {state} {buckets} from {first}: {}", field(line, "reason", '"'))
    };
    log.text().lines().filter(of_report).map(told).collect()
}

/// Returns the events about lost revocations: level and number.
fn losses(log: &Log) -> Vec<String> {
    let text = log.text();
    let lines = text.lines().filter(|line| line.contains(" tower_bearer::replica::notices: "));
    let told = |line: &str| format!("{} {}", line.split_whitespace().nth(1).unwrap(), line.rsplit(' ').next().unwrap());
    lines.map(told).collect()
}

/// Waits for exactly these state events after those in `all`, and appends them to `all`.
async fn assert_next_states(log: &Log, all: &mut Vec<String>, next: &[&str]) {
    all.extend(next.iter().map(ToString::to_string));
    eventually("a state is told", async || (states(log).len() >= all.len()).then_some(())).await;
    assert_eq!(states(log), *all);
}

async fn run<T: redis::FromRedisValue>(admin: &MultiplexedConnection, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut admin.clone()).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Waits until the log of every bucket was read about fifty times.
async fn wait_for_more_reads(admin: &MultiplexedConnection) {
    let reads = async || {
        let stats: String = run(admin, &["INFO", "commandstats"]).await;
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xrange:calls=")?.split(',').next());
        calls.map_or(0, |calls| calls.parse::<usize>().unwrap())
    };
    let before = reads().await;
    eventually("fifty reads", async || (reads().await >= before + 50 * BUCKETS).then_some(())).await;
}

async fn pair(tokens: &TokenService, subject: &str) -> TokenPair {
    tokens.create_token_pair(NewSession::new(subject)).await.unwrap()
}

#[tokio::test]
async fn each_change_of_state_is_told_once_with_its_reason_and_without_a_secret() {
    let log = Log::capture();
    let rights = ["--user", "app", "on", &format!(">{PASSWORD}"), "+@all", "~*", "&*"];
    let mut server = RedisServer::start_with(&rights);
    let proxy = Proxy::start(server.port()).await;
    let url = proxy.url().replace("127.0.0.1", &format!("app:{PASSWORD}@127.0.0.1"));
    // Short, because every attempt to connect to a hanging server takes this long.
    let store = RedisStore::builder(url).timeout(Duration::from_secs(1)).connect().await.unwrap();
    let tokens = node_on(store, |builder| builder.consistency(BOUNDED));
    wait_until_leased(&tokens).await;
    // On a busy machine the very first reads may have timed out.
    let mut told = states(&log);
    assert_eq!(told.last().unwrap(), LEASED);
    let mut secrets = Secrets::default();
    for (name, secret) in [("the password of Redis", PASSWORD), ("the signing secret", SECRET), ("a subject", SUBJECT)]
    {
        secrets.add(name, secret);
    }

    // An own revocation does not change the state.
    let admin = server.admin().await;
    for _ in 0..20 {
        let pair = pair(&tokens, SUBJECT).await;
        secrets.add("an access token", pair.access().as_str());
        secrets.add("a refresh token", pair.refresh().as_str());
        secrets.add("a session", pair.session_id().as_str());
        tokens.validate_token(pair.access().as_str(), TokenType::Access).await.unwrap();
        tokens.revoke_session(SUBJECT, pair.session_id()).await.unwrap();
        tokens.validate_token(pair.access().as_str(), TokenType::Access).await.unwrap_err();
    }
    wait_for_more_reads(&admin).await;
    assert_next_states(&log, &mut told, &[]).await;

    // The server hangs during several attempts to connect.
    server.pause();
    assert_next_states(&log, &mut told, &[NO_ANSWER]).await;
    for _ in 0..3 {
        let before = proxy.request_bytes();
        eventually("another attempt", async || (proxy.request_bytes() > before).then_some(())).await;
    }
    assert_next_states(&log, &mut told, &[]).await;
    server.resume();
    assert_next_states(&log, &mut told, &[LEASED]).await;
    wait_for_more_reads(&admin).await;
    assert_next_states(&log, &mut told, &[]).await;

    run::<()>(&admin, &["FLUSHALL"]).await;
    assert_next_states(&log, &mut told, &[RESYNC, LEASED]).await;
    wait_for_more_reads(&admin).await;
    assert_next_states(&log, &mut told, &[]).await;

    run::<()>(&admin, &["SET", "tb:{3}:log", "something else"]).await;
    assert_next_states(&log, &mut told, &[ONE_BUCKET]).await;
    wait_for_more_reads(&admin).await;
    assert_next_states(&log, &mut told, &[]).await;
    run::<()>(&admin, &["DEL", "tb:{3}:log"]).await;
    assert_next_states(&log, &mut told, &[LEASED]).await;

    run::<()>(&admin, &["ACL", "SETUSER", "app", "resetkeys"]).await;
    assert_next_states(&log, &mut told, &[REFUSED]).await;
    run::<()>(&admin, &["ACL", "SETUSER", "app", "~*"]).await;
    assert_next_states(&log, &mut told, &[LEASED]).await;

    // The server is killed. A listener in its place closes and counts all connections.
    server.kill();
    let place = TcpListener::bind((Ipv4Addr::LOCALHOST, server.port())).await.unwrap();
    let (attempts, mut seen) = watch::channel(0);
    let place = tokio::spawn(async move {
        while let Ok(connection) = place.accept().await {
            drop(connection);
            attempts.send_modify(|attempts| *attempts += 1);
        }
    });
    assert_next_states(&log, &mut told, &[AWAY]).await;
    let before = *seen.borrow();
    timeout(HANG, seen.wait_for(|attempts| *attempts >= before + 4)).await.unwrap().unwrap();
    assert_next_states(&log, &mut told, &[]).await;
    place.abort();
    drop(place.await);
    server.restart();
    assert_next_states(&log, &mut told, &[RESYNC, LEASED]).await;
    wait_for_more_reads(&server.admin().await).await;
    assert_next_states(&log, &mut told, &[]).await;

    let text = log.text();
    secrets.must_not_be_in("the log", &text);
    let anew = text.lines().filter(|line| line.contains("WARN") && line.contains("the store has lost its data"));
    let buckets = anew.map(|line| {
        let (_, count) = line.split_once("buckets=").expect("the number of buckets");
        count.split_whitespace().next().unwrap().parse::<usize>().unwrap()
    });
    assert_eq!(buckets.sum::<usize>(), 2 * BUCKETS, "each bucket is counted once for each loss");
}

#[tokio::test]
async fn each_loss_and_what_was_restored_is_told_once_for_each_bucket() {
    let log = Log::capture();
    let server = RedisServer::start();
    let admin = server.admin().await;
    let store = RedisStore::builder(server.url()).timeout(HANG).connect().await.unwrap();
    let (first, second) = (user_of(&store, |bucket| bucket == 3), user_of(&store, |bucket| bucket == 4));
    let events = Events::default();
    let tokens = node_on(store, |builder| builder.consistency(BOUNDED).on_event(events.hook()));
    wait_until_leased(&tokens).await;

    run::<()>(&admin, &["FLUSHALL"]).await;
    wait_for_more_reads(&admin).await;
    wait_until_leased(&tokens).await;
    let mut secrets = Secrets::default();
    for subject in [&first, &first, &second] {
        secrets.add("a subject", subject);
        let pair = pair(&tokens, subject).await;
        secrets.add("an access token", pair.access().as_str());
        secrets.add("a session", pair.session_id().as_str());
        let revoked = tokens.revoke_session(subject, pair.session_id()).await.unwrap();
        eventually("it is read", async || tokens.has_applied(revoked.position().unwrap()).then_some(())).await;
    }
    assert_eq!(events.take(), [], "nothing that was known is lost");
    for time in 1..=2 {
        run::<()>(&admin, &["FLUSHALL"]).await;
        eventually("all is told", async || (losses(&log).len() >= time * 4).then_some(())).await;
        wait_for_more_reads(&admin).await;
        let told = [2, 1]
            .map(|count| [SecurityEvent::RevocationsLost { count }, SecurityEvent::RevocationsRepublished { count }]);
        assert_eq!(events.take(), told.concat());
        assert_eq!(losses(&log), ["WARN count=2", "INFO count=2", "WARN count=1", "INFO count=1"].repeat(time));
    }
    secrets.must_not_be_in("the log", log.text());
}

/// The search for losses runs after the first read of the log, while this node keeps revoking.
#[tokio::test]
async fn what_a_node_has_just_revoked_is_not_taken_for_lost() {
    let server = RedisServer::start();
    let revoke_from_the_start_on = async |consistency| {
        let events = Events::default();
        let store = RedisStore::builder(server.url()).timeout(HANG).connect().await.unwrap();
        let tokens = node_on(store, |builder| builder.consistency(consistency).on_event(events.hook()));
        // Longer than the delay of that search, in real time because the store must answer
        // meanwhile.
        let (tokens, end) = (&tokens, Instant::now() + Duration::from_millis(1500));
        let revoke = |user: usize| async move {
            for number in (0..).take_while(|_| Instant::now() < end) {
                let sid = number.to_string().into();
                tokens.revoke_session(format!("{user}-{}", number % 100), &sid).await.unwrap();
            }
        };
        join_all((0..8).map(revoke)).await;
        assert_eq!(events.take(), [], "{consistency:?}");
    };
    for consistency in [Consistency::Strong, BOUNDED] {
        revoke_from_the_start_on(consistency).await;
    }
}

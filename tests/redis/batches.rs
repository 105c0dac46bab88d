//! Concurrent strict reads are sent as one batch.
//!
//! The tests show which commands and errors the reads of a batch share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{join, join_all},
};
use tokio::runtime::{Builder, Handle, Runtime};
use tower_bearer::{
    error::StoreErrorKind,
    store::{DenyRequest, ExternalId, RedisStore, SessionState},
};

use crate::support::{
    self, HANG, RedisServer, TextStore,
    redis_fixture::{Fixture, query},
};

const USERS: usize = 64;

fn user(number: usize) -> String {
    format!("user-{number}")
}

async fn state(f: &Fixture, number: usize) -> SessionState {
    f.state(&user(number), "s").await
}

/// Returns how often the server has run a command.
async fn calls(f: &Fixture, command: &str) -> u64 {
    let stats: String = f.redis(&["INFO", "commandstats"]).await;
    let prefix = format!("cmdstat_{command}:calls=");
    let count = stats.lines().find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok());
    count.unwrap_or_default()
}

async fn with_sessions() -> Fixture {
    let f = Fixture::new().await;
    for number in 0..USERS {
        f.open(&user(number), "s").await;
    }
    // Opens both connections.
    join_all((0..4).map(|number| state(&f, number))).await;
    f
}

#[tokio::test]
async fn requests_at_once_share_a_time_a_role_and_a_write_check_and_each_has_its_own_answer() {
    let f = with_sessions().await;
    f.store.revoke_session(&user(7), "s").await.unwrap();
    let (roles, times, reads) = (calls(&f, "role").await, calls(&f, "time").await, calls(&f, "hmget").await);
    let checks = calls(&f, "persist").await;
    let states = join_all((0..=USERS).map(|number| state(&f, number))).await;
    for (number, state) in states.into_iter().enumerate() {
        match number {
            7 => assert!(matches!(state, SessionState::Revoked { .. }), "{state:?}"),
            USERS => assert_eq!(state, SessionState::Unknown),
            _ => assert!(matches!(state, SessionState::Active { .. }), "{number}: {state:?}"),
        }
    }
    // Each of the two connections sends one `ROLE`, one write check, and a `TIME` at both ends.
    assert!((1..=2).contains(&(calls(&f, "persist").await - checks)));
    assert!(calls(&f, "role").await - roles <= 2);
    assert!(calls(&f, "time").await - times <= 4);
    assert_eq!(calls(&f, "hmget").await - reads, USERS as u64 + 1);
}

#[tokio::test]
async fn what_cannot_be_read_of_one_user_is_nobody_elses_trouble() {
    let f = with_sessions().await;
    let _: () = f.redis(&["SET", "tb:{0}:u:user-7", "a text"]).await;
    let _: () = f.redis(&["HSET", "tb:{0}:u:user-8", "=s", "a record of another kind"]).await;
    let answers = join_all((0..USERS).map(|number| f.store.check(&user(number), "s", "j").into_future())).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match (number, answer) {
            (7 | 8, answer) => assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Untrusted),
            (_, answer) => assert!(matches!(answer.unwrap().state, SessionState::Active { .. }), "{number}"),
        }
    }
}

#[tokio::test]
async fn who_asked_first_and_left_takes_nobody_along() {
    let f = with_sessions().await;
    let reads = calls(&f, "hmget").await;
    // On each connection.
    for number in 0..2 {
        assert!(state(&f, number).now_or_never().is_none());
    }
    let states = join_all((2..8).map(|number| state(&f, number))).await;
    assert!(states.iter().all(|state| matches!(state, SessionState::Active { .. })));
    assert_eq!(calls(&f, "hmget").await - reads, 6, "nothing is asked for those who left");
}

#[tokio::test]
async fn who_left_leaves_no_healthy_connection_in_doubt() {
    let f = Fixture::on(RedisServer::start()).await;
    let store = RedisStore::builder(f.server.url()).buckets(1).connections(1).connect().await.unwrap();
    let clients = async || {
        let list: String = f.redis(&["CLIENT", "LIST", "TYPE", "normal"]).await;
        let ids: Vec<_> = list.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
        ids
    };
    let check = || store.check("alice", "s", "j").into_future();
    check().await.unwrap();
    let (before, tasks) = (clients().await, Handle::current().metrics().num_alive_tasks());
    let reads = calls(&f, "hmget").await;
    // One caller leaves before the batch is sent, another one while it waits for its answer.
    assert!(check().now_or_never().is_none());
    let mut asked = check();
    assert!((&mut asked).now_or_never().is_none());
    tokio::task::yield_now().await;
    assert!((&mut asked).now_or_never().is_none());
    drop(asked);
    let is_answered = async || (Handle::current().metrics().num_alive_tasks() == tasks).then_some(());
    support::eventually("the answer is there", is_answered).await;
    assert_eq!(calls(&f, "hmget").await - reads, 1);
    // The same again at the end, before anything is sent.
    assert!(check().now_or_never().is_none());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    check().await.unwrap();
    assert_eq!(clients().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_one_whose_thread_is_busy_with_something_else() {
    let server = RedisServer::start();
    let store = RedisStore::builder(server.url()).buckets(1).connections(1).timeout(HANG * 2);
    let store = Arc::new(store.connect().await.unwrap());
    store.check("alice", "s", "j").await.unwrap();
    let (is_busy, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (computes, ends) = (Arc::clone(&is_busy), Arc::clone(&over));
    let own = Arc::clone(&store);
    let asker = tokio::spawn(async move {
        // It blocks the thread as soon as this task has queued its query and yields.
        tokio::spawn(async move {
            computes.store(true, Ordering::SeqCst);
            let began = Instant::now();
            while !ends.load(Ordering::SeqCst) && began.elapsed() < HANG * 2 {
                std::hint::spin_loop();
            }
        });
        own.check("alice", "s", "j").await
    });
    let began = Instant::now();
    while !is_busy.load(Ordering::SeqCst) {
        assert!(began.elapsed() < HANG, "the other task never runs");
        std::thread::yield_now();
    }
    let answer = tokio::time::timeout(HANG, store.check("bob", "s", "j").into_future()).await;
    over.store(true, Ordering::SeqCst);
    assert_eq!(answer.unwrap().unwrap().state, SessionState::Unknown);
    assert_eq!(asker.await.unwrap().unwrap().state, SessionState::Unknown);
}

#[test]
fn what_one_runtime_was_about_to_send_is_sent_though_that_runtime_does_not_go_on() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    // The connection belongs to this runtime, which keeps running.
    let home = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = RedisServer::start();
    let store = home.block_on(async {
        let store = RedisStore::builder(server.url()).buckets(1).connections(1).timeout(HANG * 2);
        let store = store.connect().await.unwrap();
        store.check("alice", "s", "j").await.unwrap();
        store
    });
    let (stays, goes_on): (Runtime, Runtime) = (runtime(), runtime());
    let mut taken = store.check("bob", "s", "j").into_future();
    goes_on.block_on(async { assert!((&mut taken).now_or_never().is_none()) });
    let mut takes = store.check("alice", "s", "j").into_future();
    // The call takes all queued queries, and then its runtime stops. Its own answer may already be
    // there.
    stays.block_on(async {
        assert!((&mut takes).now_or_never().is_none());
        tokio::task::yield_now().await;
        let _ = (&mut takes).now_or_never();
    });
    let answer = goes_on.block_on(async { tokio::time::timeout(HANG, taken).await });
    assert_eq!(answer.unwrap().unwrap().state, SessionState::Unknown);
}

#[tokio::test]
async fn those_who_ask_for_one_thing_and_those_who_ask_for_two_get_their_own() {
    let f = with_sessions().await;
    let keep = Duration::from_secs(3600);
    let id = |number| ExternalId::Token(user(number).into());
    let deny = |number| DenyRequest::new("other", id(number), keep);
    join_all((0..USERS).step_by(3).map(|number| f.store.deny(deny(number)).into_future())).await;
    let query = |number| query("other", &user(number), "", "");
    let answers = join_all((0..USERS).map(|number| {
        join(f.store.denied(query(number)).into_future(), f.store.check(&user(number), "s", "j").into_future())
    }))
    .await;
    for (number, (denial, checked)) in answers.into_iter().enumerate() {
        assert_eq!(denial.unwrap().token, number % 3 == 0, "{number}");
        assert!(matches!(checked.unwrap().state, SessionState::Active { .. }), "{number}");
    }
}

#[test]
fn a_runtime_that_ends_lets_go_of_those_who_wait_for_what_it_was_to_send() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let server = RedisServer::start();
    let (first, second): (Runtime, Runtime) = (runtime(), runtime());
    let store = first.block_on(async {
        let store = RedisStore::builder(server.url()).buckets(1).connections(1).timeout(HANG * 2);
        let store = store.connect().await.unwrap();
        store.check("alice", "s", "j").await.unwrap();
        store
    });
    // The call has queued its query, but nothing is sent until this runtime runs again.
    first.block_on(async { assert!(store.check("alice", "s", "j").into_future().now_or_never().is_none()) });
    let mut waits = store.check("alice", "s", "j").into_future();
    second.block_on(async { assert!((&mut waits).now_or_never().is_none()) });
    drop(first);
    let answer = second.block_on(async { tokio::time::timeout(HANG, waits).await });
    let answer = answer.unwrap_or_else(|_| panic!("still waiting for a task that is gone"));
    // The connection ended with its runtime.
    assert!(answer.is_err_and(|error| error.kind() == StoreErrorKind::Unavailable));
    let is_served = async { while store.check("alice", "s", "j").await.is_err() {} };
    second.block_on(async { tokio::time::timeout(HANG, is_served).await }).unwrap();
}

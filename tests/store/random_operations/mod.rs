//! Both stores against one simple model.
//!
//! Each store runs 10 000 steps of random operations, some of them concurrent. A failure prints the
//! seed and the shortest failing case. `STORE_MODEL_SEED=<seed>` repeats the cases.

mod model;
mod operation;

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::{runtime::Runtime, sync::Barrier};
use tower_bearer::{
    Subject,
    clock::{ManualClock, Timestamp},
    store::{LogEntry, LogQuery, MemoryStore, OpenSession, Revocation, RevocationLog, RotateRefresh, SessionStore},
};

use self::{
    model::Model,
    operation::{Began, Call, Counter, Operation, Reply, STEPS, Step, USERS, cap, steps},
};
#[cfg(feature = "redis")]
use crate::support;

/// The cases per store: 10 000 steps, which are about 14 400 calls.
const CASES: u32 = 10_000 / STEPS;

#[test]
fn the_memory_store_is_the_model() {
    let clock = ManualClock::at(Timestamp::from_secs(1_767_225_660));
    let store: Arc<dyn SessionStore> = Arc::new(MemoryStore::with_clock(clock.clone()));
    check(&runtime(), &store, async |by| clock.advance(by));
}

#[cfg(feature = "redis")]
#[test]
fn the_redis_store_is_the_model() {
    let runtime = runtime();
    let server = support::RedisServer::start();
    let store = runtime.block_on(tower_bearer::store::RedisStore::connect(&server.url())).unwrap();
    let clock = Arc::new(store);
    let store: Arc<dyn SessionStore> = clock.clone();
    check(&runtime, &store, async |by| {
        let moment = clock.ping().await.unwrap().saturating_add(by);
        while clock.ping().await.unwrap() < moment {
            // Real time, because the server's clock must move on.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap()
}

fn check(runtime: &Runtime, store: &Arc<dyn SessionStore>, wait: impl AsyncFn(Duration)) {
    let seed = std::env::var("STORE_MODEL_SEED")
        .map_or_else(|_| RandomState::new().hash_one(0u8), |seed| seed.parse().expect("STORE_MODEL_SEED is a number"));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));

    // Each case has its own users, including the cases that shrink a failure.
    let case = Cell::new(0);
    let outcome = runner.run(&steps(), |steps| {
        case.set(case.get() + 1);
        let run = Run { store: Arc::clone(store), name: format!("case {}", case.get()) };
        runtime.block_on(run.all(&steps, &wait)).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("STORE_MODEL_SEED={seed}\n{why}\nafter {steps:#?}"),
        Err(TestError::Abort(why)) => panic!("STORE_MODEL_SEED={seed}\n{why}"),
    }
}

/// The run of one case.
struct Run {
    store: Arc<dyn SessionStore>,
    name: String,
}

impl Run {
    async fn all(&self, steps: &[Step], wait: &impl AsyncFn(Duration)) -> Result<(), String> {
        let started = self.store.ping().await.unwrap();
        // The answers of concurrent operations can leave their order open, so several histories may
        // be possible.
        let mut histories = vec![Model::default()];
        let mut last_revocation = started;
        let mut log = LogReader::at_the_end(&*self.log()).await;
        for step in steps {
            let operations = match step {
                Step::Wait(by) => {
                    wait(*by).await;
                    continue;
                }
                Step::Do(operations) => operations,
            };
            let now = self.store.ping().await.unwrap();
            let moments = Moments { now, started, last_revocation };
            let calls: Vec<_> =
                operations.iter().map(|operation| self.call(operation, &histories[0], moments)).collect();
            let exchanges = self.at_once(calls).await?;
            for (_, reply) in &exchanges {
                if let Reply::Revoked(revoked) = reply {
                    last_revocation = last_revocation.max(revoked.now);
                }
            }
            histories = possible(&histories, &exchanges)?;
        }
        let entries = log.rest(&*self.log()).await;
        let logged: Vec<_> = (0..USERS)
            .map(|user| self.user(user))
            .map(|subject| (entries.iter().filter(|entry| is_of(entry, &subject)).cloned().collect(), subject))
            .collect::<Vec<(Vec<Revocation>, Subject)>>();
        if histories.iter().any(|history| logged.iter().all(|(log, subject)| *log == history.log(subject.as_str()))) {
            return Ok(());
        }
        Err(format!("the log says {logged:#?}\nbut {histories:#?}"))
    }

    fn log(&self) -> Arc<dyn RevocationLog> {
        self.store.clone().revocation_log().unwrap()
    }

    fn user(&self, user: usize) -> Subject {
        format!("{}, user {user}", self.name).into()
    }

    fn call(&self, operation: &Operation, history: &Model, moments: Moments) -> Call {
        match *operation {
            Operation::Open { user, sid, idle, absolute, began, cap: max_sessions } => {
                let mut open = OpenSession::new(self.user(user), sid.into(), idle, absolute);
                open.auth_time = began.map(|began| match began {
                    Began::Now => moments.now,
                    Began::AtTheLastRevocation => moments.last_revocation,
                    Began::AtFirst => moments.started,
                });
                open.max_sessions = cap(max_sessions);
                open.label = format!("{sid} {idle:?}");
                Call::Open(open)
            }
            Operation::Check { user, sid, jti } => Call::Check { subject: self.user(user), sid, jti },
            Operation::Rotate { user, sid, counter, idle, grace } => {
                let subject = self.user(user);
                let current = history.counter(subject.as_str(), sid).unwrap_or(0);
                let counter = match counter {
                    Counter::Current => current,
                    Counter::Behind(by) => current.saturating_sub(by),
                    Counter::Ahead(by) => current + by,
                };
                Call::Rotate(RotateRefresh::new(subject, sid.into(), counter, idle, grace))
            }
            Operation::RevokeSession { user, sid } => Call::RevokeSession { subject: self.user(user), sid },
            Operation::RevokeToken { user, jti, lifetime } => {
                Call::RevokeToken { subject: self.user(user), jti, until: moments.now.saturating_add(lifetime) }
            }
            Operation::RevokeAll { user, except } => Call::RevokeAll { subject: self.user(user), except },
            Operation::Sessions { user } => Call::Sessions { subject: self.user(user) },
        }
    }

    async fn at_once(&self, calls: Vec<Call>) -> Result<Vec<(Call, Reply)>, String> {
        let barrier = Arc::new(Barrier::new(calls.len()));
        let tasks: Vec<_> = calls
            .into_iter()
            .map(|call| {
                let (store, barrier) = (self.store.clone(), barrier.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    (call.clone(), call.make(store).await)
                })
            })
            .collect();
        let mut exchanges = Vec::new();
        for task in tasks {
            let (call, reply) = task.await.map_err(|error| error.to_string())?;
            exchanges.push((call, reply.map_err(|error| format!("{error:?}"))?));
        }
        Ok(exchanges)
    }
}

#[derive(Clone, Copy)]
struct Moments {
    now: Timestamp,
    started: Timestamp,
    last_revocation: Timestamp,
}

/// Returns the histories that are possible after these concurrent calls.
fn possible(histories: &[Model], exchanges: &[(Call, Reply)]) -> Result<Vec<Model>, String> {
    let (mut after, mut problems) = (Vec::new(), Vec::new());
    for history in histories {
        for order in orders(exchanges.len()) {
            let mut model = history.clone();
            let verdict = order.iter().try_for_each(|&n| {
                let (call, reply) = &exchanges[n];
                model.accept(call, reply).map_err(|expected| format!("{call:?}\nwas answered {reply:?}\n{expected}"))
            });
            match verdict {
                Ok(()) if after.contains(&model) => {}
                Ok(()) => after.push(model),
                Err(problem) => problems.push(format!("order {order:?}: {problem}")),
            }
        }
    }
    if after.is_empty() {
        problems.dedup();
        return Err(format!("no order of {exchanges:#?} explains the answers:\n{}", problems.join("\n")));
    }
    Ok(after)
}

fn orders(len: usize) -> Vec<Vec<usize>> {
    if len == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(len - 1);
    (0..len)
        .flat_map(|place| {
            shorter.iter().map(move |order| {
                let mut order = order.clone();
                order.insert(place, len - 1);
                order
            })
        })
        .collect()
}

fn is_of(entry: &Revocation, user: &Subject) -> bool {
    match entry {
        Revocation::Session { subject, .. }
        | Revocation::Token { subject, .. }
        | Revocation::Subject { subject, .. } => *subject == *user,
        _ => false,
    }
}

/// A reader of all log entries after its creation.
struct LogReader {
    cursors: Vec<Option<tower_bearer::store::LogCursor>>,
}

impl LogReader {
    async fn at_the_end(log: &dyn RevocationLog) -> Self {
        let mut reader = Self { cursors: vec![None; log.buckets() as usize] };
        reader.rest(log).await;
        reader
    }

    async fn rest(&mut self, log: &dyn RevocationLog) -> Vec<Revocation> {
        let mut all: Vec<LogEntry> = Vec::new();
        for (bucket, cursor) in (0..).zip(&mut self.cursors) {
            loop {
                let page = log.read(bucket, LogQuery::after(cursor.clone())).await.unwrap();
                *cursor = page.next.or(cursor.take());
                if page.entries.is_empty() {
                    break;
                }
                all.extend(page.entries);
            }
        }
        all.into_iter().map(|entry| entry.revocation).collect()
    }
}

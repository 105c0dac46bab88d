//! The task that asks a server's replicas for [proofs](super::proofs).
//!
//! It has a connection of its own: `WAIT` blocks one until the replicas have acknowledged.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::{Pipeline, Value};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    clock::saturating_millis,
    error::{ConfigError, StoreError, StoreErrorKind},
    store::{
        ServerId,
        redis::{
            builder::ConnectError,
            client::{
                answer::{error::Failure, info, reply::malformed},
                connections::{
                    Connections, Lease, identity,
                    target::{Origin, Terms},
                },
                failover::{
                    guard::Guard,
                    replication::{self, DEMANDED, Replication},
                },
                moment::Moment,
            },
            layout::keys::Keyspace,
        },
    },
};

/// The longest pause between two probes.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// The pause after a failed probe, when connecting.
const SHORT_PAUSE: Duration = Duration::from_millis(25);
/// The life of the key that is written. It ends by itself once no node probes any more.
const LIFE_MILLIS: u32 = 60_000;

/// Owner of the task. The task ends when this is dropped.
pub(crate) struct Prover {
    prober: Arc<Prober>,
    task: Mutex<Option<Task>>,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The connection over which replicas are asked, and the question.
struct Prober {
    connections: Connections,
    guard: Arc<Guard>,
    key: String,
    timeout: Duration,
    pause: Duration,
    /// For so long the server waits for its replicas.
    wait: Duration,
}

/// The write of a probe.
#[derive(Clone, Copy)]
enum Write {
    /// Prolongs the life of the key. Redis allows that when it is out of memory.
    Prolong,
    /// Makes the key, if there is none.
    Create,
}

impl Write {
    fn name(self) -> &'static str {
        match self {
            Self::Prolong => "PEXPIRE",
            Self::Create => "SET",
        }
    }
}

/// The outcome of one probe.
enum Probed {
    Proved,
    Short,
    /// The user has no right to this command.
    Forbidden(&'static str),
    /// The server does not tell its identity.
    Unidentified,
}

impl Prover {
    /// Makes the connection's rules, where answers need proofs.
    pub(crate) fn new(origin: &Origin, keys: &Keyspace, timeout: Duration) -> Result<Option<Self>, ConfigError> {
        let guard = origin.guard();
        let Some(max_lag) = guard.deployment().max_lag() else { return Ok(None) };
        let (wait, terms) = (max_lag / 2, Terms::new(timeout, 1));
        // The client must wait for longer than the server does.
        let source = origin.source(None, &Terms::new(wait.saturating_add(timeout), 1))?;
        let prober = Prober {
            connections: Connections::new(source, &terms, guard),
            guard: Arc::clone(guard),
            key: keys.proof(),
            timeout,
            pause: (max_lag / 4).min(LONGEST_PAUSE),
            wait,
        };
        Ok(Some(Self { prober: Arc::new(prober), task: Mutex::new(None) }))
    }

    /// Waits for the first proof, and starts the task. An error names the cause.
    pub(crate) async fn begin(&self) -> Result<(), ConnectError> {
        let ends = Instant::now() + self.prober.timeout + self.prober.wait;
        loop {
            match self.prober.probe().await {
                Probed::Proved => break,
                Probed::Forbidden(command) => return Err(lacks(command).into()),
                Probed::Unidentified => return Err(lacks("INFO").into()),
                Probed::Short if Instant::now() >= ends => {
                    let cause = self.prober.guard.unproved().unwrap_or_default();
                    return Err(StoreError::from(Failure::new(StoreErrorKind::Unavailable, false, &cause)).into());
                }
                Probed::Short => sleep(SHORT_PAUSE).await,
            }
        }
        self.keep_at_work();
        Ok(())
    }

    /// Starts the task on the present runtime if it does not run: a former runtime may have ended.
    pub(crate) fn keep_at_work(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(|task| task.0.is_finished()) {
            *task = Some(Task(tokio::spawn(probe_for_ever(Arc::clone(&self.prober)))));
        }
    }
}

fn lacks(command: &str) -> ConfigError {
    ConfigError::new(
        "url",
        format!("names a user who has no right to {command}, which `Failover::Replicas` needs"),
        format!("grant it with ACL SETUSER (+{})", command.to_lowercase()),
    )
}

async fn probe_for_ever(prober: Arc<Prober>) {
    loop {
        let began = Instant::now();
        prober.probe().await;
        sleep_until(began + prober.pause).await;
    }
}

impl Prober {
    /// Asks the replicas once. Without a proof the connection goes: the address may lead elsewhere
    /// by now.
    async fn probe(&self) -> Probed {
        let mut lease = match self.connections.lease(Instant::now() + self.timeout).await {
            Ok(lease) => lease,
            Err(failure) => return self.failed(&failure, "INFO"),
        };
        let probed = match self.ask(&mut lease, Write::Prolong).await {
            Some(probed) => probed,
            None => self.ask(&mut lease, Write::Create).await.unwrap_or(Probed::Short),
        };
        if !matches!(probed, Probed::Proved) {
            lease.distrust();
        }
        probed
    }

    /// Makes one write and waits for the replicas. `None` if there is no key to prolong.
    async fn ask(&self, lease: &mut Lease, write: Write) -> Option<Probed> {
        let asked = Moment::now();
        let deadline = Instant::now() + self.wait + self.timeout;
        let values = match lease.pipeline(&self.question(write, lease.server()), deadline).await {
            Ok(values) => values,
            Err(failure) => return Some(self.failed(&failure, write.name())),
        };
        let Ok([written, acknowledged, server, replication]) = <[Value; 4]>::try_from(values) else {
            return Some(self.failed(&malformed(), write.name()));
        };
        match written.extract_error().map_err(Failure::from) {
            Ok(Value::Int(0)) => return None,
            Ok(Value::Int(_) | Value::Okay) => {}
            Ok(_) => return Some(self.failed(&malformed(), write.name())),
            Err(failure) => return Some(self.failed(&failure, write.name())),
        }
        let count = match acknowledged.extract_error().map_err(Failure::from) {
            Ok(Value::Int(count)) => u64::try_from(count).unwrap_or(0),
            Ok(_) => return Some(self.failed(&malformed(), "WAIT")),
            Err(failure) => return Some(self.failed(&failure, "WAIT")),
        };
        let (server, replication) = match (section(server), section(replication)) {
            (Ok(server), Ok(replication)) => (server, replication),
            (Err(failure), _) | (_, Err(failure)) => return Some(self.failed(&failure, "INFO")),
        };
        self.guard.cover(replication::online(&replication));
        let Some(name) = identity::name_of_term(&server, &replication) else { return Some(Probed::Unidentified) };
        let server = identity::server_id(&name, None);
        if self.guard.acknowledged(server, asked, count) {
            return Some(Probed::Proved);
        }
        let demanded = self.demanded(lease).await;
        let seen = Replication { connected: replication::connected(&replication), demanded };
        Some(if self.guard.demands(server, asked, seen) { Probed::Proved } else { Probed::Short })
    }

    /// Returns how many replicas the server demands; `None` if it does not tell.
    async fn demanded(&self, lease: &mut Lease) -> Option<u64> {
        let answer = lease.command(&replication::setting(DEMANDED), Instant::now() + self.timeout).await;
        answer.and_then(replication::number).ok().flatten()
    }

    /// Returns the write and what follows it. `INFO` is last: the server was the primary of this
    /// name until then, so no other one confirmed a revocation before the write.
    fn question(&self, write: Write, server: Option<ServerId>) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(4);
        pipeline.ignore_errors();
        match write {
            Write::Prolong => pipeline.cmd("PEXPIRE").arg(&self.key).arg(LIFE_MILLIS),
            Write::Create => pipeline.cmd("SET").arg(&self.key).arg(1).arg("PX").arg(LIFE_MILLIS),
        };
        pipeline.cmd("WAIT").arg(self.guard.replicas(server)).arg(saturating_millis(self.wait));
        pipeline.cmd("INFO").arg("server");
        pipeline.cmd("INFO").arg("replication");
        pipeline
    }

    fn failed(&self, failure: &Failure, command: &'static str) -> Probed {
        self.guard.failed(failure.code());
        if failure.is_forbidden() { Probed::Forbidden(command) } else { Probed::Short }
    }
}

fn section(answer: Value) -> Result<String, Failure> {
    info::text(answer.extract_error()?)
}

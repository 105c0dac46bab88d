//! A task that asks a server for [proofs](super::failover::proofs). A proof shows that all Redis
//! replicas still follow the server.
//!
//! For each proof, the task sends a **probe**: a write, then `WAIT` until the replicas acknowledge
//! the write. The task has its own connection, because `WAIT` blocks a connection.

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
        redis::client::{
            answer::{CommandError, Moment, info_text, malformed},
            connect_error::{ConnectError, Unfit},
            connections::{
                Connections, config::ConnectionConfig, connection::Checkout, connector::Connector, identity,
            },
            failover::{
                guard::Guard,
                replication::{self, DEMANDED, Replication},
            },
        },
    },
};

/// The longest pause between two probes.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// The pause after a failed probe, while the store connects.
const SHORT_PAUSE: Duration = Duration::from_millis(25);
/// The lifetime of the key that a probe writes. The key expires after all nodes have stopped.
const LIFETIME_MILLIS: u32 = 60_000;

/// The owner of the task that sends the probes. Dropping the owner ends the task.
pub(crate) struct Prover {
    prober: Arc<Prober>,
    task: Mutex<Option<Task>>,
}

/// The handle of the task. Dropping the handle ends the task.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The connection and the settings of the probes.
struct Prober {
    connections: Connections,
    guard: Arc<Guard>,
    /// The key that each probe writes.
    key: String,
    timeout: Duration,
    pause: Duration,
    /// The time limit of `WAIT`.
    wait: Duration,
}

/// The command that a probe uses as its write.
#[derive(Clone, Copy)]
enum Write {
    /// Prolongs the lifetime of the key. Redis allows this write even when it is out of memory.
    Prolong,
    /// Creates the key, if `Prolong` found no key.
    Create,
}

impl Write {
    /// Returns the name of the command.
    fn name(self) -> &'static str {
        match self {
            Self::Prolong => "PEXPIRE",
            Self::Create => "SET",
        }
    }
}

/// The outcome of one probe.
enum Probe {
    /// All replicas have acknowledged the write.
    Proved,
    /// Not all replicas have acknowledged the write, or the probe failed.
    Short,
    /// The user has no right to this command.
    Forbidden(&'static str),
    /// The server's identity is unknown.
    Unidentified,
}

impl Prover {
    /// Creates a prover that writes to `key`. Returns `None` if the deployment needs no proofs.
    pub(crate) fn new(connector: &Connector, key: String, timeout: Duration) -> Result<Option<Self>, ConfigError> {
        let guard = connector.guard();
        let Some(max_lag) = guard.deployment().max_lag() else { return Ok(None) };
        let (wait, config) = (max_lag / 2, ConnectionConfig::new(timeout, 1));
        // The client's timeout must be longer than the time limit of `WAIT`.
        let source = connector.source(None, &ConnectionConfig::new(wait.saturating_add(timeout), 1))?;
        let prober = Prober {
            connections: Connections::new(source, &config, guard),
            guard: Arc::clone(guard),
            key,
            timeout,
            pause: (max_lag / 4).min(LONGEST_PAUSE),
            wait,
        };
        Ok(Some(Self { prober: Arc::new(prober), task: Mutex::new(None) }))
    }

    /// Waits for the first proof, and starts the task.
    ///
    /// # Errors
    ///
    /// No proof arrived in time, or the user lacks a right. The error names the cause.
    pub(crate) async fn begin(&self) -> Result<(), ConnectError> {
        let ends = Instant::now() + self.prober.timeout + self.prober.wait;
        loop {
            match self.prober.probe().await {
                Probe::Proved => break,
                Probe::Forbidden(command) => return Err(lacks(command).into()),
                Probe::Unidentified => return Err(lacks("INFO").into()),
                Probe::Short if Instant::now() >= ends => {
                    let cause = self.prober.guard.unproved().unwrap_or_default();
                    return Err(StoreError::from(CommandError::new(StoreErrorKind::Unavailable, false, &cause)).into());
                }
                Probe::Short => sleep(SHORT_PAUSE).await,
            }
        }
        self.keep_at_work();
        Ok(())
    }

    /// Starts the task on the current runtime, if no task runs. The task ends with its runtime.
    pub(crate) fn keep_at_work(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(|task| task.0.is_finished()) {
            *task = Some(Task(tokio::spawn(probe_for_ever(Arc::clone(&self.prober)))));
        }
    }
}

/// Returns the error for a Redis user that has no right to `command`.
fn lacks(command: &str) -> ConfigError {
    ConfigError::new(
        "url",
        format!("names a user who has no right to {command}, which `Failover::Replicas` needs"),
        format!("grant the right with ACL SETUSER (+{})", command.to_lowercase()),
    )
    .with_source(Unfit::Rights(command.to_owned()))
}

/// Sends a probe after each pause, and never returns.
async fn probe_for_ever(prober: Arc<Prober>) {
    loop {
        let began = Instant::now();
        prober.probe().await;
        sleep_until(began + prober.pause).await;
    }
}

impl Prober {
    /// Sends one probe. If the probe gives no proof, drops the connection, because the address may
    /// now lead to another server.
    async fn probe(&self) -> Probe {
        let checkout = match self.connections.checkout(Instant::now() + self.timeout).await {
            Ok(checkout) => checkout,
            Err(error) => return self.failed(&error, "INFO"),
        };
        let probed = match self.ask(&checkout, Write::Prolong).await {
            Some(probed) => probed,
            None => self.ask(&checkout, Write::Create).await.unwrap_or(Probe::Short),
        };
        if !matches!(probed, Probe::Proved) {
            checkout.discard();
        }
        probed
    }

    /// Sends one write, then `WAIT`. Returns `None` if `Prolong` found no key.
    async fn ask(&self, checkout: &Checkout, write: Write) -> Option<Probe> {
        let asked = Moment::now();
        let deadline = Instant::now() + self.wait + self.timeout;
        let values = match checkout.pipeline(&self.probe_pipeline(write, checkout.server()), deadline).await {
            Ok(values) => values,
            Err(error) => return Some(self.failed(&error, write.name())),
        };
        let Ok([written, acknowledged, server, replication]) = <[Value; 4]>::try_from(values) else {
            return Some(self.failed(&malformed(), write.name()));
        };
        match written.extract_error().map_err(CommandError::from) {
            Ok(Value::Int(0)) => return None,
            Ok(Value::Int(_) | Value::Okay) => {}
            Ok(_) => return Some(self.failed(&malformed(), write.name())),
            Err(error) => return Some(self.failed(&error, write.name())),
        }
        let count = match acknowledged.extract_error().map_err(CommandError::from) {
            Ok(Value::Int(count)) => u64::try_from(count).unwrap_or(0),
            Ok(_) => return Some(self.failed(&malformed(), "WAIT")),
            Err(error) => return Some(self.failed(&error, "WAIT")),
        };
        let (server, replication) = match (section(server), section(replication)) {
            (Ok(server), Ok(replication)) => (server, replication),
            (Err(error), _) | (_, Err(error)) => return Some(self.failed(&error, "INFO")),
        };
        self.guard.cover(replication::online(&replication));
        let Some(name) = identity::name_of_term(&server, &replication) else { return Some(Probe::Unidentified) };
        let server = identity::server_id(&name, None);
        if self.guard.acknowledged(server, asked, count) {
            return Some(Probe::Proved);
        }
        let demanded = self.demanded(checkout).await;
        let replication = Replication { connected: replication::connected(&replication), demanded };
        Some(if self.guard.demands(server, asked, replication) { Probe::Proved } else { Probe::Short })
    }

    /// Asks for the server's `min-replicas-to-write`. Returns `None` if the number is unknown.
    async fn demanded(&self, checkout: &Checkout) -> Option<u64> {
        let answer = checkout.command(&replication::setting(DEMANDED), Instant::now() + self.timeout).await;
        answer.and_then(replication::number).ok().flatten()
    }

    /// Returns the commands of a probe. `INFO` comes last, to describe the server after the write.
    fn probe_pipeline(&self, write: Write, server: Option<ServerId>) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(4);
        pipeline.ignore_errors();
        match write {
            Write::Prolong => pipeline.cmd("PEXPIRE").arg(&self.key).arg(LIFETIME_MILLIS),
            Write::Create => pipeline.cmd("SET").arg(&self.key).arg(1).arg("PX").arg(LIFETIME_MILLIS),
        };
        pipeline.cmd("WAIT").arg(self.guard.replicas(server)).arg(saturating_millis(self.wait));
        pipeline.cmd("INFO").arg("server");
        pipeline.cmd("INFO").arg("replication");
        pipeline
    }

    /// Records the error code of a failed command. Returns the outcome of the probe.
    fn failed(&self, error: &CommandError, command: &'static str) -> Probe {
        self.guard.failed(error.code());
        if error.is_forbidden() { Probe::Forbidden(command) } else { Probe::Short }
    }
}

/// Reads one section of an answer to `INFO`.
fn section(answer: Value) -> Result<String, CommandError> {
    info_text(answer.extract_error()?)
}

//! The guard, which decides if the store may use an answer. An answer **counts** under
//! these conditions:
//!
//! * The server accepts writes.
//! * Under `Failover::Replicas`, all replicas of the server followed it recently.
//! * Behind sentinels, a majority of the sentinels names the server.
//!
//! Each store has one guard. The connections of requests and of feeds share the guard.

#[cfg(feature = "sentinel")]
use std::sync::Arc;
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, RedisError, Value};

#[cfg(feature = "sentinel")]
use crate::store::redis::client::sentinel::watch::SentinelWatch;
use crate::{
    error::StoreErrorKind,
    store::{
        ServerId,
        redis::client::{
            address::Agreement,
            answer::{CommandError, Moment, malformed},
            failover::{
                deployment::Deployment,
                proofs::{Proofs, Unproved},
                replication::Replication,
            },
        },
    },
};

/// A function that returns the key of a bucket's hash `m`, which has no time to live.
pub(crate) type CheckKey = Box<dyn Fn(u32) -> String + Send + Sync>;

/// The rules that decide if the store may use an answer, and their warnings for operators.
pub(crate) struct Guard {
    check_key: CheckKey,
    deployment: Deployment,
    /// The failover bound of the deployment. The settings of the servers may replace or void it.
    declared: Result<Duration, &'static str>,
    settings: Mutex<ServerSettings>,
    may_be_unchecked: bool,
    /// `None` if answers need no proof.
    proofs: Option<Mutex<Proofs>>,
    /// The number of calls of [`suspect`](Self::suspect).
    suspicions: AtomicU64,
    unchecked: Mutex<UncheckedServers>,
    /// `None` without sentinels.
    #[cfg(feature = "sentinel")]
    watch: Option<Arc<SentinelWatch>>,
}

/// The settings of the servers, as the store last read them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerSettings {
    /// The reason why the declared failover gives no bound; `None` if it gives a bound.
    pub(crate) voids: Option<String>,
    /// The number of replicas that the server demands for each write (`min-replicas-to-write`);
    /// `None` if it is unknown.
    pub(crate) demanded: Option<u64>,
    /// `cluster-node-timeout`, if the application did not declare it and the servers return it.
    pub(crate) node_timeout: Option<Duration>,
    /// The warning that the server may delete revocations; `None` if there is no such problem.
    pub(crate) evicts: Option<String>,
}

/// The number of servers whose reads count without a passed write check, and the latest reason.
#[derive(Default)]
struct UncheckedServers {
    count: usize,
    latest: Option<Unchecked>,
}

/// The state of one server's write check. All connections to that server share it.
#[derive(Default)]
pub(crate) struct ServerState {
    is_unchecked: AtomicBool,
}

impl Guard {
    /// Creates a guard without sentinels.
    pub(crate) fn new(check_key: CheckKey, deployment: Deployment) -> Self {
        Self {
            check_key,
            declared: deployment.bound(),
            may_be_unchecked: deployment.may_be_unchecked(),
            proofs: deployment.max_lag().map(|max_lag| Mutex::new(Proofs::new(max_lag))),
            deployment,
            settings: Mutex::default(),
            suspicions: AtomicU64::new(0),
            unchecked: Mutex::default(),
            #[cfg(feature = "sentinel")]
            watch: None,
        }
    }

    /// Adds sentinels. Answers then count only while a majority of the sentinels names the server.
    #[cfg(feature = "sentinel")]
    pub(crate) fn with_watch(self, watch: Option<SentinelWatch>) -> Self {
        Self { watch: watch.map(Arc::new), ..self }
    }

    /// Returns the watch over the sentinels; `None` without sentinels.
    #[cfg(feature = "sentinel")]
    pub(crate) fn watch(&self) -> Option<&Arc<SentinelWatch>> {
        self.watch.as_ref()
    }

    /// Returns an error unless a majority of the sentinels still names the server of `agreement`.
    #[cfg_attr(
        not(feature = "sentinel"),
        allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "only sentinels agree")
    )]
    pub(crate) fn confirm(&self, agreement: Option<&Agreement>) -> Result<(), CommandError> {
        #[cfg(feature = "sentinel")]
        if let (Some(watch), Some(agreement)) = (&self.watch, agreement) {
            return watch.confirm(agreement);
        }
        let _ = agreement;
        Ok(())
    }

    /// Returns true if the sentinels now name a server other than that of `agreement`.
    #[cfg_attr(not(feature = "sentinel"), allow(clippy::unused_self, reason = "only sentinels agree"))]
    pub(crate) fn names_another(&self, agreement: Option<&Agreement>) -> bool {
        #[cfg(feature = "sentinel")]
        if let (Some(watch), Some(agreement)) = (&self.watch, agreement) {
            return watch.names_another(agreement);
        }
        let _ = agreement;
        false
    }

    /// Returns a write check. The command changes nothing, but fails if the server refuses writes.
    pub(crate) fn write_check(&self, bucket: u32) -> Cmd {
        let mut check = redis::cmd("PERSIST");
        check.arg((self.check_key)(bucket));
        check
    }

    /// Judges the answer to a write check of this server. Stores the result in the server's state.
    pub(crate) fn judge_check(&self, answer: &Value, server: &ServerState) -> Result<(), CommandError> {
        let unchecked = write_check(answer, self.may_be_unchecked)?;
        let is_unchecked = unchecked.is_some();
        // The state seldom changes, and a load is cheaper than a swap.
        if server.is_unchecked.load(Ordering::Relaxed) != is_unchecked
            && server.is_unchecked.swap(is_unchecked, Ordering::Relaxed) != is_unchecked
        {
            self.count(unchecked);
        }
        Ok(())
    }

    /// Removes a server from the unchecked servers, because its connections end.
    pub(crate) fn forget(&self, server: &ServerState) {
        if server.is_unchecked.swap(false, Ordering::Relaxed) {
            self.count(None);
        }
    }

    /// Changes the number of unchecked servers. A reason adds 1, and `None` subtracts 1.
    fn count(&self, unchecked: Option<Unchecked>) {
        let mut servers = lock(&self.unchecked);
        let before = servers.count;
        if let Some(reason) = unchecked {
            servers.count += 1;
            servers.latest = Some(reason);
        } else {
            servers.count = before.saturating_sub(1);
        }
        let after = servers.count;
        drop(servers);
        #[cfg(feature = "tracing")]
        match (before, after, unchecked) {
            (0, _, Some(reason)) => tracing::warn!("{}", reason.text()),
            (_, 0, None) => tracing::info!("all Redis servers take writes again"),
            _ => {}
        }
        let _ = (before, after);
    }

    /// Returns the way in which another server can replace the primary.
    pub(crate) fn deployment(&self) -> Deployment {
        self.deployment
    }

    /// Returns an error unless a recent proof covers an answer of this server. The node sent the
    /// command at `asked`, on a connection that it made at `made`.
    pub(crate) fn proved(&self, server: Option<ServerId>, asked: Moment, made: Moment) -> Result<(), CommandError> {
        let Some(proofs) = &self.proofs else { return Ok(()) };
        let (broken, text) = match lock(proofs).judge(server, asked) {
            Ok(()) => return Ok(()),
            Err(Unproved::Unidentified) => (false, "the server's identity is unknown; grant the user INFO"),
            Err(Unproved::Old) => (false, "not all replicas have acknowledged a write recently"),
            // A connection from before the proof leads to a former primary, so the error is
            // `broken`. A later connection may lead to a new primary, which has no proof yet.
            Err(Unproved::OtherServer(proved)) => (proved > made, "the replicas follow another server"),
        };
        Err(CommandError::new(StoreErrorKind::Unavailable, broken, text))
    }

    /// Returns the number of this server's replicas that must acknowledge a write.
    pub(crate) fn replicas(&self, server: Option<ServerId>) -> u64 {
        self.proofs.as_ref().map_or(0, |proofs| lock(proofs).replicas(server))
    }

    /// Raises the number of replicas that must acknowledge a write to at least `replicas`.
    pub(crate) fn cover(&self, replicas: u64) {
        self.proofs.iter().for_each(|proofs| lock(proofs).cover(replicas));
    }

    /// Records that `count` replicas acknowledged the write that the node sent at `asked`. Returns
    /// true if `count` is enough for a proof.
    pub(crate) fn acknowledged(&self, server: ServerId, asked: Moment, count: u64) -> bool {
        self.proofs.as_ref().is_some_and(|proofs| lock(proofs).acknowledged(server, asked, count))
    }

    /// Records `min-replicas-to-write` of a server without a proof. Returns true if the number is
    /// 0. The server's answers then count without a proof, and the failover bound is unknown.
    pub(crate) fn demands(&self, server: ServerId, asked: Moment, replication: Replication) -> bool {
        let counts =
            self.proofs.as_ref().is_some_and(|proofs| lock(proofs).demands(server, asked, replication.demanded));
        if counts {
            self.note_voids(replication.voids());
        }
        counts
    }

    /// Records the error code of a failed probe.
    pub(crate) fn failed(&self, code: &str) {
        self.proofs.iter().for_each(|proofs| lock(proofs).failed(code));
    }

    /// Returns the reason if a necessary proof is missing or too old; otherwise `None`.
    pub(crate) fn unproved(&self) -> Option<String> {
        self.proofs.as_ref().and_then(|proofs| lock(proofs).trouble(Moment::now()))
    }

    /// Returns the number of calls of [`suspect`](Self::suspect). The store uses no connection from
    /// before the latest call.
    pub(crate) fn suspicions(&self) -> u64 {
        self.suspicions.load(Ordering::Acquire)
    }

    /// Makes all connections of the store unusable, so that their answers do not count. The store
    /// then asks the sentinels, or the nodes of a cluster, for the primary again.
    ///
    /// The feed calls this method if this node was frozen for too long, because another server may
    /// have become the primary meanwhile.
    pub(crate) fn suspect(&self) {
        self.suspicions.fetch_add(1, Ordering::AcqRel);
        #[cfg(feature = "sentinel")]
        if let Some(watch) = &self.watch {
            watch.suspect();
        }
    }

    /// Returns the failover bound F (`docs/protocol.md`, section 8): the longest time for which a
    /// node may use an old primary.
    ///
    /// # Errors
    ///
    /// The reason why the time is unknown.
    pub(crate) fn bound(&self) -> Result<Duration, String> {
        let settings = lock(&self.settings);
        match (&settings.voids, settings.node_timeout) {
            (Some(reason), _) => Err(reason.clone()),
            (None, Some(node_timeout)) => Ok(node_timeout),
            (None, None) => self.declared.map_err(str::to_owned),
        }
    }

    /// Stores the settings that the store has read from the servers. Logs a new problem.
    pub(crate) fn note_settings(&self, settings: ServerSettings) {
        self.cover(settings.demanded.unwrap_or(0));
        self.note_voids(settings.voids.clone());
        let before = std::mem::replace(&mut *lock(&self.settings), settings.clone());
        #[cfg(feature = "tracing")]
        if let Some(text) = settings.evicts.filter(|_| before.evicts.is_none()) {
            tracing::warn!("{text}");
        }
        #[cfg(not(feature = "tracing"))]
        drop((before, settings));
    }

    /// Stores the reason why the declared failover gives no bound. Logs a new reason.
    fn note_voids(&self, reason: Option<String>) {
        let before = std::mem::replace(&mut lock(&self.settings).voids, reason.clone());
        #[cfg(feature = "tracing")]
        if let Some(reason) = reason.filter(|reason| before.as_ref() != Some(reason)) {
            tracing::warn!(reason, "this node may believe an old primary for longer than `failover` declares");
        }
        #[cfg(not(feature = "tracing"))]
        drop((before, reason));
    }

    /// Returns the problems that an operator should fix.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let servers = lock(&self.unchecked);
        let unchecked = servers.latest.filter(|_| servers.count > 0);
        let settings = lock(&self.settings);
        let warnings = unchecked.map(|reason| reason.text().to_owned()).into_iter();
        let warnings = warnings.chain(settings.voids.clone()).chain(settings.evicts.clone()).chain(self.unproved());
        #[cfg(feature = "sentinel")]
        let warnings = warnings.chain(self.watch.as_ref().and_then(|watch| watch.trouble()));
        warnings.collect()
    }
}

/// A reason why even a primary may fail the write check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unchecked {
    /// `MISCONF`: the server cannot save to its disk, so it refuses every write.
    Disk,
    /// `NOPERM`: the user may not write.
    Right,
}

impl Unchecked {
    /// Returns the text for operators.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Disk => {
                "the Redis server cannot save to its disk and refuses every write (MISCONF), so nodes use its \
                 reads without the write check; free space on its disk"
            }
            Self::Right => {
                "the Redis user has lost the right to PERSIST, so nodes use reads without the write check; grant the \
                 right with ACL SETUSER"
            }
        }
    }
}

/// Reads the answer to a write check: `PERSIST {b}:m`, which the store sends after the reads.
///
/// After a network split, an old primary still answers `ROLE` with `master`, and serves reads. But
/// with `min-replicas-to-write`, it refuses writes when its replicas are gone. A demoted primary
/// refuses writes too.
///
/// `m` has no time to live, so `PERSIST` changes nothing, and Redis replicates and saves nothing.
/// `PERSIST` also works when Redis is out of memory. Measured on Redis 7.0 and 8.2, Valkey 8.1 and
/// 9.1.
///
/// | result | meaning |
/// |--|--|
/// | `Ok(None)` | the server accepts writes |
/// | `Ok(Some(_))` | writes fail for another reason than the role, and `may_be_unchecked` is true |
/// | `Err(_)` | the reads do not count; a [`broken`](CommandError::broken) connection must end |
pub(crate) fn write_check(answer: &Value, may_be_unchecked: bool) -> Result<Option<Unchecked>, CommandError> {
    let error = match answer {
        Value::Int(_) => return Ok(None),
        Value::ServerError(error) => error,
        _ => return Err(malformed()),
    };
    let error = CommandError::from(RedisError::from(error.clone()));
    let unchecked = match error.code() {
        "MISCONF" => Unchecked::Disk,
        "NOPERM" => Unchecked::Right,
        "NOREPLICAS" | "READONLY" => {
            return Err(error.of_the_wrong_server());
        }
        _ => return Err(error),
    };
    if may_be_unchecked {
        return Ok(Some(unchecked));
    }
    Err(error.of_the_wrong_server())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn check_key() -> CheckKey {
        Box::new(|bucket| format!("tb:{{{bucket}}}:m"))
    }

    fn misconf() -> Value {
        redis::parse_redis_value(b"-MISCONF its disk is full\r\n").unwrap()
    }

    #[test]
    fn a_warning_stands_as_long_as_one_server_is_served_unchecked() {
        let guard = Guard::new(check_key(), Deployment::Single);
        let servers = [ServerState::default(), ServerState::default()];
        assert!(guard.warnings().is_empty());
        for server in &servers {
            guard.judge_check(&misconf(), server).unwrap();
            guard.judge_check(&misconf(), server).unwrap();
            assert_eq!(guard.warnings().len(), 1);
        }
        guard.judge_check(&Value::Int(0), &servers[0]).unwrap();
        assert!(guard.warnings()[0].contains("MISCONF"));
        guard.forget(&servers[1]);
        assert!(guard.warnings().is_empty());
    }

    #[test]
    fn behind_an_address_that_moves_a_full_disk_hides_what_the_check_is_for() {
        let max_lag = Duration::from_secs(1);
        let guard = Guard::new(check_key(), Deployment::Replicas { max_lag });
        assert!(guard.judge_check(&misconf(), &ServerState::default()).is_err());
        assert!(!guard.warnings().iter().any(|warning| warning.contains("MISCONF")));
    }

    fn error(text: &str) -> Value {
        redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_server_that_takes_writes_passes() {
        for number in [0, 1] {
            assert_eq!(write_check(&Value::Int(number), false).unwrap(), None);
        }
    }

    #[test]
    fn a_server_without_replicas_and_a_replica_do_not_count_and_lose_their_connection() {
        for text in ["NOREPLICAS Not enough good replicas to write.", "READONLY You can't write against a replica."] {
            for may_be_unchecked in [true, false] {
                let error = write_check(&error(text), may_be_unchecked).unwrap_err();
                assert_eq!((error.kind, error.broken), (StoreErrorKind::Unavailable, true), "{text}");
            }
        }
    }

    #[test]
    fn a_full_disk_and_a_lost_right_are_served_only_where_that_is_allowed() {
        let rows = [("MISCONF Redis is configured", Unchecked::Disk), ("NOPERM this user", Unchecked::Right)];
        for (text, reason) in rows {
            assert_eq!(write_check(&error(text), true).unwrap(), Some(reason));
            let error = write_check(&error(text), false).unwrap_err();
            assert_eq!((error.kind, error.broken), (StoreErrorKind::Unavailable, true), "{text}");
        }
    }

    #[test]
    fn any_other_answer_does_not_count() {
        assert!(write_check(&error("MOVED 1 127.0.0.1:1"), true).unwrap_err().is_elsewhere());
        assert!(write_check(&error("LOADING Redis is loading"), true).unwrap_err().broken);
        for value in [Value::Nil, Value::Okay, Value::Array(Vec::new())] {
            assert_eq!(write_check(&value, true).unwrap_err().kind, StoreErrorKind::Untrusted);
        }
    }
}

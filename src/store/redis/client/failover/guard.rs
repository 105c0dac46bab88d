//! The conditions under which an answer counts: the server takes writes, all its replicas followed
//! it lately, and the sentinels name it.
//!
//! Each store has one guard, which the connections of requests and of feeds share.

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

/// Returns the key of a bucket's `m`, which has no time to live.
pub(crate) type CheckKey = Box<dyn Fn(u32) -> String + Send + Sync>;

/// The rules that decide whether answers count, and the warnings for operators that follow from
/// them.
pub(crate) struct Guard {
    check_key: CheckKey,
    deployment: Deployment,
    /// The failover bound, unless a setting of the servers determines it.
    declared: Result<Duration, &'static str>,
    settings: Mutex<ServerSettings>,
    may_be_unchecked: bool,
    /// `None` if answers need no proof.
    proofs: Option<Mutex<Proofs>>,
    /// Counts the pauses of this node. After each, every connection is dropped.
    suspicions: AtomicU64,
    unchecked: Mutex<UncheckedServers>,
    /// `None` without sentinels.
    #[cfg(feature = "sentinel")]
    watch: Option<Arc<SentinelWatch>>,
}

/// The settings of the servers, as last read.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerSettings {
    /// The reason why the declared failover sets no bound.
    pub(crate) voids: Option<String>,
    /// The count of replicas that the server demands of each write (`min-replicas-to-write`);
    /// `None` if it is unknown.
    pub(crate) demanded: Option<u64>,
    /// `cluster-node-timeout`, if it is needed and the servers tell it.
    pub(crate) node_timeout: Option<Duration>,
    /// The reason why the server may drop revocations.
    pub(crate) evicts: Option<String>,
}

/// The count of servers whose reads are served unchecked now, and the reason of the latest.
#[derive(Default)]
struct UncheckedServers {
    count: usize,
    latest: Option<Unchecked>,
}

/// The state of one server's write check. It belongs to the connections to that server.
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

    /// Adds sentinels: a server counts only as long as a majority of them names it.
    #[cfg(feature = "sentinel")]
    pub(crate) fn with_watch(self, watch: Option<SentinelWatch>) -> Self {
        Self { watch: watch.map(Arc::new), ..self }
    }

    /// Returns the watch over the sentinels, if there are any.
    #[cfg(feature = "sentinel")]
    pub(crate) fn watch(&self) -> Option<&Arc<SentinelWatch>> {
        self.watch.as_ref()
    }

    /// Judges an answer of the server on which the sentinels agreed.
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

    /// Returns the command that ends every read on which a decision rests. It changes nothing.
    pub(crate) fn write_check(&self, bucket: u32) -> Cmd {
        let mut check = redis::cmd("PERSIST");
        check.arg((self.check_key)(bucket));
        check
    }

    /// Judges the answer to a write check of this server. Logs a change of its state.
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

    /// Forgets a server whose connections end.
    pub(crate) fn forget(&self, server: &ServerState) {
        if server.is_unchecked.swap(false, Ordering::Relaxed) {
            self.count(None);
        }
    }

    /// Counts a server that has become unchecked, for this reason, or is checked again.
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

    /// Returns how the primary can be replaced.
    pub(crate) fn deployment(&self) -> Deployment {
        self.deployment
    }

    /// Judges by the newest proof an answer of this server. `asked` is the moment of its question,
    /// `made` that of its connection.
    pub(crate) fn proved(&self, server: Option<ServerId>, asked: Moment, made: Moment) -> Result<(), CommandError> {
        let Some(proofs) = &self.proofs else { return Ok(()) };
        let (broken, text) = match lock(proofs).judge(server, asked) {
            Ok(()) => return Ok(()),
            Err(Unproved::Unidentified) => (false, "the server's identity is unknown; grant the user INFO"),
            Err(Unproved::Old) => (false, "not all replicas have acknowledged a write lately"),
            // A connection made after the proof may lead to the next primary, and stays.
            Err(Unproved::OtherServer(proved)) => (proved > made, "the replicas follow another server"),
        };
        Err(CommandError::new(StoreErrorKind::Unavailable, broken, text))
    }

    /// Returns the count of replicas of this server that must acknowledge a write.
    pub(crate) fn replicas(&self, server: Option<ServerId>) -> u64 {
        self.proofs.as_ref().map_or(0, |proofs| lock(proofs).replicas(server))
    }

    /// Notes that there may be this many replicas.
    pub(crate) fn cover(&self, replicas: u64) {
        self.proofs.iter().for_each(|proofs| lock(proofs).cover(replicas));
    }

    /// Notes the count of replicas that acknowledged a write of this moment. Returns whether that
    /// is a proof.
    pub(crate) fn acknowledged(&self, server: ServerId, asked: Moment, count: u64) -> bool {
        self.proofs.as_ref().is_some_and(|proofs| lock(proofs).acknowledged(server, asked, count))
    }

    /// Notes the count of replicas that a server without a proof demands. Returns true if it
    /// demands none: its answers then count without a proof, and the bound is void.
    pub(crate) fn demands(&self, server: ServerId, asked: Moment, replication: Replication) -> bool {
        let counts =
            self.proofs.as_ref().is_some_and(|proofs| lock(proofs).demands(server, asked, replication.demanded));
        if counts {
            self.note_voids(replication.voids());
        }
        counts
    }

    /// Notes the code of an error by which a probe failed.
    pub(crate) fn failed(&self, code: &str) {
        self.proofs.iter().for_each(|proofs| lock(proofs).failed(code));
    }

    /// Returns the reason why there is no proof, if no answer counts without one.
    pub(crate) fn unproved(&self) -> Option<String> {
        self.proofs.as_ref().and_then(|proofs| lock(proofs).trouble(Moment::now()))
    }

    /// Returns the count of suspicions. A connection from before the latest one is not used.
    pub(crate) fn suspicions(&self) -> u64 {
        self.suspicions.load(Ordering::Acquire)
    }

    /// Drops every connection of the store, and voids all answers to earlier questions. Sentinels,
    /// or the nodes of a cluster, are asked anew which server is the primary.
    ///
    /// To be called after this node was frozen for longer than its staleness, because its data
    /// about the servers are as old. One call serves requests and feeds, which share the guard.
    pub(crate) fn suspect(&self) {
        self.suspicions.fetch_add(1, Ordering::AcqRel);
        #[cfg(feature = "sentinel")]
        if let Some(watch) = &self.watch {
            watch.suspect();
        }
    }

    /// Returns the time, beyond the staleness, for which an old primary may be believed.
    ///
    /// # Errors
    ///
    /// The reason for which that is unknown.
    pub(crate) fn bound(&self) -> Result<Duration, String> {
        let settings = lock(&self.settings);
        match (&settings.voids, settings.node_timeout) {
            (Some(reason), _) => Err(reason.clone()),
            (None, Some(node_timeout)) => Ok(node_timeout),
            (None, None) => self.declared.map_err(str::to_owned),
        }
    }

    /// Notes the present settings of the servers. Logs a new defect.
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

    /// Notes the reason why the declared failover sets no bound. Logs a new one.
    fn note_voids(&self, reason: Option<String>) {
        let before = std::mem::replace(&mut lock(&self.settings).voids, reason.clone());
        #[cfg(feature = "tracing")]
        if let Some(reason) = reason.filter(|reason| before.as_ref() != Some(reason)) {
            tracing::warn!(reason, "an old primary may be believed for longer than `failover` declares");
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

/// A reason why the write check fails, although the server may be the right one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unchecked {
    /// `MISCONF`: it cannot save to its disk, and so refuses every write.
    Disk,
    /// `NOPERM`: the user may not write.
    Right,
}

impl Unchecked {
    /// Returns the text for operators.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Disk => {
                "the Redis server cannot save to its disk and refuses every write (MISCONF), so reads are served \
                 unchecked; free space on its disk"
            }
            Self::Right => {
                "the Redis user has lost the right to PERSIST, so reads are served unchecked; grant it with ACL SETUSER"
            }
        }
    }
}

/// Reads the answer to a write check: `PERSIST {b}:m` at the end of every read for a decision.
///
/// A primary that was cut off still answers `ROLE` with `master`, and serves reads for ever. It
/// refuses a write once its replicas are gone (`min-replicas-to-write`), and so does a demoted one.
/// `m` has no time to live: `PERSIST` answers 0 and changes nothing, so nothing is replicated or
/// saved. It also works out of memory. Measured on Redis 7.0 and 8.2, Valkey 8.1 and 9.1.
///
/// `Ok(None)`: the server takes writes. `Ok(Some(_))`: the server refuses them for a reason
/// unrelated to its role, and `may_be_unchecked` accepts that. An error: the reads before the check
/// do not count, and the connection is to be dropped if [`CommandError::broken`] says so.
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

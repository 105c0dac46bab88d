//! What makes an answer count: the server takes writes, all its replicas were with it lately, and
//! it is the primary that sentinels name.
//!
//! Each store has one guard. All connections share it, those of requests and those that read the
//! revocation log.

#[cfg(feature = "sentinel")]
use std::sync::Arc;
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, Value};

#[cfg(feature = "sentinel")]
use crate::store::redis::client::sentinel::watch::Watch;
use crate::{
    error::StoreErrorKind,
    store::{
        ServerId,
        redis::{
            client::{
                answer::error::Failure,
                connections::target::Agreed,
                failover::{
                    deployment::Deployment,
                    proofs::{Proofs, Unproved},
                    replication::Replication,
                    write_check::{Unchecked, write_check},
                },
                moment::Moment,
            },
            layout::keys::Keyspace,
        },
    },
};

/// The rules by which answers count, and the warnings for operators that follow from them.
pub(crate) struct Guard {
    keys: Keyspace,
    deployment: Deployment,
    seen: Mutex<Seen>,
    may_be_unchecked: bool,
    /// The proofs that answers need, where they do.
    proofs: Option<Mutex<Proofs>>,
    /// Counts the times at which every connection had to go.
    suspicions: AtomicU64,
    unchecked: Mutex<UncheckedServers>,
    /// The sentinels, where there are any.
    #[cfg(feature = "sentinel")]
    watch: Option<Arc<Watch>>,
}

/// What the servers' settings were when they were last looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Why the declared failover bounds nothing.
    pub(crate) voids: Option<String>,
    /// How many replicas the server demands of each write (`min-replicas-to-write`), if it tells.
    pub(crate) demanded: Option<u64>,
    /// `cluster-node-timeout`, where it is needed and told.
    pub(crate) node_timeout: Option<Duration>,
    /// Why revocations may be dropped.
    pub(crate) evicts: Option<String>,
}

/// How many servers are served unchecked now, and why the latest of them is.
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
    pub(crate) fn new(keys: Keyspace, deployment: Deployment) -> Self {
        Self {
            keys,
            may_be_unchecked: deployment.may_be_unchecked(),
            proofs: deployment.max_lag().map(|max_lag| Mutex::new(Proofs::new(max_lag))),
            deployment,
            seen: Mutex::default(),
            suspicions: AtomicU64::new(0),
            unchecked: Mutex::default(),
            #[cfg(feature = "sentinel")]
            watch: None,
        }
    }

    /// Believes a server only as long as a majority of these sentinels names it.
    #[cfg(feature = "sentinel")]
    pub(crate) fn with_watch(self, watch: Option<Watch>) -> Self {
        Self { watch: watch.map(Arc::new), ..self }
    }

    /// Returns the sentinels, where there are any.
    #[cfg(feature = "sentinel")]
    pub(crate) fn watch(&self) -> Option<&Arc<Watch>> {
        self.watch.as_ref()
    }

    /// Judges an answer of the server that sentinels named by `word`, now that it has come.
    #[cfg_attr(
        not(feature = "sentinel"),
        allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "only sentinels have a word")
    )]
    pub(crate) fn confirm(&self, word: Option<&Agreed>) -> Result<(), Failure> {
        #[cfg(feature = "sentinel")]
        if let (Some(watch), Some(word)) = (&self.watch, word) {
            return watch.confirm(word);
        }
        let _ = word;
        Ok(())
    }

    /// Returns whether sentinels name another server than they did by `word`.
    #[cfg_attr(not(feature = "sentinel"), allow(clippy::unused_self, reason = "only sentinels have a word"))]
    pub(crate) fn names_another(&self, word: Option<&Agreed>) -> bool {
        #[cfg(feature = "sentinel")]
        if let (Some(watch), Some(word)) = (&self.watch, word) {
            return watch.names_another(word);
        }
        let _ = word;
        false
    }

    /// Returns the command that ends every read on which a decision rests. It changes nothing.
    pub(crate) fn write_check(&self, bucket: u32) -> Cmd {
        let mut check = redis::cmd("PERSIST");
        check.arg(self.keys.meta(bucket));
        check
    }

    /// Judges the answer to a write check of this server. Tells operators if its state has changed.
    pub(crate) fn judge_check(&self, answer: &Value, server: &ServerState) -> Result<(), Failure> {
        let unchecked = write_check(answer, self.may_be_unchecked)?;
        let is_unchecked = unchecked.is_some();
        // Seldom: a load costs the many healthy answers less than a swap.
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
            (_, 0, None) => tracing::info!("the Redis server takes writes again"),
            _ => {}
        }
        let _ = (before, after);
    }

    pub(crate) fn deployment(&self) -> Deployment {
        self.deployment
    }

    /// Judges by its proof an answer of this server that was asked for at this moment, over a
    /// connection that was `made` before.
    pub(crate) fn proved(&self, server: Option<ServerId>, asked: Moment, made: Moment) -> Result<(), Failure> {
        let Some(proofs) = &self.proofs else { return Ok(()) };
        let (broken, text) = match lock(proofs).judge(server, asked) {
            Ok(()) => return Ok(()),
            Err(Unproved::Unidentified) => (false, "the server does not tell its identity: grant the user INFO"),
            Err(Unproved::Old) => (false, "not all replicas have acknowledged a write lately"),
            // A newer connection may be the first that leads to the next primary.
            Err(Unproved::OtherServer(proved)) => (proved > made, "the replicas follow another server"),
        };
        Err(Failure::new(StoreErrorKind::Unavailable, broken, text))
    }

    /// Returns how many replicas of this server must acknowledge a write.
    pub(crate) fn replicas(&self, server: Option<ServerId>) -> u64 {
        self.proofs.as_ref().map_or(0, |proofs| lock(proofs).replicas(server))
    }

    /// Notes that there may be this many replicas.
    pub(crate) fn cover(&self, replicas: u64) {
        self.proofs.iter().for_each(|proofs| lock(proofs).cover(replicas));
    }

    /// Notes how many replicas have acknowledged a write that was asked for at this moment. Returns
    /// whether that is a proof.
    pub(crate) fn acknowledged(&self, server: ServerId, asked: Moment, count: u64) -> bool {
        self.proofs.as_ref().is_some_and(|proofs| lock(proofs).acknowledged(server, asked, count))
    }

    /// Notes how many replicas a server demands that has no proof. Returns whether its answers
    /// count without one: it demands none, which voids the bound.
    pub(crate) fn demands(&self, server: ServerId, asked: Moment, seen: Replication) -> bool {
        let counts = self.proofs.as_ref().is_some_and(|proofs| lock(proofs).demands(server, asked, seen.demanded));
        if counts {
            self.note_voids(seen.voids());
        }
        counts
    }

    /// Notes that the write for the replicas could not be made, with the code of the error.
    pub(crate) fn failed(&self, code: &str) {
        self.proofs.iter().for_each(|proofs| lock(proofs).failed(code));
    }

    /// Returns why no answer counts now for lack of a proof.
    pub(crate) fn unproved(&self) -> Option<String> {
        self.proofs.as_ref().and_then(|proofs| lock(proofs).trouble(Moment::now()))
    }

    /// Returns the number of the present time: a connection of an earlier one is not used any more.
    pub(crate) fn suspicions(&self) -> u64 {
        self.suspicions.load(Ordering::Acquire)
    }

    /// Starts a new time. See [`Servers::suspect`](super::servers::Servers::suspect).
    pub(crate) fn suspect(&self) {
        self.suspicions.fetch_add(1, Ordering::AcqRel);
        #[cfg(feature = "sentinel")]
        if let Some(watch) = &self.watch {
            watch.suspect();
        }
    }

    /// Returns how much longer than the staleness an old primary may be believed, or the reason why
    /// that is unknown.
    pub(crate) fn bound(&self) -> Result<Duration, String> {
        let seen = lock(&self.seen);
        if let Some(reason) = &seen.voids {
            return Err(reason.clone());
        }
        match (self.deployment, seen.node_timeout) {
            #[cfg(feature = "cluster")]
            (Deployment::Cluster { node_timeout: None }, node_timeout) => Deployment::Cluster { node_timeout }.bound(),
            (deployment, _) => deployment.bound(),
        }
        .map_err(str::to_owned)
    }

    /// Notes what the servers' settings are now. Logs what is new.
    pub(crate) fn has_seen(&self, seen: Seen) {
        self.cover(seen.demanded.unwrap_or(0));
        self.note_voids(seen.voids.clone());
        let before = std::mem::replace(&mut *lock(&self.seen), seen.clone());
        #[cfg(feature = "tracing")]
        if let Some(text) = seen.evicts.filter(|_| before.evicts.is_none()) {
            tracing::warn!("{text}");
        }
        #[cfg(not(feature = "tracing"))]
        drop((before, seen));
    }

    /// Notes why the declared failover bounds nothing. Logs a new reason.
    fn note_voids(&self, reason: Option<String>) {
        let before = std::mem::replace(&mut lock(&self.seen).voids, reason.clone());
        #[cfg(feature = "tracing")]
        if let Some(reason) = reason.filter(|reason| before.as_ref() != Some(reason)) {
            tracing::warn!(reason, "an old primary may be believed for longer than `failover` declares");
        }
        #[cfg(not(feature = "tracing"))]
        drop((before, reason));
    }

    /// Returns what an operator should mend.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let servers = lock(&self.unchecked);
        let unchecked = servers.latest.filter(|_| servers.count > 0);
        let seen = lock(&self.seen);
        let warnings = unchecked.map(|reason| reason.text().to_owned()).into_iter();
        let warnings = warnings.chain(seen.voids.clone()).chain(seen.evicts.clone()).chain(self.unproved());
        #[cfg(feature = "sentinel")]
        let warnings = warnings.chain(self.watch.as_ref().and_then(|watch| watch.trouble()));
        warnings.collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn misconf() -> Value {
        redis::parse_redis_value(b"-MISCONF its disk is full\r\n").unwrap()
    }

    #[test]
    fn a_warning_stands_as_long_as_one_server_is_served_unchecked() {
        let guard = Guard::new(Keyspace::new("tb", 1).unwrap(), Deployment::Single);
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
        let guard = Guard::new(Keyspace::new("tb", 1).unwrap(), Deployment::Replicas { max_lag });
        assert!(guard.judge_check(&misconf(), &ServerState::default()).is_err());
        assert!(!guard.warnings().iter().any(|warning| warning.contains("MISCONF")));
    }
}

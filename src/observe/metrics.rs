//! The observer that passes observations on to the `metrics` facade.

use std::{fmt, sync::Arc, time::Duration};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::{
    observation::{
        CacheLookup, ChallengeError, CheckReason, CheckResult, Decider, KEY_SOURCE_ERRORS, KeyFetchResult, LeaseLoss,
        LoginFailure, Observation, RefreshResult, STORE_ERRORS, SessionEnd, StoreOperation, StoreOutcome, StreamCause,
    },
    observer::Observer,
    striped::StripedCounter,
};

/// An [`Observer`] that passes all observations on to the recorder of the crate `metrics`.
///
/// | metric | type | labels | unit | meaning |
/// |--|--|--|--|--|
/// | `tower_bearer.checks` | counter | `result`, `reason`, `decided_by` | | checked access tokens |
/// | `tower_bearer.check.duration` | histogram | `result` | s | wait of a check for the store |
/// | `tower_bearer.challenges` | counter | `error` | | rejections with a challenge |
/// | `tower_bearer.forbids` | counter | | | rejections with 403 |
/// | `tower_bearer.sessions.opened` | counter | | | logins |
/// | `tower_bearer.sessions.ended` | counter | `cause` | | ends of sessions before their expiry |
/// | `tower_bearer.logins.failed` | counter | `reason` | | failed calls of the login endpoint |
/// | `tower_bearer.refresh` | counter | `result` | | exchanges of refresh tokens |
/// | `tower_bearer.revocation.propagation` | histogram | | s | time until a revocation was read |
/// | `tower_bearer.replica.age` | gauge | | s | time since the last complete read of the log |
/// | `tower_bearer.replica.bound` | gauge | | s | the staleness that the service allows |
/// | `tower_bearer.replica.leased_buckets` | gauge | | | buckets with a lease |
/// | `tower_bearer.replica.buckets` | gauge | | | all buckets |
/// | `tower_bearer.replica.lease_lost` | counter | `reason` | | losses of leases |
/// | `tower_bearer.replica.revocations` | gauge | | | revocations in memory |
/// | `tower_bearer.replica.bytes` | gauge | | bytes | memory of these revocations |
/// | `tower_bearer.revocations.lost` | counter | | | revocations lost by the store |
/// | `tower_bearer.revocations.restored` | counter | | | republished revocations |
/// | `tower_bearer.store.call.duration` | histogram | `operation` | s | time of a call |
/// | `tower_bearer.store.errors` | counter | `kind` | | calls that failed |
/// | `tower_bearer.issuer_keys.fetches` | counter | `result` | | fetches of other issuers' keys |
/// | `tower_bearer.issuer_keys.fetch.duration` | histogram | | s | time of such a fetch |
/// | `tower_bearer.cache.hits` | counter | | | checks whose token the verified-token cache had |
/// | `tower_bearer.cache.misses` | counter | | | checks whose token this cache did not have |
/// | `tower_bearer.cache.entries` | gauge | | | tokens in the verified-token cache |
/// | `tower_bearer.cache.bytes` | gauge | | bytes | memory of these tokens |
/// | `tower_bearer.password.duration` | histogram | `operation` | s | time to hash or compare |
/// | `tower_bearer.streams.open` | gauge | | | open streams |
/// | `tower_bearer.streams.cut` | counter | `cause` | | streams that were cut |
///
/// * **Labels.** The value of a label is the text that `as_str` of its type returns, such as
///   [`CheckReason::as_str`]. The label `kind` has the type [`StoreOutcome`]. For passwords, the
///   label `operation` is `hash` or `verify`.
/// * **Issuers.** No label names an issuer, because the number of series should not depend on the
///   configuration. [`Status::issuers`](crate::tokens::Status::issuers) and the log name the issuer
///   whose keys cannot be fetched.
/// * **Stability.** The names of the metrics change only with the major version of this crate.
/// * **Recorder.** [`new`](Self::new) registers the series, so **install the recorder first**. Most
///   counters then start at 0, so that a rate sees their first event.
/// * **Services.** A clone shares the series. Give a second service its own recorder. Otherwise
///   both services would set the same gauges.
/// * **Cache.** A check without a lookup is neither a hit nor a miss ([`CacheLookup::None`]). The
///   sum of hits and misses can therefore be less than the number of checks.
/// * **Delay.** Accepted checks and their cache lookups reach the recorder once a second. All other
///   counts reach the recorder immediately. If `build` was called outside of a Tokio runtime,
///   accepted checks reach the recorder only in steps of 1024 per thread.
#[derive(Clone)]
pub struct MetricsObserver(Arc<Handles>);

impl MetricsObserver {
    /// Creates an observer for the current recorder: the global recorder, or that of
    /// `metrics::with_local_recorder`. Without a recorder, the observer discards everything.
    #[must_use]
    pub fn new() -> Self {
        describe();
        Self(Arc::new(Handles::new()))
    }
}

impl Default for MetricsObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MetricsObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsObserver").finish_non_exhaustive()
    }
}

const CHECKS: &str = "tower_bearer.checks";
const CHECK_DURATION: &str = "tower_bearer.check.duration";
const CHALLENGES: &str = "tower_bearer.challenges";
const FORBIDS: &str = "tower_bearer.forbids";
const SESSIONS_OPENED: &str = "tower_bearer.sessions.opened";
const SESSIONS_ENDED: &str = "tower_bearer.sessions.ended";
const LOGINS_FAILED: &str = "tower_bearer.logins.failed";
const REFRESH: &str = "tower_bearer.refresh";
const PROPAGATION: &str = "tower_bearer.revocation.propagation";
const AGE: &str = "tower_bearer.replica.age";
const BOUND: &str = "tower_bearer.replica.bound";
const LEASED_BUCKETS: &str = "tower_bearer.replica.leased_buckets";
const BUCKETS: &str = "tower_bearer.replica.buckets";
const LEASE_LOST: &str = "tower_bearer.replica.lease_lost";
const REVOCATIONS: &str = "tower_bearer.replica.revocations";
const REPLICA_BYTES: &str = "tower_bearer.replica.bytes";
const LOST: &str = "tower_bearer.revocations.lost";
const RESTORED: &str = "tower_bearer.revocations.restored";
const CALL_DURATION: &str = "tower_bearer.store.call.duration";
const STORE_FAILURES: &str = "tower_bearer.store.errors";
const KEY_FETCHES: &str = "tower_bearer.issuer_keys.fetches";
const KEY_FETCH_DURATION: &str = "tower_bearer.issuer_keys.fetch.duration";
const CACHE_HITS: &str = "tower_bearer.cache.hits";
const CACHE_MISSES: &str = "tower_bearer.cache.misses";
const CACHE_ENTRIES: &str = "tower_bearer.cache.entries";
const CACHE_BYTES: &str = "tower_bearer.cache.bytes";
const PASSWORD_DURATION: &str = "tower_bearer.password.duration";
const STREAMS_OPEN: &str = "tower_bearer.streams.open";
const STREAMS_CUT: &str = "tower_bearer.streams.cut";

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Name, type, unit and description of each metric.
const DESCRIPTIONS: [(&str, Kind, Unit, &str); 29] = [
    (CHECKS, Kind::Counter, Unit::Count, "Checks of access tokens."),
    (CHECK_DURATION, Kind::Histogram, Unit::Seconds, "Time for which a check waited for the store."),
    (CHALLENGES, Kind::Counter, Unit::Count, "Requests that were rejected with a challenge."),
    (FORBIDS, Kind::Counter, Unit::Count, "Requests that were rejected with 403."),
    (SESSIONS_OPENED, Kind::Counter, Unit::Count, "Sessions that were opened."),
    (SESSIONS_ENDED, Kind::Counter, Unit::Count, "Ends of sessions before their expiry."),
    (LOGINS_FAILED, Kind::Counter, Unit::Count, "Failed calls of the login endpoint."),
    (REFRESH, Kind::Counter, Unit::Count, "Exchanges of refresh tokens."),
    (PROPAGATION, Kind::Histogram, Unit::Seconds, "Time from a revocation to its application on this node."),
    (AGE, Kind::Gauge, Unit::Seconds, "Time since the node had read the whole revocation log."),
    (BOUND, Kind::Gauge, Unit::Seconds, "Staleness that the service allows."),
    (LEASED_BUCKETS, Kind::Gauge, Unit::Count, "Buckets of the replica with a lease."),
    (BUCKETS, Kind::Gauge, Unit::Count, "Buckets of the replica."),
    (LEASE_LOST, Kind::Counter, Unit::Count, "Losses of leases."),
    (REVOCATIONS, Kind::Gauge, Unit::Count, "Revocations in the memory of the replica."),
    (REPLICA_BYTES, Kind::Gauge, Unit::Bytes, "Memory of the replica's revocations."),
    (LOST, Kind::Counter, Unit::Count, "Revocations that the store has lost."),
    (RESTORED, Kind::Counter, Unit::Count, "Lost revocations that this node has republished."),
    (CALL_DURATION, Kind::Histogram, Unit::Seconds, "Time until the store's answer to a call."),
    (STORE_FAILURES, Kind::Counter, Unit::Count, "Calls to the store that failed."),
    (KEY_FETCHES, Kind::Counter, Unit::Count, "Fetches of other issuers' keys."),
    (KEY_FETCH_DURATION, Kind::Histogram, Unit::Seconds, "Time to fetch another issuer's keys."),
    (CACHE_HITS, Kind::Counter, Unit::Count, "Checks of tokens that the verified-token cache had."),
    (CACHE_MISSES, Kind::Counter, Unit::Count, "Checks of tokens that the verified-token cache did not have."),
    (CACHE_ENTRIES, Kind::Gauge, Unit::Count, "Tokens in the verified-token cache."),
    (CACHE_BYTES, Kind::Gauge, Unit::Bytes, "Weight of the tokens in the verified-token cache."),
    (PASSWORD_DURATION, Kind::Histogram, Unit::Seconds, "Time to hash or to compare a password."),
    (STREAMS_OPEN, Kind::Gauge, Unit::Count, "Open responses, sockets and tasks that the service watches."),
    (STREAMS_CUT, Kind::Counter, Unit::Count, "Open streams that were cut."),
];

/// The names of all metrics of [`MetricsObserver`].
pub const NAMES: [&str; DESCRIPTIONS.len()] = {
    let mut names = [""; DESCRIPTIONS.len()];
    let mut rest: &[_] = &DESCRIPTIONS;
    let mut left: &mut [&str] = &mut names;
    while let ([(name, ..), others @ ..], [first, free @ ..]) = (rest, left) {
        *first = name;
        (rest, left) = (others, free);
    }
    names
};

fn describe() {
    for (name, kind, unit, text) in DESCRIPTIONS {
        match kind {
            Kind::Counter => describe_counter!(name, unit, text),
            Kind::Gauge => describe_gauge!(name, unit, text),
            Kind::Histogram => describe_histogram!(name, unit, text),
        }
    }
}

/// The registered series of all metrics.
struct Handles {
    accepted_hits: AcceptedChecks,
    accepted_misses: AcceptedChecks,
    accepted_without_lookup: AcceptedChecks,
    not_accepted: Vec<(CheckReason, Decider, Counter)>,
    check_durations: Series<CheckResult, Histogram>,
    challenges: Series<ChallengeError, Counter>,
    forbids: Counter,
    sessions_opened: Counter,
    sessions_ended: Series<SessionEnd, Counter>,
    logins_failed: Series<LoginFailure, Counter>,
    refreshes: Series<RefreshResult, Counter>,
    propagation: Histogram,
    age: Gauge,
    bound: Gauge,
    leased_buckets: Gauge,
    buckets: Gauge,
    leases_lost: Series<LeaseLoss, Counter>,
    revocations: Gauge,
    replica_bytes: Gauge,
    lost: Counter,
    restored: Counter,
    calls: Series<StoreOperation, Histogram>,
    store_failures: Series<StoreOutcome, Counter>,
    key_fetches: Series<KeyFetchResult, Counter>,
    key_fetch_duration: Histogram,
    cache_hits: Counter,
    cache_misses: Counter,
    cache_entries: Gauge,
    cache_bytes: Gauge,
    hashes: Histogram,
    verifications: Histogram,
    streams_open: Gauge,
    streams_cut: Series<StreamCause, Counter>,
}

impl Handles {
    fn new() -> Self {
        let store_errors = || STORE_ERRORS.into_iter();
        let (cache_hits, cache_misses) = (counter!(CACHE_HITS), counter!(CACHE_MISSES));
        Self {
            accepted_hits: AcceptedChecks::new(Some(&cache_hits)),
            accepted_misses: AcceptedChecks::new(Some(&cache_misses)),
            accepted_without_lookup: AcceptedChecks::new(None),
            not_accepted: not_accepted(),
            check_durations: Series::new(
                CheckResult::ALL.iter().copied(),
                |result| histogram!(CHECK_DURATION, "result" => result.as_str()),
            ),
            challenges: Series::new(
                ChallengeError::ALL.iter().copied(),
                |error| counter!(CHALLENGES, "error" => error.as_str()),
            ),
            forbids: counter!(FORBIDS),
            sessions_opened: counter!(SESSIONS_OPENED),
            sessions_ended: Series::new(
                SessionEnd::ALL.iter().copied(),
                |cause| counter!(SESSIONS_ENDED, "cause" => cause.as_str()),
            ),
            logins_failed: Series::new(
                LoginFailure::ALL.iter().copied(),
                |reason| counter!(LOGINS_FAILED, "reason" => reason.as_str()),
            ),
            refreshes: Series::new(
                RefreshResult::ALL.iter().copied(),
                |result| counter!(REFRESH, "result" => result.as_str()),
            ),
            propagation: histogram!(PROPAGATION),
            age: gauge!(AGE),
            bound: gauge!(BOUND),
            leased_buckets: gauge!(LEASED_BUCKETS),
            buckets: gauge!(BUCKETS),
            leases_lost: Series::new(
                [LeaseLoss::Resync, LeaseLoss::Stopped, LeaseLoss::Late]
                    .into_iter()
                    .chain(store_errors().map(LeaseLoss::Store)),
                |reason| counter!(LEASE_LOST, "reason" => reason.as_str()),
            ),
            revocations: gauge!(REVOCATIONS),
            replica_bytes: gauge!(REPLICA_BYTES),
            lost: counter!(LOST),
            restored: counter!(RESTORED),
            calls: Series::new(
                StoreOperation::ALL.iter().copied(),
                |operation| histogram!(CALL_DURATION, "operation" => operation.as_str()),
            ),
            store_failures: Series::new(
                store_errors().map(StoreOutcome::Failed).chain([StoreOutcome::Dropped]),
                |outcome| counter!(STORE_FAILURES, "kind" => outcome.as_str()),
            ),
            key_fetches: Series::new(
                KEY_SOURCE_ERRORS.into_iter().map(KeyFetchResult::Failed).chain([KeyFetchResult::Ok]),
                |result| counter!(KEY_FETCHES, "result" => result.as_str()),
            ),
            key_fetch_duration: histogram!(KEY_FETCH_DURATION),
            cache_hits,
            cache_misses,
            cache_entries: gauge!(CACHE_ENTRIES),
            cache_bytes: gauge!(CACHE_BYTES),
            hashes: histogram!(PASSWORD_DURATION, "operation" => "hash"),
            verifications: histogram!(PASSWORD_DURATION, "operation" => "verify"),
            streams_open: gauge!(STREAMS_OPEN),
            streams_cut: Series::new(
                StreamCause::ALL.iter().copied(),
                |cause| counter!(STREAMS_CUT, "cause" => cause.as_str()),
            ),
        }
    }

    fn count_check(&self, result: CheckResult, reason: CheckReason, decided_by: Decider, lookup: CacheLookup) {
        if reason == CheckReason::None {
            let accepted = match lookup {
                CacheLookup::Hit => &self.accepted_hits,
                CacheLookup::Miss => &self.accepted_misses,
                CacheLookup::None => &self.accepted_without_lookup,
            };
            return accepted.count(decided_by);
        }
        match lookup {
            CacheLookup::Hit => self.cache_hits.increment(1),
            CacheLookup::Miss => self.cache_misses.increment(1),
            CacheLookup::None => {}
        }
        match self.not_accepted.iter().find(|(known, decider, _)| (*known, *decider) == (reason, decided_by)) {
            Some((.., series)) => series.increment(1),
            // `not_accepted` has not registered this combination.
            None => check(result, reason, decided_by).increment(1),
        }
    }
}

/// The accepted checks with the same outcome of the cache lookup. Nearly all checks are accepted,
/// so these counters are striped. One increment counts both the check and the lookup.
struct AcceptedChecks {
    by_replica: StripedCounter,
    by_store: StripedCounter,
    without_check: StripedCounter,
}

impl AcceptedChecks {
    /// Registers the series of the checks. `lookups` counts the lookups with the same outcome.
    fn new(lookups: Option<&Counter>) -> Self {
        let accepted = |decided_by| {
            let checks = check(CheckResult::Accepted, CheckReason::None, decided_by);
            StripedCounter::new([checks].into_iter().chain(lookups.cloned()).collect::<Box<[_]>>())
        };
        Self {
            by_replica: accepted(Decider::Replica),
            by_store: accepted(Decider::Store),
            without_check: accepted(Decider::None),
        }
    }

    #[inline]
    fn count(&self, decided_by: Decider) {
        match decided_by {
            Decider::Replica => self.by_replica.increment(),
            Decider::Store => self.by_store.increment(),
            Decider::None => self.without_check.increment(),
        }
    }

    fn flush(&self) {
        [&self.by_replica, &self.by_store, &self.without_check].into_iter().for_each(StripedCounter::flush);
    }
}

/// Registers the series of the checks with these labels.
fn check(result: CheckResult, reason: CheckReason, decided_by: Decider) -> Counter {
    let (result, reason, decided_by) = (result.as_str(), reason.as_str(), decided_by.as_str());
    counter!(CHECKS, "result" => result, "reason" => reason, "decided_by" => decided_by)
}

/// Registers the series of refused and failed checks, for all combinations that occur.
fn not_accepted() -> Vec<(CheckReason, Decider, Counter)> {
    let refused = [
        (CheckReason::Malformed, &[Decider::None][..]),
        (CheckReason::UnknownIssuer, &[Decider::None]),
        (CheckReason::Signature, &[Decider::None]),
        (CheckReason::UnknownKey, &[Decider::None]),
        (CheckReason::Claims, &[Decider::None, Decider::Store]),
        (CheckReason::CustomClaims, &[Decider::None]),
        (CheckReason::WrongType, &[Decider::None]),
        (CheckReason::Expired, &[Decider::None]),
        (CheckReason::NotYetValid, &[Decider::None]),
        (CheckReason::UnknownSession, &[Decider::Replica, Decider::Store]),
        (CheckReason::SessionExpired, &[Decider::Store]),
        (CheckReason::Revoked, &[Decider::Replica, Decider::Store]),
        (CheckReason::Validator, Decider::ALL),
    ];
    let refused = refused.into_iter().map(|(reason, deciders)| (CheckResult::Refused, reason, deciders));
    let store = STORE_ERRORS.into_iter().map(|kind| (CheckReason::Store(kind), &[Decider::None][..]));
    let failed = store.chain([(CheckReason::IssuerKeys, &[Decider::None][..]), (CheckReason::Internal, Decider::ALL)]);
    let failed = failed.map(|(reason, deciders)| (CheckResult::Failed, reason, deciders));
    let all = refused.chain(failed);
    all.flat_map(|(result, reason, deciders)| {
        deciders.iter().map(move |decided_by| (reason, *decided_by, check(result, reason, *decided_by)))
    })
    .collect()
}

/// The series of one metric: one for each label.
struct Series<L, H>(Box<[(L, H)]>);

impl<L: Copy + PartialEq, H> Series<L, H> {
    fn new(labels: impl Iterator<Item = L>, register: impl Fn(L) -> H) -> Self {
        Self(labels.map(|label| (label, register(label))).collect())
    }

    fn get(&self, label: L) -> Option<&H> {
        self.0.iter().find(|(known, _)| *known == label).map(|(_, series)| series)
    }
}

impl<L: Copy + PartialEq> Series<L, Counter> {
    fn count(&self, label: L) {
        if let Some(series) = self.get(label) {
            series.increment(1);
        }
    }
}

impl<L: Copy + PartialEq> Series<L, Histogram> {
    #[inline]
    fn record(&self, label: L, duration: Option<Duration>) {
        // Tests the duration first, because most checks and calls have no duration.
        if let Some(duration) = duration
            && let Some(series) = self.get(label)
        {
            series.record(duration);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "gauges are f64; counts of objects in memory are below 2^53")]
fn level(count: usize) -> f64 {
    count as f64
}

fn total(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Observer for MetricsObserver {
    fn observe(&self, observation: &Observation) {
        let handles = &*self.0;
        match *observation {
            Observation::Check { result, reason, decided_by, lookup, duration } => {
                handles.count_check(result, reason, decided_by, lookup);
                handles.check_durations.record(result, duration);
            }
            Observation::Challenge { error } => handles.challenges.count(error),
            Observation::Forbid => handles.forbids.increment(1),
            Observation::SessionOpened => handles.sessions_opened.increment(1),
            Observation::SessionEnded { cause } => handles.sessions_ended.count(cause),
            Observation::LoginFailed { reason } => handles.logins_failed.count(reason),
            Observation::Refresh { result } => handles.refreshes.count(result),
            Observation::RevocationPropagated { delay } => handles.propagation.record(delay),
            Observation::Replica { age, bound, leased_buckets, buckets, revocations, bytes } => {
                handles.age.set(age);
                handles.bound.set(bound);
                handles.leased_buckets.set(level(leased_buckets));
                handles.buckets.set(level(buckets));
                handles.revocations.set(level(revocations));
                handles.replica_bytes.set(level(bytes));
            }
            Observation::LeaseLost { reason } => handles.leases_lost.count(reason),
            Observation::RevocationsLost { count } => handles.lost.increment(total(count)),
            Observation::RevocationsRestored { count } => handles.restored.increment(total(count)),
            Observation::StoreCall { operation, outcome, duration } => {
                handles.calls.record(operation, duration);
                if outcome != StoreOutcome::Ok {
                    handles.store_failures.count(outcome);
                }
            }
            Observation::KeysFetched { result, duration } => {
                handles.key_fetches.count(result);
                handles.key_fetch_duration.record(duration);
            }
            Observation::StreamOpened => handles.streams_open.increment(1.0),
            Observation::StreamClosed => handles.streams_open.decrement(1.0),
            Observation::StreamCut { cause } => handles.streams_cut.count(cause),
            Observation::Cache { entries, bytes } => {
                // Passes the striped counters on here, because the service makes this observation
                // once a second.
                handles.accepted_hits.flush();
                handles.accepted_misses.flush();
                handles.accepted_without_lookup.flush();
                handles.cache_entries.set(level(entries));
                handles.cache_bytes.set(level(usize::try_from(bytes).unwrap_or(usize::MAX)));
            }
            Observation::PasswordHashed { duration } => handles.hashes.record(duration),
            Observation::PasswordVerified { duration } => handles.verifications.record(duration),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_list_every_metric_once() {
        let rows = include_str!("metrics.rs").lines().filter_map(|line| line.strip_prefix("/// | `tower_bearer."));
        let mut documented: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
        let mut own: Vec<_> = NAMES.iter().filter_map(|name| name.strip_prefix("tower_bearer.")).collect();
        documented.sort_unstable();
        own.sort_unstable();
        assert_eq!(documented, own);
    }

    #[test]
    fn every_error_of_the_store_has_a_series() {
        let labels: Vec<_> = STORE_ERRORS.iter().map(|kind| StoreOutcome::Failed(*kind).as_str()).collect();
        // The match in `store_label` has all kinds. A new kind needs a series too.
        let texts = include_str!("observation.rs").split("const fn store_label").nth(1).unwrap_or_default();
        let texts = texts.split("\n}\n").next().unwrap_or_default();
        assert_eq!(texts.matches("=> \"").count(), labels.len(), "{labels:?}");
    }

    #[test]
    fn every_failure_of_a_fetch_has_a_series() {
        let labels: Vec<_> = KEY_SOURCE_ERRORS.iter().map(|kind| KeyFetchResult::Failed(*kind).as_str()).collect();
        // `KeyFetchResult::as_str` has all kinds. A new kind needs a series too.
        let texts = include_str!("observation.rs").matches("Self::Failed(KeySourceErrorKind::");
        assert_eq!(texts.count(), labels.len(), "{labels:?}");
    }
}

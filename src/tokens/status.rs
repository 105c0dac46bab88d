//! The status of a service for its operator: the store's answer, the keys and the consistency.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Serialize, Serializer};

use super::{
    cache::TokenCache,
    conditions::{Condition, ConditionKind, Conditions},
    keyring::CurrentKeyring,
    policy::Authority,
    readiness::{LastProbe, Readiness, probe},
    store_clock::skew_ms,
    streams::TokenStreams,
};
use crate::{
    clock::saturating_millis,
    cutoff::StreamStatus,
    error::{StoreError, StoreErrorKind, chain},
    issuers::{AcceptedIssuers, IssuerStatus},
    jwt::{Algorithm, SigningKey, VerifyingKey},
    replica::{Replica, ReplicaState, ReplicaStatus},
};

/// The state of a [`TokenService`](super::TokenService). Contains no secret and serializes to JSON.
///
/// # The store's clock
///
/// The `iat` of this service's own tokens is the store's time, and the store's clock judges their
/// times. So a difference between the clocks of node and store has no effect on these tokens.
///
/// If the store's clock goes back, this node's estimate of the store's time stays the same until
/// the store's clock has caught up. So no expired token becomes valid again. A node that starts
/// after the step does not know the earlier time. If the step is longer than the leeway, this node
/// reports a [`Condition`].
///
/// If the step is longer than [`access_lifetime`](super::TokenServiceBuilder::access_lifetime), the
/// estimate follows the store's clock, because this node would otherwise refuse every new token.
/// Tokens that expired within the length of the step may then be valid again.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// `ok` if the store answers, or if the service has no store.
    pub status: ServiceHealth,
    /// The name of the store: `memory`, `redis`, ...; `None` without a store.
    pub store: Option<&'static str>,
    /// The error of the store, if it did not answer.
    pub store_error: Option<String>,
    /// The time from ping to answer, in microseconds.
    pub store_latency_us: Option<u64>,
    /// The source of decisions about revocations.
    pub consistency: ConsistencyStatus,
    /// The longest time until a confirmed revocation holds on this node, in milliseconds. `None` if
    /// unknown. See [the bound](super::Consistency#the-bound).
    pub bound_ms: Option<u64>,
    /// The reason why `bound_ms` is unknown, with a remedy.
    pub bound_reason: Option<String>,
    /// The store's time minus this node's, in milliseconds. `None` without a store, or before its
    /// first answer.
    pub clock_skew_ms: Option<i64>,
    /// The texts of [`conditions`](Self::conditions), except those that `bound_reason` and
    /// `replica` contain.
    pub warnings: Vec<String>,
    /// The conditions that an operator should resolve, with their start. The service may still
    /// serve requests.
    pub conditions: Vec<Condition>,
    /// The state of this node's replica, under bounded staleness only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaStatus>,
    /// The key that signs new tokens, if the service issues tokens.
    pub signing_key: Option<KeyStatus>,
    /// The keys that verify tokens.
    pub verifying_keys: Vec<KeyStatus>,
    /// The number of verified access tokens in the cache (see
    /// [`verified_cache`](super::TokenServiceBuilder::verified_cache)).
    pub verified_tokens: usize,
    /// The weight of these tokens in bytes, which `verified_cache` limits. A token weighs at least
    /// the byte limit divided by the entry limit.
    pub verified_tokens_bytes: u64,
    /// The state of the open responses, sockets and tasks whose tokens this service accepted.
    pub streams: StreamStatus,
    /// The state of each accepted issuer's keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<IssuerStatus>,
    #[serde(skip)]
    store_error_kind: Option<StoreErrorKind>,
}

/// The availability of a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServiceHealth {
    /// The store answers, or the service has none.
    Ok,
    /// The store does not answer. The endpoint [`health`](crate::endpoints::Endpoints::health) also
    /// returns this value if the store refuses a read or a write.
    Unavailable,
}

/// The source of decisions about revocations.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ConsistencyStatus {
    /// The store: every request asks it.
    Strong,
    /// The replica, while it has a lease. See [`Status::replica`].
    Bounded,
    /// No source: the service checks only signature and claims.
    None,
}

/// The public properties of a key.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The `kid` of the key.
    pub kid: Option<String>,
    /// The `alg` of the key.
    #[serde(serialize_with = "as_str")]
    pub alg: Algorithm,
}

impl Status {
    /// Returns true if the store answers, or if the service has no store.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.store_error_kind.is_none()
    }

    /// Returns the kind of [`store_error`](Self::store_error).
    #[must_use]
    pub fn store_error_kind(&self) -> Option<StoreErrorKind> {
        self.store_error_kind
    }
}

impl Status {
    /// Sets `status` to [`ServiceHealth::Unavailable`]. If `store_error` is `None`, sets it to the
    /// text of the condition about refused reads or writes.
    pub(crate) fn note_unready(&mut self) {
        let is_refused = |condition: &&Condition| {
            matches!(condition.kind, ConditionKind::ReadsRefused | ConditionKind::WritesRefused)
        };
        self.status = ServiceHealth::Unavailable;
        if self.store_error.is_none() {
            self.store_error = self.conditions.iter().find(is_refused).map(|condition| condition.text.clone());
        }
    }
}

impl KeyStatus {
    fn of_signing(key: &SigningKey) -> Self {
        Self { kid: key.kid().map(str::to_owned), alg: key.algorithm() }
    }

    fn of_verifying(key: &VerifyingKey) -> Self {
        Self { kid: key.kid().map(str::to_owned), alg: key.algorithm() }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn as_str<S: Serializer>(algorithm: &Algorithm, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(algorithm.as_str())
}

/// The parts of a service that the [`Status`] describes.
pub(super) struct Subjects<'a, C> {
    pub(super) authority: &'a Authority,
    pub(super) replica: Option<&'a Replica>,
    pub(super) keyring: &'a CurrentKeyring,
    pub(super) cache: &'a TokenCache<C>,
    pub(super) streams: &'a TokenStreams,
    pub(super) issuers: &'a AcceptedIssuers,
    pub(super) conditions: &'a Arc<Conditions>,
    pub(super) last_probe: &'a LastProbe,
}

impl<C> Subjects<'_, C> {
    /// Pings the store, and returns the status.
    pub(super) async fn status(&self) -> Status {
        let store = self.authority.store();
        let started = Instant::now();
        let answer = match store {
            Some(store) => store.ping().await.map(drop),
            None => Ok(()),
        };
        let latency = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let error = answer.err();
        if error.is_none() && store.is_some() {
            self.conditions.note_answer();
        }
        let replica = self.replica.map(Replica::status).filter(|status| status.staleness_bound_ms > 0);
        let staleness = replica.as_ref().map_or(0, |replica| replica.staleness_bound_ms);
        let (bound_ms, bound_reason) = match failover_bound(self.authority) {
            Ok(failover) => (Some(staleness.saturating_add(millis_rounded_up(failover))), None),
            Err(reason) => (None, Some(reason)),
        };
        self.note_derived(replica.as_ref(), bound_reason.as_deref());
        let conditions = self.conditions.list();
        let is_given_elsewhere =
            |kind: ConditionKind| matches!(kind, ConditionKind::NoBound | ConditionKind::ReplicaBehind);
        let text = |condition: &Condition| condition.text.clone();
        let keyring = self.keyring.load();
        Status {
            status: if error.is_none() { ServiceHealth::Ok } else { ServiceHealth::Unavailable },
            store: store.map(|store| store.name()),
            store_latency_us: (store.is_some() && error.is_none()).then_some(latency),
            store_error_kind: error.as_ref().map(StoreError::kind),
            store_error: error.as_ref().map(|error| chain(error)),
            consistency: match (store, &replica) {
                (None, _) => ConsistencyStatus::None,
                (_, Some(_)) => ConsistencyStatus::Bounded,
                _ => ConsistencyStatus::Strong,
            },
            bound_ms,
            bound_reason,
            clock_skew_ms: store.and_then(|store| skew_ms(store.now(), self.conditions.clock().now())),
            warnings: conditions.iter().filter(|condition| !is_given_elsewhere(condition.kind)).map(text).collect(),
            conditions,
            replica,
            signing_key: keyring.signer.as_ref().and(keyring.keys.signing_key()).map(KeyStatus::of_signing),
            verifying_keys: keyring.keys.verifying_keys().iter().map(KeyStatus::of_verifying).collect(),
            verified_tokens: self.cache.entries(),
            verified_tokens_bytes: self.cache.bytes(),
            streams: self.streams.status(),
            issuers: self.issuers.iter().map(|issuer| issuer.keys.status()).collect(),
        }
    }

    /// Returns the readiness. See [`TokenService::readiness`](super::TokenService::readiness).
    pub(super) async fn readiness(&self) -> Readiness {
        let is_ready = probe(self.authority, self.last_probe, self.conditions).await.is_ok();
        let replica = self.replica.map(Replica::status).filter(|status| status.staleness_bound_ms > 0);
        self.note_derived(replica.as_ref(), failover_bound(self.authority).err().as_deref());
        Readiness { is_ready, conditions: self.conditions.list() }
    }

    /// Records the conditions that other parts of the crate have found and logged.
    fn note_derived(&self, replica: Option<&ReplicaStatus>, no_bound: Option<&str>) {
        let behind = replica.filter(|replica| replica.state != ReplicaState::Leased).and_then(|replica| replica.reason);
        let behind = behind.map(|reason| format!("this node has no lease for some users: {reason}"));
        self.conditions.set(ConditionKind::ReplicaBehind, behind.as_slice());
        let has_store = self.authority.store().is_some();
        let no_bound = no_bound.filter(|_| has_store).map(str::to_owned);
        self.conditions.set(ConditionKind::NoBound, no_bound.as_slice());
        let of_issuers: Vec<_> = self.issuers.iter().filter_map(|issuer| failing_keys(&issuer.keys.status())).collect();
        self.conditions.set(ConditionKind::IssuerKeys, &of_issuers);
        let of_store = self.authority.store().map(|store| store.warnings()).unwrap_or_default();
        self.conditions.set(ConditionKind::Store, &of_store);
    }
}

/// Returns the text of the condition `issuer_keys`. Returns `None` if the last fetch succeeded.
fn failing_keys(status: &IssuerStatus) -> Option<String> {
    let IssuerStatus { issuer, keys, is_fresh, last_error, .. } = status;
    let error = last_error.as_ref()?;
    Some(match (keys, is_fresh) {
        (0, true) => format!("the issuer `{issuer}` publishes no usable keys, so its tokens get 401: {error}"),
        (0, false) => format!("the keys of the issuer `{issuer}` cannot be fetched, so its tokens get 503: {error}"),
        _ => format!("the keys of the issuer `{issuer}` cannot be fetched, so the present ones stay in use: {error}"),
    })
}

/// Returns the longest time for which a node may use a replaced server. The error is the reason why
/// the time is unknown.
fn failover_bound(authority: &Authority) -> Result<Duration, String> {
    match authority.store() {
        Some(store) => store.failover_bound(),
        None => Err("this service checks no revocations: tokens are valid until they expire".to_owned()),
    }
}

fn millis_rounded_up(duration: Duration) -> u64 {
    saturating_millis(duration.saturating_add(Duration::from_nanos(999_999)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_millisecond_counts_as_a_whole_one() {
        let millis = |nanos| millis_rounded_up(Duration::from_nanos(nanos));
        assert_eq!([millis(0), millis(1), millis(1_000_000), millis(1_000_001)], [0, 1, 1, 2]);
    }
}

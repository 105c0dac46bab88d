//! The status of a service for its operator: the store's answer, the keys in use, and the
//! consistency of checks.

use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

use super::{cache::TokenCache, keyring::CurrentKeyring, policy::Authority};
use crate::{
    clock::saturating_millis,
    cutoff::{StreamStatus, Streams},
    error::{StoreError, StoreErrorKind},
    jwt::{Algorithm, SigningKey, VerifyingKey},
    replica::{Replica, ReplicaStatus},
};

/// The state of a [`TokenService`](super::TokenService). It holds no secret and serializes to JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// `ok` if requests can be checked now.
    pub status: ServiceHealth,
    /// The name of the store: `memory`, `redis`, ...; absent without one.
    pub store: Option<&'static str>,
    /// The reason why the store does not answer.
    pub store_error: Option<String>,
    /// The time that the store took to answer, in microseconds.
    pub store_latency_us: Option<u64>,
    /// The way in which a revocation takes effect.
    pub consistency: ConsistencyStatus,
    /// The longest time, in milliseconds, until a revocation made anywhere holds on this node,
    /// whatever fails. It is the staleness plus the time for which this node may believe a replaced
    /// server. `None` if it is unknown.
    pub bound_ms: Option<u64>,
    /// The reason why `bound_ms` is unknown, and what to do.
    pub bound_reason: Option<String>,
    /// Defects that an operator should mend. Requests may be served all the same.
    pub warnings: Vec<String>,
    /// Under bounded staleness: the state of this node's copy of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaStatus>,
    /// The key that signs new tokens, if tokens are issued here.
    pub signing_key: Option<KeyStatus>,
    /// The keys whose tokens are accepted.
    pub verifying_keys: Vec<KeyStatus>,
    /// Count of the verified access tokens in the cache (see
    /// [`verified_cache`](super::TokenServiceBuilder::verified_cache)).
    pub verified_tokens: usize,
    /// The part of the bound in bytes that they take. An entry takes at least its share: the bytes
    /// by the number of entries that are allowed.
    pub verified_tokens_bytes: u64,
    /// The streams that were admitted with tokens of this service: responses, sockets and tasks.
    pub streams: StreamStatus,
    #[serde(skip)]
    store_error_kind: Option<StoreErrorKind>,
}

/// The availability of a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ServiceHealth {
    /// The store answers, or none is needed.
    Ok,
    /// The store does not answer.
    Unavailable,
}

/// The way in which a revocation takes effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ConsistencyStatus {
    /// Every request asks the store.
    Strong,
    /// This node decides by its copy of the log, as [`Status::replica`] says.
    Bounded,
    /// Not at all: signature and claims alone decide.
    None,
}

/// A key, by its public names.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeyStatus {
    /// `kid`.
    pub kid: Option<String>,
    /// `alg`.
    #[serde(serialize_with = "as_str")]
    pub alg: Algorithm,
}

impl Status {
    /// Returns true if requests can be checked now.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.store_error_kind.is_none()
    }

    /// Returns the kind of the store's error, if it does not answer.
    #[must_use]
    pub fn store_error_kind(&self) -> Option<StoreErrorKind> {
        self.store_error_kind
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

/// The parts of a service that its status is about.
pub(super) struct Subjects<'a, C> {
    pub(super) authority: &'a Authority,
    pub(super) replica: Option<&'a Replica>,
    pub(super) keyring: &'a CurrentKeyring,
    pub(super) cache: &'a TokenCache<C>,
    pub(super) streams: &'a Streams,
}

impl<C> Subjects<'_, C> {
    /// Asks the store, and returns the status. Ends within the store's deadline.
    pub(super) async fn status(&self) -> Status {
        let store = self.authority.store();
        let started = Instant::now();
        let answer = match store {
            Some(store) => store.ping().await.map(|_| ()),
            None => Ok(()),
        };
        let error: Option<StoreError> = answer.err();
        let latency = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let replica = self.replica.map(Replica::status).filter(|status| status.staleness_bound_ms > 0);
        let staleness = replica.as_ref().map_or(0, |replica| replica.staleness_bound_ms);
        let (bound_ms, bound_reason) = match failover_bound(self.authority) {
            Ok(failover) => (Some(staleness.saturating_add(millis_rounded_up(failover))), None),
            Err(reason) => (None, Some(reason)),
        };
        let keyring = self.keyring.load();
        Status {
            status: if error.is_none() { ServiceHealth::Ok } else { ServiceHealth::Unavailable },
            store: store.map(|store| store.name()),
            store_latency_us: (store.is_some() && error.is_none()).then_some(latency),
            store_error: error.as_ref().map(ToString::to_string),
            store_error_kind: error.as_ref().map(StoreError::kind),
            consistency: match self.authority {
                Authority::Nothing => ConsistencyStatus::None,
                _ if replica.is_some() => ConsistencyStatus::Bounded,
                _ => ConsistencyStatus::Strong,
            },
            bound_ms,
            bound_reason,
            warnings: store.map(|store| store.warnings()).unwrap_or_default(),
            replica,
            signing_key: keyring.signer.as_ref().and(keyring.keys.signing_key()).map(KeyStatus::of_signing),
            verifying_keys: keyring.keys.verifying_keys().iter().map(KeyStatus::of_verifying).collect(),
            verified_tokens: self.cache.entries(),
            verified_tokens_bytes: self.cache.bytes(),
            streams: self.streams.status(),
        }
    }
}

/// Returns the time for which a node may believe a replaced server, beyond the staleness.
fn failover_bound(authority: &Authority) -> Result<Duration, String> {
    match authority.store() {
        Some(store) => store.failover_bound(),
        None => Err("the policy `Stateless` checks no revocations: tokens are good until they expire".to_owned()),
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

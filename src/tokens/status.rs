//! The status of a service for its operator: the store's answer, the keys in use, and the
//! consistency of checks.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{ReplicaStatus, TokenPolicy, TokenService};
use crate::{
    clock::saturating_millis,
    error::{StoreError, StoreErrorKind},
    store::SessionStore,
};

/// The state of a [`TokenService`]: the successor of `get_security_status`. It holds no secret and
/// serializes to JSON.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// `ok`, or `unavailable` while the store does not answer.
    pub status: &'static str,
    /// The name of the store: `memory`, `redis`, ...; absent without one.
    pub store: Option<&'static str>,
    /// The reason why the store does not answer.
    pub store_error: Option<String>,
    /// The time that the store took to answer, in microseconds.
    pub store_latency_us: Option<u64>,
    /// The way in which a revocation takes effect:
    ///
    /// * `strong`: every request asks the store.
    /// * `bounded`: by [`replica`](Self::replica).
    /// * `none`: signature and claims alone decide.
    pub consistency: &'static str,
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
    /// [`Builder::verified_cache`](super::Builder::verified_cache)).
    pub verified_tokens: usize,
    /// The part of the bound in bytes that they take. An entry takes at least its share: the bytes
    /// by the number of entries that are allowed.
    pub verified_tokens_bytes: u64,
    #[serde(skip)]
    store_error_kind: Option<StoreErrorKind>,
}

/// A key, by its public names.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeyStatus {
    /// `kid`.
    pub kid: Option<String>,
    /// `alg`.
    pub alg: &'static str,
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

impl<C> TokenService<C> {
    /// Asks the store, and returns its state with the keys and the consistency in use. Ends within
    /// the store's deadline and never fails: the answer contains any error. Dropping the future
    /// changes nothing.
    pub async fn status(&self) -> Status {
        let inner = self.inner();
        let started = Instant::now();
        let answer = match &inner.store {
            Some(store) => store.ping().await.map(|_| ()),
            None => Ok(()),
        };
        let error: Option<StoreError> = answer.err();
        let keyring = inner.keyring.load();
        let replica =
            inner.replica.as_ref().map(|replica| replica.status()).filter(|status| status.staleness_bound_ms > 0);
        let staleness = replica.as_ref().map_or(0, |replica| replica.staleness_bound_ms);
        let (bound_ms, bound_reason) = match bound(inner.policy, inner.store.as_deref()) {
            Ok(failover) => (Some(staleness.saturating_add(millis_rounded_up(failover))), None),
            Err(reason) => (None, Some(reason)),
        };
        let latency = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Status {
            status: if error.is_none() { "ok" } else { "unavailable" },
            store: inner.store.as_ref().map(|store| store.name()),
            store_latency_us: (inner.store.is_some() && error.is_none()).then_some(latency),
            store_error: error.as_ref().map(ToString::to_string),
            store_error_kind: error.as_ref().map(StoreError::kind),
            consistency: match inner.policy {
                TokenPolicy::Tracked | TokenPolicy::Denylist if replica.is_some() => "bounded",
                TokenPolicy::Tracked | TokenPolicy::Denylist => "strong",
                TokenPolicy::Stateless => "none",
            },
            bound_ms,
            bound_reason,
            warnings: inner.store.as_ref().map(|store| store.warnings()).unwrap_or_default(),
            replica,
            signing_key: keyring
                .signer
                .as_ref()
                .and(keyring.keys.signing_key())
                .map(|key| KeyStatus { kid: key.kid().map(str::to_owned), alg: key.algorithm().as_str() }),
            verifying_keys: keyring
                .keys
                .verifying_keys()
                .iter()
                .map(|key| KeyStatus { kid: key.kid().map(str::to_owned), alg: key.algorithm().as_str() })
                .collect(),
            verified_tokens: inner.verified.entries(),
            verified_tokens_bytes: inner.verified.bytes(),
        }
    }
}

/// Returns the time for which a node may believe a replaced server, beyond the staleness.
fn bound(policy: TokenPolicy, store: Option<&dyn SessionStore>) -> Result<Duration, String> {
    match (policy, store) {
        (TokenPolicy::Stateless, _) | (_, None) => {
            Err("the policy `Stateless` checks no revocations: tokens are good until they expire".to_owned())
        }
        (TokenPolicy::Tracked | TokenPolicy::Denylist, Some(store)) => store.failover_bound(),
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

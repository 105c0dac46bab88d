//! Revocations on a store without a log, and on a store whose confirmations name no log entry.

use std::time::Duration;

use tokio::time::Instant;
use tower_bearer::{Consistency, Error, MemoryStore, TokenPolicy, TokenService, error::StoreErrorKind, tokens::Revoke};

use crate::support::{AlteredStore, fixture::SECRET};

const BOUND: Duration = Duration::from_secs(2);

fn service(store: AlteredStore, policy: TokenPolicy, consistency: Consistency) -> TokenService {
    TokenService::builder().secret(SECRET).policy(policy).consistency(consistency).store(store).build().unwrap()
}

/// Returns a service on a store without a log.
fn without_log(failover_bound: Result<Duration, String>, policy: TokenPolicy) -> TokenService {
    let store = AlteredStore { failover_bound, ..AlteredStore::new(MemoryStore::default()).without_log() };
    service(store, policy, Consistency::Strong)
}

/// Returns one revocation of each kind.
fn revocations(tokens: &TokenService) -> [Revoke; 2] {
    [tokens.revoke_session("42", &"s".into()), tokens.revoke_all_for_subject("42")]
}

#[tokio::test(start_paused = true)]
async fn everywhere_waits_for_the_bound_of_a_store_without_a_log() {
    for policy in [TokenPolicy::Tracked, TokenPolicy::Denylist] {
        let tokens = without_log(Ok(BOUND), policy);
        assert_eq!(tokens.status().await.bound_ms, Some(2000));
        for revocation in revocations(&tokens) {
            let began = Instant::now();
            assert_eq!(revocation.everywhere().await.unwrap().position(), None);
            // The clocks of two nodes may run at rates that differ by a thousandth.
            assert!(began.elapsed() >= BOUND + BOUND / 1000, "{policy:?}: {:?}", began.elapsed());
            assert!(began.elapsed() < 2 * BOUND, "{policy:?}: {:?}", began.elapsed());
        }
        for revocation in revocations(&tokens) {
            let began = Instant::now();
            revocation.await.unwrap();
            assert_eq!(began.elapsed(), Duration::ZERO, "on this node it holds at once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everywhere_cannot_wait_for_a_bound_that_is_zero_or_unknown() {
    for (bound, bound_ms) in [(Ok(Duration::ZERO), Some(0)), (Err("nobody knows".to_owned()), None)] {
        let tokens = without_log(bound, TokenPolicy::Tracked);
        assert_eq!(tokens.status().await.bound_ms, bound_ms);
        for revocation in revocations(&tokens) {
            let began = Instant::now();
            revocation.everywhere().await.unwrap();
            assert_eq!(began.elapsed(), Duration::ZERO);
        }
    }
}

#[tokio::test]
async fn a_confirmation_without_the_entry_of_a_log_is_no_confirmation() {
    let bounded = Consistency::BoundedStaleness(Duration::from_secs(1));
    for policy in [TokenPolicy::Tracked, TokenPolicy::Denylist] {
        for consistency in [bounded, Consistency::Strong] {
            let store = AlteredStore::new(MemoryStore::default()).without_entries();
            let tokens = service(store, policy, consistency);
            for revocation in revocations(&tokens) {
                let error = revocation.await.unwrap_err();
                let Error::Store(store) = &error else { panic!("{policy:?}: {error:?}") };
                assert_eq!(store.kind(), StoreErrorKind::Untrusted);
                let source = std::error::Error::source(store).unwrap().to_string();
                assert!(source.contains("revocation log") && source.contains("`Revoked::logged`"), "{source}");
            }
            // The store has a log, but its confirmations name no entry.
            let whole = service(AlteredStore::new(MemoryStore::default()), policy, consistency);
            for revocation in revocations(&whole) {
                assert!(revocation.await.unwrap().position().is_some());
            }
        }
    }
}

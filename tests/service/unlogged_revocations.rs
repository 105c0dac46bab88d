//! Revocations on a store without a log, and on a store whose confirmations name no log entry.

use std::time::Duration;

use tokio::time::Instant;
use tower_bearer::{
    Consistency, Error, MemoryStore, TokenService, error::StoreErrorKind, issuers::IssuerPolicy, tokens::Revoke,
};

use crate::support::{
    AlteredStore,
    fixture::{ISSUER, SECRET, issuer},
};

use Accepts::{OtherIssuers, Own};

const BOUND: Duration = Duration::from_secs(2);

/// The issuer of the tokens that a service accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Accepts {
    Own,
    OtherIssuers,
}

fn service(store: AlteredStore, accepts: Accepts, consistency: Consistency) -> TokenService {
    let builder = match accepts {
        Own => TokenService::builder().secret(SECRET),
        OtherIssuers => TokenService::builder().accept(issuer(IssuerPolicy::Denylist)),
    };
    builder.consistency(consistency).store(store).build().unwrap()
}

/// Returns a service on a store without a log.
fn without_log(failover_bound: Result<Duration, String>, accepts: Accepts) -> TokenService {
    let store = AlteredStore { failover_bound, ..AlteredStore::new(MemoryStore::default()).without_log() };
    service(store, accepts, Consistency::Strong)
}

/// Returns one revocation of each kind.
fn revocations(tokens: &TokenService, accepts: Accepts) -> [Revoke; 2] {
    let others = tokens.external(ISSUER);
    match accepts {
        Own => [tokens.revoke_session("42", &"s".into()), tokens.revoke_all_for_subject("42")],
        OtherIssuers => [others.revoke_session(&"s".into()), others.revoke_subject("42")],
    }
}

#[tokio::test(start_paused = true)]
async fn everywhere_waits_for_the_bound_of_a_store_without_a_log() {
    for accepts in [Own, OtherIssuers] {
        let tokens = without_log(Ok(BOUND), accepts);
        assert_eq!(tokens.status().await.bound_ms, Some(2000));
        for revocation in revocations(&tokens, accepts) {
            let began = Instant::now();
            assert_eq!(revocation.everywhere().await.unwrap().position(), None);
            // The clocks of two nodes may run at rates that differ by a thousandth.
            assert!(began.elapsed() >= BOUND + BOUND / 1000, "{accepts:?}: {:?}", began.elapsed());
            assert!(began.elapsed() < 2 * BOUND, "{accepts:?}: {:?}", began.elapsed());
        }
        for revocation in revocations(&tokens, accepts) {
            let began = Instant::now();
            revocation.await.unwrap();
            assert_eq!(began.elapsed(), Duration::ZERO, "on this node it holds at once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everywhere_cannot_wait_for_a_bound_that_is_zero_or_unknown() {
    for (bound, bound_ms) in [(Ok(Duration::ZERO), Some(0)), (Err("nobody knows".to_owned()), None)] {
        let tokens = without_log(bound, Own);
        assert_eq!(tokens.status().await.bound_ms, bound_ms);
        for revocation in revocations(&tokens, Own) {
            let began = Instant::now();
            revocation.everywhere().await.unwrap();
            assert_eq!(began.elapsed(), Duration::ZERO);
        }
    }
}

#[tokio::test]
async fn a_confirmation_without_the_entry_of_a_log_is_no_confirmation() {
    let bounded = Consistency::BoundedStaleness(Duration::from_secs(1));
    for accepts in [Own, OtherIssuers] {
        for consistency in [bounded, Consistency::Strong] {
            let store = AlteredStore::new(MemoryStore::default()).without_entries();
            let tokens = service(store, accepts, consistency);
            for revocation in revocations(&tokens, accepts) {
                let error = revocation.await.unwrap_err();
                let Error::Store(store) = &error else { panic!("{accepts:?}: {error:?}") };
                assert_eq!(store.kind(), StoreErrorKind::Untrusted);
                let source = std::error::Error::source(store).unwrap().to_string();
                assert!(source.contains("revocation log") && source.contains("`Revoked::logged`"), "{source}");
            }
            // The store has a log, but its confirmations name no entry.
            let whole = service(AlteredStore::new(MemoryStore::default()), accepts, consistency);
            for revocation in revocations(&whole, accepts) {
                assert!(revocation.await.unwrap().position().is_some());
            }
        }
    }
}

//! The conformance suite for stores, on both stores of the crate.

use std::{sync::Arc, time::Duration};

use tower_bearer::store::{
    LogStamp, MemoryStore, Opened, SessionState, SessionStore,
    conformance::{self, Part},
};

#[cfg(feature = "redis")]
use crate::support;
use crate::support::AlteredStore;

const ALL_PARTS: &[Part] = &[Part::Sessions, Part::Log, Part::Denylist];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_memory_store_conforms() {
    let new_store = async || Arc::new(MemoryStore::default()) as Arc<dyn SessionStore>;
    conformance::run_parts(ALL_PARTS, new_store).await.unwrap();
}

/// Runs all rules on one store, because they do not interfere.
#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_redis_store_conforms() {
    let server = support::RedisServer::start();
    let store = tower_bearer::store::RedisStore::connect(&server.url()).await.unwrap();
    let store: Arc<dyn SessionStore> = Arc::new(store);
    conformance::run_parts(ALL_PARTS, async || store.clone()).await.unwrap();
}

/// A store that misbehaves in one method.
type Fault = fn(AlteredStore) -> AlteredStore;

/// For each part a fault, the parts to check, and a rule that the fault breaks.
const FAULTS: [(Fault, &[Part], &str); 6] = [
    (forgets_sessions, &[Part::Sessions], "an_opened_session_is_active"),
    (hides_entries, &[Part::Log], "the_log_is_dense_and_chained"),
    (names_no_time, &[Part::Log], "the_log_tells_for_how_long_it_is_kept"),
    (stamps_any_entry, &[Part::Log], "a_stamp_is_that_of_the_users_last_entry"),
    (denies_nothing, &[Part::Denylist], "a_denied_token_is_denied"),
    (hides_entries, &[Part::Log, Part::Denylist], "a_denial_is_logged"),
];

fn forgets_sessions(store: AlteredStore) -> AlteredStore {
    let checked = |_: &_, mut checked: tower_bearer::store::Checked| {
        checked.state = SessionState::Unknown;
        checked
    };
    AlteredStore { checked, ..store }
}

fn hides_entries(store: AlteredStore) -> AlteredStore {
    let page = |mut page: tower_bearer::store::LogPage| {
        page.entries.clear();
        page
    };
    AlteredStore { page, ..store }
}

fn names_no_time(store: AlteredStore) -> AlteredStore {
    let page = |mut page: tower_bearer::store::LogPage| {
        page.keep = Duration::ZERO;
        page
    };
    AlteredStore { page, ..store }
}

fn stamps_any_entry(store: AlteredStore) -> AlteredStore {
    let opened = |mut opened: Opened| {
        if let Opened::Opened { now, last_revocation, .. } = &mut opened {
            *last_revocation = Some(LogStamp::new(*now, "any"));
        }
        opened
    };
    AlteredStore { opened, ..store }
}

fn denies_nothing(store: AlteredStore) -> AlteredStore {
    let denial = |mut denial: tower_bearer::store::Denial| {
        denial.token = false;
        denial
    };
    AlteredStore { denial, ..store }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fault_in_any_part_is_reported_by_its_rule() {
    let new_store =
        |fault: Fault| -> Arc<dyn SessionStore> { Arc::new(fault(AlteredStore::new(MemoryStore::default()))) };
    for (fault, parts, name) in FAULTS {
        let violations = conformance::run_parts(parts, async || new_store(fault)).await.unwrap_err();
        assert!(violations.iter().any(|violation| violation.rule() == name), "{name}: {violations}");
        // Without the fault the rule passes, so the wrapper does not break it.
        let rule = conformance::rules().iter().find(|rule| rule.name() == name).unwrap();
        rule.check(new_store(|store| store)).await.unwrap();
    }
}

#[tokio::test]
async fn a_suite_that_checks_no_rule_does_not_pass() {
    let new_store = async || Arc::new(MemoryStore::default()) as Arc<dyn SessionStore>;
    let violations = conformance::run_parts(&[], new_store).await.unwrap_err();
    let rules: Vec<_> = violations.iter().map(conformance::Violation::rule).collect();
    assert_eq!(rules, ["at_least_one_rule_is_checked"]);
    assert!(violations.to_string().contains("name at least one `Part`"), "{violations}");
}

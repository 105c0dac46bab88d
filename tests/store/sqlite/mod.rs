//! The store of the example `sqlite_store`, as an example of a third-party store.

#[path = "../../../examples/sqlite_store/store.rs"]
mod example;
mod several;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use example::SqliteStore;
use tokio::time::timeout;
use tower_bearer::{
    Consistency, CutoffCause, NewSession, SessionId, Subject, TokenId, TokenService, TokenType,
    error::StoreErrorKind,
    store::{
        OpenSession, SessionStore,
        conformance::{self, Part, Rule, Violation},
    },
};

/// Longer than all concurrent calls of a rule take on a slow disk.
const DEADLINE: Duration = Duration::from_secs(30);
/// TEST key.
const SECRET: &str = "a TEST secret that is long enough for every HMAC: 0123456789abcdef0123456789abcdef";

/// A database file, removed at the end of its test.
struct File(PathBuf);

impl File {
    fn new() -> Self {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("tower-bearer-test-{}-{number}.db", std::process::id())))
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.0, DEADLINE).unwrap()
    }

    fn service(&self) -> TokenService {
        TokenService::builder().issuer("i").audience("a").secret(SECRET).store(self.store()).build().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            drop(std::fs::remove_file(format!("{}{end}", self.0.display())));
        }
    }
}

async fn is_accepted(tokens: &TokenService, token: &str) -> bool {
    match tokens.validate_token(token, TokenType::Access).await {
        Ok(_) => true,
        Err(tower_bearer::Error::Token(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Each rule opens the file again, which contains the sessions of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_passes_the_session_part_of_the_suite() {
    let file = File::new();
    let new_store = async || Arc::new(file.store()) as Arc<dyn SessionStore>;
    conformance::run_parts(&[Part::Sessions], new_store).await.unwrap();
}

/// The calls of one rule go to several stores in turn, as those of several processes do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_stores_on_one_file_are_one_store() {
    let file = File::new();
    let new_store = async || Arc::new(several::InTurn::new([file.store(), file.store(), file.store()])) as _;
    conformance::run(new_store).await.unwrap();
}

#[tokio::test]
async fn a_revocation_of_one_service_holds_on_another() {
    let file = File::new();
    let (one, two) = (file.service(), file.service());
    let pair = one.create_token_pair(NewSession::new("alice")).await.unwrap();
    let access = pair.access().as_str();
    assert!(is_accepted(&two, access).await);
    two.revoke_session("alice", pair.session_id()).await.unwrap();
    assert!(!is_accepted(&one, access).await);
    assert!(one.refresh(pair.refresh().as_str()).await.is_err());

    let pair = two.create_token_pair(NewSession::new("alice")).await.unwrap();
    one.revoke_all_for_subject("alice").await.unwrap();
    assert!(!is_accepted(&two, pair.access().as_str()).await);
}

#[tokio::test]
async fn sessions_and_revocations_outlive_a_restart() {
    let file = File::new();
    let before = file.service();
    let kept = before.create_token_pair(NewSession::new("alice")).await.unwrap();
    let ended = before.create_token_pair(NewSession::new("alice")).await.unwrap();
    before.revoke_session("alice", ended.session_id()).await.unwrap();
    drop(before);

    let after = file.service();
    assert!(is_accepted(&after, kept.access().as_str()).await);
    assert!(!is_accepted(&after, ended.access().as_str()).await);
    after.refresh(kept.refresh().as_str()).await.unwrap();
}

#[tokio::test]
async fn bounded_staleness_over_a_store_without_a_log_is_a_configuration_error() {
    let file = File::new();
    let builder = TokenService::builder().issuer("i").audience("a").secret(SECRET).store(file.store());
    let error = builder.consistency(Consistency::BoundedStaleness(Duration::from_secs(1))).build().unwrap_err();
    assert_eq!(error.setting(), "consistency");
    let text = error.to_string();
    for part in ["`sqlite`", "revocation log", "use `Consistency::Strong`"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

/// Without a log, a node learns of another node's revocation by asking about each stream.
#[tokio::test]
async fn an_open_stream_is_cut_by_revocations_of_this_node_and_of_another() {
    let file = File::new();
    let node = || {
        let builder = TokenService::builder().issuer("i").audience("a").secret(SECRET).store(file.store());
        builder.stream_staleness(Duration::from_secs(1)).build().unwrap()
    };
    let (here, there) = (node(), node());
    for revoker in [&here, &there] {
        let pair = here.create_token_pair(NewSession::new("alice")).await.unwrap();
        let claims = here.validate_token(pair.access().as_str(), TokenType::Access).await.unwrap();
        let mut cutoff = here.ended(&claims);
        // The store confirms the token for longer than the staleness.
        assert!(timeout(Duration::from_secs(2), &mut cutoff).await.is_err(), "cut without a reason");
        revoker.revoke_session("alice", pair.session_id()).await.unwrap();
        let cause = timeout(DEADLINE, cutoff).await.expect("the stream is cut");
        assert_eq!(cause, CutoffCause::Revoked);
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_an_error_and_no_session() {
    let file = File::new();
    let store = file.store();
    let (alice, sid, jti) = (Subject::from("alice"), SessionId::new("s"), TokenId::new("j"));
    store.open(OpenSession::new(&alice, sid.clone(), DEADLINE, DEADLINE)).await.unwrap();
    let change = |sql: &str| rusqlite::Connection::open(&file.0).unwrap().execute(sql, []).unwrap();
    for (sql, undo) in [
        ("UPDATE sessions SET counter = -1", "UPDATE sessions SET counter = 0"),
        ("UPDATE sessions SET generation = -1", "UPDATE sessions SET generation = 0"),
        ("UPDATE sessions SET revoked_at = -1", "UPDATE sessions SET revoked_at = NULL"),
    ] {
        change(sql);
        let kind = store.check(&alice, &sid, &jti).await.unwrap_err().kind();
        assert_eq!(kind, StoreErrorKind::Untrusted, "{sql}");
        change(undo);
        store.check(&alice, &sid, &jti).await.unwrap();
    }

    std::fs::write(format!("{}.txt", file.0.display()), "no database, but a text of some length").unwrap();
    let other = PathBuf::from(format!("{}.txt", file.0.display()));
    let opened = SqliteStore::open(&other, DEADLINE).map(drop);
    std::fs::remove_file(other).unwrap();
    assert_eq!(opened.unwrap_err().kind(), StoreErrorKind::Untrusted);
}

#[tokio::test]
async fn a_call_ends_within_its_deadline() {
    let file = File::new();
    let store = SqliteStore::open(&file.0, Duration::from_millis(200)).unwrap();
    let mut other = rusqlite::Connection::open(&file.0).unwrap();
    let lock = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let (alice, sid) = (Subject::from("alice"), SessionId::new("s"));
    let kind = store.revoke_session(&alice, &sid).await.unwrap_err().kind();
    assert_eq!(kind, StoreErrorKind::Timeout);
    // A reader does not wait for a writer.
    store.check(&alice, &sid, &TokenId::new("j")).await.unwrap();
    drop(lock);
    store.revoke_session(&alice, &sid).await.unwrap();
}

/// A suite run that requires a log must not pass because the store has none.
#[tokio::test]
async fn a_part_that_is_demanded_but_missing_breaks_all_rules_of_that_part() {
    let file = File::new();
    let new_store = async || Arc::new(file.store()) as Arc<dyn SessionStore>;
    let violations = conformance::run_parts(&[Part::Log], new_store).await.unwrap_err();
    let expected = conformance::rules().iter().filter(|rule| rule.parts() == [Part::Log]);
    assert!(violations.iter().map(Violation::rule).eq(expected.map(Rule::name)));
    assert!(violations.to_string().contains("the store lacks the part Log"), "{violations}");
}

//! A provider of credentials: asked at each connect, so that a password can change without a
//! restart.

use std::{
    error::Error,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tower_bearer::{
    BoxError, NewSession, TokenService, TokenType,
    error::{StoreError, StoreErrorKind},
    store::{
        RedisStore, SessionState,
        redis::{ConnectError, ConnectErrorKind, Credentials, CredentialsError, RedisStoreBuilder},
    },
};

use crate::support::{
    HANG, RedisServer, TextStore, eventually,
    redis_fixture::{GRACE, node_on, open, rotation},
};

/// Less than half of [`GRACE`]: the store then repeats a rotation whose connection broke.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A password that the test changes, and the count of questions for it.
#[derive(Clone)]
struct Vault {
    /// `None` makes the provider fail.
    password: Arc<Mutex<Option<&'static str>>>,
    asked: Arc<AtomicUsize>,
}

impl Vault {
    fn holding(password: &'static str) -> Self {
        Self { password: Arc::new(Mutex::new(Some(password))), asked: Arc::default() }
    }

    fn hold(&self, password: Option<&'static str>) {
        *self.password.lock().unwrap() = password;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Makes a store ask this vault for the password of `app`.
    fn open(&self, builder: RedisStoreBuilder) -> RedisStoreBuilder {
        let vault = self.clone();
        builder.credentials_provider(move || {
            vault.asked.fetch_add(1, Ordering::SeqCst);
            let password = *vault.password.lock().unwrap();
            async move { Ok(Credentials::new("app", password.ok_or("TEST: the vault is sealed")?)) }
        })
    }
}

async fn run(mut admin: MultiplexedConnection, words: &[&str]) {
    redis::cmd(words[0])
        .arg(&words[1..])
        .exec_async(&mut admin)
        .await
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

async fn allow(server: &RedisServer, password: &str) {
    let user = ["ACL", "SETUSER", "app", "on", &format!(">{password}"), "+@all", "~*", "&*"];
    run(server.admin().await, &user).await;
}

/// Returns the credentials' error below an error of the store.
fn cause(error: &StoreError) -> Option<&CredentialsError> {
    error.source()?.downcast_ref()
}

/// Checks and rotates a session.
async fn use_session(store: RedisStore, sid: String, counter: u32) -> Result<(), BoxError> {
    store.check("alice", &sid, "j").await?;
    store.rotate(rotation("alice", &sid, counter, GRACE)).await?;
    Ok(())
}

/// Logs in, refreshes, sends a request and logs out.
async fn log_in_and_out(tokens: TokenService, user: String) -> Result<(), BoxError> {
    let login = tokens.create_token_pair(NewSession::new(user)).await?;
    let renewed = tokens.refresh(login.refresh().as_str()).await?;
    let claims = tokens.validate_token(renewed.access().as_str(), TokenType::Access).await?;
    tokens.revoke_claims(&claims).await?;
    Ok(())
}

/// Repeats `call` until `stop`. Returns the number of calls, and the first error.
async fn repeat_until<F>(stop: Arc<AtomicBool>, call: impl Fn(u32) -> F) -> (u32, Option<BoxError>)
where
    F: Future<Output = Result<(), BoxError>>,
{
    let mut calls = 0;
    while !stop.load(Ordering::SeqCst) {
        if let Err(error) = call(calls).await {
            return (calls, Some(error));
        }
        calls += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (calls, None)
}

#[tokio::test]
async fn a_password_that_changes_under_load_fails_no_request() {
    let server = RedisServer::start();
    allow(&server, "TEST-0").await;
    let vault = Vault::holding("TEST-0");
    let store = vault.open(RedisStore::builder(server.url())).timeout(TIMEOUT).connect().await.unwrap();
    let stop = Arc::<AtomicBool>::default();
    let mut callers = Vec::new();
    for number in 0..8 {
        let sid = format!("s-{number}");
        open(&store, "alice", &sid).await;
        let store = store.clone();
        let call = move |counter| use_session(store.clone(), sid.clone(), counter);
        callers.push(tokio::spawn(repeat_until(Arc::clone(&stop), call)));
    }
    let tokens = node_on(store, |builder| builder);
    for number in 0..8 {
        let tokens = tokens.clone();
        let call = move |login| log_in_and_out(tokens.clone(), format!("user-{number}-{login}"));
        callers.push(tokio::spawn(repeat_until(Arc::clone(&stop), call)));
    }
    let mut old = "TEST-0";
    for new in ["TEST-1", "TEST-2", "TEST-3"] {
        // Real time, so that calls run between the changes.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let asked = vault.asked();
        run(server.admin().await, &["ACL", "SETUSER", "app", &format!(">{new}")]).await;
        vault.hold(Some(new));
        run(server.admin().await, &["ACL", "SETUSER", "app", &format!("<{old}")]).await;
        run(server.admin().await, &["CLIENT", "KILL", "USER", "app"]).await;
        eventually("the store connects again", async || (vault.asked() > asked).then_some(())).await;
        let stranger = RedisStore::connect(server.url().replace("//", &format!("//app:{old}@"))).await;
        assert_eq!(stranger.unwrap_err().kind(), ConnectErrorKind::Unauthenticated, "{old} is void");
        old = new;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        let (calls, error) = caller.await.unwrap();
        assert!(error.is_none() && calls > 10, "after {calls} calls: {error:?}");
    }
}

#[tokio::test]
async fn a_password_of_all_users_changes_too() {
    let server = RedisServer::start();
    let admin = server.admin().await;
    run(admin.clone(), &["CONFIG", "SET", "requirepass", "TEST-0"]).await;
    let password = Arc::new(Mutex::new("TEST-0"));
    let held = Arc::clone(&password);
    let provider = move || {
        let password = *held.lock().unwrap();
        async move { Ok(Credentials::password(password)) }
    };
    let store = RedisStore::builder(server.url()).timeout(HANG).credentials_provider(provider).connect().await.unwrap();
    for new in ["TEST-1", "TEST-2"] {
        run(admin.clone(), &["CONFIG", "SET", "requirepass", new]).await;
        *password.lock().unwrap() = new;
        run(admin.clone(), &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        eventually("the store answers", async || store.check("alice", "s", "j").await.ok()).await;
    }
}

#[tokio::test]
async fn a_provider_that_fails_is_the_cause_and_its_recovery_needs_no_restart() {
    let server = RedisServer::start();
    allow(&server, "TEST-0").await;
    let vault = Vault::holding("TEST-0");
    vault.hold(None);
    let error = vault.open(RedisStore::builder(server.url())).connect().await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Credentials);
    let ConnectError::Store(error) = error else { panic!("{error:?}") };
    let Some(CredentialsError::Provider(source)) = cause(&error) else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "TEST: the vault is sealed");

    vault.hold(Some("TEST-0"));
    let store = vault.open(RedisStore::builder(server.url())).connect().await.unwrap();
    open(&store, "alice", "s").await;
    vault.hold(None);
    run(server.admin().await, &["CLIENT", "KILL", "USER", "app"]).await;
    // The first call may still find the broken connections.
    let error = eventually("the provider's error is the cause", async || {
        let error = store.check("alice", "s", "j").await.unwrap_err();
        matches!(cause(&error), Some(CredentialsError::Provider(_))).then_some(error)
    })
    .await;
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    vault.hold(Some("TEST-0"));
    let checked = eventually("the store answers", async || store.check("alice", "s", "j").await.ok()).await;
    assert!(matches!(checked.state, SessionState::Active { .. }));
}

#[tokio::test]
async fn a_provider_that_hangs_ends_with_the_timeout() {
    let server = RedisServer::start();
    let limit = Duration::from_millis(100);
    let builder = RedisStore::builder(server.url()).timeout(limit).credentials_provider(std::future::pending);
    let error = tokio::time::timeout(HANG, builder.connect()).await.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ConnectErrorKind::Credentials | ConnectErrorKind::Unreachable), "{error:?}");
}

#[tokio::test]
async fn a_provider_beside_fixed_credentials_is_a_conflict() {
    let vault = Vault::holding("TEST-0");
    for url in ["redis://app:x@127.0.0.1:1/", "redis://:x@127.0.0.1:1/", "redis://app@127.0.0.1:1/"] {
        let error = vault.open(RedisStore::builder(url)).connect().await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::Config(error) if error.setting() == "credentials_provider"),
            "{url}: {error:?}"
        );
    }
    let config = deadpool_redis::Config::from_url("redis://127.0.0.1:1/");
    let pool = config.create_pool(Some(deadpool_redis::Runtime::Tokio1)).unwrap();
    let error = vault.open(RedisStoreBuilder::from_pool(pool)).connect().await.unwrap_err();
    assert!(matches!(&error, ConnectError::Config(error) if error.setting() == "credentials_provider"), "{error:?}");
    assert_eq!(vault.asked(), 0);
}

#[cfg(feature = "sentinel")]
#[tokio::test]
async fn servers_behind_sentinels_are_met_with_the_providers_password() {
    use crate::support::sentinel::{MASTER, Sentinel};

    let server = RedisServer::start();
    allow(&server, "TEST-0").await;
    let sentinel = Sentinel::start(server.port());
    let vault = Vault::holding("TEST-0");
    let store = eventually("the store connects", async || {
        vault.open(RedisStore::sentinel([sentinel.url()], MASTER)).connect().await.ok()
    })
    .await;
    // The sentinel itself needs the user `default`, and the store must not use that one.
    let mut admin = server.admin().await;
    let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut admin).await.unwrap();
    assert!(clients.lines().any(|line| line.contains("user=app")), "{clients}");
    open(&store, "alice", "s").await;
    run(server.admin().await, &["ACL", "SETUSER", "app", ">TEST-1", "<TEST-0"]).await;
    vault.hold(Some("TEST-1"));
    run(server.admin().await, &["CLIENT", "KILL", "USER", "app"]).await;
    eventually("the primary is met again", async || store.check("alice", "s", "j").await.ok()).await;
    let error = vault
        .open(RedisStore::sentinel([sentinel.url()], MASTER).credentials("app", "TEST-0"))
        .connect()
        .await
        .unwrap_err();
    assert!(matches!(&error, ConnectError::Config(error) if error.setting() == "credentials_provider"), "{error:?}");
}

#[tokio::test]
async fn feeds_and_their_nudges_ask_the_provider_too() {
    let server = RedisServer::start();
    allow(&server, "TEST-0").await;
    run(server.admin().await, &["ACL", "SETUSER", "default", "-@all", "+info", "+ping", "+client", "+acl"]).await;
    let vault = Vault::holding("TEST-0");
    let store = vault.open(RedisStore::builder(server.url()).buckets(1)).connect().await.unwrap();
    let before = vault.asked();
    let mut feeds = store.feeds(HANG);
    let feed = &mut feeds[0];
    feed.read(vec![(0, tower_bearer::store::LogQuery::newest())]).await.unwrap();
    assert!(tokio::time::timeout(HANG, feed.nudged()).await.is_ok());
    assert!(vault.asked() >= before + 2, "{before} and then {}", vault.asked());
}

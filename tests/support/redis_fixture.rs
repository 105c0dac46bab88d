//! A Redis server and a store for one test, with short names for common calls.

use std::{num::NonZeroU32, time::Duration};

use redis::{FromRedisValue, aio::MultiplexedConnection};
use tower_bearer::{
    TokenService,
    clock::Timestamp,
    issuers::IssuerPolicy,
    store::{
        DenyQuery, LogEntry, LogQuery, OpenSession, Opened, Page, RedisStore, RotateRefresh, Rotated, SessionRecord,
        SessionState, Successor,
    },
    tokens::TokenServiceBuilder,
};

use super::{
    RedisServer, TextStore,
    fixture::{self, AUDIENCE, ISSUER, SECRET},
};

pub const IDLE: Duration = Duration::from_secs(7 * 24 * 3600);
pub const ABSOLUTE: Duration = Duration::from_secs(30 * 24 * 3600);
pub const GRACE: Duration = Duration::from_secs(30);

pub struct Fixture {
    pub server: RedisServer,
    pub store: RedisStore,
    pub admin: MultiplexedConnection,
}

impl Fixture {
    /// Starts a server and a store with one bucket, so that a test knows the name of every key.
    pub async fn new() -> Self {
        Self::on(RedisServer::start()).await
    }

    pub async fn on(server: RedisServer) -> Self {
        let store = RedisStore::builder(server.url()).buckets(1).connect().await.expect("a store");
        let admin = server.admin().await;
        Self { server, store, admin }
    }

    /// Runs a command on the server itself.
    pub async fn redis<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut self.admin.clone()).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub async fn open(&self, subject: &str, sid: &str) -> u64 {
        open(&self.store, subject, sid).await
    }

    pub async fn state(&self, subject: &str, sid: &str) -> SessionState {
        self.state_of(subject, sid, "no-such-jti").await
    }

    pub async fn state_of(&self, subject: &str, sid: &str, jti: &str) -> SessionState {
        self.store.check(subject, sid, jti).await.expect("a check").state
    }

    pub async fn is_active(&self, subject: &str, sid: &str) -> bool {
        matches!(self.state(subject, sid).await, SessionState::Active { .. })
    }

    pub async fn is_revoked(&self, subject: &str, sid: &str) -> bool {
        matches!(self.state(subject, sid).await, SessionState::Revoked { .. })
    }

    pub async fn rotate(&self, subject: &str, sid: &str, counter: u32) -> Rotated {
        self.store.rotate(rotation(subject, sid, counter, GRACE)).await.expect("a rotation")
    }

    pub async fn list(&self, subject: &str) -> Vec<SessionRecord> {
        let (mut sessions, mut page) = (Vec::new(), Page::default());
        loop {
            let part = self.store.sessions(subject, page).await.expect("a page");
            sessions.extend(part.sessions);
            let Some(cursor) = part.next else { return sessions };
            page = Page::at(Some(cursor));
        }
    }

    /// Returns the whole log of the bucket, and checks its chain.
    pub async fn log(&self) -> Vec<LogEntry> {
        let page = self.store.read(0, LogQuery::from_start()).await.expect("the log");
        if let Some(last) = page.entries.last() {
            assert_eq!((page.sequence, &page.head, page.at), (last.sequence, &last.nonce, last.at));
        }
        for pair in page.entries.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence + 1);
            assert_eq!((&pair[1].previous, pair[1].previous_at), (&pair[0].nonce, pair[0].at));
        }
        page.entries
    }
}

/// Changes a request of a non-exhaustive type.
pub fn with<T>(mut request: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut request);
    request
}

pub fn session(subject: &str, sid: &str) -> OpenSession {
    OpenSession::new(subject, sid.into(), IDLE, ABSOLUTE)
}

pub fn capped(subject: &str, sid: &str, cap: u32) -> OpenSession {
    with(session(subject, sid), |open| open.max_sessions = NonZeroU32::new(cap))
}

pub fn rotation(subject: &str, sid: &str, counter: u32, grace: Duration) -> RotateRefresh {
    RotateRefresh::new(subject, sid.into(), counter, IDLE, grace)
}

/// Returns a query about a token of another issuer. An empty text stands for a missing id.
pub fn query(issuer: &str, jti: &str, sid: &str, subject: &str) -> DenyQuery {
    fn non_empty<Id: for<'a> From<&'a str>>(text: &str) -> Option<Id> {
        (!text.is_empty()).then(|| text.into())
    }
    with(DenyQuery::new(issuer), |query| {
        (query.jti, query.sid, query.subject) = (non_empty(jti), non_empty(sid), non_empty(subject));
    })
}

pub async fn open(store: &RedisStore, subject: &str, sid: &str) -> u64 {
    match store.open(session(subject, sid)).await.expect("an open session") {
        Opened::Opened { generation, .. } => generation,
        other => panic!("{other:?}"),
    }
}

/// Returns a user whose bucket satisfies `is_wanted`.
pub fn user_of(store: &RedisStore, is_wanted: impl Fn(u32) -> bool) -> String {
    (0..1000).map(|n| format!("user-{n}")).find(|user| is_wanted(store.bucket_of(user))).expect("a user of the bucket")
}

pub fn successor(rotated: Rotated) -> Successor {
    match rotated {
        Rotated::Rotated(successor) | Rotated::Replayed(successor) => successor,
        other => panic!("{other:?}"),
    }
}

/// Waits until the store's clock shows a later moment than `moment`.
pub async fn wait_until_after(store: &RedisStore, moment: Timestamp) {
    super::eventually("the store's clock moves on", async || {
        (store.ping().await.expect("a ping") > moment).then_some(())
    })
    .await;
}

/// Starts a token service with its own store on the server at this URL. Its timeout is longer than
/// the default, because a machine may be busy.
pub async fn node(url: &str, configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) -> TokenService {
    let store = RedisStore::builder(url).timeout(super::HANG).connect().await.expect("a store");
    node_on(store, configure)
}

/// Returns a token service on this store.
pub fn node_on(store: RedisStore, configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) -> TokenService {
    let builder = TokenService::builder().secret(SECRET).issuer(ISSUER).audience(AUDIENCE).store(store);
    configure(builder).build().expect("a service")
}

/// Returns a service on this store that has no tokens of its own. It accepts those of
/// [`ISSUER`], and can revoke them.
pub fn denylist_on(
    store: RedisStore,
    configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder,
) -> TokenService {
    let builder = TokenService::builder().accept(fixture::issuer(IssuerPolicy::Denylist)).store(store);
    configure(builder).build().expect("a service")
}

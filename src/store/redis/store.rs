//! The store, and its implementation of the traits of stores.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
    store::{
        Checked, Denial, DenyQuery, DenyRequest, Denylist, ExternalId, ExternalName, LogFeed, LogPage, LogQuery,
        OpenSession, Opened, Page, Revocation, RevocationLog, Revoked, RotateRefresh, Rotated, SessionPage,
        SessionStore, StoreAnswer, check_ids, ids_of,
        redis::{
            feed,
            ops::{
                denylist, log, republish,
                sessions::{self, SessionCheck},
            },
            scripts::context::{Context, Parts},
        },
    },
};

/// A store of sessions in Redis. See the [module](super). Its clones share everything.
#[derive(Clone)]
pub struct RedisStore {
    parts: Arc<Parts>,
}

/// A call that has begun, and its deadline.
struct Call {
    parts: Arc<Parts>,
    deadline: Instant,
}

impl RedisStore {
    /// Creates the store of these parts.
    pub(crate) fn of(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Begins a call with a deadline of its own.
    fn begin(&self) -> Call {
        Call { deadline: self.parts.client.deadline(), parts: Arc::clone(&self.parts) }
    }
}

impl Call {
    /// Returns the context of the call.
    fn context(&self) -> Context<'_> {
        self.parts.until(self.deadline)
    }
}

impl fmt::Debug for RedisStore {
    /// Formats it without URL and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.parts.keyspace.prefix())
            .field("buckets", &self.parts.keyspace.buckets())
            .field("client", &self.parts.client)
            .finish_non_exhaustive()
    }
}

impl SessionStore for RedisStore {
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
        if let Err(error) = check_ids([open.subject.as_str(), open.sid.as_str()]) {
            return StoreAnswer::Ready(Err(error));
        }
        let call = self.begin();
        StoreAnswer::pending(async move { sessions::open(call.context(), open).await })
    }

    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked> {
        let check = SessionCheck::new(&self.parts.keyspace, subject.as_str(), sid.as_str(), jti.as_str());
        let call = self.begin();
        StoreAnswer::pending(async move { check.run(call.context().client, call.deadline).await })
    }

    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
        if let Err(error) = check_ids([rotate.subject.as_str(), rotate.sid.as_str()]) {
            return StoreAnswer::Ready(Err(error));
        }
        let call = self.begin();
        StoreAnswer::pending(async move { sessions::rotate(call.context(), rotate).await })
    }

    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked> {
        if let Err(error) = check_ids([subject.as_str(), sid.as_str()]) {
            return StoreAnswer::Ready(Err(error));
        }
        let (call, subject, sid) = (self.begin(), subject.clone(), sid.clone());
        StoreAnswer::pending(async move { sessions::revoke_session(call.context(), &subject, &sid).await })
    }

    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked> {
        if let Err(error) = check_ids([subject.as_str(), jti.as_str()]) {
            return StoreAnswer::Ready(Err(error));
        }
        let (call, subject, jti) = (self.begin(), subject.clone(), jti.clone());
        StoreAnswer::pending(async move { sessions::revoke_token(call.context(), &subject, &jti, until).await })
    }

    /// Ends all sessions of a user, but `except`.
    ///
    /// [`Revoked::found`] is exact for a user of up to 128 fields (sessions, ended sessions,
    /// revoked tokens). Beyond that it is true if a session was opened since the last time, or one
    /// was kept then that is not kept now. To look at each would take time that grows with them.
    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked> {
        if let Err(error) = check_ids([subject.as_str()].into_iter().chain(except.map(SessionId::as_str))) {
            return StoreAnswer::Ready(Err(error));
        }
        let (call, subject, except) = (self.begin(), subject.clone(), except.cloned());
        StoreAnswer::pending(async move { sessions::revoke_all(call.context(), &subject, except.as_ref()).await })
    }

    /// Lists the user's live sessions. A session may be listed twice if sessions come and go
    /// between two pages (`HSCAN`).
    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage> {
        let (call, subject) = (self.begin(), subject.clone());
        StoreAnswer::pending(async move { sessions::sessions(call.context(), &subject, page).await })
    }

    fn ping(&self) -> StoreAnswer<Timestamp> {
        let call = self.begin();
        StoreAnswer::pending(async move { call.context().client.ping(call.deadline).await })
    }

    fn now(&self) -> Timestamp {
        self.parts.client.now()
    }

    fn name(&self) -> &'static str {
        "redis"
    }

    /// Returns the bound of [`Failover`](super::Failover) for one address,
    /// [`sentinel_patience`](super::RedisStoreBuilder::sentinel_patience) behind sentinels, and
    /// `cluster-node-timeout` in a cluster.
    fn failover_bound(&self) -> Result<Duration, String> {
        self.parts.client.guard().bound()
    }

    fn warnings(&self) -> Vec<String> {
        self.parts.client.guard().warnings()
    }

    fn revocation_log(self: Arc<Self>) -> Option<Arc<dyn RevocationLog>> {
        Some(self)
    }

    fn denylist(self: Arc<Self>) -> Option<Arc<dyn Denylist>> {
        Some(self)
    }
}

impl RevocationLog for RedisStore {
    fn buckets(&self) -> u32 {
        self.parts.keyspace.buckets()
    }

    fn bucket_of(&self, subject: &Subject) -> u32 {
        self.parts.keyspace.bucket_of(subject.as_str())
    }

    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage> {
        let call = self.begin();
        StoreAnswer::pending(async move { log::read(call.context(), bucket, query).await })
    }

    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()> {
        if let Err(error) = check_ids(ids_of(&revocation)) {
            return StoreAnswer::Ready(Err(error));
        }
        let call = self.begin();
        StoreAnswer::pending(async move { republish::republish(call.context(), bucket, revocation, until).await })
    }

    /// Keeps log entries for at least `keep`. That reaches a bucket of the server with the next
    /// write to it or the next read of its log.
    fn keep_log_for(&self, keep: Duration) {
        self.parts.demands.keep_for(keep);
    }

    /// Records this node's staleness. That reaches a bucket of the server with the next write to it
    /// or the next read of its log.
    fn allow_staleness(&self, staleness: Duration) {
        self.parts.demands.allow_staleness(staleness);
    }

    /// Returns the feeds of the log. Behind one address, or sentinels: one feed, over one
    /// connection. In a cluster: one feed a bucket, because buckets move between servers one by
    /// one, over one connection to each primary.
    ///
    /// To be called inside a Tokio runtime. Subscriptions for nudges then live on it until the
    /// feeds are dropped. There are no subscriptions in three cases:
    ///
    /// * with [a pool of your own](super::RedisStoreBuilder::from_pool), whose address is not
    ///   known,
    /// * without the right to `SSUBSCRIBE` to the channels of the prefix,
    /// * with a server that knows no RESP3.
    fn feeds(&self, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
        feed::feeds(&self.parts, deadline)
    }
}

impl Denylist for RedisStore {
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked> {
        if let Err(error) = check_ids([deny.id.as_str()]) {
            return StoreAnswer::Ready(Err(error));
        }
        let call = self.begin();
        StoreAnswer::pending(async move { denylist::deny(call.context(), deny).await })
    }

    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial> {
        let call = self.begin();
        StoreAnswer::pending(async move { denylist::denied(call.context(), query).await })
    }

    /// Keeps the log for as long: its entries and the denials are kept alike.
    fn keep_denials_for(&self, keep: Duration) {
        self.keep_log_for(keep);
    }

    fn log_name(&self, issuer: &str, id: &ExternalId) -> ExternalName {
        let key = self.parts.keyspace.external(issuer, id);
        ExternalName { bucket: key.bucket, id: key.hash }
    }
}

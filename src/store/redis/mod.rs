//! A store of sessions and revocations in Redis (7.0 or later) or Valkey.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use tower_bearer::store::RedisStore;
//!
//! let store = RedisStore::connect("redis://127.0.0.1/").await?;
//! # Ok(()) }
//! ```
//!
//! # Guarantees
//!
//! Every change is one Lua script over keys of one slot, with Redis `TIME` as its clock. No client
//! sees half of it, and every later call on every node sees a change that was acknowledged. If a
//! command inside a script fails (a right that is missing), the commands before it stay. Their
//! order is such that a session has ended before its end is logged, and the next script that meets
//! it logs it. Every call ends within one deadline ([`RedisStoreBuilder::timeout`]), whatever the
//! server or the network does.
//!
//! Every read asks the server for its role too. A primary that was demoted (behind a name or an
//! address that moved) still answers on open connections, from data that grow old. Such an answer
//! is rejected and its connection dropped.
//!
//! A primary that was cut off keeps its role. So every read ends with a write that changes nothing,
//! and behind sentinels a majority of them must name the server. [`Failover`] and
//! [`failover_bound`](crate::store::SessionStore::failover_bound) bound the time for which a node may
//! believe an old primary all the same.
//!
//! # Rights
//!
//! The user needs these rights, here for the prefix `tb`:
//!
//! ```text
//! ~tb:* &tb:* +@read +@write +@connection +@scripting +@pubsub -@dangerous +role +info +time
//! ```
//!
//! In a cluster `+cluster|slots` as well. With `+config|get` the store reads the settings on which
//! the bound of a failover rests.
//!
//! # Failures
//!
//! * **The server is away**: every call is an error, within the deadline or at once. Nothing has to
//!   be restarted when it comes back.
//! * **It is out of memory**: revocations work, also the one that follows from a refresh token used
//!   twice; logins and refreshes are errors.
//! * **It lost its data**: every session is unknown, hence refused; its log starts a new
//!   [incarnation](crate::store::LogPage::incarnation).
//! * **It fails over to a replica that lags**: the data that the replica had not received are lost,
//!   also revocations. A [`TokenService`](crate::TokenService) that has made or read these
//!   revocations republishes them. If that is not enough, run the server with `appendfsync always`
//!   and `min-replicas-to-write`.
//!
//! # Storage
//!
//! A user's whole state is one hash, so a check is one `HMGET`. The checks of requests that come at
//! the same moment form a batch, behind one `TIME` and one `ROLE`. `layout` (in the source) lists the
//! keys and the contents of a session's record. The record is no token, and neither
//! tokens nor parts of them are ever stored.
//!
//! # Generations
//!
//! `revoke_all` is one step however many sessions there are. It sets the user's generation `g`
//! above that of each session, and a record of a lower generation is dead. `g` is written by
//! `revoke_all` alone. A session gets the greatest of the server's time, `g`, and `o`, all in
//! milliseconds. `o` is the highest generation that any session of this user ever had. `revoke_all`
//! sets `g` one above the greatest of the three. Each part is needed:
//!
//! * If a first login wrote `g`, another login that began a moment earlier would look as if all
//!   sessions had been revoked since.
//! * If a session had the generation 0 while no `g` exists, then after a loss of data an earlier
//!   `revoke_all` that nodes still remember would end new sessions.
//! * Without `o`, a server clock that is put back would let `revoke_all` set a `g` below the
//!   sessions it is to end.
//!
//! The time of a `revoke_all` (`r`) decides if it overtook a login that is under way. `g` cannot
//! decide that: it stays ahead of the clock after the clock was ahead once, and would refuse every
//! login until then.
//!
//! # Sessions that ended
//!
//! A revoked session leaves its record behind, marked, with its end cut to that moment. So a check
//! answers *revoked* and the time of that, instead of *unknown*. The record names the log entry of
//! its end. A repeated revocation finds it there and writes nothing.
//!
//! Later writes prune records that have been over for as long as
//! [`keep_log_for`](crate::store::RevocationLog::keep_log_for) asks. A user who never comes back
//! vanishes as a whole, since every key but the bucket's `m` has a time to live.
//!
//! # Time
//!
//! Some operations could harm if they ran late: opening, rotating, revoking all. They carry their
//! deadline in the server's own time, and the server rejects them after it. So after a
//! [`Timeout`](crate::error::StoreErrorKind::Timeout) such an operation may have happened. It does
//! not happen later, unless the server's clock is put back. The server's time is estimated from its
//! answers, never ahead ([`now`](crate::store::SessionStore::now)), and behind by 15 ms for each
//! minute without a call.
//!
//! # TLS
//!
//! TLS needs the feature `tls` and a `rediss://` URL. The server's certificate must be signed by an
//! authority that the system trusts; the variable `SSL_CERT_FILE` names a file of others. If the
//! application has not chosen a `rustls` crypto provider for its process, the first such URL
//! chooses AWS-LC.
//!
//! # Your own pool
//!
//! [`RedisStoreBuilder::from_pool`] takes a [`deadpool_redis::Pool`] that you made. The store takes
//! a few connections from it for good. They must not be set up to receive pushes (no subscriptions,
//! no client-side caching).

mod builder;
mod client;
mod feed;
#[cfg(fuzzing)]
pub mod fuzzing;
mod layout;
mod ops;
mod scripts;

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

pub use self::{
    builder::{ConnectError, RedisStoreBuilder},
    client::failover::deployment::Failover,
};
use self::{
    client::{connections::target::Origin, lookout::Lookout, prover::Prover, router::Servers, server_time::ServerTime},
    layout::keys::Keyspace,
    ops::sessions::SessionQuestion,
    scripts::call::whole_millis,
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    ids::{SessionId, Subject, TokenId},
    store::{
        Checked, Denial, DenyQuery, DenyRequest, Denylist, ExternalId, ExternalName, LogFeed, LogPage, LogQuery,
        OpenSession, Opened, Page, Revocation, RevocationLog, Revoked, RotateRefresh, Rotated, SessionPage,
        SessionStore, StoreAnswer, check_ids, ids_of,
    },
};

/// A store of sessions in Redis. See the [module](self). Its clones share everything.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

/// The state that the clones share.
struct Inner {
    keys: Keyspace,
    /// The servers' addresses, for tasks with connections of their own.
    origin: Arc<Origin>,
    servers: Servers,
    time: ServerTime,
    /// The whole time that a call may take.
    timeout: Duration,
    /// The time for which the log is kept, in ms.
    keep: AtomicU64,
    /// The largest age of the data by which this node decides locally, in ms.
    staleness: AtomicU64,
    /// Watches the servers' settings. Set when the store has connected.
    lookout: OnceLock<Lookout>,
    /// The task that asks the server's replicas for proofs, if answers need them.
    prover: Option<Prover>,
}

impl RedisStore {
    /// Connects to a server with the default settings of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: the server cannot be reached, or is not fit for this.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, ConnectError> {
        Self::builder(url).connect().await
    }

    /// Starts with a URL.
    ///
    /// * `redis://[user:password@]host[:port][/db]` and `unix://`: one server.
    /// * `redis-sentinel://[user:password@]host[:port][,host:port..][/db]#name`: the primary that
    ///   sentinels call `name`.
    /// * `redis-cluster://[user:password@]host[:port][,host:port..]`: a cluster, found through some
    ///   of its nodes.
    ///
    /// `rediss`, `rediss-sentinel` and `rediss-cluster` use TLS (feature `tls`), the second to
    /// sentinels and servers alike. Sentinels need the feature `sentinel`, a cluster the feature
    /// `cluster`.
    ///
    /// User and password are those of the servers. Sentinels are asked without, or with
    /// `sentinel_user` and `sentinel_password` if the URL has these parameters before the `#`.
    /// Percent-encode the characters that have a meaning in URLs.
    ///
    /// A URL that cannot be used is an error of [`connect`](RedisStoreBuilder::connect).
    #[must_use]
    pub fn builder(url: impl AsRef<str>) -> RedisStoreBuilder {
        RedisStoreBuilder::new(url.as_ref())
    }

    /// Starts with URLs of some nodes of a Redis Cluster; the others are found through them.
    ///
    /// All data of a user are in one slot. While that slot moves to another node, calls for its
    /// bucket may be [`Unavailable`](crate::error::StoreErrorKind::Unavailable). Each primary has
    /// connections of its own. So one that hangs or is dead affects only the users of its own
    /// slots, until the cluster has replaced it. A primary that was cut off still answers for as
    /// long as `cluster-node-timeout`: see
    /// [`cluster_node_timeout`](RedisStoreBuilder::cluster_node_timeout).
    ///
    /// The store asks the nodes with `CLUSTER SLOTS`. It connects to the host and port that they
    /// announce there, with the credentials and the TLS of the URLs.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn cluster<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> RedisStoreBuilder {
        RedisStoreBuilder::cluster(urls.into_iter().map(Into::into).collect())
    }

    /// Starts with the URLs of sentinels and the name under which they know the primary.
    ///
    /// A majority of all sentinels must have named the primary within
    /// [`sentinel_patience`](RedisStoreBuilder::sentinel_patience): of those in these URLs, or of
    /// as many as they report. The URLs hold the user and password of the sentinels; those of the
    /// servers are given with [`credentials`](RedisStoreBuilder::credentials). TLS (`rediss://`)
    /// and the database of the first URL are the servers' too.
    ///
    /// [`builder`](Self::builder) takes all of it as one URL.
    #[cfg(feature = "sentinel")]
    #[must_use]
    pub fn sentinel<U: Into<String>>(
        urls: impl IntoIterator<Item = U>,
        master_name: impl Into<String>,
    ) -> RedisStoreBuilder {
        RedisStoreBuilder::sentinel(urls.into_iter().map(Into::into).collect(), master_name.into())
    }

    /// Runs one call with a deadline of its own.
    fn call<T, F>(&self, operation: impl FnOnce(Arc<Inner>, Instant) -> F) -> StoreAnswer<T>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let deadline = Instant::now() + self.inner.timeout;
        let inner = Arc::clone(&self.inner);
        let operation = operation(Arc::clone(&inner), deadline);
        StoreAnswer::pending(async move {
            inner.keep_proving();
            operation.await
        })
    }
}

impl Inner {
    fn keep_millis(&self) -> u64 {
        self.keep.load(Ordering::Relaxed)
    }

    /// Starts the task that asks the replicas for proofs, on the present runtime if it has ended.
    fn keep_proving(&self) {
        self.prover.iter().for_each(Prover::keep_at_work);
    }

    fn staleness_millis(&self) -> u64 {
        self.staleness.load(Ordering::Relaxed)
    }

    /// Returns the longest time for which this node may believe a server that was replaced; 0 if it
    /// is unknown.
    fn failover_millis(&self) -> u64 {
        self.origin.guard().bound().map_or(0, whole_millis)
    }
}

impl fmt::Debug for RedisStore {
    /// Formats it without URL and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.inner.keys.prefix())
            .field("buckets", &self.inner.keys.buckets())
            .field("timeout", &self.inner.timeout)
            .field("servers", &self.inner.servers)
            .finish_non_exhaustive()
    }
}

impl SessionStore for RedisStore {
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
        if let Err(error) = check_ids([open.subject.as_str(), open.sid.as_str()]) {
            return StoreAnswer::Ready(Err(error));
        }
        self.call(|inner, deadline| async move { inner.open(open, deadline).await })
    }

    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked> {
        let question = SessionQuestion::new(&self.inner.keys, subject.as_str(), sid.as_str(), jti.as_str());
        self.call(|inner, deadline| async move { inner.check(question, deadline).await })
    }

    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
        if let Err(error) = check_ids([rotate.subject.as_str(), rotate.sid.as_str()]) {
            return StoreAnswer::Ready(Err(error));
        }
        self.call(|inner, deadline| async move { inner.rotate(rotate, deadline).await })
    }

    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked> {
        if let Err(error) = check_ids([subject.as_str(), sid.as_str()]) {
            return StoreAnswer::Ready(Err(error));
        }
        let (subject, sid) = (subject.clone(), sid.clone());
        self.call(|inner, deadline| async move { inner.revoke_session(subject.as_str(), sid.as_str(), deadline).await })
    }

    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked> {
        if let Err(error) = check_ids([subject.as_str(), jti.as_str()]) {
            return StoreAnswer::Ready(Err(error));
        }
        let (subject, jti) = (subject.clone(), jti.clone());
        self.call(move |inner, deadline| async move {
            inner.revoke_token(subject.as_str(), jti.as_str(), until, deadline).await
        })
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
        let (subject, except) = (subject.clone(), except.cloned());
        self.call(|inner, deadline| async move {
            inner.revoke_all(subject.as_str(), except.as_ref().map(SessionId::as_str), deadline).await
        })
    }

    /// Lists the user's live sessions. A session may be listed twice if sessions come and go
    /// between two pages (`HSCAN`).
    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage> {
        let subject = subject.clone();
        self.call(|inner, deadline| async move { inner.sessions(subject.as_str(), page, deadline).await })
    }

    fn ping(&self) -> StoreAnswer<Timestamp> {
        self.call(|inner, deadline| async move { inner.ping(deadline).await })
    }

    fn now(&self) -> Timestamp {
        self.inner.time.now()
    }

    fn name(&self) -> &'static str {
        "redis"
    }

    /// Returns the bound of [`Failover`] for one address,
    /// [`sentinel_patience`](RedisStoreBuilder::sentinel_patience) behind sentinels, and
    /// `cluster-node-timeout` in a cluster.
    fn failover_bound(&self) -> Result<Duration, String> {
        self.inner.origin.guard().bound()
    }

    fn warnings(&self) -> Vec<String> {
        self.inner.origin.guard().warnings()
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
        self.inner.keys.buckets()
    }

    fn bucket_of(&self, subject: &Subject) -> u32 {
        self.inner.keys.bucket_of(subject.as_str())
    }

    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage> {
        self.call(move |inner, deadline| async move { inner.log(bucket, query, deadline).await })
    }

    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()> {
        if let Err(error) = check_ids(ids_of(&revocation)) {
            return StoreAnswer::Ready(Err(error));
        }
        self.call(move |inner, deadline| async move { inner.republish(bucket, revocation, until, deadline).await })
    }

    /// Keeps log entries for at least `keep`. That reaches a bucket of the server with the next
    /// write to it or the next read of its log.
    fn keep_log_for(&self, keep: Duration) {
        self.inner.keep.fetch_max(whole_millis(keep), Ordering::Relaxed);
    }

    /// Records this node's staleness. That reaches a bucket of the server with the next write to it
    /// or the next read of its log.
    fn allow_staleness(&self, staleness: Duration) {
        self.inner.staleness.fetch_max(whole_millis(staleness), Ordering::Relaxed);
    }

    /// Returns the feeds of the log. Behind one address, or sentinels: one feed, over one
    /// connection. In a cluster: one feed a bucket, because buckets move between servers one by
    /// one, over one connection to each primary.
    ///
    /// To be called inside a Tokio runtime. Subscriptions for nudges then live on it until the
    /// feeds are dropped. There are no subscriptions in three cases:
    ///
    /// * with [a pool of your own](RedisStoreBuilder::from_pool), whose address is not known,
    /// * without the right to `SSUBSCRIBE` to the channels of the prefix,
    /// * with a server that knows no RESP3.
    fn feeds(&self, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
        feed::feeds(&self.inner, deadline)
    }
}

impl Denylist for RedisStore {
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked> {
        if let Err(error) = check_ids([deny.id.as_str()]) {
            return StoreAnswer::Ready(Err(error));
        }
        self.call(|inner, deadline| async move { inner.deny(deny, deadline).await })
    }

    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial> {
        self.call(|inner, deadline| async move { inner.denied(query, deadline).await })
    }

    /// Keeps the log for as long: its entries and the denials are kept alike.
    fn keep_denials_for(&self, keep: Duration) {
        self.keep_log_for(keep);
    }

    fn log_name(&self, issuer: &str, id: &ExternalId) -> ExternalName {
        let key = self.inner.keys.foreign(issuer, id);
        ExternalName { bucket: key.bucket, id: key.hash }
    }
}

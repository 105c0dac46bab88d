//! Stores of sessions and revocations: three traits and two implementations.
//!
//! One login opens one **session** (`sid`): the family of its refresh tokens and of the access
//! tokens minted from them. The store keeps one [`SessionRecord`] a session, not one a token. So
//! minting an access token writes nothing, and revoking a user is one step, however many tokens
//! there are.
//!
//! | store | for | a revocation holds on |
//! |--|--|--|
//! | `MemoryStore` | one process: tests, tools, small services | this process, until it ends |
//! | `RedisStore` | many nodes, sessions that outlive a restart | every node |
//!
//! A store knows nothing of JWTs or HTTP. It keeps its own clock: Redis `TIME`, or the
//! [`Clock`](crate::clock::Clock) given to the memory store. Every answer carries that clock's
//! time, and every lifetime is measured by it. So nodes whose clocks differ still agree which
//! sessions are alive.
//!
//! # A store of your own
//!
//! | trait | needed for |
//! |--|--|
//! | [`SessionStore`] | every store |
//! | [`RevocationLog`] | [`Consistency::BoundedStaleness`](crate::Consistency::BoundedStaleness), and repair after a loss of data |
//! | [`Denylist`] | [`TokenPolicy::Denylist`](crate::TokenPolicy::Denylist): tokens of other issuers |
//!
//! Implement the first, and the others if you need them. Run the suite of the `conformance` module
//! (feature `conformance`) against it: both stores of this crate pass exactly that suite. The
//! example `sqlite_store` is a [`SessionStore`] on a file.

pub(crate) mod bell;
#[cfg(feature = "conformance")]
pub mod conformance;
mod memory;
mod model;
#[cfg(feature = "redis")]
pub mod redis;

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{Either, Ready, ready};

pub use self::memory::MemoryStore;
pub(crate) use self::model::LogPart;
pub use self::model::{
    Checked, Denial, DenyQuery, DenyRequest, ExternalId, ExternalName, InvalidLogPosition, KeptLonger, LogCursor,
    LogEntry, LogPage, LogPosition, LogQuery, Logged, OpenSession, Opened, Page, Revocation, Revoked, RotateRefresh,
    Rotated, ServerId, SessionPage, SessionRecord, SessionState, Successor,
};
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    ids::{LONGEST_ID, SessionId, Subject, TokenId},
};

/// A boxed future that may be sent between threads and borrows nothing.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The answer of a store's method.
pub type StoreAnswer<T> = Answer<Result<T, StoreError>>;

/// An answer that is there at once, or that has to be awaited.
///
/// A store in memory boxes nothing. A store behind a network boxes one future, which borrows
/// nothing, so that a response future can hold it beside the `Arc` that made it. `.await` works on
/// either.
pub enum Answer<T> {
    /// The answer.
    Ready(T),
    /// The answer, when this future ends.
    Pending(BoxFuture<T>),
}

impl<T> Answer<T> {
    /// Boxes a future.
    pub fn pending(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Pending(Box::pin(future))
    }
}

impl<T> IntoFuture for Answer<T> {
    type Output = T;
    type IntoFuture = Either<Ready<T>, BoxFuture<T>>;

    fn into_future(self) -> Self::IntoFuture {
        match self {
            Self::Ready(answer) => Either::Left(ready(answer)),
            Self::Pending(future) => Either::Right(future),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(answer) => f.debug_tuple("Ready").field(answer).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}

/// A store of sessions: enough for a service that asks it at each request
/// ([`Consistency::Strong`](crate::Consistency::Strong)).
///
/// # Contract
///
/// * Each method is one atomic step, whatever runs beside it, and ends within a deadline of the
///   store's own.
/// * **Linearizable**: a call that starts after another has answered sees the effects of the other.
/// * An error means that nothing may be concluded: not that a token is good, not that it is bad. A
///   change that ended with [`Timeout`](crate::error::StoreErrorKind::Timeout) or
///   [`Unavailable`](crate::error::StoreErrorKind::Unavailable) may or may not have been made.
///   Revocations are idempotent and are to be repeated.
/// * Dropping a returned future leaves the change made or not made, never half made.
/// * Nothing panics, whatever the arguments. Subjects and ids are any text of 1 to 255 bytes. A
///   change that names another one is [`Rejected`](crate::error::StoreErrorKind::Rejected), and
///   nothing is written.
/// * **A call that changes nothing writes nothing.** [`Revoked::found`] is then `false`.
///
/// The suite of the `conformance` module (feature `conformance`) checks all of it.
pub trait SessionStore: Send + Sync + 'static {
    /// Opens a session, whose counter is 0. An existing `sid` is never overwritten. With
    /// [`OpenSession::max_sessions`], the store evicts as many of the user's sessions as needed,
    /// those that were used longest ago first.
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened>;

    /// Returns the state of a session and of one access token of it: one round trip, from the
    /// source of truth.
    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked>;

    /// Exchanges a refresh token's counter for the next one. See [`RotateRefresh`] for the rule.
    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated>;

    /// Ends one session. Idempotent. A session that the store does not know is revoked from then
    /// on, since its record may have been lost while its tokens live.
    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked>;

    /// Revokes one access token by its `jti`, and remembers it to `until` at least. Idempotent.
    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked>;

    /// Ends all sessions of a user, but `except`. One step, however many there are.
    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked>;

    /// Lists the user's live sessions, a page at a time, in no particular order.
    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage>;

    /// Asks the store whether it answers, and for its time.
    fn ping(&self) -> StoreAnswer<Timestamp>;

    /// Returns the store's time as best known without asking. Never ahead of the time that the
    /// store would answer now, unless its clock was put back.
    fn now(&self) -> Timestamp;

    /// Returns the name of this store in status reports. Default: `custom`.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// Returns the longest time for which a node may believe a server that was replaced, beyond its
    /// own staleness. A revocation holds on this node after both. No I/O.
    ///
    /// # Errors
    ///
    /// The reason why the time is unknown, in a sentence for operators. The default returns one.
    fn failover_bound(&self) -> Result<Duration, String> {
        Err("the store does not say how long a node may believe a server that was replaced".to_owned())
    }

    /// Returns the defects that an operator should mend, in sentences without secrets. No I/O.
    ///
    /// Default: nothing.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns this store's log of revocations, which
    /// [`Consistency::BoundedStaleness`](crate::Consistency::BoundedStaleness) needs.
    ///
    /// Default: it has none.
    fn revocation_log(self: Arc<Self>) -> Option<Arc<dyn RevocationLog>> {
        None
    }

    /// Returns this store's list of revocations of other issuers' tokens, which
    /// [`TokenPolicy::Denylist`](crate::TokenPolicy::Denylist) needs.
    ///
    /// Default: it has none.
    fn denylist(self: Arc<Self>) -> Option<Arc<dyn Denylist>> {
        None
    }
}

/// The log of a store's revocations, from which nodes learn them without a question per request.
///
/// The log is divided into [`buckets`](Self::buckets). A store with a log returns
/// [`Revoked::logged`] for each revocation.
///
/// # Contract
///
/// * Every way in which a session ends before its own expiry (revocation, reuse, eviction) writes
///   the log, in the same step.
/// * Each [`Logged`] names an entry of the log and repeats its revocation. A node that knows of a
///   revocation, and does not find it there, takes it for lost.
/// * A revocation writes no entry and moves no time if the log already has its entry. The answer
///   then has [`found`](Revoked::found) `false` and names that entry:
///   - a session that was revoked before, alone or with all others. A session that the store does
///     not know is logged.
///   - a token that was revoked before for at least that long. A token whose time is over has no
///     entry: the answer names the newest one.
///   - all sessions of a user, if none was opened since the last time and the kept one is the same
///     or dead.
///   - a thing of another issuer that was denied up to this half second, for at least that long.
/// * So no caller makes the entries that concern one session, token, subject or external id grow
///   faster than two a second. Exceptions are live sessions and tokens, those that the store does
///   not know, and a longer time than before.
/// * A revocation is remembered for at least as long as [`keep_log_for`](Self::keep_log_for) asks,
///   whatever the call says: another node may accept a token for longer than the caller does.
pub trait RevocationLog: Send + Sync + 'static {
    /// Returns the count of buckets: [`read`](Self::read) takes `0..buckets()`.
    fn buckets(&self) -> u32;

    /// Returns the bucket whose log has the revocations of this subject, its sessions and their
    /// tokens. Never another one.
    fn bucket_of(&self, subject: &Subject) -> u32;

    /// Returns a part of the log of a bucket.
    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage>;

    /// Writes a revocation again that the store has lost: after a restart from older data, a
    /// failover, or the loss of all. `bucket` is the one whose log had it. Idempotent: an entry
    /// that the store still has is not logged again, and one whose `until` is over is ignored.
    ///
    /// This is never a new revocation: a session that was opened after the lost one lives. Nor does
    /// it end earlier. If a revoked session came back alive, tokens were issued since. So the entry
    /// of a session or a subject matters for as long as that of a new revocation.
    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()>;

    /// Keeps entries for at least `keep` from now on: the longest life of an access token and its
    /// leeway. The time only ever grows.
    fn keep_log_for(&self, keep: Duration);

    /// Records that a node of this deployment decides by data of the log up to `staleness` old. The
    /// time only ever grows. [`LogPage::max_staleness`] and [`Logged::max_staleness`] contain it
    /// before any such node decides anything.
    fn allow_staleness(&self, staleness: Duration);

    /// Returns the largest difference between the clocks of two servers that follow one another.
    /// The store is asked about a token that was issued so soon after a revocation. Default: 2 s.
    fn clock_margin(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// Returns readers of the log with connections of their own, one for each server and together
    /// for all buckets. Each read ends within `deadline`.
    ///
    /// Empty if [`read`](Self::read) serves as well: the answer of a store without connections. A
    /// store that wraps another returns the feeds of that one. A log that is read over several
    /// connections in turn counts as one of another server at each read, which costs questions.
    fn feeds(&self, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
        let _ = deadline;
        Vec::new()
    }
}

/// A list of revocations of tokens that other issuers have issued.
pub trait Denylist: Send + Sync + 'static {
    /// Revokes a token, a session or a subject of another issuer. Idempotent.
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked>;

    /// Returns the revocations that concern a token of another issuer.
    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial>;

    /// Remembers denials for at least `keep` from now on, whatever [`DenyRequest::keep`] says: the
    /// longest time for which a node accepts a token. The time only ever grows.
    fn keep_denials_for(&self, keep: Duration);

    /// Returns the name of another issuer's thing in the [`RevocationLog`], and its bucket. A store
    /// without a log may return any name.
    fn log_name(&self, issuer: &str, id: &ExternalId) -> ExternalName;
}

/// Rejects subjects and ids that are empty or longer than a token can have.
fn check_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Result<(), StoreError> {
    if ids.into_iter().all(|id| (1..=LONGEST_ID).contains(&id.len())) {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Rejected).with_source("a subject or id that is not 1 to 255 bytes long"))
}

/// Returns the ids in a revocation. The name of an external thing has a length of the store's own.
fn ids_of(revocation: &Revocation) -> impl Iterator<Item = &str> {
    let (first, second) = match revocation {
        Revocation::Session { subject, sid } => (subject, Some(sid.as_str())),
        Revocation::Token { subject, jti } => (subject, Some(jti.as_str())),
        Revocation::Subject { subject, except, .. } => (subject, except.as_ref().map(SessionId::as_str)),
        Revocation::External { .. } => return None.into_iter().chain(None),
    };
    Some(first.as_str()).into_iter().chain(second)
}

/// A reader of the log of those buckets that one server holds, on a connection of its own.
pub trait LogFeed: Send + 'static {
    /// Returns the buckets.
    fn buckets(&self) -> &[u32];

    /// Reads one page for each query, in one round trip, within the deadline of the feed. The
    /// bucket of a query is one of [`buckets`](Self::buckets).
    ///
    /// The answer comes from the source of truth, and from a server that may write. Together with
    /// later pages, a page holds all that was written before this call. An error in place of a page
    /// concerns that bucket alone.
    fn read(&mut self, queries: Vec<(u32, LogQuery)>) -> BoxFuture<Result<LogPages, StoreError>>;

    /// Resolves with the buckets whose log may have grown. Wake-ups can be spurious, late or
    /// missing. A wake-up that comes while no task waits is kept for the next call.
    fn nudged(&self) -> BoxFuture<Vec<u32>>;

    /// Drops every connection, because this node stood still for longer than its data may be old:
    /// the server may have been replaced meanwhile.
    fn suspect(&mut self) {}
}

/// The answer of [`LogFeed::read`]: a page or an error for each query.
pub type LogPages = Vec<Result<LogPage, StoreError>>;

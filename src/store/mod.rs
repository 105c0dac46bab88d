//! Stores of sessions and revocations: the traits and two implementations.
//!
//! One login opens one **session** (`sid`). All refresh tokens and access tokens of that login
//! belong to the session. The store saves one record for each session, and no record for each
//! token. `revoke_all` takes one step, even if the user has many sessions.
//!
//! | store | purpose | scope of a revocation |
//! |--|--|--|
//! | `MemoryStore` | one process: tests, tools, small services | this process, until it ends |
//! | `RedisStore` | many nodes, sessions that outlive a restart | every node |
//!
//! Each store has its own clock: Redis `TIME`, or the [`Clock`](crate::clock::Clock) of the memory
//! store. The store measures every lifetime by its own clock, and returns its time with each
//! answer. So all nodes agree which sessions are alive, even if the clocks of the nodes differ.
//!
//! # A store of your own
//!
//! | trait | needed for |
//! |--|--|
//! | [`SessionStore`] | every store |
//! | [`RevocationLog`] | [`BoundedStaleness`], and repair after a loss of data |
//! | [`LogFeed`] | a log that a node reads over separate connections, not over those of requests |
//! | [`Denylist`] | [`IssuerPolicy::Denylist`]: tokens of other issuers |
//!
//! [`BoundedStaleness`]: crate::Consistency::BoundedStaleness
//! [`IssuerPolicy::Denylist`]: crate::issuers::IssuerPolicy::Denylist
//!
//! Implement [`SessionStore`], and the other traits as needed. The contract is in the docs of the
//! traits and of their [arguments and answers](OpenSession). The suite of the `conformance` module
//! (feature `conformance`) checks the contract of each trait except `LogFeed`. Both stores of this
//! crate pass the suite. The example `sqlite_store` implements [`SessionStore`] over a file, in one
//! module of under 400 lines.

pub(crate) mod bell;
#[cfg(feature = "conformance")]
pub mod conformance;
mod memory;
mod model;
mod observed;
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
pub use self::model::{
    Checked, Denial, DenyQuery, DenyRequest, ExternalId, ExternalName, InvalidLogPosition, KeptLonger, LogCursor,
    LogEntry, LogPage, LogPosition, LogQuery, LogStamp, Logged, OpenSession, Opened, Page, Revocation, Revoked,
    RotateRefresh, Rotated, ServerId, SessionPage, SessionRecord, SessionState, Successor,
};
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
pub(crate) use self::{model::LogPart, observed::Observed};
use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    ids::{LONGEST_ID, SessionId, Subject, TokenId},
};

/// A boxed future that is `Send` and borrows nothing.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The answer of a store's method.
pub type StoreAnswer<T> = Answer<Result<T, StoreError>>;

/// An answer that is ready, or a future that resolves with the answer. `.await` works on both.
///
/// A store in memory returns `Ready`, without an allocation. A store behind a network returns
/// `Pending`. The future borrows nothing, so a caller can keep it together with the `Arc` of the
/// store.
pub enum Answer<T> {
    /// The answer.
    Ready(T),
    /// A future that resolves with the answer.
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

/// A store of sessions. With [`Consistency::Strong`](crate::Consistency::Strong), a service needs
/// no other trait for its own tokens.
///
/// # Contract
///
/// **Calls**
///
/// * Each method is atomic under concurrent calls, and ends within a deadline that the store sets.
/// * Calls are **linearizable**: a new call sees the effects of every call that has returned. A
///   revoked session never becomes active again, except if the store loses data.
/// * If a change returns [`Timeout`](crate::error::StoreErrorKind::Timeout) or
///   [`Unavailable`](crate::error::StoreErrorKind::Unavailable), it may or may not have happened.
///   Revocations are idempotent, so the caller can repeat them.
/// * If the store cannot read a record, the call returns
///   [`Untrusted`](crate::error::StoreErrorKind::Untrusted), never a live session.
/// * If the caller drops a returned future, the change happens as a whole or not at all. After a
///   dropped rotation, the caller can repeat the call within the grace, and gets the same
///   successor.
/// * **A call that changes nothing writes nothing.** If it is a revocation, [`Revoked::found`] is
///   `false`.
/// * No argument makes a method panic.
///
/// **Ids**
///
/// * A session belongs to its subject. If two subjects have sessions with the same `sid`, these are
///   different sessions. The same applies to the `jti` of a token.
/// * Subjects and ids are any text of 1 to 255 bytes, including control characters and NUL. The
///   store compares their bytes, without case folding, normalization or wildcards.
/// * A change with a subject or id of another length returns
///   [`Rejected`](crate::error::StoreErrorKind::Rejected) and writes nothing.
///
/// **Time**
///
/// * Times are whole milliseconds. The store's time never decreases from one answer to the next,
///   except if its clock was set back.
/// * A duration starts at the time of the answer: a session with `idle` ends at `now + idle`. At
///   exactly that time the session is expired.
/// * If `now` plus a duration is later than [`Timestamp::END_OF_TIME`], the store uses
///   [`Timestamp::END_OF_TIME`]. So a lifetime of `Duration::MAX` is valid.
///
/// **Generations**
///
/// * Each user has a generation, a number that only rises. A new session gets a generation that is
///   at least the user's, and at least the store's time in milliseconds. So generations rise even
///   if the store loses the user's record.
/// * [`revoke_all`](Self::revoke_all) raises the user's generation above those of all sessions that
///   it ends. The excepted session gets the new generation.
///
/// **Memory**
///
/// * A revoked session stays [`Revoked`](SessionState::Revoked) for the time that
///   [`RevocationLog::keep_log_for`] sets. No other session can get its `sid` in that time.
/// * A store without a log remembers a revocation until the session would have ended, and at least
///   for an hour.
/// * The store remembers the time of a user's last `revoke_all` for as long as a revocation. A
///   login that began before the `revoke_all` may ask for its session much later.
/// * After this time, the store may answer [`Unknown`](SessionState::Unknown) for the revoked
///   session, as for an expired session. A service rejects both.
/// * The store removes old records without a request, for example a few at each change.
///
/// **Optional**
///
/// * A store with a log may return [`Successor::last_revocation`], and the same field of
///   [`Opened`]. For this purpose, it saves the stamp of the user's last log entry in the user's
///   record.
///
/// The suite of the `conformance` module (feature `conformance`) checks each rule that a caller can
/// observe. Each check may take 60 s.
pub trait SessionStore: Send + Sync + 'static {
    /// Opens a session with the counter 0. [`check`](Self::check) then returns
    /// [`Active`](SessionState::Active) with the same generation and end as this answer.
    ///
    /// * No two sessions of a subject have the same `sid`. If the store has a record of the `sid`,
    ///   the answer is [`Opened::Exists`]. The record may come from an earlier session or from a
    ///   revocation.
    /// * If a `revoke_all` happened after the login began, the answer is [`Opened::Superseded`]:
    ///   see [`OpenSession::auth_time`].
    /// * If the user has too many sessions, the store evicts some of them: see
    ///   [`OpenSession::max_sessions`].
    /// * If the store opens no session, it changes nothing and evicts no session.
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened>;

    /// Returns the state of a session and of one of its access tokens. Makes at most one round
    /// trip. The store reads the primary data, never a cache or a copy.
    ///
    /// The answer is the first state that applies:
    ///
    /// 1. [`Revoked`](SessionState::Revoked): the session was revoked or evicted, or ended by reuse
    ///    or `revoke_all`. The answer is also `Revoked` if the token was revoked and its `until` is
    ///    in the future, even if the session is unknown.
    /// 2. [`Unknown`](SessionState::Unknown): the subject has no session with this `sid`.
    /// 3. [`Expired`](SessionState::Expired): the session's end is now or in the past. A store that
    ///    has removed the record returns `Unknown` instead.
    /// 4. [`Active`](SessionState::Active).
    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked>;

    /// Exchanges the counter of a refresh token for the next one. See [`RotateRefresh`] for the
    /// rules.
    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated>;

    /// Revokes one session of this subject, and no other session.
    ///
    /// * The call is idempotent. If the session was revoked before, alone or by `revoke_all`, the
    ///   call changes nothing, and [`found`](Revoked::found) is `false`.
    /// * An unknown or expired session becomes revoked too, because the store may have lost the
    ///   record of a session whose tokens are still valid. `found` is then `false`, and a later
    ///   [`open`](Self::open) returns [`Opened::Exists`].
    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked>;

    /// Revokes one access token of this subject by its `jti`. The token's session stays alive.
    ///
    /// * The token stays revoked at least until `until`, even if its session is rotated.
    /// * If the token is revoked already, `found` is `false`. After several calls, the latest
    ///   `until` applies.
    /// * If `until` is not in the future, the call writes nothing, and `found` is `false`.
    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked>;

    /// Ends all sessions of a user except `except`, in one step, however many there are.
    ///
    /// * The call ends every session of the user that was opened before the call, even in the same
    ///   millisecond. It ends no later session.
    /// * If `except` is alive, it stays alive and gets the new generation. Its revoked tokens stay
    ///   revoked.
    /// * If `except` is revoked, expired, unknown or another user's, it does not become alive.
    /// * [`found`](Revoked::found) is `true` if a session other than `except` was alive.
    /// * A login that began before or at the time of the answer is superseded: see
    ///   [`OpenSession::auth_time`]. A login that begins 10 ms after that time is not superseded.
    /// * A repeated call that ends no session should supersede logins at most once in some seconds.
    ///   Otherwise a caller could block all logins of the user.
    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked>;

    /// Lists the user's live sessions, a page at a time, in no particular order.
    ///
    /// If the caller follows [`SessionPage::next`], the pages come to an end. They contain each
    /// session that stays alive during all these calls, and no session that ended before the first
    /// call.
    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage>;

    /// Asks the store for its time, in one round trip. An application can use the call as a health
    /// check.
    fn ping(&self) -> StoreAnswer<Timestamp>;

    /// Makes a harmless write, with which
    /// [`TokenService::readiness`](crate::TokenService::readiness) tests the store. If the store
    /// refuses the writes of a login, it must refuse this write too.
    ///
    /// Default: [`ping`](Self::ping), for a store that can write whenever it can answer.
    fn probe(&self) -> StoreAnswer<()> {
        let ping = self.ping();
        StoreAnswer::pending(async move { ping.await.map(drop) })
    }

    /// Returns an estimate of the store's time, without I/O. The estimate is never later than the
    /// store's time, except if the store's clock was set back.
    fn now(&self) -> Timestamp;

    /// Returns the name of this store in status reports. Default: `custom`.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// Returns the longest time for which a node may still use a server that was replaced. Does no
    /// I/O.
    ///
    /// A node enforces a revocation at the latest after its staleness plus this time.
    ///
    /// # Errors
    ///
    /// The time is unknown. The error is the reason, in a sentence for operators. The default
    /// implementation always returns an error.
    fn failover_bound(&self) -> Result<Duration, String> {
        Err("the store sets no bound on the time for which a node may use a server that was replaced; implement \
             `SessionStore::failover_bound`"
            .to_owned())
    }

    /// Returns the problems that an operator should fix, as sentences without secrets. Does no I/O.
    ///
    /// Default: none.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns this store's log of revocations.
    /// [`Consistency::BoundedStaleness`](crate::Consistency::BoundedStaleness) needs the log. A
    /// store returns `Some` on every call, or `None` on every call.
    ///
    /// Default: none.
    fn revocation_log(self: Arc<Self>) -> Option<Arc<dyn RevocationLog>> {
        None
    }

    /// Returns this store's list of revocations of other issuers' tokens.
    /// [`IssuerPolicy::Denylist`](crate::issuers::IssuerPolicy::Denylist) needs the list. A store
    /// returns `Some` on every call, or `None` on every call.
    ///
    /// Default: none.
    fn denylist(self: Arc<Self>) -> Option<Arc<dyn Denylist>> {
        None
    }
}

/// The log of a store's revocations. A node that reads the log does not need to ask the store at
/// each request.
///
/// The log has one or more [`buckets`](Self::buckets). A store with a log returns
/// [`Revoked::logged`] for each revocation and each denial ([`Denylist`]). If it does not, a
/// service returns the error [`Untrusted`](crate::error::StoreErrorKind::Untrusted).
///
/// # Contract
///
/// **Writes**
///
/// * If a session ends before its expiry (revocation, reuse, eviction), the store writes an entry
///   in the same step. The entries of a bucket have the order of the changes.
/// * Each [`Logged`] contains the position of an entry, its revocation and its `until`. If a node
///   does not find that entry in the log, the node republishes the revocation.
/// * If the log already has the entry of a revocation, the call writes no entry. The answer then
///   contains the existing entry, and [`found`](Revoked::found) is `false`. The cases:
///   - The session was revoked before, alone or by `revoke_all`. An unknown or expired session gets
///     an entry only once.
///   - The token was revoked before, with the same `until` or a later one.
///   - The call is a `revoke_all`, and no session was opened since the last `revoke_all`. If the
///     session that the last `revoke_all` excepted is still alive, this call excepts it too.
///   - The id of another issuer was denied before in the same half second, with the same end or a
///     later one.
/// * If `until` of a token's revocation is not in the future, the call writes no entry. The answer
///   contains the position of the newest entry.
/// * The first `revoke_all` of a user writes an entry even if the user has no session.
/// * So a caller who repeats calls adds at most two entries a second about one session, token,
///   subject or external id. Other entries come only from calls that prolong a revocation, or
///   revoke something that is alive or unknown to the store.
/// * A rejected call writes no entry and uses no sequence number. The same applies to a call that
///   is dropped before its change.
/// * A [`Revocation::Subject`] ends all sessions with a lower generation than its own. Sessions
///   that are opened later have this generation or a higher one.
/// * The entry of a `revoke_all` contains `except` only if that session was alive. That session
///   then has the generation of the entry.
///
/// **Retention**
///
/// * The sequence numbers of the entries start at 1 and increase by 1. Each entry contains the
///   nonce of the entry before it ([`LogEntry`]). The times of the entries never decrease.
/// * The store may drop the oldest entries after the time that [`keep_log_for`](Self::keep_log_for)
///   sets.
/// * The store remembers each revocation for at least that time, even if the call asks for less.
///   Otherwise another node could accept a token after the store has forgotten its revocation.
///   [`LogEntry::until`] is at least that far in the future.
/// * If `until` is later than [`Timestamp::END_OF_TIME`], the store uses
///   [`Timestamp::END_OF_TIME`].
/// * An incarnation is one data set. Its name and [`LogPage::born`] never change.
pub trait RevocationLog: Send + Sync + 'static {
    /// Returns the number of buckets. The buckets are numbered `0..buckets()`.
    fn buckets(&self) -> u32;

    /// Returns the bucket whose log contains the revocations of this subject, its sessions and
    /// their tokens. The bucket of a subject never changes.
    fn bucket_of(&self, subject: &Subject) -> u32;

    /// Returns a page of the log of a bucket: see [`LogQuery`] and [`LogPage`].
    ///
    /// * A reader that continues at [`LogPage::next`] gets each entry once, in order, and an empty
    ///   page at the end.
    /// * If the bucket does not exist, the call returns
    ///   [`Rejected`](crate::error::StoreErrorKind::Rejected).
    /// * If the cursor comes from another store or incarnation, the call returns an error, or a
    ///   page that starts at any entry. The reader detects missing entries by their numbers.
    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage>;

    /// Writes a revocation again that the store has lost: by a restart from older data, a failover,
    /// or a loss of all data. `bucket` is the bucket whose log had the entry.
    ///
    /// The call writes nothing if the store still has the revocation, or if `until` is not in the
    /// future. It returns [`Rejected`](crate::error::StoreErrorKind::Rejected) for a bucket that
    /// does not exist, and for an id that is not 1 to 255 bytes long.
    ///
    /// The call ends no session that was opened after the lost revocation. After the loss, a
    /// session may have been alive again and may have got new tokens. So an entry about a session
    /// or subject gets the `until` of a new revocation.
    ///
    /// * [`Revocation::Session`]: the session is revoked, even an unknown one. No later call can
    ///   open it.
    /// * [`Revocation::Token`]: the token is revoked at least until `until`. The call writes an
    ///   entry if `until` is later than in the store.
    /// * [`Revocation::Subject`]: sessions with a lower generation end. If the user's generation in
    ///   the store is not lower, the call writes nothing. The entry contains `except` only if that
    ///   session is alive. The generation is a time in milliseconds, and a login that began before
    ///   it is superseded.
    /// * [`Revocation::External`]: the id is denied up to the time `before`. If the store has a
    ///   later `before` or `until`, the later one stays.
    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()>;

    /// Keeps entries for at least `keep` from now on. A service passes the longest life of an
    /// access token plus the leeway. The time only grows: a shorter `keep` has no effect.
    fn keep_log_for(&self, keep: Duration);

    /// Records that a node decides by log data with an age of up to `staleness`. The recorded age
    /// only grows. From the next answer on, [`LogPage::max_staleness`] and
    /// [`Logged::max_staleness`] are at least `staleness`.
    fn allow_staleness(&self, staleness: Duration);

    /// Returns the largest difference between the clocks of a server and of the server that
    /// replaces it. If a token was issued at most this long after the node's horizon, the node asks
    /// the store about it. Default: 2 s.
    fn clock_margin(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// Returns feeds: readers of the log with separate connections. Together the feeds read all
    /// buckets. Each read ends within `deadline`.
    ///
    /// * Default: no feeds, for a store without connections. A node then calls
    ///   [`read`](Self::read).
    /// * A store that wraps another store returns the feeds of the inner store.
    /// * A feed reads over one connection at a time. If the connection changes, another server may
    ///   answer, so the node asks the store more often for a while.
    fn feeds(&self, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
        let _ = deadline;
        Vec::new()
    }
}

/// A list of revoked tokens, sessions and subjects of other issuers.
///
/// # Contract
///
/// The contract of [`SessionStore`] about calls, ids and time applies here too. In addition:
///
/// * A **denial** is a revocation of a token, session or subject of another issuer. It concerns one
///   issuer, one kind and one id.
/// * An issuer is any text. The store distinguishes issuer `a` with the id `bc` from issuer `ab`
///   with the id `c`.
/// * A denial ends no session of the store itself, even if a subject has the same name.
/// * A session or subject is denied up to a **moment**: its tokens that were issued at or before
///   the moment are revoked. The moment is the store's time of the call, or less than half a second
///   later. If the issuer writes `iat` in whole seconds, a denial includes tokens from the second
///   of the call.
/// * A store with a log writes an entry for each denial. [`log_name`](Self::log_name) returns the
///   bucket and the name in the entry. The entry has the same moment and end as the denial.
pub trait Denylist: Send + Sync + 'static {
    /// Revokes a token, a session or a subject of another issuer.
    ///
    /// * The call is idempotent within half a second: a repetition writes nothing, and `found` is
    ///   `false`.
    /// * A later repetition for a session or subject sets a later moment. For a token, `found` is
    ///   `false` after every repetition.
    /// * The store remembers a denial for at least [`DenyRequest::keep`]. After several calls, the
    ///   latest end applies. If `keep` is zero, the call writes nothing, and `found` is `false`.
    /// * If the id is not 1 to 255 bytes long, the call returns
    ///   [`Rejected`](crate::error::StoreErrorKind::Rejected).
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked>;

    /// Returns the denials that concern a token of another issuer. The answer contains the denial
    /// of the token itself. For the token's session and subject, it contains the later of the two
    /// moments. The store ignores ids that are `None`.
    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial>;

    /// Remembers denials for at least `keep` from now on, even if [`DenyRequest::keep`] is shorter.
    /// A node passes the longest time for which it accepts a token. The time only grows.
    /// [`Denial::kept_longer`] contains the last increase.
    fn keep_denials_for(&self, keep: Duration);

    /// Returns the bucket whose log contains the denials of an external id, and the name of the id
    /// in that log. Different issuers, kinds or ids have different names. A store without a log may
    /// return any name.
    fn log_name(&self, issuer: &str, id: &ExternalId) -> ExternalName;
}

/// Returns an error if a subject or id is empty or longer than [`LONGEST_ID`].
fn check_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Result<(), StoreError> {
    if ids.into_iter().all(|id| (1..=LONGEST_ID).contains(&id.len())) {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Rejected)
        .with_source("a subject or id is empty or too long; pass 1 to 255 bytes"))
}

/// Returns the ids in a revocation. Leaves out the name of an external id, because the store
/// chooses its length.
fn ids_of(revocation: &Revocation) -> impl Iterator<Item = &str> {
    let (first, second) = match revocation {
        Revocation::Session { subject, sid } => (subject, Some(sid.as_str())),
        Revocation::Token { subject, jti } => (subject, Some(jti.as_str())),
        Revocation::Subject { subject, except, .. } => (subject, except.as_ref().map(SessionId::as_str)),
        Revocation::External { .. } => return None.into_iter().chain(None),
    };
    Some(first.as_str()).into_iter().chain(second)
}

/// A reader of the logs of some buckets of one server. Its connection is separate from those of
/// requests.
pub trait LogFeed: Send + 'static {
    /// Returns the buckets that this feed reads.
    fn buckets(&self) -> &[u32];

    /// Reads one page for each query, in one round trip, within the deadline of the feed. Each
    /// query is about one of [`buckets`](Self::buckets).
    ///
    /// The answer comes from a server that accepts writes. A page and its next pages contain every
    /// entry that was written before this call. If a bucket has an error in place of a page, the
    /// error concerns only that bucket.
    fn read(&mut self, queries: Vec<(u32, LogQuery)>) -> BoxFuture<Result<LogPages, StoreError>>;

    /// Waits until the log of one or more buckets may have grown, and returns these buckets. A
    /// wake-up can be spurious, late or missing. If no task waits, the feed saves the wake-up for
    /// the next call.
    fn nudged(&self) -> BoxFuture<Vec<u32>>;

    /// Drops every connection. A node calls this method after its process was suspended, because
    /// another server may have replaced the primary in that time.
    fn suspect(&mut self) {}
}

/// The answer of [`LogFeed::read`]: a page or an error for each query, in the order of the queries.
pub type LogPages = Vec<Result<LogPage, StoreError>>;

//! Stores of sessions and revocations: the traits and two implementations.
//!
//! One login opens one **session** (`sid`): the family of its refresh tokens and of the access
//! tokens minted from them. The store keeps one record a session, not one a token. So minting an
//! access token writes nothing, and revoking all tokens of a user is one step.
//!
//! | store | for | a revocation holds on |
//! |--|--|--|
//! | `MemoryStore` | one process: tests, tools, small services | this process, until it ends |
//! | `RedisStore` | many nodes, sessions that outlive a restart | every node |
//!
//! A store knows nothing of JWTs or HTTP. It keeps its own clock: Redis `TIME`, or the
//! [`Clock`](crate::clock::Clock) given to the memory store. It measures every lifetime by that
//! clock, and its answers carry the time. So nodes whose clocks differ still agree which sessions
//! are alive.
//!
//! # A store of your own
//!
//! | trait | needed for |
//! |--|--|
//! | [`SessionStore`] | every store |
//! | [`RevocationLog`] | [`BoundedStaleness`], and repair after a loss of data |
//! | [`LogFeed`] | a log read over connections apart from those of requests |
//! | [`Denylist`] | [`TokenPolicy::Denylist`]: tokens of other issuers |
//!
//! [`BoundedStaleness`]: crate::Consistency::BoundedStaleness
//! [`TokenPolicy::Denylist`]: crate::TokenPolicy::Denylist
//!
//! Implement the first, and the others as needed. The contract is in the docs of the traits and of
//! their [arguments and answers](OpenSession). The suite of the `conformance` module (feature
//! `conformance`) checks it, with a part for each trait but `LogFeed`. Both stores of this crate
//! pass it. The example `sqlite_store` is a [`SessionStore`] on a file, in one module of under 400
//! lines.

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
    LogEntry, LogPage, LogPosition, LogQuery, LogStamp, Logged, OpenSession, Opened, Page, Revocation, Revoked,
    RotateRefresh, Rotated, ServerId, SessionPage, SessionRecord, SessionState, Successor,
};
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    ids::{LONGEST_ID, SessionId, Subject, TokenId},
};

/// A boxed future that is `Send` and borrows nothing.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The answer of a store's method.
pub type StoreAnswer<T> = Answer<Result<T, StoreError>>;

/// An answer that is ready at once, or a future to await.
///
/// A store in memory needs no box, a store behind a network needs one. The future borrows nothing,
/// so a response future can hold it together with the `Arc` of the store. `.await` works on both
/// variants.
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

/// A store of sessions. It suffices for a service that asks the store at each request
/// ([`Consistency::Strong`](crate::Consistency::Strong)).
///
/// # Contract
///
/// **Calls**
///
/// * Each method is atomic under concurrent calls, and ends within a deadline that the store sets.
/// * **Linearizable**: a call sees the effects of every call that answered before it started. A
///   revoked session never becomes active again, unless the store loses data.
/// * An error says nothing about a token: it may be valid or revoked. A change that ended with
///   [`Timeout`](crate::error::StoreErrorKind::Timeout) or
///   [`Unavailable`](crate::error::StoreErrorKind::Unavailable) may or may not have happened. The
///   caller repeats a revocation, which is idempotent.
/// * A record that the store cannot read is an error
///   ([`Untrusted`](crate::error::StoreErrorKind::Untrusted)), never a live session.
/// * If the caller drops a returned future, the change happens as a whole or not at all. In both
///   cases, a rotation that is repeated within the grace gets the same successor.
/// * **A call that changes nothing writes nothing.** A revocation then answers [`Revoked::found`]
///   `false`.
/// * No argument makes a method panic.
///
/// **Ids**
///
/// * A session belongs to its subject: the same `sid` of another subject is another session. The
///   same holds for a `jti`.
/// * Subjects and ids are any text of 1 to 255 bytes, control characters and NUL included. Two are
///   equal if their bytes are: no case folding, no normalization, no wildcards.
/// * A change with a subject or id of another length is
///   [`Rejected`](crate::error::StoreErrorKind::Rejected) and writes nothing.
///
/// **Time**
///
/// * The store's time never goes back from one answer to the next, unless its clock was set back.
///   Times are whole milliseconds.
/// * A duration counts from the time of the answer, to the millisecond: a session with `idle` ends
///   at `now + idle`. At that moment it is over.
/// * A sum beyond [`Timestamp::END_OF_TIME`] becomes that moment: a lifetime of `Duration::MAX` is
///   no error.
///
/// **Generations**
///
/// * Each user has a generation, a number that only rises. A new session gets it, but at least the
///   store's time in milliseconds. So generations rise even if the store loses the user's record.
/// * [`revoke_all`](Self::revoke_all) raises it above the generations of all sessions that it ends.
///   The excepted session gets the new generation.
///
/// **Memory**
///
/// * A revoked session stays [`Revoked`](SessionState::Revoked), and its `sid` stays taken, for as
///   long as [`RevocationLog::keep_log_for`] asks. A store without a log remembers it until the
///   session would have ended, and for an hour at least.
/// * The store remembers the time of the last `revoke_all` equally long, because a login may take
///   long.
/// * After that, and after its own end, a session may be [`Unknown`](SessionState::Unknown), which
///   a service rejects too. The store removes such records by itself, for example a few at each
///   change.
///
/// **Optional**
///
/// * A store with a log may answer [`Successor::last_revocation`], for [`open`](Self::open) too. It
///   then keeps the stamp of the user's last entry with the user's record. Without it, all else
///   works.
///
/// The suite of the `conformance` module (feature `conformance`) checks all of this that a caller
/// can observe. It allows 60 s for each of its rules.
pub trait SessionStore: Send + Sync + 'static {
    /// Opens a session with the counter 0. [`check`](Self::check) then answers
    /// [`Active`](SessionState::Active), with the generation and the end of this answer.
    ///
    /// * A `sid` is never used twice. The answer is [`Opened::Exists`] if the store knows it, even
    ///   if the session was revoked before it was ever opened.
    /// * [`OpenSession::auth_time`] determines which logins are [`Opened::Superseded`], and
    ///   [`OpenSession::max_sessions`] which other sessions the store evicts.
    /// * A refused opening changes nothing and evicts no session.
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened>;

    /// Returns the state of a session and of one of its access tokens, in one round trip, from the
    /// source of truth.
    ///
    /// The answer is the first state that applies:
    ///
    /// 1. [`Revoked`](SessionState::Revoked): the session was revoked, evicted, or ended by reuse
    ///    or `revoke_all`. Or the token was revoked and its `until` is not reached, even if its
    ///    session is unknown.
    /// 2. [`Unknown`](SessionState::Unknown): the subject has no such session.
    /// 3. [`Expired`](SessionState::Expired): the session's end is reached. A store that has
    ///    removed the record answers `Unknown` instead.
    /// 4. [`Active`](SessionState::Active).
    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked>;

    /// Exchanges a refresh token's counter for the next one. See [`RotateRefresh`] for the rule.
    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated>;

    /// Ends one session of this subject and no other.
    ///
    /// * Idempotent: the first revocation counts. A session that was revoked before, alone or by
    ///   `revoke_all`, stays as it is, and [`found`](Revoked::found) is `false`.
    /// * An unknown or expired session is revoked from then on, because the store may have lost its
    ///   record while its tokens live. `found` is `false`, and a later [`open`](Self::open) answers
    ///   [`Opened::Exists`].
    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked>;

    /// Revokes one access token of this subject by its `jti`, whatever its session. The session
    /// lives on.
    ///
    /// * The token stays revoked until `until` at least, even after rotations of its session.
    /// * Of several calls, the latest `until` counts. A call for a token that is revoked already
    ///   answers `found` `false`.
    /// * An `until` that is not in the future writes nothing and finds nothing.
    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked>;

    /// Ends all sessions of a user except `except`, in one step however many there are.
    ///
    /// * The call ends every session that was opened before it, even in the same millisecond.
    ///   Sessions opened after it live, and so do those of other users.
    /// * A live `except` stays alive and gets the new generation. Its revoked tokens stay revoked.
    ///   An `except` that is revoked, expired, unknown or another user's is not revived.
    /// * [`found`](Revoked::found) is `true` if a session other than `except` was alive.
    /// * A login that began by the time of the answer is superseded, one that begins 10 ms later is
    ///   not. See [`OpenSession::auth_time`].
    /// * A repetition that ends no session should move that time only if the time is some seconds
    ///   old. Otherwise a caller could block all logins of a user by repeating the call.
    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked>;

    /// Lists the user's live sessions, a page at a time, in no particular order.
    ///
    /// A walk from the first page to the last ends. It lists each session that lives throughout at
    /// least once, and no session that was dead before it began. See [`Page`].
    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage>;

    /// Returns the store's time after a round trip, which shows that the store answers.
    fn ping(&self) -> StoreAnswer<Timestamp>;

    /// Returns an estimate of the store's time, without I/O. It is never ahead of the time that the
    /// store would answer now, unless the store's clock was set back.
    fn now(&self) -> Timestamp;

    /// Returns the name of this store in status reports. Default: `custom`.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// Returns the longest time for which a node may believe a server that was replaced, in
    /// addition to its staleness. After both, a revocation holds on this node. Does no I/O.
    ///
    /// # Errors
    ///
    /// The reason why the time is unknown, in a sentence for operators. The default returns one.
    fn failover_bound(&self) -> Result<Duration, String> {
        Err("the store sets no bound on the time for which a node may believe a server that was replaced; implement \
             `SessionStore::failover_bound`"
            .to_owned())
    }

    /// Returns the problems that an operator should fix, as sentences without secrets. Does no I/O.
    ///
    /// Default: none.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns this store's log of revocations, which
    /// [`Consistency::BoundedStaleness`](crate::Consistency::BoundedStaleness) needs. A store has
    /// one from the start or never.
    ///
    /// Default: none.
    fn revocation_log(self: Arc<Self>) -> Option<Arc<dyn RevocationLog>> {
        None
    }

    /// Returns this store's list of revocations of other issuers' tokens, which
    /// [`TokenPolicy::Denylist`](crate::TokenPolicy::Denylist) needs. A store has one from the
    /// start or never.
    ///
    /// Default: none.
    fn denylist(self: Arc<Self>) -> Option<Arc<dyn Denylist>> {
        None
    }
}

/// The log of a store's revocations. A node that reads it need not ask the store at each request.
///
/// The log is divided into [`buckets`](Self::buckets). A store with a log returns
/// [`Revoked::logged`] for each revocation and each denial. A service treats an answer without it
/// as an error ([`Untrusted`](crate::error::StoreErrorKind::Untrusted)).
///
/// # Contract
///
/// **What is written**
///
/// * Each end of a session before its expiry (revocation, reuse, eviction) writes an entry, in the
///   same step. The entries of a bucket have the order of the changes.
/// * Each [`Logged`] names an entry and repeats its revocation and `until`. If a node misses that
///   entry in the log, it takes the revocation for lost and republishes it.
/// * A revocation writes no entry if the log has one for it. The answer then has
///   [`found`](Revoked::found) `false` and names that entry:
///   - A session that was revoked before, alone or by `revoke_all`. An unknown or expired session
///     is logged once.
///   - A token that was revoked before for at least as long. If `until` is not in the future, there
///     is no entry, and the answer names the newest one.
///   - `revoke_all`, if no session was opened since the last one, and the session that it kept is
///     the same or dead. The first is logged even if the user has no session.
///   - A denial in the same half second as an earlier one, for at most as long.
/// * So by repeating calls, a caller adds at most two entries a second about one session, token,
///   subject or external id. Only a call that revokes something alive, something unknown to the
///   store, or for a longer time adds another one.
/// * A call that is rejected, or dropped before the change, writes no entry and leaves no hole.
/// * A [`Revocation::Subject`] ends all sessions of a lower generation than its own. Sessions that
///   are opened later have its generation or a higher one. It names `except` only if that session
///   was alive, and that session then has its generation.
///
/// **What is kept**
///
/// * Entries are numbered from 1 without a hole, and each names the one before ([`LogEntry`]).
///   Their times do not go back. The store may drop the oldest ones after the time that
///   [`keep_log_for`](Self::keep_log_for) asks.
/// * The store remembers a revocation for at least that time, even if the call names a shorter one:
///   another node may accept a token for longer. So [`LogEntry::until`] is at least that far away.
/// * An `until` beyond [`Timestamp::END_OF_TIME`] becomes that moment.
/// * An incarnation is one data set. Its name and [`LogPage::born`] never change.
pub trait RevocationLog: Send + Sync + 'static {
    /// Returns the count of buckets: [`read`](Self::read) takes `0..buckets()`.
    fn buckets(&self) -> u32;

    /// Returns the bucket whose log has the revocations of this subject, its sessions and their
    /// tokens. The answer never changes.
    fn bucket_of(&self, subject: &Subject) -> u32;

    /// Returns a page of the log of a bucket: see [`LogQuery`] and [`LogPage`].
    ///
    /// A reader that goes on from [`LogPage::next`] gets each entry once, in order, and an empty
    /// page at the end. A bucket that does not exist is
    /// [`Rejected`](crate::error::StoreErrorKind::Rejected). A foreign cursor gives an error or a
    /// page from any entry on: the numbers show the reader a hole.
    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage>;

    /// Republishes a revocation that the store has lost: by a restart from older data, a failover,
    /// or a loss of all data. `bucket` is the one whose log had the entry.
    ///
    /// Idempotent: a revocation that the store still has is not logged again. One whose `until` is
    /// over is ignored. A bucket that does not exist is
    /// [`Rejected`](crate::error::StoreErrorKind::Rejected), and so is an id that is not 1 to 255
    /// bytes long.
    ///
    /// The call ends no session that was opened after the lost revocation. But the entry of a
    /// session or subject gets the `until` of a new revocation. The session may have come back
    /// alive, and a node may have issued tokens for it since.
    ///
    /// * A session is revoked, even an unknown one, and can never be opened again.
    /// * A token is revoked until `until` at least. A later `until` than the known one is logged.
    /// * [`Revocation::Subject`]: sessions of a lower generation end. A generation that is not
    ///   above the known one is ignored. The entry names `except` only if that session is alive.
    ///   Logins are superseded if they began before the moment that the generation names in
    ///   milliseconds.
    /// * [`Revocation::External`]: the id is denied up to the moment named. An earlier moment or
    ///   `until` than the known one is ignored.
    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()>;

    /// Keeps entries for at least `keep` from now on: the longest life of an access token and its
    /// leeway. The time only grows: a shorter `keep` has no effect.
    fn keep_log_for(&self, keep: Duration);

    /// Records that a node of this deployment decides by data of the log up to `staleness` old. The
    /// time only grows. From the next answer on, [`LogPage::max_staleness`] and
    /// [`Logged::max_staleness`] are at least as long.
    fn allow_staleness(&self, staleness: Duration);

    /// Returns the largest difference between the clocks of a server and its successor. A node asks
    /// the store about tokens issued within this time after its horizon. Default: 2 s.
    fn clock_margin(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// Returns readers of the log with connections of their own, which together cover all buckets.
    /// Each read ends within `deadline`.
    ///
    /// Empty if [`read`](Self::read) serves as well, as in a store without connections. A store
    /// that wraps another returns the feeds of that one. A feed reads over one connection at a
    /// time. A change of connection counts as a change of server: nodes then ask the store more
    /// often.
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
/// * A denial concerns one issuer, kind (token, session, subject) and id. An issuer is any text:
///   issuer `a` with the id `bc` is not issuer `ab` with the id `c`.
/// * A denial ends no session of the store itself, even if subjects have the same name.
/// * A session or subject is denied up to a **moment**: tokens issued at or before it are revoked.
///   The moment is the store's time of the call, or less than half a second later. So a denial
///   includes tokens whose `iat`, in whole seconds, is the second of the call.
/// * A store with a log writes an entry for each denial, with the name and in the bucket that
///   [`log_name`](Self::log_name) returns. The entry has the same moment and end.
pub trait Denylist: Send + Sync + 'static {
    /// Revokes a token, a session or a subject of another issuer.
    ///
    /// * Idempotent within half a second: a repetition writes nothing and answers `found` `false`.
    ///   A later call moves the moment of a session or subject. For a token it answers `found`
    ///   `false`.
    /// * The store remembers a denial for [`DenyRequest::keep`] at least. Of several calls, the
    ///   longest time counts. A `keep` of zero writes and finds nothing.
    /// * An id that is not 1 to 255 bytes long is
    ///   [`Rejected`](crate::error::StoreErrorKind::Rejected).
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked>;

    /// Returns the denials that concern a token of another issuer: that of the token itself, and
    /// the later moment of its session's and its subject's. An id that the query lacks finds
    /// nothing.
    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial>;

    /// Remembers denials for at least `keep` from now on, even if [`DenyRequest::keep`] is shorter.
    /// A node names the longest time for which it accepts a token. The time only grows, and
    /// [`Denial::kept_longer`] says when it did.
    fn keep_denials_for(&self, keep: Duration);

    /// Returns the name of an external id in the [`RevocationLog`], and an existing bucket.
    /// Different issuers, kinds or ids have different names. A store without a log may return any
    /// name.
    fn log_name(&self, issuer: &str, id: &ExternalId) -> ExternalName;
}

/// Rejects subjects and ids that are empty or longer than those of any token.
fn check_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Result<(), StoreError> {
    if ids.into_iter().all(|id| (1..=LONGEST_ID).contains(&id.len())) {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Rejected).with_source("a subject or id is not 1 to 255 bytes long"))
}

/// Returns the ids in a revocation, except the name of an external id: its length is the store's.
fn ids_of(revocation: &Revocation) -> impl Iterator<Item = &str> {
    let (first, second) = match revocation {
        Revocation::Session { subject, sid } => (subject, Some(sid.as_str())),
        Revocation::Token { subject, jti } => (subject, Some(jti.as_str())),
        Revocation::Subject { subject, except, .. } => (subject, except.as_ref().map(SessionId::as_str)),
        Revocation::External { .. } => return None.into_iter().chain(None),
    };
    Some(first.as_str()).into_iter().chain(second)
}

/// A reader of the log of some buckets of one server, on a connection that carries no requests.
pub trait LogFeed: Send + 'static {
    /// Returns the buckets.
    fn buckets(&self) -> &[u32];

    /// Reads one page for each query, in one round trip, within the deadline of the feed. The
    /// bucket of a query is one of [`buckets`](Self::buckets).
    ///
    /// The answer comes from the source of truth: a server that accepts writes. A page and those
    /// that follow it hold every entry that was written before this call. An error in place of a
    /// page concerns that bucket alone.
    fn read(&mut self, queries: Vec<(u32, LogQuery)>) -> BoxFuture<Result<LogPages, StoreError>>;

    /// Resolves with the buckets whose log may have grown. Wake-ups can be spurious, late or
    /// missing. A wake-up that comes while no task waits is kept for the next call.
    fn nudged(&self) -> BoxFuture<Vec<u32>>;

    /// Drops every connection. A node calls this after a pause that was longer than its staleness:
    /// the server may have been replaced meanwhile.
    fn suspect(&mut self) {}
}

/// The answer of [`LogFeed::read`]: a page or an error for each query.
pub type LogPages = Vec<Result<LogPage, StoreError>>;

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
//! | [`RevocationLog`] | [`BoundedStaleness`], and repair after a loss of data |
//! | [`Denylist`] | [`TokenPolicy::Denylist`]: tokens of other issuers |
//!
//! [`BoundedStaleness`]: crate::Consistency::BoundedStaleness
//! [`TokenPolicy::Denylist`]: crate::TokenPolicy::Denylist
//!
//! Implement the first, and the others if you need them. The contract is in the docs of the traits
//! and of their [arguments and answers](OpenSession). The suite of the `conformance` module
//! (feature `conformance`) checks it, with a part for each trait. Both stores of this crate pass
//! it. The example `sqlite_store` is a [`SessionStore`] on a file, in one module of under 400
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
/// **Calls**
///
/// * Each method is one atomic step, whatever runs beside it, and ends within a deadline of the
///   store's own.
/// * **Linearizable**: a call that starts after another has answered sees the effects of the other.
///   What was once revoked never comes back, except by a loss of data.
/// * An error means that nothing may be concluded: not that a token is good, not that it is bad. A
///   change that ended with [`Timeout`](crate::error::StoreErrorKind::Timeout) or
///   [`Unavailable`](crate::error::StoreErrorKind::Unavailable) may or may not have been made.
///   Revocations are idempotent and are to be repeated.
/// * A record that cannot be read is an error
///   ([`Untrusted`](crate::error::StoreErrorKind::Untrusted)), never a session that is alive.
/// * Dropping a returned future leaves the change made or not made, never half made. A rotation that
///   is repeated within the grace gets the same successor, whether the first was made or not.
/// * **A call that changes nothing writes nothing.** [`Revoked::found`] is then `false`.
/// * Nothing panics, whatever the arguments.
///
/// **Ids**
///
/// * A session belongs to its subject: the same `sid` of another subject is another session. The
///   same holds for a `jti`.
/// * Subjects and ids are any text of 1 to 255 bytes, control characters and NUL included. Two are
///   equal if their bytes are: no case folding, no normalization, no wildcards.
/// * A change that names another text is [`Rejected`](crate::error::StoreErrorKind::Rejected), and
///   nothing is written.
///
/// **Time**
///
/// * The store's time does not go back from one answer to the next, unless its clock was put back.
///   Times are whole milliseconds.
/// * A duration counts from the time of the answer, and is exact: an end of `now + idle` is neither
///   a millisecond earlier nor later. At its end, a thing is over.
/// * Sums stop at [`Timestamp::END_OF_TIME`]: a lifetime of `Duration::MAX` is no error.
///
/// **Generations**
///
/// * Each user has a generation, a number that only rises. A session has the one of its opening, at
///   least the store's time in milliseconds. So it rises even if the user's record is lost.
/// * [`revoke_all`](Self::revoke_all) raises it above those of all sessions that it ends. The
///   excepted session gets the new generation.
///
/// **Memory**
///
/// * A session that was revoked stays [`Revoked`](SessionState::Revoked), and its `sid` taken, for
///   as long as [`RevocationLog::keep_log_for`] asks. A store without a log remembers it until the
///   session would have ended, and for an hour at least.
/// * The time of the last `revoke_all` is remembered for as long: no login takes longer.
/// * After that, and after its own end, a session may be [`Unknown`](SessionState::Unknown), which
///   a service refuses as well. The records then go away by themselves, a few at each change.
///
/// The suite of the `conformance` module (feature `conformance`) checks all of it that can be seen
/// from outside.
pub trait SessionStore: Send + Sync + 'static {
    /// Opens a session, whose counter is 0. [`check`](Self::check) then finds it
    /// [`Active`](SessionState::Active), with the generation and the end that the answer names.
    ///
    /// * A `sid` is never used twice. The answer is [`Opened::Exists`] if the store knows it, be it
    ///   alive, revoked, or revoked before it was ever opened.
    /// * [`OpenSession::auth_time`] says which logins are [`Opened::Superseded`], and
    ///   [`OpenSession::max_sessions`] which other sessions are evicted.
    /// * An opening that is refused changes nothing, and evicts nothing.
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened>;

    /// Returns the state of a session and of one access token of it: one round trip, from the
    /// source of truth.
    ///
    /// The first that applies:
    ///
    /// 1. [`Revoked`](SessionState::Revoked): the session was revoked or evicted, ended by reuse,
    ///    or ended with all others; or the token was revoked, and its time is not over. A revoked
    ///    token is revoked even if its session is unknown.
    /// 2. [`Unknown`](SessionState::Unknown): the subject has no such session.
    /// 3. [`Expired`](SessionState::Expired): its end is reached. A store may have forgotten it:
    ///    then it is unknown.
    /// 4. [`Active`](SessionState::Active).
    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked>;

    /// Exchanges a refresh token's counter for the next one. See [`RotateRefresh`] for the rule.
    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated>;

    /// Ends one session of this subject, and no other one.
    ///
    /// * Idempotent: the first revocation counts. A session that was revoked before, alone or with
    ///   all others, stays as it is, and [`found`](Revoked::found) is `false`.
    /// * A session that is unknown, or past its end, is revoked from then on: its record may have
    ///   been lost while its tokens live. `found` is `false`, and a later [`open`](Self::open)
    ///   answers [`Opened::Exists`].
    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked>;

    /// Revokes one access token of this subject by its `jti`, whatever its session. The session
    /// lives on.
    ///
    /// * The token stays revoked to `until` at least, also after rotations of its session.
    /// * Of two calls, the longer time counts, whichever comes first. A call with no longer time
    ///   finds nothing.
    /// * If `until` is not in the future, nothing is written, and nothing is found.
    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked>;

    /// Ends all sessions of a user, but `except`. One step, however many there are.
    ///
    /// * All sessions that were opened before are ended, even within the same millisecond. Those
    ///   that are opened after it live, and so do other users' sessions.
    /// * `except` stays alive if it is alive; then it gets the new generation. Its revoked tokens
    ///   stay revoked. A session that is revoked, over, unknown or another user's is not revived.
    /// * [`found`](Revoked::found) is `true` if another session than `except` was alive.
    /// * Logins that began up to the time of the answer are superseded. Those that begin 10 ms
    ///   later are not. See [`OpenSession::auth_time`].
    /// * A repetition that ends nothing should move that time only if it is some seconds old.
    ///   Otherwise a caller could refuse all logins of a user by repeating the call.
    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked>;

    /// Lists the user's live sessions, a page at a time, in no particular order.
    ///
    /// A walk from the first page to the last ends. It shows each session that is alive all the
    /// while at least once, and none that was dead before it began. See [`Page`].
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
    /// [`Consistency::BoundedStaleness`](crate::Consistency::BoundedStaleness) needs. A store has
    /// one for all its life, or none.
    ///
    /// Default: it has none.
    fn revocation_log(self: Arc<Self>) -> Option<Arc<dyn RevocationLog>> {
        None
    }

    /// Returns this store's list of revocations of other issuers' tokens, which
    /// [`TokenPolicy::Denylist`](crate::TokenPolicy::Denylist) needs. A store has one for all its
    /// life, or none.
    ///
    /// Default: it has none.
    fn denylist(self: Arc<Self>) -> Option<Arc<dyn Denylist>> {
        None
    }
}

/// The log of a store's revocations, from which nodes learn them without a question per request.
///
/// The log is divided into [`buckets`](Self::buckets). A store with a log returns
/// [`Revoked::logged`] for each revocation and each denial. A service takes a confirmation without
/// it for an error ([`Untrusted`](crate::error::StoreErrorKind::Untrusted)).
///
/// # Contract
///
/// **What is written**
///
/// * Every way in which a session ends before its own expiry (revocation, reuse, eviction) writes
///   the log, in the same step. The entries of a bucket stand in the order of the changes.
/// * Each [`Logged`] names an entry of the log and repeats its revocation and its end. A node that
///   knows of a revocation, and does not find it there, takes it for lost.
/// * A revocation writes no entry and moves no time if the log already has its entry. The answer
///   then has [`found`](Revoked::found) `false` and names that entry:
///   - a session that was revoked before, alone or with all others. A session that the store does
///     not know, or that is over, is logged once.
///   - a token that was revoked before for at least that long. A token whose time is over has no
///     entry: the answer names the newest one.
///   - all sessions of a user, if none was opened since the last time and the kept one is the same
///     or dead. If nobody did it before, it is logged, even without a session.
///   - a thing of another issuer that was denied up to this half second, for at least that long.
/// * So no caller can add more than two entries a second about one session, token, subject or
///   external id by repetition. A call adds an entry beyond that only if it revokes something
///   alive or unknown to the store, or for a longer time than before.
/// * A call that is rejected, or dropped before it was made, writes no entry and leaves no hole.
/// * A [`Revocation::Subject`] ends all sessions of a lower generation than its own. Sessions that
///   are opened later have its generation or a higher one. It names an excepted session only if
///   that was alive, and that session then has its generation.
///
/// **What is kept**
///
/// * Entries are numbered from 1 without a hole, and each names the one before ([`LogEntry`]).
///   Their times do not go back. The oldest may go once their time is over.
/// * A revocation is remembered for at least as long as [`keep_log_for`](Self::keep_log_for) asks,
///   whatever the call says: another node may accept a token for longer than the caller does. The
///   record and the entry agree: [`LogEntry::until`] is at least that far away.
/// * An end beyond [`Timestamp::END_OF_TIME`] is that moment.
/// * An incarnation is one data set. Its name and the time of its beginning never change.
pub trait RevocationLog: Send + Sync + 'static {
    /// Returns the count of buckets: [`read`](Self::read) takes `0..buckets()`.
    fn buckets(&self) -> u32;

    /// Returns the bucket whose log has the revocations of this subject, its sessions and their
    /// tokens. Never another one.
    fn bucket_of(&self, subject: &Subject) -> u32;

    /// Returns a part of the log of a bucket: see [`LogQuery`] and [`LogPage`].
    ///
    /// Reading from [`LogPage::next`] on shows each entry once, the next ones after it, and an
    /// empty page at the end. A bucket that does not exist is
    /// [`Rejected`](crate::error::StoreErrorKind::Rejected). A cursor that is not the store's own
    /// is an error, or begins at any entry: the reader sees a hole by the numbers.
    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage>;

    /// Writes a revocation again that the store has lost: after a restart from older data, a
    /// failover, or the loss of all. `bucket` is the one whose log had it.
    ///
    /// Idempotent: an entry that the store still has is not logged again, and one whose `until` is
    /// over is ignored. A bucket that does not exist is
    /// [`Rejected`](crate::error::StoreErrorKind::Rejected), and so is an id that no token can
    /// have.
    ///
    /// This is never a new revocation: a session that was opened after the lost one lives. But the
    /// new entry of a session or a subject matters for as long as one of a new revocation. The
    /// revoked session may have come back alive, and tokens may have been issued since.
    ///
    /// * A session is revoked, known or not, and can never be opened again.
    /// * A token is revoked to `until` at least. A later end than the known one is news.
    /// * All sessions of a subject: sessions of a lower generation end. A generation that is not
    ///   above the known one is no news. The exception is named again only if it is alive. The lost
    ///   revocation was made before the moment that its generation counts in milliseconds. Logins
    ///   that began before that moment are superseded, and later ones are not.
    /// * A thing of another issuer is denied up to the moment named. An earlier moment or end than
    ///   the known one is no news.
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
    /// Empty if [`read`](Self::read) serves as well, as in a store without connections. A store
    /// that wraps another returns the feeds of that one. Read over one connection at a time: a
    /// change of connection counts as a change of server, and then nodes ask the store more often.
    fn feeds(&self, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
        let _ = deadline;
        Vec::new()
    }
}

/// A list of revocations of tokens that other issuers have issued.
///
/// # Contract
///
/// The one of [`SessionStore`] about calls, ids and time holds here too. In addition:
///
/// * Issuers are kept apart, and so are tokens, sessions and subjects with the same id. An issuer
///   is any text, and never runs into the id.
/// * A denial concerns no session of the store's own, even if subjects have the same name.
/// * A denied session or subject is denied up to a **moment**: tokens issued at or before it are
///   dead. The moment lies at or after the store's time, by less than half a second. So a denial
///   also concerns tokens that were issued in the same second as it was made.
/// * A store with a log writes each denial there, by the name that [`log_name`](Self::log_name)
///   returns, in the bucket that it names. The entry has the same moment and end.
pub trait Denylist: Send + Sync + 'static {
    /// Revokes a token, a session or a subject of another issuer.
    ///
    /// * Idempotent within half a second: a repetition finds nothing and writes nothing. A later
    ///   one moves the moment of a session or subject, and finds nothing new of a token.
    /// * It is remembered for [`DenyRequest::keep`] at least. Of two calls, the longer time counts,
    ///   whichever comes first. A `keep` of zero writes and finds nothing.
    /// * An id of other than 1 to 255 bytes is
    ///   [`Rejected`](crate::error::StoreErrorKind::Rejected).
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked>;

    /// Returns the revocations that concern a token of another issuer: its own, and the later
    /// moment of its session's and its subject's. A token without an id of some kind has no
    /// revocation of that kind.
    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial>;

    /// Remembers denials for at least `keep` from now on, whatever [`DenyRequest::keep`] says: the
    /// longest time for which a node accepts a token. The time only ever grows, and
    /// [`Denial::kept_longer`] says when it did.
    fn keep_denials_for(&self, keep: Duration);

    /// Returns the name of another issuer's thing in the [`RevocationLog`], and its bucket, which
    /// exists. No two things have one name. A store without a log may return any name.
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

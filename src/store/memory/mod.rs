//! A store that keeps sessions and revocations in the memory of this process.

mod denials;
mod log;
mod users;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use self::{denials::Denials, log::Log, users::Shard};
use super::{
    Answer, Checked, Denial, DenyQuery, DenyRequest, Denylist, ExternalId, ExternalName, LogPage, LogQuery,
    OpenSession, Opened, Page, Revocation, RevocationLog, Revoked, RotateRefresh, Rotated, SessionPage, SessionStore,
    StoreAnswer, check_ids, ids_of,
};
use crate::{
    clock::{Clock, SystemClock, Timestamp},
    error::{StoreError, StoreErrorKind},
    ids::{SessionId, Subject, TokenId},
};

/// The number of shards, each with its own lock. Most machines have fewer cores, so calls rarely
/// wait for a lock.
const SHARDS: usize = 64;

/// A store of sessions in memory, for one process. The data are lost when the process ends.
///
/// Every answer is ready immediately ([`Answer::Ready`]). A call fails only if it has an invalid id
/// or bucket, or if the operating system gives no random numbers.
///
/// Every change also removes a few expired records. The revocation log keeps entries for the time
/// that [`keep_log_for`](RevocationLog::keep_log_for) sets (default: one hour), and at most 65 536
/// entries. If a node needs an entry that the log has dropped, the node detects the gap and asks
/// the store about the tokens instead.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::{
///     SessionId, Subject, TokenId,
///     store::{MemoryStore, OpenSession, SessionState, SessionStore},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_bearer::error::StoreError> {
/// let store = MemoryStore::default();
/// let (alice, s1, token) = (Subject::from("alice"), SessionId::new("s1"), TokenId::new("s1.0.a"));
/// let (idle, absolute) = (Duration::from_secs(3600), Duration::from_secs(86_400));
/// store.open(OpenSession::new(&alice, s1.clone(), idle, absolute)).await?;
/// let checked = store.check(&alice, &s1, &token).await?;
/// assert!(matches!(checked.state, SessionState::Active { .. }));
///
/// store.revoke_all(&alice, None).await?;
/// let checked = store.check(&alice, &s1, &token).await?;
/// assert!(matches!(checked.state, SessionState::Revoked { .. }));
/// # Ok(())
/// # }
/// ```
pub struct MemoryStore {
    clock: Box<dyn Clock>,
    hasher: RandomState,
    /// The users' records. All records of one user are in the same shard, so each change locks only
    /// one shard. A change locks the shard first and the log second.
    shards: [RwLock<Shard>; SHARDS],
    /// The revocations of other issuers' tokens. They share one lock, because a query must read up
    /// to three of them at the same moment.
    denials: RwLock<Denials>,
    log: Log,
}

impl MemoryStore {
    /// Creates an empty store that takes its time from `clock`.
    ///
    /// The store reads the clock while a user's records are locked, so that the times have the
    /// order of the changes. The clock must therefore not call the store.
    #[must_use]
    pub fn with_clock(clock: impl Clock) -> Self {
        let born = clock.now();
        Self {
            clock: Box::new(clock),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| RwLock::default()),
            denials: RwLock::default(),
            log: Log::new(born),
        }
    }

    // These functions ignore that a lock is poisoned. Only the clock can panic while a lock is
    // taken. The store reads the clock before it changes anything, so the data are still complete.

    fn read(&self, subject: &str) -> (RwLockReadGuard<'_, Shard>, Timestamp) {
        let shard = self.shard(subject).read().unwrap_or_else(PoisonError::into_inner);
        (shard, self.clock.now())
    }

    fn write(&self, subject: &str) -> (RwLockWriteGuard<'_, Shard>, Timestamp) {
        let shard = self.shard(subject).write().unwrap_or_else(PoisonError::into_inner);
        (shard, self.clock.now())
    }

    fn republish_own(&self, revocation: &Revocation, until: Timestamp) -> Result<(), StoreError> {
        let (Revocation::Session { subject, .. }
        | Revocation::Token { subject, .. }
        | Revocation::Subject { subject, .. }) = revocation
        else {
            return Ok(());
        };
        let subject = subject.as_str();
        let (mut shard, now) = self.write(subject);
        if until <= now {
            return Ok(());
        }
        let answer = match revocation {
            Revocation::Session { sid, .. } => shard.republish_session(subject, sid.as_str(), now, &self.log),
            Revocation::Token { jti, .. } => shard.republish_token(subject, jti.as_str(), until, now, &self.log),
            Revocation::Subject { generation, except, .. } => {
                shard.republish_all(subject, *generation, except.as_ref().map(SessionId::as_str), now, &self.log)
            }
            Revocation::External { .. } => Ok(()),
        };
        shard.prune(now);
        answer
    }

    #[allow(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "a remainder is less than its divisor, here the length"
    )]
    fn shard(&self, subject: &str) -> &RwLock<Shard> {
        &self.shards[self.hasher.hash_one(subject) as usize % SHARDS]
    }
}

impl Default for MemoryStore {
    /// Creates an empty store that uses the clock of the operating system.
    fn default() -> Self {
        Self::with_clock(SystemClock)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl SessionStore for MemoryStore {
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
        if let Err(error) = check_ids([open.subject.as_str(), open.sid.as_str()]) {
            return Answer::Ready(Err(error));
        }
        let (mut shard, now) = self.write(open.subject.as_str());
        let answer = shard.open(open, now, &self.log);
        shard.prune(now);
        Answer::Ready(answer)
    }

    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked> {
        let (shard, now) = self.read(subject.as_str());
        let state = shard.check(subject.as_str(), sid.as_str(), jti.as_str(), now);
        Answer::Ready(Ok(Checked { now, state, server: Some(self.log.server()) }))
    }

    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
        if let Err(error) = check_ids([rotate.subject.as_str(), rotate.sid.as_str()]) {
            return Answer::Ready(Err(error));
        }
        let (mut shard, now) = self.write(rotate.subject.as_str());
        let answer = shard.rotate(&rotate, now, &self.log);
        shard.prune(now);
        Answer::Ready(answer)
    }

    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked> {
        let (subject, sid) = (subject.as_str(), sid.as_str());
        if let Err(error) = check_ids([subject, sid]) {
            return Answer::Ready(Err(error));
        }
        let (mut shard, now) = self.write(subject);
        let answer = shard.revoke_session(subject, sid, now, &self.log);
        shard.prune(now);
        Answer::Ready(answer)
    }

    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked> {
        let (subject, jti) = (subject.as_str(), jti.as_str());
        if let Err(error) = check_ids([subject, jti]) {
            return Answer::Ready(Err(error));
        }
        let (mut shard, now) = self.write(subject);
        let answer = shard.revoke_token(subject, jti, until, now, &self.log);
        shard.prune(now);
        Answer::Ready(answer)
    }

    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked> {
        let (subject, except) = (subject.as_str(), except.map(SessionId::as_str));
        if let Err(error) = check_ids([subject].into_iter().chain(except)) {
            return Answer::Ready(Err(error));
        }
        let (mut shard, now) = self.write(subject);
        let answer = shard.revoke_all(subject, except, now, &self.log);
        shard.prune(now);
        Answer::Ready(answer)
    }

    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage> {
        let (shard, now) = self.read(subject.as_str());
        Answer::Ready(Ok(shard.sessions(subject.as_str(), &page, now)))
    }

    fn ping(&self) -> StoreAnswer<Timestamp> {
        Answer::Ready(Ok(self.now()))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn name(&self) -> &'static str {
        "memory"
    }

    /// Returns zero, because no other process can replace this one.
    fn failover_bound(&self) -> Result<Duration, String> {
        Ok(Duration::ZERO)
    }

    fn revocation_log(self: Arc<Self>) -> Option<Arc<dyn RevocationLog>> {
        Some(self)
    }

    fn denylist(self: Arc<Self>) -> Option<Arc<dyn Denylist>> {
        Some(self)
    }
}

impl RevocationLog for MemoryStore {
    fn buckets(&self) -> u32 {
        1
    }

    fn bucket_of(&self, _: &Subject) -> u32 {
        0
    }

    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage> {
        if bucket >= self.buckets() {
            return Answer::Ready(Err(StoreError::new(StoreErrorKind::Rejected)));
        }
        Answer::Ready(Ok(self.log.page(&query, &*self.clock)))
    }

    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()> {
        if let Err(error) = check_ids(ids_of(&revocation)) {
            return Answer::Ready(Err(error));
        }
        if bucket >= self.buckets() {
            return Answer::Ready(Err(StoreError::new(StoreErrorKind::Rejected)));
        }
        if let Revocation::External { id, before } = revocation {
            let mut denials = self.denials.write().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.now();
            let answer = denials.republish(&id, before, until, now, &self.log);
            denials.prune(now);
            return Answer::Ready(answer);
        }
        Answer::Ready(self.republish_own(&revocation, until))
    }

    fn keep_log_for(&self, keep: Duration) {
        let mut denials = self.denials.write().unwrap_or_else(PoisonError::into_inner);
        let before = self.log.keep();
        if before < keep {
            self.log.keep_for(keep);
            // Before the first log entry, the store has no revocation that it could delete too
            // early.
            if self.log.position(None).sequence > 0 {
                denials.keep_longer(self.clock.now(), before, keep);
            }
        }
    }

    fn allow_staleness(&self, staleness: Duration) {
        self.log.allow_staleness(staleness);
    }

    /// Returns zero, because no other server can replace this store.
    fn clock_margin(&self) -> Duration {
        Duration::ZERO
    }
}

impl Denylist for MemoryStore {
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked> {
        if let Err(error) = check_ids([deny.id.as_str()]) {
            return Answer::Ready(Err(error));
        }
        let mut denials = self.denials.write().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let answer = denials.deny(&deny, now, &self.log);
        denials.prune(now);
        Answer::Ready(answer)
    }

    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial> {
        let denials = self.denials.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        Answer::Ready(Ok(denials.denied(query, now, &self.log)))
    }

    /// Sets the time for denials and for log entries, because this store has one setting for both.
    fn keep_denials_for(&self, keep: Duration) {
        self.keep_log_for(keep);
    }

    fn log_name(&self, issuer: &str, id: &ExternalId) -> ExternalName {
        ExternalName { bucket: 0, id: denials::name(issuer, id) }
    }
}

//! A memory store that lacks a part or alters answers.

use std::{sync::Arc, time::Duration};

use tower_bearer::{
    SessionId, Subject, TokenId,
    clock::Timestamp,
    store::{
        Answer, Checked, Denial, DenyQuery, DenyRequest, Denylist, ExternalId, ExternalName, LogPage, LogQuery,
        MemoryStore, OpenSession, Opened, Page, Revocation, RevocationLog, Revoked, RotateRefresh, Rotated,
        SessionPage, SessionStore, StoreAnswer,
    },
};

/// A store with replaceable answers. A new one differs from a [`MemoryStore`] only in its name.
pub struct AlteredStore {
    pub memory: MemoryStore,
    pub has_log: bool,
    pub failover_bound: Result<Duration, String>,
    pub opened: fn(Opened) -> Opened,
    /// Alters the answer to a check of the token with this id.
    pub checked: fn(&TokenId, Checked) -> Checked,
    /// Alters the confirmation of each revocation and denial.
    pub revoked: fn(Revoked) -> Revoked,
    pub page: fn(LogPage) -> LogPage,
    pub denial: fn(Denial) -> Denial,
}

impl AlteredStore {
    pub fn new(memory: MemoryStore) -> Self {
        Self {
            failover_bound: memory.failover_bound(),
            memory,
            has_log: true,
            opened: |opened| opened,
            checked: |_, checked| checked,
            revoked: |revoked| revoked,
            page: |page| page,
            denial: |denial| denial,
        }
    }

    /// Removes the log entry from each confirmation.
    pub fn without_entries(self) -> Self {
        let revoked = |mut revoked: Revoked| {
            revoked.logged = None;
            revoked
        };
        Self { revoked, ..self }
    }

    /// Removes the log, and with it the log entry from each confirmation.
    pub fn without_log(self) -> Self {
        Self { has_log: false, ..self.without_entries() }
    }
}

/// Applies `change` to an answer. Panics if the answer is pending, which a memory store's never is.
fn alter<T>(answer: StoreAnswer<T>, change: impl FnOnce(T) -> T) -> StoreAnswer<T> {
    match answer {
        Answer::Ready(answer) => Answer::Ready(answer.map(change)),
        Answer::Pending(_) => panic!("a memory store that has to be awaited"),
    }
}

impl SessionStore for AlteredStore {
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
        alter(self.memory.open(open), self.opened)
    }

    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked> {
        alter(self.memory.check(subject, sid, jti), |checked| (self.checked)(jti, checked))
    }

    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
        self.memory.rotate(rotate)
    }

    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked> {
        alter(self.memory.revoke_session(subject, sid), self.revoked)
    }

    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked> {
        alter(self.memory.revoke_token(subject, jti, until), self.revoked)
    }

    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked> {
        alter(self.memory.revoke_all(subject, except), self.revoked)
    }

    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage> {
        self.memory.sessions(subject, page)
    }

    fn ping(&self) -> StoreAnswer<Timestamp> {
        self.memory.ping()
    }

    fn now(&self) -> Timestamp {
        self.memory.now()
    }

    fn name(&self) -> &'static str {
        "altered"
    }

    fn failover_bound(&self) -> Result<Duration, String> {
        self.failover_bound.clone()
    }

    fn revocation_log(self: Arc<Self>) -> Option<Arc<dyn RevocationLog>> {
        if self.has_log { Some(self) } else { None }
    }

    fn denylist(self: Arc<Self>) -> Option<Arc<dyn Denylist>> {
        Some(self)
    }
}

impl RevocationLog for AlteredStore {
    fn buckets(&self) -> u32 {
        self.memory.buckets()
    }

    fn bucket_of(&self, subject: &Subject) -> u32 {
        self.memory.bucket_of(subject)
    }

    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage> {
        alter(RevocationLog::read(&self.memory, bucket, query), self.page)
    }

    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()> {
        self.memory.republish(bucket, revocation, until)
    }

    fn keep_log_for(&self, keep: Duration) {
        self.memory.keep_log_for(keep);
    }

    fn allow_staleness(&self, staleness: Duration) {
        self.memory.allow_staleness(staleness);
    }

    fn clock_margin(&self) -> Duration {
        self.memory.clock_margin()
    }
}

impl Denylist for AlteredStore {
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked> {
        alter(self.memory.deny(deny), self.revoked)
    }

    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial> {
        alter(self.memory.denied(query), self.denial)
    }

    fn keep_denials_for(&self, keep: Duration) {
        self.memory.keep_denials_for(keep);
    }

    fn log_name(&self, issuer: &str, id: &ExternalId) -> ExternalName {
        self.memory.log_name(issuer, id)
    }
}

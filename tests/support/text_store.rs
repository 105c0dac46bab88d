//! Store calls that take ids as plain text.

use std::time::Duration;

use tower_bearer::{
    SessionId,
    clock::Timestamp,
    store::{
        Checked, Denial, DenyQuery, DenyRequest, Denylist, LogFeed, LogPage, LogQuery, OpenSession, Opened, Page,
        Revocation, RevocationLog, Revoked, RotateRefresh, Rotated, SessionPage, SessionStore, StoreAnswer,
    },
};

/// The three traits of a store in one, with plain text for ids.
///
/// Import it instead of the three traits, whose methods have the same names.
pub trait TextStore: SessionStore + RevocationLog + Denylist {
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
        SessionStore::open(self, open)
    }

    fn check(&self, subject: &str, sid: &str, jti: &str) -> StoreAnswer<Checked> {
        SessionStore::check(self, &subject.into(), &sid.into(), &jti.into())
    }

    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
        SessionStore::rotate(self, rotate)
    }

    fn revoke_session(&self, subject: &str, sid: &str) -> StoreAnswer<Revoked> {
        SessionStore::revoke_session(self, &subject.into(), &sid.into())
    }

    fn revoke_token(&self, subject: &str, jti: &str, until: Timestamp) -> StoreAnswer<Revoked> {
        SessionStore::revoke_token(self, &subject.into(), &jti.into(), until)
    }

    fn revoke_all(&self, subject: &str, except: Option<&str>) -> StoreAnswer<Revoked> {
        SessionStore::revoke_all(self, &subject.into(), except.map(SessionId::from).as_ref())
    }

    fn sessions(&self, subject: &str, page: Page) -> StoreAnswer<SessionPage> {
        SessionStore::sessions(self, &subject.into(), page)
    }

    fn ping(&self) -> StoreAnswer<Timestamp> {
        SessionStore::ping(self)
    }

    fn now(&self) -> Timestamp {
        SessionStore::now(self)
    }

    fn failover_bound(&self) -> Result<Duration, String> {
        SessionStore::failover_bound(self)
    }

    fn warnings(&self) -> Vec<String> {
        SessionStore::warnings(self)
    }

    fn buckets(&self) -> u32 {
        RevocationLog::buckets(self)
    }

    fn bucket_of(&self, subject: &str) -> u32 {
        RevocationLog::bucket_of(self, &subject.into())
    }

    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage> {
        RevocationLog::read(self, bucket, query)
    }

    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()> {
        RevocationLog::republish(self, bucket, revocation, until)
    }

    fn keep_log_for(&self, keep: Duration) {
        RevocationLog::keep_log_for(self, keep);
    }

    fn allow_staleness(&self, staleness: Duration) {
        RevocationLog::allow_staleness(self, staleness);
    }

    fn feeds(&self, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
        RevocationLog::feeds(self, deadline)
    }

    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked> {
        Denylist::deny(self, deny)
    }

    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial> {
        Denylist::denied(self, query)
    }
}

impl<S: SessionStore + RevocationLog + Denylist> TextStore for S {}

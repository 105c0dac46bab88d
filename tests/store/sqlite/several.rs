//! Several stores on one file, called in turn.

use std::sync::atomic::{AtomicUsize, Ordering};

use tower_bearer::{
    SessionId, Subject, TokenId,
    clock::Timestamp,
    store::{
        Checked, OpenSession, Opened, Page, Revoked, RotateRefresh, Rotated, SessionPage, SessionStore, StoreAnswer,
    },
};

pub(crate) struct InTurn<S> {
    stores: [S; 3],
    calls: AtomicUsize,
}

impl<S> InTurn<S> {
    pub(crate) fn new(stores: [S; 3]) -> Self {
        Self { stores, calls: AtomicUsize::new(0) }
    }

    fn next(&self) -> &S {
        let [a, b, c] = &self.stores;
        match self.calls.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => a,
            1 => b,
            _ => c,
        }
    }
}

impl<S: SessionStore> SessionStore for InTurn<S> {
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
        self.next().open(open)
    }

    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked> {
        self.next().check(subject, sid, jti)
    }

    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
        self.next().rotate(rotate)
    }

    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked> {
        self.next().revoke_session(subject, sid)
    }

    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked> {
        self.next().revoke_token(subject, jti, until)
    }

    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked> {
        self.next().revoke_all(subject, except)
    }

    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage> {
        self.next().sessions(subject, page)
    }

    fn ping(&self) -> StoreAnswer<Timestamp> {
        self.next().ping()
    }

    fn now(&self) -> Timestamp {
        self.next().now()
    }
}

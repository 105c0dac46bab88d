//! A user of the store under test, with functions that all rules use.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use super::outcome::{Broken, Outcome};
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject, TokenId},
    store::{
        Denylist, LogStamp, Logged, OpenSession, Opened, Page, RevocationLog, Revoked, RotateRefresh, Rotated,
        SessionRecord, SessionState, SessionStore, Successor,
    },
};

/// A lifetime that does not end while a rule runs.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// A lifetime so short that a rule can wait for its end.
pub(super) const SHORT: Duration = Duration::from_millis(300);
/// The longest sleep between two queries of the store's time.
const NAP: Duration = Duration::from_millis(20);
/// The maximum number of pages that a rule reads before it reports that there is no last page.
pub(super) const MANY_PAGES: usize = 100_000;

/// A user of the store under test. Each rule gets a user with a new random name.
#[derive(Clone)]
pub(super) struct User {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) name: Subject,
}

/// The fields of [`Opened::Opened`].
pub(super) struct Opening {
    pub(super) now: Timestamp,
    pub(super) generation: u64,
    pub(super) refresh_end: Timestamp,
    pub(super) evicted: Vec<SessionId>,
    pub(super) last_revocation: Option<LogStamp>,
}

impl User {
    pub(super) fn new(store: Arc<dyn SessionStore>) -> Self {
        let name = format!("conformance-{:016x}", RandomState::new().hash_one(0u8));
        Self { store, name: name.into() }
    }

    /// Returns the user with this name in the same store.
    pub(super) fn other(&self, name: impl Into<Subject>) -> Self {
        Self { store: self.store.clone(), name: name.into() }
    }

    /// Returns another user of the same store. The name starts with that of this user, so no other
    /// rule uses it.
    pub(super) fn sibling(&self, name: &str) -> Self {
        self.other(format!("{}-{name}", self.name))
    }

    /// Returns the store's log, or an error if the store no longer returns its log.
    pub(super) fn log(&self) -> Outcome<Arc<dyn RevocationLog>> {
        self.store.clone().revocation_log().ok_or_else(|| Broken("the store no longer returns its log".to_owned()))
    }

    /// Returns the store's denylist, or an error if the store no longer returns its denylist.
    pub(super) fn denylist(&self) -> Outcome<Arc<dyn Denylist>> {
        self.store.clone().denylist().ok_or_else(|| Broken("the store no longer returns its denylist".to_owned()))
    }

    /// Returns a request to open a session that does not end while a rule runs.
    pub(super) fn session(&self, sid: &str) -> OpenSession {
        OpenSession::new(&self.name, sid.into(), LONG, 24 * LONG)
    }

    pub(super) async fn open(&self, sid: &str) -> Outcome<Opening> {
        self.open_as(self.session(sid)).await
    }

    pub(super) async fn open_capped(&self, sid: &str, max_sessions: NonZeroU32) -> Outcome<Opening> {
        self.open_as(OpenSession { max_sessions: Some(max_sessions), ..self.session(sid) }).await
    }

    pub(super) async fn open_as(&self, open: OpenSession) -> Outcome<Opening> {
        match self.store.open(open.clone()).await? {
            Opened::Opened { now, generation, refresh_end, evicted, last_revocation } => {
                Ok(Opening { now, generation, refresh_end, evicted, last_revocation })
            }
            refused => Err(Broken(format!("the answer to {open:?} is {refused:?}"))),
        }
    }

    pub(super) async fn state(&self, sid: &str) -> Outcome<SessionState> {
        self.token_state(sid, "no such token").await
    }

    pub(super) async fn token_state(&self, sid: &str, jti: &str) -> Outcome<SessionState> {
        Ok(self.store.check(&self.name, &sid.into(), &jti.into()).await?.state)
    }

    pub(super) async fn is_active(&self, sid: &str) -> Outcome<bool> {
        Ok(matches!(self.state(sid).await?, SessionState::Active { .. }))
    }

    pub(super) async fn is_revoked(&self, sid: &str) -> Outcome<bool> {
        Ok(matches!(self.state(sid).await?, SessionState::Revoked { .. }))
    }

    pub(super) async fn rotate(&self, sid: &str, counter: u32, grace: Duration) -> Outcome<Rotated> {
        Ok(self.store.rotate(RotateRefresh::new(&self.name, sid.into(), counter, LONG, grace)).await?)
    }

    /// Rotates with a grace of zero. Returns an error if the answer is not `Rotated`.
    pub(super) async fn advance(&self, sid: &str, counter: u32) -> Outcome<Successor> {
        match self.rotate(sid, counter, Duration::ZERO).await? {
            Rotated::Rotated(successor) => Ok(successor),
            other => Err(Broken(format!("the rotation of counter {counter} of {sid:?} returned {other:?}"))),
        }
    }

    pub(super) async fn revoke_session(&self, sid: &str) -> Outcome<Revoked> {
        Ok(self.store.revoke_session(&self.name, &sid.into()).await?)
    }

    pub(super) async fn revoke_token(&self, jti: &str, until: Timestamp) -> Outcome<Revoked> {
        Ok(self.store.revoke_token(&self.name, &TokenId::from(jti), until).await?)
    }

    pub(super) async fn revoke_all(&self, except: Option<&str>) -> Outcome<Revoked> {
        Ok(self.store.revoke_all(&self.name, except.map(SessionId::from).as_ref()).await?)
    }

    /// Returns the store's time plus one hour.
    pub(super) async fn in_an_hour(&self) -> Outcome<Timestamp> {
        Ok(self.store.ping().await?.saturating_add(LONG))
    }

    /// Returns the user's sessions from all pages.
    pub(super) async fn listing(&self, limit: u32) -> Outcome<Vec<SessionRecord>> {
        self.listing_from(None, limit).await
    }

    /// Returns the user's sessions from the page at `cursor` and all later pages.
    pub(super) async fn listing_from(&self, mut cursor: Option<String>, limit: u32) -> Outcome<Vec<SessionRecord>> {
        let mut sessions = Vec::new();
        for _ in 0..MANY_PAGES {
            let page = self.store.sessions(&self.name, Page { cursor, limit }).await?;
            sessions.extend(page.sessions);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(sessions);
            }
        }
        Err(Broken("the list of sessions has no last page".to_owned()))
    }

    /// Returns the ids of the user's live sessions.
    pub(super) async fn live(&self) -> Outcome<BTreeSet<SessionId>> {
        Ok(self.listing(0).await?.into_iter().map(|session| session.sid).collect())
    }

    /// Waits until the store's time is `moment` or later.
    pub(super) async fn wait_until(&self, moment: Timestamp) -> Outcome {
        loop {
            let now = self.store.ping().await?;
            if moment <= now {
                return Ok(());
            }
            tokio::time::sleep(moment.saturating_since(now).min(NAP)).await;
        }
    }
}

/// Returns the log entry in an answer, or an error if the answer has none.
pub(super) fn logged(answer: &Revoked) -> Outcome<&Logged> {
    answer
        .logged
        .as_ref()
        .ok_or_else(|| Broken(format!("the store has a log, but its answer has no log entry: {answer:?}")))
}

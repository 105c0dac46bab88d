//! A user of the store under test, and the helpers that the rules share.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use super::{Broken, Outcome};
use crate::{
    clock::Timestamp,
    store::{
        LogCursor, LogEntry, LogQuery, OpenSession, Opened, Page, Revocation, RotateRefresh, Rotated, SessionRecord,
        SessionState, SessionStore, Successor,
    },
};

/// Longer than any rule takes.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// A lifetime to be waited for.
pub(super) const SHORT: Duration = Duration::from_millis(300);
/// The longest sleep before the store is asked again for its time.
const NAP: Duration = Duration::from_millis(20);
/// Upper bound of the pages of a listing or a log of the suite.
const MANY_PAGES: usize = 100_000;

/// A user that no other rule uses.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) name: String,
}

/// A session that was opened.
pub(super) struct Opening {
    pub(super) now: Timestamp,
    pub(super) generation: u64,
    pub(super) refresh_end: Timestamp,
    pub(super) evicted: Vec<String>,
}

impl Subject {
    pub(super) fn new(store: Arc<dyn SessionStore>) -> Self {
        let name = format!("conformance-{:016x}", RandomState::new().hash_one(0u8));
        Self { store, name }
    }

    /// Returns another user of the same store.
    pub(super) fn other(&self, name: impl Into<String>) -> Self {
        Self { store: self.store.clone(), name: name.into() }
    }

    /// Returns a session that lives for long, not opened yet.
    pub(super) fn session(&self, sid: &str) -> OpenSession {
        OpenSession {
            subject: self.name.clone(),
            sid: sid.to_owned(),
            idle: LONG,
            absolute: 24 * LONG,
            auth_time: None,
            max_sessions: None,
            label: String::new(),
        }
    }

    pub(super) async fn open(&self, sid: &str) -> Outcome<Opening> {
        self.open_as(self.session(sid)).await
    }

    pub(super) async fn open_capped(&self, sid: &str, max_sessions: NonZeroU32) -> Outcome<Opening> {
        self.open_as(OpenSession { max_sessions: Some(max_sessions), ..self.session(sid) }).await
    }

    pub(super) async fn open_as(&self, open: OpenSession) -> Outcome<Opening> {
        match self.store.open(open.clone()).await? {
            Opened::Opened { now, generation, refresh_end, evicted } => {
                Ok(Opening { now, generation, refresh_end, evicted })
            }
            refused => Err(Broken(format!("{open:?} was answered with {refused:?}"))),
        }
    }

    pub(super) async fn state(&self, sid: &str) -> Outcome<SessionState> {
        Ok(self.store.check(&self.name, sid, "no such token").await?.state)
    }

    pub(super) async fn token_state(&self, sid: &str, jti: &str) -> Outcome<SessionState> {
        Ok(self.store.check(&self.name, sid, jti).await?.state)
    }

    pub(super) async fn is_active(&self, sid: &str) -> Outcome<bool> {
        Ok(matches!(self.state(sid).await?, SessionState::Active { .. }))
    }

    pub(super) async fn is_revoked(&self, sid: &str) -> Outcome<bool> {
        Ok(matches!(self.state(sid).await?, SessionState::Revoked { .. }))
    }

    pub(super) async fn rotate(&self, sid: &str, counter: u32, grace: Duration) -> Outcome<Rotated> {
        let (subject, sid) = (self.name.clone(), sid.to_owned());
        Ok(self.store.rotate(RotateRefresh { subject, sid, counter, idle: LONG, grace }).await?)
    }

    /// Rotates without grace; anything but a new successor ends the rule.
    pub(super) async fn advance(&self, sid: &str, counter: u32) -> Outcome<Successor> {
        match self.rotate(sid, counter, Duration::ZERO).await? {
            Rotated::Rotated(successor) => Ok(successor),
            other => Err(Broken(format!("rotating counter {counter} of {sid:?} was answered with {other:?}"))),
        }
    }

    /// Returns all pages of the listing.
    pub(super) async fn listing(&self, limit: u32) -> Outcome<Vec<SessionRecord>> {
        self.listing_from(None, limit).await
    }

    /// Returns all pages of the listing from a cursor on.
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
        Err(Broken("the listing has no end".to_owned()))
    }

    /// Returns the ids of the live sessions.
    pub(super) async fn live(&self) -> Outcome<BTreeSet<String>> {
        Ok(self.listing(0).await?.into_iter().map(|session| session.sid).collect())
    }

    /// Waits until the store's own clock shows this moment.
    pub(super) async fn wait_until(&self, moment: Timestamp) -> Outcome {
        loop {
            let now = self.store.ping().await?;
            if moment <= now {
                return Ok(());
            }
            tokio::time::sleep(moment.saturating_since(now).min(NAP)).await;
        }
    }

    pub(super) async fn reader(&self) -> Outcome<Reader> {
        let mut buckets = Vec::new();
        for bucket in 0..self.store.buckets() {
            let page = self.store.log(bucket, LogQuery::from_start()).await?;
            // If the oldest entry that is kept does not follow the beginning, older ones were
            // dropped.
            let (sequence, head, at) = match page.entries.first() {
                Some(oldest) => (oldest.sequence.saturating_sub(1), oldest.previous.clone(), oldest.previous_at),
                None => (page.sequence, page.head, page.at),
            };
            buckets.push(Bucket { incarnation: page.incarnation, cursor: None, sequence, head, at });
        }
        let mut reader = Reader { subject: self.clone(), buckets };
        reader.read().await?;
        Ok(reader)
    }
}

/// A reader of the log of all buckets, which checks that nothing is missing.
pub(super) struct Reader {
    subject: Subject,
    buckets: Vec<Bucket>,
}

struct Bucket {
    incarnation: String,
    cursor: Option<LogCursor>,
    /// The sequence of the last entry that was read.
    sequence: u64,
    head: String,
    at: Timestamp,
}

impl Reader {
    /// Returns the entries written since the last time, bucket by bucket.
    pub(super) async fn read(&mut self) -> Outcome<Vec<LogEntry>> {
        let mut entries = Vec::new();
        for (number, bucket) in (0..).zip(&mut self.buckets) {
            bucket.read(number, &self.subject, &mut entries).await?;
        }
        Ok(entries)
    }

    /// Returns the revocations of this user that were written since the last time, in their order.
    pub(super) async fn revocations(&mut self) -> Outcome<Vec<Revocation>> {
        let name = self.subject.name.clone();
        let ours = move |revocation: &Revocation| match revocation {
            Revocation::Session { subject, .. }
            | Revocation::Token { subject, .. }
            | Revocation::Subject { subject, .. } => *subject == name,
            Revocation::External { .. } => false,
        };
        Ok(self.read().await?.into_iter().map(|entry| entry.revocation).filter(ours).collect())
    }
}

impl Bucket {
    async fn read(&mut self, number: u32, subject: &Subject, entries: &mut Vec<LogEntry>) -> Outcome {
        for _ in 0..MANY_PAGES {
            let page = subject.store.log(number, LogQuery::after(self.cursor.clone())).await?;
            super::ensure!(page.incarnation == self.incarnation, "the incarnation changed");
            super::ensure!(page.born <= page.at, "the log's last change is older than the store: {page:?}");
            let last = page.entries.is_empty();
            for entry in page.entries {
                self.follow(&entry, page.now)?;
                entries.push(entry);
            }
            // Without a cursor the log would start again. That happens only while there is nothing
            // to read.
            self.cursor = page.next.or(self.cursor.take());
            if last {
                super::ensure!(
                    (self.sequence, &self.head, self.at) == (page.sequence, &page.head, page.at),
                    "after the last entry, {} {} at {}, the page says {} {} at {}",
                    self.sequence,
                    self.head,
                    self.at,
                    page.sequence,
                    page.head,
                    page.at
                );
                return Ok(());
            }
        }
        Err(Broken("the log has no end".to_owned()))
    }

    fn follow(&mut self, entry: &LogEntry, now: Timestamp) -> Outcome {
        let expected = (self.sequence.saturating_add(1), &self.head, self.at);
        super::ensure!(
            (entry.sequence, &entry.previous, entry.previous_at) == expected,
            "{entry:?} does not follow entry {} {} at {}",
            self.sequence,
            self.head,
            self.at
        );
        super::ensure!(entry.nonce != entry.previous, "{entry:?} has the name of the entry before");
        super::ensure!(entry.previous_at <= entry.at && entry.at <= now, "{entry:?} was not written then");
        (self.sequence, self.head, self.at) = (entry.sequence, entry.nonce.clone(), entry.at);
        Ok(())
    }
}

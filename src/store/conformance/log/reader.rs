//! A reader of the log. It checks that no entry is missing.

use std::sync::Arc;

use super::super::{
    outcome::{Broken, Outcome, ensure},
    user::{MANY_PAGES, User},
};
use crate::{
    clock::Timestamp,
    ids::Subject,
    store::{LogCursor, LogEntry, LogQuery, Revocation, RevocationLog},
};

/// A reader of the logs of all buckets.
pub(in super::super) struct Reader {
    log: Arc<dyn RevocationLog>,
    subject: Subject,
    buckets: Vec<Bucket>,
}

struct Bucket {
    incarnation: String,
    cursor: Option<LogCursor>,
    /// The number of the last entry that the reader has read.
    sequence: u64,
    head: String,
    at: Timestamp,
}

impl User {
    /// Returns a reader that has read all present entries.
    pub(in super::super) async fn reader(&self) -> Outcome<Reader> {
        Reader::at_the_end(self.log()?, self.name.clone()).await
    }
}

impl Reader {
    /// Creates a reader, and reads and checks all present entries of the log.
    pub(in super::super) async fn at_the_end(log: Arc<dyn RevocationLog>, subject: Subject) -> Outcome<Self> {
        let mut buckets = Vec::new();
        for bucket in 0..log.buckets() {
            let page = log.read(bucket, LogQuery::from_start()).await?;
            // The store may have dropped its oldest entries. So the reader starts just before the
            // oldest entry that is left.
            let (sequence, head, at) = match page.entries.first() {
                Some(oldest) => (oldest.sequence.saturating_sub(1), oldest.previous.clone(), oldest.previous_at),
                None => (page.sequence, page.head, page.at),
            };
            buckets.push(Bucket { incarnation: page.incarnation, cursor: None, sequence, head, at });
        }
        let mut reader = Self { log, subject, buckets };
        reader.read().await?;
        Ok(reader)
    }

    /// Returns the entries that were written since the last read, one bucket after the other.
    pub(in super::super) async fn read(&mut self) -> Outcome<Vec<LogEntry>> {
        let mut entries = Vec::new();
        for (number, bucket) in (0..).zip(&mut self.buckets) {
            bucket.read(number, &*self.log, &mut entries).await?;
        }
        Ok(entries)
    }

    /// Returns the revocations of this user that were written since the last read, oldest first.
    pub(in super::super) async fn revocations(&mut self) -> Outcome<Vec<Revocation>> {
        let name = self.subject.clone();
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
    async fn read(&mut self, number: u32, log: &dyn RevocationLog, entries: &mut Vec<LogEntry>) -> Outcome {
        for _ in 0..MANY_PAGES {
            let page = log.read(number, LogQuery::after(self.cursor.clone())).await?;
            ensure!(page.incarnation == self.incarnation, "the incarnation changed");
            ensure!(page.born <= page.at, "`at` of the page is before `born`: {page:?}");
            let last = page.entries.is_empty();
            for entry in page.entries {
                self.follow(&entry, page.now)?;
                entries.push(entry);
            }
            // A store may return no cursor for an empty page. The reader then keeps its old cursor.
            self.cursor = page.next.or(self.cursor.take());
            if last {
                ensure!(
                    (self.sequence, &self.head, self.at) == (page.sequence, &page.head, page.at),
                    "the last entry is {} {} at {}, but the page has {} {} at {}",
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
        Err(Broken("the log has no last page".to_owned()))
    }

    fn follow(&mut self, entry: &LogEntry, now: Timestamp) -> Outcome {
        let expected = (self.sequence.saturating_add(1), &self.head, self.at);
        ensure!(
            (entry.sequence, &entry.previous, entry.previous_at) == expected,
            "{entry:?} does not follow entry {} {} at {}",
            self.sequence,
            self.head,
            self.at
        );
        ensure!(entry.nonce != entry.previous, "{entry:?} has the nonce of the entry before it");
        ensure!(entry.previous_at <= entry.at && entry.at <= now, "the times of {entry:?} are not in order");
        (self.sequence, self.head, self.at) = (entry.sequence, entry.nonce.clone(), entry.at);
        Ok(())
    }
}

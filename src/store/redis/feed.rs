//! Reads of the log for a replica, on connections of their own. So a page of the log and the
//! requests' reads do not delay one another.
//!
//! In a cluster each bucket has a feed, and those of one primary share a connection, which carries
//! their reads side by side. A bucket that moves, or whose primary is gone, affects no other. Where
//! one read asks about several buckets, an error of one bucket alone (a value of another type under
//! its keys) replaces its answer. Any other error is that of the whole read.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    error::{ConfigError, StoreError, StoreErrorKind},
    store::{
        BoxFuture, LogFeed, LogPage, LogPages, LogQuery, ServerId,
        bell::Bell,
        redis::{
            Inner,
            log::{Answers, Told, has_cursor_of_ours, vanished},
            nudges::Subscription,
            origin::Terms,
            servers::Servers,
        },
    },
};

struct Feed {
    reader: Arc<Reader>,
    deadline: Duration,
    bell: Arc<Bell>,
    /// Dropped with the last feed that it serves.
    _subscription: Option<Arc<Subscription>>,
}

struct Reader {
    inner: Arc<Inner>,
    servers: Arc<Servers>,
    buckets: Vec<u32>,
}

/// Makes the feeds of a store. There are none if the servers' address, which was usable once, is
/// not any more. The log is then read over the connections of the requests.
pub(super) fn feeds(inner: &Arc<Inner>, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
    match servers(inner, deadline) {
        Ok(servers) => feeds_over(inner, &servers.into(), deadline),
        #[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "it is for the log"))]
        Err(error) => {
            #[cfg(feature = "tracing")]
            tracing::warn!(%error, "the revocation log has no connection of its own");
            Vec::new()
        }
    }
}

fn feeds_over(inner: &Arc<Inner>, servers: &Arc<Servers>, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
    let all: Vec<u32> = (0..inner.keys.buckets()).collect();
    // In a cluster a read goes to one slot: one that fails is an error for its own bucket.
    let at_once = if inner.origin.is_cluster() { 1 } else { all.len() };
    let bells: Vec<_> = all.chunks(at_once).map(Bell::new).collect();
    let subscription = Subscription::start(inner, servers, bells.clone()).map(Arc::new);
    let feed = |bell: Arc<Bell>| -> Box<dyn LogFeed> {
        let buckets = bell.buckets().to_vec();
        let reader = Reader { inner: Arc::clone(inner), servers: Arc::clone(servers), buckets };
        Box::new(Feed { reader: Arc::new(reader), deadline, bell, _subscription: subscription.clone() })
    };
    bells.into_iter().map(feed).collect()
}

/// Makes the connections of the feeds. A read is given up at its deadline, and a connection that
/// owes an answer after twice that. Only connecting may take longer, from read to read: otherwise a
/// slow network would never be connected to.
fn servers(inner: &Inner, deadline: Duration) -> Result<Servers, ConfigError> {
    let terms = Terms::new(inner.timeout.max(deadline), 1);
    let terms = Terms { patience: deadline.saturating_mul(2), ..terms };
    Servers::new(&inner.origin, terms, inner.keys.buckets())
}

impl LogFeed for Feed {
    fn buckets(&self) -> &[u32] {
        &self.reader.buckets
    }

    fn read(&mut self, queries: Vec<(u32, LogQuery)>) -> BoxFuture<Result<LogPages, StoreError>> {
        let reader = Arc::clone(&self.reader);
        let deadline = Instant::now() + self.deadline;
        Box::pin(async move { reader.read(queries, deadline).await })
    }

    fn nudged(&self) -> BoxFuture<Vec<u32>> {
        let bell = Arc::clone(&self.bell);
        Box::pin(async move { bell.rung().await })
    }

    fn suspect(&mut self) {
        self.reader.servers.suspect();
    }
}

/// A query about a bucket.
type Question = (u32, LogQuery);

/// The answer to a question: the page if the bucket exists, and true if `m` lags behind the newest
/// entry.
type Answered = Result<(Option<LogPage>, bool), StoreError>;

impl Reader {
    async fn read(&self, questions: Vec<Question>, deadline: Instant) -> Result<LogPages, StoreError> {
        for (bucket, query) in &questions {
            if !self.buckets.contains(bucket) {
                let text = format!("bucket {bucket} is not one of this feed");
                return Err(StoreError::new(StoreErrorKind::Rejected).with_source(text));
            }
            has_cursor_of_ours(query)?;
        }
        self.inner.keep_proving();
        let first = self.ask(&questions, deadline).await?;
        if first.iter().all(|told| !self.needs_touch(told)) {
            return Ok(first.into_iter().map(existing).collect());
        }
        self.touch_and_ask(&questions, first, deadline).await
    }

    /// Returns true for a bucket that does not exist yet, or was made by a node with lower demands.
    /// Also if its `m` lags behind its log.
    fn needs_touch(&self, told: &Answered) -> bool {
        told.as_ref()
            .is_ok_and(|(page, is_ahead)| *is_ahead || page.as_ref().is_none_or(|page| !self.inner.is_heeded(page)))
    }

    /// Touches the buckets that need it, and asks about them again. Rare: the deployment is new,
    /// its data are lost, or this node demands more than any before.
    async fn touch_and_ask(
        &self,
        questions: &[Question],
        first: Vec<Answered>,
        deadline: Instant,
    ) -> Result<LogPages, StoreError> {
        let unready = || questions.iter().zip(&first).filter(|(_, told)| self.needs_touch(told));
        let touches = join_all(unready().map(|((bucket, _), _)| self.inner.touch(*bucket, deadline))).await;
        let again: Vec<Question> = unready().map(|(question, _)| question.clone()).collect();
        let second = self.ask(&again, deadline).await?;
        let mut second = touches.into_iter().zip(second).map(|(touched, told)| touched.and_then(|()| existing(told)));
        let pages = first.into_iter().map(|told| {
            if self.needs_touch(&told) {
                second.next().unwrap_or_else(|| Err(vanished().into()))
            } else {
                existing(told)
            }
        });
        Ok(pages.collect())
    }

    /// Sends one fence. A bucket that cannot be read does not affect the others and the connection:
    /// the same error would occur on every connection.
    async fn ask(&self, questions: &[Question], deadline: Instant) -> Result<Vec<Answered>, StoreError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let (fence, lease) = self.inner.read_fence(&self.servers, questions, deadline).await?;
        self.inner.time.learn(fence.now);
        let page = |((_, query), answers): (&Question, Answers)| {
            let told = Told::parse(fence.now, answers, query)?;
            let is_ahead = told.is_ahead(query);
            let page = self.inner.page(told, query, &lease)?;
            Ok((page.map(named_by_its_connection), is_ahead))
        };
        Ok(questions.iter().zip(fence.answers).map(page).collect())
    }
}

/// Gives a server without an identity that of its connection: the next connection may lead to
/// another server, which lacks sessions.
fn named_by_its_connection(page: LogPage) -> LogPage {
    let server = page.server.unwrap_or(ServerId::new(page.connection));
    LogPage { server: Some(server), ..page }
}

fn existing(told: Answered) -> Result<LogPage, StoreError> {
    told?.0.ok_or_else(|| vanished().into())
}

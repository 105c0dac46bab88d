//! Feeds: the parts of a node that read the log for its replica. They have separate connections, so
//! that their reads and the reads of requests do not delay one another.
//!
//! In a cluster each bucket has a feed, and the feeds of one primary share a connection. So a
//! bucket that moves, or whose primary is gone, affects no other bucket. One read may ask about
//! several buckets. If one bucket has a value of the wrong type under its keys, only the answer
//! about this bucket is an error. Any other error fails the whole read.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::{
    error::{StoreError, StoreErrorKind},
    store::{
        BoxFuture, LogFeed, LogPage, LogPages, LogQuery, ServerId,
        bell::Bell,
        redis::{
            client::{
                Client,
                connections::config::ConnectionConfig,
                pubsub::{Channels, Subscription},
            },
            ops::{
                bucket::{touch, vanished},
                fence::{self, BucketValues, LogReply, check_cursor},
            },
            scripts::{Context, Parts},
        },
    },
};

/// A feed: reads the log of some buckets, and waits for their nudges.
struct Feed {
    reader: Arc<FeedReader>,
    deadline: Duration,
    bell: Arc<Bell>,
    /// The subscription for nudges. It ends with the last feed that shares it.
    _subscription: Option<Arc<Subscription>>,
}

/// The reader of a feed. The feed shares it with the future of a read.
struct FeedReader {
    parts: Arc<Parts>,
    /// A client whose connections only feeds use.
    client: Arc<Client>,
    buckets: Vec<u32>,
}

/// Creates the feeds of a store. Returns no feeds if the address of the servers has become unusable
/// since the start. The node then reads the log over the connections of requests.
pub(crate) fn feeds(parts: &Arc<Parts>, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
    // A read ends at its deadline. The client drops a connection if a command waits for its answer
    // for twice that time. Connecting may take longer than a read, because a feed could otherwise
    // never connect over a slow network.
    let config = ConnectionConfig::new(parts.client.timeout().max(deadline), 1);
    match parts.client.beside(&ConnectionConfig { patience: deadline.saturating_mul(2), ..config }) {
        Ok(client) => feeds_over(parts, &client.into(), deadline),
        #[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "it is for the log"))]
        Err(error) => {
            #[cfg(feature = "tracing")]
            tracing::warn!(%error, "the feeds have no separate connections, so they share the connections of requests");
            Vec::new()
        }
    }
}

/// Creates the feeds over the connections of a client.
fn feeds_over(parts: &Arc<Parts>, client: &Arc<Client>, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
    let connector = parts.client.connector();
    let all: Vec<u32> = (0..parts.keyspace.buckets()).collect();
    // In a cluster each read asks about one bucket, so that a failure affects only this bucket.
    let at_once = if connector.is_cluster() { 1 } else { all.len() };
    let bells: Vec<_> = all.chunks(at_once).map(Bell::new).collect();
    let keyspace = parts.keyspace.clone();
    let channels = Channels {
        connector: Arc::clone(connector),
        timeout: parts.client.timeout(),
        name: Box::new(move |bucket| keyspace.channel(bucket)),
    };
    let subscription = Subscription::start(channels, client, bells.clone()).map(Arc::new);
    let feed = |bell: Arc<Bell>| -> Box<dyn LogFeed> {
        let buckets = bell.buckets().to_vec();
        let reader = FeedReader { parts: Arc::clone(parts), client: Arc::clone(client), buckets };
        Box::new(Feed { reader: Arc::new(reader), deadline, bell, _subscription: subscription.clone() })
    };
    bells.into_iter().map(feed).collect()
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
        self.reader.client.guard().suspect();
    }
}

/// A query about a bucket.
type BucketQuery = (u32, LogQuery);

/// The answer to a query: the page if the bucket exists, and true if the log has a newer entry than
/// `m` names.
type BucketAnswer = Result<(Option<LogPage>, bool), StoreError>;

impl FeedReader {
    /// Reads a page for each query, and touches the buckets for which [`needs_touch`] returns true.
    async fn read(&self, queries: Vec<BucketQuery>, deadline: Instant) -> Result<LogPages, StoreError> {
        for (bucket, query) in &queries {
            if !self.buckets.contains(bucket) {
                let text = format!("bucket {bucket} is not one of this feed");
                return Err(StoreError::new(StoreErrorKind::Rejected).with_source(text));
            }
            check_cursor(query)?;
        }
        let context = self.parts.until(deadline).await?;
        let first = self.read_once(context, &queries).await?;
        if first.iter().all(|answer| !needs_touch(context, answer)) {
            return Ok(first.into_iter().map(existing).collect());
        }
        self.touch_and_read(context, &queries, first).await
    }

    /// Touches buckets, and reads them again. A bucket needs the touch if it is new, if the store
    /// lost its data, or if this node demands more than all nodes before.
    async fn touch_and_read(
        &self,
        context: Context<'_>,
        queries: &[BucketQuery],
        first: Vec<BucketAnswer>,
    ) -> Result<LogPages, StoreError> {
        let unready = || queries.iter().zip(&first).filter(|(_, answer)| needs_touch(context, answer));
        let touches = join_all(unready().map(|((bucket, _), _)| touch(context, *bucket))).await;
        let again: Vec<BucketQuery> = unready().map(|(query, _)| query.clone()).collect();
        let second = self.read_once(context, &again).await?;
        let mut second =
            touches.into_iter().zip(second).map(|(touched, answer)| touched.and_then(|()| existing(answer)));
        let pages = first.into_iter().map(|answer| {
            if needs_touch(context, &answer) {
                second.next().unwrap_or_else(|| Err(vanished().into()))
            } else {
                existing(answer)
            }
        });
        Ok(pages.collect())
    }

    /// Sends one fence. An unreadable bucket does not affect the other buckets. The connection
    /// stays, because every connection would return the same error for this bucket.
    async fn read_once(&self, context: Context<'_>, queries: &[BucketQuery]) -> Result<Vec<BucketAnswer>, StoreError> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        let Context { client, keyspace, deadline, .. } = context;
        let (fence, checkout) = fence::read(&self.client, keyspace, queries, deadline).await?;
        client.learn_time(fence.now);
        let page = |((_, query), values): (&BucketQuery, BucketValues)| {
            let reply = LogReply::parse(fence.now, values, query).map_err(|error| error.at(checkout.address()))?;
            let is_ahead = reply.is_ahead(query);
            let page = reply.into_page(query, client, keyspace, &checkout)?;
            Ok((page.map(named_by_its_connection), is_ahead))
        };
        Ok(queries.iter().zip(fence.buckets).map(page).collect())
    }
}

/// Returns true in three cases: the bucket does not exist, this node demands higher values, or the
/// log has a newer entry than `m` names.
fn needs_touch(context: Context<'_>, answer: &BucketAnswer) -> bool {
    let meets = |page: &LogPage| context.demands.are_met_by(page, context.failover_millis());
    answer.as_ref().is_ok_and(|(page, is_ahead)| *is_ahead || page.as_ref().is_none_or(|page| !meets(page)))
}

/// Uses the connection's number as the server's identity if the server has none. Another connection
/// may lead to another server.
fn named_by_its_connection(page: LogPage) -> LogPage {
    let server = page.server.unwrap_or(ServerId::new(page.connection));
    LogPage { server: Some(server), ..page }
}

/// Returns the page, or an error if the bucket still does not exist.
fn existing(answer: BucketAnswer) -> Result<LogPage, StoreError> {
    answer?.0.ok_or_else(|| vanished().into())
}

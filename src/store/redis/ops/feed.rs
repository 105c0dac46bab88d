//! Feeds read the revocation log for a node's replica. They have separate connections, so that the
//! reads of the log and the reads of requests do not delay one another.
//!
//! * **In a cluster**, each bucket has its own feed. If a bucket moves or its primary fails, the
//!   other feeds continue to read. The feeds of one primary share a connection.
//! * **Without a cluster**, one feed reads all buckets in one read. If a key of one bucket has a
//!   value of the wrong type, only the answer about this bucket fails. Any other error fails the
//!   whole read.

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

/// A reader of the log of some buckets, which also waits for their nudges.
struct Feed {
    reader: Arc<FeedReader>,
    deadline: Duration,
    bell: Arc<Bell>,
    /// The subscription for nudges, which all feeds share. It ends when the last feed is dropped.
    _subscription: Option<Arc<Subscription>>,
}

/// The part of a [`Feed`] that reads. The future of each read shares this part, because the future
/// may not borrow the feed.
struct FeedReader {
    parts: Arc<Parts>,
    /// The client that only feeds use. Requests use the client in `parts`.
    client: Arc<Client>,
    buckets: Vec<u32>,
}

/// Creates the feeds of a store. Returns no feeds if their connections cannot be configured. The
/// node then reads the log over the connections of requests.
pub(crate) fn feeds(parts: &Arc<Parts>, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
    // An attempt to connect may take as long as a call or as a read, whichever is longer. With less
    // time, a feed could never connect over a slow network. The client drops a connection if an
    // answer takes longer than `patience`.
    let config = ConnectionConfig::new(parts.client.timeout().max(deadline), 1);
    match parts.client.beside(&ConnectionConfig { patience: deadline.saturating_mul(2), ..config }) {
        Ok(client) => feeds_over(parts, &client.into(), deadline),
        #[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "it is for the log"))]
        Err(error) => {
            #[cfg(feature = "tracing")]
            tracing::warn!(
                %error,
                "the node reads the log over the connections of requests, because its separate connections cannot be \
                 configured; see `error`"
            );
            Vec::new()
        }
    }
}

/// Creates the feeds, which read over the connections of `client`.
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

/// The number of a bucket, and the query about its log.
type BucketQuery = (u32, LogQuery);

/// The page, or `None` if the bucket does not exist. The flag is true if the log has a newer entry
/// than the bucket's `m` names.
type BucketAnswer = Result<(Option<LogPage>, bool), StoreError>;

impl FeedReader {
    /// Reads a page for each query. If [`needs_touch`] returns true for a bucket, runs the script
    /// `TOUCH` on the bucket and reads its page again.
    async fn read(&self, queries: Vec<BucketQuery>, deadline: Instant) -> Result<LogPages, StoreError> {
        for (bucket, query) in &queries {
            if !self.buckets.contains(bucket) {
                let text = format!("bucket {bucket} is not in this feed; query only the result of `LogFeed::buckets`");
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

    /// Runs the script `TOUCH` on the buckets that need it, and reads these buckets again. Takes
    /// the pages of the other buckets from `first`.
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

    /// Reads all queries with one fence. If the answer about a bucket is unreadable, only that
    /// answer is an error, and the connection stays open.
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

/// Returns true in three cases: the bucket does not exist, this node demands higher values than the
/// bucket has, or the log has a newer entry than `m` names.
fn needs_touch(context: Context<'_>, answer: &BucketAnswer) -> bool {
    let meets = |page: &LogPage| context.demands.are_met_by(page, context.failover_millis());
    answer.as_ref().is_ok_and(|(page, is_ahead)| *is_ahead || page.as_ref().is_none_or(|page| !meets(page)))
}

/// If the server's identity is unknown, uses the number of the connection as the identity. A page
/// over another connection then counts as a page of another server.
fn named_by_its_connection(page: LogPage) -> LogPage {
    let server = page.server.unwrap_or(ServerId::new(page.connection));
    LogPage { server: Some(server), ..page }
}

/// Returns the page, or an error if the bucket does not exist.
fn existing(answer: BucketAnswer) -> Result<LogPage, StoreError> {
    answer?.0.ok_or_else(|| vanished().into())
}

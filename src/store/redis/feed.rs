//! Reads of the log for a replica, on connections of their own: a page of a thousand entries does not stand before the requests' reads, and what
//! delays those does not delay this.
//!
//! In a cluster each bucket has a feed, and those of one primary share a connection, which carries their reads side by side: so a bucket that
//! moves, or whose primary is gone, concerns no other. Where one read asks about all buckets, an error that is one bucket's own (somebody wrote a value
//! of another type under its keys) stands in the place of its answer; any other is the whole read's.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use redis::{Pipeline, RedisError, Value};
use tokio::{sync::Notify, time::Instant};

use crate::{
    clock::Timestamp,
    error::{ConfigError, StoreError, StoreErrorKind},
    store::{
        BoxFuture, LogCursor, LogFeed, LogPage,
        redis::{
            Inner,
            connection::Lease,
            failure::Failure,
            gathering::time_and_role,
            log::{Told, is_cursor, vanished},
            nudges::{Bell, Subscription},
            origin::Terms,
            reply::Reply,
            servers::{Repeats, Servers},
        },
    },
};

type Pages = Vec<Result<LogPage, StoreError>>;

struct Feed {
    reader: Arc<Reader>,
    deadline: Duration,
    nudge: Arc<Notify>,
    /// Dropped with the last feed that it rings for.
    _subscription: Option<Arc<Subscription>>,
}

struct Reader {
    inner: Arc<Inner>,
    servers: Arc<Servers>,
    buckets: Vec<u32>,
}

/// None if the servers' address, which was good once, cannot be used any more: then the reader of the log takes the connections of all.
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
    let parts: Vec<Bell> = all.chunks(at_once).map(|buckets| (buckets.to_vec(), Arc::default())).collect();
    let subscription = Subscription::start(inner, servers, parts.clone()).map(Arc::new);
    let feed = |(buckets, nudge)| -> Box<dyn LogFeed> {
        let reader = Reader { inner: Arc::clone(inner), servers: Arc::clone(servers), buckets };
        Box::new(Feed { reader: Arc::new(reader), deadline, nudge, _subscription: subscription.clone() })
    };
    parts.into_iter().map(feed).collect()
}

/// A read is given up at its deadline, and a connection that owes an answer for twice that. Only connecting may go on beyond, from read to
/// read: a network in which it takes longer would never be connected to.
fn servers(inner: &Inner, deadline: Duration) -> Result<Servers, ConfigError> {
    let terms = Terms::new(inner.timeout.max(deadline), 1);
    let terms = Terms { patience: deadline.saturating_mul(2), ..terms };
    Servers::new(&inner.origin, terms, inner.keys.buckets())
}

impl LogFeed for Feed {
    fn buckets(&self) -> &[u32] {
        &self.reader.buckets
    }

    fn read(&mut self, since: &[Option<LogCursor>]) -> BoxFuture<Result<Pages, StoreError>> {
        let (reader, since) = (Arc::clone(&self.reader), since.to_vec());
        let deadline = Instant::now() + self.deadline;
        Box::pin(async move { reader.read(since, deadline).await })
    }

    fn nudged(&self) -> BoxFuture<()> {
        let nudge = Arc::clone(&self.nudge);
        Box::pin(async move { nudge.notified().await })
    }
}

/// A bucket, and where its reader goes on.
type Question = (u32, Option<LogCursor>);

impl Reader {
    async fn read(&self, since: Vec<Option<LogCursor>>, deadline: Instant) -> Result<Pages, StoreError> {
        if since.len() != self.buckets.len() {
            let text = format!("{} cursors for {} buckets", since.len(), self.buckets.len());
            return Err(StoreError::new(StoreErrorKind::Rejected).with_source(text));
        }
        since.iter().try_for_each(|since| is_cursor(since.as_ref()))?;
        let questions: Vec<Question> = self.buckets.iter().copied().zip(since).collect();
        let first = self.ask(&questions, deadline).await?;
        if first.iter().all(|told| !self.needs_touch(told)) {
            return Ok(first.into_iter().map(existing).collect());
        }
        self.touch_and_ask(&questions, first, deadline).await
    }

    /// Not made yet, or made by a node that asked for less.
    fn needs_touch(&self, told: &Result<Option<LogPage>, StoreError>) -> bool {
        told.as_ref().is_ok_and(|page| page.as_ref().is_none_or(|page| !self.inner.is_heeded(page)))
    }

    /// Seldom: when the deployment is new, its data are lost, or this node asks for more than any before.
    async fn touch_and_ask(
        &self,
        questions: &[Question],
        first: Vec<Result<Option<LogPage>, StoreError>>,
        deadline: Instant,
    ) -> Result<Pages, StoreError> {
        let unready = || questions.iter().zip(&first).filter(|(_, told)| self.needs_touch(told));
        let touches = join_all(unready().map(|((bucket, _), _)| self.inner.touch(*bucket, deadline))).await;
        let again: Vec<Question> = unready().map(|(question, _)| question.clone()).collect();
        let second = self.ask(&again, deadline).await?;
        let mut second = touches.into_iter().zip(second).map(|(touched, told)| touched.and_then(|()| existing(told)));
        let pages = first.into_iter().map(|told| {
            if self.needs_touch(&told) { second.next().unwrap_or_else(|| existing(Ok(None))) } else { existing(told) }
        });
        Ok(pages.collect())
    }

    /// One round trip. What cannot be read of one bucket leaves the others and the connection as they are: it would be met again on every
    /// connection.
    async fn ask(
        &self,
        questions: &[Question],
        deadline: Instant,
    ) -> Result<Vec<Result<Option<LogPage>, StoreError>>, StoreError> {
        let Some((first, _)) = questions.first() else { return Ok(Vec::new()) };
        let mut pipeline = time_and_role();
        for (bucket, since) in questions {
            self.inner.ask_for_log(&mut pipeline, *bucket, since.as_ref());
        }
        let (values, lease) = match self.read_all(*first, &mut pipeline, deadline).await {
            Err(failure) if is_one_buckets(&failure) => {
                return Ok(questions.iter().map(|_| Err(failure.clone().into())).collect());
            }
            outcome => outcome?,
        };
        let outcome = answers(values, questions.len());
        let (now, told) = outcome.inspect_err(|_| lease.distrust())?;
        self.inner.time.learn(now);
        let page = |((_, since), (meta, log)): (&Question, (Value, Value))| {
            let [meta, log] = [meta, log].map(|value| value.extract_error().map_err(Failure::from));
            self.inner.page(Told::parse(now, meta?, log?)?, since.clone())
        };
        Ok(questions.iter().zip(told).map(page).collect())
    }

    /// Where there are several buckets, an error that is one bucket's own is among the values. Any other is met as it is where no error is let
    /// through: the connection goes if it must, and the read is repeated if that may help.
    async fn read_all(
        &self,
        first: u32,
        pipeline: &mut Pipeline,
        deadline: Instant,
    ) -> Result<(Vec<Value>, Lease), Failure> {
        if self.buckets.len() > 1 {
            pipeline.ignore_errors();
        }
        let mut repeats = Repeats::default();
        loop {
            let (values, lease) = self.servers.read(first, pipeline, deadline).await?;
            let Some(failure) = values.iter().find_map(error_of_all) else { return Ok((values, lease)) };
            if failure.broken {
                lease.distrust();
            }
            if !self.servers.may_repeat(first, &failure, true, &mut repeats, deadline).await {
                return Err(failure);
            }
        }
    }
}

fn error_of_all(value: &Value) -> Option<Failure> {
    let Value::ServerError(error) = value else { return None };
    Some(Failure::from(RedisError::from(error.clone()))).filter(|failure| !is_one_buckets(failure))
}

/// Whether a server's error comes of what stands under a bucket's keys (`WRONGTYPE`). Whatever else cannot be trusted breaks the connection.
fn is_one_buckets(failure: &Failure) -> bool {
    failure.kind == StoreErrorKind::Untrusted && !failure.broken
}

/// The time, and two answers for each bucket.
fn answers(values: Vec<Value>, buckets: usize) -> Result<(Timestamp, Vec<(Value, Value)>), Failure> {
    let mut reply = Reply::of(Value::Array(values))?;
    let now = reply.time_of_primary()?;
    let told = (0..buckets).map(|_| Ok((reply.value()?, reply.value()?))).collect::<Result<_, Failure>>()?;
    Ok((now, told))
}

fn existing(told: Result<Option<LogPage>, StoreError>) -> Result<LogPage, StoreError> {
    told?.ok_or_else(|| vanished().into())
}

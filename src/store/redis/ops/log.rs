//! Reads of the revocation log of a bucket.
//!
//! A page counts an entry that was written between the read of `m` and the read of the entries.

use redis::Value;

use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    store::{
        LogCursor, LogPage, LogPart, LogQuery,
        redis::{
            client::{
                Client,
                answer::{CommandError, Reply, malformed},
                connections::connection::Checkout,
            },
            layout::{
                keys::Keyspace,
                log_entry::{LogRange, entries, is_stream_id},
                meta::Meta,
            },
            ops::{
                bucket::{check_number, same_layout, touch, vanished},
                fence::{self, BucketValues},
            },
            scripts::context::Context,
        },
    },
};

/// The answers about one bucket's log.
pub(crate) struct LogReply {
    /// `None` if the bucket does not exist.
    meta: Option<Meta>,
    range: LogRange,
}

impl LogReply {
    /// Reads the answers of a fence about one bucket.
    pub(crate) fn parse(now: Timestamp, values: BucketValues, query: &LogQuery) -> Result<Self, CommandError> {
        let [meta, log] = values.map(|value| value.extract_error().map_err(CommandError::from));
        let (meta, log): (Value, Value) = (meta?, log?);
        let meta = Meta::of(now, Reply::of(meta)?)?;
        Ok(Self { meta, range: entries(Reply::of(log)?, query.is_backwards())? })
    }

    /// Returns true if `m` does not count the newest entry: a script has failed half-way, or runs
    /// now.
    pub(crate) fn is_ahead(&self, query: &LogQuery) -> bool {
        let ahead = |meta: &Meta| self.range.entries.last().is_some_and(|entry| entry.sequence > meta.sequence);
        query.part == LogPart::Newest && self.meta.as_ref().is_some_and(ahead)
    }

    /// Makes the page; `None` if the bucket does not exist.
    pub(crate) fn into_page(
        self,
        query: &LogQuery,
        client: &Client,
        keyspace: &Keyspace,
        checkout: &Checkout,
    ) -> Result<Option<LogPage>, StoreError> {
        let Self { meta, range } = self;
        let Some(mut meta) = same_layout(client, keyspace, meta)? else { return Ok(None) };
        for entry in &range.entries {
            meta.count(entry);
        }
        let LogRange { entries, skipped, oldest, newest, count } = range;
        let last = |cursor: &Option<LogCursor>| newest.clone().map(LogCursor).or_else(|| cursor.clone());
        Ok(Some(LogPage {
            now: meta.now,
            server: checkout.server(),
            connection: checkout.connection_number(),
            incarnation: meta.incarnation,
            born: meta.born,
            sequence: meta.sequence,
            head: meta.head,
            at: meta.at,
            keep: meta.keep,
            max_staleness: meta.max_staleness,
            max_failover: meta.max_failover,
            entries,
            skipped,
            more: count >= query.limit,
            next: match &query.part {
                LogPart::Newest => newest.map(LogCursor),
                LogPart::After(cursor) => last(cursor),
                LogPart::Before(_) => oldest.map(LogCursor),
            },
        }))
    }
}

/// Reads a page over the connections of the requests. Makes the bucket if it does not exist, and
/// raises its values if this node demands more.
pub(crate) async fn read(context: Context<'_>, bucket: u32, query: LogQuery) -> Result<LogPage, StoreError> {
    check_number(context.keyspace, bucket)?;
    check_cursor(&query)?;
    if let Some(page) = read_page(context, bucket, &query).await?
        && context.demands.are_met_by(&page, context.failover_millis())
    {
        return Ok(page);
    }
    touch(context, bucket).await?;
    let page = read_page(context, bucket, &query).await?;
    page.ok_or_else(|| vanished().into())
}

/// Reads a page; `None` if the bucket does not exist.
async fn read_page(context: Context<'_>, bucket: u32, query: &LogQuery) -> Result<Option<LogPage>, StoreError> {
    let Context { client, keyspace, deadline, .. } = context;
    let (fence, checkout) = fence::read(client, keyspace, &[(bucket, query.clone())], deadline).await?;
    let values = fence.buckets.into_iter().next().ok_or_else(malformed)?;
    LogReply::parse(fence.now, values, query)?.into_page(query, client, keyspace, &checkout)
}

/// Rejects a cursor of another form.
pub(crate) fn check_cursor(query: &LogQuery) -> Result<(), StoreError> {
    if query.cursor().is_none_or(|cursor| is_stream_id(cursor.as_str())) {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Rejected).with_source("not a cursor of this store"))
}

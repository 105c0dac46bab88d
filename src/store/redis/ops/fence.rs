//! Fences: the reads of the log that renew a replica's lease (`docs/protocol.md`, section 5).
//!
//! A fence sends these commands in one pipeline, in this order:
//!
//! | command | reason |
//! |--|--|
//! | `ROLE` | a demoted primary still answers on open connections, from old data |
//! | `HMGET m` of a bucket, then its entries | the log must have every entry that `m` includes |
//! | `PERSIST m` | the write check: it fails on a server that may not accept writes |
//! | `TIME` | the horizon after a break; it comes last, for the reason below |
//!
//! `m` has no TTL, so `PERSIST` changes nothing.
//!
//! After a break, this node reads the log only from the newest entry on, and `TIME` becomes its
//! horizon. If `TIME` came first, another node could issue a token and revoke it between `TIME` and
//! the reads. This node would accept the token, because the token is newer than the horizon, and
//! this node may never read the entry of the revocation.
//!
//! The fence is not a transaction, because Redis refuses transactions when it is out of memory
//! (seen on 7.0.15). So a script can write an entry between `HMGET` and the read of the entries.

use redis::{Pipeline, RedisError, Value};
use tokio::time::Instant;

use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    store::{
        LogCursor, LogPage, LogPart, LogQuery,
        redis::{
            client::{
                Client, Repeats,
                answer::{CommandError, Moment, Reply, malformed},
                connections::connection::Checkout,
            },
            layout::{
                keys::Keyspace,
                log_entry::{LogRange, entries, is_stream_id},
                meta::Meta,
            },
            ops::bucket::same_layout,
        },
    },
};

/// The answers about one bucket: its `m` and its entries. An answer may be an error that concerns
/// only this bucket.
pub(crate) type BucketValues = [Value; 2];

/// The answers to a fence.
pub(crate) struct Fence {
    pub(crate) now: Timestamp,
    /// The answers about each bucket, in the order of the queries.
    pub(crate) buckets: Vec<BucketValues>,
    write_check: Value,
}

/// Sends one fence. Checks the answers to `ROLE`, to the write check and to `TIME`.
///
/// An error that concerns more than one bucket fails the whole fence. The client then drops a
/// broken connection, and repeats the fence if [`Client::may_repeat`] returns true.
pub(crate) async fn read(
    client: &Client,
    keyspace: &Keyspace,
    queries: &[(u32, LogQuery)],
    deadline: Instant,
) -> Result<(Fence, Checkout), CommandError> {
    let (first, _) = queries.first().ok_or_else(malformed)?;
    let asked = Moment::now();
    let mut pipeline = Pipeline::new();
    pipeline.ignore_errors();
    pipeline.cmd("ROLE");
    for (bucket, query) in queries {
        add_query(&mut pipeline, keyspace, *bucket, query);
    }
    pipeline.add_command(client.guard().write_check(*first));
    pipeline.cmd("TIME");
    let mut repeats = Repeats::default();
    loop {
        let (values, checkout) = client.read(*first, &pipeline, deadline).await?;
        let error = match Fence::of(values, queries.len()) {
            Ok(fence) => match checkout.judge(&fence.write_check, asked) {
                Ok(()) => return Ok((fence, checkout)),
                Err(error) => error,
            },
            Err(error) => {
                if error.broken {
                    checkout.discard();
                }
                error
            }
        };
        if !client.may_repeat(*first, &error, true, &mut repeats, deadline).await {
            return Err(error.at(checkout.address()));
        }
    }
}

/// Adds the two commands about one bucket: the read of `m`, and the read of the log.
fn add_query(pipeline: &mut Pipeline, keyspace: &Keyspace, bucket: u32, query: &LogQuery) {
    pipeline.add_command(Meta::read(keyspace, bucket));
    let key = keyspace.log(bucket);
    let exclusive = |cursor: &LogCursor| format!("({}", cursor.as_str());
    match &query.part {
        LogPart::Newest => pipeline.cmd("XREVRANGE").arg(key).arg("+").arg("-"),
        LogPart::After(cursor) => {
            let start = cursor.as_ref().map_or_else(|| "-".to_owned(), exclusive);
            pipeline.cmd("XRANGE").arg(key).arg(start).arg("+")
        }
        LogPart::Before(cursor) => pipeline.cmd("XREVRANGE").arg(key).arg(exclusive(cursor)).arg("-"),
    };
    pipeline.arg("COUNT").arg(query.limit);
}

impl Fence {
    /// Splits the answers to a fence about this number of buckets. Returns an error if the server
    /// is not a primary, or if an answer has an error that concerns more than one bucket.
    fn of(values: Vec<Value>, buckets: usize) -> Result<Self, CommandError> {
        let mut reply = Reply::of(Value::Array(values))?;
        let role = reply.value()?.extract_error()?;
        let buckets =
            (0..buckets).map(|_| Ok([reply.value()?, reply.value()?])).collect::<Result<Vec<_>, CommandError>>()?;
        let write_check = reply.value()?;
        let time = reply.value()?.extract_error()?;
        if !reply.is_empty() {
            return Err(malformed());
        }
        if let Some(error) = buckets.iter().flatten().find_map(error_of_all) {
            return Err(error);
        }
        Reply::of(role)?.primary()?;
        Ok(Self { now: Reply::of(time)?.server_time()?, buckets, write_check })
    }
}

/// Returns the error in `value` if it concerns more than one bucket.
fn error_of_all(value: &Value) -> Option<CommandError> {
    let Value::ServerError(error) = value else { return None };
    // `WRONGTYPE` concerns one bucket: a key of the bucket has a value of another type. The client
    // gives `WRONGTYPE` the kind `Untrusted`, and keeps the connection. All other errors of this
    // kind break the connection.
    let is_one_buckets = |error: &CommandError| error.kind == StoreErrorKind::Untrusted && !error.broken;
    Some(CommandError::from(RedisError::from(error.clone()))).filter(|error| !is_one_buckets(error))
}

/// The parsed answers about one bucket.
pub(crate) struct LogReply {
    /// `None` if the bucket does not exist.
    meta: Option<Meta>,
    range: LogRange,
}

impl LogReply {
    /// Parses the answers of a fence about one bucket.
    pub(crate) fn parse(now: Timestamp, values: BucketValues, query: &LogQuery) -> Result<Self, CommandError> {
        let [meta, log] = values.map(|value| value.extract_error().map_err(CommandError::from));
        let (meta, log): (Value, Value) = (meta?, log?);
        let meta = Meta::of(now, Reply::of(meta)?)?;
        Ok(Self { meta, range: entries(Reply::of(log)?, query.is_backwards())? })
    }

    /// Returns true if a query for the newest entries found a newer entry than `m` names. Either a
    /// script failed after it wrote the entry, or a script ran between the two reads.
    pub(crate) fn is_ahead(&self, query: &LogQuery) -> bool {
        let ahead = |meta: &Meta| self.range.entries.last().is_some_and(|entry| entry.sequence > meta.sequence);
        query.part == LogPart::Newest && self.meta.as_ref().is_some_and(ahead)
    }

    /// Converts the answers to a page. Returns `None` if the bucket does not exist.
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

/// Returns an error if the query's cursor is not the id of a stream entry.
pub(crate) fn check_cursor(query: &LogQuery) -> Result<(), StoreError> {
    if query.cursor().is_none_or(|cursor| is_stream_id(cursor.as_str())) {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Rejected)
        .with_source("the cursor is not the id of a stream entry; pass a cursor that this store returned"))
}

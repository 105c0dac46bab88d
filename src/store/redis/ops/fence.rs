//! Fences: reads of the log on which a replica's lease may rest.
//!
//! The commands of a fence go out in one pipeline, in this order:
//!
//! | command | reason |
//! |--|--|
//! | `ROLE` | a demoted primary still answers on open connections, from data that grow old |
//! | for each bucket `HMGET m`, then the entries | every entry that `m` counts is there |
//! | `PERSIST m` | the write check: a server that may not write does not answer for the log |
//! | `TIME` | last, so that all entries that the page lacks were written later |
//!
//! `m` has no TTL, so `PERSIST` changes nothing.
//!
//! *`TIME` first, then a slow second half: a token is issued and revoked in between. `m` counts its
//! entry, no node applies it, and the token is later than the horizon.*
//!
//! A transaction would spare the counting of entries that were written between `HMGET` and their
//! read. But Redis refuses transactions when it is out of memory (seen on 7.0.15), and revocations,
//! which work then, must also be read.

use redis::{Pipeline, RedisError, Value};
use tokio::time::Instant;

use crate::{
    clock::Timestamp,
    error::StoreErrorKind,
    store::{
        LogCursor, LogPart, LogQuery,
        redis::{
            client::{
                Client, Repeats,
                answer::{CommandError, Moment, Reply, malformed},
                connections::connection::Checkout,
            },
            layout::{keys::Keyspace, meta::Meta},
        },
    },
};

/// The answers about one bucket: its `m` and its entries. Each may be an error of this bucket
/// alone.
pub(crate) type BucketValues = [Value; 2];

/// The answers to a fence.
pub(crate) struct Fence {
    pub(crate) now: Timestamp,
    /// The answers about each bucket.
    pub(crate) buckets: Vec<BucketValues>,
    write_check: Value,
}

/// Sends one fence and reads its frame.
///
/// An error that does not concern one bucket alone is handled as in a read without such errors. The
/// connection is dropped if it must be, and the fence is repeated if that may help.
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
            return Err(error);
        }
    }
}

/// Adds the two reads of one bucket.
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
    /// Reads the frame of a fence about this many buckets.
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

/// Returns the error if a value is one that does not concern one bucket alone.
fn error_of_all(value: &Value) -> Option<CommandError> {
    let Value::ServerError(error) = value else { return None };
    // A value of another type under a bucket's keys (`WRONGTYPE`) is that bucket's own error. Any
    // other answer that cannot be trusted breaks the connection.
    let is_one_buckets = |error: &CommandError| error.kind == StoreErrorKind::Untrusted && !error.broken;
    Some(CommandError::from(RedisError::from(error.clone()))).filter(|error| !is_one_buckets(error))
}

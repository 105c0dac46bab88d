//! The implementation of [`RevocationLog`]: reads log pages, and republishes lost revocations.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    ids::Subject,
    store::{
        LogFeed, LogPage, LogQuery, Revocation, RevocationLog, StoreAnswer, check_ids, ids_of,
        redis::{
            client::answer::malformed,
            layout::{
                encoding::decimals,
                keys::{ExternalKey, Keyspace, session_field, tag},
            },
            ops::{
                bucket::{check_number, touch, vanished},
                feed,
                fence::{self, LogReply, check_cursor},
            },
            scripts::{self, Context, ScriptCall},
            store::RedisStore,
        },
    },
};

impl RevocationLog for RedisStore {
    fn buckets(&self) -> u32 {
        self.parts.keyspace.buckets()
    }

    fn bucket_of(&self, subject: &Subject) -> u32 {
        self.parts.keyspace.bucket_of(subject.as_str())
    }

    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage> {
        let call = self.begin();
        StoreAnswer::pending(async move { read(call.context().await?, bucket, query).await })
    }

    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()> {
        if let Err(error) = check_ids(ids_of(&revocation)) {
            return StoreAnswer::Ready(Err(error));
        }
        let call = self.begin();
        StoreAnswer::pending(async move { republish(call.context().await?, bucket, revocation, until).await })
    }

    /// Raises the time for which the store keeps log entries to `keep`. The store writes the new
    /// value to a bucket at the bucket's next write or log read.
    fn keep_log_for(&self, keep: Duration) {
        self.parts.demands.keep_for(keep);
    }

    /// Records that this node decides by log data of up to this age. The recorded age only grows.
    /// The store writes it to a bucket at the bucket's next write or log read.
    fn allow_staleness(&self, staleness: Duration) {
        self.parts.demands.allow_staleness(staleness);
    }

    /// Returns the feeds of the log: in a cluster one for each bucket, otherwise one for all
    /// buckets.
    ///
    /// Starts a task on the current Tokio runtime that subscribes to nudges. The task ends when the
    /// feeds are dropped. The feeds receive no nudges in four cases:
    ///
    /// * The caller is outside a Tokio runtime.
    /// * The store uses [your own pool](crate::store::redis#your-own-pool), whose address is
    ///   unknown.
    /// * The user has no right to `SSUBSCRIBE` to the channels of the prefix.
    /// * The server does not support RESP3.
    fn feeds(&self, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
        feed::feeds(&self.parts, deadline)
    }
}

/// Reads a page over the connections of requests. If the bucket is missing or does not meet this
/// node's [demands](crate::store::redis::scripts::Demands), runs the script `TOUCH` and reads
/// again.
async fn read(context: Context<'_>, bucket: u32, query: LogQuery) -> Result<LogPage, StoreError> {
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

/// Reads a page. Returns `None` if the bucket does not exist.
async fn read_page(context: Context<'_>, bucket: u32, query: &LogQuery) -> Result<Option<LogPage>, StoreError> {
    let Context { client, keyspace, deadline, .. } = context;
    let (fence, checkout) = fence::read(client, keyspace, &[(bucket, query.clone())], deadline).await?;
    let values = fence.buckets.into_iter().next().ok_or_else(malformed)?;
    let reply = LogReply::parse(fence.now, values, query).map_err(|error| error.at(checkout.address()))?;
    reply.into_page(query, client, keyspace, &checkout)
}

/// Writes a revocation to the store again, if the store has lost it.
async fn republish(
    context: Context<'_>,
    bucket: u32,
    revocation: Revocation,
    until: Timestamp,
) -> Result<(), StoreError> {
    check_number(context.keyspace, bucket)?;
    let call = republication(context.keyspace, bucket, revocation, until);
    if call.bucket != bucket {
        return Err(StoreError::new(StoreErrorKind::Rejected)
            .with_source("the subject belongs to another bucket; pass the result of `bucket_of`"));
    }
    let answer = call.repeatable().run(context).await?;
    if answer.status == "ok" { Ok(()) } else { Err(malformed().into()) }
}

/// Returns the call of the script that republishes this revocation.
fn republication(keyspace: &Keyspace, bucket: u32, revocation: Revocation, until: Timestamp) -> ScriptCall {
    match revocation {
        Revocation::Session { subject, sid } => {
            let (subject, sid) = (subject.as_str(), sid.as_str());
            let arguments = vec![session_field(sid).into_bytes(), tag(subject, sid).to_vec(), decimals(until)];
            ScriptCall::about(subject, keyspace, &scripts::REPUBLISH_SESSION, arguments)
        }
        Revocation::Token { subject, jti } => {
            let arguments = vec![jti.as_str().into(), decimals(until)];
            ScriptCall::about(subject.as_str(), keyspace, &scripts::REPUBLISH_TOKEN, arguments)
        }
        Revocation::Subject { subject, generation, except } => {
            let except = except.map(|sid| session_field(sid.as_str())).unwrap_or_default();
            let arguments = vec![generation.to_string().into_bytes(), except.into_bytes(), decimals(until)];
            ScriptCall::about(subject.as_str(), keyspace, &scripts::REPUBLISH_ALL, arguments)
        }
        Revocation::External { id, before } => {
            let key = ExternalKey { bucket, hash: id };
            let keys = vec![keyspace.denied(&key)];
            let arguments = vec![key.hash.into_bytes(), decimals(until), before.map(decimals).unwrap_or_default()];
            ScriptCall::new(&scripts::REPUBLISH_EXTERNAL, bucket, keys, arguments)
        }
    }
}

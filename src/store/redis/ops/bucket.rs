//! Functions that create a bucket, check its layout, and read its hash `m`.

use redis::Value;

use crate::{
    error::{StoreError, StoreErrorKind},
    store::redis::{
        client::{
            Client,
            answer::{CommandError, Reply},
            connections::batch::StrictAnswer,
        },
        layout::{keys::Keyspace, meta::Meta},
        scripts::{self, Context, ScriptCall},
    },
};

/// Returns an error if `bucket` is not below the configured number of buckets.
pub(crate) fn check_number(keyspace: &Keyspace, bucket: u32) -> Result<(), StoreError> {
    if bucket < keyspace.buckets() {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Rejected)
        .with_source("the store has no bucket with this number; pass a number below `RevocationLog::buckets`"))
}

/// Reads the hash `m` of a bucket. Creates the bucket if it does not exist.
pub(crate) async fn meta(context: Context<'_>, bucket: u32) -> Result<Meta, StoreError> {
    if let Some(meta) = read_meta(context, bucket).await? {
        return Ok(meta);
    }
    touch(context, bucket).await?;
    let meta = read_meta(context, bucket).await?;
    meta.ok_or_else(|| vanished().into())
}

/// Reads the hash `m` of a bucket. Returns `None` if the bucket does not exist.
async fn read_meta(context: Context<'_>, bucket: u32) -> Result<Option<Meta>, StoreError> {
    let Context { client, keyspace, deadline, .. } = context;
    let (StrictAnswer { now, values }, checkout) =
        client.strict_read(bucket, &[Meta::read(keyspace, bucket)], deadline).await?;
    let outcome = Reply::of(Value::Array(values)).and_then(|mut reply| Meta::of(now?, reply.array()?));
    let meta = outcome.inspect_err(|_| checkout.discard())?;
    same_layout(client, keyspace, meta)
}

/// Creates a missing bucket, checks its layout, and raises its values to this node's
/// [`Demands`](crate::store::redis::scripts::Demands).
pub(crate) async fn touch(context: Context<'_>, bucket: u32) -> Result<(), StoreError> {
    ScriptCall::new(&scripts::TOUCH, bucket, Vec::new(), Vec::new()).repeatable().run(context).await.map(drop)
}

/// Returns an error if `meta` has another layout than this node. Otherwise updates the client's
/// estimate of the server's time, and returns `meta`.
pub(crate) fn same_layout(
    client: &Client,
    keyspace: &Keyspace,
    meta: Option<Meta>,
) -> Result<Option<Meta>, StoreError> {
    if let Some(meta) = &meta {
        meta.check_layout(keyspace)?;
        client.learn_time(meta.now);
    }
    Ok(meta)
}

/// Returns the error for a bucket that is missing right after this node created it.
pub(crate) fn vanished() -> CommandError {
    CommandError::untrusted(
        "the bucket vanished right after this node created it; check what else writes to this prefix",
    )
}

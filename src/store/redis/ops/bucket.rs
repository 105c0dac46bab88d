//! A bucket: its existence, its layout, and the hash that describes it.

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

/// Rejects a bucket that no keyspace of this size has.
pub(crate) fn check_number(keyspace: &Keyspace, bucket: u32) -> Result<(), StoreError> {
    if bucket < keyspace.buckets() {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Rejected).with_source("the store has no such bucket"))
}

/// Reads a bucket's `m` alone, and makes it if it does not exist.
pub(crate) async fn meta(context: Context<'_>, bucket: u32) -> Result<Meta, StoreError> {
    if let Some(meta) = read_meta(context, bucket).await? {
        return Ok(meta);
    }
    touch(context, bucket).await?;
    let meta = read_meta(context, bucket).await?;
    meta.ok_or_else(|| vanished().into())
}

/// Reads a bucket's `m` alone; `None` if it does not exist.
async fn read_meta(context: Context<'_>, bucket: u32) -> Result<Option<Meta>, StoreError> {
    let Context { client, keyspace, deadline, .. } = context;
    let (StrictAnswer { now, values }, checkout) =
        client.strict_read(bucket, &[Meta::read(keyspace, bucket)], deadline).await?;
    let outcome = Reply::of(Value::Array(values)).and_then(|mut reply| Meta::of(now?, reply.array()?));
    let meta = outcome.inspect_err(|_| checkout.discard())?;
    same_layout(client, keyspace, meta)
}

/// Makes a bucket if it does not exist, compares its layout, and raises its values to this node's
/// demands.
pub(crate) async fn touch(context: Context<'_>, bucket: u32) -> Result<(), StoreError> {
    ScriptCall::new(&scripts::TOUCH, bucket, Vec::new(), Vec::new()).repeatable().run(context).await.map(drop)
}

/// Rejects another layout, and learns the time from an `m` of this one.
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

/// Returns the error of a bucket that was removed as soon as it was made.
pub(crate) fn vanished() -> CommandError {
    CommandError::untrusted("the bucket was removed as soon as it was made")
}

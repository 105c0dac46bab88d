//! The implementation of [`Denylist`]. A denial revokes another issuer's token, session or subject.
//! The key of a denial contains a hash of the issuer, the kind of id, and the id.

use std::time::Duration;

use futures_util::future::try_join_all;
use redis::Value;

use crate::{
    clock::Timestamp,
    error::StoreError,
    store::{
        Denial, DenyQuery, DenyRequest, Denylist, ExternalId, ExternalName, KeptLonger, RevocationLog, Revoked,
        StoreAnswer,
        redis::{
            client::{
                answer::{Reply, leading_number, malformed},
                connections::batch::StrictAnswer,
            },
            layout::{encoding::millis, keys::ExternalKey, meta::Meta},
            ops::bucket::{self, same_layout, touch, vanished},
            scripts::{self, Context, ScriptCall},
            store::RedisStore,
        },
    },
};

impl Denylist for RedisStore {
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked> {
        let key = self.parts.keyspace.external(&deny.issuer, &deny.id);
        let is_token = if matches!(deny.id, ExternalId::Token(_)) { "1" } else { "" };
        let keys = vec![self.parts.keyspace.denied(&key)];
        let arguments = vec![key.hash.into_bytes(), millis(deny.keep), is_token.into()];
        self.revoke([deny.id.as_str()], ScriptCall::new(&scripts::DENY, key.bucket, keys, arguments).repeatable())
    }

    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial> {
        let call = self.begin();
        StoreAnswer::pending(async move { denied(call.context().await?, query).await })
    }

    /// Raises the time for which the store keeps denials and log entries to `keep`.
    fn keep_denials_for(&self, keep: Duration) {
        self.keep_log_for(keep);
    }

    fn log_name(&self, issuer: &str, id: &ExternalId) -> ExternalName {
        let key = self.parts.keyspace.external(issuer, id);
        ExternalName { bucket: key.bucket, id: key.hash }
    }
}

/// Returns the denials that apply to another issuer's token: those of its `jti`, `sid` and subject.
async fn denied(context: Context<'_>, query: DenyQuery) -> Result<Denial, StoreError> {
    let ids =
        [query.jti.map(ExternalId::Token), query.sid.map(ExternalId::Session), query.subject.map(ExternalId::Subject)];
    let known = ids.into_iter().flatten().map(|id| denial_of(context, &query.issuer, id));
    if let Some(denial) = try_join_all(known).await?.into_iter().reduce(both) {
        return Ok(denial);
    }
    // The query has no id, so no denial applies. The answer still contains the server's time and
    // the time at which the incarnation began.
    let Meta { now, born, .. } = bucket::meta(context, 0).await?;
    Ok(Denial { now, born, ..Denial::default() })
}

/// Merges the denials of two ids of the same token.
fn both(one: Denial, other: Denial) -> Denial {
    Denial {
        now: one.now.min(other.now),
        token: one.token || other.token,
        revoked_before: one.revoked_before.max(other.revoked_before),
        born: one.born.max(other.born),
        kept_longer: match (one.kept_longer, other.kept_longer) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        },
        server: one.server.filter(|server| other.server == Some(*server)),
    }
}

/// Returns the denial of one id. If the bucket keeps denials for a shorter time than this node
/// demands, first raises that time and then reads again.
async fn denial_of(context: Context<'_>, issuer: &str, id: ExternalId) -> Result<Denial, StoreError> {
    let key = context.keyspace.external(issuer, &id);
    let is_token = matches!(id, ExternalId::Token(_));
    if let Some((denial, true)) = read_denial(context, &key, is_token).await? {
        return Ok(denial);
    }
    touch(context, key.bucket).await?;
    let denial = read_denial(context, &key, is_token).await?;
    denial.map(|(denial, _)| denial).ok_or_else(|| vanished().into())
}

/// Reads a denial. The flag is true if the bucket keeps denials for as long as this node demands.
/// Returns `None` if the bucket does not exist.
async fn read_denial(
    context: Context<'_>,
    key: &ExternalKey,
    is_token: bool,
) -> Result<Option<(Denial, bool)>, StoreError> {
    let Context { client, keyspace, demands, deadline } = context;
    let mut entry = redis::cmd("GET");
    entry.arg(keyspace.denied(key));
    let mut kept = redis::cmd("HMGET");
    kept.arg(keyspace.meta(key.bucket)).arg("keep").arg("grew").arg("from");
    let reads = [Meta::read(keyspace, key.bucket), entry, kept];
    let (StrictAnswer { now, values }, checkout) = client.strict_read(key.bucket, &reads, deadline).await?;
    let outcome = Reply::of(Value::Array(values)).and_then(|mut reply| {
        let meta = Meta::of(now?, reply.array()?)?;
        let value = reply.bytes()?.map(|value| leading_number(&value).ok_or_else(malformed)).transpose()?;
        let mut kept = reply.array()?;
        let (keep, grew, from) = (kept.optional_number()?, kept.optional_number()?, kept.optional_number()?);
        let is_kept = keep.is_some_and(|keep| keep >= demands.keep_millis());
        let kept_longer = grew.map(|grew| KeptLonger {
            since: Timestamp::from_millis(grew),
            before: Duration::from_millis(from.unwrap_or_default()),
        });
        Ok((meta, value, is_kept, kept_longer))
    });
    let (meta, value, is_kept, kept_longer) = outcome.inspect_err(|_| checkout.discard())?;
    let Some(meta) = same_layout(client, keyspace, meta)? else { return Ok(None) };
    let denial = Denial {
        now: meta.now,
        token: is_token && value.is_some(),
        revoked_before: value.filter(|_| !is_token).map(Timestamp::from_millis),
        born: meta.born,
        kept_longer,
        server: checkout.server(),
    };
    Ok(Some((denial, is_kept)))
}

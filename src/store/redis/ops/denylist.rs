//! Denials of other issuers' tokens, under a hash of issuer, kind and value.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::{
    clock::Timestamp,
    error::StoreError,
    store::{
        Denial, DenyQuery, DenyRequest, ExternalId, KeptLonger, Revoked,
        redis::{
            Inner,
            client::{
                answer::reply::{Reply, leading_number, malformed},
                connections::batch::StrictAnswer,
            },
            layout::keys::ForeignKey,
            ops::{
                log::{Meta, vanished},
                sessions::revoked,
            },
            scripts::{
                self,
                call::{Call, millis},
            },
        },
    },
};

impl Inner {
    pub(crate) async fn deny(&self, deny: DenyRequest, deadline: Instant) -> Result<Revoked, StoreError> {
        let key = self.keys.foreign(&deny.issuer, &deny.id);
        let is_token = if matches!(deny.id, ExternalId::Token(_)) { "1" } else { "" };
        let call = Call {
            script: &scripts::DENY,
            bucket: key.bucket,
            keys: vec![self.keys.denied(&key)],
            arguments: vec![key.hash.into_bytes(), millis(deny.keep), is_token.into()],
            expires: false,
            repeatable: true,
        };
        revoked(call.bucket, self.run(&call, deadline).await?)
    }

    pub(crate) async fn denied(&self, query: DenyQuery, deadline: Instant) -> Result<Denial, StoreError> {
        let ids = [
            query.jti.map(ExternalId::Token),
            query.sid.map(ExternalId::Session),
            query.subject.map(ExternalId::Subject),
        ];
        let known = ids.into_iter().flatten().map(|id| self.known_against(&query.issuer, id, deadline));
        let together = |one: Denial, other: Denial| Denial {
            now: one.now.min(other.now),
            token: one.token || other.token,
            revoked_before: one.revoked_before.max(other.revoked_before),
            born: one.born.max(other.born),
            kept_longer: match (one.kept_longer, other.kept_longer) {
                (Some(one), Some(other)) => Some(one.and(other)),
                (one, other) => one.or(other),
            },
            server: one.server.filter(|server| other.server == Some(*server)),
        };
        if let Some(denial) = try_join_all(known).await?.into_iter().reduce(together) {
            return Ok(denial);
        }
        // The query names nothing. So the answer is only the time since which the store remembers.
        let Meta { now, born, .. } = self.meta(0, deadline).await?;
        Ok(Denial { now, born, ..Denial::default() })
    }

    async fn known_against(&self, issuer: &str, id: ExternalId, deadline: Instant) -> Result<Denial, StoreError> {
        let key = self.keys.foreign(issuer, &id);
        let is_token = matches!(id, ExternalId::Token(_));
        if let Some((denial, true)) = self.read_denial(&key, is_token, deadline).await? {
            return Ok(denial);
        }
        self.touch(key.bucket, deadline).await?;
        let denial = self.read_denial(&key, is_token, deadline).await?;
        denial.map(|(denial, _)| denial).ok_or_else(|| vanished().into())
    }

    /// Returns the denial, and true if the bucket remembers for as long as this node demands;
    /// `None` if it does not exist yet.
    async fn read_denial(
        &self,
        key: &ForeignKey,
        is_token: bool,
        deadline: Instant,
    ) -> Result<Option<(Denial, bool)>, StoreError> {
        let mut entry = redis::cmd("GET");
        entry.arg(self.keys.denied(key));
        let mut kept = redis::cmd("HMGET");
        kept.arg(self.keys.meta(key.bucket)).arg("keep").arg("grew").arg("from");
        let reads = [self.read_of_meta(key.bucket), entry, kept];
        let (StrictAnswer { now, values }, lease) = self.servers.strict_read(key.bucket, &reads, deadline).await?;
        let outcome = Reply::of(redis::Value::Array(values)).and_then(|mut reply| {
            let meta = Meta::of(now?, reply.array()?)?;
            let value = reply.bytes()?.map(|value| leading_number(&value).ok_or_else(malformed)).transpose()?;
            let mut kept = reply.array()?;
            let (keep, grew, from) = (kept.optional_number()?, kept.optional_number()?, kept.optional_number()?);
            let is_heeded = keep.is_some_and(|keep| keep >= self.keep_millis());
            let kept_longer = grew.map(|grew| KeptLonger {
                since: Timestamp::from_millis(grew),
                before: Duration::from_millis(from.unwrap_or_default()),
            });
            Ok((meta, value, is_heeded, kept_longer))
        });
        let (meta, value, is_heeded, kept_longer) = outcome.inspect_err(|_| lease.distrust())?;
        let Some(meta) = self.same_layout(meta)? else { return Ok(None) };
        let denial = Denial {
            now: meta.now,
            token: is_token && value.is_some(),
            revoked_before: value.filter(|_| !is_token).map(Timestamp::from_millis),
            born: meta.born,
            kept_longer,
            server: lease.server(),
        };
        Ok(Some((denial, is_heeded)))
    }
}

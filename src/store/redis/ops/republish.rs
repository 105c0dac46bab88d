//! Revocations that the store has lost, republished by a node that still holds them.

use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    store::{
        Revocation,
        redis::{
            client::answer::malformed,
            layout::{
                encoding::decimals,
                keys::{ExternalKey, Keyspace, session_field},
                record::tag,
            },
            ops::bucket::check_number,
            scripts::{self, call::ScriptCall, context::Context},
        },
    },
};

/// Writes a revocation again that the store has lost.
pub(crate) async fn republish(
    context: Context<'_>,
    bucket: u32,
    revocation: Revocation,
    until: Timestamp,
) -> Result<(), StoreError> {
    check_number(context.keyspace, bucket)?;
    let call = call(context.keyspace, bucket, revocation, until);
    if call.bucket != bucket {
        return Err(StoreError::new(StoreErrorKind::Rejected).with_source("another bucket than the subject's"));
    }
    let answer = call.repeatable().run(context).await?;
    if answer.status == "ok" { Ok(()) } else { Err(malformed().into()) }
}

/// Returns the call that writes the revocation.
fn call(keyspace: &Keyspace, bucket: u32, revocation: Revocation, until: Timestamp) -> ScriptCall {
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

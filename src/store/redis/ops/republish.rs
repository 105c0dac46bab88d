//! Revocations that the store has lost, republished by a node that still holds them.

use tokio::time::Instant;

use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    store::{
        Revocation,
        redis::{
            Inner,
            client::answer::reply::malformed,
            layout::{
                keys::{ForeignKey, session_field},
                record::tag,
            },
            scripts::{
                self,
                call::{Call, decimals},
            },
        },
    },
};

impl Inner {
    pub(crate) async fn republish(
        &self,
        bucket: u32,
        revocation: Revocation,
        until: Timestamp,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        self.bucket_exists(bucket)?;
        let call = match revocation {
            Revocation::Session { subject, sid } => {
                let arguments = vec![
                    session_field(sid.as_str()).into_bytes(),
                    tag(subject.as_str(), sid.as_str()).to_vec(),
                    decimals(until),
                ];
                self.user_call(&scripts::REPUBLISH_SESSION, subject.as_str(), arguments)
            }
            Revocation::Token { subject, jti } => {
                self.user_call(&scripts::REPUBLISH_TOKEN, subject.as_str(), vec![jti.as_str().into(), decimals(until)])
            }
            Revocation::Subject { subject, generation, except } => {
                let except = except.map(|sid| session_field(sid.as_str())).unwrap_or_default();
                let arguments = vec![generation.to_string().into_bytes(), except.into_bytes(), decimals(until)];
                self.user_call(&scripts::REPUBLISH_ALL, subject.as_str(), arguments)
            }
            Revocation::External { id, before } => {
                let key = ForeignKey { bucket, hash: id };
                Call {
                    script: &scripts::REPUBLISH_FOREIGN,
                    bucket,
                    keys: vec![self.keys.denied(&key)],
                    arguments: vec![key.hash.into_bytes(), decimals(until), before.map(decimals).unwrap_or_default()],
                    expires: false,
                    repeatable: true,
                }
            }
        };
        if call.bucket != bucket {
            return Err(StoreError::new(StoreErrorKind::Rejected).with_source("another bucket than the subject's"));
        }
        let answered = self.run(&call.repeatable(), deadline).await?;
        if answered.status == "ok" { Ok(()) } else { Err(malformed().into()) }
    }
}

//! One call: a script or a read, from the question to the answer that belongs to it.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::{
    clock::{Timestamp, saturating_millis},
    error::{StoreError, StoreErrorKind},
    store::redis::{
        Inner,
        client::{
            answer::{error::Failure, reply::Reply},
            router::Repeats,
        },
        layout::keys::LAYOUT,
        scripts::Script,
    },
};

/// A script to be run on a bucket.
pub(crate) struct Call {
    pub(crate) script: &'static Script,
    pub(crate) bucket: u32,
    /// The keys after `m` and `log`.
    pub(crate) keys: Vec<String>,
    /// The arguments after the seven of `meta.lua`.
    pub(crate) arguments: Vec<Vec<u8>>,
    /// True if the script rejects the call after its caller has given up.
    pub(crate) expires: bool,
    /// True if the call may be repeated after its connection broke, when it is unknown if it ran.
    pub(crate) repeatable: bool,
}

impl Call {
    pub(crate) fn expiring(self) -> Self {
        Self { expires: true, ..self }
    }

    pub(crate) fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }
}

/// The answer of a script.
pub(crate) struct Answered {
    pub(crate) now: Timestamp,
    pub(crate) status: String,
    pub(crate) rest: Reply,
}

impl Inner {
    /// Runs a script.
    ///
    /// It is sent again in three cases only: the server did not know the script; it ran too late,
    /// reported so, and thus did nothing; or
    /// [`Servers::may_repeat`](super::servers::Servers::may_repeat) allows it.
    pub(crate) async fn run(&self, call: &Call, deadline: Instant) -> Result<Answered, StoreError> {
        let (mut was_late, mut repeats) = (false, Repeats::default());
        loop {
            let answered = match self.attempt(call, deadline).await {
                Ok(answered) => answered,
                Err(failure) => {
                    let repeatable = call.repeatable;
                    if self.servers.may_repeat(call.bucket, &failure, repeatable, &mut repeats, deadline).await {
                        continue;
                    }
                    return Err(failure.into());
                }
            };
            match answered.status.as_str() {
                "late" if was_late => return Err(Failure::timeout().into()),
                "late" => was_late = true,
                "layout" => return Err(self.other_layout(answered.rest)),
                "untrusted" => return Err(Failure::untrusted("a record that cannot be read").into()),
                _ => return Ok(answered),
            }
        }
    }

    async fn attempt(&self, call: &Call, deadline: Instant) -> Result<Answered, Failure> {
        let mut lease = self.servers.lease(call.bucket, deadline).await?;
        // A call that could not be confirmed afterwards is not even begun.
        lease.confirm()?;
        if !call.repeatable && lease.has_rested() {
            // A read, which is repeated on another connection if this one is dead.
            let reads = [self.read_of_meta(call.bucket)];
            let (answer, awake) = self.servers.strict_read(call.bucket, &reads, deadline).await?;
            answer.now.inspect_err(|_| awake.distrust())?;
            lease = awake;
        }
        let nonce = nonce()?;
        let ends = call.expires.then(|| self.time.now().saturating_add(remaining(deadline)));
        let command = |name: &str, script: &str| self.command(call, name, script, &nonce, ends);
        let value = match lease.command(&command("EVALSHA", call.script.hash()), deadline).await {
            // Never SCRIPT LOAD: in a cluster it goes to all nodes, and hangs on one that is dead.
            Err(failure) if failure.is_unknown_script() => {
                lease.command(&command("EVAL", call.script.text()), deadline).await
            }
            outcome => outcome,
        }?;
        let answered = answered(value, &nonce).inspect_err(|_| lease.distrust())?;
        lease.confirm()?;
        self.time.learn(answered.now);
        Ok(answered)
    }

    fn command(&self, call: &Call, name: &str, script: &str, nonce: &str, ends: Option<Timestamp>) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(call.keys.len() + 2);
        command.arg(self.keys.meta(call.bucket)).arg(self.keys.log(call.bucket)).arg(&call.keys);
        command.arg(nonce).arg(LAYOUT).arg(self.keys.buckets()).arg(self.keep_millis());
        command.arg(format!("{}:{}", self.staleness_millis(), self.failover_millis()));
        command.arg(self.keys.channel(call.bucket));
        command.arg(ends.map(|ends| ends.as_millis().to_string()).unwrap_or_default());
        for argument in &call.arguments {
            command.arg(argument.as_slice());
        }
        command
    }

    fn other_layout(&self, mut rest: Reply) -> StoreError {
        let (layout, buckets) = (rest.text().unwrap_or_default(), rest.text().unwrap_or_default());
        let text = format!(
            "the store has layout {layout:.8} with {buckets:.8} buckets, this node layout {LAYOUT} with {}",
            self.keys.buckets()
        );
        StoreError::new(StoreErrorKind::Layout).with_source(text)
    }
}

pub(crate) fn answered(value: Value, nonce: &str) -> Result<Answered, Failure> {
    let mut reply = Reply::of(value)?;
    if reply.text()? != nonce {
        return Err(Failure::untrusted("the answer to another call"));
    }
    let (status, now) = (reply.text()?, reply.time()?);
    Ok(Answered { now, status, rest: reply })
}

/// Returns 128 random bits, as text.
fn nonce() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| Failure::new(StoreErrorKind::Unavailable, false, "no random numbers from the system"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns a moment as an argument of a script.
pub(crate) fn decimals(time: Timestamp) -> Vec<u8> {
    time.as_millis().min(Timestamp::END_OF_TIME.as_millis()).to_string().into_bytes()
}

/// Returns a duration as an argument of a script.
pub(crate) fn millis(duration: Duration) -> Vec<u8> {
    whole_millis(duration).to_string().into_bytes()
}

/// Returns a duration in whole milliseconds, at most the end of time.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    saturating_millis(duration).min(Timestamp::END_OF_TIME.as_millis())
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn an_answer_without_the_callers_nonce_is_not_used_and_its_connection_goes() {
        let ours = answered(Value::Array(vec![text("n1"), text("ok"), Value::Int(5)]), "n1").unwrap();
        assert_eq!((ours.status.as_str(), ours.now), ("ok", Timestamp::from_millis(5)));
        let theirs = Value::Array(vec![text("n2"), text("ok"), Value::Int(5)]);
        for value in [theirs, Value::Nil, Value::Okay, Value::Array(Vec::new()), Value::Array(vec![Value::Int(1)])] {
            let failure = answered(value, "n1").err().unwrap();
            assert!(failure.broken);
            assert_eq!(failure.kind, StoreErrorKind::Untrusted);
        }
    }
}

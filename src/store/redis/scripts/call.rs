//! The call of a script, from its arguments to the answer that belongs to it.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    store::redis::{
        client::{
            Repeats,
            answer::{CommandError, Reply},
        },
        layout::{
            keys::{Keyspace, LAYOUT},
            meta::Meta,
        },
        scripts::{Script, context::Context},
    },
};

/// A call of a script on a bucket.
pub(crate) struct ScriptCall {
    pub(crate) script: &'static Script,
    pub(crate) bucket: u32,
    /// The keys after `m` and `log`.
    keys: Vec<String>,
    /// The arguments after the seven of `meta.lua`.
    arguments: Vec<Vec<u8>>,
    /// True if the script rejects the call after its caller has given up.
    expires: bool,
    /// True if the call may be repeated after its connection broke, when it is unknown if it ran.
    repeatable: bool,
}

/// The answer of a script.
pub(crate) struct ScriptAnswer {
    pub(crate) now: Timestamp,
    pub(crate) status: String,
    pub(crate) rest: Reply,
}

impl ScriptCall {
    /// Creates a call that never expires and may not be repeated.
    pub(crate) fn new(script: &'static Script, bucket: u32, keys: Vec<String>, arguments: Vec<Vec<u8>>) -> Self {
        Self { script, bucket, keys, arguments, expires: false, repeatable: false }
    }

    /// Creates a call about a user. The subject comes before the other arguments.
    pub(crate) fn about(
        subject: &str,
        keyspace: &Keyspace,
        script: &'static Script,
        mut arguments: Vec<Vec<u8>>,
    ) -> Self {
        let bucket = keyspace.bucket_of(subject);
        arguments.insert(0, subject.as_bytes().to_vec());
        let keys =
            vec![keyspace.user(bucket, subject), keyspace.labels(bucket, subject), keyspace.index(bucket, subject)];
        Self::new(script, bucket, keys, arguments)
    }

    /// Lets the script reject the call after its caller has given up.
    pub(crate) fn expiring(self) -> Self {
        Self { expires: true, ..self }
    }

    /// Allows to repeat the call after its connection broke.
    pub(crate) fn repeatable(self) -> Self {
        self.repeatable_if(true)
    }

    /// Allows to repeat the call after its connection broke, or not.
    pub(crate) fn repeatable_if(self, repeatable: bool) -> Self {
        Self { repeatable, ..self }
    }

    /// Runs the script.
    ///
    /// It is sent again in three cases only: the server did not know the script; it ran too late,
    /// reported so, and thus did nothing; or
    /// [`may_repeat`](crate::store::redis::client::Client::may_repeat) allows it.
    pub(crate) async fn run(&self, context: Context<'_>) -> Result<ScriptAnswer, StoreError> {
        let Context { client, deadline, .. } = context;
        let (mut was_late, mut repeats) = (false, Repeats::default());
        loop {
            let answer = match self.attempt(context).await {
                Ok(answer) => answer,
                Err(error) => {
                    if client.may_repeat(self.bucket, &error, self.repeatable, &mut repeats, deadline).await {
                        continue;
                    }
                    return Err(error.into());
                }
            };
            match answer.status.as_str() {
                "late" if was_late => return Err(CommandError::timeout().into()),
                "late" => was_late = true,
                "layout" => return Err(other_layout(context.keyspace, answer.rest)),
                "untrusted" => return Err(CommandError::untrusted("a record that cannot be read").into()),
                _ => return Ok(answer),
            }
        }
    }

    /// Sends the script once, or twice if the server does not know it.
    async fn attempt(&self, context: Context<'_>) -> Result<ScriptAnswer, CommandError> {
        let Context { client, deadline, .. } = context;
        let mut checkout = client.checkout(self.bucket, deadline).await?;
        // A call that could not be confirmed afterwards is not even begun.
        checkout.confirm()?;
        if !self.repeatable && checkout.has_rested() {
            // A read, which is repeated on another connection if this one is dead.
            let reads = [Meta::read(context.keyspace, self.bucket)];
            let (answer, awake) = client.strict_read(self.bucket, &reads, deadline).await?;
            answer.now.inspect_err(|_| awake.discard())?;
            checkout = awake;
        }
        let nonce = nonce()?;
        let ends = self.expires.then(|| client.now().saturating_add(remaining(deadline)));
        let command = |name: &str, script: &str| self.command(context, name, script, &nonce, ends);
        let value = match checkout.command(&command("EVALSHA", self.script.hash()), deadline).await {
            // Never SCRIPT LOAD: in a cluster it goes to all nodes, and hangs on one that is dead.
            Err(error) if error.is_unknown_script() => {
                checkout.command(&command("EVAL", self.script.text()), deadline).await
            }
            outcome => outcome,
        }?;
        let answer = answered(value, &nonce).inspect_err(|_| checkout.discard())?;
        checkout.confirm()?;
        client.learn_time(answer.now);
        Ok(answer)
    }

    /// Returns the command: the keys, the seven arguments of `meta.lua`, and the others.
    fn command(&self, context: Context<'_>, name: &str, script: &str, nonce: &str, ends: Option<Timestamp>) -> Cmd {
        let Context { keyspace, demands, .. } = context;
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len() + 2);
        command.arg(keyspace.meta(self.bucket)).arg(keyspace.log(self.bucket)).arg(&self.keys);
        command.arg(nonce).arg(LAYOUT).arg(keyspace.buckets()).arg(demands.keep_millis());
        command.arg(format!("{}:{}", demands.staleness_millis(), context.failover_millis()));
        command.arg(keyspace.channel(self.bucket));
        command.arg(ends.map(|ends| ends.as_millis().to_string()).unwrap_or_default());
        for argument in &self.arguments {
            command.arg(argument.as_slice());
        }
        command
    }
}

/// Returns the error of a bucket with another layout, from the rest of the script's answer.
fn other_layout(keyspace: &Keyspace, mut rest: Reply) -> StoreError {
    let (layout, buckets) = (rest.text().unwrap_or_default(), rest.text().unwrap_or_default());
    let text = format!(
        "the store has layout {layout:.8} with {buckets:.8} buckets, this node layout {LAYOUT} with {}",
        keyspace.buckets()
    );
    StoreError::new(StoreErrorKind::Layout).with_source(text)
}

/// Reads the answer to the call with this nonce.
pub(crate) fn answered(value: Value, nonce: &str) -> Result<ScriptAnswer, CommandError> {
    let mut reply = Reply::of(value)?;
    if reply.text()? != nonce {
        return Err(CommandError::untrusted("the answer to another call"));
    }
    let (status, now) = (reply.text()?, reply.time()?);
    Ok(ScriptAnswer { now, status, rest: reply })
}

/// Returns 128 random bits, as text.
fn nonce() -> Result<String, CommandError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| CommandError::new(StoreErrorKind::Unavailable, false, "no random numbers from the system"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
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
            let error = answered(value, "n1").err().unwrap();
            assert!(error.broken);
            assert_eq!(error.kind, StoreErrorKind::Untrusted);
        }
    }
}

//! The Lua scripts (`docs/protocol.md`, section 2) and their calls.
//!
//! Each script is a constant text, and gets its values as arguments. So a server caches each script
//! once, and cannot run a value as code.
//!
//! | first line | runs when the server is out of memory | scripts |
//! |--|--|--|
//! | `#!lua` | no | those that open or rotate |
//! | `#!lua flags=allow-oom` | yes | those that revoke |
//! | `#!lua flags=no-writes` | yes | those that only read |

use std::{
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::{
    clock::{Timestamp, saturating_millis},
    error::{StoreError, StoreErrorKind},
    store::{
        LogPage,
        redis::{
            client::{
                Client, Repeats,
                answer::{CommandError, Reply},
                lookout::Lookout,
                prover::Prover,
                readiness::Readiness,
            },
            layout::{
                encoding::{decimals, whole_millis},
                keys::{Keyspace, LAYOUT},
                meta::Meta,
            },
        },
    },
};

/// The parts of a store, which its clones and its feeds share.
pub(crate) struct Parts {
    pub(crate) client: Arc<Client>,
    pub(crate) keyspace: Keyspace,
    pub(crate) demands: Demands,
    /// The task that waits for the acknowledgements of Redis replicas; exists only under
    /// [`Failover::Replicas`](crate::store::redis::Failover::Replicas).
    pub(crate) prover: Option<Prover>,
    /// The state of the checks that the servers must pass before any call.
    pub(crate) readiness: Readiness,
    /// The task that reads the servers' settings at intervals; empty until the store starts it.
    pub(crate) lookout: OnceLock<Lookout>,
}

/// The parts of a store that an operation uses, and the operation's deadline.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) client: &'a Client,
    pub(crate) keyspace: &'a Keyspace,
    pub(crate) demands: &'a Demands,
    pub(crate) deadline: Instant,
}

impl Parts {
    /// Returns the context of an operation with this deadline. Waits for the first checks of the
    /// servers. Restarts the task of [`prover`](Self::prover) if the task's runtime has ended.
    ///
    /// # Errors
    ///
    /// The servers have not passed the checks.
    pub(crate) async fn until(&self, deadline: Instant) -> Result<Context<'_>, StoreError> {
        self.readiness.passed(deadline).await?;
        self.prover.iter().for_each(Prover::keep_at_work);
        Ok(self.unchecked(deadline))
    }

    /// Returns a context with this deadline, even if the servers have not passed the checks.
    pub(crate) fn unchecked(&self, deadline: Instant) -> Context<'_> {
        Context { client: &self.client, keyspace: &self.keyspace, demands: &self.demands, deadline }
    }
}

impl Context<'_> {
    /// Returns the failover bound in ms, or 0 if the bound is unknown. The bound is the longest
    /// time for which this node may use a server that was replaced.
    pub(crate) fn failover_millis(&self) -> u64 {
        self.client.guard().bound().map_or(0, whole_millis)
    }
}

/// The minimum values that this node demands of every bucket. They only grow. The store passes them
/// to each script. A script that writes raises lower values in the bucket's `m`.
#[derive(Debug)]
pub(crate) struct Demands {
    /// The time for which the store must keep log entries and denials, in ms.
    keep: AtomicU64,
    /// The maximum age of the log data by which this node decides, in ms.
    staleness: AtomicU64,
}

impl Demands {
    /// Creates the demands of a node. The store must keep log entries and denials for `keep`.
    pub(crate) fn new(keep: Duration) -> Self {
        Self { keep: AtomicU64::new(saturating_millis(keep)), staleness: AtomicU64::new(0) }
    }

    /// Raises the time for which the store must keep log entries and denials.
    pub(crate) fn keep_for(&self, keep: Duration) {
        self.keep.fetch_max(whole_millis(keep), Ordering::Relaxed);
    }

    /// Raises the maximum age of the log data by which this node decides.
    pub(crate) fn allow_staleness(&self, staleness: Duration) {
        self.staleness.fetch_max(whole_millis(staleness), Ordering::Relaxed);
    }

    /// Returns the time for which the store must keep log entries and denials, in ms.
    pub(crate) fn keep_millis(&self) -> u64 {
        self.keep.load(Ordering::Relaxed)
    }

    /// Returns the maximum age of the log data by which this node decides, in ms.
    pub(crate) fn staleness_millis(&self) -> u64 {
        self.staleness.load(Ordering::Relaxed)
    }

    /// Returns true if the page's bucket has at least the demanded values and this failover bound.
    /// If not, the caller must run the script `TOUCH`, which raises the values.
    pub(crate) fn are_met_by(&self, page: &LogPage, failover_millis: u64) -> bool {
        saturating_millis(page.keep) >= self.keep_millis()
            && saturating_millis(page.max_staleness) >= self.staleness_millis()
            && saturating_millis(page.max_failover) >= failover_millis
    }
}

/// A script, and the hash by which the command `EVALSHA` names it.
pub(crate) struct Script {
    text: &'static str,
    /// The hash of the text, in hexadecimal.
    hash: String,
}

impl Script {
    /// Creates a script, and computes its hash.
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $first_line:literal $(, $file:literal)+ $(; $constant:literal, $last:literal)?;;)*) => {
        $($(#[$doc])* pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                $first_line, "\n", $(include_str!($file),)+
                $($constant, "\n", include_str!($last),)?
            ))
        });)*

        #[cfg(test)]
        static ALL: &[(&str, &LazyLock<Script>)] = &[$((stringify!($name), &$name)),*];
    };
}

scripts! {
    /// Opens a session.
    OPEN = "#!lua", "meta.lua", "emit.lua", "user.lua", "open.lua";;
    /// Exchanges a refresh token: advances the session's counter, or detects reuse.
    ROTATE = "#!lua", "meta.lua", "emit.lua", "user.lua"; "local MAY_ADVANCE = true", "rotate.lua";;
    /// Replaces `ROTATE` if the server is out of memory: revokes on reuse, but never rotates.
    ROTATE_OUT_OF_MEMORY = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua"; "local MAY_ADVANCE = false", "rotate.lua";;
    /// Ends one session.
    REVOKE_SESSION = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "revoke_session.lua";;
    /// Revokes one access token.
    REVOKE_TOKEN = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "revoke_token.lua";;
    /// Ends all sessions of a user except one.
    REVOKE_ALL = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "revoke_all.lua";;
    /// Lists a page of a user's sessions.
    SESSIONS = "#!lua flags=no-writes", "sessions.lua";;
    /// Denies a token, session or subject of another issuer.
    DENY = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "external.lua", "deny.lua";;
    /// Republishes the end of a session.
    REPUBLISH_SESSION = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "republish_session.lua";;
    /// Republishes the revocation of an access token.
    REPUBLISH_TOKEN = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "republish_token.lua";;
    /// Republishes a `revoke_all`.
    REPUBLISH_ALL = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "user.lua", "republish_all.lua";;
    /// Republishes the denial of a token, session or subject of another issuer.
    REPUBLISH_EXTERNAL = "#!lua flags=allow-oom", "meta.lua", "emit.lua", "external.lua", "republish_external.lua";;
    /// Returns the Redis commands that the user has no right to use.
    RIGHTS = "#!lua flags=no-writes", "rights.lua";;
    /// Creates a missing bucket, checks its layout, and raises its values to the node's demands.
    TOUCH = "#!lua flags=allow-oom", "meta.lua", "touch.lua";;
}

/// A call of a script on a bucket.
pub(crate) struct ScriptCall {
    pub(crate) script: &'static Script,
    pub(crate) bucket: u32,
    /// The keys that follow the keys `m` and `log`.
    keys: Vec<String>,
    /// The arguments that follow the seven arguments of every script (`meta.lua`).
    arguments: Vec<Vec<u8>>,
    /// True if the script must do nothing after the deadline, because the caller no longer waits.
    expires: bool,
    /// True if the client may repeat the call after the connection broke. The script may then run
    /// twice.
    pub(crate) repeatable: bool,
    /// True if the script has one more argument, which marks a repeated call. In the first attempt
    /// the argument is empty. In a later attempt it is the server time before the first attempt.
    marks_repeats: bool,
}

/// The answer of a script: the server's time, a status, and the fields that belong to the status.
pub(crate) struct ScriptAnswer {
    pub(crate) now: Timestamp,
    pub(crate) status: String,
    pub(crate) rest: Reply,
}

impl ScriptCall {
    /// Creates a call that does not expire, and that the client does not repeat.
    pub(crate) fn new(script: &'static Script, bucket: u32, keys: Vec<String>, arguments: Vec<Vec<u8>>) -> Self {
        Self { script, bucket, keys, arguments, expires: false, repeatable: false, marks_repeats: false }
    }

    /// Creates a call about a user. Adds the user's keys, and the subject as the first argument.
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

    /// Makes the script do nothing after the deadline.
    pub(crate) fn expiring(self) -> Self {
        Self { expires: true, ..self }
    }

    /// Allows the client to repeat the call after the connection broke.
    pub(crate) fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }

    /// Allows the client to repeat the call after the connection broke. An additional argument
    /// marks a repeated call, so that the script can recognise the work of an earlier attempt.
    pub(crate) fn repeatable_with_mark(self) -> Self {
        Self { repeatable: true, marks_repeats: true, ..self }
    }

    /// Runs the script. Sends a failed call again if [`may_repeat`](Client::may_repeat) returns
    /// true.
    ///
    /// The script does nothing if its deadline has passed by the server's clock. The deadline may
    /// be too early, because the node estimated the server's time. The answer corrects the
    /// estimate, so this method sends the call once more.
    pub(crate) async fn run(&self, context: Context<'_>) -> Result<ScriptAnswer, StoreError> {
        let Context { client, deadline, .. } = context;
        let (mut was_late, mut repeats) = (false, Repeats::default());
        // A repeated call passes `began` to the script, which compares it with times of the server.
        // So `began` must not be ahead of the server's clock. The estimate `now` never is.
        let (began, mut repeat_of) = (client.now(), None);
        loop {
            let answer = match self.attempt(context, repeat_of).await {
                Ok(answer) => answer,
                Err(error) => {
                    if client.may_repeat(self.bucket, &error, self.repeatable, &mut repeats, deadline).await {
                        repeat_of = Some(began);
                        continue;
                    }
                    return Err(error.into());
                }
            };
            match answer.status.as_str() {
                "late" if was_late => return Err(CommandError::timeout().into()),
                "late" => was_late = true,
                "layout" => return Err(other_layout(context.keyspace, answer.rest)),
                "untrusted" => {
                    return Err(CommandError::untrusted(
                        "a script could not parse a value in Redis; check what else writes to this prefix",
                    )
                    .into());
                }
                _ => return Ok(answer),
            }
        }
    }

    /// Sends the hash of the script. If the server does not know the script, sends the text.
    /// `repeat_of` is the time before the first attempt, or `None` in the first attempt.
    async fn attempt(&self, context: Context<'_>, repeat_of: Option<Timestamp>) -> Result<ScriptAnswer, CommandError> {
        let Context { client, deadline, .. } = context;
        let mut checkout = client.checkout(self.bucket, deadline).await?;
        // The script must not run on a server whose answer the node would then reject.
        checkout.confirm()?;
        if !self.repeatable && checkout.has_rested() {
            // The server may have closed the silent connection. So the client first sends a read,
            // because it may repeat a read, but not this call.
            let reads = [Meta::read(context.keyspace, self.bucket)];
            let (answer, awake) = client.strict_read(self.bucket, &reads, deadline).await?;
            answer.now.inspect_err(|_| awake.discard())?;
            checkout = awake;
        }
        let nonce = nonce()?;
        let ends =
            self.expires.then(|| client.now().saturating_add(deadline.saturating_duration_since(Instant::now())));
        let command = |name: &str, script: &str| {
            let mut command = self.command(context, name, script, &nonce, ends);
            if self.marks_repeats {
                command.arg(repeat_of.map(decimals).unwrap_or_default());
            }
            command
        };
        let value = match checkout.command(&command("EVALSHA", &self.script.hash), deadline).await {
            // `EVAL` loads and runs the script in one round trip. `SCRIPT LOAD` would cost another.
            Err(error) if error.is_unknown_script() => {
                checkout.command(&command("EVAL", self.script.text), deadline).await
            }
            outcome => outcome,
        }?;
        let answer = answered(value, &nonce).inspect_err(|_| checkout.discard())?;
        checkout.confirm()?;
        client.learn_time(answer.now);
        Ok(answer)
    }

    /// Returns the command with its keys, the arguments of every script, and its other arguments.
    fn command(&self, context: Context<'_>, name: &str, script: &str, nonce: &str, ends: Option<Timestamp>) -> Cmd {
        let Context { keyspace, demands, .. } = context;
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len() + 2);
        command.arg(keyspace.meta(self.bucket)).arg(keyspace.log(self.bucket)).arg(&self.keys);
        command.arg(nonce).arg(LAYOUT).arg(keyspace.buckets()).arg(demands.keep_millis());
        command.arg(format!("{}:{}", demands.staleness_millis(), context.failover_millis()));
        command.arg(keyspace.channel(self.bucket));
        command.arg(ends.map(decimals).unwrap_or_default());
        for argument in &self.arguments {
            command.arg(argument.as_slice());
        }
        command
    }
}

/// Returns the error for another layout or number of buckets. `rest` contains both.
fn other_layout(keyspace: &Keyspace, mut rest: Reply) -> StoreError {
    let (layout, buckets) = (rest.text().unwrap_or_default(), rest.text().unwrap_or_default());
    let text = format!(
        "the data have layout {layout:.8} with {buckets:.8} buckets, but this node uses layout {LAYOUT} with \
         {} buckets; use the same version and number of buckets on every node",
        keyspace.buckets()
    );
    StoreError::new(StoreErrorKind::Layout).with_source(text)
}

/// Parses the answer to a call. Returns an error if the answer does not contain the call's nonce.
pub(crate) fn answered(value: Value, nonce: &str) -> Result<ScriptAnswer, CommandError> {
    let mut reply = Reply::of(value)?;
    if reply.text()? != nonce {
        return Err(CommandError::untrusted(
            "the answer belongs to another call; if this happens again, check the proxies before Redis",
        ));
    }
    let (status, now) = (reply.text()?, reply.time()?);
    Ok(ScriptAnswer { now, status, rest: reply })
}

/// Returns 128 random bits, as text.
fn nonce() -> Result<String, CommandError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| {
        let text = "the operating system gave no random numbers; let the process call `getrandom`";
        CommandError::new(StoreErrorKind::Unavailable, false, text)
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_script_starts_with_its_flags_and_no_two_are_the_same() {
        for (index, (name, script)) in ALL.iter().enumerate() {
            assert!(script.text.starts_with("#!lua"), "{name}");
            assert_eq!(script.hash.len(), 40, "{name}");
            assert!(ALL.iter().skip(index + 1).all(|(_, other)| other.hash != script.hash), "{name}");
        }
    }

    #[test]
    fn what_revokes_works_out_of_memory_and_what_opens_does_not() {
        for (name, script) in ALL {
            let allowed = script.text.lines().next().unwrap() != "#!lua";
            assert_eq!(allowed, !matches!(*name, "OPEN" | "ROTATE"), "{name}");
        }
    }

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

//! The implementation of [`SessionStore`] with scripts, and the parsers of their answers.

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    ids::{SessionId, Subject, TokenId},
    store::{
        Checked, Denylist, LogPosition, LogStamp, Logged, OpenSession, Opened, Page, RevocationLog, Revoked,
        RotateRefresh, Rotated, SessionPage, SessionRecord, SessionState, SessionStore, StoreAnswer, Successor,
        check_ids,
        redis::{
            client::{
                answer::{CommandError, Reply, decimal, leading_number, malformed},
                connections::batch::StrictAnswer,
            },
            layout::{
                encoding::{decimals, millis},
                keys::{Record, Tag, session_field, sid_of, tag, token_field},
                log_entry,
            },
            scripts::{self, Context, Parts, Script, ScriptAnswer, ScriptCall},
        },
    },
};

const DEFAULT_PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1000;
/// The lifetime, in ms, of the key that [`SessionStore::probe`] writes.
const PROBE_LIFETIME: u32 = 60_000;

/// A store in Redis (see the [module](super)). Clones share connections and settings.
#[derive(Clone)]
pub struct RedisStore {
    pub(super) parts: Arc<Parts>,
}

/// The deadline of a call, and the parts of the store that the call uses.
pub(super) struct Call {
    parts: Arc<Parts>,
    deadline: Instant,
}

impl Call {
    /// Returns the context of the call, or an error if the servers have not passed the checks.
    pub(super) async fn context(&self) -> Result<Context<'_>, StoreError> {
        self.parts.until(self.deadline).await
    }
}

impl RedisStore {
    /// Creates a store from its parts.
    pub(super) fn of(parts: Arc<Parts>) -> Self {
        Self { parts }
    }

    /// Begins a call. The store's timeout determines the deadline of the call.
    pub(super) fn begin(&self) -> Call {
        Call { deadline: self.parts.client.deadline(), parts: Arc::clone(&self.parts) }
    }

    /// Runs a script that revokes. Returns an error if an id is empty or too long.
    pub(super) fn revoke<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a str>,
        script: ScriptCall,
    ) -> StoreAnswer<Revoked> {
        if let Err(error) = check_ids(ids) {
            return StoreAnswer::Ready(Err(error));
        }
        let call = self.begin();
        StoreAnswer::pending(async move { revoked(script.bucket, script.run(call.context().await?).await?) })
    }

    /// Creates a call of a script about a user.
    fn about(&self, subject: &str, script: &'static Script, arguments: Vec<Vec<u8>>) -> ScriptCall {
        ScriptCall::about(subject, &self.parts.keyspace, script, arguments)
    }
}

impl fmt::Debug for RedisStore {
    /// Formats the store without URL and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.parts.keyspace.prefix())
            .field("buckets", &self.parts.keyspace.buckets())
            .field("client", &self.parts.client)
            .finish_non_exhaustive()
    }
}

impl SessionStore for RedisStore {
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
        let (subject, sid) = (open.subject.as_str(), open.sid.as_str());
        if let Err(error) = check_ids([subject, sid]) {
            return StoreAnswer::Ready(Err(error));
        }
        let arguments = vec![
            session_field(sid).into_bytes(),
            tag(subject, sid).to_vec(),
            millis(open.idle),
            millis(open.absolute),
            open.auth_time.map(decimals).unwrap_or_default(),
            open.max_sessions.map_or(0, NonZeroU32::get).to_string().into_bytes(),
            open.label.into_bytes(),
        ];
        let script = self.about(subject, &scripts::OPEN, arguments).expiring().repeatable_with_mark();
        let call = self.begin();
        StoreAnswer::pending(async move { opened(script.run(call.context().await?).await?) })
    }

    /// Checks the session with plain commands in one round trip, because a script would cost the
    /// server ten times as much. Borrows the ids, to save copies in each request.
    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked> {
        let (subject, sid, jti) = (subject.as_str(), sid.as_str(), jti.as_str());
        let bucket = self.parts.keyspace.bucket_of(subject);
        let key = self.parts.keyspace.user(bucket, subject);
        let mut read = Cmd::with_capacity(5, key.len() + sid.len() + jti.len() + 16);
        read.arg("HMGET").arg(key).arg("g").arg(session_field(sid)).arg(token_field(jti));
        let (call, tag) = (self.begin(), tag(subject, sid));
        StoreAnswer::pending(async move {
            let Context { client, deadline, .. } = call.context().await?;
            let (answer, checkout) = client.strict_read(bucket, &[read], deadline).await?;
            let checked = checked(answer, tag).inspect_err(|_| checkout.discard());
            let checked = checked.map_err(|error| error.at(checkout.address()))?;
            client.learn_time(checked.now);
            Ok(Checked { server: checkout.server(), ..checked })
        })
    }

    /// Exchanges a refresh token's counter for the next one. If the server is out of memory, only a
    /// replay within the grace succeeds. A reuse still revokes the session.
    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
        let (subject, sid) = (rotate.subject.as_str(), rotate.sid.as_str());
        if let Err(error) = check_ids([subject, sid]) {
            return StoreAnswer::Ready(Err(error));
        }
        let arguments = vec![
            session_field(sid).into_bytes(),
            tag(subject, sid).to_vec(),
            rotate.counter.to_string().into_bytes(),
            millis(rotate.idle),
            millis(rotate.grace),
        ];
        let mut script = self.about(subject, &scripts::ROTATE, arguments).expiring();
        // Within the grace, a repeated call gets the same successor. After the grace, the store
        // would take the repeated call for reuse and end the session.
        script.repeatable = rotate.grace > self.parts.client.timeout().saturating_mul(2);
        let call = self.begin();
        StoreAnswer::pending(async move {
            let context = call.context().await?;
            let outcome = match script.run(context).await {
                Err(error) if error.kind() == StoreErrorKind::OutOfMemory => {
                    script.script = &scripts::ROTATE_OUT_OF_MEMORY;
                    script.run(context).await
                }
                outcome => outcome,
            };
            rotated(outcome?)
        })
    }

    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked> {
        let (subject, sid) = (subject.as_str(), sid.as_str());
        let arguments = vec![session_field(sid).into_bytes(), tag(subject, sid).to_vec()];
        self.revoke([subject, sid], self.about(subject, &scripts::REVOKE_SESSION, arguments).repeatable())
    }

    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked> {
        let (subject, jti) = (subject.as_str(), jti.as_str());
        let script = self.about(subject, &scripts::REVOKE_TOKEN, vec![jti.into(), decimals(until)]);
        self.revoke([subject, jti], script.repeatable())
    }

    /// Ends all sessions of a user except `except`.
    ///
    /// [`Revoked::found`] is exact if the user's hash has up to 128 fields. For a larger hash the
    /// script does not search for live sessions, and `found` may be true although there were none.
    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked> {
        let (subject, except) = (subject.as_str(), except.map(SessionId::as_str));
        let field = except.map(session_field).unwrap_or_default();
        // The script has a deadline, because it could otherwise run after the caller gave up, and
        // end sessions that were opened in the meantime.
        let script = self.about(subject, &scripts::REVOKE_ALL, vec![field.into_bytes()]).expiring().repeatable();
        self.revoke([subject].into_iter().chain(except), script)
    }

    /// Lists the user's live sessions. If sessions begin or end between two pages, `HSCAN` may
    /// return the same session in both pages.
    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage> {
        let is_cursor = |cursor: &String| decimal(cursor.as_bytes()).is_some();
        let cursor = page.cursor.filter(is_cursor).unwrap_or_else(|| "0".to_owned());
        let limit = if page.limit == 0 { DEFAULT_PAGE } else { page.limit.min(LARGEST_PAGE) };
        let arguments = vec![cursor.into_bytes(), limit.to_string().into_bytes()];
        let script = self.about(subject.as_str(), &scripts::SESSIONS, arguments).repeatable();
        let (call, subject) = (self.begin(), subject.clone());
        StoreAnswer::pending(
            async move { Ok(session_page(subject.as_str(), script.run(call.context().await?).await?)?) },
        )
    }

    fn ping(&self) -> StoreAnswer<Timestamp> {
        let call = self.begin();
        StoreAnswer::pending(async move { call.context().await?.client.ping(call.deadline).await })
    }

    /// Writes a key to each server, and fails if a login would fail because the server is out of
    /// memory. No call reads the key.
    fn probe(&self) -> StoreAnswer<()> {
        let call = self.begin();
        StoreAnswer::pending(async move {
            let Context { client, keyspace, deadline, .. } = call.context().await?;
            let write = async |bucket: u32| -> Result<(), CommandError> {
                let checkout = client.checkout(bucket, deadline).await?;
                let write =
                    redis::cmd("SET").arg(keyspace.probe(bucket)).arg("").arg("PX").arg(PROBE_LIFETIME).to_owned();
                checkout.command(&write, deadline).await?;
                checkout.confirm()
            };
            // The writes run simultaneously, because they share one deadline.
            let writes = client.one_bucket_each(deadline).await?.into_iter().map(write);
            try_join_all(writes).await?;
            Ok(())
        })
    }

    fn now(&self) -> Timestamp {
        self.parts.client.now()
    }

    fn name(&self) -> &'static str {
        "redis"
    }

    /// Returns the failover bound, which depends on the deployment:
    ///
    /// * one address: the bound of [`Failover`](super::Failover),
    /// * sentinels: [`sentinel_patience`](super::RedisStoreBuilder::sentinel_patience),
    /// * a cluster: `cluster-node-timeout`.
    fn failover_bound(&self) -> Result<Duration, String> {
        self.parts.client.guard().bound()
    }

    fn warnings(&self) -> Vec<String> {
        self.parts.readiness.warning().into_iter().chain(self.parts.client.guard().warnings()).collect()
    }

    fn revocation_log(self: Arc<Self>) -> Option<Arc<dyn RevocationLog>> {
        Some(self)
    }

    fn denylist(self: Arc<Self>) -> Option<Arc<dyn Denylist>> {
        Some(self)
    }
}

/// Parses the answer of the script `OPEN`.
fn opened(ScriptAnswer { now, status, mut rest }: ScriptAnswer) -> Result<Opened, StoreError> {
    match status.as_str() {
        "opened" => {
            let (generation, refresh_end) = (rest.number()?, rest.time()?);
            let (mut names, mut evicted) = (rest.array()?, Vec::new());
            while !names.is_empty() {
                evicted.push(names.text()?.into());
            }
            let last_revocation = last_revocation(&mut rest)?;
            Ok(Opened::Opened { now, generation, refresh_end, evicted, last_revocation })
        }
        "superseded" => Ok(Opened::Superseded { now }),
        "exists" => Ok(Opened::Exists { now }),
        _ => Err(malformed().into()),
    }
}

/// Parses the time and the nonce of a user's last revocation. Returns `None` if both are empty.
fn last_revocation(rest: &mut Reply) -> Result<Option<LogStamp>, CommandError> {
    let (at, nonce) = (rest.text()?, rest.text()?);
    Ok(decimal(at.as_bytes()).map(|at| LogStamp::new(Timestamp::from_millis(at), &nonce)))
}

/// Parses the answer to a check. Returns the state of the session and its token.
pub(crate) fn checked(StrictAnswer { now, values }: StrictAnswer, expected: Tag) -> Result<Checked, CommandError> {
    let now = now?;
    let mut fields = Reply::of(Value::Array(values))?.array()?;
    let generation = fields.optional_number()?.unwrap_or(0);
    let (record, mark) = (fields.bytes()?, fields.bytes()?);
    let record = match record {
        Some(bytes) => Some(Record::parse(&bytes, expected).ok_or_else(|| {
            CommandError::untrusted(
                "the session's record is unreadable or of another session; check what else writes to this prefix",
            )
        })?),
        None => None,
    };
    // If the mark cannot be parsed, the token counts as revoked.
    let token_revoked = mark.is_some_and(|mark| leading_number(&mark).is_none_or(|until| now.as_millis() < until));
    let state = match record {
        Some(record) if record.was_revoked() => SessionState::Revoked { at: Some(record.rotated) },
        // `revoke_all` sets the generation to its own time in ms, plus one. If the server's clock
        // was set back, the generation may be higher, and `at` is then too late.
        Some(record) if record.generation < generation => {
            SessionState::Revoked { at: Some(Timestamp::from_millis(generation.saturating_sub(1))) }
        }
        _ if token_revoked => SessionState::Revoked { at: None },
        None => SessionState::Unknown,
        Some(record) if now >= record.refresh_end => SessionState::Expired,
        Some(record) => SessionState::Active {
            generation: record.generation,
            counter: record.counter,
            refresh_end: record.refresh_end,
        },
    };
    Ok(Checked { now, state, server: None })
}

/// Parses the answer of the script `ROTATE`.
pub(crate) fn rotated(ScriptAnswer { now, status, mut rest }: ScriptAnswer) -> Result<Rotated, StoreError> {
    let mut successor = || -> Result<Successor, StoreError> {
        let counter = u32::try_from(rest.number()?).map_err(|_| malformed())?;
        let (generation, issued_at, refresh_end) = (rest.number()?, rest.time()?, rest.time()?);
        let last_revocation = last_revocation(&mut rest)?;
        Ok(Successor { counter, generation, issued_at, refresh_end, now, last_revocation })
    };
    match status.as_str() {
        "rotated" => successor().map(Rotated::Rotated),
        "replayed" => successor().map(Rotated::Replayed),
        "reused" => Ok(Rotated::Reused { now }),
        "revoked" => Ok(Rotated::Revoked { now, at: Some(rest.time()?) }),
        "unknown" => Ok(Rotated::Unknown { now }),
        "expired" => Ok(Rotated::Expired { now }),
        "full" => Err(StoreErrorKind::OutOfMemory.into()),
        _ => Err(malformed().into()),
    }
}

/// Parses the answer of a script that revokes.
pub(crate) fn revoked(bucket: u32, answered: ScriptAnswer) -> Result<Revoked, StoreError> {
    let ScriptAnswer { now, status, mut rest } = answered;
    if status != "ok" {
        return Err(malformed().into());
    }
    let found = rest.number()? != 0;
    let position = LogPosition { bucket, incarnation: rest.text()?, sequence: rest.number()? };
    let max_staleness = rest.duration()?;
    let (revocation, until) = log_entry::revocation(&mut rest)?;
    let max_failover = rest.duration()?;
    let logged = Logged { revocation, until, position, max_staleness, max_failover };
    Ok(Revoked { now, found, logged: Some(logged) })
}

/// Parses a page of a user's sessions.
pub(crate) fn session_page(subject: &str, answered: ScriptAnswer) -> Result<SessionPage, CommandError> {
    let ScriptAnswer { now, mut rest, .. } = answered;
    let (generation, cursor) = (rest.number()?, rest.text()?);
    let (mut found, mut sessions) = (rest.array()?, Vec::new());
    while !found.is_empty() {
        let (field, record, label) = (found.text()?, found.bytes()?, found.text()?);
        let sid = sid_of(&field);
        // The page omits a record that cannot be parsed. `check` returns an error for this record.
        let record = record.and_then(|record| Record::parse(&record, tag(subject, sid)));
        if let Some(record) = record.filter(|record| record.is_alive(generation, now)) {
            sessions.push(SessionRecord {
                sid: sid.into(),
                opened_at: record.opened,
                last_rotated_at: record.rotated,
                expires_at: record.refresh_end,
                absolute_end: record.absolute_end,
                label,
            });
        }
    }
    Ok(SessionPage { sessions, next: (cursor != "0").then_some(cursor) })
}

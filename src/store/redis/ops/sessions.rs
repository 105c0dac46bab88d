//! Sessions of this store's users: the arguments of the scripts, and the meaning of their answers.

use std::num::NonZeroU32;

use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    ids::{SessionId, Subject, TokenId},
    store::{
        Checked, LogPosition, Logged, OpenSession, Opened, Page, Revoked, RotateRefresh, Rotated, SessionPage,
        SessionRecord, SessionState, Successor,
        redis::{
            client::{
                Client,
                answer::{CommandError, Reply, decimal, leading_number, malformed},
                connections::batch::StrictAnswer,
            },
            layout::{
                encoding::{decimals, millis},
                keys::{Keyspace, session_field, sid_of, token_field},
                log_entry,
                record::{Record, Tag, tag},
            },
            scripts::{
                self,
                call::{ScriptAnswer, ScriptCall},
                context::Context,
            },
        },
    },
};

const DEFAULT_PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1000;

/// A check of a session and a token. It is built while the ids are only borrowed, because each
/// request makes one.
pub(crate) struct SessionCheck {
    bucket: u32,
    read: Cmd,
    /// The tag that the record in the answer must have.
    tag: Tag,
}

impl SessionCheck {
    /// Creates the check.
    pub(crate) fn new(keyspace: &Keyspace, subject: &str, sid: &str, jti: &str) -> Self {
        let bucket = keyspace.bucket_of(subject);
        let key = keyspace.user(bucket, subject);
        let mut read = Cmd::with_capacity(5, key.len() + sid.len() + jti.len() + 16);
        read.arg("HMGET").arg(key).arg("g").arg(session_field(sid)).arg(token_field(jti));
        Self { bucket, read, tag: tag(subject, sid) }
    }

    /// Makes the check in a strict read: one round trip, and no script, which would cost the server
    /// ten times as much.
    pub(crate) async fn run(self, client: &Client, deadline: Instant) -> Result<Checked, StoreError> {
        let (answer, checkout) = client.strict_read(self.bucket, &[self.read], deadline).await?;
        let checked = checked(answer, self.tag).inspect_err(|_| checkout.discard())?;
        client.learn_time(checked.now);
        Ok(Checked { server: checkout.server(), ..checked })
    }
}

/// Opens a session.
pub(crate) async fn open(context: Context<'_>, open: OpenSession) -> Result<Opened, StoreError> {
    let (subject, sid) = (open.subject.as_str(), open.sid.as_str());
    let arguments = vec![
        session_field(sid).into_bytes(),
        tag(subject, sid).to_vec(),
        millis(open.idle),
        millis(open.absolute),
        open.auth_time.map(decimals).unwrap_or_default(),
        open.max_sessions.map_or(0, NonZeroU32::get).to_string().into_bytes(),
        open.label.into_bytes(),
    ];
    let call = ScriptCall::about(subject, context.keyspace, &scripts::OPEN, arguments);
    let ScriptAnswer { now, status, mut rest } = call.expiring().run(context).await?;
    match status.as_str() {
        "opened" => {
            let (generation, refresh_end) = (rest.number()?, rest.time()?);
            let (mut names, mut evicted) = (rest.array()?, Vec::new());
            while !names.is_empty() {
                evicted.push(names.text()?.into());
            }
            Ok(Opened::Opened { now, generation, refresh_end, evicted })
        }
        "superseded" => Ok(Opened::Superseded { now }),
        "exists" => Ok(Opened::Exists { now }),
        _ => Err(malformed().into()),
    }
}

/// Exchanges a refresh token's counter for the next one. When the server is out of memory, only
/// reuse has an effect: it revokes.
pub(crate) async fn rotate(context: Context<'_>, rotate: RotateRefresh) -> Result<Rotated, StoreError> {
    let (subject, sid) = (rotate.subject.as_str(), rotate.sid.as_str());
    let arguments = vec![
        session_field(sid).into_bytes(),
        tag(subject, sid).to_vec(),
        rotate.counter.to_string().into_bytes(),
        millis(rotate.idle),
        millis(rotate.grace),
    ];
    // A caller that asks again within the grace gets the same successor. Later it would be reuse.
    let repeatable = rotate.grace > context.client.timeout().saturating_mul(2);
    let call = ScriptCall::about(subject, context.keyspace, &scripts::ROTATE, arguments);
    let mut call = call.repeatable_if(repeatable).expiring();
    let outcome = match call.run(context).await {
        Err(error) if error.kind() == StoreErrorKind::OutOfMemory => {
            call.script = &scripts::ROTATE_OUT_OF_MEMORY;
            call.run(context).await?
        }
        outcome => outcome?,
    };
    rotated(outcome)
}

/// Ends one session.
pub(crate) async fn revoke_session(
    context: Context<'_>,
    subject: &Subject,
    sid: &SessionId,
) -> Result<Revoked, StoreError> {
    let (subject, sid) = (subject.as_str(), sid.as_str());
    let arguments = vec![session_field(sid).into_bytes(), tag(subject, sid).to_vec()];
    let call = ScriptCall::about(subject, context.keyspace, &scripts::REVOKE_SESSION, arguments).repeatable();
    revoked(call.bucket, call.run(context).await?)
}

/// Revokes one access token.
pub(crate) async fn revoke_token(
    context: Context<'_>,
    subject: &Subject,
    jti: &TokenId,
    until: Timestamp,
) -> Result<Revoked, StoreError> {
    let arguments = vec![jti.as_str().into(), decimals(until)];
    let call = ScriptCall::about(subject.as_str(), context.keyspace, &scripts::REVOKE_TOKEN, arguments).repeatable();
    revoked(call.bucket, call.run(context).await?)
}

/// Ends all sessions of a user, but `except`.
pub(crate) async fn revoke_all(
    context: Context<'_>,
    subject: &Subject,
    except: Option<&SessionId>,
) -> Result<Revoked, StoreError> {
    let except = except.map(|sid| session_field(sid.as_str())).unwrap_or_default();
    let call = ScriptCall::about(subject.as_str(), context.keyspace, &scripts::REVOKE_ALL, vec![except.into_bytes()]);
    // It carries the deadline, so a repetition cannot come after the caller has given up and others
    // logged in.
    let call = call.expiring().repeatable();
    revoked(call.bucket, call.run(context).await?)
}

/// Lists a page of a user's live sessions.
pub(crate) async fn sessions(context: Context<'_>, subject: &Subject, page: Page) -> Result<SessionPage, StoreError> {
    let cursor = page.cursor.filter(|cursor| decimal(cursor.as_bytes()).is_some()).unwrap_or_else(|| "0".to_owned());
    let limit = if page.limit == 0 { DEFAULT_PAGE } else { page.limit.min(LARGEST_PAGE) };
    let arguments = vec![cursor.into_bytes(), limit.to_string().into_bytes()];
    let call = ScriptCall::about(subject.as_str(), context.keyspace, &scripts::SESSIONS, arguments).repeatable();
    Ok(session_page(subject.as_str(), call.run(context).await?)?)
}

/// Reads the answer to a [`SessionCheck`].
pub(crate) fn checked(StrictAnswer { now, values }: StrictAnswer, expected: Tag) -> Result<Checked, CommandError> {
    let now = now?;
    let mut fields = Reply::of(Value::Array(values))?.array()?;
    let generation = fields.optional_number()?.unwrap_or(0);
    let (record, mark) = (fields.bytes()?, fields.bytes()?);
    let record = match record {
        Some(bytes) => Some(
            Record::parse(&bytes, expected)
                .ok_or_else(|| CommandError::untrusted("a record that is not the session's"))?,
        ),
        None => None,
    };
    // A mark that cannot be read is one all the same.
    let token_revoked = mark.is_some_and(|mark| leading_number(&mark).is_none_or(|until| now.as_millis() < until));
    let state = match record {
        Some(record) if record.was_revoked() => SessionState::Revoked { at: Some(record.rotated) },
        // `revoke_all` at the time t sets the generation t + 1.
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

/// Reads the answer of a rotation.
pub(crate) fn rotated(ScriptAnswer { now, status, mut rest }: ScriptAnswer) -> Result<Rotated, StoreError> {
    let mut successor = || -> Result<Successor, StoreError> {
        let counter = u32::try_from(rest.number()?).map_err(|_| malformed())?;
        let (generation, issued_at, refresh_end) = (rest.number()?, rest.time()?, rest.time()?);
        Ok(Successor { counter, generation, issued_at, refresh_end, now })
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

/// Reads the answer that all revocations have.
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

/// Reads a page of a user's sessions.
pub(crate) fn session_page(subject: &str, answered: ScriptAnswer) -> Result<SessionPage, CommandError> {
    let ScriptAnswer { now, mut rest, .. } = answered;
    let (generation, cursor) = (rest.number()?, rest.text()?);
    let (mut found, mut sessions) = (rest.array()?, Vec::new());
    while !found.is_empty() {
        let (field, record, label) = (found.text()?, found.bytes()?, found.text()?);
        let sid = sid_of(&field);
        // A record that cannot be read is no session: the check rejects it too.
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

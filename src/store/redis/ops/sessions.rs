//! Sessions of our own: the arguments of the scripts, and the meaning of their answers.

use redis::{Cmd, Value};
use tokio::time::Instant;

use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    store::{
        Checked, LogPosition, Logged, OpenSession, Opened, Page, Revoked, RotateRefresh, Rotated, SessionPage,
        SessionRecord, SessionState, Successor,
        redis::{
            Inner,
            client::{
                answer::{
                    error::Failure,
                    reply::{Reply, decimal, leading_number, malformed},
                },
                connections::batch::StrictAnswer,
            },
            layout::{
                keys::{Keyspace, session_field, sid_of, token_field},
                record::{Record, Tag, tag},
            },
            ops::log,
            scripts::{
                self, Script,
                call::{Answered, Call, decimals, millis},
            },
        },
    },
};

const DEFAULT_PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1000;

/// A question about a session's state. It is built while the names are only borrowed, because each
/// request asks it.
pub(crate) struct SessionQuestion {
    bucket: u32,
    read: Cmd,
    /// The tag that the record in the answer must have.
    tag: Tag,
}

impl SessionQuestion {
    pub(crate) fn new(keys: &Keyspace, subject: &str, sid: &str, jti: &str) -> Self {
        let bucket = keys.bucket_of(subject);
        let key = keys.user(bucket, subject);
        let mut read = Cmd::with_capacity(5, key.len() + sid.len() + jti.len() + 16);
        read.arg("HMGET").arg(key).arg("g").arg(session_field(sid)).arg(token_field(jti));
        Self { bucket, read, tag: tag(subject, sid) }
    }
}

impl Inner {
    pub(crate) async fn open(&self, open: OpenSession, deadline: Instant) -> Result<Opened, StoreError> {
        let arguments = vec![
            session_field(open.sid.as_str()).into_bytes(),
            tag(open.subject.as_str(), open.sid.as_str()).to_vec(),
            millis(open.idle),
            millis(open.absolute),
            open.auth_time.map(decimals).unwrap_or_default(),
            open.max_sessions.map_or(0, std::num::NonZeroU32::get).to_string().into_bytes(),
            open.label.into_bytes(),
        ];
        let call = self.user_call(&scripts::OPEN, open.subject.as_str(), arguments).expiring();
        let Answered { now, status, mut rest } = self.run(&call, deadline).await?;
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

    /// Asks a strict read: one round trip, and no script, which would cost the server ten times as
    /// much.
    pub(crate) async fn check(&self, question: SessionQuestion, deadline: Instant) -> Result<Checked, StoreError> {
        let SessionQuestion { bucket, read, tag } = question;
        let (answer, lease) = self.servers.strict_read(bucket, &[read], deadline).await?;
        let checked = checked(answer, tag).inspect_err(|_| lease.distrust())?;
        self.time.learn(checked.now);
        Ok(Checked { server: lease.server(), ..checked })
    }

    pub(crate) async fn rotate(&self, rotate: RotateRefresh, deadline: Instant) -> Result<Rotated, StoreError> {
        let arguments = vec![
            session_field(rotate.sid.as_str()).into_bytes(),
            tag(rotate.subject.as_str(), rotate.sid.as_str()).to_vec(),
            rotate.counter.to_string().into_bytes(),
            millis(rotate.idle),
            millis(rotate.grace),
        ];
        let mut call = self.user_call(&scripts::ROTATE, rotate.subject.as_str(), arguments).expiring();
        // A caller that asks again within the grace gets the same successor. Later it would be
        // reuse.
        call.repeatable = rotate.grace > self.timeout.saturating_mul(2);
        let outcome = match self.run(&call, deadline).await {
            Err(error) if error.kind() == StoreErrorKind::OutOfMemory => {
                call.script = &scripts::ROTATE_OUT_OF_MEMORY;
                self.run(&call, deadline).await?
            }
            outcome => outcome?,
        };
        rotated(outcome)
    }

    pub(crate) async fn revoke_session(
        &self,
        subject: &str,
        sid: &str,
        deadline: Instant,
    ) -> Result<Revoked, StoreError> {
        let arguments = vec![session_field(sid).into_bytes(), tag(subject, sid).to_vec()];
        let call = self.user_call(&scripts::REVOKE_SESSION, subject, arguments).repeatable();
        revoked(call.bucket, self.run(&call, deadline).await?)
    }

    pub(crate) async fn revoke_token(
        &self,
        subject: &str,
        jti: &str,
        until: Timestamp,
        deadline: Instant,
    ) -> Result<Revoked, StoreError> {
        let arguments = vec![jti.as_bytes().to_vec(), decimals(until)];
        let call = self.user_call(&scripts::REVOKE_TOKEN, subject, arguments).repeatable();
        revoked(call.bucket, self.run(&call, deadline).await?)
    }

    pub(crate) async fn revoke_all(
        &self,
        subject: &str,
        except: Option<&str>,
        deadline: Instant,
    ) -> Result<Revoked, StoreError> {
        let arguments = vec![except.map(session_field).unwrap_or_default().into_bytes()];
        // It carries the deadline, so a repetition cannot come after the caller has given up and
        // others logged in.
        let call = self.user_call(&scripts::REVOKE_ALL, subject, arguments).expiring().repeatable();
        revoked(call.bucket, self.run(&call, deadline).await?)
    }

    pub(crate) async fn sessions(
        &self,
        subject: &str,
        page: Page,
        deadline: Instant,
    ) -> Result<SessionPage, StoreError> {
        let cursor =
            page.cursor.filter(|cursor| decimal(cursor.as_bytes()).is_some()).unwrap_or_else(|| "0".to_owned());
        let limit = if page.limit == 0 { DEFAULT_PAGE } else { page.limit.min(LARGEST_PAGE) };
        let arguments = vec![cursor.into_bytes(), limit.to_string().into_bytes()];
        let call = self.user_call(&scripts::SESSIONS, subject, arguments).repeatable();
        Ok(session_page(subject, self.run(&call, deadline).await?)?)
    }

    pub(crate) fn user_call(&self, script: &'static Script, subject: &str, mut arguments: Vec<Vec<u8>>) -> Call {
        let bucket = self.keys.bucket_of(subject);
        arguments.insert(0, subject.as_bytes().to_vec());
        Call {
            script,
            bucket,
            keys: vec![
                self.keys.user(bucket, subject),
                self.keys.labels(bucket, subject),
                self.keys.index(bucket, subject),
            ],
            arguments,
            expires: false,
            repeatable: false,
        }
    }
}

pub(crate) fn checked(StrictAnswer { now, values }: StrictAnswer, expected: Tag) -> Result<Checked, Failure> {
    let now = now?;
    let mut fields = Reply::of(Value::Array(values))?.array()?;
    let generation = fields.optional_number()?.unwrap_or(0);
    let (record, mark) = (fields.bytes()?, fields.bytes()?);
    let record = match record {
        Some(bytes) => Some(
            Record::parse(&bytes, expected).ok_or_else(|| Failure::untrusted("a record that is not the session's"))?,
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

pub(crate) fn rotated(Answered { now, status, mut rest }: Answered) -> Result<Rotated, StoreError> {
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
pub(crate) fn revoked(bucket: u32, answered: Answered) -> Result<Revoked, StoreError> {
    let Answered { now, status, mut rest } = answered;
    if status != "ok" {
        return Err(malformed().into());
    }
    let found = rest.number()? != 0;
    let position = LogPosition { bucket, incarnation: rest.text()?, sequence: rest.number()? };
    let max_staleness = rest.duration()?;
    let (revocation, until) = log::revocation(&mut rest)?;
    let max_failover = rest.duration()?;
    let logged = Logged { revocation, until, position, max_staleness, max_failover };
    Ok(Revoked { now, found, logged: Some(logged) })
}

pub(crate) fn session_page(subject: &str, answered: Answered) -> Result<SessionPage, Failure> {
    let Answered { now, mut rest, .. } = answered;
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

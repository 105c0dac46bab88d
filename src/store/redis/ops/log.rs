//! The revocation log of a bucket, and the hash that describes it.
//!
//! A **fence** is a read of the log on which a lease may rest. Its commands go out in one pipeline,
//! in this order:
//!
//! | command | reason |
//! |--|--|
//! | `ROLE` | a demoted primary still answers on open connections, from data that grow old |
//! | for each bucket `HMGET m`, then the entries | every entry that `m` counts is there |
//! | `PERSIST m` | the write check: a server that may not write does not answer for the log |
//! | `TIME` | last, so that all entries that the page lacks were written later |
//!
//! [`Inner::page`] counts an entry that was written between `HMGET` and the read of the entries.
//! `m` has no TTL, so `PERSIST` changes nothing.
//!
//! *`TIME` first, then a slow second half: a token is issued and revoked in between. `m` counts its
//! entry, no node applies it, and the token is later than the horizon.*
//!
//! A transaction would spare the counting. But Redis refuses transactions when it is out of memory
//! (seen on 7.0.15), and revocations, which work then, must also be read.
//!
//! `emit.lua` writes entries. An entry of another form is skipped and counted: no valid token can
//! match it. If an entry of this crate was damaged, the chain of the others shows the hole.

use std::time::Duration;

use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::time::Instant;

use crate::{
    clock::{Timestamp, saturating_millis},
    error::{StoreError, StoreErrorKind},
    store::{
        LogCursor, LogEntry, LogPage, LogPart, LogQuery, Revocation,
        redis::{
            Inner,
            client::{
                answer::{
                    error::Failure,
                    reply::{Reply, decimal, malformed},
                },
                connections::{Lease, batch::StrictAnswer},
                moment::Moment,
                router::{Repeats, Servers},
            },
            layout::keys::LAYOUT,
            scripts::{self, call::Call},
        },
    },
};

const FIELDS: [&str; 10] = ["seq", "nonce", "prev", "prev_at", "at", "kind", "sub", "obj", "extra", "until"];

/// The contents of a bucket's `m`, and the server's time.
pub(crate) struct Meta {
    pub(crate) now: Timestamp,
    pub(crate) born: Timestamp,
    layout: String,
    buckets: String,
    incarnation: String,
    sequence: u64,
    head: String,
    at: Timestamp,
    keep: Duration,
    max_staleness: Duration,
    max_failover: Duration,
}

impl Meta {
    /// Reads the answer to [`Inner::read_of_meta`]. Without an incarnation the bucket does not
    /// exist.
    pub(crate) fn of(now: Timestamp, mut fields: Reply) -> Result<Option<Self>, Failure> {
        let Some(incarnation) = fields.optional_text()? else { return Ok(None) };
        Ok(Some(Self {
            now,
            incarnation,
            layout: fields.text()?,
            buckets: fields.text()?,
            born: fields.time()?,
            sequence: fields.number()?,
            head: fields.text()?,
            at: fields.time()?,
            keep: fields.duration()?,
            max_staleness: fields.duration()?,
            max_failover: fields.optional_number()?.map(Duration::from_millis).unwrap_or_default(),
        }))
    }

    /// Counts an entry that follows the last one counted.
    fn count(&mut self, entry: &LogEntry) {
        if self.sequence.checked_add(1) == Some(entry.sequence) && self.head == entry.previous {
            self.sequence = entry.sequence;
            self.head.clone_from(&entry.nonce);
            self.at = entry.at;
        }
    }
}

/// The answers about one bucket's log.
pub(crate) struct Told {
    /// `None` if the bucket does not exist.
    meta: Option<Meta>,
    found: Found,
}

/// The entries that a range of the stream holds.
#[derive(Default)]
pub(crate) struct Found {
    /// Oldest first.
    entries: Vec<LogEntry>,
    skipped: u32,
    /// The ids of the oldest and the newest, those that were skipped included.
    oldest: Option<String>,
    newest: Option<String>,
    count: u32,
}

impl Told {
    /// Reads the two answers to [`Inner::ask_for_log`].
    pub(crate) fn parse(now: Timestamp, answers: Answers, query: &LogQuery) -> Result<Self, Failure> {
        let [meta, log] = answers.map(|value| value.extract_error().map_err(Failure::from));
        let (meta, log) = (meta?, log?);
        let meta = Meta::of(now, Reply::of(meta)?)?;
        Ok(Self { meta, found: entries(Reply::of(log)?, query.is_backwards())? })
    }

    /// Returns true if `m` does not count the newest entry: a script has failed half-way, or runs
    /// now.
    pub(crate) fn is_ahead(&self, query: &LogQuery) -> bool {
        let ahead = |meta: &Meta| self.found.entries.last().is_some_and(|entry| entry.sequence > meta.sequence);
        query.part == LogPart::Newest && self.meta.as_ref().is_some_and(ahead)
    }
}

impl Inner {
    pub(crate) async fn log(&self, bucket: u32, query: LogQuery, deadline: Instant) -> Result<LogPage, StoreError> {
        self.bucket_exists(bucket)?;
        has_cursor_of_ours(&query)?;
        if let Some(page) = self.read_log(bucket, &query, deadline).await?
            && self.is_heeded(&page)
        {
            return Ok(page);
        }
        self.touch(bucket, deadline).await?;
        let page = self.read_log(bucket, &query, deadline).await?;
        page.ok_or_else(|| vanished().into())
    }

    pub(crate) fn bucket_exists(&self, bucket: u32) -> Result<(), StoreError> {
        if bucket < self.keys.buckets() {
            return Ok(());
        }
        Err(StoreError::new(StoreErrorKind::Rejected).with_source("no bucket of this store"))
    }

    /// Returns true if the bucket has the values that this node demands of every writer. A node
    /// that only reads would never write them otherwise.
    pub(crate) fn is_heeded(&self, page: &LogPage) -> bool {
        saturating_millis(page.keep) >= self.keep_millis()
            && saturating_millis(page.max_staleness) >= self.staleness_millis()
            && saturating_millis(page.max_failover) >= self.failover_millis()
    }

    /// Reads a bucket's `m` alone, and makes it if it does not exist.
    pub(crate) async fn meta(&self, bucket: u32, deadline: Instant) -> Result<Meta, StoreError> {
        if let Some(meta) = self.read_meta(bucket, deadline).await? {
            return Ok(meta);
        }
        self.touch(bucket, deadline).await?;
        let meta = self.read_meta(bucket, deadline).await?;
        meta.ok_or_else(|| vanished().into())
    }

    async fn read_meta(&self, bucket: u32, deadline: Instant) -> Result<Option<Meta>, StoreError> {
        let (StrictAnswer { now, values }, lease) =
            self.servers.strict_read(bucket, &[self.read_of_meta(bucket)], deadline).await?;
        let outcome = Reply::of(Value::Array(values)).and_then(|mut reply| Meta::of(now?, reply.array()?));
        let meta = outcome.inspect_err(|_| lease.distrust())?;
        self.same_layout(meta)
    }

    /// Makes a bucket if it does not exist, compares its layout, and mends the state that a failed
    /// script left behind.
    pub(crate) async fn touch(&self, bucket: u32, deadline: Instant) -> Result<(), StoreError> {
        let call = Call {
            script: &scripts::TOUCH,
            bucket,
            keys: Vec::new(),
            arguments: Vec::new(),
            expires: false,
            repeatable: true,
        };
        self.run(&call, deadline).await.map(drop)
    }

    pub(crate) fn read_of_meta(&self, bucket: u32) -> Cmd {
        let mut read = redis::cmd("HMGET");
        read.arg(self.keys.meta(bucket));
        read.arg(&["inc", "layout", "buckets", "born", "seq", "head", "at", "keep", "dmax", "fmax"]);
        read
    }

    /// Adds the two reads of one bucket to a fence.
    pub(crate) fn ask_for_log(&self, pipeline: &mut Pipeline, bucket: u32, query: &LogQuery) {
        pipeline.add_command(self.read_of_meta(bucket));
        let key = self.keys.log(bucket);
        let exclusive = |cursor: &LogCursor| format!("({}", cursor.as_str());
        match &query.part {
            LogPart::Newest => pipeline.cmd("XREVRANGE").arg(key).arg("+").arg("-"),
            LogPart::After(cursor) => {
                let start = cursor.as_ref().map_or_else(|| "-".to_owned(), exclusive);
                pipeline.cmd("XRANGE").arg(key).arg(start).arg("+")
            }
            LogPart::Before(cursor) => pipeline.cmd("XREVRANGE").arg(key).arg(exclusive(cursor)).arg("-"),
        };
        pipeline.arg("COUNT").arg(query.limit);
    }

    /// Sends one fence and reads its frame. The answers of each bucket may be errors of that bucket
    /// alone.
    ///
    /// Any other error is handled as in a read without such errors. The connection goes if it must,
    /// and the read is repeated if that may help.
    pub(crate) async fn read_fence(
        &self,
        servers: &Servers,
        questions: &[(u32, LogQuery)],
        deadline: Instant,
    ) -> Result<(Fence, Lease), Failure> {
        let (first, _) = questions.first().ok_or_else(malformed)?;
        let asked = Moment::now();
        let mut pipeline = Pipeline::new();
        pipeline.ignore_errors();
        pipeline.cmd("ROLE");
        for (bucket, query) in questions {
            self.ask_for_log(&mut pipeline, *bucket, query);
        }
        pipeline.add_command(self.origin.guard().write_check(*first));
        pipeline.cmd("TIME");
        let mut repeats = Repeats::default();
        loop {
            let (values, lease) = servers.read(*first, &pipeline, deadline).await?;
            let failure = match Fence::of(values, questions.len()) {
                Ok(fence) => match lease.judge(&fence.write_check, asked) {
                    Ok(()) => return Ok((fence, lease)),
                    Err(failure) => failure,
                },
                Err(failure) => {
                    if failure.broken {
                        lease.distrust();
                    }
                    failure
                }
            };
            if !servers.may_repeat(*first, &failure, true, &mut repeats, deadline).await {
                return Err(failure);
            }
        }
    }

    pub(crate) fn same_layout(&self, meta: Option<Meta>) -> Result<Option<Meta>, StoreError> {
        match meta {
            Some(meta)
                if meta.layout != LAYOUT || decimal(meta.buckets.as_bytes()) != Some(self.keys.buckets().into()) =>
            {
                Err(StoreErrorKind::Layout.into())
            }
            meta => {
                if let Some(meta) = &meta {
                    self.time.learn(meta.now);
                }
                Ok(meta)
            }
        }
    }

    async fn read_log(&self, bucket: u32, query: &LogQuery, deadline: Instant) -> Result<Option<LogPage>, StoreError> {
        let (fence, lease) = self.read_fence(&self.servers, &[(bucket, query.clone())], deadline).await?;
        let answers = fence.answers.into_iter().next().ok_or_else(malformed)?;
        self.page(Told::parse(fence.now, answers, query)?, query, &lease)
    }

    /// Makes the page of the answers; `None` if the bucket does not exist.
    pub(crate) fn page(&self, told: Told, query: &LogQuery, lease: &Lease) -> Result<Option<LogPage>, StoreError> {
        let Told { meta, found } = told;
        let Some(mut meta) = self.same_layout(meta)? else { return Ok(None) };
        for entry in &found.entries {
            meta.count(entry);
        }
        let Found { entries, skipped, oldest, newest, count } = found;
        let last = |cursor: &Option<LogCursor>| newest.clone().map(LogCursor).or_else(|| cursor.clone());
        Ok(Some(LogPage {
            now: meta.now,
            server: lease.server(),
            connection: lease.connection(),
            incarnation: meta.incarnation,
            born: meta.born,
            sequence: meta.sequence,
            head: meta.head,
            at: meta.at,
            keep: meta.keep,
            max_staleness: meta.max_staleness,
            max_failover: meta.max_failover,
            entries,
            skipped,
            more: count >= query.limit,
            next: match &query.part {
                LogPart::Newest => newest.map(LogCursor),
                LogPart::After(cursor) => last(cursor),
                LogPart::Before(_) => oldest.map(LogCursor),
            },
        }))
    }
}

/// The answers about one bucket: its `m` and its entries.
pub(crate) type Answers = [Value; 2];

/// The answers to a fence.
pub(crate) struct Fence {
    pub(crate) now: Timestamp,
    /// The answers of each bucket.
    pub(crate) answers: Vec<Answers>,
    write_check: Value,
}

impl Fence {
    fn of(values: Vec<Value>, buckets: usize) -> Result<Self, Failure> {
        let mut reply = Reply::of(Value::Array(values))?;
        let role = reply.value()?.extract_error()?;
        let answers =
            (0..buckets).map(|_| Ok([reply.value()?, reply.value()?])).collect::<Result<Vec<_>, Failure>>()?;
        let write_check = reply.value()?;
        let time = reply.value()?.extract_error()?;
        if !reply.is_empty() {
            return Err(malformed());
        }
        if let Some(failure) = answers.iter().flatten().find_map(error_of_all) {
            return Err(failure);
        }
        Reply::of(role)?.primary()?;
        Ok(Self { now: Reply::of(time)?.server_time()?, answers, write_check })
    }
}

/// Returns the failure if a value is an error that does not concern one bucket alone.
fn error_of_all(value: &Value) -> Option<Failure> {
    let Value::ServerError(error) = value else { return None };
    // A value of another type under a bucket's keys (`WRONGTYPE`) is that bucket's own error. Any
    // other answer that cannot be trusted breaks the connection.
    let is_one_buckets = |failure: &Failure| failure.kind == StoreErrorKind::Untrusted && !failure.broken;
    Some(Failure::from(RedisError::from(error.clone()))).filter(|failure| !is_one_buckets(failure))
}

/// Rejects a cursor of another form.
pub(crate) fn has_cursor_of_ours(query: &LogQuery) -> Result<(), StoreError> {
    if query.cursor().is_none_or(|cursor| is_stream_id(cursor.as_str())) {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Rejected).with_source("not a cursor of this store"))
}

/// Returns the failure of a bucket that is removed as soon as it is made. Nothing is concluded from
/// that.
pub(crate) fn vanished() -> Failure {
    Failure::untrusted("a bucket that vanishes")
}

/// Reads the answer to `XRANGE`, or to `XREVRANGE` if it is `backwards`.
pub(crate) fn entries(mut answers: Reply, backwards: bool) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut first = None;
    while !answers.is_empty() {
        let mut entry = answers.array()?;
        let id = entry.text()?;
        if !is_stream_id(&id) {
            return Err(malformed());
        }
        match entry.array().and_then(parse) {
            Ok(entry) => found.entries.push(entry),
            Err(_) => found.skipped = found.skipped.saturating_add(1),
        }
        found.count = found.count.saturating_add(1);
        first.get_or_insert_with(|| id.clone());
        found.newest = Some(id);
    }
    found.oldest = first;
    if backwards {
        found.entries.reverse();
        std::mem::swap(&mut found.oldest, &mut found.newest);
    }
    Ok(found)
}

fn parse(mut fields: Reply) -> Result<LogEntry, Failure> {
    let mut values = Vec::with_capacity(FIELDS.len() * 2);
    for name in FIELDS {
        if fields.text()? != name {
            return Err(malformed());
        }
        values.push(fields.value()?);
    }
    if !fields.is_empty() {
        return Err(malformed());
    }
    let mut values = Reply::of(Value::Array(values))?;
    let (sequence, nonce, previous) = (values.number()?, values.text()?, values.text()?);
    let (previous_at, at) = (values.time()?, values.time()?);
    let (revocation, until) = revocation(&mut values)?;
    Ok(LogEntry { sequence, nonce, previous, previous_at, at, revocation, until })
}

/// Reads kind, subject, object, extra and `until`.
pub(crate) fn revocation(values: &mut Reply) -> Result<(Revocation, Timestamp), Failure> {
    let (kind, subject, object) = (values.text()?, values.text()?, values.text()?);
    let (extra, until) = (values.text()?, values.time()?);
    let revocation = match kind.as_str() {
        "s" => Revocation::Session { subject: subject.into(), sid: object.into() },
        "t" => Revocation::Token { subject: subject.into(), jti: object.into() },
        "u" => Revocation::Subject {
            subject: subject.into(),
            generation: decimal(extra.as_bytes()).ok_or_else(malformed)?,
            except: (!object.is_empty()).then(|| object.into()),
        },
        "f" if extra.is_empty() => Revocation::External { id: object, before: None },
        "f" => {
            let before = decimal(extra.as_bytes()).map(Timestamp::from_millis);
            Revocation::External { id: object, before: Some(before.ok_or_else(malformed)?) }
        }
        _ => return Err(malformed()),
    };
    Ok((revocation, until))
}

/// Returns true for `<milliseconds>-<number>`, the form of the ids of stream entries.
fn is_stream_id(text: &str) -> bool {
    let parts = text.split_once('-');
    parts.is_some_and(|(time, number)| decimal(time.as_bytes()).is_some() && decimal(number.as_bytes()).is_some())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn entry(kind: &str, object: &str, extra: &str) -> Vec<(String, String)> {
        let values = ["4", "n4", "n3", "1000", "2000", kind, "alice", object, extra, "9000"];
        FIELDS.iter().zip(values).map(|(name, value)| ((*name).to_owned(), value.to_owned())).collect()
    }

    fn read(fields: &[(String, String)]) -> Result<LogEntry, Failure> {
        let text = |text: &String| Value::BulkString(text.clone().into_bytes());
        let values = fields.iter().flat_map(|(name, value)| [text(name), text(value)]).collect();
        parse(Reply::of(Value::Array(values)).unwrap())
    }

    #[test]
    fn each_kind_of_entry_is_read() {
        let session = read(&entry("s", "s1", "")).unwrap();
        assert_eq!((session.sequence, session.nonce.as_str(), session.previous.as_str()), (4, "n4", "n3"));
        assert_eq!(session.revocation, Revocation::Session { subject: "alice".into(), sid: "s1".into() });
        let all = Revocation::Subject { subject: "alice".into(), generation: 7, except: None };
        assert_eq!(read(&entry("u", "", "7")).unwrap().revocation, all);
        let before = Some(Timestamp::from_millis(7));
        let foreign = Revocation::External { id: "h".into(), before };
        assert_eq!(read(&entry("f", "h", "7")).unwrap().revocation, foreign);
        assert_eq!(
            read(&entry("t", "j", "")).unwrap().revocation,
            Revocation::Token { subject: "alice".into(), jti: "j".into() }
        );
    }

    #[test]
    fn an_entry_that_is_not_wholly_understood_is_an_error() {
        assert!(read(&entry("x", "s1", "")).is_err());
        assert!(read(&entry("u", "", "")).is_err());
        assert!(read(&entry("f", "h", "-1")).is_err());
        for index in 0..FIELDS.len() {
            let mut fields = entry("s", "s1", "");
            fields.remove(index);
            assert!(read(&fields).is_err(), "without {}", FIELDS.get(index).unwrap());
        }
        let mut fields = entry("s", "s1", "");
        fields.push(("more".into(), "x".into()));
        assert!(read(&fields).is_err());
    }

    #[test]
    fn only_a_stream_id_is_a_cursor() {
        assert!(is_stream_id("1790000000000-0"));
        for text in ["", "1", "-", "1-", "-1", "(1-1", "1-1-1", "+"] {
            assert!(!is_stream_id(text), "{text}");
        }
    }
}

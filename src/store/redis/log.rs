//! The revocation log of a bucket, and the hash that speaks of it.
//!
//! What `emit.lua` writes is read here strictly: an entry that lacks a field, or holds one in another form, fails the
//! whole page. A reader that skipped it would take a revocation for read that it never understood.

use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use tokio::time::Instant;

use crate::{
    clock::{Timestamp, saturating_millis},
    error::{StoreError, StoreErrorKind},
    store::{
        LogCursor, LogEntry, LogPage, Revocation,
        redis::{
            Inner,
            call::Call,
            failure::Failure,
            gathering::{StrictAnswer, time_and_role},
            keys::LAYOUT,
            reply::{Reply, decimal, malformed},
            scripts,
        },
    },
};

const ENTRIES_A_PAGE: u32 = 1000;
const FIELDS: [&str; 10] = ["seq", "nonce", "prev", "prev_at", "at", "kind", "sub", "obj", "extra", "until"];

/// What stands in a bucket's `m`, and the server's time.
pub(super) struct Meta {
    pub(super) now: Timestamp,
    pub(super) born: Timestamp,
    layout: String,
    buckets: String,
    incarnation: String,
    sequence: u64,
    head: String,
    at: Timestamp,
    keep: Duration,
    max_staleness: Duration,
}

impl Meta {
    /// Reads the answer to [`Inner::read_of_meta`]; no incarnation means that the bucket does not exist.
    pub(super) fn of(now: Timestamp, mut fields: Reply) -> Result<Option<Self>, Failure> {
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
        }))
    }

    /// Counts an entry that follows the last one known.
    fn count(&mut self, entry: &LogEntry) {
        if self.sequence.checked_add(1) == Some(entry.sequence) && self.head == entry.previous {
            self.sequence = entry.sequence;
            self.head.clone_from(&entry.nonce);
            self.at = entry.at;
        }
    }
}

/// What a read told of a bucket's log.
pub(super) struct Told {
    /// `None` if the bucket does not exist.
    meta: Option<Meta>,
    entries: Vec<LogEntry>,
    last: Option<String>,
}

impl Told {
    /// Reads the two answers to [`Inner::ask_for_log`]. Both are taken whatever is in them, so that the next bucket's are not mistaken for them.
    pub(super) fn parse(now: Timestamp, meta: Value, log: Value) -> Result<Self, Failure> {
        let meta = Meta::of(now, Reply::of(meta)?)?;
        let (entries, last) = entries(Reply::of(log)?)?;
        Ok(Self { meta, entries, last })
    }
}

impl Inner {
    pub(super) async fn log(
        &self,
        bucket: u32,
        since: Option<LogCursor>,
        deadline: Instant,
    ) -> Result<LogPage, StoreError> {
        self.bucket_exists(bucket)?;
        is_cursor(since.as_ref())?;
        if let Some(page) = self.read_log(bucket, since.clone(), deadline).await?
            && self.is_heeded(&page)
        {
            return Ok(page);
        }
        self.touch(bucket, deadline).await?;
        let page = self.read_log(bucket, since, deadline).await?;
        page.ok_or_else(|| vanished().into())
    }

    pub(super) fn bucket_exists(&self, bucket: u32) -> Result<(), StoreError> {
        if bucket < self.keys.buckets() {
            return Ok(());
        }
        Err(StoreError::new(StoreErrorKind::Rejected).with_source("no bucket of this store"))
    }

    /// Whether the bucket knows what this node asks of every writer. A node that only reads would never tell otherwise.
    pub(super) fn is_heeded(&self, page: &LogPage) -> bool {
        saturating_millis(page.keep) >= self.keep_millis()
            && saturating_millis(page.max_staleness) >= self.staleness_millis()
    }

    /// A bucket's `m` alone, made if it does not exist.
    pub(super) async fn meta(&self, bucket: u32, deadline: Instant) -> Result<Meta, StoreError> {
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

    /// Makes a bucket if it does not exist, and compares its layout.
    pub(super) async fn touch(&self, bucket: u32, deadline: Instant) -> Result<(), StoreError> {
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

    pub(super) fn read_of_meta(&self, bucket: u32) -> Cmd {
        let mut read = redis::cmd("HMGET");
        read.arg(self.keys.meta(bucket));
        read.arg(&["inc", "layout", "buckets", "born", "seq", "head", "at", "keep", "dmax"]);
        read
    }

    /// `m` first, then the entries: so none that `m` counts is missing. Those that were written in between are counted
    /// by [`page`](Self::page). A transaction would spare that, but Redis refuses transactions when it is out of memory (seen on 7.0.15),
    /// and revocations, which work then, must also be read.
    pub(super) fn ask_for_log(&self, pipeline: &mut Pipeline, bucket: u32, since: Option<&LogCursor>) {
        pipeline.add_command(self.read_of_meta(bucket));
        let start = since.map_or_else(|| "-".to_owned(), |since| format!("({}", since.as_str()));
        pipeline.cmd("XRANGE").arg(self.keys.log(bucket)).arg(start).arg("+").arg("COUNT").arg(ENTRIES_A_PAGE);
    }

    pub(super) fn same_layout(&self, meta: Option<Meta>) -> Result<Option<Meta>, StoreError> {
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

    async fn read_log(
        &self,
        bucket: u32,
        since: Option<LogCursor>,
        deadline: Instant,
    ) -> Result<Option<LogPage>, StoreError> {
        let mut pipeline = time_and_role();
        self.ask_for_log(&mut pipeline, bucket, since.as_ref());
        let (values, lease) = self.servers.read(bucket, &pipeline, deadline).await?;
        let outcome = Reply::of(Value::Array(values)).and_then(|mut reply| {
            let now = reply.time_of_primary()?;
            Told::parse(now, reply.value()?, reply.value()?)
        });
        self.page(outcome.inspect_err(|_| lease.distrust())?, since)
    }

    /// The page that was told; `None` if the bucket does not exist.
    pub(super) fn page(&self, told: Told, since: Option<LogCursor>) -> Result<Option<LogPage>, StoreError> {
        let Told { meta, entries, last } = told;
        let Some(mut meta) = self.same_layout(meta)? else { return Ok(None) };
        for entry in &entries {
            meta.count(entry);
        }
        Ok(Some(LogPage {
            now: meta.now,
            incarnation: meta.incarnation,
            born: meta.born,
            sequence: meta.sequence,
            head: meta.head,
            at: meta.at,
            keep: meta.keep,
            max_staleness: meta.max_staleness,
            entries,
            next: last.map(LogCursor).or(since),
        }))
    }
}

/// Whether we can go on from there.
pub(super) fn is_cursor(since: Option<&LogCursor>) -> Result<(), StoreError> {
    if since.is_none_or(|since| is_stream_id(since.as_str())) {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Rejected).with_source("not a cursor of this store"))
}

/// Whoever removes a bucket again as soon as it is made leaves the store without a life: nothing is concluded from that.
pub(super) fn vanished() -> Failure {
    Failure::untrusted("a bucket that vanishes")
}

/// The entries of `XRANGE`, and the id of the last.
pub(super) fn entries(mut answers: Reply) -> Result<(Vec<LogEntry>, Option<String>), Failure> {
    let (mut found, mut last) = (Vec::new(), None);
    while !answers.is_empty() {
        let mut entry = answers.array()?;
        let id = entry.text()?;
        if !is_stream_id(&id) {
            return Err(malformed());
        }
        found.push(parse(entry.array()?)?);
        last = Some(id);
    }
    Ok((found, last))
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

/// Kind, subject, object, extra, until.
pub(super) fn revocation(values: &mut Reply) -> Result<(Revocation, Timestamp), Failure> {
    let (kind, subject, object) = (values.text()?, values.text()?, values.text()?);
    let (extra, until) = (values.text()?, values.time()?);
    let revocation = match kind.as_str() {
        "s" => Revocation::Session { subject, sid: object },
        "t" => Revocation::Token { subject, jti: object },
        "u" => Revocation::Subject {
            subject,
            generation: decimal(extra.as_bytes()).ok_or_else(malformed)?,
            except: (!object.is_empty()).then_some(object),
        },
        "f" if extra.is_empty() => Revocation::Foreign { id: object, before: None },
        "f" => {
            let before = decimal(extra.as_bytes()).map(Timestamp::from_millis);
            Revocation::Foreign { id: object, before: Some(before.ok_or_else(malformed)?) }
        }
        _ => return Err(malformed()),
    };
    Ok((revocation, until))
}

/// `<milliseconds>-<number>`, as streams name their entries.
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
        let foreign = Revocation::Foreign { id: "h".into(), before };
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

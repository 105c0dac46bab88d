//! The entries of a bucket's log, which `emit.lua` writes.
//!
//! The reader skips an entry that it cannot parse. If a script of this crate wrote that entry, the
//! next entry names it as its predecessor. So the replica detects that an entry is missing.

use redis::Value;

use crate::{
    clock::Timestamp,
    store::{
        LogEntry, Revocation,
        redis::client::answer::{CommandError, Reply, decimal, malformed},
    },
};

const FIELDS: [&str; 10] = ["seq", "nonce", "prev", "prev_at", "at", "kind", "sub", "obj", "extra", "until"];

/// The log entries in one part of the stream.
#[derive(Default)]
pub(crate) struct LogRange {
    /// The entries that the reader could parse, oldest first.
    pub(crate) entries: Vec<LogEntry>,
    /// The number of entries that the reader could not parse.
    pub(crate) skipped: u32,
    /// The stream ids of the oldest and the newest entry, even if the reader skipped them.
    pub(crate) oldest: Option<String>,
    pub(crate) newest: Option<String>,
    /// The number of all entries, including skipped entries.
    pub(crate) count: u32,
}

/// Parses the answer to `XRANGE`, or to `XREVRANGE` if `backwards` is true.
pub(crate) fn entries(mut answers: Reply, backwards: bool) -> Result<LogRange, CommandError> {
    let mut range = LogRange::default();
    let mut first = None;
    while !answers.is_empty() {
        let mut entry = answers.array()?;
        let id = entry.text()?;
        if !is_stream_id(&id) {
            return Err(malformed());
        }
        match entry.array().and_then(parse) {
            Ok(entry) => range.entries.push(entry),
            Err(_) => range.skipped = range.skipped.saturating_add(1),
        }
        range.count = range.count.saturating_add(1);
        first.get_or_insert_with(|| id.clone());
        range.newest = Some(id);
    }
    range.oldest = first;
    if backwards {
        range.entries.reverse();
        std::mem::swap(&mut range.oldest, &mut range.newest);
    }
    Ok(range)
}

/// Parses the fields of one entry. Returns an error if a field is missing, unknown or out of order.
fn parse(mut fields: Reply) -> Result<LogEntry, CommandError> {
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

/// Parses a revocation from the fields `kind`, `sub`, `obj`, `extra` and `until`.
pub(crate) fn revocation(values: &mut Reply) -> Result<(Revocation, Timestamp), CommandError> {
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

/// Returns true if the text has the form of a stream entry's id: `<milliseconds>-<number>`.
pub(crate) fn is_stream_id(text: &str) -> bool {
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

    fn read(fields: &[(String, String)]) -> Result<LogEntry, CommandError> {
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
        let external = Revocation::External { id: "h".into(), before };
        assert_eq!(read(&entry("f", "h", "7")).unwrap().revocation, external);
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

//! Public functions that pass arbitrary bytes to the private parsers of Redis answers, for `fuzz/`.
//! Only cargo-fuzz compiles this module.

use redis::Value;

use crate::clock::Timestamp;

use super::{
    client::{
        answer::Reply,
        connections::batch::{self, StrictAnswer},
        failover::guard::write_check,
    },
    layout::{
        keys::{Record, tag},
        log_entry::entries,
        meta::Meta,
    },
    scripts::answered,
    store,
};

/// Parses arbitrary bytes as the record of a session. Then puts the right tag before the bytes and
/// parses them again, because the parser rejects a record with another tag.
pub fn record(bytes: &[u8]) {
    let tag = tag("alice", "s1");
    let _ = Record::parse(bytes, tag);
    let tagged = [tag.as_slice(), bytes].concat();
    if let Some(record) = Record::parse(&tagged, tag) {
        let _ = (record.was_revoked(), record.is_alive(0, record.opened));
    }
}

/// Parses arbitrary bytes as an answer in RESP, and passes the answer to every parser.
pub fn reply(bytes: &[u8]) {
    let Ok(value) = redis::parse_redis_value(bytes) else { return };
    let parts = || match value.clone() {
        Value::Array(values) => values,
        other => vec![other],
    };
    let now = Timestamp::default();
    let _ = batch::framed(parts());
    let _ = write_check(&value, true);
    let _ = store::checked(StrictAnswer { now: Ok(now), values: parts() }, tag("alice", "s1"));
    let _ = Reply::of(value.clone()).and_then(|fields| Meta::of(now, fields));
    let _ = Reply::of(value.clone()).and_then(|answers| entries(answers, false));
    let script = || answered(value.clone(), "n").ok();
    let _ = script().map(store::rotated);
    let _ = script().map(|answer| store::revoked(0, answer));
    let _ = script().map(|answer| store::session_page("alice", answer));
}

//! The readers of the answers of Redis, for `fuzz/`. They are private otherwise. Only cargo-fuzz
//! compiles this.

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

/// Reads any bytes as the record of a session. Then tries again behind the right tag, because the
/// reader rejects any other.
pub fn record(bytes: &[u8]) {
    let tag = tag("alice", "s1");
    let _ = Record::parse(bytes, tag);
    let tagged = [tag.as_slice(), bytes].concat();
    if let Some(record) = Record::parse(&tagged, tag) {
        let _ = (record.was_revoked(), record.is_alive(0, record.opened));
    }
}

/// Reads any bytes as an answer in RESP, by every reader.
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

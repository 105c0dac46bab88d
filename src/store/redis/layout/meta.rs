//! The hash `m`, which contains the state of a bucket.

use std::time::Duration;

use redis::Cmd;

use crate::{
    clock::Timestamp,
    error::{StoreError, StoreErrorKind},
    store::{
        LogEntry,
        redis::{
            client::answer::{CommandError, Reply, decimal},
            layout::keys::{Keyspace, LAYOUT},
        },
    },
};

/// The contents of a bucket's hash `m`, and the server's time when the store read it.
pub(crate) struct Meta {
    pub(crate) now: Timestamp,
    pub(crate) born: Timestamp,
    layout: String,
    buckets: String,
    pub(crate) incarnation: String,
    pub(crate) sequence: u64,
    pub(crate) head: String,
    pub(crate) at: Timestamp,
    pub(crate) keep: Duration,
    pub(crate) max_staleness: Duration,
    pub(crate) max_failover: Duration,
}

impl Meta {
    /// Returns the command that reads a bucket's `m`.
    pub(crate) fn read(keyspace: &Keyspace, bucket: u32) -> Cmd {
        let mut read = redis::cmd("HMGET");
        read.arg(keyspace.meta(bucket));
        read.arg(&["inc", "layout", "buckets", "born", "seq", "head", "at", "keep", "dmax", "fmax"]);
        read
    }

    /// Parses the answer to [`Meta::read`]. Returns `None` if the bucket does not exist.
    pub(crate) fn of(now: Timestamp, mut fields: Reply) -> Result<Option<Self>, CommandError> {
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

    /// Makes `entry` the newest entry if its predecessor is the newest entry in `self`. A script
    /// may have written `entry` after the read of `m`.
    pub(crate) fn count(&mut self, entry: &LogEntry) {
        if self.sequence.checked_add(1) == Some(entry.sequence) && self.head == entry.previous {
            self.sequence = entry.sequence;
            self.head.clone_from(&entry.nonce);
            self.at = entry.at;
        }
    }

    /// Returns an error if the bucket has another layout or number of buckets than this node.
    pub(crate) fn check_layout(&self, keyspace: &Keyspace) -> Result<(), StoreError> {
        if self.layout == LAYOUT && decimal(self.buckets.as_bytes()) == Some(keyspace.buckets().into()) {
            return Ok(());
        }
        Err(StoreErrorKind::Layout.into())
    }
}

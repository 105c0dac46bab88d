//! A model of a store with one bucket, as the protocol describes it, and the ways in which a store
//! loses data. The store's times are whole seconds, because the deny set stores the ends of entries
//! in whole seconds. The node's own times are milliseconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    clock::Timestamp,
    ids::SessionId,
    store::{LogCursor, LogEntry, LogPage, LogPart, LogPosition, LogQuery, Revocation, ServerId},
};

/// Maximum count of entries in a page.
pub(super) const PAGE: u32 = 2;
pub(super) const START: u64 = 10_000;

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

/// A store. A loss of data does not change its clock.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) now: u64,
    pub(super) data: Data,
    pub(super) snapshots: Vec<Data>,
    /// The number of the server that answers. It changes at each failover and loss of data.
    server: u64,
    names: u64,
    sessions: u64,
}

#[derive(Clone)]
pub(super) struct Data {
    pub(super) incarnation: String,
    born: u64,
    pub(super) sequence: u64,
    head: String,
    at: u64,
    pub(super) keep: u64,
    pub(super) max_staleness: u64,
    /// Each entry with its id in the stream. The ids are consecutive numbers, so that another
    /// history has the same ids.
    log: Vec<(u64, LogEntry)>,
    last_id: u64,
    generations: BTreeMap<String, u64>,
    sessions: BTreeMap<String, Session>,
    before: BTreeMap<String, u64>,
    /// The numbers of the revocations that the store has not lost. If an entry only leaves the log,
    /// the store still has its revocation.
    pub(super) has: BTreeSet<usize>,
}

#[derive(Clone)]
struct Session {
    subject: String,
    generation: u64,
}

/// A token. Its bearer has it for ever, whatever the store loses.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) subject: String,
    pub(super) session: String,
    pub(super) id: String,
    pub(super) generation: u64,
    pub(super) issued_at: u64,
    pub(super) lifetime: u64,
    pub(super) is_foreign: bool,
}

/// The first half of a store's answer: the store's data when it read `m`.
#[derive(Clone)]
pub(super) struct Meta {
    server: ServerId,
    data: Data,
}

impl Store {
    pub(super) fn new() -> Self {
        let mut store = Self {
            now: START,
            data: Data::new(START, "", 20),
            snapshots: Vec::new(),
            server: 0,
            names: 0,
            sessions: 0,
        };
        store.lose_all();
        store
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    /// Loses all data: another server starts empty. The nodes report their staleness to it again.
    pub(super) fn lose_all(&mut self) {
        self.server += 1;
        let incarnation = self.name();
        let Data { keep, max_staleness, .. } = self.data;
        self.data = Data { max_staleness, ..Data::new(self.now, &incarnation, keep) };
    }

    pub(super) fn save(&mut self) {
        self.snapshots.push(self.data.clone());
    }

    /// Restores a snapshot of the store on another server.
    pub(super) fn roll_back(&mut self, snapshot: usize) {
        if let Some(data) = self.snapshots.get(snapshot) {
            self.data = data.clone();
            self.server += 1;
        }
    }

    /// Replaces the server with another one that has the same data.
    pub(super) fn fail_over(&mut self) {
        self.server += 1;
    }

    pub(super) fn server(&self) -> ServerId {
        ServerId::new(self.server)
    }

    pub(super) fn open(&mut self, subject: &str) -> String {
        self.sessions += 1;
        let generation = *self.data.generations.entry(subject.into()).or_insert(self.now);
        let session = Session { subject: subject.into(), generation };
        let sid = format!("s{}", self.sessions);
        self.data.sessions.insert(sid.clone(), session);
        sid
    }

    pub(super) fn sessions(&self) -> Vec<String> {
        self.data.sessions.keys().cloned().collect()
    }

    /// Issues a token of a session that is alive.
    pub(super) fn mint(&mut self, session: &str, lifetime: u64) -> Token {
        let Session { subject, generation } = self.data.sessions[session].clone();
        let (id, session) = (self.name(), session.to_owned());
        Token { subject, session, id, generation, issued_at: self.now, lifetime, is_foreign: false }
    }

    pub(super) fn foreign_token(&mut self, subject: &str, lifetime: u64) -> Token {
        let (id, session, subject) = (self.name(), String::new(), subject.to_owned());
        Token { subject, session, id, generation: 0, issued_at: self.now, lifetime, is_foreign: true }
    }

    /// Returns true if the store would accept the token when no revocation applied. The store must
    /// have the token's session. A foreign token must not be older than the store's data.
    pub(super) fn knows(&self, token: &Token) -> bool {
        if token.is_foreign {
            token.issued_at >= self.data.born
        } else {
            self.data.is_of(&token.session, &token.subject)
        }
    }

    /// Makes a revocation, which has this number in the test. Writes and returns its entry.
    pub(super) fn revoke(&mut self, number: usize, what: Revocation) -> LogEntry {
        let mut what = what;
        match &mut what {
            Revocation::Session { sid, .. } => drop(self.data.sessions.remove(sid.as_str())),
            Revocation::Token { .. } => {}
            Revocation::Subject { subject, generation, except } => {
                let known = self.data.generations.get(subject.as_str()).copied().unwrap_or_default();
                *generation = (known + 1).max(self.now).max(*generation);
                self.data.generations.insert(subject.as_str().to_owned(), *generation);
                if except.as_ref().is_some_and(|except| !self.data.is_of(except.as_str(), subject.as_str())) {
                    *except = None;
                }
                let except = except.as_ref().map(SessionId::as_str);
                let is_alive = |sid: &String, session: &mut Session| {
                    session.subject != subject.as_str() || Some(sid.as_str()) == except
                };
                self.data.sessions.retain(is_alive);
                if let Some(kept) = except.and_then(|except| self.data.sessions.get_mut(except)) {
                    kept.generation = *generation;
                }
            }
            Revocation::External { id, before } => {
                if let Some(before) = before {
                    let known = self.data.before.get(id).copied().unwrap_or_default();
                    *before = at(self.now.max(known));
                    self.data.before.insert(id.clone(), before.as_secs());
                }
            }
        }
        let (now, nonce) = (self.now, self.name());
        self.data.has.insert(number);
        self.data.log(now, nonce, what)
    }

    /// Removes the last entry from the counters of `m`, but not from the log. An older script could
    /// fail between the two writes.
    pub(super) fn uncount(&mut self) {
        if let Some((_, entry)) = self.data.log.last() {
            self.data.sequence = entry.sequence - 1;
            self.data.head.clone_from(&entry.previous);
            self.data.at = entry.previous_at.as_secs();
        }
    }

    pub(super) fn position(&self) -> LogPosition {
        LogPosition { bucket: 0, incarnation: self.data.incarnation.clone(), sequence: self.data.sequence }
    }

    pub(super) fn trim(&mut self, count: usize) {
        let count = count.min(self.data.log.len());
        self.data.log.drain(..count);
    }

    pub(super) fn remove(&mut self, index: usize) {
        if index < self.data.log.len() {
            self.data.log.remove(index);
        }
    }

    pub(super) fn length(&self) -> usize {
        self.data.log.len()
    }

    pub(super) fn meta(&self) -> Meta {
        Meta { server: self.server(), data: self.data.clone() }
    }

    /// Returns an answer, and the revocations that the store had not lost when it began to answer.
    /// The store reads `m` first and the log second. It counts an entry that was written in
    /// between.
    pub(super) fn page(&self, meta: Meta, query: &LogQuery) -> (LogPage, BTreeSet<usize>) {
        let number = |cursor: &LogCursor| cursor.as_str().parse::<u64>().unwrap();
        let limit = usize::try_from(query.limit).unwrap();
        let log = &self.data.log;
        let range = match &query.part {
            LogPart::Newest => log.len().saturating_sub(1)..log.len(),
            LogPart::After(cursor) => {
                let after = cursor.as_ref().map_or(0, number);
                let first = log.partition_point(|(id, _)| *id <= after);
                first..log.len().min(first + limit)
            }
            LogPart::Before(cursor) => {
                let end = log.partition_point(|(id, _)| *id < number(cursor));
                end.saturating_sub(limit)..end
            }
        };
        let found = &log[range.clone()];
        let Data { incarnation, born, mut sequence, mut head, at: mut last, keep, max_staleness, has, .. } = meta.data;
        for (_, entry) in found {
            if entry.sequence == sequence + 1 && entry.previous == head {
                (sequence, head, last) = (entry.sequence, entry.nonce.clone(), entry.at.as_secs());
            }
        }
        let cursor = |found: Option<&(u64, LogEntry)>| found.map(|(id, _)| LogCursor::new(id.to_string()));
        let next = match &query.part {
            LogPart::Newest => cursor(found.last()),
            LogPart::After(since) => cursor(found.last()).or_else(|| since.clone()),
            LogPart::Before(_) => cursor(found.first()),
        };
        let page = LogPage {
            // The store reads its clock after all other reads.
            now: at(self.now),
            server: Some(meta.server),
            connection: 0,
            incarnation,
            born: at(born),
            sequence,
            head,
            at: at(last),
            keep: seconds(keep),
            max_staleness: ms(max_staleness),
            max_failover: Duration::ZERO,
            entries: found.iter().map(|(_, entry)| entry.clone()).collect(),
            skipped: 0,
            more: found.len() >= limit,
            next,
        };
        (page, has)
    }
}

impl Data {
    fn new(born: u64, incarnation: &str, keep: u64) -> Self {
        Self {
            incarnation: incarnation.into(),
            born,
            sequence: 0,
            head: incarnation.into(),
            at: born,
            keep,
            max_staleness: 0,
            log: Vec::new(),
            last_id: 0,
            generations: BTreeMap::new(),
            sessions: BTreeMap::new(),
            before: BTreeMap::new(),
            has: BTreeSet::new(),
        }
    }

    fn is_of(&self, session: &str, subject: &str) -> bool {
        self.sessions.get(session).is_some_and(|session| session.subject == subject)
    }

    fn log(&mut self, now: u64, nonce: String, revocation: Revocation) -> LogEntry {
        let entry = LogEntry {
            sequence: self.sequence + 1,
            nonce: nonce.clone(),
            previous: std::mem::replace(&mut self.head, nonce),
            previous_at: at(self.at),
            at: at(now.max(self.at)),
            revocation,
            until: at(now + self.keep),
        };
        (self.sequence, self.at, self.last_id) = (entry.sequence, entry.at.as_secs(), self.last_id + 1);
        self.log.push((self.last_id, entry.clone()));
        entry
    }
}

impl Token {
    /// Returns true if this revocation revokes this token.
    pub(super) fn is_meant_by(&self, revocation: &Revocation) -> bool {
        match revocation {
            Revocation::Session { subject, sid } => {
                !self.is_foreign && *subject == *self.subject && *sid == *self.session
            }
            Revocation::Token { subject, jti } => !self.is_foreign && *subject == *self.subject && *jti == *self.id,
            Revocation::Subject { subject, generation, except } => {
                let is_excepted = except.as_ref().is_some_and(|except| *except == *self.session);
                !self.is_foreign && *subject == *self.subject && self.generation < *generation && !is_excepted
            }
            Revocation::External { id, before: None } => self.is_foreign && *id == self.id,
            Revocation::External { id, before: Some(before) } => {
                self.is_foreign && *id == self.subject && at(self.issued_at) <= *before
            }
        }
    }
}

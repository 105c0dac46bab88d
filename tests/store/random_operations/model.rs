//! The simplest store: no expiry index, no tombstones, no locks.
//!
//! Given a call and an answer, it decides if the answer is right at the answer's time.

use std::{collections::BTreeMap, time::Duration};

use tower_bearer::{
    SessionId,
    clock::Timestamp,
    store::{
        Checked, Logged, OpenSession, Opened, Revocation, Revoked, RotateRefresh, Rotated, SessionRecord, SessionState,
        Successor,
    },
};

use super::operation::{Call, Reply};

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Model {
    users: BTreeMap<String, User>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct User {
    generation: u64,
    highest: u64,
    /// The time of the last revocation of all sessions.
    revoked_at: Option<Timestamp>,
    /// The exception of the last revocation of all sessions, and true if no session was opened
    /// since.
    last_end: Option<(Option<String>, bool)>,
    sessions: BTreeMap<String, Session>,
    /// Revoked tokens and the ends of their revocations.
    tokens: BTreeMap<String, Timestamp>,
    pub log: Vec<Revocation>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Session {
    generation: u64,
    opened_at: Timestamp,
    rotated_at: Timestamp,
    refresh_end: Timestamp,
    absolute_end: Timestamp,
    counter: u32,
    label: String,
    revoked: Option<Timestamp>,
}

/// The time for which both stores keep revocations by default.
const KEEP: Duration = Duration::from_secs(3600);

/// The state of a session at a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    Live,
    /// With the time of its end, if the store must report exactly that time.
    Dead(Option<Timestamp>),
    Expired,
    Missing,
}

type Verdict = Result<(), String>;

impl Model {
    /// Returns the counter of the session's record.
    pub fn counter(&self, subject: &str, sid: &str) -> Option<u32> {
        Some(self.users.get(subject)?.sessions.get(sid)?.counter)
    }

    pub fn log(&self, subject: &str) -> &[Revocation] {
        self.users.get(subject).map_or(&[], |user| &user.log)
    }

    /// Applies the call to the model if the answer is right, or returns the expected answer.
    pub fn accept(&mut self, call: &Call, reply: &Reply) -> Verdict {
        let subject = match call {
            Call::Open(OpenSession { subject, .. })
            | Call::Rotate(RotateRefresh { subject, .. })
            | Call::Check { subject, .. }
            | Call::RevokeSession { subject, .. }
            | Call::RevokeToken { subject, .. }
            | Call::RevokeAll { subject, .. }
            | Call::Sessions { subject } => subject.as_str(),
        };
        let user = self.users.entry(subject.to_owned()).or_default();
        match (call, reply) {
            (Call::Open(open), Reply::Opened(reply)) => user.open(open, reply),
            (Call::Check { sid, jti, .. }, Reply::Checked(reply)) => user.check(sid, jti, reply),
            (Call::Rotate(rotate), Reply::Rotated(reply)) => user.rotate(rotate, reply),
            (Call::RevokeSession { sid, .. }, Reply::Revoked(reply)) => user.revoke_session(subject, sid, reply),
            (Call::RevokeToken { jti, until, .. }, Reply::Revoked(reply)) => {
                user.revoke_token(subject, jti, *until, reply)
            }
            (Call::RevokeAll { except, .. }, Reply::Revoked(reply)) => user.revoke_all(subject, *except, reply),
            (Call::Sessions { .. }, Reply::Listed { earliest, sessions, latest }) => {
                user.sessions(*earliest, sessions, *latest)
            }
            _ => Err("an answer to another question".to_owned()),
        }
    }
}

impl User {
    fn standing(&self, sid: &str, now: Timestamp) -> Standing {
        match self.sessions.get(sid) {
            None => Standing::Missing,
            Some(session) if session.revoked.is_some() => Standing::Dead(session.revoked),
            Some(session) if session.generation < self.generation => Standing::Dead(None),
            Some(session) if session.refresh_end <= now => Standing::Expired,
            Some(_) => Standing::Live,
        }
    }

    /// Returns the states that a store may report. It may prune an expired session at any time.
    fn permitted(&self, sid: &str, now: Timestamp) -> Vec<Standing> {
        let mut permitted = vec![self.standing(sid, now)];
        if self.sessions.get(sid).is_some_and(|session| session.refresh_end <= now) {
            permitted.push(Standing::Missing);
        }
        permitted
    }

    fn live(&self, now: Timestamp) -> Vec<&String> {
        self.sessions.keys().filter(|sid| self.standing(sid, now) == Standing::Live).collect()
    }

    fn open(&mut self, open: &OpenSession, reply: &Opened) -> Verdict {
        let superseded = open.auth_time.zip(self.revoked_at).is_some_and(|(began, revoked)| began <= revoked);
        let (Opened::Opened { now, .. } | Opened::Superseded { now } | Opened::Exists { now }) = *reply else {
            return Err("an answer of an unknown kind".to_owned());
        };
        let exists = self.sessions.contains_key(open.sid.as_str());
        let over = self.sessions.get(open.sid.as_str()).is_some_and(|session| session.refresh_end <= now);
        let Opened::Opened { generation, refresh_end, evicted, .. } = reply else {
            let right = match reply {
                Opened::Superseded { .. } => superseded,
                _ => exists,
            };
            return ensure(right, || format!("superseded is {superseded}, exists is {exists}"));
        };
        ensure(!superseded && (!exists || over), || format!("superseded is {superseded}, exists is {exists}"))?;

        let mut live: Vec<_> = self.live(now).into_iter().map(|sid| (&self.sessions[sid], sid)).collect();
        live.sort_by_key(|(session, sid)| (session.rotated_at, session.opened_at, *sid));
        let room = open.max_sessions.map_or(usize::MAX, |max| max.get() as usize - 1);
        let surplus = live.len().saturating_sub(room);
        let expected: Vec<SessionId> = live.into_iter().take(surplus).map(|(_, sid)| sid.into()).collect();
        ensure(*evicted == expected, || format!("to be evicted were {expected:?}"))?;
        for sid in expected {
            self.end(open.subject.as_str(), sid.as_str(), now);
        }

        let absolute_end = now.saturating_add(open.absolute);
        let session = Session {
            generation: now.as_millis().max(self.generation).max(self.highest),
            opened_at: now,
            rotated_at: now,
            refresh_end: now.saturating_add(open.idle).min(absolute_end),
            absolute_end,
            counter: 0,
            label: open.label.clone(),
            revoked: None,
        };
        let right = (session.generation, session.refresh_end) == (*generation, *refresh_end);
        ensure(right, || format!("expected was {session:?}"))?;
        self.highest = session.generation;
        if let Some((_, is_last)) = &mut self.last_end {
            *is_last = false;
        }
        self.sessions.insert(open.sid.to_string(), session);
        Ok(())
    }

    fn check(&self, sid: &str, jti: &str, Checked { now, state, .. }: &Checked) -> Verdict {
        let until = self.tokens.get(jti).copied().unwrap_or_default();
        let is_right = |standing: Standing| {
            if *now < until {
                return matches!(state, SessionState::Revoked { .. });
            }
            match (standing, *state) {
                (Standing::Live, SessionState::Active { generation, counter, refresh_end }) => {
                    let session = &self.sessions[sid];
                    (generation, counter, refresh_end) == (session.generation, session.counter, session.refresh_end)
                }
                (Standing::Dead(known), SessionState::Revoked { at }) => at.is_none() || known.is_none() || at == known,
                (Standing::Expired, SessionState::Expired) | (Standing::Missing, SessionState::Unknown) => true,
                _ => false,
            }
        };
        let permitted = self.permitted(sid, *now);
        ensure(permitted.iter().copied().any(is_right), || {
            format!("the session is one of {permitted:?}, the token is revoked until {until}")
        })
    }

    fn rotate(&mut self, rotate: &RotateRefresh, reply: &Rotated) -> Verdict {
        let now = match *reply {
            Rotated::Rotated(successor) | Rotated::Replayed(successor) => successor.now,
            Rotated::Reused { now }
            | Rotated::Revoked { now, .. }
            | Rotated::Unknown { now }
            | Rotated::Expired { now } => now,
            _ => return Err("an answer of an unknown kind".to_owned()),
        };
        let permitted = self.permitted(rotate.sid.as_str(), now);
        if permitted != [Standing::Live] {
            let is_right = |standing| match (standing, *reply) {
                (Standing::Dead(known), Rotated::Revoked { at, .. }) => at.is_none() || known.is_none() || at == known,
                (Standing::Expired, Rotated::Expired { .. }) | (Standing::Missing, Rotated::Unknown { .. }) => true,
                _ => false,
            };
            return ensure(permitted.iter().copied().any(is_right), || format!("the session is one of {permitted:?}"));
        }
        let Some(session) = self.sessions.get_mut(rotate.sid.as_str()) else { return Err("no session".to_owned()) };
        let in_grace = now.saturating_since(session.rotated_at) < rotate.grace;
        let repeated = rotate.counter + 1 == session.counter && in_grace;
        if !repeated && rotate.counter < session.counter {
            self.end(rotate.subject.as_str(), rotate.sid.as_str(), now);
            return ensure(*reply == Rotated::Reused { now }, || "it is reuse".to_owned());
        }
        if !repeated {
            session.counter = rotate.counter + 1;
            session.rotated_at = now;
            session.refresh_end = now.saturating_add(rotate.idle).min(session.absolute_end);
        }
        let mut successor = Successor::new(session.counter, session.generation, now, session.refresh_end);
        successor.issued_at = session.rotated_at;
        let expected = if repeated { Rotated::Replayed(successor) } else { Rotated::Rotated(successor) };
        ensure(*reply == expected, || format!("expected was {expected:?}"))
    }

    fn revoke_session(&mut self, subject: &str, sid: &str, reply: &Revoked) -> Verdict {
        let standing = self.standing(sid, reply.now);
        let own = Revocation::Session { subject: subject.into(), sid: sid.into() };
        let logged = logged(reply)?;
        let session = self.sessions.get(sid);
        let ended_alone = session.is_some_and(|session| session.revoked.is_some());
        // A store that has pruned an expired session logs its revocation like that of an unknown
        // session.
        let ended_with_all = !ended_alone
            && session.is_some_and(|session| session.generation < self.generation)
            && matches!(logged.revocation, Revocation::Subject { generation, .. } if generation == self.generation);
        if !ended_alone && !ended_with_all {
            ensure(standing != Standing::Dead(None) || self.is_over(sid, reply.now), || {
                "it ended with all".to_owned()
            })?;
            self.end(subject, sid, reply.now);
        }
        ensure(logged.revocation == own || ended_with_all, || format!("it is {own:?}"))?;
        let live = standing == Standing::Live;
        ensure(reply.found == live, || format!("it was {standing:?}"))
    }

    fn is_over(&self, sid: &str, now: Timestamp) -> bool {
        self.sessions.get(sid).is_none_or(|session| session.refresh_end <= now)
    }

    fn revoke_token(&mut self, subject: &str, jti: &str, until: Timestamp, reply: &Revoked) -> Verdict {
        let known = self.tokens.get(jti).copied().unwrap_or_default();
        let news = reply.now < until && known < until;
        if news {
            let least = until.max(reply.now.saturating_add(KEEP));
            let until = logged(reply)?.until;
            ensure(until == least, || format!("it is remembered until {least}"))?;
            self.tokens.insert(jti.to_owned(), until);
            self.log.push(Revocation::Token { subject: subject.into(), jti: jti.into() });
        }
        let found = news && known <= reply.now;
        ensure(reply.found == found, || format!("that it was to be found is {found}"))
    }

    fn revoke_all(&mut self, subject: &str, except: Option<&str>, reply: &Revoked) -> Verdict {
        let live = self.live(reply.now);
        let is_live = |kept: &str| live.iter().any(|sid| *sid == kept);
        if let Some((kept, true)) = &self.last_end
            && kept.as_deref().is_none_or(|kept| Some(kept) == except || !is_live(kept))
        {
            let (generation, except) = (self.generation, kept.clone());
            let except = except.map(SessionId::from);
            let expected = Revocation::Subject { subject: subject.into(), generation, except };
            return ensure(!reply.found && logged(reply)?.revocation == expected, || {
                format!("{expected:?} changes nothing")
            });
        }
        let except = except.filter(|sid| is_live(sid)).map(ToOwned::to_owned);
        let found = live.len() > usize::from(except.is_some());
        self.generation = self.generation.max(self.highest).max(reply.now.as_millis()) + 1;
        self.revoked_at = Some(reply.now);
        self.last_end = Some((except.clone(), true));
        if let Some(kept) = except.as_ref().and_then(|sid| self.sessions.get_mut(sid)) {
            kept.generation = self.generation;
            self.highest = self.generation;
        }
        let generation = self.generation;
        self.log.push(Revocation::Subject { subject: subject.into(), generation, except: except.map(SessionId::from) });
        ensure(reply.found == found, || format!("that any was to be found is {found}"))
    }

    fn sessions(&self, earliest: Timestamp, listed: &[SessionRecord], latest: Timestamp) -> Verdict {
        let expected: BTreeMap<_, _> = self.live(earliest).into_iter().map(|sid| (sid, self.record(sid))).collect();
        let still = self.live(latest);
        for record in listed {
            ensure(expected.get(&record.sid.to_string()) == Some(record), || {
                format!("expected was one of {expected:?}")
            })?;
        }
        let all = still.iter().all(|sid| listed.iter().any(|record| record.sid == sid.as_str()));
        ensure(all, || format!("some are missing: {still:?}"))
    }

    fn record(&self, sid: &str) -> SessionRecord {
        let session = &self.sessions[sid];
        let mut record = SessionRecord::new(sid.into(), session.opened_at, session.refresh_end, session.absolute_end);
        (record.last_rotated_at, record.label) = (session.rotated_at, session.label.clone());
        record
    }

    /// Revokes and logs a session in any state, known or not.
    fn end(&mut self, subject: &str, sid: &str, now: Timestamp) {
        let end = now.saturating_add(KEEP);
        let unknown = Session {
            generation: self.generation,
            opened_at: now,
            rotated_at: now,
            refresh_end: end,
            absolute_end: end,
            counter: 0,
            label: String::new(),
            revoked: None,
        };
        let session = self.sessions.entry(sid.to_owned()).or_insert(unknown);
        (session.revoked, session.refresh_end) = (Some(now), end);
        self.log.push(Revocation::Session { subject: subject.into(), sid: sid.into() });
    }
}

/// Returns the log entry that an answer names, which both stores must name.
fn logged(reply: &Revoked) -> Result<&Logged, String> {
    reply.logged.as_ref().ok_or_else(|| "the answer names no entry of the log".to_owned())
}

fn ensure(right: bool, expected: impl FnOnce() -> String) -> Verdict {
    if right { Ok(()) } else { Err(expected()) }
}

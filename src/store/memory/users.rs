//! The logic of the memory store: the effect of each call on the records of a user.
//!
//! [`MemoryStore`](super::MemoryStore) locks the user's records for the whole call, and passes the
//! time as `now`.

mod republish;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use super::log::{Appended, Log};
use crate::{
    clock::Timestamp,
    error::StoreError,
    ids::SessionId,
    store::{
        LogPosition, LogStamp, OpenSession, Opened, Page, Revocation, Revoked, RotateRefresh, Rotated, SessionPage,
        SessionRecord, SessionState, Successor,
    },
};

/// The maximum number of expired records that each change removes. A change adds fewer records than
/// this, so expired records do not pile up.
pub(super) const PRUNED_PER_CHANGE: usize = 8;
/// The longest expected duration of a login. A `revoke_all` that ends no session moves
/// [`User::revoked_at`] to `now` only if the old value is at least this old. Otherwise a caller who
/// repeats `revoke_all` could block all logins of the user.
const LONGEST_LOGIN: Duration = Duration::from_secs(10);
/// The number of sessions that the store reads for a page if the caller sets no limit.
const DEFAULT_PAGE: usize = 100;
/// The maximum number of sessions that the store reads for a page. The user's records are locked
/// during that time.
const LARGEST_PAGE: usize = 1000;
/// The start of the cursor of a page. The id of the last session that the store has read follows.
const CURSOR: &str = "after ";
/// The maximum number of sessions that `revoke_all` or a login reads, because the user's records
/// are locked during that time. A login reads up to `MOST_LOOKED_AT` if
/// [`OpenSession::max_sessions`] is above 100.
const LOOKED_AT: usize = 200;
const MOST_LOOKED_AT: usize = 1000;
/// The maximum number of sessions that one login evicts. The next logins evict the rest.
const EVICTED: usize = 100;
/// The number of sessions that each change removes from [`Shard::discarded`].
const DROPPED_PER_CHANGE: usize = 64;

/// The records of a part of the users. Each shard has its own lock.
#[derive(Default)]
pub(super) struct Shard {
    users: HashMap<Arc<str>, User>,
    expiries: Expiries,
    /// Indexes of sessions that `revoke_all` has ended. Each change removes only a few sessions
    /// from them, so that no change takes long.
    discarded: Vec<Index>,
}

/// A sorted index of sessions. A key is the time of the last rotation, the time of opening, and the
/// id.
type Index = BTreeSet<(Timestamp, Timestamp, Arc<str>)>;

/// A sorted index of the times at which [`Shard::prune`] reads a record. A rotation prolongs a
/// session, but does not change this index. `prune` later finds that the session is still alive,
/// and inserts its new end.
type Expiries = BTreeSet<(Timestamp, Arc<str>, Expiring)>;

/// A record that can expire. If several records of a user expire at the same time, the variant
/// `User` comes last, and [`Shard::prune`] removes it last.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
enum Expiring {
    Session(Arc<str>),
    Token(Arc<str>),
    User,
}

#[derive(Default)]
struct User {
    /// The user's generation (`g` in the Redis store). Sessions with a lower generation are
    /// revoked. Only [`Shard::end_all`] writes this field.
    generation: u64,
    /// The highest generation that any session of the user had (`o` in the Redis store).
    /// `revoke_all` sets a higher generation, even if the clock was set back.
    highest: u64,
    /// The time of the last `revoke_all` (`r` in the Redis store). The store refuses logins that
    /// began at or before this time.
    revoked_at: Option<Timestamp>,
    /// The last `revoke_all` (`e` in the Redis store).
    last_end: Option<EndOfAll>,
    /// The stamp of the last log entry about this user (`l` in the Redis store).
    last_revocation: Option<LogStamp>,
    /// The time from which on [`Shard::prune`] may remove this user.
    until: Timestamp,
    sessions: BTreeMap<Arc<str>, Session>,
    /// An index that contains all live sessions. It can also contain sessions that have expired or
    /// that `revoke_all` has ended.
    live: Index,
    tokens: HashMap<Arc<str>, RevokedToken>,
}

/// A `revoke_all` of a user, and the data of its log entry.
struct EndOfAll {
    at: Timestamp,
    sequence: u64,
    /// The session that the `revoke_all` did not end.
    except: Option<Arc<str>>,
    /// True if no session was opened after the `revoke_all`. Then only the session `except` can be
    /// alive.
    is_last: bool,
}

struct Session {
    generation: u64,
    opened_at: Timestamp,
    rotated_at: Timestamp,
    refresh_end: Timestamp,
    absolute_end: Timestamp,
    counter: u32,
    /// The time at which this session was revoked; `None` if it was not revoked, or only by
    /// `revoke_all`. The store keeps the record, so that it can answer `Revoked`.
    revoked_at: Option<Timestamp>,
    /// The sequence number of the revocation's log entry; zero before the revocation.
    sequence: u64,
    label: String,
    indexed: Timestamp,
}

struct RevokedToken {
    revoked_at: Timestamp,
    until: Timestamp,
    /// The sequence number of the revocation's log entry.
    sequence: u64,
    indexed: Timestamp,
}

impl Shard {
    pub(super) fn open(&mut self, open: OpenSession, now: Timestamp, log: &Log) -> Result<Opened, StoreError> {
        let keep = log.keep();
        if let Some(user) = self.users.get_mut(open.subject.as_str()) {
            // If the clock was set back after the last `revoke_all`, `revoked_at` is in the future.
            // The store then lowers it to `now`, because otherwise it would refuse all logins until
            // that time.
            user.revoked_at = user.revoked_at.map(|at| at.min(now));
            if user.revoked_at.zip(open.auth_time).is_some_and(|(revoked, began)| began <= revoked) {
                return Ok(Opened::Superseded { now });
            }
            if user.sessions.contains_key(open.sid.as_str()) {
                return Ok(Opened::Exists { now });
            }
        }
        let evicted = self.evict(&open, now, log)?;

        let (subject, user) = self.user(open.subject.as_str(), now.saturating_add(keep));
        let generation = now.as_millis().max(user.generation).max(user.highest);
        let absolute_end = later(now, open.absolute);
        let refresh_end = later(now, open.idle).min(absolute_end);
        let session = Session {
            generation,
            opened_at: now,
            rotated_at: now,
            refresh_end,
            absolute_end,
            counter: 0,
            revoked_at: None,
            sequence: 0,
            label: open.label,
            indexed: refresh_end,
        };
        let sid: Arc<str> = open.sid.as_str().into();
        user.highest = generation;
        user.until = user.until.max(refresh_end);
        let last_revocation = log.news(user.last_revocation, now);
        if let Some(last) = &mut user.last_end {
            last.is_last = false;
        }
        user.live.insert(session.place(&sid));
        user.sessions.insert(sid.clone(), session);
        self.expiries.insert((refresh_end, subject, Expiring::Session(sid)));
        Ok(Opened::Opened {
            now,
            generation,
            refresh_end,
            evicted: evicted.iter().map(|sid| SessionId::new(&**sid)).collect(),
            last_revocation,
        })
    }

    /// Ends the least recently used sessions, at most [`EVICTED`], so that the new session does not
    /// exceed `open.max_sessions`.
    fn evict(&mut self, open: &OpenSession, now: Timestamp, log: &Log) -> Result<Vec<Arc<str>>, StoreError> {
        let Some(max_sessions) = open.max_sessions else { return Ok(Vec::new()) };
        let cap = usize::try_from(max_sessions.get()).unwrap_or(usize::MAX);
        let Some((subject, _)) = self.users.get_key_value(open.subject.as_str()) else { return Ok(Vec::new()) };
        let subject = subject.clone();
        let Some(user) = self.users.get_mut(&subject) else { return Ok(Vec::new()) };
        let looked_at = cap.saturating_add(EVICTED).clamp(LOOKED_AT, MOST_LOOKED_AT);
        let (live, gone): (Vec<_>, Vec<_>) =
            user.live.iter().take(looked_at).cloned().partition(|(.., sid)| user.is_alive(sid, now));
        for place in &gone {
            user.live.remove(place);
        }
        // If `cap` is above 900, `looked_at` is too low to count the live sessions. The store then
        // uses the length of the index, which may include expired sessions.
        let count = if cap.saturating_add(EVICTED) > MOST_LOOKED_AT { user.live.len() } else { live.len() };
        let excess = count.saturating_add(1).saturating_sub(cap).min(EVICTED);
        let evicted: Vec<Arc<str>> = live.into_iter().take(excess).map(|(.., sid)| sid).collect();
        if evicted.is_empty() {
            return Ok(evicted);
        }

        let until = now.saturating_add(log.keep());
        let entries = evicted.iter().map(|sid| (session_revocation(open.subject.as_str(), sid), until)).collect();
        let Appended { position, stamp } = log.append_all(now, entries)?;
        user.last_revocation = Some(stamp);
        let first = position.sequence.saturating_sub(evicted.len() as u64);
        for (sequence, sid) in (first.saturating_add(1)..).zip(&evicted) {
            self.bury(&subject, sid, sequence, now, log.keep());
        }
        Ok(evicted)
    }

    pub(super) fn check(&self, subject: &str, sid: &str, jti: &str, now: Timestamp) -> SessionState {
        let Some(user) = self.users.get(subject) else { return SessionState::Unknown };
        let token = user.tokens.get(jti).filter(|token| now < token.until);
        let revoked_token = token.map(|token| SessionState::Revoked { at: Some(token.revoked_at) });
        let Some(session) = user.sessions.get(sid) else {
            return revoked_token.unwrap_or(SessionState::Unknown);
        };
        if let Some(at) = user.death_of(session) {
            return SessionState::Revoked { at: Some(at) };
        }
        revoked_token.unwrap_or(if now < session.refresh_end {
            SessionState::Active {
                generation: session.generation,
                counter: session.counter,
                refresh_end: session.refresh_end,
            }
        } else {
            SessionState::Expired
        })
    }

    pub(super) fn rotate(&mut self, rotate: &RotateRefresh, now: Timestamp, log: &Log) -> Result<Rotated, StoreError> {
        let Some(user) = self.users.get_mut(rotate.subject.as_str()) else { return Ok(Rotated::Unknown { now }) };
        let Some((sid, session)) = user.sessions.get_key_value(rotate.sid.as_str()) else {
            return Ok(Rotated::Unknown { now });
        };
        let sid = sid.clone();
        if let Some(at) = user.death_of(session) {
            return Ok(Rotated::Revoked { now, at: Some(at) });
        }
        if session.refresh_end <= now {
            return Ok(Rotated::Expired { now });
        }
        let last_revocation = log.news(user.last_revocation, now);
        let Some(session) = user.sessions.get_mut(rotate.sid.as_str()) else { return Ok(Rotated::Unknown { now }) };

        let next = rotate.counter.checked_add(1);
        let in_grace = now.saturating_since(session.rotated_at) < rotate.grace;
        if next == Some(session.counter) && in_grace {
            return Ok(Rotated::Replayed(session.successor(now, last_revocation)));
        }
        if let Some(next) = next
            && rotate.counter >= session.counter
        {
            user.live.remove(&session.place(&sid));
            session.counter = next;
            session.rotated_at = now;
            user.live.insert(session.place(&sid));
            session.refresh_end = later(now, rotate.idle).min(session.absolute_end);
            user.until = user.until.max(session.refresh_end);
            return Ok(Rotated::Rotated(session.successor(now, last_revocation)));
        }
        // The refresh token was used before, or its counter is `u32::MAX` and has no successor. In
        // both cases the session ends.
        self.revoke_session(rotate.subject.as_str(), rotate.sid.as_str(), now, log)?;
        Ok(Rotated::Reused { now })
    }

    pub(super) fn revoke_session(
        &mut self,
        subject: &str,
        sid: &str,
        now: Timestamp,
        log: &Log,
    ) -> Result<Revoked, StoreError> {
        let keep = log.keep();
        let revocation = session_revocation(subject, sid);
        let known = self.users.get(subject).and_then(|user| Some((user, user.sessions.get_key_value(sid)?)));
        if let Some((user, (_, session))) = known {
            if let Some(at) = session.revoked_at {
                return Ok(unchanged(now, revocation, later(at, keep), Some(session.sequence), log));
            }
            if session.generation < user.generation
                && let Some(last) = &user.last_end
            {
                return Ok(unchanged(now, user.last_revocation(subject), later(now, keep), Some(last.sequence), log));
            }
        }
        let known = known.map(|(user, (sid, session))| (sid.clone(), session.is_live(user.generation, now)));
        let until = later(now, keep);
        let Appended { position, stamp } = log.append(now, revocation.clone(), until)?;
        let found = if let Some((sid, is_live)) = known {
            let (subject, _) = self.user(subject, until);
            self.bury(&subject, &sid, position.sequence, now, keep);
            is_live
        } else {
            self.bury_unknown(subject, sid, position.sequence, now, keep);
            false
        };
        self.user(subject, until).1.last_revocation = Some(stamp);
        Ok(log.revoked(now, found, revocation, until, position))
    }

    pub(super) fn revoke_token(
        &mut self,
        subject: &str,
        jti: &str,
        wanted: Timestamp,
        now: Timestamp,
        log: &Log,
    ) -> Result<Revoked, StoreError> {
        let wanted = wanted.min(Timestamp::END_OF_TIME);
        let revocation = Revocation::Token { subject: subject.into(), jti: jti.into() };
        if wanted <= now {
            return Ok(unchanged(now, revocation, wanted, None, log));
        }
        let known = self.users.get(subject).and_then(|user| user.tokens.get(jti));
        if let Some(known) = known.filter(|known| wanted <= known.until) {
            return Ok(unchanged(now, revocation, known.until, Some(known.sequence), log));
        }
        let found = known.is_none_or(|known| known.until <= now);
        // The revocation lasts at least as long as the log keeps entries, because another node may
        // accept the token for longer than the caller does.
        let until = wanted.max(later(now, log.keep()));
        let Appended { position, stamp } = log.append(now, revocation.clone(), until)?;
        let sequence = position.sequence;
        let (subject, user) = self.user(subject, until);
        user.last_revocation = Some(stamp);
        if let Some(known) = user.tokens.get_mut(jti) {
            (known.until, known.sequence) = (until, sequence);
        } else {
            let jti: Arc<str> = jti.into();
            user.tokens.insert(jti.clone(), RevokedToken { revoked_at: now, until, sequence, indexed: until });
            self.expiries.insert((until, subject, Expiring::Token(jti)));
        }
        Ok(log.revoked(now, found, revocation, until, position))
    }

    pub(super) fn revoke_all(
        &mut self,
        subject: &str,
        except: Option<&str>,
        now: Timestamp,
        log: &Log,
    ) -> Result<Revoked, StoreError> {
        let until = later(now, log.keep());
        if let Some(user) = self.users.get_mut(subject)
            && let Some(last) = user.last_end.as_ref().filter(|last| last.is_last)
            && last.except.as_deref().is_none_or(|kept| Some(kept) == except || !user.is_alive(kept, now))
        {
            let (sequence, revocation) = (last.sequence, user.last_revocation(subject));
            if user.revoked_at.is_none_or(|at| LONGEST_LOGIN <= now.saturating_since(at)) {
                user.revoked_at = Some(now);
                user.until = user.until.max(until);
            }
            return Ok(unchanged(now, revocation, until, Some(sequence), log));
        }
        let user = self.users.get(subject);
        let (old, highest) = user.map_or((0, 0), |user| (user.generation, user.highest));
        let generation = old.max(highest).max(now.as_millis()).saturating_add(1);
        // If the excepted session has ended, the log entry must not contain it. Otherwise the nodes
        // would accept its tokens again.
        let except = except.filter(|sid| user.is_some_and(|user| user.is_alive(sid, now)));
        // The store reads at most `LOOKED_AT` sessions, because reading all of them could take
        // long. If there are more, one of them is probably alive, so `found` is true.
        let found = user.is_some_and(|user| {
            let mut first = user.live.iter().take(LOOKED_AT);
            user.live.len() > LOOKED_AT || first.any(|(.., sid)| Some(&**sid) != except && user.is_alive(sid, now))
        });
        let (revocation, position) = self.end_all(subject, generation, except, true, now, log)?;
        if let Some(user) = self.users.get_mut(subject) {
            user.revoked_at = Some(now);
        }
        Ok(log.revoked(now, found, revocation, until, position))
    }

    /// Ends all sessions of the user with a generation below `generation`, except the live session
    /// `except`. `is_last` is true if no other session stays alive.
    fn end_all(
        &mut self,
        subject: &str,
        generation: u64,
        except: Option<&str>,
        is_last: bool,
        now: Timestamp,
        log: &Log,
    ) -> Result<(Revocation, LogPosition), StoreError> {
        let until = later(now, log.keep());
        let revocation =
            Revocation::Subject { subject: subject.into(), generation, except: except.map(SessionId::from) };
        let Appended { position, stamp } = log.append(now, revocation.clone(), until)?;
        let (_, user) = self.user(subject, until);
        user.generation = generation;
        user.last_revocation = Some(stamp);
        user.last_end =
            Some(EndOfAll { at: now, sequence: position.sequence, except: except.map(Into::into), is_last });
        let ended = if is_last { std::mem::take(&mut user.live) } else { Index::new() };
        let kept = except.and_then(|sid| Some((user.sessions.get_key_value(sid)?.0.clone(), sid)));
        if let Some((name, sid)) = kept
            && let Some(kept) = user.sessions.get_mut(sid)
        {
            kept.generation = kept.generation.max(generation);
            user.highest = user.highest.max(kept.generation);
            user.live.insert(kept.place(&name));
        }
        self.discarded.push(ended);
        Ok((revocation, position))
    }

    pub(super) fn sessions(&self, subject: &str, page: &Page, now: Timestamp) -> SessionPage {
        let Some(user) = self.users.get(subject) else { return SessionPage::default() };
        let limit = match usize::try_from(page.limit) {
            Ok(0) => DEFAULT_PAGE,
            Ok(limit) => limit.min(LARGEST_PAGE),
            Err(_) => LARGEST_PAGE,
        };
        let after = page.cursor.as_deref().and_then(|cursor| cursor.strip_prefix(CURSOR));
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = user.sessions.range::<str, _>((start, Bound::Unbounded));
        let (mut sessions, mut last) = (Vec::new(), None);
        for (sid, session) in rest.by_ref().take(limit) {
            last = Some(sid);
            if session.is_live(user.generation, now) {
                sessions.push(session.record(sid));
            }
        }
        let next = rest.next().and(last).map(|sid| format!("{CURSOR}{sid}"));
        SessionPage { sessions, next }
    }

    /// Removes a few records that have expired.
    pub(super) fn prune(&mut self, now: Timestamp) {
        if let Some(discarded) = self.discarded.last_mut() {
            (0..DROPPED_PER_CHANGE).for_each(|_| drop(discarded.pop_first()));
            self.discarded.pop_if(|discarded| discarded.is_empty());
        }
        for _ in 0..PRUNED_PER_CHANGE {
            if self.expiries.first().is_none_or(|(due, ..)| now < *due) {
                return;
            }
            let Some((_, subject, expiring)) = self.expiries.pop_first() else { return };
            let Some(user) = self.users.get_mut(&subject) else { continue };
            let later = match &expiring {
                Expiring::Session(sid) => user.sessions.get_mut(sid).and_then(|session| {
                    session.indexed = session.refresh_end;
                    Some(session.indexed).filter(|due| now < *due)
                }),
                Expiring::Token(jti) => user.tokens.get_mut(jti).and_then(|token| {
                    token.indexed = token.until;
                    Some(token.indexed).filter(|due| now < *due)
                }),
                Expiring::User => Some(user.until).filter(|due| now < *due),
            };
            if let Some(due) = later {
                self.expiries.insert((due, subject, expiring));
                continue;
            }
            match &expiring {
                Expiring::Session(sid) => {
                    if let Some(session) = user.sessions.remove(sid) {
                        user.live.remove(&session.place(sid));
                    }
                }
                Expiring::Token(jti) => drop(user.tokens.remove(jti)),
                // The user's other records end at `until` or earlier, and `prune` has removed them
                // before.
                Expiring::User => drop(self.users.remove(&subject)),
            }
        }
    }

    /// Returns the records of a user, and creates an empty user if there is none. The store keeps
    /// the user at least until `until`.
    fn user(&mut self, subject: &str, until: Timestamp) -> (Arc<str>, &mut User) {
        let name = match self.users.get_key_value(subject) {
            Some((name, _)) => name.clone(),
            None => subject.into(),
        };
        let user = self.users.entry(name.clone()).or_insert_with(|| {
            self.expiries.insert((until, name.clone(), Expiring::User));
            User::default()
        });
        user.until = user.until.max(until);
        (name, user)
    }

    /// Creates the record of a revoked session that the store did not know. If the caller repeats
    /// the revocation, the store finds this record and changes nothing.
    fn bury_unknown(&mut self, subject: &str, sid: &str, sequence: u64, now: Timestamp, keep: Duration) {
        let end = later(now, keep);
        let (subject, user) = self.user(subject, end);
        let sid: Arc<str> = sid.into();
        let ended = Session {
            generation: user.generation,
            opened_at: now,
            rotated_at: now,
            refresh_end: end,
            absolute_end: end,
            counter: 0,
            revoked_at: Some(now),
            sequence,
            label: String::new(),
            indexed: end,
        };
        user.sessions.insert(sid.clone(), ended);
        self.expiries.insert((end, subject, Expiring::Session(sid)));
    }

    /// Marks the record of a session as revoked, and keeps the record for `keep`. Does nothing if
    /// it was marked before.
    fn bury(&mut self, subject: &Arc<str>, sid: &Arc<str>, sequence: u64, now: Timestamp, keep: Duration) {
        let Some(user) = self.users.get_mut(subject) else { return };
        let Some(session) = user.sessions.get_mut(sid) else { return };
        if session.revoked_at.is_some() {
            return;
        }
        let end = later(now, keep);
        user.live.remove(&session.place(sid));
        session.revoked_at = Some(now);
        session.sequence = sequence;
        session.label = String::new();
        session.absolute_end = end;
        session.refresh_end = end;
        user.until = user.until.max(end);
        // If the new end is earlier than the old end, the index must contain the new end now. If
        // the new end is later, `prune` corrects the index.
        if end < session.indexed {
            let expiring = Expiring::Session(sid.clone());
            self.expiries.remove(&(session.indexed, subject.clone(), expiring.clone()));
            session.indexed = end;
            self.expiries.insert((end, subject.clone(), expiring));
        }
    }
}

impl User {
    /// Returns the time at which the session was revoked, alone or by `revoke_all`; `None` if it
    /// was not revoked.
    fn death_of(&self, session: &Session) -> Option<Timestamp> {
        let last = self.last_end.as_ref().filter(|_| session.generation < self.generation);
        session.revoked_at.or_else(|| last.map(|last| last.at))
    }

    fn is_alive(&self, sid: &str, now: Timestamp) -> bool {
        self.sessions.get(sid).is_some_and(|session| session.is_live(self.generation, now))
    }

    /// Returns the user's last `revoke_all`, as the log entry contains it.
    fn last_revocation(&self, subject: &str) -> Revocation {
        let except = self.last_end.as_ref().and_then(|last| last.except.as_deref());
        Revocation::Subject {
            subject: subject.into(),
            generation: self.generation,
            except: except.map(SessionId::from),
        }
    }
}

impl Session {
    /// Returns the key of this session in the index of live sessions.
    fn place(&self, sid: &Arc<str>) -> (Timestamp, Timestamp, Arc<str>) {
        (self.rotated_at, self.opened_at, sid.clone())
    }

    /// Returns true if the session is alive. `generation` is the generation of the user.
    fn is_live(&self, generation: u64, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.generation >= generation && now < self.refresh_end
    }

    fn successor(&self, now: Timestamp, last_revocation: Option<LogStamp>) -> Successor {
        Successor {
            counter: self.counter,
            generation: self.generation,
            issued_at: self.rotated_at,
            refresh_end: self.refresh_end,
            now,
            last_revocation,
        }
    }

    fn record(&self, sid: &str) -> SessionRecord {
        SessionRecord {
            sid: sid.into(),
            opened_at: self.opened_at,
            last_rotated_at: self.rotated_at,
            expires_at: self.refresh_end,
            absolute_end: self.absolute_end,
            label: self.label.clone(),
        }
    }
}

/// Builds the answer to a revocation that changes nothing. The answer contains the position of the
/// log entry `sequence`. If `sequence` is `None`, it contains the position of the newest entry.
fn unchanged(now: Timestamp, revocation: Revocation, until: Timestamp, sequence: Option<u64>, log: &Log) -> Revoked {
    log.revoked(now, false, revocation, until, log.position(sequence))
}

/// Returns the time after `duration`, at most [`Timestamp::END_OF_TIME`].
pub(super) fn later(now: Timestamp, duration: Duration) -> Timestamp {
    now.saturating_add(duration).min(Timestamp::END_OF_TIME)
}

fn session_revocation(subject: &str, sid: &str) -> Revocation {
    Revocation::Session { subject: subject.into(), sid: sid.into() }
}

#[cfg(test)]
mod tests;

//! A store of sessions in an `SQLite` file, as a starting point for your own store.
//!
//! The services of one machine share the file. The store has no revocation log, so the service asks
//! the store at each request ([`Consistency::Strong`](tower_bearer::Consistency::Strong)). The test
//! `store::sqlite` runs the conformance suite on this store.
//!
//! The store meets the contract of [`SessionStore`] as follows:
//!
//! * Each method is one transaction. A transaction that writes begins with the lock of the file
//!   (`BEGIN IMMEDIATE`). So all changes happen one after another, in the order of their times.
//! * All work runs on a blocking thread, at most one per store. Each call has a deadline, which
//!   also limits the wait for the file's lock.
//! * A revoked session keeps its row, so that nobody can open the session again.
//! * If a row is unreadable, the call returns an error (`Untrusted`).

use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Params, Row, Transaction, TransactionBehavior, params};
use tokio::sync::Mutex;
use tower_bearer::{
    SessionId, Subject, TokenId,
    clock::{Clock, SystemClock, Timestamp},
    error::{StoreError, StoreErrorKind},
    store::{
        Answer, Checked, OpenSession, Opened, Page, Revoked, RotateRefresh, Rotated, SessionPage, SessionRecord,
        SessionState, SessionStore, StoreAnswer, Successor,
    },
};

/// The tables. Times are milliseconds since the Unix epoch. A later change removes a row after its
/// `keep_until`.
///
/// With the write-ahead log (`WAL`), readers and the writer do not wait for each other.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 0), last_change INTEGER NOT NULL) STRICT;
    INSERT OR IGNORE INTO clock VALUES (0, 0);
    CREATE TABLE IF NOT EXISTS users (
        subject TEXT PRIMARY KEY, generation INTEGER NOT NULL, revoked_at INTEGER, keep_until INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS sessions (
        subject TEXT NOT NULL, sid TEXT NOT NULL, generation INTEGER NOT NULL, counter INTEGER NOT NULL,
        opened_at INTEGER NOT NULL, rotated_at INTEGER NOT NULL, refresh_end INTEGER NOT NULL,
        absolute_end INTEGER NOT NULL, revoked_at INTEGER, label TEXT NOT NULL, keep_until INTEGER NOT NULL,
        PRIMARY KEY (subject, sid)) STRICT;
    CREATE TABLE IF NOT EXISTS tokens (
        subject TEXT NOT NULL, jti TEXT NOT NULL, revoked_at INTEGER NOT NULL, keep_until INTEGER NOT NULL,
        PRIMARY KEY (subject, jti)) STRICT;
    CREATE INDEX IF NOT EXISTS live ON sessions (subject, rotated_at, opened_at) WHERE revoked_at IS NULL;
    CREATE INDEX IF NOT EXISTS users_end ON users (keep_until);
    CREATE INDEX IF NOT EXISTS sessions_end ON sessions (keep_until);
    CREATE INDEX IF NOT EXISTS tokens_end ON tokens (keep_until);
    COMMIT;";
/// The shortest time for which the store keeps the row of a revoked session. Without the row, the
/// session is unknown, and a service refuses its tokens as well.
const KEEP: Duration = Duration::from_secs(3600);
/// The time for which a repeated `revoke_all` without new sessions changes nothing. The store
/// refuses logins that began before the last change. So quick repetitions could otherwise block
/// all logins of a user.
const LONGEST_LOGIN: Duration = Duration::from_secs(10);
/// The largest setback of the system clock that the store bridges. Until the clock has caught up,
/// the store uses the time of its last change. After a larger setback, it follows the clock.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The maximum number of sessions that one login evicts. The next logins evict the rest.
const MOST_EVICTED: usize = 100;

/// A store of sessions in an `SQLite` file. The store has one connection, so it answers one call at
/// a time.
#[derive(Debug)]
pub(crate) struct SqliteStore {
    path: Arc<Path>,
    deadline: Duration,
    /// The connection. `None` after a call that failed: the next call opens another connection.
    connection: Arc<Mutex<Option<Connection>>>,
}

impl SqliteStore {
    /// Opens the file, or creates it. Each call ends within `deadline`.
    pub(crate) fn open(path: impl AsRef<Path>, deadline: Duration) -> Result<Self, StoreError> {
        let path: Arc<Path> = path.as_ref().into();
        let connection = connect(&path, deadline).map_err(store_error)?;
        connection.execute_batch(SCHEMA).map_err(store_error)?;
        Ok(Self { path, deadline, connection: Arc::new(Mutex::new(Some(connection))) })
    }

    /// Runs a change in one transaction. Rejects ids that are empty or longer than 255 bytes,
    /// because no token has such ids.
    fn write<T: Send + 'static>(&self, lengths: [usize; 2], work: impl Work<T>) -> StoreAnswer<T> {
        if lengths.iter().all(|length| (1..=255).contains(length)) {
            return self.call(TransactionBehavior::Immediate, work);
        }
        Answer::Ready(Err(StoreError::new(StoreErrorKind::Rejected).with_source("an id is not 1 to 255 bytes long")))
    }

    /// Runs `work` in one transaction on a blocking thread, within the deadline.
    fn call<T: Send + 'static>(&self, behavior: TransactionBehavior, work: impl Work<T>) -> StoreAnswer<T> {
        let (path, deadline, connection) = (self.path.clone(), self.deadline, self.connection.clone());
        Answer::pending(async move {
            let call = async move {
                let mut slot = connection.lock_owned().await;
                // The work runs to its end even if the caller drops the answer.
                let task = tokio::task::spawn_blocking(move || {
                    let mut connection = slot.take().map_or_else(|| connect(&path, deadline), Ok)?;
                    let answer = transact(&mut connection, behavior, work)?;
                    *slot = Some(connection);
                    Ok(answer)
                });
                task.await
                    .map_err(|error| StoreError::new(StoreErrorKind::Unavailable).with_source(error))?
                    .map_err(store_error)
            };
            // After a timeout, the store may or may not have made the change.
            let late = |_| Err(StoreError::new(StoreErrorKind::Timeout));
            tokio::time::timeout(deadline, call).await.unwrap_or_else(late)
        })
    }
}

/// The work of one call. The parameters are the transaction and the time of the call.
trait Work<T>: FnOnce(&Transaction<'_>, Timestamp) -> rusqlite::Result<T> + Send + 'static {}

impl<T, F: FnOnce(&Transaction<'_>, Timestamp) -> rusqlite::Result<T> + Send + 'static> Work<T> for F {}

fn connect(path: &Path, deadline: Duration) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(deadline)?;
    // With `FULL`, a confirmed revocation survives a power failure.
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Runs `work` in one transaction. After a change, also removes some rows that are no longer
/// needed.
fn transact<T>(connection: &mut Connection, behavior: TransactionBehavior, work: impl Work<T>) -> rusqlite::Result<T> {
    let tx = connection.transaction_with_behavior(behavior)?;
    let before = tx.total_changes();
    // Reads the clock before the first query. A reader's snapshot begins at that query, so the
    // snapshot contains every change from before the time `system`.
    let system = SystemClock.now();
    let last = tx.query_row("SELECT last_change FROM clock", [], |row| time(row, "last_change"))?;
    let now = if last.saturating_since(system) < LONGEST_WAIT { system.max(last) } else { system };
    let answer = work(&tx, now)?;
    if tx.total_changes() != before {
        run(&tx, "UPDATE clock SET last_change = ?1", [now.as_millis()])?;
        // Removes more rows than a change adds, so the tables do not grow for ever.
        for table in ["users", "sessions", "tokens"] {
            let old = format!("SELECT rowid FROM {table} WHERE keep_until <= ?1 LIMIT 8");
            run(&tx, &format!("DELETE FROM {table} WHERE rowid IN ({old})"), [now.as_millis()])?;
        }
    }
    tx.commit()?;
    Ok(answer)
}

/// Runs a statement that changes rows, and returns their count.
fn run(tx: &Transaction<'_>, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    tx.prepare_cached(sql)?.execute(params)
}

fn store_error(error: rusqlite::Error) -> StoreError {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreErrorKind::Timeout,
        Some(ErrorCode::DiskFull) => StoreErrorKind::OutOfMemory,
        // An error without a code means: a value has a type or range that this store never writes.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => StoreErrorKind::Untrusted,
        Some(_) => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind).with_source(error)
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

/// Returns the time `duration` after `now`, at most `END_OF_TIME`.
fn later(now: Timestamp, duration: Duration) -> Timestamp {
    now.saturating_add(duration).min(Timestamp::END_OF_TIME)
}

struct Session {
    generation: u64,
    counter: u32,
    revoked_at: Option<Timestamp>,
    record: SessionRecord,
}

impl Session {
    fn find(tx: &Transaction<'_>, subject: &Subject, sid: &SessionId) -> rusqlite::Result<Option<Self>> {
        let mut statement = tx.prepare_cached("SELECT * FROM sessions WHERE subject = ?1 AND sid = ?2")?;
        statement.query_row([subject.as_str(), sid.as_str()], Self::read).optional()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let sid = SessionId::new(row.get::<_, String>("sid")?);
        let (opened_at, end) = (time(row, "opened_at")?, time(row, "refresh_end")?);
        let mut record = SessionRecord::new(sid, opened_at, end, time(row, "absolute_end")?);
        (record.last_rotated_at, record.label) = (time(row, "rotated_at")?, row.get("label")?);
        let revoked_at = row.get::<_, Option<u64>>("revoked_at")?.map(Timestamp::from_millis);
        Ok(Self { generation: row.get("generation")?, counter: row.get("counter")?, revoked_at, record })
    }

    fn successor(&self, now: Timestamp) -> Successor {
        let mut successor = Successor::new(self.counter, self.generation, now, self.record.expires_at);
        successor.issued_at = self.record.last_rotated_at;
        successor
    }
}

/// Marks a session as revoked. Its row stays until the session's end, and for at least [`KEEP`].
fn revoke(tx: &Transaction<'_>, subject: &Subject, sid: &SessionId, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE sessions SET revoked_at = ?3, label = '', keep_until = max(keep_until, ?4)
               WHERE subject = ?1 AND sid = ?2";
    let keep = later(now, KEEP).as_millis();
    run(tx, sql, params![subject.as_str(), sid.as_str(), now.as_millis(), keep]).map(drop)
}

/// Revokes the least recently used sessions, until there is room for one more.
fn evict(tx: &Transaction<'_>, subject: &Subject, cap: NonZeroU32, now: Timestamp) -> rusqlite::Result<Vec<SessionId>> {
    let sql = "SELECT sid FROM sessions WHERE subject = ?1 AND revoked_at IS NULL AND refresh_end > ?2
               ORDER BY rotated_at DESC, opened_at DESC LIMIT -1 OFFSET ?3";
    let key = params![subject.as_str(), now.as_millis(), cap.get() - 1];
    let excess: Vec<String> = tx.prepare_cached(sql)?.query_map(key, |row| row.get(0))?.collect::<Result<_, _>>()?;
    let evicted: Vec<_> = excess.into_iter().rev().take(MOST_EVICTED).map(SessionId::new).collect();
    evicted.iter().try_for_each(|sid| revoke(tx, subject, sid, now))?;
    Ok(evicted)
}

/// Returns the generation of a user, and the time of the last `revoke_all`. The store refuses
/// logins that began before this time.
fn user(tx: &Transaction<'_>, subject: &Subject) -> rusqlite::Result<(u64, Option<Timestamp>)> {
    let sql = "SELECT generation, revoked_at FROM users WHERE subject = ?1";
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, Option<u64>>(1)?.map(Timestamp::from_millis)));
    Ok(tx.prepare_cached(sql)?.query_row([subject.as_str()], read).optional()?.unwrap_or_default())
}

impl SessionStore for SqliteStore {
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
        self.write([open.subject.as_str().len(), open.sid.as_str().len()], move |tx, now| {
            let (subject, sid) = (&open.subject, &open.sid);
            let (highest, revoked_at) = user(tx, subject)?;
            if open.auth_time.zip(revoked_at).is_some_and(|(began, revoked)| began <= revoked) {
                return Ok(Opened::Superseded { now });
            }
            if Session::find(tx, subject, sid)?.is_some() {
                return Ok(Opened::Exists { now });
            }
            let evicted = open.max_sessions.map_or(Ok(Vec::new()), |cap| evict(tx, subject, cap, now))?;
            // Generations must rise. The clock ensures this even if the user's row was removed.
            let generation = highest.max(now.as_millis());
            let absolute_end = later(now, open.absolute);
            let refresh_end = later(now, open.idle).min(absolute_end);
            let sql = "INSERT INTO sessions VALUES (?1, ?2, ?3, 0, ?4, ?4, ?5, ?6, NULL, ?7, ?5)";
            let ends = (refresh_end.as_millis(), absolute_end.as_millis());
            let (subject, sid) = (subject.as_str(), sid.as_str());
            run(tx, sql, params![subject, sid, generation, now.as_millis(), ends.0, ends.1, open.label])?;
            let sql = "INSERT INTO users VALUES (?1, ?2, NULL, ?3)
                       ON CONFLICT DO UPDATE SET generation = ?2, keep_until = ?3";
            run(tx, sql, params![subject, generation, later(now, KEEP).as_millis()])?;
            Ok(Opened::Opened { now, generation, refresh_end, evicted, last_revocation: None })
        })
    }

    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked> {
        let (subject, sid, jti) = (subject.clone(), sid.clone(), jti.clone());
        self.call(TransactionBehavior::Deferred, move |tx, now| {
            let sql = "SELECT revoked_at FROM tokens WHERE subject = ?1 AND jti = ?2 AND keep_until > ?3";
            let key = params![subject.as_str(), jti.as_str(), now.as_millis()];
            let token_revoked = tx.prepare_cached(sql)?.query_row(key, |row| time(row, "revoked_at")).optional()?;
            let session = Session::find(tx, &subject, &sid)?;
            let revoked_at = session.as_ref().and_then(|session| session.revoked_at).or(token_revoked);
            let state = match (revoked_at, session) {
                (Some(at), _) => SessionState::Revoked { at: Some(at) },
                (None, None) => SessionState::Unknown,
                (None, Some(session)) if session.record.expires_at <= now => SessionState::Expired,
                (None, Some(Session { generation, counter, record, .. })) => {
                    SessionState::Active { generation, counter, refresh_end: record.expires_at }
                }
            };
            Ok(Checked::new(now, state))
        })
    }

    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
        self.write([rotate.subject.as_str().len(), rotate.sid.as_str().len()], move |tx, now| {
            let (subject, sid) = (&rotate.subject, &rotate.sid);
            let Some(mut session) = Session::find(tx, subject, sid)? else { return Ok(Rotated::Unknown { now }) };
            if let Some(at) = session.revoked_at {
                return Ok(Rotated::Revoked { now, at: Some(at) });
            }
            if session.record.expires_at <= now {
                return Ok(Rotated::Expired { now });
            }
            let next = rotate.counter.checked_add(1);
            if next == Some(session.counter) && now.saturating_since(session.record.last_rotated_at) < rotate.grace {
                return Ok(Rotated::Replayed(session.successor(now)));
            }
            let Some(next) = next.filter(|_| session.counter <= rotate.counter) else {
                // Either this is a reuse. Or the counter is at its maximum, and the store could not
                // detect a later reuse.
                revoke(tx, subject, sid, now)?;
                return Ok(Rotated::Reused { now });
            };
            session.counter = next;
            session.record.last_rotated_at = now;
            session.record.expires_at = later(now, rotate.idle).min(session.record.absolute_end);
            let sql = "UPDATE sessions SET counter = ?3, rotated_at = ?4, refresh_end = ?5, keep_until = ?5
                       WHERE subject = ?1 AND sid = ?2";
            let end = session.record.expires_at.as_millis();
            run(tx, sql, params![subject.as_str(), sid.as_str(), next, now.as_millis(), end])?;
            Ok(Rotated::Rotated(session.successor(now)))
        })
    }

    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked> {
        let (subject, sid) = (subject.clone(), sid.clone());
        self.write([subject.as_str().len(), sid.as_str().len()], move |tx, now| {
            let session = Session::find(tx, &subject, &sid)?;
            if session.as_ref().is_some_and(|session| session.revoked_at.is_some()) {
                return Ok(Revoked::new(now, false));
            }
            // If the session has no row, inserts a revoked row, so that nobody can open the session
            // later. A row can be missing while tokens of its session are still valid.
            let sql = "INSERT OR IGNORE INTO sessions VALUES (?1, ?2, 0, 0, ?3, ?3, ?3, ?3, NULL, '', ?3)";
            run(tx, sql, params![subject.as_str(), sid.as_str(), now.as_millis()])?;
            revoke(tx, &subject, &sid, now)?;
            Ok(Revoked::new(now, session.is_some_and(|session| now < session.record.expires_at)))
        })
    }

    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked> {
        let (subject, jti, until) = (subject.clone(), jti.clone(), until.min(Timestamp::END_OF_TIME));
        self.write([subject.as_str().len(), jti.as_str().len()], move |tx, now| {
            let sql = "SELECT keep_until FROM tokens WHERE subject = ?1 AND jti = ?2";
            let key = [subject.as_str(), jti.as_str()];
            let known = tx.prepare_cached(sql)?.query_row(key, |row| time(row, "keep_until")).optional()?;
            // A repeated revocation can only extend the time for which the row is kept.
            if until <= now || known.is_some_and(|known| until <= known) {
                return Ok(Revoked::new(now, false));
            }
            let sql = "INSERT INTO tokens VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET keep_until = ?4";
            run(tx, sql, params![subject.as_str(), jti.as_str(), now.as_millis(), until.as_millis()])?;
            Ok(Revoked::new(now, known.is_none_or(|known| known <= now)))
        })
    }

    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked> {
        let (subject, except) = (subject.clone(), except.cloned());
        self.write([subject.as_str().len(), except.as_ref().map_or(1, |sid| sid.as_str().len())], move |tx, now| {
            let (except, keep) = (except.as_ref().map(SessionId::as_str), later(now, KEEP).as_millis());
            let sql = "UPDATE sessions SET revoked_at = ?3, label = '', keep_until = max(keep_until, ?4)
                       WHERE subject = ?1 AND sid IS NOT ?2 AND revoked_at IS NULL AND refresh_end > ?3";
            let found = run(tx, sql, params![subject.as_str(), except, now.as_millis(), keep])? > 0;
            let (highest, revoked_at) = user(tx, &subject)?;
            if found || revoked_at.is_none_or(|at| LONGEST_LOGIN <= now.saturating_since(at)) {
                let generation = highest.max(now.as_millis()).saturating_add(1);
                let sql = "INSERT INTO users VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT DO UPDATE SET generation = ?2, revoked_at = ?3, keep_until = ?4";
                run(tx, sql, params![subject.as_str(), generation, now.as_millis(), keep])?;
                let sql = "UPDATE sessions SET generation = ?3 WHERE subject = ?1 AND sid = ?2";
                run(tx, sql, params![subject.as_str(), except, generation])?;
            }
            Ok(Revoked::new(now, found))
        })
    }

    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage> {
        let subject = subject.clone();
        self.call(TransactionBehavior::Deferred, move |tx, now| {
            let limit = if page.limit == 0 { 100 } else { page.limit.min(1000) as usize };
            let after = page.cursor.as_deref().and_then(|cursor| cursor.strip_prefix("after ")).unwrap_or_default();
            let sql =
                "SELECT * FROM sessions WHERE subject = ?1 AND sid > ?2 AND revoked_at IS NULL AND refresh_end > ?3
                       ORDER BY sid LIMIT ?4";
            let mut statement = tx.prepare_cached(sql)?;
            let rows = statement.query_map(params![subject.as_str(), after, now.as_millis(), limit], Session::read)?;
            let sessions = rows.map(|row| row.map(|row| row.record)).collect::<Result<Vec<_>, _>>()?;
            let last = sessions.last().filter(|_| sessions.len() == limit);
            let next = last.map(|record| format!("after {}", record.sid));
            Ok(SessionPage::new(sessions, next))
        })
    }

    fn ping(&self) -> StoreAnswer<Timestamp> {
        self.call(TransactionBehavior::Deferred, |_, now| Ok(now))
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    fn name(&self) -> &'static str {
        "sqlite"
    }

    /// Returns 0, because no other server can replace a file.
    fn failover_bound(&self) -> Result<Duration, String> {
        Ok(Duration::ZERO)
    }
}

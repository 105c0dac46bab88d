//! A node that reads the log of the store in `model`. Pages may come late, twice or never. A check
//! of the promises follows each step.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::model::{Data, Meta, PAGE, START, Store, Token, at, ms, seconds};
use crate::{
    replica::{
        bucket::{Bucket, BucketConfig, Outcome, SessionNames},
        deny_set::{EntryKind, NameHasher},
        log_reader::{PendingBackRead, PendingRead},
        verdict::{Alive, TokenTimes, Verdict},
    },
    store::{LogPage, LogPosition, Revocation},
};

/// The staleness of the node.
pub(super) const STALENESS: u64 = 50;
const MAX_BYTES: usize = 1 << 20;
/// Maximum count of tokens in a test. A further token replaces the oldest one.
const TOKENS: usize = 24;

/// Makes the comparison of [`Replica::still_accepts`](crate::replica::Replica::still_accepts).
pub(super) fn still_accepts(bucket: &Bucket, note: &AtomicU64, now: impl FnOnce() -> u64) -> bool {
    bucket.data.is_current(note.load(Ordering::Relaxed), now)
}

/// One step of a test. An index wraps around the count of existing sessions, tokens or reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Open(u8),
    Mint(u8, u8),
    MintForeign(u8, u8),
    RevokeSession(u8),
    RevokeToken(u8),
    RevokeAll(u8, Option<u8>),
    RevokeForeign(u8),
    RevokeForeignToken(u8),
    /// This node itself makes a revocation.
    RevokeHere(u8),
    /// The node receives the store's confirmation of its oldest unconfirmed revocation.
    Confirm,
    /// This node requires the position of the last entry.
    RequireLast,
    Trim(u8),
    Remove(u8),
    TrimAll,
    LoseAll,
    Save,
    RollBack(u8),
    Grow(u8),
    /// The store's clock advances by seconds.
    Later(u8),
    /// The node's clock advances by milliseconds.
    Elapse(u8),
    /// The node asks the store about a request's token.
    Check(u8),
    Ask,
    /// The store begins to serve a read.
    Begin(u8),
    /// The store finishes serving a read.
    Answer(u8),
    /// A page arrives. The same page may arrive again later.
    Deliver(u8),
    /// One read and its page.
    Round,
    /// One read and its page, then all pages backwards.
    ReadAll,
    /// The node reads a page backwards, which arrives immediately.
    Back,
    /// The node starts a read backwards, and the store serves it.
    AskBack,
    /// The oldest page backwards that has not arrived now arrives.
    DeliverBack,
    /// Another server with the same data replaces the present one.
    FailOver,
    Restart,
}

struct Revoked {
    revocation: Revocation,
    at: u64,
    until: u64,
    position: LogPosition,
    /// The time of the confirmation, by the node's clock.
    confirmed: u64,
    /// True if the node may no longer accept a token that the revocation revokes.
    must_be_seen: bool,
    is_seen: bool,
    /// True if the node has reported a loss since the store lost the revocation.
    is_missed: bool,
}

#[derive(Default)]
struct Remembered {
    /// The store's last confirmation that the token is alive.
    alive: Alive,
    note: AtomicU64,
}

enum ReadState {
    Started,
    Begun(Meta),
    Answered(LogPage, BTreeSet<usize>),
}

pub(super) struct World {
    pub(super) store: Store,
    pub(super) bucket: Bucket,
    hasher: NameHasher,
    pub(super) elapsed: u64,
    reads: Vec<(PendingRead, ReadState)>,
    /// The newest read; `None` once its page has come.
    open: Option<usize>,
    /// The pages of reads backwards that have not arrived.
    backwards: Vec<(PendingBackRead, LogPage)>,
    eras: Arc<AtomicU64>,
    revoked: Vec<Revoked>,
    pub(super) tokens: Vec<Token>,
    /// The node's notes on each token, by the token's id.
    remembered: RefCell<BTreeMap<String, Remembered>>,
    /// The revocations that the store had when it began the answer that granted the lease.
    granted: BTreeSet<usize>,
    /// This node's own revocations whose confirmation has not come yet.
    unconfirmed: VecDeque<usize>,
    /// True if the store and its log have lost nothing.
    is_calm: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let mut store = Store::new();
        store.data.max_staleness = STALENESS;
        let hasher = NameHasher::default();
        let eras = Arc::default();
        let bucket = Bucket::new(hasher.clone(), config(&eras), MAX_BYTES);
        Self {
            store,
            bucket,
            hasher,
            elapsed: 1000,
            reads: Vec::new(),
            open: None,
            backwards: Vec::new(),
            eras,
            revoked: Vec::new(),
            tokens: Vec::new(),
            remembered: RefCell::default(),
            granted: BTreeSet::new(),
            unconfirmed: VecDeque::new(),
            is_calm: true,
        }
    }

    pub(super) fn run(steps: &[Step]) -> Self {
        let mut world = Self::new();
        for step in steps {
            world.step(*step);
        }
        world
    }

    /// Takes a step, and checks the promises.
    pub(super) fn step(&mut self, step: Step) -> Outcome {
        let outcome = self.take(step);
        self.check();
        outcome
    }

    #[allow(clippy::too_many_lines, reason = "an arm for each step")]
    pub(super) fn take(&mut self, step: Step) -> Outcome {
        let subject = |number: u8| format!("u{}", number % 2);
        let loses =
            |step| matches!(step, Step::Trim(_) | Step::Remove(_) | Step::TrimAll | Step::LoseAll | Step::RollBack(_));
        self.is_calm &= !loses(step);
        match step {
            Step::Open(number) => drop(self.store.open(&subject(number))),
            Step::Mint(number, lifetime) => {
                if let Some(session) = pick(&self.store.sessions(), number) {
                    let token = self.store.mint(&session, lifetime.into());
                    self.keep(token);
                }
            }
            Step::MintForeign(number, lifetime) => {
                let token = self.store.foreign_token(&subject(number), lifetime.into());
                self.keep(token);
            }
            Step::RevokeSession(number) => drop(self.revoke_session(number)),
            Step::RevokeToken(number) => {
                if let Some(token) = pick(&self.tokens, number).filter(|token| !token.is_foreign) {
                    self.revoke(Revocation::Token { subject: token.subject.into(), jti: token.id.into() });
                }
            }
            Step::RevokeAll(number, except) => {
                let except = except.and_then(|except| pick(&self.store.sessions(), except)).map(Into::into);
                self.revoke(Revocation::Subject { subject: subject(number).into(), generation: 0, except });
            }
            Step::RevokeForeign(number) => {
                self.revoke(Revocation::External { id: subject(number), before: Some(at(START)) });
            }
            Step::RevokeForeignToken(number) => {
                if let Some(token) = pick(&self.tokens, number).filter(|token| token.is_foreign) {
                    self.revoke(Revocation::External { id: token.id, before: None });
                }
            }
            Step::RevokeHere(number) => self.revoke_here(number),
            Step::Confirm => self.confirm(),
            Step::RequireLast => {
                if self.store.data.sequence > 0 {
                    self.bucket.require_position(&self.store.position());
                    let has = &self.store.data.has;
                    for number in has {
                        self.revoked[*number].must_be_seen = true;
                    }
                }
            }
            Step::Trim(count) => self.store.trim(usize::from(count) % 4),
            Step::Remove(index) => self.store.remove(usize::from(index) % self.store.length().max(1)),
            Step::TrimAll => self.store.trim(usize::MAX),
            Step::LoseAll => self.store.lose_all(),
            Step::Save => self.store.save(),
            Step::RollBack(snapshot) => {
                self.store.roll_back(usize::from(snapshot) % self.store.snapshots.len().max(1));
            }
            Step::Grow(keep) => self.store.data.keep = self.store.data.keep.max(keep.into()),
            Step::Later(millis) => self.store.now += u64::from(millis),
            Step::Elapse(millis) => self.elapsed += u64::from(millis),
            Step::Check(number) => {
                if let Some(token) = pick(&self.tokens, number).filter(|token| self.is_alive(token)) {
                    let eras = self.eras.load(Ordering::Acquire);
                    if self.bucket.follows(self.store.server()) {
                        let alive = Alive { at: at(self.store.now), eras };
                        self.remembered.borrow_mut().entry(token.id).or_default().alive = alive;
                    }
                }
            }
            Step::FailOver => self.store.fail_over(),
            Step::Restart => self.restart(),
            reads => return self.read(reads),
        }
        Outcome::default()
    }

    /// Takes a step that reads the log.
    fn read(&mut self, step: Step) -> Outcome {
        match step {
            Step::Ask => {
                let read = self.bucket.next_read(ms(self.elapsed), PAGE);
                self.open = Some(self.reads.len());
                self.reads.push((read, ReadState::Started));
            }
            Step::Begin(number) => {
                let meta = self.store.meta();
                if let Some((_, state)) = self.read_number(number)
                    && let ReadState::Started = state
                {
                    *state = ReadState::Begun(meta);
                }
            }
            Step::Answer(number) => {
                self.take(Step::Begin(number));
                let answer = match self.read_number(number) {
                    Some((read, ReadState::Begun(meta))) => (meta.clone(), read.query.clone()),
                    _ => return Outcome::default(),
                };
                let (page, has) = self.store.page(answer.0, &answer.1);
                if let Some((_, state)) = self.read_number(number) {
                    *state = ReadState::Answered(page, has);
                }
            }
            Step::Deliver(number) => return self.deliver(number),
            Step::Round => {
                self.take(Step::Ask);
                self.take(Step::Answer(0));
                return self.deliver(0);
            }
            Step::ReadAll => {
                let mut outcome = self.take(Step::Round);
                self.backwards.clear();
                while outcome.broke.is_none() && self.bucket.way_back().is_some() {
                    self.take(Step::AskBack);
                    outcome.has_lost |= self.take(Step::DeliverBack).has_lost;
                }
                return outcome;
            }
            Step::Back => {
                self.backwards.clear();
                self.take(Step::AskBack);
                return self.take(Step::DeliverBack);
            }
            Step::AskBack => {
                if let Some(read) = self.bucket.next_back_read(PAGE) {
                    let (page, _) = self.store.page(self.store.meta(), &read.query);
                    self.backwards.push((read, page));
                }
            }
            Step::DeliverBack => {
                if !self.backwards.is_empty() {
                    let (read, page) = self.backwards.remove(0);
                    return self.deliver_back(&read, page);
                }
            }
            _ => unreachable!("{step:?} reads nothing"),
        }
        Outcome::default()
    }

    fn revoke_here(&mut self, number: u8) {
        let (before, what) = (self.revoked.len(), number / 4);
        let step = match number % 4 {
            0 => Step::RevokeSession(what),
            1 => Step::RevokeToken(what),
            2 => Step::RevokeAll(what % 3, Some(what)),
            _ => Step::RevokeForeignToken(what),
        };
        self.take(step);
        self.unconfirmed.extend(before..self.revoked.len());
    }

    fn confirm(&mut self) {
        if let Some(number) = self.unconfirmed.pop_front() {
            let revoked = &mut self.revoked[number];
            (revoked.must_be_seen, revoked.is_seen) = (true, true);
            self.bucket.record_revocation(&revoked.revocation, at(revoked.at), at(revoked.until), &revoked.position);
        }
    }

    fn restart(&mut self) {
        self.bucket = Bucket::new(self.hasher.clone(), config(&self.eras), MAX_BYTES);
        self.backwards.clear();
        (self.open, self.granted) = (None, BTreeSet::new());
        self.reads.clear();
        self.unconfirmed.clear();
        self.remembered.take();
        for revoked in &mut self.revoked {
            (revoked.is_seen, revoked.must_be_seen) = (false, false);
        }
    }

    fn keep(&mut self, token: Token) {
        if self.tokens.len() == TOKENS {
            self.tokens.remove(0);
        }
        self.tokens.push(token);
    }

    /// Returns true if the store would accept the token.
    fn is_alive(&self, token: &Token) -> bool {
        let is_meant = |number: &usize| token.is_meant_by(&self.revoked[*number].revocation);
        !self.store.data.has.iter().any(is_meant) && self.store.knows(token)
    }

    /// Returns a read by its number, counted back from the newest, which has number 0.
    fn read_number(&mut self, number: u8) -> Option<&mut (PendingRead, ReadState)> {
        let count = self.reads.len();
        self.reads.get_mut(count.checked_sub(1 + usize::from(number) % count.max(1))?)
    }

    fn revoke_session(&mut self, number: u8) -> Option<usize> {
        let sid = pick(&self.store.sessions(), number)?;
        let session = self.tokens.iter().find(|token| token.session == sid);
        let subject = session.map(|token| token.subject.clone())?;
        Some(self.revoke(Revocation::Session { subject: subject.into(), sid: sid.into() }))
    }

    fn revoke(&mut self, what: Revocation) -> usize {
        let number = self.revoked.len();
        let entry = self.store.revoke(number, what);
        self.revoked.push(Revoked {
            revocation: entry.revocation,
            at: entry.at.as_secs(),
            until: entry.until.as_secs(),
            position: self.store.position(),
            confirmed: self.elapsed,
            must_be_seen: false,
            is_seen: false,
            is_missed: false,
        });
        number
    }

    fn deliver(&mut self, number: u8) -> Outcome {
        let count = self.reads.len();
        let Some((read, ReadState::Answered(page, has))) = self.read_number(number) else { return Outcome::default() };
        let (read, page, has) = (read.clone(), page.clone(), has.clone());
        let is_open = self.open == count.checked_sub(1 + usize::from(number) % count);
        if is_open {
            self.open = None;
        }
        let lease = self.bucket.lease_end();
        let entries = page.entries.clone();
        let outcome = self.bucket.apply(&read, page, at(self.store.now));
        if outcome.applied > 0 {
            self.saw(&entries);
        }
        self.notes_loss(outcome);
        let end = self.bucket.lease_end();
        if end != lease && end != 0 {
            self.granted = has;
        }
        outcome
    }

    fn deliver_back(&mut self, read: &PendingBackRead, page: LogPage) -> Outcome {
        let entries = page.entries.clone();
        let outcome = self.bucket.apply_back(read, page);
        self.saw(&entries[entries.len() - outcome.applied..]);
        self.notes_loss(outcome);
        outcome
    }

    fn saw(&mut self, entries: &[crate::store::LogEntry]) {
        for entry in entries {
            let is_it =
                |revoked: &&mut Revoked| revoked.revocation == entry.revocation && revoked.at == entry.at.as_secs();
            self.revoked.iter_mut().filter(is_it).for_each(|revoked| revoked.is_seen = true);
        }
    }

    fn notes_loss(&mut self, outcome: Outcome) {
        assert!(!self.is_calm || !outcome.has_lost, "nothing is lost");
        for (number, revoked) in self.revoked.iter_mut().enumerate() {
            let is_lost = !self.store.data.has.contains(&number);
            revoked.is_missed = is_lost && (revoked.is_missed || outcome.has_lost);
        }
    }

    /// Returns the bucket's verdict on a token at a moment of the node's clock.
    pub(super) fn verdict(&self, token: &Token, elapsed: u64) -> Verdict {
        let mut all = self.remembered.borrow_mut();
        let Remembered { alive, note } = all.entry(token.id.clone()).or_default();
        let times = TokenTimes { issued_at: at(token.issued_at), alive: *alive, lifetime: seconds(token.lifetime) };
        let now = || elapsed * 1_000_000;
        if token.is_foreign {
            let name = |id| self.hasher.name(EntryKind::External, id, "");
            let verdicts = [&token.subject, &token.id].map(|id| self.bucket.external_verdict(times, name(id), now).0);
            return verdicts.into_iter().max().unwrap();
        }
        let still_accepts = still_accepts(&self.bucket, note, now);
        let name = |kind, id| self.hasher.name(kind, &token.subject, id);
        let names = SessionNames {
            subject: name(EntryKind::Subject, ""),
            session: name(EntryKind::Session, &token.session),
            token: name(EntryKind::Token, &token.id),
        };
        let verdict = self.bucket.session_verdict(times, names, token.generation, note, now);
        assert!(!still_accepts || verdict == Verdict::Accepted, "{token:?} would go on without being looked at");
        verdict
    }

    /// Returns the end of the lease, in milliseconds.
    pub(super) fn lease_end(&self) -> u64 {
        self.bucket.lease_end() / 1_000_000
    }

    /// Checks the promises that hold at any time, at the present and at the last moment of the
    /// lease. Until that moment, no further answer of the store may come.
    pub(super) fn check(&self) {
        let missing = self.bucket.missing(at(self.store.now), 0, 1).1;
        assert!(!self.is_calm || missing.is_empty(), "{missing:?} is not lost");
        let Data { has, .. } = &self.store.data;
        let moments = [self.elapsed, self.lease_end().saturating_sub(1).max(self.elapsed)];
        for token in self.tokens.iter().filter(|token| token.issued_at + token.lifetime > self.store.now) {
            let meant = |(_, revoked): &(usize, &Revoked)| token.is_meant_by(&revoked.revocation);
            let revoked: Vec<_> = self.revoked.iter().enumerate().filter(meant).collect();
            for moment in moments {
                let verdict = self.verdict(token, moment);
                for (number, revoked) in &revoked {
                    let is_due = revoked.must_be_seen || revoked.confirmed + STALENESS <= moment;
                    // If a token is younger than its revocation, a loss of data has revived the
                    // session. The lost revocation need not refuse this token.
                    let is_granted = self.granted.contains(number) && token.issued_at <= revoked.at;
                    let must_be_known = (has.contains(number) && is_due) || is_granted;
                    assert!(
                        verdict != Verdict::Accepted || !must_be_known,
                        "{token:?} is accepted at {moment} after {:?}, confirmed at {}",
                        revoked.revocation,
                        revoked.confirmed
                    );
                    assert!(
                        verdict == Verdict::Refused || !revoked.is_seen || revoked.until <= self.store.now,
                        "{token:?} is not refused, though {:?} was seen",
                        revoked.revocation
                    );
                }
                let is_known = revoked.iter().any(|(_, revoked)| revoked.is_seen);
                assert!(verdict != Verdict::Refused || is_known, "{token:?} is refused for nothing");
            }
        }
        if self.lease_end() > self.elapsed {
            for number in &self.granted {
                let revoked = &self.revoked[*number];
                let is_spoken_of = at(revoked.at) > self.bucket.horizon() && revoked.until > self.store.now;
                assert!(revoked.is_seen || !is_spoken_of, "the horizon hides {:?}", revoked.revocation);
            }
        }
    }

    /// Checks that the node soon has a lease and stops reading back if the store answers and does
    /// not change.
    pub(super) fn settles(&mut self) {
        let mut questions = 0;
        // A page backwards has two entries, and reading back starts again after each break.
        let enough = self.store.length() / 2 + 8;
        while questions == 0 || self.lease_end() < self.elapsed + STALENESS || self.bucket.way_back().is_some() {
            (questions, self.elapsed, self.store.now) = (questions + 1, self.elapsed + 1, self.store.now + 1);
            self.step(Step::Round);
            self.backwards.clear();
            self.step(Step::AskBack);
            self.step(Step::DeliverBack);
            assert!(questions <= enough, "no rest after {questions} questions");
        }
        assert!(!self.step(Step::Round).more);
        self.misses_what_is_lost();
        self.comes_to_decide();
    }

    /// Checks that the node finds each revocation that it has applied and the store has lost, and
    /// can republish it.
    fn misses_what_is_lost(&self) {
        let (_, missing) = self.bucket.missing(at(self.store.now), 0, usize::MAX);
        let has: Vec<_> = self.store.data.has.iter().map(|number| &self.revoked[*number].revocation).collect();
        for revoked in &self.revoked {
            let is_single = matches!(revoked.revocation, Revocation::Session { .. } | Revocation::Token { .. });
            let is_lost = !has.contains(&&revoked.revocation) && revoked.until > self.store.now;
            let is_missing = || missing.iter().any(|(revocation, _)| *revocation == revoked.revocation);
            if is_single && revoked.is_seen && is_lost {
                assert!(is_missing() && revoked.is_missed, "{:?} is lost", revoked.revocation);
            }
        }
    }

    /// Checks that the node decides a token that is issued now.
    fn comes_to_decide(&mut self) {
        // No revocation of this user exists, from before or after a loss of data.
        self.store.now += 1;
        let session = self.store.open("new");
        let token = self.store.mint(&session, self.store.data.keep);
        assert_eq!(self.verdict(&token, self.elapsed), Verdict::Accepted, "{token:?} is not decided");
    }
}

fn pick<T: Clone>(all: &[T], number: u8) -> Option<T> {
    all.get(usize::from(number) % all.len().max(1)).cloned()
}

/// Returns the configuration of the node. The clocks of node and store do not differ.
pub(super) fn config(eras: &Arc<AtomicU64>) -> BucketConfig {
    BucketConfig { staleness: ms(STALENESS), margin: Duration::ZERO, leeway: Duration::ZERO, eras: Arc::clone(eras) }
}

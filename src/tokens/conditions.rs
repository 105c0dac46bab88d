//! The conditions that an operator should resolve, each with the time of its start.
//!
//! The node logs a message when a condition begins, and another when it ends. While calls of the
//! store fail, the node also logs the number of failures once a minute. If the node logged each
//! failed request, an outage could fill the disk.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use serde::{Serialize, Serializer};

use crate::{
    clock::{Clock, Timestamp},
    error::{StoreError, StoreErrorKind, chain},
};

/// The minimum interval between two log messages about the same failure.
const SUM_INTERVAL: Duration = Duration::from_secs(60);

/// A condition that an operator should resolve. The service may still serve requests.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Condition {
    /// The kind of the condition.
    pub kind: ConditionKind,
    /// The time at which this node noticed the condition, by the node's clock. In JSON: seconds
    /// since the Unix epoch.
    #[serde(serialize_with = "as_secs")]
    pub since: Timestamp,
    /// The problem and its remedy. The text contains no secret.
    pub text: String,
}

/// The kinds of [`Condition`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConditionKind {
    /// The store refuses reads, or does not answer them. Requests get 503, unless a replica with a
    /// lease decides about their tokens.
    ReadsRefused,
    /// The store refuses writes, or does not answer them. Logins, refreshes or revocations get 503.
    WritesRefused,
    /// The clocks of this node and of the store differ by more than the leeway. The service's own
    /// tokens stay valid, because the store's clock judges them.
    ClockSkew,
    /// The store's clock went back. See [`Status`](super::Status#the-stores-clock).
    StoreClockWentBack,
    /// This node has no lease for some users. Under bounded staleness only.
    ReplicaBehind,
    /// The time until a revocation holds on this node has no known bound.
    NoBound,
    /// The store reports a defect, such as a policy that evicts keys.
    Store,
    /// The node cannot fetch the keys of an accepted issuer. The tokens of this service and of
    /// other issuers are not affected.
    IssuerKeys,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn as_secs<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}

impl ConditionKind {
    /// Returns the name of the kind in JSON and in log messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadsRefused => "reads_refused",
            Self::WritesRefused => "writes_refused",
            Self::ClockSkew => "clock_skew",
            Self::StoreClockWentBack => "store_clock_went_back",
            Self::ReplicaBehind => "replica_behind",
            Self::NoBound => "no_bound",
            Self::Store => "store",
            Self::IssuerKeys => "issuer_keys",
        }
    }

    /// Returns the bit that stands for this kind in [`Conditions::present`].
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The conditions of one service.
pub(super) struct Conditions {
    /// The node's clock.
    clock: Arc<dyn Clock>,
    /// One bit for each kind of present condition. A successful call of the store reads only this
    /// field, without the lock.
    present: AtomicU8,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    present: Vec<Condition>,
    /// The log messages of each kind of condition that has occurred.
    messages: Vec<(ConditionKind, Messages)>,
}

/// The log messages about one kind of condition.
#[derive(Default)]
struct Messages {
    /// The kind of failure and the time ([`Clock::elapsed`]) of each message of the last minute.
    /// The kind is `None` if no failed call of the store caused the message.
    sent: Vec<(Option<StoreErrorKind>, Duration)>,
    /// The number of failures since the last message.
    failures: u64,
    /// The kind of the last failure.
    last_failure: Option<StoreErrorKind>,
    /// True if a message has reported the present condition. Another message then reports its end.
    has_begun: bool,
}

impl Messages {
    /// Returns true if the node must now log a message, and records the time of the message. The
    /// node logs each kind of failure at most once a minute. Otherwise a condition that begins and
    /// ends many times a second would fill the log.
    fn are_due(&mut self, now: Duration, cause: Option<StoreErrorKind>) -> bool {
        self.sent.retain(|(_, at)| now.saturating_sub(*at) < SUM_INTERVAL);
        let is_due = !self.sent.iter().any(|(sent, _)| *sent == cause);
        if is_due {
            self.sent.push((cause, now));
            self.has_begun = true;
        }
        is_due
    }
}

impl State {
    fn begin(&mut self, kind: ConditionKind, text: &str, now: impl FnOnce() -> Timestamp) {
        match self.present.iter_mut().find(|condition| condition.kind == kind) {
            Some(condition) => text.clone_into(&mut condition.text),
            None => self.present.push(Condition { kind, since: now(), text: text.to_owned() }),
        }
    }

    /// Returns the log messages of this kind. Creates them when the kind occurs for the first time.
    fn messages(&mut self, kind: ConditionKind) -> &mut Messages {
        let known = self.messages.iter().position(|(known, _)| *known == kind);
        let index = known.unwrap_or(self.messages.len());
        if known.is_none() {
            self.messages.push((kind, Messages::default()));
        }
        #[allow(clippy::indexing_slicing, reason = "the element was found or added just above")]
        &mut self.messages[index].1
    }
}

impl Conditions {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, present: AtomicU8::new(0), state: Mutex::default() }
    }

    /// Ends [`ConditionKind::ReadsRefused`] after a successful read, and begins it after a failed
    /// read.
    #[inline]
    pub(super) fn note_read<T>(&self, outcome: &Result<T, StoreError>) {
        self.note(ConditionKind::ReadsRefused, outcome.as_ref().err());
    }

    /// Ends [`ConditionKind::ReadsRefused`] after the store has answered a ping, if the last read
    /// failed because the store did not answer. If the store had answered that read with an error,
    /// the condition stays, because the store may answer a ping and still refuse reads.
    pub(super) fn note_answer(&self) {
        let kind = ConditionKind::ReadsRefused;
        let is_unreachable = |failure| matches!(failure, StoreErrorKind::Unavailable | StoreErrorKind::Timeout);
        if self.has(kind) && self.lock().messages(kind).last_failure.is_some_and(is_unreachable) {
            self.end(kind);
        }
    }

    /// Begins [`ConditionKind::WritesRefused`] after a failed revocation, and ends it after a
    /// successful one. If the store's memory is full, a successful revocation does not end the
    /// condition, because a full store still accepts revocations, but no logins.
    pub(super) fn note_revocation<T>(&self, outcome: &Result<T, StoreError>) {
        let kind = ConditionKind::WritesRefused;
        let lacks_memory = || self.lock().messages(kind).last_failure == Some(StoreErrorKind::OutOfMemory);
        if outcome.is_err() || (self.has(kind) && !lacks_memory()) {
            self.note_write(outcome);
        }
    }

    /// Ends [`ConditionKind::WritesRefused`] after a successful write, and begins it after a failed
    /// write.
    pub(super) fn note_write<T>(&self, outcome: &Result<T, StoreError>) {
        self.note(ConditionKind::WritesRefused, outcome.as_ref().err());
    }

    #[inline]
    fn note(&self, kind: ConditionKind, error: Option<&StoreError>) {
        match error {
            None => self.end(kind),
            // The node did not ask the store, because it has reached its own limit.
            Some(error) if error.kind() == StoreErrorKind::Overloaded => {}
            Some(error) => self.fail(kind, error),
        }
    }

    /// Begins a condition, or continues it, after a failed call of the store.
    #[cold]
    fn fail(&self, kind: ConditionKind, error: &StoreError) {
        let text = chain(error);
        let mut state = self.lock();
        state.begin(kind, &text, || self.clock.now());
        let messages = state.messages(kind);
        messages.failures = messages.failures.saturating_add(1);
        messages.last_failure = Some(error.kind());
        let failures = messages.failures;
        let is_due = messages.are_due(self.clock.elapsed(), Some(error.kind()));
        if is_due {
            messages.failures = 0;
        }
        self.publish(&state);
        drop(state);
        #[cfg(feature = "tracing")]
        if is_due {
            tracing::warn!(condition = kind.as_str(), failures, "calls of the token store fail: {text}");
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (is_due, failures);
    }

    /// Begins a condition, or updates its text.
    pub(super) fn begin(&self, kind: ConditionKind, text: &str) {
        let mut state = self.lock();
        state.begin(kind, text, || self.clock.now());
        let messages = state.messages(kind);
        let is_due = !messages.has_begun && messages.are_due(self.clock.elapsed(), None);
        self.publish(&state);
        drop(state);
        #[cfg(feature = "tracing")]
        if is_due {
            tracing::warn!(condition = kind.as_str(), "{text}");
        }
        #[cfg(not(feature = "tracing"))]
        let _ = is_due;
    }

    /// Replaces all conditions of a kind by conditions with these texts. Logs nothing, because the
    /// part of the crate that found the problem has already logged it.
    pub(super) fn set(&self, kind: ConditionKind, texts: &[String]) {
        if texts.is_empty() && !self.has(kind) {
            return;
        }
        let mut state = self.lock();
        state.present.retain(|condition| condition.kind != kind || texts.contains(&condition.text));
        for text in texts {
            if !state.present.iter().any(|condition| condition.kind == kind && condition.text == *text) {
                state.present.push(Condition { kind, since: self.clock.now(), text: text.clone() });
            }
        }
        self.publish(&state);
    }

    /// Ends the condition of this kind. If there is none, does nothing and takes no lock.
    #[inline]
    pub(super) fn end(&self, kind: ConditionKind) {
        if self.has(kind) {
            self.remove(kind);
        }
    }

    #[cold]
    fn remove(&self, kind: ConditionKind) {
        let mut state = self.lock();
        let Some(index) = state.present.iter().position(|condition| condition.kind == kind) else { return };
        let ended = state.present.remove(index);
        let has_begun = std::mem::take(&mut state.messages(kind).has_begun);
        self.publish(&state);
        drop(state);
        #[cfg(feature = "tracing")]
        if has_begun {
            let seconds = self.clock.now().saturating_since(ended.since).as_secs();
            tracing::info!(condition = kind.as_str(), seconds, "a condition has ended");
        }
        #[cfg(not(feature = "tracing"))]
        let _ = (ended, has_begun);
    }

    /// Returns true if there is a condition of this kind.
    #[inline]
    pub(super) fn has(&self, kind: ConditionKind) -> bool {
        self.present.load(Ordering::Relaxed) & kind.bit() != 0
    }

    /// Returns the node's clock.
    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Returns the present conditions, in the order of their start.
    pub(super) fn list(&self) -> Vec<Condition> {
        self.lock().present.clone()
    }

    /// Writes the kinds in `state` to the bits. The caller has the lock.
    fn publish(&self, state: &State) {
        let bits = state.present.iter().fold(0, |bits, condition| bits | condition.kind.bit());
        self.present.store(bits, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn conditions() -> (ManualClock, Conditions) {
        let clock = ManualClock::at(Timestamp::from_secs(1_790_000_000));
        (clock.clone(), Conditions::new(Arc::new(clock)))
    }

    fn failure(kind: StoreErrorKind) -> Result<(), StoreError> {
        Err(kind.into())
    }

    #[test]
    fn a_failure_begins_a_condition_that_the_next_success_ends() {
        let (clock, conditions) = conditions();
        conditions.note_read(&failure(StoreErrorKind::Unavailable));
        clock.advance(Duration::from_secs(5));
        conditions.note_read(&failure(StoreErrorKind::Rejected));
        conditions.note_write(&Ok::<_, StoreError>(()));
        let listed = conditions.list();
        let [condition] = listed.as_slice() else { panic!("{listed:?}") };
        assert_eq!(condition.kind, ConditionKind::ReadsRefused);
        assert_eq!(condition.since.as_secs(), 1_790_000_000, "the start stays");
        assert!(condition.text.contains("refused"), "the text is that of the last failure: {listed:?}");
        conditions.note_read(&Ok::<_, StoreError>(()));
        assert_eq!(conditions.list(), []);
    }

    #[test]
    fn a_revocation_ends_a_failure_of_writes_but_no_lack_of_memory() {
        let (_, conditions) = conditions();
        let revoked = Ok::<_, StoreError>(());
        for (kind, ends) in [(StoreErrorKind::Unavailable, true), (StoreErrorKind::OutOfMemory, false)] {
            conditions.note_write(&failure(kind));
            conditions.note_revocation(&revoked);
            assert_eq!(conditions.list().is_empty(), ends, "{kind:?}");
        }
        conditions.note_write(&revoked);
        assert_eq!(conditions.list(), []);
    }

    #[test]
    fn the_limit_of_this_node_is_no_condition_of_the_store() {
        let (_, conditions) = conditions();
        conditions.note_read(&failure(StoreErrorKind::Overloaded));
        assert_eq!(conditions.list(), []);
    }

    #[test]
    fn a_condition_that_comes_and_goes_has_few_messages() {
        let (clock, conditions) = conditions();
        let mut due = 0;
        for _ in 0..1000 {
            conditions.note_read(&failure(StoreErrorKind::Timeout));
            conditions.note_read(&failure(StoreErrorKind::Unavailable));
            due += usize::from(std::mem::take(&mut conditions.lock().messages(ConditionKind::ReadsRefused).has_begun));
            conditions.note_read(&Ok::<_, StoreError>(()));
            clock.advance(Duration::from_millis(119));
        }
        // 119 s: at the start, and after a minute.
        assert_eq!(due, 2);
    }

    #[test]
    fn each_defect_of_the_store_keeps_its_own_start() {
        let (clock, conditions) = conditions();
        conditions.set(ConditionKind::Store, &["a".to_owned()]);
        clock.advance(Duration::from_secs(5));
        conditions.set(ConditionKind::Store, &["a".to_owned(), "b".to_owned()]);
        let since = |conditions: &Conditions| -> Vec<_> {
            conditions.list().into_iter().map(|condition| (condition.text, condition.since.as_secs())).collect()
        };
        assert_eq!(since(&conditions), [("a".to_owned(), 1_790_000_000), ("b".to_owned(), 1_790_000_005)]);
        conditions.set(ConditionKind::Store, &["b".to_owned()]);
        assert_eq!(since(&conditions), [("b".to_owned(), 1_790_000_005)]);
        conditions.set(ConditionKind::Store, &[]);
        assert_eq!(conditions.list(), []);
    }
}

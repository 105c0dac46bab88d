//! A wrapper that passes all calls on to a store, and reports each call to the observer.
//!
//! A service uses the wrapper only if it has an observer. The wrapper implements all methods of the
//! traits, even those with a default. Otherwise the default would hide the inner store's own
//! method.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use super::{
    Answer, BoxFuture, Checked, Denial, DenyQuery, DenyRequest, Denylist, ExternalId, ExternalName, LogFeed, LogPage,
    LogPages, LogQuery, OpenSession, Opened, Page, Revocation, RevocationLog, Revoked, RotateRefresh, Rotated,
    SessionPage, SessionStore, StoreAnswer,
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    ids::{SessionId, Subject, TokenId},
    observe::{Observation, SharedObserver, StoreOperation, StoreOutcome},
};

/// A wrapper of a store, its log or its denylist. It reports each call to the observer.
pub(crate) struct Observed<S: ?Sized> {
    observer: SharedObserver,
    inner: Arc<S>,
}

impl<S: ?Sized> Observed<S> {
    pub(crate) fn new(observer: SharedObserver, inner: Arc<S>) -> Self {
        Self { observer, inner }
    }

    fn answer<T: Outcome + Send + 'static>(&self, operation: StoreOperation, answer: Answer<T>) -> Answer<T> {
        let observer = &self.observer;
        match answer {
            Answer::Ready(answer) => {
                let outcome = answer.outcome();
                observer.observe(|| Observation::StoreCall { operation, outcome, duration: None });
                Answer::Ready(answer)
            }
            Answer::Pending(future) => Answer::Pending(observed(observer, operation, future)),
        }
    }
}

/// Wraps the future of a call. When the call ends, the wrapper reports the outcome to the observer.
fn observed<T: Outcome + Send + 'static>(
    observer: &SharedObserver,
    operation: StoreOperation,
    future: BoxFuture<T>,
) -> BoxFuture<T> {
    Box::pin(Call { observer: observer.clone(), operation, future: Some(future), began: None })
}

/// A call that waits for the store's answer.
struct Call<T> {
    observer: SharedObserver,
    operation: StoreOperation,
    /// The future of the call; `None` after the answer.
    future: Option<BoxFuture<T>>,
    /// The time of the first poll, because the store may do nothing before it.
    began: Option<Instant>,
}

impl<T> Call<T> {
    fn report(&self, outcome: StoreOutcome) {
        let duration = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        let operation = self.operation;
        self.observer.observe(|| Observation::StoreCall { operation, outcome, duration: Some(duration) });
    }
}

impl<T: Outcome> Future for Call<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        this.began.get_or_insert_with(Instant::now);
        // If a task polls the call again after its end, the call returns `Pending`, without a
        // panic.
        let Some(future) = &mut this.future else { return Poll::Pending };
        let answer = ready!(future.as_mut().poll(context));
        this.future = None;
        this.report(answer.outcome());
        Poll::Ready(answer)
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        // A call that was never polled has not begun, so it is not reported.
        if self.future.is_some() && self.began.is_some() {
            self.report(StoreOutcome::Dropped);
        }
    }
}

/// The answer to a call. The wrapper reports its outcome to the observer.
trait Outcome {
    fn outcome(&self) -> StoreOutcome;
}

impl<T: Found> Outcome for Result<T, StoreError> {
    fn outcome(&self) -> StoreOutcome {
        match self {
            Ok(found) => found.first_error().map_or(StoreOutcome::Ok, |error| StoreOutcome::Failed(error.kind())),
            Err(error) => StoreOutcome::Failed(error.kind()),
        }
    }
}

/// The value of a successful answer. It may contain errors of its parts, for example of one bucket.
trait Found {
    fn first_error(&self) -> Option<&StoreError> {
        None
    }
}

impl Found for () {}
impl Found for Checked {}
impl Found for Denial {}
impl Found for LogPage {}
impl Found for Opened {}
impl Found for Revoked {}
impl Found for Rotated {}
impl Found for SessionPage {}
impl Found for Timestamp {}

impl Found for LogPages {
    fn first_error(&self) -> Option<&StoreError> {
        self.iter().find_map(|page| page.as_ref().err())
    }
}

impl SessionStore for Observed<dyn SessionStore> {
    fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
        self.answer(StoreOperation::Open, self.inner.open(open))
    }

    fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked> {
        self.answer(StoreOperation::Check, self.inner.check(subject, sid, jti))
    }

    fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
        self.answer(StoreOperation::Rotate, self.inner.rotate(rotate))
    }

    fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked> {
        self.answer(StoreOperation::RevokeSession, self.inner.revoke_session(subject, sid))
    }

    fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked> {
        self.answer(StoreOperation::RevokeToken, self.inner.revoke_token(subject, jti, until))
    }

    fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked> {
        self.answer(StoreOperation::RevokeAll, self.inner.revoke_all(subject, except))
    }

    fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage> {
        self.answer(StoreOperation::Sessions, self.inner.sessions(subject, page))
    }

    fn ping(&self) -> StoreAnswer<Timestamp> {
        self.answer(StoreOperation::Ping, self.inner.ping())
    }

    fn probe(&self) -> StoreAnswer<()> {
        self.answer(StoreOperation::Probe, self.inner.probe())
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn failover_bound(&self) -> Result<Duration, String> {
        self.inner.failover_bound()
    }

    fn warnings(&self) -> Vec<String> {
        self.inner.warnings()
    }

    fn revocation_log(self: Arc<Self>) -> Option<Arc<dyn RevocationLog>> {
        let inner = Arc::clone(&self.inner).revocation_log()?;
        Some(Arc::new(Observed::new(self.observer.clone(), inner)))
    }

    fn denylist(self: Arc<Self>) -> Option<Arc<dyn Denylist>> {
        let inner = Arc::clone(&self.inner).denylist()?;
        Some(Arc::new(Observed::new(self.observer.clone(), inner)))
    }
}

impl RevocationLog for Observed<dyn RevocationLog> {
    fn buckets(&self) -> u32 {
        self.inner.buckets()
    }

    fn bucket_of(&self, subject: &Subject) -> u32 {
        self.inner.bucket_of(subject)
    }

    fn read(&self, bucket: u32, query: LogQuery) -> StoreAnswer<LogPage> {
        self.answer(StoreOperation::ReadLog, self.inner.read(bucket, query))
    }

    fn republish(&self, bucket: u32, revocation: Revocation, until: Timestamp) -> StoreAnswer<()> {
        self.answer(StoreOperation::Republish, self.inner.republish(bucket, revocation, until))
    }

    fn keep_log_for(&self, keep: Duration) {
        self.inner.keep_log_for(keep);
    }

    fn allow_staleness(&self, staleness: Duration) {
        self.inner.allow_staleness(staleness);
    }

    fn clock_margin(&self) -> Duration {
        self.inner.clock_margin()
    }

    fn feeds(&self, deadline: Duration) -> Vec<Box<dyn LogFeed>> {
        let feeds = self.inner.feeds(deadline).into_iter();
        let observed = |inner| Box::new(ObservedFeed { observer: self.observer.clone(), inner }) as Box<dyn LogFeed>;
        feeds.map(observed).collect()
    }
}

impl Denylist for Observed<dyn Denylist> {
    fn deny(&self, deny: DenyRequest) -> StoreAnswer<Revoked> {
        self.answer(StoreOperation::Deny, self.inner.deny(deny))
    }

    fn denied(&self, query: DenyQuery) -> StoreAnswer<Denial> {
        self.answer(StoreOperation::Denied, self.inner.denied(query))
    }

    fn keep_denials_for(&self, keep: Duration) {
        self.inner.keep_denials_for(keep);
    }

    fn log_name(&self, issuer: &str, id: &ExternalId) -> ExternalName {
        self.inner.log_name(issuer, id)
    }
}

struct ObservedFeed {
    observer: SharedObserver,
    inner: Box<dyn LogFeed>,
}

impl LogFeed for ObservedFeed {
    fn buckets(&self) -> &[u32] {
        self.inner.buckets()
    }

    fn read(&mut self, queries: Vec<(u32, LogQuery)>) -> BoxFuture<Result<LogPages, StoreError>> {
        observed(&self.observer, StoreOperation::ReadLog, self.inner.read(queries))
    }

    fn nudged(&self) -> BoxFuture<Vec<u32>> {
        self.inner.nudged()
    }

    fn suspect(&mut self) {
        self.inner.suspect();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    /// Returns the names of the methods in the block that starts with this line.
    fn methods<'a>(source: &'a str, block: &str) -> Vec<&'a str> {
        let body = source.split_once(block).unwrap().1.split("\n}\n").next().unwrap();
        let methods = body.lines().filter_map(|line| line.strip_prefix("    fn "));
        methods.map(|line| line.split('(').next().unwrap()).collect()
    }

    #[test]
    fn every_method_of_a_store_is_passed_on() {
        let (traits, own) = (include_str!("mod.rs"), include_str!("observed.rs"));
        for (name, wrapper) in [
            ("SessionStore", "Observed<dyn SessionStore>"),
            ("RevocationLog", "Observed<dyn RevocationLog>"),
            ("Denylist", "Observed<dyn Denylist>"),
            ("LogFeed", "ObservedFeed"),
        ] {
            let declared = methods(traits, &format!("pub trait {name}"));
            assert!(declared.len() > 3, "{name}: {declared:?}");
            assert_eq!(methods(own, &format!("impl {name} for {wrapper} {{")), declared, "{name}");
        }
    }
}

//! The owner's handle of an open stream.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep},
};

use super::{
    cause::CutoffCause,
    state::Stream,
    streams::{Core, Streams, lock},
    watcher,
};
use crate::{clock::Timestamp, jwt::TokenNames, observe::Observation};

/// The longest single sleep until a token expires. A longer wait consists of several sleeps.
const LONGEST_SLEEP: Duration = Duration::from_secs(30 * 86_400);

/// The owner's handle of a registered stream. Dropping the handle removes the stream from the
/// registry.
pub(crate) struct OpenStream(State);

enum State {
    Watched { core: Arc<Core>, stream: Arc<Stream>, expiry: Option<Box<Expiry>> },
    Ended(CutoffCause),
}

/// The time at which the node cuts a stream because its token expires, and a timer for this time.
struct Expiry {
    at: Timestamp,
    /// The timer that wakes the task at the expiry. `None` outside of a Tokio runtime: then nothing
    /// wakes the task, and only its next poll notices the expiry.
    sleep: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl OpenStream {
    /// Registers a stream of this token, and then searches the deny set for the token. `since` is
    /// the time at which the stream opened. `None` means now.
    pub(crate) fn open(streams: &Streams, names: &TokenNames<'_>, at_expiry: bool, since: Option<u64>) -> Self {
        let core = streams.core();
        let Some(stream) = core.stream(names, at_expiry, since) else { return Self::ended(CutoffCause::Unconfirmed) };
        core.follow_if_lazy();
        core.observer.observe(|| Observation::StreamOpened);
        let is_first = core.registry.register(&stream, |stream| core.look_at_new(stream));
        core.has_new.store(true, Ordering::Release);
        // Starts the watcher only after the registration. If a watcher ends at this moment, it cuts
        // all registered streams, and so also this one.
        watcher::start(core);
        if is_first {
            core.bell.notify_one();
        }
        let expiry = at_expiry.then(|| Box::new(Expiry::new(core, core.end_of(&stream))));
        Self(State::Watched { core: Arc::clone(core), stream, expiry })
    }

    /// Creates the handle of a stream that was cut for this cause.
    pub(super) fn ended(cause: CutoffCause) -> Self {
        Self(State::Ended(cause))
    }

    /// Makes the node also cut the stream when its token expires.
    pub(super) fn cut_at_expiry(&mut self) {
        if let State::Watched { core, stream, expiry } = &mut self.0 {
            stream.expires.store(true, Ordering::Release);
            let at = core.end_of(stream);
            expiry.get_or_insert_with(|| Box::new(Expiry::new(core, at)));
        }
    }

    /// Resolves with the cause when the stream is cut. Wakes only the waker of the latest call.
    ///
    /// Each call also cuts the stream if its [limit](Core::limit) has passed. So the stream ends in
    /// time even if the watcher has ended.
    pub(crate) fn poll_cut(&self, context: &mut Context<'_>) -> Poll<CutoffCause> {
        let State::Watched { core, stream, expiry } = &self.0 else {
            return self.cause().map_or(Poll::Pending, Poll::Ready);
        };
        if let Some(cause) = stream.cause() {
            return Poll::Ready(cause);
        }
        // Sets the waker before the check, so that a cutoff after the check wakes the task.
        stream.set_waker(context.waker());
        if let Some(cause) = self.cause() {
            return Poll::Ready(cause);
        }
        if let Some(expiry) = expiry {
            ready!(expiry.poll(core, context));
            core.cut(stream, CutoffCause::Expired);
        }
        stream.cause().map_or(Poll::Pending, Poll::Ready)
    }

    /// Returns the cause if the stream is cut. Cuts the stream first if its [limit](Core::limit) or
    /// its expiry has passed. Registers no waker.
    pub(crate) fn cause(&self) -> Option<CutoffCause> {
        let (core, stream, expiry) = match &self.0 {
            State::Watched { core, stream, expiry } => (core, stream, expiry),
            State::Ended(cause) => return Some(*cause),
        };
        if stream.cause().is_none() {
            if core.limit(stream) <= core.now() {
                core.cut(stream, CutoffCause::Unconfirmed);
            } else if expiry.as_ref().is_some_and(|expiry| expiry.at <= core.clock.now()) {
                core.cut(stream, CutoffCause::Expired);
            }
        }
        stream.cause()
    }
}

impl Expiry {
    fn new(core: &Core, at: Timestamp) -> Self {
        let left = at.saturating_since(core.clock.now()).min(LONGEST_SLEEP);
        let sleep = Handle::try_current().is_ok().then(|| Box::pin(sleep(left)));
        Self { at, sleep: Mutex::new(sleep) }
    }

    /// Resolves when the wall clock has reached `at`. The timer only wakes the task, and the task
    /// then compares the wall clock with `at`.
    fn poll(&self, core: &Core, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = core.clock.now();
            if now >= self.at {
                return Poll::Ready(());
            }
            let mut held = lock(&self.sleep);
            let Some(sleep) = held.as_mut() else { return Poll::Pending };
            let end = Instant::now() + self.at.saturating_since(now).min(LONGEST_SLEEP);
            // Resets the timer if someone set the wall clock forward, or if the timer ended early.
            if sleep.deadline() > end || sleep.is_elapsed() {
                sleep.as_mut().reset(end);
            }
            ready!(sleep.as_mut().poll(context));
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if let State::Watched { core, stream, .. } = &self.0 {
            core.registry.remove(stream);
            core.observer.observe(|| Observation::StreamClosed);
        }
    }
}

impl fmt::Debug for OpenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStream").field("cause", &self.cause()).finish_non_exhaustive()
    }
}

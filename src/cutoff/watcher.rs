//! The task that watches the open streams of a service, with one timer for all of them.
//!
//! At each tick, the watcher does these steps:
//!
//! 1. If the coverage of a log has changed, it searches the deny set for the token of each stream,
//!    and updates the stream's coverage. If there are only new streams, it does so for the streams
//!    that the log did not cover before.
//! 2. It cuts the streams whose limit comes before the next tick.
//! 3. It asks the store about a stream if its latest proof is old, or if a revocation may concern
//!    it. At most 64 questions are unanswered at a time.
//!
//! While the log covers all streams and the node follows it, a tick reads only two numbers per
//! bucket. Without open streams there are no ticks.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{
    cause::CutoffCause,
    judge::Verdict,
    state::Stream,
    streams::{Core, lock},
};
use crate::store::BoxFuture;

/// The maximum number of unanswered questions to the store.
const MOST_QUESTIONS: usize = 64;
/// The number of consecutive failed questions after which the watcher asks no more until the next
/// tick.
const MOST_FAILURES: u32 = 16;
/// The maximum drift of the wall clock against the timers, in ms. If the drift is larger, someone
/// has set the clock, or the machine was suspended.
const JUMP: u64 = 200;

/// Starts the watcher, if none runs. Does nothing outside of a Tokio runtime. Then only the polls
/// of the streams check their limits.
pub(super) fn start(core: &Arc<Core>) {
    if core.is_watched.swap(true, Ordering::AcqRel) {
        return;
    }
    let Ok(runtime) = Handle::try_current() else {
        return core.is_watched.store(false, Ordering::Release);
    };
    let guard = EndGuard(Arc::downgrade(core));
    let watcher = Watcher {
        core: Arc::downgrade(core),
        bell: Arc::clone(&core.bell),
        tick: Duration::from_nanos(core.pace.tick),
        began: Instant::now(),
        offset: None,
        versions: Vec::new(),
        has_uncovered: true,
        queue: VecDeque::new(),
        questions: FuturesUnordered::new(),
        failures: 0,
    };
    let task = runtime.spawn(async move {
        let _guard = guard;
        watcher.run().await;
    });
    *lock(&core.watcher) = Some(task.abort_handle());
}

/// A guard that cuts all streams if the watcher ends before its service, by a panic or with its
/// runtime.
struct EndGuard(Weak<Core>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        if let Some(core) = self.0.upgrade() {
            core.is_watched.store(false, Ordering::Release);
            if core.asks() {
                core.registry.for_each(|stream| core.cut(stream, CutoffCause::Unconfirmed));
            }
        }
    }
}

/// The store's answer to a question about a stream.
struct Answer {
    stream: Arc<Stream>,
    /// The time just before the question.
    began: u64,
    /// True if the watcher asked because of a revocation.
    is_urgent: bool,
    /// `None` if the store did not answer in time, or failed.
    verdict: Option<Verdict>,
}

struct Watcher {
    /// A weak handle, so that the watcher does not keep the service alive.
    core: Weak<Core>,
    bell: Arc<Notify>,
    tick: Duration,
    began: Instant,
    /// The wall clock minus the time since `began`, in ms. It jumps if someone sets the wall clock.
    offset: Option<u64>,
    /// The coverage version of each bucket at the last tick.
    versions: Vec<u64>,
    /// True if the next tick must look for streams to cut or to ask about: the log does not cover
    /// one of them, or a question is urgent or got no answer.
    has_uncovered: bool,
    /// The streams about which the watcher has to ask.
    queue: VecDeque<Arc<Stream>>,
    questions: FuturesUnordered<BoxFuture<Answer>>,
    /// Count of consecutive questions without an answer.
    failures: u32,
}

impl Watcher {
    async fn run(mut self) {
        let bell = Arc::clone(&self.bell);
        let mut next = Instant::now() + self.tick;
        loop {
            let is_idle = {
                let Some(core) = self.core.upgrade() else { return };
                self.take_urgent(&core);
                self.ask(&core);
                core.registry.open() == 0 && self.questions.is_empty()
            };
            if is_idle {
                bell.notified().await;
                next = Instant::now() + self.tick;
                continue;
            }
            tokio::select! {
                () = sleep_until(next) => {
                    let Some(core) = self.core.upgrade() else { return };
                    self.look(&core);
                    next = Instant::now() + self.tick;
                }
                Some(answer) = self.questions.next(), if !self.questions.is_empty() => {
                    let Some(core) = self.core.upgrade() else { return };
                    self.settle(&core, answer);
                }
                () = bell.notified() => {}
            }
        }
    }

    /// Does the work of one tick.
    fn look(&mut self, core: &Core) {
        self.failures = 0;
        self.notice_jump(core);
        if !core.asks() {
            return;
        }
        let (now, has_new) = (core.now(), core.has_new.swap(false, Ordering::AcqRel));
        let must_look = self.look_at_log(core, now, has_new);
        if must_look || has_new || self.has_uncovered {
            self.look_at_times(core, now);
        }
    }

    /// Updates the coverage of the streams, and then the proofs by the log. Returns true if the
    /// watcher must look for streams to cut or to ask about: there is no replica, the coverage has
    /// changed, or the node has not read a log for long.
    fn look_at_log(&mut self, core: &Core, now: u64, has_new: bool) -> bool {
        let Some(followed) = core.followed() else { return true };
        // `known` returns a time and a coverage version. If the version is the same as at the last
        // tick, the log still covered the same tokens at the returned time.
        let buckets = u32::try_from(followed.proven.len()).unwrap_or(u32::MAX);
        let known: Vec<_> = (0..buckets).map(|bucket| followed.replica.known(bucket)).collect();
        let is_changed = !known.iter().map(|(_, version)| version).eq(&self.versions);
        if is_changed || has_new {
            core.registry.for_each(|stream| {
                let was_covered = stream.is_covered.load(Ordering::Acquire);
                if stream.cause().is_some() || (was_covered && !is_changed) {
                    return;
                }
                if let Some(proven) = core.proof_by_log(stream) {
                    stream.prove(proven);
                }
                stream.is_covered.store(core.look(stream), Ordering::Release);
            });
        }
        for (proven, (known, _)) in followed.proven.iter().zip(&known) {
            proven.store(*known, Ordering::Release);
        }
        let is_old = known.iter().any(|(known, _)| now.saturating_sub(*known) > core.pace.suspicious());
        self.versions = known.into_iter().map(|(_, version)| version).collect();
        is_changed || is_old
    }

    /// Cuts the streams whose limit comes before the next tick. Queues questions about streams with
    /// an old proof or an urgent question.
    fn look_at_times(&mut self, core: &Core, now: u64) {
        let next = now.saturating_add(core.pace.tick);
        let soon = now.saturating_add(core.pace.tick / 2);
        let (queue, mut has_uncovered) = (&mut self.queue, false);
        core.registry.for_each(|stream| {
            if stream.cause().is_some() {
                return;
            }
            has_uncovered |= !stream.is_covered.load(Ordering::Acquire) || stream.is_urgent.load(Ordering::Acquire);
            if core.limit(stream) <= next {
                return core.cut(stream, CutoffCause::Unconfirmed);
            }
            let due = core.proof(stream).0.saturating_add(core.pace.due(stream.share));
            let is_due = due <= soon || stream.is_urgent.load(Ordering::Acquire);
            if is_due && !stream.is_asked.swap(true, Ordering::AcqRel) {
                queue.push_back(Arc::clone(stream));
            }
        });
        self.has_uncovered = has_uncovered;
    }

    /// Wakes the streams that end at the expiry of their token, if the wall clock has jumped. The
    /// timers of these streams do not follow the wall clock.
    fn notice_jump(&mut self, core: &Core) {
        let timers = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let offset = core.clock.now().as_millis().wrapping_sub(timers);
        let before = *self.offset.get_or_insert(offset);
        if offset.wrapping_sub(before).wrapping_add(JUMP) > 2 * JUMP {
            self.offset = Some(offset);
            core.registry.for_each(|stream| {
                if stream.expires.load(Ordering::Acquire) {
                    stream.wake();
                }
            });
        }
    }

    fn take_urgent(&mut self, core: &Core) {
        let queue = &mut self.queue;
        core.take_urgent(|stream| {
            // Also marks a stream with an unanswered question, because the answer may be older than
            // the revocation.
            stream.is_urgent.store(true, Ordering::Release);
            if !stream.is_asked.swap(true, Ordering::AcqRel) {
                queue.push_front(Arc::clone(stream));
            }
        });
    }

    /// Asks the store about the streams in the queue, with at most [`MOST_QUESTIONS`] unanswered
    /// questions.
    fn ask(&mut self, core: &Core) {
        while self.questions.len() < MOST_QUESTIONS {
            let Some(stream) = self.queue.pop_front() else { return };
            if self.failures >= MOST_FAILURES || stream.cause().is_some() {
                // If the stream is open, the next tick queues it again.
                stream.is_asked.store(false, Ordering::Release);
                continue;
            }
            let is_urgent = stream.is_urgent.swap(false, Ordering::AcqRel);
            let began = core.now();
            let question = core.question(&stream);
            self.questions.push(question.map(move |verdict| Answer { stream, began, is_urgent, verdict }).boxed());
        }
    }

    fn settle(&mut self, core: &Core, Answer { stream, began, is_urgent, verdict }: Answer) {
        stream.is_asked.store(false, Ordering::Release);
        match verdict {
            Some(Verdict::Alive(at, server)) => {
                self.failures = 0;
                stream.prove(began);
                if core.confirm(&stream, at, server) {
                    stream.is_covered.store(true, Ordering::Release);
                }
            }
            Some(Verdict::Ended(cause)) => {
                self.failures = 0;
                core.cut(&stream, cause);
            }
            None => {
                self.failures = self.failures.saturating_add(1);
                self.has_uncovered = true;
                // The question stays urgent, so the next tick asks again.
                if is_urgent {
                    stream.is_urgent.store(true, Ordering::Release);
                }
            }
        }
        let is_urgent = stream.is_urgent.load(Ordering::Acquire);
        if is_urgent && verdict.is_some() && !stream.is_asked.swap(true, Ordering::AcqRel) {
            self.queue.push_front(stream);
        }
    }
}

//! The tasks of a replica: one for each feed, one that republishes, and one that reports to the
//! observer. A feed reads the logs of all buckets, or of one bucket of a cluster.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    bucket::{Bucket, Outcome},
    log_reader::{Break, PendingRead},
    notices::ReplicaHooks,
    pace::{BackPace, Schedule},
    republish::republish,
    sample::sample,
    shared::{Replica, ReplicaSettings, Source},
    status::{Cause, FeedMonitor},
    store_feed::StoreFeed,
};
use crate::{
    clock::{Clock, Timestamp, jittered},
    error::{StoreError, StoreErrorKind},
    observe::Observation,
    store::{LogEntry, LogFeed, LogPages, LogQuery},
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// If the staleness is shorter than this time, the task passes this time to
/// [`Schedule::stood_still`], which detects that the process or the machine was suspended.
const STANDSTILL: Duration = Duration::from_secs(1);
/// Maximum count of entries of one read, over all buckets. At 80 Mbit/s, 1024 entries of 375 bytes
/// take 40 ms. The shortest deadline of a read is 150 ms.
const ENTRIES_A_READ: u32 = 1024;
/// Minimum count of entries that the task requests in one read. After each failed read, the task
/// halves the count.
const FEWEST_ENTRIES_A_READ: u32 = 32;
/// Maximum count of entries of a page backwards. The count is small, because reads and requests
/// wait while the node reads and applies the page.
const ENTRIES_A_BACK_PAGE: u32 = 64;

#[cfg(feature = "tracing")]
const GOES_ON: &str = "this node continues from the newest entry";

/// The handles of a replica's tasks. Dropping this value aborts the tasks.
#[derive(Debug)]
pub(crate) struct ReplicaTasks(Vec<AbortHandle>);

impl ReplicaTasks {
    /// Creates a replica of the store's log, and starts its tasks on this runtime. Without feeds,
    /// one task reads the log through the store itself.
    pub(crate) fn start(
        runtime: &Handle,
        source: Source,
        mut feeds: Vec<Box<dyn LogFeed>>,
        clock: Arc<dyn Clock>,
        settings: ReplicaSettings,
        hooks: ReplicaHooks,
    ) -> (Arc<Replica>, Self) {
        if feeds.is_empty() {
            feeds.push(Box::new(StoreFeed::new(Arc::clone(&source.log))));
        }
        let replica = Arc::new(Replica::new(source, clock, &feeds, &settings, hooks));
        let mut tasks = vec![runtime.spawn(republish(Arc::clone(&replica))).abort_handle()];
        if replica.observer.is_set() && replica.decides() {
            tasks.push(runtime.spawn(sample(Arc::clone(&replica))).abort_handle());
        }
        let count = NonZeroU32::new(u32::try_from(feeds.len()).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        let has_skipped = Arc::new(AtomicBool::new(false));
        for (feed, monitor) in feeds.into_iter().zip(&replica.monitor.feeds) {
            let task = FeedTask {
                replica: Arc::clone(&replica),
                monitor: Arc::clone(monitor),
                schedule: Schedule::new(feed.buckets(), settings.interval),
                feed,
                settings,
                limit: ENTRIES_A_READ,
                back: BackPace::new(count),
                has_skipped: Arc::clone(&has_skipped),
            };
            tasks.push(runtime.spawn(task.run()).abort_handle());
        }
        (replica, Self(tasks))
    }
}

impl Drop for ReplicaTasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// The task of one feed, which reads the logs of the feed's buckets.
struct FeedTask {
    replica: Arc<Replica>,
    monitor: Arc<FeedMonitor>,
    feed: Box<dyn LogFeed>,
    settings: ReplicaSettings,
    schedule: Schedule,
    limit: u32,
    back: BackPace,
    /// True once any of the tasks has logged that entries were skipped.
    has_skipped: Arc<AtomicBool>,
}

impl FeedTask {
    async fn run(mut self) {
        let bell = Arc::clone(&self.monitor.bell);
        let _stopped = StoppedGuard { replica: Arc::downgrade(&self.replica), monitor: Arc::clone(&self.monitor) };
        let mut failures = 0;
        loop {
            self.suspect_after_standstill();
            let began = Instant::now();
            let due = self.schedule.due(began, self.replica.needs_news());
            if !due.is_empty() {
                match self.read(&due).await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        self.limit = (self.limit / 2).max(FEWEST_ENTRIES_A_READ);
                        self.monitor.set_cause(Cause::Store(error.kind()));
                        // Nudges and waiting requests do not shorten this pause. Otherwise the
                        // node would send many reads to a server that is down.
                        self.schedule.delay(began + self.pause(failures));
                    }
                }
                report(&self.replica, &self.monitor);
            }
            if failures > 0 {
                let next = self.schedule.next(self.replica.needs_news());
                pause_until(next).await;
                continue;
            }
            let back = self.next_back_page();
            if let Some(at) = back.filter(|at| *at <= Instant::now()) {
                self.read_back(at).await;
            }
            let next = self.schedule.next(self.replica.needs_news());
            let next = self.next_back_page().map_or(next, |back| back.min(next));
            tokio::select! {
                () = sleep_until(next) => {}
                buckets = self.feed.nudged() => self.schedule.nudge(&buckets, Instant::now()),
                buckets = bell.rung() => self.schedule.hurry(&buckets, Instant::now()),
            }
            pause_until(began + SHORTEST_PAUSE.min(self.settings.interval)).await;
        }
    }

    /// Drops the feed's connections if this process was suspended. During the suspension another
    /// server may have become the primary, unnoticed by this node.
    fn suspect_after_standstill(&mut self) {
        let longest = self.settings.staleness.max(STANDSTILL);
        if self.schedule.stood_still(self.replica.clock.elapsed(), longest) {
            self.feed.suspect();
        }
    }

    /// Reads and applies one page of each of these buckets.
    async fn read(&mut self, due: &[u32]) -> Result<(), StoreError> {
        // A new lease starts at this time, before the task sends the queries. So the pages contain
        // every revocation that the store has confirmed by this time.
        let now = self.replica.clock.elapsed();
        let count = u32::try_from(due.len()).unwrap_or(u32::MAX).max(1);
        let limit = self.limit.checked_div(count).unwrap_or(0).clamp(2, 512);
        let start = |number: &u32| Some((*number, self.replica.bucket(*number)?.next_read(now, limit)));
        let reads: Vec<(u32, PendingRead)> = due.iter().filter_map(start).collect();
        let queries = reads.iter().map(|(number, read)| (*number, read.query.clone())).collect();
        let pages = self.fetch(queries).await?;
        self.limit = self.limit.saturating_mul(2).min(ENTRIES_A_READ);
        let (mut unread, mut is_resync, mut breaks) = (None, false, Vec::new());
        // Counts an unreadable page as an answer, because it concerns only its own bucket.
        let is_silent =
            pages.iter().all(|page| page.as_ref().is_err_and(|error| error.kind() != StoreErrorKind::Untrusted));
        for ((number, read), page) in reads.iter().zip(pages) {
            let Some(bucket) = self.replica.bucket(*number) else { continue };
            match page {
                Ok(page) => {
                    self.replica.note_staleness(&page);
                    let mut times = Vec::new();
                    let announce = |entries: &[LogEntry]| {
                        self.replica.announce_entries(entries);
                        if self.replica.observer.is_set() {
                            times.extend(entries.iter().map(|entry| entry.at));
                        }
                    };
                    let outcome = bucket.apply_and(read, page, self.replica.clock.now(), announce);
                    if outcome.news > 0 {
                        self.observe_propagation(&times);
                    }
                    is_resync |= matches!(outcome.broke, Some(Break::Incarnation | Break::Chain));
                    breaks.extend(outcome.broke.map(|why| (why, *number)));
                    self.handle_outcome(*number, &outcome);
                    if outcome.more {
                        self.schedule.hurry(&[*number], Instant::now());
                    }
                }
                Err(error) => {
                    // After a failed or late read, the lease stays as it is. An unreadable page may
                    // come from another deployment, so the node ends the bucket's lease.
                    if matches!(error.kind(), StoreErrorKind::Untrusted | StoreErrorKind::Layout) {
                        bucket.reject_page();
                    }
                    unread = Some(error.kind());
                }
            }
        }
        log_breaks(&breaks);
        match unread {
            // No bucket has got an answer, so the caller pauses.
            Some(kind) if is_silent => Err(kind.into()),
            unread => {
                let cause = unread.map(Cause::Store).or(is_resync.then_some(Cause::Resync));
                self.monitor.set_read(now, due, cause);
                Ok(())
            }
        }
    }

    /// Reports to the observer how long each revocation of a page took to reach this node. `times`
    /// are the log times of the revocations.
    fn observe_propagation(&self, times: &[Timestamp]) {
        if times.is_empty() || !self.replica.needs_news() {
            return;
        }
        let now = self.replica.source.store.now();
        for at in times {
            let delay = now.saturating_since(*at);
            self.replica.observer.observe(|| Observation::RevocationPropagated { delay });
        }
    }

    async fn fetch(&mut self, queries: Vec<(u32, LogQuery)>) -> Result<LogPages, StoreError> {
        let count = queries.len();
        // Limits the read of a feed that applies no deadline itself.
        let limit = self.settings.deadline.saturating_mul(2);
        let pages = timeout(limit, self.feed.read(queries)).await.map_err(|_| StoreErrorKind::Timeout)??;
        if pages.len() == count {
            return Ok(pages);
        }
        Err(StoreError::new(StoreErrorKind::Untrusted).with_source("the feed did not return one page for each query"))
    }

    /// Logs the outcome of a page. If the store has lost entries, wakes the task that republishes.
    #[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "only for log messages"))]
    fn handle_outcome(&self, number: u32, outcome: &Outcome) {
        #[cfg(feature = "tracing")]
        if outcome.applied > 0 {
            tracing::trace!(bucket = number, entries = outcome.applied, "entries of the revocation log were applied");
        }
        if outcome.has_skipped && !self.has_skipped.swap(true, Ordering::Relaxed) {
            #[cfg(feature = "tracing")]
            tracing::warn!(
                bucket = number,
                "the revocation log contains entries that are unreadable, or whose ids no valid token has; this node \
                 skips them. Find the client that writes to the keys of this prefix"
            );
        }
        if outcome.has_lost {
            self.replica.has_lost.notify_one();
        }
    }

    /// Returns the time of the next page backwards, or `None` if no bucket has more to read back.
    fn next_back_page(&self) -> Option<Instant> {
        let now = self.replica.source.store.now();
        let buckets = self.feed.buckets().iter().filter_map(|number| self.replica.bucket(*number)?.way_back());
        buckets.map(|(oldest, is_urgent)| self.back.next(now.saturating_since(oldest), is_urgent)).min()
    }

    /// Reads one page backwards. Does not report a failure, because the next read forwards meets
    /// the same failure and reports it.
    async fn read_back(&mut self, at: Instant) {
        let buckets = self.feed.buckets();
        let first = self.back.take_turn(buckets.len());
        let now = self.replica.source.store.now();
        let is_next = |number: &&u32| {
            let way = self.replica.bucket(**number).and_then(Bucket::way_back);
            way.is_some_and(|(oldest, is_urgent)| self.back.next(now.saturating_since(oldest), is_urgent) <= at)
        };
        let Some(number) = buckets.iter().cycle().skip(first).take(buckets.len()).find(is_next).copied() else {
            return;
        };
        let limit = (self.limit / 4).clamp(2, ENTRIES_A_BACK_PAGE);
        let read = self.replica.bucket(number).and_then(|bucket| bucket.next_back_read(limit));
        let Some(read) = read else { return };
        let Ok(mut pages) = self.fetch(vec![(number, read.query.clone())]).await else {
            self.limit = (self.limit / 2).max(FEWEST_ENTRIES_A_READ);
            return self.back.pause_after_failure(Instant::now());
        };
        let (Some(Ok(page)), Some(bucket)) = (pages.pop(), self.replica.bucket(number)) else {
            return self.back.pause_after_failure(Instant::now());
        };
        self.back.count_page(&page.entries, page.skipped, Instant::now());
        let outcome = bucket.apply_back_and(&read, page, |entries| self.replica.announce_entries(entries));
        self.handle_outcome(number, &outcome);
    }

    /// Returns the pause after this count of failures, measured from the start of the last read.
    /// The pause doubles with each failure and is jittered. It is at most twice the deadline, and
    /// at most 1 s.
    ///
    /// *A connection attempt makes progress only while a read waits for it. With longer pauses, a
    /// busy machine would never connect.*
    fn pause(&self, failures: u32) -> Duration {
        let longest = LONGEST_PAUSE.min(self.settings.deadline.saturating_mul(2));
        let pause = self.settings.interval.saturating_mul(1 << failures.min(10)).min(longest).max(SHORTEST_PAUSE);
        jittered(pause)
    }
}

/// Logs the breaks of one read: one message for each cause, because a restart of the store breaks
/// all logs.
#[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "only for log messages"))]
fn log_breaks(breaks: &[(Break, u32)]) {
    #[cfg(feature = "tracing")]
    for why in [Break::Incarnation, Break::Chain, Break::Server, Break::Behind] {
        let mut broken = breaks.iter().filter(|(cause, _)| *cause == why).map(|(_, bucket)| *bucket).peekable();
        let Some(first_bucket) = broken.peek().copied() else { continue };
        let buckets = broken.count();
        match why {
            Break::Incarnation => tracing::warn!(buckets, first_bucket, "the store has lost its data; {GOES_ON}"),
            Break::Chain => {
                let text = "the store's log does not continue the part that this node has read";
                tracing::warn!(buckets, first_bucket, "{text}; {GOES_ON}");
            }
            Break::Server => tracing::info!(buckets, first_bucket, "another server answers for the store; {GOES_ON}"),
            Break::Behind => tracing::debug!(buckets, first_bucket, "the log grows faster than it is read; {GOES_ON}"),
        }
    }
}

/// Waits until a moment. If the moment has passed, yields once, so that the task does not block its
/// thread.
async fn pause_until(moment: Instant) {
    if moment > Instant::now() {
        sleep_until(moment).await;
    } else {
        tokio::task::yield_now().await;
    }
}

fn report(replica: &Replica, monitor: &FeedMonitor) {
    if let Some(reason) = replica.monitor.report(monitor, &replica.buckets, replica.clock.elapsed()) {
        replica.observer.observe(|| Observation::LeaseLost { reason });
    }
}

/// A guard that reports the end of a task after a return, a panic or an abort.
struct StoppedGuard {
    replica: Weak<Replica>,
    monitor: Arc<FeedMonitor>,
}

impl Drop for StoppedGuard {
    fn drop(&mut self) {
        self.monitor.set_cause(Cause::Stopped);
        if let Some(replica) = self.replica.upgrade() {
            report(&replica, &self.monitor);
        }
    }
}

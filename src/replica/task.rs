//! The tasks that feed a replica: one for each server that holds a part of the log.

use std::{
    num::NonZeroU32,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    OnNotice, Replica, Settings, Source,
    bucket::{Bucket, Outcome},
    log_reader::{Break, PendingRead},
    pace::{BackPace, Schedule},
    republish,
    status::{Health, Trouble},
};
use crate::{
    clock::{Clock, jittered, saturating_millis},
    error::{StoreError, StoreErrorKind},
    store::{BoxFuture, LogFeed, LogPage, LogPages, LogQuery, RevocationLog, bell::Bell},
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A tick that comes later than this, and than the staleness, shows that the process or machine
/// stood still.
const STANDSTILL: Duration = Duration::from_secs(1);
/// The most entries that one read asks for, of all buckets. On a network of 80 Mbit/s 1024 entries
/// of 375 bytes take 40 ms, of a deadline of 150 ms at least.
const ENTRIES_A_READ: u32 = 1024;
/// A read that was late is repeated with half of the entries, down to these.
const FEWEST_ENTRIES_A_READ: u32 = 32;
/// The most entries of a page that is read backwards: few, because requests wait while one is read
/// and applied.
const ENTRIES_A_BACK_PAGE: u32 = 64;

#[cfg(feature = "tracing")]
const GOES_ON: &str = "this node goes on from its newest entry";

/// The tasks of a replica. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Followers(Vec<AbortHandle>);

impl Followers {
    /// Makes a replica of the store's log, and starts to follow the log over these feeds, on this
    /// runtime.
    pub(crate) fn start(
        runtime: &Handle,
        source: Source,
        mut feeds: Vec<Box<dyn LogFeed>>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        on_notice: OnNotice,
    ) -> (Arc<Replica>, Self) {
        if feeds.is_empty() {
            let log = Arc::clone(&source.log);
            feeds.push(Box::new(StoreFeed { buckets: (0..log.buckets()).collect(), log }));
        }
        let replica = Arc::new(Replica::new(source, clock, &feeds, &settings, on_notice));
        let mut tasks = vec![runtime.spawn(republish::restore(Arc::clone(&replica))).abort_handle()];
        let count = NonZeroU32::new(u32::try_from(feeds.len()).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        for (number, feed) in feeds.into_iter().enumerate() {
            let schedule = Schedule::new(feed.buckets(), settings.interval, !settings.staleness.is_zero());
            let replica = Arc::clone(&replica);
            let (limit, back) = (ENTRIES_A_READ, BackPace::new(count));
            let follower = Follower { replica, feed, number, settings, schedule, limit, back };
            tasks.push(runtime.spawn(follower.run()).abort_handle());
        }
        (replica, Self(tasks))
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Follows the log of the buckets of one server.
struct Follower {
    replica: Arc<Replica>,
    feed: Box<dyn LogFeed>,
    number: usize,
    settings: Settings,
    schedule: Schedule,
    /// The most entries of the next read.
    limit: u32,
    back: BackPace,
}

impl Follower {
    async fn run(mut self) {
        let Some(health) = self.replica.feeds.get(self.number) else { return };
        let wake = health.wake();
        let _stopped = StoppedGuard { replica: Arc::downgrade(&self.replica), number: self.number };
        let mut failures = 0;
        loop {
            self.notice_standstill();
            let began = Instant::now();
            let due = self.schedule.due(began);
            if !due.is_empty() {
                match self.read(&due).await {
                    Ok(()) => failures = 0,
                    Err(error) => {
                        failures += 1;
                        self.limit = (self.limit / 2).max(FEWEST_ENTRIES_A_READ);
                        self.health().is_in(Trouble::Store(error.kind()));
                        // Wake-ups do not shorten this pause: a server that is down is not asked
                        // more often because requests need it.
                        self.schedule.delay(began + self.pause(failures));
                    }
                }
                self.replica.report(self.health());
            }
            if failures > 0 {
                let next = self.schedule.next();
                pause_until(next).await;
                continue;
            }
            let back = self.next_back_page();
            if let Some(at) = back.filter(|at| *at <= Instant::now()) {
                self.read_back(at).await;
            }
            let next = self.schedule.next();
            let next = self.next_back_page().map_or(next, |back| back.min(next));
            tokio::select! {
                () = sleep_until(next) => {}
                buckets = self.feed.nudged() => self.schedule.nudge(&buckets, Instant::now()),
                buckets = wake.heard() => self.schedule.hurry(&buckets, Instant::now()),
            }
            pause_until(began + SHORTEST_PAUSE.min(self.settings.interval)).await;
        }
    }

    /// Drops the connections after this node stood still: meanwhile another server may have
    /// replaced theirs, without notice to this node.
    fn notice_standstill(&mut self) {
        let longest = self.settings.staleness.max(STANDSTILL);
        if self.schedule.stood_still(self.replica.clock.elapsed(), longest) {
            self.feed.suspect();
        }
    }

    /// Reads the log of some buckets once.
    async fn read(&mut self, due: &[u32]) -> Result<(), StoreError> {
        // Taken before the question is sent: the answer contains all revocations that were
        // confirmed by now.
        let now = self.replica.clock.elapsed();
        let count = u32::try_from(due.len()).unwrap_or(u32::MAX).max(1);
        let limit = self.limit.checked_div(count).unwrap_or(0).clamp(2, 512);
        let reads: Vec<(u32, PendingRead)> = due
            .iter()
            .filter_map(|number| Some((*number, self.replica.bucket(*number)?.next_read(now, limit))))
            .collect();
        let queries = reads.iter().map(|(number, read)| (*number, read.query().clone())).collect();
        let pages = self.pages(queries).await?;
        self.limit = self.limit.saturating_mul(2).min(ENTRIES_A_READ);
        let (mut unread, mut resync) = (None, false);
        // An answer that cannot be read concerns its bucket alone.
        let is_silent =
            pages.iter().all(|page| page.as_ref().is_err_and(|error| error.kind() != StoreErrorKind::Untrusted));
        for ((number, read), page) in reads.iter().zip(pages) {
            let applied = self.apply(*number, read, page);
            if applied.more {
                self.schedule.hurry(&[*number], Instant::now());
            }
            unread = applied.error.or(unread);
            resync |= applied.resync;
        }
        match unread {
            // A server that answers for none of its buckets is asked as seldom as one that is away.
            Some(kind) if is_silent => Err(kind.into()),
            unread => {
                let trouble = unread.map(Trouble::Store).or(resync.then_some(Trouble::Resync));
                self.health().was_read(now, due, trouble);
                Ok(())
            }
        }
    }

    async fn pages(&mut self, queries: Vec<(u32, LogQuery)>) -> Result<LogPages, StoreError> {
        let count = queries.len();
        // The feed applies this deadline itself. This limit is for a feed that does not.
        let limit = self.settings.deadline.saturating_mul(2);
        let pages = timeout(limit, self.feed.read(queries)).await.map_err(|_| StoreErrorKind::Timeout)??;
        if pages.len() == count {
            return Ok(pages);
        }
        Err(StoreError::new(StoreErrorKind::Untrusted).with_source("not one page for each query"))
    }

    fn apply(&self, number: u32, read: &PendingRead, page: Result<LogPage, StoreError>) -> Applied {
        let Some(bucket) = self.replica.bucket(number) else { return Applied::default() };
        match page {
            Ok(page) => {
                self.replica.longest_staleness.fetch_max(saturating_millis(page.max_staleness), Ordering::Relaxed);
                self.replica.longest_failover.fetch_max(saturating_millis(page.max_failover), Ordering::Relaxed);
                let outcome = bucket.apply(read, page, self.replica.clock.now());
                let resync = outcome.broke.is_some_and(|why| matches!(why, Break::Incarnation | Break::Chain));
                self.notice(number, &outcome);
                Applied { more: outcome.more, resync, error: None }
            }
            Err(error) => {
                // A late answer proves nothing. One that cannot be read may be another
                // deployment's.
                if matches!(error.kind(), StoreErrorKind::Untrusted | StoreErrorKind::Layout) {
                    bucket.reject_page();
                }
                Applied { error: Some(error.kind()), ..Applied::default() }
            }
        }
    }

    #[cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "they are for the log"))]
    fn notice(&self, number: u32, outcome: &Outcome) {
        #[cfg(feature = "tracing")]
        if let Some(why) = outcome.broke {
            match why {
                Break::Incarnation => {
                    tracing::warn!(bucket = number, "the store has lost its data; {GOES_ON}");
                }
                Break::Chain => {
                    tracing::warn!(bucket = number, "the store's log is not the one that was read before; {GOES_ON}");
                }
                Break::Server => tracing::info!(bucket = number, "another server answers for the store; {GOES_ON}"),
                Break::Behind => tracing::debug!(bucket = number, "the log grows faster than it is read; {GOES_ON}"),
            }
        }
        #[cfg(feature = "tracing")]
        if outcome.applied > 0 {
            tracing::trace!(bucket = number, entries = outcome.applied, "entries of the revocation log were applied");
        }
        if outcome.has_skipped && !self.replica.has_skipped.swap(true, Ordering::Relaxed) {
            #[cfg(feature = "tracing")]
            tracing::warn!(
                bucket = number,
                "the revocation log holds entries that cannot be read, or whose ids no valid token has; they are \
                 skipped. Find out who writes to the keys of this prefix"
            );
        }
        if outcome.has_lost {
            self.replica.lost.notify_one();
        }
    }

    /// Returns the time at which the next page is to be read backwards, if there is more to be
    /// read.
    fn next_back_page(&self) -> Option<Instant> {
        let now = self.replica.source.store.now();
        let buckets = self.feed.buckets().iter().filter_map(|number| self.replica.bucket(*number)?.way_back());
        buckets.map(|(oldest, is_urgent)| self.back.next(now.saturating_since(oldest), is_urgent)).min()
    }

    /// Reads one page backwards. A failure is not reported: the next read of the log meets it too.
    async fn read_back(&mut self, at: Instant) {
        let buckets = self.feed.buckets();
        let start = self.back.turn(buckets.len());
        let now = self.replica.source.store.now();
        let is_next = |number: &&u32| {
            let way = self.replica.bucket(**number).and_then(Bucket::way_back);
            way.is_some_and(|(oldest, urgent)| self.back.next(now.saturating_since(oldest), urgent) <= at)
        };
        let Some(number) = buckets.iter().cycle().skip(start).take(buckets.len()).find(is_next).copied() else {
            return;
        };
        let limit = (self.limit / 4).clamp(2, ENTRIES_A_BACK_PAGE);
        let Some(read) = self.replica.bucket(number).and_then(|bucket| bucket.next_back_read(limit)) else { return };
        let Ok(mut pages) = self.pages(vec![(number, read.query().clone())]).await else {
            self.limit = (self.limit / 2).max(FEWEST_ENTRIES_A_READ);
            return self.back.failed(Instant::now());
        };
        let (Some(Ok(page)), Some(bucket)) = (pages.pop(), self.replica.bucket(number)) else {
            return self.back.failed(Instant::now());
        };
        self.back.took(&page.entries, page.skipped, Instant::now());
        let outcome = bucket.apply_back(&read, page);
        self.notice(number, &outcome);
    }

    /// Returns the pause after so many failures, from the beginning of the last read. It doubles,
    /// up to a second under a long deadline, and is never the same for two nodes. It is not much
    /// longer than a read may take: an attempt to connect proceeds only while a task waits for it.
    /// With long pauses it would begin again and again on a busy machine.
    fn pause(&self, failures: u32) -> Duration {
        let longest = LONGEST_PAUSE.min(self.settings.deadline.saturating_mul(2));
        let pause = self.settings.interval.saturating_mul(1 << failures.min(10)).min(longest).max(SHORTEST_PAUSE);
        jittered(pause)
    }

    fn health(&self) -> &Health {
        // Each feed has one.
        #[allow(clippy::indexing_slicing, reason = "`run` has found it")]
        &self.replica.feeds[self.number]
    }
}

/// Waits until a moment, and yields if it has passed: no follower keeps a thread of the runtime for
/// itself.
async fn pause_until(moment: Instant) {
    if moment > Instant::now() {
        sleep_until(moment).await;
    } else {
        tokio::task::yield_now().await;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Applied {
    more: bool,
    resync: bool,
    error: Option<StoreErrorKind>,
}

/// Reports the end of the task, whatever its cause.
struct StoppedGuard {
    replica: Weak<Replica>,
    number: usize,
}

impl Drop for StoppedGuard {
    fn drop(&mut self) {
        if let Some(replica) = self.replica.upgrade()
            && let Some(health) = replica.feeds.get(self.number)
        {
            health.is_in(Trouble::Stopped);
            replica.report(health);
        }
    }
}

/// A feed that reads the log through the store itself, for a store without feeds of its own.
struct StoreFeed {
    log: Arc<dyn RevocationLog>,
    buckets: Vec<u32>,
}

impl LogFeed for StoreFeed {
    fn buckets(&self) -> &[u32] {
        &self.buckets
    }

    fn read(&mut self, queries: Vec<(u32, LogQuery)>) -> BoxFuture<Result<LogPages, StoreError>> {
        let answers = queries.into_iter().map(|(bucket, query)| self.log.read(bucket, query));
        let answers: Vec<_> = answers.map(IntoFuture::into_future).collect();
        Box::pin(async move { Ok(join_all(answers).await) })
    }

    fn nudged(&self) -> BoxFuture<Vec<u32>> {
        Box::pin(std::future::pending())
    }
}

/// Returns the bell by which requests wake the reader of their bucket.
pub(super) fn bell_of(feed: &dyn LogFeed) -> Arc<Bell> {
    Bell::of(feed.buckets())
}

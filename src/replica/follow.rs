//! The tasks that feed a replica: one for each server that holds a part of the log.

use std::{
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
    OnNotice, Replica, Settings,
    bucket::Outcome,
    reader::Ask,
    report::{Health, Trouble},
    restore,
};
use crate::{
    clock::{Clock, jittered, saturating_millis},
    error::{StoreError, StoreErrorKind},
    store::{BoxFuture, LogCursor, LogFeed, LogPage, TokenStore},
};

/// Nudges that come faster than this are taken together: every read asks the server about all buckets.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The tasks of a replica. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Followers(Vec<AbortHandle>);

impl Followers {
    /// Makes a replica of the store's log and starts to follow that over these feeds, on this runtime.
    pub(crate) fn start(
        runtime: &Handle,
        store: &Arc<dyn TokenStore>,
        mut feeds: Vec<Box<dyn LogFeed>>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        on_notice: OnNotice,
    ) -> (Arc<Replica>, Self) {
        if feeds.is_empty() {
            feeds.push(Box::new(StoreFeed { store: Arc::clone(store), buckets: (0..store.buckets()).collect() }));
        }
        let replica = Arc::new(Replica::new(Arc::clone(store), clock, &feeds, &settings, on_notice));
        let mut tasks = vec![runtime.spawn(restore::restore(Arc::clone(&replica))).abort_handle()];
        for (number, feed) in feeds.into_iter().enumerate() {
            let follower = Follower { replica: Arc::clone(&replica), feed, number, settings };
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
}

impl Follower {
    async fn run(mut self) {
        let Some(health) = self.replica.feeds.get(self.number) else { return };
        let wake = health.wake();
        let _last_word = LastWord { replica: Arc::downgrade(&self.replica), number: self.number };
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let read = self.read().await;
            let more = match read {
                Ok(more) => {
                    failures = 0;
                    more
                }
                Err(error) => {
                    failures += 1;
                    self.health().is_in(Trouble::Store(error.kind()));
                    false
                }
            };
            self.replica.tell(self.health());
            if more {
                tokio::task::yield_now().await;
            } else if failures > 0 {
                // Not woken: a server that is down is not asked more often because it is needed.
                sleep_until(began + self.pause(failures)).await;
            } else {
                tokio::select! {
                    () = sleep_until(began + self.settings.interval) => {}
                    () = self.feed.nudged() => {}
                    () = wake.notified() => {}
                }
                sleep_until(began + SHORTEST_PAUSE.min(self.settings.interval)).await;
            }
        }
    }

    /// Asks once. Whether there is more to be read at once.
    async fn read(&mut self) -> Result<bool, StoreError> {
        // Before the question is sent: all that was confirmed by now is in the answer.
        let now = self.replica.clock.elapsed();
        let numbers = self.feed.buckets().to_vec();
        let asks: Vec<_> = numbers.iter().filter_map(|number| Some(self.replica.bucket(*number)?.ask(now))).collect();
        let since: Vec<_> = asks.iter().map(|ask| ask.since().cloned()).collect();
        // The feed has this deadline itself; one that does not keep it is not waited for either.
        let limit = self.settings.deadline.saturating_mul(2);
        let pages = timeout(limit, self.feed.read(&since)).await.map_err(|_| StoreErrorKind::Timeout)??;
        if pages.len() != asks.len() {
            return Err(StoreError::new(StoreErrorKind::Untrusted).with_source("not one page for each bucket"));
        }
        let (mut more, mut trouble) = (false, None);
        let is_silent = pages.iter().all(Result::is_err);
        for ((number, ask), page) in numbers.iter().zip(&asks).zip(pages) {
            let outcome = self.apply(*number, ask, page);
            more |= outcome.more;
            trouble = match outcome.error {
                Some(kind) => Some(Trouble::Store(kind)),
                None if outcome.resync => trouble.or(Some(Trouble::Resync)),
                None => trouble,
            };
        }
        match trouble {
            // A server that tells of none of its buckets is asked as seldom as one that is away.
            Some(Trouble::Store(kind)) if is_silent => Err(kind.into()),
            trouble => {
                self.health().was_read(now, trouble);
                Ok(more)
            }
        }
    }

    fn apply(&self, number: u32, ask: &Ask, page: Result<LogPage, StoreError>) -> Applied {
        let Some(bucket) = self.replica.bucket(number) else { return Applied::default() };
        match page {
            Ok(page) => {
                let staleness = saturating_millis(page.max_staleness);
                self.replica.longest_staleness.fetch_max(staleness, Ordering::Relaxed);
                let Outcome { broke, more, completed, has_lost } = bucket.page(ask, page);
                #[cfg(feature = "tracing")]
                if let Some(why) = broke {
                    use super::reader::Break;

                    let what = match why {
                        Break::Incarnation => "the store has lost its data",
                        Break::Chain => "the store's log is not the one that was read before",
                    };
                    tracing::warn!(bucket = number, "{what}; the bucket's log is read again from its beginning");
                }
                if has_lost {
                    self.replica.lost.notify_one();
                }
                Applied { more, resync: broke.is_some() || (more && !completed), error: None }
            }
            Err(error) => {
                // What was merely late is asked again; what cannot be understood, or is another deployment's, has to be read anew.
                if matches!(error.kind(), StoreErrorKind::Untrusted | StoreErrorKind::Layout) {
                    bucket.unreadable();
                }
                Applied { error: Some(error.kind()), ..Applied::default() }
            }
        }
    }

    /// After so many failures, from the beginning of the last read: doubling, up to a second under a long deadline, and never the same for two nodes. Not much longer than a read may
    /// take: an attempt to connect goes on while somebody waits for it, so long pauses would have it begin again and again on a machine that is busy.
    fn pause(&self, failures: u32) -> Duration {
        let longest = LONGEST_PAUSE.min(self.settings.deadline.saturating_mul(2));
        let pause = self.settings.interval.saturating_mul(1 << failures.min(10)).min(longest).max(SHORTEST_PAUSE);
        jittered(pause)
    }

    fn health(&self) -> &Health {
        // One was made for each feed.
        #[allow(clippy::indexing_slicing, reason = "`run` has found it")]
        &self.replica.feeds[self.number]
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Applied {
    more: bool,
    resync: bool,
    error: Option<StoreErrorKind>,
}

/// Says that the task has ended, whichever way it did.
struct LastWord {
    replica: Weak<Replica>,
    number: usize,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(replica) = self.replica.upgrade()
            && let Some(health) = replica.feeds.get(self.number)
        {
            health.is_in(Trouble::Stopped);
            replica.tell(health);
        }
    }
}

/// Reads the log through the store itself, for one without feeds of its own.
struct StoreFeed {
    store: Arc<dyn TokenStore>,
    buckets: Vec<u32>,
}

impl LogFeed for StoreFeed {
    fn buckets(&self) -> &[u32] {
        &self.buckets
    }

    fn read(&mut self, since: &[Option<LogCursor>]) -> BoxFuture<Result<Vec<Result<LogPage, StoreError>>, StoreError>> {
        let answers = self.buckets.iter().zip(since).map(|(bucket, since)| self.store.log(*bucket, since.clone()));
        let answers: Vec<_> = answers.map(IntoFuture::into_future).collect();
        Box::pin(async move { Ok(join_all(answers).await) })
    }

    fn nudged(&self) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

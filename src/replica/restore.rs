//! The task that tells the store what it has lost.
//!
//! A restart from a snapshot, a failover to a replica that lagged, or an old backup brings revoked sessions back. Every node still knows the revocations
//! that matter; once it has read the whole of the log that is there now, it tells the store those that are not in it. That is idempotent, and makes
//! nothing new: sessions that were opened since stay alive.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use super::{Notice, Replica, follow::jittered};

/// All nodes see the loss at once. The first one that tells the store spares the others the work: they find it in the log.
const HESITATION: Duration = Duration::from_millis(400);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 8;
const BATCH: usize = 256;

/// Runs until it is aborted.
pub(super) async fn restore(replica: Arc<Replica>) {
    loop {
        replica.lost.notified().await;
        sleep(jittered(HESITATION)).await;
        for number in 0..replica.store.buckets() {
            restore_bucket(&replica, number).await;
        }
    }
}

async fn restore_bucket(replica: &Arc<Replica>, number: u32) {
    let Some(bucket) = replica.bucket(number) else { return };
    let mut told = false;
    loop {
        let missing = bucket.missing(replica.store.now(), BATCH);
        if missing.is_empty() {
            return;
        }
        if !told {
            replica.notice(Notice::Lost(missing.len()));
            told = true;
        }
        let restored = stream::iter(missing)
            .map(|(revocation, until)| async move {
                let confirmed = replica.store.republish(number, revocation.clone(), until).await;
                confirmed.map(|()| bucket.is_restored(&revocation))
            })
            .buffer_unordered(AT_ONCE)
            .filter(|outcome| std::future::ready(outcome.is_ok()))
            .count()
            .await;
        if restored == 0 {
            sleep(jittered(AFTER_FAILURE)).await;
        } else {
            replica.notice(Notice::Restored(restored));
        }
    }
}

impl Replica {
    fn notice(&self, notice: Notice) {
        #[cfg(feature = "tracing")]
        match notice {
            Notice::Lost(count) => {
                tracing::warn!(count, "the store has lost revocations that this node knows; it is told them again")
            }
            Notice::Restored(count) => tracing::info!(count, "the store knows revocations again"),
        }
        (self.on_notice)(notice);
    }
}

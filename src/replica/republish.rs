//! The task that republishes the revocations that the store has lost.
//!
//! A restart from a snapshot, a failover to a replica that lagged, or an old backup brings revoked
//! sessions back. Every node still holds the revocations that matter. Once it has joined the log
//! that is there now, or read it to its end, it republishes those that are missing. That is
//! idempotent, and makes nothing new: sessions that were opened since the revocation stay alive.
//! (By the server's time. If the new server's clock is behind that of the lost one, a session that
//! was opened in between may end as well.)

use std::{future::IntoFuture, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{sleep, timeout};

use super::{Notice, Replica};
use crate::clock::jittered;

/// The mean pause before a node republishes. All nodes see the loss at once; the first one to
/// republish spares the others the work, as they find the entries in the log.
const HESITATION: Duration = Duration::from_millis(400);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 8;
const BATCH: usize = 4096;
/// Deadline of one revocation. A store has a shorter one of its own; this is for a store that does
/// not.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs until it is aborted.
pub(super) async fn restore(replica: Arc<Replica>) {
    loop {
        replica.lost.notified().await;
        sleep(jittered(HESITATION)).await;
        let mut told = vec![false; replica.buckets.len()];
        // A revocation that the store refuses is offered again until it is past its use. No bucket
        // waits for another's.
        while !restore_all(&replica, &mut told).await {
            sleep(jittered(AFTER_FAILURE)).await;
        }
    }
}

/// Republishes the missing revocations of all buckets. Returns true if nothing is missing any more.
async fn restore_all(replica: &Replica, told: &mut [bool]) -> bool {
    let mut is_done = true;
    for ((number, bucket), told) in (0..).zip(&replica.buckets).zip(told) {
        let mut refused = 0;
        loop {
            let (epoch, missing) = bucket.missing(replica.source.store.now(), refused, BATCH);
            if missing.is_empty() {
                break;
            }
            if !std::mem::replace(told, true) {
                replica.notice(Notice::Lost(missing.len()));
            }
            let count = missing.len();
            let restored = stream::iter(missing)
                .map(|(revocation, until)| async move {
                    let confirmed = replica.source.log.republish(number, revocation.clone(), until).into_future();
                    let is_confirmed = timeout(DEADLINE, confirmed).await.is_ok_and(|confirmed| confirmed.is_ok());
                    if is_confirmed {
                        bucket.mark_republished(&revocation, epoch);
                    }
                    is_confirmed
                })
                .buffer_unordered(AT_ONCE)
                .filter(|is_confirmed| std::future::ready(*is_confirmed))
                .count()
                .await;
            if restored > 0 {
                replica.notice(Notice::Restored(restored));
            }
            refused += count - restored;
        }
        is_done &= refused == 0;
    }
    is_done
}

impl Replica {
    fn notice(&self, notice: Notice) {
        #[cfg(feature = "tracing")]
        match notice {
            Notice::Lost(count) => {
                tracing::warn!(
                    count,
                    "the store has lost revocations that this node knows; this node republishes them"
                );
            }
            Notice::Restored(count) => tracing::info!(count, "lost revocations were republished to the store"),
        }
        (self.on_notice)(notice);
    }
}

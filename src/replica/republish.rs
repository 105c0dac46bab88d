//! The task that republishes the revocations that the store has lost.
//!
//! A restart from a snapshot, a failover to a replica that lagged, or an old backup revives revoked
//! sessions. Every node still holds the revocations that matter. Once it has joined the log that is
//! there now, or read it to its end, it republishes those that are missing. That is idempotent, and
//! makes nothing new: sessions that were opened since the revocation stay alive.
//!
//! That order goes by the server's time. If the new server's clock is behind that of the lost one,
//! a session that was opened in between may end as well.

use std::{future::IntoFuture, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{sleep, timeout};

use super::{bucket::Bucket, notices::Notice, shared::Replica};
use crate::{
    clock::{Timestamp, jittered},
    store::Revocation,
};

/// The mean pause before a node republishes. All nodes see the loss at once; the first one to
/// republish spares the others the work, as they find the entries in the log.
const HESITATION: Duration = Duration::from_millis(400);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 8;
const BATCH: usize = 4096;
/// Deadline of one revocation. A store has a shorter one of its own; this is for a store that does
/// not.
const DEADLINE: Duration = Duration::from_secs(60);

/// Republishes at each loss, until it is aborted.
pub(super) async fn republish(replica: Arc<Replica>) {
    loop {
        replica.has_lost.notified().await;
        sleep(jittered(HESITATION)).await;
        let mut is_reported = vec![false; replica.buckets.len()];
        // A revocation that the store refuses is offered again until it is past its use. No bucket
        // waits for another's.
        while !republish_all(&replica, &mut is_reported).await {
            sleep(jittered(AFTER_FAILURE)).await;
        }
    }
}

/// Republishes the missing revocations of all buckets. Returns true if nothing is missing any more.
async fn republish_all(replica: &Replica, is_reported: &mut [bool]) -> bool {
    let mut is_done = true;
    for ((number, bucket), is_reported) in (0..).zip(replica.buckets.iter()).zip(is_reported) {
        let mut refused = 0;
        loop {
            let (epoch, missing) = bucket.missing(replica.source.store.now(), refused, BATCH);
            if missing.is_empty() {
                break;
            }
            if !std::mem::replace(is_reported, true) {
                replica.notices.send(Notice::Lost(missing.len()));
            }
            let count = missing.len();
            let republished = republish_batch(replica, number, bucket, epoch, missing).await;
            if republished > 0 {
                replica.notices.send(Notice::Republished(republished));
            }
            refused += count - republished;
        }
        is_done &= refused == 0;
    }
    is_done
}

/// Republishes some revocations of a bucket. Returns the count of those that the store confirmed.
async fn republish_batch(
    replica: &Replica,
    number: u32,
    bucket: &Bucket,
    epoch: u16,
    missing: Vec<(Revocation, Timestamp)>,
) -> usize {
    let republish = |(revocation, until): (Revocation, Timestamp)| async move {
        let confirmed = replica.source.log.republish(number, revocation.clone(), until).into_future();
        let is_confirmed = timeout(DEADLINE, confirmed).await.is_ok_and(|confirmed| confirmed.is_ok());
        if is_confirmed {
            bucket.mark_republished(&revocation, epoch);
        }
        is_confirmed
    };
    let confirmed = stream::iter(missing).map(republish).buffer_unordered(AT_ONCE);
    confirmed.filter(|is_confirmed| std::future::ready(*is_confirmed)).count().await
}

//! The task that republishes the revocations that the store has lost.
//!
//! A store loses revocations if it restarts from an old snapshot or backup, or if it fails over to
//! a Redis replica that lagged. In that store, revoked sessions are alive again. But every node
//! still has the revocations that matter. After a break, the node reads the new log back, and finds
//! the revocations that the log lacks. Then the task republishes them.
//!
//! If the lost revocation is a `revoke_all`, its republication spares the sessions that were opened
//! after the original call (`docs/protocol.md`, section 10). If the new server's clock is behind
//! the old one's, it may also end a session that was opened shortly after the call.

use std::{future::IntoFuture, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{sleep, timeout};

use super::{bucket::Bucket, notices::Notice, shared::Replica};
use crate::{
    clock::{Timestamp, jittered},
    store::Revocation,
};

/// Maximum pause before a node republishes. All nodes find a loss at about the same time, and wait
/// for random times. So mostly one node writes the entries, and the others find them in the log.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
const CONCURRENT: usize = 8;
const BATCH: usize = 4096;
/// Deadline for the republication of one revocation, in case the store has no deadline of its own.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a loss and republishes the lost revocations, again and again until the task is
/// aborted.
pub(super) async fn republish(replica: Arc<Replica>) {
    loop {
        replica.has_lost.notified().await;
        sleep(jittered(FIRST_PAUSE)).await;
        let mut is_reported = vec![false; replica.buckets.len()];
        // The node repeats a failed republication until the revocation no longer matters. Failures
        // in one bucket do not delay the other buckets.
        while !republish_all(&replica, &mut is_reported).await {
            sleep(jittered(PAUSE_AFTER_FAILURE)).await;
        }
    }
}

/// Republishes the lost revocations of all buckets. Returns true if the store confirmed all of
/// them.
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

/// Republishes some revocations of a bucket. Returns the count of confirmed revocations.
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
    let confirmed = stream::iter(missing).map(republish).buffer_unordered(CONCURRENT);
    confirmed.filter(|is_confirmed| std::future::ready(*is_confirmed)).count().await
}

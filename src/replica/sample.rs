//! The task that reports the state of a replica to the observer.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{lease::nanos, shared::Replica};
use crate::observe::Observation;

const INTERVAL: Duration = Duration::from_secs(1);

/// Reports the state to the observer once a second, until the task is aborted. If the tasks that
/// read the log hang, this task still reports the growing age.
pub(super) async fn sample(replica: Arc<Replica>) {
    // Before the first read of the log, the age is the time since this moment.
    let began = replica.clock.elapsed();
    loop {
        replica.observer.observe(|| state_of(&replica, began));
        sleep(INTERVAL).await;
    }
}

fn state_of(replica: &Replica, began: Duration) -> Observation {
    let now = nanos(replica.clock.elapsed());
    let (mut known, mut leased_buckets, mut revocations, mut bytes) = (u64::MAX, 0, 0_usize, 0_usize);
    for bucket in &replica.buckets {
        let size = bucket.size();
        (revocations, bytes) = (revocations.saturating_add(size.0), bytes.saturating_add(size.1));
        known = known.min(bucket.known_as_of());
        leased_buckets += usize::from(bucket.lease_end() > now);
    }
    let age = Duration::from_nanos(now.saturating_sub(known.max(nanos(began))));
    let (bound, buckets) = (replica.staleness(), replica.buckets.len());
    Observation::Replica { age, bound, leased_buckets, buckets, revocations, bytes }
}

//! A counter that many threads can increment at each request.
//!
//! All cores share the counter of a recorder, so concurrent increments of that counter are slow.
//! This counter spreads the threads over 16 stripes, and later adds the counts of the stripes to
//! the recorder's counters.

use std::{
    cell::Cell,
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use metrics::Counter;

const STRIPES: usize = 16;
/// The count at which a thread adds its stripe to the recorder's counters.
const STEP: u64 = 1024;

/// A counter with 16 stripes. Every 16th thread uses the same stripe.
pub(super) struct StripedCounter {
    /// The recorder's counters. Each of them gets the whole count.
    series: Box<[Counter]>,
    stripes: [Stripe; STRIPES],
}

/// A count with its own cache lines. It takes 128 bytes, because processors fetch pairs of 64-byte
/// lines.
#[derive(Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The number of this thread, counted from 1. It is 0 before the first increment.
    static THREAD: Cell<usize> = const { Cell::new(0) };
}

fn stripe_of_this_thread() -> usize {
    // `try_with` fails in a destructor of a thread that ends. The thread then uses stripe 0.
    let number = THREAD.try_with(|thread| {
        if thread.get() == 0 {
            thread.set(THREADS.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        }
        thread.get()
    });
    number.unwrap_or_default() % STRIPES
}

impl StripedCounter {
    pub(super) fn new(series: impl Into<Box<[Counter]>>) -> Self {
        Self { series: series.into(), stripes: <[Stripe; STRIPES]>::default() }
    }

    #[inline]
    pub(super) fn increment(&self) {
        if let Some(stripe) = self.stripes.get(stripe_of_this_thread())
            && stripe.0.fetch_add(1, Ordering::Relaxed) >= STEP - 1
        {
            self.pass_on(stripe);
        }
    }

    /// Adds the counts of all stripes to each of the recorder's counters.
    pub(super) fn flush(&self) {
        self.stripes.iter().for_each(|stripe| self.pass_on(stripe));
    }

    fn pass_on(&self, stripe: &Stripe) {
        let count = stripe.0.swap(0, Ordering::Relaxed);
        if count > 0 {
            self.series.iter().for_each(|series| series.increment(count));
        }
    }
}

impl fmt::Debug for StripedCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripedCounter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use metrics::CounterFn;

    use super::*;

    #[derive(Debug, Default)]
    struct Sum(AtomicU64);

    impl CounterFn for Sum {
        fn increment(&self, value: u64) {
            self.0.fetch_add(value, Ordering::Relaxed);
        }

        fn absolute(&self, _: u64) {}
    }

    #[test]
    fn no_increment_is_lost_or_counted_twice() {
        let sums = [(); 2].map(|()| Arc::new(Sum::default()));
        let counter = StripedCounter::new(sums.clone().map(Counter::from_arc));
        thread::scope(|scope| {
            for _ in 0..STRIPES + 4 {
                scope.spawn(|| (0..10_000).for_each(|_| counter.increment()));
            }
            scope.spawn(|| (0..100).for_each(|_| counter.flush()));
        });
        counter.flush();
        for sum in sums {
            assert_eq!(sum.0.load(Ordering::Relaxed), 10_000 * (STRIPES as u64 + 4));
        }
    }

    #[test]
    fn a_thread_passes_its_count_on_without_a_flush() {
        let sum = Arc::new(Sum::default());
        let counter = StripedCounter::new([Counter::from_arc(Arc::clone(&sum))]);
        (1..STEP).for_each(|_| counter.increment());
        assert_eq!(sum.0.load(Ordering::Relaxed), 0);
        counter.increment();
        assert_eq!(sum.0.load(Ordering::Relaxed), STEP);
    }
}

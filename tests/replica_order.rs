//! The order in which a replica's lease and what is known under it are read and written: the file of the crate itself, run by loom through every
//! interleaving, with the memory model of the language. Next to it the same with the orders that it warns of: they must be found wanting.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, dead_code, reason = "tests")]

use std::{panic::catch_unwind, panic::AssertUnwindSafe};

use loom::{
    model::Builder,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use self::leased::Leased;

mod sync {
    pub(crate) use std::sync::PoisonError;

    pub(crate) use loom::sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
    };
}

#[path = "../src/replica/leased.rs"]
mod leased;

/// The lease under which nothing is known to be revoked ends then, the next one later.
const FIRST_END: u64 = 10;
const SECOND_END: u64 = 20;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A session is revoked after the first lease was granted. So by then it is not known; the second lease is granted by whoever knows. A request at or after the first
/// lease's end must be told of it or not be let decide, however it is overtaken.
fn nobody_decides_by_what_was_known_under_an_earlier_lease(
    write: fn(&Leased<bool>),
    read: fn(&Leased<bool>, &AtomicU64) -> (bool, bool),
) {
    explore(move || {
        let known = Arc::new(Leased::new(false));
        let clock = Arc::new(AtomicU64::new(1));
        known.grant(FIRST_END);
        let applier = {
            let (known, clock) = (Arc::clone(&known), Arc::clone(&clock));
            thread::spawn(move || {
                write(&known);
                clock.store(FIRST_END, Ordering::SeqCst);
            })
        };
        let (is_revoked, may_decide) = read(&known, &clock);
        let ended = clock.load(Ordering::SeqCst) >= FIRST_END;
        applier.join().unwrap();
        // `ended` was looked at last: if it had not ended then, the first lease was alive, and what it blessed may be late.
        assert!(is_revoked || !may_decide || !ended || !decided_late(&clock), "accepted by an outdated map");
    });
}

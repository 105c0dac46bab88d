//! The locks and atomics of `registry`. The loom test replaces them by loom's.

pub(super) use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

//! The locks and atomics of `registry`. The loom test replaces this file with loom's types.

pub(super) use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

//! The locks and atomics of `registry`. The loom test uses the types of loom instead of this file.

pub(super) use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

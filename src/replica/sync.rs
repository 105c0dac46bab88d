//! The locks and atomics that `lease` uses. The test `tests/replica_order.rs` replaces this module
//! with Loom's versions of them.

pub(super) use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

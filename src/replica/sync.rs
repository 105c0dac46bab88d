//! The synchronization primitives of `lease`. The Loom test replaces this module with one that has
//! Loom's primitives.

pub(super) use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

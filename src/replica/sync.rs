//! The primitives of `lease`. The loom test replaces this module by one with loom's primitives.

pub(super) use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

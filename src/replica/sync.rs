//! The primitives of `lease`. The loom test puts loom's in their place.

pub(super) use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

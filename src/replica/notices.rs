//! Notices to the operator that the store has lost revocations, or has them again.

use crate::store::Revocation;

/// A callback for notices.
pub(crate) type OnNotice = Box<dyn Fn(Notice) + Send + Sync>;

/// A callback for revocations that requests on this node see from now on. It runs without a lock of
/// the replica, and often: at each page of the log.
pub(crate) type OnRevoked = Box<dyn Fn(&mut dyn Iterator<Item = &Revocation>) + Send + Sync>;

/// A loss of the store, or its repair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    /// The count of revocations that this node holds and the store's log lacks.
    Lost(usize),
    /// The count of lost revocations that this node has republished.
    Republished(usize),
}

/// Sends notices to the callback and to the log.
pub(super) struct Notices(OnNotice);

impl Notices {
    pub(super) fn new(on_notice: OnNotice) -> Self {
        Self(on_notice)
    }

    pub(super) fn send(&self, notice: Notice) {
        #[cfg(feature = "tracing")]
        match notice {
            Notice::Lost(count) => {
                tracing::warn!(
                    count,
                    "the store has lost revocations that this node knows; this node republishes them"
                );
            }
            Notice::Republished(count) => tracing::info!(count, "lost revocations were republished to the store"),
        }
        (self.0)(notice);
    }
}

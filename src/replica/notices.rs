//! Notices to the operator: the store has lost revocations, or has received them again.

use crate::{observe::SharedObserver, store::Revocation};

/// A callback for notices.
pub(crate) type OnNotice = Box<dyn Fn(Notice) + Send + Sync>;

/// The callback, the listener and the observer to which a replica reports.
pub(crate) struct ReplicaHooks {
    pub(crate) on_notice: OnNotice,
    pub(crate) listener: Box<dyn RevocationListener>,
    pub(crate) observer: SharedObserver,
}

/// A listener for the revocations that the replica adds to its deny set.
pub(crate) trait RevocationListener: Send + Sync {
    /// Returns true if the replica must read the log soon after each nudge. The replica calls this
    /// function often.
    fn is_urgent(&self) -> bool;

    /// Receives revocations that the replica has just added to the deny set. The replica holds no
    /// lock during the call.
    fn revoked(&self, revocations: &mut dyn Iterator<Item = &Revocation>);
}

/// A loss of the store, or its repair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Notice {
    /// Count of revocations of one bucket that this node has and the store has lost; at most 4096.
    Lost(usize),
    /// Count of lost revocations that this node has republished.
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

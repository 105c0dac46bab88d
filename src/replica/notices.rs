//! Notices to the operator that the store has lost revocations, or has them again.

use crate::{observe::SharedObserver, store::Revocation};

/// A callback for notices.
pub(crate) type OnNotice = Box<dyn Fn(Notice) + Send + Sync>;

/// The receivers of news from a replica.
pub(crate) struct ReplicaHooks {
    pub(crate) on_notice: OnNotice,
    pub(crate) listener: Box<dyn RevocationListener>,
    pub(crate) observer: SharedObserver,
}

/// A listener for revocations.
pub(crate) trait RevocationListener: Send + Sync {
    /// Returns true if the listener wants revocations as soon as possible. The replica asks often.
    fn is_urgent(&self) -> bool;

    /// Takes revocations that the deny set contains from now on. The replica holds no lock during
    /// the call. It calls this at each page of the log.
    fn revoked(&self, revocations: &mut dyn Iterator<Item = &Revocation>);
}

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

//! Epochs: this node's count of log restarts, as it is kept with each revocation.

/// Epoch of entries that were learned from `check` instead of the log. They are never republished.
pub(super) const EPOCH_LOCAL: u16 = u16::MAX;
/// Epoch of this node's own revocations that the log does not have yet.
pub(super) const EPOCH_PENDING: u16 = EPOCH_LOCAL - 1;
/// Epoch of entries that the store has lost. They are to be republished.
pub(super) const EPOCH_LOST: u16 = EPOCH_PENDING - 1;
/// The last number of an epoch of the log.
pub(super) const LAST_EPOCH: u16 = EPOCH_LOST - 1;

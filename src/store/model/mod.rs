//! The arguments and the answers of a store's methods.

mod denylist;
mod log;
mod position;
mod revocation;
mod session;
mod stamp;

pub(crate) use self::log::LogPart;
pub use self::{
    denylist::{Denial, DenyQuery, DenyRequest, ExternalId, ExternalName, KeptLonger},
    log::{LogCursor, LogEntry, LogPage, LogQuery},
    position::{InvalidLogPosition, LogPosition},
    revocation::{Logged, Revocation, Revoked},
    session::{
        Checked, OpenSession, Opened, Page, RotateRefresh, Rotated, ServerId, SessionPage, SessionRecord, SessionState,
        Successor,
    },
    stamp::LogStamp,
};

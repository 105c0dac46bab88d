//! Other issuers, whose tokens a service accepts beside its own, and the sources of their keys.

mod key_source;

pub use self::key_source::{FETCH_DEADLINE, KeySource, KeySourceError, KeySourceErrorKind, PublishedKeys};

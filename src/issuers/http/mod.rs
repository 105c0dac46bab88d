//! A key source that fetches the keys of an issuer over HTTPS.

mod builder;
mod cache_control;
mod failure;
mod metadata;
mod source;
mod transport;
mod url;

pub use self::{builder::HttpKeysBuilder, source::HttpKeys};

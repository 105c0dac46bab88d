//! Other issuers, whose tokens a service accepts beside its own, and the sources of their keys.

mod accepted;
mod claim_names;
#[cfg(feature = "jwks")]
mod http;
mod issuer;
mod issuer_keys;
mod key_source;
mod preset;

pub(crate) use self::accepted::{AcceptedIssuer, AcceptedIssuers};
#[cfg(feature = "jwks")]
pub use self::http::{HttpKeys, HttpKeysBuilder};
pub use self::{
    issuer::{Issuer, IssuerPolicy},
    issuer_keys::IssuerStatus,
    key_source::{FETCH_DEADLINE, KeySource, PublishedKeys},
    preset::Preset,
};
pub use crate::error::{KeySourceError, KeySourceErrorKind};

//! The keys of tokens: reads, checks, names and publishes keys, and signs and verifies with them.

mod algorithm;
mod der;
mod ed25519;
mod jwk;
mod jwk_set;
mod key;
mod key_set;
mod pem;
mod pss;
mod public_key;
mod secret;
mod verifier;

pub(crate) use self::jwk_set::NoKeys;
pub use self::{
    algorithm::Algorithm,
    key::{SigningKey, VerifyingKey},
    key_set::KeySet,
};

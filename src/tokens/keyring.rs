//! The keys in force, and the data that change with them.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::{
    error::ConfigError,
    jwt::{Encoder, KeySet, TokenType, longest_header},
};

/// A key set with its signer. Both are behind one pointer, so that an operation that loads it once
/// has keys and signer that belong together.
pub(super) struct Keyring {
    pub(super) keys: KeySet,
    /// `None`: tokens are verified here and not issued.
    pub(super) signer: Option<Signer>,
    /// Counts the key sets of a service. Cached tokens belong to one version.
    pub(super) version: u64,
}

/// The keyring in force.
pub(super) struct CurrentKeyring {
    keyring: ArcSwap<Keyring>,
    rules: KeyRules,
    /// Held while keys are replaced: versions come in the order in which they are in force.
    replacing: Mutex<()>,
}

/// The encoders of the signing key's tokens.
pub(super) struct Signer {
    pub(super) access: Encoder,
    pub(super) refresh: Encoder,
    pub(super) signature_len: usize,
}

/// The demands of a service on its keys, the first ones and all that replace them.
#[derive(Clone, Copy)]
pub(super) struct KeyRules {
    /// True if tokens are issued, so that a key has to sign.
    pub(super) issues: bool,
    pub(super) max_token_len: usize,
}

impl CurrentKeyring {
    pub(super) fn new(keys: KeySet, rules: KeyRules) -> Result<Self, ConfigError> {
        let keyring = ArcSwap::from_pointee(Keyring::new(keys, rules, 0)?);
        Ok(Self { keyring, rules, replacing: Mutex::new(()) })
    }

    /// Loads the keyring for an operation that ends at once: a guard that is held keeps replaced
    /// keys from being freed.
    pub(super) fn load(&self) -> Guard<Arc<Keyring>> {
        self.keyring.load()
    }

    pub(super) fn load_full(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// Replaces the keys, then calls `then` with their version.
    pub(super) fn replace(&self, keys: KeySet, then: impl FnOnce(u64)) -> Result<(), ConfigError> {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.keyring.load().version + 1;
        self.keyring.store(Keyring::new(keys, self.rules, version)?.into());
        then(version);
        Ok(())
    }
}

impl Keyring {
    fn new(keys: KeySet, rules: KeyRules, version: u64) -> Result<Self, ConfigError> {
        let signer = if rules.issues { Some(Signer::new(&keys, rules.max_token_len)?) } else { None };
        Ok(Self { keys, signer, version })
    }
}

impl Signer {
    fn new(keys: &KeySet, max_token_len: usize) -> Result<Self, ConfigError> {
        let key = keys.signing_key().ok_or_else(|| {
            ConfigError::missing(
                "keys",
                "have no signing key, so that no token can be issued",
                "give a `KeySet::signing(..)`, or call `verify_only()`",
            )
        })?;
        let signature = key.sign(b"").map_err(|error| {
            ConfigError::new("keys", "have a signing key that cannot sign", "check the key").with_source(error)
        })?;
        let access = Encoder::new(key, TokenType::Access);
        if access.header_len() > longest_header(max_token_len) {
            return Err(ConfigError::new(
                "max_token_len",
                "is so short that the header of the tokens issued here is over its share, three eighths",
                "raise it, or give the signing key a shorter name",
            ));
        }
        Ok(Self { access, refresh: Encoder::new(key, TokenType::Refresh), signature_len: signature.len() })
    }
}

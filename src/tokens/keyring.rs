//! The current keys of the service, with their encoders and their version.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::{
    error::ConfigError,
    jwt::{Encoder, KeySet, TokenType, longest_header},
};

/// A key set with its signer. An operation loads both by one pointer, so the two always match.
pub(super) struct Keyring {
    pub(super) keys: KeySet,
    /// `None` if the service only verifies tokens.
    pub(super) signer: Option<Signer>,
    /// The number of earlier key sets. A cached token has the version of the keys that verified it.
    pub(super) version: u64,
}

pub(super) struct CurrentKeyring {
    keyring: ArcSwap<Keyring>,
    rules: KeyRules,
    /// Allows one replacement at a time, so that a later key set has a higher version.
    replacing: Mutex<()>,
}

/// The encoders for access and refresh tokens, made from the signing key.
pub(super) struct Signer {
    pub(super) access: Encoder,
    pub(super) refresh: Encoder,
    pub(super) signature_len: usize,
}

/// The requirements of a service that each of its key sets must meet.
#[derive(Clone, Copy)]
pub(super) struct KeyRules {
    /// True if the service issues tokens and so needs a signing key.
    pub(super) issues: bool,
    pub(super) max_token_len: usize,
}

impl CurrentKeyring {
    pub(super) fn new(keys: KeySet, rules: KeyRules) -> Result<Self, ConfigError> {
        let keyring = ArcSwap::from_pointee(Keyring::new(keys, rules, 0)?);
        Ok(Self { keyring, rules, replacing: Mutex::new(()) })
    }

    /// Returns the present keyring. The guard must not live across an `.await`, because it keeps
    /// replaced keys in memory.
    pub(super) fn load(&self) -> Guard<Arc<Keyring>> {
        self.keyring.load()
    }

    pub(super) fn load_full(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// Replaces the keys, then calls `then` with the new version. An error keeps the old keys.
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
                "have no signing key, but this service issues tokens",
                "give a `KeySet::signing(..)`, or call `verify_only()`",
            )
        })?;
        let signature = key.sign(b"").map_err(|error| {
            ConfigError::new("keys", "have a signing key that cannot sign", "give another signing key")
                .with_source(error)
        })?;
        let access = Encoder::new(key, TokenType::Access);
        if access.header_len() > longest_header(max_token_len) {
            return Err(ConfigError::new(
                "max_token_len",
                "is too short, because the header alone of issued tokens exceeds three eighths of it",
                "raise `max_token_len`, or give the signing key a shorter `kid`",
            ));
        }
        Ok(Self { access, refresh: Encoder::new(key, TokenType::Refresh), signature_len: signature.len() })
    }
}

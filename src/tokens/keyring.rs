//! The keys in force, and the data that change with them.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::TokenService;
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

    pub(super) fn max_token_len(&self) -> usize {
        self.rules.max_token_len
    }

    /// Replaces the keys, then calls `tell` with their version.
    fn replace(&self, keys: KeySet, tell: impl FnOnce(u64)) -> Result<(), ConfigError> {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.keyring.load().version + 1;
        self.keyring.store(Keyring::new(keys, self.rules, version)?.into());
        tell(version);
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
            ConfigError::new(
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

impl<C> TokenService<C> {
    /// Replaces the keys while the service runs, for all its clones: to rotate a key (see
    /// [`KeySet`]) or to remove one that leaked.
    ///
    /// A check that begins after this has returned uses the new keys alone. That also holds for a
    /// token that was verified before: the cache of the old keys is cleared. A check, a login or a
    /// refresh that is under way ends with the keys it began with. So the key that signed until now
    /// belongs among those that verify, unless it leaked. Calls at the same time take effect one
    /// after the other.
    ///
    /// This changes this node alone: call it on each.
    ///
    /// ```
    /// use tower_bearer::{
    ///     KeySet, MemoryStore, TokenService,
    ///     jwt::{Algorithm, SigningKey},
    /// };
    ///
    /// let key = |secret: &[u8], kid| {
    ///     SigningKey::from_secret(Algorithm::HS256, secret)?.with_kid(kid)
    /// };
    /// let old = key(b"a TEST key of 32 bytes or more: 2026-10", "2026-10")?;
    /// let new = key(b"a TEST key of 32 bytes or more: 2026-11", "2026-11")?;
    /// let tokens = TokenService::builder()
    ///     .keys(KeySet::signing(old.clone()))
    ///     .store(MemoryStore::default())
    ///     .build()?;
    ///
    /// let both = KeySet::signing(new.clone()).and_verifying(old.verifying_key().clone())?;
    /// tokens.replace_keys(both)?;
    /// // When the last token of the old key has expired:
    /// tokens.replace_keys(KeySet::signing(new))?;
    /// # Ok::<(), tower_bearer::error::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`Builder::build`](super::Builder::build) about keys: none signs though tokens
    /// are issued here, the key cannot sign, or its name is too long for
    /// [`max_token_len`](super::Builder::max_token_len). The keys then stay as they were.
    pub fn replace_keys(&self, keys: KeySet) -> Result<(), ConfigError> {
        let inner = self.inner();
        // In this order: a check that looks up under the new version finds the new keys, or newer
        // ones.
        inner.keyring.replace(keys, |version| inner.verified.begin_anew(version))
    }
}

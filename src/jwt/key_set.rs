//! The keys of a service: one that signs, and those that verify.

use super::{
    algorithm::Algorithm,
    key::{SigningKey, VerifyingKey},
};
use crate::error::ConfigError;

/// How many keys a set can hold. A token without `kid` is tried with every key of its algorithm, so the number bounds
/// what one bad token can cost.
const MAX_KEYS: usize = 16;

/// The keys of a service: at most one that signs, and those that verify.
///
/// To rotate a key: add the new one to every node as a verifying key, then sign with it and keep the old one as a
/// verifying key, and take the old one away when its last token has expired. A verifying key verifies until it is
/// taken out of the set.
///
/// `Debug` shows algorithms and names only.
#[derive(Clone, Debug)]
pub struct KeySet {
    signing: Option<SigningKey>,
    verifying: Vec<VerifyingKey>,
}

impl KeySet {
    /// A set that signs with this key and verifies with it.
    #[must_use]
    pub fn signing(key: SigningKey) -> Self {
        let verifying = vec![key.verifying_key().clone()];
        Self { signing: Some(key), verifying }
    }

    /// A set that verifies with this key and issues nothing.
    #[must_use]
    pub fn verifying(key: VerifyingKey) -> Self {
        Self { signing: None, verifying: vec![key] }
    }

    /// Adds a key that verifies: one that will sign soon, or one that did until lately.
    ///
    /// # Errors
    ///
    /// A key of the same algorithm has the same name, or the set has 16 keys already.
    pub fn and_verifying(mut self, key: VerifyingKey) -> Result<Self, ConfigError> {
        if self.verifying.len() >= MAX_KEYS {
            return Err(ConfigError::new(
                "verifying_key",
                format!("is one more than the {MAX_KEYS} keys that a set can hold"),
                "take away the keys whose last token has expired",
            ));
        }
        // Of two keys with one name, the order of configuration would decide which is meant (RFC 7517 section 4.5).
        if key.kid().is_some() && self.candidates(key.kid(), key.algorithm()).next().is_some() {
            return Err(ConfigError::new(
                "verifying_key",
                format!("has the algorithm ({}) and the kid of another key of the set", key.algorithm()),
                "add each key once, and give different keys different names",
            ));
        }
        self.verifying.push(key);
        Ok(self)
    }

    /// The key that signs.
    #[must_use]
    pub fn signing_key(&self) -> Option<&SigningKey> {
        self.signing.as_ref()
    }

    /// The keys that verify, the signing one first.
    #[must_use]
    pub fn verifying_keys(&self) -> &[VerifyingKey] {
        &self.verifying
    }

    /// The keys that may have signed a token with this header: with a `kid`, the one of exactly that name and
    /// algorithm; without, all of that algorithm. The name is only ever compared, never interpreted (RFC 8725 section 3.10).
    pub(crate) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &VerifyingKey> {
        self.verifying.iter().filter(move |key| key.algorithm() == algorithm && (kid.is_none() || key.kid() == kid))
    }
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn signing(algorithm: Algorithm, kid: &str) -> SigningKey {
        let secret = format!("TEST secret, long enough for every HMAC, which differs by name: {kid}");
        SigningKey::from_secret(algorithm, secret).unwrap().with_kid(kid).unwrap()
    }

    fn verifying(algorithm: Algorithm, kid: &str) -> VerifyingKey {
        signing(algorithm, kid).verifying_key().clone()
    }

    fn names(keys: &KeySet, kid: Option<&str>, algorithm: Algorithm) -> Vec<Option<String>> {
        keys.candidates(kid, algorithm).map(|key| key.kid().map(str::to_owned)).collect()
    }

    #[test]
    fn a_retired_key_verifies_until_it_is_removed() {
        let retired = signing(Algorithm::HS256, "k1");
        let signature = retired.sign(b"a.b").unwrap();
        let verifies =
            |keys: &KeySet| keys.candidates(Some("k1"), Algorithm::HS256).any(|key| key.verify(b"a.b", &signature));
        let active = KeySet::signing(signing(Algorithm::HS256, "k2"));
        let both = active.clone().and_verifying(retired.verifying_key().clone()).unwrap();
        assert_eq!(both.signing_key().unwrap().kid(), Some("k2"));
        assert!(verifies(&both));
        assert!(!verifies(&active));
    }

    #[test]
    fn a_kid_is_compared_exactly_and_an_algorithm_is_part_of_the_question() {
        let keys = KeySet::signing(signing(Algorithm::HS256, "k1"))
            .and_verifying(verifying(Algorithm::HS256, "k2"))
            .and_then(|keys| keys.and_verifying(verifying(Algorithm::HS512, "k1")))
            .and_then(|keys| keys.and_verifying(verifying(Algorithm::HS256, "none").without_kid()))
            .unwrap();
        let (k1, k2) = (Some("k1".to_owned()), Some("k2".to_owned()));
        let only_k1 = std::slice::from_ref(&k1);
        assert_eq!(names(&keys, Some("k1"), Algorithm::HS256), only_k1);
        assert_eq!(names(&keys, Some("k1"), Algorithm::HS512), only_k1);
        assert_eq!(names(&keys, None, Algorithm::HS256), [k1, k2, None]);
        for unknown in ["", "K1", "k1 ", "k", "../../k1", "k*", "x' UNION SELECT 'k1'--"] {
            assert!(names(&keys, Some(unknown), Algorithm::HS256).is_empty(), "{unknown}");
        }
        assert!(names(&keys, Some("k2"), Algorithm::HS512).is_empty());
        assert!(names(&keys, None, Algorithm::ES256).is_empty());
    }

    #[test]
    fn two_keys_of_one_name_and_algorithm_are_refused() {
        let keys = || KeySet::signing(signing(Algorithm::HS256, "k"));
        assert_eq!(keys().and_verifying(verifying(Algorithm::HS256, "k")).unwrap_err().setting(), "verifying_key");
        assert!(keys().and_verifying(verifying(Algorithm::HS384, "k")).is_ok());
        let unnamed = || verifying(Algorithm::HS256, "k").without_kid();
        assert!(keys().and_verifying(unnamed()).and_then(|keys| keys.and_verifying(unnamed())).is_ok());
    }

    #[test]
    fn a_set_holds_sixteen_keys_at_most() {
        let first = KeySet::verifying(verifying(Algorithm::HS256, "0"));
        assert!(first.signing_key().is_none());
        let add = |keys: KeySet, name: u32| keys.and_verifying(verifying(Algorithm::HS256, &name.to_string()));
        let full = (1..16).try_fold(first, add).unwrap();
        assert_eq!(full.verifying_keys().len(), 16);
        assert!(add(full, 16).is_err());
    }
}

//! The set of keys that a service signs and verifies with.

use super::{
    algorithm::Algorithm,
    jwk_set::{self, NoKeys},
    key::{MAX_KEYS, SigningKey, VerifyingKey},
};
use crate::error::ConfigError;

/// The keys of a service: at most one signing key, and 1 to 16 verifying keys. The published set of
/// another issuer can have more.
///
/// To rotate a key:
///
/// 1. Add the new key to every node as a verifying key.
/// 2. Sign with the new key, and keep the old key as a verifying key.
/// 3. Remove the old key when its last token has expired.
///
/// Each step needs a new set. [`replace_keys`](crate::TokenService::replace_keys) replaces the set
/// of a running service.
///
/// The service chooses the keys for a token by its `kid` and its algorithm (`alg`):
///
/// | token | set | keys that the service tries |
/// |--|--|--|
/// | has a `kid` | any | the key with this name and algorithm |
/// | has no `kid` | has one key of the algorithm | this key |
/// | has no `kid` | has several keys of the algorithm | those without a name, at most 16 |
///
/// So if a set has several named keys of one algorithm, each token must have a `kid` (`OpenID`
/// Connect Core 1.0 section 10.1). Otherwise a forged token could make the service try all keys.
///
/// Old tokens, such as those of [`fastcore.security`](crate::compat), may have no `kid`. For such
/// tokens, add their key with [`without_kid`](VerifyingKey::without_kid).
///
/// `Debug` shows only algorithms and names.
#[derive(Clone, Debug)]
pub struct KeySet {
    signing: Option<SigningKey>,
    verifying: Vec<VerifyingKey>,
}

impl KeySet {
    /// Creates a set that signs and verifies with `key`.
    #[must_use]
    pub fn signing(key: SigningKey) -> Self {
        let verifying = vec![key.verifying_key().clone()];
        Self { signing: Some(key), verifying }
    }

    /// Creates a set that verifies with `key` and cannot sign.
    #[must_use]
    pub fn verifying(key: VerifyingKey) -> Self {
        Self { signing: None, verifying: vec![key] }
    }

    /// Creates a set without keys, for a service that only accepts tokens of other issuers.
    pub(crate) fn none() -> Self {
        Self { signing: None, verifying: Vec::new() }
    }

    /// Adds a verifying key, for example the next or the previous signing key.
    ///
    /// # Errors
    ///
    /// The set already has 16 keys, or a key with the same algorithm and name.
    pub fn and_verifying(mut self, key: VerifyingKey) -> Result<Self, ConfigError> {
        if self.verifying.len() >= MAX_KEYS {
            return Err(ConfigError::out_of_range(
                "verifying_key",
                format!("is added to a set of {} keys, but the maximum is {MAX_KEYS}", self.verifying.len()),
                "remove old keys once every token that they signed has expired",
            ));
        }
        // The name alone may occur twice, because some issuers publish one RSA key under one `kid`
        // for several algorithms.
        let is_same = |own: &VerifyingKey| own.kid() == key.kid() && own.algorithm() == key.algorithm();
        if key.kid().is_some() && self.verifying.iter().any(is_same) {
            return Err(ConfigError::conflict(
                "verifying_key",
                format!("has the algorithm {} and the `kid` of another key of the set", key.algorithm()),
                "add each key only once, and give each key its own `kid`",
            ));
        }
        self.verifying.push(key);
        Ok(self)
    }

    /// Reads verifying keys from the operator's own JWK Set (RFC 7517 section 5). Fails if a key is
    /// not usable.
    ///
    /// Each key must name its algorithm by `alg` or by its curve. A set can mix key types, but not
    /// secrets (`oct`) with public keys: clients that read the public keys could also read the
    /// secrets. A member with the value `null`, `""` or `[]` counts as absent.
    ///
    /// # Errors
    ///
    /// * The text is no JWK Set, has a duplicate member, or is longer than 256 KiB.
    /// * The set has no key or more than 16, or mixes secrets and public keys.
    /// * Two keys have the same name, or an unnamed key occurs twice.
    /// * A key is unusable: see [`VerifyingKey::from_jwk`].
    /// * No signature backend is compiled in.
    ///
    /// The message names the key by its index in the set (from 0) and its `kid`. It contains no key
    /// material.
    pub fn from_jwks(json: &str) -> Result<Self, ConfigError> {
        Ok(Self { signing: None, verifying: jwk_set::own(json)? })
    }

    /// Reads verifying keys from a JWK Set that another party publishes, for example at an issuer's
    /// `jwks_uri`.
    ///
    /// The function omits unusable keys (RFC 7517 section 5):
    ///
    /// * keys of an unknown type, curve or algorithm, or without an algorithm,
    /// * keys whose `use` or `key_ops` does not allow verifying,
    /// * keys with a missing, ill-typed or duplicate member, and elements that are no objects,
    /// * RSA keys of an unfit size, and points off their curve,
    /// * different keys with the same `kid` and the same algorithm, because a token does not say
    ///   which of them signed it.
    ///
    /// A member with the value `null`, `""` or `[]` counts as absent. A member without a meaning
    /// for the key's type is ignored.
    ///
    /// A set with a secret or private key is refused as a whole, even if that key has duplicate
    /// members. Its other keys are not trustworthy either. Arrays within `keys` are not searched
    /// for secrets.
    ///
    /// The number of keys has no limit. For a token without `kid`, the service tries at most 16
    /// keys.
    ///
    /// Fetch the text by HTTPS from a configured address, never from an address in a token (RFC
    /// 8725 section 3.10).
    ///
    /// # Errors
    ///
    /// * The text is no JWK Set, has a duplicate member at its top level, or is longer than 256
    ///   KiB.
    /// * The set contains a secret (`oct`, or a value of `k`) or a member of private keys, such as
    ///   `d`.
    /// * No key is usable.
    /// * No signature backend is compiled in.
    ///
    /// ```
    /// use tower_bearer::jwt::KeySet;
    ///
    /// let published = r#"{"keys":[
    ///     {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"2026-11"},
    ///     {"kty":"EC","crv":"P-521","x":"AA","y":"AA","use":"enc","kid":"e1"}
    /// ]}"#;
    /// let keys = KeySet::from_published_jwks(published)?;
    /// assert_eq!(keys.verifying_keys().len(), 1);
    /// assert_eq!(keys.verifying_keys()[0].kid(), Some("2026-11"));
    /// # Ok::<(), tower_bearer::error::ConfigError>(())
    /// ```
    pub fn from_published_jwks(json: &str) -> Result<Self, ConfigError> {
        Ok(Self { signing: None, verifying: jwk_set::published(None, json).map_err(NoKeys::into_error)? })
    }

    /// Reads the published JWK Set of an issuer that signs with one of `algorithms`.
    ///
    /// The function omits each key that names another algorithm or has another type, because the
    /// verifier chooses the algorithm (RFC 8725 section 3.1).
    ///
    /// If a key names no algorithm, it gets the first of `algorithms` that fits its type. A key on
    /// the curve Ed25519 gets [`Algorithm::EdDSA`] if the list contains it, or else
    /// [`Algorithm::Ed25519`]. If an issuer does not document its algorithm, pass RS256, the
    /// default of `OpenID` Connect.
    ///
    /// # Errors
    ///
    /// The errors of [`from_published_jwks`](Self::from_published_jwks). The function also fails if
    /// `algorithms` is empty or contains an HMAC.
    ///
    /// ```
    /// use tower_bearer::jwt::{Algorithm, KeySet};
    ///
    /// let published = r#"{"keys":[
    ///     {"kty":"OKP","crv":"Ed25519","kid":"a",
    ///      "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    ///     {"kty":"EC","crv":"P-256","kid":"b",
    ///      "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    ///      "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
    /// ]}"#;
    /// let algorithms = [Algorithm::RS256, Algorithm::ES256];
    /// let keys = KeySet::from_published_jwks_with(algorithms, published)?;
    /// assert_eq!(keys.verifying_keys().len(), 1);
    /// assert_eq!(keys.verifying_keys()[0].kid(), Some("b"));
    /// # Ok::<(), tower_bearer::error::ConfigError>(())
    /// ```
    pub fn from_published_jwks_with(
        algorithms: impl IntoIterator<Item = Algorithm>,
        json: &str,
    ) -> Result<Self, ConfigError> {
        let algorithms: Vec<_> = algorithms.into_iter().collect();
        Self::read_published(&algorithms, json).map_err(NoKeys::into_error)
    }

    /// Reads a published set like [`from_published_jwks_with`](Self::from_published_jwks_with). The
    /// error distinguishes a text that is no set from a set without usable keys.
    pub(crate) fn read_published(algorithms: &[Algorithm], json: &str) -> Result<Self, NoKeys> {
        Ok(Self { signing: None, verifying: jwk_set::published(Some(algorithms), json)? })
    }

    /// Returns an error if `algorithms` is empty or contains an HMAC, because the keys of an HMAC
    /// are secret.
    pub(crate) fn check_published_algorithms(algorithms: &[Algorithm]) -> Result<(), ConfigError> {
        jwk_set::check_asked(Some(algorithms))
    }

    /// Returns the public keys as a JWK Set. Serve it at `/.well-known/jwks.json`, so that others
    /// can verify this service's tokens.
    ///
    /// Each key has its numbers, `kty`, `use`, `alg` and, if it has a name, `kid`. The function
    /// omits secrets. If all keys are secrets, the result is `{"keys":[]}`.
    ///
    /// Publish a key before it signs its first token, and until its last token has expired.
    ///
    /// ```
    /// use tower_bearer::jwt::{KeySet, VerifyingKey};
    ///
    /// let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    /// let keys = KeySet::verifying(VerifyingKey::from_jwk(key)?.with_kid("2026-11")?);
    /// assert_eq!(
    ///     keys.to_jwks(),
    ///     r#"{"keys":[{"alg":"EdDSA","crv":"Ed25519","kid":"2026-11","kty":"OKP","use":"sig","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#
    /// );
    /// # Ok::<(), tower_bearer::error::ConfigError>(())
    /// ```
    #[must_use]
    pub fn to_jwks(&self) -> String {
        jwk_set::write(&self.verifying)
    }

    /// Returns the signing key, or `None` if the set only verifies.
    #[must_use]
    pub fn signing_key(&self) -> Option<&SigningKey> {
        self.signing.as_ref()
    }

    /// Returns the verifying keys. If the set has a signing key, the first verifying key belongs to
    /// it.
    #[must_use]
    pub fn verifying_keys(&self) -> &[VerifyingKey] {
        &self.verifying
    }

    /// Returns the keys that may have signed a token with this `kid` and algorithm, at most 16.
    /// Compares the `kid` only as text, because an attacker may have written it (RFC 8725 section
    /// 3.10).
    pub(crate) fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &VerifyingKey> {
        let of_algorithm = || self.verifying.iter().filter(move |key| key.algorithm() == algorithm);
        let needs_no_name = kid.is_none() && of_algorithm().nth(1).is_none();
        of_algorithm().filter(move |key| needs_no_name || key.kid() == kid).take(MAX_KEYS)
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
            .and_then(|keys| keys.and_verifying(verifying(Algorithm::HS512, "k3")))
            .and_then(|keys| keys.and_verifying(verifying(Algorithm::HS256, "none").without_kid()))
            .unwrap();
        let only_k1 = [Some("k1".to_owned())];
        assert_eq!(names(&keys, Some("k1"), Algorithm::HS256), only_k1);
        assert_eq!(names(&keys, Some("k3"), Algorithm::HS512).len(), 1);
        assert!(names(&keys, Some("k1"), Algorithm::HS512).is_empty());
        for unknown in ["", "K1", "k1 ", "k", "../../k1", "k*", "x' UNION SELECT 'k1'--"] {
            assert!(names(&keys, Some(unknown), Algorithm::HS256).is_empty(), "{unknown}");
        }
        assert!(names(&keys, Some("k2"), Algorithm::HS512).is_empty());
        assert!(names(&keys, None, Algorithm::ES256).is_empty());
    }

    #[test]
    fn a_token_without_kid_is_tried_with_the_keys_without_a_name_or_with_the_only_one() {
        let unnamed = |name: &str| verifying(Algorithm::HS256, name).without_kid();
        let keys = KeySet::signing(signing(Algorithm::HS256, "k1"));
        assert_eq!(names(&keys, None, Algorithm::HS256).len(), 1);
        let keys = keys.and_verifying(verifying(Algorithm::HS512, "k3")).unwrap();
        assert_eq!(names(&keys, None, Algorithm::HS512).len(), 1);
        let keys = keys.and_verifying(verifying(Algorithm::HS256, "k2")).unwrap();
        assert_eq!(names(&keys, None, Algorithm::HS256).len(), 0);
        let keys = keys.and_verifying(unnamed("a")).and_then(|keys| keys.and_verifying(unnamed("b"))).unwrap();
        assert_eq!(names(&keys, None, Algorithm::HS256), [None, None]);
    }

    #[test]
    fn two_keys_of_one_name_and_algorithm_are_refused() {
        let keys = || KeySet::signing(signing(Algorithm::HS256, "k"));
        assert_eq!(keys().and_verifying(verifying(Algorithm::HS256, "k")).unwrap_err().setting(), "verifying_key");
        let both = keys().and_verifying(verifying(Algorithm::HS384, "k")).unwrap();
        for algorithm in [Algorithm::HS256, Algorithm::HS384] {
            let found: Vec<_> = both.candidates(Some("k"), algorithm).map(VerifyingKey::algorithm).collect();
            assert_eq!(found, [algorithm]);
        }
        assert!(both.and_verifying(verifying(Algorithm::HS384, "k")).is_err());
        assert!(keys().and_verifying(verifying(Algorithm::HS256, "K")).is_ok());
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

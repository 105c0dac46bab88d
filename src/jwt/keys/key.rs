//! The keys that sign and verify tokens. Each key has exactly one algorithm, and its constructor
//! checks it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;

use super::{
    algorithm::{Algorithm, Backend, KeyType},
    jwk::{self, Jwk, Material},
    pem::{self, Half},
    pss,
    public_key::PublicKey,
    secret,
    verifier::Verifier,
};
use crate::{
    error::{ConfigError, Error},
    ids::is_id,
};

/// The maximum number of keys in the operator's own set. It is also the maximum number of keys that
/// the service tries with one token. The limit bounds the cost of a forged token without `kid`.
pub(super) const MAX_KEYS: usize = 16;

const SIGNING: &str = "signing_key";
const VERIFYING: &str = "verifying_key";

/// The message that each new key signs as a test. The default name of a secret is the beginning of
/// this message's HMAC.
///
/// The message contains no `.`, so the test signature is not valid for any token (RFC 7515 section
/// 5.1).
const LABEL: &[u8] = b"tower-bearer key";

/// A key that signs tokens and verifies them, for exactly one [`Algorithm`].
///
/// Each constructor checks the key, so that no request fails because of an unfit key:
///
/// * The key's type fits the algorithm.
/// * The key has at least the size that RFC 7518 requires.
/// * The public key is a point of its curve, if the algorithm uses a curve.
/// * The public key verifies a test signature of the private key.
///
/// The default name (`kid`) is the RFC 7638 thumbprint of the public key. For a secret, the default
/// name is the beginning of an HMAC with this secret. `Debug` shows only the algorithm and the
/// name. When the key is dropped, its memory is wiped.
#[derive(Clone)]
pub struct SigningKey {
    key: EncodingKey,
    verifying: VerifyingKey,
}

/// A key that only verifies tokens, for exactly one [`Algorithm`].
///
/// Each constructor makes the checks of [`SigningKey`], except for the test signature. The default
/// name is the same as that of a [`SigningKey`].
#[derive(Clone)]
pub struct VerifyingKey {
    verifier: Verifier,
    kid: Option<String>,
    /// The value of `issuer` in the JWK of this key.
    issuer: Option<Box<str>>,
}

impl SigningKey {
    /// Creates a key from a shared secret, for HS256, HS384 or HS512. Uses the bytes as they are,
    /// without decoding base64 or hex.
    ///
    /// # Errors
    ///
    /// * The algorithm needs a key pair.
    /// * The secret is shorter than the hash (RFC 7518 section 3.2).
    /// * The secret repeats one byte, is known from public examples, or is the text of another key.
    /// * The secret is text that begins or ends with white space, such as the newline at the end of
    ///   a file. Binary secrets and the secrets of JWKs can begin and end with any byte.
    /// * No signature backend is compiled in.
    pub fn from_secret(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let secret = secret.as_ref();
        let key = Self::of_secret(algorithm, secret)?;
        secret::check_ends(SIGNING, secret)?;
        Ok(key)
    }

    /// Reads a private key in PEM: PKCS#8 or, for RSA, PKCS#1.
    ///
    /// An RSA key can have the type `rsaEncryption` or `RSASSA-PSS`. A key of the type `RSASSA-PSS`
    /// works only with PS256, PS384 and PS512. If the key has parameters, they must allow the
    /// algorithm (RFC 4055 section 3.1):
    ///
    /// * They name the algorithm's hash for the message and for the mask.
    /// * They name a salt that is not longer than the hash.
    ///
    /// # Errors
    ///
    /// * The text is not exactly one private key in one of these forms. SEC1, encrypted keys and
    ///   certificates are refused.
    /// * The key does not fit the algorithm.
    /// * An RSA key has less than 2048 or more than 8192 bits (4096 with `rust-crypto`).
    /// * The public exponent of an RSA key is even, below 3 or over 32 bits long.
    /// * An RSA key comes from the faulty generator of CVE-2017-15361 (ROCA).
    /// * The public half does not verify a signature of the private half.
    /// * No signature backend is compiled in.
    pub fn from_pem(algorithm: Algorithm, pem: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let pem = pem.as_ref();
        pem::check(SIGNING, Half::Private, pem)?;
        if let Some(der) = pem::decode(pem)
            && let Some(pkcs1) = pss::to_pkcs1(SIGNING, Half::Private, algorithm, &der)?
        {
            return Self::from_armoured(algorithm, [pkcs1.as_bytes()]);
        }
        Self::from_armoured(algorithm, [pem])
    }

    /// Reads a private key in DER: PKCS#8 or, for RSA, PKCS#1.
    ///
    /// # Errors
    ///
    /// The errors of [`from_pem`](Self::from_pem).
    pub fn from_der(algorithm: Algorithm, der: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let der = der.as_ref();
        if let Some(pkcs1) = pss::to_pkcs1(SIGNING, Half::Private, algorithm, der)? {
            return Self::from_armoured(algorithm, [pkcs1.as_bytes()]);
        }
        let candidates = pem::from_der(Half::Private, der);
        Self::from_armoured(algorithm, candidates.each_ref().map(|pem| pem.as_bytes()))
    }

    /// Reads a private or secret JSON Web Key (RFC 7517). The JWK must name its algorithm by `alg`
    /// or by its curve.
    ///
    /// # Errors
    ///
    /// * The text is not a single JWK by the rules of RFC 7517, 7518 and 8037.
    /// * The JWK has no private part, or names no algorithm.
    /// * `use` or `key_ops` does not allow signing. A secret must allow signing and verifying.
    /// * The errors of [`from_pem`](Self::from_pem) and [`from_secret`](Self::from_secret).
    pub fn from_jwk(json: &str) -> Result<Self, ConfigError> {
        Self::of_jwk(jwk::parse(SIGNING, Half::Private, None, json)?)
    }

    /// Reads a private or secret JSON Web Key for this algorithm. The JWK can omit `alg`.
    ///
    /// # Errors
    ///
    /// The errors of [`from_jwk`](Self::from_jwk), except for a missing algorithm. The function
    /// also fails if the key names another algorithm or has another type.
    pub fn from_jwk_with(algorithm: Algorithm, json: &str) -> Result<Self, ConfigError> {
        Self::of_jwk(jwk::parse(SIGNING, Half::Private, Some(algorithm), json)?)
    }

    /// Sets the name of the key. The tokens that the key signs contain the name as `kid`, so every
    /// client can read it.
    ///
    /// # Errors
    ///
    /// The name does not have 1 to 255 bytes, or has control characters.
    pub fn with_kid(mut self, kid: impl Into<String>) -> Result<Self, ConfigError> {
        self.verifying = self.verifying.with_kid(kid)?;
        Ok(self)
    }

    /// Removes the name. Tokens that the key signs then have no `kid`.
    #[must_use]
    pub fn without_kid(mut self) -> Self {
        self.verifying = self.verifying.without_kid();
        self
    }

    /// Returns the name, which the signed tokens contain as `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.verifying.kid()
    }

    /// Returns the algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.verifying.algorithm()
    }

    /// Returns the key that verifies this key's signatures. The returned key has the same name. For
    /// a secret, it also contains the secret.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.verifying.verifier.backend.sign(self.algorithm(), &self.key, message)
    }

    /// Reads the private key from the first PEM text with a private key of the algorithm's type.
    fn from_armoured<const N: usize>(algorithm: Algorithm, pems: [&[u8]; N]) -> Result<Self, ConfigError> {
        let backend = Backend::compiled_in()?;
        let read = |pem: &[u8]| {
            let key = match algorithm.key_type() {
                KeyType::Secret { .. } => return None,
                KeyType::Rsa => EncodingKey::from_rsa_pem(pem),
                KeyType::P256 | KeyType::P384 => EncodingKey::from_ec_pem(pem),
                KeyType::Ed25519 => EncodingKey::from_ed_pem(pem),
            };
            let key = key.ok()?;
            let public = PublicKey::of_private(backend, algorithm, &key)?;
            Some((key, public))
        };
        let (key, public) =
            pems.into_iter().find_map(read).ok_or_else(|| Half::Private.unreadable(SIGNING, algorithm))?;
        Self::tried(key, VerifyingKey::of_public(SIGNING, backend, algorithm, &public)?)
    }

    pub(super) fn of_jwk(jwk: Jwk) -> Result<Self, ConfigError> {
        let Jwk { algorithm, kid, material, .. } = jwk;
        let key = match material {
            Material::Secret(secret) => Self::of_secret(algorithm, &secret)?,
            Material::Public(_) => return Err(Half::Private.unreadable(SIGNING, algorithm)),
            Material::Private { public, der } => {
                let backend = Backend::compiled_in()?;
                let key = match algorithm.key_type() {
                    KeyType::Rsa => EncodingKey::from_rsa_der(&der),
                    KeyType::P256 | KeyType::P384 => EncodingKey::from_ec_der(&der),
                    KeyType::Ed25519 => EncodingKey::from_ed_der(&der),
                    KeyType::Secret { .. } => return Err(Half::Private.unreadable(SIGNING, algorithm)),
                };
                // The public half comes from the JWK and not from the private half, so `tried`
                // checks that the two halves fit.
                Self::tried(key, VerifyingKey::of_public(SIGNING, backend, algorithm, &public)?)?
            }
        };
        kid.into_iter().try_fold(key, Self::with_kid)
    }

    fn of_secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, ConfigError> {
        Self::tried(EncodingKey::from_secret(secret), VerifyingKey::of_secret(SIGNING, algorithm, secret)?)
    }

    /// Returns the pair if `verifying` verifies a test signature of `key`. Otherwise the halves do
    /// not fit, or the backend cannot sign with the key.
    fn tried(key: EncodingKey, verifying: VerifyingKey) -> Result<Self, ConfigError> {
        let pair = Self { key, verifying };
        if pair.sign(LABEL).is_ok_and(|signature| pair.verifying.verify(LABEL, &signature)) {
            return Ok(pair);
        }
        Err(ConfigError::new(
            SIGNING,
            "is a private key whose test signature fails to verify with its public key",
            "give both halves of the same key pair",
        ))
    }
}

impl VerifyingKey {
    /// Returns true if this key may verify tokens of `issuer`.
    ///
    /// If the JWK of the key has no member `issuer`, the key may verify the tokens of every issuer.
    /// If it has this member, the key may verify only the tokens of that issuer. The text
    /// `{tenantid}` in the member matches every tenant.
    ///
    /// A key server for several tenants also publishes keys of single tenants. Without this check,
    /// the holder of such a key could sign tokens of all other tenants.
    pub(crate) fn may_verify_for(&self, issuer: &str) -> bool {
        self.issuer.as_deref().is_none_or(|own| match own.split_once("{tenantid}") {
            Some((start, end)) => issuer.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
            None => own == issuer,
        })
    }

    /// Creates a key from a shared secret, for HS256, HS384 or HS512. Uses the bytes as they are,
    /// without decoding base64 or hex.
    ///
    /// # Errors
    ///
    /// The errors of [`SigningKey::from_secret`].
    pub fn from_secret(algorithm: Algorithm, secret: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let secret = secret.as_ref();
        let key = Self::of_secret(VERIFYING, algorithm, secret)?;
        secret::check_ends(VERIFYING, secret)?;
        Ok(key)
    }

    /// Reads a public key in PEM: SPKI (`PUBLIC KEY`) or, for RSA, PKCS#1. [`SigningKey::from_pem`]
    /// describes the accepted types of RSA keys.
    ///
    /// # Errors
    ///
    /// * The text is not exactly one public key in one of these forms. Private keys and
    ///   certificates are refused.
    /// * The key does not fit the algorithm.
    /// * An RSA key has less than 2048 or more than 8192 bits (4096 with `rust-crypto`).
    /// * The public exponent of an RSA key is even, below 3 or over 32 bits long.
    /// * An RSA key comes from the faulty generator of CVE-2017-15361 (ROCA).
    /// * The public key is not a point of its curve.
    /// * No signature backend is compiled in.
    pub fn from_pem(algorithm: Algorithm, pem: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let pem = pem.as_ref();
        pem::check(VERIFYING, Half::Public, pem)?;
        if let Some(der) = pem::decode(pem)
            && let Some(pkcs1) = pss::to_pkcs1(VERIFYING, Half::Public, algorithm, &der)?
        {
            return Self::from_armoured(algorithm, [pkcs1.as_bytes()]);
        }
        Self::from_armoured(algorithm, [pem])
    }

    /// Reads a public key in DER: SPKI or, for RSA, PKCS#1.
    ///
    /// # Errors
    ///
    /// The errors of [`from_pem`](Self::from_pem).
    pub fn from_der(algorithm: Algorithm, der: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let der = der.as_ref();
        if let Some(pkcs1) = pss::to_pkcs1(VERIFYING, Half::Public, algorithm, der)? {
            return Self::from_armoured(algorithm, [pkcs1.as_bytes()]);
        }
        let candidates = pem::from_der(Half::Public, der);
        Self::from_armoured(algorithm, candidates.each_ref().map(|pem| pem.as_bytes()))
    }

    /// Reads a public or secret JSON Web Key (RFC 7517). The JWK must name its algorithm by `alg`
    /// or by its curve.
    ///
    /// # Errors
    ///
    /// * The text is not a single JWK by the rules of RFC 7517, 7518 and 8037.
    /// * The JWK has a private part, or names no algorithm.
    /// * `use` or `key_ops` does not allow verifying.
    /// * The errors of [`from_pem`](Self::from_pem) and [`from_secret`](Self::from_secret).
    pub fn from_jwk(json: &str) -> Result<Self, ConfigError> {
        Self::of_jwk(jwk::parse(VERIFYING, Half::Public, None, json)?)
    }

    /// Reads a public or secret JSON Web Key for this algorithm. The JWK can omit `alg`.
    ///
    /// # Errors
    ///
    /// The errors of [`from_jwk`](Self::from_jwk), except for a missing algorithm. The function
    /// also fails if the key names another algorithm or has another type.
    pub fn from_jwk_with(algorithm: Algorithm, json: &str) -> Result<Self, ConfigError> {
        Self::of_jwk(jwk::parse(VERIFYING, Half::Public, Some(algorithm), json)?)
    }

    /// Sets the name of the key. A token with a `kid` is verified only by a key with that name.
    ///
    /// # Errors
    ///
    /// The name does not have 1 to 255 bytes, or has control characters.
    pub fn with_kid(mut self, kid: impl Into<String>) -> Result<Self, ConfigError> {
        let kid = kid.into();
        if !is_id(&kid) {
            return Err(ConfigError::new(
                "kid",
                "is empty, longer than 255 bytes, or has control characters",
                "choose a short printable name",
            ));
        }
        self.kid = Some(kid);
        Ok(self)
    }

    /// Removes the name. The key then verifies only tokens without `kid`.
    #[must_use]
    pub fn without_kid(mut self) -> Self {
        self.kid = None;
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns the algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.verifier.algorithm
    }

    /// Returns the JWK thumbprint (RFC 7638, SHA-256), which identifies a public key independently
    /// of its `kid`. Returns `None` for a secret, because a thumbprint would help an attacker to
    /// guess the secret (RFC 7638 section 7).
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        self.public()?.thumbprint(self.verifier.backend, self.algorithm())
    }

    /// Returns the numbers of a public key, or `None` for a secret.
    pub(super) fn public(&self) -> Option<PublicKey> {
        PublicKey::of_checked(self.algorithm(), &self.verifier.key)
    }

    /// Returns true if this key verifies the signature of the message. Returns false if the
    /// signature is wrong or the backend fails. The backend compares HMACs in constant time.
    #[allow(clippy::ptr_arg, reason = "the backends' verifiers take a &Vec<u8>")]
    pub(crate) fn verify(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        self.verifier.verify(message, signature)
    }

    fn of_secret(setting: &'static str, algorithm: Algorithm, secret: &[u8]) -> Result<Self, ConfigError> {
        secret::check(setting, algorithm, secret)?;
        Self::of_unchecked_secret(setting, algorithm, secret)
    }

    /// Creates a key from a secret without checking the secret. Tests call this function directly,
    /// because some secrets in the test vectors of Wycheproof would fail the check.
    pub(crate) fn of_unchecked_secret(
        setting: &'static str,
        algorithm: Algorithm,
        secret: &[u8],
    ) -> Result<Self, ConfigError> {
        let backend = Backend::compiled_in()?;
        // The name is part of an HMAC, because attackers can compute a plain hash of guessed
        // secrets faster. The signature of any token reveals as much as this HMAC.
        let mac = backend.sign(algorithm, &EncodingKey::from_secret(secret), LABEL).unwrap_or_default();
        let kid = mac.get(..9).map(|start| URL_SAFE_NO_PAD.encode(start));
        let verifier = Verifier::of_secret(backend, algorithm, secret);
        Self { verifier, kid, issuer: None }.named(setting)
    }

    fn of_public(
        setting: &'static str,
        backend: Backend,
        algorithm: Algorithm,
        public: &PublicKey,
    ) -> Result<Self, ConfigError> {
        let verifier = public.check(setting, backend, algorithm)?;
        Self { verifier, kid: public.thumbprint(backend, algorithm), issuer: None }.named(setting)
    }

    /// Returns the key, or an error if the backend failed to compute its default name. Without this
    /// check, the key would have no name, and its tokens no `kid`.
    fn named(self, setting: &'static str) -> Result<Self, ConfigError> {
        if self.kid.is_some() {
            return Ok(self);
        }
        Err(ConfigError::unsupported(
            setting,
            "is a key whose default name (`kid`) the signature backend failed to compute",
            "try the other backend (feature `aws-lc-rs` or `rust-crypto`)",
        ))
    }

    /// Reads the public key from the first PEM text with a public key of the algorithm's type.
    fn from_armoured<const N: usize>(algorithm: Algorithm, pems: [&[u8]; N]) -> Result<Self, ConfigError> {
        let backend = Backend::compiled_in()?;
        let public = pems
            .into_iter()
            .find_map(|pem| PublicKey::from_pem(backend, algorithm, pem))
            .ok_or_else(|| Half::Public.unreadable(VERIFYING, algorithm))?;
        Self::of_public(VERIFYING, backend, algorithm, &public)
    }

    pub(super) fn of_jwk(jwk: Jwk) -> Result<Self, ConfigError> {
        let Jwk { algorithm, kid, issuer, material } = jwk;
        let key = match material {
            Material::Secret(secret) => Self::of_secret(VERIFYING, algorithm, &secret)?,
            Material::Public(public) => Self::of_public(VERIFYING, Backend::compiled_in()?, algorithm, &public)?,
            Material::Private { .. } => return Err(Half::Public.unreadable(VERIFYING, algorithm)),
        };
        kid.into_iter().try_fold(Self { issuer: issuer.map(Into::into), ..key }, Self::with_kid)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .field("kid", &self.kid())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm())
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod tests;

#[cfg(all(test, not(any(feature = "aws-lc-rs", feature = "rust-crypto"))))]
mod tests_without_a_backend {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::{KeySet, MemoryStore, TokenService};

    #[test]
    fn key_34_without_a_backend_no_key_can_be_made_and_the_message_names_the_features() {
        let secret = b"TEST secret of sixty-four bytes, which is long enough for HS512!";
        let pem = include_str!("../../../tests/keys/TEST-ed25519-pkcs8.pem");
        let public = include_str!("../../../tests/keys/TEST-ed25519-public.pem");
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        for error in [
            SigningKey::from_secret(Algorithm::HS256, secret).unwrap_err(),
            SigningKey::from_pem(Algorithm::EdDSA, pem).unwrap_err(),
            SigningKey::from_der(Algorithm::EdDSA, pem).unwrap_err(),
            VerifyingKey::from_secret(Algorithm::HS512, secret).unwrap_err(),
            VerifyingKey::from_pem(Algorithm::EdDSA, public).unwrap_err(),
            VerifyingKey::from_jwk(jwk).unwrap_err(),
            KeySet::from_jwks(&format!(r#"{{"keys":[{jwk}]}}"#)).unwrap_err(),
            KeySet::from_published_jwks(&format!(r#"{{"keys":[{jwk}]}}"#)).unwrap_err(),
            TokenService::builder().secret(secret).store(MemoryStore::default()).build().unwrap_err(),
        ] {
            assert_eq!(error.setting(), "features");
            assert!(error.to_string().contains("`aws-lc-rs` or `rust-crypto`"), "{error}");
        }
    }
}

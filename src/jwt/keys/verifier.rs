//! Verifies signatures with one key.

#[cfg(feature = "aws-lc-rs")]
use std::sync::Arc;

use jsonwebtoken::{DecodingKey, DecodingKeyKind};

use super::algorithm::{Algorithm, Backend};

/// A key in the form in which the backend verifies signatures.
#[derive(Clone)]
pub(super) struct Verifier {
    pub(super) backend: Backend,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    /// The public key as AWS-LC has parsed it. `None` for a secret.
    ///
    /// `jsonwebtoken` 11.1 would parse the key again for each signature. The parsing takes a tenth
    /// of the time of an RSA verification (measured: `cargo bench --bench issuers`).
    #[cfg(feature = "aws-lc-rs")]
    parsed: Option<Arc<aws_lc::ParsedPublicKey>>,
}

impl Verifier {
    pub(super) fn of_secret(backend: Backend, algorithm: Algorithm, secret: &[u8]) -> Self {
        Self {
            backend,
            algorithm,
            key: DecodingKey::from_secret(secret),
            #[cfg(feature = "aws-lc-rs")]
            parsed: None,
        }
    }

    /// Returns `None` if the backend refuses the public key, for example because it is no point of
    /// the curve.
    pub(super) fn of_public(backend: Backend, algorithm: Algorithm, key: DecodingKey) -> Option<Self> {
        // If the point of an EC key is off its curve, this call fails with RustCrypto, and `parse`
        // fails with AWS-LC.
        backend.verifier(algorithm, &key)?;
        Some(Self {
            backend,
            algorithm,
            #[cfg(feature = "aws-lc-rs")]
            parsed: Some(Arc::new(aws_lc::parse(algorithm, &key)?)),
            key,
        })
    }

    /// Returns true if the signature of the message is good, and false on any failure. The backend
    /// compares MACs in constant time.
    #[allow(clippy::ptr_arg, reason = "the backends' verifiers take a &Vec<u8>")]
    pub(super) fn verify(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        if let DecodingKeyKind::RsaModulusExponent { n, .. } = self.key.kind()
            && !is_residue(signature, n)
        {
            return false;
        }
        #[cfg(feature = "aws-lc-rs")]
        if let Some(key) = &self.parsed {
            return key.verify_sig(message, signature).is_ok();
        }
        // Each call creates a verifier, because the boxed verifiers of `jsonwebtoken` are neither
        // `Send` nor `Sync`. The creation copies the key.
        let verifier = self.backend.verifier(self.algorithm, &self.key);
        verifier.is_some_and(|verifier| verifier.verify(message, signature).is_ok())
    }
}

/// Returns true if an RSA signature has the length of the modulus, and is below it (RFC 8017
/// sections 8.1.2, 8.2.2 and 5.2.2). For PSS, `RustCrypto` does not check this. Without the check,
/// a signature plus the modulus would be a second valid signature of the same text.
fn is_residue(number: &[u8], modulus: &[u8]) -> bool {
    number.len() == modulus.len() && number < modulus
}

#[cfg(feature = "aws-lc-rs")]
mod aws_lc {
    pub(super) use aws_lc_rs::signature::ParsedPublicKey;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
        RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
    };
    use jsonwebtoken::{DecodingKey, DecodingKeyKind};

    use crate::jwt::keys::{algorithm::Algorithm, der};

    /// Parses a public key. Returns `None` if it is no key of the algorithm's type.
    pub(super) fn parse(algorithm: Algorithm, key: &DecodingKey) -> Option<ParsedPublicKey> {
        let rules: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return None,
            Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RS384 => &RSA_PKCS1_2048_8192_SHA384,
            Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
            Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::PS384 => &RSA_PSS_2048_8192_SHA384,
            Algorithm::PS512 => &RSA_PSS_2048_8192_SHA512,
            Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED,
            Algorithm::EdDSA | Algorithm::Ed25519 => &ED25519,
        };
        match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => ParsedPublicKey::new(rules, der::rsa_public_key(n, e)),
            DecodingKeyKind::SecretOrDer(bytes) => ParsedPublicKey::new(rules, bytes),
        }
        .ok()
    }
}

//! The signature backend: the library that computes, selected by the crate's features.
//!
//! `jsonwebtoken` can be built with two backends. Its own `sign`, `verify`, `encode`, `decode` and
//! `Jwk` functions look one up in a process-wide global. With both compiled in, that look-up
//! panics, and afterwards none can be installed any more. Any other crate of the application can
//! bring this about. So this module calls the factories of one provider only, and never reads or
//! sets the global.

use jsonwebtoken::{
    DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::CryptoProvider,
    jwk::{EllipticCurve, ThumbprintHash},
};

use super::algorithm::Algorithm;
use crate::error::{ConfigError, Error};

/// The backend that was compiled in.
#[derive(Clone, Copy)]
pub(crate) struct Backend(&'static CryptoProvider);

impl Backend {
    /// Returns AWS-LC if it is compiled in, else `RustCrypto`.
    pub(crate) fn compiled_in() -> Result<Self, ConfigError> {
        provider().map(Self).ok_or_else(|| {
            ConfigError::new(
                "features",
                "of tower-bearer hold no signature backend",
                "enable the feature `aws-lc-rs` or `rust-crypto`",
            )
        })
    }

    pub(crate) fn sign(self, algorithm: Algorithm, key: &EncodingKey, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signer = (self.0.signer_factory)(&algorithm.to_jsonwebtoken(), key).map_err(|_| Error::Signing)?;
        signer.try_sign(message).map_err(|_| Error::Signing)
    }

    /// Returns true if the signature is good. The boxed verifiers of `jsonwebtoken` are neither
    /// `Send` nor `Sync`, so one is made for each call. That copies the key and computes nothing
    /// with it.
    #[allow(clippy::ptr_arg, reason = "the backends' verifiers take a &Vec<u8>")]
    pub(crate) fn verify(self, algorithm: Algorithm, key: &DecodingKey, message: &[u8], signature: &Vec<u8>) -> bool {
        if let DecodingKeyKind::RsaModulusExponent { n, .. } = key.kind()
            && !is_residue(signature, n)
        {
            return false;
        }
        (self.0.verifier_factory)(&algorithm.to_jsonwebtoken(), key)
            .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }

    /// Returns true if the public key is a point of its curve. For RSA keys and secrets, it only
    /// checks the type of the key.
    pub(crate) fn accepts(self, algorithm: Algorithm, key: &DecodingKey) -> bool {
        // RustCrypto decodes the point when its verifier is made, AWS-LC only at the first
        // signature.
        (self.0.verifier_factory)(&algorithm.to_jsonwebtoken(), key).is_ok() && point_is_valid(algorithm, key)
    }

    pub(crate) fn sha256(self, data: &[u8]) -> Option<Vec<u8>> {
        (self.0.key_utils.compute_digest)(data, ThumbprintHash::SHA256).ok()
    }

    /// Returns modulus and exponent of a PKCS#1 private key.
    pub(crate) fn rsa_public_of_private(self, der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        (self.0.key_utils.rsa_pub_components_from_private_key)(der).ok()
    }

    /// Returns modulus and exponent of a PKCS#1 public key.
    pub(crate) fn rsa_public(self, der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        (self.0.key_utils.rsa_pub_components_from_public_key)(der).ok()
    }

    /// Returns the coordinates of a PKCS#8 private key on the algorithm's curve.
    pub(crate) fn ec_public_of_private(self, algorithm: Algorithm, der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        (self.0.key_utils.ec_pub_components_from_private_key)(der, algorithm.to_jsonwebtoken())
            .ok()
            .map(|(_, x, y)| (x, y))
    }

    /// Returns the public point of a PKCS#8 Ed25519 private key.
    pub(crate) fn ed_public_of_private(self, der: &[u8]) -> Option<Vec<u8>> {
        (self.0.key_utils.ed_pub_components_from_private_key)(der, &EllipticCurve::Ed25519).ok()
    }
}

/// Returns true if this is the only form of an RSA signature: as long as the modulus, and below it
/// (RFC 8017 sections 8.1.2, 8.2.2 and 5.2.2). `RustCrypto` does not check it for PSS, where s + n
/// would be another signature of the same text.
fn is_residue(number: &[u8], modulus: &[u8]) -> bool {
    number.len() == modulus.len() && number < modulus
}

#[cfg(feature = "aws-lc-rs")]
#[allow(clippy::unnecessary_wraps, reason = "without a backend there is none")]
fn provider() -> Option<&'static CryptoProvider> {
    Some(&jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER)
}

#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc-rs")))]
#[allow(clippy::unnecessary_wraps, reason = "without a backend there is none")]
fn provider() -> Option<&'static CryptoProvider> {
    Some(&jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER)
}

#[cfg(not(any(feature = "rust-crypto", feature = "aws-lc-rs")))]
fn provider() -> Option<&'static CryptoProvider> {
    None
}

#[cfg(feature = "aws-lc-rs")]
fn point_is_valid(algorithm: Algorithm, key: &DecodingKey) -> bool {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey};

    use super::algorithm::KeyType;

    let parsed = |bytes| match algorithm.key_type() {
        KeyType::P256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes).is_ok(),
        KeyType::P384 => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, bytes).is_ok(),
        KeyType::Ed25519 => ParsedPublicKey::new(&ED25519, bytes).is_ok(),
        KeyType::Secret { .. } | KeyType::Rsa => true,
    };
    // RSA keys are held as modulus and exponent, not as bytes; their checks are `PublicKey`'s.
    key.try_get_as_bytes().map_or(algorithm.key_type() == KeyType::Rsa, parsed)
}

#[cfg(not(feature = "aws-lc-rs"))]
fn point_is_valid(_: Algorithm, _: &DecodingKey) -> bool {
    true
}

#[cfg(all(test, feature = "aws-lc-rs", feature = "rust-crypto"))]
mod tests_with_both_backends {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::{convert::Infallible, panic::catch_unwind};

    use http::{Request, Response, StatusCode};
    use tower::{Layer, ServiceExt, service_fn};

    use crate::{
        AuthLayer, Claims, MemoryStore, NewSession, TokenService,
        jwt::{Algorithm, KeySet, SigningKey},
    };

    /// Looks up the global backend, as another crate of the application may do at any time. There
    /// are two, so it panics. From then on none can be installed either.
    fn poison() -> bool {
        catch_unwind(|| {
            let key = jsonwebtoken::EncodingKey::from_secret(b"of another crate");
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &(), &key).is_ok()
        })
        .is_err()
    }

    #[tokio::test]
    async fn key_35_with_both_backends_requests_work_whatever_another_crate_does() {
        let pem = |name: &str| std::fs::read(format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let keys = || {
            [
                SigningKey::from_secret(Algorithm::HS256, b"a TEST secret that is long enough for HS256"),
                SigningKey::from_pem(Algorithm::RS256, pem("TEST-rsa-2048-pkcs8.pem")),
                SigningKey::from_pem(Algorithm::PS512, pem("TEST-rsa-2048-pkcs8.pem")),
                SigningKey::from_pem(Algorithm::ES256, pem("TEST-ec-p256-pkcs8.pem")),
                SigningKey::from_pem(Algorithm::ES384, pem("TEST-ec-p384-pkcs8.pem")),
                SigningKey::from_pem(Algorithm::EdDSA, pem("TEST-ed25519-pkcs8.pem")),
            ]
            .map(Result::unwrap)
        };
        let before = keys();
        assert!(poison(), "jsonwebtoken finds its backend among two: then this test shows nothing");
        for key in before.into_iter().chain(keys()) {
            let algorithm = key.algorithm();
            let tokens =
                TokenService::builder().keys(KeySet::signing(key)).store(MemoryStore::default()).build().unwrap();
            let pair = tokens.create_token_pair(NewSession::new("42")).await.unwrap();
            let service = AuthLayer::new(tokens).layer(service_fn(async |request: Request<()>| {
                let claims = request.extensions().get::<Claims>().unwrap();
                Ok::<_, Infallible>(Response::new(claims.subject().to_string()))
            }));
            for (token, status) in [(pair.access().as_str(), StatusCode::OK), ("abc", StatusCode::UNAUTHORIZED)] {
                let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
                assert_eq!(service.clone().oneshot(request).await.unwrap().status(), status, "{algorithm}");
            }
        }
    }
}

//! The signature algorithms, and the backend that computes signatures. The crate's features select
//! the backend.
//!
//! This module calls the functions of one backend directly. The functions of `jsonwebtoken`, such
//! as `sign` and `verify`, read the backend from a process-wide global instead. If another crate
//! enables a second backend, the first such read panics, and no backend can be set afterwards.

use std::{fmt, str::FromStr};

use jsonwebtoken::{
    DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtVerifier},
    jwk::{EllipticCurve, ThumbprintHash},
};

use crate::error::{ConfigError, Error};

/// A signature algorithm of JSON Web Tokens (RFC 7518 section 3.1, RFC 8037 section 3.1, RFC 9864
/// section 2.2).
///
/// The crate does not support `none`, `ES512` and `Ed448`. Each key has exactly one algorithm (RFC
/// 8725 section 3.1), so the header of a token cannot choose another algorithm for the key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// `EdDSA` on the curve Ed25519.
    EdDSA,
    /// The same signatures as [`EdDSA`](Self::EdDSA), under the name of RFC 9864. A key with one of
    /// the two names never verifies a token with the other name.
    Ed25519,
}

/// The type of key that an algorithm needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyType {
    /// A shared secret.
    Secret {
        /// The minimum length in bytes: the size of the hash (RFC 7518 section 3.2).
        minimum: usize,
    },
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Algorithm {
    pub(super) const ALL: [Self; 13] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
        Self::Ed25519,
    ];

    /// Returns the name of the algorithm in the header member `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// Returns the algorithm with the `alg` name `name`. Names are case-sensitive (RFC 7515 section
    /// 4.1.1).
    pub(crate) fn from_jose(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    pub(crate) const fn key_type(self) -> KeyType {
        match self {
            Self::HS256 => KeyType::Secret { minimum: 32 },
            Self::HS384 => KeyType::Secret { minimum: 48 },
            Self::HS512 => KeyType::Secret { minimum: 64 },
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => KeyType::Rsa,
            Self::ES256 => KeyType::P256,
            Self::ES384 => KeyType::P384,
            Self::EdDSA | Self::Ed25519 => KeyType::Ed25519,
        }
    }

    const fn to_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::HS256 => jsonwebtoken::Algorithm::HS256,
            Self::HS384 => jsonwebtoken::Algorithm::HS384,
            Self::HS512 => jsonwebtoken::Algorithm::HS512,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::RS384 => jsonwebtoken::Algorithm::RS384,
            Self::RS512 => jsonwebtoken::Algorithm::RS512,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::PS384 => jsonwebtoken::Algorithm::PS384,
            Self::PS512 => jsonwebtoken::Algorithm::PS512,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::ES384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDSA | Self::Ed25519 => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl KeyType {
    /// Returns the length in bytes of a coordinate or, for Ed25519, of the encoded point. Returns
    /// `None` for secrets and RSA.
    pub(crate) const fn coordinate_len(self) -> Option<usize> {
        match self {
            Self::Secret { .. } | Self::Rsa => None,
            Self::P256 | Self::Ed25519 => Some(32),
            Self::P384 => Some(48),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret { .. } => "secret",
            Self::Rsa => "RSA key",
            Self::P256 => "P-256 key",
            Self::P384 => "P-384 key",
            Self::Ed25519 => "Ed25519 key",
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = ConfigError;

    /// Reads the name of an algorithm as in `alg`, case-sensitively.
    ///
    /// # Errors
    ///
    /// The text is not the name of a supported algorithm. The message does not quote the text,
    /// because an operator may have put a secret into the wrong setting.
    fn from_str(name: &str) -> Result<Self, ConfigError> {
        Self::from_jose(name).ok_or_else(|| {
            ConfigError::unsupported(
                "algorithm",
                "is not the name of a supported signature algorithm",
                "use one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, \
                 Ed25519, spelled exactly as here",
            )
        })
    }
}

/// The library that computes signatures: AWS-LC or `RustCrypto`.
#[derive(Clone, Copy)]
pub(crate) struct Backend(&'static CryptoProvider);

impl Backend {
    /// Returns AWS-LC if it is compiled in, or else `RustCrypto`. Fails if neither is compiled in.
    pub(crate) fn compiled_in() -> Result<Self, ConfigError> {
        provider().map(Self).ok_or_else(|| {
            ConfigError::unsupported(
                "features",
                "of tower-bearer in `Cargo.toml` include no signature backend",
                "enable the feature `aws-lc-rs` or `rust-crypto`",
            )
        })
    }

    pub(crate) fn sign(self, algorithm: Algorithm, key: &EncodingKey, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signer = (self.0.signer_factory)(&algorithm.to_jsonwebtoken(), key).map_err(|_| Error::Signing)?;
        signer.try_sign(message).map_err(|_| Error::Signing)
    }

    /// Returns a verifier for one key, or `None` if the backend refuses the key. `RustCrypto` also
    /// refuses a point off its curve. AWS-LC refuses only a key of the wrong type.
    pub(super) fn verifier(self, algorithm: Algorithm, key: &DecodingKey) -> Option<Box<dyn JwtVerifier>> {
        (self.0.verifier_factory)(&algorithm.to_jsonwebtoken(), key).ok()
    }

    pub(crate) fn sha256(self, data: &[u8]) -> Option<Vec<u8>> {
        (self.0.key_utils.compute_digest)(data, ThumbprintHash::SHA256).ok()
    }

    /// Returns modulus and exponent of a private key in PKCS#1.
    pub(crate) fn rsa_public_of_private(self, der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        (self.0.key_utils.rsa_pub_components_from_private_key)(der).ok()
    }

    /// Returns modulus and exponent of a public key in PKCS#1.
    pub(crate) fn rsa_public(self, der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        (self.0.key_utils.rsa_pub_components_from_public_key)(der).ok()
    }

    /// Returns the coordinates of the public point that belongs to a private key in PKCS#8.
    pub(crate) fn ec_public_of_private(self, algorithm: Algorithm, der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        (self.0.key_utils.ec_pub_components_from_private_key)(der, algorithm.to_jsonwebtoken())
            .ok()
            .map(|(_, x, y)| (x, y))
    }

    /// Returns the public point that belongs to an Ed25519 private key in PKCS#8.
    pub(crate) fn ed_public_of_private(self, der: &[u8]) -> Option<Vec<u8>> {
        (self.0.key_utils.ed_pub_components_from_private_key)(der, &EllipticCurve::Ed25519).ok()
    }
}

#[cfg(feature = "aws-lc-rs")]
#[allow(clippy::unnecessary_wraps, reason = "the variant without a backend returns None")]
fn provider() -> Option<&'static CryptoProvider> {
    Some(&jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER)
}

#[cfg(all(feature = "rust-crypto", not(feature = "aws-lc-rs")))]
#[allow(clippy::unnecessary_wraps, reason = "the variant without a backend returns None")]
fn provider() -> Option<&'static CryptoProvider> {
    Some(&jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER)
}

#[cfg(not(any(feature = "rust-crypto", feature = "aws-lc-rs")))]
fn provider() -> Option<&'static CryptoProvider> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn every_name_is_read_back_and_agrees_with_the_backend_crate() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse::<Algorithm>().unwrap(), algorithm);
            // `jsonwebtoken` does not have the newer name.
            let name = if algorithm == Algorithm::Ed25519 { "EdDSA".to_owned() } else { algorithm.to_string() };
            assert_eq!(format!("{:?}", algorithm.to_jsonwebtoken()), name);
        }
    }

    #[test]
    fn a_name_in_another_case_or_unsupported_is_refused_and_not_repeated() {
        for name in ["", "none", "None", "hs256", "HS256 ", "ES512", "ed25519", "Ed448", "EDDSA", "RSA1_5", "A256GCM"] {
            let error = name.parse::<Algorithm>().unwrap_err();
            assert_eq!(error.setting(), "algorithm");
            assert!(Algorithm::from_jose(name).is_none());
        }
        assert!(!"hunter2".parse::<Algorithm>().unwrap_err().to_string().contains("hunter2"));
    }
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

    /// Makes `jsonwebtoken` look up its global backend, as another crate of the application may do.
    /// Returns true if the look-up panics because two backends are compiled in. After that, no
    /// backend can be installed.
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
                SigningKey::from_pem(Algorithm::Ed25519, pem("TEST-ed25519-pkcs8.pem")),
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

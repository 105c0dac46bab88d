//! Reads and checks the numbers of a public key, and computes its thumbprint.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, DecodingKeyKind, EncodingKey};

use super::{
    algorithm::{Algorithm, Backend, KeyType},
    der, ed25519,
    verifier::Verifier,
};
use crate::error::ConfigError;

/// The accepted sizes of RSA keys in bits. RFC 7518 section 3.3 requires at least 2048. AWS-LC
/// accepts at most 8192, and larger keys would slow down every verification.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The odd primes up to 167. [`is_roca`] divides a modulus by each of them.
const SMALL_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// The numbers of a public key, big-endian. Coordinates have the full length of their curve's
/// field.
pub(super) enum PublicKey {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

impl PublicKey {
    /// Returns the numbers of a key that [`check`](Self::check) has checked. Returns `None` for a
    /// secret.
    pub(super) fn of_checked(algorithm: Algorithm, key: &DecodingKey) -> Option<Self> {
        match (algorithm.key_type(), key.kind()) {
            (KeyType::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                Some(Self::Rsa { n: n.clone(), e: e.clone() })
            }
            (KeyType::P256 | KeyType::P384, DecodingKeyKind::SecretOrDer(point)) => Self::of_point(algorithm, point),
            (KeyType::Ed25519, DecodingKeyKind::SecretOrDer(x)) => Some(Self::Ed25519 { x: x.clone() }),
            _ => None,
        }
    }

    /// Returns the coordinates of an uncompressed point. Refuses compressed points, because AWS-LC
    /// does not read them and both backends must accept the same keys.
    fn of_point(algorithm: Algorithm, point: &[u8]) -> Option<Self> {
        let [4, coordinates @ ..] = point else { return None };
        let (x, y) = coordinates.split_at_checked(algorithm.key_type().coordinate_len()?)?;
        Some(Self::Ec { x: x.to_vec(), y: y.to_vec() })
    }

    /// Reads PEM: `PUBLIC KEY` (SPKI) or, for RSA, `RSA PUBLIC KEY` (PKCS#1). Returns `None` if the
    /// text is not a key of the algorithm's type.
    pub(super) fn from_pem(backend: Backend, algorithm: Algorithm, pem: &[u8]) -> Option<Self> {
        match algorithm.key_type() {
            KeyType::Secret { .. } => None,
            KeyType::Rsa => {
                let key = DecodingKey::from_rsa_pem(pem).ok()?;
                let (n, e) = backend.rsa_public(key.try_get_as_bytes().ok()?)?;
                Some(Self::Rsa { n, e })
            }
            KeyType::P256 | KeyType::P384 => {
                let key = DecodingKey::from_ec_pem(pem).ok()?;
                Self::of_point(algorithm, key.try_get_as_bytes().ok()?)
            }
            KeyType::Ed25519 => {
                let key = DecodingKey::from_ed_pem(pem).ok()?;
                Some(Self::Ed25519 { x: key.try_get_as_bytes().ok()?.to_vec() })
            }
        }
    }

    /// Computes the public half of a private key. Returns `None` if the backend cannot read a
    /// private key of the algorithm's type.
    pub(super) fn of_private(backend: Backend, algorithm: Algorithm, key: &EncodingKey) -> Option<Self> {
        match algorithm.key_type() {
            KeyType::Secret { .. } => None,
            KeyType::Rsa => backend.rsa_public_of_private(key.as_bytes()).map(|(n, e)| Self::Rsa { n, e }),
            KeyType::P256 | KeyType::P384 => {
                backend.ec_public_of_private(algorithm, key.as_bytes()).map(|(x, y)| Self::Ec { x, y })
            }
            KeyType::Ed25519 => backend.ed_public_of_private(key.as_bytes()).map(|x| Self::Ed25519 { x }),
        }
    }

    /// Checks the key, and returns a verifier that uses it. Of an RSA key, checks size, modulus and
    /// exponent. Of a key on a curve, checks that it is a point of the curve.
    pub(super) fn check(
        &self,
        setting: &'static str,
        backend: Backend,
        algorithm: Algorithm,
    ) -> Result<Verifier, ConfigError> {
        let refuse = |problem: String| {
            ConfigError::new(setting, problem, "make a new key pair, for example with `openssl genpkey`")
        };
        if let Self::Rsa { n, e } = self {
            let bits = bit_len(n);
            if !RSA_BITS.contains(&bits) || n.last().is_none_or(|byte| byte % 2 == 0) {
                return Err(refuse(format!(
                    "is an RSA key of {bits} bits, but {algorithm} needs an odd modulus of 2048 to 8192 bits"
                )));
            }
            // With exponent 1, every text is its own signature. Even exponents are invalid. A huge
            // exponent would cost time at every request.
            if e.last().is_none_or(|byte| byte % 2 == 0) || !(2..=32).contains(&bit_len(e)) {
                return Err(refuse(
                    "is an RSA key whose public exponent is even, below 3 or over 32 bits long".to_owned(),
                ));
            }
            if is_roca(n) {
                return Err(refuse(
                    "is an RSA key from a generator whose keys can be factored (CVE-2017-15361)".to_owned(),
                ));
            }
            // RustCrypto accepts at most 4096 bits, but checks this only when it reads the key.
            // This call makes it read the key.
            if backend.rsa_public(&der::rsa_public_key(n, e)).is_none() {
                return Err(refuse(format!("is an RSA key of {bits} bits, more than the signature backend accepts")));
            }
        }
        if let Self::Ec { x, y: last } | Self::Ed25519 { x: last @ x } = self {
            let len = algorithm.key_type().coordinate_len();
            if Some(x.len()) != len || Some(last.len()) != len {
                return Err(refuse(format!("is a public key on another curve than that of {algorithm}")));
            }
        }
        let is_usable = match self {
            Self::Ed25519 { x } => ed25519::is_public_key(x),
            Self::Rsa { .. } | Self::Ec { .. } => true,
        };
        let verifier = Verifier::of_public(backend, algorithm, self.decoding_key()).filter(|_| is_usable);
        verifier.ok_or_else(|| {
            refuse(format!("is a public key that is no point of the curve of {algorithm}, or has small order"))
        })
    }

    /// Computes the JWK thumbprint (RFC 7638, and RFC 8037 section 2 for Ed25519): a SHA-256 hash
    /// in base64url.
    pub(super) fn thumbprint(&self, backend: Backend, algorithm: Algorithm) -> Option<String> {
        // RFC 7638 section 3.3 requires JSON without white space, with the members in the order of
        // their names. No value needs an escape.
        let members: Vec<_> =
            self.members(algorithm).iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
        let json = format!("{{{}}}", members.join(","));
        backend.sha256(json.as_bytes()).map(|hash| URL_SAFE_NO_PAD.encode(&hash))
    }

    /// Returns the members that a JWK of this key must have, in the order of their names (RFC 7638
    /// section 3.2).
    pub(super) fn members(&self, algorithm: Algorithm) -> Vec<(&'static str, String)> {
        let text = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
        match self {
            Self::Rsa { n, e } => vec![("e", text(e)), ("kty", "RSA".to_owned()), ("n", text(n))],
            Self::Ec { x, y } => {
                let crv = if algorithm.key_type() == KeyType::P384 { "P-384" } else { "P-256" };
                vec![("crv", crv.to_owned()), ("kty", "EC".to_owned()), ("x", text(x)), ("y", text(y))]
            }
            Self::Ed25519 { x } => {
                vec![("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", text(x))]
            }
        }
    }

    fn decoding_key(&self) -> DecodingKey {
        match self {
            Self::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Self::Ec { x, y } => DecodingKey::from_ec_der(&[&[4], x.as_slice(), y].concat()),
            Self::Ed25519 { x } => DecodingKey::from_ed_der(x),
        }
    }
}

/// Returns true if a modulus comes from the faulty generator of CVE-2017-15361 (ROCA), which some
/// smart cards and TPMs used until 2017.
///
/// Modulo each small prime, every modulus of that generator is a power of 65537. By chance, 1 in
/// 200 million other moduli has this property too.
fn is_roca(n: &[u8]) -> bool {
    SMALL_PRIMES.into_iter().all(|prime| {
        let residue = n.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * (65_537 % prime) % prime));
        // The powers repeat after fewer than `prime` steps.
        powers.take(prime as usize).any(|power| power == residue)
    })
}

/// Returns the number of bits of a big-endian number, without leading zeros.
fn bit_len(number: &[u8]) -> usize {
    let zeros: usize = number.iter().take_while(|byte| **byte == 0).count();
    let head = number.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
    number.len().saturating_sub(zeros).saturating_mul(8).saturating_sub(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_no_bits() {
        for (number, bits) in [(&[][..], 0), (&[0], 0), (&[1], 1), (&[0, 0x80], 8), (&[1, 0, 1], 17)] {
            assert_eq!(bit_len(number), bits);
        }
    }
}

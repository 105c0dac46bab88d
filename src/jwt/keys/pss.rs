//! Reads RSA keys of the type `RSASSA-PSS` (RFC 4055 section 1.2, RFC 8017 appendix A.2.3).
//!
//! Such a key has the same numbers as any RSA key, but may only be used with PSS. Its parameters
//! can also restrict the hash. The backends do not read this type, so this module checks the
//! restrictions and converts the key to PKCS#1.

use zeroize::Zeroizing;

use super::{
    algorithm::Algorithm,
    der::{BIT_STRING, INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE},
    pem::{self, Half},
};
use crate::error::ConfigError;

/// Object identifiers: `id-RSASSA-PSS` and `id-mgf1` (RFC 8017 appendix C).
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08];

/// Object identifiers: `id-sha256`, `id-sha384` and `id-sha512` (RFC 4055 section 2.1).
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];

/// The tags of the parameters: hash, mask function, salt length and trailer. In a PKCS#8 key, the
/// first tag also marks the attributes.
const EXPLICIT: [u8; 4] = [0xa0, 0xa1, 0xa2, 0xa3];

/// A hash: its object identifier, and its length in bytes.
struct Hash {
    identifier: &'static [u8],
    len: u8,
}

/// Converts a key of the type `RSASSA-PSS` to PKCS#1 in PEM. Returns `None` for a key of another
/// type.
///
/// Fails if the parameters of the key do not allow the algorithm. JWS uses one hash for the message
/// and the mask, and a salt of the hash's length (RFC 7518 section 3.5).
pub(super) fn to_pkcs1(
    setting: &'static str,
    half: Half,
    algorithm: Algorithm,
    der: &[u8],
) -> Result<Option<Zeroizing<String>>, ConfigError> {
    let Some((parameters, rest)) = split(half, der) else { return Ok(None) };
    let refuse = |problem: &str, remedy: &'static str| {
        ConfigError::new(setting, format!("is a key of the type `RSASSA-PSS`, {problem}"), remedy)
    };
    let hash = hash_of(algorithm).ok_or_else(|| {
        refuse(
            &format!("which must not be used with {algorithm}"),
            "use it with PS256, PS384 or PS512, or give a key of the type `rsaEncryption`",
        )
    })?;
    if allows(parameters, &hash).is_none() {
        return Err(refuse(
            &format!("whose parameters do not allow {algorithm}"),
            "use the algorithm whose hash they name for message and mask, or generate a key without parameters",
        ));
    }
    match key_of(half, rest) {
        Some(key) => Ok(Some(pem::from_pkcs1(half, key))),
        None => Err(refuse("whose structure is damaged", "copy the key again from its source")),
    }
}

/// Splits a key of the type `RSASSA-PSS`. Returns the parameters, and the elements that follow the
/// algorithm. Returns `None` for a key of another type.
fn split(half: Half, der: &[u8]) -> Option<(Reader<'_>, Reader<'_>)> {
    let mut outer = Reader::new(der);
    let mut key = outer.nested(SEQUENCE)?;
    outer.end()?;
    if matches!(half, Half::Private) {
        // Version 0 of PKCS#8 (RFC 5208 section 5).
        (key.element(INTEGER)? == [0]).then_some(())?;
    }
    let mut algorithm = key.nested(SEQUENCE)?;
    (algorithm.element(OBJECT_IDENTIFIER)? == RSASSA_PSS).then_some((algorithm, key))
}

/// Returns the key in PKCS#1. `rest` contains the elements that follow the algorithm in SPKI or
/// PKCS#8: the key and, in PKCS#8, optional attributes.
fn key_of(half: Half, mut rest: Reader<'_>) -> Option<&[u8]> {
    let key = match half {
        // The first byte of a bit string is the number of unused bits at its end.
        Half::Public => match rest.element(BIT_STRING)? {
            [0, key @ ..] => key,
            _ => return None,
        },
        Half::Private => rest.element(OCTET_STRING)?,
    };
    if matches!(half, Half::Private) && rest.is_next(EXPLICIT[0]) {
        rest.element(EXPLICIT[0])?;
    }
    rest.end().map(|()| key)
}

fn hash_of(algorithm: Algorithm) -> Option<Hash> {
    let (identifier, len) = match algorithm {
        Algorithm::PS256 => (SHA256, 32),
        Algorithm::PS384 => (SHA384, 48),
        Algorithm::PS512 => (SHA512, 64),
        _ => return None,
    };
    Some(Hash { identifier, len })
}

/// Returns `Some` if the parameters allow signatures with this hash. If the key has no parameters,
/// it allows every hash. If the parameters name no hash or no mask function, they mean SHA-1, which
/// JWS does not use.
fn allows(mut parameters: Reader<'_>, hash: &Hash) -> Option<()> {
    if parameters.end().is_some() {
        return Some(());
    }
    let mut fields = parameters.nested(SEQUENCE)?;
    parameters.end()?;
    let [hash_tag, mask_tag, salt_tag, trailer_tag] = EXPLICIT;
    let mut message_hash = fields.nested(hash_tag)?;
    is_hash(message_hash.nested(SEQUENCE)?, hash)?;
    message_hash.end()?;
    let mut mask = fields.nested(mask_tag)?;
    let mut function = mask.nested(SEQUENCE)?;
    mask.end()?;
    (function.element(OBJECT_IDENTIFIER)? == MGF1).then_some(())?;
    is_hash(function.nested(SEQUENCE)?, hash)?;
    function.end()?;
    // The salt length of the key is the minimum for its signatures (RFC 4055 section 3.3). If it is
    // absent, the minimum is 20 bytes, which is shorter than each hash here.
    if fields.is_next(salt_tag) {
        let salt = integer(&mut fields, salt_tag)?;
        (salt <= hash.len).then_some(())?;
    }
    if fields.is_next(trailer_tag) {
        (integer(&mut fields, trailer_tag)? == 1).then_some(())?;
    }
    fields.end()
}

/// Returns `Some` if an `AlgorithmIdentifier` names this hash. The parameters of the
/// `AlgorithmIdentifier` must be NULL or absent (RFC 4055 section 2.1).
fn is_hash(mut identifier: Reader<'_>, hash: &Hash) -> Option<()> {
    (identifier.element(OBJECT_IDENTIFIER)? == hash.identifier).then_some(())?;
    if identifier.is_next(NULL) {
        identifier.element(NULL)?.is_empty().then_some(())?;
    }
    identifier.end()
}

/// Reads an integer from 0 to 127 that has the explicit tag `tag`.
fn integer(fields: &mut Reader<'_>, tag: u8) -> Option<u8> {
    let mut field = fields.nested(tag)?;
    let [number @ 0..=0x7f] = field.element(INTEGER)? else { return None };
    field.end().map(|()| *number)
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod tests;
